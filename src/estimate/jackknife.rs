//! Errors of whatever is computed from sums over folds: the jackknife that leaves out a fold at a time, where folds have different sizes.
//!
//! With n samples, m_j of them in fold j, h_j = n / m_j, θ from all and θ_(j) without fold j (Busing, Meijer and van der Leeden 1999, delete-m_j):
//!
//! θ_J = g θ − Σ (1 − m_j/n) θ_(j),   V = 1/g · Σ (τ_j − θ_J)² / (h_j − 1),   τ_j = h_j θ − (h_j − 1) θ_(j).
//!
//! Folds of whole documents are independent, so V holds whatever correlates the samples of one document. Intervals are Student's with g − 1 degrees of freedom.

use super::special::student_quantile;
use serde::{Deserialize, Serialize};

/// A number with its error and interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// From everything.
    pub value: f64,
    /// Standard error; `None` where it cannot be had.
    pub se: Option<f64>,
    /// Lower end of the interval.
    pub lo: Option<f64>,
    /// Its upper end.
    pub hi: Option<f64>,
}

/// Folds that are left out, one at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Jackknife {
    /// Samples of each fold.
    sizes: Vec<f64>,
    /// Coverage that intervals aim at.
    level: f64,
}

impl Jackknife {
    /// Over folds of so many samples, with intervals of this level in (0, 1).
    pub fn new(sizes: &[usize], level: f64) -> Self {
        Jackknife { sizes: sizes.iter().map(|&m| m as f64).collect(), level }
    }

    /// The standard error of `value`, of which `left_out` are those without each fold; `None` where one of them is not finite, or there are fewer than two folds.
    pub fn error(&self, value: f64, left_out: &[f64]) -> Option<f64> {
        let (g, n) = (self.sizes.len(), self.sizes.iter().sum::<f64>());
        if g < 2 || left_out.len() != g || !value.is_finite() || !left_out.iter().all(|x| x.is_finite()) {
            return None;
        }
        let folds = || self.sizes.iter().zip(left_out);
        // Everything relative to `value`, so that equal numbers give an error of exactly 0.
        let joint = -folds().map(|(m, t)| (1.0 - m / n) * (t - value)).sum::<f64>();
        let squares = folds().map(|(m, t)| {
            let h = n / m;
            let off = -(h - 1.0) * (t - value) - joint;
            off * off / (h - 1.0)
        });
        Some((squares.sum::<f64>() / g as f64).sqrt())
    }

    /// A number with its error.
    pub fn estimate(&self, value: f64, left_out: &[f64]) -> Estimate {
        self.around(value, value, left_out)
    }

    /// A number whose error is that of another one, `smooth`: for counts, which jump.
    pub fn around(&self, value: f64, smooth: f64, left_out: &[f64]) -> Estimate {
        let se = self.error(smooth, left_out);
        let reach = se.map(|se| se * student_quantile(0.5 + 0.5 * self.level, self.sizes.len() as f64 - 1.0));
        Estimate { value, se, lo: reach.map(|r| value - r), hi: reach.map(|r| value + r) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a mean the jackknife is the known error, for equal folds to the bit of the formula s²/g, for unequal ones as Busing et al. have it.
    #[test]
    fn of_means_it_is_the_known_error() {
        let folds: [&[f64]; 4] = [&[1.0, 3.0], &[2.0, 2.5], &[-1.0, 0.5], &[4.0, 1.0]];
        let mean = |of: &[&[f64]]| of.concat().iter().sum::<f64>() / of.concat().len() as f64;
        let without = |j: usize| mean(&folds.iter().enumerate().filter(|(i, _)| *i != j).map(|(_, f)| *f).collect::<Vec<_>>());
        let left: Vec<f64> = (0..4).map(without).collect();
        let jackknife = Jackknife::new(&[2; 4], 0.95);
        let means: Vec<f64> = folds.iter().map(|f| mean(&[f])).collect();
        let variance = means.iter().map(|m| (m - mean(&folds)).powi(2)).sum::<f64>() / 3.0;
        let e = jackknife.estimate(mean(&folds), &left);
        assert!((e.se.unwrap() - (variance / 4.0).sqrt()).abs() < 1e-15);
        // Student's 97.5 % quantile with 3 degrees of freedom.
        assert!((e.hi.unwrap() - e.value - 3.182_446_305_284_263 * e.se.unwrap()).abs() < 1e-12);
        // By hand for folds of one and two: n = 3, h = 3 and 3/2; θ = 2, θ_(1) = 2.5, θ_(2) = 1: θ_J = 4 − (2/3)·2.5 − (1/3)·1 = 2; τ = 6 − 5 = 1 and 3 − ½ = 2.5;
        // V = ½ (1²/2 + ½²/½) = ½.
        let e = Jackknife::new(&[1, 2], 0.95).error(2.0, &[2.5, 1.0]).unwrap();
        assert!((e - 0.5f64.sqrt()).abs() < 1e-15, "{e}");
        assert_eq!(Jackknife::new(&[5, 9, 2], 0.9).error(7.1, &[7.1; 3]), Some(0.0));
        assert_eq!(Jackknife::new(&[5], 0.9).error(7.1, &[7.1]), None);
        assert_eq!(Jackknife::new(&[5, 5], 0.9).error(7.1, &[7.1, f64::NAN]), None);
    }
}
