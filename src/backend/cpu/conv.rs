//! Depthwise causal convolution over the path of each row, and the stores that it reads.
//!
//! y_t = act(b + Σ_k w[k] x_{t−K+1+k}): bias first, then the taps from the oldest to the newest; taps before position 0 are
//! left out. A lane is a channel, so a row's bits depend on nothing but its K inputs.

use super::Mat;
use super::lanes::{Aligned, load, store};
use super::math::act;
use super::piece::{lines, pieces};
use super::simd::{Isa, Kernel, Simd};
use crate::backend::{Act, ConvOp, History};
use crate::error::Result;
use crate::forest::Wave;
use rayon::prelude::*;
use std::ops::Range;

/// Rows that one task convolves.
const ROWS: usize = 16;

/// Copies columns `from..from + history.cols` of the block into rows `block` of the wave store.
pub(super) fn append(block: Range<usize>, x: &Mat, from: usize, history: &mut Mat) -> Result<()> {
    let (n, cols) = (block.len(), history.cols());
    let to = history.span_mut(block);
    to.par_chunks_mut(cols).zip(x.span(0..n).par_chunks(x.cols())).with_min_len(64).for_each(|(to, row)| to.copy_from_slice(&row[from..from + cols]));
    Ok(())
}

/// Rows of the wave's store to rows of the resident one, of each of so many heads.
pub(super) fn keep(on: &Wave, heads: usize, wave: &Mat, resident: &mut Mat) -> Result<()> {
    let (of_wave, of_resident) = (wave.rows() / heads, resident.rows() / heads);
    for (k, h) in on.keeps.iter().flat_map(|k| (0..heads).map(move |h| (k, h))) {
        let (from, to, n) = (h * of_wave + k.row as usize, h * of_resident + k.resident as usize, k.len as usize);
        resident.span_mut(to..to + n).copy_from_slice(wave.span(from..from + n));
    }
    Ok(())
}

/// Causal convolution of the block's rows; `out [rows, width]`. The history's first `width` columns are the inputs.
pub(super) fn conv(isa: Isa, op: &ConvOp<Mat>, wave: &Wave, block: Range<usize>, history: &History<Mat>, out: &mut Mat) -> Result<()> {
    let convolver = Convolver::new(op);
    let rows = block.len();
    let mut taps = Vec::with_capacity(rows + op.taps);
    let mut windows = Vec::with_capacity(rows);
    for piece in pieces(wave, block) {
        let from = convolver.reach(piece.position);
        let base = taps.len();
        taps.extend(lines(&piece.path(wave, from), history));
        windows.extend((piece.position..piece.end()).map(|p| convolver.window(base, from, p)));
    }
    convolver.run(isa, &taps, &windows, out.span_mut(0..rows));
    Ok(())
}

/// A convolution with its weights turned so that lanes are channels.
pub(super) struct Convolver<'a> {
    /// `[K, width]`
    weight: Aligned,
    bias: Option<&'a [f32]>,
    act: Act,
    taps: usize,
    width: usize,
}

impl<'a> Convolver<'a> {
    /// Turns the weights.
    pub(super) fn new(op: &ConvOp<'a, Mat>) -> Self {
        let (width, taps) = (op.weight.rows(), op.taps);
        let mut weight = Aligned::zeros(width * taps);
        for (c, row) in op.weight.data().chunks_exact(taps).enumerate() {
            for (k, &w) in row.iter().enumerate() {
                weight[k * width + c] = w;
            }
        }
        Convolver { weight, bias: op.bias.map(|b| b.data()), act: op.act, taps, width }
    }

    /// Position of the first input of the row at position `p`.
    pub(super) fn reach(&self, p: u32) -> u32 {
        (p + 1).saturating_sub(self.taps as u32)
    }

    /// The inputs of the row at position `p` in a list of rows whose entry `base` is the row at position `from`.
    pub(super) fn window(&self, base: usize, from: u32, p: u32) -> Range<usize> {
        let end = base + (p + 1 - from) as usize;
        end - self.taps.min(p as usize + 1)..end
    }

    /// Convolves `windows.len()` rows: row i from the inputs `taps[windows[i]]`, oldest first. `out [windows.len(), width]`
    pub(super) fn run(&self, isa: Isa, taps: &[&[f32]], windows: &[Range<usize>], out: &mut [f32]) {
        out.par_chunks_mut(ROWS * self.width).zip(windows.par_chunks(ROWS)).for_each(|(out, windows)| {
            for (out, w) in out.chunks_exact_mut(self.width).zip(windows) {
                isa.run(Row { of: self, taps: &taps[w.clone()], out });
            }
        });
    }
}

struct Row<'a> {
    of: &'a Convolver<'a>,
    taps: &'a [&'a [f32]],
    out: &'a mut [f32],
}

impl Kernel for Row<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Row { of, taps, out } = self;
        let width = of.width;
        // The last inputs belong to the last taps; the first taps have none near the beginning of a path.
        let weight = &of.weight[(of.taps - taps.len()) * width..];
        assert!(out.len() == width && taps.iter().all(|t| t.len() >= width) && of.bias.is_none_or(|b| b.len() >= width));
        let mut c = 0;
        while c < width {
            let n = S::LANES.min(width - c);
            // SAFETY: c + n ≤ width, and every row is at least as long by the assertion above.
            unsafe {
                let mut sum = match of.bias {
                    Some(b) => load::<S>(b.as_ptr().add(c), n),
                    None => S::splat(0.0),
                };
                for (k, x) in taps.iter().enumerate() {
                    sum = S::fma(load::<S>(weight.as_ptr().add(k * width + c), n), load::<S>(x.as_ptr().add(c), n), sum);
                }
                store::<S>(out.as_mut_ptr().add(c), n, act::<S>(of.act, sum));
            }
            c += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{Layer, VOCABULARY, naive_conv, normal};
    use super::*;
    use crate::forest::Cut;

    #[test]
    fn every_row_is_near_the_truth_and_alone_in_the_world() {
        for (width, taps, biased) in [(37, 4, true), (64, 2, false), (8, 7, true)] {
            let table = normal(VOCABULARY, width + 3, 1, 0.0, 1.0);
            let (weight, bias) = (normal(width, taps, 2, 0.0, 0.5), normal(1, width, 3, 0.0, 0.5));
            let bias = biased.then_some(&bias);
            let op = ConvOp { taps, weight: &weight, bias, act: Act::Silu };
            let layer = Layer { table: &table, history: 0..width + 3, state: 0, out: width, cut: Cut { rows: 0, reach: Some(taps as u32), grain: None } };
            layer.check(
                |isa, wave, block, _, history, _, out| conv(isa, &op, wave, block, history, out).unwrap(),
                |x| naive_conv(x, &weight, bias),
                |x| naive_conv(x, &weight, bias),
            );
        }
    }
}
