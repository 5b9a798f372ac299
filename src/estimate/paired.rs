//! Several models on the same groups: loss by position, information and exponents of each, and what lies between them.
//!
//! A model's loss h(t) = −ln q(w_t | ⊥ w[1..t−1]) is averaged over bins of t, in every chunk, then over the chunks of a group. Differences are taken group
//! by group, so that the difficulty of a text cancels; errors and intervals are those of [`Resamples`]: groups, or documents where these recur. All come
//! from the same draws of units, the exponents' differences too.

use super::analysis::{quoted, saturates};
use super::contribution::{Cell, Contributions};
use super::errors::{Interval, Resamples, Resampling};
use super::fit::Quantity;
use super::jackknife::Estimate;
use super::power::PowerLaw;
use super::{Estimator, NgramEntropies, Options, Pairing, Sums};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// Bins of t = 1 … length: (after, up to], in tokens, or bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bin {
    /// The last place before it.
    pub after: u32,
    /// Its last place.
    pub to: u32,
}

/// Information by one estimator at (ℓ, r).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Information {
    /// By which estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// ℓ.
    pub split: u32,
    /// In nats.
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// An exponent β, or a difference of two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Exponent {
    /// Of which estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// β.
    pub exponent: Quantity,
}

/// One model, or one model less another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// Mean loss in each bin, in nats a token, or a byte.
    pub loss: Vec<Estimate>,
    /// Mean loss over whole chunks.
    pub mean_loss: Estimate,
    /// By estimator, ratio and split.
    pub information: Vec<Information>,
    /// By estimator and ratio, where there is a law.
    pub exponents: Vec<Exponent>,
}

/// Models on the same groups.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    /// The bins of t.
    pub bins: Vec<Bin>,
    /// Groups behind all numbers.
    pub groups: usize,
    /// Distinct documents.
    pub documents: usize,
    /// How resamples were made.
    pub resampling: Resampling,
    /// Each model by itself.
    pub models: Vec<Profile>,
    /// Each model less the baseline; `None` for that one.
    pub differences: Vec<Option<Profile>>,
}

/// What is computed of one model before anything is compared.
struct Own {
    loss: Vec<f64>,
    contributions: Contributions,
    laws: Vec<PowerLaw>,
}

/// Bins that grow geometrically, so many a doubling, as far as whole places allow: 1, 2, 3, 4, 5–6, 7–8 … for two.
pub fn geometric_bins(length: u32, per_doubling: u32) -> Vec<Bin> {
    let mut bins = Vec::new();
    let (mut after, mut k) = (0, 0);
    while after < length {
        let to = libm::round(libm::exp2(k as f64 / per_doubling.max(1) as f64)).min(length as f64) as u32;
        if to > after {
            bins.push(Bin { after, to });
            after = to;
        }
        k += 1;
    }
    bins
}

/// Compares models on the same groups; `baseline` is the one that differences are taken from. Where lengths are bytes, bins end at [`Sums::marks`] whatever
/// `per_doubling` says: only there is it known which tokens lie before.
///
/// # Errors
/// Sums of different designs or documents, no group, or sums that contradict themselves.
pub fn compare(models: &[Sums], options: &Options, ngram: Option<&NgramEntropies>, baseline: usize, per_doubling: u32) -> Result<Paired> {
    let first = models.first().filter(|s| !s.groups.is_empty()).ok_or_else(|| Error::input("there is no complete group that all models have"))?;
    let of_groups = first.documents();
    let design = |s: &Sums| (s.pairing, s.length, s.splits.clone(), s.ratios.clone());
    if models.iter().any(|s| design(s) != design(first) || s.documents() != of_groups) {
        return Err(Error::input("the models' records are not of the same chunks"));
    }
    let in_bytes = models.iter().flat_map(|s| &s.groups).flat_map(|g| &g.members).any(|m| !m.cuts.is_empty());
    let bins = if in_bytes { bins_between(&first.marks()) } else { geometric_bins(first.length, per_doubling) };
    let mut own = Vec::with_capacity(models.len());
    for sums in models {
        let contributions = Contributions::new(sums, &options.estimators, options.ngram, ngram)?;
        let resamples = Resamples::new(sums, &contributions, options.resampling);
        let laws = lines(&contributions.cells).into_iter();
        let laws = laws.filter_map(|which| PowerLaw::of(&contributions.cells, resamples.clone(), options, which).ok()).collect();
        own.push(Own { loss: losses(sums, &bins), contributions, laws });
    }
    let Some(base) = own.get(baseline) else { return Err(Error::input(format!("there is no model {baseline} to take differences from"))) };
    if own.iter().any(|o| o.contributions.cells != base.contributions.cells) {
        return Err(Error::input("the models' records do not hold the same sums"));
    }
    let how = options.resampling;
    let resampled = |values: &[f64], shared: &[f64]| Resamples::of(&of_groups, values, shared, how);
    let profile = |loss: &[f64], information: &[f64], shared: &[f64], exponents: Vec<Exponent>| {
        let of_loss = estimates(&resampled(loss, &vec![0.0; bins.len() + 1]));
        let cells = base.contributions.cells.iter().zip(estimates(&resampled(information, shared)));
        let information = cells.map(|(c, estimate)| Information { estimator: c.estimator, ratio: c.ratio, split: c.split, estimate });
        Profile { mean_loss: of_loss[bins.len()], loss: of_loss[..bins.len()].to_vec(), information: information.collect(), exponents }
    };
    let less = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a - b).collect() };
    let alone = own.iter().map(|o| {
        let exponents = o.laws.iter().map(|l| Exponent { estimator: l.fit.estimator, ratio: l.fit.ratio, exponent: l.fit.exponent });
        profile(&o.loss, &o.contributions.values, &o.contributions.shared_error, exponents.collect())
    });
    let mut models: Vec<Profile> = alone.collect();
    let differences = own.iter().enumerate().map(|(i, o)| {
        (i != baseline).then(|| {
            let pair = |l: &PowerLaw| {
                let other = base.laws.iter().find(|b| (b.fit.estimator, b.fit.ratio, &b.fit.splits) == (l.fit.estimator, l.fit.ratio, &l.fit.splits))?;
                Some(Exponent { estimator: l.fit.estimator, ratio: l.fit.ratio, exponent: l.exponent_less(other) })
            };
            // The n-gram entropy of the corpus is one number in both, and cancels with its error.
            let no_shared = vec![0.0; base.contributions.cells.len()];
            let information = less(&o.contributions.values, &base.contributions.values);
            profile(&less(&o.loss, &base.loss), &information, &no_shared, o.laws.iter().filter_map(pair).collect())
        })
    });
    let mut differences: Vec<Option<Profile>> = differences.collect();
    // What lies at its ceiling has no interval to quote, and neither has a difference from it.
    let members = first.groups[0].members.len();
    let saturated = |p: &Profile| p.information.iter().map(|i| saturates(i.estimator, i.estimate.value, members)).collect::<Vec<bool>>();
    let marks: Vec<Vec<bool>> = models.iter().map(saturated).collect();
    for ((model, difference), own) in models.iter_mut().zip(&mut differences).zip(&marks) {
        for i in &mut model.information {
            let interval = i.estimate.lo.zip(i.estimate.hi).map(|(lo, hi)| Interval { lo, hi });
            let quoted = quoted(i.estimator, i.estimate.value, members, interval);
            (i.estimate.lo, i.estimate.hi) = (quoted.map(|q| q.lo), quoted.map(|q| q.hi));
        }
        let taken = own.iter().zip(&marks[baseline]).map(|(a, b)| *a || *b);
        let information = difference.iter_mut().flat_map(|d| &mut d.information);
        information.zip(taken).filter(|(_, taken)| *taken).for_each(|(i, _)| (i.estimate.lo, i.estimate.hi) = (None, None));
    }
    let documents = resampled(&base.loss, &vec![0.0; bins.len() + 1]).documents;
    Ok(Paired { bins, groups: of_groups.len(), documents, resampling: how, models, differences })
}

/// Estimators and ratios of some cells, in their order.
fn lines(cells: &[Cell]) -> Vec<(Estimator, u32)> {
    let mut lines: Vec<(Estimator, u32)> = cells.iter().map(|c| (c.estimator, c.ratio)).collect();
    lines.dedup();
    lines
}

fn bins_between(marks: &[u32]) -> Vec<Bin> {
    std::iter::once(0).chain(marks.iter().copied()).zip(marks.iter().copied()).map(|(after, to)| Bin { after, to }).collect()
}

fn estimates(r: &Resamples) -> Vec<Estimate> {
    let one = |c: usize| {
        let chosen = r.intervals(c).chosen(r.units);
        Estimate { value: r.mean[c], se: r.se[c], lo: chosen.map(|i| i.lo), hi: chosen.map(|i| i.hi) }
    };
    (0..r.cells()).map(one).collect()
}

/// `[groups, bins + 1]`: mean loss a token, or a byte, in each bin, and over the whole chunk; over the chunks of each group that have a trunk.
fn losses(sums: &Sums, bins: &[Bin]) -> Vec<f64> {
    let marks = sums.marks();
    let mut out = Vec::with_capacity(sums.groups.len() * (bins.len() + 1));
    for group in &sums.groups {
        let read = group.members.iter().enumerate().filter(|(i, m)| !(m.trunk.is_empty() && sums.pairing == Pairing::Published && *i > 0));
        let read: Vec<_> = read.map(|(_, m)| m).collect();
        let whole = Bin { after: 0, to: sums.length };
        for bin in bins.iter().chain([&whole]) {
            let chunk = |m: &&super::Member| {
                let tokens = |place: u32| match marks.binary_search(&place) {
                    _ if place == 0 => 0,
                    Ok(mark) if !m.cuts.is_empty() => m.cuts[mark] as usize,
                    _ => place as usize,
                };
                let lost: f64 = m.trunk[tokens(bin.after)..tokens(bin.to)].iter().map(|&x| -(x as f64)).sum();
                lost / (bin.to - bin.after) as f64
            };
            out.push(read.iter().map(chunk).sum::<f64>() / read.len() as f64);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{FitRange, Group, Marginal, Member, NgramCorrection};
    use super::*;

    /// Groups of two chunks of 4 tokens whose losses are `by(group, member, t)`.
    fn sums(groups: u32, by: impl Fn(u32, u32, u32) -> f64) -> Sums {
        let member = |g: u32, m: u32| Member {
            document: 2 * g + m,
            trunk: (1..=4).map(|t| -by(g, m, t) as f32).collect(),
            cuts: Vec::new(),
            marginal: [1, 2].iter().map(|&l| Marginal { by_ratio: vec![-(l as f64) * by(g, m, 0)], first: [f64::NAN; 8] }).collect(),
            cross: Vec::new(),
        };
        let groups = (0..groups).map(|g| Group { members: vec![member(g, 0), member(g, 1)] }).collect();
        Sums { pairing: Pairing::Matched, length: 4, splits: vec![1, 2], ratios: vec![2], groups }
    }

    fn options() -> Options {
        let resampling = Resampling { resamples: 200, ..Default::default() };
        Options { estimators: vec![Estimator::Direct], ngram: NgramCorrection::default(), resampling, fit: FitRange::All }
    }

    #[test]
    fn bins_cover_every_place_once() {
        for (length, per) in [(1, 2), (5, 1), (1024, 2), (1000, 3)] {
            let bins = geometric_bins(length, per);
            assert!(bins[0].after == 0 && bins[bins.len() - 1].to == length && bins.iter().all(|b| b.after < b.to));
            assert!(bins.windows(2).all(|w| w[0].to == w[1].after));
        }
        let ends = |length, per| geometric_bins(length, per).iter().map(|b| b.to).collect::<Vec<_>>();
        assert_eq!(ends(20, 1), [1, 2, 4, 8, 16, 20]);
        assert_eq!(ends(23, 2), [1, 2, 3, 4, 6, 8, 11, 16, 23]);
        assert_eq!(bins_between(&[2, 6]), [Bin { after: 0, to: 2 }, Bin { after: 2, to: 6 }]);
    }

    /// Texts differ much, models by a constant at each place: the difference is known exactly, however large the errors of each.
    #[test]
    fn the_difficulty_of_a_text_cancels() {
        let text = |g: u32, m: u32| 1.0 + (g * 7 + m * 3) as f64 % 5.0;
        let a = sums(12, |g, m, _| text(g, m));
        let b = sums(12, |g, m, t| text(g, m) + t as f64 / 8.0);
        let p = compare(&[a, b], &options(), None, 0, 1).unwrap();
        assert_eq!((p.groups, p.documents, p.bins.len()), (12, 24, 3));
        let mean = (0..12).map(|g| (text(g, 0) + text(g, 1)) / 2.0).sum::<f64>() / 12.0;
        assert!(p.models[0].loss.iter().all(|l| (l.value - mean).abs() < 1e-12 && l.se.unwrap() > 0.1));
        let d = p.differences[1].as_ref().unwrap();
        // Places 1, 2, and 3 with 4: eighths that float32 holds.
        assert_eq!(d.loss.iter().map(|l| l.value).collect::<Vec<_>>(), [0.125, 0.25, 0.4375]);
        assert_eq!((d.mean_loss.value, p.differences[0].is_none()), (0.3125, true));
        assert!(d.loss.iter().all(|l| l.se.unwrap() < 1e-12 && (l.hi.unwrap() - l.lo.unwrap()).abs() < 1e-12));
        // Direct at ℓ: joint less marginal; the joint term is −(loss of places ℓ+1 … 2ℓ).
        let at = |l: u32| d.information.iter().find(|i| i.split == l).unwrap().estimate.value;
        assert!((at(1) + 0.25).abs() < 1e-12 && (at(2) + 0.875).abs() < 1e-12);
    }

    /// A model that tells every own tail from the foreign one by 100 nats is at the ceiling ln 2: it has no interval, and neither has its difference from one that tells none.
    #[test]
    fn what_is_saturated_has_no_interval() {
        let with = |apart: f64| {
            let mut s = sums(12, |_, _, _| 1.0);
            s.groups.iter_mut().flat_map(|g| &mut g.members).for_each(|m| m.cross = vec![[1.0, 2.0].iter().map(|l| vec![-l - apart]).collect()]);
            s
        };
        let options = Options { estimators: vec![Estimator::Infonce, Estimator::Vclub], ..options() };
        let p = compare(&[with(0.0), with(100.0)], &options, None, 0, 1).unwrap();
        let quoted = |p: &Profile, e| p.information.iter().filter(|i| i.estimator == e).map(|i| i.estimate.lo.is_some()).collect::<Vec<_>>();
        let d = p.differences[1].as_ref().unwrap();
        assert_eq!([&p.models[0], &p.models[1], d].map(|x| quoted(x, Estimator::Infonce)), [[true; 2], [false; 2], [false; 2]]);
        assert_eq!([&p.models[0], &p.models[1], d].map(|x| quoted(x, Estimator::Vclub)), [[true; 2]; 3]);
        assert!((d.information.iter().find(|i| i.estimator == Estimator::Infonce).unwrap().estimate.value - std::f64::consts::LN_2).abs() < 1e-12);
    }

    #[test]
    fn places_of_bytes_are_those_that_are_known() {
        let mut s = sums(3, |_, _, t| t as f64);
        for m in s.groups.iter_mut().flat_map(|g| &mut g.members) {
            // Marks 1, 2, 4 bytes after 0, 3 and 4 tokens.
            m.cuts = vec![0, 3, 4];
            m.trunk.truncate(4);
        }
        let p = compare(&[s], &options(), None, 0, 2).unwrap();
        assert_eq!(p.bins.iter().map(|b| b.to).collect::<Vec<_>>(), [1, 2, 4]);
        // Nothing in the first byte, three tokens in the second, one in the two after.
        assert_eq!(p.models[0].loss.iter().map(|l| l.value).collect::<Vec<_>>(), [0.0, 6.0, 2.0]);
        assert_eq!(p.models[0].mean_loss.value, 2.5);
    }

    #[test]
    fn what_is_not_of_the_same_chunks_is_refused() {
        let a = sums(3, |_, _, _| 1.0);
        let mut b = a.clone();
        b.groups[1].members[0].document = 99;
        let said = |models: &[Sums]| compare(models, &options(), None, 0, 2).unwrap_err().to_string();
        assert!(said(&[a.clone(), b]).contains("not of the same chunks"));
        assert!(said(&[a.clone(), Sums { length: 8, ..a.clone() }]).contains("not of the same chunks"));
        assert!(said(&[a.with_no_group()]).contains("no complete group"));
    }
}
