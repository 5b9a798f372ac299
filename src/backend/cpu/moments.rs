//! Sums over samples of hidden states: a symmetric rank-n update in float64.
//!
//! A product of two float32 is exact in float64, so a number is one chain of additions in the order of rows: neither blocks of rows, threads nor instruction paths
//! change a bit, and fused multiply-adds would give the same.

use super::Mat;
use super::simd::{Isa, Kernel, Simd};
use crate::backend::{float64s, moments_len, packed, unpacked};
use crate::error::Result;
use rayon::prelude::*;
use std::ops::Range;

/// Columns of a panel.
const PANEL: usize = 8;

/// Rows that are widened at a time: a panel of them fits the first-level cache.
const ROWS: usize = 256;

/// Σ x `[width]`, then Σ x xᵀ `[width, width]`, upper triangle.
pub struct Moments {
    width: usize,
    square: Vec<f64>,
}

impl Moments {
    /// From packed sums; from none, zeros.
    pub(super) fn new(width: usize, values: &[f64]) -> Result<Moments> {
        let square = if values.len() == moments_len(width) { unpacked(width, values)? } else { float64s(width * (width + 1))? };
        Ok(Moments { width, square })
    }

    /// Bytes of them, and of the rows that are widened meanwhile.
    pub(super) fn bytes(width: usize) -> usize {
        size_of::<f64>() * (width * (width + 1) + ROWS * width.next_multiple_of(PANEL))
    }

    /// Packed.
    pub(super) fn packed(&self) -> Result<Vec<f64>> {
        packed(self.width, &self.square)
    }

    /// Adds the first `rows` rows of x.
    pub(super) fn add(&mut self, isa: Isa, x: &Mat, rows: usize) -> Result<()> {
        let width = self.width;
        assert!(x.cols() == width && x.rows() >= rows);
        let panels = width.div_ceil(PANEL);
        let mut wide = float64s(panels * PANEL * rows.min(ROWS))?;
        let (sums, products) = self.square.split_at_mut(width);
        for first in (0..rows).step_by(ROWS) {
            let n = ROWS.min(rows - first);
            let x = x.span(first..first + n);
            let wide = &mut wide[..panels * PANEL * n];
            wide.par_chunks_exact_mut(PANEL * n).enumerate().for_each(|(p, panel)| {
                let columns = p * PANEL..width.min((p + 1) * PANEL);
                for (to, row) in panel.chunks_exact_mut(PANEL).zip(x.chunks_exact(width)) {
                    to.iter_mut().zip(&row[columns.clone()]).for_each(|(t, &v)| *t = v as f64);
                }
            });
            let wide = &*wide;
            sums.par_chunks_mut(PANEL).zip(wide.par_chunks_exact(PANEL * n)).for_each(|(sums, panel)| {
                for row in panel.chunks_exact(PANEL) {
                    sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
                }
            });
            products.par_chunks_mut(PANEL * width).enumerate().for_each(|(p, strip)| isa.run(Strip { wide, n, p, width, strip }));
        }
        Ok(())
    }
}

/// The products of one panel of columns with itself and with those after it.
struct Strip<'a> {
    /// Panels `[rows, PANEL]`, one after another.
    wide: &'a [f64],
    n: usize,
    p: usize,
    width: usize,
    strip: &'a mut [f64],
}

impl Kernel for Strip<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Strip { wide, n, p, width, strip } = self;
        let panel = |p: usize| &wide[p * PANEL * n..(p + 1) * PANEL * n];
        for q in p..width.div_ceil(PANEL) {
            let columns = q * PANEL..width.min((q + 1) * PANEL);
            // As many sums as registers hold.
            if S::LANES == 16 {
                tile::<8>(panel(p), panel(q), 0, columns, p == q, width, strip);
            } else {
                tile::<4>(panel(p), panel(q), 0, columns.clone(), p == q, width, strip);
                tile::<4>(panel(p), panel(q), 4, columns, p == q, width, strip);
            }
        }
    }
}

/// Rows `down..down + N` of the strip, and these columns.
#[inline(always)]
fn tile<const N: usize>(a: &[f64], b: &[f64], down: usize, columns: Range<usize>, diagonal: bool, width: usize, strip: &mut [f64]) {
    let rows = strip.len() / width;
    let here = |i: usize, j: usize| down + i < rows && j < columns.len() && (!diagonal || j >= down + i);
    let at = |i: usize, j: usize| (down + i) * width + columns.start + j;
    // Indexed by what is known when it is compiled, and by nothing else: so the sums are registers.
    let mut sums = [[0.0f64; PANEL]; N];
    for i in 0..N {
        for j in 0..PANEL {
            if here(i, j) {
                sums[i][j] = strip[at(i, j)];
            }
        }
    }
    for (x, y) in a.chunks_exact(PANEL).zip(b.chunks_exact(PANEL)) {
        for i in 0..N {
            for j in 0..PANEL {
                sums[i][j] += x[down + i] * y[j];
            }
        }
    }
    for i in 0..N {
        for j in 0..PANEL {
            if here(i, j) {
                strip[at(i, j)] = sums[i][j];
            }
        }
    }
}
