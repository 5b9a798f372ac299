// linear_f32   out[i] = epilogue(x[i] · Wᵀ + bias): the float32 product with everything that follows it.
//              x [rows, x_stride], inputs columns of it; W [outputs, inputs], or for a gate [2 · outputs, inputs], the gate's rows first; bias [rows of W] or null.
//              out [rows, outputs]: act(·); or added to what is there; or act(gate) · up. One block: 64 × 64 of out.
//
// Equals the verb `linear` of src/backend/reference.rs. On a device, 16-bit operands go to the library's product instead.
#include "tile_product.cuh"

enum Epilogue : uint32_t { STORE, ADD, GATED };

struct LinearParams {
    const float* x;
    const float* weight;
    const float* bias;
    float* out;
    uint32_t rows;
    uint32_t x_stride;
    uint32_t inputs;
    uint32_t outputs;
    uint32_t epilogue;
    uint32_t act;
};
static_assert(sizeof(LinearParams) == 56, "twin of params::Linear");

KERNEL(linear_f32, LinearParams, PRODUCT_THREADS) {
    uint32_t row0 = blockIdx.x * PRODUCT_TILE, col0 = blockIdx.y * PRODUCT_TILE;
    float c[4][4] = {}, up[4][4] = {};
    tile_product(c, p.x, p.x_stride, row0, p.rows, p.weight, col0, p.outputs, p.inputs);
    if (p.epilogue == GATED) tile_product(up, p.x, p.x_stride, row0, p.rows, p.weight + uint64_t(p.outputs) * p.inputs, col0, p.outputs, p.inputs);
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++) {
            uint32_t row = row0 + threadIdx.x / 16 * 4 + i, col = col0 + threadIdx.x % 16 * 4 + j;
            if (row >= p.rows || col >= p.outputs) continue;
            float y = c[i][j] + (p.bias ? p.bias[col] : 0.0f);
            float& out = p.out[uint64_t(row) * p.outputs + col];
            if (p.epilogue == ADD)
                out += y;
            else if (p.epilogue == STORE)
                out = activate(Activation(p.act), y);
            else
                out = activate(Activation(p.act), y) * (up[i][j] + (p.bias ? p.bias[p.outputs + col] : 0.0f));
        }
}
