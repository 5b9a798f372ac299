// The same for what sm_90a has: copies of boxes, barriers with bytes, products of a warpgroup.
#include "ptx90.cuh"

struct BoxParams {
    TensorMap map; // [256, 64 · passes] of bfloat16
    float* out;    // [64, 256]
    uint32_t passes;
    uint32_t fault;
    uint64_t padding[14];
};

// out = Σ over passes of a · bᵀ, where b is the pass's 64 columns and a their first 64 rows; one room for all passes.
KERNEL(planted_box, BoxParams, WARPGROUP) {
    constexpr uint32_t BOX = 128 * 64 * 2;
    uint64_t* full = reinterpret_cast<uint64_t*>(smem + 2 * BOX);
    int t = threadIdx.x;
    if (t == 0) mbarrier_init(full, 1);
    mbarrier_init_fence();
    __syncthreads();
    float c[WARPGROUP_NUMBERS] = {};
    for (uint32_t pass = 0; pass < p.passes; pass++) {
        if (t == 0) {
            mbarrier_expect(full, p.fault == 4 ? BOX : 2 * BOX);
            for (int half = 0; half < 2; half++) copy_box(smem + half * BOX, &p.map, pass * 64, half * 128, 0, full);
        }
        if (p.fault != 1) mbarrier_wait(full, pass % 2);
        if (p.fault != 5) products_fence();
        for (int k = 0; k < 64; k += 16) product(c, rows_of(smem, k), rows_of(smem, k), true, bf16{});
        products_commit();
        if (p.fault != 2) products_done(c);
        if (p.fault != 3) __syncthreads();
    }
    for (int i = 0; i < WARPGROUP_NUMBERS; i++) p.out[(t / WARP * 16 + t % WARP / 4 + i / 2 % 2 * 8) * 256 + i / 4 * 8 + t % 4 * 2 + i % 2] = c[i];
    if (p.fault == 2) products_done(c);
}

struct MixtureParams {
    TensorMap map; // [64, N] of bfloat16
    const bf16* values;
    float* out; // [64, N]
    uint32_t gathered;
    uint32_t fault;
    uint64_t padding[13];
};

// out = a · b, where b [64, N] comes as boxes or is gathered, and a [64, 64] are small whole numbers in registers.
template <int COLUMNS, int N> void planted_mixture(const MixtureParams& p) {
    constexpr uint32_t ROWS = 64, BOX = ROWS * COLUMNS * 2, BOXES = N / COLUMNS, EIGHTHS = COLUMNS / 8;
    uint64_t* full = reinterpret_cast<uint64_t*>(smem + BOXES * BOX);
    int t = threadIdx.x, row = t / WARP * 16 + t % WARP / 4;
    if (t == 0) mbarrier_init(full, 1);
    mbarrier_init_fence();
    __syncthreads();
    if (p.gathered) {
        for (uint32_t i = t; i < ROWS * BOXES * EIGHTHS; i += WARPGROUP) {
            uint32_t r = i / (BOXES * EIGHTHS), eighth = i % (BOXES * EIGHTHS);
            cp_async16(smem + eighth / EIGHTHS * BOX + Turned<COLUMNS>::place(r, eighth % EIGHTHS), p.values + r * N + eighth * 8);
        }
        cp_async_commit();
        cp_async_wait<0>();
        if (p.fault != 1) products_see_writes();
        __syncthreads();
    } else {
        if (t == 0) {
            mbarrier_expect(full, BOXES * BOX);
            for (uint32_t box = 0; box < BOXES; box++) copy_box(smem + box * BOX, &p.map, box * COLUMNS, 0, 0, full);
        }
        mbarrier_wait(full, 0);
    }
    uint32_t a[ROWS / 16][4];
    auto number = [](int i, int k) { return float((i * 3 + k * 5) % 7 - 3); };
    for (int i = 0; i < int(ROWS) / 4; i++) {
        int m = row + i % 2 * 8, k = i / 4 * 16 + t % 4 * 2 + i / 2 % 2 * 8;
        a[i / 4][i % 4] = pair(number(m, k), number(m, k + 1), bf16{});
    }
    float c[N / 2] = {};
    products_fence();
    for (int k = 0; k < int(ROWS) / 16; k++) mixture(c, a[k], columns_of<COLUMNS>(smem, k * 16, BOX), bf16{});
    products_commit();
    if (p.fault == 2) a[0][0] = 0;
    products_done(c);
    for (int i = 0; i < N / 2; i++) p.out[(row + i / 2 % 2 * 8) * N + i / 4 * 8 + t % 4 * 2 + i % 2] = c[i];
}

KERNEL(planted_mixture_64, MixtureParams, WARPGROUP) { planted_mixture<64, 128>(p); }
KERNEL(planted_mixture_32, MixtureParams, WARPGROUP) { planted_mixture<32, 96>(p); }
