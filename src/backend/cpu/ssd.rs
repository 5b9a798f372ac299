//! Mamba-2's dual form (Dao and Gu 2024, "Transformers are SSMs", section 6), convolution included.
//!
//! With Δ_t = clamp(softplus(dt_t + bias)), a_t = −e^(A_log) Δ_t, and sums over a chunk of [`SSD_CHUNK`] absolute positions,
//!
//!   c_t = Σ_{u ≤ t} a_u
//!   y_t = e^(c_t) C_t·S + Σ_{s ≤ t} (C_t·B_s) e^(c_t − c_s) Δ_s x_s + D x_t
//!   S ← e^(c_last) S + Σ_s e^(c_last − c_s) Δ_s B_s ⊗ x_s,
//!
//! each sum a chain in the order written, from the chunk's first position on, so that a row's bits depend on its path alone. c is summed in
//! float64 and its differences are rounded once: in float32 they would lose what c has grown to. A piece of a run that
//! starts inside a chunk convolves the chunk's earlier rows again. States are stored `[heads, N, head_dim]`.
//!
//! Three passes over a batch of pieces: convolution and Δ by rows, C·B by chunks and groups, all the rest by heads; a head
//! goes through the pieces in order, so that a run finds the states that earlier runs saved.

mod head;

use self::head::{Head, Local};
use super::Mat;
use super::conv::Convolver;
use super::lanes::{Aligned, load, softplus, store};
use super::mat::Shared;
use super::piece::{Piece, lines, pieces};
use super::simd::{Isa, Kernel, Simd};
use crate::backend::{History, SSD_CHUNK, SsdOp, States};
use crate::error::Result;
use crate::forest::{Segment, StateRef, Store, Wave};
use rayon::prelude::*;
use std::ops::Range;

/// Rows that a batch convolves at most: any one piece with its partial chunk fits.
fn most_rows(block_rows: usize) -> usize {
    2 * block_rows + SSD_CHUNK
}

/// The verb; see the trait. `wave` was planned with grain [`SSD_CHUNK`] and a reach of at least `SSD_CHUNK + K`.
pub(super) fn ssd(isa: Isa, op: &SsdOp<Mat>, wave: &Wave, block: Range<usize>, history: &History<Mat>, states: &mut States<Mat>, out: &mut Mat) -> Result<()> {
    let (inner, width) = (op.heads * op.head_dim, op.conv.weight.rows());
    assert!(width == inner + 2 * op.groups * op.d_state && op.heads.is_multiple_of(op.groups) && out.cols() == inner && out.rows() >= block.len());
    assert!(history.wave.cols() >= width + op.heads && states.wave.cols() == inner * op.d_state && states.resident.cols() == inner * op.d_state);
    assert!([op.dt_bias, op.a_log, op.d_skip].iter().all(|m| m.data().len() == op.heads));
    let convolver = Convolver::new(&op.conv);
    let decay: Vec<f32> = op.a_log.data().iter().map(|&a| -libm::exp(a as f64) as f32).collect();
    let mut batch = Batch::new(history);
    let (here, resident, out) = (Shared::new(states.wave.data_mut()), Shared::new(states.resident.data_mut()), Shared::new(out.data_mut()));
    let (mut mixed, mut delta, mut gram) = (Aligned::default(), Aligned::default(), Aligned::default());
    let mut rest = pieces(wave, block.clone()).peekable();
    while let Some(piece) = rest.next() {
        batch.clear();
        batch.push(wave, &block, &convolver, history, &piece);
        while let Some(piece) = rest.next_if(|p| batch.fed.len() + p.rows.len() + p.position as usize % SSD_CHUNK <= most_rows(block.len())) {
            batch.push(wave, &block, &convolver, history, &piece);
        }
        let rows = batch.fed.len();
        mixed.at_least(rows * width);
        delta.at_least(rows * op.heads);
        gram.at_least(block.len() * op.groups * SSD_CHUNK);
        convolver.run(isa, &batch.taps, &batch.windows, &mut mixed[..rows * width]);
        delta[..rows * op.heads].par_chunks_mut(16 * op.heads).zip(batch.fed.par_chunks(16)).for_each(|(delta, fed)| {
            for (delta, line) in delta.chunks_exact_mut(op.heads).zip(fed) {
                isa.run(Delta { dt: &line[width..width + op.heads], bias: op.dt_bias.data(), limit: op.dt_limit, delta });
            }
        });
        let parts = Parts { mixed: &mixed[..rows * width], delta: &delta[..rows * op.heads], width, op, decay: &decay };
        let products = Shared::new(&mut gram);
        (0..batch.chunks.len() * op.groups).into_par_iter().for_each_init(Aligned::default, |turned, i| {
            let chunk = &batch.chunks[i / op.groups];
            isa.run(head::Gram { parts: &parts, chunk, rows: batch.rows(chunk), group: i % op.groups, turned, products: &products });
        });
        let (batch, products) = (&batch, &gram[..]);
        (0..op.heads).into_par_iter().for_each_init(
            || Local::new(op),
            |local, head| isa.run(Head { parts: &parts, batch, products, saves: &wave.saves, here: &here, resident: &resident, out: &out, head, local }),
        );
    }
    Ok(())
}

/// What the passes read: rows after the convolution, Δ, and the parameters.
struct Parts<'a> {
    /// `[rows, width]`: x, B, C.
    mixed: &'a [f32],
    /// `[rows, heads]`
    delta: &'a [f32],
    width: usize,
    op: &'a SsdOp<'a, Mat>,
    /// −e^(A_log) of each head.
    decay: &'a [f32],
}

/// What one piece has of one chunk.
struct Chunk {
    /// Its rows from the chunk's beginning on: a range of [`Batch::index`].
    rows: Range<usize>,
    /// The first of them that belongs to the piece.
    first: usize,
    /// That one's row in the block.
    out: usize,
    /// The state before the chunk.
    start: Start,
    /// Whether the state after the chunk is asked for.
    next: bool,
    /// Who asks: a range of the wave's saves.
    saves: Range<usize>,
    /// Whether the next block asks.
    carry: bool,
}

enum Start {
    /// A stored one.
    Stored(StateRef),
    /// The one that the chunk before left.
    Running,
}

/// Pieces that are worked on together.
struct Batch<'h> {
    /// Inputs of the convolution, found by [`Batch::windows`].
    taps: Vec<&'h [f32]>,
    /// Window of each row of the batch.
    windows: Vec<Range<usize>>,
    /// History row of each row of the batch.
    fed: Vec<&'h [f32]>,
    chunks: Vec<Chunk>,
    /// Rows of the batch by chunk.
    index: Vec<u32>,
    /// Row of the batch that holds a row of the wave's or the resident store, so that branches share what they convolve again.
    known: [Vec<u32>; 2],
    entered: Vec<(usize, usize)>,
}

const UNKNOWN: u32 = u32::MAX;

impl<'h> Batch<'h> {
    fn new(history: &History<Mat>) -> Self {
        let known = [vec![UNKNOWN; history.wave.rows()], vec![UNKNOWN; history.resident.rows()]];
        Batch { taps: Vec::new(), windows: Vec::new(), fed: Vec::new(), chunks: Vec::new(), index: Vec::new(), known, entered: Vec::new() }
    }

    fn clear(&mut self) {
        for (store, row) in self.entered.drain(..) {
            self.known[store][row] = UNKNOWN;
        }
        self.taps.clear();
        self.windows.clear();
        self.fed.clear();
        self.chunks.clear();
        self.index.clear();
    }

    /// Rows of the batch that a chunk has.
    fn rows(&self, chunk: &Chunk) -> &[u32] {
        &self.index[chunk.rows.clone()]
    }

    fn push(&mut self, wave: &Wave, block: &Range<usize>, convolver: &Convolver, history: &'h History<Mat>, piece: &Piece) {
        const CHUNK: u32 = SSD_CHUNK as u32;
        let boundary = piece.position / CHUNK * CHUNK;
        let from = convolver.reach(boundary);
        let path = piece.path(wave, from);
        let base = self.taps.len();
        self.taps.extend(lines(&path, history));
        let first = self.index.len();
        self.enter(&path, base, from, boundary, convolver);
        // A run that entered this chunk in an earlier block has left the state before it there, unless it began inside the chunk.
        let mut start = Start::Stored(if boundary > piece.run.position { StateRef::Wave(0) } else { piece.run.state });
        let saves = piece.run.saves.start as usize..piece.run.saves.end as usize;
        let mut at = boundary;
        while at < piece.end() {
            let end = (at + CHUNK).min(piece.end());
            let first_row = at.max(piece.position);
            let last_row = piece.rows.start + (end - 1 - piece.position);
            let whole = end == at + CHUNK;
            let found = |row: u32| saves.start + wave.saves[saves.clone()].partition_point(|s| s.row < row);
            let mine = if whole { found(last_row)..found(last_row + 1) } else { 0..0 };
            // The carry is what a later block finds before its first whole chunk.
            let carry = whole && end + CHUNK > piece.end() && piece.rows.end < piece.run.rows.end;
            self.chunks.push(Chunk {
                rows: first + (at - boundary) as usize..first + (end - boundary) as usize,
                first: (first_row - at) as usize,
                out: (piece.rows.start + (first_row - piece.position)) as usize - block.start,
                start,
                next: whole && (end < piece.end() || !mine.is_empty() || carry),
                saves: mine,
                carry,
            });
            start = Start::Running;
            at = end;
        }
    }

    /// Adds the rows of a path from position `boundary` on to the index, and to the batch those that it has not yet.
    fn enter(&mut self, path: &[Segment], base: usize, from: u32, boundary: u32, convolver: &Convolver) {
        for s in path {
            let store = usize::from(s.store == Store::Resident);
            for p in s.position.max(boundary)..s.position + s.len {
                let row = (s.row + (p - s.position)) as usize;
                if self.known[store][row] == UNKNOWN {
                    self.known[store][row] = self.fed.len() as u32;
                    self.entered.push((store, row));
                    self.fed.push(self.taps[base + (p - from) as usize]);
                    self.windows.push(convolver.window(base, from, p));
                }
                self.index.push(self.known[store][row]);
            }
        }
    }
}

/// Δ of one row.
struct Delta<'a> {
    dt: &'a [f32],
    bias: &'a [f32],
    limit: (f32, f32),
    delta: &'a mut [f32],
}

impl Kernel for Delta<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let heads = self.delta.len();
        assert!(self.dt.len() == heads && self.bias.len() == heads);
        let mut h = 0;
        while h < heads {
            let n = S::LANES.min(heads - h);
            // SAFETY: h + n ≤ heads.
            unsafe {
                let soft = softplus::<S>(S::add(load::<S>(self.dt.as_ptr().add(h), n), load::<S>(self.bias.as_ptr().add(h), n)));
                store::<S>(self.delta.as_mut_ptr().add(h), n, S::min(S::max(soft, S::splat(self.limit.0)), S::splat(self.limit.1)));
            }
            h += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::harness::{Layer, Real, VOCABULARY, naive_conv, normal, softplus};
    use super::*;
    use crate::backend::{Act, ConvOp};
    use crate::forest::Cut;

    /// One token after the other, as the reference implementation generates.
    fn naive<R: Real>(op: &SsdOp<Mat>, inputs: &[&[f32]]) -> Vec<Vec<R>> {
        let (p, n, width) = (op.head_dim, op.d_state, op.conv.weight.rows());
        let inner = op.heads * p;
        let mixed = naive_conv::<R>(inputs, op.conv.weight, op.conv.bias);
        let mut state = vec![R::of(0.0); inner * n];
        let mut row = |m: &[R], input: &[f32]| {
            let mut y = Vec::new();
            for head in 0..op.heads {
                let group = head / (op.heads / op.groups);
                let (b, c) = (&m[inner + group * n..], &m[inner + (op.groups + group) * n..]);
                let delta = softplus(R::of(input[width + head]) + R::of(op.dt_bias.data()[head]));
                let (low, high) = (R::of(op.dt_limit.0), R::of(op.dt_limit.1));
                let delta = if delta < low { low } else { delta };
                let delta = if delta > high { high } else { delta };
                let decay = (-R::of(op.a_log.data()[head]).exp() * delta).exp();
                for j in head * p..(head + 1) * p {
                    let mut sum = R::of(0.0);
                    for k in 0..n {
                        let h = &mut state[j * n + k];
                        *h = decay * *h + delta * b[k] * m[j];
                        sum = sum + c[k] * *h;
                    }
                    y.push(sum + R::of(op.d_skip.data()[head]) * m[j]);
                }
            }
            y
        };
        mixed.iter().zip(inputs).map(|(m, x)| row(m, x)).collect()
    }

    fn check(heads: usize, head_dim: usize, groups: usize, d_state: usize, dt_limit: (f32, f32)) {
        let (inner, taps) = (heads * head_dim, 4);
        let width = inner + 2 * groups * d_state;
        let table = normal(VOCABULARY, width + heads, 1, 0.0, 1.0);
        let (weight, bias) = (normal(width, taps, 2, 0.0, 0.5), normal(1, width, 3, 0.0, 0.2));
        // Δ about 0.03, decays from slow to e^−16 Δ a token, as trained models have.
        let (dt_bias, a_log, d_skip) = (normal(1, heads, 4, -3.0, 1.0), normal(1, heads, 5, 1.0, 1.0), normal(1, heads, 6, 1.0, 0.5));
        let conv = ConvOp { taps, weight: &weight, bias: Some(&bias), act: Act::Silu };
        let op = SsdOp { heads, head_dim, groups, d_state, conv, dt_bias: &dt_bias, a_log: &a_log, d_skip: &d_skip, dt_limit };
        let cut = Cut { rows: 0, reach: Some((SSD_CHUNK + taps) as u32), grain: Some(SSD_CHUNK as u32) };
        Layer { table: &table, history: 0..width + heads, state: inner * d_state, out: inner, cut }.check(
            |isa, wave, block, _, history, states, out| ssd(isa, &op, wave, block, history, states, out).unwrap(),
            |x| naive(&op, x),
            |x| naive(&op, x),
        );
    }

    #[test]
    fn every_row_is_near_the_truth_and_alone_in_the_world() {
        check(4, 32, 2, 16, (0.0, f32::INFINITY));
        check(2, 64, 1, 32, (0.01, 0.1));
        check(2, 64, 2, 128, (0.0, f32::INFINITY));
    }

    #[test]
    fn ragged_sizes() {
        check(3, 7, 1, 5, (0.0, f32::INFINITY));
        check(2, 27, 1, 10, (0.0, f32::INFINITY));
    }
}
