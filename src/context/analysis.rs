//! From a record to loss, intrinsic dimension and entropy at every context length, and what they are of one another.

use super::laws::{self, NoPower, Power};
use super::part::Part;
use super::plan::Project;
use crate::error::{Error, Result};
use crate::estimate::density::{KernelEntropy, kernel_entropy, silverman};
use crate::estimate::spectrum::Spectrum;
use crate::estimate::{Estimate, Jackknife, Resamples, Resampling};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is computed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Options {
    /// τ of the intrinsic dimension.
    pub thresholds: Vec<f64>,
    /// N of the spectral entropy.
    pub leading: Vec<u32>,
    /// σ of the kernel; `None`: Silverman's of each context length.
    pub sigma: Option<f64>,
    /// How the losses are resampled; the level is that of all intervals.
    pub resampling: Resampling,
}

impl Default for Options {
    /// The range of the published thresholds, τ = 0.002 … 0.25, and of the published N = 3 … 2000.
    fn default() -> Self {
        let thresholds = vec![0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25];
        Options { thresholds, leading: vec![3, 10, 30, 100, 300, 1000, 2000], sigma: None, resampling: Resampling::default() }
    }
}

impl Options {
    /// Makes sure that they can be computed.
    ///
    /// # Errors
    /// The option that cannot.
    pub fn check(&self) -> Result<()> {
        if let Some(x) = self.thresholds.iter().find(|x| !(**x > 0.0 && **x < 1.0)) {
            return Err(Error::input(format!("--thresholds {x} is no share of the largest eigenvalue; give numbers between 0 and 1")));
        }
        if let Some(x) = self.sigma.filter(|x| !(*x > 0.0 && x.is_finite())) {
            return Err(Error::input(format!("--sigma {x} is no width of a kernel; give a number above 0")));
        }
        if self.leading.contains(&0) {
            return Err(Error::input("--leading 0 is no number of eigenvalues; give numbers from 1 on"));
        }
        Ok(())
    }
}

/// A quantity at a parameter: a threshold, or a number of eigenvalues.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// τ or N.
    pub at: f64,
    /// Its value.
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// The kernel entropy with its kernel.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Kernel {
    /// σ.
    pub sigma: f64,
    /// S, in nats.
    #[serde(flatten)]
    pub entropy: Estimate,
}

/// What a context length gives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// c.
    pub context: u32,
    /// Chunks.
    pub samples: usize,
    /// Documents of which they are.
    pub documents: usize,
    /// CE(c), in nats a token.
    pub loss: Estimate,
    /// ID_τ by τ.
    pub dimensions: Vec<Reading>,
    /// S_N by N, of those that all context lengths resolve.
    pub entropies: Vec<Reading>,
    /// ½ Σ ln λ_i of the leading N likewise.
    pub unnormalised: Vec<Reading>,
    /// The kernel entropy, where states are kept.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub kernel: Option<Kernel>,
    /// Eigenvalues above what rounding leaves, of which there are at most samples − 1.
    pub resolved: usize,
    /// The covariance's eigenvalues, descending.
    pub eigenvalues: Vec<f64>,
}

/// A straight line of the loss against a quantity, over the context lengths: CE = intercept + slope · x.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The quantity: `dimension`, `entropy`, `unnormalised` or `kernel`.
    pub of: String,
    /// τ or N, where it has one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<f64>,
    /// By least squares.
    pub slope: Estimate,
    /// Likewise.
    pub intercept: Estimate,
    /// The correlation.
    pub r: f64,
    /// Its square: the share of the loss's variance that the line explains.
    pub r_squared: f64,
}

/// All of a measurement.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// What was computed.
    pub options: Options,
    /// Numbers of a hidden state.
    pub width: usize,
    /// Folds that the jackknife leaves out, one at a time, with their chunks.
    pub folds: Vec<usize>,
    /// By context length, ascending.
    pub points: Vec<Point>,
    /// Laws of the loss and of every dimension.
    pub laws: Vec<Power>,
    /// What has none.
    pub without: Vec<NoPower>,
    /// Lines of the loss against everything that varies.
    pub lines: Vec<Line>,
    /// CE(c) without each fold, `[fold][context]`: for what is computed from several measurements.
    pub loss_left_out: Vec<Vec<f64>>,
}

/// A value, and those without each fold.
type Replicated = (f64, Vec<f64>);

/// Of one context length everything with its values without each fold.
struct Column {
    point: Point,
    /// CE, then the dimensions, entropies, unnormalised entropies and the kernel entropy, in order: value and left-out values.
    loss: Replicated,
    dimensions: Vec<Replicated>,
    entropies: Vec<Replicated>,
    unnormalised: Vec<Replicated>,
    kernel: Option<Replicated>,
}

/// Computes everything from the record of these folds. The error of a loss is that of the mean over documents (see [`Resamples`]), of everything else the jackknife's.
///
/// # Errors
/// A record that lacks a fold or is damaged.
pub fn analyse(project: &Project, folds: &[usize], options: &Options) -> Result<Analysis> {
    options.check()?;
    let design = &project.plan.design;
    let (mut columns, mut sizes, mut width): (Vec<Column>, Vec<usize>, usize) = (Vec::new(), Vec::new(), 0);
    let (mut documents, mut losses): (Vec<Vec<u32>>, Vec<Vec<f64>>) = (Vec::new(), Vec::new());
    for unit in design.units() {
        for (i, &c) in unit.iter().enumerate() {
            let parts = folds.iter().map(|&f| of_context(project, unit, f, i)).collect::<Result<Vec<_>>>()?;
            if let Some(other) = parts.iter().find(|p| p.width != parts[0].width) {
                return Err(Error::file(project.folder(), format!("holds states of {} and of {} numbers; choose another --out", parts[0].width, other.width)));
            }
            sizes = parts.iter().map(|p| p.places.len()).collect();
            width = parts.first().map_or(0, |p| p.width);
            documents = parts.iter().flat_map(|p| p.places.iter().map(|place| vec![place.0])).collect();
            losses.push(parts.iter().flat_map(|p| p.of[0].logprobs.iter().map(|&x| -f64::from(x))).collect());
            columns.push(column(c, &parts, options)?);
        }
    }
    // What not all of them resolve would not be one quantity against another.
    let least = columns.iter().map(|c| c.point.resolved).min().unwrap_or(0);
    let shown = options.leading.iter().filter(|&&n| n as usize <= least).count();
    for c in &mut columns {
        [&mut c.point.entropies, &mut c.point.unnormalised].into_iter().for_each(|e| e.truncate(shown));
        [&mut c.entropies, &mut c.unnormalised].into_iter().for_each(|e| e.truncate(shown));
    }
    // All c have the same chunks; their losses are resampled together.
    let by_chunk: Vec<f64> = (0..documents.len()).flat_map(|i| losses.iter().map(move |l| l[i])).collect();
    let resampled = Resamples::of(&documents, &by_chunk, &vec![0.0; columns.len()], options.resampling);
    for (i, column) in columns.iter_mut().enumerate() {
        let chosen = resampled.intervals(i).chosen(resampled.units);
        column.point.loss = Estimate { value: resampled.mean[i], se: resampled.se[i], lo: chosen.map(|c| c.lo), hi: chosen.map(|c| c.hi) };
    }
    let jackknife = Jackknife::new(&sizes, options.resampling.level);
    let (laws, without) = powers(&columns, options, width, &jackknife, &resampled);
    let lines = lines(&columns, options, &jackknife);
    let loss_left_out = (0..folds.len()).map(|g| columns.iter().map(|c| c.loss.1[g]).collect()).collect();
    Ok(Analysis { options: options.clone(), width, folds: sizes, points: columns.into_iter().map(|c| c.point).collect(), laws, without, lines, loss_left_out })
}

/// The laws of the loss and of every dimension.
fn powers(columns: &[Column], options: &Options, width: usize, jackknife: &Jackknife, losses: &Resamples) -> (Vec<Power>, Vec<NoPower>) {
    let x: Vec<f64> = columns.iter().map(|c| f64::from(c.point.context)).collect();
    let folds = columns.first().map_or(0, |c| c.loss.1.len());
    let left = |of: &dyn Fn(&Column) -> &[f64]| (0..folds).map(|g| columns.iter().map(|c| of(c)[g]).collect()).collect::<Vec<Vec<f64>>>();
    let y: Vec<f64> = columns.iter().map(|c| c.loss.0).collect();
    let mut all = vec![laws::of("loss", None, &x, (&y, &y), &left(&|c| &c.loss.1), f64::NAN, jackknife)];
    if let [Ok(loss)] = &mut all[..] {
        loss.generalised = laws::generalised(&x, losses);
    }
    for (i, &t) in options.thresholds.iter().enumerate() {
        let y: Vec<f64> = columns.iter().map(|c| c.point.dimensions[i].estimate.value).collect();
        let smooth: Vec<f64> = columns.iter().map(|c| c.dimensions[i].0).collect();
        all.push(laws::of("dimension", Some(t), &x, (&y, &smooth), &left(&|c| &c.dimensions[i].1), width as f64, jackknife));
    }
    let (mut found, mut without) = (Vec::new(), Vec::new());
    for law in all {
        match law {
            Ok(law) => found.push(law),
            Err(why) => without.push(why),
        }
    }
    (found, without)
}

/// One context length of a recorded fold.
fn of_context(project: &Project, unit: &[u32], fold: usize, i: usize) -> Result<Part> {
    let part = project.part(unit, fold)?;
    let mut part = part.ok_or_else(|| Error::file(project.folder(), format!("lacks fold {fold} of its record; start the measurement again to go on")))?;
    part.of = vec![part.of.swap_remove(i)];
    part.contexts = vec![unit[i]];
    Ok(part)
}

fn column(context: u32, parts: &[Part], options: &Options) -> Result<Column> {
    let (width, groups) = (parts[0].width, parts.len());
    let sizes: Vec<usize> = parts.iter().map(|p| p.places.len()).collect();
    let samples: usize = sizes.iter().sum();
    let jackknife = Jackknife::new(&sizes, options.resampling.level);
    let spectrum = |without: Option<usize>| -> Result<Spectrum> {
        let mut sums: Vec<f64> = Vec::new();
        for (_, part) in parts.iter().enumerate().filter(|(g, _)| Some(*g) != without) {
            match sums.is_empty() {
                true => sums = part.of[0].moments.clone(),
                false => sums.iter_mut().zip(&part.of[0].moments).for_each(|(s, x)| *s += x),
            }
        }
        Spectrum::of_moments(width, samples - without.map_or(0, |g| sizes[g]), &sums)
    };
    let all = spectrum(None)?;
    // A fold may be all but one sample.
    let left: Vec<Option<Spectrum>> = (0..groups).into_par_iter().map(|g| spectrum(Some(g)).ok()).collect();
    let over = |of: &dyn Fn(&Spectrum) -> f64| -> Replicated { (of(&all), left.iter().map(|s| s.as_ref().map_or(f64::NAN, of)).collect()) };
    let loss = mean_loss(parts);
    let dimensions: Vec<Replicated> = options.thresholds.iter().map(|&t| over(&|s| s.smooth_dimension(t))).collect();
    let by_leading = |of: &dyn Fn(&Spectrum, usize) -> Option<f64>| -> Vec<Replicated> {
        options.leading.iter().map(|&n| over(&|s| of(s, n as usize).unwrap_or(f64::NAN))).collect()
    };
    let (entropies, unnormalised) = (by_leading(&Spectrum::entropy), by_leading(&Spectrum::entropy_unnormalised));
    let sigma = options.sigma.unwrap_or_else(|| silverman(width, samples, all.trace));
    let states: Vec<&[f32]> = parts.iter().map(|p| &p.of[0].states[..]).collect();
    let kernel = (states.iter().all(|s| !s.is_empty()) && sigma > 0.0).then(|| kernel_entropy(width, &states, sigma));
    let kernel = kernel.map(|KernelEntropy { value, left_out }| (value, left_out));
    let reading = |at: f64, (value, left): &Replicated| Reading { at, estimate: jackknife.estimate(*value, left) };
    let by_leading = |all: &[Replicated]| options.leading.iter().zip(all).map(|(&n, x)| reading(f64::from(n), x)).collect();
    let documents: BTreeSet<u32> = parts.iter().flat_map(|p| p.places.iter().map(|place| place.0)).collect();
    let counted = |(&t, (smooth, left)): (&f64, &Replicated)| Reading { at: t, estimate: jackknife.around(all.dimension(t) as f64, *smooth, left) };
    let point = Point {
        context,
        samples,
        documents: documents.len(),
        loss: jackknife.estimate(loss.0, &loss.1),
        dimensions: options.thresholds.iter().zip(&dimensions).map(counted).collect(),
        entropies: by_leading(&entropies),
        unnormalised: by_leading(&unnormalised),
        kernel: kernel.as_ref().map(|(value, left)| Kernel { sigma, entropy: jackknife.estimate(*value, left) }),
        resolved: all.resolved,
        eigenvalues: all.eigenvalues,
    };
    // Lines go through the counts as published; their errors follow what moves smoothly.
    Ok(Column { point, loss, dimensions, entropies, unnormalised, kernel })
}

/// Mean of −ln q over all chunks, and without each fold.
fn mean_loss(parts: &[Part]) -> Replicated {
    let sums: Vec<(f64, f64)> = parts.iter().map(|p| (p.of[0].logprobs.iter().map(|&x| -f64::from(x)).sum(), p.places.len() as f64)).collect();
    let mean = |without: Option<usize>| {
        let kept = sums.iter().enumerate().filter(|(g, _)| Some(*g) != without);
        let (sum, n) = kept.fold((0.0, 0.0), |(s, n), (_, x)| (s + x.0, n + x.1));
        sum / n
    };
    (mean(None), (0..parts.len()).map(|g| mean(Some(g))).collect())
}

/// A line through points (x, y) by least squares: slope, intercept, correlation; `None` where x does not vary.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64, f64)> {
    let n = points.len() as f64;
    let (mx, my) = points.iter().fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (xx, xy, yy) =
        points.iter().fold((0.0, 0.0, 0.0), |(xx, xy, yy), (x, y)| (xx + (x - mx) * (x - mx), xy + (x - mx) * (y - my), yy + (y - my) * (y - my)));
    (points.len() > 2 && xx > 0.0 && yy > 0.0 && (xx + yy).is_finite()).then(|| (xy / xx, my - xy / xx * mx, xy / (xx * yy).sqrt()))
}

fn lines(columns: &[Column], options: &Options, jackknife: &Jackknife) -> Vec<Line> {
    let mut out = Vec::new();
    let mut add = |of: &str, at: Option<f64>, shown: &dyn Fn(&Column) -> Option<f64>, smooth: &dyn Fn(&Column) -> Option<&Replicated>| {
        let through = |x: &dyn Fn(&Column) -> Option<f64>, y: &dyn Fn(&Column) -> f64| -> Option<(f64, f64, f64)> {
            line(&columns.iter().map(|c| Some((x(c)?, y(c)))).collect::<Option<Vec<_>>>()?)
        };
        let Some((slope, intercept, r)) = through(shown, &|c| c.loss.0) else { return };
        let folds = columns.first().map_or(0, |c| c.loss.1.len());
        let left: Vec<Option<(f64, f64, f64)>> = (0..folds).map(|g| through(&|c| smooth(c).map(|s| s.1[g]), &|c| c.loss.1[g])).collect();
        let base = through(&|c| smooth(c).map(|s| s.0), &|c| c.loss.0);
        let error = |value: f64, pick: fn((f64, f64, f64)) -> f64| {
            jackknife.around(value, base.map_or(f64::NAN, pick), &left.iter().map(|l| l.map_or(f64::NAN, pick)).collect::<Vec<_>>())
        };
        out.push(Line { of: of.into(), at, slope: error(slope, |l| l.0), intercept: error(intercept, |l| l.1), r, r_squared: r * r });
    };
    for (i, &t) in options.thresholds.iter().enumerate() {
        add("dimension", Some(t), &|c| c.point.dimensions.get(i).map(|d| d.estimate.value), &|c| c.dimensions.get(i));
    }
    for (i, &n) in options.leading.iter().enumerate() {
        add("entropy", Some(f64::from(n)), &|c| c.entropies.get(i).map(|e| e.0), &|c| c.entropies.get(i));
    }
    for (i, &n) in options.leading.iter().enumerate() {
        add("unnormalised", Some(f64::from(n)), &|c| c.unnormalised.get(i).map(|e| e.0), &|c| c.unnormalised.get(i));
    }
    add("kernel", None, &|c| c.kernel.as_ref().map(|k| k.0), &|c| c.kernel.as_ref());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_by_hand() {
        let (slope, intercept, r) = line(&[(0.0, 1.0), (1.0, 3.0), (2.0, 2.0)]).unwrap();
        assert!((slope - 0.5).abs() < 1e-15 && (intercept - 1.5).abs() < 1e-15 && (r - 0.5).abs() < 1e-15);
        assert_eq!((line(&[(1.0, 1.0), (1.0, 3.0), (1.0, 2.0)]), line(&[(1.0, 1.0), (2.0, 3.0)])), (None, None));
    }
}
