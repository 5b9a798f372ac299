// What the head's kernels share: parameters, and the running pair of a maximum and a sum.
#pragma once
#include "ptx.cuh"

// Ids whose sums are one pair: part of the numbers, since pairs are combined in order. src/backend/cuda/products.rs has the same.
constexpr uint32_t HEAD_SEGMENT = 2048;

struct HeadParams {
    const void* x;
    const void* weight;
    const float* bias;
    const uint32_t* ptr;
    const uint32_t* targets;
    float2* sums;
    float* picked;
    uint32_t rows;
    uint32_t d;
    uint32_t vocab;
    float softcap; // 0: none
    float scale;
    uint32_t padding;
};
static_assert(sizeof(HeadParams) == 80, "twin of params::Head");

// A product as the logit of an id; −∞ past the vocabulary.
__device__ __forceinline__ float logit(const HeadParams& p, float product, uint32_t id) {
    if (id >= p.vocab) return -INFINITY;
    return capped(p.bias ? product + p.bias[id] : product, p.softcap) * p.scale;
}

// The largest of some numbers, and Σ e^(number − largest) over them.
struct Running {
    float largest;
    float sum;
};

__device__ __forceinline__ Running together(Running a, Running b) {
    float largest = fmaxf(a.largest, b.largest);
    // Of no numbers at all the largest is −∞, and −∞ − −∞ would be no number.
    if (largest == -INFINITY) return {largest, 0.0f};
    return {largest, a.sum * exp2_approx((a.largest - largest) * LOG2_E) + b.sum * exp2_approx((b.largest - largest) * LOG2_E)};
}

// Takes a lane's products of a row with the ids tile_id … tile_id + tile_ids − 1, of which product(n, j) is that of id0 + 8 n + j; they are logits then.
template <int N, class Product>
__device__ __forceinline__ void take(const HeadParams& p, uint32_t row, Running& running, uint32_t tile_id, uint32_t tile_ids, uint32_t id0, Product product) {
    float largest = running.largest;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) {
            float& v = product(n, j);
            v = logit(p, v, id0 + n * 8 + j);
            largest = fmaxf(largest, v);
        }
    // Where the row's targets are is read anew for each tile: registers are scarcer than these two numbers.
    for (uint32_t t = row < p.rows ? p.ptr[row] : 0, end = row < p.rows ? p.ptr[row + 1] : 0; t < end; t++) {
        uint32_t target = p.targets[t];
        if (target - tile_id >= tile_ids) continue;
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
            for (int j = 0; j < 2; j++)
                if (target == id0 + n * 8 + j) p.picked[t] = product(n, j);
    }
    if (largest == -INFINITY) return;
    float sum = running.sum * exp2_approx((running.largest - largest) * LOG2_E);
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
        for (int j = 0; j < 2; j++) sum += exp2_approx((product(n, j) - largest) * LOG2_E);
    running = {largest, sum};
}

// The four lanes of a row together.
__device__ __forceinline__ Running of_four_lanes(Running r) {
#pragma unroll
    for (int by = 1; by < 4; by *= 2) r = together(r, {__shfl_xor_sync(ALL_LANES, r.largest, by), __shfl_xor_sync(ALL_LANES, r.sum, by)});
    return r;
}
