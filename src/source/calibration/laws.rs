//! What the laws of I say of each draw's curve: the kind of growth that it is judged to have, and β of the power law by generalised least squares.
//!
//! The exponent of such a fit hangs on the points' covariance, which every draw estimates anew: it is held against β of the *same* fit, under the same covariance, to
//! the exact curve, draw by draw. So there is one only where all of the estimator's expectations have closed forms.

use super::{Comparison, Estimate, Trial};
use crate::estimate::laws::{Curve, Growth, Law, Laws};
use crate::estimate::{Cell, Estimator, Fit, NgramCorrection, Resamples};
use crate::source::known::{Expectation, Known};
use serde::{Deserialize, Serialize};

/// What the laws say of one draw's curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LawDrawn {
    /// The kind of law that fits best.
    pub growth: Growth,
    /// β by generalised least squares, and what it should be; `None` without closed forms, or where the power law has no fit.
    pub exponent: Option<(Estimate, f64)>,
}

/// How often each kind of growth was judged, and how the exponents compare.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LawResult {
    /// Estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// Draws judged a power.
    pub power: u32,
    /// Draws judged a logarithm.
    pub logarithm: u32,
    /// Draws judged to saturate.
    pub saturating: u32,
    /// Draws whose points bear no comparison of laws.
    pub none: u32,
    /// β by generalised least squares; `expected` is the mean of what it should be, which differs from draw to draw. `None` where fewer than two draws have one.
    pub exponent: Option<Comparison>,
}

/// The laws of one draw; `None` where its points bear no comparison.
pub(super) fn drawn(source: &dyn Known, trial: &Trial, cells: &[Cell], resamples: &Resamples, line: &Fit) -> Option<LawDrawn> {
    let curve = Laws::curve(cells, resamples, line);
    let growth = curve.growth(&Law::OF_INFORMATION)?;
    let closed = |&split: &u32| source.closed(Cell { estimator: line.estimator, ratio: line.ratio, split }, trial.foreign, NgramCorrection::default());
    let exponent = line.splits.iter().map(closed).collect::<Option<Vec<f64>>>().and_then(|exact| {
        let beta = |c: &Curve, errors| Some(c.fit_as(Law::Power, errors).ok()?.parameter("β")?.quantity);
        let (ours, expected) = (beta(&curve, true)?, beta(&curve.with_values(&exact), false)?.value);
        Some((Estimate { value: ours.value, se: ours.se, interval: ours.lo.zip(ours.hi) }, expected))
    });
    Some(LawDrawn { growth, exponent })
}

impl LawResult {
    /// Of one estimator at one ratio, over all draws.
    pub(super) fn new((estimator, ratio): (Estimator, u32), draws: &[Option<LawDrawn>]) -> Self {
        let judged = |growth| draws.iter().flatten().filter(|d| d.growth == growth).count() as u32;
        let exponents: Vec<(Estimate, f64)> = draws.iter().flatten().filter_map(|d| d.exponent).collect();
        // About what each draw should have; the mean of that is added to both again.
        let about: Vec<Estimate> =
            exponents.iter().map(|(e, x)| Estimate { value: e.value - x, interval: e.interval.map(|(lo, hi)| (lo - x, hi - x)), ..*e }).collect();
        let expected = exponents.iter().map(|e| e.1).sum::<f64>() / exponents.len().max(1) as f64;
        let exponent =
            Comparison::new(Expectation::exact(0.0), &about, 0.0).map(|c| Comparison { expected: Expectation::exact(expected), mean: c.mean + expected, ..c });
        LawResult {
            estimator,
            ratio,
            power: judged(Growth::Power),
            logarithm: judged(Growth::Logarithm),
            saturating: judged(Growth::Saturating),
            none: draws.iter().filter(|d| d.is_none()).count() as u32,
            exponent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_by_hand() {
        let of = |growth, value: f64, expected| {
            Some(LawDrawn { growth, exponent: Some((Estimate { value, se: Some(0.1), interval: Some((value - 0.2, value + 0.1)) }, expected)) })
        };
        let bare = Some(LawDrawn { growth: Growth::Saturating, exponent: None });
        let draws = [of(Growth::Power, 0.5, 0.4), of(Growth::Power, 0.3, 0.6), None, bare, of(Growth::Logarithm, 0.7, 0.5)];
        let r = LawResult::new((Estimator::Direct, 2), &draws);
        assert_eq!((r.power, r.logarithm, r.saturating, r.none), (2, 1, 1, 1));
        let c = r.exponent.unwrap();
        // Off by 0.1, −0.3 and 0.2; the second interval, 0.1 to 0.4, misses 0.6.
        assert!((c.mean - 0.5).abs() < 1e-15 && (c.expected.value - 0.5).abs() < 1e-15 && c.z.abs() < 1e-12, "{c:?}");
        assert_eq!((c.draws, c.intervals, c.covered), (3, 3, Some(2)));
        assert!((c.deviation - (0.14f64 / 2.0).sqrt()).abs() < 1e-15);
        assert_eq!(LawResult::new((Estimator::Direct, 2), &[None, bare]).exponent, None);
    }
}
