// What goes into a layer's history, and what of it stays.
//
// rotary_append_T     qkv [rows, (heads + kv_heads) · head_dim + kv_heads · v_head_dim] float32: of every query and key head the RMS norm, where there is
//                     one, then the turn of its first `dims` numbers in pairs (i, i + dims / 2); queries stay in place, keys go to [kv_heads, store rows, head_dim] and
//                     values to [kv_heads, store rows, v_head_dim] of T at the wave's rows. A warp a row and head.
// append_f32          Columns of x to rows of a history. A thread a number.
// keep_words          Rows of the wave's store to rows of the resident one, in each of `heads`, whatever they hold.
//
// Equal the verbs `rotary_append`, `append` and `keep` of src/backend/reference.rs; turning pairs a half apart: Su et al. 2021 (arXiv:2104.09864), as GPT-NeoX arranges them.
#include "numbers.cuh"

constexpr int CACHE_THREADS = 256;

struct RotaryParams {
    float* qkv;
    const float* table; // [positions, dims]: cosines, then sines; null: nothing is turned
    const float* q_norm; // [head_dim], or null
    const float* k_norm;
    const uint32_t* positions; // of the wave's rows
    void* keys;
    void* values;
    uint64_t store_rows;
    uint32_t first_row; // of the wave
    uint32_t rows;
    uint32_t heads;
    uint32_t kv_heads;
    uint32_t head_dim;
    uint32_t v_head_dim;
    uint32_t dims;
    float eps;
};
static_assert(sizeof(RotaryParams) == 96, "twin of params::Rotary");

template <class T> __device__ void rotary_append(const RotaryParams& p) {
    uint32_t all = p.heads + 2 * p.kv_heads, lane = threadIdx.x % WARP;
    uint64_t at = uint64_t(blockIdx.x) * (CACHE_THREADS / WARP) + threadIdx.x / WARP;
    uint32_t i = at / all, head = at % all;
    if (i >= p.rows) return;
    uint32_t row = p.first_row + i, turned = p.heads + p.kv_heads;
    bool query = head < p.heads, value = head >= turned;
    uint32_t kv = query ? 0 : value ? head - turned : head - p.heads, width = value ? p.v_head_dim : p.head_dim;
    float* x = p.qkv + uint64_t(i) * (turned * p.head_dim + p.kv_heads * p.v_head_dim) + min(head, turned) * p.head_dim + (value ? kv * p.v_head_dim : 0);
    T* store = static_cast<T*>(value ? p.values : p.keys) + (kv * p.store_rows + row) * width;
    if (value) {
        for (uint32_t j = lane; j < width; j += WARP) store[j] = narrow<T>(x[j]);
        return;
    }
    auto put = [&](uint32_t j, float y) {
        if (query)
            x[j] = y;
        else
            store[j] = narrow<T>(y);
    };
    const float* norm = query ? p.q_norm : p.k_norm;
    float factor = 1.0f;
    if (norm) {
        float squares = 0.0f;
        for (uint32_t j = lane; j < p.head_dim; j += WARP) squares += x[j] * x[j];
        factor = 1.0f / sqrtf(warp_sum(squares) / p.head_dim + p.eps);
    }
    auto normed = [&](uint32_t j) { return norm ? x[j] * factor * norm[j] : x[j]; };
    uint32_t half = p.table ? p.dims / 2 : 0;
    const float* turn = p.table + (p.table ? uint64_t(p.positions[row]) * p.dims : 0);
    for (uint32_t j = lane; j < half; j += WARP) {
        float a = normed(j), b = normed(j + half), cosine = turn[j], sine = turn[j + half];
        put(j, a * cosine - b * sine);
        put(j + half, b * cosine + a * sine);
    }
    for (uint32_t j = 2 * half + lane; j < p.head_dim; j += WARP) put(j, normed(j));
}

KERNEL(rotary_append_f32, RotaryParams, CACHE_THREADS) { rotary_append<float>(p); }
KERNEL(rotary_append_bf16, RotaryParams, CACHE_THREADS) { rotary_append<bf16>(p); }
KERNEL(rotary_append_f16, RotaryParams, CACHE_THREADS) { rotary_append<f16>(p); }

struct AppendParams {
    const float* x;
    float* history;
    uint64_t numbers; // rows · width
    uint32_t x_stride;
    uint32_t width;
};
static_assert(sizeof(AppendParams) == 32, "twin of params::Append");

KERNEL(append_f32, AppendParams, CACHE_THREADS) {
    uint64_t i = uint64_t(blockIdx.x) * CACHE_THREADS + threadIdx.x;
    if (i < p.numbers) p.history[i] = p.x[i / p.width * p.x_stride + i % p.width];
}

// Rows of a wave that are kept: forest::Keep.
struct CacheKeep {
    uint32_t row;
    uint32_t resident;
    uint32_t length;
};

struct KeepParams {
    const CacheKeep* keeps;
    const uint32_t* wave;
    uint32_t* resident;
    uint64_t wave_rows; // of a head
    uint64_t resident_rows;
    uint32_t width; // in words of 32 bits
    uint32_t padding;
};
static_assert(sizeof(KeepParams) == 48, "twin of params::Keep");

// A block: one stretch of rows of one head.
KERNEL(keep_words, KeepParams, CACHE_THREADS) {
    CacheKeep k = p.keeps[blockIdx.x];
    const uint32_t* from = p.wave + (blockIdx.y * p.wave_rows + k.row) * p.width;
    uint32_t* to = p.resident + (blockIdx.y * p.resident_rows + k.resident) * p.width;
    for (uint64_t i = threadIdx.x; i < uint64_t(k.length) * p.width; i += CACHE_THREADS) to[i] = from[i];
}
