//! Laws of growth, fitted to the estimates themselves and compared: A ℓ^β, A ℓ^β + c, a + b ln ℓ and I∞(1 − (1 + ℓ/ℓ0)^−γ) of information, h∞ + c t^(β−1) of the
//! loss by position, C0 + C c^−γ of the loss by context length.
//!
//! A [`Curve`] is a list of points with one [`Covariance`]; [`Curve::fit`] gives one law by generalised least squares, [`Curve::compare`] several of them by
//! χ² + 2k. Estimates at several ℓ come from the same texts and are correlated, up to 0.9 between neighbours: a fit that takes them as independent has intervals
//! that mean nothing. Each module says what it does and by which source: `law` the functions, `search` the least χ² wherever it lies, `covariance` the weights and what
//! their own noise costs, `loss` the positions.
//!
//! The straight line through ln I against ln ℓ, as published, is [`Fit`].

mod compare;
mod covariance;
mod curve;
mod law;
mod loss;
mod read;
mod search;
#[cfg(test)]
mod tests;

pub use compare::{Comparison, Refused, Slope, Without};
pub use covariance::Covariance;
pub use curve::{Curve, LawFit, Parameter};
pub use law::{Growth, Law};
pub use loss::{Bin, LossByPosition};
pub use read::{Columns, Points};

use super::contribution::Cell;
use super::errors::Resamples;
use super::{Analysis, Estimator, Fit, Unfitted};
use serde::{Deserialize, Serialize};

/// The laws of one estimator at one ratio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Laws {
    /// The estimator.
    pub estimator: Estimator,
    /// r = L/ℓ.
    pub ratio: u32,
    /// The laws, beside each other.
    pub comparison: Comparison,
}

impl Laws {
    /// Compares the laws over the splits that the straight line of the same estimator and ratio was drawn through.
    ///
    /// # Errors
    /// Why there is no comparison.
    pub(super) fn new(cells: &[Cell], resamples: &Resamples, line: &Fit) -> Result<Self, Unfitted> {
        let (estimator, ratio) = (line.estimator, line.ratio);
        let comparison = Laws::curve(cells, resamples, line).compare(&Law::OF_INFORMATION).map_err(|why| Unfitted { estimator, ratio, why })?;
        Ok(Laws { estimator, ratio, comparison })
    }

    /// The curve that they are compared on.
    pub(crate) fn curve(cells: &[Cell], resamples: &Resamples, line: &Fit) -> Curve {
        let own = |c: &Cell| (c.estimator, c.ratio) == (line.estimator, line.ratio) && line.splits.contains(&c.split);
        let used: Vec<usize> = (0..cells.len()).filter(|&i| own(&cells[i])).collect();
        let x: Vec<f64> = used.iter().map(|&i| cells[i].split as f64).collect();
        Curve::resampled(&x, resamples, &used)
    }
}

/// How the information grows that an estimator finds at ratio r: the kind of law that fits best. `None` where none could be fitted.
pub fn judge(analysis: &Analysis, estimator: Estimator, ratio: u32) -> Option<Growth> {
    analysis.laws_of(estimator, ratio).and_then(|l| l.comparison.growth())
}
