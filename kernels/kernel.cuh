// How a kernel is declared: one struct of parameters, blocks of one size. The struct has a twin in src/backend/cuda/params.rs, field by field.
//
// The same sources are compiled as C++ for the processor by the tests (tests/emulation).
#pragma once
#include <stdint.h>

#ifdef __CUDACC__
#define KERNEL(name, Params, threads) extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ Params p)
// Of which a multiprocessor should hold so many blocks: left to itself, the compiler spills registers of small blocks to make room for more of them.
#define KERNEL_BY(blocks, name, Params, threads) extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Params p)
#else
#define KERNEL(name, Params, threads) EMU_KERNEL(name, Params, threads)
#define KERNEL_BY(blocks, name, Params, threads) EMU_KERNEL(name, Params, threads)
#endif

// Dynamic shared memory, the only kind that kernels use.
extern __shared__ __align__(1024) unsigned char smem[];

// Which tile of a product a block takes, of a grid of [rows of a band, columns, bands]: blocks that run together share rows and columns in the second-level cache.
// The last band may have fewer rows than the grid.
constexpr uint32_t BAND = 16;
struct TilePlace {
    uint32_t row, column;
};
__device__ __forceinline__ TilePlace tile_place() { return {blockIdx.z * BAND + blockIdx.x, blockIdx.y}; }
__device__ __forceinline__ uint32_t tiles_of(uint32_t numbers, uint32_t tile) { return (numbers + tile - 1) / tile; }

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;
