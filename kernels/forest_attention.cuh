// What the kernels of attention over a forest by tensor cores share: what a block is given, and what becomes of a query's sums.
#pragma once
#include "forest.cuh"
#include "ptx.cuh"

constexpr uint32_t DIRECT = 0xffffffffu;

// What a block does, for one key-value head.
struct AttentionItem {
    uint32_t run;
    uint32_t first_row; // of the wave
    uint32_t rows;
    uint32_t first_head; // of those that share a key-value head
    uint32_t heads;
    uint32_t segment; // of absolute positions
    uint32_t part;    // first row of the parts that it writes, or DIRECT
};

struct AttentionParams {
    const float* q;      // rows of the block of rows that is computed
    const void* keys[2]; // the wave's, the resident ones
    const void* values[2];
    const float* sinks; // or null
    const AttentionItem* items;
    Forest forest;
    void* out;
    float* parts;           // [part rows, heads, v_head_dim]
    float2* part_sums;      // [part rows, heads]: largest score · log2 e, and sum
    uint64_t store_rows[2]; // of a head
    uint32_t block_row;     // the first row of q and out
    uint32_t q_stride;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t v_head_dim;
    uint32_t window; // 0: all
    float scale;
    float softcap; // 0: none
    uint32_t padding;
};
static_assert(sizeof(AttentionParams) == 168, "twin of params::Attention");

// A sink beside scores, which are kept times log2 e; −∞ where there is none.
__device__ __forceinline__ float sink_of(const float* sinks, uint32_t head) { return sinks ? sinks[head] * LOG2_E : -INFINITY; }

// What an item comes to: its queries, and the tiles of KEYS positions that they see of the segment.
struct AttentionReach {
    ForestRun run;
    uint32_t kv;
    uint32_t first_head; // of all
    uint32_t queries;
    uint32_t first_position; // of the item's rows
    uint32_t end;            // the position after their last
    uint32_t tile;
    uint32_t tiles_end;
};
template <uint32_t KEYS> __device__ __forceinline__ AttentionReach reach_of(const AttentionParams& p, const AttentionItem& item) {
    ForestRun run = p.forest.runs[item.run];
    uint32_t kv = blockIdx.y, first_position = run.position + (item.first_row - run.first_row), end = first_position + item.rows;
    uint32_t from = item.segment * KEY_SEGMENT, to = min(from + KEY_SEGMENT, end);
    if (p.window && first_position + 1 > p.window) from = max(from, first_position + 1 - p.window);
    return {run, kv, kv * (p.heads / p.kv_heads) + item.first_head, item.rows * item.heads, first_position, end, from / KEYS, (to + KEYS - 1) / KEYS};
}

// A lane's share of a query: of every eight columns d the numbers 2 (lane % 4) + j, as number(d, j); `total` is the sum of the query's weights. Divided, or as a part.
template <class T, int D_TILES, class Number>
__device__ __forceinline__ void finish_query(const AttentionParams& p, const AttentionItem& item, uint32_t first_head, uint32_t query, float largest, float total, Number number) {
    int lane = threadIdx.x % WARP;
    uint32_t head = first_head + query % item.heads;
    if (item.part == DIRECT) {
        // As the merge of one part.
        float sink = sink_of(p.sinks, head), most = fmaxf(sink, largest), factor = exp2_approx(largest - most);
        float all = fmaf(total, factor, exp2_approx(sink - most));
        uint64_t row = item.first_row - p.block_row + query / item.heads;
        uint32_t* out = reinterpret_cast<uint32_t*>(static_cast<T*>(p.out) + (row * p.heads + head) * p.v_head_dim);
#pragma unroll
        for (int d = 0; d < D_TILES; d++)
            if (uint32_t(d * 8) < p.v_head_dim) out[d * 4 + lane % 4] = pair(number(d, 0) * factor / all, number(d, 1) * factor / all, T{});
    } else {
        uint64_t part = uint64_t(item.part + query / item.heads) * p.heads + head;
        if (lane % 4 == 0) p.part_sums[part] = {largest, total};
        float2* out = reinterpret_cast<float2*>(p.parts + part * p.v_head_dim);
#pragma unroll
        for (int d = 0; d < D_TILES; d++)
            if (uint32_t(d * 8) < p.v_head_dim) out[d * 4 + lane % 4] = {number(d, 0), number(d, 1)};
    }
}
