//! Of `kernels/ceilings.cu`.

use bytemuck::{Pod, Zeroable};

/// `ceiling_fma`, `ceiling_exp2`, `ceiling_mma_T` and `ceiling_wide_T`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Ceiling {
    /// A float32 for each thread of the grid: written.
    pub out: u64,
    /// How often the loop goes round.
    pub steps: u32,
    /// What is multiplied.
    pub value: f32,
}

/// `ceiling_copy`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CeilingCopy {
    /// Words of 16 bytes.
    pub from: u64,
    /// Likewise: written.
    pub to: u64,
    /// How many.
    pub words: u64,
}
