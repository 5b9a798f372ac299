//! What goes along paths row by row: which rows a block of the convolution takes, which runs may be scanned at once, and Mamba-1's verbs.

use super::device::Device;
use super::mat::Mat;
use super::params::{self, ConvTile, MOST_TAPS};
use super::tables::{States as DeviceStates, Tables, sent};
use super::twin::{Cuda, act};
use crate::backend::{ConvOp, History, OnDevice, ScanOp, States};
use crate::error::{Error, Result};
use crate::forest::{StateRef, Wave};
use std::collections::HashMap;
use std::ops::Range;

/// Positions of a tile.
const CONV_ROWS: u32 = 16;
/// Threads of what convolves, each with a channel.
const CONV_THREADS: usize = 256;
/// Rows whose places a tile looks up.
const CONV_INPUTS: usize = CONV_ROWS as usize + MOST_TAPS - 1;
/// Threads of a block of `scan_f32`, its channels, and bytes of its shared memory.
const SCAN: (usize, usize, usize) = (64, 16, 4 * (2 * 256 + 256 + 2 * 3 * 256 + 2 * 512));

/// Tiles of the positions `from..end` of a run, which give the rows from `out_row` on.
pub(super) fn tiles(run: usize, positions: Range<u32>, out_row: u32) -> impl Iterator<Item = ConvTile> {
    let (first, end) = (positions.start, positions.end);
    positions.step_by(CONV_ROWS as usize).map(move |position| ConvTile {
        run: run as u32,
        position,
        rows: CONV_ROWS.min(end - position),
        out_row: out_row + (position - first),
    })
}

/// The runs that have rows in a block.
pub(super) fn runs_of(wave: &Wave, block: &Range<usize>) -> Range<usize> {
    let first = wave.runs.partition_point(|r| r.rows.end as usize <= block.start);
    first..wave.runs.partition_point(|r| (r.rows.start as usize) < block.end).max(first)
}

/// For each of these runs of a block, how many others must be scanned before it, one after another: those that save what it begins from, and those that use a state
/// before it is written over.
pub(super) fn levels(wave: &Wave, block: &Range<usize>, runs: Range<usize>) -> Vec<usize> {
    // The carry is read by the run that goes on from the block before, and written by the one that this block cuts.
    const CARRY: StateRef = StateRef::Wave(0);
    // Of each state the levels after which it may be read, and written.
    let mut free: HashMap<(bool, u32), [usize; 2]> = HashMap::new();
    let level = |i: usize| {
        let run = &wave.runs[i];
        let begins = (run.rows.start as usize) >= block.start;
        let cut = run.rows.end as usize > block.end;
        let read = place(if begins { run.state } else { CARRY });
        let saves = wave.saves[run.saves.start as usize..run.saves.end as usize].iter().map(|s| s.to);
        let written: Vec<_> = saves.chain(cut.then_some(CARRY)).filter_map(place).collect();
        let after = |slot: &(bool, u32), which: usize| free.get(slot).map_or(0, |levels| levels[which]);
        let level = read.iter().map(|slot| after(slot, 0)).chain(written.iter().map(|slot| after(slot, 1))).max().unwrap_or(0);
        if let Some(slot) = read {
            let [_, write] = free.entry(slot).or_default();
            *write = (*write).max(level + 1);
        }
        for slot in written {
            free.insert(slot, [level + 1; 2]);
        }
        level
    };
    runs.map(level).collect()
}

/// Store and slot of a state.
fn place(state: StateRef) -> Option<(bool, u32)> {
    match state {
        StateRef::Zero => None,
        StateRef::Wave(slot) => Some((false, slot)),
        StateRef::Resident(slot) => Some((true, slot)),
    }
}

/// Indices in the order of their levels, and where each level ends.
pub(super) fn by_level(levels: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..levels.len()).collect();
    order.sort_by_key(|&i| levels[i]);
    let ends = (0..levels.iter().map(|l| l + 1).max().unwrap_or(0)).map(|level| order.partition_point(|&i| levels[i] <= level)).collect();
    (order, ends)
}

/// Lists that a block's convolution and scan go by, on a device.
pub(super) struct Paths<D: Device> {
    /// [`ConvTile`]s.
    tiles: D::Memory,
    of_tiles: usize,
    /// Indices of runs, level by level.
    runs: D::Memory,
    ends: Vec<usize>,
}

impl<D: Device> Paths<D> {
    fn of(device: &D, wave: &Wave, block: &Range<usize>) -> Result<Self> {
        let runs = runs_of(wave, block);
        let tile = |i: usize| {
            let run = &wave.runs[i];
            let rows = run.rows.start.max(block.start as u32)..run.rows.end.min(block.end as u32);
            let position = run.position + (rows.start - run.rows.start);
            tiles(i, position..position + rows.len() as u32, rows.start - block.start as u32)
        };
        let tiles: Vec<ConvTile> = runs.clone().flat_map(tile).collect();
        let (order, ends) = by_level(&levels(wave, block, runs.clone()));
        let order: Vec<u32> = order.into_iter().map(|i| (runs.start + i) as u32).collect();
        Ok(Paths { tiles: sent(device, &tiles)?, of_tiles: tiles.len(), runs: sent(device, &order)?, ends })
    }
}

impl<D: Device> Cuda<D> {
    pub(super) fn states(&self, states: &States<Mat<D>>, size: usize) -> DeviceStates {
        DeviceStates { of: [self.at(states.wave, 0, 0), self.at(states.resident, 0, 0)], size: size as u64 }
    }

    pub(super) fn taps(&self, op: &ConvOp<Mat<D>>) -> Result<params::Taps> {
        if op.taps > MOST_TAPS {
            return Err(Error::input(format!("the convolution is {} wide; on CUDA at most {MOST_TAPS}", op.taps)));
        }
        Ok(params::Taps { weight: self.at(op.weight, 0, 0), bias: self.or_null(op.bias), taps: op.taps as u32, act: act(op.act) })
    }

    /// Hands over a kernel that takes tiles, a block for each and every so many columns.
    pub(super) fn launch_tiles(&self, kernel: &str, tiles: usize, columns: usize, params: &impl bytemuck::Pod) -> Result<()> {
        self.launch(kernel, [tiles, columns.div_ceil(CONV_THREADS), 1], CONV_THREADS, 4 * CONV_INPUTS, params)
    }

    /// As [`crate::backend::Backend::conv`].
    pub(super) fn convolve(
        &self,
        op: &ConvOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        history: &History<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        let paths = on.tables.paths.get(&block, || Paths::of(&self.device, on.wave, &block))?;
        let params = params::Conv {
            forest: on.tables.forest(&self.device),
            stores: self.stores(history),
            taps: self.taps(op)?,
            tiles: self.device.address(&paths.tiles),
            out: self.at(out, 0, 0),
            width: out.cols as u32,
            history: history.wave.cols as u32,
        };
        self.launch_tiles("conv_f32", paths.of_tiles, out.cols, &params)
    }

    /// As [`crate::backend::Backend::scan`].
    pub(super) fn scan_runs(
        &self,
        op: &ScanOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        x: &Mat<D>,
        dt: &Mat<D>,
        (bc, b_from): (&Mat<D>, usize),
        (z, z_from): (&Mat<D>, usize),
        states: &mut States<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        let paths = on.tables.paths.get(&block, || Paths::of(&self.device, on.wave, &block))?;
        let mut first = 0;
        for &end in &paths.ends {
            let params = params::Scan {
                forest: on.tables.forest(&self.device),
                states: self.states(states, op.d_inner * op.d_state),
                runs: self.device.address(&paths.runs) + (first * size_of::<u32>()) as u64,
                x: self.at(x, 0, 0),
                dt: self.at(dt, 0, 0),
                bc: self.at(bc, 0, b_from),
                z: self.at(z, 0, z_from),
                a_log: self.at(op.a_log, 0, 0),
                d_skip: self.at(op.d_skip, 0, 0),
                out: self.at(out, 0, 0),
                first_row: block.start as u32,
                end_row: block.end as u32,
                d_inner: op.d_inner as u32,
                d_state: op.d_state as u32,
                bc_stride: bc.cols as u32,
                z_stride: z.cols as u32,
                act: act(op.act),
                padding: 0,
            };
            let (threads, channels, shared) = SCAN;
            self.launch("scan_f32", [(end - first) * op.d_inner.div_ceil(channels), 1, 1], threads, shared, &params)?;
            first = end;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::forest::{Cut, Forest, Readout, Waves};

    /// A trunk of 10 with branches at 4 and 10, one of which has a branch itself, and a second tree.
    fn wave() -> Wave {
        let mut forest = Forest::new();
        let trunk = forest.root(&[1; 10]).unwrap();
        let first = forest.branch(trunk, 4, &[2; 6]).unwrap();
        let spans = [trunk, first, forest.branch(first, 3, &[3; 4]).unwrap(), forest.branch(trunk, 10, &[4; 5]).unwrap(), forest.root(&[5; 7]).unwrap()];
        let mut readout = Readout::new();
        for s in spans {
            readout.sum(&forest, s, 1..forest.tokens(s).len() as u32).unwrap();
        }
        Waves::plan(&forest, &readout, Cut { rows: 1000, reach: Some(4), grain: Some(1) }).remove(0)
    }

    /// By hand: every run comes after the one that saves what it begins from, and no later than that.
    #[test]
    fn a_run_waits_for_what_it_begins_from() {
        let wave = wave();
        let rows = wave.tokens.len();
        let position: Vec<u32> = wave.runs.iter().map(|r| r.position).collect();
        let level = levels(&wave, &(0..rows), 0..wave.runs.len());
        let of = |at: u32| position.iter().zip(&level).filter(|(p, _)| **p == at).map(|(_, l)| *l).collect::<Vec<_>>();
        assert_eq!((of(0), of(4), of(7), of(10)), (vec![0, 0], vec![1], vec![2], vec![1]));
        // Wherever states are kept; and what is written over waits for who reads it.
        let mut resident = wave.clone();
        let elsewhere = |state: &mut StateRef| {
            if let StateRef::Wave(slot) = *state {
                *state = StateRef::Resident(slot);
            }
        };
        resident.runs.iter_mut().for_each(|r| elsewhere(&mut r.state));
        resident.saves.iter_mut().for_each(|s| elsewhere(&mut s.to));
        assert_eq!(levels(&resident, &(0..rows), 0..wave.runs.len()), level);
        // Of two runs that use one slot, one of which writes it, the later one waits.
        resident.runs.iter_mut().filter(|r| r.state != StateRef::Zero).for_each(|r| r.state = StateRef::Resident(1));
        resident.saves.iter_mut().for_each(|s| s.to = StateRef::Resident(1));
        let one = levels(&resident, &(0..rows), 0..wave.runs.len());
        let uses = |i: usize| (resident.runs[i].state != StateRef::Zero, !resident.runs[i].saves.is_empty());
        for (i, j) in (0..one.len()).flat_map(|j| (0..j).map(move |i| (i, j))) {
            let ((reads, writes), (then_reads, then_writes)) = (uses(i), uses(j));
            assert!(one[j] > one[i] || !(writes && (then_reads || then_writes) || reads && then_writes), "{i} before {j}: {one:?}");
        }
        let (order, ends) = by_level(&level);
        assert_eq!(ends, [2, 4, 5]);
        assert!(order.windows(2).all(|w| level[w[0]] <= level[w[1]]) && order.len() == wave.runs.len());
    }

    /// What another block has saved is there; the run that a block cuts writes the carry after the one that goes on has read it.
    #[test]
    fn a_block_waits_for_nothing_before_it() {
        let wave = wave();
        let trunk = wave.runs.iter().position(|r| r.position == 0).unwrap();
        let end = wave.runs[trunk].rows.end as usize;
        let block = end - 3..end + 2;
        let runs = runs_of(&wave, &block);
        assert_eq!(runs, trunk..trunk + 2);
        let next = &wave.runs[trunk + 1];
        assert!(next.rows.end as usize > block.end);
        assert_eq!(levels(&wave, &block, runs), [0, 1]);
        let after = end..wave.tokens.len();
        let levels = levels(&wave, &after, runs_of(&wave, &after));
        assert_eq!(levels[0], 0);
    }

    #[test]
    fn tiles_cover_every_position_once() {
        let all: Vec<ConvTile> = tiles(3, 5..47, 100).collect();
        let told: Vec<_> = all.iter().map(|t| (t.run, t.position, t.rows, t.out_row)).collect();
        assert_eq!(told, [(3, 5, 16, 100), (3, 21, 16, 116), (3, 37, 10, 132)]);
    }
}
