// ssd_f32   Mamba-2 (Dao and Gu 2024, arXiv:2405.21060): convolution with activation over [x | B | C], then Δ = clamp(softplus(dt + bias)),
//           h ← e^(−e^a_log Δ) h + Δ B x, y = C · h + D x, as the recurrence, head by head.
//           History rows are [x | B | C | dt]; out [rows, heads · head_dim]; states [heads · head_dim, d_state], handed on at multiples of 64 positions only: what of such a chunk
//           lies before a run's rows is run again over its past. A block takes one head, a thread one number of it (head_dim ≤ 256), through all runs of the block of rows;
//           numbers of the state come sixteen at a time, and what y has so far waits in out.
//
// Equals the verb `ssd` of src/backend/reference.rs.
#include "causal_conv.cuh"
#include "scan_states.cuh"

constexpr int SSD_THREADS = 256;
constexpr uint32_t SSD_NUMBERS = 16, SSD_CHUNK = 64;

struct SsdParams {
    Forest forest;
    Stores stores;
    States states;
    Conv conv; // over [x | B | C]
    const float* dt_bias;
    const float* a_log;
    const float* d_skip;
    float* out;
    uint32_t first_row; // of the wave
    uint32_t end_row;
    uint32_t first_run;
    uint32_t heads;
    uint32_t head_dim;
    uint32_t groups;
    uint32_t d_state;
    uint32_t history; // columns of a history row
    float dt_least;
    float dt_most;
};
static_assert(sizeof(SsdParams) == 168, "twin of params::Ssd");

KERNEL(ssd_f32, SsdParams, SSD_THREADS) {
    uint32_t* at = reinterpret_cast<uint32_t*>(smem);                  // [taps]
    float* b = reinterpret_cast<float*>(smem) + MOST_TAPS;             // [SSD_NUMBERS]
    float* c = b + SSD_NUMBERS;                                        // [SSD_NUMBERS]
    uint32_t head = blockIdx.x, t = threadIdx.x;
    uint32_t d_inner = p.heads * p.head_dim, group = head / (p.heads / p.groups);
    uint32_t channel = head * p.head_dim + t; // of x
    bool mine = t < p.head_dim;
    float rate = -expf(p.a_log[head]);

    for (uint32_t n0 = 0; n0 < p.d_state; n0 += SSD_NUMBERS) {
        uint32_t numbers = min(SSD_NUMBERS, p.d_state - n0);
        float h[SSD_NUMBERS], handed_on[SSD_NUMBERS];
        auto save = [&](float* to, const float (&from)[SSD_NUMBERS]) {
            if (!mine) return;
#pragma unroll
            for (uint32_t n = 0; n < SSD_NUMBERS; n++)
                if (n < numbers) to[uint64_t(channel) * p.d_state + n0 + n] = from[n];
        };
        ForestRun run = p.forest.runs[p.first_run];
        for (uint32_t r = p.first_run, row = p.first_row; row < p.end_row; r++) {
            run = p.forest.runs[r];
            const float* from = p.states.before(run, row);
#pragma unroll
            for (uint32_t n = 0; n < SSD_NUMBERS; n++) handed_on[n] = h[n] = from && mine && n < numbers ? from[uint64_t(channel) * p.d_state + n0 + n] : 0.0f;
            uint32_t next_save = first_save(p.forest, run, row);
            uint32_t first = run.position + (row - run.first_row), end_row = min(run.end_row, p.end_row), end = first + (end_row - row);
            for (uint32_t position = first / SSD_CHUNK * SSD_CHUNK; position < end; position++) {
                // The last position's taps and numbers are read no more.
                __syncthreads();
                if (t < p.conv.taps) at[t] = tap_row(p.conv, p.forest, run, position, t);
                __syncthreads();
                if (t < 2 * numbers) {
                    uint32_t n = t % numbers, which = t / numbers; // B, C
                    (which ? c : b)[n] = convolve(p.conv, p.stores, at, p.history, d_inner + (which * p.groups + group) * p.d_state + n0 + n);
                }
                __syncthreads();
                if (!mine) continue;
                float x = convolve(p.conv, p.stores, at, p.history, channel);
                float dt = p.stores.row(at[p.conv.taps - 1], p.history)[d_inner + 2 * p.groups * p.d_state + head] + p.dt_bias[head];
                float delta = fminf(fmaxf(softplus(dt), p.dt_least), p.dt_most);
                float decay = expf(rate * delta);
                bool asked = position >= first;
                uint64_t i = asked ? row + (position - first) - p.first_row : 0;
                float y = !asked ? 0.0f : n0 == 0 ? p.d_skip[head] * x : p.out[i * d_inner + channel];
#pragma unroll
                for (uint32_t n = 0; n < SSD_NUMBERS; n++)
                    if (n < numbers) {
                        h[n] = fmaf(decay, h[n], delta * b[n] * x);
                        y = fmaf(c[n], h[n], y);
                    }
                if (asked) {
                    p.out[i * d_inner + channel] = y;
                    uint32_t here = row + (position - first);
                    for (; next_save < run.saves_to && p.forest.saves[next_save].row == here; next_save++) save(p.states.at(p.forest.saves[next_save].to), h);
                }
                if ((position + 1) % SSD_CHUNK == 0)
#pragma unroll
                    for (uint32_t n = 0; n < SSD_NUMBERS; n++) handed_on[n] = h[n];
            }
            row = end_row;
        }
        // What the block cuts goes on in the next one.
        if (run.end_row > p.end_row) save(p.states.at(0), handed_on);
    }
}
