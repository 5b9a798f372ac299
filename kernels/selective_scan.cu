// scan_f32   Mamba-1's selective scan (Gu and Dao 2023, arXiv:2312.00752): Δ = softplus(dt), h ← e^(Δ A) h + Δ B x, y = (C · h + D x) · act(z), A = −e^a_log.
//            x, dt [rows, d_inner]; B and C next to each other in rows of `bc`; z in rows of z; out [rows, d_inner]; a_log [d_inner, d_state]; states [d_state, d_inner], so
//            that channels lie side by side. `runs`: those whose states are there already, or saved by launches before this one.
//
// Equals the verb `scan` of src/backend/reference.rs. Computes d_inner · d_state exponentials a row, which is what takes the time.
//
// A block: 16 channels of one run. Four lanes share a channel, each with four numbers of its state, and go from token to token with all of it in registers;
// sixteen numbers at a time, and what y has so far waits in out. Tokens come in tiles of 16 by asynchronous copies, one tile ahead; what is computed once a token and
// channel (softplus, gate) is computed by one thread. Where a tile begins does not enter any sum.
#include "ptx.cuh"
#include "scan_states.cuh"

constexpr int SCAN_THREADS = 64;
constexpr uint32_t SCAN_CHANNELS = 16, SCAN_NUMBERS = 16, SCAN_ROWS = 16;

struct ScanParams {
    Forest forest;
    States states;
    const uint32_t* runs;
    const float* x;
    const float* dt;
    const float* bc;
    const float* z;
    const float* a_log;
    const float* d_skip;
    float* out;
    uint32_t first_row; // of the wave
    uint32_t end_row;
    uint32_t d_inner;
    uint32_t d_state;
    uint32_t bc_stride; // B begins at `bc`, C right after it
    uint32_t z_stride;
    uint32_t act;
    uint32_t padding;
};
static_assert(sizeof(ScanParams) == 152, "twin of params::Scan");

// What a token does to a channel.
struct ScanStep {
    float delta;
    float input; // Δ x
};

KERNEL_BY(8, scan_f32, ScanParams, SCAN_THREADS) {
    // Of a tile a thread copies PAIRS numbers each of dt, x and z, which only it reads, and FACTORS of B and C.
    constexpr uint32_t PAIRS = SCAN_ROWS * SCAN_CHANNELS / SCAN_THREADS, FACTORS = SCAN_ROWS * 2 * SCAN_NUMBERS / SCAN_THREADS;
    constexpr uint32_t PAIR_ROWS = SCAN_THREADS / SCAN_CHANNELS, FACTOR_ROWS = SCAN_THREADS / (2 * SCAN_NUMBERS);
    ScanStep* steps = reinterpret_cast<ScanStep*>(smem);                          // [SCAN_ROWS, SCAN_CHANNELS]
    float* sums = reinterpret_cast<float*>(steps + SCAN_ROWS * SCAN_CHANNELS);    // [SCAN_ROWS, SCAN_CHANNELS]
    float* inputs = sums + SCAN_ROWS * SCAN_CHANNELS;                             // [two tiles, dt and x and z, PAIRS, SCAN_THREADS]
    float* factors = inputs + 2 * 3 * PAIRS * SCAN_THREADS;                       // [two tiles, SCAN_ROWS, B and C, SCAN_NUMBERS]

    uint32_t slices = (p.d_inner + SCAN_CHANNELS - 1) / SCAN_CHANNELS, first_channel = blockIdx.x % slices * SCAN_CHANNELS;
    ForestRun run = p.forest.runs[p.runs[blockIdx.x / slices]];
    uint32_t begin = max(run.first_row, p.first_row), end = min(run.end_row, p.end_row);
    // As a lane: four numbers of a channel.
    uint32_t lane = threadIdx.x % 4, mine = threadIdx.x / 4, channel = first_channel + mine;
    // As a thread of a tile: one channel of every PAIR_ROWS-th token; one number of B or C of every FACTOR_ROWS-th.
    uint32_t tile_channel = first_channel + threadIdx.x % SCAN_CHANNELS, tile_row = threadIdx.x / SCAN_CHANNELS;
    uint32_t factor = threadIdx.x % (2 * SCAN_NUMBERS), factor_row = threadIdx.x / (2 * SCAN_NUMBERS);
    bool has_channel = tile_channel < p.d_inner;

    for (uint32_t n0 = 0; n0 < p.d_state; n0 += SCAN_NUMBERS) {
        bool first_pass = n0 == 0, last_pass = n0 + SCAN_NUMBERS >= p.d_state;
        uint32_t first = n0 + 4 * lane, numbers = channel < p.d_inner && first < p.d_state ? min(4u, p.d_state - first) : 0;
        float a[4], h[4];
        const float* from = p.states.before(run, begin);
#pragma unroll
        for (uint32_t n = 0; n < 4; n++) {
            a[n] = n < numbers ? -expf(p.a_log[uint64_t(channel) * p.d_state + first + n]) * LOG2_E : 0.0f;
            h[n] = from && n < numbers ? from[uint64_t(first + n) * p.d_inner + channel] : 0.0f;
        }
        auto save = [&](float* to) {
#pragma unroll
            for (uint32_t n = 0; n < 4; n++)
                if (n < numbers) to[uint64_t(first + n) * p.d_inner + channel] = h[n];
        };
        // The next token after which the state is kept: for a fork, or because the block of rows ends.
        uint32_t next_save = first_save(p.forest, run, begin);
        auto next_kept = [&] {
            uint32_t fork = next_save < run.saves_to ? p.forest.saves[next_save].row : NOWHERE;
            return fork < end - 1 || run.end_row <= p.end_row ? fork : end - 1;
        };
        uint32_t kept = next_kept();

        auto fetch = [&](uint32_t tile) {
            float* to = inputs + tile % 2 * 3 * PAIRS * SCAN_THREADS + threadIdx.x;
            uint32_t row = begin + tile * SCAN_ROWS;
#pragma unroll
            for (uint32_t i = 0; i < PAIRS; i++, to += SCAN_THREADS) {
                uint32_t r = row + tile_row + i * PAIR_ROWS;
                bool there = r < end && has_channel;
                uint64_t at = there ? r - p.first_row : 0;
                uint32_t column = there ? tile_channel : 0;
                cp_async4(to, p.dt + at * p.d_inner + column, there);
                cp_async4(to + PAIRS * SCAN_THREADS, p.x + at * p.d_inner + column, there);
                cp_async4(to + 2 * PAIRS * SCAN_THREADS, p.z + at * p.z_stride + column, there);
            }
            to = factors + (tile % 2 * SCAN_ROWS + factor_row) * 2 * SCAN_NUMBERS + factor;
            uint32_t n = n0 + factor % SCAN_NUMBERS;
#pragma unroll
            for (uint32_t i = 0; i < FACTORS; i++, to += FACTOR_ROWS * 2 * SCAN_NUMBERS) {
                uint32_t r = row + factor_row + i * FACTOR_ROWS;
                bool there = r < end && n < p.d_state;
                uint64_t at = there ? r - p.first_row : 0;
                cp_async4(to, p.bc + at * p.bc_stride + (there ? factor / SCAN_NUMBERS * p.d_state + n : 0), there);
            }
            cp_async_commit();
        };
        uint32_t tiles = (end - begin + SCAN_ROWS - 1) / SCAN_ROWS;
        fetch(0);
        for (uint32_t tile = 0; tile < tiles; tile++) {
            uint32_t row = begin + tile * SCAN_ROWS;
            cp_async_wait<0>();
            const float* dt = inputs + tile % 2 * 3 * PAIRS * SCAN_THREADS + threadIdx.x;
            const float* x = dt + PAIRS * SCAN_THREADS;
            const float* z = x + PAIRS * SCAN_THREADS;
#pragma unroll
            for (uint32_t i = 0; i < PAIRS; i++) {
                // Tokens past the end leave the state as it is, and nobody reads it after them.
                float delta = row + tile_row + i * PAIR_ROWS < end ? softplus(dt[i * SCAN_THREADS]) : 0.0f;
                steps[threadIdx.x + i * SCAN_THREADS] = {delta, delta * x[i * SCAN_THREADS]};
            }
            // All have their copies and steps here, and are done with the tile before this one, where the next one goes.
            __syncthreads();
            if (tile + 1 < tiles) fetch(tile + 1);

            const Four<float>* b = reinterpret_cast<const Four<float>*>(factors + tile % 2 * SCAN_ROWS * 2 * SCAN_NUMBERS) + lane;
            const Four<float>* c = b + SCAN_NUMBERS / 4;
            // One token: what this lane's numbers add to y.
            auto advance = [&](uint32_t t) {
                ScanStep step = steps[t * SCAN_CHANNELS + mine];
                Four<float> in = b[t * SCAN_NUMBERS / 2], out = c[t * SCAN_NUMBERS / 2];
                float sum = 0.0f;
#pragma unroll
                for (uint32_t n = 0; n < 4; n++) {
                    h[n] = fmaf(exp2_approx(step.delta * a[n]), h[n], step.input * in.x[n]);
                    sum = fmaf(out.x[n], h[n], sum);
                }
                return sum;
            };
            for (uint32_t t = 0; t < SCAN_ROWS; t += 4) {
                // A token's four sums are added as (lanes 0 + 2) + (lanes 1 + 3), either way.
                if (kept - (row + t) >= 4) {
                    float sum[4];
#pragma unroll
                    for (uint32_t j = 0; j < 4; j++) sum[j] = advance(t + j);
                    // Four tokens at once: lane l ends with the one at t + l.
                    bool high = lane & 2, odd = lane & 1;
                    float even_sum = (high ? sum[2] : sum[0]) + __shfl_xor_sync(ALL_LANES, high ? sum[0] : sum[2], 2);
                    float odd_sum = (high ? sum[3] : sum[1]) + __shfl_xor_sync(ALL_LANES, high ? sum[1] : sum[3], 2);
                    sums[(t + lane) * SCAN_CHANNELS + mine] = (odd ? odd_sum : even_sum) + __shfl_xor_sync(ALL_LANES, odd ? even_sum : odd_sum, 1);
                    continue;
                }
#pragma unroll 1
                for (uint32_t j = 0; j < 4; j++) {
                    float sum = advance(t + j);
                    sum += __shfl_xor_sync(ALL_LANES, sum, 2);
                    sum += __shfl_xor_sync(ALL_LANES, sum, 1);
                    if (lane == 0) sums[(t + j) * SCAN_CHANNELS + mine] = sum;
                    if (row + t + j != kept) continue;
                    for (; next_save < run.saves_to && p.forest.saves[next_save].row == kept; next_save++) save(p.states.at(p.forest.saves[next_save].to));
                    // What the block of rows cuts goes on in the next one.
                    if (kept == end - 1 && run.end_row > p.end_row) save(p.states.at(0));
                    kept = next_kept();
                }
            }
            __syncthreads();
#pragma unroll
            for (uint32_t i = 0; i < PAIRS; i++) {
                uint32_t r = row + tile_row + i * PAIR_ROWS;
                if (r >= end || !has_channel) break;
                float* out = p.out + uint64_t(r - p.first_row) * p.d_inner + tile_channel;
                float y = sums[threadIdx.x + i * SCAN_THREADS] + (first_pass ? p.d_skip[tile_channel] * x[i * SCAN_THREADS] : *out);
                *out = last_pass ? y * activate(Activation(p.act), z[i * SCAN_THREADS]) : y;
            }
        }
    }
}
