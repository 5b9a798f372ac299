// What the head's kernels share: parameters, and the running pair of a maximum and a sum.
#pragma once
#include "ptx.cuh"

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
