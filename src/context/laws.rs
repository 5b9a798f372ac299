//! C0 + C c^−γ through the loss, and through each intrinsic dimension.
//!
//! The plain least squares of the published form, with the jackknife's errors; and of the loss the same law by generalised least squares under the covariance that the losses at
//! different c have, since they are of the same texts ([`Curve`](crate::estimate::laws::Curve)). A dimension grows with c: then it is what is missing of the width that the law is fitted to, and
//! C is negative.

use crate::estimate::laws::{Curve, Law, LawFit};
use crate::estimate::{Estimate, Jackknife, Resamples, Resampling};
use serde::{Deserialize, Serialize};

/// A law of one quantity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Power {
    /// `loss` or `dimension`.
    pub of: String,
    /// τ, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<f64>,
    /// C0.
    pub limit: Estimate,
    /// C.
    pub factor: Estimate,
    /// γ.
    pub exponent: Estimate,
    /// The bound that γ sits at: the points then tell of no such law. What sits at a bound has no error.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub bound: Option<f64>,
    /// The bound that C0 sits at: 0, or of a rising quantity what it cannot exceed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub limit_bound: Option<f64>,
    /// Share of the variance over c that it explains.
    pub r_squared: f64,
    /// The same by generalised least squares, where there are documents enough for a covariance.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub generalised: Option<LawFit>,
}

/// Why a quantity has no law.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoPower {
    /// `loss` or `dimension`.
    pub of: String,
    /// τ, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<f64>,
    /// A sentence.
    pub why: String,
}

/// C0 + C c^−γ by least squares.
#[derive(Clone, Copy, Debug)]
pub struct Fitted {
    /// C0, C, γ.
    pub values: [f64; 3],
    /// The bound that γ sits at.
    pub bound: Option<f64>,
    /// The bound that C0 sits at.
    pub limit_bound: Option<f64>,
    /// R².
    pub r_squared: f64,
}

/// The law of y by least squares; of a `rising` quantity below `top`, of what is missing of that.
///
/// # Errors
/// A sentence: too few points; points that are all the same, or do not go so.
pub fn power(x: &[f64], y: &[f64], rising: Option<f64>) -> Result<Fitted, String> {
    if y.iter().all(|v| v == &y[0]) {
        return Err("it is the same at every c".into());
    }
    let turned: Vec<f64> = y.iter().map(|y| rising.map_or(*y, |top| top - y)).collect();
    let fit = Curve::measured(x, &turned, None, Resampling { resamples: 0, ..Resampling::default() })?.fit(Law::Context)?;
    let of = |name: &str| fit.parameter(name).map_or(f64::NAN, |p| p.quantity.value);
    let (limit, factor) = (of("C0"), of("C"));
    let values = [rising.map_or(limit, |top| top - limit), rising.map_or(factor, |_| -factor), of("γ")];
    let bound = |name: &str| fit.parameter(name).and_then(|p| p.bound);
    let limit_bound = bound("C0").map(|b| rising.map_or(b, |top| top - b));
    Ok(Fitted { values, bound: bound("γ"), limit_bound, r_squared: fit.r_squared })
}

/// The law of values and of those without each fold, `left[fold][context]`; `smooth` stands for the values where errors are computed.
///
/// # Errors
/// As [`power`].
pub(super) fn of(
    of: &str,
    at: Option<f64>,
    x: &[f64],
    (y, smooth): (&[f64], &[f64]),
    left: &[Vec<f64>],
    top: f64,
    jackknife: &Jackknife,
) -> Result<Power, NoPower> {
    let rising = (y.last() > y.first()).then_some(top);
    let all = power(x, y, rising).map_err(|why| NoPower { of: of.into(), at, why })?;
    let values = |y: &[f64]| power(x, y, rising).map_or([f64::NAN; 3], |f| f.values);
    let base = values(smooth);
    let left: Vec<[f64; 3]> = left.iter().map(|y| values(y)).collect();
    let estimate = |i: usize| jackknife.around(all.values[i], base[i], &left.iter().map(|l| l[i]).collect::<Vec<_>>());
    let plain = |e: Estimate, bound: Option<f64>| if bound.is_some() { Estimate { value: e.value, ..Estimate::default() } } else { e };
    let [limit, factor, exponent] = [0, 1, 2].map(estimate);
    let (limit, exponent) = (plain(limit, all.limit_bound), plain(exponent, all.bound));
    let (bound, limit_bound) = (all.bound, all.limit_bound);
    Ok(Power { of: of.into(), at, limit, factor, exponent, bound, limit_bound, r_squared: all.r_squared, generalised: None })
}

/// The law of resampled losses under their covariance.
pub(super) fn generalised(x: &[f64], losses: &Resamples) -> Option<LawFit> {
    Curve::resampled(x, losses, &(0..x.len()).collect::<Vec<_>>()).fit(Law::Context).ok()
}
