//! Entropies of n-gram blocks from counts, for the start-of-text correction of the direct estimate.

use super::special::digamma;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Counts blocks of 1 … [`MAX_N`] tokens at every offset inside the documents, never across them. Document d is in fold d mod min([`FOLDS`], documents).
///
/// Takes 8 bytes a token of memory beside the documents, 16 where a block and its fold do not fit into 64 bits.
pub fn count_ngrams<D: AsRef<[u32]> + Sync>(documents: &[D]) -> Vec<NgramCounts> {
    let folds = FOLDS.min(documents.len()).max(1);
    let vocabulary = documents.iter().flat_map(|d| d.as_ref()).copied().max().unwrap_or(0);
    let token_bits = 32 - vocabulary.leading_zeros().min(31);
    let fold_bits = usize::BITS - (folds - 1).leading_zeros();
    (1..=MAX_N)
        .map(|n| {
            let (all, left_out) = if n as u32 * token_bits + fold_bits <= 64 {
                count_packed::<u64, D>(documents, n, token_bits, fold_bits, folds)
            } else {
                count_packed::<u128, D>(documents, n, token_bits, fold_bits, folds)
            };
            NgramCounts { n: n as u32, all, left_out: if folds > 1 { left_out } else { Vec::new() } }
        })
        .collect()
}

/// An unsigned integer wide enough for a block and its fold.
trait Key: Copy + Ord + Send {
    fn push(self, bits: u32, value: u32) -> Self;
    fn split(self, bits: u32) -> (Self, usize);
}

macro_rules! key {
    ($t:ty) => {
        impl Key for $t {
            fn push(self, bits: u32, value: u32) -> Self {
                self << bits | value as $t
            }
            fn split(self, bits: u32) -> (Self, usize) {
                (self >> bits, (self & (((1 as $t) << bits) - 1)) as usize)
            }
        }
    };
}
key!(u64);
key!(u128);

fn count_packed<K: Key + From<u32>, D: AsRef<[u32]>>(
    documents: &[D],
    n: usize,
    token_bits: u32,
    fold_bits: u32,
    folds: usize,
) -> (CountOfCounts, Vec<CountOfCounts>) {
    let mut keys: Vec<K> = Vec::with_capacity(documents.iter().map(|d| d.as_ref().len().saturating_sub(n - 1)).sum());
    for (d, tokens) in documents.iter().enumerate() {
        for block in tokens.as_ref().windows(n) {
            let k = block.iter().fold(K::from(0), |k, &t| k.push(token_bits, t));
            keys.push(k.push(fold_bits, (d % folds) as u32));
        }
    }
    keys.par_sort_unstable();
    let mut all: BTreeMap<u64, u64> = BTreeMap::new();
    // What leaving a fold out changes: only the blocks that occur in it.
    let mut change: Vec<BTreeMap<u64, i64>> = vec![BTreeMap::new(); folds];
    let mut in_fold: Vec<(usize, u64)> = Vec::new();
    let mut i = 0;
    while i < keys.len() {
        let block = keys[i].split(fold_bits).0;
        in_fold.clear();
        let start = i;
        while i < keys.len() && keys[i].split(fold_bits).0 == block {
            let f = keys[i].split(fold_bits).1;
            match in_fold.last_mut() {
                Some((last, c)) if *last == f => *c += 1,
                _ => in_fold.push((f, 1)),
            }
            i += 1;
        }
        let count = (i - start) as u64;
        *all.entry(count).or_default() += 1;
        for &(f, c) in &in_fold {
            *change[f].entry(count).or_default() -= 1;
            if c < count {
                *change[f].entry(count - c).or_default() += 1;
            }
        }
    }
    let left_out = change
        .into_iter()
        .map(|mut c| {
            for (&count, &many) in &all {
                *c.entry(count).or_default() += many as i64;
            }
            c.into_iter().filter(|&(_, many)| many > 0).map(|(count, many)| (count, many as u64)).collect()
        })
        .collect();
    (all.into_iter().collect(), left_out)
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
    entropy_with(counts, |n| {
        let x = n as f64;
        let sign = if n % 2 == 0 { 0.5 } else { -0.5 };
        digamma(x) + sign * (digamma(0.5 * (x + 1.0)) - digamma(0.5 * x))
    })
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
    use super::*;
    use crate::rng::Rng;
    use proptest::prelude::*;

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
