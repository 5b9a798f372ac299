// Tiles of x · Wᵀ by tensor cores, for operands of 16 bits: 128 × 128 by 256 threads, sums in float32. Inputs come in chunks of 64 by asynchronous copies, two chunks
// ahead of the products, over the ends of tiles. Eight warps, two by four, each with 64 × 32 of a tile in registers.
//
// An element is one chain of products over the inputs, sixteen at a time in their order, whatever is beside it.
#pragma once
#include "forest.cuh"
#include "ptx.cuh"

constexpr int TENSOR_THREADS = 256, TENSOR_ROWS = 128, TENSOR_COLS = 128, TENSOR_CHUNK = 64, TENSOR_STAGES = 3;
constexpr int WARP_ROWS = 64, WARP_COLS = 32, WARPS_ACROSS = TENSOR_COLS / WARP_COLS;
constexpr int M_TILES = WARP_ROWS / 16, N_TILES = WARP_COLS / 8;
// Of shared memory, in bytes.
constexpr int TENSOR_SHARED = (TENSOR_ROWS + TENSOR_COLS) * TENSOR_CHUNK * TENSOR_STAGES * 2;

// What a lane holds of a tile: of rows warp_row() + 16 m + 8 i + lane / 4 the columns warp_col() + 8 n + 2 (lane % 4) + j, as c[m][n][2 i + j].
using Tile = float[M_TILES][N_TILES][4];
__device__ __forceinline__ int warp_row() { return threadIdx.x / WARP / WARPS_ACROSS * WARP_ROWS; }
__device__ __forceinline__ int warp_col() { return threadIdx.x / WARP % WARPS_ACROSS * WARP_COLS; }

// Where 16 bytes of a chunk's row lie: rows of 128 bytes, whose eighths are turned by the row, so that eight rows' same eighth lies in different banks.
__device__ __forceinline__ int swizzled(int row, int eighth) { return row * TENSOR_CHUNK + ((eighth ^ row % 8) * 8); }

// Copies 128 rows of a chunk of the inputs, each from where `row_of` says, zeros for NOWHERE and past the inputs.
template <class T, class RowOf> __device__ __forceinline__ void fetch_chunk(T* to, const T* from, uint32_t stride, uint32_t inputs, uint32_t chunk, RowOf row_of) {
    constexpr int EIGHTHS = TENSOR_CHUNK / 8;
    for (int i = threadIdx.x; i < TENSOR_ROWS * EIGHTHS; i += TENSOR_THREADS) {
        uint32_t row = row_of(i / EIGHTHS), column = chunk * TENSOR_CHUNK + i % EIGHTHS * 8;
        bool there = row != NOWHERE && column < inputs;
        cp_async16(to + swizzled(i / EIGHTHS, i % EIGHTHS), there ? from + uint64_t(row) * stride + column : from, there ? 16 : 0);
    }
}

// Row i of a tile is row x_row(i) of x [·, x_stride], column n of tile t is row w_row(t, n) of W [·, inputs]; NOWHERE: zeros. Both are aligned to 16 bytes, x_stride
// and inputs are multiples of 8. finish(t)
// is called when c holds tile t, in order. All threads must come; they leave with the shared memory free, and the last tile in c.
template <class T, class XRow, class WRow, class Finish>
__device__ __forceinline__ void tensor_tiles(const T* x, uint32_t x_stride, XRow x_row, const T* weight, uint32_t inputs, WRow w_row, uint32_t tiles, Tile& c, Finish finish) {
    static_assert(TENSOR_ROWS == TENSOR_COLS, "both operands' chunks are fetched alike");
    constexpr int STAGE = (TENSOR_ROWS + TENSOR_COLS) * TENSOR_CHUNK;
    T* room = reinterpret_cast<T*>(smem);
    int lane = threadIdx.x % WARP;
    uint32_t chunks = (inputs + TENSOR_CHUNK - 1) / TENSOR_CHUNK, steps = tiles * chunks;

    auto fetch = [&](uint32_t step) {
        if (step < steps) {
            T* to = room + step % TENSOR_STAGES * STAGE;
            uint32_t tile = step / chunks, chunk = step % chunks;
            fetch_chunk(to, x, x_stride, inputs, chunk, x_row);
            fetch_chunk(to + TENSOR_ROWS * TENSOR_CHUNK, weight, inputs, inputs, chunk, [&](uint32_t n) { return w_row(tile, n); });
        }
        // An empty group keeps the count of groups right at the end.
        cp_async_commit();
    };

    for (int s = 0; s < TENSOR_STAGES - 1; s++) fetch(s);
    for (uint32_t step = 0; step < steps; step++) {
        cp_async_wait<TENSOR_STAGES - 2>();
        // All see this step's chunk; and all are done with the one that is overwritten next.
        __syncthreads();
        fetch(step + TENSOR_STAGES - 1);
        if (step % chunks == 0)
#pragma unroll
            for (int i = 0; i < M_TILES * N_TILES * 4; i++) c[i / (N_TILES * 4)][i / 4 % N_TILES][i % 4] = 0.0f;
        const T* a_room = room + step % TENSOR_STAGES * STAGE;
        const T* b_room = a_room + TENSOR_ROWS * TENSOR_CHUNK;
#pragma unroll
        for (int k = 0; k < TENSOR_CHUNK / 16; k++) {
            uint32_t a[M_TILES][4], b[N_TILES / 2][4];
#pragma unroll
            for (int m = 0; m < M_TILES; m++) ldmatrix_x4(a[m], a_room + swizzled(warp_row() + m * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
            for (int n = 0; n < N_TILES / 2; n++) ldmatrix_x4(b[n], b_room + swizzled(warp_col() + n * 16 + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
#pragma unroll
            for (int m = 0; m < M_TILES; m++)
#pragma unroll
                for (int n = 0; n < N_TILES; n++) mma_16816(c[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1], T{});
        }
        if (step % chunks == chunks - 1) finish(step / chunks);
    }
    // The last chunk is done with.
    __syncthreads();
}
