//! The condition in tables and as CSV.

use super::{BehindAt, Law, Model, Report};
use crate::estimate::Outpaces;
use crate::report::Block;
use crate::report::amounts::{bytes, grouped};
use crate::report::results::{field, optional};
use crate::report::table::{significant, with_interval};
use std::fmt::Write;

/// History states, and below them each law with what it asks of them.
pub(super) fn blocks(report: &Report) -> Vec<Block> {
    let told = |m: &Model| {
        let dtype = m.stored.dtype.as_deref().unwrap_or("no type named, taken as float32");
        Block::Line(format!("{}: {}; {}; {} bits a number ({dtype})", m.name, m.stored.state.family, m.stored.state.told(), m.stored.bits))
    };
    let mut out: Vec<Block> = report.models.iter().map(told).collect();
    out.push(Block::table("numbers in the history state (bytes as stored), by tokens", sizes(&report.models)));
    report.laws.iter().for_each(|law| out.extend(against(report, law)));
    out.extend(report.without.iter().cloned().map(Block::Remark));
    out
}

fn sizes(models: &[Model]) -> Vec<Vec<String>> {
    let head = std::iter::once("ℓ".to_string()).chain(models.iter().map(|m| m.name.clone())).collect();
    let lengths = models.first().map_or(0, |m| m.sizes.len());
    let row = |i: usize| {
        let at = |m: &Model| m.sizes.get(i).map_or(String::new(), |s| format!("{} ({})", grouped(s.numbers), bytes(s.bytes)));
        models.first().map(|m| grouped(m.sizes[i].tokens)).into_iter().chain(models.iter().map(at)).collect()
    };
    std::iter::once(head).chain((0..lengths).map(row)).collect()
}

fn against(report: &Report, law: &Law) -> Vec<Block> {
    let f = &law.fit;
    let (first, last) = (f.splits.first().copied().unwrap_or(0), f.splits.last().copied().unwrap_or(0));
    let level = law.level * 100.0;
    let (beta, amplitude) = (with_interval(&f.exponent), with_interval(&f.amplitude));
    let (record, by, estimator, ratio, unit) = (law.record.display(), &law.model, f.estimator, f.ratio, law.unit);
    let caption = format!(
        "{estimator} at r = {ratio} by {by}, {record}: I = A ℓ^β with β = {beta}, A = {amplitude} nats, ℓ = {first} … {last} {unit} ({level}% intervals)"
    );
    let mut bits: Vec<u32> = law.models.iter().flat_map(|c| &c.behind).map(|b| b.bits).collect();
    bits.sort_unstable();
    bits.dedup();
    let head = ["", "γ over ℓ", "γ at the end", "γ in the limit", "γ > β", "γ > β in the limit"].map(String::from).into_iter();
    let mut rows = vec![head.chain(bits.iter().map(|b| format!("ℓ* at {b} bit{}", if *b == 1 { "" } else { "s" }))).collect::<Vec<_>>()];
    for (m, c) in report.models.iter().zip(&law.models) {
        let number = |x: f64| format!("{x:.3}");
        let told = [number(c.exponent), number(c.exponent_at_end), format!("{:.0}", c.exponent_in_the_limit), word(c.outpaces), word(c.outpaces_in_the_limit)];
        let behind = bits.iter().map(|b| c.behind.iter().find(|x| x.bits == *b).map_or(String::new(), length));
        rows.push(std::iter::once(m.name.clone()).chain(told).chain(behind).collect());
    }
    let signs = "γ: dim(z) ~ ℓ^γ, by the least squares that gave β; ℓ*: where C·dim(z) falls under the law for good, C = bits · ln 2";
    let mut out = vec![Block::table(caption, rows), Block::Remark(signs.into())];
    if law.models.iter().flat_map(|c| &c.behind).any(|b| b.extrapolated) {
        out.push(Block::Remark(format!("†: beyond the lengths that were fitted; it supposes that the law goes on as it was up to {last} {unit}")));
    }
    out
}

fn word(o: Outpaces) -> String {
    match o {
        Outpaces::Yes => "yes",
        Outpaces::No => "no",
        Outpaces::NotToldApart => "not told apart",
    }
    .to_string()
}

/// ℓ* with its interval.
fn length(b: &BehindAt) -> String {
    let Some(l) = b.behind.length else { return "never".to_string() };
    let mark = if b.extrapolated { "†" } else { "" };
    match (b.behind.lo, b.behind.hi) {
        (Some(lo), Some(hi)) => format!("{}{mark} [{}, {}]", number(l), number(lo), number(hi)),
        (Some(lo), None) => format!("{}{mark} [{}, …)", number(l), number(lo)),
        _ => format!("{}{mark}", number(l)),
    }
}

/// A length to two digits, since none is known better; large ones as a multiple of a power of ten.
fn number(x: f64) -> String {
    let exponent = x.log10().floor();
    if exponent < 4.0 { significant(x.round(), exponent as i32 + 1) } else { format!("{:.1}·10^{exponent}", x / 10f64.powf(exponent)) }
}

/// One row a model, law and number of bits; empty where there is none.
pub(super) fn csv(report: &Report) -> String {
    let mut out = String::from(
        "record,measured_by,estimator,ratio,unit,beta,beta_lo,beta_hi,model,family,gamma,gamma_at_end,gamma_in_the_limit,outpaces,outpaces_in_the_limit,bits,length,lo,hi,extrapolated\n",
    );
    for law in &report.laws {
        let (f, record, by) = (&law.fit, field(&law.record.display().to_string()), field(&law.model));
        for (m, c) in report.models.iter().zip(&law.models) {
            for b in &c.behind {
                let (lo, hi) = (optional(f.exponent.lo), optional(f.exponent.hi));
                let _ = write!(out, "{record},{by},{},{},{},{},{lo},{hi},", f.estimator, f.ratio, law.unit, f.exponent.value);
                let _ = write!(out, "{},{},{},{},{},", field(&m.name), field(&m.stored.state.family), c.exponent, c.exponent_at_end, c.exponent_in_the_limit);
                let _ = write!(out, "{},{},", word(c.outpaces), word(c.outpaces_in_the_limit));
                let _ = writeln!(out, "{},{},{},{},{}", b.bits, optional(b.behind.length), optional(b.behind.lo), optional(b.behind.hi), b.extrapolated);
            }
        }
    }
    out
}
