// conv_f32   out[i, c] = act(Σ_k weight[c, k] · history[path of row i at t − taps + 1 + k, c] + bias[c]): the causal depthwise convolution along every row's path.
//            History rows have `history` columns, the first `width` of which are the inputs; out [rows, width]. A block: a tile of rows of one span, 256 channels.
//
// Equals the verb `conv` of src/backend/reference.rs.
#include "causal_conv.cuh"

struct ConvParams {
    Forest forest;
    Stores stores;
    Conv conv;
    const ConvTile* tiles;
    float* out;
    uint32_t width;
    uint32_t history;
};
static_assert(sizeof(ConvParams) == 96, "twin of params::Conv");

KERNEL(conv_f32, ConvParams, CONV_THREADS) {
    uint32_t* at = reinterpret_cast<uint32_t*>(smem);
    ConvTile tile = p.tiles[blockIdx.x];
    find_inputs(at, p.forest, tile);
    __syncthreads();
    uint32_t channel = blockIdx.y * CONV_THREADS + threadIdx.x;
    if (channel >= p.width) return;
    convolve_tile(p.conv, p.stores, at, tile, p.history, channel, [&](uint32_t i, float y) { p.out[uint64_t(tile.out_row + i) * p.width + channel] = y; });
}
