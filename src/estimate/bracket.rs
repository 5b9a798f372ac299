//! The bracket [InfoNCE, L1Out] around I(ℓ; rℓ) (Poole et al. 2019, "On variational bounds of mutual information").
//!
//! Both ends read the same sums. With u = ln q(y|x) − ln mean_K q(y|x') what a tail says to L1Out, InfoNCE takes ln(K+1) − ln(1 + K e^(−u)) of it, so that a
//! tail's two ends are ln((e^u + K)/(K + 1)) apart: nothing at u = 0, and u − ln(K + 1) where u is large. From this follows what the ends are worth:
//!
//! - The lower end is at most I for *any* q, and never above ln(K + 1); where it comes near, it says nothing but that I is at least about as large.
//! - The upper end is at least I only if q is the texts' law p; with another q it may lie on either side.
//! - With q = p the upper end comes near to I only where K exceeds about e^I: an average over fewer heads misses the rare ones that explain a tail (Chatterjee
//!   and Diaconis 2018, theorem 1.1: importance sampling takes about exp(KL) draws; here the mean KL is I). An upper end above ln(K + 1) is therefore never
//!   tight: either I is beyond what K heads show, or the end is beyond I.
//! - If the upper end is below 0, or below the lower one, q is far from p: a tail has u < 0 where foreign heads predict it better than its own.

use super::analysis::{Analysis, Note, Point};
use super::contribution::Estimator;
use serde::{Deserialize, Serialize};

/// One end of a bracket, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// The estimate.
    pub value: f64,
    /// Lower end of its interval, as [`Point::lo`].
    pub lo: Option<f64>,
    /// Upper end of its interval.
    pub hi: Option<f64>,
}

impl End {
    fn of(p: &Point) -> Self {
        End { value: p.value, lo: p.lo, hi: p.hi }
    }
}

/// The bracket at one (ℓ, r).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bracket {
    /// r = L/ℓ.
    pub ratio: u32,
    /// ℓ.
    pub split: u32,
    /// InfoNCE: at most I, whatever q is.
    pub lower: End,
    /// L1Out: at least I if q is the texts' law.
    pub upper: End,
    /// The most that the lower end can be, ln(K + 1).
    pub ceiling: f64,
    /// Whether the lower end is near it ([`Note::Saturated`]).
    pub saturated: bool,
    /// Whether the upper end is too high to be tight ([`Note::NotTight`]).
    pub not_tight: bool,
    /// Whether the upper end lies below the lower one or below 0: q is far from the texts' law, and the upper end is no bound.
    pub inverted: bool,
}

/// The brackets of all (ℓ, r) that have both ends: by ratio, then split.
pub(super) fn brackets(points: &[Point], ceiling: f64) -> Vec<Bracket> {
    let lower = points.iter().filter(|p| p.estimator == Estimator::Infonce);
    let upper = |l: &Point| points.iter().find(|p| (p.estimator, p.ratio, p.split) == (Estimator::L1out, l.ratio, l.split));
    let bracket = |(l, u): (&Point, &Point)| Bracket {
        ratio: l.ratio,
        split: l.split,
        lower: End::of(l),
        upper: End::of(u),
        ceiling,
        saturated: l.notes.contains(&Note::Saturated),
        not_tight: u.notes.contains(&Note::NotTight),
        inverted: u.value < l.value.max(0.0),
    };
    lower.filter_map(|l| Some((l, upper(l)?))).map(bracket).collect()
}

impl Analysis {
    /// The brackets at ratio r, by split.
    pub fn brackets_at(&self, ratio: u32) -> impl Iterator<Item = &Bracket> {
        self.brackets.iter().filter(move |b| b.ratio == ratio)
    }
}

#[cfg(test)]
mod tests {
    use super::super::errors::Intervals;
    use super::*;

    fn point(estimator: Estimator, split: u32, value: f64, notes: Vec<Note>) -> Point {
        let (lo, hi) = (Some(value - 0.1), Some(value + 0.1));
        Point { estimator, ratio: 2, split, value, se: None, lo, hi, intervals: Intervals::default(), groups: 1, documents: 1, notes }
    }

    #[test]
    fn both_ends_are_needed_and_what_they_are_worth_is_told() {
        let (l, u) = (Estimator::L1out, Estimator::Infonce);
        let points = [
            point(l, 2, 0.5, vec![]),
            point(l, 4, 3.0, vec![Note::NotTight]),
            point(l, 8, -0.2, vec![]),
            point(u, 2, 0.4, vec![]),
            point(u, 4, 1.38, vec![Note::Saturated]),
            point(u, 8, -0.1, vec![]),
            point(u, 16, 0.1, vec![]),
        ];
        let b = brackets(&points, 4f64.ln());
        assert_eq!(
            b.iter().map(|b| (b.split, b.saturated, b.not_tight, b.inverted)).collect::<Vec<_>>(),
            [(2, false, false, false), (4, true, true, false), (8, false, false, true)]
        );
        assert_eq!((b[0].lower.value, b[0].upper.value, b[0].upper.hi), (0.4, 0.5, Some(0.6)));
        assert_eq!(brackets(&points[..3], 4f64.ln()), []);
    }
}
