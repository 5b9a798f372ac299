//! A stationary hidden Markov process: its conditionals by the forward recursion (Baum et al. 1970; Rabiner 1989, section III.A).

use super::enumerate::{Enumerated, enumerate};
use super::exact::Process;
use super::known::{Grid, Known, Sampler, process_group};
use super::markov::stationary;
use crate::error::{Error, Result};
use crate::estimate::{Cell, Estimator, NgramCorrection};
use crate::forest::TokenId;
use crate::rng::Rng;

/// A chain of hidden states h with transitions A and stationary law π, each of which emits a token by its row of E; ⊥ is the token after the last.
///
/// The statistic of a prefix is the law of the next hidden state given it, α. ln q(w | prefix) = ln Σ_h α_h E_hw, and a token changes α into
/// α′_j = Σ_h α_h E_hw A_hj / Σ_h α_h E_hw: normalised at each step, so that nothing underflows however long the text.
#[derive(Clone, Debug)]
pub struct HiddenMarkov {
    states: usize,
    symbols: usize,
    /// A, row-major `[states, states]`.
    a: Vec<f64>,
    /// E, row-major `[states, symbols]`.
    e: Vec<f64>,
    /// The stationary law of the states.
    pi: Vec<f64>,
}

impl HiddenMarkov {
    /// A process from the rows of its transition and emission matrices.
    ///
    /// # Errors
    /// Matrices that do not fit each other, a row that does not sum to 1 within 1e-9, a transition that is negative, states that do not all reach each other
    /// (then there is no one stationary law), or an emission that is not positive (foreign heads must leave every token possible).
    pub fn new(transition: &[Vec<f64>], emission: &[Vec<f64>]) -> Result<Self> {
        let (states, symbols) = (transition.len(), emission.first().map_or(0, Vec::len));
        if states == 0 || symbols < 2 {
            return Err(Error::input("a hidden Markov process needs at least one state and two symbols"));
        }
        if emission.len() != states {
            return Err(Error::input(format!("the emission matrix has {} rows for {states} states", emission.len())));
        }
        check("transition", transition, states, |x| x >= 0.0, "negative")?;
        check("emission", emission, symbols, |x| x > 0.0, "not positive")?;
        let flat = |rows: &[Vec<f64>]| -> Vec<f64> { rows.iter().flat_map(|r| r.iter().map(|x| x / r.iter().sum::<f64>())).collect() };
        let (a, e) = (flat(transition), flat(emission));
        if !irreducible(&a, states) {
            return Err(Error::input("not all hidden states reach each other, so that there is no one stationary law"));
        }
        let pi = stationary(&a, states);
        Ok(HiddenMarkov { states, symbols, a, e, pi })
    }

    /// Number of tokens, ⊥ apart.
    pub fn symbols(&self) -> usize {
        self.symbols
    }

    /// The stationary law of the hidden states.
    pub fn stationary(&self) -> &[f64] {
        &self.pi
    }

    fn enumerated(&self, split: u32, ratio: u32) -> Option<Enumerated> {
        enumerate(self, self.symbols, split, split as u64 * ratio as u64)
    }
}

/// Rows of the right width, of admitted entries that sum to 1.
fn check(what: &str, rows: &[Vec<f64>], width: usize, admits: impl Fn(f64) -> bool, else_it_is: &str) -> Result<()> {
    for (i, row) in rows.iter().enumerate() {
        let sum: f64 = row.iter().sum();
        let fault = if row.len() != width {
            format!("has {} entries, not {width}", row.len())
        } else if row.iter().any(|x| !x.is_finite() || !admits(*x)) {
            format!("has an entry that is {else_it_is}")
        } else if (sum - 1.0).abs() > 1e-9 {
            format!("sums to {sum}, not 1")
        } else {
            continue;
        };
        return Err(Error::input(format!("row {} of the {what} matrix {fault}", i + 1)));
    }
    Ok(())
}

/// Whether every state is reached from the first and reaches it.
fn irreducible(a: &[f64], n: usize) -> bool {
    let reached = |edge: &dyn Fn(usize, usize) -> f64| {
        let mut seen = vec![false; n];
        let mut open = vec![0];
        while let Some(i) = open.pop() {
            if !std::mem::replace(&mut seen[i], true) {
                open.extend((0..n).filter(|&j| edge(i, j) > 0.0));
            }
        }
        seen.iter().all(|&s| s)
    };
    reached(&|i, j| a[i * n + j]) && reached(&|i, j| a[j * n + i])
}

/// The place in a law at which a uniform number falls. Rounding may leave the sum a little below 1: then the last that is possible.
pub(super) fn choose(law: &[f64], u: f64) -> usize {
    let mut sum = 0.0;
    let found = law.iter().position(|&x| {
        sum += x;
        u < sum
    });
    found.unwrap_or_else(|| law.iter().rposition(|&x| x > 0.0).unwrap_or(0))
}

impl Process for HiddenMarkov {
    /// α.
    type State = Vec<f64>;

    fn vocab(&self) -> usize {
        self.symbols + 1
    }

    fn start_token(&self) -> TokenId {
        self.symbols as TokenId
    }

    fn begin(&self) -> Self::State {
        self.pi.clone()
    }

    fn log_q(&self, state: &Self::State, token: TokenId) -> f64 {
        let w = token as usize;
        if w >= self.symbols {
            return f64::NEG_INFINITY;
        }
        libm::log(state.iter().enumerate().map(|(h, alpha)| alpha * self.e[h * self.symbols + w]).sum())
    }

    fn push(&self, state: &mut Self::State, token: TokenId) {
        let w = token as usize;
        if w >= self.symbols {
            *state = self.begin();
            return;
        }
        let mut next = vec![0.0; self.states];
        let mut total = 0.0;
        for (h, alpha) in state.iter().enumerate() {
            let seen = alpha * self.e[h * self.symbols + w];
            total += seen;
            next.iter_mut().zip(&self.a[h * self.states..(h + 1) * self.states]).for_each(|(n, a)| *n += seen * a);
        }
        next.iter_mut().for_each(|n| *n /= total);
        *state = next;
    }

    fn draw(&self, length: usize, rng: &mut Rng) -> Vec<TokenId> {
        let mut h = choose(&self.pi, rng.uniform());
        (0..length)
            .map(|_| {
                let w = choose(&self.e[h * self.symbols..(h + 1) * self.symbols], rng.uniform());
                h = choose(&self.a[h * self.states..(h + 1) * self.states], rng.uniform());
                w as TokenId
            })
            .collect()
    }
}

impl Known for HiddenMarkov {
    fn information(&self, split: u32, ratio: u32) -> Option<f64> {
        self.enumerated(split, ratio).map(|e| e.direct)
    }

    fn closed(&self, cell: Cell, foreign: u32, _: NgramCorrection) -> Option<f64> {
        match cell.estimator {
            // The law scores itself, and what the correction puts in are its own n-grams.
            Estimator::Direct | Estimator::DirectNgram | Estimator::Profile => self.enumerated(cell.split, cell.ratio).map(|e| e.direct),
            Estimator::Vclub => self.enumerated(cell.split, cell.ratio).map(|e| e.vclub),
            Estimator::L1out if foreign == 1 => self.enumerated(cell.split, cell.ratio).map(|e| e.vclub),
            Estimator::L1out | Estimator::Infonce => None,
        }
    }

    /// All three expect I; direct's terms on the same tail go up and down together.
    fn expects_as(&self, estimator: Estimator) -> Estimator {
        match estimator {
            Estimator::DirectNgram | Estimator::Profile => Estimator::Direct,
            other => other,
        }
    }

    fn block_entropy(&self, n: u32) -> Option<f64> {
        // With an empty head a tail is a block.
        enumerate(self, self.symbols, 0, n as u64).map(|e| e.entropy)
    }

    fn sampler(&self, grid: &Grid) -> Result<Sampler<'_>> {
        let grid = grid.clone();
        Ok(Box::new(move |seed, group| process_group(self, &grid, seed, group)))
    }
}
