// What a device can do at most, for `hilberg bench`: loops of one instruction whose operands stay in registers, and a copy. No forward pass has them.
//
// ceiling_fma         out[thread] = Σ of 8 chains x ← x · value + value, `steps` times, from x = 0 … 7: 16 · steps operations a thread.
// ceiling_exp2        out[thread] = Σ of 8 chains x ← 2^−x, likewise from x = 0, 1/8 … 7/8: 8 · steps exponentials a thread.
// ceiling_mma_T       For T bfloat16 or float16: 8 chains c [16, 8] += a [16, 16] · b [16, 8] a warp, all of a and b `value`; out[thread] = Σ of the thread's numbers of c,
//                     which is 32 · 16 · steps · value²: 8 · 4,096 · steps operations a warp.
// ceiling_wide_T      The same on sm_90a by two warpgroups a block, each c [64, 256] += a [64, 64] · b [64, 256] out of shared memory; out[thread] = Σ of 128 numbers of c, which is
//                     128 · 64 · steps · value²: 2 · 2,097,152 · steps operations a block.
// ceiling_copy        to[i] = from[i], i < words, in words of 16 bytes: four of them a thread, all read before one is written.
//
// out has a number for every thread of the grid, so that nothing is optimised away; beside it, only the copy touches device memory.
// Chains enough to hide the latency of an instruction: as in the microbenchmarks of Jia et al. 2018 (arXiv:1804.06826).
#include "ptx90.cuh"

constexpr int CEILING_THREADS = 256, CHAINS = 8, COPIES = 4;

struct CeilingParams {
    float* out;
    uint32_t steps;
    float value;
};
static_assert(sizeof(CeilingParams) == 16, "twin of params::Ceiling");

__device__ __forceinline__ void put(const CeilingParams& p, float sum) { p.out[uint64_t(blockIdx.x) * CEILING_THREADS + threadIdx.x] = sum; }

KERNEL(ceiling_fma, CeilingParams, CEILING_THREADS) {
    float x[CHAINS], sum = 0.0f;
#pragma unroll
    for (int i = 0; i < CHAINS; i++) x[i] = i;
#pragma unroll 8
    for (uint32_t step = 0; step < p.steps; step++)
#pragma unroll
        for (int i = 0; i < CHAINS; i++) x[i] = fmaf(x[i], p.value, p.value);
#pragma unroll
    for (int i = 0; i < CHAINS; i++) sum += x[i];
    put(p, sum);
}

KERNEL(ceiling_exp2, CeilingParams, CEILING_THREADS) {
    float x[CHAINS], sum = 0.0f;
#pragma unroll
    for (int i = 0; i < CHAINS; i++) x[i] = float(i) / CHAINS;
#pragma unroll 8
    for (uint32_t step = 0; step < p.steps; step++)
#pragma unroll
        for (int i = 0; i < CHAINS; i++) x[i] = exp2_approx(-x[i]);
#pragma unroll
    for (int i = 0; i < CHAINS; i++) sum += x[i];
    put(p, sum);
}

template <class T> __device__ __forceinline__ void ceiling_mma(const CeilingParams& p) {
    uint32_t two = pair(p.value, p.value, T{}), a[4] = {two, two, two, two};
    float c[CHAINS][4] = {}, sum = 0.0f;
#pragma unroll 2
    for (uint32_t step = 0; step < p.steps; step++)
#pragma unroll
        for (int i = 0; i < CHAINS; i++) mma_16816(c[i], a, two, two, T{});
#pragma unroll
    for (int i = 0; i < CHAINS * 4; i++) sum += c[i / 4][i % 4];
    put(p, sum);
}

KERNEL(ceiling_mma_bf16, CeilingParams, CEILING_THREADS) { ceiling_mma<bf16>(p); }
KERNEL(ceiling_mma_f16, CeilingParams, CEILING_THREADS) { ceiling_mma<f16>(p); }

template <class T> __device__ __forceinline__ void ceiling_wide(const CeilingParams& p) {
#ifdef HOPPER
    constexpr int K = 64, A_ROWS = 64, B_ROWS = 256;
    T* a = reinterpret_cast<T*>(smem); // [A_ROWS, K]; of numbers that are all the same, the swizzle is the same, too
    T* b = a + A_ROWS * K;             // [B_ROWS, K]
    for (int i = threadIdx.x; i < (A_ROWS + B_ROWS) * K; i += CEILING_THREADS) a[i] = narrow<T>(p.value);
    products_see_writes();
    __syncthreads();
    float c[WARPGROUP_NUMBERS] = {}, sum = 0.0f;
    for (uint32_t step = 0; step < p.steps; step++) {
        // Nothing is waited for: one product after the other adds to the same sums.
        products_fence();
#pragma unroll
        for (int k = 0; k < K; k += 16) product(c, rows_of(a, k), rows_of(b, k), true, T{});
        products_commit();
    }
    products_done(c);
#pragma unroll
    for (int i = 0; i < WARPGROUP_NUMBERS; i++) sum += c[i];
    put(p, sum);
#else
    __trap();
#endif
}

KERNEL(ceiling_wide_bf16, CeilingParams, CEILING_THREADS) { ceiling_wide<bf16>(p); }
KERNEL(ceiling_wide_f16, CeilingParams, CEILING_THREADS) { ceiling_wide<f16>(p); }

struct CeilingCopyParams {
    const Four<float>* from;
    Four<float>* to;
    uint64_t words;
};
static_assert(sizeof(CeilingCopyParams) == 24, "twin of params::CeilingCopy");

KERNEL(ceiling_copy, CeilingCopyParams, CEILING_THREADS) {
    uint64_t first = uint64_t(blockIdx.x) * CEILING_THREADS * COPIES + threadIdx.x;
    Four<float> words[COPIES];
#pragma unroll
    for (int i = 0; i < COPIES; i++)
        if (first + i * CEILING_THREADS < p.words) words[i] = p.from[first + i * CEILING_THREADS];
#pragma unroll
    for (int i = 0; i < COPIES; i++)
        if (first + i * CEILING_THREADS < p.words) p.to[first + i * CEILING_THREADS] = words[i];
}
