//! What a measurement of context lengths shows: `result.json`, tables, and figures.

use super::Block;
use super::figure::{Axis, Look, Panel, Plot, Point as Mark, Scale, Series};
use super::laws::{at_bound, parameter};
use super::results::optional;
use super::table::{decimals, plus_minus, significant};
use crate::context::{Analysis, Curve, Design, Line, Plan, Point, Power, Samples};
use crate::corpus::Fingerprint;
use crate::error::Result;
use crate::estimate::Estimate;
use crate::files;
use serde::{Deserialize, Serialize};
use std::fmt::Write;
use std::path::Path;

/// All results, as `result.json` holds them: a pure function of the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ContextReport {
    /// The model's name.
    pub model: String,
    /// Of its configuration and weights.
    pub fingerprint: String,
    /// The corpus and its tokenizer.
    pub corpus: Fingerprint,
    /// Seed of the chunks' choice.
    pub seed: u64,
    /// What was scored.
    pub design: Design,
    /// Points, lines and laws.
    pub analysis: Analysis,
}

/// τ and N whose curves a figure shows, at most.
const SHOWN: usize = 4;

impl ContextReport {
    /// Of a plan and what its record gives.
    pub fn new(plan: &Plan, analysis: Analysis) -> Self {
        ContextReport {
            model: plan.model.name.clone(),
            fingerprint: plan.model.fingerprint.clone(),
            corpus: plan.corpus.clone(),
            seed: plan.seed,
            design: plan.design.clone(),
            analysis,
        }
    }

    /// CE(c) of a model that was trained on so many tokens.
    pub fn curve(&self, tokens: f64) -> Curve {
        let a = &self.analysis;
        Curve {
            name: self.model.clone(),
            size: tokens,
            points: a.points.iter().map(|p| (p.context, p.loss.value)).collect(),
            left_out: a.loss_left_out.clone(),
            folds: a.folds.clone(),
        }
    }

    /// Writes `result.json`, `result.csv`, `spectra.csv`, `figure.png` and `figure.svg` into a folder.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join("result.json"), self)?;
        files::write_bytes(&folder.join("result.csv"), self.csv().as_bytes())?;
        files::write_bytes(&folder.join("spectra.csv"), self.spectra().as_bytes())?;
        self.plot().write(folder, "figure")
    }

    /// A row a number: context, quantity, τ or N, value, error, interval.
    pub fn csv(&self) -> String {
        let mut out = String::from("context,quantity,at,value,se,lo,hi,level,samples,documents,folds\n");
        let (level, folds) = (self.analysis.options.resampling.level, self.analysis.folds.len());
        for p in &self.analysis.points {
            let mut put = |quantity: &str, at: Option<f64>, e: &Estimate| {
                let (at, value, se, lo, hi) = (optional(at), e.value, optional(e.se), optional(e.lo), optional(e.hi));
                let _ = writeln!(out, "{},{quantity},{at},{value},{se},{lo},{hi},{level},{},{},{folds}", p.context, p.samples, p.documents);
            };
            put("loss", None, &p.loss);
            p.dimensions.iter().for_each(|r| put("dimension", Some(r.at), &r.estimate));
            p.entropies.iter().for_each(|r| put("entropy", Some(r.at), &r.estimate));
            p.unnormalised.iter().for_each(|r| put("unnormalised", Some(r.at), &r.estimate));
            p.kernel.iter().for_each(|k| put("kernel", Some(k.sigma), &k.entropy));
        }
        out
    }

    /// A row an eigenvalue.
    pub fn spectra(&self) -> String {
        let mut out = String::from("context,index,eigenvalue,resolved\n");
        for p in &self.analysis.points {
            for (i, x) in p.eigenvalues.iter().enumerate() {
                let _ = writeln!(out, "{},{},{x},{}", p.context, i + 1, u8::from(i < p.resolved));
            }
        }
        out
    }

    /// Loss, dimensions and entropies by c, their laws and lines.
    pub fn blocks(&self) -> Vec<Block> {
        let a = &self.analysis;
        let (samples, documents) = a.points.first().map_or((0, 0), |p| (p.samples, p.documents));
        let form = match self.design.samples {
            Samples::Last => "the last c tokens of each",
            Samples::Positions => "the first c tokens of each, by positions of one pass",
        };
        let (model, length, width) = (&self.model, self.design.length, a.width);
        let mut out = vec![Block::Line(format!("{model}: {documents} documents, {samples} chunks of {length} tokens, {form}; states of {width} numbers"))];
        if documents < 10 {
            out.push(Block::Remark(format!("too few documents ({documents}) for errors to be trusted")));
        }
        if samples < 10 * width {
            out.push(Block::Remark(format!(
                "{samples} samples of {width} numbers: small eigenvalues come out too small, and with them dimensions and entropies; both grow with --chunks"
            )));
        }
        out.push(self.by_context());
        out.extend(self.entropies());
        out.extend(self.laws());
        out
    }

    fn by_context(&self) -> Block {
        let a = &self.analysis;
        let mut rows = vec![["c".to_string(), "CE".into()].into_iter().chain(a.options.thresholds.iter().map(|t| format!("ID {t}"))).collect::<Vec<_>>()];
        rows.extend(a.points.iter().map(|p| {
            // A count has no decimals.
            let count = |e: &Estimate| e.se.map_or(format!("{}", e.value), |se| format!("{} ± {}", e.value, significant(se, 2)));
            [p.context.to_string(), cell(&p.loss)].into_iter().chain(p.dimensions.iter().map(|d| count(&d.estimate))).collect()
        }));
        let thresholds = list(a.options.thresholds.iter().map(|t| t.to_string()));
        let folds = a.folds.len();
        Block::table(
            format!("by context length c: loss in nats, dimension ID at τ = {thresholds}; ± standard errors, {folds} folds of documents left out in turn"),
            rows,
        )
    }

    fn entropies(&self) -> Option<Block> {
        let a = &self.analysis;
        let leading: Vec<f64> = a.points.first().map_or(Vec::new(), |p| p.entropies.iter().map(|e| e.at).collect());
        let kernel = a.points.iter().any(|p| p.kernel.is_some());
        if leading.is_empty() && !kernel {
            return None;
        }
        let mut head: Vec<String> = std::iter::once("c".into()).chain(leading.iter().map(|n| format!("S {n}"))).collect();
        if kernel {
            head.extend(["kernel".into(), "σ".into()]);
        }
        let mut rows = vec![head];
        rows.extend(a.points.iter().map(|p| {
            let kernel = p.kernel.iter().flat_map(|k| [cell(&k.entropy), significant(k.sigma, 4)]);
            std::iter::once(p.context.to_string()).chain(p.entropies.iter().map(|e| cell(&e.estimate))).chain(kernel).collect()
        }));
        let by_kernel = if kernel { ", and by a Gaussian kernel of width σ, in nats" } else { ", in nats" };
        Some(Block::table(format!("entropy of the leading N eigenvalues, Σ ln(λ_i/λ_1){by_kernel}"), rows))
    }

    fn laws(&self) -> Vec<Block> {
        let a = &self.analysis;
        let level = a.options.resampling.level * 100.0;
        let mut out = Vec::new();
        if !a.laws.is_empty() {
            let mut rows = vec![["", "C0", "C", "γ", "R²"].map(String::from).to_vec()];
            for l in &a.laws {
                let exponent = interval(&l.exponent) + at_bound(l.bound);
                let limit = interval(&l.limit) + at_bound(l.limit_bound);
                rows.push(vec![lawful(&l.of, l.at), limit, interval(&l.factor), exponent, format!("{:.4}", l.r_squared)]);
                if let Some(g) = &l.generalised {
                    let of = |name: &str| g.parameter(name).map_or(String::new(), parameter);
                    rows.push(vec!["CE, by its covariance".into(), of("C0"), of("C"), of("γ"), format!("{:.4}", g.r_squared)]);
                }
            }
            out.push(Block::table(format!("C0 + C c^−γ, least squares, {level}% intervals"), rows));
        }
        if a.points.len() < 4 {
            out.push(Block::Remark("no laws: they take four context lengths".into()));
        }
        let without = a.without.iter().filter(|_| a.points.len() >= 4);
        out.extend(without.map(|w| Block::Remark(format!("no law for {}: {}", lawful(&w.of, w.at), w.why))));
        if !a.lines.is_empty() {
            let mut rows = vec![["x", "slope", "intercept", "r", "R²"].map(String::from).to_vec()];
            rows.extend(
                a.lines.iter().map(|l| vec![named(l), interval(&l.slope), interval(&l.intercept), format!("{:.4}", l.r), format!("{:.4}", l.r_squared)]),
            );
            out.push(Block::table(format!("CE = intercept + slope · x over all c, least squares, {level}% intervals"), rows));
        }
        out
    }

    /// Loss, dimension and spectra against c, and the loss against dimension and entropy.
    pub fn plot(&self) -> Plot {
        let a = &self.analysis;
        let c = || Axis::new("c (tokens)", Scale::Log);
        let ce = || Axis::new("CE (nats per token)", Scale::Linear);
        let mark = |x: f64, e: &Estimate| Mark { x, y: e.value, interval: e.lo.zip(e.hi) };
        let curve = |of: &dyn Fn(&Point) -> Option<Estimate>| a.points.iter().filter_map(|p| of(p).map(|e| mark(f64::from(p.context), &e))).collect::<Vec<_>>();
        let panel =
            |title: &str, x: Axis, y: Axis, series: Vec<Series>| Panel { title: title.into(), subtitle: String::new(), x, y, series, notes: Vec::new() };
        let joined = |points: Vec<Mark>, label: String, i: usize| Series {
            label,
            look: Look::nth(i),
            curve: points.iter().map(|p| (p.x, p.y)).collect(),
            points,
            band: Vec::new(),
        };
        let mut loss = vec![joined(curve(&|p| Some(p.loss)), "CE".into(), 0)];
        if let (Some(law), [series]) = (a.laws.iter().find(|l| l.of == "loss"), &mut loss[..]) {
            series.label = format!("C0 + C c^−γ: C0 {}, γ {}", interval(&law.limit), interval(&law.exponent));
            series.curve = law_curve(a, law);
        }
        let mut panels = vec![panel("Loss", c(), ce(), loss)];
        let shown = spread(a.options.thresholds.len());
        let of_threshold =
            |(i, &t): (usize, &usize)| joined(curve(&|p| p.dimensions.get(t).map(|d| d.estimate)), format!("τ = {}", a.options.thresholds[t]), i);
        panels.push(panel("Intrinsic dimension", c(), Axis::new("ID (eigenvalues)", Scale::Linear), shown.iter().enumerate().map(of_threshold).collect()));
        let of_spectrum = |(i, &n): (usize, &usize)| {
            let p = &a.points[n];
            let first = p.eigenvalues.first().copied().unwrap_or(1.0);
            let curve = p.eigenvalues[..p.resolved].iter().enumerate().map(|(i, x)| (i as f64 + 1.0, x / first)).collect();
            Series { label: format!("c = {}", p.context), look: Look::nth(i), curve, ..Series::default() }
        };
        let spectra = spread(a.points.len()).iter().enumerate().map(of_spectrum).collect();
        panels.push(panel("Eigenvalues", Axis::new("i (index)", Scale::Log), Axis::new("λ_i/λ_1 (ratio)", Scale::Log), spectra));
        // The line that explains most of each kind.
        let best = |of: &str| {
            a.lines.iter().filter(|l| l.of == of).fold(None, |b: Option<&Line>, l| if b.is_none_or(|b| l.r_squared > b.r_squared) { Some(l) } else { b })
        };
        for (i, line) in ["dimension", "entropy", "kernel"].into_iter().filter_map(best).enumerate() {
            let x = |p: &Point| -> Option<f64> {
                let found = |all: &[crate::context::Reading]| all.iter().find(|r| Some(r.at) == line.at).map(|r| r.estimate.value);
                match line.of.as_str() {
                    "dimension" => found(&p.dimensions),
                    "entropy" => found(&p.entropies),
                    _ => p.kernel.map(|k| k.entropy.value),
                }
            };
            let points: Vec<Mark> = a.points.iter().filter_map(|p| Some(mark(x(p)?, &p.loss))).collect();
            let ends = points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), p| (lo.min(p.x), hi.max(p.x)));
            let straight = [ends.0, ends.1].map(|x| (x, line.intercept.value + line.slope.value * x)).to_vec();
            let series = Series {
                label: format!("slope {}, R² {:.3}", interval(&line.slope), line.r_squared),
                look: Look::nth(i),
                points,
                curve: straight,
                band: Vec::new(),
            };
            let unit = if line.of == "dimension" { "eigenvalues" } else { "nats" };
            let mut against =
                panel(&format!("Loss against {}", named(line)), Axis::new(format!("{} ({unit})", named(line)), Scale::Linear), ce(), vec![series]);
            let others = a.lines.iter().filter(|l| l.of == line.of).count();
            if others > 1 {
                against.notes.push(format!("of {others} such lines the one with the largest R²"));
            }
            panels.push(against);
        }
        Plot { panels, columns: 3, shared: false }
    }
}

/// Places of a drawn law.
const PLACES: usize = 64;

/// A law from the first context length to the last, evenly in logarithms.
fn law_curve(a: &Analysis, law: &Power) -> Vec<(f64, f64)> {
    let ends = a.points.first().zip(a.points.last()).map(|(f, l)| (libm::log(f64::from(f.context)), libm::log(f64::from(l.context))));
    let Some((from, to)) = ends else { return Vec::new() };
    let at = |i: usize| libm::exp(from + (to - from) * i as f64 / (PLACES - 1) as f64);
    (0..PLACES).map(at).map(|c| (c, law.limit.value + law.factor.value * libm::pow(c, -law.exponent.value))).collect()
}

/// At most [`SHOWN`] of so many, from the first to the last.
fn spread(n: usize) -> Vec<usize> {
    let k = n.min(SHOWN);
    (0..k).map(|i| if k < 2 { 0 } else { i * (n - 1) / (k - 1) }).collect()
}

fn lawful(of: &str, at: Option<f64>) -> String {
    at.map_or("CE".into(), |t| if of == "dimension" { format!("ID at τ = {t}") } else { of.to_string() })
}

fn named(line: &Line) -> String {
    match (line.of.as_str(), line.at) {
        ("dimension", Some(t)) => format!("ID at τ = {t}"),
        ("entropy", Some(n)) => format!("S of {n}"),
        ("unnormalised", Some(n)) => format!("½ Σ ln λ of {n}"),
        _ => "kernel entropy".into(),
    }
}

/// `−0.0038 [−0.0040, −0.0036]`, digits by the interval's width.
fn interval(e: &Estimate) -> String {
    match (e.lo, e.hi) {
        (Some(lo), Some(hi)) if hi > lo => {
            let decimals = decimals((hi - lo) / 2.0);
            format!("{:.decimals$} [{lo:.decimals$}, {hi:.decimals$}]", e.value)
        }
        _ => significant(e.value, 4),
    }
}

fn cell(e: &Estimate) -> String {
    plus_minus(e.value, e.se)
}

fn list(all: impl Iterator<Item = String>) -> String {
    all.collect::<Vec<_>>().join(", ")
}
