// Steps that know one row at a time.
//
// norm_T        out[i] = (x − mean?) / √(mean of squares + eps) · weight + bias?    x of row which[i], or first + i
//               x [·, width] float32; weight, bias [width] float32; out [rows, width] of T. One block a row; the row is read from memory once and from
//               the cache for the other passes: 4 · width + sizeof(T) · width bytes a row.
// embed_T       out[i] = widened rows[i] (+ added[i]): rows [rows, width] of T as the weights have them, added [rows, width] float32 or null, out float32. A thread a number.
// gate_f32      Mamba-2's gate, in place: y · act(z); with weights RMS-normed, before it or after it, in `groups` equal slices of a row, and times the weights
//               y [rows, width], z rows of z_stride numbers, weight [width] or null. One block a row and slice.
//
// All sums are float32 in an order that only the width decides. Each equals the verb of the same name in src/backend/reference.rs.
#include "numbers.cuh"

constexpr int NORM_THREADS = 256;

struct NormParams {
    const float* x;
    const uint32_t* which; // null: rows from `first` on
    const float* weight;
    const float* bias; // null: none
    void* out;
    uint64_t first;
    uint32_t width;
    float eps;
    uint32_t center; // 1: the mean is taken off
    uint32_t padding;
};
static_assert(sizeof(NormParams) == 64, "twin of params::Norm");

template <class T> __device__ void norm(const NormParams& p) {
    float* room = reinterpret_cast<float*>(smem);
    uint64_t row = p.which ? p.which[blockIdx.x] : p.first + blockIdx.x;
    const float* x = p.x + row * p.width;
    T* out = static_cast<T*>(p.out) + uint64_t(blockIdx.x) * p.width;

    float mean = 0.0f;
    if (p.center) {
        for (uint32_t j = threadIdx.x; j < p.width; j += NORM_THREADS) mean += x[j];
        mean = block_sum(mean, room) / p.width;
    }
    float squares = 0.0f;
    for (uint32_t j = threadIdx.x; j < p.width; j += NORM_THREADS) {
        float c = x[j] - mean;
        squares += c * c;
    }
    float factor = 1.0f / sqrtf(block_sum(squares, room) / p.width + p.eps);
    for (uint32_t j = threadIdx.x; j < p.width; j += NORM_THREADS) {
        float y = (x[j] - mean) * factor * p.weight[j];
        out[j] = narrow<T>(p.bias ? y + p.bias[j] : y);
    }
}

KERNEL(norm_f32, NormParams, NORM_THREADS) { norm<float>(p); }
KERNEL(norm_bf16, NormParams, NORM_THREADS) { norm<bf16>(p); }
KERNEL(norm_f16, NormParams, NORM_THREADS) { norm<f16>(p); }

constexpr int EMBED_THREADS = 256;

struct EmbedParams {
    const void* rows;
    const float* added; // null: nothing
    float* out;
    uint64_t numbers;
};
static_assert(sizeof(EmbedParams) == 32, "twin of params::Embed");

template <class T> __device__ void embed(const EmbedParams& p) {
    uint64_t i = uint64_t(blockIdx.x) * EMBED_THREADS + threadIdx.x;
    if (i >= p.numbers) return;
    float x = widen(static_cast<const T*>(p.rows)[i]);
    p.out[i] = p.added ? x + p.added[i] : x;
}

KERNEL(embed_f32, EmbedParams, EMBED_THREADS) { embed<float>(p); }
KERNEL(embed_bf16, EmbedParams, EMBED_THREADS) { embed<bf16>(p); }
KERNEL(embed_f16, EmbedParams, EMBED_THREADS) { embed<f16>(p); }

constexpr int GATE_THREADS = 256;

struct GateParams {
    float* y;
    const float* z;
    const float* weight; // null: no norm
    uint32_t width;
    uint32_t z_stride;
    uint32_t groups;
    uint32_t norm_first;
    uint32_t act;
    float eps;
};
static_assert(sizeof(GateParams) == 48, "twin of params::Gate");

KERNEL(gate_f32, GateParams, GATE_THREADS) {
    float* room = reinterpret_cast<float*>(smem);
    uint32_t slice = p.width / p.groups, from = blockIdx.y * slice;
    float* y = p.y + uint64_t(blockIdx.x) * p.width + from;
    const float* z = p.z + uint64_t(blockIdx.x) * p.z_stride + from;
    auto gated = [&](uint32_t j) { return y[j] * activate(Activation(p.act), z[j]); };
    if (!p.weight) {
        for (uint32_t j = threadIdx.x; j < slice; j += GATE_THREADS) y[j] = gated(j);
        return;
    }
    float squares = 0.0f;
    for (uint32_t j = threadIdx.x; j < slice; j += GATE_THREADS) {
        float v = p.norm_first ? y[j] : gated(j);
        squares += v * v;
    }
    float factor = 1.0f / sqrtf(block_sum(squares, room) / slice + p.eps);
    for (uint32_t j = threadIdx.x; j < slice; j += GATE_THREADS) y[j] = gated(j) * factor * p.weight[from + j];
}
