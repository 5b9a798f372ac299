// ssd_rows_T   x, B and C of pieces' rows after the convolution and its activation: mixed [rows, width] of T (float32, bfloat16 or float16); and
//              Δ = clamp(softplus(dt + bias)): delta [rows, heads] float32. History rows are [x | B | C | dt]. A block: a tile of positions, 256 columns.
// ssd_f32      h ← e^(−e^a_log Δ) h + Δ B x, y = C · h + D x, token by token. A block takes a piece and a head, a thread one number of it (head_dim ≤ 256); numbers of
//              the state come sixteen at a time, and what y has so far waits in out.
//
// Together they equal the verb `ssd` of src/backend/reference.rs. ssd_chunks.cu does the same in tensor cores.
#include "causal_conv.cuh"
#include "ssd.cuh"

constexpr int SSD_THREADS = 256;
constexpr uint32_t SSD_NUMBERS = 16;

struct SsdRowsParams {
    Forest forest;
    Stores stores;
    Conv conv; // over [x | B | C]
    const ConvTile* tiles;
    const float* dt_bias;
    void* mixed;
    float* delta;
    uint32_t width;
    uint32_t heads;
    uint32_t history; // columns of a history row
    float dt_least;
    float dt_most;
    uint32_t padding;
};
static_assert(sizeof(SsdRowsParams) == 128, "twin of params::SsdRows");

template <class T> __device__ void ssd_rows(const SsdRowsParams& p) {
    uint32_t* at = reinterpret_cast<uint32_t*>(smem);
    ConvTile tile = p.tiles[blockIdx.x];
    find_inputs(at, p.forest, tile);
    __syncthreads();
    uint32_t column = blockIdx.y * CONV_THREADS + threadIdx.x;
    if (column < p.width) {
        T* out = static_cast<T*>(p.mixed) + uint64_t(tile.out_row) * p.width + column;
        convolve_tile(p.conv, p.stores, at, tile, p.history, column, [&](uint32_t i, float y) { out[uint64_t(i) * p.width] = narrow<T>(y); });
    } else if (column < p.width + p.heads) {
        uint32_t head = column - p.width;
        for (uint32_t i = 0; i < tile.rows; i++) {
            float dt = p.stores.row(at[MOST_TAPS - 1 + i], p.history)[column] + p.dt_bias[head];
            p.delta[uint64_t(tile.out_row + i) * p.heads + head] = fminf(fmaxf(softplus(dt), p.dt_least), p.dt_most);
        }
    }
}

KERNEL(ssd_rows_f32, SsdRowsParams, CONV_THREADS) { ssd_rows<f32>(p); }
KERNEL(ssd_rows_bf16, SsdRowsParams, CONV_THREADS) { ssd_rows<bf16>(p); }
KERNEL(ssd_rows_f16, SsdRowsParams, CONV_THREADS) { ssd_rows<f16>(p); }

KERNEL(ssd_f32, SsdParams, SSD_THREADS) {
    float* factors = reinterpret_cast<float*>(smem);             // [SSD_CHUNK, B and C, SSD_NUMBERS]
    float* delta = factors + SSD_CHUNK * 2 * SSD_NUMBERS;        // [SSD_CHUNK]
    float* decay = delta + SSD_CHUNK;                            // [SSD_CHUNK]
    SsdPiece piece = p.pieces[blockIdx.x / p.heads];
    ForestRun run = p.forest.runs[piece.run];
    uint32_t head = blockIdx.x % p.heads, group = head / (p.heads / p.groups), t = threadIdx.x;
    uint32_t d_inner = p.heads * p.head_dim, width = d_inner + 2 * p.groups * p.d_state;
    uint32_t channel = head * p.head_dim + t; // of x
    bool mine = t < p.head_dim;
    float rate = -expf(p.a_log[head]);
    const float* mixed = static_cast<const float*>(p.mixed) + uint64_t(piece.row) * width;

    for (uint32_t n0 = 0; n0 < p.d_state; n0 += SSD_NUMBERS) {
        uint32_t numbers = min(SSD_NUMBERS, p.d_state - n0);
        float h[SSD_NUMBERS], handed_on[SSD_NUMBERS];
        auto save = [&](float* to) {
            if (!mine) return;
#pragma unroll
            for (uint32_t n = 0; n < SSD_NUMBERS; n++)
                if (n < numbers) to[uint64_t(channel) * p.d_state + n0 + n] = handed_on[n];
        };
        uint32_t first_row = row_at(run, piece.position), next_save = first_save(p.forest, run, first_row);
        const float* from = p.states.before(run, first_row);
#pragma unroll
        for (uint32_t n = 0; n < SSD_NUMBERS; n++) handed_on[n] = h[n] = from && mine && n < numbers ? from[uint64_t(channel) * p.d_state + n0 + n] : 0.0f;
        for (uint32_t chunk = piece.from; chunk < piece.end; chunk += SSD_CHUNK) {
            uint32_t rows = min(SSD_CHUNK, piece.end - chunk);
            uint64_t row = chunk - piece.from;
            // The last chunk's numbers are read no more.
            __syncthreads();
            for (uint32_t i = t; i < rows * 2 * SSD_NUMBERS; i += SSD_THREADS) {
                uint32_t n = i % SSD_NUMBERS, which = i / SSD_NUMBERS % 2; // B, C
                if (n < numbers) factors[i] = mixed[(row + i / (2 * SSD_NUMBERS)) * width + d_inner + (which * p.groups + group) * p.d_state + n0 + n];
            }
            if (t < rows) {
                delta[t] = p.delta[(piece.row + row + t) * p.heads + head];
                decay[t] = expf(rate * delta[t]);
            }
            __syncthreads();
            if (mine)
                for (uint32_t i = 0; i < rows; i++) {
                    float x = mixed[(row + i) * width + channel];
                    bool asked = chunk + i >= piece.position;
                    float* out = p.out + (asked ? uint64_t(piece.out_row + (chunk + i - piece.position)) * d_inner + channel : 0);
                    float y = !asked ? 0.0f : n0 == 0 ? p.d_skip[head] * x : *out;
                    const float* b = factors + i * 2 * SSD_NUMBERS;
#pragma unroll
                    for (uint32_t n = 0; n < SSD_NUMBERS; n++)
                        if (n < numbers) {
                            h[n] = fmaf(decay[i], h[n], delta[i] * b[n] * x);
                            y = fmaf(b[SSD_NUMBERS + n], h[n], y);
                        }
                    if (asked) *out = y;
                }
            if (rows < SSD_CHUNK) break;
#pragma unroll
            for (uint32_t n = 0; n < SSD_NUMBERS; n++) handed_on[n] = h[n];
            uint32_t last = row_at(run, chunk + SSD_CHUNK - 1);
            for (; next_save < run.saves_to && p.forest.saves[next_save].row == last; next_save++) save(p.states.at(p.forest.saves[next_save].to));
        }
        // What the block of rows cuts goes on in the next one.
        if (run.end_row > p.end_row) save(p.states.at(0));
    }
}
