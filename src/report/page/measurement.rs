//! The section of a measurement: figure, estimates, laws, brackets, and what a reader must know of them.

use super::html::Html;
use super::write::{Numbers, cells, minus, remarks_list};
use crate::estimate::laws::Law;
use crate::estimate::{Analysis, Estimator, Pairing};
use crate::report::bracket;
use crate::report::laws::{also, over_freedom, parameters, refusals};
use crate::report::table::{decimals, plus_minus, remarks, significant, with_interval};
use crate::report::{ModelResult, Report};

/// The estimators as they are written in prose.
fn name(e: Estimator) -> &'static str {
    match e {
        Estimator::Direct => "direct",
        Estimator::DirectNgram => "direct, n-gram",
        Estimator::Vclub => "vCLUB",
        Estimator::L1out => "L1Out",
        Estimator::Infonce => "InfoNCE",
        Estimator::Profile => "profile",
    }
}

/// Everything below the figure.
pub(super) fn body(h: &mut Html, report: &Report, numbers: &mut Numbers) {
    for model in &report.models {
        h.leaf("h3", &[], &report.title(model));
        of_model(h, report, model);
        analysis(h, report, &model.name, &model.analysis, numbers);
        for label in &model.labels {
            h.leaf("h4", &[], &format!("{}, {}", model.name, label.label));
            match &label.analysis {
                Some(a) => analysis(h, report, &format!("{}, {}", model.name, label.label), a, numbers),
                None => h.leaf("p", &[], &format!("{} group, too few for results of its own.", label.groups)),
            }
        }
    }
}

/// What the figure shows.
pub(super) fn caption(report: &Report) -> String {
    let unit = report.design.unit;
    let first = report.models.first().map(|m| &m.analysis);
    let level = first.map_or(95.0, |a| a.options.resampling.level * 100.0);
    let bands = if report.models.iter().any(|m| !m.analysis.brackets.is_empty()) { " Shaded: between InfoNCE and L1Out." } else { "" };
    format!(
        "Mutual information between the first ℓ {unit} of a text and those after them, with {level}% intervals over documents and fitted power laws.{bands}"
    )
}

fn of_model(h: &mut Html, report: &Report, model: &ModelResult) {
    let a = &model.analysis;
    let pairing = if a.pairing == Pairing::Published { ", published pairing" } else { "" };
    let mut told = format!(
        "{} documents, {} chunks of {} {}, {} groups of {}{pairing}. Mean loss {} nats a token",
        a.documents,
        a.chunks,
        a.length,
        report.design.unit,
        a.groups,
        a.foreign + 1,
        minus(&plus_minus(model.mean_loss.nats_per_token, model.mean_loss.se))
    );
    if let Some(bytes) = model.bytes_per_token {
        let (bits, se) = model.mean_loss.bits_per_byte(bytes);
        told += &format!(", {} bits a byte at {} bytes a token", minus(&plus_minus(bits, se)), significant(bytes, 4));
    }
    h.leaf("p", &[], &(told + "."));
    if model.incomplete_groups > 0 {
        let all = model.incomplete_groups as usize + a.groups;
        let shard = report.shard.map_or(String::new(), |s| format!(" (shard {s})"));
        h.leaf("p", &[("class", "warning")], &format!("{} of {all} groups are not complete and not used{shard}.", model.incomplete_groups));
    }
    if let Some(stop) = report.until_se {
        let told = if stop.reached { "is reached by" } else { "is not reached by all" };
        h.leaf("p", &[], &format!("A standard error of {} nats for direct at the largest ℓ {told} {} groups.", stop.target, stop.groups));
    }
}

fn analysis(h: &mut Html, report: &Report, of: &str, a: &Analysis, numbers: &mut Numbers) {
    let unit = report.design.unit;
    let level = a.options.resampling.level * 100.0;
    for &ratio in &report.design.ratios {
        let shown: Vec<Estimator> = Estimator::ALL.into_iter().filter(|&e| a.points.iter().any(|p| (p.estimator, p.ratio) == (e, ratio))).collect();
        if shown.is_empty() {
            continue;
        }
        let caption = format!("{of}: I(ℓ; {ratio}ℓ) in nats ± standard error, {level}% interval below; ℓ in {unit}.");
        let head: Vec<&str> = std::iter::once("ℓ").chain(shown.iter().map(|&e| name(e))).collect();
        numbers.table(h, &caption, &head, &[], |h| {
            for &split in &report.design.splits {
                let points: Vec<_> = shown.iter().map(|&e| a.point(e, split, ratio)).collect();
                if points.iter().all(Option::is_none) {
                    continue;
                }
                h.element("tr", &[], |h| {
                    h.leaf("th", &[("scope", "row")], &split.to_string());
                    for p in points {
                        h.element("td", &[], |h| {
                            let Some(p) = p else { return };
                            h.text(&minus(&plus_minus(p.value, p.se)));
                            if let (Some(lo), Some(hi)) = (p.lo, p.hi) {
                                h.leaf("small", &[], &minus(&interval(lo, hi)));
                            }
                        });
                    }
                });
            }
        });
        if a.brackets_at(ratio).next().is_some() {
            let caption = format!(
                "{of}: bounds of I(ℓ; {ratio}ℓ) in nats with {level}% intervals. The lower one holds for any model, the upper one if the model is the texts' law."
            );
            numbers.table(h, &caption, &["ℓ", "at least (InfoNCE)", "at most (L1Out)", ""], &[3], |h| {
                for b in a.brackets_at(ratio) {
                    cells(h, &[3], &[&b.split.to_string(), &minus(&bracket::end(&b.lower)), &minus(&bracket::end(&b.upper)), &bracket::worth(b)]);
                }
            });
        }
    }
    if !a.fits.is_empty() {
        let caption = format!("{of}: I = A ℓ^β by least squares on logarithms, {level}% intervals.");
        numbers.table(h, &caption, &["", "L/ℓ", "β", "A (nats)", "R²", "ℓ fitted"], &[0], |h| {
            for f in &a.fits {
                let range = format!("{} … {}", f.splits.first().copied().unwrap_or(0), f.splits.last().copied().unwrap_or(0));
                let fields = [name(f.estimator), &f.ratio.to_string(), &minus(&with_interval(&f.exponent)), &minus(&with_interval(&f.amplitude))];
                cells(h, &[0], &[&fields[..], &[&format!("{:.4}", f.r_squared), &range]].concat());
            }
        });
    }
    laws(h, of, a, numbers);
    remarks_list(h, &remarks(a));
}

/// The laws of I compared, the parameters of the best, and the law of the loss.
fn laws(h: &mut Html, of: &str, a: &Analysis, numbers: &mut Numbers) {
    let level = a.options.resampling.level * 100.0;
    if !a.laws.is_empty() {
        let names = Law::OF_INFORMATION.map(Law::name);
        let caption = format!("{of}: laws of I under one covariance between the ℓ, by χ² + 2k; the least is best.");
        numbers.table(h, &caption, &[&["", "L/ℓ"], &names[..], &["χ²/dof of the best"]].concat(), &[0], |h| {
            for l in &a.laws {
                let criterion = |law| l.comparison.fit(law).map_or("–".into(), |f| minus(&format!("{:.1}", f.criterion)));
                let fields = [vec![name(l.estimator).to_string(), l.ratio.to_string()], Law::OF_INFORMATION.map(criterion).to_vec()].concat();
                let best = l.comparison.best().map_or(String::new(), over_freedom);
                cells(h, &[0], &fields.iter().chain([&best]).map(String::as_str).collect::<Vec<_>>());
            }
        });
        let caption = format!("{of}: the best law of each, {level}% intervals.");
        numbers.table(h, &caption, &["", "L/ℓ", "I(ℓ)", "parameters"], &[0, 2, 3], |h| {
            for l in &a.laws {
                let Some(best) = l.comparison.best() else { continue };
                let told = format!("{}{}", parameters(best), also(&l.comparison));
                cells(h, &[0, 2, 3], &[name(l.estimator), &l.ratio.to_string(), best.law.formula(), &minus(&told)]);
            }
        });
    }
    remarks_list(h, &refusals(a));
    for n in &a.not_compared {
        h.leaf("p", &[("class", "warning")], &format!("Laws of {} at the ratio {} are not compared: {}.", n.estimator, n.ratio, n.why));
    }
    if let Some(comparison) = a.loss.as_ref().and_then(|l| l.comparison.as_ref())
        && let Some(fit) = comparison.best()
    {
        let told = minus(&format!("{}; χ²/dof {}{}", parameters(fit), over_freedom(fit), also(comparison)));
        h.leaf("p", &[], &format!("Loss at token t, in nats: {}; {told}.", fit.law.formula()));
    }
}

/// `[lo, hi]`, decimals by its width.
fn interval(lo: f64, hi: f64) -> String {
    let decimals = if hi > lo { decimals((hi - lo) / 2.0) } else { 3 };
    format!("[{lo:.decimals$}, {hi:.decimals$}]")
}
