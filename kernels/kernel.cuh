// How a kernel is declared: one struct of parameters, blocks of one size. The struct has a twin in src/backend/cuda/params.rs, field by field.
//
// The same sources are compiled as C++ for the processor by the tests (tests/emulation).
#pragma once
#include <stdint.h>

#ifdef __CUDACC__
#define KERNEL(name, Params, threads) extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Params p)
#else
#define KERNEL(name, Params, threads) EMU_KERNEL(name, Params, threads)
#endif

// Dynamic shared memory, the only kind that kernels use.
extern __shared__ __align__(1024) unsigned char smem[];

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;
