// conv_f32   out[i, c] = act(Σ_k weight[c, k] · history[path of row i at t − taps + 1 + k, c] + bias[c]): the causal depthwise convolution along every row's path.
//            History rows have `history` columns, the first `width` of which are the inputs; out [rows, width]. A block: one row, 256 channels.
//
// Equals the verb `conv` of src/backend/reference.rs.
#include "causal_conv.cuh"

constexpr int CONV_THREADS = 256;

struct ConvParams {
    Forest forest;
    Stores stores;
    Conv conv;
    float* out;
    uint32_t first_row; // of the wave
    uint32_t width;
    uint32_t history;
    uint32_t padding;
};
static_assert(sizeof(ConvParams) == 96, "twin of params::Conv");

KERNEL(conv_f32, ConvParams, CONV_THREADS) {
    uint32_t* at = reinterpret_cast<uint32_t*>(smem);
    uint32_t row = p.first_row + blockIdx.x;
    ForestRun run = p.forest.runs[p.forest.run_of_row[row]];
    uint32_t position = run.position + (row - run.first_row);
    if (threadIdx.x < p.conv.taps) at[threadIdx.x] = tap_row(p.conv, p.forest, run, position, threadIdx.x);
    __syncthreads();
    uint32_t channel = blockIdx.y * CONV_THREADS + threadIdx.x;
    if (channel < p.width) p.out[uint64_t(blockIdx.x) * p.width + channel] = convolve(p.conv, p.stores, at, p.history, channel);
}
