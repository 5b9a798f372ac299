// linear_f32   out[i] = epilogue(x[i] · Wᵀ + bias): the product with everything that follows it.
//              x [rows, x_stride], inputs columns of it; W [outputs, inputs], or for a gate [2 · outputs, inputs], the gate's rows first; bias [rows of W] or null.
//              out [rows, outputs]: act(·); or added to what is there; or act(gate) · up. One block: 64 × 64 of out.
// linear_T     The same for x and W of T (bfloat16 or float16), aligned to 16 bytes, x_stride and inputs multiples of 8, by tensor cores; sums, bias and epilogue are float32,
//              out is float32 or T. One block: 128 × 128 of out, or 128 × 64 of a gate's: columns of gate and up in eights by turns, so that a lane has both.
// linear_T_90  The same on sm_90a, where maps say where x and W lie. One block: 128 × 256 of out, or 128 × 128 of a gate's.
// narrow_T     [rows, stride] float32, `columns` of them, to [rows, to_stride] of T, zeros past the columns.
//
// Equals the verb `linear` of src/backend/reference.rs.
#include "tensor_product.cuh"
#include "tensor_product90.cuh"
#include "tile_product.cuh"

enum Epilogue : uint32_t { STORE, ADD, GATED };

struct LinearParams {
    const void* x;
    const void* weight;
    const float* bias;
    void* out;
    uint32_t rows;
    uint32_t x_stride;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t epilogue;
    uint32_t act;
    uint32_t narrow; // 1: out is of T
    uint32_t padding;
};
static_assert(sizeof(LinearParams) == 64, "twin of params::Linear");

KERNEL(linear_f32, LinearParams, PRODUCT_THREADS) {
    uint32_t row0 = blockIdx.x * PRODUCT_TILE, col0 = blockIdx.y * PRODUCT_TILE;
    const float* x = static_cast<const float*>(p.x);
    const float* weight = static_cast<const float*>(p.weight);
    float c[4][4] = {}, up[4][4] = {};
    tile_product(c, x, p.x_stride, row0, p.rows, weight, col0, p.outputs, p.inputs);
    if (p.epilogue == GATED) tile_product(up, x, p.x_stride, row0, p.rows, weight + uint64_t(p.outputs) * p.inputs, col0, p.outputs, p.inputs);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t row = row0 + threadIdx.x / 16 * 4 + i, col = col0 + threadIdx.x % 16 * 4 + j;
            if (row >= p.rows || col >= p.outputs) continue;
            float y = c[i][j] + (p.bias ? p.bias[col] : 0.0f);
            float& out = static_cast<float*>(p.out)[uint64_t(row) * p.outputs + col];
            if (p.epilogue == ADD)
                out += y;
            else if (p.epilogue == STORE)
                out = activate(Activation(p.act), y);
            else
                out = activate(Activation(p.act), y) * (up[i][j] + (p.bias ? p.bias[p.outputs + col] : 0.0f));
        }
}

// What follows the sums of a tile: sum(row, col, 0), and of a gate sum(row, col, 1) of up.
template <class T, int THREADS, class Sum>
__device__ __forceinline__ void finish_tile(const LinearParams& p, uint32_t row0, uint32_t rows, uint32_t col0, uint32_t cols, Sum sum) {
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < rows * cols; i += THREADS) {
        uint32_t row = row0 + i / cols, col = col0 + i % cols;
        if (row >= p.rows || col >= p.outputs) continue;
        float y = activate(Activation(p.act), sum(i / cols, i % cols, 0) + (p.bias ? p.bias[col] : 0.0f));
        if (p.epilogue == GATED) y *= sum(i / cols, i % cols, 1) + (p.bias ? p.bias[p.outputs + col] : 0.0f);
        uint64_t at = uint64_t(row) * p.outputs + col;
        if (p.epilogue == ADD)
            static_cast<float*>(p.out)[at] += y;
        else if (p.narrow)
            static_cast<T*>(p.out)[at] = narrow<T>(y);
        else
            static_cast<float*>(p.out)[at] = y;
    }
}

template <class T> __device__ void linear(const LinearParams& p) {
    bool gated = p.epilogue == GATED;
    uint32_t cols = gated ? TENSOR_COLS / 2 : TENSOR_COLS;
    uint32_t row0 = tile_place().row * TENSOR_ROWS, col0 = tile_place().column * cols;
    if (row0 >= p.rows) return;
    auto x_row = [&](uint32_t i) { return row0 + i < p.rows ? row0 + i : NOWHERE; };
    auto w_row = [&](uint32_t, uint32_t n) {
        uint32_t col = col0 + (gated ? n / 16 * 8 + n % 8 : n);
        return col >= p.outputs ? NOWHERE : gated && n / 8 % 2 ? p.outputs + col : col;
    };
    Tile c;
    tensor_tiles(static_cast<const T*>(p.x), p.x_stride, x_row, static_cast<const T*>(p.weight), p.inputs, w_row, 1, c, [](uint32_t) {});

    // By way of shared memory, so that threads side by side write side by side, and the epilogue is there once.
    float* tile = reinterpret_cast<float*>(smem); // [TENSOR_ROWS, ROW]
    constexpr int ROW = TENSOR_COLS + 8;
    static_assert(TENSOR_ROWS * ROW * sizeof(float) <= TENSOR_SHARED, "a tile lies where the chunks were");
    int lane = threadIdx.x % WARP;
#pragma unroll
    for (int m = 0; m < M_TILES; m++)
#pragma unroll
        for (int n = 0; n < N_TILES; n++)
#pragma unroll
            for (int q = 0; q < 4; q++) tile[(warp_row() + m * 16 + q / 2 * 8 + lane / 4) * ROW + warp_col() + n * 8 + lane % 4 * 2 + q % 2] = c[m][n][q];
    __syncthreads();
    auto sum = [&](uint32_t row, uint32_t col, uint32_t half) { return tile[row * ROW + (gated ? col / 8 * 16 + half * 8 + col % 8 : col)]; };
    finish_tile<T, TENSOR_THREADS>(p, row0, TENSOR_ROWS, col0, cols, sum);
}

KERNEL(linear_bf16, LinearParams, TENSOR_THREADS) { linear<bf16>(p); }
KERNEL(linear_f16, LinearParams, TENSOR_THREADS) { linear<f16>(p); }

struct Linear90Params {
    TensorMap x_map;
    TensorMap weight_map;
    LinearParams linear; // x and weight unread
};
static_assert(sizeof(Linear90Params) == 384, "twin of params::Linear90");

template <class T> __device__ __forceinline__ void linear90(const Linear90Params& all) {
#ifdef HOPPER
    const LinearParams& p = all.linear;
    bool gated = p.epilogue == GATED;
    uint32_t cols = gated ? WIDE_COLS / 2 : WIDE_COLS;
    uint32_t row0 = tile_place().row * WIDE_ROWS, col0 = tile_place().column * cols;
    if (row0 >= p.rows) return;
    auto w_row = [&](uint32_t, uint32_t half) { return col0 + half * (gated ? p.outputs : WIDE_COLS / 2); };
    float* tile = reinterpret_cast<float*>(smem); // [WIDE_ROWS, ROW]
    constexpr int ROW = WIDE_COLS + 8;
    static_assert(WIDE_ROWS * ROW * sizeof(float) <= WIDE_STAGES * WIDE_STAGE_BYTES, "a tile lies where the chunks were");
    WideTile c;
    if (!wide_tiles<T>(all.x_map, row0, all.weight_map, w_row, p.inputs, 1, c, [](uint32_t) {})) return;
#pragma unroll
    for (int i = 0; i < WARPGROUP_NUMBERS; i++) tile[(wide_row() + i / 2 % 2 * 8) * ROW + i / 4 * 8 + threadIdx.x % 4 * 2 + i % 2] = c[i];
    barrier_of(1, WIDE_CONSUMERS);
    auto sum = [&](uint32_t row, uint32_t col, uint32_t half) { return tile[row * ROW + half * (WIDE_COLS / 2) + col]; };
    finish_tile<T, WIDE_CONSUMERS>(p, row0, WIDE_ROWS, col0, cols, sum);
#else
    __trap();
#endif
}

KERNEL(linear_bf16_90, Linear90Params, WIDE_THREADS) { linear90<bf16>(p); }
KERNEL(linear_f16_90, Linear90Params, WIDE_THREADS) { linear90<f16>(p); }

struct NarrowParams {
    const float* x;
    void* out;
    uint64_t numbers; // rows · to_stride
    uint32_t stride;
    uint32_t columns;
    uint32_t to_stride;
    uint32_t padding;
};
static_assert(sizeof(NarrowParams) == 40, "twin of params::Narrow");

// A thread a number.
template <class T> __device__ void narrowed(const NarrowParams& p) {
    uint64_t i = uint64_t(blockIdx.x) * TENSOR_THREADS + threadIdx.x, row = i / p.to_stride;
    uint32_t column = i % p.to_stride;
    if (i < p.numbers) static_cast<T*>(p.out)[i] = narrow<T>(column < p.columns ? p.x[row * p.stride + column] : 0.0f);
}

KERNEL(narrow_bf16, NarrowParams, TENSOR_THREADS) { narrowed<bf16>(p); }
KERNEL(narrow_f16, NarrowParams, TENSOR_THREADS) { narrowed<f16>(p); }
