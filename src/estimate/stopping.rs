//! When a measurement has measured enough: a rule on its groups in their fixed order and on nothing else, so that it stops at the same group however the
//! work was cut, interrupted or resumed.
//!
//! The rule: the smallest number of groups, at least [`FEWEST_GROUPS`], over whose first groups the standard error of direct I at the largest ℓ and r = 2 is
//! at most a target; it is asked at every group. The standard error is the one that results report (`errors`). A rule that looks at the data stops a
//! little more often where the error happens to look small: the errors of a stopped measurement are slightly too low (Anscombe 1952; Chow and Robbins
//! 1965: the effect vanishes as the target becomes small).

use super::contribution::{Cell, Contributions, Estimator, NgramCorrection};
use super::data::Sums;
use super::errors::standard_error;
use std::collections::BTreeMap;

/// Groups below which the rule does not stop: a standard error from fewer is itself too uncertain.
pub const FEWEST_GROUPS: usize = 30;

/// How far the running error may lie above the target before the exact one is asked: far more than its rounding.
const SLACK: f64 = 1e-6;

/// The rule, fed group by group.
#[derive(Clone, Debug)]
pub struct Stopping {
    target: f64,
    documents: Vec<Vec<u32>>,
    values: Vec<f64>,
    running: Running,
    reached: Option<usize>,
}

impl Stopping {
    /// The number that the rule watches in sums of this shape: direct at r = 2 and the largest ℓ that has it; `None` where no ℓ fits or r = 2 is not asked for.
    pub fn cell(sums: &Sums) -> Option<Cell> {
        let split = sums.splits.iter().copied().rev().find(|&l| sums.ratios.contains(&2) && sums.fits(l, 2))?;
        Some(Cell { estimator: Estimator::Direct, ratio: 2, split })
    }

    /// No group yet; `target` in nats.
    pub fn new(target: f64) -> Self {
        Stopping { target, documents: Vec::new(), values: Vec::new(), running: Running::default(), reached: None }
    }

    /// Takes the next group, number `group` of `sums`. Sums without direct terms never reach the target.
    pub fn take(&mut self, sums: &Sums, group: usize) {
        if self.reached.is_some() {
            return;
        }
        let direct = sums.groups[group].members.iter().any(|m| !m.marginal.is_empty());
        let tails = Self::cell(sums).filter(|_| direct).map_or(Vec::new(), |cell| Contributions::tails(sums, group, cell, NgramCorrection::default(), None));
        let mut documents: Vec<u32> = sums.groups[group].members.iter().map(|m| m.document).collect();
        documents.sort_unstable();
        documents.dedup();
        let value = tails.iter().sum::<f64>() / tails.len() as f64;
        self.running.take(&documents, value);
        self.documents.push(documents);
        self.values.push(value);
        let near = self.running.standard_error().is_some_and(|se| se <= self.target * (1.0 + SLACK));
        if self.values.len() >= FEWEST_GROUPS && near && standard_error(&self.documents, &self.values).is_some_and(|se| se <= self.target) {
            self.reached = Some(self.values.len());
        }
    }

    /// After how many groups the target was reached.
    pub fn reached(&self) -> Option<usize> {
        self.reached
    }
}

/// The standard error of the groups so far, updated in time that grows with the groups that share a document with the new one, not with all. Only a
/// filter: its rounding differs from that of [`standard_error`].
#[derive(Clone, Debug, Default)]
struct Running {
    /// Groups of each document.
    of: BTreeMap<u32, Vec<usize>>,
    /// Values minus the first, against cancellation.
    y: Vec<f64>,
    first: f64,
    /// Σ y and Σ y² over groups.
    sum: f64,
    squares: f64,
    /// Ordered pairs of different groups that share a document: their number, Σ (y + y'), Σ y y'.
    pairs: f64,
    pair_sums: f64,
    pair_products: f64,
}

impl Running {
    fn take(&mut self, documents: &[u32], value: f64) {
        let g = self.y.len();
        if g == 0 {
            self.first = value;
        }
        let y = value - self.first;
        let mut sharing: Vec<usize> = documents.iter().filter_map(|d| self.of.get(d)).flatten().copied().collect();
        sharing.sort_unstable();
        sharing.dedup();
        for h in &sharing {
            self.pairs += 2.0;
            self.pair_sums += 2.0 * (y + self.y[*h]);
            self.pair_products += 2.0 * y * self.y[*h];
        }
        documents.iter().for_each(|d| self.of.entry(*d).or_default().push(g));
        self.sum += y;
        self.squares += y * y;
        self.y.push(y);
    }

    /// As the module `errors` defines it, with products multiplied out.
    fn standard_error(&self) -> Option<f64> {
        let n = self.y.len() as f64;
        let mean = self.sum / n;
        let own = self.squares - n * mean * mean;
        let shared = self.pair_products - mean * self.pair_sums + self.pairs * mean * mean;
        let rest = 1.0 - (n + self.pairs) / (n * n);
        (n > 1.0 && rest > 1e-12).then(|| ((own + shared) / (n * n * rest)).max(own / (n * (n - 1.0))).max(0.0).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Analysis, Group, Marginal, Member, Options, Pairing, analyse};
    use super::*;
    use crate::rng::Rng;

    /// Pairs of chunks of two tokens (ℓ = 1, r = 2) from `documents` documents, direct terms normal with mean 1 and standard deviation 1.
    fn sums(groups: usize, documents: u64, seed: u64) -> Sums {
        let mut rng = Rng::new(seed, 0);
        let member = |document, direct: f64| Member {
            document,
            trunk: vec![-1.0, -1.0],
            cuts: Vec::new(),
            marginal: vec![Marginal { by_ratio: vec![-1.0 - direct], first: [f64::NAN; 8] }],
            cross: Vec::new(),
        };
        let groups = (0..groups).map(|_| {
            let a = rng.below(documents);
            let b = (a + 1 + rng.below(documents - 1)) % documents;
            Group { members: vec![member(a as u32, 1.0 + rng.normal()), member(b as u32, 1.0 + rng.normal())] }
        });
        Sums { pairing: Pairing::Matched, length: 2, splits: vec![1], ratios: vec![2], groups: groups.collect() }
    }

    fn reached(sums: &Sums, target: f64) -> Option<usize> {
        let mut rule = Stopping::new(target);
        (0..sums.groups.len()).for_each(|g| rule.take(sums, g));
        rule.reached()
    }

    fn direct_error(sums: &Sums, groups: usize) -> f64 {
        let first = Sums { groups: sums.groups[..groups].to_vec(), ..sums.clone() };
        let options = Options { estimators: vec![Estimator::Direct], ..Options::default() };
        analyse(&first, &options, None).map(|a: Analysis| a.points[0].se.unwrap()).unwrap()
    }

    /// The first number of groups, from 30 on, at which the reported error is small enough; no earlier and no later.
    #[test]
    fn it_stops_where_the_reported_error_says() {
        for (documents, seed) in [(1_000_000, 1), (40, 2), (7, 3)] {
            let all = sums(200, documents, seed);
            let errors: Vec<f64> = (1..=200).map(|n| if n < FEWEST_GROUPS { f64::INFINITY } else { direct_error(&all, n) }).collect();
            for target in [errors[29], errors[80], errors[150] * (1.0 - 1e-15), errors[199], 0.5 * errors[199]] {
                let first = errors.iter().position(|&e| e <= target).map(|i| i + 1);
                assert_eq!(reached(&all, target), first, "{documents} documents, target {target}");
            }
        }
    }

    #[test]
    fn without_direct_terms_it_never_stops() {
        let mut all = sums(40, 100, 4);
        all.groups.iter_mut().flat_map(|g| &mut g.members).for_each(|m| m.marginal.clear());
        assert_eq!(reached(&all, 1e9), None);
        let all = Sums { ratios: vec![3], ..sums(40, 100, 4) };
        assert_eq!((Stopping::cell(&all), reached(&all, 1e9)), (None, None));
    }
}
