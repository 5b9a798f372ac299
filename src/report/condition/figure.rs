//! The condition as a figure: for each law the measured points, the law carried on, and each model's bound as a band from one bit a number to all it is
//! stored in.

use super::{InUnit, Law, Report};
use crate::estimate::Size;
use crate::report::figure::{Axis, Look, Panel, Plot, Point, Scale, Series};
use crate::report::table::with_interval;

/// The lengths that are shown reach this far at least, and so many times past the largest that was measured.
const FAR: (f64, f64) = (1_048_576.0, 64.0);

/// Where a bounded state falls behind is shown up to this length.
const FARTHEST: f64 = 1e12;

/// Steps of a curve a doubling.
const STEPS: i32 = 4;

pub(super) fn figure(report: &Report) -> Plot {
    Plot { panels: report.laws.iter().map(|law| panel(report, law)).collect(), columns: 2, shared: true }
}

fn panel(report: &Report, law: &Law) -> Panel {
    let ink = Look { color: (34, 34, 34), ..Look::default() };
    let splits = || law.points.iter().map(|p| p.split as f64);
    let (from, measured) = (splits().fold(f64::INFINITY, f64::min), splits().fold(1.0, f64::max));
    let crossings = report.laws.iter().flat_map(|l| &l.models).flat_map(|c| &c.behind).filter_map(|b| b.behind.length).filter(|l| *l < FARTHEST);
    let to = crossings.map(|l| 4.0 * l).fold(FAR.0.max(FAR.1 * measured), f64::max);
    let steps = (STEPS as f64 * (to / from).log2()).ceil() as i32;
    let lengths: Vec<f64> = (0..=steps).map(|k| from * 2f64.powf(k as f64 / STEPS as f64)).collect();

    let mut series = Vec::new();
    for (i, m) in report.models.iter().enumerate() {
        let size = InUnit { state: &m.stored.state, tokens: law.tokens() };
        let nats = |bits: u32, l: f64| bits as f64 * std::f64::consts::LN_2 * size.at(l);
        let label = format!("{}: C·dim(z), 1 to {} bits a number", m.name, m.stored.bits);
        let band = lengths.iter().map(|&l| (l, nats(1, l), nats(m.stored.bits, l))).collect();
        let curve = lengths.iter().map(|&l| (l, nats(1, l))).collect();
        series.push(Series { label, look: Look::nth(i), points: vec![], curve, band });
    }
    let last = law.fit.splits.last().map_or(measured, |&l| l as f64);
    let beyond = lengths.iter().filter(|l| **l >= last).map(|&l| (l, law.at(l))).collect();
    series.push(Series {
        label: "the law carried on beyond what was measured".into(),
        look: Look { dash: Some(7.0), ..ink },
        curve: beyond,
        ..Series::default()
    });
    let points = law.points.iter().map(|p| Point { x: p.split as f64, y: p.value, interval: p.lo.zip(p.hi) }).collect();
    let curve = [law.fit.splits.first(), law.fit.splits.last()].into_iter().flatten().map(|&l| (l as f64, law.at(l as f64))).collect();
    let label = format!("{}, r = {}: β = {}", law.fit.estimator, law.fit.ratio, with_interval(&law.fit.exponent).replace('-', "−"));
    series.push(Series { label, look: ink, points, curve, band: vec![] });
    Panel {
        title: format!("measured by {}", law.model),
        subtitle: format!("{} documents", law.fit.documents),
        x: Axis::new(format!("ℓ ({})", law.unit), Scale::Log),
        y: Axis::new("I(ℓ) and C·dim(z) (nats)", Scale::Log),
        series,
        notes: vec![format!("bars and brackets: {}% intervals", law.level * 100.0)],
    }
}
