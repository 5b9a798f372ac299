//! The finite Santa Fe process (Dębowski 2011): texts that keep mentioning a document's facts.

use super::exact::Process;
use super::known::{Grid, Known, Sampler, process_group};
use crate::error::{Error, Result};
use crate::estimate::{Cell, Estimator, NgramCorrection};
use crate::forest::TokenId;
use crate::rng::Rng;

/// Facts Z_1 … Z_M ∈ {0, 1}, fair and fixed per document; tokens (k, Z_k) with k drawn independently from p_k ∝ k^(−1/β).
///
/// (k, z) is token 2(k − 1) + z, ⊥ is token 2M. Texts are free of noise; the scored law is
/// q_ε(k, z | past) = p_k · {1 − ε if only z was seen with k; ε if only the other; ½ if neither or both}, which stays finite under
/// foreign heads.
#[derive(Clone, Debug)]
pub struct SantaFe {
    beta: f64,
    epsilon: f64,
    /// p_k.
    p: Vec<f64>,
    /// Σ_{i ≤ k} p_i.
    cumulative: Vec<f64>,
    /// For each token the ln q of its four cases, indexed by what was seen with k: bit 0 this value, bit 1 the other.
    log_q: Vec<[f64; 4]>,
}

impl SantaFe {
    /// The process with exponent β, `facts` = M and ε.
    ///
    /// # Errors
    /// β outside (0, 1), no facts or more than a million, ε outside (0, ½).
    pub fn new(beta: f64, facts: usize, epsilon: f64) -> Result<Self> {
        if !(beta > 0.0 && beta < 1.0) {
            return Err(Error::input(format!("the Santa Fe exponent must lie between 0 and 1, not be {beta}")));
        }
        if !(1..=1_000_000).contains(&facts) {
            return Err(Error::input(format!("a Santa Fe process has 1 to 1,000,000 facts, not {facts}")));
        }
        if !(epsilon > 0.0 && epsilon < 0.5) {
            return Err(Error::input(format!("ε must lie between 0 and 1/2, not be {epsilon}")));
        }
        let weight: Vec<f64> = (1..=facts).map(|k| libm::pow(k as f64, -1.0 / beta)).collect();
        let total: f64 = weight.iter().rev().sum();
        let p: Vec<f64> = weight.iter().map(|w| w / total).collect();
        let mut sum = 0.0;
        let cumulative = p
            .iter()
            .map(|x| {
                sum += x;
                sum
            })
            .collect();
        let case = [0.5, 1.0 - epsilon, epsilon, 0.5];
        let log_q = p.iter().flat_map(|&x| [case.map(|c| libm::log(x) + libm::log(c)); 2]).collect();
        Ok(SantaFe { beta, epsilon, p, cumulative, log_q })
    }

    /// β.
    pub fn beta(&self) -> f64 {
        self.beta
    }

    /// M.
    pub fn facts(&self) -> usize {
        self.p.len()
    }

    /// ε.
    pub fn epsilon(&self) -> f64 {
        self.epsilon
    }

    /// p_1 … p_M.
    pub fn fact_law(&self) -> &[f64] {
        &self.p
    }

    /// For each fact, the probabilities that it occurs among `n` tokens.
    pub(super) fn occurs(&self, n: u64) -> impl Iterator<Item = f64> {
        self.p.iter().map(move |&p| -libm::expm1(n as f64 * libm::log1p(-p)))
    }

    /// I(ℓ; L) = ln 2 · Σ_k (1 − (1 − p_k)^ℓ)(1 − (1 − p_k)^(L−ℓ)) of the texts, in nats.
    pub fn information(&self, split: u64, length: u64) -> f64 {
        std::f64::consts::LN_2 * self.occurs(split).zip(self.occurs(length - split)).map(|(x, y)| x * y).sum::<f64>()
    }

    /// The direct estimate's expectation under q_ε (the profile's too, for L = 2ℓ), exactly I · (1 + ln(1 − ε)/ln 2): conditional and marginal
    /// terms differ at the first mention in the tail of each fact that the head has mentioned, by ln(1 − ε) − ln ½.
    pub fn direct(&self, split: u64, length: u64) -> f64 {
        self.information(split, length) * (1.0 + libm::log1p(-self.epsilon) / std::f64::consts::LN_2)
    }

    /// vCLUB's expectation under q_ε. A foreign head knows fact k with probability a_k = 1 − (1 − p_k)^ℓ, rightly or wrongly with
    /// probability ½ each; a wrong one costs ln ε at the first mention in the tail and ln ½ at every later one, both values having been seen.
    pub fn vclub(&self, split: u64, length: u64) -> f64 {
        let tail = (length - split) as f64;
        let known = libm::log1p(-self.epsilon);
        let wrong = libm::log(self.epsilon);
        self.occurs(split)
            .zip(self.occurs(length - split))
            .zip(&self.p)
            .map(|((a, b), p)| 0.5 * a * (tail * p * known - b * wrong + (tail * p - b) * std::f64::consts::LN_2))
            .sum()
    }
}

impl SantaFe {
    /// Entropy of n consecutive tokens over documents: n of the law of k, and ln 2 for every fact that occurs among them.
    pub(super) fn entropy_of_block(&self, n: u32) -> f64 {
        let of_k: f64 = self.p.iter().rev().map(|&p| -p * libm::log(p)).sum();
        n as f64 * of_k + std::f64::consts::LN_2 * self.occurs(n as u64).sum::<f64>()
    }

    /// What the n-gram correction adds to direct, w (H_n + E ln q of the tail's first n tokens): what q loses there against the law of documents, here
    /// ln(1 − ε) at every second and later mention of a fact.
    fn correction(&self, cell: Cell, correction: NgramCorrection) -> f64 {
        let n = (correction.n as u64).min(cell.split as u64 * (cell.ratio as u64 - 1));
        let again: f64 = self.occurs(n).zip(&self.p).map(|(once, p)| n as f64 * p - once).sum();
        correction.weight * libm::log1p(-self.epsilon) * again
    }
}

/// What an estimator expects of these texts under a law of facts, which knows them all or some: by what direct and vCLUB expect, and what the n-gram correction adds.
pub(super) fn closed_of_facts(
    estimator: Estimator,
    foreign: u32,
    direct: impl Fn() -> f64,
    correction: impl Fn() -> f64,
    vclub: impl Fn() -> f64,
) -> Option<f64> {
    match estimator {
        Estimator::Direct | Estimator::Profile => Some(direct()),
        Estimator::DirectNgram => Some(direct() + correction()),
        Estimator::Vclub => Some(vclub()),
        Estimator::L1out => (foreign == 1).then(vclub),
        Estimator::Infonce => None,
    }
}

impl Known for SantaFe {
    fn information(&self, split: u32, ratio: u32) -> Option<f64> {
        Some(SantaFe::information(self, split as u64, split as u64 * ratio as u64))
    }

    fn closed(&self, cell: Cell, foreign: u32, correction: NgramCorrection) -> Option<f64> {
        let (l, end) = (cell.split as u64, cell.split as u64 * cell.ratio as u64);
        closed_of_facts(cell.estimator, foreign, || self.direct(l, end), || self.correction(cell, correction), || self.vclub(l, end))
    }

    fn block_entropy(&self, n: u32) -> Option<f64> {
        Some(self.entropy_of_block(n))
    }

    fn sampler(&self, grid: &Grid) -> Result<Sampler<'_>> {
        let grid = grid.clone();
        Ok(Box::new(move |seed, group| process_group(self, &grid, seed, group)))
    }
}

impl Process for SantaFe {
    /// For each fact, which of its values were seen: bit z.
    type State = Vec<u8>;

    fn vocab(&self) -> usize {
        2 * self.p.len() + 1
    }

    fn start_token(&self) -> TokenId {
        2 * self.p.len() as TokenId
    }

    fn begin(&self) -> Self::State {
        vec![0; self.p.len()]
    }

    fn log_q(&self, state: &Self::State, token: TokenId) -> f64 {
        let (k, z) = (token as usize / 2, token & 1);
        match state.get(k) {
            Some(&seen) => self.log_q[token as usize][(seen >> z & 1 | (seen >> (1 - z) & 1) << 1) as usize],
            None => f64::NEG_INFINITY,
        }
    }

    fn push(&self, state: &mut Self::State, token: TokenId) {
        if let Some(seen) = state.get_mut(token as usize / 2) {
            *seen |= 1 << (token & 1);
        }
    }

    fn draw(&self, length: usize, rng: &mut Rng) -> Vec<TokenId> {
        let facts: Vec<u8> = (0..self.p.len()).map(|_| rng.below(2) as u8).collect();
        (0..length)
            .map(|_| {
                let u = rng.uniform();
                // Rounding may leave the last sum a little below 1: then the last fact.
                let k = self.cumulative.partition_point(|&c| c <= u).min(self.p.len() - 1);
                2 * k as TokenId + facts[k] as TokenId
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_information() {
        let p = SantaFe::new(0.5, 200, 1e-6).unwrap();
        for (split, want, digit) in [(8, 1.2951, 1e-4), (64, 4.1687, 1e-4), (512, 12.374, 1e-3)] {
            assert!((p.information(split, 2 * split) - want).abs() <= 0.5 * digit, "{split}: {}", p.information(split, 2 * split));
        }
    }

    /// Exact expectations by enumerating all texts of 4 tokens over 2 facts, heads own and foreign.
    #[test]
    fn expectations_by_enumeration() {
        let p = SantaFe::new(0.6, 2, 0.01).unwrap();
        let (split, length) = (2usize, 4usize);
        // All documents with their probability.
        let mut texts: Vec<(f64, Vec<TokenId>)> = Vec::new();
        for facts in 0..4u32 {
            for ks in 0..1u32 << length {
                let k = |t: usize| (ks >> t & 1) as usize;
                let tokens = (0..length).map(|t| 2 * k(t) as u32 + (facts >> k(t) & 1)).collect();
                texts.push(((0..length).map(|t| p.p[k(t)]).product::<f64>() / 4.0, tokens));
            }
        }
        let score = |head: &[TokenId], tail: &[TokenId]| {
            let mut s = p.begin();
            head.iter().for_each(|&t| p.push(&mut s, t));
            let mut sum = 0.0;
            for &t in tail {
                sum += p.log_q(&s, t);
                p.push(&mut s, t);
            }
            sum
        };
        let (mut direct, mut vclub, mut total) = (0.0, 0.0, 0.0);
        for (pa, a) in &texts {
            total += pa;
            let joint = score(&a[..split], &a[split..]);
            direct += pa * (joint - score(&[], &a[split..]));
            vclub += pa * (joint - texts.iter().map(|(pb, b)| pb * score(&b[..split], &a[split..])).sum::<f64>());
        }
        assert!((total - 1.0).abs() < 1e-12);
        assert!((direct - p.direct(2, 4)).abs() < 1e-12, "{direct} {}", p.direct(2, 4));
        assert!((vclub - p.vclub(2, 4)).abs() < 1e-12, "{vclub} {}", p.vclub(2, 4));
    }

    #[test]
    fn conditionals_sum_to_one() {
        let p = SantaFe::new(0.5, 5, 1e-3).unwrap();
        let mut s = p.begin();
        for t in [0, 3, 2, 9, 9, 1] {
            let sum: f64 = (0..10).map(|t| p.log_q(&s, t).exp()).sum();
            assert!((sum - 1.0).abs() < 1e-12);
            p.push(&mut s, t);
        }
    }
}
