// forest_attention_T_D_90   The attention of forest_attention.cu on sm_90a: the same tables, items of up to 128 queries, and maps of both stores, [kv_heads, store rows, width] as
//                           planes of rows, whose boxes are as Room has them. q_stride is a multiple of 4. Rows of keys and values before `block_end` of the wave have been written.
//
// Shah et al. 2024 (FlashAttention-3, arXiv:2407.08608): a producer copies, two warpgroups of consumers take turns, so that one's exponentials run while the other's products do, and each
// has the next tile's scores computed beside this tile's mixture of values. The bits of a row are its own as in forest_attention.cu; tiles are 128 absolute positions, 64 where heads are
// wider than 128.
//
// A block: an item over one segment. Consumers have 64 queries each: scores are products of queries and keys in shared memory, weights stay in registers and are multiplied by values as
// they lie. A tile whose positions are one stretch of rows comes as boxes; any other is gathered row by row, so that no row of another path comes along: its weight would be 0, but an
// infinity in it would make the sum no number.
#include "forest_attention.cuh"
#include "ptx90.cuh"

constexpr int ATTENTION90_THREADS = 384;

struct Attention90Params {
    TensorMap keys[2]; // the wave's, the resident ones
    TensorMap values[2];
    AttentionParams attention;
    uint32_t block_end; // row of the wave
    uint32_t padding[21];
};
static_assert(sizeof(Attention90Params) == 768, "twin of params::Attention90");

#ifdef HOPPER

constexpr int CONSUMERS = 256, CONSUMER_QUERIES = 64;
// Barriers of warps: queries are there, of either consumer; turns; the producer's own.
enum { QUERIES_THERE = 1, TURN = 3, PRODUCERS = 5 };

// What of shared memory is what, in bytes. src/backend/cuda/attention.rs has the same sum.
//
// Of queries and N keys, both in shared memory, 16 columns take the tensor cores N / 2 cycles, and shared memory, which gives 128 bytes a cycle, 16 + N / 4: of 128 keys it has a quarter of the
// time left. 64 take all of it, but for more keys of wide heads there is no room.
template <int D> struct Room {
    static constexpr uint32_t KEYS = D > 128 ? KEY_TILE : 2 * KEY_TILE;
    // Of a box: the widest rows that make up the width.
    static constexpr int COLUMNS = D % 64 ? 32 : 64;
    static constexpr int BOXES = D / COLUMNS;
    // Two tiles of keys, and two of values.
    static constexpr uint32_t STAGES = 2;
    static constexpr uint32_t BOX_BYTES = KEYS * COLUMNS * 2, TILE_BYTES = BOXES * BOX_BYTES;
    static constexpr uint32_t QUERY_BOX_BYTES = CONSUMER_QUERIES * COLUMNS * 2, QUERY_BYTES = BOXES * QUERY_BOX_BYTES;
    static constexpr uint32_t KEYS_AT = 2 * QUERY_BYTES, VALUES_AT = KEYS_AT + STAGES * TILE_BYTES, BARRIERS_AT = VALUES_AT + STAGES * TILE_BYTES;

    static __device__ __forceinline__ unsigned char* queries(int consumer) { return smem + consumer * QUERY_BYTES; }
    static __device__ __forceinline__ unsigned char* keys(uint32_t stage) { return smem + KEYS_AT + stage * TILE_BYTES; }
    static __device__ __forceinline__ unsigned char* values(uint32_t stage) { return smem + VALUES_AT + stage * TILE_BYTES; }
    // Of keys 0, of values 1: whether a stage is full, and whether it is empty.
    static __device__ __forceinline__ uint64_t* full(int of, uint32_t stage) { return reinterpret_cast<uint64_t*>(smem + BARRIERS_AT) + of * STAGES + stage; }
    static __device__ __forceinline__ uint64_t* empty(int of, uint32_t stage) { return full(2 + of, stage); }
    // Rows of a tile that is gathered.
    static __device__ __forceinline__ uint32_t* where() { return reinterpret_cast<uint32_t*>(full(4, 0)); }
};

// Copies the rows of a tile, zeros past the width and where there is none.
template <class T, int D> __device__ __forceinline__ void gather(unsigned char* tile, const void* const (&stores)[2], uint32_t width, const AttentionParams& p, uint32_t kv) {
    using R = Room<D>;
    constexpr uint32_t EIGHTHS = D / 8, BOX_EIGHTHS = R::COLUMNS / 8;
    for (uint32_t i = threadIdx.x - CONSUMERS; i < R::KEYS * EIGHTHS; i += WARPGROUP) {
        uint32_t key = i / EIGHTHS, eighth = i % EIGHTHS, row = R::where()[key];
        bool there = row != NOWHERE && eighth * 8 < width;
        int store = there && (row & RESIDENT) ? 1 : 0;
        uint64_t from = there ? (kv * p.store_rows[store] + (row & ~RESIDENT)) * width + eighth * 8 : 0;
        cp_async16(tile + eighth / BOX_EIGHTHS * R::BOX_BYTES + Turned<R::COLUMNS>::place(key, eighth % BOX_EIGHTHS), static_cast<const T*>(stores[store]) + from, there ? 16 : 0);
    }
    cp_async_commit();
}

// What the producer's threads do: every tile's keys and values, in order, as stages become empty.
template <class T, int D> __device__ __forceinline__ void produce(const Attention90Params& all, const AttentionReach& at) {
    using R = Room<D>;
    const AttentionParams& p = all.attention;
    uint32_t thread = threadIdx.x - CONSUMERS;
    // The run's own rows that have been written end before this position.
    uint32_t written = at.run.position + (min(at.run.end_row, all.block_end) - at.run.first_row);
    // Positions of the stretch that was looked up last.
    uint32_t from = 0, to = 0, row = NOWHERE;
    for (uint32_t tile = at.tile; tile < at.tiles_end; tile++) {
        uint32_t stage = (tile - at.tile) % R::STAGES, first = tile * R::KEYS;
        // The first round finds all stages empty.
        uint32_t parity = ((tile - at.tile) / R::STAGES + 1) % 2;
        if (first >= to) {
            ForestStretch found = stretch_at(p.forest, at.run, first);
            from = first;
            row = found.row;
            to = first >= at.run.position ? written : first + found.rows;
        }
        if (first + R::KEYS <= to) {
            if (thread > 0) continue;
            uint32_t of = row & RESIDENT ? 1 : 0, y = (row & ~RESIDENT) + (first - from);
            for (int kind = 0; kind < 2; kind++) {
                mbarrier_wait(R::empty(kind, stage), parity);
                mbarrier_expect(R::full(kind, stage), R::TILE_BYTES);
                unsigned char* room = kind ? R::values(stage) : R::keys(stage);
                const TensorMap* map = kind ? &all.values[of] : &all.keys[of];
                for (int box = 0; box < R::BOXES; box++) copy_box(room + box * R::BOX_BYTES, map, box * R::COLUMNS, y, at.kv, R::full(kind, stage));
            }
            continue;
        }
        if (thread < R::KEYS) R::where()[thread] = first + thread < at.end ? locate(p.forest, at.run, first + thread) : NOWHERE;
        // Who is done with a stage's values was done with its keys before.
        if (thread == 0) mbarrier_wait(R::empty(1, stage), parity);
        barrier_of(PRODUCERS, WARPGROUP);
        gather<T, D>(R::keys(stage), p.keys, p.head_dim, p, at.kv);
        gather<T, D>(R::values(stage), p.values, p.v_head_dim, p, at.kv);
        cp_async_wait<1>();
        products_see_writes();
        barrier_of(PRODUCERS, WARPGROUP);
        if (thread == 0) mbarrier_arrive(R::full(0, stage));
        cp_async_wait<0>();
        products_see_writes();
        barrier_of(PRODUCERS, WARPGROUP);
        if (thread == 0) mbarrier_arrive(R::full(1, stage));
    }
}

// A consumer's queries, rounded, as an operand.
template <class T, int D> __device__ __forceinline__ void fetch_queries(const AttentionParams& p, const AttentionItem& item, const AttentionReach& at, int consumer) {
    using R = Room<D>;
    constexpr uint32_t EIGHTHS = D / 8, BOX_EIGHTHS = R::COLUMNS / 8;
    for (uint32_t i = threadIdx.x % WARPGROUP; i < CONSUMER_QUERIES * EIGHTHS; i += WARPGROUP) {
        uint32_t place = i / EIGHTHS, eighth = i % EIGHTHS, query = consumer * CONSUMER_QUERIES + place;
        uint4 word = {};
        if (query < at.queries && eighth * 8 < p.head_dim) {
            uint64_t row = item.first_row - p.block_row + query / item.heads;
            const Four<float>* q = reinterpret_cast<const Four<float>*>(p.q + row * p.q_stride + (at.first_head + query % item.heads) * p.head_dim + eighth * 8);
            Four<float> a = q[0], b = q[1];
            word = {pair(a.x[0], a.x[1], T{}), pair(a.x[2], a.x[3], T{}), pair(b.x[0], b.x[1], T{}), pair(b.x[2], b.x[3], T{})};
        }
        *reinterpret_cast<uint4*>(R::queries(consumer) + eighth / BOX_EIGHTHS * R::QUERY_BOX_BYTES + Turned<R::COLUMNS>::place(place, eighth % BOX_EIGHTHS)) = word;
    }
    products_see_writes();
    barrier_of(QUERIES_THERE + consumer, WARPGROUP);
}

// What a lane knows of its two queries: rows lane / 4 and lane / 4 + 8 of its warp's sixteen.
struct Softmax {
    uint32_t position[2];
    float base[2]; // largest score · log2 e so far
    float sum[2];
    float factor[2]; // on what was summed before the last tile
};

// Scores of a tile to weights, e^(score − largest).
template <uint32_t KEYS> __device__ __forceinline__ void weigh(const AttentionParams& p, float (&s)[KEYS / 2], Softmax& softmax, uint32_t first, bool masked) {
    int lane = threadIdx.x % WARP;
    float log2_scale = p.scale * LOG2_E;
    // What follows asks for a factor above 0.
    if (p.softcap != 0.0f || !(p.scale > 0.0f)) {
        log2_scale = LOG2_E;
#pragma unroll
        for (uint32_t i = 0; i < KEYS / 2; i++) s[i] = capped(s[i] * p.scale, p.softcap);
    }
    if (masked) {
#pragma unroll
        for (uint32_t i = 0; i < KEYS / 2; i++) {
            uint32_t key = first + i / 4 * 8 + lane % 4 * 2 + i % 2, position = softmax.position[i / 2 % 2];
            if (key > position || (p.window && key + p.window <= position)) s[i] = -INFINITY;
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float most = -INFINITY;
#pragma unroll
        for (uint32_t n = 0; n < KEYS / 8; n++) most = fmaxf(most, fmaxf(s[4 * n + 2 * i], s[4 * n + 2 * i + 1]));
        // The four lanes of a query.
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 1));
        most = fmaxf(most, __shfl_xor_sync(ALL_LANES, most, 2));
        // A product of its own: fused with the difference below, a base that stays would give a factor that is not quite 1.
        float now = fmaxf(softmax.base[i], __fmul_rn(most, log2_scale));
        // Nothing seen so far: −∞ − −∞ would be no number.
        float base = now == -INFINITY ? 0.0f : now;
        softmax.factor[i] = exp2_approx(softmax.base[i] - base);
        softmax.base[i] = now;
        float sum = 0.0f;
#pragma unroll
        for (uint32_t n = 0; n < KEYS / 8; n++) {
            float &a = s[4 * n + 2 * i], &b = s[4 * n + 2 * i + 1];
            a = exp2_approx(__fmaf_rn(a, log2_scale, -base));
            b = exp2_approx(__fmaf_rn(b, log2_scale, -base));
            sum += a + b;
        }
        softmax.sum[i] = __fmaf_rn(softmax.sum[i], softmax.factor[i], sum);
    }
}

template <class T, int D> __device__ __forceinline__ void consume(const AttentionParams& p, const AttentionItem& item, const AttentionReach& at, int consumer, bool alone) {
    using R = Room<D>;
    int lane = threadIdx.x % WARP, first_query = consumer * CONSUMER_QUERIES, own_query = first_query + threadIdx.x % WARPGROUP / WARP * 16 + lane / 4;
    auto position_of = [&](uint32_t query) { return at.first_position + min(query / item.heads, item.rows - 1); };
    uint32_t least = position_of(first_query), most = position_of(first_query + CONSUMER_QUERIES - 1);
    Softmax softmax = {{position_of(own_query), position_of(own_query + 8)}, {-INFINITY, -INFINITY}, {0.0f, 0.0f}, {}};
    fetch_queries<T, D>(p, item, at, consumer);

    float s[R::KEYS / 2], o[D / 2] = {};
    uint32_t weights[R::KEYS / 16][4];
    auto multiply_keys = [&](uint32_t stage) {
        products_fence();
#pragma unroll
        for (int k = 0; k < D; k += 16) {
            int box = k / R::COLUMNS, column = k % R::COLUMNS;
            product(s, rows_of<R::COLUMNS>(R::queries(consumer) + box * R::QUERY_BOX_BYTES, column), rows_of<R::COLUMNS>(R::keys(stage) + box * R::BOX_BYTES, column), k > 0, T{});
        }
        products_commit();
    };
    auto mix_values = [&](uint32_t stage) {
        products_fence();
#pragma unroll
        for (int k = 0; k < int(R::KEYS / 16); k++) mixture(o, weights[k], columns_of<R::COLUMNS>(R::values(stage), k * 16, R::BOX_BYTES), T{});
        products_commit();
    };
    auto weigh_tile = [&](uint32_t tile) {
        uint32_t first = tile * R::KEYS;
        weigh<R::KEYS>(p, s, softmax, first, first + R::KEYS - 1 > least || (p.window && first + p.window <= most));
    };
    auto round_weights = [&] {
#pragma unroll
        for (int i = 0; i < int(R::KEYS / 4); i++) weights[i / 4][i % 4] = pair(s[2 * i], s[2 * i + 1], T{});
    };
    // One after the other: the first consumer begins, and the second has the last turn.
    auto take_turn = [&](uint32_t tile) {
        if (!alone && (consumer > 0 || tile > at.tile)) barrier_of(TURN + consumer, CONSUMERS);
    };
    auto give_turn = [&](uint32_t tile) {
        if (!alone && (consumer == 0 || tile + 1 < at.tiles_end)) barrier_arrive_at(TURN + 1 - consumer, CONSUMERS);
    };
    auto release = [&](int kind, uint32_t stage) {
        if (lane == 0) mbarrier_arrive(R::empty(kind, stage));
    };

    uint32_t tile = at.tile, stage = 0, parity = 0;
    mbarrier_wait(R::full(0, stage), parity);
    take_turn(tile);
    multiply_keys(stage);
    give_turn(tile);
    products_done(s);
    release(0, stage);
    weigh_tile(tile);
    round_weights();
    while (++tile < at.tiles_end) {
        // This tile's keys beside the values of the one before.
        uint32_t before = stage, before_parity = parity;
        stage = (stage + 1) % R::STAGES;
        parity ^= stage == 0;
        mbarrier_wait(R::full(0, stage), parity);
        take_turn(tile);
        multiply_keys(stage);
        mbarrier_wait(R::full(1, before), before_parity);
        mix_values(before);
        give_turn(tile);
        products_done<1>(s);
        release(0, stage);
        weigh_tile(tile);
        first_comes(softmax.sum[0] + softmax.sum[1]);
        products_done(o);
        release(1, before);
#pragma unroll
        for (int i = 0; i < D / 2; i++) o[i] *= softmax.factor[i / 2 % 2];
        round_weights();
    }
    mbarrier_wait(R::full(1, stage), parity);
    mix_values(stage);
    products_done(o);

#pragma unroll
    for (int i = 0; i < 2; i++) {
        float total = softmax.sum[i];
        total += __shfl_xor_sync(ALL_LANES, total, 1);
        total += __shfl_xor_sync(ALL_LANES, total, 2);
        uint32_t query = own_query + i * 8;
        if (query < at.queries) finish_query<T, D / 8>(p, item, at.first_head, query, softmax.base[i], total, [&](int d, int j) { return o[4 * d + 2 * i + j]; });
    }
}

#endif

template <class T, int D> __device__ __forceinline__ void forest_attention90(const Attention90Params& all) {
#ifdef HOPPER
    using R = Room<D>;
    const AttentionParams& p = all.attention;
    AttentionItem item = p.items[blockIdx.x];
    AttentionReach at = reach_of<R::KEYS>(p, item);
    // Few queries are the first consumer's alone.
    bool alone = at.queries <= CONSUMER_QUERIES;
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < 2 * R::STAGES; i++) {
            mbarrier_init(R::full(0, 0) + i, 1);
            mbarrier_init(R::empty(0, 0) + i, (alone ? WARPGROUP : CONSUMERS) / WARP);
        }
        mbarrier_init_fence();
    }
    __syncthreads();
    // 40 · 128 + 232 · 256 registers are the 168 · 384 that the block was given.
    if (threadIdx.x >= CONSUMERS) {
        fewer_registers<40>();
        produce<T, D>(all, at);
    } else {
        more_registers<232>();
        int consumer = threadIdx.x / WARPGROUP;
        if (consumer == 0 || !alone) consume<T, D>(p, item, at, consumer, alone);
    }
#else
    __trap();
#endif
}

#define FOREST_ATTENTION_90(T, D) \
    KERNEL(forest_attention_##T##_##D##_90, Attention90Params, ATTENTION90_THREADS) { forest_attention90<T, D>(p); }
FOREST_ATTENTION_90(bf16, 64)
FOREST_ATTENTION_90(bf16, 96)
FOREST_ATTENTION_90(bf16, 128)
FOREST_ATTENTION_90(bf16, 192)
FOREST_ATTENTION_90(bf16, 256)
FOREST_ATTENTION_90(f16, 64)
FOREST_ATTENTION_90(f16, 96)
FOREST_ATTENTION_90(f16, 128)
FOREST_ATTENTION_90(f16, 192)
FOREST_ATTENTION_90(f16, 256)
