//! Entropies of n-gram blocks from counts, for the start-of-text correction of the direct estimate.

use super::special::digamma;
use serde::{Deserialize, Serialize};
use std::sync::OnceLock;

/// The largest n counted.
pub const MAX_N: usize = 3;
/// Folds of documents for the jackknife, where there are that many documents.
pub const FOLDS: usize = 20;

/// How often each count occurs: pairs (count, number of distinct n-grams with that count), by count.
pub type CountOfCounts = Vec<(u64, u64)>;

/// n-gram counts of one n, reduced to what entropies and their jackknife need.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NgramCounts {
    /// Tokens of a block.
    pub n: u32,
    /// Over all documents.
    pub all: CountOfCounts,
    /// With each fold of documents left out; empty where there is only one document.
    pub left_out: Vec<CountOfCounts>,
}

/// The entropy of blocks of n tokens, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NgramEntropy {
    /// Tokens of a block.
    pub n: u32,
    /// Grassberger's estimate.
    pub grassberger: f64,
    /// The plug-in estimate −Σ (n_i/N) ln(n_i/N).
    pub plug_in: f64,
    /// Standard error of the former: delete-a-group jackknife over folds of documents; `None` for a single document.
    pub se: Option<f64>,
    /// Blocks counted.
    pub blocks: u64,
    /// Different ones among them.
    pub distinct: u64,
}

/// The entropies for n = 1, 2, … in order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NgramEntropies(pub Vec<NgramEntropy>);

impl NgramEntropies {
    /// The entry for blocks of `n` tokens.
    pub fn get(&self, n: u32) -> Option<&NgramEntropy> {
        self.0.iter().find(|e| e.n == n)
    }

    /// Entropies from counts.
    pub fn from_counts(counts: &[NgramCounts]) -> Self {
        NgramEntropies(counts.iter().map(NgramCounts::entropy).collect())
    }
}

impl NgramCounts {
    /// Grassberger's entropy with its jackknife error, and the plug-in entropy.
    pub fn entropy(&self) -> NgramEntropy {
        let folds = self.left_out.len() as f64;
        let se = (folds > 1.0).then(|| {
            let h: Vec<f64> = self.left_out.iter().map(|c| grassberger(c)).collect();
            let mean = h.iter().sum::<f64>() / folds;
            ((folds - 1.0) / folds * h.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>()).sqrt()
        });
        NgramEntropy {
            n: self.n,
            grassberger: grassberger(&self.all),
            plug_in: plug_in(&self.all),
            se,
            blocks: self.all.iter().map(|&(c, m)| c * m).sum(),
            distinct: self.all.iter().map(|&(_, m)| m).sum(),
        }
    }
}

/// H = ln N − (1/N) Σ n_i G(n_i), G(n) = ψ(n) + ½(−1)^n [ψ((n+1)/2) − ψ(n/2)] (Grassberger 2003, arXiv:physics/0307138, eq. 27–30). 0 of nothing.
pub fn grassberger(counts: &[(u64, u64)]) -> f64 {
    // Most counts of counts have small counts, and a jackknife asks for the same again and again.
    static SMALL: OnceLock<Vec<f64>> = OnceLock::new();
    let small = SMALL.get_or_init(|| (0..1 << 13).map(|n| if n == 0 { 0.0 } else { g(n) }).collect());
    entropy_with(counts, |n| usize::try_from(n).ok().and_then(|i| small.get(i).copied()).unwrap_or_else(|| g(n)))
}

/// G(n), n > 0.
fn g(n: u64) -> f64 {
    let x = n as f64;
    let sign = if n.is_multiple_of(2) { 0.5 } else { -0.5 };
    digamma(x) + sign * (digamma(0.5 * (x + 1.0)) - digamma(0.5 * x))
}

/// ln N − (1/N) Σ n_i ln n_i. 0 of nothing.
pub fn plug_in(counts: &[(u64, u64)]) -> f64 {
    entropy_with(counts, |n| libm::log(n as f64))
}

fn entropy_with(counts: &[(u64, u64)], g: impl Fn(u64) -> f64) -> f64 {
    let total: u64 = counts.iter().map(|&(c, m)| c * m).sum();
    if total == 0 {
        return 0.0;
    }
    let sum: f64 = counts.iter().map(|&(c, m)| (c * m) as f64 * g(c)).sum();
    libm::log(total as f64) - sum / total as f64
}

#[cfg(test)]
mod tests {
    use super::super::count_ngrams;
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// The same by the shortest program: a map per n and fold left out.
    fn naive(documents: &[Vec<u32>], n: usize, without: Option<usize>) -> CountOfCounts {
        let mut blocks: BTreeMap<&[u32], u64> = BTreeMap::new();
        let folds = FOLDS.min(documents.len()).max(1);
        for (d, tokens) in documents.iter().enumerate() {
            if Some(d % folds) != without {
                for b in tokens.windows(n) {
                    *blocks.entry(b).or_default() += 1;
                }
            }
        }
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for c in blocks.values() {
            *counts.entry(*c).or_default() += 1;
        }
        counts.into_iter().collect()
    }

    proptest! {
        #[test]
        fn counts_are_those_of_the_short_program(
            mut documents in prop::collection::vec(prop::collection::vec(0u32..5, 0..30), 1..30),
            wide in any::<bool>(),
        ) {
            if wide {
                // A token near 2³¹ forces 128-bit keys.
                documents[0].push(0x7fff_fffe);
            }
            for counts in count_ngrams(&documents) {
                prop_assert_eq!(&counts.all, &naive(&documents, counts.n as usize, None));
                for (f, c) in counts.left_out.iter().enumerate() {
                    prop_assert_eq!(c, &naive(&documents, counts.n as usize, Some(f)));
                }
            }
        }
    }

    #[test]
    fn grassberger_by_hand() {
        // G(1) = −γ − ln 2 and G(2) = 2 − γ − ln 2 (Grassberger 2003, eq. 31 with its recurrence).
        const EULER: f64 = 0.577_215_664_901_532_9;
        let g1 = -EULER - std::f64::consts::LN_2;
        let want = libm::log(4.0) - (2.0 * g1 + 2.0 * (2.0 + g1)) / 4.0;
        assert!((grassberger(&[(1, 2), (2, 1)]) - want).abs() < 1e-12);
        assert!((plug_in(&[(1, 2), (2, 1)]) - 1.5 * std::f64::consts::LN_2).abs() < 1e-12);
        assert_eq!(grassberger(&[]), 0.0);
    }

    #[test]
    fn entropy_of_fair_tokens() {
        // 60 documents of 500 independent tokens of 64 kinds: H_2 = 2 ln 64 over 4096 blocks, seen 29,940 times: Grassberger's bias is
        // far below the plug-in's (4095/2N = 0.068), its standard deviation about √(m/2)/N = 0.0015; 6 of them bound it.
        let mut rng = Rng::new(20, 1);
        let documents: Vec<Vec<u32>> = (0..60).map(|_| (0..500).map(|_| rng.below(64) as u32).collect()).collect();
        let e = NgramEntropies::from_counts(&count_ngrams(&documents));
        let h2 = e.get(2).unwrap();
        let truth = 2.0 * libm::log(64.0);
        assert!((h2.grassberger - truth).abs() < 0.009, "{h2:?}");
        assert!((h2.plug_in - truth + 0.068).abs() < 0.01, "{h2:?}");
        assert_eq!((h2.blocks, e.get(1).unwrap().blocks, e.get(1).unwrap().distinct), (60 * 499, 60 * 500, 64));
        let se = h2.se.unwrap();
        assert!((0.0005..0.005).contains(&se), "{se}");
    }
}
