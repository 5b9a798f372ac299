// scan_f32   Mamba-1's selective scan (Gu and Dao 2023, arXiv:2312.00752): Δ = softplus(dt), h ← e^(Δ A) h + Δ B x, y = (C · h + D x) · act(z), A = −e^a_log.
//            x, dt [rows, d_inner]; B and C next to each other in rows of `bc`; z in rows of z; out [rows, d_inner]; a_log [d_inner, d_state]; states [d_state, d_inner], so
//            that channels lie side by side. A thread takes one channel through all runs of the block of rows, in their order, so that it finds what it saved itself;
//            numbers of the state come sixteen at a time, and what y has so far waits in out.
//
// Equals the verb `scan` of src/backend/reference.rs. Computes d_inner · d_state exponentials and 6 operations each a row.
#include "numbers.cuh"
#include "scan_states.cuh"

constexpr int SCAN_THREADS = 64;
constexpr uint32_t SCAN_NUMBERS = 16;

struct ScanParams {
    Forest forest;
    States states;
    const float* x;
    const float* dt;
    const float* bc;
    const float* z;
    const float* a_log;
    const float* d_skip;
    float* out;
    uint32_t first_row; // of the wave
    uint32_t end_row;
    uint32_t first_run; // the one of the first row
    uint32_t d_inner;
    uint32_t d_state;
    uint32_t bc_stride; // B begins at `bc`, C right after it
    uint32_t z_stride;
    uint32_t act;
};
static_assert(sizeof(ScanParams) == 144, "twin of params::Scan");

KERNEL(scan_f32, ScanParams, SCAN_THREADS) {
    uint32_t channel = blockIdx.x * SCAN_THREADS + threadIdx.x;
    if (channel >= p.d_inner) return;
    for (uint32_t n0 = 0; n0 < p.d_state; n0 += SCAN_NUMBERS) {
        uint32_t numbers = min(SCAN_NUMBERS, p.d_state - n0);
        bool first_pass = n0 == 0, last_pass = n0 + SCAN_NUMBERS >= p.d_state;
        float a[SCAN_NUMBERS], h[SCAN_NUMBERS];
#pragma unroll
        for (uint32_t n = 0; n < SCAN_NUMBERS; n++) a[n] = n < numbers ? -expf(p.a_log[uint64_t(channel) * p.d_state + n0 + n]) : 0.0f;
        auto load = [&](const float* from) {
#pragma unroll
            for (uint32_t n = 0; n < SCAN_NUMBERS; n++) h[n] = from && n < numbers ? from[uint64_t(n0 + n) * p.d_inner + channel] : 0.0f;
        };
        auto save = [&](float* to) {
#pragma unroll
            for (uint32_t n = 0; n < SCAN_NUMBERS; n++)
                if (n < numbers) to[uint64_t(n0 + n) * p.d_inner + channel] = h[n];
        };
        ForestRun run = p.forest.runs[p.first_run];
        for (uint32_t r = p.first_run, row = p.first_row; row < p.end_row; r++) {
            run = p.forest.runs[r];
            load(p.states.before(run, row));
            uint32_t next_save = first_save(p.forest, run, row);
            uint32_t end = min(run.end_row, p.end_row);
            for (; row < end; row++) {
                uint64_t i = row - p.first_row;
                float dt = p.dt[i * p.d_inner + channel], x = p.x[i * p.d_inner + channel];
                float delta = softplus(dt);
                float y = first_pass ? p.d_skip[channel] * x : p.out[i * p.d_inner + channel];
                const float* b = p.bc + i * p.bc_stride + n0;
                const float* c = b + p.d_state;
#pragma unroll
                for (uint32_t n = 0; n < SCAN_NUMBERS; n++)
                    if (n < numbers) {
                        h[n] = fmaf(expf(delta * a[n]), h[n], delta * b[n] * x);
                        y = fmaf(c[n], h[n], y);
                    }
                if (last_pass) y *= activate(Activation(p.act), p.z[i * p.z_stride + channel]);
                p.out[i * p.d_inner + channel] = y;
                for (; next_save < run.saves_to && p.forest.saves[next_save].row == row; next_save++) save(p.states.at(p.forest.saves[next_save].to));
            }
        }
        // What the block cuts goes on in the next one.
        if (run.end_row > p.end_row) save(p.states.at(0));
    }
}
