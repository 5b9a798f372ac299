//! The gate of a Mamba block, with or without its RMS norm.

use super::Mat;
use super::lanes::{load, store};
use super::math::act;
use super::simd::{Isa, Kernel, Simd};
use crate::backend::GateOp;
use crate::error::Result;
use rayon::prelude::*;

/// Rows of one task.
const ROWS: usize = 16;

/// In place on the first `rows` rows of y: without a norm y · act(z); with `norm_first` rms(y) · w · act(z); else
/// rms(y · act(z)) · w. The RMS is of each of `groups` equal slices of a row: rms(v) = v / √(mean of v² + ε).
pub(super) fn gate(isa: Isa, op: &GateOp<Mat>, rows: usize, z: &Mat, z_from: usize, y: &mut Mat) -> Result<()> {
    let cols = y.cols();
    assert!(z_from + cols <= z.cols() && z.rows() >= rows && cols % op.groups.max(1) == 0 && op.norm.is_none_or(|w| w.data().len() == cols));
    y.span_mut(0..rows).par_chunks_mut(ROWS * cols).zip(z.span(0..rows).par_chunks(ROWS * z.cols())).for_each(|(y, z_rows)| {
        for (y, z) in y.chunks_exact_mut(cols).zip(z_rows.chunks_exact(z.cols())) {
            isa.run(Row { op, y, z: &z[z_from..z_from + cols] });
        }
    });
    Ok(())
}

struct Row<'a> {
    op: &'a GateOp<'a, Mat>,
    y: &'a mut [f32],
    z: &'a [f32],
}

impl Kernel for Row<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Row { op, y, z } = self;
        let Some(w) = op.norm else {
            return each::<S>(y, |v, c, n| unsafe { S::mul(v, act::<S>(op.act, load::<S>(z.as_ptr().add(c), n))) });
        };
        let width = y.len() / op.groups.max(1);
        for ((y, z), w) in y.chunks_exact_mut(width).zip(z.chunks_exact(width)).zip(w.data().chunks_exact(width)) {
            if !op.norm_first {
                each::<S>(y, |v, c, n| unsafe { S::mul(v, act::<S>(op.act, load::<S>(z.as_ptr().add(c), n))) });
            }
            let factor = 1.0 / (mean_square::<S>(y) + op.eps).sqrt();
            each::<S>(y, |v, c, n| unsafe {
                let normed = S::mul(S::mul(v, S::splat(factor)), load::<S>(w.as_ptr().add(c), n));
                if op.norm_first { S::mul(normed, act::<S>(op.act, load::<S>(z.as_ptr().add(c), n))) } else { normed }
            });
        }
    }
}

/// v ← f(v, first column, columns) for each vector of a row.
#[inline(always)]
fn each<S: Simd>(y: &mut [f32], f: impl Fn(S::V, usize, usize) -> S::V) {
    let mut c = 0;
    while c < y.len() {
        let n = S::LANES.min(y.len() - c);
        let at = y[c..].as_mut_ptr();
        // SAFETY: n numbers lie at `at`.
        unsafe { store::<S>(at, n, f(load::<S>(at, n), c, n)) };
        c += n;
    }
}

/// Mean of squares: each lane its own columns in order, then the lanes folded.
#[inline(always)]
fn mean_square<S: Simd>(y: &[f32]) -> f32 {
    // SAFETY: every load stays within its chunk of y.
    unsafe {
        let mut sum = S::splat(0.0);
        for v in y.chunks(S::LANES) {
            let v = load::<S>(v.as_ptr(), v.len());
            sum = S::fma(v, v, sum);
        }
        S::sum(sum) / y.len() as f32
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{Real, normal, silu};
    use super::*;
    use crate::backend::Act;

    fn naive<R: Real>(op: &GateOp<Mat>, y: &[f32], z: &[f32]) -> Vec<R> {
        let width = y.len() / op.groups;
        let gated = |c: usize| R::of(y[c]) * silu(R::of(z[c]));
        let Some(w) = op.norm else { return (0..y.len()).map(gated).collect() };
        let value = |c: usize| if op.norm_first { R::of(y[c]) } else { gated(c) };
        let scale = |g: usize| {
            let sum = (g * width..(g + 1) * width).fold(R::of(0.0), |s, c| s + value(c) * value(c));
            R::of(1.0) / (sum / R::of(width as f32) + R::of(op.eps)).sqrt()
        };
        let normed = |c: usize| value(c) * scale(c / width) * R::of(w.data()[c]);
        (0..y.len()).map(|c| if op.norm_first { normed(c) * silu(R::of(z[c])) } else { normed(c) }).collect()
    }

    #[test]
    fn every_gate_is_near_the_truth_and_alone_in_the_world() {
        let (rows, cols, from) = (41, 66, 3);
        let (y, z, w) = (normal(rows, cols, 1, 0.1, 2.0), normal(rows, cols + from, 2, 0.0, 2.0), normal(1, cols, 3, 1.0, 0.3));
        for (norm, norm_first, groups) in [(None, false, 1), (Some(&w), false, 1), (Some(&w), false, 3), (Some(&w), true, 1), (Some(&w), true, 2)] {
            let op = GateOp { norm, eps: 1e-5, groups, norm_first, act: Act::Silu };
            for isa in Isa::available() {
                let apply = |rows: std::ops::Range<usize>| {
                    let (mut a, mut b) = (Mat::zeros(rows.len(), cols).unwrap(), Mat::zeros(rows.len(), cols + from).unwrap());
                    a.data_mut().copy_from_slice(y.span(rows.clone()));
                    b.data_mut().copy_from_slice(z.span(rows.clone()));
                    gate(isa, &op, rows.len(), &b, from, &mut a).unwrap();
                    a
                };
                let all = apply(0..rows);
                for i in 0..rows {
                    assert_eq!(all.row(i), apply(i..i + 1).row(0));
                    let (narrow, wide): (Vec<f32>, Vec<f64>) = (naive(&op, y.row(i), &z.row(i)[from..]), naive(&op, y.row(i), &z.row(i)[from..]));
                    let largest = wide.iter().fold(0.0f64, |m, v| m.max(v.abs()));
                    for c in 0..cols {
                        let budget = 2.0 * (narrow[c].wide() - wide[c]).abs() + 8.0 * f64::powi(2.0, -24) * largest;
                        assert!((all.row(i)[c] as f64 - wide[c]).abs() <= budget, "groups {groups}, norm first {norm_first}, on {isa}: row {i} column {c}");
                    }
                }
            }
        }
    }
}
