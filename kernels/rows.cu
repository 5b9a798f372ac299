// Steps that know one row at a time.
//
// norm_T        out[i] = (x − mean?) / √(mean of squares + eps) · weight + bias?    x of row which[i], or first + i
//               x [·, width] float32; weight, bias [width] float32; out [rows, width] of T. One block a row; the row is read from memory once and from
//               the cache for the other passes: 4 · width + sizeof(T) · width bytes a row.
// gate_act_T    out[i, j] = act(x[i, j]) · x[i, width + j] where gated, and act(x[i, j]) otherwise
//               x [rows, 2 · width or width] float32, out [rows, width] of T: the one pass after a library product.
// mix_gate_T    Mamba-2's gate: y · act(z), RMS-normed before or after in `groups` equal slices, or not at all
//               y [rows, width] float32, z [rows, z_stride] of T from column z_from, weight [width] float32 or null, out [rows, width] of T. One block a row and slice.
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
