// Numbers as they are stored, and what is computed with: operands of products are float32, bfloat16 or float16, everything else is float32.
#pragma once
#include "kernel.cuh"
#include <cuda_bf16.h>
#include <cuda_fp16.h>

using bf16 = __nv_bfloat16;
using f16 = __half;
using f32 = float;

__device__ __forceinline__ float widen(float x) { return x; }
__device__ __forceinline__ float widen(bf16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float widen(f16 x) { return __half2float(x); }

// Rounded to nearest, ties to even. A float16 that would overflow becomes infinite.
template <class T> __device__ __forceinline__ T narrow(float x);
template <> __device__ __forceinline__ float narrow<float>(float x) { return x; }
template <> __device__ __forceinline__ bf16 narrow<bf16>(float x) { return __float2bfloat16_rn(x); }
template <> __device__ __forceinline__ f16 narrow<f16>(float x) { return __float2half_rn(x); }

// Two numbers of 16 bits as tensor cores take them, the first in the lower half; and apart again.
template <class T> __device__ __forceinline__ uint32_t pair(float a, float b, T) {
    T x[2] = {narrow<T>(a), narrow<T>(b)};
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    return bits;
}
template <class T> __device__ __forceinline__ float2 apart(uint32_t bits, T) {
    T x[2];
    memcpy(x, &bits, sizeof bits);
    return {widen(x[0]), widen(x[1])};
}

// Consecutive numbers that move in one instruction: `Four<float>` 16 bytes, of the others 8.
template <class T> struct alignas(4 * sizeof(T)) Four {
    T x[4];
};

constexpr float LOG2_E = 1.4426950408889634f;

// Activations, as `act` of src/backend/cuda/twin.rs numbers them.
enum Activation : uint32_t { ACT_NONE, ACT_RELU, ACT_RELU2, ACT_SILU, ACT_GELU, ACT_GELU_TANH };

// e^x is the library's: within 1 unit in the last place, where the instruction ex2 alone leaves more for large |x|.
// The division is within two units in the last place: an exact one would be a call, around which registers must be saved.
__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }

__device__ __forceinline__ float activate(Activation kind, float x) {
    switch (kind) {
    case ACT_RELU: return fmaxf(x, 0.0f);
    case ACT_RELU2: {
        float y = fmaxf(x, 0.0f);
        return y * y;
    }
    case ACT_SILU: return x * sigmoid(x);
    // By erfc, whose small values keep their digits where 1 + erf would cancel.
    case ACT_GELU: return 0.5f * x * erfcf(-x * 0.70710678118654752f);
    // x Φ(x) with Φ by tanh is x · sigmoid(2u), u = √(2/π) (x + 0.044715 x³); nothing cancels at negative x.
    case ACT_GELU_TANH: return x * sigmoid(1.5957691216057308f * (x + 0.044715f * x * x * x));
    default: return x;
    }
}

// ln(1 + e^x)
__device__ __forceinline__ float softplus(float x) { return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x))); }

// c · tanh(x / c); x where c is 0. The division is as that of a sigmoid.
__device__ __forceinline__ float capped(float x, float c) { return c != 0.0f ? c * tanhf(__fdividef(x, c)) : x; }

// Sum over a warp, the same bits in every lane: each step adds two numbers, in either order.
__device__ __forceinline__ float warp_sum(float x) {
    for (int by = WARP / 2; by > 0; by /= 2) x += __shfl_xor_sync(ALL_LANES, x, by);
    return x;
}

// Sum over a block of up to 32 warps, warps in order; `room` has a float for each warp. All threads must come.
__device__ __forceinline__ float block_sum(float x, float* room) {
    int warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    x = warp_sum(x);
    if (threadIdx.x % WARP == 0) room[warp] = x;
    __syncthreads();
    float sum = 0.0f;
    for (int w = 0; w < warps; w++) sum += room[w];
    // The room is used again by the next sum.
    __syncthreads();
    return sum;
}
