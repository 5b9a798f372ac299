// ln softmax(softcap(x · Wᵀ + bias) · scale) at the tokens asked for; logits are never stored.
//
// head_segments_T   x [rows, d] and W [vocab, d] of T (bfloat16 or float16), d a multiple of 8, both aligned to 16 bytes; bias [vocab] float32 or null;
//                   row i asks for targets[ptr[i]] … targets[ptr[i + 1]].
//                   Writes, for every segment of 2,048 ids and every row, the largest logit and Σ e^(logit − largest) over it: sums [segments, rows];
//                   and every target's logit: picked [targets].
// head_segments_T_90  The same on sm_90a, where maps say where x and W lie.
// head_combine      Segments together, in an order that the vocabulary alone decides: logs[t] = (picked − largest) − ln Σ ≤ 0; greedy[t]: picked = largest.
//
// Equals, row for row, the verb `head` of src/backend/reference.rs. That the softmax and the product can be one pass without the logits is Cut Cross-Entropy
// (Wijmans et al. 2024, arXiv:2411.09009); the running pair of a maximum and a sum is Milakov and Gimelshein 2018 (arXiv:1805.02867). There, blocks merge
// their sums as they finish; here, segments are combined in a fixed order, so that the bits are the same in every run.
//
// A block: 128 rows by one segment, a tile of 128 ids (256 on sm_90a) after another. A row's sums see its own logits only: lanes keep theirs apart until the segment ends. Fewer
// tiles a segment would write more sums (8 bytes a row and segment), more would leave fewer blocks for few rows.
//
// Moves at least sizeof(T) · d · (rows + vocab) bytes and computes 2 · rows · vocab · d operations and rows · vocab exponentials.
#include "head.cuh"
#include "tensor_product.cuh"
#include "tensor_product90.cuh"

template <class T> __device__ void head_segments(const HeadParams& p) {
    int lane = threadIdx.x % WARP;
    uint32_t first_row = tile_place().row * TENSOR_ROWS, segment = tile_place().column, first_id = segment * HEAD_SEGMENT;
    if (first_row >= p.rows) return;
    uint32_t tiles = tiles_of(min(p.vocab - first_id, HEAD_SEGMENT), TENSOR_COLS);

    Running running[M_TILES][2];
#pragma unroll
    for (int m = 0; m < M_TILES; m++) running[m][0] = running[m][1] = {-INFINITY, 0.0f};

    auto x_row = [&](uint32_t i) { return first_row + i < p.rows ? first_row + i : NOWHERE; };
    auto w_row = [&](uint32_t tile, uint32_t n) {
        uint32_t id = first_id + tile * TENSOR_COLS + n;
        return id < p.vocab ? id : NOWHERE;
    };
    Tile c;
    auto finish = [&](uint32_t tile) {
        uint32_t tile_id = first_id + tile * TENSOR_COLS, id0 = tile_id + warp_col() + lane % 4 * 2;
#pragma unroll
        for (int m = 0; m < M_TILES; m++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
                uint32_t row = first_row + warp_row() + m * 16 + i * 8 + lane / 4;
                take<N_TILES>(p, row, running[m][i], tile_id, TENSOR_COLS, id0, [&](int n, int j) -> float& { return c[m][n][2 * i + j]; });
            }
    };
    tensor_tiles(static_cast<const T*>(p.x), p.d, x_row, static_cast<const T*>(p.weight), p.d, w_row, tiles, c, finish);

    Running* across = reinterpret_cast<Running*>(smem); // [warps across, rows]
#pragma unroll
    for (int m = 0; m < M_TILES; m++)
#pragma unroll
        for (int i = 0; i < 2; i++) {
            Running r = of_four_lanes(running[m][i]);
            if (lane % 4 == 0) across[warp_col() / WARP_COLS * TENSOR_ROWS + warp_row() + m * 16 + i * 8 + lane / 4] = r;
        }
    __syncthreads();
    int mine = threadIdx.x;
    if (mine < TENSOR_ROWS && first_row + mine < p.rows) {
        Running r = across[mine];
        for (int w = 1; w < WARPS_ACROSS; w++) r = together(r, across[w * TENSOR_ROWS + mine]);
        p.sums[uint64_t(segment) * p.rows + first_row + mine] = {r.largest, r.sum};
    }
}

KERNEL(head_segments_bf16, HeadParams, TENSOR_THREADS) { head_segments<bf16>(p); }
KERNEL(head_segments_f16, HeadParams, TENSOR_THREADS) { head_segments<f16>(p); }

struct Head90Params {
    TensorMap x_map;
    TensorMap weight_map;
    HeadParams head; // x and weight unread
};
static_assert(sizeof(Head90Params) == 384, "twin of params::Head90");

template <class T> __device__ __forceinline__ void head_segments90(const Head90Params& all) {
#ifdef HOPPER
    const HeadParams& p = all.head;
    uint32_t first_row = tile_place().row * WIDE_ROWS, segment = tile_place().column, first_id = segment * HEAD_SEGMENT;
    if (first_row >= p.rows) return;
    uint32_t tiles = tiles_of(min(p.vocab - first_id, HEAD_SEGMENT), WIDE_COLS);
    uint32_t row0 = first_row + wide_row();
    Running running[2] = {{-INFINITY, 0.0f}, {-INFINITY, 0.0f}};
    WideTile c;
    auto w_row = [&](uint32_t tile, uint32_t half) { return first_id + tile * WIDE_COLS + half * (WIDE_COLS / 2); };
    auto finish = [&](uint32_t tile) {
        uint32_t tile_id = first_id + tile * WIDE_COLS;
#pragma unroll
        for (int i = 0; i < 2; i++)
            take<WIDE_COLS / 8>(p, row0 + i * 8, running[i], tile_id, WIDE_COLS, tile_id + threadIdx.x % 4 * 2, [&](int n, int j) -> float& { return c[4 * n + 2 * i + j]; });
    };
    if (!wide_tiles<T>(all.x_map, first_row, all.weight_map, w_row, p.d, tiles, c, finish)) return;
#pragma unroll
    for (int i = 0; i < 2; i++) {
        Running r = of_four_lanes(running[i]);
        uint32_t row = row0 + i * 8;
        if (threadIdx.x % 4 == 0 && row < p.rows) p.sums[uint64_t(segment) * p.rows + row] = {r.largest, r.sum};
    }
#else
    __trap();
#endif
}

KERNEL(head_segments_bf16_90, Head90Params, WIDE_THREADS) { head_segments90<bf16>(p); }
KERNEL(head_segments_f16_90, Head90Params, WIDE_THREADS) { head_segments90<f16>(p); }

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
KERNEL(head_combine, HeadCombineParams, TENSOR_THREADS) {
    int lane = threadIdx.x % WARP;
    uint32_t row = blockIdx.x * (TENSOR_THREADS / WARP) + threadIdx.x / WARP;
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
