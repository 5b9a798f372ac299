// A tile of x · Wᵀ in float32 multiply-adds, for what must not be rounded to 16 bits: 64 × 64 by 256 threads, each 4 × 4; inputs in chunks of 16.
// An element is one chain of multiply-adds over the inputs in their order, whatever is beside it.
#pragma once
#include "numbers.cuh"

constexpr int PRODUCT_THREADS = 256, PRODUCT_TILE = 64, PRODUCT_CHUNK = 16, PRODUCT_ROW = PRODUCT_TILE + 4;
// Of shared memory: a chunk of both operands, inputs outermost.
constexpr int PRODUCT_SHARED = 2 * PRODUCT_CHUNK * PRODUCT_ROW * sizeof(float);

// c[i][j] += Σ x[row0 + 4 · (thread / 16) + i] · w[col0 + 4 · (thread % 16) + j]; rows and columns past the ends count as zeros. All threads must come.
__device__ __forceinline__ void tile_product(float (&c)[4][4], const float* x, uint32_t x_stride, uint32_t row0, uint32_t rows, const float* w, uint32_t col0,
                                             uint32_t cols, uint32_t inputs) {
    float* a = reinterpret_cast<float*>(smem);
    float* b = a + PRODUCT_CHUNK * PRODUCT_ROW;
    int down = threadIdx.x / 16 * 4, across = threadIdx.x % 16 * 4;
    for (uint32_t k0 = 0; k0 < inputs; k0 += PRODUCT_CHUNK) {
        for (int i = threadIdx.x; i < PRODUCT_TILE * PRODUCT_CHUNK; i += PRODUCT_THREADS) {
            uint32_t r = i / PRODUCT_CHUNK, k = i % PRODUCT_CHUNK;
            bool there = k0 + k < inputs;
            a[k * PRODUCT_ROW + r] = there && row0 + r < rows ? x[uint64_t(row0 + r) * x_stride + k0 + k] : 0.0f;
            b[k * PRODUCT_ROW + r] = there && col0 + r < cols ? w[uint64_t(col0 + r) * inputs + k0 + k] : 0.0f;
        }
        __syncthreads();
        for (int k = 0; k < PRODUCT_CHUNK; k++) {
            Four<float> p = *reinterpret_cast<const Four<float>*>(a + k * PRODUCT_ROW + down);
            Four<float> q = *reinterpret_cast<const Four<float>*>(b + k * PRODUCT_ROW + across);
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) c[i][j] = fmaf(p.x[i], q.x[j], c[i][j]);
        }
        // The chunk is overwritten next.
        __syncthreads();
    }
}
