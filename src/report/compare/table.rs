//! A comparison as text and as CSV.

use super::{Compared, Model};
use crate::estimate::{Bin, Estimate, Profile, Quantity, TOO_FEW_DOCUMENTS};
use crate::report::Block;
use crate::report::results::{field, optional};
use crate::report::table::{plus_minus, with_interval};
use std::fmt::Write;

/// A number with its interval: `-0.012 [-0.020, -0.004]`.
pub(super) fn between(e: &Estimate) -> String {
    with_interval(&Quantity { value: e.value, se: e.se, lo: e.lo, hi: e.hi, intervals: Default::default() })
}

/// `t` of a bin: `5 … 8`, or one place.
pub(super) fn places(b: &Bin) -> String {
    if b.to == b.after + 1 { b.to.to_string() } else { format!("{} … {}", b.after + 1, b.to) }
}

/// The baseline against each of the others, one after another.
pub(super) fn blocks(c: &Compared) -> Vec<Block> {
    let Some(base) = c.models.iter().find(|m| m.difference.is_none()) else { return Vec::new() };
    let (level, unit) = (c.level * 100.0, c.unit);
    let mut out = vec![Block::Line(format!(
        "{} groups of chunks of {} {unit} that all models have, {} documents; differences by chunk, {level}% intervals",
        c.groups, c.length, c.documents
    ))];
    for m in &c.models {
        if let Some(d) = &m.difference {
            out.extend(pair(c, base, m, d));
        }
    }
    if c.documents < TOO_FEW_DOCUMENTS {
        out.push(Block::Remark(format!("too few documents: intervals from {} documents are not to be trusted", c.documents)));
    }
    out
}

fn pair(c: &Compared, base: &Model, m: &Model, d: &Profile) -> Vec<Block> {
    let head = |first: &str| vec![first.to_string(), base.name.clone(), m.name.clone(), format!("{} − {}", m.name, base.name)];
    let row = |first: String, a: &Estimate, b: &Estimate, d: &Estimate| vec![first, plus_minus(a.value, a.se), plus_minus(b.value, b.se), between(d)];
    let mut rows = vec![head("t")];
    for (i, bin) in c.bins.iter().enumerate() {
        rows.push(row(places(bin), &base.profile.loss[i], &m.profile.loss[i], &d.loss[i]));
    }
    rows.push(row("all".into(), &base.profile.mean_loss, &m.profile.mean_loss, &d.mean_loss));
    let mut out = vec![Block::table(format!("loss h(t) in {}", c.loss_unit()), rows)];
    let mut last = None;
    for (i, x) in d.information.iter().enumerate() {
        if last.replace((x.estimator, x.ratio)) != Some((x.estimator, x.ratio)) {
            out.push(Block::table(format!("I(ℓ; {}ℓ) by {} in nats", x.ratio, x.estimator), vec![head("ℓ")]));
        }
        if let Some(Block::Table { rows, .. }) = out.last_mut() {
            rows.push(row(x.split.to_string(), &base.profile.information[i].estimate, &m.profile.information[i].estimate, &x.estimate));
        }
    }
    if !d.exponents.is_empty() {
        let mut rows = vec![head("")];
        for x in &d.exponents {
            let of = |p: &Profile| {
                p.exponents.iter().find(|e| (e.estimator, e.ratio) == (x.estimator, x.ratio)).map_or(String::new(), |e| with_interval(&e.exponent))
            };
            rows.push(vec![format!("{}, r = {}", x.estimator, x.ratio), of(&base.profile), of(&m.profile), with_interval(&x.exponent)]);
        }
        out.push(Block::table("exponent β of I = A ℓ^β", rows));
    }
    out
}

/// One row a number; empty where something does not apply.
pub(super) fn csv(c: &Compared) -> String {
    let mut out = String::from("quantity,model,baseline,from,to,estimator,ratio,split,unit,value,se,lo,hi,level\n");
    for m in &c.models {
        let mut own = |baseline: &str, p: &Profile| {
            let (name, base) = (field(&m.name), field(baseline));
            let tail = |e: &Estimate| format!("{},{},{},{},{},{}", c.unit, e.value, optional(e.se), optional(e.lo), optional(e.hi), c.level);
            for (bin, e) in c.bins.iter().zip(&p.loss) {
                let _ = writeln!(out, "loss,{name},{base},{},{},,,,{}", bin.after + 1, bin.to, tail(e));
            }
            let _ = writeln!(out, "loss,{name},{base},1,{},,,,{}", c.length, tail(&p.mean_loss));
            for i in &p.information {
                let _ = writeln!(out, "information,{name},{base},,,{},{},{},{}", i.estimator, i.ratio, i.split, tail(&i.estimate));
            }
            for x in &p.exponents {
                let q = &x.exponent;
                let e = Estimate { value: q.value, se: q.se, lo: q.lo, hi: q.hi };
                let _ = writeln!(out, "exponent,{name},{base},,,{},{},,{}", x.estimator, x.ratio, tail(&e));
            }
        };
        own("", &m.profile);
        if let Some(d) = &m.difference {
            own(&c.baseline, d);
        }
    }
    out
}
