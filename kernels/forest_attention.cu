// Softmax attention of spans' rows over their pasts in a forest and, causally, over themselves; the flash way: scores are never stored.
//
// forest_attention_T_D   q [rows, q_stride] float32, heads · head_dim columns first; keys [kv_heads, store rows, head_dim] and values [kv_heads, store rows, v_head_dim]
//                        of T (bfloat16 or float16) in two stores, the wave's and the resident one; both widths multiples of 8 and at most D, beyond which zeros are
//                        multiplied; sinks [heads] float32 or none; out [rows, heads · v_head_dim] of T.
//                        Row i at position p sees the keys of its path at positions max(0, p + 1 − window) … p: score = softcap(q·k · scale), and
//                        out = Σ e^score · v / (Σ e^score + e^sink). q and the weights e^(score − largest) are rounded to T, sums are float32.
// attention_merge_T      The sink and then, in order, the parts of rows whose pasts are longer than a segment: out of these rows.
//
// Equals the verb `attention` of src/backend/reference.rs. Online softmax over tiles: Dao et al. 2022 (FlashAttention, arXiv:2205.14135), with the work of a block and
// the reuse of registers between the two products as in Dao 2023 (arXiv:2307.08691).
//
// The bits of a row are its own. Tiles are 64 absolute positions (32 where heads are wider than 128) and segments 2,048, whatever the span, the fork or the wave; a key that a row does not see
// enters as e^−∞ = 0; a tile of none leaves largest, sum and output as they were; parts are merged in order, and one that saw nothing changes nothing. A row's sink
// (Agarwal et al. 2025, arXiv:2508.10925) enters once, where its out is written: no part knows of it. One of −∞ leaves every bit as it is without.
//
// A block: an item of up to 64 queries (rows of one span × heads that share a key-value head) over one segment. Four warps with 16 queries each; tiles
// of keys and values come by asynchronous copies, row by row from where the path's segments lie, one tile ahead.
#include "forest_attention.cuh"

constexpr int ATTENTION_THREADS = 128, QUERIES = 64;

template <class T, int D> __device__ void forest_attention(const AttentionParams& p) {
    // Of wide heads half as many: more would fit neither the registers nor the shared memory of sm_80.
    constexpr uint32_t KEYS = D > 128 ? KEY_TILE / 2 : KEY_TILE;
    // Eight numbers more than a row has, so that eight rows' same eighth lies in different banks.
    constexpr int STRIDE = D + 8, TILE = KEYS * STRIDE, N_TILES = KEYS / 8, D_TILES = D / 8;
    T* q_room = reinterpret_cast<T*>(smem);    // [queries, STRIDE]
    T* k_room = q_room + QUERIES * STRIDE;     // two tiles
    T* v_room = k_room + 2 * TILE;             // two tiles
    uint32_t* where = reinterpret_cast<uint32_t*>(v_room + 2 * TILE); // [2, keys]

    int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP;
    AttentionItem item = p.items[blockIdx.x];
    AttentionReach at = reach_of<KEYS>(p, item);
    uint32_t tile = at.tile;

    auto find = [&](uint32_t tile) {
        uint32_t position = tile * KEYS + threadIdx.x;
        if (threadIdx.x < KEYS) where[tile % 2 * KEYS + threadIdx.x] = position < at.end ? locate(p.forest, at.run, position) : NOWHERE;
    };
    auto fetch = [&](uint32_t tile) {
        for (uint32_t i = threadIdx.x; i < KEYS * D_TILES; i += ATTENTION_THREADS) {
            int key = i / D_TILES, eighth = i % D_TILES;
            uint32_t row = where[tile % 2 * KEYS + key];
            int store = row != NOWHERE && (row & RESIDENT) ? 1 : 0;
            uint64_t store_row = at.kv * p.store_rows[store] + (row & ~RESIDENT);
            int to = int(tile % 2) * TILE + key * STRIDE + eighth * 8;
            auto copy = [&](T* room, const void* of, uint32_t width) {
                bool there = row != NOWHERE && uint32_t(eighth) * 8 < width;
                cp_async16(room + to, static_cast<const T*>(of) + (there ? store_row * width + eighth * 8 : 0), there ? 16 : 0);
            };
            copy(k_room, p.keys[store], p.head_dim);
            copy(v_room, p.values[store], p.v_head_dim);
        }
    };

    find(tile);
    for (int i = threadIdx.x; i < QUERIES * D; i += ATTENTION_THREADS) {
        uint32_t query = i / D, column = i % D;
        bool there = query < at.queries && column < p.head_dim;
        uint32_t row = item.first_row - p.block_row + query / item.heads, head = at.first_head + query % item.heads;
        q_room[query * STRIDE + column] = narrow<T>(there ? p.q[uint64_t(row) * p.q_stride + head * p.head_dim + column] : 0.0f);
    }
    __syncthreads();
    fetch(tile);
    cp_async_commit();
    if (tile + 1 < at.tiles_end) find(tile + 1);

    // Two queries a lane: rows lane / 4 and lane / 4 + 8 of the warp's sixteen.
    uint32_t position[2];
#pragma unroll
    for (int i = 0; i < 2; i++) position[i] = at.first_position + min(uint32_t(warp * 16 + i * 8 + lane / 4) / item.heads, item.rows - 1);
    float largest[2] = {-INFINITY, -INFINITY}, sum[2] = {0.0f, 0.0f};
    float o[D_TILES][4] = {};

    for (; tile < at.tiles_end; tile++) {
        // All have located the next tile, and are done with the one before this one, where the next one goes.
        __syncthreads();
        if (tile + 1 < at.tiles_end) fetch(tile + 1);
        cp_async_commit();
        cp_async_wait<1>();
        __syncthreads();
        if (tile + 2 < at.tiles_end) find(tile + 2);
        const T* k_tile = k_room + tile % 2 * TILE;
        const T* v_tile = v_room + tile % 2 * TILE;

        float s[N_TILES][4] = {};
#pragma unroll
        for (int k = 0; k < D / 16; k++) {
            uint32_t a[4];
            ldmatrix_x4(a, q_room + (warp * 16 + lane % 16) * STRIDE + k * 16 + lane / 16 * 8);
#pragma unroll
            for (int n = 0; n < N_TILES / 2; n++) {
                uint32_t b[4];
                ldmatrix_x4(b, k_tile + (n * 16 + lane / 16 * 8 + lane % 8) * STRIDE + k * 16 + lane / 8 % 2 * 8);
                mma_16816(s[2 * n], a, b[0], b[1], T{});
                mma_16816(s[2 * n + 1], a, b[2], b[3], T{});
            }
        }

#pragma unroll
        for (int i = 0; i < 2; i++) {
            float most = -INFINITY;
#pragma unroll
            for (int n = 0; n < N_TILES; n++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    float& x = s[n][2 * i + j];
                    uint32_t key = tile * KEYS + n * 8 + lane % 4 * 2 + j;
                    bool seen = key <= position[i] && (!p.window || key + p.window > position[i]);
                    x = seen ? capped(x * p.scale, p.softcap) * LOG2_E : -INFINITY;
                    most = fmaxf(most, x);
                }
            // The four lanes of a query.
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
            most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
            float now = fmaxf(largest[i], most);
            // Nothing seen so far: −∞ − −∞ would be no number.
            float base = now == -INFINITY ? 0.0f : now;
            float factor = exp2_approx(largest[i] - base);
            largest[i] = now;
            sum[i] *= factor;
#pragma unroll
            for (int d = 0; d < D_TILES; d++) {
                o[d][2 * i] *= factor;
                o[d][2 * i + 1] *= factor;
            }
#pragma unroll
            for (int n = 0; n < N_TILES; n++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    float& x = s[n][2 * i + j];
                    x = exp2_approx(x - base);
                    sum[i] += x;
                }
        }

#pragma unroll
        for (uint32_t k = 0; k < KEYS / 16; k++) {
            uint32_t a[4] = {pair(s[2 * k][0], s[2 * k][1], T{}), pair(s[2 * k][2], s[2 * k][3], T{}), pair(s[2 * k + 1][0], s[2 * k + 1][1], T{}),
                             pair(s[2 * k + 1][2], s[2 * k + 1][3], T{})};
#pragma unroll
            for (int d = 0; d < D_TILES / 2; d++) {
                uint32_t b[4];
                ldmatrix_x4_trans(b, v_tile + (k * 16 + lane % 16) * STRIDE + d * 16 + lane / 16 * 8);
                mma_16816(o[2 * d], a, b[0], b[1], T{});
                mma_16816(o[2 * d + 1], a, b[2], b[3], T{});
            }
        }
    }

#pragma unroll
    for (int i = 0; i < 2; i++) {
        float total = sum[i];
        total += __shfl_xor_sync(ALL_LANES, total, 1);
        total += __shfl_xor_sync(ALL_LANES, total, 2);
        uint32_t query = warp * 16 + i * 8 + lane / 4;
        if (query < at.queries) finish_query<T, D_TILES>(p, item, at.first_head, query, largest[i], total, [&](int d, int j) { return o[d][2 * i + j]; });
    }
}

#define FOREST_ATTENTION(T, D) \
    KERNEL_BY(D > 128 ? 1 : 2, forest_attention_##T##_##D, AttentionParams, ATTENTION_THREADS) { forest_attention<T, D>(p); }
FOREST_ATTENTION(bf16, 64)
FOREST_ATTENTION(bf16, 96)
FOREST_ATTENTION(bf16, 128)
FOREST_ATTENTION(bf16, 192)
FOREST_ATTENTION(bf16, 256)
FOREST_ATTENTION(f16, 64)
FOREST_ATTENTION(f16, 96)
FOREST_ATTENTION(f16, 128)
FOREST_ATTENTION(f16, 192)
FOREST_ATTENTION(f16, 256)

// Rows whose parts are merged: `segments` parts of each, `rows` part rows apart.
struct AttentionMerge {
    uint32_t first_row; // of the wave
    uint32_t rows;
    uint32_t part;
    uint32_t segments;
};

struct AttentionMergeParams {
    const AttentionMerge* merges;
    const float* parts;
    const float2* part_sums;
    const float* sinks; // or null
    void* out;
    uint32_t block_row;
    uint32_t heads;
    uint32_t v_head_dim;
    uint32_t padding;
};
static_assert(sizeof(AttentionMergeParams) == 56, "twin of params::AttentionMerge");

// A block: a merge, one of its rows, one head.
template <class T> __device__ void attention_merge(const AttentionMergeParams& p) {
    AttentionMerge m = p.merges[blockIdx.x];
    if (blockIdx.y >= m.rows) return;
    auto part = [&](uint32_t segment) { return uint64_t(m.part + segment * m.rows + blockIdx.y) * p.heads + blockIdx.z; };
    float sink = sink_of(p.sinks, blockIdx.z), largest = sink;
    for (uint32_t s = 0; s < m.segments; s++) largest = fmaxf(largest, p.part_sums[part(s)].x);
    float sum = exp2_approx(sink - largest);
    for (uint32_t s = 0; s < m.segments; s++) sum = fmaf(p.part_sums[part(s)].y, exp2_approx(p.part_sums[part(s)].x - largest), sum);
    T* out = static_cast<T*>(p.out) + (uint64_t(m.first_row - p.block_row + blockIdx.y) * p.heads + blockIdx.z) * p.v_head_dim;
    for (uint32_t column = threadIdx.x; column < p.v_head_dim; column += ATTENTION_THREADS) {
        float o = 0.0f;
        for (uint32_t s = 0; s < m.segments; s++) o += p.parts[part(s) * p.v_head_dim + column] * exp2_approx(p.part_sums[part(s)].x - largest);
        out[column] = narrow<T>(o / sum);
    }
}

KERNEL(attention_merge_bf16, AttentionMergeParams, ATTENTION_THREADS) { attention_merge<bf16>(p); }
KERNEL(attention_merge_f16, AttentionMergeParams, ATTENTION_THREADS) { attention_merge<f16>(p); }
