//! The power law I = A ℓ^β: a straight line through ln I against ln ℓ by ordinary least squares, with resampled intervals.

use super::Estimator;
use super::contribution::Cell;
use super::errors::{Interval, Intervals, Resamples};
use serde::{Deserialize, Serialize};

/// Which splits enter a fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FitRange {
    /// All that were measured.
    #[default]
    All,
    /// As published: 2 … 512 for r = 2, 2 … 256 for larger ratios.
    Published,
    /// From and to, inclusive.
    Splits(u32, u32),
}

impl FitRange {
    /// Whether split ℓ enters at ratio r.
    pub fn contains(self, split: u32, ratio: u32) -> bool {
        match self {
            FitRange::All => true,
            FitRange::Published => (2..=if ratio == 2 { 512 } else { 256 }).contains(&split),
            FitRange::Splits(from, to) => (from..=to).contains(&split),
        }
    }
}

/// A fitted number with its errors.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantity {
    /// The fit to the estimates themselves.
    pub value: f64,
    /// Standard deviation over resamples.
    pub se: Option<f64>,
    /// Lower end of the interval to quote (see [`Intervals::chosen`]).
    pub lo: Option<f64>,
    /// Its upper end.
    pub hi: Option<f64>,
    /// All intervals.
    pub intervals: Intervals,
}

/// The fit of one estimator at one ratio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// The estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// The splits fitted.
    pub splits: Vec<u32>,
    /// Splits in the range that have no logarithm: I ≤ 0.
    pub left_out: Vec<u32>,
    /// β.
    pub exponent: Quantity,
    /// A, in nats.
    pub amplitude: Quantity,
    /// Share of the variance of ln I that the line explains.
    pub r_squared: f64,
    /// Resamples in which one of these splits had I ≤ 0 and was left out of the refit.
    pub incomplete_resamples: u32,
    /// Independent units behind the intervals.
    pub units: usize,
    /// Distinct documents behind them.
    pub documents: usize,
}

/// What resamples and units say of ln A and β together: from it follow intervals of whatever depends on both.
#[derive(Clone, Debug)]
pub struct LawDraws {
    /// (ln A, β) of each resample, in the draws' order; NaN where too few of its points are positive for a line.
    pub draws: Vec<(f64, f64)>,
    /// By how much each unit moves (ln A, β), to first order.
    pub influence: Vec<(f64, f64)>,
}

/// Why no power law is reported where one was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unfitted {
    /// The estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// A sentence.
    pub why: String,
}

/// Points below which a line says nothing of a law: two always lie on one.
const FEWEST_POINTS: usize = 3;

/// Share of resamples in which a fitted point may be lost for I ≤ 0. Above it the points are not told from zero, and those that
/// happen to be positive are a selection.
const MOST_INCOMPLETE: f64 = 0.05;

/// A straight line by least squares: (slope, intercept). `None` below two distinct abscissae.
pub(crate) fn line(x: impl Iterator<Item = (f64, f64)> + Clone) -> Option<(f64, f64)> {
    let n = x.clone().count() as f64;
    let (sx, sy) = x.clone().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mx, my) = (sx / n, sy / n);
    let (sxx, sxy) = x.fold((0.0, 0.0), |(a, b), (x, y)| (a + (x - mx) * (x - mx), b + (x - mx) * (y - my)));
    (sxx > 0.0).then(|| (sxy / sxx, my - sxy / sxx * mx))
}

/// (β, A) of the straight line by least squares through ln I against ln ℓ, from (ℓ, I). `None` where it is not determined, or something has no logarithm.
pub fn power_line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let logs: Option<Vec<(f64, f64)>> = points.iter().map(|&(l, i)| (l > 0.0 && i > 0.0).then(|| (libm::log(l), libm::log(i)))).collect();
    line(logs?.into_iter()).map(|(slope, intercept)| (slope, libm::exp(intercept)))
}

impl Fit {
    /// Fits one estimator at one ratio.
    ///
    /// # Errors
    /// Why there is no law to report: fewer than three positive points, points without errors, a point that is not positive between those that are, or points that are lost
    /// (I ≤ 0) in more than one resample of twenty.
    pub fn new(cells: &[Cell], resamples: &Resamples, estimator: Estimator, ratio: u32, range: FitRange) -> Result<Self, Unfitted> {
        Fit::with_draws(cells, resamples, estimator, ratio, range).map(|(fit, _)| fit)
    }

    /// The same with its resamples.
    ///
    /// # Errors
    /// As [`Fit::new`].
    pub fn with_draws(cells: &[Cell], resamples: &Resamples, estimator: Estimator, ratio: u32, range: FitRange) -> Result<(Self, LawDraws), Unfitted> {
        let asked = |c: &Cell| c.estimator == estimator && c.ratio == ratio && range.contains(c.split, ratio);
        let (used, out): (Vec<usize>, Vec<usize>) = (0..cells.len()).filter(|&i| asked(&cells[i])).partition(|&i| resamples.mean[i] > 0.0);
        let x: Vec<f64> = used.iter().map(|&i| libm::log(cells[i].split as f64)).collect();
        let y: Vec<f64> = used.iter().map(|&i| libm::log(resamples.mean[i])).collect();
        let no = |why: String| Unfitted { estimator, ratio, why };
        let fitted = line(x.iter().copied().zip(y.iter().copied())).filter(|_| used.len() >= FEWEST_POINTS);
        let (slope, intercept) =
            fitted.ok_or_else(|| no(format!("{} of {} points are positive, and a law needs {FEWEST_POINTS}", used.len(), used.len() + out.len())))?;
        if used.iter().any(|&i| resamples.se[i].is_none()) {
            return Err(no("the points have no errors; measure more groups of more documents".into()));
        }
        let (first, last) = (cells[used[0]].split, cells[used[used.len() - 1]].split);
        if let Some(hole) = out.iter().map(|&i| cells[i].split).find(|s| (first..last).contains(s)) {
            return Err(no(format!("I is not positive at ℓ = {hole}, between points that are: the points are not told from zero")));
        }

        let mut incomplete = 0;
        let mut draws = Vec::with_capacity(resamples.how.resamples as usize);
        for row in resamples.draws.chunks_exact(resamples.cells()) {
            let points = used.iter().zip(&x).filter(|(i, _)| row[**i] > 0.0).map(|(i, x)| (*x, libm::log(row[*i])));
            if points.clone().count() < used.len() {
                incomplete += 1;
            }
            draws.push(line(points).map_or((f64::NAN, f64::NAN), |(s, i)| (i, s)));
        }
        let resampled = resamples.draws.len() / resamples.cells().max(1);
        if incomplete as f64 > MOST_INCOMPLETE * resampled as f64 {
            return Err(no(format!("in {incomplete} of {resampled} resamples some point is not positive: the points are not told from zero")));
        }
        // First-order influence of a unit: dβ = Σ_c b_c dI_c / I_c, b the weights of the least-squares slope.
        let n = x.len() as f64;
        let mx = x.iter().sum::<f64>() / n;
        let sxx: f64 = x.iter().map(|v| (v - mx) * (v - mx)).sum();
        let influence = |weight: &dyn Fn(f64) -> f64| -> Vec<f64> {
            let row = |row: &[f64]| used.iter().zip(&x).map(|(&i, &x)| weight(x) * row[i] / resamples.mean[i]).sum::<f64>();
            resamples.influence.chunks_exact(resamples.cells()).map(row).collect()
        };
        let of_slope = influence(&|x| (x - mx) / sxx);
        let of_intercept = influence(&|x| 1.0 / n - mx * (x - mx) / sxx);
        let quantity = |value: f64, draws: Vec<f64>, influence: &[f64]| {
            let se = deviation(&draws);
            let intervals = resamples.intervals_of(value, se, draws, influence);
            let chosen = intervals.chosen(resamples.units);
            Quantity { value, se, lo: chosen.map(|i| i.lo), hi: chosen.map(|i| i.hi), intervals }
        };
        let drawn = |of: fn(&(f64, f64)) -> f64| draws.iter().map(of).filter(|x| !x.is_nan()).collect();
        let exponent = quantity(slope, drawn(|d| d.1), &of_slope);
        let amplitude = quantity(intercept, drawn(|d| d.0), &of_intercept).exp();
        let my = y.iter().sum::<f64>() / n;
        let (left, all) = x.iter().zip(&y).fold((0.0, 0.0), |(l, a), (x, y)| {
            let e = y - intercept - slope * x;
            (l + e * e, a + (y - my) * (y - my))
        });
        let fit = Fit {
            estimator,
            ratio,
            splits: used.iter().map(|&i| cells[i].split).collect(),
            left_out: out.iter().map(|&i| cells[i].split).collect(),
            exponent,
            amplitude,
            r_squared: if all > 0.0 { 1.0 - left / all } else { 1.0 },
            incomplete_resamples: incomplete,
            units: resamples.units,
            documents: resamples.documents,
        };
        Ok((fit, LawDraws { draws, influence: of_intercept.into_iter().zip(of_slope).collect() }))
    }
}

impl Quantity {
    /// A number with what resamples (those without it are left out) and units say of it; its standard error from the units' influence.
    pub(super) fn of(resamples: &Resamples, value: f64, draws: impl Iterator<Item = f64>, influence: &[f64]) -> Self {
        let se = resamples.se.iter().all(Option::is_some).then(|| influence.iter().map(|x| x * x).sum::<f64>().sqrt());
        let intervals = resamples.intervals_of(value, se, draws.filter(|x| !x.is_nan()).collect(), influence);
        let chosen = intervals.chosen(resamples.units);
        Quantity { value, se, lo: chosen.map(|i| i.lo), hi: chosen.map(|i| i.hi), intervals }
    }

    /// From ln A to A; the standard error by the delta method.
    fn exp(self) -> Self {
        let interval = |i: Option<Interval>| i.map(|i| Interval { lo: libm::exp(i.lo), hi: libm::exp(i.hi) });
        let value = libm::exp(self.value);
        Quantity {
            value,
            se: self.se.map(|s| s * value),
            lo: self.lo.map(libm::exp),
            hi: self.hi.map(libm::exp),
            intervals: Intervals {
                student: interval(self.intervals.student),
                percentile: interval(self.intervals.percentile),
                bca: interval(self.intervals.bca),
            },
        }
    }
}

/// Standard deviation (ddof 1); `None` below two values.
pub(super) fn deviation(x: &[f64]) -> Option<f64> {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    (x.len() > 1).then(|| (x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / (n - 1.0)).sqrt())
}

#[cfg(test)]
mod tests {
    use super::super::errors::{ErrorModel, Resampling};
    use super::*;

    /// I = 1.5 ℓ^0.7 at ℓ = 2 … 64 (and one point at zero), each unit moving all of them by the same factor.
    fn resamples() -> (Vec<Cell>, Resamples) {
        let splits = [1, 2, 4, 8, 16, 32, 64];
        let cells: Vec<Cell> = splits.iter().map(|&split| Cell { estimator: Estimator::Direct, ratio: 2, split }).collect();
        let law = |l: u32| if l == 1 { 0.0 } else { 1.5 * libm::pow(l as f64, 0.7) };
        let mean: Vec<f64> = splits.iter().map(|&l| law(l)).collect();
        let factors: Vec<f64> = (0..101).map(|i| 0.9 + 0.002 * i as f64).collect();
        let draws = factors.iter().flat_map(|f| mean.iter().map(move |m| f * m)).collect();
        let influence = (0..20).flat_map(|u| mean.iter().map(move |m| (u as f64 - 9.5) * 1e-3 * m)).collect();
        let r = Resamples {
            se: vec![Some(0.1); mean.len()],
            mean,
            draws,
            influence,
            shared_error: vec![0.0; splits.len()],
            model: ErrorModel::Independent,
            units: 20,
            documents: 40,
            how: Resampling { resamples: 101, ..Default::default() },
        };
        (cells, r)
    }

    #[test]
    fn an_exact_law_comes_back() {
        let (cells, r) = resamples();
        let fit = Fit::new(&cells, &r, Estimator::Direct, 2, FitRange::All).unwrap();
        assert!((fit.exponent.value - 0.7).abs() < 1e-12 && (fit.amplitude.value - 1.5).abs() < 1e-12);
        assert_eq!((fit.left_out, fit.splits.len(), fit.incomplete_resamples), (vec![1], 6, 0));
        assert!((fit.r_squared - 1.0).abs() < 1e-12);
        // A common factor leaves the slope alone and moves the amplitude by itself.
        assert!(fit.exponent.se.unwrap() < 1e-12);
        let sd = (0..101).map(|i| (0.9 + 0.002 * i as f64 - 1.0f64).powi(2)).sum::<f64>() / 100.0;
        assert!((fit.amplitude.se.unwrap() / (1.5 * sd.sqrt()) - 1.0).abs() < 0.01);
        let a = fit.amplitude.intervals.percentile.unwrap();
        assert!(a.lo >= 1.35 - 1e-12 && a.hi <= 1.65 + 1e-12 && a.lo < 1.5 && a.hi > 1.5);
    }

    #[test]
    fn points_that_are_not_told_from_zero_give_no_law() {
        let (cells, mut r) = resamples();
        r.mean[3] = -0.1;
        let why = Fit::new(&cells, &r, Estimator::Direct, 2, FitRange::All).unwrap_err().why;
        assert!(why.starts_with("I is not positive at ℓ = 8"), "{why}");
        let (cells, mut r) = resamples();
        let n = r.cells();
        for row in r.draws.chunks_exact_mut(n).take(6) {
            row[4] = -1.0;
        }
        let why = Fit::new(&cells, &r, Estimator::Direct, 2, FitRange::All).unwrap_err().why;
        assert!(why.starts_with("in 6 of 101 resamples"), "{why}");
    }

    #[test]
    fn ranges() {
        let (cells, r) = resamples();
        let fit = |range| Fit::new(&cells, &r, Estimator::Direct, 2, range);
        assert_eq!(fit(FitRange::Splits(4, 16)).unwrap().splits, [4, 8, 16]);
        assert!(fit(FitRange::Published).unwrap().left_out.is_empty());
        assert!(fit(FitRange::Splits(4, 8)).unwrap_err().why.starts_with("2 of 2 points are positive"));
        assert!(fit(FitRange::Splits(100, 200)).unwrap_err().why.starts_with("0 of 0 points are positive"));
        assert!(FitRange::Published.contains(512, 2) && !FitRange::Published.contains(512, 3));
    }
}
