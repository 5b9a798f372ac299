//! What the twin keeps on a device.

use super::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Dtype;

/// Kernels count rows, columns and positions in 32 bits, the last of which says of a row in which store it lies.
const MOST: usize = i32::MAX as usize - 1;

/// Refuses more than kernels can count to.
pub(super) fn countable(what: &str, n: usize) -> Result<()> {
    if n <= MOST { Ok(()) } else { Err(Error::input(format!("{n} {what}; kernels of CUDA count to {MOST}"))) }
}

/// `[rows, cols]`.
pub struct Mat<D: Device> {
    pub(super) memory: D::Memory,
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) dtype: Dtype,
}

impl<D: Device> Mat<D> {
    /// Bytes before a number.
    pub(super) fn offset(&self, row: usize, col: usize) -> usize {
        self.dtype.size() * (row * self.cols + col)
    }
}

/// Weights `[outputs, padded(inputs)]`, zeros past the inputs; of a gate `[2 · outputs, …]`.
pub struct Weight<D: Device> {
    pub(super) memory: D::Memory,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) dtype: Dtype,
}

impl<D: Device> Weight<D> {
    /// From one row to the next.
    pub(super) fn stride(&self) -> usize {
        padded(self.inputs, self.dtype)
    }
}

/// Numbers of a row whose bytes are a multiple of 16, where numbers have 16 bits: what tensor cores and asynchronous copies ask for.
pub(super) fn padded(numbers: usize, dtype: Dtype) -> usize {
    if dtype == Dtype::F32 { numbers } else { numbers.next_multiple_of(8) }
}

/// Numbers as a device has them.
pub(super) fn narrow(values: &[f32], dtype: Dtype, to: &mut [u8]) {
    let pairs = |to: &mut [u8], bits: fn(f32) -> [u8; 2]| to.chunks_exact_mut(2).zip(values).for_each(|(to, v)| to.copy_from_slice(&bits(*v)));
    match dtype {
        Dtype::F32 => to.copy_from_slice(bytemuck::cast_slice(values)),
        Dtype::Bf16 => pairs(to, |v| half::bf16::from_f32(v).to_le_bytes()),
        Dtype::F16 => pairs(to, |v| half::f16::from_f32(v).to_le_bytes()),
    }
}

/// And back.
pub(super) fn widened(bytes: &[u8], dtype: Dtype) -> Vec<f64> {
    let f32s = || bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]).into());
    let halves = || bytes.chunks_exact(2).map(|b| [b[0], b[1]]);
    match dtype {
        Dtype::F32 => f32s().collect(),
        Dtype::Bf16 => halves().map(|b| half::bf16::from_le_bytes(b).into()).collect(),
        Dtype::F16 => halves().map(|b| half::f16::from_le_bytes(b).into()).collect(),
    }
}
