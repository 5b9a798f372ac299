// The causal depthwise convolution at one position of a path.
#pragma once
#include "forest.cuh"
#include "numbers.cuh"

constexpr uint32_t MOST_TAPS = 8;

struct Conv {
    const float* weight; // [width, taps]
    const float* bias;   // [width], or null
    uint32_t taps;
    uint32_t act;
};

// Σ over taps of a channel whose inputs are the rows `at` (the last is the position's own), `history` columns wide. Taps before the path's beginning are NOWHERE.
__device__ __forceinline__ float convolve(const Conv& conv, const Stores& stores, const uint32_t* at, uint32_t history, uint32_t channel) {
    float sum = conv.bias ? conv.bias[channel] : 0.0f;
    for (uint32_t k = 0; k < conv.taps; k++)
        if (at[k] != NOWHERE) sum = fmaf(conv.weight[channel * conv.taps + k], stores.row(at[k], history)[channel], sum);
    return activate(Activation(conv.act), sum);
}

// The row of tap k of a position.
__device__ __forceinline__ uint32_t tap_row(const Conv& conv, const Forest& forest, const ForestRun& run, uint32_t position, uint32_t k) {
    uint32_t back = conv.taps - 1 - k;
    return back > position ? NOWHERE : locate(forest, run, position - back);
}
