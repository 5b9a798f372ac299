//! The gate of a Mamba block, with or without its RMS norm.

use super::Mat;
use super::lanes::{load, store};
use super::math::act;
use super::simd::{Isa, Kernel, Simd};
use crate::backend::{Act, GateOp};
use crate::error::Result;
use rayon::prelude::*;

/// Rows of one task.
const ROWS: usize = 16;

/// In place on the first `rows` rows of y: without a norm y · act(z); with `norm_first` rms(y) · w · act(z); else
/// rms(y · act(z)) · w. The RMS is of each of `groups` equal slices of a row: rms(v) = v / √(mean of v² + ε).
pub(super) fn gate(isa: Isa, op: &GateOp<Mat>, rows: usize, z: &Mat, z_from: usize, y: &mut Mat) -> Result<()> {
    let cols = y.cols();
    assert!(z_from + cols <= z.cols() && z.rows() >= rows && cols.is_multiple_of(op.groups.max(1)) && op.norm.is_none_or(|w| w.data().len() == cols));
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
        let Some(w) = op.norm else { return gated::<S>(y, z, op.act) };
        let width = y.len() / op.groups.max(1);
        for ((y, z), w) in y.chunks_exact_mut(width).zip(z.chunks_exact(width)).zip(w.data().chunks_exact(width)) {
            if op.norm_first {
                normed::<S>(y, w, op.eps);
                gated::<S>(y, z, op.act);
            } else {
                gated::<S>(y, z, op.act);
                normed::<S>(y, w, op.eps);
            }
        }
    }
}

/// y ← y · act(z)
#[inline(always)]
fn gated<S: Simd>(y: &mut [f32], z: &[f32], kind: Act) {
    for (y, z) in y.chunks_mut(S::LANES).zip(z.chunks(S::LANES)) {
        let n = y.len().min(z.len());
        // SAFETY: both chunks have n numbers.
        unsafe { store::<S>(y.as_mut_ptr(), n, S::mul(load::<S>(y.as_ptr(), n), act::<S>(kind, load::<S>(z.as_ptr(), n)))) };
    }
}

/// y ← y / √(mean of y² + ε) · w
#[inline(always)]
fn normed<S: Simd>(y: &mut [f32], w: &[f32], eps: f32) {
    let factor = 1.0 / (mean_square::<S>(y) + eps).sqrt();
    for (y, w) in y.chunks_mut(S::LANES).zip(w.chunks(S::LANES)) {
        let n = y.len().min(w.len());
        // SAFETY: both chunks have n numbers.
        unsafe { store::<S>(y.as_mut_ptr(), n, S::mul(S::mul(load::<S>(y.as_ptr(), n), S::splat(factor)), load::<S>(w.as_ptr(), n))) };
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
