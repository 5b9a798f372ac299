//! Which predictions are read, and into which slots.

use super::{Forest, SpanId};
use crate::error::{Error, Result};
use std::ops::Range;

/// Index of an accumulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What comes out of a slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SlotValue {
    /// One token's ln q, in nats.
    Token(f32),
    /// A sum of ln q over `count` tokens, in nats, added in float64 in the tokens' order.
    Sum {
        /// The sum.
        sum: f64,
        /// How many tokens entered.
        count: u32,
        /// How many of them are greedy, where it was asked ([`Readout::sum_and_greedy`]): no token of the vocabulary has a larger logit there.
        /// A tie counts for each of its tokens.
        greedy: Option<u32>,
    },
}

/// What is made of a reading's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// One sum.
    Sum,
    /// One sum, and how many of them are greedy.
    SumAndGreedy,
    /// Each in a slot of its own.
    Each,
}

/// A run of a span's tokens whose ln q is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The span.
    pub span: SpanId,
    /// Indices of its tokens.
    pub tokens: Range<u32>,
    /// The sum's slot, or the first of `tokens.len()` consecutive ones.
    pub slot: Slot,
    /// One sum, or every token.
    pub wanted: Wanted,
    /// The sample that the hidden states of the rows which predict these tokens enter, if any.
    pub sample: Option<u32>,
}

impl Reading {
    /// How many slots it fills.
    pub fn slots(&self) -> u32 {
        if self.wanted == Wanted::Each { self.tokens.end - self.tokens.start } else { 1 }
    }
}

/// All readings over a forest. Slots are numbered in the order in which they were asked for.
#[derive(Clone, Debug, Default)]
pub struct Readout {
    readings: Vec<Reading>,
    slots: u32,
}

impl Readout {
    /// Nothing wanted yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the sum of ln q over tokens `tokens` of `span`. Readings may overlap: one prediction may enter several sums.
    ///
    /// # Errors
    /// An empty or outlying range; a token that no row predicts (the first of a path).
    pub fn sum(&mut self, forest: &Forest, span: SpanId, tokens: Range<u32>) -> Result<Slot> {
        self.push(forest, span, tokens, Wanted::Sum)
    }

    /// As [`Readout::sum`], with the number of greedy tokens. Costs one comparison a token.
    ///
    /// # Errors
    /// As [`Readout::sum`].
    pub fn sum_and_greedy(&mut self, forest: &Forest, span: SpanId, tokens: Range<u32>) -> Result<Slot> {
        self.push(forest, span, tokens, Wanted::SumAndGreedy)
    }

    /// Asks for ln q of each of tokens `tokens` of `span`; returns the first of consecutive slots.
    ///
    /// # Errors
    /// As [`Readout::sum`].
    pub fn each(&mut self, forest: &Forest, span: SpanId, tokens: Range<u32>) -> Result<Slot> {
        self.push(forest, span, tokens, Wanted::Each)
    }

    /// As [`Readout::each`]; the hidden states that predict these tokens, after the final norm, enter sample number `sample`, in the order of trees and of
    /// tokens.
    ///
    /// # Errors
    /// As [`Readout::sum`].
    pub fn each_sampled(&mut self, forest: &Forest, span: SpanId, tokens: Range<u32>, sample: u32) -> Result<Slot> {
        let slot = self.push(forest, span, tokens, Wanted::Each)?;
        if let Some(reading) = self.readings.last_mut() {
            reading.sample = Some(sample);
        }
        Ok(slot)
    }

    fn push(&mut self, forest: &Forest, span: SpanId, tokens: Range<u32>, wanted: Wanted) -> Result<Slot> {
        let s = forest.spans().get(span.0 as usize).ok_or_else(|| Error::input(format!("span {} is not in the forest", span.0)))?;
        if tokens.start >= tokens.end || tokens.end > s.len() {
            return Err(Error::input(format!("tokens {}..{} are not among the {} of span {}", tokens.start, tokens.end, s.len(), span.0)));
        }
        if s.position + tokens.start == 0 {
            return Err(Error::input(format!("nothing predicts the first token of the path of span {}", span.0)));
        }
        let slot = Slot(self.slots);
        let reading = Reading { span, tokens, slot, wanted, sample: None };
        self.slots += reading.slots();
        self.readings.push(reading);
        Ok(slot)
    }

    /// These readings of a readout of so many slots.
    pub(super) fn some(readings: Vec<Reading>, slots: u32) -> Self {
        Readout { readings, slots }
    }

    /// The readings, in slot order.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }

    /// How many slots there are.
    pub fn slots(&self) -> u32 {
        self.slots
    }
}
