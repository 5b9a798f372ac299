// A wave's tables, as src/forest/wave.rs has them: which rows are a span's, and where the rows of its past lie.
#pragma once
#include "kernel.cuh"

constexpr uint32_t NOWHERE = 0xffffffffu; // no row; no state: zeros
constexpr uint32_t RESIDENT = 0x80000000u; // of a row or a state: of the resident store, not the wave's

// Attention reduces keys in tiles of so many absolute positions, and tiles in segments that are merged in order.
constexpr uint32_t KEY_TILE = 64, KEY_SEGMENT = 2048;

// Rows of one span.
struct ForestRun {
    uint32_t first_row;
    uint32_t end_row;
    uint32_t position;  // of the first row
    uint32_t past_from; // its past: segments in ascending positions
    uint32_t past_to;
    uint32_t state;      // that it begins from
    uint32_t saves_from; // states to keep, in ascending rows
    uint32_t saves_to;
};
// Consecutive rows of a store that are consecutive positions.
struct ForestSegment {
    uint32_t row;
    uint32_t position;
    uint32_t length;
};
// The state after `row` goes to slot `to`.
struct ForestSave {
    uint32_t row;
    uint32_t to;
};
struct Forest {
    const ForestRun* runs;
    const ForestSegment* segments;
    const ForestSave* saves;
    const uint32_t* run_of_row;
};

// Where the row at a position of a run's path lies, and how many follow it there, itself among them, one after the other as their positions do; of the run's own rows, all.
struct ForestStretch {
    uint32_t row;
    uint32_t rows;
};
__device__ inline ForestStretch stretch_at(const Forest& forest, const ForestRun& run, uint32_t position) {
    if (position >= run.position) return {run.first_row + (position - run.position), NOWHERE};
    // The last segment that begins at or before it.
    uint32_t low = run.past_from, high = run.past_to;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (forest.segments[middle].position <= position)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == run.past_from) return {NOWHERE, 0};
    ForestSegment s = forest.segments[low - 1];
    uint32_t at = position - s.position;
    if (at >= s.length) return {NOWHERE, 0};
    return {s.row + at, s.length - at};
}
__device__ inline uint32_t locate(const Forest& forest, const ForestRun& run, uint32_t position) { return stretch_at(forest, run, position).row; }

// Rows of one kind of history of a layer: the wave's, and the resident ones.
struct Stores {
    const float* of[2];
    __device__ const float* row(uint32_t at, uint32_t width) const { return of[at & RESIDENT ? 1 : 0] + uint64_t(at & ~RESIDENT) * width; }
};
