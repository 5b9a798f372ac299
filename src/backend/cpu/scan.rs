//! Mamba-1's selective scan (Gu and Dao 2023, algorithm 2; formulas of the reference implementation's sequential path):
//! Δ = softplus(dt), h ← e^(Δ A) h + (Δ x) B, y = (C·h + D x) · act(z), for each channel, one token after the other.
//!
//! A lane is a channel. States are stored `[N, d_inner]`: number n of all channels together. A task takes a slice of channels
//! through all rows of the block, run after run, so that a run finds the states that earlier runs saved without any waiting.

use super::lanes::{Aligned, LINE, load, softplus, store};
use super::math::act;
use super::piece::pieces;
use super::simd::{Isa, Kernel, Simd};
use super::{Mat, mat::Shared};
use crate::backend::{ScanOp, States};
use crate::error::Result;
use crate::forest::{StateRef, Wave};
use rayon::prelude::*;
use std::ops::Range;

/// Channels of one task: wide enough that the rows' cache lines and pages are used well.
const SLICE: usize = 64;

/// The verb; see the trait. `wave` was planned with grain 1.
pub(super) fn scan(
    isa: Isa,
    op: &ScanOp<Mat>,
    wave: &Wave,
    block: Range<usize>,
    x: &Mat,
    dt: &Mat,
    bc: (&Mat, usize),
    z: (&Mat, usize),
    states: &mut States<Mat>,
    out: &mut Mat,
) -> Result<()> {
    let (rows, width) = (block.len(), op.d_inner);
    assert!(x.cols() == width && dt.cols() == width && out.cols() == width && z.1 + width <= z.0.cols() && bc.1 + 2 * op.d_state <= bc.0.cols());
    assert!([x, dt, bc.0, z.0, out].iter().all(|m| m.rows() >= rows));
    assert!(states.wave.cols() == width * op.d_state && states.resident.cols() == width * op.d_state);
    assert!(op.a_log.data().len() == width * op.d_state && op.d_skip.data().len() == width);
    let shared = Scan {
        op,
        wave,
        block,
        x,
        dt,
        bc,
        z,
        here: Shared::new(states.wave.data_mut()),
        resident: Shared::new(states.resident.data_mut()),
        out: Shared::new(out.data_mut()),
    };
    (0..width.div_ceil(SLICE)).into_par_iter().for_each(|i| isa.run(Slice { scan: &shared, channels: i * SLICE..width.min((i + 1) * SLICE) }));
    Ok(())
}

struct Scan<'a> {
    op: &'a ScanOp<'a, Mat>,
    wave: &'a Wave,
    block: Range<usize>,
    x: &'a Mat,
    dt: &'a Mat,
    bc: (&'a Mat, usize),
    z: (&'a Mat, usize),
    here: Shared<'a>,
    resident: Shared<'a>,
    out: Shared<'a>,
}

impl Scan<'_> {
    /// Number n of the channels of a stored state.
    ///
    /// # Safety
    /// Only the task that owns `channels` asks, and drops the slice before it asks again.
    #[allow(clippy::mut_from_ref)]
    unsafe fn stored(&self, at: StateRef, n: usize, channels: &Range<usize>) -> Option<&mut [f32]> {
        let (store, slot) = match at {
            StateRef::Zero => return None,
            StateRef::Wave(slot) => (&self.here, slot),
            StateRef::Resident(slot) => (&self.resident, slot),
        };
        let row = (slot as usize * self.op.d_state + n) * self.op.d_inner;
        // SAFETY: the caller's word.
        Some(unsafe { store.slice(row + channels.start..row + channels.end) })
    }
}

/// One slice of channels through the block.
struct Slice<'a> {
    scan: &'a Scan<'a>,
    channels: Range<usize>,
}

impl Slice<'_> {
    fn take(&self, from: StateRef, h: &mut [f32]) {
        for (n, h) in h.chunks_exact_mut(SLICE).enumerate() {
            let h = &mut h[..self.channels.len()];
            // SAFETY: this task alone owns these channels.
            match unsafe { self.scan.stored(from, n, &self.channels) } {
                Some(s) => h.copy_from_slice(s),
                None => h.fill(0.0),
            }
        }
    }

    fn save(&self, to: StateRef, h: &[f32]) {
        for (n, h) in h.chunks_exact(SLICE).enumerate() {
            // SAFETY: this task alone owns these channels.
            if let Some(s) = unsafe { self.scan.stored(to, n, &self.channels) } {
                s.copy_from_slice(&h[..self.channels.len()]);
            }
        }
    }
}

/// Slot 0 of the wave's states.
const CARRY: StateRef = StateRef::Wave(0);

impl Kernel for Slice<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (scan, op) = (self.scan, self.scan.op);
        let a = negative_exp::<S>(op.a_log.data(), op.d_state, &self.channels);
        let mut h = Aligned::zeros(op.d_state * SLICE);
        for piece in pieces(scan.wave, scan.block.clone()) {
            self.take(if piece.rows.start > piece.run.rows.start { CARRY } else { piece.run.state }, &mut h);
            let saves = &scan.wave.saves[piece.run.saves.start as usize..piece.run.saves.end as usize];
            let mut saves = saves[saves.partition_point(|s| s.row < piece.rows.start)..].iter().peekable();
            for row in piece.rows.clone() {
                // SAFETY: the verb checked every matrix; a row of the block is written by this task in these channels alone.
                unsafe {
                    let i = row as usize - scan.block.start;
                    self.fetch::<S>(i + AHEAD);
                    self.step::<S>(i, &a, &mut h);
                }
                while let Some(s) = saves.next_if(|s| s.row == row) {
                    self.save(s.to, &h);
                }
            }
            if piece.rows.end < piece.run.rows.end {
                self.save(CARRY, &h);
            }
        }
    }
}

/// Rows that are fetched ahead: rows lie so far apart that a processor does not see which comes next.
const AHEAD: usize = 4;

impl Slice<'_> {
    /// Asks for what row i of the block will read.
    #[inline(always)]
    unsafe fn fetch<S: Simd>(&self, i: usize) {
        let (scan, at) = (self.scan, self.channels.start);
        if i >= scan.block.len() {
            return;
        }
        for (row, width) in [
            (&scan.x.row(i)[at..], self.channels.len()),
            (&scan.dt.row(i)[at..], self.channels.len()),
            (&scan.z.0.row(i)[scan.z.1 + at..], self.channels.len()),
            (&scan.bc.0.row(i)[scan.bc.1..], 2 * scan.op.d_state),
        ] {
            for c in (0..width).step_by(LINE) {
                // SAFETY: a hint; nothing is read.
                unsafe { S::fetch(row.as_ptr().wrapping_add(c)) };
            }
        }
    }

    /// One token: row i of the block, four vectors of channels abreast, or two where a vector is half as wide and so are the registers.
    #[inline(always)]
    unsafe fn step<S: Simd>(&self, i: usize, a: &[f32], h: &mut [f32]) {
        for c in (0..self.channels.len()).step_by(if S::LANES == 16 { 4 } else { 2 } * S::LANES) {
            // SAFETY: by the caller's word; h and a have SLICE numbers a state, a multiple of as many vectors.
            unsafe { if S::LANES == 16 { self.vectors::<S, 4>(i, c, a, h) } else { self.vectors::<S, 2>(i, c, a, h) } }
        }
    }

    /// Channels c … c + NV · LANES of one token, as far as there are any.
    #[inline(always)]
    unsafe fn vectors<S: Simd, const NV: usize>(&self, i: usize, c: usize, a: &[f32], h: &mut [f32]) {
        let (scan, states) = (self.scan, self.scan.op.d_state);
        let bc = scan.bc.0.row(i)[scan.bc.1..scan.bc.1 + 2 * states].as_ptr();
        let (first, left) = (self.channels.start + c, self.channels.len() - c);
        let row = |m: &[f32]| m[..left].as_ptr();
        let (x, dt) = (row(&scan.x.row(i)[first..]), row(&scan.dt.row(i)[first..]));
        let (z, d) = (row(&scan.z.0.row(i)[scan.z.1 + first..]), row(&scan.op.d_skip.data()[first..]));
        // Channels of vector v; vectors without any compute with zeros, and nothing of theirs is kept.
        let of = |v: usize| left.saturating_sub(v * S::LANES).min(S::LANES);
        // SAFETY: vector v has its channels in every row; h and a have SLICE numbers a state.
        unsafe {
            let part = |p: *const f32, v: usize| if of(v) > 0 { load::<S>(p.add(v * S::LANES), of(v)) } else { S::splat(0.0) };
            let (mut delta, mut dx, mut y) = ([S::splat(0.0); NV], [S::splat(0.0); NV], [S::splat(0.0); NV]);
            for v in 0..NV {
                delta[v] = softplus::<S>(part(dt, v));
                dx[v] = S::mul(delta[v], part(x, v));
            }
            for k in 0..states {
                let (hk, ak) = (h.as_mut_ptr().add(k * SLICE + c), a.as_ptr().add(k * SLICE + c));
                let (b, out) = (S::splat(*bc.add(k)), S::splat(*bc.add(states + k)));
                let mut keep = [S::splat(0.0); NV];
                for v in 0..NV {
                    // Bounded so that no factor is subnormal, which processors compute a hundred times slower; e^−80 of a state is nothing.
                    keep[v] = S::max(S::mul(S::load(ak.add(v * S::LANES)), delta[v]), S::splat(-80.0));
                }
                let keep = S::exp_within_each(keep);
                for v in 0..NV {
                    let new = S::fma(keep[v], S::load(hk.add(v * S::LANES)), S::mul(dx[v], b));
                    S::store(hk.add(v * S::LANES), new);
                    y[v] = S::fma(out, new, y[v]);
                }
            }
            for v in 0..NV {
                let n = of(v);
                if n == 0 {
                    break;
                }
                let sum = S::fma(part(d, v), part(x, v), y[v]);
                let y = S::mul(sum, act::<S>(scan.op.act, part(z, v)));
                let to = i * scan.op.d_inner + first + v * S::LANES;
                store::<S>(scan.out.slice(to..to + n).as_mut_ptr(), n, y);
            }
        }
    }
}

/// A = −e^(A_log) of a slice of channels, `[N, SLICE]`; 0 beyond the last channel.
#[inline(always)]
fn negative_exp<S: Simd>(a_log: &[f32], states: usize, channels: &Range<usize>) -> Aligned {
    let mut a = Aligned::zeros(states * SLICE);
    for (j, c) in channels.clone().enumerate() {
        for n in 0..states {
            a[n * SLICE + j] = a_log[c * states + n];
        }
    }
    for v in a.chunks_exact_mut(S::LANES) {
        // SAFETY: a whole vector.
        unsafe { S::store(v.as_mut_ptr(), S::sub(S::splat(0.0), S::exp(S::load(v.as_ptr())))) };
    }
    a
}

#[cfg(test)]
mod tests {
    use super::super::harness::{Layer, Real, VOCABULARY, normal, silu, softplus};
    use super::*;
    use crate::backend::Act;
    use crate::forest::Cut;

    fn naive<R: Real>(op: &ScanOp<Mat>, inputs: &[&[f32]]) -> Vec<Vec<R>> {
        let (d, n) = (op.d_inner, op.d_state);
        let mut h = vec![R::of(0.0); d * n];
        let mut row = |input: &[f32]| {
            let mut y = Vec::new();
            for c in 0..d {
                let (x, delta, z) = (R::of(input[c]), softplus(R::of(input[d + c])), R::of(input[2 * d + 2 * n + c]));
                let mut sum = R::of(0.0);
                for k in 0..n {
                    let a = -R::of(op.a_log.row(c)[k]).exp();
                    let h = &mut h[c * n + k];
                    *h = (a * delta).exp() * *h + delta * R::of(input[2 * d + k]) * x;
                    sum = sum + R::of(input[2 * d + n + k]) * *h;
                }
                y.push((sum + R::of(op.d_skip.data()[c]) * x) * silu(z));
            }
            y
        };
        inputs.iter().map(|x| row(x)).collect()
    }

    #[test]
    fn every_row_is_near_the_truth_and_alone_in_the_world() {
        for (d_inner, d_state) in [(72, 16), (19, 5)] {
            let table = normal(VOCABULARY, 3 * d_inner + 2 * d_state, 1, -1.0, 1.5);
            // e^(A_log) up to 16 or so, as trained models have.
            let (a_log, d_skip) = (normal(d_inner, d_state, 2, 1.0, 1.0), normal(1, d_inner, 3, 1.0, 0.5));
            let op = ScanOp { d_inner, d_state, a_log: &a_log, d_skip: &d_skip, act: Act::Silu };
            let cut = Cut { rows: 0, reach: Some(4), grain: Some(1) };
            let layer = Layer { table: &table, history: 0..0, state: d_inner * d_state, out: d_inner, cut };
            let part = |m: &Mat, columns: Range<usize>| {
                let mut p = Mat::zeros(m.rows(), columns.len()).unwrap();
                (0..m.rows()).for_each(|i| p.row_mut(i).copy_from_slice(&m.row(i)[columns.clone()]));
                p
            };
            layer.check(
                |isa, wave, block, m, _, states, out| {
                    let (x, dt) = (part(m, 0..d_inner), part(m, d_inner..2 * d_inner));
                    scan(isa, &op, wave, block, &x, &dt, (m, 2 * d_inner), (m, 2 * (d_inner + d_state)), states, out).unwrap();
                },
                |x| naive(&op, x),
                |x| naive(&op, x),
            );
        }
    }
}
