//! Estimates held against what they expect: a source is drawn again and again, and the mean of each estimate is compared with its expectation, and its
//! intervals with how often they hold it.
//!
//! What is compared is an estimate and its *own* expectation ([`expectations`]), which is not I where the estimator is a bound: bias of the program, not of the
//! method. Over all cells of all sources together the checks hold at 99 % (Bonferroni): |z| of each mean stays below a quantile of Student's law, and the number of draws whose
//! 95 % interval holds the expectation stays within quantiles of the binomial law.

mod laws;

pub use laws::{LawDrawn, LawResult};

use super::known::{Asked, Expectation, Grid, Known, entropies, expectations, sample_sums};
use crate::error::{Error, Result};
use crate::estimate::special::student_quantile;
use crate::estimate::{Cell, Contributions, Estimator, Fit, FitRange, Interval, NgramCorrection, Resamples, Resampling, power_line, saturates};
use crate::rng::mix;
use serde::{Deserialize, Serialize};

/// Chance that any of all checks together fails although everything is right.
pub const CHANCE: f64 = 0.01;
/// An expectation that is sampled serves to judge coverage where its standard error is at most this share of an estimate's: the coverage of 95 % then changes by 0.1 % at most.
pub const ROUGHEST: f64 = 0.1;
/// How far a log-probability of a trunk lies from its float64 value at most, in nats: half a unit in the last place of a float32 below 16. Where a law knows all that there is to know, its
/// estimates vary by less than that.
const ROUNDING: f64 = 1.0 / (1u64 << 21) as f64;
/// Stream of the seed from which expectations are sampled; draws have their numbers.
const EXPECTING: u64 = u64::MAX;

/// What is drawn again and again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// ℓ, ascending.
    pub splits: Vec<u32>,
    /// r, ascending.
    pub ratios: Vec<u32>,
    /// K.
    pub foreign: u32,
    /// Groups of a draw.
    pub groups: u32,
    /// Estimators.
    pub estimators: Vec<Estimator>,
    /// Of each draw's errors.
    pub resampling: Resampling,
    /// Seed of everything.
    pub seed: u64,
}

/// An estimate of one draw.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// In nats, or an exponent.
    pub value: f64,
    /// Its standard error.
    pub se: Option<f64>,
    /// The interval to quote.
    pub interval: Option<(f64, f64)>,
}

/// What one draw gave.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drawn {
    /// By cell, in the order of [`Trial::cells`].
    pub estimates: Vec<Option<Estimate>>,
    /// β by estimator and ratio, in the order of [`Trial::laws`], where a line could be fitted.
    pub exponents: Vec<Option<Estimate>>,
    /// What the laws say, in the same order.
    pub laws: Vec<Option<LawDrawn>>,
}

/// How the estimates of one cell, or the exponents of one law, compare with what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// What the estimates expect.
    pub expected: Expectation,
    /// Mean over draws.
    pub mean: f64,
    /// Standard deviation over draws.
    pub deviation: f64,
    /// Mean of the standard errors that the estimates say of themselves.
    pub stated: Option<f64>,
    /// (mean − expected) by the standard error of both.
    pub z: f64,
    /// Draws that gave an estimate.
    pub draws: u32,
    /// Of these, such with an interval.
    pub intervals: u32,
    /// Of these, such whose interval holds the expectation; `None` where that is known too roughly ([`ROUGHEST`]), or there is no interval.
    pub covered: Option<u32>,
}

/// A cell with its comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CellResult {
    /// Estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// ℓ.
    pub split: u32,
    /// I(ℓ; rℓ), where it is known.
    pub information: Option<f64>,
    /// Whether what is expected lies so near to a ceiling that an estimate like it has no interval to quote ([`Note::Saturated`](crate::estimate::Note)): its coverage is not judged.
    pub saturated: bool,
    /// Estimates against expectation.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// An exponent with its comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExponentResult {
    /// Estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// Exponents of the estimates against that of the same line through the expectations.
    #[serde(flatten)]
    pub comparison: Comparison,
}

/// One source's calibration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibrated {
    /// Of the source, with its parameters.
    pub source: String,
    /// What was drawn.
    pub trial: Trial,
    /// By estimator, ratio, split.
    pub cells: Vec<CellResult>,
    /// By estimator, ratio.
    pub exponents: Vec<ExponentResult>,
    /// By estimator, ratio: what is drawn through at least as many points as a comparison of laws takes.
    pub laws: Vec<LawResult>,
}

/// Simultaneous bounds over all cells of some calibrations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Means and coverages that are looked at together.
    pub checks: usize,
    /// Nominal coverage.
    pub level: f64,
}

impl Trial {
    /// The cells that fit, by estimator, ratio, split. A profile has the ratio 2 only.
    pub fn cells(&self) -> Vec<Cell> {
        let longest = self.length();
        let all = self.laws().into_iter().flat_map(|(estimator, ratio)| self.splits.iter().map(move |&split| Cell { estimator, ratio, split }));
        all.filter(|c| c.split as u64 * c.ratio as u64 <= longest).collect()
    }

    /// The pairs of an estimator and a ratio.
    pub fn laws(&self) -> Vec<(Estimator, u32)> {
        let asked = Estimator::ALL.into_iter().filter(|e| self.estimators.contains(e));
        asked.flat_map(|e| self.ratios.iter().map(move |&r| (e, r))).filter(|&(e, r)| e != Estimator::Profile || r == 2).collect()
    }

    /// Tokens of the longest chunk that is asked for.
    pub fn length(&self) -> u64 {
        self.splits.iter().max().map_or(0, |&l| l as u64) * self.ratios.iter().max().map_or(0, |&r| r as u64)
    }

    fn grid(&self) -> Result<Grid> {
        Grid::of(&self.cells(), self.foreign)
    }

    /// Seed of a draw: its groups are independent of those of every other draw.
    fn seed_of(&self, stream: u64) -> u64 {
        let mut state = self.seed ^ stream.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mix(&mut state)
    }
}

/// Draws `index` of a trial: a whole measurement with its estimates, errors and lines.
///
/// # Errors
/// A trial that the source cannot fill.
pub fn draw_once(source: &dyn Known, trial: &Trial, index: u32) -> Result<Drawn> {
    let sums = sample_sums(source, &trial.grid()?, trial.groups, trial.seed_of(index as u64))?;
    let contributions = Contributions::new(&sums, &trial.estimators, NgramCorrection::default(), Some(&entropies(source, NgramCorrection::default())))?;
    let resamples = Resamples::new(&sums, &contributions, trial.resampling);
    let estimate = |value, se, interval: Option<Interval>| Estimate { value, se, interval: interval.map(|i| (i.lo, i.hi)) };
    let of_cell = |cell: Cell| {
        let c = contributions.cells.iter().position(|c| *c == cell)?;
        Some(estimate(resamples.mean[c], resamples.se[c], resamples.intervals(c).chosen(resamples.units)))
    };
    let lines: Vec<Option<Fit>> = trial.laws().into_iter().map(|(e, r)| Fit::new(&contributions.cells, &resamples, e, r, FitRange::All).ok()).collect();
    let exponent = |line: &Fit| estimate(line.exponent.value, line.exponent.se, line.exponent.intervals.chosen(resamples.units));
    Ok(Drawn {
        estimates: trial.cells().into_iter().map(of_cell).collect(),
        exponents: lines.iter().map(|l| l.as_ref().map(exponent)).collect(),
        laws: lines.iter().map(|l| laws::drawn(source, trial, &contributions.cells, &resamples, l.as_ref()?)).collect(),
    })
}

/// What the estimates of a trial expect, by cell; where there is no closed form it is sampled from so many groups, of other texts than those of the draws.
///
/// # Errors
/// As [`expectations`].
pub fn expected(source: &dyn Known, trial: &Trial, groups: u32) -> Result<Vec<Option<Expectation>>> {
    let asked = Asked { foreign: trial.foreign, groups, seed: trial.seed_of(EXPECTING), correction: NgramCorrection::default() };
    expectations(source, &trial.cells(), asked)
}

/// Compares the draws 0, 1, 2 … of a trial with what its estimates expect ([`expected`]).
///
/// # Errors
/// Fewer than two draws, draws or expectations of another trial.
pub fn compare(name: &str, source: &dyn Known, trial: &Trial, draws: &[Drawn], expected: &[Option<Expectation>]) -> Result<Calibrated> {
    let (cells, laws) = (trial.cells(), trial.laws());
    let of_trial = |d: &Drawn| d.estimates.len() == cells.len() && d.exponents.len() == laws.len() && d.laws.len() == laws.len();
    if draws.len() < 2 || !draws.iter().all(of_trial) || expected.len() != cells.len() {
        return Err(Error::input(format!("{name}: a calibration needs two draws or more, all of the same trial")));
    }
    let column = |i: usize| draws.iter().filter_map(move |d| d.estimates[i]).collect::<Vec<Estimate>>();
    let compared = cells.iter().zip(expected).enumerate().filter_map(|(i, (c, e))| {
        let rounding = ROUNDING * f64::from(c.split * (c.ratio - 1));
        let comparison = Comparison::new((*e)?, &column(i), rounding)?;
        let saturated = saturates(c.estimator, comparison.expected.value, trial.foreign as usize + 1);
        Some(CellResult { estimator: c.estimator, ratio: c.ratio, split: c.split, information: source.information(c.split, c.ratio), saturated, comparison })
    });
    let cells_compared: Vec<CellResult> = compared.collect();
    let exponents = laws.iter().enumerate().filter_map(|(i, &(estimator, ratio))| {
        let of_law = cells.iter().zip(expected).filter(|(c, _)| (c.estimator, c.ratio) == (estimator, ratio));
        let curve: Option<Vec<(f64, Expectation)>> = of_law.map(|(c, e)| e.filter(|e| e.value > 0.0).map(|e| (c.split as f64, e))).collect();
        let expected = expected_exponent(&curve?)?;
        let estimates: Vec<Estimate> = draws.iter().filter_map(|d| d.exponents[i]).collect();
        Some(ExponentResult { estimator, ratio, comparison: Comparison::new(expected, &estimates, 0.0)? })
    });
    let judged = |(i, &law): (usize, &(Estimator, u32))| {
        let own: Vec<Option<LawDrawn>> = draws.iter().map(|d| d.laws[i]).collect();
        (source.gives(law.0) && own.iter().any(Option::is_some)).then(|| LawResult::new(law, &own))
    };
    Ok(Calibrated {
        source: name.into(),
        trial: trial.clone(),
        exponents: exponents.collect(),
        laws: laws.iter().enumerate().filter_map(judged).collect(),
        cells: cells_compared,
    })
}

/// β of the line through what estimates expect. Where some are sampled its error is that of independent ones; being of the same groups they vary together, by which a slope varies less.
fn expected_exponent(curve: &[(f64, Expectation)]) -> Option<Expectation> {
    let (value, _) = power_line(&curve.iter().map(|(l, e)| (*l, e.value)).collect::<Vec<_>>())?;
    let mean = curve.iter().map(|c| libm::log(c.0)).sum::<f64>() / curve.len() as f64;
    let from_mean = || curve.iter().map(|c| libm::log(c.0) - mean);
    let spread = from_mean().map(|x| x * x).sum::<f64>();
    let part = |(x, (_, e)): (f64, &(f64, Expectation))| x / spread * e.se.unwrap_or(0.0) / e.value;
    let variance = from_mean().zip(curve).map(part).map(|v| v * v).sum::<f64>();
    Some(Expectation { value, se: (variance > 0.0).then(|| variance.sqrt()) })
}

impl Comparison {
    /// Estimates off by no more than `rounding` are as good as exact. `None` below two estimates.
    fn new(expected: Expectation, estimates: &[Estimate], rounding: f64) -> Option<Self> {
        let n = estimates.len() as f64;
        if estimates.len() < 2 {
            return None;
        }
        let mean = estimates.iter().map(|e| e.value).sum::<f64>() / n;
        let deviation = (estimates.iter().map(|e| (e.value - mean) * (e.value - mean)).sum::<f64>() / (n - 1.0)).sqrt();
        let stated = estimates.iter().map(|e| e.se).collect::<Option<Vec<f64>>>().map(|se| se.iter().sum::<f64>() / n);
        let rough = expected.se.unwrap_or(0.0);
        let error = (deviation * deviation / n + rough * rough).sqrt();
        let off = mean - expected.value;
        let z = if off.abs() <= rounding { 0.0 } else { off / error };
        let intervals: Vec<(f64, f64)> = estimates.iter().filter_map(|e| e.interval).collect();
        let holds = intervals.iter().filter(|i| (i.0 - rounding..=i.1 + rounding).contains(&expected.value)).count() as u32;
        let covered = (rough <= ROUGHEST * deviation && !intervals.is_empty()).then_some(holds);
        Some(Comparison { expected, mean, deviation, stated, z, draws: estimates.len() as u32, intervals: intervals.len() as u32, covered })
    }
}

impl Bounds {
    /// Of all means and coverages of these.
    pub fn of(all: &[Calibrated]) -> Self {
        let cells = || all.iter().flat_map(|c| &c.cells);
        let checks = cells().count() + cells().filter(|c| c.coverage_is_judged()).count();
        let level = all.first().map_or(0.95, |c| c.trial.resampling.level);
        Bounds { checks, level }
    }

    /// The chance of each check.
    fn chance(&self) -> f64 {
        CHANCE / self.checks.max(1) as f64
    }

    /// The largest |z| of a mean of so many draws.
    pub fn most_z(&self, draws: u32) -> f64 {
        student_quantile(1.0 - 0.5 * self.chance(), f64::from(draws.max(2) - 1))
    }

    /// Whether a mean is near enough to its expectation.
    pub fn unbiased(&self, comparison: &Comparison) -> bool {
        comparison.z.abs() <= self.most_z(comparison.draws)
    }

    /// The fewest and the most of so many intervals that may hold what they should.
    pub fn band(&self, intervals: u32) -> (u32, u32) {
        binomial_band(intervals, self.level, self.chance())
    }

    /// Whether as many intervals hold the expectation as should; true where that is not judged.
    pub fn covers(&self, cell: &CellResult) -> bool {
        let (fewest, most) = self.band(cell.comparison.intervals);
        !cell.coverage_is_judged() || cell.comparison.covered.is_some_and(|c| (fewest..=most).contains(&c))
    }
}

impl CellResult {
    /// Whether its coverage is among the checks: the expectation is known well, and far from a ceiling.
    pub fn coverage_is_judged(&self) -> bool {
        self.comparison.covered.is_some() && !self.saturated
    }
}

/// The smallest band of counts outside of which a binomial number of n trials lies on either side with a chance of at most `chance`/2.
pub fn binomial_band(n: u32, p: f64, chance: f64) -> (u32, u32) {
    let log_choose = |k: u32| libm::lgamma(n as f64 + 1.0) - libm::lgamma(k as f64 + 1.0) - libm::lgamma((n - k) as f64 + 1.0);
    let at = |k: u32| libm::exp(log_choose(k) + k as f64 * libm::log(p) + (n - k) as f64 * libm::log1p(-p));
    // The first count, from an end inwards, up to which together more lies than may lie outside.
    let bound = |from_end: &dyn Fn(u32) -> u32| {
        let mut outside = 0.0;
        let inside = |&k: &u32| {
            outside += at(from_end(k));
            outside > 0.5 * chance
        };
        (0..=n).find(inside).map(from_end)
    };
    (bound(&|k| k).unwrap_or(0), bound(&|k| n - k).unwrap_or(n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Markov;

    /// Binomial(10, 1/2): P(0) = 1/1024, P(≤ 1) = 11/1024, P(≤ 2) = 56/1024.
    #[test]
    fn bands_by_hand() {
        assert_eq!(binomial_band(10, 0.5, 2.0 * 10.9 / 1024.0), (1, 9));
        assert_eq!(binomial_band(10, 0.5, 2.0 * 11.1 / 1024.0), (2, 8));
        assert_eq!(binomial_band(10, 0.5, 2.0 * 0.9 / 1024.0), (0, 10));
        // SciPy 1.17: binom.ppf(0.005, 400, 0.95) = 368, binom.isf(0.005, 400, 0.95) = 390.
        assert_eq!(binomial_band(400, 0.95, 0.01), (368, 390));
    }

    #[test]
    fn comparisons_by_hand() {
        let at = |value: f64| Estimate { value, se: Some(1.0), interval: Some((value - 1.5, value + 1.5)) };
        let c = Comparison::new(Expectation::exact(2.0), &[at(1.0), at(3.0), at(4.0), at(4.0)], 0.0).unwrap();
        assert_eq!((c.mean, c.deviation, c.covered, c.intervals), (3.0, 2.0f64.sqrt(), Some(2), 4));
        assert!((c.z - 1.0 / (2.0f64.sqrt() / 2.0)).abs() < 1e-12);
        let rough = Comparison::new(Expectation { value: 2.0, se: Some(0.5) }, &[at(1.0), at(3.0)], 0.0).unwrap();
        assert_eq!(rough.covered, None);
        assert_eq!(Comparison::new(Expectation::exact(2.0), &[at(1.0)], 0.0), None);
        // Within the rounding a mean is right, however little it varies.
        let exact = Estimate { value: 2.0 + 1e-7, se: Some(1e-9), interval: Some((2.0 + 1e-7, 2.0 + 1e-7)) };
        let rounded = |r| Comparison::new(Expectation::exact(2.0), &[exact, Estimate { value: 2.0 + 1.01e-7, ..exact }], r).unwrap();
        assert!(rounded(2e-7).z == 0.0 && rounded(2e-7).covered == Some(2) && rounded(0.0).z > 50.0 && rounded(0.0).covered == Some(0));
    }

    /// A saturated cell's mean is judged, its coverage is not.
    #[test]
    fn what_has_no_interval_is_not_judged_by_it() {
        let comparison = Comparison {
            expected: Expectation::exact(1.38),
            mean: 1.38,
            deviation: 0.01,
            stated: None,
            z: 9.0,
            draws: 400,
            intervals: 400,
            covered: Some(300),
        };
        let cell = |saturated| CellResult { estimator: Estimator::Infonce, ratio: 2, split: 512, information: None, saturated, comparison };
        let of = |cells| Calibrated { source: "any".into(), trial: trial(), cells, exponents: Vec::new(), laws: Vec::new() };
        let bounds = Bounds::of(&[of(vec![cell(true), cell(false)])]);
        assert_eq!(bounds.checks, 3);
        assert!(bounds.covers(&cell(true)) && !bounds.covers(&cell(false)) && !bounds.unbiased(&comparison));
    }

    /// ℓ = 1 and e²: weights ∓½ of ln I; ln I is off by 0.3 and 0.4.
    #[test]
    fn the_error_of_an_expected_exponent() {
        let at = |value: f64, se| Expectation { value, se };
        let e = expected_exponent(&[(1.0, at(2.0, Some(0.6))), (2f64.exp(), at(2.0 * 1f64.exp(), Some(0.8 * 1f64.exp())))]).unwrap();
        assert!((e.value - 0.5).abs() < 1e-15 && (e.se.unwrap() - 0.25).abs() < 1e-15, "{e:?}");
        assert_eq!(expected_exponent(&[(1.0, at(2.0, None)), (2.0, at(4.0, None))]).unwrap(), Expectation::exact(1.0));
    }

    fn trial() -> Trial {
        Trial {
            splits: vec![1, 2, 4],
            ratios: vec![2],
            foreign: 2,
            groups: 40,
            estimators: Estimator::ALL.to_vec(),
            resampling: Resampling { resamples: 200, ..Resampling::default() },
            seed: 20,
        }
    }

    /// A chain whose conditionals are off by a little is found out, and the right one is not.
    #[test]
    fn a_wrong_expectation_is_found() {
        let markov = Markov::new(&[vec![0.9, 0.1], vec![0.2, 0.8]]).unwrap();
        let trial = trial();
        let draws: Vec<Drawn> = (0..60).map(|i| draw_once(&markov, &trial, i).unwrap()).collect();
        let right = compare("markov", &markov, &trial, &draws, &expected(&markov, &trial, 4000).unwrap()).unwrap();
        let bounds = Bounds::of(std::slice::from_ref(&right));
        assert!(right.cells.len() == 18 && right.cells.iter().all(|c| bounds.unbiased(&c.comparison)), "{right:?}");
        assert!(right.exponents.iter().any(|e| e.estimator == Estimator::Direct));
        let other = Markov::new(&[vec![0.8, 0.2], vec![0.2, 0.8]]).unwrap();
        let wrong = compare("markov", &other, &trial, &draws, &expected(&other, &trial, 4000).unwrap()).unwrap();
        assert!(wrong.cells.iter().any(|c| !bounds.unbiased(&c.comparison)) && wrong.cells.iter().any(|c| !bounds.covers(c)));
        // Draws are the same whenever they are made, and differ from one another.
        assert_eq!(draw_once(&markov, &trial, 7).unwrap(), draws[7]);
        assert_ne!(draws[6], draws[7]);
    }
}
