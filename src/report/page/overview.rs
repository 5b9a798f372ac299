//! Several measurements beside each other, in bytes: of one text in several models, or of several kinds of text.

use super::folder::{Kind, Results};
use super::html::Html;
use super::svg::Svg;
use super::write::{Numbers, cells, minus};
use crate::error::{Error, Result};
use crate::estimate::{Analysis, Estimator};
use crate::report::figure::measured::ascending;
use crate::report::figure::{self, Axis, Look, Panel, Plot, Scale, Series};
use crate::report::table::{plus_minus, significant, with_interval};
use crate::report::{ModelResult, Report};
use serde::Serialize;
use std::f64::consts::LN_2;

/// Most curves of one figure: as many as there are looks that differ.
const MOST: usize = 7;

/// One model's estimates of one measurement.
struct Curve<'a> {
    label: String,
    model: &'a ModelResult,
    /// Bytes of text that one unit of ℓ stands for.
    bytes: f64,
}

/// A row of the overview, as report.json has it.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Folder, and model where it has several.
    pub label: String,
    /// Documents measured.
    pub documents: usize,
    /// Mean loss in bits a byte, and its standard error.
    pub bits_per_byte: f64,
    /// See `bits_per_byte`.
    pub bits_per_byte_se: Option<f64>,
    /// By which estimator.
    pub estimator: Estimator,
    /// L/ℓ.
    pub ratio: u32,
    /// ℓ in bytes and I in nats with its interval, by ℓ.
    pub points: Vec<InBytes>,
    /// The fitted exponent, if there is one.
    pub exponent: Option<f64>,
}

/// One estimate, ℓ in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct InBytes {
    /// ℓ in bytes of text, on average.
    pub bytes: f64,
    /// I in nats.
    pub nats: f64,
    /// Its standard error.
    pub se: Option<f64>,
    /// Lower end of its interval.
    pub lo: Option<f64>,
    /// Upper end of its interval.
    pub hi: Option<f64>,
}

impl InBytes {
    /// I/ℓ in bits a byte, and its standard error.
    fn bits_a_byte(&self) -> (f64, Option<f64>) {
        let by = LN_2 * self.bytes;
        (self.nats / by, self.se.map(|se| se / by))
    }
}

/// What several measurements have to say together.
pub(super) struct Overview<'a> {
    curves: Vec<Curve<'a>>,
    estimator: Estimator,
    ratio: u32,
    /// What could not be put beside the others.
    left_out: Vec<String>,
}

impl<'a> Overview<'a> {
    /// Of all measurements; `None` where there are fewer than two curves that compare.
    pub(super) fn of(results: &'a [Results]) -> Option<Self> {
        let measured = |r: &'a Results| match &r.kind {
            Kind::Measurement(report) => Some((r, &**report)),
            Kind::Other(_) => None,
        };
        let (mut curves, mut left_out) = (Vec::new(), Vec::new());
        for (of, report) in results.iter().filter_map(measured) {
            for model in &report.models {
                let label = label(of, report, model);
                match (report.design.unit.is_tokens(), model.bytes_per_token) {
                    (false, _) => curves.push(Curve { label, model, bytes: 1.0 }),
                    (true, Some(bytes)) => curves.push(Curve { label, model, bytes }),
                    (true, None) => left_out.push(format!("{label} is not in it: its documents came as tokens, whose bytes are not known")),
                }
            }
        }
        if curves.len() > MOST {
            left_out.push(format!("{} more are not in it: a figure holds {MOST} curves", curves.len() - MOST));
            curves.truncate(MOST);
        }
        let has = |e: Estimator, r: u32| curves.iter().all(|c| c.model.analysis.points.iter().any(|p| (p.estimator, p.ratio) == (e, r)));
        let ratios = curves.first().map_or(Vec::new(), |c| ratios(&c.model.analysis));
        let common = Estimator::ALL.into_iter().flat_map(|e| ratios.iter().map(move |&r| (e, r))).find(|&(e, r)| has(e, r));
        let (estimator, ratio) = common.filter(|_| curves.len() > 1)?;
        Some(Overview { curves, estimator, ratio, left_out })
    }

    /// The numbers.
    pub(super) fn rows(&self) -> Vec<Row> {
        let row = |c: &Curve<'_>| {
            let analysis = &c.model.analysis;
            let (estimator, ratio) = (self.estimator, self.ratio);
            let own = analysis.points.iter().filter(|p| (p.estimator, p.ratio) == (estimator, ratio));
            // The loss is of tokens, whatever ℓ counts.
            let (bits, se) = c.model.mean_loss.bits_per_byte(c.model.bytes_per_token.unwrap_or(1.0));
            Row {
                label: c.label.clone(),
                documents: analysis.documents,
                bits_per_byte: bits,
                bits_per_byte_se: se,
                estimator,
                ratio,
                points: own.map(|p| InBytes { bytes: p.split as f64 * c.bytes, nats: p.value, se: p.se, lo: p.lo, hi: p.hi }).collect(),
                exponent: analysis.fit(estimator, ratio).map(|f| f.exponent.value),
            }
        };
        self.curves.iter().map(row).collect()
    }

    /// The figure.
    pub(super) fn figure(&self) -> Plot {
        let rows = self.rows();
        let powers = rows.iter().flat_map(|r| &r.points).all(|p| p.bytes.fract() == 0.0 && (p.bytes as u64).is_power_of_two());
        let scale = if powers { Scale::Log2 } else { Scale::Log };
        let in_nats = |p: &InBytes| figure::Point { x: p.bytes, y: p.nats, interval: p.lo.zip(p.hi) };
        let in_bits = |p: &InBytes| {
            let by = LN_2 * p.bytes;
            figure::Point { x: p.bytes, y: p.nats / by, interval: p.lo.zip(p.hi).map(|(lo, hi)| (lo / by, hi / by)) }
        };
        let fitted = |c: &Curve<'_>, of: &dyn Fn(f64, f64) -> f64| {
            let Some(f) = c.model.analysis.fit(self.estimator, self.ratio) else { return Vec::new() };
            let at = |&split: &u32| {
                let x = split as f64 * c.bytes;
                (x, of(x, f.amplitude.value * (split as f64).powf(f.exponent.value)))
            };
            [f.splits.first(), f.splits.last()].into_iter().flatten().map(at).collect::<Vec<_>>()
        };
        let series = |each: &dyn Fn(&InBytes) -> figure::Point, of: &dyn Fn(f64, f64) -> f64, named: bool| {
            let one = |(i, (c, row)): (usize, (&Curve<'_>, &Row))| {
                let beta = c.model.analysis.fit(self.estimator, self.ratio).map_or(String::new(), |f| format!(": β = {}", minus(&with_interval(&f.exponent))));
                let label = if named { format!("{}{beta}", c.label) } else { String::new() };
                Series { label, look: Look::nth(i), points: row.points.iter().map(each).collect(), curve: fitted(c, of), band: Vec::new() }
            };
            self.curves.iter().zip(&rows).enumerate().map(one).collect::<Vec<_>>()
        };
        let r = self.ratio;
        let panel = |title: &str, subtitle: &str, y: String, series: Vec<Series>| Panel {
            title: title.into(),
            subtitle: subtitle.into(),
            x: Axis::new("ℓ (bytes)", scale),
            y: Axis::new(y, Scale::Log),
            series,
            notes: Vec::new(),
        };
        let total = series(&in_nats, &|_, nats| nats, true);
        let share = series(&in_bits, &|x, nats| nats / (LN_2 * x), false);
        let panels = vec![
            panel("Information", "between ℓ bytes and those after them", format!("I(ℓ; {r}ℓ) (nats)"), total),
            panel("The same for each byte of the past", "colours as on the left", format!("I(ℓ; {r}ℓ) / ℓ (bits a byte)"), share),
        ];
        Plot { panels, columns: 2, shared: false }
    }

    /// The section.
    ///
    /// # Errors
    /// A figure that cannot be drawn.
    pub(super) fn body(&self, h: &mut Html, numbers: &mut Numbers) -> Result<()> {
        let drawn = self.figure().svg().and_then(|svg| Svg::read(&svg)).map_err(|e| Error::input(format!("the overview's figure {e}")))?;
        let by = self.estimator;
        let r = self.ratio;
        let caption = format!(
            "I(ℓ; {r}ℓ) by {by}, with intervals over documents and fitted power laws, against ℓ in bytes of text. Left in nats; right for each byte of the past, in bits."
        );
        numbers.figure(h, &caption, &drawn);
        for told in &self.left_out {
            h.leaf("p", &[("class", "warning")], &format!("{told}."));
        }
        let caption = format!("Loss, and I by {by} at the largest ℓ of each. ± standard errors over documents.");
        let head = ["", "documents", "loss (bits a byte)", "ℓ (bytes)", "I (nats)", "I/ℓ (bits a byte)", "β"];
        numbers.table(h, &caption, &head, &[0], |h| {
            for (c, row) in self.curves.iter().zip(self.rows()) {
                let Some(last) = row.points.last() else { continue };
                let (bits, bits_se) = last.bits_a_byte();
                let beta = c.model.analysis.fit(by, r).map_or("–".into(), |f| minus(&with_interval(&f.exponent)));
                let fields = [
                    row.documents.to_string(),
                    plus_minus(row.bits_per_byte, row.bits_per_byte_se),
                    if last.bytes.fract() == 0.0 { format!("{:.0}", last.bytes) } else { significant(last.bytes, 4) },
                    minus(&plus_minus(last.nats, last.se)),
                    minus(&plus_minus(bits, bits_se)),
                    beta,
                ];
                cells(h, &[0], &std::iter::once(row.label.as_str()).chain(fields.iter().map(String::as_str)).collect::<Vec<_>>());
            }
        });
        Ok(())
    }
}

fn ratios(a: &Analysis) -> Vec<u32> {
    ascending(a.points.iter().map(|p| p.ratio))
}

/// The folder's own name, and the model's where the folder has several.
fn label(of: &Results, report: &Report, model: &ModelResult) -> String {
    let own = of.folder.file_name().map_or_else(|| of.folder.display().to_string(), |n| n.to_string_lossy().into_owned());
    if report.models.len() > 1 { format!("{own}, {}", model.name) } else { own }
}
