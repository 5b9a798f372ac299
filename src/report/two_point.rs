//! Two-point information for people and for programs: tables, `result.json`, `result.csv` and the figure.

use super::Block;
use super::figure::{Axis, Look, Panel, Plot, Point, Scale, Series};
use super::laws::at_bound;
use super::results::optional;
use super::table::{decimals, plus_minus, significant};
use crate::corpus::Fingerprint;
use crate::error::Result;
use crate::estimate::{EntropyEstimator, Fitted, Marginals, TwoPoint, TwoPointAt, TwoPointValue};
use crate::files;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;

/// All results of a count, as `result.json` holds them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TwoPointReport {
    /// What the texts are called: not part of the results.
    #[serde(skip)]
    pub name: String,
    /// The corpus, and its tokenizer where symbols are tokens of text.
    pub corpus: Fingerprint,
    /// What distances count: `tokens`, `bytes` or `words`.
    pub unit: String,
    /// Seed of the shuffled pairs.
    pub seed: u64,
    /// Estimates and laws.
    #[serde(flatten)]
    pub result: TwoPoint,
}

/// The estimator that the figure and the table of biases show.
const SHOWN: usize = 0;

/// χ²/dof above which a law is said not to hold: for ten degrees of freedom one in 34 true ones is above it, were distances independent.
const MOST_MISFIT: f64 = 2.0;

/// Documents below which an interval from folds of them is not to be trusted.
const FEW_DOCUMENTS: u64 = 10;

impl TwoPointReport {
    /// Writes `result.json`, `result.csv`, `figure.png` and `figure.svg` into a folder.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join("result.json"), self)?;
        files::write_bytes(&folder.join("result.csv"), self.csv().as_bytes())?;
        self.figure().write(folder, "figure")
    }

    /// One row a distance and estimator; an empty field where there is no error or no baseline.
    pub fn csv(&self) -> String {
        let mut out = String::from("distance,unit,estimator,nats,se,lo,hi,level,shuffled,pairs,distinct,folds,documents\n");
        let TwoPoint { level, documents, points, .. } = &self.result;
        for TwoPointAt { distance, pairs, distinct, folds, values } in points {
            for v in values {
                let name = serde_json::to_value(v.estimator).ok().and_then(|n| n.as_str().map(str::to_string)).unwrap_or_default();
                let (se, lo, hi, shuffled) = (optional(v.se), optional(v.interval.map(|i| i.lo)), optional(v.interval.map(|i| i.hi)), optional(v.shuffled));
                let (unit, nats) = (&self.unit, v.nats);
                let _ = writeln!(out, "{distance},{unit},{name},{nats},{se},{lo},{hi},{level},{shuffled},{pairs},{distinct},{folds},{documents}");
            }
        }
        out
    }

    /// Estimates by distance, what shows their bias, and laws.
    pub fn blocks(&self) -> Vec<Block> {
        let r = &self.result;
        let named = if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) };
        let (unit, documents) = (&self.unit, r.documents);
        let mut out = vec![Block::Line(format!("{named}{documents} documents in {} folds, {} {unit}, {} different", r.folds, r.tokens, r.distinct_tokens))];
        let of = match r.marginals {
            Marginals::Pairs => "I_d = H(w_t) + H(w_t+d) − H(w_t, w_t+d)",
            Marginals::Singles => "I_d = 2 H(w) − H(w_t, w_t+d), as published",
        };
        let shuffled = r.points.iter().any(|p| p.values.iter().any(|v| v.shuffled.is_some()));
        let heads = ["d", "pairs", "different"].map(String::from).into_iter().chain(EntropyEstimator::ALL.map(|e| e.to_string()));
        let mut rows = vec![heads.chain(shuffled.then(|| format!("shuffled ({})", EntropyEstimator::ALL[SHOWN]))).collect::<Vec<_>>()];
        for p in &r.points {
            let fixed = [p.distance, p.pairs, p.distinct].map(|n| n.to_string()).into_iter();
            let values = p.values.iter().map(|v| plus_minus(v.nats, v.se));
            rows.push(fixed.chain(values).chain(p.values.get(SHOWN).and_then(|v| v.shuffled).map(|s| significant(s, 3))).collect());
        }
        out.push(Block::table(format!("{of} in nats ± standard error, d in {unit}"), rows));
        if !r.growth.is_empty() {
            let heads = r.growth.iter().chain([&r.documents]).map(|n| format!("{n} documents"));
            let mut rows = vec![std::iter::once("d".to_string()).chain(heads).collect()];
            for p in &r.points {
                let Some(v) = p.values.get(SHOWN) else { continue };
                rows.push(
                    std::iter::once(p.distance.to_string())
                        .chain(v.growth.iter().copied().chain([Some(v.nats)]).map(|x| x.map_or("–".into(), |x| significant(x, 4))))
                        .collect(),
                );
            }
            out.push(Block::table(
                format!("the same ({}) from the first documents alone: what falls with their number is bias", EntropyEstimator::ALL[SHOWN]),
                rows,
            ));
        }
        out.extend(self.laws());
        out
    }

    fn laws(&self) -> Vec<Block> {
        let r = &self.result;
        let mut out = Vec::new();
        if r.laws.iter().any(|l| l.law.is_some()) {
            let mut rows = vec![["", "α", "A (nats)", "c (nats)", "d", "χ²/dof", "α of logarithms", "A (nats)"].map(String::from).to_vec()];
            for l in &r.laws {
                let Some(law) = &l.law else { continue };
                let range = [law.distances.first(), law.distances.last()].into_iter().flatten().map(u64::to_string).collect::<Vec<_>>().join(" … ");
                let published = law.published.map_or(["–".into(), "–".into()], |l| [significant(l.exponent, 3), significant(l.amplitude, 3)]);
                let mut fitted = [law.exponent, law.amplitude, law.residual].map(|f| with_interval(&f));
                fitted[2] += at_bound(law.residual_bound);
                rows.push(std::iter::once(l.estimator.to_string()).chain(fitted).chain([range, significant(law.misfit(), 2)]).chain(published).collect());
            }
            let level = r.level * 100.0;
            let caption = format!("I_d = A d^−α + c, 0 ≤ c < min I_d, weighted least squares, {level}% intervals; beside it ln I_d against ln d, as published");
            out.push(Block::table(caption, rows));
        }
        let unfitted = r.laws.iter().filter_map(|l| l.unfitted.as_ref().map(|why| format!("no law for {}: {why}", l.estimator)));
        let few = (r.documents < FEW_DOCUMENTS).then(|| format!("too few documents: errors from {} documents are not to be trusted", r.documents));
        // Where the whole corpus has few documents that is said once.
        let thin = r.points.iter().filter(|p| (p.folds as u64) < FEW_DOCUMENTS.min(r.folds as u64)).map(|p| p.distance.to_string()).collect::<Vec<_>>();
        let thin = (!thin.is_empty()).then(|| format!("too few documents are long enough at d = {}: errors there are not to be trusted", thin.join(", ")));
        out.extend(unfitted.chain(self.misfit()).chain(few).chain(thin).map(Block::Remark));
        out
    }

    /// What is to be said where the law does not hold.
    fn misfit(&self) -> Option<String> {
        let law = self.result.laws.get(SHOWN)?.law.as_ref()?;
        (law.misfit() > MOST_MISFIT).then(|| {
            format!("χ²/dof = {}: these points follow no such law; its numbers are of the curve drawn, not of the texts", significant(law.misfit(), 2))
        })
    }

    /// I_d against d on logarithmic axes, with intervals, the law and the shuffled pairs.
    pub fn figure(&self) -> Plot {
        let r = &self.result;
        let points = |y: &dyn Fn(&TwoPointValue) -> Option<f64>, interval: bool| -> Vec<Point> {
            let at = |p: &TwoPointAt| {
                let v = p.values.get(SHOWN)?;
                Some(Point { x: p.distance as f64, y: y(v)?, interval: v.interval.filter(|_| interval).map(|i| (i.lo, i.hi)) })
            };
            r.points.iter().filter_map(at).collect()
        };
        let estimator = EntropyEstimator::ALL[SHOWN];
        let law = r.laws.get(SHOWN).and_then(|l| l.law.as_ref());
        let mut label = estimator.to_string();
        let mut curve = Vec::new();
        if let Some(law) = law {
            label += &format!(": α = {}, c = {}", with_interval(&law.exponent), significant(law.residual.value, 2)).replace('-', "−");
            let (from, to) = (law.distances.first().copied().unwrap_or(1) as f64, law.distances.last().copied().unwrap_or(1) as f64);
            // Above a residual bias the law is curved here.
            curve = (0..=64).map(|i| from * (to / from).powf(f64::from(i) / 64.0)).map(|d| (d, law.at(d))).collect();
        }
        let mut series = vec![Series { label, look: Look::nth(0), points: points(&|v| Some(v.nats), true), curve, band: Vec::new() }];
        let shuffled = points(&|v| v.shuffled, false);
        if !shuffled.is_empty() {
            let curve = shuffled.iter().map(|p| (p.x, p.y)).collect();
            series.push(Series { label: "shuffled pairs: bias alone".into(), look: Look::nth(1).dashed(3.0), points: shuffled, curve, band: Vec::new() });
        }
        let powers = r.points.iter().all(|p| p.distance.is_power_of_two());
        let mut notes = Vec::new();
        if r.points.iter().any(|p| p.values.iter().any(|v| v.interval.is_some())) {
            notes.push(format!("line: A d^−α + c; bars: {}% intervals by folds of documents", r.level * 100.0));
        }
        notes.extend(self.misfit());
        if r.documents < FEW_DOCUMENTS {
            notes.push(format!("too few documents for intervals to be trusted: {}", r.documents));
        }
        let panel = Panel {
            title: self.name.clone(),
            subtitle: format!("{} documents, {} {}, {} different", r.documents, r.tokens, self.unit, r.distinct_tokens),
            x: Axis::new(format!("d ({})", self.unit), if powers { Scale::Log2 } else { Scale::Log }),
            y: Axis::new("I_d (nats)", Scale::Log),
            series,
            notes,
        };
        Plot { panels: vec![panel], columns: 0, shared: false }
    }
}

/// `0.72 [0.70, 0.75]`, decimals by the interval's width.
fn with_interval(f: &Fitted) -> String {
    let width = f.interval.hi - f.interval.lo;
    if width > 0.0 && width.is_finite() {
        let decimals = decimals(width / 2.0);
        format!("{:.decimals$} [{:.decimals$}, {:.decimals$}]", f.value, f.interval.lo, f.interval.hi)
    } else {
        significant(f.value, 3)
    }
}
