//! Causal convolution and the two scans, as plain recurrences along each row's path.

use super::{Mat, path, position, runs, softplus};
use crate::backend::{ConvOp, History, SSD_CHUNK, ScanOp, SsdOp, States};
use crate::forest::{Run, StateRef, Wave};
use std::ops::Range;

/// The convolution at the last of `inputs`, which are at most the last K of the path.
fn convolved(op: &ConvOp<Mat>, inputs: &[&[f64]], out: &mut [f64]) {
    for (c, y) in out.iter_mut().enumerate() {
        let taps = &op.weight.row(c)[op.taps - inputs.len()..];
        let sum: f64 = taps.iter().zip(inputs).map(|(w, x)| w * x[c]).sum();
        *y = op.act.of(sum + op.bias.map_or(0.0, |b| b.row(0)[c]));
    }
}

pub(super) fn conv(op: &ConvOp<Mat>, wave: &Wave, block: Range<usize>, history: &History<Mat>, out: &mut Mat) {
    for (run, rows) in runs(wave, &block) {
        for row in rows {
            let from = (position(run, row) + 1).saturating_sub(op.taps);
            convolved(op, &path(wave, run, row, from, history, (0, 1)), out.row_mut(row - block.start));
        }
    }
}

impl States<'_, Mat> {
    /// The state from which the rows of `run` from `row` on start: the run's own, or the carry from the block before.
    fn take(&self, run: &Run, row: usize, width: usize) -> Vec<f64> {
        if row > run.rows.start as usize {
            return self.wave.row(0).to_vec();
        }
        match run.state {
            StateRef::Zero => vec![0.0; width],
            StateRef::Wave(s) => self.wave.row(s as usize).to_vec(),
            StateRef::Resident(s) => self.resident.row(s as usize).to_vec(),
        }
    }

    /// Puts the state after `row` wherever someone will ask for it.
    fn save(&mut self, wave: &Wave, run: &Run, row: usize, state: &[f64]) {
        for s in wave.saves[run.saves.start as usize..run.saves.end as usize].iter().filter(|s| s.row as usize == row) {
            match s.to {
                StateRef::Zero => unreachable!("no state is saved to nowhere: invariant of the waves"),
                StateRef::Wave(i) => self.wave.row_mut(i as usize).copy_from_slice(state),
                StateRef::Resident(i) => self.resident.row_mut(i as usize).copy_from_slice(state),
            }
        }
    }

    /// Leaves a run that the block cuts to the next block.
    fn carry(&mut self, run: &Run, rows: &Range<usize>, state: &[f64]) {
        if rows.end < run.rows.end as usize {
            self.wave.row_mut(0).copy_from_slice(state);
        }
    }
}

pub(super) fn scan(
    op: &ScanOp<Mat>,
    wave: &Wave,
    block: Range<usize>,
    x: &Mat,
    dt: &Mat,
    (bc, b_from): (&Mat, usize),
    (z, z_from): (&Mat, usize),
    states: &mut States<Mat>,
    out: &mut Mat,
) {
    let n = op.d_state;
    for (run, rows) in runs(wave, &block) {
        let mut h = states.take(run, rows.start, op.d_inner * n);
        for row in rows.clone() {
            let i = row - block.start;
            let (b, c) = (&bc.row(i)[b_from..b_from + n], &bc.row(i)[b_from + n..b_from + 2 * n]);
            for ch in 0..op.d_inner {
                let (delta, x) = (softplus(dt.row(i)[ch]), x.row(i)[ch]);
                let mut y = op.d_skip.row(0)[ch] * x;
                for s in 0..n {
                    let a = -libm::exp(op.a_log.row(ch)[s]);
                    let h = &mut h[ch * n + s];
                    *h = libm::exp(delta * a) * *h + delta * b[s] * x;
                    y += c[s] * *h;
                }
                out.row_mut(i)[ch] = y * op.act.of(z.row(i)[z_from + ch]);
            }
            states.save(wave, run, row, &h);
        }
        states.carry(run, &rows, &h);
    }
}

/// h ← exp(−exp(A_log) Δ) h + Δ B x, y = C·h + D x, on one row [x | B | C] with its dt.
fn ssd_step(op: &SsdOp<Mat>, xbc: &[f64], dt: &[f64], h: &mut [f64], y: &mut [f64]) {
    let (p, n, d_inner) = (op.head_dim, op.d_state, op.heads * op.head_dim);
    let (x, bc) = xbc.split_at(d_inner);
    let (b, c) = bc.split_at(op.groups * n);
    for head in 0..op.heads {
        let group = head / (op.heads / op.groups) * n;
        let (b, c) = (&b[group..group + n], &c[group..group + n]);
        let delta = softplus(dt[head] + op.dt_bias.row(0)[head]).max(op.dt_limit.0 as f64).min(op.dt_limit.1 as f64);
        let decay = libm::exp(-libm::exp(op.a_log.row(0)[head]) * delta);
        for i in head * p..(head + 1) * p {
            y[i] = op.d_skip.row(0)[head] * x[i];
            for s in 0..n {
                let h = &mut h[i * n + s];
                *h = decay * *h + delta * b[s] * x[i];
                y[i] += c[s] * *h;
            }
        }
    }
}

pub(super) fn ssd(op: &SsdOp<Mat>, wave: &Wave, block: Range<usize>, history: &History<Mat>, states: &mut States<Mat>, out: &mut Mat) {
    let (d_inner, width) = (op.heads * op.head_dim, op.heads * op.head_dim + 2 * op.groups * op.d_state);
    let (mut xbc, mut y) = (vec![0.0; width], vec![0.0; d_inner]);
    for (run, rows) in runs(wave, &block) {
        // States are handed on at multiples of the chunk only: the part of a chunk before the first row is run again.
        let first = position(run, rows.start);
        let boundary = first / SSD_CHUNK * SSD_CHUNK;
        let mut h = states.take(run, rows.start, d_inner * op.d_state);
        let mut handed_on = h.clone();
        let from = (boundary + 1).saturating_sub(op.conv.taps);
        let path = path(wave, run, rows.end - 1, from, history, (0, 1));
        for t in boundary..first + rows.len() {
            let inputs = &path[(t + 1).saturating_sub(op.conv.taps).max(from) - from..=t - from];
            convolved(&op.conv, inputs, &mut xbc);
            ssd_step(op, &xbc, &inputs[inputs.len() - 1][width..], &mut h, &mut y);
            if t >= first {
                let row = rows.start + t - first;
                out.row_mut(row - block.start)[..d_inner].copy_from_slice(&y);
                states.save(wave, run, row, &h);
            }
            if (t + 1) % SSD_CHUNK == 0 {
                handed_on.copy_from_slice(&h);
            }
        }
        states.carry(run, &rows, &handed_on);
    }
}
