//! Mamba-2's verb: which pieces of runs are worked on together, and which kernels do it.

use super::device::Device;
use super::mat::Mat;
use super::params::{self, ConvTile, SsdChunk, SsdPiece};
use super::scan::{by_level, levels, runs_of, tiles};
use super::tables::{Tables, sent};
use super::twin::Cuda;
use crate::backend::{Backend, History, OnDevice, SSD_CHUNK, SsdOp, SsdSizes, States};
use crate::error::{Error, Result};
use crate::forest::Wave;
use crate::tensor::Dtype;
use std::ops::Range;

/// Widest head of `ssd_f32`, and bytes of its shared memory.
const PLAIN: (usize, usize) = (256, 4 * (SSD_CHUNK * 2 * 16 + 2 * SSD_CHUNK));
/// Numbers of a head that a block of `ssd_chunks_T_N` takes.
const SLICE: usize = 64;
/// State sizes that `ssd_chunks_T_N` is compiled for.
const WIDTHS: [usize; 3] = [64, 128, 256];
/// Threads of a block of either kernel of ssd_chunks.cu.
const CHUNK_THREADS: usize = 128;
/// Chunks of a batch, unless one piece has more: what bounds the memory of products of C and B where runs are short.
const MOST_CHUNKS: usize = 512;

/// Rows after the convolution that a batch has at most: any one piece fits.
fn most_rows(block_rows: usize) -> usize {
    2 * block_rows + SSD_CHUNK
}

/// Bytes of shared memory of `ssd_chunks_T_N`.
fn shared(width: usize) -> usize {
    let (tiles, slices) = (2 * SSD_CHUNK * (width + 8), 2 * SSD_CHUNK * (SLICE + 8));
    2 * (tiles + slices) + 4 * (SSD_CHUNK * SSD_CHUNK + 3 * SSD_CHUNK)
}

/// Pieces that are worked on together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Batch {
    tiles: Vec<ConvTile>,
    /// Level by level.
    pieces: Vec<SsdPiece>,
    ends: Vec<usize>,
    chunks: Vec<SsdChunk>,
    rows: usize,
}

/// The batches of a block, of at most so many rows each.
fn batches(wave: &Wave, block: &Range<usize>, most_rows: usize) -> Vec<Batch> {
    let chunk = SSD_CHUNK as u32;
    let (mut all, mut rest) = (Vec::new(), runs_of(wave, block).peekable());
    while let Some(&first) = rest.peek() {
        let mut batch = Batch::default();
        let mut end = first;
        while let Some(&index) = rest.peek() {
            let run = &wave.runs[index];
            let rows = run.rows.start.max(block.start as u32)..run.rows.end.min(block.end as u32);
            let position = run.position + (rows.start - run.rows.start);
            let (from, end_position) = (position / chunk * chunk, position + rows.len() as u32);
            let (fed, chunks) = ((end_position - from) as usize, (end_position - from).div_ceil(chunk) as usize);
            if !batch.pieces.is_empty() && (batch.rows + fed > most_rows || batch.chunks.len() + chunks > MOST_CHUNKS) {
                break;
            }
            rest.next();
            end = index + 1;
            let row = batch.rows as u32;
            batch.pieces.push(SsdPiece {
                run: index as u32,
                from,
                position,
                end: end_position,
                row,
                out_row: rows.start - block.start as u32,
                chunk: batch.chunks.len() as u32,
                padding: 0,
            });
            batch.tiles.extend(tiles(index, from..end_position, row));
            batch.chunks.extend((0..fed as u32).step_by(SSD_CHUNK).map(|at| SsdChunk { row: row + at, rows: chunk.min(fed as u32 - at) }));
            batch.rows += fed;
        }
        let (order, ends) = by_level(&levels(wave, block, first..end));
        batch.pieces = order.into_iter().map(|i| batch.pieces[i]).collect();
        batch.ends = ends;
        all.push(batch);
    }
    all
}

/// A batch on a device.
pub(super) struct Sent<D: Device> {
    tiles: D::Memory,
    pieces: D::Memory,
    chunks: D::Memory,
    of: Batch,
}

impl<D: Device> Cuda<D> {
    /// Bytes that Mamba-2 allocates besides matrices.
    pub(super) fn ssd_bytes(&self, sizes: &SsdSizes) -> usize {
        let width = sizes.heads * sizes.head_dim + 2 * sizes.groups * sizes.d_state;
        let rows = most_rows(self.block_rows());
        let gram = 4 * MOST_CHUNKS.max(rows.div_ceil(SSD_CHUNK)) * sizes.groups * SSD_CHUNK * SSD_CHUNK;
        let dtype = self.dual_dtype(sizes.head_dim, sizes.d_state);
        rows * (dtype.size() * width + 4 * sizes.heads) + if dtype == Dtype::F32 { 0 } else { gram }
    }

    /// Of what is multiplied: tensor cores take rows of which every head's and group's numbers are a multiple of 16 bytes.
    fn dual_dtype(&self, head_dim: usize, d_state: usize) -> Dtype {
        let fits = head_dim.is_multiple_of(8) && d_state.is_multiple_of(8) && WIDTHS.iter().any(|w| d_state <= *w);
        if fits { self.precision } else { Dtype::F32 }
    }

    /// As [`crate::backend::Backend::ssd`].
    pub(super) fn dual(
        &self,
        op: &SsdOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        history: &History<Mat<D>>,
        states: &mut States<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        let sent = on.tables.duals.get(&block, || {
            let send = |of: Batch| {
                let device = &self.device;
                Ok(Sent { tiles: sent(device, &of.tiles)?, pieces: sent(device, &of.pieces)?, chunks: sent(device, &of.chunks)?, of })
            };
            batches(on.wave, &block, most_rows(self.block_rows())).into_iter().map(send).collect()
        })?;
        sent.iter().try_for_each(|batch| self.dual_of(op, on, &block, batch, history, states, out))
    }

    fn dual_of(
        &self,
        op: &SsdOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: &Range<usize>,
        batch: &Sent<D>,
        history: &History<Mat<D>>,
        states: &mut States<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        let (of, device, forest) = (&batch.of, &self.device, on.tables.forest(&self.device));
        let (inner, dtype) = (op.heads * op.head_dim, self.dual_dtype(op.head_dim, op.d_state));
        let width = inner + 2 * op.groups * op.d_state;
        let (mixed, delta) = (device.allocate(dtype.size() * of.rows * width)?, device.allocate(4 * of.rows * op.heads)?);
        let rows = params::SsdRows {
            forest,
            stores: self.stores(history),
            taps: self.taps(&op.conv)?,
            tiles: device.address(&batch.tiles),
            dt_bias: self.at(op.dt_bias, 0, 0),
            mixed: device.address(&mixed),
            delta: device.address(&delta),
            width: width as u32,
            heads: op.heads as u32,
            history: history.wave.cols as u32,
            dt_least: op.dt_limit.0,
            dt_most: op.dt_limit.1,
            padding: 0,
        };
        self.launch_tiles(&format!("ssd_rows_{}", dtype.name()), of.tiles.len(), width + op.heads, &rows)?;
        let slices = if dtype == Dtype::F32 { 1 } else { op.head_dim.div_ceil(SLICE) };
        let mut params = params::Ssd {
            forest,
            states: self.states(states, inner * op.d_state),
            pieces: 0,
            mixed: device.address(&mixed),
            delta: device.address(&delta),
            gram: 0,
            a_log: self.at(op.a_log, 0, 0),
            d_skip: self.at(op.d_skip, 0, 0),
            out: self.at(out, 0, 0),
            end_row: block.end as u32,
            heads: op.heads as u32,
            head_dim: op.head_dim as u32,
            groups: op.groups as u32,
            d_state: op.d_state as u32,
            slices: slices as u32,
        };
        let (kernel, threads, shared, _gram) = if dtype == Dtype::F32 {
            if op.head_dim > PLAIN.0 {
                return Err(Error::input(format!("heads of Mamba-2 are {} wide; on CUDA at most {}, or a multiple of 8 in 16 bits", op.head_dim, PLAIN.0)));
            }
            ("ssd_f32".to_string(), PLAIN.0, PLAIN.1, None)
        } else {
            let gram = device.allocate(4 * of.chunks.len() * op.groups * SSD_CHUNK * SSD_CHUNK)?;
            params.gram = device.address(&gram);
            let products = params::SsdGram {
                chunks: device.address(&batch.chunks),
                mixed: params.mixed,
                gram: params.gram,
                width: width as u32,
                first: inner as u32,
                groups: op.groups as u32,
                d_state: op.d_state as u32,
            };
            let room = 2 * 2 * SSD_CHUNK * (SLICE + 8);
            self.launch(&format!("ssd_gram_{}", dtype.name()), [of.chunks.len(), op.groups, 1], CHUNK_THREADS, room, &products)?;
            let wide = WIDTHS.into_iter().find(|w| op.d_state <= *w).unwrap_or(WIDTHS[2]);
            (format!("ssd_chunks_{}_{wide}", dtype.name()), CHUNK_THREADS, shared(wide), Some(gram))
        };
        let mut first = 0;
        for &end in &of.ends {
            params.pieces = device.address(&batch.pieces) + (first * size_of::<SsdPiece>()) as u64;
            self.launch(&kernel, [(end - first) * op.heads * slices, 1, 1], threads, shared, &params)?;
            first = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Cut, Forest, Readout, Waves};

    /// Every row of a block gives output once; pieces begin with a chunk, follow one another in memory, and no batch has more rows than it may.
    #[test]
    fn batches_hold_every_row_once() {
        let mut forest = Forest::new();
        let trunk = forest.root(&[1; 300]).unwrap();
        let mut spans = vec![trunk];
        for at in [10, 64, 64, 100, 300] {
            spans.push(forest.branch(trunk, at, &[2; 70]).unwrap());
        }
        let mut readout = Readout::new();
        for s in spans {
            readout.sum(&forest, s, 1..forest.tokens(s).len() as u32).unwrap();
        }
        let wave = Waves::plan(&forest, &readout, Cut { rows: 1000, reach: Some(68), grain: Some(64) }).remove(0);
        let rows = wave.tokens.len();
        for (block, most) in [(0..rows, 1 << 20), (0..rows, 400), (37..400, 1 << 20), (290..310, 100)] {
            let batches = batches(&wave, &block, most);
            assert_eq!(batches.len() > 1, most == 400, "{block:?}");
            let mut given = vec![0; block.len()];
            for b in &batches {
                assert!(b.rows <= most);
                assert_eq!(b.tiles.iter().map(|t| t.rows as usize).sum::<usize>(), b.rows);
                assert_eq!(b.chunks.iter().map(|c| c.rows as usize).sum::<usize>(), b.rows);
                assert_eq!(b.ends.last(), Some(&b.pieces.len()));
                for p in &b.pieces {
                    assert!(p.from.is_multiple_of(64) && p.position - p.from < 64);
                    assert_eq!(b.chunks[p.chunk as usize].row, p.row);
                    (0..p.end - p.position).for_each(|i| given[(p.out_row + i) as usize] += 1);
                }
            }
            assert!(given.iter().all(|&n| n == 1), "{block:?}");
        }
    }
}
