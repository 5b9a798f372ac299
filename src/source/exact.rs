//! Exact conditionals as a scorer of forests.

use crate::engine::{Scorer, Sink};
use crate::error::{Error, Result};
use crate::forest::{Forest, Readout, Slot, SlotValue, SpanId, TokenId, Wanted};
use crate::rng::Rng;
use std::ops::Range;

/// A law of token sequences whose conditionals are computed from a statistic that a prefix leaves behind.
pub trait Process {
    /// The statistic: all that the next token's law depends on. Cloned at branches.
    type State: Clone;

    /// Token ids, ⊥ included.
    fn vocab(&self) -> usize;

    /// ⊥, which opens a text and occurs nowhere else.
    fn start_token(&self) -> TokenId;

    /// The statistic of the empty prefix.
    fn begin(&self) -> Self::State;

    /// ln q(token | prefix) in nats; −∞ for ⊥.
    fn log_q(&self, state: &Self::State, token: TokenId) -> f64;

    /// Appends a token (below [`Process::vocab`]) to the prefix. ⊥ says nothing of what comes.
    fn push(&self, state: &mut Self::State, token: TokenId);

    /// Draws one document of `length` tokens, without ⊥.
    fn draw(&self, length: usize, rng: &mut Rng) -> Vec<TokenId>;
}

/// A process in a model's place.
#[derive(Clone, Debug)]
pub struct Exact<'a, P>(pub &'a P);

impl<P: Process> Exact<'_, P> {
    /// ln q of the tokens of one span that lie in `wanted`, and whether each is greedy (false where none was asked), leaving the states that its
    /// branches start from in `saved`.
    fn walk(
        &self,
        mut state: P::State,
        tokens: &[TokenId],
        wanted: &Range<usize>,
        greedy: bool,
        offsets: &[u32],
        saved: &mut Vec<P::State>,
    ) -> Result<Vec<(f64, bool)>> {
        let mut values = Vec::with_capacity(wanted.len());
        let mut next = offsets.iter().peekable();
        for (t, &token) in tokens.iter().enumerate() {
            if token as usize >= self.0.vocab() {
                return Err(Error::input(format!("token {token} is outside the process's {} tokens", self.0.vocab())));
            }
            if next.next_if(|&&o| o as usize == t).is_some() {
                saved.push(state.clone());
            }
            if wanted.contains(&t) {
                let v = self.0.log_q(&state, token);
                if !v.is_finite() {
                    return Err(Error::input(format!("token {token} has probability 0 where it stands, so its logarithm is not finite")));
                }
                values.push((v, greedy && (0..self.0.vocab()).all(|t| self.0.log_q(&state, t as TokenId) <= v)));
            }
            // Nothing depends on what follows the last wanted token and the last branch.
            if t + 1 >= wanted.end && next.peek().is_none() {
                return Ok(values);
            }
            self.0.push(&mut state, token);
        }
        if next.next().is_some() {
            saved.push(state);
        }
        Ok(values)
    }
}

impl<P: Process> Scorer for Exact<'_, P> {
    fn vocab(&self) -> usize {
        self.0.vocab()
    }

    fn max_positions(&self) -> Option<usize> {
        None
    }

    fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
        let spans = forest.spans();
        let mut offsets: Vec<Vec<u32>> = vec![Vec::new(); spans.len()];
        for s in spans {
            if let Some((parent, offset)) = s.parent {
                offsets[parent.0 as usize].push(offset);
            }
        }
        for o in &mut offsets {
            o.sort_unstable();
            o.dedup();
        }
        let mut wanted: Vec<Range<usize>> = vec![0..0; spans.len()];
        let mut greedy = vec![false; spans.len()];
        let mut readings = vec![Vec::new(); forest.trees().len()];
        for r in readout.readings() {
            let (w, t) = (&mut wanted[r.span.0 as usize], r.tokens.start as usize..r.tokens.end as usize);
            *w = if w.start == w.end { t } else { w.start.min(t.start)..w.end.max(t.end) };
            greedy[r.span.0 as usize] |= r.wanted == Wanted::SumAndGreedy;
            readings[forest.span(r.span).tree as usize].push(r);
        }
        let mut saved: Vec<Vec<P::State>> = spans.iter().map(|_| Vec::new()).collect();
        let mut values: Vec<Vec<(f64, bool)>> = vec![Vec::new(); spans.len()];
        for (tree, readings) in forest.trees().iter().zip(readings) {
            for &SpanId(id) in tree {
                let id = id as usize;
                let state = match spans[id].parent {
                    None => self.0.begin(),
                    Some((SpanId(parent), offset)) => {
                        let at = offsets[parent as usize].partition_point(|&o| o < offset);
                        saved[parent as usize][at].clone()
                    }
                };
                let mut states = Vec::with_capacity(offsets[id].len());
                values[id] = self.walk(state, forest.tokens(SpanId(id as u32)), &wanted[id], greedy[id], &offsets[id], &mut states)?;
                saved[id] = states;
            }
            for r in readings {
                let id = r.span.0 as usize;
                let first = wanted[id].start;
                let read = &values[id][r.tokens.start as usize - first..r.tokens.end as usize - first];
                let (sum, count) = (read.iter().map(|v| v.0).sum(), read.len() as u32);
                match r.wanted {
                    Wanted::Each => {
                        for (i, &(v, _)) in read.iter().enumerate() {
                            sink.put(Slot(r.slot.0 + i as u32), SlotValue::Token(v as f32));
                        }
                    }
                    Wanted::Sum => sink.put(r.slot, SlotValue::Sum { sum, count, greedy: None }),
                    Wanted::SumAndGreedy => {
                        let greedy = read.iter().filter(|v| v.1).count() as u32;
                        sink.put(r.slot, SlotValue::Sum { sum, count, greedy: Some(greedy) });
                    }
                }
            }
            for &SpanId(id) in tree {
                saved[id as usize] = Vec::new();
                values[id as usize] = Vec::new();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Values, score_lists};
    use crate::source::SantaFe;

    /// Every path of a forest with branches at the beginning, inside and at the end, read as sums and token by token, equals the same
    /// path scored alone.
    #[test]
    fn forest_equals_strings() {
        let p = SantaFe::new(0.5, 6, 1e-6).unwrap();
        let mut rng = Rng::new(3, 0);
        let bot = p.start_token();
        let (mut forest, mut readout) = (Forest::new(), Readout::new());
        let mut slots = Vec::new();
        for _ in 0..3 {
            let mut text = vec![bot];
            text.extend(p.draw(12, &mut rng));
            let mut spans = vec![forest.root(&text).unwrap()];
            for _ in 0..20 {
                let parent = spans[rng.below(spans.len() as u64) as usize];
                let root = parent == spans[0];
                let len = forest.span(parent).len() as u64;
                // Offset 0 of a root would lose ⊥.
                let offset = if root { 1 + rng.below(len) } else { rng.below(len + 1) } as u32;
                let n = 1 + rng.below(5) as usize;
                spans.push(forest.branch(parent, offset, &p.draw(n, &mut rng)).unwrap());
            }
            for &s in &spans {
                let n = forest.span(s).len();
                let from = u32::from(s == spans[0]);
                slots.push((s, from, readout.sum(&forest, s, from..n).unwrap(), readout.each(&forest, s, n - 1..n).unwrap()));
            }
        }
        let mut values = Values::new(&readout);
        Exact(&p).score(&forest, &readout, &mut values).unwrap();
        for (s, from, sum, last) in slots {
            let path = forest.path(s);
            let alone = score_lists(&mut Exact(&p), std::slice::from_ref(&path)).unwrap().remove(0);
            let own = forest.span(s).len() - from;
            let want: f64 = alone[alone.len() - own as usize..].iter().map(|&x| x as f64).sum();
            // float32 values of at most 32 nats: half a unit in the last place each.
            assert!((values.sum(sum) - want).abs() < own as f64 * 1e-6);
            assert_eq!(values.sum(last) as f32, alone[alone.len() - 1]);
        }
    }

    #[test]
    fn what_cannot_be_is_an_error() {
        let p = SantaFe::new(0.5, 3, 1e-6).unwrap();
        let bot = p.start_token();
        assert!(score_lists(&mut Exact(&p), &[vec![bot, 7]]).unwrap_err().to_string().contains("outside"));
        assert!(score_lists(&mut Exact(&p), &[vec![bot, 0, bot]]).unwrap_err().to_string().contains("probability 0"));
    }
}
