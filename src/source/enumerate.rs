//! Expectations by walking through all texts, for processes of few tokens and short blocks whose law scores itself.

use super::exact::Process;
use crate::forest::TokenId;

/// Texts that are walked through at most.
pub const MOST_TEXTS: u64 = 1 << 20;

/// Sums over all texts xy of L tokens, x the first ℓ of them, in nats.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Enumerated {
    /// Σ p(x, y) [ln p(y|x) − ln p(y)] = I(ℓ; L) where the process is stationary.
    pub direct: f64,
    /// Σ [p(x, y) − p(x) p(y)] ln p(y|x).
    pub vclub: f64,
    /// −Σ p(y) ln p(y).
    pub entropy: f64,
}

/// The sums for tokens 0 … `symbols` − 1; `None` where there are more than [`MOST_TEXTS`] texts.
pub fn enumerate<P: Process>(process: &P, symbols: usize, split: u32, length: u64) -> Option<Enumerated> {
    let texts = u32::try_from(length).ok().and_then(|n| (symbols as u64).checked_pow(n));
    if texts.is_none_or(|n| n > MOST_TEXTS) || length <= split as u64 {
        return None;
    }
    let mut walk = Walk { process, symbols: symbols as TokenId, sums: Enumerated::default() };
    let mut start = process.begin();
    process.push(&mut start, process.start_token());
    walk.head(&start, &start, 0.0, split, length as u32 - split);
    Some(walk.sums)
}

struct Walk<'a, P> {
    process: &'a P,
    symbols: TokenId,
    sums: Enumerated,
}

impl<P: Process> Walk<'_, P> {
    /// All that goes on from a head of probability e^`log_x` by `left` more tokens, and then all tails of `tail` tokens.
    fn head(&mut self, start: &P::State, state: &P::State, log_x: f64, left: u32, tail: u32) {
        if left == 0 {
            return self.tail(libm::exp(log_x), state, start, 0.0, 0.0, tail);
        }
        for token in 0..self.symbols {
            let mut next = state.clone();
            self.process.push(&mut next, token);
            self.head(start, &next, log_x + self.process.log_q(state, token), left - 1, tail);
        }
    }

    /// All tails, under a head and on their own side by side.
    fn tail(&mut self, p_x: f64, under: &P::State, alone: &P::State, log_under: f64, log_alone: f64, left: u32) {
        if left == 0 {
            let (p_under, p_alone) = (libm::exp(log_under), libm::exp(log_alone));
            self.sums.direct += p_x * p_under * (log_under - log_alone);
            self.sums.vclub += p_x * (p_under - p_alone) * log_under;
            self.sums.entropy -= p_x * p_alone * log_alone;
            return;
        }
        for token in 0..self.symbols {
            let (mut next_under, mut next_alone) = (under.clone(), alone.clone());
            self.process.push(&mut next_under, token);
            self.process.push(&mut next_alone, token);
            let (u, a) = (log_under + self.process.log_q(under, token), log_alone + self.process.log_q(alone, token));
            self.tail(p_x, &next_under, &next_alone, u, a, left - 1);
        }
    }
}
