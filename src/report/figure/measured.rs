//! The figure of a measurement: I against ℓ on logarithmic axes, one panel a model, points with intervals and fitted power laws.

use super::plot::{Axis, Look, Marker, Panel, Plot, Point, Scale, Series};
use crate::estimate::{Analysis, Estimator, Fit, Note};
use crate::report::table::with_interval;

/// One model's estimates.
#[derive(Clone, Debug)]
pub struct Measured<'a> {
    /// Its heading.
    pub title: String,
    /// What ℓ counts.
    pub unit: String,
    /// What is shown.
    pub analysis: &'a Analysis,
}

/// Dashes of the lines of the second ratio, and of those after it.
const DASHES: (f64, f64) = (9.0, 3.0);

/// Colour of the area between the bracket's ends.
const BRACKET: (u8, u8, u8) = (90, 90, 90);

/// How an estimator is drawn at the first, second … of the ratios.
pub fn look(estimator: Estimator, ratio: usize) -> Look {
    let (color, marker) = match estimator {
        Estimator::Direct => ((0, 114, 178), Marker::Circle),
        Estimator::DirectNgram => ((86, 180, 233), Marker::Square),
        Estimator::Vclub => ((213, 94, 0), Marker::Triangle),
        Estimator::L1out => ((230, 159, 0), Marker::Diamond),
        Estimator::Infonce => ((0, 158, 115), Marker::TriangleDown),
        Estimator::Profile => ((204, 121, 167), Marker::Pentagon),
    };
    let look = Look { color, marker, open: false, dash: None };
    match ratio {
        0 => look,
        1 => look.dashed(DASHES.0),
        _ => look.dashed(DASHES.1),
    }
}

/// An estimator's name in figures and tables.
pub fn name(estimator: Estimator) -> &'static str {
    match estimator {
        Estimator::Direct => "direct",
        Estimator::DirectNgram => "direct, n-gram corrected",
        Estimator::Vclub => "vCLUB",
        Estimator::L1out => "L1Out",
        Estimator::Infonce => "InfoNCE",
        Estimator::Profile => "profile",
    }
}

/// Each number once, ascending.
pub fn ascending(numbers: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut n: Vec<u32> = numbers.collect();
    n.sort_unstable();
    n.dedup();
    n
}

fn series(analysis: &Analysis) -> Vec<Series> {
    let ratios = ascending(analysis.points.iter().map(|p| p.ratio));
    let mut out = Vec::new();
    for estimator in Estimator::ALL {
        for (i, &ratio) in ratios.iter().enumerate() {
            let own: Vec<_> = analysis.points.iter().filter(|p| (p.estimator, p.ratio) == (estimator, ratio)).collect();
            if own.is_empty() {
                continue;
            }
            let fit = analysis.fit(estimator, ratio);
            let mut label = name(estimator).to_string();
            if ratios.len() > 1 {
                label += &format!(", r = {ratio}");
            }
            if let Some(f) = fit {
                label += &format!(": β = {}", with_interval(&f.exponent).replace('-', "−"));
            }
            if own.iter().any(|p| p.notes.contains(&Note::Saturated)) {
                label += " (saturated)";
            }
            let points = own.iter().map(|p| Point { x: p.split as f64, y: p.value, interval: p.lo.zip(p.hi) }).collect();
            out.push(Series { label, look: look(estimator, i), points, curve: fit.map(law).unwrap_or_default(), band: Vec::new() });
        }
    }
    out
}

/// The areas between InfoNCE and L1Out, one a ratio, below everything else.
fn brackets(analysis: &Analysis) -> Vec<Series> {
    let ratios = ascending(analysis.brackets.iter().map(|b| b.ratio));
    let of_ratio = |&ratio: &u32| {
        let band = analysis.brackets_at(ratio).map(|b| (b.split as f64, b.lower.value, b.upper.value)).collect();
        let mut label = "between InfoNCE and L1Out".to_string();
        if ratios.len() > 1 {
            label += &format!(", r = {ratio}");
        }
        Series { label, look: Look { color: BRACKET, ..Look::default() }, band, ..Series::default() }
    };
    ratios.iter().map(of_ratio).collect()
}

/// The fitted line, straight on logarithmic axes, over the splits that were fitted.
fn law(fit: &Fit) -> Vec<(f64, f64)> {
    let at = |split: &u32| (*split as f64, fit.amplitude.value * (*split as f64).powf(fit.exponent.value));
    [fit.splits.first(), fit.splits.last()].into_iter().flatten().map(at).collect()
}

/// What is said below a panel.
fn notes(a: &Analysis) -> Vec<String> {
    let level = a.options.resampling.level * 100.0;
    let mut notes = Vec::new();
    if a.points.iter().any(|p| p.lo.is_some()) {
        notes.push(format!("lines: power laws with exponent β; bars and brackets: {level}% intervals"));
    }
    if a.too_few_documents {
        notes.push(format!("too few documents for intervals to be trusted: {}", a.documents));
    }
    notes
}

/// The figure of these models, side by side on shared axes.
pub fn figure(models: &[Measured<'_>]) -> Plot {
    let points = || models.iter().flat_map(|m| &m.analysis.points);
    let powers = points().all(|p| p.split.is_power_of_two());
    let y_label = match ascending(points().map(|p| p.ratio))[..] {
        [r] => format!("I(ℓ; {r}ℓ) (nats)"),
        _ => "I(ℓ; rℓ) (nats)".to_string(),
    };
    let panel = |m: &Measured<'_>| {
        let a = m.analysis;
        Panel {
            title: m.title.clone(),
            subtitle: format!("{} documents, {} chunks of {} {}, {} groups", a.documents, a.chunks, a.length, m.unit, a.groups),
            x: Axis::new(format!("ℓ ({})", m.unit), if powers { Scale::Log2 } else { Scale::Log }),
            y: Axis::new(y_label.clone(), Scale::Log),
            series: brackets(a).into_iter().chain(series(a)).collect(),
            notes: notes(a),
        }
    };
    Plot { panels: models.iter().map(panel).collect(), columns: 0, shared: true }
}
