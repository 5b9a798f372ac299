// Small kernels with a fault that can be switched on: what the emulator must find, and must not find where it is off.
#include "ptx.cuh"

struct PlantedParams {
    float* out;      // [threads]
    const float* in; // [2 · threads]
    uint32_t fault;
    uint32_t padding;
};

constexpr int PLANTED_THREADS = 128;

// out[t] = in of the neighbour, by way of shared memory.
KERNEL(planted_barrier, PlantedParams, PLANTED_THREADS) {
    float* room = reinterpret_cast<float*>(smem);
    int t = threadIdx.x;
    room[t] = p.in[t];
    if (!p.fault) __syncthreads();
    p.out[t] = room[(t + 33) % PLANTED_THREADS];
}

// The same, twice through one room: without the second barrier a fast thread overwrites what a slow one has yet to read.
KERNEL(planted_reuse, PlantedParams, PLANTED_THREADS) {
    float* room = reinterpret_cast<float*>(smem);
    int t = threadIdx.x;
    float sum = 0.0f;
    for (int pass = 0; pass < 2; pass++) {
        room[t] = p.in[pass * PLANTED_THREADS + t];
        __syncthreads();
        sum += room[(t + 33) % PLANTED_THREADS];
        if (!p.fault) __syncthreads();
    }
    p.out[t] = sum;
}

// Lanes of a warp alone.
KERNEL(planted_warp, PlantedParams, PLANTED_THREADS) {
    float* room = reinterpret_cast<float*>(smem);
    int t = threadIdx.x, warp = t / WARP * WARP;
    room[t] = p.in[t];
    if (!p.fault) __syncwarp();
    p.out[t] = room[warp + (t + 1) % WARP];
}

// An asynchronous copy that is read before it was waited for.
KERNEL(planted_wait, PlantedParams, PLANTED_THREADS) {
    float* room = reinterpret_cast<float*>(smem);
    int t = threadIdx.x;
    if (t < PLANTED_THREADS / 4) cp_async16(room + 4 * t, p.in + 4 * t);
    cp_async_commit();
    if (!p.fault) cp_async_wait<0>();
    __syncthreads();
    p.out[t] = room[(t + 33) % PLANTED_THREADS];
    if (p.fault) cp_async_wait<0>();
}

// Half of a warp goes another way while its lanes are named in a shuffle.
KERNEL(planted_shuffle, PlantedParams, PLANTED_THREADS) {
    int t = threadIdx.x;
    float x = p.in[t];
    if (!p.fault)
        x = __shfl_xor_sync(ALL_LANES, x, 1);
    else if (t % WARP < WARP / 2)
        x = __shfl_xor_sync(ALL_LANES, x, 1);
    else
        x = __ballot_sync(ALL_LANES, x > 0.0f);
    p.out[t] = x;
}

// A barrier that some threads never come to.
KERNEL(planted_deadlock, PlantedParams, PLANTED_THREADS) {
    int t = threadIdx.x;
    p.out[t] = p.in[t];
    if (p.fault && t % WARP == 3) __syncwarp();
    __syncthreads();
}

// One past the end of what was allocated.
KERNEL(planted_bounds, PlantedParams, PLANTED_THREADS) {
    int t = threadIdx.x;
    p.out[p.fault ? t + 1 : t] = p.in[t];
}

// Shared memory that nothing wrote.
KERNEL(planted_unwritten, PlantedParams, PLANTED_THREADS) {
    float* room = reinterpret_cast<float*>(smem);
    int t = threadIdx.x;
    if (!p.fault || t != 5) room[t] = p.in[t];
    __syncthreads();
    p.out[t] = room[(t + 33) % PLANTED_THREADS];
}

// A tile of a product by tensor cores, as large kernels do it: c [16, 8 · tiles] = a [16, k] · bᵀ, a and b in bfloat16, chunks of 16 of k copied ahead in two
// buffers. `fault` 1: no wait; 2: no barrier before a buffer is filled again.
struct TileParams {
    const bf16* a; // [16, k]
    const bf16* b; // [8 · warps, k]
    float* c;      // [16, 8 · warps]
    uint32_t k;    // a multiple of 16
    uint32_t fault;
};

KERNEL(planted_tile, TileParams, PLANTED_THREADS) {
    constexpr int COLS = 8 * PLANTED_THREADS / WARP, PART = 16;
    bf16* room = reinterpret_cast<bf16*>(smem); // two of (a [16, 16], b [COLS, 16])
    constexpr int SIZE = (16 + COLS) * PART;
    int t = threadIdx.x, lane = t % WARP, warp = t / WARP;
    auto fill = [&](uint32_t part) {
        bf16* to = room + part % 2 * SIZE;
        // A row of a part is two copies of 16 bytes.
        for (int i = t; i < 2 * (16 + COLS); i += PLANTED_THREADS) {
            int row = i / 2, half = i % 2 * 8;
            const bf16* from = row < 16 ? p.a + row * p.k : p.b + (row - 16) * p.k;
            cp_async16(to + row * PART + half, from + part * PART + half);
        }
        cp_async_commit();
    };
    float c[4] = {};
    uint32_t parts = p.k / PART;
    fill(0);
    for (uint32_t part = 0; part < parts; part++) {
        if (part + 1 < parts)
            fill(part + 1);
        else
            cp_async_commit();
        if (p.fault != 1) cp_async_wait<1>();
        __syncthreads();
        const bf16* from = room + part % 2 * SIZE;
        uint32_t a[4], b[4];
        ldmatrix_x4(a, from + (lane % 8 + lane / 8 % 2 * 8) * PART + lane / 16 * 8);
        // Two matrices are what one warp's columns need; the other two repeat them.
        ldmatrix_x4(b, from + (16 + warp * 8 + lane % 8) * PART + lane / 8 % 2 * 8);
        mma_16816(c, a, b[0], b[1], bf16{});
        if (p.fault != 2) __syncthreads();
    }
    cp_async_wait<0>();
    for (int q = 0; q < 4; q++) p.c[(lane / 4 + q / 2 * 8) * COLS + warp * 8 + lane % 4 * 2 + q % 2] = c[q];
}
