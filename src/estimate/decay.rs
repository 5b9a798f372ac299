//! The law of two-point information, I_d = A d^(−α) + c: a power of the distance above a residual bias 0 ≤ c < min I_d.
//!
//! Least squares on I_d itself, each point weighted by its inverse variance: for each α the best A ≥ 0 and c are those of a line with bounds, and α is
//! sought by itself (variable projection; Golub and Pereyra 1973). Errors: the same fit with each fold of documents left out (delete-a-group
//! jackknife), which brings in that the distances share their texts. The published form, a straight line through ln I_d against ln d, stands beside.

use super::errors::Interval;
use super::fit::line;
use super::special::student_quantile;
use serde::{Deserialize, Serialize};

/// A fitted number with its jackknife error.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fitted {
    /// The fit to the estimates themselves.
    pub value: f64,
    /// Standard error.
    pub se: f64,
    /// Student's interval, as far as it lies in the law's range.
    pub interval: Interval,
}

/// A straight line through ln I_d against ln d by ordinary least squares, all points alike and without a residual bias.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StraightLine {
    /// α.
    pub exponent: f64,
    /// A, in nats.
    pub amplitude: f64,
}

/// The fit of one estimator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decay {
    /// α.
    pub exponent: Fitted,
    /// A, in nats.
    pub amplitude: Fitted,
    /// c, in nats.
    pub residual: Fitted,
    /// The bound that c sits at, if any: 0, or the least I_d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual_bound: Option<f64>,
    /// Distances fitted.
    pub distances: Vec<u64>,
    /// Σ (I_d − fit)²/se², as if distances were independent, which they are not: a large value says that the law does not hold, a small one little.
    pub chi_squared: f64,
    /// The published form; `None` where a point is not positive.
    pub published: Option<StraightLine>,
}

/// α is sought between these.
const EXPONENTS: (f64, f64) = (0.02, 8.0);
/// Places looked at before the best of them is refined.
const GRID: usize = 240;
/// A law of three numbers says something of more points than these.
const FEWEST: usize = 4;

/// Estimates at one distance.
pub struct DecayPoint<'a> {
    /// d.
    pub distance: u64,
    /// I_d.
    pub value: f64,
    /// Its standard error.
    pub se: Option<f64>,
    /// I_d with each fold left out.
    pub left_out: &'a [f64],
}

impl Decay {
    /// Fits all points, with intervals of coverage `level`.
    ///
    /// # Errors
    /// In a sentence, why there is no law to report: fewer than four points, points without errors, no decay within the range of α.
    pub fn fit(points: &[DecayPoint<'_>], level: f64) -> Result<Self, String> {
        if points.len() < FEWEST {
            return Err(format!("{} distances are too few for a law of three numbers; it takes {FEWEST}", points.len()));
        }
        let se: Option<Vec<f64>> = points.iter().map(|p| p.se.filter(|&se| se > 0.0 && se.is_finite())).collect();
        let Some(se) = se else { return Err("some points have no errors; they come from folds of documents, of which each distance needs two".into()) };
        let x: Vec<f64> = points.iter().map(|p| libm::log(p.distance as f64)).collect();
        let w: Vec<f64> = se.iter().map(|s| 1.0 / (s * s)).collect();
        let values: Vec<f64> = points.iter().map(|p| p.value).collect();
        let best = Law::fit(&x, &values, &w);
        if best.amplitude == 0.0 || best.exponent <= EXPONENTS.0 || best.exponent >= EXPONENTS.1 {
            return Err(format!("no decay with an exponent between {} and {} is seen", EXPONENTS.0, EXPONENTS.1));
        }
        let folds = points[0].left_out.len();
        let refits: Vec<Law> = (0..folds).map(|f| Law::fit(&x, &points.iter().map(|p| p.left_out[f]).collect::<Vec<_>>(), &w)).collect();
        let t = student_quantile(0.5 + 0.5 * level, folds as f64 - 1.0);
        let fitted = |of: &dyn Fn(&Law) -> f64, (least, most): (f64, f64)| {
            let value = of(&best);
            let se = jackknife(&refits.iter().map(of).collect::<Vec<_>>());
            Fitted { value, se, interval: Interval { lo: (value - t * se).max(least), hi: (value + t * se).min(most) } }
        };
        let most = most_residual(&values);
        Ok(Decay {
            exponent: fitted(&|l| l.exponent, EXPONENTS),
            amplitude: fitted(&|l| l.amplitude, (0.0, f64::INFINITY)),
            residual: fitted(&|l| l.residual, (0.0, most)),
            residual_bound: [0.0, most].into_iter().find(|&b| best.residual == b),
            distances: points.iter().map(|p| p.distance).collect(),
            chi_squared: best.misfit,
            published: published(&x, &values).map(|(slope, intercept)| StraightLine { exponent: -slope, amplitude: libm::exp(intercept) }),
        })
    }

    /// χ² by degrees of freedom, which are the distances less three.
    pub fn misfit(&self) -> f64 {
        self.chi_squared / self.distances.len().saturating_sub(3).max(1) as f64
    }

    /// The law at a distance.
    pub fn at(&self, distance: f64) -> f64 {
        self.amplitude.value * libm::pow(distance, -self.exponent.value) + self.residual.value
    }
}

/// The largest c: below the least I_d by less than anyone could tell.
fn most_residual(y: &[f64]) -> f64 {
    y.iter().copied().fold(f64::INFINITY, f64::min).max(0.0) * (1.0 - 1e-9)
}

/// Standard error from estimates with each group left out: √((g − 1)/g Σ (x − x̄)²).
pub(super) fn jackknife(left_out: &[f64]) -> f64 {
    let g = left_out.len() as f64;
    let mean = left_out.iter().sum::<f64>() / g;
    ((g - 1.0) / g * left_out.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>()).sqrt()
}

/// Slope and intercept of ln y against x; `None` where a y has no logarithm.
fn published(x: &[f64], y: &[f64]) -> Option<(f64, f64)> {
    let logs: Option<Vec<f64>> = y.iter().map(|&y| (y > 0.0).then(|| libm::log(y))).collect();
    line(x.iter().copied().zip(logs?))
}

#[derive(Clone, Copy, Debug)]
struct Law {
    exponent: f64,
    amplitude: f64,
    residual: f64,
    misfit: f64,
}

impl Law {
    /// The best law for values at ln d = `x` with weights `w`.
    fn fit(x: &[f64], y: &[f64], w: &[f64]) -> Law {
        let step = (EXPONENTS.1 / EXPONENTS.0).powf(1.0 / (GRID - 1) as f64);
        let of = |exponent: f64| Law::with(exponent, x, y, w);
        let grid: Vec<f64> = (0..GRID).map(|i| if i == GRID - 1 { EXPONENTS.1 } else { EXPONENTS.0 * step.powi(i as i32) }).collect();
        let misfits: Vec<f64> = grid.iter().map(|&e| of(e).misfit).collect();
        let at = (0..GRID).min_by(|&a, &b| misfits[a].total_cmp(&misfits[b])).unwrap_or(0);
        // Golden section between the neighbours.
        let ratio = 0.5 * (5f64.sqrt() - 1.0);
        let (mut lo, mut hi) = (grid[at.saturating_sub(1)], grid[(at + 1).min(GRID - 1)]);
        let (mut a, mut b) = (of(hi - ratio * (hi - lo)), of(lo + ratio * (hi - lo)));
        for _ in 0..80 {
            if a.misfit <= b.misfit {
                (hi, b) = (b.exponent, a);
                a = of(hi - ratio * (hi - lo));
            } else {
                (lo, a) = (a.exponent, b);
                b = of(lo + ratio * (hi - lo));
            }
        }
        [of(grid[at]), a, b].into_iter().min_by(|a, b| a.misfit.total_cmp(&b.misfit)).unwrap_or(a)
    }

    /// The best A ≥ 0 and 0 ≤ c < min y with a given exponent. The misfit is a convex function of both, so with a bound broken the best lies on it.
    fn with(exponent: f64, x: &[f64], y: &[f64], w: &[f64]) -> Law {
        let p: Vec<f64> = x.iter().map(|&x| libm::exp(-exponent * x)).collect();
        let sum = |of: &dyn Fn(usize) -> f64| (0..p.len()).map(|i| w[i] * of(i)).sum::<f64>();
        let (s, sp, sy) = (sum(&|_| 1.0), sum(&|i| p[i]), sum(&|i| y[i]));
        let (mp, my) = (sp / s, sy / s);
        let (spp, spy) = (sum(&|i| (p[i] - mp) * (p[i] - mp)), sum(&|i| (p[i] - mp) * (y[i] - my)));
        let most = most_residual(y);
        let free = if spp > 0.0 { my - spy / spp * mp } else { 0.0 };
        let residual = free.clamp(0.0, most);
        let amplitude = (sum(&|i| p[i] * (y[i] - residual)) / sum(&|i| p[i] * p[i])).max(0.0);
        let misfit = sum(&|i| (y[i] - amplitude * p[i] - residual) * (y[i] - amplitude * p[i] - residual));
        Law { exponent, amplitude, residual, misfit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn distances() -> Vec<u64> {
        (0..14).map(|k| 1 << k).collect()
    }

    #[test]
    fn an_exact_law_is_found() {
        for (a, alpha, c) in [(1.1, 0.91, 0.02), (0.5, 0.3, 0.0), (2.0, 1.7, 0.3)] {
            let values: Vec<f64> = distances().iter().map(|&d| a * (d as f64).powf(-alpha) + c).collect();
            let points: Vec<DecayPoint> =
                distances().into_iter().zip(&values).map(|(distance, &value)| DecayPoint { distance, value, se: Some(0.01 * value), left_out: &[] }).collect();
            let x: Vec<f64> = points.iter().map(|p| (p.distance as f64).ln()).collect();
            let law = Law::fit(&x, &values, &[1e4; 14]);
            // Golden section ends where a misfit's rounding (1e-16 of the largest term) hides the exponent: 1e-7.
            assert!((law.exponent - alpha).abs() < 1e-6 && (law.amplitude - a).abs() < 1e-6 && (law.residual - c).abs() < 1e-6, "{law:?}");
            if c == 0.0 {
                let (slope, intercept) = published(&x, &values).unwrap();
                assert!((slope + alpha).abs() < 1e-12 && (intercept.exp() - a).abs() < 1e-12);
            }
        }
    }

    /// Groups of documents with independent errors: the jackknife's intervals of α cover it as often as they say.
    #[test]
    fn intervals_cover() {
        let (a, alpha, c, folds, draws) = (1.0, 0.8, 0.05, 20, 200);
        let truth: Vec<f64> = distances().iter().map(|&d| a * (d as f64).powf(-alpha) + c).collect();
        let mut covered = 0;
        for draw in 0..draws {
            let mut rng = Rng::new(draw, 3);
            // A fold's effect is partly shared by its distances, as a text's is.
            let by_fold: Vec<Vec<f64>> = (0..folds)
                .map(|_| {
                    let shared = rng.normal();
                    truth.iter().map(|t| t * (1.0 + 0.02 * (0.7 * shared + 0.7 * rng.normal()))).collect()
                })
                .collect();
            let mean = |without: Option<usize>| -> Vec<f64> {
                let kept: Vec<_> = by_fold.iter().enumerate().filter(|f| Some(f.0) != without).map(|f| f.1).collect();
                (0..truth.len()).map(|i| kept.iter().map(|v| v[i]).sum::<f64>() / kept.len() as f64).collect()
            };
            let (all, without): (Vec<f64>, Vec<Vec<f64>>) = (mean(None), (0..folds).map(|f| mean(Some(f))).collect());
            let left_out: Vec<Vec<f64>> = (0..truth.len()).map(|i| without.iter().map(|v| v[i]).collect()).collect();
            let points: Vec<DecayPoint> = distances()
                .into_iter()
                .enumerate()
                .map(|(i, distance)| DecayPoint { distance, value: all[i], se: Some(jackknife(&left_out[i])), left_out: &left_out[i] })
                .collect();
            let fit = Decay::fit(&points, 0.95).unwrap();
            covered += u32::from((fit.exponent.interval.lo..fit.exponent.interval.hi).contains(&alpha));
        }
        // 99.9 % of binomial counts of 200 with p = 0.95 lie within 3.3 standard deviations, √(200 · 0.95 · 0.05) = 3.1, of 190.
        assert!((180..=200).contains(&covered), "{covered} of {draws}");
    }

    #[test]
    fn what_is_no_decay_is_said() {
        let point = |distance, value| DecayPoint { distance, value, se: Some(0.1), left_out: &[1.0, 1.0] };
        let no = |values: &[f64]| Decay::fit(&values.iter().enumerate().map(|(i, &v)| point(1 << i, v)).collect::<Vec<_>>(), 0.95).unwrap_err();
        assert!(no(&[1.0, 0.5, 0.2]).contains("too few"));
        assert!(no(&[0.1, 0.2, 0.3, 0.4, 0.5]).contains("no decay"));
        let points: Vec<_> = (0..5).map(|i| DecayPoint { se: None, ..point(1 << i, 1.0 / (i + 1) as f64) }).collect();
        assert!(Decay::fit(&points, 0.95).unwrap_err().contains("no errors"));
    }
}
