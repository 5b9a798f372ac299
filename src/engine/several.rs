//! Several engines on one forest, each on trees of its own.

use super::{Engine, Scorer, Sink, Trace};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::forest::{Forest, Readout, Slot, SlotValue, Waves};
use crate::model::{Checkpoint, ModelSpec};
use std::ops::Range;
use std::panic::resume_unwind;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Scorers that give the same bits, of which each takes some consecutive trees of a forest, in a thread of its own. No reading spans trees, so nothing is
/// computed twice, and values reach the sink as if one scorer had done all of it: the same bits in the same order.
pub struct Several<S> {
    scorers: Vec<S>,
}

impl<S: Scorer + Send> Several<S> {
    /// These, which must score alike: the same model by the same arithmetic.
    ///
    /// # Errors
    /// There is none.
    pub fn new(scorers: Vec<S>) -> Result<Self> {
        if scorers.is_empty() { Err(Error::input("a forest cannot be scored by no engine at all")) } else { Ok(Several { scorers }) }
    }

    /// Them, in the order in which they take trees: the first has the first trees, and all where there are no more than one.
    pub fn scorers(&self) -> &[S] {
        &self.scorers
    }

    /// The one that has the first trees.
    pub fn first_mut(&mut self) -> &mut S {
        &mut self.scorers[0]
    }

    /// The trees that each takes; some of the last may have none.
    fn shares(&self, forest: &Forest, readout: &Readout) -> Vec<Range<usize>> {
        shares(&Waves::rows_by_tree(forest, readout), self.scorers.len())
    }
}

/// Runs of trees of so many rows, at most `n`, of which the largest has as few rows as can be.
fn shares(rows: &[usize], n: usize) -> Vec<Range<usize>> {
    let filled = |most: usize| {
        let (mut shares, mut start, mut sum) = (Vec::new(), 0, 0);
        for (tree, rows) in rows.iter().enumerate() {
            if sum > 0 && sum + rows > most {
                shares.push(start..tree);
                (start, sum) = (tree, 0);
            }
            sum += rows;
        }
        shares.push(start..rows.len());
        shares
    };
    let (mut low, mut high) = (rows.iter().copied().max().unwrap_or(0), rows.iter().sum());
    while low < high {
        let most = low + (high - low) / 2;
        if filled(most).len() <= n {
            high = most;
        } else {
            low = most + 1;
        }
    }
    filled(high)
}

/// Sends values to the thread that has the sink. Where that has given up, nobody wants them.
struct Remote(Sender<(Slot, SlotValue)>);

impl Sink for Remote {
    fn put(&mut self, slot: Slot, value: SlotValue) {
        let _ = self.0.send((slot, value));
    }
}

impl<S: Scorer + Send> Scorer for Several<S> {
    fn vocab(&self) -> usize {
        self.scorers[0].vocab()
    }

    fn max_positions(&self) -> Option<usize> {
        self.scorers[0].max_positions()
    }

    /// # Errors
    /// Of the errors of all the one of the first trees, after the values of the trees before; the others finish their share first.
    fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
        let shares = self.shares(forest, readout);
        if shares.len() == 1 {
            return self.scorers[0].score(forest, readout, sink);
        }
        let parts: Vec<(Forest, Readout)> = shares.into_iter().map(|trees| forest.part(readout, trees)).collect();
        thread::scope(|scope| {
            let mut begun = Vec::new();
            for (scorer, (forest, readout)) in self.scorers.iter_mut().zip(&parts) {
                let (to, from) = channel();
                let work = move || scorer.score(forest, readout, &mut Remote(to));
                let thread = thread::Builder::new().spawn_scoped(scope, work).map_err(|e| Error::input(format!("no thread can be started: {e}")))?;
                begun.push((thread, from));
            }
            // Values of later trees wait in their channels for those of earlier ones.
            begun.into_iter().try_for_each(|(thread, from)| {
                from.into_iter().for_each(|(slot, value)| sink.put(slot, value));
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            })
        })
    }
}

impl<B: Backend> Several<Engine<B>> {
    /// Engines of the same model.
    ///
    /// # Errors
    /// There is none; their backends have different names, so that the last bits of a value would depend on who scored it.
    pub fn of(engines: Vec<Engine<B>>) -> Result<Self> {
        let names: Vec<String> = engines.iter().map(|e| e.backend().name()).collect();
        if let Some(other) = names.iter().find(|n| **n != names[0]) {
            let what = format!("{} and {other} may differ in the last bits and do not work on one forest; name devices of one kind", names[0]);
            return Err(Error::input(what));
        }
        Several::new(engines)
    }

    /// The model.
    pub fn spec(&self) -> &ModelSpec {
        self.scorers[0].spec()
    }

    /// Its weights.
    pub fn checkpoint(&self) -> &Checkpoint {
        self.scorers[0].checkpoint()
    }

    /// One of the devices, which are all of the same name.
    pub fn backend(&self) -> &B {
        self.scorers[0].backend()
    }

    /// Rows fed through the layers so far, by all.
    pub fn fed(&self) -> u64 {
        self.scorers.iter().map(Engine::fed).sum()
    }

    /// As [`Engine::shrunk`], of the engine whose waves are smallest.
    pub fn shrunk(&self) -> Option<usize> {
        self.scorers.iter().filter_map(Engine::shrunk).min()
    }

    /// As [`Engine::weight_bytes`], on all devices together.
    pub fn weight_bytes(&self) -> usize {
        self.scorers.iter().map(Engine::weight_bytes).sum()
    }

    /// As [`Engine::needed_bytes`], on all devices together.
    ///
    /// # Errors
    /// A memory bound that not even one small wave fits.
    pub fn needed_bytes(&mut self, forest: &Forest, readout: &Readout) -> Result<usize> {
        let shares = self.shares(forest, readout);
        let of = |(engine, trees): (&mut Engine<B>, Range<usize>)| {
            let (forest, readout) = forest.part(readout, trees);
            engine.needed_bytes(&forest, &readout)
        };
        self.scorers.iter_mut().zip(shares).map(of).sum()
    }

    /// As [`Engine::set_trace`], of the first engine: of all that is done where a forest has one tree.
    pub fn set_trace(&mut self, trace: Option<Trace>) {
        self.scorers[0].set_trace(trace);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_as_equal_as_can_be() {
        let of = |rows: &[usize], n| shares(rows, n).into_iter().map(|s| (s.start, s.end)).collect::<Vec<_>>();
        assert_eq!(of(&[5, 5, 5, 5], 2), [(0, 2), (2, 4)]);
        assert_eq!(of(&[1, 1, 1, 9], 2), [(0, 3), (3, 4)]);
        assert_eq!(of(&[9, 1, 1, 1], 3), [(0, 1), (1, 4)]);
        assert_eq!(of(&[2, 3, 4, 5, 6], 3), [(0, 3), (3, 4), (4, 5)]);
        assert_eq!(of(&[7], 4), [(0, 1)]);
        assert_eq!(of(&[0, 0, 3, 0, 3, 0], 2), [(0, 4), (4, 6)]);
        assert_eq!((of(&[0, 0], 2), of(&[], 2)), (vec![(0, 2)], vec![(0, 0)]));
        // No cut of these into three runs has a smaller largest one.
        let rows: Vec<usize> = (0..9).map(|i| 1 + i * i % 7).collect();
        let largest = |cuts: [usize; 4]| cuts.windows(2).map(|c| rows[c[0]..c[1]].iter().sum::<usize>()).max();
        let best = (0..=9).flat_map(|a| (a..=9).map(move |b| largest([0, a, b, 9]))).min().flatten();
        assert_eq!(shares(&rows, 3).into_iter().map(|s| rows[s].iter().sum::<usize>()).max(), best);
    }
}
