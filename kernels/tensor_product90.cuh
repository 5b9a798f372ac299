// Tiles of x · Wᵀ on sm_90a: 128 × 256 by three warpgroups. One thread of the last copies boxes of both operands, up to four chunks of 64 inputs ahead; the other two warpgroups multiply,
// each 64 rows, out of shared memory, with all of its sums in registers. Barriers in shared memory say which chunk is there and which has been read.
//
// The arrangement of producer and consumers is that of CUTLASS's persistent "warp specialized" kernels (NVIDIA, sm90 GEMM). An element is one chain of products over the inputs, sixteen at
// a time in their order, whatever is beside it.
#pragma once
#include "ptx90.cuh"

constexpr int WIDE_THREADS = 384, WIDE_ROWS = 128, WIDE_COLS = 256, WIDE_CHUNK = 64, WIDE_STAGES = 4, WIDE_CONSUMERS = 256;
constexpr int BOX_ROWS = 128, BOX_BYTES = BOX_ROWS * WIDE_CHUNK * 2, WIDE_STAGE_BYTES = 3 * BOX_BYTES;
// Of shared memory, in bytes: stages, and a pair of barriers for each.
constexpr int WIDE_SHARED = WIDE_STAGES * WIDE_STAGE_BYTES + WIDE_STAGES * 2 * 8;

#ifdef HOPPER

using WideTile = float[WARPGROUP_NUMBERS];
// What a lane of a consumer holds of a tile: of row wide_row() + 8 i the columns 8 n + 2 (lane % 4) + j, as c[4 n + 2 i + j].
__device__ __forceinline__ int wide_row() { return threadIdx.x / WARP * 16 + threadIdx.x % WARP / 4; }

// Rows first_row … of x; tile t's columns are the rows w_row(t, half) … of W, 128 for either half. finish(t) is called when c holds tile t, in order, in every thread of the
// consumers; those leave with the shared memory free and the last tile in c, the producer's threads leave false at once. Called by the whole block.
template <class T, class WRow, class Finish>
__device__ __forceinline__ bool wide_tiles(const TensorMap& x, uint32_t first_row, const TensorMap& weight, WRow w_row, uint32_t inputs, uint32_t tiles, WideTile& c, Finish finish) {
    uint64_t* full = reinterpret_cast<uint64_t*>(smem + WIDE_STAGES * WIDE_STAGE_BYTES);
    uint64_t* empty = full + WIDE_STAGES;
    if (threadIdx.x == 0) {
        for (int s = 0; s < WIDE_STAGES; s++) {
            mbarrier_init(full + s, 1);
            mbarrier_init(empty + s, WIDE_CONSUMERS / WARP);
        }
        mbarrier_init_fence();
    }
    __syncthreads();
    uint32_t chunks = (inputs + WIDE_CHUNK - 1) / WIDE_CHUNK, steps = tiles * chunks;

    if (threadIdx.x >= WIDE_CONSUMERS) {
        fewer_registers<40>();
        if (threadIdx.x != WIDE_CONSUMERS) return false;
        for (uint32_t step = 0; step < steps; step++) {
            uint32_t s = step % WIDE_STAGES, column = step % chunks * WIDE_CHUNK;
            unsigned char* to = smem + s * WIDE_STAGE_BYTES;
            // The first round finds all stages empty.
            mbarrier_wait(empty + s, (step / WIDE_STAGES + 1) % 2);
            mbarrier_expect(full + s, WIDE_STAGE_BYTES);
            copy_box(to, &x, column, first_row, 0, full + s);
            for (uint32_t half = 0; half < 2; half++) copy_box(to + (1 + half) * BOX_BYTES, &weight, column, w_row(step / chunks, half), 0, full + s);
        }
        return false;
    }

    more_registers<232>();
    uint32_t step = 0;
    for (uint32_t tile = 0; tile < tiles; tile++) {
        for (uint32_t chunk = 0; chunk < chunks; chunk++, step++) {
            uint32_t s = step % WIDE_STAGES;
            const unsigned char* a = smem + s * WIDE_STAGE_BYTES + threadIdx.x / WARPGROUP * (BOX_BYTES / 2);
            const unsigned char* b = smem + s * WIDE_STAGE_BYTES + BOX_BYTES;
            mbarrier_wait(full + s, step / WIDE_STAGES % 2);
            products_fence();
#pragma unroll
            for (int k = 0; k < WIDE_CHUNK; k += 16) product(c, rows_of(a, k), rows_of(b, k), chunk > 0 || k > 0, T{});
            products_commit();
            // One group stays under way; what the one before it read is free.
            products_wait<1>();
            if (step > 0 && threadIdx.x % WARP == 0) mbarrier_arrive(empty + (step - 1) % WIDE_STAGES);
        }
        products_done(c);
        finish(tile);
    }
    barrier_of(1, WIDE_CONSUMERS);
    return true;
}

#endif
