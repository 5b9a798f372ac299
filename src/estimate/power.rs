//! The measured power law with all that its resamples say of it, and the condition that a history state must meet (Chen et al. 2025, L²M).
//!
//! A model whose history state has dim(z_ℓ) numbers carries at most C·dim(z_ℓ) nats from the first ℓ tokens to the rest, up to a constant, with C between
//! ln 2 (one bit a number) and b·ln 2 (all b bits that a number is stored in). Against I(ℓ) = A ℓ^β that bound is asked two things: by which exponent it
//! grows over the lengths that were fitted, by the same least squares on logarithms that gave β; and, where it has a limit, from which length ℓ* on the law
//! lies above it: the largest ℓ with C·dim(z_ℓ) ≥ A ℓ^β.
//!
//! The interval of ℓ* is that of ln ℓ*, computed from (ln A, β) of every resample together, BCa or Student's as elsewhere, with the units' influence
//! d ln ℓ* = (d ln A + ln ℓ* · dβ) / (γ* − β), γ* being the exponent by which dim(z) grows at ℓ* (0 past the last window). A resample whose law does not
//! grow has no ℓ*: it counts as larger than any. Where β's own interval reaches 0 there is no upper end.

use super::contribution::{Cell, Contributions};
use super::errors::Resamples;
use super::fit::{Fit, LawDraws, Quantity, Unfitted, line};
use super::{Estimator, NgramEntropies, Options, Sums};
use crate::error::Result;
use serde::{Deserialize, Serialize};

/// ln ℓ* above this stands for a law that is never above the bound.
const NEVER: f64 = 690.0;

/// A fitted power law with its resamples.
#[derive(Clone, Debug)]
pub struct PowerLaw {
    /// The fit.
    pub fit: Fit,
    resamples: Resamples,
    draws: LawDraws,
}

/// A size as it grows with length ℓ: a continuous line that is straight between knees, and rises or stays.
pub trait Size {
    /// Its value at a length.
    fn at(&self, length: f64) -> f64;
    /// Lengths at which its slope changes, ascending.
    fn knees(&self) -> Vec<f64>;
    /// Whether it has no limit.
    fn is_unbounded(&self) -> bool;
}

/// Whether an exponent is above another that is known by its interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outpaces {
    /// It is above the interval's upper end.
    Yes,
    /// It is below the interval's lower end.
    No,
    /// It is within the interval, or there is none.
    NotToldApart,
}

/// Where a bound falls under a law.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Behind {
    /// ℓ*, at least 1; `None` where the law never comes to lie above the bound.
    pub length: Option<f64>,
    /// Lower end of its interval.
    pub lo: Option<f64>,
    /// Upper end; `None` where there is none.
    pub hi: Option<f64>,
}

/// The exponent by which a size grows over some lengths: the slope of its logarithm against ln ℓ, by least squares.
pub fn growth(size: &dyn Size, lengths: &[u32]) -> Option<f64> {
    line(lengths.iter().map(|&l| (libm::log(l as f64), libm::log(size.at(l as f64))))).map(|(slope, _)| slope)
}

/// Holds an exponent against one with an interval.
pub fn outpaces(exponent: f64, law: &Quantity) -> Outpaces {
    match (law.lo, law.hi) {
        (_, Some(hi)) if exponent > hi => Outpaces::Yes,
        (Some(lo), _) if exponent < lo => Outpaces::No,
        _ => Outpaces::NotToldApart,
    }
}

impl PowerLaw {
    /// Fits one estimator at one ratio; `Err` inside where there is no law to report.
    ///
    /// # Errors
    /// Sums that contradict themselves.
    pub fn new(sums: &Sums, options: &Options, ngram: Option<&NgramEntropies>, which: (Estimator, u32)) -> Result<Result<Self, Unfitted>> {
        let contributions = Contributions::new(sums, &[which.0], options.ngram, ngram)?;
        let resamples = Resamples::new(sums, &contributions, options.resampling);
        Ok(PowerLaw::of(&contributions.cells, resamples, options, which))
    }

    /// From resamples that are there.
    pub(super) fn of(cells: &[Cell], resamples: Resamples, options: &Options, (estimator, ratio): (Estimator, u32)) -> Result<Self, Unfitted> {
        let (fit, draws) = Fit::with_draws(cells, &resamples, estimator, ratio, options.fit)?;
        Ok(PowerLaw { fit, resamples, draws })
    }

    /// β less that of another law over the same groups, with the interval of the pairs of their resamples.
    pub fn exponent_less(&self, other: &PowerLaw) -> Quantity {
        let draws = self.draws.draws.iter().zip(&other.draws.draws).map(|(a, b)| a.1 - b.1);
        let influence: Vec<f64> = self.draws.influence.iter().zip(&other.draws.influence).map(|(a, b)| a.1 - b.1).collect();
        Quantity::of(&self.resamples, self.fit.exponent.value - other.fit.exponent.value, draws, &influence)
    }

    /// From which length on the law lies above `nats` times a size.
    pub fn behind(&self, size: &dyn Size, nats: f64) -> Behind {
        let none = Behind { length: None, lo: None, hi: None };
        let (ln_a, beta) = (libm::log(self.fit.amplitude.value), self.fit.exponent.value);
        let Some(at) = falls_behind(size, nats, ln_a, beta) else { return none };
        let draws = self.draws.draws.iter().map(|&(a, b)| if b.is_nan() { f64::NAN } else { falls_behind(size, nats, a, b).unwrap_or(NEVER) });
        let local = local_exponent(size, libm::exp(at));
        let slope = 1.0 / (local - beta);
        let influence: Vec<f64> = self.draws.influence.iter().map(|&(a, b)| (a + at * b) * slope).collect();
        let q = Quantity::of(&self.resamples, at, draws, &influence);
        let grows = self.fit.exponent.lo.is_some_and(|lo| lo > 0.0);
        let end = |x: Option<f64>| x.filter(|x| *x < NEVER).map(|x| libm::exp(x.max(0.0)));
        Behind { length: Some(libm::exp(at)), lo: end(q.lo), hi: if grows { end(q.hi) } else { None } }
    }
}

/// By which exponent a size grows at a length.
fn local_exponent(size: &dyn Size, length: f64) -> f64 {
    // From below: at a knee the line that led there.
    let before = length * (1.0 - 1e-6);
    libm::log(size.at(length) / size.at(before)) / libm::log(length / before)
}

/// ln of the largest ℓ with `nats`·size(ℓ) ≥ A ℓ^β, at least 0 (ℓ = 1) and less than [`NEVER`]; `None` where there is no largest.
///
/// On a straight piece f(ℓ) = nats·size(ℓ) − A ℓ^β is convex for β ≤ 1 and concave above. So from a piece whose right end has f < 0 the last root is between
/// its left end and the right one where f ≥ 0 at the left; otherwise there is one only for β > 1, right of the largest f.
fn falls_behind(size: &dyn Size, nats: f64, ln_a: f64, beta: f64) -> Option<f64> {
    if beta <= 0.0 || size.is_unbounded() {
        return None;
    }
    let knees = size.knees();
    let last = knees.last().copied().unwrap_or(0.0);
    let f = |l: f64| nats * size.at(l) - if l > 0.0 { libm::exp(ln_a + beta * libm::log(l)) } else { 0.0 };
    let past = (libm::log(nats * size.at(last.max(1.0))) - ln_a) / beta;
    if past >= libm::log(last.max(1.0)) {
        return Some(past).filter(|x| *x < NEVER);
    }
    let pieces = std::iter::once(0.0).chain(knees.iter().copied()).zip(knees.iter().copied());
    for (left, right) in pieces.collect::<Vec<_>>().into_iter().rev() {
        let slope = nats * (size.at(right) - size.at(left)) / (right - left);
        let top = if beta > 1.0 { libm::exp((libm::log(slope / beta) - ln_a) / (beta - 1.0)) } else { left };
        let from = if f(left) > 0.0 || !(left..right).contains(&top) { left } else { top };
        if f(from) > 0.0 {
            return Some(libm::log(root(f, from, right)).max(0.0));
        }
    }
    // The law is above from the first token on.
    Some(0.0)
}

/// Where f, positive at `a` and negative at `b`, changes its sign.
fn root(f: impl Fn(f64) -> f64, mut a: f64, mut b: f64) -> f64 {
    // As often as halving changes anything in float64.
    for _ in 0..1100 {
        let middle = 0.5 * (a + b);
        if middle <= a || middle >= b {
            break;
        }
        if f(middle) > 0.0 { a = middle } else { b = middle }
    }
    0.5 * (a + b)
}

#[cfg(test)]
mod tests {
    use super::super::errors::{ErrorModel, Interval, Intervals, Resampling};
    use super::*;

    /// `fixed` numbers, and `each` of a token up to the window.
    struct State {
        fixed: f64,
        each: f64,
        window: Option<f64>,
    }

    impl Size for State {
        fn at(&self, l: f64) -> f64 {
            self.fixed + self.each * self.window.map_or(l, |w| l.min(w))
        }
        fn knees(&self) -> Vec<f64> {
            self.window.filter(|_| self.each > 0.0).into_iter().collect()
        }
        fn is_unbounded(&self) -> bool {
            self.each > 0.0 && self.window.is_none()
        }
    }

    fn fixed(fixed: f64) -> State {
        State { fixed, each: 0.0, window: Some(1.0) }
    }

    /// A law of 2·ℓ^0.5 whose resamples move ln A by −0.2 … 0.2, and β with it by `turn` as much.
    fn law(turn: f64) -> PowerLaw {
        let splits = [2, 4, 8, 16];
        let cells: Vec<Cell> = splits.iter().map(|&split| Cell { estimator: Estimator::Direct, ratio: 2, split }).collect();
        let at = |l: u32, by: f64| 2.0 * libm::exp(by) * libm::pow(l as f64, 0.5 + turn * by);
        let shifts: Vec<f64> = (0..201).map(|i| 0.002 * (i as f64 - 100.0)).collect();
        let mean: Vec<f64> = splits.iter().map(|&l| at(l, 0.0)).collect();
        // To first order a unit that moves ln A by x moves I by I·x·(1 + turn·ln ℓ).
        let unit = |x: f64| splits.iter().map(move |&l| at(l, 0.0) * x * (1.0 + turn * libm::log(l as f64)));
        let r = Resamples {
            se: vec![Some(0.1); 4],
            draws: shifts.iter().flat_map(|&s| splits.iter().map(move |&l| at(l, s))).collect(),
            influence: [0.06, -0.06].into_iter().cycle().take(20).flat_map(unit).collect(),
            mean,
            shared_error: vec![0.0; 4],
            model: ErrorModel::Independent,
            units: 20,
            documents: 20,
            how: Resampling { resamples: 201, ..Default::default() },
        };
        PowerLaw::of(&cells, r, &Options::default(), (Estimator::Direct, 2)).unwrap()
    }

    #[test]
    fn a_fixed_state_falls_behind_where_the_law_says() {
        // 2 √ℓ = 100 at ℓ = 2500.
        let b = law(0.0).behind(&fixed(100.0), 1.0);
        assert!((b.length.unwrap() - 2500.0).abs() < 1e-6);
        // ln ℓ* = 2 (ln 100 − ln A): resamples of ln A reach from −0.2 to 0.2 around ln 2, so those of ln ℓ* from −0.4 to 0.4 around ln 2500.
        let (lo, hi) = (b.lo.unwrap().ln() - 2500f64.ln(), b.hi.unwrap().ln() - 2500f64.ln());
        assert!((-0.4..-0.3).contains(&lo) && (0.3..0.4).contains(&hi), "{lo} {hi}");
        // ln 2 a number instead of one nat: ℓ* by its square.
        let bit = law(0.0).behind(&fixed(100.0), std::f64::consts::LN_2).length.unwrap();
        assert!((bit / (2500.0 * std::f64::consts::LN_2.powi(2)) - 1.0).abs() < 1e-9);
        // Where ln A + ln ℓ*·β stays, all resamples agree: A and β are drawn together, not each by itself.
        let b = law(-1.0 / 2500f64.ln()).behind(&fixed(100.0), 1.0);
        assert!((b.hi.unwrap() / b.lo.unwrap() - 1.0).abs() < 1e-9);
    }

    /// Over 400 repetitions of 40 groups the 95 % interval of ℓ* holds the true one as often as 95 % should: within the band that a binomial share of 400
    /// leaves with a chance of one in a hundred, 0.95 ± 2.576·√(0.95·0.05/400) = 0.95 ± 0.028.
    #[test]
    fn intervals_of_the_length_cover() {
        let (splits, options) = ([2u32, 8, 32, 128], Options::default());
        let cells: Vec<Cell> = splits.iter().map(|&split| Cell { estimator: Estimator::Direct, ratio: 2, split }).collect();
        let documents: Vec<Vec<u32>> = (0..40).map(|g| vec![g]).collect();
        // 2 √ℓ = 1000 at ℓ = 250,000. Texts are drawn from streams that no resample draws from.
        let covered = (0..400).filter(|&repetition| {
            let mut rng = crate::rng::Rng::new(1 << 20, repetition);
            let mut values = Vec::new();
            for _ in 0..40 {
                // A group moves the amplitude, the slope, and each point by itself.
                let (all, slope) = (0.3 * rng.normal(), 0.05 * rng.normal());
                let at = |&l: &u32| 2.0 * libm::sqrt(l as f64) * (1.0 + all + slope * libm::log(l as f64) + 0.1 * rng.normal());
                values.extend(splits.iter().map(at));
            }
            let how = Resampling { resamples: 400, seed: repetition, level: 0.95 };
            let resamples = Resamples::of(&documents, &values, &[0.0; 4], how);
            let b = PowerLaw::of(&cells, resamples, &options, (Estimator::Direct, 2)).unwrap().behind(&fixed(1000.0), 1.0);
            b.lo.unwrap() <= 250_000.0 && 250_000.0 <= b.hi.unwrap()
        });
        let share = covered.count() as f64 / 400.0;
        assert!((share - 0.95).abs() <= 2.576 * (0.95f64 * 0.05 / 400.0).sqrt(), "{share}");
    }

    #[test]
    fn windows_and_unbounded_states() {
        let state = |fixed, each, window| State { fixed, each, window };
        assert_eq!(law(0.0).behind(&state(0.0, 1.0, None), 1.0), Behind { length: None, lo: None, hi: None });
        // Full at 100 tokens with 100 numbers: past the window 2 √ℓ = 100 at 2500.
        assert!((law(0.0).behind(&state(0.0, 1.0, Some(100.0)), 1.0).length.unwrap() - 2500.0).abs() < 1e-6);
        // 2 + 0.1 ℓ ≥ 2 √ℓ up to √ℓ = 10 − √80, which is before the window of 50.
        let root = (10.0 - 80f64.sqrt()).powi(2);
        assert!((law(0.0).behind(&state(2.0, 0.1, Some(50.0)), 1.0).length.unwrap() - root).abs() < 1e-9);
        // 0.01 ℓ never reaches 2 √ℓ before the window of 100.
        assert_eq!(law(0.0).behind(&state(0.0, 0.01, Some(100.0)), 1.0).length, Some(1.0));
        // β = 2: 0.5 + 3 ℓ ≥ ℓ² up to (3 + √11)/2.
        let steep = falls_behind(&state(0.5, 3.0, Some(50.0)), 1.0, 0.0, 2.0).unwrap();
        assert!((steep.exp() - (3.0 + 11f64.sqrt()) / 2.0).abs() < 1e-9);
        // A law that does not grow never gets above.
        assert_eq!(falls_behind(&fixed(5.0), 1.0, 0.0, 0.0), None);
    }

    #[test]
    fn exponents_of_states() {
        let state = |fixed, each, window| State { fixed, each, window };
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        near(growth(&state(0.0, 3.0, None), &[2, 4, 8]).unwrap(), 1.0);
        near(growth(&fixed(3.0), &[2, 4, 8]).unwrap(), 0.0);
        // ln of 1, 2, 2 in steps of ln 2: (1 − 0)/2.
        near(growth(&state(0.0, 1.0, Some(4.0)), &[2, 4, 8]).unwrap(), 0.5);
        let q = |lo, hi| Quantity { value: 0.5, se: None, lo, hi, intervals: Intervals { student: Some(Interval { lo: 0.0, hi: 0.0 }), ..Default::default() } };
        assert_eq!(outpaces(0.6, &q(Some(0.4), Some(0.59))), Outpaces::Yes);
        assert_eq!(outpaces(0.3, &q(Some(0.4), Some(0.6))), Outpaces::No);
        assert_eq!(outpaces(0.6, &q(Some(0.4), Some(0.6))), Outpaces::NotToldApart);
        assert_eq!(outpaces(0.6, &q(None, None)), Outpaces::NotToldApart);
    }

    #[test]
    fn the_difference_of_a_law_to_itself_is_nothing() {
        let a = law(0.3);
        let d = a.exponent_less(&a);
        assert_eq!((d.value, d.se), (0.0, Some(0.0)));
        let d = a.exponent_less(&law(0.0));
        // Resamples of β differ by 0.3 times −0.2 … 0.2.
        assert!(d.value.abs() < 1e-12 && d.lo.unwrap() < -0.05 && d.hi.unwrap() > 0.05 && d.lo.unwrap() >= -0.06 - 1e-9);
    }
}
