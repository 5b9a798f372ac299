//! The log-prob head: hidden rows times the unembedding, an online log-sum-exp, targets out of the same numbers.
//!
//! Logits live only as `[rows of a group, SEGMENT]` in a task's scratch. Segments of the vocabulary are cut at absolute
//! columns; each leaves (maximum, sum of exponentials) per row, and the partials are combined in ascending order in float64.
//! The method is that of Cut Cross-Entropy (Wijmans et al. 2024), forward only, without its atomics.

use super::lanes::{Aligned, part, put};
use super::mat::Shared;
use super::math::tanh;
use super::packed::{GROUP_ROWS, Packed, Weight, product};
use super::products::Products;
use super::simd::{Isa, Kernel, Simd};
use crate::backend::HeadOp;
use crate::forest::TokenId;
use rayon::prelude::*;
use std::cell::RefCell;

/// Columns of a segment; a multiple of every path's panel.
const SEGMENT: usize = 512;

thread_local! {
    static LOGITS: RefCell<Aligned> = RefCell::new(Aligned::default());
}

/// Bytes of a thread's scratch and, per row, of the partials.
pub(super) fn room_bytes(outputs: usize) -> (usize, usize) {
    (GROUP_ROWS * SEGMENT * 4, outputs.div_ceil(SEGMENT) * 8)
}

/// ln softmax(logits)[target] for the targets of every row, in order, and whether the target's logit is the row's maximum.
pub(super) fn head(
    isa: Isa,
    op: &HeadOp,
    x: &Packed,
    weight: &Weight,
    bias: Option<&[f32]>,
    ptr: &[u32],
    targets: &[TokenId],
    out: &mut Vec<f32>,
    mut greedy: Option<&mut Vec<bool>>,
) {
    let groups = x.groups();
    let segments = weight.outputs().div_ceil(SEGMENT);
    let mut partials = vec![0.0f32; x.rows * segments * 2];
    let mut picked = vec![0.0f32; targets.len()];
    {
        let (partials, picked) = (Shared::new(&mut partials), Shared::new(&mut picked));
        (0..groups * segments).into_par_iter().with_max_len(1).for_each(|task| {
            let (g, segment) = (task % groups, task / groups);
            LOGITS.with_borrow_mut(|logits| {
                let tiles = x.group(g);
                weight.products().run(isa, Task { op, x, weight, bias, ptr, targets, tiles, segment, segments, partials: &partials, picked: &picked, logits });
            });
        });
    }
    out.reserve(targets.len());
    for r in 0..x.rows {
        let row = &partials[r * segments * 2..(r + 1) * segments * 2];
        let max = row.chunks_exact(2).fold(f32::MIN, |m, p| m.max(p[0])) as f64;
        let sum: f64 = row.chunks_exact(2).map(|p| p[1] as f64 * libm::exp(p[0] as f64 - max)).sum();
        let log_sum = libm::log(sum);
        for &logit in &picked[ptr[r] as usize..ptr[r + 1] as usize] {
            // The row's own maximum is among the summands, so that sum ≥ 1 and the result ≤ 0 by construction.
            out.push((logit as f64 - max - log_sum) as f32);
            if let Some(greedy) = &mut greedy {
                greedy.push(logit as f64 == max);
            }
        }
    }
}

struct Task<'a> {
    op: &'a HeadOp,
    x: &'a Packed<'a>,
    weight: &'a Weight,
    bias: Option<&'a [f32]>,
    ptr: &'a [u32],
    targets: &'a [TokenId],
    tiles: (usize, usize),
    segment: usize,
    segments: usize,
    partials: &'a Shared<'a>,
    picked: &'a Shared<'a>,
    logits: &'a mut Aligned,
}

impl Kernel for Task<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            match (self.weight.products(), S::LANES) {
                (Products::Bf16Amx, _) => self.go::<S, 32>(),
                (_, 16) => self.go::<S, 14>(),
                _ => self.go::<S, 6>(),
            }
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    unsafe fn go<S: Simd, const MR: usize>(self) {
        let nr = 2 * S::LANES;
        let begin = self.segment * SEGMENT;
        let width = SEGMENT.min(self.weight.outputs() - begin);
        let first_row = self.tiles.0 * MR;
        let rows = (self.tiles.1 * MR).min(self.x.rows) - first_row;
        let need = (self.tiles.1 - self.tiles.0) * MR * SEGMENT;
        self.logits.at_least(need);
        // SAFETY: scratch sized above; panels are padded to full width.
        unsafe {
            let (first, last) = self.tiles;
            for p in 0..width.div_ceil(nr) {
                for t in first..last {
                    let acc = product::<S, MR>(self.x, t, self.weight, begin / nr + p, (t - first, last - first));
                    for (i, row) in acc.iter().enumerate() {
                        let out = &mut self.logits[((t - first) * MR + i) * SEGMENT + p * nr..][..nr];
                        S::store(out.as_mut_ptr(), row[0]);
                        S::store(out.as_mut_ptr().add(S::LANES), row[1]);
                    }
                }
            }
            for i in 0..rows {
                let row = &mut self.logits[i * SEGMENT..i * SEGMENT + width];
                finish::<S>(self.op, self.bias.map(|b| &b[begin..begin + width]), row);
                let (max, sum) = log_sum::<S>(row);
                let r = first_row + i;
                let at = (r * self.segments + self.segment) * 2;
                self.partials.slice(at..at + 2).copy_from_slice(&[max, sum]);
                for t in self.ptr[r] as usize..self.ptr[r + 1] as usize {
                    let token = self.targets[t] as usize;
                    if (begin..begin + width).contains(&token) {
                        self.picked.slice(t..t + 1)[0] = row[token - begin];
                    }
                }
            }
        }
    }
}

/// Bias, softcap, then scale.
#[inline(always)]
unsafe fn finish<S: Simd>(op: &HeadOp, bias: Option<&[f32]>, row: &mut [f32]) {
    if bias.is_none() && op.softcap.is_none() && op.scale == 1.0 {
        return;
    }
    unsafe {
        for j in (0..row.len()).step_by(S::LANES) {
            let n = S::LANES.min(row.len() - j);
            let mut x = part::<S>(row, j);
            if let Some(b) = bias {
                x = S::add(x, part::<S>(b, j));
            }
            if let Some(c) = op.softcap {
                x = S::mul(S::splat(c), tanh::<S>(S::mul(x, S::splat(1.0 / c))));
            }
            x = S::mul(x, S::splat(op.scale));
            put::<S>(&mut row[j..j + n], x);
        }
    }
}

/// (max, Σ exp(x − max)); NaN in, NaN out.
#[inline(always)]
unsafe fn log_sum<S: Simd>(row: &[f32]) -> (f32, f32) {
    unsafe {
        let n = row.len();
        let whole = n / S::LANES * S::LANES;
        let p = row.as_ptr();
        let mut m = S::splat(f32::MIN);
        for j in (0..whole).step_by(S::LANES) {
            m = S::max(S::load(p.add(j)), m);
        }
        if whole < n {
            m = S::max(S::load_part(p.add(whole), n - whole, f32::MIN), m);
        }
        let max = S::maximum(m);
        let mv = S::splat(max);
        let mut s = S::splat(0.0);
        for j in (0..whole).step_by(S::LANES) {
            s = S::add(s, S::exp(S::sub(S::load(p.add(j)), mv)));
        }
        if whole < n {
            s = S::add(s, S::exp(S::sub(S::load_part(p.add(whole), n - whole, f32::NEG_INFINITY), mv)));
        }
        (max, S::sum(s))
    }
}
