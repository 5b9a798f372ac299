// What the head's kernels share: parameters, and the running pair of a maximum and a sum.
#pragma once
#include "ptx.cuh"

// Ids whose sums are one pair: part of the numbers, since pairs are combined in order. src/backend/cuda/twin.rs has the same.
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
