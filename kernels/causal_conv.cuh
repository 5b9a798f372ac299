// The causal depthwise convolution along a path: Σ_k weight[c, k] · input[t − taps + 1 + k, c] + bias[c], then the activation.
#pragma once
#include "forest.cuh"
#include "numbers.cuh"

constexpr uint32_t MOST_TAPS = 8, CONV_ROWS = 16;
constexpr int CONV_THREADS = 256;

struct Conv {
    const float* weight; // [width, taps]
    const float* bias;   // [width], or null
    uint32_t taps;
    uint32_t act;
};

// Up to CONV_ROWS consecutive positions of a run's path: what a block takes, of as many channels as it has threads.
struct ConvTile {
    uint32_t run;
    uint32_t position;
    uint32_t rows;
    uint32_t out_row;
};

// Where the inputs of a tile lie: `at[i]` is the row of position `tile.position − MOST_TAPS + 1 + i`. The threads of the block write it.
constexpr uint32_t CONV_INPUTS = CONV_ROWS + MOST_TAPS - 1;
__device__ __forceinline__ void find_inputs(uint32_t* at, const Forest& forest, const ConvTile& tile) {
    if (threadIdx.x >= CONV_INPUTS) return;
    uint32_t back = MOST_TAPS - 1, i = threadIdx.x;
    bool there = tile.position + i >= back && i < tile.rows + back;
    at[i] = there ? locate(forest, forest.runs[tile.run], tile.position + i - back) : NOWHERE;
}

// One channel of a tile, each input read once: put(i, value) for i < tile.rows. K is at least `conv.taps`.
template <int K, class Put> __device__ __forceinline__ void convolve(const Conv& conv, const Stores& stores, const uint32_t* at, const ConvTile& tile, uint32_t history, uint32_t channel, Put put) {
    // The last K taps; the first of them weigh nothing where the window is narrower. Nothing lies before a path's beginning.
    float weight[K], input[K];
    auto read = [&](uint32_t i) { return at[i] == NOWHERE ? 0.0f : stores.row(at[i], history)[channel]; };
#pragma unroll
    for (int k = 0; k < K; k++) {
        int tap = k - (K - int(conv.taps));
        weight[k] = tap < 0 ? 0.0f : conv.weight[uint64_t(channel) * conv.taps + tap];
        input[k] = k + 1 < K && tap >= -1 ? read(MOST_TAPS - K + k) : 0.0f;
    }
    float bias = conv.bias ? conv.bias[channel] : 0.0f;
    for (uint32_t row = 0; row < tile.rows; row++) {
        input[K - 1] = read(MOST_TAPS - 1 + row);
        float sum = bias;
#pragma unroll
        for (int k = 0; k < K; k++) sum = fmaf(weight[k], input[k], sum);
        put(row, activate(Activation(conv.act), sum));
#pragma unroll
        for (int k = 0; k + 1 < K; k++) input[k] = input[k + 1];
    }
}
template <class Put> __device__ __forceinline__ void convolve_tile(const Conv& conv, const Stores& stores, const uint32_t* at, const ConvTile& tile, uint32_t history, uint32_t channel, Put put) {
    if (conv.taps <= 4)
        convolve<4>(conv, stores, at, tile, history, channel, put);
    else
        convolve<MOST_TAPS>(conv, stores, at, tile, history, channel, put);
}
