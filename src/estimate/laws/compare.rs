//! Laws of one curve beside each other, and how far the answer hangs on the smallest x.

use super::curve::{Curve, LawFit, Quoted};
use super::law::{Growth, Law};
use crate::estimate::errors::intervals;
use crate::estimate::fit::{Quantity, deviation};
use serde::{Deserialize, Serialize};

/// Laws fitted to one curve under one covariance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The x of the points.
    pub points: Vec<f64>,
    /// Independent units behind the covariance; `None` where it was given, or errors are unknown.
    pub units: Option<usize>,
    /// λ, the share by which correlations were shrunk.
    pub shrinkage: Option<f64>,
    /// Hartlap's factor; `None` where errors are unknown.
    pub hartlap: Option<f64>,
    /// The fits, in the order asked for.
    pub laws: Vec<LawFit>,
    /// Akaike weights of these fits: exp(−½ of what a criterion lies above the least), summing to 1.
    pub weights: Vec<f64>,
    /// Laws without a fit.
    pub refused: Vec<Refused>,
    /// The one with the least criterion.
    pub best: Option<Law>,
    /// d ln y / d ln x between neighbours, where both are positive; only of laws of information.
    pub slopes: Vec<Slope>,
    /// The same laws without the smallest x, two, three, … of them, as long as each has a point more than parameters.
    pub without_smallest: Vec<Without>,
}

/// A law that could not be fitted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Which.
    pub law: Law,
    /// A sentence.
    pub why: String,
}

/// A local slope.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Slope {
    /// From this x …
    pub from: f64,
    /// … to this one.
    pub to: f64,
    /// d ln y / d ln x.
    #[serde(flatten)]
    pub slope: Quantity,
}

/// The laws fitted to the points from some x on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Without {
    /// Points left out.
    pub left_out: usize,
    /// The smallest x that is left.
    pub from: f64,
    /// The laws and their criterion.
    pub criteria: Vec<(Law, f64)>,
    /// The one with the least.
    pub best: Option<Law>,
    /// The law whose exponent is given.
    pub exponent_of: Option<Law>,
    /// Its exponent.
    pub exponent: Option<Quantity>,
    /// The bound that this sits at.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bound: Option<f64>,
}

impl Comparison {
    /// The fit of a law.
    pub fn fit(&self, law: Law) -> Option<&LawFit> {
        self.laws.iter().find(|f| f.law == law)
    }

    /// The best fit.
    pub fn best(&self) -> Option<&LawFit> {
        self.best.and_then(|law| self.fit(law))
    }

    /// What the growth is judged to be: that of the law with the least criterion.
    pub fn growth(&self) -> Option<Growth> {
        self.best.and_then(Law::growth)
    }
}

fn least(criteria: &[(Law, f64)]) -> Option<Law> {
    criteria.iter().copied().reduce(|a, b| if b.1 < a.1 { b } else { a }).map(|c| c.0)
}

impl Curve {
    /// What [`Curve::compare`] would judge the growth to be, without errors of parameters. `None` where no law can be fitted.
    pub(crate) fn growth(&self, laws: &[Law]) -> Option<Growth> {
        let criteria: Vec<(Law, f64)> = laws.iter().filter_map(|&law| Some((law, self.fit_as(law, false).ok()?.criterion))).collect();
        least(&criteria).and_then(Law::growth)
    }

    /// Fits the laws and compares them.
    ///
    /// # Errors
    /// A sentence where no law can be fitted for a reason of the curve: too few units for its covariance, points that say the same.
    pub fn compare(&self, laws: &[Law]) -> Result<Comparison, String> {
        self.whitening()?;
        let (mut fits, mut refused) = (Vec::new(), Vec::new());
        for &law in laws {
            match self.fit(law) {
                Ok(fit) => fits.push(fit),
                Err(why) => refused.push(Refused { law, why }),
            }
        }
        let criteria: Vec<(Law, f64)> = fits.iter().map(|f| (f.law, f.criterion)).collect();
        let best = least(&criteria);
        let lowest = criteria.iter().map(|c| c.1).fold(f64::INFINITY, f64::min);
        let evidence: Vec<f64> = criteria.iter().map(|c| libm::exp(-0.5 * (c.1 - lowest))).collect();
        let sum: f64 = evidence.iter().sum();
        let of_information = laws.iter().any(|l| l.growth().is_some());
        Ok(Comparison {
            points: self.x.clone(),
            units: self.units(),
            shrinkage: self.covariance.as_ref().and_then(|c| c.shrinkage()),
            hartlap: self.covariance.as_ref().and_then(|c| c.hartlap()),
            weights: evidence.into_iter().map(|e| e / sum).collect(),
            slopes: if of_information { self.slopes() } else { Vec::new() },
            without_smallest: self.without_smallest(&fits),
            laws: fits,
            refused,
            best,
        })
    }

    fn without_smallest(&self, fits: &[LawFit]) -> Vec<Without> {
        let most = fits.iter().map(|f| f.parameters.len()).max().unwrap_or(usize::MAX);
        let exponent_of = fits.iter().map(|f| f.law).find(|l| l.exponent().is_some());
        let points = self.points();
        let without = |left_out: usize| {
            let curve = self.from(left_out);
            let mut criteria = Vec::new();
            let (mut exponent, mut bound) = (None, None);
            for f in fits {
                let with_errors = Some(f.law) == exponent_of;
                if let Ok(fit) = curve.fit_as(f.law, with_errors) {
                    criteria.push((f.law, fit.criterion));
                    if let Some(p) = f.law.exponent().filter(|_| with_errors).and_then(|name| fit.parameter(name)) {
                        (exponent, bound) = (Some(p.quantity), p.bound);
                    }
                }
            }
            Without { left_out, from: curve.x[0], best: least(&criteria), criteria, exponent_of, exponent, bound }
        };
        (1..points).take_while(|&n| points - n > most).map(without).collect()
    }

    /// Local slopes with intervals from the draws.
    fn slopes(&self) -> Vec<Slope> {
        let points = self.points();
        let slope = |i: usize| {
            let run = libm::log(self.x[i + 1]) - libm::log(self.x[i]);
            let of = |row: &[f64]| (row[i] > 0.0 && row[i + 1] > 0.0).then(|| (libm::log(row[i + 1]) - libm::log(row[i])) / run);
            let value = of(&self.y)?;
            let draws: Vec<f64> = self.draws.chunks_exact(points).filter_map(of).collect();
            let influence: Vec<f64> = self.influence.chunks_exact(points).map(|u| (u[i + 1] / self.y[i + 1] - u[i] / self.y[i]) / run).collect();
            let se = deviation(&draws);
            let freedom = self.units().map(|u| u as f64 - 1.0);
            let all = intervals(self.how.level, freedom, value, se, draws, &influence);
            let which = self.units().map_or(Quoted::Bca, Quoted::OfUnits);
            Some(Slope { from: self.x[i], to: self.x[i + 1], slope: Quantity::chosen(value, se, all, which) })
        };
        (0..points.saturating_sub(1)).filter_map(slope).collect()
    }
}
