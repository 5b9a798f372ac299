//! Santa Fe texts under a law that remembers a fixed number of facts: what a history state of fixed size can hold, whatever the length of the past.

use super::SantaFe;
use super::exact::Process;
use super::known::{Grid, Known, Sampler, process_group};
use super::santa_fe::closed_of_facts;
use crate::error::{Error, Result};
use crate::estimate::{Cell, NgramCorrection};
use crate::forest::TokenId;
use crate::rng::Rng;
use std::f64::consts::LN_2;

/// The law of a model whose S state numbers hold the last value of each of the F = S/2 most probable facts of a [`SantaFe`] process.
///
/// q(k, z | past) = p_k · {1 − ε if z is the last value seen with k; ε if the other is; ½ if k was not seen, or k > F}. Texts are those of the process, without
/// noise. Of all sets of F facts the most probable ones give the largest I at every ℓ, since a fact's share grows with p_k.
///
/// Drawn from q itself, kept facts would flip with probability ε at each mention, so that I^q(ℓ; L) = (ln 2 − h(ε)) Σ_{k ≤ F} a_k b_k ≤ F ln 2, h the binary
/// entropy, a_k = 1 − (1 − p_k)^ℓ, b_k = 1 − (1 − p_k)^(L−ℓ): flat where all F facts are in both parts. On Santa Fe texts the estimates expect:
/// - direct and profile: c Σ_{k ≤ F} a_k b_k with c = ln 2 + ln(1 − ε), as the first mention in the tail of a fact that the head has gains c;
/// - direct, n-gram corrected: that, and w (H_n + E ln q of the tail's first n tokens), which is −ln 2 for every mention but the first of a fact that is not kept
///   and ln(1 − ε) of one that is;
/// - vCLUB: Σ_{k ≤ F} ½ a_k b_k (ln(1 − ε) − ln ε): half of the foreign heads that mention a fact are wrong, and q forgets that at the first mention in the tail.
#[derive(Clone, Debug)]
pub struct FixedMemory {
    texts: SantaFe,
    kept: usize,
    /// ln(1 − ε), ln ε.
    sure: [f64; 2],
}

impl FixedMemory {
    /// The law with `state` numbers, two a fact.
    ///
    /// # Errors
    /// No or an odd number of state numbers, or more than hold all facts.
    pub fn new(texts: SantaFe, state: usize) -> Result<Self> {
        let most = 2 * texts.facts();
        if state == 0 || state % 2 == 1 || state > most {
            return Err(Error::input(format!("{} facts take 2 to {most} state numbers, two each, not {state}", texts.facts())));
        }
        let sure = [libm::log1p(-texts.epsilon()), libm::log(texts.epsilon())];
        Ok(FixedMemory { texts, kept: state / 2, sure })
    }

    /// The process whose texts it scores.
    pub fn texts(&self) -> &SantaFe {
        &self.texts
    }

    /// F.
    pub fn kept(&self) -> usize {
        self.kept
    }

    /// S = 2F.
    pub fn state(&self) -> usize {
        2 * self.kept
    }

    /// Σ_{k ≤ F} a_k b_k.
    fn shared(&self, split: u64, length: u64) -> f64 {
        self.texts.occurs(split).zip(self.texts.occurs(length - split)).take(self.kept).map(|(a, b)| a * b).sum()
    }

    /// I^q(ℓ; L) of texts drawn from q, in nats.
    pub fn own_information(&self, split: u64, length: u64) -> f64 {
        let e = self.texts.epsilon();
        (LN_2 + e * self.sure[1] + (1.0 - e) * self.sure[0]) * self.shared(split, length)
    }

    /// The direct estimate's expectation on Santa Fe texts (the profile's too, for L = 2ℓ), in nats.
    pub fn direct(&self, split: u64, length: u64) -> f64 {
        (LN_2 + self.sure[0]) * self.shared(split, length)
    }

    /// vCLUB's expectation on Santa Fe texts, in nats.
    pub fn vclub(&self, split: u64, length: u64) -> f64 {
        0.5 * (self.sure[0] - self.sure[1]) * self.shared(split, length)
    }

    fn correction(&self, cell: Cell, correction: NgramCorrection) -> f64 {
        let n = (correction.n as u64).min(cell.split as u64 * (cell.ratio as u64 - 1));
        let again = self.texts.occurs(n).zip(self.texts.fact_law()).map(|(once, p)| n as f64 * p - once);
        let lost = again.enumerate().map(|(k, again)| again * if k < self.kept { self.sure[0] } else { -LN_2 });
        correction.weight * lost.sum::<f64>()
    }
}

impl Process for FixedMemory {
    /// For each kept fact 0, or 1 + its last value.
    type State = Vec<u8>;

    fn vocab(&self) -> usize {
        self.texts.vocab()
    }

    fn start_token(&self) -> TokenId {
        self.texts.start_token()
    }

    fn begin(&self) -> Self::State {
        vec![0; self.kept]
    }

    fn log_q(&self, state: &Self::State, token: TokenId) -> f64 {
        let (k, z) = (token as usize / 2, token as u8 & 1);
        let Some(p) = self.texts.fact_law().get(k) else { return f64::NEG_INFINITY };
        let case = match state.get(k) {
            None | Some(0) => -LN_2,
            Some(&seen) => self.sure[usize::from(seen != 1 + z)],
        };
        libm::log(*p) + case
    }

    fn push(&self, state: &mut Self::State, token: TokenId) {
        if let Some(seen) = state.get_mut(token as usize / 2) {
            *seen = 1 + (token as u8 & 1);
        }
    }

    /// A text of the process, not of q.
    fn draw(&self, length: usize, rng: &mut Rng) -> Vec<TokenId> {
        self.texts.draw(length, rng)
    }
}

impl Known for FixedMemory {
    /// Of the texts, whatever scores them.
    fn information(&self, split: u32, ratio: u32) -> Option<f64> {
        Known::information(&self.texts, split, ratio)
    }

    fn closed(&self, cell: Cell, foreign: u32, correction: NgramCorrection) -> Option<f64> {
        let (l, end) = (cell.split as u64, cell.split as u64 * cell.ratio as u64);
        closed_of_facts(cell.estimator, foreign, || self.direct(l, end), || self.correction(cell, correction), || self.vclub(l, end))
    }

    fn block_entropy(&self, n: u32) -> Option<f64> {
        Some(self.texts.entropy_of_block(n))
    }

    fn sampler(&self, grid: &Grid) -> Result<Sampler<'_>> {
        let grid = grid.clone();
        Ok(Box::new(move |seed, group| process_group(self, &grid, seed, group)))
    }
}
