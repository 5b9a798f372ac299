//! Row-major float32 matrices, aligned to cache lines.

use crate::error::{Error, Result};
use memmap2::MmapMut;
use std::ops::Range;

/// Bytes from which on a matrix is a mapping of its own. What it held is the system's again the moment that it is dropped; of a freed layer of weights an
/// allocator may keep all, and then the next allocation of another size comes on top. Rows that nobody writes take no memory.
const MAPPED: usize = 1 << 20;

/// 64 bytes, so that a row of 16 lanes never straddles two cache lines where the width allows it.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

enum Store {
    Heap(Vec<Line>),
    Map(MmapMut),
}

/// `[rows, cols]`, contiguous.
pub struct Mat {
    store: Store,
    rows: usize,
    cols: usize,
}

impl Mat {
    /// All zeros.
    ///
    /// # Errors
    /// [`Error::Memory`].
    pub fn zeros(rows: usize, cols: usize) -> Result<Mat> {
        let n = rows.checked_mul(cols).map(|n| n.div_ceil(16)).unwrap_or(usize::MAX / 64);
        let refused = || Error::memory(format!("there is no memory left for a matrix of {rows} × {cols} numbers"));
        let bytes = n.saturating_mul(size_of::<Line>());
        let store = if bytes >= MAPPED {
            Store::Map(MmapMut::map_anon(bytes).map_err(|_| refused())?)
        } else {
            let mut lines = Vec::new();
            lines.try_reserve_exact(n).map_err(|_| refused())?;
            lines.resize(n, Line([0.0; 16]));
            Store::Heap(lines)
        };
        Ok(Mat { store, rows, cols })
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width.
    #[inline]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Everything, row after row.
    #[inline]
    pub fn data(&self) -> &[f32] {
        let all: &[f32] = match &self.store {
            Store::Heap(lines) => bytemuck::cast_slice(lines),
            Store::Map(map) => bytemuck::cast_slice(map),
        };
        &all[..self.rows * self.cols]
    }

    /// Everything, to write.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [f32] {
        let all: &mut [f32] = match &mut self.store {
            Store::Heap(lines) => bytemuck::cast_slice_mut(lines),
            Store::Map(map) => bytemuck::cast_slice_mut(map),
        };
        &mut all[..self.rows * self.cols]
    }

    /// One row.
    #[inline]
    pub fn row(&self, i: usize) -> &[f32] {
        &self.data()[i * self.cols..(i + 1) * self.cols]
    }

    /// One row, to write.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        let c = self.cols;
        &mut self.data_mut()[i * c..(i + 1) * c]
    }

    /// Consecutive rows.
    #[inline]
    pub fn span(&self, rows: Range<usize>) -> &[f32] {
        &self.data()[rows.start * self.cols..rows.end * self.cols]
    }

    /// Consecutive rows, to write.
    #[inline]
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
    #[inline]
    #[allow(clippy::mut_from_ref)]
    pub(super) unsafe fn slice(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the buffer by the line above, disjoint by the caller's word.
        unsafe { std::slice::from_raw_parts_mut(self.at.add(range.start), range.end - range.start) }
    }
}
