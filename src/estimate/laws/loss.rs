//! The loss by position, h(t) = mean of −ln q(w_t | ⊥ w[1..t−1]), and Hilberg's law h∞ + c t^(β−1) of it (Hilberg 1990; as a law of the entropy rate Dębowski
//! 2011: block entropies that grow by ℓ^β beside their rate leave t^(β−1) of every further token).
//!
//! Positions are binned by octaves (t = 1; 2; 3 and 4; 5 … 8; …), or by two octaves where there are fewer than three units a bin, for the sake of the bins'
//! covariance; the law is averaged over each bin as the losses are. Errors are those of everything here: by groups, or by documents where these recur.

use super::compare::Comparison;
use super::curve::Curve;
use super::law::Law;
use crate::estimate::errors::{Resamples, Resampling};
use crate::estimate::{Interval, Sums};
use serde::{Deserialize, Serialize};

/// Units for each bin below which bins are of two octaves.
const UNITS_A_BIN: usize = 3;
/// Places of a bin at which a law is looked at: the mean over as many equal parts, each by its middle, is within (1/8)² of what one middle is off.
const NODES: u32 = 8;

/// The mean loss over positions `from` to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// First position, counted from 1.
    pub from: u32,
    /// Last position.
    pub to: u32,
    /// Mean loss, nats a token.
    pub value: f64,
    /// Its standard error.
    pub se: Option<f64>,
    /// Lower end of the interval to quote.
    pub lo: Option<f64>,
    /// Its upper end.
    pub hi: Option<f64>,
}

/// The loss by position and Hilberg's law of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LossByPosition {
    /// The bins.
    pub bins: Vec<Bin>,
    /// The law under the bins' covariance; `None` where there is none.
    pub comparison: Option<Comparison>,
    /// Why there is no law, where there is none.
    pub why: Option<String>,
}

impl LossByPosition {
    /// From the trunks of all groups, as far as the shortest of them goes (where lengths are bytes, trunks have different numbers of tokens). `None` without
    /// trunks.
    pub fn new(sums: &Sums, how: Resampling) -> Option<Self> {
        let trunks = || sums.groups.iter().map(|g| g.members.iter().map(|m| &m.trunk[..]).filter(|t| !t.is_empty()));
        let length = trunks().flatten().map(<[f32]>::len).min()? as u32;
        // A group without a trunk would have no mean.
        if trunks().any(|mut t| t.next().is_none()) {
            return None;
        }
        let documents = sums.documents();
        let resamples = |octaves: u32| {
            let bins = bins(length, octaves);
            let mut values = Vec::with_capacity(bins.len() * sums.groups.len());
            for group in trunks() {
                let group: Vec<&[f32]> = group.collect();
                for &(from, to) in &bins {
                    let loss = |t: &&[f32]| t[from as usize - 1..to as usize].iter().map(|&x| -(x as f64)).sum::<f64>();
                    values.push(group.iter().map(loss).sum::<f64>() / (group.len() as f64 * (to - from + 1) as f64));
                }
            }
            let errors = Resamples::of(&documents, &values, &vec![0.0; bins.len()], how);
            (bins, errors)
        };
        let (mut bins, mut errors) = resamples(1);
        if errors.units < UNITS_A_BIN * bins.len() {
            (bins, errors) = resamples(2);
        }
        let told = bins.iter().enumerate().map(|(i, &(from, to))| {
            let interval: Option<Interval> = errors.intervals(i).chosen(errors.units);
            Bin { from, to, value: errors.mean[i], se: errors.se[i], lo: interval.map(|i| i.lo), hi: interval.map(|i| i.hi) }
        });
        let told: Vec<Bin> = told.collect();
        let comparison = if errors.se.iter().any(Option::is_none) {
            Err("the losses have no errors; measure more groups of more documents".to_string())
        } else {
            let middle: Vec<f64> = bins.iter().map(|&(from, to)| (from as f64 * to as f64).sqrt()).collect();
            let cells: Vec<usize> = (0..bins.len()).collect();
            Curve::resampled(&middle, &errors, &cells).over(bins.iter().map(|&b| nodes(b)).collect()).compare(&[Law::Hilberg])
        };
        let (comparison, why) = match comparison {
            Ok(c) => {
                let why = c.refused.first().map(|r| r.why.clone());
                (Some(c), why)
            }
            Err(why) => (None, Some(why)),
        };
        Some(LossByPosition { bins: told, comparison, why })
    }
}

/// Bins of positions 1 … `length`: after the first position, each ends at a power of 2^octaves or at the length.
fn bins(length: u32, octaves: u32) -> Vec<(u32, u32)> {
    let mut bins = Vec::new();
    let (mut from, mut to) = (1u64, 1u64);
    while from <= length as u64 {
        bins.push((from as u32, to.min(length as u64) as u32));
        (from, to) = (to + 1, to << octaves);
    }
    bins
}

/// Where a law is looked at for its mean over a bin.
fn nodes((from, to): (u32, u32)) -> Vec<(f64, f64)> {
    let count = to - from + 1;
    if count <= NODES {
        return (from..=to).map(|t| (t as f64, 1.0 / count as f64)).collect();
    }
    // Position t stands for t − ½ … t + ½.
    let width = count as f64 / NODES as f64;
    (0..NODES).map(|i| (from as f64 - 0.5 + (i as f64 + 0.5) * width, 1.0 / NODES as f64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::{Group, Member, Pairing};
    use crate::rng::Rng;

    #[test]
    fn bins_and_their_nodes() {
        assert_eq!(bins(10, 1), [(1, 1), (2, 2), (3, 4), (5, 8), (9, 10)]);
        assert_eq!(bins(70, 2), [(1, 1), (2, 4), (5, 16), (17, 64), (65, 70)]);
        assert_eq!(nodes((3, 4)), [(3.0, 0.5), (4.0, 0.5)]);
        // The mean of t^−½ over 513 … 1024 against all its terms: the middles of 8 parts of width 64 are off by 64²/24 · ¾ t^−2.5, 3e-4 of it at most.
        let (exact, by_nodes) =
            ((513..=1024).map(|t| f64::from(t).powf(-0.5)).sum::<f64>() / 512.0, nodes((513, 1024)).iter().map(|(t, w)| w * t.powf(-0.5)).sum::<f64>());
        assert!((by_nodes / exact - 1.0).abs() < 4096.0 / 24.0 * 0.75 / (513.0 * 513.0), "{exact} {by_nodes}");
    }

    /// h = 2 + 3 t^−0.4 and noise of a group and of a token: the parameters lie within their 99.9 % intervals (three looks at one seed), which are short enough to mean something.
    #[test]
    fn hilbergs_law_comes_back() {
        let mut rng = Rng::new(301, 0);
        let groups = (0..200).map(|g| {
            let common = 0.2 * rng.normal();
            let trunk = (1..=512).map(|t| -(2.0 + 3.0 * f64::from(t).powf(-0.4) + common + 0.5 * rng.normal()) as f32).collect();
            Group { members: vec![Member { document: g, trunk, cuts: Vec::new(), marginal: Vec::new(), cross: Vec::new() }] }
        });
        let sums = Sums { pairing: Pairing::Matched, length: 512, splits: vec![256], ratios: vec![2], groups: groups.collect() };
        let loss = LossByPosition::new(&sums, Resampling { level: 0.999, ..Default::default() }).unwrap();
        assert_eq!((loss.bins.len(), loss.bins[9].from, loss.bins[9].to, &loss.why), (10, 257, 512, &None));
        let comparison = loss.comparison.unwrap();
        let fit = comparison.fit(Law::Hilberg).unwrap();
        for (name, want, width) in [("h∞", 2.0, 0.5), ("c", 3.0, 0.5), ("β", 0.6, 0.2)] {
            let q = fit.parameter(name).unwrap().quantity;
            let (lo, hi) = (q.lo.unwrap(), q.hi.unwrap());
            assert!(lo < want && want < hi && hi - lo < width, "{name}: {q:?}");
        }
        assert!(comparison.slopes.is_empty() && comparison.without_smallest.len() == 6);
        assert!(comparison.without_smallest[0].exponent.is_some_and(|q| q.lo.unwrap() < 0.6 && 0.6 < q.hi.unwrap()));
    }

    #[test]
    fn without_trunks_or_with_one_group_there_is_no_law() {
        let member = |trunk: Vec<f32>| Member { document: 0, trunk, cuts: Vec::new(), marginal: Vec::new(), cross: Vec::new() };
        let sums = |trunk: Vec<f32>| Sums {
            pairing: Pairing::Matched,
            length: 4,
            splits: vec![2],
            ratios: vec![2],
            groups: vec![Group { members: vec![member(trunk)] }],
        };
        assert!(LossByPosition::new(&sums(Vec::new()), Resampling::default()).is_none());
        let loss = LossByPosition::new(&sums(vec![-1.0; 4]), Resampling::default()).unwrap();
        assert!(loss.comparison.is_none() && loss.why.unwrap().starts_with("the losses have no errors"));
    }
}
