//! Of convolutions and scans.

use super::super::tables::{Forest, States, Stores};
use super::Taps;
use bytemuck::{Pod, Zeroable};

/// Consecutive positions of a run's path that a block convolves: as `kernels/causal_conv.cuh` has them.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ConvTile {
    /// Index of the run.
    pub run: u32,
    /// The first.
    pub position: u32,
    /// How many, at most 16.
    pub rows: u32,
    /// Row of out for the first.
    pub out_row: u32,
}

/// `conv_f32` in `kernels/causal_conv.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Conv {
    /// Tables.
    pub forest: Forest,
    /// `[rows, history]` float32 each.
    pub stores: Stores,
    /// Weights.
    pub taps: Taps,
    /// [`ConvTile`]s, as many as the grid is wide.
    pub tiles: u64,
    /// `[rows, width]` float32: written.
    pub out: u64,
    /// Channels: the first of a history row.
    pub width: u32,
    /// Columns of a history row.
    pub history: u32,
}

/// `scan_f32` in `kernels/selective_scan.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Scan {
    /// Tables.
    pub forest: Forest,
    /// `[d_state, d_inner]` float32 each.
    pub states: States,
    /// Indices of runs, uint32: those of the launch.
    pub runs: u64,
    /// `[rows, d_inner]` float32.
    pub x: u64,
    /// Likewise, before the softplus.
    pub dt: u64,
    /// B of the first row; C follows it.
    pub bc: u64,
    /// The gate of the first row.
    pub z: u64,
    /// `[d_inner, d_state]` float32.
    pub a_log: u64,
    /// `[d_inner]` float32.
    pub d_skip: u64,
    /// `[rows, d_inner]` float32: written.
    pub out: u64,
    /// The wave's row that is the first of out.
    pub first_row: u32,
    /// The one after the last.
    pub end_row: u32,
    /// Channels.
    pub d_inner: u32,
    /// Numbers of a channel's state.
    pub d_state: u32,
    /// From one row of B to the next.
    pub bc_stride: u32,
    /// Likewise.
    pub z_stride: u32,
    /// Of z.
    pub act: u32,
    /// 0.
    pub padding: u32,
}

/// `ssd_rows_T` in `kernels/ssd.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct SsdRows {
    /// Tables.
    pub forest: Forest,
    /// `[rows, history]` float32 each: x, B, C, dt.
    pub stores: Stores,
    /// Over x, B and C.
    pub taps: Taps,
    /// [`ConvTile`]s, as many as the grid is wide.
    pub tiles: u64,
    /// `[heads]` float32.
    pub dt_bias: u64,
    /// `[rows, width]` T: written.
    pub mixed: u64,
    /// `[rows, heads]` float32: written.
    pub delta: u64,
    /// heads · head_dim + 2 · groups · d_state.
    pub width: u32,
    /// Heads.
    pub heads: u32,
    /// Columns of a history row.
    pub history: u32,
    /// Bounds of Δ.
    pub dt_least: f32,
    /// Likewise.
    pub dt_most: f32,
    /// 0.
    pub padding: u32,
}

/// What one run has of a block of rows, from the beginning of its first chunk on: as `kernels/ssd.cuh` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct SsdPiece {
    /// Index of the run.
    pub run: u32,
    /// Position that a chunk begins at.
    pub from: u32,
    /// Position of the first row that gives output.
    pub position: u32,
    /// The one after the last position.
    pub end: u32,
    /// Row of `from` after the convolution.
    pub row: u32,
    /// Row of out for `position`.
    pub out_row: u32,
    /// Index of the first chunk.
    pub chunk: u32,
    /// 0.
    pub padding: u32,
}

/// Rows of a chunk, after the convolution.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct SsdChunk {
    /// The first.
    pub row: u32,
    /// How many, at most 64.
    pub rows: u32,
}

/// `ssd_f32` in `kernels/ssd.cu` and `ssd_chunks_T_N` in `kernels/ssd_chunks.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Ssd {
    /// Tables.
    pub forest: Forest,
    /// `[heads · head_dim, d_state]` float32 each.
    pub states: States,
    /// [`SsdPiece`]s: those of the launch.
    pub pieces: u64,
    /// As [`SsdRows::mixed`].
    pub mixed: u64,
    /// As [`SsdRows::delta`].
    pub delta: u64,
    /// As [`SsdGram::gram`]; `ssd_f32` does not read it.
    pub gram: u64,
    /// `[heads]` float32.
    pub a_log: u64,
    /// Likewise.
    pub d_skip: u64,
    /// `[rows, heads · head_dim]` float32: written.
    pub out: u64,
    /// The wave's row after the block's last.
    pub end_row: u32,
    /// Heads.
    pub heads: u32,
    /// Width of a head.
    pub head_dim: u32,
    /// Groups that share B and C.
    pub groups: u32,
    /// State size.
    pub d_state: u32,
    /// Blocks that a head falls into.
    pub slices: u32,
}

/// `ssd_gram_T` in `kernels/ssd_chunks.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct SsdGram {
    /// [`SsdChunk`]s, as many as the grid is wide.
    pub chunks: u64,
    /// As [`SsdRows::mixed`].
    pub mixed: u64,
    /// `[chunks, groups, 64, 64]` float32: written.
    pub gram: u64,
    /// Columns of `mixed`.
    pub width: u32,
    /// Column of B.
    pub first: u32,
    /// Groups.
    pub groups: u32,
    /// State size.
    pub d_state: u32,
}
