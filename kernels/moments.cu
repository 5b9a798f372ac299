// What the covariance of hidden states is made of: sums and products over the rows of a sample.
//
// moments_f32   sums[j] += x[i, j] and products[j, k] += x[i, j] · x[i, k] for j ≤ k, i < rows, one row after the other; what lies below the diagonal is not touched
//               x [rows, width] float32; sums [width], products [width, width] float64. A block: 64 by 64 products, on the diagonal the sums of its columns, too;
//               blocks below the diagonal have nothing to do. Reads 4 · rows · width bytes and, with what is written, 8 · width² of products.
//
// A product of two float32 is exact in float64, so every number is one chain of float64 additions in the order of rows, however rows are cut into launches, and fused
// multiply-adds make no difference: the bits are those of the other backends for the same x. Equals the verb `accumulate` of src/backend/reference.rs.
#include "numbers.cuh"

constexpr int MOMENTS_THREADS = 256, MOMENTS_TILE = 64, MOMENTS_CHUNK = 16, MOMENTS_ROW = MOMENTS_TILE + 4;

struct MomentsParams {
    const float* x;
    double* sums;
    double* products;
    uint32_t rows;
    uint32_t width;
};
static_assert(sizeof(MomentsParams) == 32, "twin of params::Moments");

KERNEL(moments_f32, MomentsParams, MOMENTS_THREADS) {
    uint32_t j0 = blockIdx.y * MOMENTS_TILE, k0 = blockIdx.x * MOMENTS_TILE;
    if (k0 < j0) return;
    float* a = reinterpret_cast<float*>(smem);
    float* b = a + MOMENTS_CHUNK * MOMENTS_ROW;
    uint32_t down = threadIdx.x / 16 * 4, across = threadIdx.x % 16 * 4;
    auto product = [&](int i, int j) { return p.products + uint64_t(j0 + down + i) * p.width + k0 + across + j; };
    auto there = [&](int i, int j) { return k0 + across + j < p.width && j0 + down + i <= k0 + across + j; };
    double c[4][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) c[i][j] = there(i, j) ? *product(i, j) : 0.0;
    bool summing = j0 == k0 && threadIdx.x < MOMENTS_TILE && j0 + threadIdx.x < p.width;
    double sum = summing ? p.sums[j0 + threadIdx.x] : 0.0;
    for (uint32_t r0 = 0; r0 < p.rows; r0 += MOMENTS_CHUNK) {
        uint32_t rows = min(p.rows - r0, uint32_t(MOMENTS_CHUNK));
        for (uint32_t i = threadIdx.x; i < rows * MOMENTS_TILE; i += MOMENTS_THREADS) {
            uint32_t r = i / MOMENTS_TILE, column = i % MOMENTS_TILE;
            const float* row = p.x + uint64_t(r0 + r) * p.width;
            a[r * MOMENTS_ROW + column] = j0 + column < p.width ? row[j0 + column] : 0.0f;
            b[r * MOMENTS_ROW + column] = k0 + column < p.width ? row[k0 + column] : 0.0f;
        }
        __syncthreads();
        for (uint32_t r = 0; r < rows; r++) {
            const float* of_row = a + r * MOMENTS_ROW;
            Four<float> x = *reinterpret_cast<const Four<float>*>(of_row + down);
            Four<float> y = *reinterpret_cast<const Four<float>*>(b + r * MOMENTS_ROW + across);
#pragma unroll
            for (int i = 0; i < 4; i++)
#pragma unroll
                for (int j = 0; j < 4; j++) c[i][j] += double(x.x[i]) * double(y.x[j]);
            if (summing) sum += double(of_row[threadIdx.x]);
        }
        // The chunk is overwritten next.
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            if (there(i, j)) *product(i, j) = c[i][j];
    if (summing) p.sums[j0 + threadIdx.x] = sum;
}
