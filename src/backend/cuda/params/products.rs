//! Of `kernels/linear.cu` and the kernels of the head.

use crate::backend::cuda::device::TensorMap;
use bytemuck::{Pod, Zeroable};

/// `linear_T` in `kernels/linear.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Linear {
    /// Rows of `x_stride` T, the inputs first.
    pub x: u64,
    /// `[outputs, inputs]` T; for a gate `[2 · outputs, inputs]`.
    pub weight: u64,
    /// A float32 for each row of the weights, or 0.
    pub bias: u64,
    /// `[rows, outputs]` float32 or T: written; or float32, added to.
    pub out: u64,
    /// Rows.
    pub rows: u32,
    /// From one row of x to the next.
    pub x_stride: u32,
    /// Numbers that are summed over.
    pub inputs: u32,
    /// Columns of out.
    pub outputs: u32,
    /// 0: stored, 1: added, 2: gated.
    pub epilogue: u32,
    /// Of what is stored, or of the gate.
    pub act: u32,
    /// 1: out is of T.
    pub narrow: u32,
    /// 0.
    pub padding: u32,
}

/// `linear_T_90` in `kernels/linear.cu`.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Linear90 {
    /// Of x.
    pub x_map: TensorMap,
    /// Of the weights.
    pub weight_map: TensorMap,
    /// The rest; its addresses of x and weights are not read.
    pub linear: Linear,
    /// 0.
    pub padding: [u64; 8],
}

/// `narrow_T` in `kernels/linear.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Narrow {
    /// Rows of `stride` float32, the columns first.
    pub x: u64,
    /// `[rows, to_stride]` T: written.
    pub out: u64,
    /// rows · to_stride.
    pub numbers: u64,
    /// From one row of x to the next.
    pub stride: u32,
    /// Numbers of a row; zeros follow them.
    pub columns: u32,
    /// From one row of out to the next.
    pub to_stride: u32,
    /// 0.
    pub padding: u32,
}

/// `head_segments_T` in `kernels/logprob_head.cu` and `kernels/plain_head.cu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Head {
    /// `[rows, d]`.
    pub x: u64,
    /// `[vocab, d]`.
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
    /// Numbers of a row; a multiple of 8 where they have 16 bits.
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

/// `head_segments_T_90` in `kernels/logprob_head.cu`.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Head90 {
    /// Of x.
    pub x_map: TensorMap,
    /// Of the weights.
    pub weight_map: TensorMap,
    /// The rest; its addresses of x and weights are not read.
    pub head: Head,
    /// 0.
    pub padding: [u64; 6],
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
