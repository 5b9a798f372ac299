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
            for (int half = 0; half < 2; half++) copy_box(smem + half * BOX, &p.map, pass * 64, half * 128, full);
        }
        if (p.fault != 1) mbarrier_wait(full, pass % 2);
        products_fence();
        for (int k = 0; k < 64; k += 16) product_64_256_16(c, operand_of(smem, k), operand_of(smem, k), true, bf16{});
        products_commit();
        if (p.fault != 2) products_done(c);
        if (p.fault != 3) __syncthreads();
    }
    for (int i = 0; i < WARPGROUP_NUMBERS; i++) p.out[(t / WARP * 16 + t % WARP / 4 + i / 2 % 2 * 8) * 256 + i / 4 * 8 + t % 4 * 2 + i % 2] = c[i];
    if (p.fault == 2) products_done(c);
}
