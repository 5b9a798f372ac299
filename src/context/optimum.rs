//! The context length at which loss is least, by the size of the data that a model was trained on.
//!
//! A longer context tells more and is harder to learn from: of a given amount of data some length is best, and it grows with the amount (Shi et al. 2025, arXiv:2502.01481). Given CE(c) of models
//! trained on D tokens each, c* minimises the parabola in ln c through the least measured loss and its two neighbours; where that loss is the first or the last of the curve, only a bound is
//! known. Growth: ln c* = a + b ln D by least squares; the error of b is the larger of two, that which the scatter about the line gives, and the jackknife's, which takes the same fold of
//! texts out of all curves: a few points may lie on a line by chance, however little each is known.

use crate::error::{Error, Result};
use crate::estimate::special::student_quantile;
use crate::estimate::{Estimate, Jackknife, straight_line};
use serde::{Deserialize, Serialize};

/// Where a curve is least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// At its first point: the minimum may lie before.
    First,
    /// Between its ends.
    Inside,
    /// At its last point: the minimum may lie beyond.
    Last,
}

impl Place {
    /// As files spell it.
    pub fn name(self) -> &'static str {
        match self {
            Place::First => "first",
            Place::Inside => "inside",
            Place::Last => "last",
        }
    }
}

/// A curve of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// What the model is called.
    pub name: String,
    /// D, tokens that it was trained on.
    pub size: f64,
    /// c and CE(c), ascending in c.
    pub points: Vec<(u32, f64)>,
    /// CE(c) without each fold, `[fold][context]`.
    pub left_out: Vec<Vec<f64>>,
    /// Chunks of each fold.
    pub folds: Vec<usize>,
}

/// The best context length of one model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimum {
    /// What the model is called.
    pub name: String,
    /// D.
    pub size: f64,
    /// c*, with the standard error of its logarithm times c*, and an interval that is even in logarithms; at an end of the curve the length there, without errors, since it is only a bound.
    pub context: Estimate,
    /// The measured context length of least loss.
    pub measured: u32,
    /// The loss there, in nats.
    pub loss: f64,
    /// Where it lies.
    pub place: Place,
}

/// How it grows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// By model, in ascending D.
    pub optima: Vec<Optimum>,
    /// b in c* ~ D^b, of models whose minimum lies inside their curve. `None` with fewer than two of different D.
    pub exponent: Option<Estimate>,
    /// c* at D = 1: e^a.
    pub factor: Option<f64>,
}

/// ln c of the least loss, and where it lies.
fn least(points: &[(f64, f64)]) -> Option<(f64, usize, Place)> {
    let i = (0..points.len()).reduce(|a, b| if points[b].1 < points[a].1 { b } else { a })?;
    if i == 0 || i + 1 == points.len() {
        return Some((points[i].0, i, if i == 0 { Place::First } else { Place::Last }));
    }
    let [(x0, y0), (x1, y1), (x2, y2)] = [points[i - 1], points[i], points[i + 1]];
    let (left, right) = ((y0 - y1) / (x0 - x1), (y2 - y1) / (x2 - x1));
    let bend = (right - left) / (x2 - x0);
    // A flat bottom has no vertex.
    let x = if bend > 0.0 { (0.5 * (x0 + x1) - 0.5 * left / bend).clamp(x0, x2) } else { x1 };
    Some((x, i, Place::Inside))
}

/// The best context lengths of several models, and how they grow with the size of their data.
///
/// # Errors
/// No curve, a curve of fewer than three context lengths, a size that is none.
pub fn growth(curves: &[Curve], level: f64) -> Result<Growth> {
    let mut found = curves.iter().map(|c| optimum(c, level)).collect::<Result<Vec<_>>>()?;
    found.sort_by(|a, b| a.0.size.total_cmp(&b.0.size));
    let inside: Vec<&(Optimum, Vec<f64>)> = found.iter().filter(|f| f.0.place == Place::Inside).collect();
    let x: Vec<f64> = inside.iter().map(|f| libm::log(f.0.size)).collect();
    let y: Vec<f64> = inside.iter().map(|f| libm::log(f.0.context.value)).collect();
    let optima = found.iter().map(|f| f.0.clone()).collect();
    let Some((slope, intercept)) = line(&x, &y) else { return Ok(Growth { optima, exponent: None, factor: None }) };
    let upper = 0.5 + 0.5 * level;
    let (freedom, mean) = (x.len() as f64 - 2.0, x.iter().sum::<f64>() / x.len() as f64);
    let (left, spread) = x.iter().zip(&y).fold((0.0, 0.0), |(left, spread), (x, y)| {
        let off = y - intercept - slope * x;
        (left + off * off, spread + (x - mean) * (x - mean))
    });
    let scatter = (freedom > 0.0).then(|| (left / freedom / spread).sqrt()).map(|se| (se, se * student_quantile(upper, freedom)));
    // The curves are of the same texts, so that a fold is left out of all of them at once.
    let folds = &curves[0].folds;
    let alike = curves.iter().all(|c| c.folds == *folds) && inside.iter().all(|f| f.1.len() == folds.len());
    let without = |g: usize| line(&x, &inside.iter().map(|f| f.1[g]).collect::<Vec<_>>()).map_or(f64::NAN, |l| l.0);
    let texts = alike.then(|| Jackknife::new(folds, level).error(slope, &(0..folds.len()).map(without).collect::<Vec<_>>())).flatten();
    let texts = texts.map(|se| (se, se * student_quantile(upper, folds.len() as f64 - 1.0)));
    let larger = |of: fn(&(f64, f64)) -> f64| [scatter, texts].iter().flatten().map(of).reduce(f64::max);
    let (se, reach) = (larger(|e| e.0), larger(|e| e.1));
    let exponent = Estimate { value: slope, se, lo: reach.map(|r| slope - r), hi: reach.map(|r| slope + r) };
    Ok(Growth { optima, exponent: Some(exponent), factor: Some(libm::exp(intercept)) })
}

/// Logarithms of sizes that differ by less are those of one size.
const ONE_SIZE: f64 = 1e-6;

/// Slope and intercept by least squares; `None` without two sizes.
fn line(x: &[f64], y: &[f64]) -> Option<(f64, f64)> {
    if x.iter().all(|v| (v - x[0]).abs() < ONE_SIZE) {
        return None;
    }
    straight_line(x.iter().copied().zip(y.iter().copied()))
}

/// The best context length of one model, and its logarithm without each fold.
fn optimum(curve: &Curve, level: f64) -> Result<(Optimum, Vec<f64>)> {
    if !(curve.size > 0.0 && curve.size.is_finite()) {
        return Err(Error::input(format!("{} is no number of tokens that {} was trained on", curve.size, curve.name)));
    }
    if curve.points.len() < 3 {
        return Err(Error::input(format!("{} has {} context lengths; a minimum needs three", curve.name, curve.points.len())));
    }
    let x: Vec<f64> = curve.points.iter().map(|p| libm::log(f64::from(p.0))).collect();
    let with = |y: &[f64]| least(&x.iter().copied().zip(y.iter().copied()).collect::<Vec<_>>());
    let losses: Vec<f64> = curve.points.iter().map(|p| p.1).collect();
    let (ln, i, place) = with(&losses).ok_or_else(|| Error::input(format!("{} has no context length", curve.name)))?;
    let left: Vec<f64> = curve.left_out.iter().map(|y| with(y).map_or(f64::NAN, |l| l.0)).collect();
    let e = Jackknife::new(&curve.folds, level).estimate(ln, &left);
    let (c, measured) = (libm::exp(ln), curve.points[i].0);
    let context = match place {
        Place::Inside => Estimate { value: c, se: e.se.map(|s| s * c), lo: e.lo.map(libm::exp), hi: e.hi.map(libm::exp) },
        Place::First | Place::Last => Estimate { value: f64::from(measured), ..Estimate::default() },
    };
    Ok((Optimum { name: curve.name.clone(), size: curve.size, context, measured, loss: losses[i], place }, left))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(size: f64, best: f64, points: &[u32]) -> Curve {
        let loss = |c: u32| 2.0 + 0.1 * (f64::from(c).ln() - best.ln()).powi(2);
        let points: Vec<(u32, f64)> = points.iter().map(|&c| (c, loss(c))).collect();
        let left_out = vec![points.iter().map(|p| p.1 + 0.01).collect(); 2];
        Curve { name: format!("{size}"), size, points, left_out, folds: vec![4, 5] }
    }

    #[test]
    fn parabolas_have_their_vertex_and_powers_their_exponent() {
        let all = [8, 16, 32, 64, 128, 256];
        let curves = [curve(4e6, 40.0, &all), curve(1e6, 20.0, &all), curve(16e6, 80.0, &all)];
        let g = growth(&curves, 0.95).unwrap();
        assert_eq!(g.optima.iter().map(|o| o.measured).collect::<Vec<_>>(), [16, 32, 64]);
        for (o, best) in g.optima.iter().zip([20.0, 40.0, 80.0]) {
            assert!((o.context.value - best).abs() < 1e-9 * best && o.context.se.unwrap() < 1e-9 && o.place == Place::Inside);
        }
        let b = g.exponent.unwrap();
        assert!((b.value - 0.5).abs() < 1e-9 && b.se.unwrap() < 1e-6 && (g.factor.unwrap() - 0.02).abs() < 1e-9);
        // Two folds of the same texts, without which the minima move apart by a factor of D^±0.1: the jackknife's error of b is 0.1, Student's quantile of one degree of freedom 12.706.
        let moved = |size: f64, best: f64| {
            let c = curve(size, best, &all);
            let without = |b: f64| curve(size, best * size.powf(b), &all).points.iter().map(|p| p.1).collect();
            Curve { left_out: vec![without(0.1), without(-0.1)], folds: vec![4, 4], ..c }
        };
        let b = growth(&[moved(1.0, 20.0), moved(4.0, 40.0)], 0.95).unwrap().exponent.unwrap();
        assert!((b.se.unwrap() - 0.1).abs() < 1e-9 && (b.hi.unwrap() - b.value - 1.2706).abs() < 1e-4, "{b:?}");
        // Models of one size say nothing of growth.
        assert_eq!(growth(&[curve(3e6, 20.0, &all), curve(3e6, 40.0, &all), curve(3e6 + 0.01, 30.0, &all)], 0.95).unwrap().exponent, None);
        // A curve that still falls bounds its optimum and enters no fit.
        let g = growth(&[curve(1.0, 1000.0, &all), curve(2.0, 1.0, &all)], 0.95).unwrap();
        assert_eq!((g.optima[0].place, g.optima[1].place, g.exponent), (Place::Last, Place::First, None));
        assert_eq!(g.optima[0].context, Estimate { value: 256.0, ..Estimate::default() });
        assert!(growth(&[curve(0.0, 9.0, &all)], 0.95).is_err() && growth(&[curve(1.0, 9.0, &[8, 16])], 0.95).is_err());
    }
}
