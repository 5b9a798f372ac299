// Scan states of a layer: where a run's rows take theirs from and who keeps them.
#pragma once
#include "forest.cuh"

// [1 + forks, state] and [kept, state]; row 0 of the wave's is the carry from one block of rows to the next.
struct States {
    float* of[2];
    uint64_t size; // numbers of a state
    __device__ float* at(uint32_t slot) const { return of[slot & RESIDENT ? 1 : 0] + (slot & ~RESIDENT) * size; }
    // What the rows of a run from `row` on begin from; null: zeros.
    __device__ const float* before(const ForestRun& run, uint32_t row) const {
        if (row > run.first_row) return at(0);
        return run.state == NOWHERE ? nullptr : at(run.state);
    }
};

// The first of a run's saves at or after a row.
__device__ __forceinline__ uint32_t first_save(const Forest& forest, const ForestRun& run, uint32_t row) {
    uint32_t save = run.saves_from;
    while (save < run.saves_to && forest.saves[save].row < row) save++;
    return save;
}
