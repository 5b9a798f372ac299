//! How often each count occurs, over all documents, with each fold of them left out, and of the first folds alone: without a table for each.

use super::ngram::CountOfCounts;
use crate::rng::mix;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hasher};

/// Counts of counts of one kind of things (blocks, pairs, symbols), reduced to what entropies, their jackknife and their bias need.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldCounts {
    /// Over all documents.
    pub all: CountOfCounts,
    /// With each fold of documents left out; empty where there is only one fold.
    pub left_out: Vec<CountOfCounts>,
    /// Of the first folds alone, one for each number of them that was asked for.
    pub first: Vec<CountOfCounts>,
}

impl FoldCounts {
    /// How many things were counted.
    pub fn total(&self) -> u64 {
        total(&self.all)
    }

    /// How many different ones there are.
    pub fn distinct(&self) -> u64 {
        self.all.iter().map(|&(_, many)| many).sum()
    }
}

/// How many things these are.
pub fn total(counts: &[(u64, u64)]) -> u64 {
    counts.iter().map(|&(count, many)| count * many).sum()
}

/// Counts below this lie in a table, the few above it in a map: nearly all pairs of a text are rare.
const SMALL: usize = 512;

/// Takes one thing after the other with its counts by fold. Tallies of disjoint sets of things add up to that of all of them, in any order.
#[derive(Clone, Debug)]
pub struct FoldTally {
    folds: usize,
    /// The numbers of folds whose counts are wanted by themselves.
    first: Vec<usize>,
    /// `[rows, SMALL]`: how many things have a count. Row 0 is of all documents, row 1 + f what leaving fold f out changes, and then one for each of `first`.
    small: Vec<i64>,
    /// The same for larger counts, by count · rows + row.
    large: HashMap<u64, i64, BuildHasherDefault<Spread>>,
}

/// Spreads a key's bits; what is looked up here is not chosen by anyone.
#[derive(Clone, Copy, Debug, Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u64(b.into()));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = mix(&mut (self.0 ^ key));
    }
}

impl FoldTally {
    /// For `folds` folds; counts of the first n of them are kept for each n of `first`.
    pub fn new(folds: usize, first: &[usize]) -> Self {
        let rows = 1 + folds + first.len();
        FoldTally { folds, first: first.to_vec(), small: vec![0; rows * SMALL], large: HashMap::default() }
    }

    fn rows(&self) -> u64 {
        (1 + self.folds + self.first.len()) as u64
    }

    fn change(&mut self, row: usize, count: u64, by: i64) {
        match usize::try_from(count) {
            Ok(0) => {}
            Ok(small) if small < SMALL => self.small[row * SMALL + small] += by,
            _ => *self.large.entry(count * self.rows() + row as u64).or_default() += by,
        }
    }

    /// Takes a thing that occurs so often in each of these folds, which differ; where it is in no fold, nothing.
    pub fn add(&mut self, in_fold: &[(usize, u64)]) {
        self.add_many(in_fold, 1);
    }

    /// Takes `many` different things that all occur so often in each of these folds.
    pub fn add_many(&mut self, in_fold: &[(usize, u64)], many: u64) {
        let (all, many) = (in_fold.iter().map(|f| f.1).sum(), many as i64);
        self.change(0, all, many);
        for &(fold, count) in in_fold {
            self.change(1 + fold, all, -many);
            self.change(1 + fold, all - count, many);
        }
        for i in 0..self.first.len() {
            let n = self.first[i];
            let count = in_fold.iter().filter(|f| f.0 < n).map(|f| f.1).sum();
            self.change(1 + self.folds + i, count, many);
        }
    }

    /// Takes what another tally of the same folds took.
    pub fn absorb(&mut self, other: &FoldTally) {
        debug_assert_eq!(self.small.len(), other.small.len());
        self.small.iter_mut().zip(&other.small).for_each(|(a, b)| *a += b);
        for (&at, &by) in &other.large {
            *self.large.entry(at).or_default() += by;
        }
    }

    /// The counts of all that was taken.
    pub fn counts(&self) -> FoldCounts {
        let changes = |row: usize| -> BTreeMap<u64, i64> {
            let small = self.small[row * SMALL..][..SMALL].iter().enumerate().map(|(count, &many)| (count as u64, many));
            let large = self.large.iter().filter(|(key, _)| *key % self.rows() == row as u64).map(|(key, &many)| (key / self.rows(), many));
            small.chain(large).filter(|&(_, many)| many != 0).collect()
        };
        let list = |of: BTreeMap<u64, i64>| -> CountOfCounts { of.into_iter().filter(|&(_, many)| many > 0).map(|(c, many)| (c, many as u64)).collect() };
        let all = changes(0);
        let left_out = (0..self.folds).map(|f| {
            let mut of = changes(1 + f);
            for (&count, &many) in &all {
                *of.entry(count).or_default() += many;
            }
            list(of)
        });
        let left_out = if self.folds > 1 { left_out.collect() } else { Vec::new() };
        let first = (0..self.first.len()).map(|i| list(changes(1 + self.folds + i))).collect();
        FoldCounts { all: list(all), left_out, first }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn naive<'a>(things: impl Iterator<Item = &'a Vec<u64>>, fold: impl Fn(usize) -> bool) -> CountOfCounts {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for thing in things {
            let n: u64 = thing.iter().enumerate().filter(|f| fold(f.0)).map(|f| f.1).sum();
            if n > 0 {
                *counts.entry(n).or_default() += 1;
            }
        }
        counts.into_iter().collect()
    }

    proptest! {
        #[test]
        fn tallies_are_those_of_a_table(things in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0u64), 1u64..4, 60u64..140, any::<u32>().prop_map(u64::from)], 4), 0..40), cut in 0usize..40) {
            let cut = cut.min(things.len());
            let parts = [&things[..cut], &things[cut..]].map(|part| {
                let mut tally = FoldTally::new(4, &[1, 3]);
                for thing in part {
                    let in_fold: Vec<(usize, u64)> = thing.iter().copied().enumerate().filter(|f| f.1 > 0).collect();
                    tally.add(&in_fold);
                }
                tally
            });
            let mut tally = parts[1].clone();
            tally.absorb(&parts[0]);
            let counts = tally.counts();
            prop_assert_eq!(&counts.all, &naive(things.iter(), |_| true));
            prop_assert_eq!(counts.distinct(), things.iter().filter(|t| t.iter().any(|&n| n > 0)).count() as u64);
            for f in 0..4 {
                prop_assert_eq!(&counts.left_out[f], &naive(things.iter(), |g| g != f));
            }
            prop_assert_eq!(counts.first, [1, 3].map(|n| naive(things.iter(), |g| g < n)));
        }
    }
}
