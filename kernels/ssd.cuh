// Mamba-2's dual form (Dao and Gu 2024, arXiv:2405.21060): what its kernels share.
//
// Rows are taken in chunks of 64 absolute positions, at whose ends alone states are handed on. A piece is what one run has of a block of rows, from the beginning of its
// first chunk on: what of that chunk lies before the run's rows is computed again out of its past, and gives no output.
#pragma once
#include "scan_states.cuh"

constexpr uint32_t SSD_CHUNK = 64;

struct SsdPiece {
    uint32_t run;
    uint32_t from;     // position that a chunk begins at
    uint32_t position; // of the first row that gives output
    uint32_t end;      // the one after the last position
    uint32_t row;      // of `from`, in `mixed`
    uint32_t out_row;  // of `position`
    uint32_t chunk;    // of `from`, in `gram`
    uint32_t padding;
};

struct SsdParams {
    Forest forest;
    States states; // [heads · head_dim, d_state]
    const SsdPiece* pieces;
    const void* mixed;   // [rows, width] of T: x [heads · head_dim], B and C [groups · d_state] after the convolution
    const float* delta;  // [rows, heads]: Δ
    const float* gram;   // [chunks, groups, 64, 64]: C · Bᵀ up to the diagonal
    const float* a_log;  // [heads]
    const float* d_skip; // [heads]
    float* out;          // [rows of the block, heads · head_dim]
    uint32_t end_row;    // of the block
    uint32_t heads;
    uint32_t head_dim;
    uint32_t groups;
    uint32_t d_state;
    uint32_t slices; // into which a head falls
};
static_assert(sizeof(SsdParams) == 136, "twin of params::Ssd");

// The wave's row at a position of the run itself.
__device__ __forceinline__ uint32_t row_at(const ForestRun& run, uint32_t position) { return run.first_row + (position - run.position); }
