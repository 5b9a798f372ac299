//! What kernels are handed: each struct has a twin in `kernels/`, field by field, whose size is asserted there. Addresses are of device memory.

use super::device::TensorMap;
use super::tables::Forest;
use bytemuck::{Pod, Zeroable};

mod ceilings;
mod products;
mod scans;

pub use ceilings::{Ceiling, CeilingCopy};
pub use products::{Head, Head90, HeadCombine, Linear, Linear90, Narrow};
pub use scans::{Conv, ConvTile, Scan, Ssd, SsdChunk, SsdGram, SsdPiece, SsdRows};

/// Widest window of a convolution.
pub const MOST_TAPS: usize = 8;

/// `Conv` in `kernels/causal_conv.cuh`: part of the parameters of what convolves.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Taps {
    /// `[width, taps]` float32.
    pub weight: u64,
    /// `[width]` float32, or 0.
    pub bias: u64,
    /// Width of the window, at most [`MOST_TAPS`].
    pub taps: u32,
    /// After the sum.
    pub act: u32,
}

/// `norm_T` in `kernels/rows.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Norm {
    /// `[·, width]` float32.
    pub x: u64,
    /// `[rows]` uint32: which row is read; 0: rows from `first` on.
    pub which: u64,
    /// `[width]` float32.
    pub weight: u64,
    /// `[width]` float32, or 0.
    pub bias: u64,
    /// `[rows, width]`: written.
    pub out: u64,
    /// First row read.
    pub first: u64,
    /// Numbers of a row.
    pub width: u32,
    /// ε.
    pub eps: f32,
    /// 1: the mean is taken off first.
    pub center: u32,
    /// 0.
    pub padding: u32,
}

/// `embed_T` in `kernels/rows.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Embed {
    /// `[rows, width]` T.
    pub rows: u64,
    /// `[rows, width]` float32, or 0.
    pub added: u64,
    /// `[rows, width]` float32: written.
    pub out: u64,
    /// rows · width.
    pub numbers: u64,
}

/// `gate_f32` in `kernels/rows.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Gate {
    /// `[rows, width]` float32: read and written.
    pub y: u64,
    /// Rows of `z_stride` float32.
    pub z: u64,
    /// `[width]` float32, or 0: no norm.
    pub weight: u64,
    /// Numbers of a row.
    pub width: u32,
    /// From one row of z to the next.
    pub z_stride: u32,
    /// Slices that are normalised on their own.
    pub groups: u32,
    /// 1: the norm is of y, not of the gated y.
    pub norm_first: u32,
    /// Of z.
    pub act: u32,
    /// ε.
    pub eps: f32,
}

/// `moments_f32` in `kernels/moments.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Moments {
    /// `[rows, width]` float32.
    pub x: u64,
    /// `[width]` float64: added to.
    pub sums: u64,
    /// `[width, width]` float64: added to, upper triangle.
    pub products: u64,
    /// Rows.
    pub rows: u32,
    /// Numbers of a row.
    pub width: u32,
}

/// `rotary_append_T` in `kernels/kv_cache.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Rotary {
    /// `[rows, (heads + kv_heads) · head_dim + kv_heads · v_head_dim]` float32: queries are written.
    pub qkv: u64,
    /// `[positions, dims]` float32, or 0.
    pub table: u64,
    /// `[head_dim]` float32, or 0.
    pub q_norm: u64,
    /// Likewise.
    pub k_norm: u64,
    /// `[wave rows]` uint32.
    pub positions: u64,
    /// `[kv_heads, store rows, head_dim]` T: written.
    pub keys: u64,
    /// `[kv_heads, store rows, v_head_dim]` T: written.
    pub values: u64,
    /// Rows of a head in the store.
    pub store_rows: u64,
    /// The wave's row that is the first of qkv.
    pub first_row: u32,
    /// Rows.
    pub rows: u32,
    /// Query heads.
    pub heads: u32,
    /// Key-value heads.
    pub kv_heads: u32,
    /// Width of a head of queries and keys.
    pub head_dim: u32,
    /// Width of a head of values.
    pub v_head_dim: u32,
    /// Numbers of a query or key that are turned.
    pub dims: u32,
    /// ε of the norms.
    pub eps: f32,
}

/// `append_f32` in `kernels/kv_cache.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Append {
    /// Rows of `x_stride` float32, the columns to copy first.
    pub x: u64,
    /// `[rows, width]` float32: written.
    pub history: u64,
    /// rows · width.
    pub numbers: u64,
    /// From one row of x to the next.
    pub x_stride: u32,
    /// Columns.
    pub width: u32,
}

/// `keep_words` in `kernels/kv_cache.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Keep {
    /// [`super::tables::KeptRows`], as many as the grid is wide.
    pub keeps: u64,
    /// `[heads, rows, width]` words of 32 bits.
    pub wave: u64,
    /// Likewise: written.
    pub resident: u64,
    /// Rows of a head.
    pub wave_rows: u64,
    /// Likewise.
    pub resident_rows: u64,
    /// Words of a row.
    pub width: u32,
    /// 0.
    pub padding: u32,
}

/// `attention_K_T` in `kernels/plain_attention.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct PlainAttention {
    /// Tables.
    pub forest: Forest,
    /// `[rows, q_stride]` float32, the queries' columns first.
    pub q: u64,
    /// `[kv_heads, store rows, head_dim]` K of the wave, and resident.
    pub keys: [u64; 2],
    /// `[kv_heads, store rows, v_head_dim]` likewise.
    pub values: [u64; 2],
    /// `[heads]` float32, or 0.
    pub sinks: u64,
    /// `[rows, heads · v_head_dim]` T: written.
    pub out: u64,
    /// Rows of a head in each store.
    pub store_rows: [u64; 2],
    /// The wave's row that is the first of q and out.
    pub first_row: u32,
    /// Rows.
    pub rows: u32,
    /// Columns of q.
    pub q_stride: u32,
    /// Query heads.
    pub heads: u32,
    /// Key-value heads.
    pub kv_heads: u32,
    /// Width of a head of queries and keys.
    pub head_dim: u32,
    /// Width of a head of values, at most 256.
    pub v_head_dim: u32,
    /// Positions that a row sees, or 0 for all.
    pub window: u32,
    /// Factor on q·k.
    pub scale: f32,
    /// c of c·tanh(·/c), or 0.
    pub softcap: f32,
}

/// `forest_attention_T_D` in `kernels/forest_attention.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Attention {
    /// `[rows, q_stride]` float32, the queries' columns first.
    pub q: u64,
    /// `[kv_heads, store rows, head_dim]` of the wave, and resident.
    pub keys: [u64; 2],
    /// `[kv_heads, store rows, v_head_dim]` likewise.
    pub values: [u64; 2],
    /// `[heads]` float32, or 0.
    pub sinks: u64,
    /// [`AttentionItem`]s, as many as the grid is wide.
    pub items: u64,
    /// Tables.
    pub forest: Forest,
    /// `[rows, heads · v_head_dim]`: written.
    pub out: u64,
    /// `[part rows, heads, v_head_dim]` float32: written.
    pub parts: u64,
    /// `[part rows, heads]` pairs of float32: written.
    pub part_sums: u64,
    /// Rows of a head in each store.
    pub store_rows: [u64; 2],
    /// The wave's row that is the first of q and out.
    pub block_row: u32,
    /// Columns of q.
    pub q_stride: u32,
    /// Query heads.
    pub heads: u32,
    /// Key-value heads.
    pub kv_heads: u32,
    /// Width of a head of queries and keys; a multiple of 8.
    pub head_dim: u32,
    /// Width of a head of values; a multiple of 8.
    pub v_head_dim: u32,
    /// Positions that a row sees, or 0 for all.
    pub window: u32,
    /// Factor on q·k.
    pub scale: f32,
    /// c of c·tanh(·/c), or 0.
    pub softcap: f32,
    /// 0.
    pub padding: u32,
}

/// `forest_attention_T_D_90` in `kernels/forest_attention90.cu`.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Attention90 {
    /// Of the wave's keys, and of the resident ones.
    pub keys: [TensorMap; 2],
    /// Likewise.
    pub values: [TensorMap; 2],
    /// The rest.
    pub attention: Attention,
    /// Row of the wave; those before it have their keys and values.
    pub block_end: u32,
    /// 0.
    pub padding: [u32; 21],
}

/// What a block of `forest_attention_T_D` does, for one key-value head.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct AttentionItem {
    /// Index of a run.
    pub run: u32,
    /// Row of the wave.
    pub first_row: u32,
    /// Rows.
    pub rows: u32,
    /// First of the heads that share a key-value head.
    pub first_head: u32,
    /// Heads.
    pub heads: u32,
    /// Which 2,048 positions.
    pub segment: u32,
    /// First row of the parts that it writes, or `u32::MAX`: it writes `out`.
    pub part: u32,
}

/// `attention_merge_T` in `kernels/forest_attention.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct AttentionMergeAll {
    /// [`AttentionMerge`]s, as many as the grid is wide.
    pub merges: u64,
    /// As [`Attention::parts`].
    pub parts: u64,
    /// As [`Attention::part_sums`].
    pub part_sums: u64,
    /// As [`Attention::sinks`].
    pub sinks: u64,
    /// `[rows, heads · v_head_dim]`: written.
    pub out: u64,
    /// The wave's row that is the first of out.
    pub block_row: u32,
    /// Query heads.
    pub heads: u32,
    /// Width of a head of values.
    pub v_head_dim: u32,
    /// 0.
    pub padding: u32,
}

/// Rows whose parts are merged.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct AttentionMerge {
    /// Row of the wave.
    pub first_row: u32,
    /// Rows.
    pub rows: u32,
    /// Their first part row.
    pub part: u32,
    /// Parts of each, `rows` part rows apart.
    pub segments: u32,
}
