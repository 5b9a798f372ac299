//! A stationary Markov chain.

use super::exact::Process;
use super::known::{Grid, Known, Sampler, process_group};
use crate::error::{Error, Result};
use crate::estimate::{Cell, Estimator, NgramCorrection};
use crate::forest::TokenId;
use crate::rng::Rng;

/// Ways in which K heads may end are summed up to this many.
const MOST_ENDINGS: f64 = 1e5;

/// A Markov chain over tokens 0 … S−1 in its stationary law; ⊥ is token S.
#[derive(Clone, Debug)]
pub struct Markov {
    symbols: usize,
    /// P, row-major: `p[i * symbols + j]` is the probability of j after i.
    p: Vec<f64>,
    /// The stationary law.
    pi: Vec<f64>,
}

impl Markov {
    /// A chain from the rows of its transition matrix.
    ///
    /// # Errors
    /// A matrix that is not square, has an entry that is not positive (foreign heads must leave every token possible), or a row that does not
    /// sum to 1 within 1e-9.
    pub fn new(rows: &[Vec<f64>]) -> Result<Self> {
        let symbols = rows.len();
        if symbols < 2 {
            return Err(Error::input("a Markov chain needs at least two symbols"));
        }
        for (i, row) in rows.iter().enumerate() {
            if row.len() != symbols {
                return Err(Error::input(format!("row {} of the transition matrix has {} entries, not {symbols}", i + 1, row.len())));
            }
            if row.iter().any(|x| !x.is_finite() || *x <= 0.0) {
                return Err(Error::input(format!("row {} of the transition matrix has an entry that is not positive", i + 1)));
            }
            let sum: f64 = row.iter().sum();
            if (sum - 1.0).abs() > 1e-9 {
                return Err(Error::input(format!("row {} of the transition matrix sums to {sum}, not 1", i + 1)));
            }
        }
        let p: Vec<f64> = rows.iter().flat_map(|r| r.iter().map(|x| x / r.iter().sum::<f64>())).collect();
        let pi = stationary(&p, symbols);
        Ok(Markov { symbols, p, pi })
    }

    /// Number of symbols S.
    pub fn symbols(&self) -> usize {
        self.symbols
    }

    /// P(j | i).
    pub fn transition(&self, i: usize, j: usize) -> f64 {
        self.p[i * self.symbols + j]
    }

    /// The stationary law π.
    pub fn stationary(&self) -> &[f64] {
        &self.pi
    }

    fn pairs(&self) -> impl Iterator<Item = (usize, usize)> {
        let n = self.symbols;
        (0..n).flat_map(move |i| (0..n).map(move |j| (i, j)))
    }

    /// I(ℓ; L) in nats for every ℓ ≥ 1 and L > ℓ: H(π) − H(P), H(P) the entropy rate. The direct estimate's and the profile's expectation.
    pub fn information(&self) -> f64 {
        self.pairs().map(|(i, j)| self.pi[i] * self.transition(i, j) * libm::log(self.transition(i, j) / self.pi[j])).sum()
    }

    /// vCLUB's expectation: Σ_ij (π_i P_ij − π_i π_j) ln P_ij.
    pub fn vclub(&self) -> f64 {
        self.pairs().map(|(i, j)| self.pi[i] * (self.transition(i, j) - self.pi[j]) * libm::log(self.transition(i, j))).sum()
    }
}

impl Markov {
    /// L1Out's and InfoNCE's expectation with K foreign heads. Given its first token y a tail's law is the same under every head, so that only the heads'
    /// last tokens count: with n_c of the K ending in c, multinomially by π,
    /// L1Out = Σ π_i P_iy ln P_iy − Σ_y π_y E ln Σ_c (n_c/K) P_cy and InfoNCE = Σ π_i P_iy (ln P_iy − E ln (P_iy + Σ_c n_c P_cy)/(K + 1)).
    /// `None` where the ways (n_c) are too many to sum over.
    pub fn contrast(&self, estimator: Estimator, foreign: u32) -> Option<f64> {
        let ways = (1..self.symbols).fold(1.0, |w, i| w * (foreign as f64 + i as f64) / i as f64);
        if ways > MOST_ENDINGS || !matches!(estimator, Estimator::L1out | Estimator::Infonce) {
            return None;
        }
        let mut mixture = 0.0;
        self.endings(0, foreign, 0.0, &mut vec![0; self.symbols], &mut |weight, n| {
            for y in 0..self.symbols {
                let sum: f64 = n.iter().enumerate().map(|(c, &n)| n as f64 * self.transition(c, y)).sum();
                mixture += weight
                    * match estimator {
                        Estimator::L1out => self.pi[y] * libm::log(sum / foreign as f64),
                        _ => {
                            let own = |i| self.transition(i, y);
                            (0..self.symbols).map(|i| self.pi[i] * own(i) * libm::log((own(i) + sum) / (foreign as f64 + 1.0))).sum::<f64>()
                        }
                    };
            }
        });
        Some(self.pairs().map(|(i, j)| self.pi[i] * self.transition(i, j) * libm::log(self.transition(i, j))).sum::<f64>() - mixture)
    }

    /// Every way in which `left` more heads may end in symbols from `c` on, with its multinomial probability.
    fn endings(&self, c: usize, left: u32, log_weight: f64, n: &mut Vec<u32>, visit: &mut dyn FnMut(f64, &[u32])) {
        let of = |count: u32| count as f64 * libm::log(self.pi[c]) - libm::lgamma(count as f64 + 1.0);
        if c + 1 == self.symbols {
            n[c] = left;
            let total: u32 = n.iter().sum();
            return visit(libm::exp(log_weight + of(left) + libm::lgamma(total as f64 + 1.0)), n);
        }
        for count in 0..=left {
            n[c] = count;
            self.endings(c + 1, left - count, log_weight + of(count), n, visit);
        }
    }
}

impl Known for Markov {
    fn information(&self, _: u32, _: u32) -> Option<f64> {
        Some(Markov::information(self))
    }

    fn closed(&self, cell: Cell, foreign: u32, _: NgramCorrection) -> Option<f64> {
        match cell.estimator {
            // The n-grams that the correction puts in are the law's own.
            Estimator::Direct | Estimator::DirectNgram | Estimator::Profile => Some(Markov::information(self)),
            Estimator::Vclub => Some(self.vclub()),
            Estimator::L1out | Estimator::Infonce => self.contrast(cell.estimator, foreign),
        }
    }

    fn block_entropy(&self, n: u32) -> Option<f64> {
        let first: f64 = self.pi.iter().map(|&p| -p * libm::log(p)).sum();
        Some(first + (n as f64 - 1.0) * (first - Markov::information(self)))
    }

    fn sampler(&self, grid: &Grid) -> Result<Sampler<'_>> {
        let grid = grid.clone();
        Ok(Box::new(move |seed, group| process_group(self, &grid, seed, group)))
    }
}

/// The stationary law of an irreducible chain by the elimination of Grassmann, Taksar and Heyman (1985), which subtracts nowhere.
pub(super) fn stationary(p: &[f64], n: usize) -> Vec<f64> {
    let mut a = p.to_vec();
    for k in (1..n).rev() {
        let out: f64 = a[k * n..k * n + k].iter().sum();
        for i in 0..k {
            a[i * n + k] /= out;
            let f = a[i * n + k];
            for j in 0..k {
                a[i * n + j] += f * a[k * n + j];
            }
        }
    }
    let mut pi = vec![1.0; n];
    for k in 1..n {
        pi[k] = (0..k).map(|i| pi[i] * a[i * n + k]).sum();
    }
    let sum: f64 = pi.iter().sum();
    pi.iter_mut().for_each(|x| *x /= sum);
    pi
}

impl Process for Markov {
    /// The last token.
    type State = Option<TokenId>;

    fn vocab(&self) -> usize {
        self.symbols + 1
    }

    fn start_token(&self) -> TokenId {
        self.symbols as TokenId
    }

    fn begin(&self) -> Self::State {
        None
    }

    fn log_q(&self, state: &Self::State, token: TokenId) -> f64 {
        let j = token as usize;
        if j == self.symbols {
            return f64::NEG_INFINITY;
        }
        libm::log(match state {
            None => self.pi[j],
            Some(i) => self.transition(*i as usize, j),
        })
    }

    fn push(&self, state: &mut Self::State, token: TokenId) {
        *state = (token != self.start_token()).then_some(token);
    }

    fn draw(&self, length: usize, rng: &mut Rng) -> Vec<TokenId> {
        let mut tokens = Vec::with_capacity(length);
        let mut law = &self.pi[..];
        for _ in 0..length {
            let u = rng.uniform();
            let mut sum = 0.0;
            // Rounding may leave the sum a little below 1: then the last symbol.
            let token = law.iter().position(|&x| {
                sum += x;
                u < sum
            });
            let token = token.unwrap_or(self.symbols - 1);
            tokens.push(token as TokenId);
            law = &self.p[token * self.symbols..(token + 1) * self.symbols];
        }
        tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_states_by_hand() {
        // P(1|0) = a, P(0|1) = b: π = (b, a) / (a + b).
        let (a, b) = (0.1, 0.3);
        let m = Markov::new(&[vec![1.0 - a, a], vec![b, 1.0 - b]]).unwrap();
        assert!((m.stationary()[0] - 0.75).abs() < 1e-15);
        let h = |x: f64| -x * x.ln() - (1.0 - x) * (1.0 - x).ln();
        assert!((m.information() - (h(0.75) - 0.75 * h(a) - 0.25 * h(b))).abs() < 1e-14);
        // Σ_ij (π_i P_ij − π_i π_j) ln P_ij with c = π_0 π_1 (1 − a − b): c [ln P_00 − ln P_01 − ln P_10 + ln P_11].
        let c = 0.75 * 0.25 * (1.0 - a - b);
        assert!((m.vclub() - c * ((1.0 - a).ln() - a.ln() - b.ln() + (1.0 - b).ln())).abs() < 1e-14);
    }

    #[test]
    fn stationary_law_stays() {
        let rows = vec![vec![0.6, 0.3, 0.05, 0.05], vec![0.1, 0.1, 0.7, 0.1], vec![0.05, 0.05, 0.1, 0.8], vec![0.4, 0.1, 0.1, 0.4]];
        let m = Markov::new(&rows).unwrap();
        for j in 0..4 {
            let next: f64 = (0..4).map(|i| m.stationary()[i] * m.transition(i, j)).sum();
            assert!((next - m.stationary()[j]).abs() < 1e-15);
        }
    }

    #[test]
    fn bad_matrices() {
        for (rows, says) in [
            (vec![vec![1.0]], "at least two"),
            (vec![vec![0.5, 0.5], vec![1.0]], "row 2"),
            (vec![vec![0.5, 0.5], vec![1.0, 0.0]], "not positive"),
            (vec![vec![0.5, 0.4], vec![0.5, 0.5]], "sums to"),
        ] {
            assert!(Markov::new(&rows).unwrap_err().to_string().contains(says));
        }
    }
}
