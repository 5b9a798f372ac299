//! A forest's waves, one after another; smaller ones where memory runs out on the way.

use super::rooms::Extent;
use super::samples::Samples;
use super::{Engine, LEAST_ROWS, Scorer, Sink, fewer};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::forest::{Forest, Readout, Slot, SlotValue, Wave};
use std::collections::BTreeMap;

/// A sum in the making.
#[derive(Default)]
struct Open {
    sum: f64,
    count: u32,
    greedy: u32,
}

/// Hands every value on once, though waves may be computed again: values come in the same order however the waves are cut.
struct Once<'s> {
    sink: &'s mut dyn Sink,
    /// Values of the forest in work that were handed on.
    held: usize,
    /// Values of it that came since it was begun.
    seen: usize,
}

impl Sink for Once<'_> {
    fn put(&mut self, slot: Slot, value: SlotValue) {
        self.seen += 1;
        if self.seen > self.held {
            self.held = self.seen;
            self.sink.put(slot, value);
        }
    }
}

impl Once<'_> {
    /// What is left to do: the trees from the first one on of which a value is missing; and how many are done.
    fn rest(&mut self, forest: &Forest, readout: &Readout) -> (Forest, Readout, usize) {
        let mut slots = vec![0; forest.trees().len()];
        for r in readout.readings() {
            slots[forest.span(r.span).tree as usize] += r.slots() as usize;
        }
        let mut first = 0;
        while first < slots.len() && slots[first] <= self.held {
            self.held -= slots[first];
            first += 1;
        }
        self.seen = 0;
        let (forest, readout) = forest.part(readout, first..slots.len());
        (forest, readout, first)
    }
}

impl<B: Backend> Scorer for Engine<B> {
    fn vocab(&self) -> usize {
        self.spec.vocab
    }

    fn max_positions(&self) -> Option<usize> {
        self.spec.max_positions
    }

    fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
        let mut once = Once { sink, held: 0, seen: 0 };
        self.samples.iter_mut().for_each(Samples::restart);
        let (mut rest, mut short): (Option<(Forest, Readout)>, Option<Error>) = (None, None);
        loop {
            let (forest, readout) = rest.as_ref().map_or((forest, readout), |(f, r)| (f, r));
            let (waves, extent) = match (self.plan(forest, readout), short) {
                // What smaller waves keep of a tree that they cut is past the bound: what ran out is what there is to tell.
                (Err(_), Some(short)) => return Err(short),
                (planned, _) => planned?,
            };
            self.check(forest, &waves)?;
            match self.carry(&waves, extent, &mut once) {
                Err(Error::Memory(what)) => short = Some(self.shrink(extent.rows, &what)?),
                done => return done,
            }
            let (left, of_left, done) = once.rest(forest, readout);
            self.samples.iter_mut().for_each(|s| s.pass(forest, readout, 0..done));
            rest = Some((left, of_left));
        }
    }
}

impl<B: Backend> Engine<B> {
    /// Carries waves through the model; values go to the sink as soon as they are complete.
    fn carry(&mut self, waves: &[Wave], extent: Extent, sink: &mut dyn Sink) -> Result<()> {
        self.prepare(extent)?;
        let mut open: BTreeMap<Slot, Open> = BTreeMap::new();
        for wave in waves {
            self.stopped()?;
            let said = self.run(wave)?;
            self.fed += wave.tokens.len() as u64;
            self.sample(wave)?;
            for (i, (target, log)) in wave.targets.iter().zip(said.logs).enumerate() {
                if log.is_nan() {
                    return Err(Error::input(format!("the model gives no number for token {}: its activations overflow or are not finite", target.token)));
                }
                if target.of == 0 {
                    sink.put(target.slot, SlotValue::Token(log));
                    continue;
                }
                let entry = open.entry(target.slot).or_default();
                entry.sum += log as f64;
                entry.count += 1;
                entry.greedy += u32::from(said.greedy.as_ref().is_some_and(|g| g[i]));
                if entry.count == target.of {
                    let value = SlotValue::Sum { sum: entry.sum, count: entry.count, greedy: target.greedy.then_some(entry.greedy) };
                    open.remove(&target.slot);
                    sink.put(target.slot, value);
                }
            }
        }
        Ok(())
    }

    /// Gives the workspace back and halves the rows of a wave, after memory ran out with `rows` of them; gives the error that it is if this does not help.
    ///
    /// # Errors
    /// That error, where waves are as small as they get.
    fn shrink(&mut self, rows: usize, what: &str) -> Result<Error> {
        self.rooms = None;
        let mend = if self.streaming { "" } else { " let weights stream (--weights stream), or" };
        let short = Error::memory(format!("{what}, with waves of {rows} rows;{mend} end what else takes memory there"));
        if rows <= LEAST_ROWS {
            return Err(short);
        }
        self.shrunk = Some(fewer(rows));
        Ok(short)
    }
}
