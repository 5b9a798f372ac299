//! The interface behind which a model, or a process whose law is known exactly, scores a forest.

use crate::error::Result;
use crate::forest::{Forest, Readout, Slot, SlotValue, TokenId};

/// Receives what was read: each slot of the readout exactly once, as soon as it is complete; tree after tree.
pub trait Sink {
    /// Takes one slot's value.
    fn put(&mut self, slot: Slot, value: SlotValue);
}

/// Scores forests: log q of every token asked for, given its path.
pub trait Scorer {
    /// Number of token ids that may be scored: ids run from 0 to this, exclusively.
    fn vocab(&self) -> usize;

    /// The longest path that may be fed, where the model has such a limit. The last token of a leaf is not fed.
    fn max_positions(&self) -> Option<usize>;

    /// Scores every reading; values arrive at the sink while the work goes on.
    ///
    /// # Errors
    /// A token outside the vocabulary, a path past the model's positions, numbers that are not finite, an interruption.
    fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()>;
}

/// A sink that keeps everything, by slot.
#[derive(Clone, Debug, Default)]
pub struct Values(pub Vec<Option<SlotValue>>);

impl Values {
    /// Room for all slots of a readout.
    pub fn new(readout: &Readout) -> Self {
        Values(vec![None; readout.slots() as usize])
    }

    /// A sum's value, or a token's as a sum of one.
    pub fn sum(&self, slot: Slot) -> f64 {
        match self.0[slot.0 as usize] {
            Some(SlotValue::Sum { sum, .. }) => sum,
            Some(SlotValue::Token(v)) => v as f64,
            None => f64::NAN,
        }
    }

    /// How many tokens of a sum are greedy, where it was asked.
    pub fn greedy(&self, slot: Slot) -> Option<u32> {
        match self.0[slot.0 as usize] {
            Some(SlotValue::Sum { greedy, .. }) => greedy,
            _ => None,
        }
    }

    /// `n` tokens' ln q from `first` on.
    pub fn tokens(&self, first: Slot, n: usize) -> Vec<f32> {
        let at = first.0 as usize;
        self.0[at..at + n]
            .iter()
            .map(|v| match v {
                Some(SlotValue::Token(x)) => *x,
                _ => f32::NAN,
            })
            .collect()
    }
}

impl Sink for Values {
    fn put(&mut self, slot: Slot, value: SlotValue) {
        self.0[slot.0 as usize] = Some(value);
    }
}

/// Helper for plain texts: ln q of every token of every list but its first, each list on its own.
///
/// # Errors
/// As [`Scorer::score`].
pub fn score_lists(scorer: &mut dyn Scorer, lists: &[Vec<TokenId>]) -> Result<Vec<Vec<f32>>> {
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    let mut slots = Vec::new();
    for l in lists {
        if l.len() < 2 {
            slots.push((Slot(0), 0));
            continue;
        }
        let s = forest.root(l)?;
        slots.push((readout.each(&forest, s, 1..l.len() as u32)?, l.len() - 1));
    }
    let mut values = Values::new(&readout);
    scorer.score(&forest, &readout, &mut values)?;
    Ok(slots.into_iter().map(|(s, n)| values.tokens(s, n)).collect())
}
