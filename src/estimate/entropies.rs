//! The entropy of a law from how often each count occurs in draws from it: four estimates, of which the plug-in is the most biased.
//!
//! Counts n_i of K different things, N = Σ n_i, f_1 of them with n_i = 1. All are in nats, and 0 of nothing.

use super::ngram::{grassberger, plug_in};
use super::tally::total;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How an entropy is estimated from counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntropyEstimator {
    /// [`grassberger`]
    Grassberger,
    /// [`miller_madow`]
    MillerMadow,
    /// [`chao_shen`]
    ChaoShen,
    /// [`plug_in`]
    PlugIn,
}

impl EntropyEstimator {
    /// All of them, in the order of tables.
    pub const ALL: [EntropyEstimator; 4] = [EntropyEstimator::Grassberger, EntropyEstimator::MillerMadow, EntropyEstimator::ChaoShen, EntropyEstimator::PlugIn];

    /// The estimate from pairs (count, number of things with that count).
    pub fn of(self, counts: &[(u64, u64)]) -> f64 {
        match self {
            EntropyEstimator::Grassberger => grassberger(counts),
            EntropyEstimator::MillerMadow => miller_madow(counts),
            EntropyEstimator::ChaoShen => chao_shen(counts),
            EntropyEstimator::PlugIn => plug_in(counts),
        }
    }
}

impl fmt::Display for EntropyEstimator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            EntropyEstimator::Grassberger => "Grassberger",
            EntropyEstimator::MillerMadow => "Miller–Madow",
            EntropyEstimator::ChaoShen => "Chao–Shen",
            EntropyEstimator::PlugIn => "plug-in",
        })
    }
}

/// The plug-in estimate and its bias to first order, (K − 1)/2N (Miller 1955).
pub fn miller_madow(counts: &[(u64, u64)]) -> f64 {
    let (n, k) = (total(counts), counts.iter().map(|&(_, many)| many).sum::<u64>());
    if n == 0 { 0.0 } else { plug_in(counts) + (k - 1) as f64 / (2.0 * n as f64) }
}

/// −Σ C p_i ln(C p_i) / (1 − (1 − C p_i)^N), p_i = n_i/N, with the coverage C = 1 − f_1/N of Good and Turing (Chao and Shen 2003, eq. 7): each thing
/// seen stands for those of its probability that were not. Where all n_i are 1 the coverage would be none; as is usual, f_1 is then taken as N − 1.
pub fn chao_shen(counts: &[(u64, u64)]) -> f64 {
    let total = total(counts);
    if total == 0 {
        return 0.0;
    }
    let n = total as f64;
    let once = counts.iter().filter(|c| c.0 == 1).map(|c| c.1).sum::<u64>();
    let coverage = 1.0 - if once == total { n - 1.0 } else { once as f64 } / n;
    let term = |&(count, many): &(u64, u64)| {
        let p = coverage * count as f64 / n;
        // 1 − (1 − p)^N, the probability of being seen, without loss for small p. Above N p = 40 it is 1 to the last bit, e^(−40) being below 2^(−54); p = 1 is one
        // thing alone.
        let seen = if p < 1.0 && n * p < 40.0 { -libm::expm1(n * libm::log1p(-p)) } else { 1.0 };
        -(many as f64) * p * libm::log(p) / seen
    };
    // The fewest things first: the sum's rounding does not grow with their number.
    counts.iter().rev().map(term).sum::<f64>() + 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Counts 2, 1, 1: N = 4, K = 3, f_1 = 2, C = 1/2; C p = 1/4, 1/8, 1/8.
        let counts = [(1, 2), (2, 1)];
        let plug_in = 1.5 * std::f64::consts::LN_2;
        assert!((miller_madow(&counts) - (plug_in + 2.0 / 8.0)).abs() < 1e-14);
        let seen = |p: f64| 1.0 - (1.0 - p).powi(4);
        let want = 0.25 * f64::ln(4.0) / seen(0.25) + 2.0 * 0.125 * f64::ln(8.0) / seen(0.125);
        assert!((chao_shen(&counts) - want).abs() < 1e-14, "{}", chao_shen(&counts));
        // All seen once: C = 1/N, N terms of p = 1/N².
        let (n, p) = (3.0f64, 1.0f64 / 9.0);
        let want = n * p * -p.ln() / (1.0 - (1.0 - p).powf(n));
        assert!((chao_shen(&[(1, 3)]) - want).abs() < 1e-14);
        for e in EntropyEstimator::ALL {
            assert_eq!(e.of(&[]), 0.0);
        }
        // One thing alone has no entropy; Grassberger's estimate of it is within 1/2N of none.
        assert_eq!((miller_madow(&[(7, 1)]), chao_shen(&[(7, 1)])), (0.0, 0.0));
    }

    #[test]
    fn of_many_draws_all_agree() {
        // 64 things 10,000 times each: the corrections are below 63/2N = 5e-5 nats.
        let counts = [(10_000, 64)];
        for e in EntropyEstimator::ALL {
            assert!((e.of(&counts) - f64::ln(64.0)).abs() < 6e-5, "{e}: {}", e.of(&counts));
        }
    }
}
