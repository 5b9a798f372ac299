//! Laws of a curve as plain text: what the tables of a measurement say of them, and all that `hilberg fit` says.

use super::table::{aligned, significant, with_interval};
use crate::estimate::Analysis;
use crate::estimate::laws::{Comparison, LawFit, LossByPosition, Parameter};
use std::fmt::Write;

/// Laws whose χ² + 2k is no more than this above the least are named beside the best: their evidence is within a factor e.
const NOT_TOLD_APART: f64 = 2.0;

/// The laws of an analysis in short: χ² + 2k of each, and the parameters of the best.
pub(super) fn in_short(a: &Analysis) -> String {
    let mut out = String::new();
    let level = a.options.resampling.level * 100.0;
    if let Some(first) = a.laws.first() {
        let _ = writeln!(out, "\n  Laws of I under one covariance: χ² + 2k, the least is best; {level}% intervals");
        let names = crate::estimate::laws::Law::OF_INFORMATION;
        let mut rows =
            vec![["", "ratio"].into_iter().map(String::from).chain(names.map(|l| l.to_string())).chain(["χ²/dof of the best".into()]).collect::<Vec<_>>()];
        for l in &a.laws {
            let criterion = |law| l.comparison.fit(law).map_or("–".into(), |f: &LawFit| format!("{:.1}", f.criterion));
            let mut row = vec![l.estimator.to_string(), l.ratio.to_string()];
            row.extend(names.map(criterion));
            row.push(l.comparison.best().map_or(String::new(), over_freedom));
            rows.push(row);
        }
        out.push_str(&aligned(&rows));
        for l in &a.laws {
            let ratio = if a.laws.iter().all(|other| other.ratio == first.ratio) { String::new() } else { format!(" at ratio {}", l.ratio) };
            if let Some(best) = l.comparison.best() {
                let _ = writeln!(out, "    {}{ratio}: I = {}; {}{}", l.estimator, best.law.formula(), parameters(best), also(&l.comparison));
            }
        }
    }
    for told in refusals(a) {
        let _ = writeln!(out, "  {told}");
    }
    for n in &a.not_compared {
        let _ = writeln!(out, "  laws of {} at ratio {} are not compared: {}", n.estimator, n.ratio, n.why);
    }
    if let Some(loss) = &a.loss {
        out.push_str(&loss_in_short(loss));
    }
    out
}

/// Why laws of the comparisons have no fit: a sentence for each reason and set of laws, with the estimators that it is of.
pub(super) fn refusals(a: &Analysis) -> Vec<String> {
    /// Why, and the laws.
    type Reason<'a> = (&'a str, Vec<&'a str>);
    let mut told: Vec<(Reason<'_>, Vec<String>)> = Vec::new();
    for l in &a.laws {
        let refused = &l.comparison.refused;
        for (i, r) in refused.iter().enumerate().filter(|(i, r)| !refused[..*i].iter().any(|before| before.why == r.why)) {
            let laws = refused[i..].iter().filter(|other| other.why == r.why).map(|other| other.law.name()).collect();
            let (reason, of) = ((r.why.as_str(), laws), format!("{} at ratio {}", l.estimator, l.ratio));
            match told.iter_mut().find(|t| t.0 == reason) {
                Some((_, all)) => all.push(of),
                None => told.push((reason, vec![of])),
            }
        }
    }
    told.into_iter().map(|((why, laws), of)| format!("no {} of {}: {why}", laws.join(", "), of.join(", "))).collect()
}

fn loss_in_short(loss: &LossByPosition) -> String {
    let last = loss.bins.last().map_or(0, |b| b.to);
    match loss.comparison.as_ref().and_then(Comparison::best) {
        Some(fit) => {
            let also = loss.comparison.as_ref().map_or(String::new(), also);
            format!("\n  Loss at token t = 1 … {last}: {} nats; {}; χ²/dof {}{also}\n", fit.law.formula(), parameters(fit), over_freedom(fit))
        }
        None => format!("\n  no law of the loss at token t = 1 … {last}: {}\n", loss.why.as_deref().unwrap_or("there are no points")),
    }
}

/// Everything that an analysis says of its laws.
pub(super) fn at_length(a: &Analysis) -> String {
    let mut out = String::new();
    for l in &a.laws {
        let _ = writeln!(out, "\n  {} at ratio {}", l.estimator, l.ratio);
        out.push_str(&comparison(&l.comparison));
    }
    if let Some(loss) = &a.loss {
        let _ = writeln!(out, "\n  Loss by position, nats a token");
        let mut rows = vec![["t", "loss"].map(String::from).to_vec()];
        for b in &loss.bins {
            let range = if b.from == b.to { b.from.to_string() } else { format!("{} … {}", b.from, b.to) };
            rows.push(vec![range, super::table::plus_minus(b.value, b.se)]);
        }
        out.push_str(&aligned(&rows));
        if let Some(c) = &loss.comparison {
            out.push_str(&comparison(c));
        }
    }
    out
}

/// The laws of one curve, its local slopes, and the same without its smallest x.
pub fn comparison(c: &Comparison) -> String {
    let mut out = String::new();
    let known = c.hartlap.is_some();
    if let (Some(units), Some(hartlap)) = (c.units, c.hartlap) {
        let shrunk = c.shrinkage.map_or(String::new(), |s| format!(", correlations shrunk by {}", significant(s, 2)));
        let _ = writeln!(out, "    covariance of {units} independent units{shrunk}, χ² by Hartlap's factor {}", significant(hartlap, 3));
    }
    let mut rows = vec![
        ["law", if known { "χ²" } else { "squares" }, "dof", if known { "χ² + 2k" } else { "n ln(squares/n) + 2k" }, "weight", "R²"].map(String::from).to_vec(),
    ];
    for (f, w) in c.laws.iter().zip(&c.weights) {
        let star = if c.best == Some(f.law) { "*" } else { "" };
        let chi = if known { format!("{:.2}", f.chi_squared) } else { significant(f.chi_squared, 4) };
        rows.push(vec![
            format!("{star}{}", f.law),
            chi,
            f.freedom.to_string(),
            format!("{:.2}", f.criterion),
            format!("{w:.3}"),
            format!("{:.5}", f.r_squared),
        ]);
    }
    if rows.len() > 1 {
        out.push_str(&aligned(&rows));
    }
    for f in &c.laws {
        let _ = writeln!(out, "    {}: {}; {}", f.law, f.law.formula(), parameters(f));
    }
    for r in &c.refused {
        let _ = writeln!(out, "    no {}: {}", r.law, r.why);
    }
    if let Some(told) = misfit(c) {
        let _ = writeln!(out, "    {told}");
    }
    if !c.slopes.is_empty() {
        let slopes = c.slopes.iter().map(|s| format!("{} to {}: {}", place(s.from), place(s.to), with_interval(&s.slope)));
        let _ = writeln!(out, "    local slopes d ln I / d ln ℓ: {}", slopes.collect::<Vec<_>>().join("; "));
    }
    for w in &c.without_smallest {
        let exponent = match (w.exponent_of, w.exponent) {
            (Some(law), Some(q)) => format!("{} of {law} {}{}", law.exponent().unwrap_or("exponent"), with_interval(&q), at_bound(w.bound)),
            _ => "no exponent".into(),
        };
        let best = w.best.filter(|_| c.laws.len() > 1).map_or(String::new(), |l| format!(", best {l}"));
        let _ = writeln!(out, "    from {} on: {exponent}{best}", place(w.from));
    }
    out
}

/// An x: whole, or the middle of a bin.
fn place(x: f64) -> String {
    if x.fract() == 0.0 { x.to_string() } else { significant(x, 3) }
}

/// χ² for each degree of freedom.
pub(super) fn over_freedom(f: &LawFit) -> String {
    format!("{:.2}", f.chi_squared / f.freedom.max(1) as f64)
}

/// What is said behind a parameter that ends at a bound.
pub(super) fn at_bound(bound: Option<f64>) -> &'static str {
    if bound.is_some() { " (at its bound)" } else { "" }
}

/// A parameter with its interval; of one at its bound the bound, however wide the interval is.
pub(super) fn parameter(p: &Parameter) -> String {
    // Bounds that are searched for as logarithms come back with a rounding.
    let bound = p.bound.map(|b| format!("{b:.9e}").parse::<f64>().unwrap_or(b));
    match (bound, p.quantity.lo, p.quantity.hi) {
        (Some(bound), Some(lo), Some(hi)) => format!("{bound} [{}, {}]{}", significant(lo, 3), significant(hi, 3), at_bound(p.bound)),
        (Some(bound), ..) => format!("{bound}{}", at_bound(p.bound)),
        _ => with_interval(&p.quantity),
    }
}

/// `β = 0.72 [0.70, 0.75], A = …`, and which of them are at a bound.
pub(super) fn parameters(f: &LawFit) -> String {
    let one = |p: &Parameter| format!("{} = {}", p.name, parameter(p));
    f.parameters.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// What is to be said where not even the best law holds.
fn misfit(c: &Comparison) -> Option<String> {
    let best = c.best().filter(|f| c.hartlap.is_some() && f.misfits())?;
    Some(format!("χ²/dof = {}: the points follow none of these laws, and parameters are those of the curve drawn", over_freedom(best)))
}

/// Behind the best law: those that lie as near, and that none holds, where that is so.
pub(super) fn also(c: &Comparison) -> String {
    let least = c.best().map_or(f64::INFINITY, |b| b.criterion);
    let near: Vec<&str> = c.laws.iter().filter(|f| Some(f.law) != c.best && f.criterion - least <= NOT_TOLD_APART).map(|f| f.law.name()).collect();
    let near = (!near.is_empty()).then(|| format!("; not told from {}", near.join(", ")));
    near.into_iter().chain(misfit(c).map(|told| format!("; {told}"))).collect()
}
