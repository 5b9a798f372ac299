//! Row-major float32 matrices, aligned to cache lines.

use crate::error::{Error, Result};
use std::ops::Range;

/// 64 bytes, so that a row of 16 lanes never straddles two cache lines where the width allows it.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// `[rows, cols]`, contiguous.
pub struct Mat {
    lines: Vec<Line>,
    rows: usize,
    cols: usize,
}

impl Mat {
    /// All zeros.
    ///
    /// # Errors
    /// Not enough memory.
    pub fn zeros(rows: usize, cols: usize) -> Result<Mat> {
        let n = rows.checked_mul(cols).map(|n| n.div_ceil(16)).unwrap_or(usize::MAX / 64);
        let mut lines = Vec::new();
        lines.try_reserve_exact(n).map_err(|_| Error::input(format!("not enough memory for a matrix of {rows} × {cols} numbers")))?;
        lines.resize(n, Line([0.0; 16]));
        Ok(Mat { lines, rows, cols })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Everything, row after row.
    pub fn data(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.rows * self.cols]
    }

    /// Everything, to write.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.rows * self.cols]
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data()[i * self.cols..(i + 1) * self.cols]
    }

    /// One row, to write.
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        let c = self.cols;
        &mut self.data_mut()[i * c..(i + 1) * c]
    }

    /// Consecutive rows.
    pub fn span(&self, rows: Range<usize>) -> &[f32] {
        &self.data()[rows.start * self.cols..rows.end * self.cols]
    }

    /// Consecutive rows, to write.
    pub fn span_mut(&mut self, rows: Range<usize>) -> &mut [f32] {
        let c = self.cols;
        &mut self.data_mut()[rows.start * c..rows.end * c]
    }
}

/// A buffer that several threads write at places of their own.
pub(super) struct Shared<'a> {
    at: *mut f32,
    len: usize,
    _life: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: whoever calls `slice` answers for disjointness.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Wraps a buffer.
    pub(super) fn new(data: &'a mut [f32]) -> Self {
        Shared { at: data.as_mut_ptr(), len: data.len(), _life: std::marker::PhantomData }
    }

    /// A part of it, to write.
    ///
    /// # Safety
    /// No other live slice of the buffer may overlap `range`.
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the buffer by the line above, disjoint by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(range.start), range.end - range.start) }
    }
}
