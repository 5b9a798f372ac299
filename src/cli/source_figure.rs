//! The figure of the L²M condition: what planted models of different memory were measured to hold of the same texts, beside what each must hold.

use crate::error::{Error, Result};
use crate::estimate::Estimator;
use crate::measure::Project;
use crate::model;
use crate::report::figure::{Axis, Look, Panel, Plot, Point, Scale, Series};
use crate::report::{self, Reading};
use crate::source::{Asked, Parameters, describe, planted};
use std::path::{Path, PathBuf};

/// Points of an exact curve between a split and the next.
const STEPS: usize = 8;

/// Draws direct of every planted model of a record, r = 2, with its exact expectation as a line, as PNG or SVG.
///
/// # Errors
/// A record without direct at r = 2, a model that was not planted or not measured, a file that cannot be written.
pub(super) fn figure(record: &Path, models: &[PathBuf], out: &Path) -> Result<()> {
    let png = match out.extension().and_then(|e| e.to_str()) {
        Some("png") => true,
        Some("svg") => false,
        _ => return Err(Error::file(out, "is no name for a figure; end it with .png or .svg")),
    };
    let project = Project::merged(&[record.to_path_buf()])?;
    let report = report::compute(&project, Reading::Recorded)?;
    let mut series = Vec::with_capacity(models.len());
    let mut subtitle = String::new();
    for (i, folder) in models.iter().enumerate() {
        let name = folder.file_name().map(|n| n.to_string_lossy()).unwrap_or_default();
        let measured = report.models.iter().find(|m| m.name == name);
        let analysis = &measured.ok_or_else(|| Error::file(folder, format!("is not among the models measured in {}", record.display())))?.analysis;
        let points: Vec<_> = analysis.points.iter().filter(|p| p.estimator == Estimator::Direct && p.ratio == 2).collect();
        let (Some(first), Some(last)) = (points.first(), points.last()) else {
            return Err(Error::file(record, "has no direct estimates at the ratio 2; measure with --estimators direct"));
        };
        let parameters = planted(folder)?;
        let splits = between(first.split, last.split);
        let known = describe(parameters.process()?.known(), &splits, &[2], &[Estimator::Direct], Asked::default())?;
        let curve = known.iter().filter_map(|k| Some((k.split as f64, k.expected.get(&Estimator::Direct)?.value))).collect();
        let points = points.iter().map(|p| Point { x: p.split as f64, y: p.value, interval: p.lo.zip(p.hi) }).collect();
        series.push(Series { label: label(folder, &parameters)?, look: Look::nth(i), points, curve, band: Vec::new() });
        subtitle = format!("{} documents, {} chunks of {} tokens", analysis.documents, analysis.chunks, analysis.length);
    }
    let level = report.models.first().map_or(95.0, |m| m.analysis.options.resampling.level * 100.0);
    let panel = Panel {
        title: "What a model of fixed memory can hold".to_string(),
        subtitle,
        x: Axis::new("ℓ (tokens)", Scale::Log2),
        y: Axis::new("I(ℓ; 2ℓ) (nats)", Scale::Log),
        series,
        notes: vec![format!("points: direct, measured, with {level}% intervals, side by side at each ℓ; lines: its exact expectation")],
    };
    let plot = Plot { panels: vec![panel], columns: 0, shared: false };
    if png { plot.write_png(out) } else { plot.write_svg(out) }
}

/// Whole numbers from one to another, evenly on a logarithmic scale.
fn between(from: u32, to: u32) -> Vec<u32> {
    let doublings = (to as f64 / from as f64).log2();
    let steps = ((doublings * STEPS as f64).ceil() as usize).max(1);
    let mut all: Vec<u32> = (0..=steps).map(|i| (from as f64 * (doublings * i as f64 / steps as f64).exp2()).round() as u32).collect();
    all.dedup();
    all
}

/// A planted model, its S and dim(z), the numbers of its history state after t tokens.
fn label(folder: &Path, parameters: &Parameters) -> Result<String> {
    let (spec, _) = model::open(folder, &Default::default())?;
    let state = model::HistoryState::of(&spec);
    let dim = [1, 2].map(|t| state.numbers(t));
    let dim = if dim[0] == dim[1] { format!("dim z = {}", dim[0]) } else { format!("dim z = {} t", dim[0]) };
    Ok(match parameters {
        Parameters::SantaFe { state: Some(s), .. } => format!("Mamba, S = {s} ({} facts): {dim}", s / 2),
        _ => format!("Llama: {dim}"),
    })
}
