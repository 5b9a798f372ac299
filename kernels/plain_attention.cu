// attention_K_T   Softmax attention in float32 throughout: what forest_attention.cu computes from rounded operands. q [rows, q_stride] float32, keys [kv_heads, store
//                 rows, head_dim] and values [kv_heads, store rows, v_head_dim] of K in two stores, sinks [heads] float32 or none, out [rows, heads · v_head_dim] of T;
//                 v_head_dim ≤ 256, both widths of any kind. A warp a row and head; a lane takes two keys of a tile for the scores, and every 32nd number of the head for
//                 the values.
//
// Tiles of 64 absolute positions, segments of 2,048 merged in order, keys out of sight as e^−∞ = 0: a row's bits are its own.
// Equals the verb `attention` of src/backend/reference.rs.
#include "forest.cuh"
#include "numbers.cuh"

constexpr int PLAIN_THREADS = 128, PLAIN_NUMBERS = 8;

struct PlainAttentionParams {
    Forest forest;
    const float* q;
    const void* keys[2];
    const void* values[2];
    const float* sinks; // or null
    void* out;
    uint64_t store_rows[2]; // of a head
    uint32_t first_row;     // of the wave
    uint32_t rows;
    uint32_t q_stride;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t v_head_dim;
    uint32_t window; // 0: all
    float scale;
    float softcap; // 0: none
};
static_assert(sizeof(PlainAttentionParams) == 144, "twin of params::PlainAttention");

template <class K, class T> __device__ void plain_attention(const PlainAttentionParams& p) {
    uint32_t lane = threadIdx.x % WARP;
    uint64_t at = uint64_t(blockIdx.x) * (PLAIN_THREADS / WARP) + threadIdx.x / WARP;
    uint32_t i = at / p.heads, head = at % p.heads;
    if (i >= p.rows) return;
    uint32_t kv = head / (p.heads / p.kv_heads);
    ForestRun run = p.forest.runs[p.forest.run_of_row[p.first_row + i]];
    uint32_t position = run.position + (p.first_row + i - run.first_row);
    uint32_t from = p.window && position + 1 > p.window ? position + 1 - p.window : 0;
    const float* q = p.q + uint64_t(i) * p.q_stride + head * p.head_dim;
    auto numbers_at = [&](const void* const (&of)[2], uint32_t where, uint32_t width) {
        int store = where & RESIDENT ? 1 : 0;
        return static_cast<const K*>(of[store]) + (kv * p.store_rows[store] + (where & ~RESIDENT)) * width;
    };

    float largest = -INFINITY, sum = 0.0f, o[PLAIN_NUMBERS] = {};
    for (uint32_t segment = from / KEY_SEGMENT; segment <= position / KEY_SEGMENT; segment++) {
        float segment_largest = -INFINITY, segment_sum = 0.0f, segment_o[PLAIN_NUMBERS] = {};
        uint32_t first = max(from, segment * KEY_SEGMENT) / KEY_TILE, last = min(position, (segment + 1) * KEY_SEGMENT - 1) / KEY_TILE;
        for (uint32_t tile = first; tile <= last; tile++) {
            uint32_t where[2];
            float s[2];
            for (uint32_t h = 0; h < 2; h++) {
                uint32_t key = tile * KEY_TILE + h * WARP + lane;
                bool seen = key >= from && key <= position;
                where[h] = seen ? locate(p.forest, run, key) : NOWHERE;
                s[h] = -INFINITY;
                if (!seen) continue;
                const K* k = numbers_at(p.keys, where[h], p.head_dim);
                float dot = 0.0f;
                for (uint32_t j = 0; j < p.head_dim; j++) dot = fmaf(q[j], widen(k[j]), dot);
                s[h] = capped(dot * p.scale, p.softcap);
            }
            float most = fmaxf(s[0], s[1]);
            for (int by = WARP / 2; by > 0; by /= 2) most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, by));
            most = fmaxf(segment_largest, most);
            float factor = expf(segment_largest - most);
            segment_largest = most;
            float weight[2] = {expf(s[0] - most), expf(s[1] - most)};
            segment_sum = fmaf(segment_sum, factor, warp_sum(weight[0] + weight[1]));
            for (int j = 0; j < PLAIN_NUMBERS; j++) segment_o[j] *= factor;
            for (uint32_t key = 0; key < KEY_TILE; key++) {
                float w = __shfl_sync(ALL_LANES, weight[key / WARP], key % WARP);
                uint32_t there = __shfl_sync(ALL_LANES, where[key / WARP], key % WARP);
                if (there == NOWHERE) continue;
                const K* v = numbers_at(p.values, there, p.v_head_dim);
                for (int j = 0; j < PLAIN_NUMBERS; j++)
                    if (j * WARP + lane < p.v_head_dim) segment_o[j] = fmaf(w, widen(v[j * WARP + lane]), segment_o[j]);
            }
        }
        float most = fmaxf(largest, segment_largest);
        float old = expf(largest - most), now = expf(segment_largest - most);
        largest = most;
        sum = sum * old + segment_sum * now;
        for (int j = 0; j < PLAIN_NUMBERS; j++) o[j] = o[j] * old + segment_o[j] * now;
    }
    if (p.sinks) {
        float most = fmaxf(largest, p.sinks[head]), old = expf(largest - most);
        sum = sum * old + expf(p.sinks[head] - most);
        for (int j = 0; j < PLAIN_NUMBERS; j++) o[j] *= old;
    }
    T* out = static_cast<T*>(p.out) + (uint64_t(i) * p.heads + head) * p.v_head_dim;
    for (int j = 0; j < PLAIN_NUMBERS; j++)
        if (j * WARP + lane < p.v_head_dim) out[j * WARP + lane] = narrow<T>(o[j] / sum);
}

#define PLAIN_ATTENTION(K, T) \
    KERNEL(attention_##K##_##T, PlainAttentionParams, PLAIN_THREADS) { plain_attention<K, T>(p); }
PLAIN_ATTENTION(f32, f32)
PLAIN_ATTENTION(f32, bf16)
PLAIN_ATTENTION(f32, f16)
PLAIN_ATTENTION(bf16, bf16)
PLAIN_ATTENTION(f16, f16)
