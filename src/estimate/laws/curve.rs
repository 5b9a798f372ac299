//! A curve with the errors of its points, and one law fitted to it.

use super::covariance::{Covariance, Whitening};
use super::law::Law;
use super::search::{Place, Search, Solution};
use crate::estimate::errors::{Intervals, Resamples, Resampling, intervals};
use crate::estimate::fit::{Quantity, deviation};
use crate::rng::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Points x, y with one covariance, and what intervals are made from.
#[derive(Clone, Debug)]
pub struct Curve {
    pub(super) x: Vec<f64>,
    pub(super) y: Vec<f64>,
    places: Vec<Place>,
    /// `None`: errors are unknown, and taken as equal and independent.
    pub(super) covariance: Option<Covariance>,
    /// `[draws, points]`.
    pub(super) draws: Vec<f64>,
    /// `[units, points]`; empty where the draws come from no units.
    pub(super) influence: Vec<f64>,
    pub(super) how: Resampling,
}

/// A fitted parameter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// As [`Law::parameters`] calls it.
    pub name: String,
    /// The bound that it sits at; its interval is then that of the resamples' quantiles alone.
    pub bound: Option<f64>,
    /// Its value and errors.
    #[serde(flatten)]
    pub quantity: Quantity,
}

/// A law fitted to a curve.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LawFit {
    /// Which.
    pub law: Law,
    /// Its parameters.
    pub parameters: Vec<Parameter>,
    /// χ² under the points' covariance; where errors are unknown, the sum of squared residuals.
    pub chi_squared: f64,
    /// Points less parameters.
    pub freedom: usize,
    /// χ² + 2k; where errors are unknown n ln(χ²/n) + 2k. Of two laws of one curve that with less is to be preferred (Akaike 1974).
    pub criterion: f64,
    /// R² = 1 − Σ(y − law)² / Σ(y − ȳ)², without weights: how near the curve comes, not whether it is right.
    pub r_squared: f64,
}

impl LawFit {
    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }

    /// Whether χ² is so large that points of this law, normal and with these errors, would have it in fewer than one case of a thousand (Wilson and Hilferty 1931):
    /// they then follow another one, and its parameters are those of a curve drawn through them. Only where errors are known.
    pub fn misfits(&self) -> bool {
        let k = self.freedom.max(1) as f64;
        let spread = 2.0 / (9.0 * k);
        self.chi_squared > k * libm::pow(1.0 - spread + 3.090 * libm::sqrt(spread), 3.0)
    }

    /// The fitted law at x, in nats.
    pub fn at(&self, x: f64) -> f64 {
        self.law.at(x, &self.parameters.iter().map(|p| p.quantity.value).collect::<Vec<_>>())
    }
}

/// The largest of the errors of given points by the smallest: from 10⁷ on weights differ by 10¹⁴, and rounding by as much as the lighter points weigh.
const MOST_UNEQUAL: f64 = 1e6;

impl Curve {
    /// Those of the resampled means that are named, at these x: errors, draws and covariance are the resamples' (the covariance shrunk, see
    /// [`Covariance::shrunk`]).
    pub fn resampled(x: &[f64], resamples: &Resamples, cells: &[usize]) -> Self {
        let pick = |rows: &[f64]| -> Vec<f64> { rows.chunks_exact(resamples.cells().max(1)).flat_map(|row| cells.iter().map(|&c| row[c])).collect() };
        let influence = pick(&resamples.influence);
        let shared: Vec<f64> = cells.iter().map(|&c| resamples.shared_error[c]).collect();
        Curve {
            x: x.to_vec(),
            y: cells.iter().map(|&c| resamples.mean[c]).collect(),
            places: x.iter().map(|&x| Place(vec![(x, 1.0)])).collect(),
            covariance: Some(Covariance::shrunk(&influence, cells.len(), &shared)),
            draws: pick(&resamples.draws),
            influence,
            how: resamples.how,
        }
    }

    /// Points from elsewhere: draws are normal about them, with their covariance. Without one, errors are estimated from the residuals of each fit.
    ///
    /// # Errors
    /// A sentence: x that do not ascend from above 0, values that are not finite, a covariance of another size or that is not positive definite.
    pub fn measured(x: &[f64], y: &[f64], covariance: Option<Covariance>, how: Resampling) -> Result<Self, String> {
        let points = x.len();
        if y.len() != points {
            return Err(format!("there are {points} x and {} y", y.len()));
        }
        if let Some(i) = (0..points).find(|&i| !(x[i] > 0.0 && x[i].is_finite() && y[i].is_finite())) {
            return Err(format!("point {} is ({}, {}); x must be above 0, and both finite", i + 1, x[i], y[i]));
        }
        if let Some(w) = x.windows(2).find(|w| w[0] >= w[1]) {
            return Err(format!("x must ascend, and {} follows {}", w[1], w[0]));
        }
        // Squares of smaller numbers are none, and those of larger ones have no end.
        let usual = 1e-100..=1e100;
        let largest = y.iter().fold(0.0f64, |most, v| most.max(v.abs()));
        if largest == 0.0 {
            return Err("all values are 0".into());
        }
        if !usual.contains(&largest) {
            return Err(format!("the largest value is {largest:e}; give values and errors in a unit in which it is between 1e-100 and 1e100"));
        }
        if let Some(x) = x.iter().find(|x| !usual.contains(*x)) {
            return Err(format!("x = {x:e} is no length; give numbers between 1e-100 and 1e100"));
        }
        let mut draws = Vec::new();
        if let Some(c) = &covariance {
            // Weights that differ by more than the square of this leave nothing of the lighter points but rounding.
            let (least, most) = c.errors().fold((f64::INFINITY, 0.0f64), |(a, b), e| (a.min(e), b.max(e)));
            if !(usual.contains(&least) && usual.contains(&most) && most <= MOST_UNEQUAL * least) {
                return Err(format!("errors go from {least:e} to {most:e}; a fit takes such as differ by a factor of {MOST_UNEQUAL:e} at most"));
            }
            let root = c.cholesky().ok_or("the covariance is not positive definite")?;
            if root.len() != points * points {
                return Err(format!("the covariance is not of {points} points"));
            }
            draws = vec![0.0; how.resamples as usize * points];
            for (b, row) in draws.chunks_exact_mut(points.max(1)).enumerate() {
                let mut rng = Rng::new(how.seed, b as u64);
                let z: Vec<f64> = (0..points).map(|_| rng.normal()).collect();
                for (i, r) in row.iter_mut().enumerate() {
                    *r = y[i] + (0..=i).map(|j| root[i * points + j] * z[j]).sum::<f64>();
                }
            }
        }
        let places = x.iter().map(|&x| Place(vec![(x, 1.0)])).collect();
        Ok(Curve { x: x.to_vec(), y: y.to_vec(), places, covariance, draws, influence: Vec::new(), how })
    }

    /// The same points as means over bins: a law is averaged over each bin's nodes, given as (x, weight) with weights that sum to 1.
    pub(super) fn over(mut self, bins: Vec<Vec<(f64, f64)>>) -> Self {
        self.places = bins.into_iter().map(Place).collect();
        self
    }

    /// Other values under the same covariance, the draws moved along: such as a closed form, to see what the same fit makes of it. `y` has as many values as
    /// there are points.
    pub fn with_values(&self, y: &[f64]) -> Self {
        let mut other = self.clone();
        for row in other.draws.chunks_exact_mut(self.points().max(1)) {
            row.iter_mut().zip(y.iter().zip(&self.y)).for_each(|(d, (new, old))| *d += new - old);
        }
        other.y = y.to_vec();
        other
    }

    /// Number of points.
    pub fn points(&self) -> usize {
        self.x.len()
    }

    /// The points from number `first` on, under the same covariance.
    pub fn from(&self, first: usize) -> Self {
        let all = self.points().max(1);
        let pick = |rows: &[f64]| rows.chunks_exact(all).flat_map(|row| row[first..].iter().copied()).collect();
        Curve {
            x: self.x[first..].to_vec(),
            y: self.y[first..].to_vec(),
            places: self.places[first..].to_vec(),
            covariance: self.covariance.as_ref().map(|c| c.from(first)),
            draws: pick(&self.draws),
            influence: pick(&self.influence),
            how: self.how,
        }
    }

    pub(super) fn whitening(&self) -> Result<Whitening, String> {
        self.covariance.as_ref().map_or_else(|| Ok(Whitening::none(self.points())), Covariance::whitening)
    }

    /// Independent units behind the curve, where it has some.
    pub fn units(&self) -> Option<usize> {
        self.covariance.as_ref().and_then(Covariance::units)
    }

    /// The law by generalised least squares, every parameter with its interval: the draws are refitted under the same covariance.
    ///
    /// # Errors
    /// A sentence, why there is no fit: fewer points than parameters + 1; fewer than points + 3 units; points that do not rise or fall as the law does.
    pub fn fit(&self, law: Law) -> Result<LawFit, String> {
        self.fit_as(law, true)
    }

    /// As [`Curve::fit`]; without `errors` the parameters have none, which is much quicker.
    pub(crate) fn fit_as(&self, law: Law, errors: bool) -> Result<LawFit, String> {
        let (points, count) = (self.points(), law.parameters().len());
        if points < count + 1 {
            let points = if points == 1 { "1 point is".to_string() } else { format!("{points} points are") };
            return Err(format!("{points} too few for {count} parameters"));
        }
        let weights = self.whitening()?;
        let search = Search::new(law, &self.places, &weights);
        let found = search.fit(&self.y);
        if !found.chi_squared.is_finite() {
            return Err("the points or their errors are too large or too small to be fitted".into());
        }
        if let Some(c) = law.carrier()
            && found.bound[c].is_some()
        {
            return Err(format!("{} would be 0: the points do not go as {} does", law.parameters()[c], law.formula()));
        }
        let told = |raw: &[f64]| -> Vec<f64> { raw.iter().take(count).enumerate().map(|(p, &v)| if p < law.linear() { v } else { law.told(v) }).collect() };
        let values = told(&found.raw);
        let freedom = points - count;
        let quantities = if errors { self.quantities(&search, &found, &values, told) } else { values.iter().map(|&v| Quantity::plain(v)).collect() };
        let (k, n) = (count as f64, points as f64);
        let criterion = match self.covariance {
            Some(_) => found.chi_squared + 2.0 * k,
            None => n * libm::log((found.chi_squared / n).max(f64::MIN_POSITIVE)) + 2.0 * k,
        };
        let parameters =
            law.parameters().iter().zip(quantities).zip(found.bound).map(|((name, quantity), bound)| Parameter { name: name.to_string(), bound, quantity });
        let mut fit = LawFit { law, parameters: parameters.collect(), chi_squared: found.chi_squared, freedom, criterion, r_squared: 0.0 };
        let mean = self.y.iter().sum::<f64>() / n;
        let square = |v: f64| v * v;
        let (left, all) = self.places.iter().zip(&self.y).fold((0.0, 0.0), |(left, all), (place, y)| {
            let law: f64 = place.0.iter().map(|&(x, w)| w * fit.at(x)).sum();
            (left + square(y - law), all + square(y - mean))
        });
        fit.r_squared = if all > 0.0 { 1.0 - left / all } else { 1.0 };
        Ok(fit)
    }

    /// Errors of the parameters: from the draws where there are some, else from the residuals.
    fn quantities(&self, search: &Search<'_>, found: &Solution, values: &[f64], told: impl Fn(&[f64]) -> Vec<f64> + Sync) -> Vec<Quantity> {
        let (points, count) = (self.points(), values.len());
        let sensitivity = search.sensitivity(found);
        let Some(covariance) = &self.covariance else {
            let freedom = (points - count) as f64;
            let scale = found.chi_squared / freedom;
            let of = |p: usize| {
                let se = sensitivity.as_ref().filter(|_| found.bound[p].is_none()).map(|s| (scale * s.1[p]).sqrt());
                Quantity::chosen(values[p], se, intervals(self.how.level, Some(freedom), values[p], se, Vec::new(), &[]), Quoted::Student)
            };
            return (0..count).map(of).collect();
        };
        let (widening, freedom) = match covariance.widening(count) {
            Some((by, freedom)) => (by, Some(freedom)),
            None => (1.0, None),
        };
        let refit = |row: &[f64]| {
            let y: Vec<f64> = row.iter().zip(&self.y).map(|(d, y)| y + widening * (d - y)).collect();
            told(&search.fit(&y).raw)
        };
        let draws: Vec<Vec<f64>> = self.draws.par_chunks_exact(points).map(refit).collect();
        let of = |p: usize| {
            let column: Vec<f64> = draws.iter().map(|d| d[p]).collect();
            let influence: Vec<f64> = match &sensitivity {
                Some((rows, _)) if found.bound[p].is_none() => {
                    self.influence.chunks_exact(points).map(|unit| rows[p].iter().zip(unit).map(|(r, x)| r * x).sum()).collect()
                }
                _ => Vec::new(),
            };
            let se = deviation(&column);
            let all = intervals(self.how.level, freedom, values[p], se, column, &influence);
            let which = match (found.bound[p], self.units()) {
                (Some(_), _) => Quoted::Percentile,
                (None, Some(units)) => Quoted::OfUnits(units),
                (None, None) => Quoted::Bca,
            };
            Quantity::chosen(values[p], se, all, which)
        };
        (0..count).map(of).collect()
    }
}

/// Which interval is quoted.
#[derive(Clone, Copy)]
pub(super) enum Quoted {
    Student,
    Percentile,
    Bca,
    /// As elsewhere, by the number of units.
    OfUnits(usize),
}

impl Quantity {
    /// A number without errors.
    pub(super) fn plain(value: f64) -> Self {
        Quantity { value, se: None, lo: None, hi: None, intervals: Intervals::default() }
    }

    pub(super) fn chosen(value: f64, se: Option<f64>, intervals: Intervals, which: Quoted) -> Self {
        let chosen = match which {
            Quoted::Student => intervals.student,
            Quoted::Percentile => intervals.percentile,
            Quoted::Bca => intervals.bca.or(intervals.student),
            Quoted::OfUnits(units) => intervals.chosen(units),
        };
        Quantity { value, se, lo: chosen.map(|i| i.lo), hi: chosen.map(|i| i.hi), intervals }
    }
}
