//! Two-point mutual information I_d = H(w_t) + H(w_{t+d}) − H(w_t, w_{t+d}) from counts of pairs at distance d, by each entropy estimate.
//!
//! *Errors*: delete-a-group jackknife over folds of documents, as documents are what is independent. *Bias*: all estimates of a joint entropy are biased
//! where many pairs are rare. Two things show how much: the same estimate from shuffled pairs, whose truth is none, and from the first 10, 25 and 50 %
//! of the folds alone, which tends to the value of all documents no faster than the bias goes.

use super::decay::{Decay, DecayPoint, jackknife};
use super::entropies::EntropyEstimator;
use super::errors::Interval;
use super::ngram::CountOfCounts;
use super::special::student_quantile;
use super::tally::{FoldCounts, total};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What was counted at one distance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairCounts {
    /// d, in tokens; at 0 only `second` is counted: it holds the single tokens of all texts.
    pub distance: u64,
    /// The tokens that have one d further on in their document.
    pub first: FoldCounts,
    /// The tokens that have one d before.
    pub second: FoldCounts,
    /// Both together.
    pub joint: FoldCounts,
    /// Counts of the joint pairs where the second tokens are shuffled; `None` where that was not asked for.
    pub shuffled: Option<CountOfCounts>,
}

/// Whose entropy stands for that of a single token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Marginals {
    /// H(w_t) + H(w_{t+d}) of the tokens that are in pairs.
    #[default]
    Pairs,
    /// 2 H of all tokens, as published.
    Singles,
}

/// How counts are read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TwoPointOptions {
    /// Whose entropy stands for that of a single token.
    pub marginals: Marginals,
    /// Coverage of intervals, in (0, 1).
    pub level: f64,
    /// Number of documents, of which document i is in fold i mod the number of folds.
    pub documents: u64,
    /// Number of folds.
    pub folds: usize,
}

/// What one estimator says at one distance, in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoPointValue {
    /// The entropies' estimator.
    pub estimator: EntropyEstimator,
    /// I_d.
    pub nats: f64,
    /// Standard error; `None` where a fold left out leaves no pair, or there is one document.
    pub se: Option<f64>,
    /// Student's interval.
    pub interval: Option<Interval>,
    /// I_d of shuffled pairs.
    pub shuffled: Option<f64>,
    /// I_d of the first documents alone, in the order of [`TwoPoint::growth`]; `None` where they have no pair.
    pub growth: Vec<Option<f64>>,
    /// I_d with each fold left out.
    #[serde(skip)]
    left_out: Vec<f64>,
}

/// What is known at one distance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoPointAt {
    /// d.
    pub distance: u64,
    /// Pairs counted.
    pub pairs: u64,
    /// Different ones among them.
    pub distinct: u64,
    /// Folds with a pair: the independent units behind errors.
    pub folds: usize,
    /// By estimator, in the order of [`EntropyEstimator::ALL`].
    pub values: Vec<TwoPointValue>,
}

/// The law of one estimator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoPointLaw {
    /// The entropies' estimator.
    pub estimator: EntropyEstimator,
    /// The fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub law: Option<Decay>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unfitted: Option<String>,
}

/// Everything that follows from counts of pairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TwoPoint {
    /// Whose entropy stands for that of a single token.
    pub marginals: Marginals,
    /// Coverage of intervals.
    pub level: f64,
    /// Number of documents.
    pub documents: u64,
    /// Folds of them.
    pub folds: usize,
    /// Tokens, and different ones among them.
    pub tokens: u64,
    /// See `tokens`.
    pub distinct_tokens: u64,
    /// Numbers of documents that `growth` of a value goes with.
    pub growth: Vec<u64>,
    /// By distance, those at which there is a pair.
    pub points: Vec<TwoPointAt>,
    /// By estimator.
    pub laws: Vec<TwoPointLaw>,
}

/// The numbers of folds that are counted by themselves, of so many: a tenth, a quarter, a half, as far as they differ.
pub fn first_folds(folds: usize) -> Vec<usize> {
    let mut first: Vec<usize> = [10, 4, 2].into_iter().map(|part| folds / part).filter(|&n| n > 0).collect();
    first.dedup();
    first
}

impl TwoPoint {
    /// Estimates from counts at all distances, that of distance 0 among them.
    pub fn of(counts: &[PairCounts], options: &TwoPointOptions) -> Self {
        let none = FoldCounts::default();
        let singles = counts.iter().find(|c| c.distance == 0).map_or(&none, |c| &c.second);
        let cells: Vec<(&PairCounts, EntropyEstimator)> =
            counts.iter().filter(|c| c.distance > 0 && c.joint.total() > 0).flat_map(|c| EntropyEstimator::ALL.map(|e| (c, e))).collect();
        let values: Vec<TwoPointValue> = cells.par_iter().map(|&(c, e)| value(c, singles, e, options)).collect();
        let points: Vec<TwoPointAt> = cells
            .chunks(EntropyEstimator::ALL.len())
            .zip(values.chunks(EntropyEstimator::ALL.len()))
            .map(|(cells, values)| {
                let counts = cells[0].0;
                let pairs = counts.joint.total();
                // Of one fold there is nothing to leave out.
                let folds = counts.joint.left_out.iter().filter(|left| total(left) < pairs).count().max(1);
                TwoPointAt { distance: counts.distance, pairs, distinct: counts.joint.distinct(), folds, values: values.to_vec() }
            })
            .collect();
        let laws = (0..EntropyEstimator::ALL.len()).map(|i| law(&points, i, options)).collect();
        let (documents, folds) = (options.documents, options.folds as u64);
        let growth = first_folds(options.folds).into_iter().map(|n| documents / folds * n as u64 + (documents % folds).min(n as u64)).collect();
        TwoPoint {
            marginals: options.marginals,
            level: options.level,
            documents,
            folds: options.folds,
            tokens: singles.total(),
            distinct_tokens: singles.distinct(),
            growth,
            points,
            laws,
        }
    }
}

fn value(counts: &PairCounts, singles: &FoldCounts, estimator: EntropyEstimator, options: &TwoPointOptions) -> TwoPointValue {
    let (first, second) = match options.marginals {
        Marginals::Pairs => (&counts.first, &counts.second),
        Marginals::Singles => (singles, singles),
    };
    let information = |of: fn(&FoldCounts) -> &[CountOfCounts], i: usize| {
        let h = |c: &FoldCounts| of(c).get(i).map_or(0.0, |counts| estimator.of(counts));
        h(first) + h(second) - h(&counts.joint)
    };
    let singly = estimator.of(&first.all) + estimator.of(&second.all);
    let nats = singly - estimator.of(&counts.joint.all);
    let left_out: Vec<f64> = (0..counts.joint.left_out.len()).map(|f| information(|c| &c.left_out, f)).collect();
    let whole = left_out.len() > 1 && counts.joint.left_out.iter().all(|c| !c.is_empty());
    let se = whole.then(|| jackknife(&left_out));
    let t = student_quantile(0.5 + 0.5 * options.level, (left_out.len() as f64 - 1.0).max(1.0));
    TwoPointValue {
        estimator,
        nats,
        se,
        interval: se.map(|se| Interval { lo: nats - t * se, hi: nats + t * se }),
        shuffled: counts.shuffled.as_ref().map(|s| singly - estimator.of(s)),
        growth: counts.joint.first.iter().enumerate().map(|(i, c)| (!c.is_empty()).then(|| information(|c| &c.first, i))).collect(),
        left_out,
    }
}

fn law(points: &[TwoPointAt], estimator: usize, options: &TwoPointOptions) -> TwoPointLaw {
    let of = |p: &TwoPointAt| p.values.get(estimator).cloned();
    let values: Vec<(u64, TwoPointValue)> = points.iter().filter_map(|p| of(p).map(|v| (p.distance, v))).collect();
    let points: Vec<DecayPoint<'_>> =
        values.iter().map(|(distance, v)| DecayPoint { distance: *distance, value: v.nats, se: v.se, left_out: &v.left_out }).collect();
    let fit = Decay::fit(&points, options.level);
    TwoPointLaw { estimator: EntropyEstimator::ALL[estimator], law: fit.as_ref().ok().cloned(), unfitted: fit.err() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_by_themselves() {
        assert_eq!(first_folds(20), [2, 5, 10]);
        assert_eq!(first_folds(4), [1, 2]);
        assert_eq!(first_folds(1), [] as [usize; 0]);
    }
}
