//! What a calibration found: a table and a figure by source, rows of CSV.

use super::Block;
use super::figure::measured::{look, name};
use super::figure::{Axis, Look, Panel, Plot, Point, Scale, Series};
use super::results::{field, optional};
use crate::source::calibration::{Bounds, Calibrated, CellResult, Comparison};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Everything that calibrations found, as `result.json` holds it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Calibration {
    /// Simultaneous over all sources.
    pub bounds: Bounds,
    /// Means outside of them.
    pub biased: usize,
    /// Coverages outside of them.
    pub uncovered: usize,
    /// By source.
    pub sources: Vec<Calibrated>,
}

impl Calibration {
    /// Judges the sources together.
    pub fn new(sources: Vec<Calibrated>) -> Self {
        let bounds = Bounds::of(&sources);
        let cells = || sources.iter().flat_map(|s| &s.cells);
        let (biased, uncovered) = (cells().filter(|c| !bounds.unbiased(&c.comparison)).count(), cells().filter(|c| !bounds.covers(c)).count());
        Calibration { bounds, biased, uncovered, sources }
    }

    /// By source the estimates, exponents and judgements, and what all checks together say.
    pub fn blocks(&self) -> Vec<Block> {
        let mut out = Vec::new();
        for s in &self.sources {
            out.push(Block::Heading(format!("{}: {}", s.source, drawn(s))));
            let mut rows = vec![["", "r", "ℓ", "expected", "mean − expected", "z", "covered"].map(String::from).to_vec()];
            for c in &s.cells {
                let coverage = if c.saturated { " s" } else { star(self.bounds.covers(c)) };
                let marks = [star(self.bounds.unbiased(&c.comparison)), coverage];
                rows.push(row([name(c.estimator).into(), c.ratio.to_string(), c.split.to_string()], &c.comparison, marks));
            }
            out.push(Block::table("estimates and what they expect, in nats", rows));
            let lines = s.exponents.iter().map(|e| (name(e.estimator).to_string(), e.ratio, &e.comparison));
            let by_laws = s.laws.iter().filter_map(|l| Some((format!("{}, by laws", name(l.estimator)), l.ratio, l.exponent.as_ref()?)));
            let mut rows = vec![["", "r", "expected", "mean − expected", "z", "covered"].map(String::from).to_vec()];
            rows.extend(lines.chain(by_laws).map(|(name, ratio, c)| row([name, ratio.to_string()], c, [""; 2])));
            if rows.len() > 1 {
                out.push(Block::table("β of a power law, and of the same fit to what is expected", rows));
            }
            let mut rows = vec![["", "r", "power", "logarithm", "saturating", "none"].map(String::from).to_vec()];
            rows.extend(s.laws.iter().map(|l| {
                let counts = [l.ratio, l.power, l.logarithm, l.saturating, l.none].map(|n| n.to_string());
                std::iter::once(name(l.estimator).to_string()).chain(counts).collect()
            }));
            if rows.len() > 1 {
                out.push(Block::table("how the growth was judged, in draws", rows));
            }
        }
        let Bounds { checks, level } = self.bounds;
        let draws = self.sources.iter().map(|s| s.cells.iter().map(|c| c.comparison.intervals).max().unwrap_or(0)).max().unwrap_or(0);
        let (z, (fewest, most)) = (self.bounds.most_z(draws), self.bounds.band(draws));
        let percent = 100.0 * level;
        out.push(Block::Line(format!(
            "{checks} checks of estimates, at 99% together: |z| at most {z:.2}, and {fewest} to {most} of {draws} intervals of {percent:.0}% hold what is expected"
        )));
        out.push(Block::Remark(format!("outside (marked *): {} means, {} coverages", self.biased, self.uncovered)));
        out.push(Block::Remark("exponents are not among the checks".into()));
        out.push(Block::Remark("~: known too roughly to judge coverage by; s: saturated, no interval is quoted there".into()));
        out
    }

    /// A row a cell.
    pub fn csv(&self) -> String {
        let mut out =
            String::from("source,estimator,ratio,split,information,saturated,expected,expected_se,mean,deviation,stated_se,z,draws,intervals,covered\n");
        for s in &self.sources {
            let source = field(&s.source);
            for c in &s.cells {
                let Comparison { expected, mean, deviation, stated, z, draws, intervals, covered } = c.comparison;
                let (information, rough, stated) = (optional(c.information), optional(expected.se), optional(stated));
                let covered = covered.map_or(String::new(), |c| c.to_string());
                let (estimator, ratio, split, saturated, expected) = (c.estimator, c.ratio, c.split, c.saturated, expected.value);
                let _ = writeln!(
                    out,
                    "{source},{estimator},{ratio},{split},{information},{saturated},{expected},{rough},{mean},{deviation},{stated},{z},{draws},{intervals},{covered}"
                );
            }
        }
        out
    }

    /// Two panels a source: means against expectations, and coverage.
    pub fn figure(&self) -> Plot {
        let panels = self.sources.iter().flat_map(|s| [self.means(s), self.coverage(s)]).collect();
        Plot { panels, columns: 2, shared: false }
    }

    fn means(&self, s: &Calibrated) -> Panel {
        let series = by_law(s, |own, look, label| Series {
            label,
            look,
            points: own.iter().map(|c| point(c, c.comparison.mean, c.comparison.deviation)).collect(),
            curve: own.iter().map(|c| (c.split as f64, c.comparison.expected.value)).collect(),
            band: Vec::new(),
        });
        Panel {
            title: s.source.clone(),
            subtitle: drawn(s),
            x: Axis::new("ℓ (tokens)", Scale::Log2),
            y: Axis::new("I(ℓ; rℓ) (nats)", Scale::Log),
            series,
            notes: vec!["lines: expectations; points: means over draws; bars: ± one standard deviation of a draw".into()],
        }
    }

    fn coverage(&self, s: &Calibrated) -> Panel {
        let mut series = by_law(s, |own, look, label| {
            let covered = |c: &&&CellResult| c.comparison.covered.filter(|_| !c.saturated).map(|n| n as f64 / f64::from(c.comparison.intervals.max(1)));
            let points = own.iter().filter_map(|c| covered(&c).map(|y| Point { x: c.split as f64, y, interval: None }));
            Series { label, look, points: points.collect(), ..Series::default() }
        });
        series.retain(|s| !s.points.is_empty());
        let most = s.cells.iter().map(|c| c.comparison.intervals).max().unwrap_or(0);
        let (fewest, best) = self.bounds.band(most);
        let splits = || s.trial.splits.iter().map(|&l| l as f64);
        let across = |n: u32| splits().map(|l| (l, f64::from(n) / f64::from(most.max(1)))).collect::<Vec<_>>();
        for n in [fewest, best] {
            series.push(Series { curve: across(n), look: Look { color: (105, 105, 105), dash: Some(4.0), ..Look::default() }, ..Series::default() });
        }
        Panel {
            title: format!("{}: coverage", s.source),
            subtitle: format!("share of {:.0}% intervals that hold the expectation", 100.0 * self.bounds.level),
            x: Axis::new("ℓ (tokens)", Scale::Log2),
            y: Axis::new("coverage", Scale::Linear),
            series,
            notes: vec!["dashed: 99% band over all sources, estimators and ℓ together".into()],
        }
    }
}

fn star(fine: bool) -> &'static str {
    if fine { "" } else { " *" }
}

/// A row of a table; `marks` stand behind z and behind the coverage.
fn row<const N: usize>(of: [String; N], c: &Comparison, marks: [&str; 2]) -> Vec<String> {
    let error = c.deviation / f64::from(c.draws).sqrt();
    let bias = format!("{:+.4} ± {error:.4}", c.mean - c.expected.value);
    let covered = c.covered.map_or_else(|| "~".to_string(), |n| format!("{n} of {}", c.intervals));
    let (expected, z) = (format!("{:.4}", c.expected.value), format!("{:.2}", c.z));
    of.into_iter().chain([expected, bias, z + marks[0], covered + marks[1]]).collect()
}

fn drawn(s: &Calibrated) -> String {
    let t = &s.trial;
    let draws = s.cells.iter().map(|c| c.comparison.draws).max().unwrap_or(0);
    format!("{draws} draws of {} documents, {} groups of {}", t.groups * (t.foreign + 1), t.groups, t.foreign + 1)
}

fn point(c: &CellResult, y: f64, by: f64) -> Point {
    Point { x: c.split as f64, y, interval: Some((y - by, y + by)) }
}

/// A series for each estimator and ratio that has cells.
fn by_law(s: &Calibrated, of: impl Fn(&[&CellResult], Look, String) -> Series) -> Vec<Series> {
    let own = |(estimator, ratio)| s.cells.iter().filter(|c| (c.estimator, c.ratio) == (estimator, ratio)).collect::<Vec<&CellResult>>();
    let place = |ratio: u32| s.trial.ratios.iter().position(|&r| r == ratio).unwrap_or(0);
    let label = |e, r: u32| if s.trial.ratios.len() > 1 { format!("{}, r = {r}", name(e)) } else { name(e).to_string() };
    let laws = s.trial.laws().into_iter().map(|(e, r)| (own((e, r)), look(e, place(r)), label(e, r)));
    laws.filter(|(cells, ..)| !cells.is_empty()).map(|(cells, look, label)| of(&cells, look, label)).collect()
}
