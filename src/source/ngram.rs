//! An n-gram model of a corpus: interpolated Kneser–Ney smoothing (Kneser and Ney 1995; in the form of Chen and Goodman 1999, section 2.7).

use super::exact::Process;
use super::hidden_markov::choose;
use super::known::{Grid, Known, Sampler, process_group};
use crate::error::{Error, Result};
use crate::estimate::{Cell, Estimator, NgramCorrection};
use crate::forest::TokenId;
use crate::rng::Rng;
use std::collections::HashMap;

/// The longest n-grams counted.
pub const LONGEST_NGRAM: usize = 8;

/// Counts of n-grams, document by document.
#[derive(Clone, Debug)]
pub struct NgramFit {
    symbols: usize,
    /// `raw[m − 1]`: how often each m-gram occurs.
    raw: Vec<HashMap<Vec<TokenId>, u64>>,
}

/// A model of order n over tokens 0 … V−1; ⊥ is token V.
///
/// After a context c of n − 1 tokens, P_n(w|c) = [max(N(cw) − D_n, 0) + D_n T(c) P_{n−1}(w|c′)] / N(c), with c′ the context without its first token, T(c) the
/// number of different tokens seen after c, and P_n = P_{n−1} where c was not seen. N counts n-grams at the order that it starts from, and below it the different
/// tokens before them. D_m = n_1/(n_1 + 2 n_2) from the m-grams counted once and twice, ½ where there are none of either. P_0 = 1/V, so that every token stays
/// possible. After m < n − 1 tokens since ⊥ it starts from order m + 1: a chunk may begin anywhere, and there the corpus' own frequencies are what is known.
#[derive(Clone, Debug)]
pub struct Ngram {
    symbols: usize,
    /// `full[m − 1]`: m-grams as often as they occur, m = 1 … n.
    full: Vec<Level>,
    /// `lower[m − 1]`: m-grams by the different tokens before them, m = 1 … n − 1.
    lower: Vec<Level>,
}

/// The m-grams of one m.
#[derive(Clone, Debug)]
struct Level {
    discount: f64,
    contexts: HashMap<Vec<TokenId>, Seen>,
}

/// What was seen after one context.
#[derive(Clone, Debug, Default)]
struct Seen {
    total: u64,
    /// Ascending by token.
    next: Vec<(TokenId, u64)>,
}

impl NgramFit {
    /// For n-grams of `order` tokens below `symbols`.
    ///
    /// # Errors
    /// An order outside 1 … [`LONGEST_NGRAM`], fewer than two tokens.
    pub fn new(order: usize, symbols: usize) -> Result<Self> {
        if !(1..=LONGEST_NGRAM).contains(&order) {
            return Err(Error::input(format!("an n-gram model has an order of 1 to {LONGEST_NGRAM}, not {order}")));
        }
        if !(2..u32::MAX as usize).contains(&symbols) {
            return Err(Error::input(format!("an n-gram model needs at least two tokens, not {symbols}")));
        }
        Ok(NgramFit { symbols, raw: vec![HashMap::new(); order] })
    }

    /// Counts one document.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn add(&mut self, document: &[TokenId]) -> Result<()> {
        if let Some(t) = document.iter().find(|t| **t as usize >= self.symbols) {
            return Err(Error::input(format!("token {t} is outside the {} tokens of the n-gram model", self.symbols)));
        }
        for (m, counts) in (1..).zip(&mut self.raw) {
            for gram in document.windows(m) {
                match counts.get_mut(gram) {
                    Some(n) => *n += 1,
                    None => _ = counts.insert(gram.to_vec(), 1),
                }
            }
        }
        Ok(())
    }

    /// The model.
    ///
    /// # Errors
    /// No token was counted.
    pub fn finish(self) -> Result<Ngram> {
        if self.raw[0].is_empty() {
            return Err(Error::input("there is no token to fit an n-gram model to"));
        }
        let continued = |longer: &HashMap<Vec<TokenId>, u64>| {
            let mut counts: HashMap<Vec<TokenId>, u64> = HashMap::new();
            longer.keys().for_each(|gram| *counts.entry(gram[1..].to_vec()).or_default() += 1);
            Level::new(counts)
        };
        let lower = self.raw[1..].iter().map(continued).collect();
        Ok(Ngram { symbols: self.symbols, full: self.raw.into_iter().map(Level::new).collect(), lower })
    }
}

impl Level {
    fn new(counts: HashMap<Vec<TokenId>, u64>) -> Self {
        let of = |c: u64| counts.values().filter(|n| **n == c).count() as f64;
        let (once, twice) = (of(1), of(2));
        let discount = if once > 0.0 && twice > 0.0 { once / (once + 2.0 * twice) } else { 0.5 };
        let mut contexts: HashMap<Vec<TokenId>, Seen> = HashMap::new();
        for (mut gram, n) in counts {
            let Some(token) = gram.pop() else { continue };
            let seen = contexts.entry(gram).or_default();
            seen.total += n;
            seen.next.push((token, n));
        }
        contexts.values_mut().for_each(|seen| seen.next.sort_unstable());
        Level { discount, contexts }
    }
}

impl Ngram {
    /// n.
    pub fn order(&self) -> usize {
        self.full.len()
    }

    /// V.
    pub fn symbols(&self) -> usize {
        self.symbols
    }

    /// P(token | context), of the context's last n − 1 tokens.
    pub fn probability(&self, context: &[TokenId], token: TokenId) -> f64 {
        let longest = context.len().min(self.order() - 1);
        let mut p = 1.0 / self.symbols as f64;
        for (m, level) in self.lower[..longest].iter().chain([&self.full[longest]]).enumerate() {
            if let Some(seen) = level.contexts.get(&context[context.len() - m..]) {
                let count = seen.next.binary_search_by_key(&token, |n| n.0).map_or(0.0, |i| seen.next[i].1 as f64);
                let left = level.discount * seen.next.len() as f64;
                p = ((count - level.discount).max(0.0) + left * p) / seen.total as f64;
            }
        }
        p
    }
}

impl Process for Ngram {
    /// The last n − 1 tokens since ⊥.
    type State = Vec<TokenId>;

    fn vocab(&self) -> usize {
        self.symbols + 1
    }

    fn start_token(&self) -> TokenId {
        self.symbols as TokenId
    }

    fn begin(&self) -> Self::State {
        Vec::new()
    }

    fn log_q(&self, state: &Self::State, token: TokenId) -> f64 {
        if token == self.start_token() { f64::NEG_INFINITY } else { libm::log(self.probability(state, token)) }
    }

    fn push(&self, state: &mut Self::State, token: TokenId) {
        if token == self.start_token() {
            return state.clear();
        }
        state.push(token);
        if state.len() >= self.order() {
            state.remove(0);
        }
    }

    fn draw(&self, length: usize, rng: &mut Rng) -> Vec<TokenId> {
        let mut state = self.begin();
        (0..length)
            .map(|_| {
                let law: Vec<f64> = (0..self.symbols as TokenId).map(|t| self.probability(&state, t)).collect();
                let token = choose(&law, rng.uniform()) as TokenId;
                self.push(&mut state, token);
                token
            })
            .collect()
    }
}

/// The texts of one process under the law of another: what any model expects of a known source, by draws.
#[derive(Clone, Debug)]
pub struct Scored<T, Q> {
    /// Where texts come from.
    pub texts: T,
    /// What scores them. Must know all tokens of the texts, and have the same ⊥.
    pub law: Q,
}

impl<T: Process, Q: Process> Process for Scored<T, Q> {
    type State = Q::State;

    fn vocab(&self) -> usize {
        self.law.vocab()
    }

    fn start_token(&self) -> TokenId {
        self.law.start_token()
    }

    fn begin(&self) -> Self::State {
        self.law.begin()
    }

    fn log_q(&self, state: &Self::State, token: TokenId) -> f64 {
        self.law.log_q(state, token)
    }

    fn push(&self, state: &mut Self::State, token: TokenId) {
        self.law.push(state, token);
    }

    fn draw(&self, length: usize, rng: &mut Rng) -> Vec<TokenId> {
        self.texts.draw(length, rng)
    }
}

impl<T: Process + Known, Q: Process + Sync> Known for Scored<T, Q> {
    fn information(&self, split: u32, ratio: u32) -> Option<f64> {
        self.texts.information(split, ratio)
    }

    fn closed(&self, _: Cell, _: u32, _: NgramCorrection) -> Option<f64> {
        None
    }

    fn gives(&self, estimator: Estimator) -> bool {
        self.texts.gives(estimator)
    }

    fn block_entropy(&self, n: u32) -> Option<f64> {
        self.texts.block_entropy(n)
    }

    fn sampler(&self, grid: &Grid) -> Result<Sampler<'_>> {
        let grid = grid.clone();
        Ok(Box::new(move |seed, group| process_group(self, &grid, seed, group)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Asked, Markov, expectations};

    fn fitted(order: usize, symbols: usize, documents: &[&[TokenId]]) -> Ngram {
        let mut fit = NgramFit::new(order, symbols).unwrap();
        documents.iter().for_each(|d| fit.add(d).unwrap());
        fit.finish().unwrap()
    }

    #[test]
    fn bigrams_by_hand() {
        let q = fitted(2, 4, &[&[0, 1, 0, 1, 0, 2]]);
        // Token 0 three times, 1 twice, 2 once: D = 1/3, three different ones.
        for (token, count) in [(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.0f64)] {
            let want = ((count - 1.0 / 3.0).max(0.0) + 0.25) / 6.0;
            assert!((q.probability(&[], token) - want).abs() < 1e-15, "{token}");
        }
        // 01 twice, 10 twice, 02 once. Before 0: {1}; before 1: {0}; before 2: {0}: continuations 1, 1, 1, so D_1 = ½.
        let (seen, unseen) = ((0.5 + 0.375) / 3.0, 0.375 / 3.0);
        // n_1 = 1, n_2 = 2: D_2 = 1/5. After 0: 1 twice, 2 once.
        let after = |count: f64, lower: f64| ((count - 0.2f64).max(0.0) + 0.2 * 2.0 * lower) / 3.0;
        for (token, want) in [(0, after(0.0, seen)), (1, after(2.0, seen)), (2, after(1.0, seen)), (3, after(0.0, unseen))] {
            assert!((q.probability(&[0], token) - want).abs() < 1e-15, "{token}");
        }
        // After 2 nothing was seen.
        assert!((q.probability(&[2], 1) - seen).abs() < 1e-15 && (q.probability(&[0, 2], 3) - unseen).abs() < 1e-15);
    }

    #[test]
    fn laws_sum_to_one() {
        let text: Vec<TokenId> = (0..500u32).map(|i| i * i % 7 + u32::from(i % 11 == 0)).collect();
        for order in 1..=5 {
            let q = fitted(order, 10, &[&text[..200], &text[200..201], &text[201..]]);
            let mut rng = Rng::new(128, order as u64);
            for _ in 0..50 {
                let context: Vec<TokenId> = (0..rng.below(7)).map(|_| rng.below(10) as TokenId).collect();
                let sum: f64 = (0..10).map(|t| q.probability(&context, t)).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{order} {context:?}: {sum}");
                assert!((0..10).all(|t| q.probability(&context, t) > 0.0));
            }
            assert_eq!(q.draw(20, &mut rng).len(), 20);
        }
        for (order, symbols) in [(0, 4), (9, 4), (2, 1)] {
            assert!(NgramFit::new(order, symbols).is_err());
        }
        let mut fit = NgramFit::new(2, 4).unwrap();
        assert!(fit.add(&[4]).unwrap_err().to_string().contains("outside") && fit.finish().unwrap_err().to_string().contains("no token"));
    }

    /// Fitted to a long text of a chain, a bigram model is the chain within its counts' errors, and direct expects I of it.
    #[test]
    fn bigrams_of_a_chain() {
        let chain = Markov::new(&[vec![0.7, 0.2, 0.1], vec![0.1, 0.1, 0.8], vec![0.3, 0.4, 0.3]]).unwrap();
        let n = 200_000;
        let q = fitted(2, 3, &[&chain.draw(n, &mut Rng::new(129, 0))]);
        for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
            let p = chain.transition(i, j);
            // 5 standard errors of a share of about n π_i draws, and a discount of a count or two.
            let bound = 5.0 * (p * (1.0 - p) / (n as f64 * chain.stationary()[i])).sqrt() + 1e-4;
            assert!((q.probability(&[i as TokenId], j as TokenId) - p).abs() < bound);
        }
        let information = chain.information();
        let scored = Scored { texts: chain, law: q };
        let cell = Cell { estimator: Estimator::Direct, ratio: 2, split: 4 };
        let direct = expectations(&scored, &[cell], Asked { groups: 8000, seed: 130, ..Asked::default() }).unwrap()[0].unwrap();
        // A law that is off by what 200,000 tokens leave open is off by some 1e-5 nats a token.
        assert!((direct.value - information).abs() < 5.0 * direct.se.unwrap() + 1e-3, "{direct:?} {information}");
    }
}
