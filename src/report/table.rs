//! Results as plain text for a terminal.

use super::bracket;
use super::results::{ModelResult, Report};
use super::{laws, published};
use crate::estimate::{Analysis, Estimator, Note, Pairing, Point, Quantity};
use std::fmt::Write;

/// Decimals down to the second significant digit of an error above 0, nine at most.
pub(super) fn decimals(error: f64) -> usize {
    (1 - error.log10().floor() as i32).clamp(0, 9) as usize
}

/// A value with its standard error, both to the error's second significant digit: `1.234 ± 0.056`.
pub(super) fn plus_minus(value: f64, se: Option<f64>) -> String {
    match se {
        Some(se) if se > 0.0 && se.is_finite() => {
            let decimals = decimals(se);
            format!("{value:.decimals$} ± {se:.decimals$}")
        }
        _ => significant(value, 4),
    }
}

/// A number to some significant digits, without an exponent where that is readable.
pub(super) fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let magnitude = value.abs().log10().floor() as i32;
    if (-4..7).contains(&magnitude) { format!("{value:.*}", (digits - 1 - magnitude).max(0) as usize) } else { format!("{value:.*e}", digits as usize - 1) }
}

/// A fitted number with its interval: `0.72 [0.70, 0.75]`, decimals by the interval's width.
pub(super) fn with_interval(q: &Quantity) -> String {
    match (q.lo, q.hi) {
        (Some(lo), Some(hi)) if hi > lo => {
            let decimals = decimals((hi - lo) / 2.0);
            format!("{:.decimals$} [{lo:.decimals$}, {hi:.decimals$}]", q.value)
        }
        _ => significant(q.value, 3),
    }
}

/// Tables of all models: estimates by ℓ, exponents, and what a reader must know of them.
pub fn table(report: &Report) -> String {
    report.models.iter().map(|m| of_model(report, m)).collect::<Vec<_>>().join("\n") + &published::table(report)
}

fn of_model(report: &Report, model: &ModelResult) -> String {
    let a = &model.analysis;
    let mut out = heading(report, &report.title(model), a);
    let all = model.incomplete_groups as usize + a.groups;
    match report.shard {
        Some(shard) => {
            let _ = writeln!(out, "  shard {shard}: {} of {all} groups; `hilberg estimate DIR1 DIR2 … --out DIR` merges the shards' folders", a.groups);
        }
        None if model.incomplete_groups > 0 => {
            let _ = writeln!(out, "  {} of {all} groups are not complete and not used", model.incomplete_groups);
        }
        None => {}
    }
    if let Some(stop) = report.until_se {
        let told = if stop.reached { "is reached by" } else { "is not reached by all" };
        let _ = writeln!(out, "  a standard error of {} nats for direct at the largest ℓ {told} {} groups", stop.target, stop.groups);
    }
    out += &of_analysis(report, a);
    for l in &model.labels {
        match &l.analysis {
            Some(a) => out += &format!("\n{}{}", heading(report, &format!("{}, {}", report.title(model), l.label), a), of_analysis(report, a)),
            None => {
                let _ = writeln!(out, "\n{}, {}: {} group, too few for results of its own", report.title(model), l.label, l.groups);
            }
        }
    }
    out
}

fn heading(report: &Report, title: &str, a: &Analysis) -> String {
    let pairing = if a.pairing == Pairing::Published { ", published pairing" } else { "" };
    let unit = report.design.unit;
    format!("{title}: {} documents, {} chunks of {} {unit}, {} groups{pairing}\n", a.documents, a.chunks, a.length, a.groups)
}

fn of_analysis(report: &Report, a: &Analysis) -> String {
    let mut out = String::new();
    let level = a.options.resampling.level * 100.0;
    for &ratio in &report.design.ratios {
        let shown: Vec<Estimator> = Estimator::ALL.into_iter().filter(|&e| a.points.iter().any(|p| (p.estimator, p.ratio) == (e, ratio))).collect();
        if shown.is_empty() {
            continue;
        }
        let unit = report.design.unit;
        let of = if unit.is_tokens() { String::new() } else { format!(", ℓ in {unit}") };
        let _ = writeln!(out, "\n  I(ℓ; {ratio}ℓ) in nats ± standard error{of}");
        let mut rows = vec![std::iter::once("ℓ".to_string()).chain(shown.iter().map(|e| e.to_string())).collect::<Vec<_>>()];
        for &split in &report.design.splits {
            let cells: Vec<String> = shown.iter().map(|&e| a.point(e, split, ratio).map_or(String::new(), |p| plus_minus(p.value, p.se))).collect();
            if cells.iter().any(|c| !c.is_empty()) {
                rows.push(std::iter::once(split.to_string()).chain(cells).collect());
            }
        }
        out.push_str(&aligned(&rows));
        out += &bracket::of_ratio(a, ratio);
    }
    if !a.fits.is_empty() {
        let _ = writeln!(out, "\n  I = A ℓ^β, least squares on logarithms, {level}% intervals");
        let mut rows = vec![["", "ratio", "β", "A (nats)", "R²", "ℓ"].map(String::from).to_vec()];
        for f in &a.fits {
            let range = format!("{} … {}", f.splits.first().copied().unwrap_or(0), f.splits.last().copied().unwrap_or(0));
            rows.push(vec![
                f.estimator.to_string(),
                f.ratio.to_string(),
                with_interval(&f.exponent),
                with_interval(&f.amplitude),
                format!("{:.4}", f.r_squared),
                range,
            ]);
        }
        out.push_str(&aligned(&rows));
    }
    out += &laws::in_short(a);
    if report.all_of_the_laws {
        out += &laws::at_length(a);
    }
    for remark in remarks(a) {
        let _ = writeln!(out, "  {remark}");
    }
    out
}

/// What a reader must know of the numbers, a sentence each.
pub(super) fn remarks(a: &Analysis) -> Vec<String> {
    let mut out = Vec::new();
    for u in &a.unfitted {
        out.push(format!("no law for {} at ratio {}: {}", u.estimator, u.ratio, u.why));
    }
    for f in a.fits.iter().filter(|f| !f.left_out.is_empty()) {
        let left_out: Vec<String> = f.left_out.iter().map(u32::to_string).collect();
        out.push(format!("{} at ratio {}: I is not positive at ℓ = {}; left out of the fit", f.estimator, f.ratio, left_out.join(", ")));
    }
    for s in &a.skipped {
        out.push(format!("no {}: {}", s.estimator, s.why));
    }
    let above: Vec<String> = a.points.iter().filter(|p| contradicts(a, p)).map(|p| p.split.to_string()).collect();
    if !above.is_empty() {
        out.push(format!(
            "direct lies above vclub, its upper bound if the model were the texts' law, at ℓ = {}: the model is far from these texts; read neither as I",
            above.join(", ")
        ));
    }
    let noted = |note: Note| a.points.iter().any(|p| p.notes.contains(&note));
    if a.too_few_documents {
        out.push(format!("too few documents: intervals from {} documents are not to be trusted", a.documents));
    }
    if noted(Note::NoError) {
        out.push("no errors can be given: measure more groups of more documents".into());
    }
    if noted(Note::Saturated) {
        out.push(format!(
            "infonce is near its ceiling ln(K + 1) = {:.3}, where it has no interval and says no more than that I is about as large at least{}; raise --foreign",
            ((a.foreign + 1) as f64).ln(),
            if a.fits.iter().any(|f| f.estimator == Estimator::Infonce) { ": its β and laws are those of the ceiling" } else { "" }
        ));
    }
    out.extend(bracket::sentences(a));
    out
}

/// Whether a direct estimate exceeds vCLUB's at the same place by more than two standard errors of each together (they share
/// their tails, so that the difference's own error is smaller): impossible in expectation where q is the texts' law.
fn contradicts(a: &Analysis, p: &Point) -> bool {
    let other = a.point(Estimator::Vclub, p.split, p.ratio);
    p.estimator == Estimator::Direct
        && matches!((p.se, other.and_then(|v| v.se.map(|s| (v.value, s)))), (Some(se), Some((value, other_se))) if p.value - value > 2.0 * (se + other_se))
}

/// Columns two spaces apart, the first and numbers to the right.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &w)| format!("{}{cell}", " ".repeat(w - cell.chars().count()))).collect();
            format!("    {}\n", cells.join("   ").trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_to_the_digit_that_is_known() {
        assert_eq!(plus_minus(1.23456, Some(0.0567)), "1.235 ± 0.057");
        assert_eq!(plus_minus(123.456, Some(5.67)), "123.5 ± 5.7");
        assert_eq!(plus_minus(123.456, Some(56.7)), "123 ± 57");
        assert_eq!(plus_minus(-0.5, None), "-0.5000");
        assert_eq!(significant(12345678.0, 3), "1.23e7");
        assert_eq!(significant(0.0, 3), "0");
    }

    #[test]
    fn columns_line_up() {
        assert_eq!(aligned(&[vec!["ℓ".into(), "x".into()], vec!["16".into(), "1 ± 2".into()]]), "     ℓ       x\n    16   1 ± 2\n");
    }
}
