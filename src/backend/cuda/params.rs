//! What kernels are handed: each struct has a twin in `kernels/*.cu`, field by field, whose size is asserted there. Addresses are of device memory.

use bytemuck::{Pod, Zeroable};

/// `norm_f32`, `norm_bf16`, `norm_f16` in `kernels/rows.cu`.
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
    /// `[rows, width]`.
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

/// `head_segments_bf16`, `head_segments_f16` in `kernels/logprob_head.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Head {
    /// `[rows, d]`, 16 bits.
    pub x: u64,
    /// `[vocab, d]`, 16 bits.
    pub weight: u64,
    /// `[vocab]` float32, or 0.
    pub bias: u64,
    /// `[rows + 1]` uint32.
    pub ptr: u64,
    /// `[targets]` uint32, below the vocabulary.
    pub targets: u64,
    /// `[segments, rows]` pairs of float32: written.
    pub sums: u64,
    /// `[targets]` float32: written.
    pub picked: u64,
    /// Rows.
    pub rows: u32,
    /// Numbers of a row; a multiple of 8.
    pub d: u32,
    /// Ids.
    pub vocab: u32,
    /// c of c·tanh(·/c), or 0.
    pub softcap: f32,
    /// Factor on logits.
    pub scale: f32,
    /// 0.
    pub padding: u32,
}

/// `head_combine` in `kernels/logprob_head.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct HeadCombine {
    /// `[segments, rows]` pairs of float32.
    pub sums: u64,
    /// `[targets]` float32.
    pub picked: u64,
    /// `[rows + 1]` uint32.
    pub ptr: u64,
    /// `[targets]` float32: written.
    pub logs: u64,
    /// `[targets]` bytes: written; or 0.
    pub greedy: u64,
    /// Rows.
    pub rows: u32,
    /// Segments of the vocabulary.
    pub segments: u32,
}
