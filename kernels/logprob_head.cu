// ln softmax(softcap(x · Wᵀ + bias) · scale) at the tokens asked for; logits are never stored.
//
// head_segments_T   x [rows, d] and W [vocab, d] of T (bfloat16 or float16), d a multiple of 8, both aligned to 16 bytes; bias [vocab] float32 or null;
//                   row i asks for targets[ptr[i]] … targets[ptr[i + 1]].
//                   Writes, for every segment of 2,048 ids and every row, the largest logit and Σ e^(logit − largest) over it: sums [segments, rows];
//                   and every target's logit: picked [targets].
// head_combine      Segments together, in an order that the vocabulary alone decides: logs[t] = (picked − largest) − ln Σ ≤ 0; greedy[t]: picked = largest.
//
// Equals, row for row, the verb `head` of src/backend/reference.rs. That the softmax and the product can be one pass without the logits is Cut Cross-Entropy
// (Wijmans et al. 2024, arXiv:2411.09009); the running pair of a maximum and a sum is Milakov and Gimelshein 2018 (arXiv:1805.02867). There, blocks merge
// their sums as they finish; here, segments are combined in a fixed order, so that the bits are the same in every run.
//
// A block: 128 rows by one segment, in tiles of 128 ids. Eight warps, two by four, each with 64 × 32 logits of a tile in registers; chunks of 64 of d come by
// asynchronous copies, two chunks ahead of the products, over the ends of tiles. A row's sums see its own logits only: lanes keep theirs apart until the
// segment ends. Fewer tiles a segment would write more sums (8 bytes a row and segment), more would leave fewer blocks for few rows.
//
// Moves at least sizeof(T) · d · (rows + vocab) bytes and computes 2 · rows · vocab · d operations and rows · vocab exponentials.
#include "head.cuh"

constexpr int HEAD_THREADS = 256, HEAD_ROWS = 128, HEAD_COLS = 128, HEAD_CHUNK = 64, HEAD_STAGES = 3, HEAD_TILES = HEAD_SEGMENT / HEAD_COLS;
constexpr int HEAD_WARP_ROWS = 64, HEAD_WARP_COLS = 32, HEAD_WARPS_ACROSS = HEAD_COLS / HEAD_WARP_COLS;
constexpr int M_TILES = HEAD_WARP_ROWS / 16, N_TILES = HEAD_WARP_COLS / 8;

// Where 16 bytes of a chunk's row lie: rows of 128 bytes, whose eighths are turned by the row, so that eight rows' same eighth lies in different banks.
__device__ __forceinline__ int swizzled(int row, int eighth) { return row * HEAD_CHUNK + ((eighth ^ row % 8) * 8); }

// Copies `count` rows of a chunk of d, zeros past the last row and past d.
template <class T> __device__ __forceinline__ void fetch_chunk(T* to, const T* from, uint32_t first, uint32_t limit, uint32_t d, uint32_t chunk, int count) {
    constexpr int EIGHTHS = HEAD_CHUNK / 8;
    for (int i = threadIdx.x; i < count * EIGHTHS; i += HEAD_THREADS) {
        uint32_t row = i / EIGHTHS, column = chunk * HEAD_CHUNK + i % EIGHTHS * 8;
        bool there = first + row < limit && column < d;
        cp_async16(to + swizzled(row, i % EIGHTHS), there ? from + uint64_t(first + row) * d + column : from, there ? 16 : 0);
    }
}

template <class T> __device__ void head_segments(const HeadParams& p) {
    constexpr int STAGE = (HEAD_ROWS + HEAD_COLS) * HEAD_CHUNK;
    T* room = reinterpret_cast<T*>(smem);
    const T* x = static_cast<const T*>(p.x);
    const T* weight = static_cast<const T*>(p.weight);
    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    int warp_row = warp / HEAD_WARPS_ACROSS * HEAD_WARP_ROWS, warp_col = warp % HEAD_WARPS_ACROSS * HEAD_WARP_COLS;
    uint32_t first_row = blockIdx.x * HEAD_ROWS, segment = blockIdx.y;
    uint32_t first_id = segment * HEAD_SEGMENT;
    uint32_t tiles = min((p.vocab - first_id + HEAD_COLS - 1) / HEAD_COLS, uint32_t(HEAD_TILES));
    uint32_t chunks = (p.d + HEAD_CHUNK - 1) / HEAD_CHUNK, steps = tiles * chunks;

    auto fetch = [&](uint32_t step) {
        if (step < steps) {
            T* to = room + step % HEAD_STAGES * STAGE;
            fetch_chunk(to, x, first_row, p.rows, p.d, step % chunks, HEAD_ROWS);
            fetch_chunk(to + HEAD_ROWS * HEAD_CHUNK, weight, first_id + step / chunks * HEAD_COLS, p.vocab, p.d, step % chunks, HEAD_COLS);
        }
        // An empty group keeps the count of groups right at the end.
        cp_async_commit();
    };

    Running running[M_TILES][2];
    uint32_t asked[M_TILES][2][2]; // a row's targets: from, to
#pragma unroll
    for (int m = 0; m < M_TILES; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            running[m][i] = {-INFINITY, 0.0f};
            uint32_t row = first_row + warp_row + m * 16 + i * 8 + lane / 4;
            asked[m][i][0] = row < p.rows ? p.ptr[row] : 0;
            asked[m][i][1] = row < p.rows ? p.ptr[row + 1] : 0;
        }
    float c[M_TILES][N_TILES][4] = {};

    for (int s = 0; s < HEAD_STAGES - 1; s++) fetch(s);
    for (uint32_t step = 0; step < steps; step++) {
        cp_async_wait<HEAD_STAGES - 2>();
        // All see this step's chunk; and all are done with the one that is overwritten next.
        __syncthreads();
        fetch(step + HEAD_STAGES - 1);
        const T* a_room = room + step % HEAD_STAGES * STAGE;
        const T* b_room = a_room + HEAD_ROWS * HEAD_CHUNK;
#pragma unroll
        for (int k = 0; k < HEAD_CHUNK / 16; k++) {
            uint32_t a[M_TILES][4], b[N_TILES / 2][4];
#pragma unroll
            for (int m = 0; m < M_TILES; m++) ldmatrix_x4(a[m], a_room + swizzled(warp_row + m * 16 + lane % 16, 2 * k + lane / 16));
#pragma unroll
            for (int n = 0; n < N_TILES / 2; n++) ldmatrix_x4(b[n], b_room + swizzled(warp_col + n * 16 + lane / 16 * 8 + lane % 8, 2 * k + lane / 8 % 2));
#pragma unroll
            for (int m = 0; m < M_TILES; m++)
#pragma unroll
                for (int n = 0; n < N_TILES; n++) mma_16816(c[m][n], a[m], b[n / 2][n % 2 * 2], b[n / 2][n % 2 * 2 + 1], T{});
        }
        if (step % chunks != chunks - 1) continue;

        uint32_t tile_id = first_id + step / chunks * HEAD_COLS, id0 = tile_id + warp_col + lane % 4 * 2;
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                float largest = running[m][i].largest;
#pragma unroll
                for (int n = 0; n < N_TILES; n++)
#pragma unroll
                    for (int j = 0; j < 2; j++) {
                        float& v = c[m][n][2 * i + j];
                        v = logit(p, v, id0 + n * 8 + j);
                        largest = fmaxf(largest, v);
                    }
                for (uint32_t t = asked[m][i][0]; t < asked[m][i][1]; t++) {
                    uint32_t target = p.targets[t];
                    if (target - tile_id >= HEAD_COLS) continue;
#pragma unroll
                    for (int n = 0; n < N_TILES; n++)
#pragma unroll
                        for (int j = 0; j < 2; j++)
                            if (target == id0 + n * 8 + j) p.picked[t] = c[m][n][2 * i + j];
                }
                if (largest > -INFINITY) {
                    float sum = running[m][i].sum * exp2_approx((running[m][i].largest - largest) * LOG2_E);
#pragma unroll
                    for (int n = 0; n < N_TILES; n++)
#pragma unroll
                        for (int j = 0; j < 2; j++) sum += exp2_approx((c[m][n][2 * i + j] - largest) * LOG2_E);
                    running[m][i] = {largest, sum};
                }
#pragma unroll
                for (int n = 0; n < N_TILES; n++) c[m][n][2 * i] = c[m][n][2 * i + 1] = 0.0f;
            }
    }

    // The last chunk is done with; what follows lies where the chunks were.
    __syncthreads();
    Running* across = reinterpret_cast<Running*>(smem); // [warps across, rows]
#pragma unroll
    for (int m = 0; m < M_TILES; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            Running r = running[m][i];
#pragma unroll
            for (int by = 1; by < 4; by *= 2) r = together(r, {__shfl_xor_sync(ALL_LANES, r.largest, by), __shfl_xor_sync(ALL_LANES, r.sum, by)});
            if (lane % 4 == 0) across[warp % HEAD_WARPS_ACROSS * HEAD_ROWS + warp_row + m * 16 + i * 8 + lane / 4] = r;
        }
    __syncthreads();
    int row = threadIdx.x;
    if (row < HEAD_ROWS && first_row + row < p.rows) {
        Running r = across[row];
        for (int w = 1; w < HEAD_WARPS_ACROSS; w++) r = together(r, across[w * HEAD_ROWS + row]);
        p.sums[uint64_t(segment) * p.rows + first_row + row] = {r.largest, r.sum};
    }
}

KERNEL(head_segments_bf16, HeadParams, HEAD_THREADS) { head_segments<bf16>(p); }
KERNEL(head_segments_f16, HeadParams, HEAD_THREADS) { head_segments<f16>(p); }

struct HeadCombineParams {
    const float2* sums;
    const float* picked;
    const uint32_t* ptr;
    float* logs;
    uint8_t* greedy; // null: not asked
    uint32_t rows;
    uint32_t segments;
};
static_assert(sizeof(HeadCombineParams) == 48, "twin of params::HeadCombine");

// A warp a row.
KERNEL(head_combine, HeadCombineParams, HEAD_THREADS) {
    int lane = threadIdx.x % WARP;
    uint32_t row = blockIdx.x * (HEAD_THREADS / WARP) + threadIdx.x / WARP;
    if (row >= p.rows) return;
    Running all = {-INFINITY, 0.0f};
    for (uint32_t s = lane; s < p.segments; s += WARP) {
        float2 part = p.sums[uint64_t(s) * p.rows + row];
        all = together(all, {part.x, part.y});
    }
    for (int by = WARP / 2; by > 0; by /= 2) all = together(all, {__shfl_xor_sync(ALL_LANES, all.largest, by), __shfl_xor_sync(ALL_LANES, all.sum, by)});
    float log_sum = logf(all.sum);
    for (uint32_t t = p.ptr[row] + lane; t < p.ptr[row + 1]; t += WARP) {
        p.logs[t] = (p.picked[t] - all.largest) - log_sum;
        if (p.greedy) p.greedy[t] = p.picked[t] == all.largest;
    }
}
