//! The context length at which loss is least, by the size of the data that a model was trained on.
//!
//! A longer context tells more and is harder to learn from: of a given amount of data some length is best, and it grows with the amount (Shi et al. 2025, arXiv:2502.01481). Given CE(c) of models
//! trained on D tokens each, c* minimises the parabola in ln c through the least measured loss and its two neighbours; where that loss is the first or the last of the curve, only a bound is
//! known. Growth: ln c* = a + b ln D by least squares.

use crate::error::{Error, Result};
use crate::estimate::special::student_quantile;
use crate::estimate::{Estimate, Jackknife};
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
    /// c*, with the standard error of its logarithm times c*, and an interval that is even in logarithms.
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
    /// b in c* ~ D^b, of models whose minimum lies inside their curve; an error from three models on. `None` with fewer than two.
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
    let mut optima = curves.iter().map(|c| optimum(c, level)).collect::<Result<Vec<_>>>()?;
    optima.sort_by(|a, b| a.size.total_cmp(&b.size));
    let inside: Vec<(f64, f64)> = optima.iter().filter(|o| o.place == Place::Inside).map(|o| (libm::log(o.size), libm::log(o.context.value))).collect();
    let n = inside.len() as f64;
    let (mx, my) = inside.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (xx, xy) = inside.iter().fold((0.0, 0.0), |(xx, xy), p| (xx + (p.0 - mx) * (p.0 - mx), xy + (p.0 - mx) * (p.1 - my)));
    if inside.len() < 2 || xx <= 0.0 {
        return Ok(Growth { optima, exponent: None, factor: None });
    }
    let slope = xy / xx;
    let freedom = n - 2.0;
    let left: f64 = inside.iter().map(|p| p.1 - my - slope * (p.0 - mx)).map(|e| e * e).sum();
    let se = (freedom > 0.0).then(|| (left / freedom / xx).sqrt());
    let reach = se.map(|se| se * student_quantile(0.5 + 0.5 * level, freedom));
    let exponent = Estimate { value: slope, se, lo: reach.map(|r| slope - r), hi: reach.map(|r| slope + r) };
    Ok(Growth { optima, exponent: Some(exponent), factor: Some(libm::exp(my - slope * mx)) })
}

fn optimum(curve: &Curve, level: f64) -> Result<Optimum> {
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
    let c = libm::exp(ln);
    let context = Estimate { value: c, se: e.se.map(|s| s * c), lo: e.lo.map(libm::exp), hi: e.hi.map(libm::exp) };
    Ok(Optimum { name: curve.name.clone(), size: curve.size, context, measured: curve.points[i].0, loss: losses[i], place })
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
        // A curve that still falls bounds its optimum and enters no fit.
        let g = growth(&[curve(1.0, 1000.0, &all), curve(2.0, 1.0, &all)], 0.95).unwrap();
        assert_eq!((g.optima[0].place, g.optima[1].place, g.exponent), (Place::Last, Place::First, None));
        assert!(growth(&[curve(0.0, 9.0, &all)], 0.95).is_err() && growth(&[curve(1.0, 9.0, &[8, 16])], 0.95).is_err());
    }
}
