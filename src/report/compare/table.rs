//! A comparison as text and as CSV.

use super::{Compared, Model};
use crate::estimate::{Bin, Estimate, Estimator, Profile, Quantity, TOO_FEW_DOCUMENTS};
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
    out.extend(cautions(c));
    out
}

/// What a reader must know of the numbers: where InfoNCE of some model has no interval although others have, and where documents are few.
pub(super) fn cautions(c: &Compared) -> impl Iterator<Item = Block> {
    let mut all = c.models.iter().flat_map(|m| &m.profile.information);
    let saturated = all.any(|i| i.estimator == Estimator::Infonce && i.estimate.se.is_some() && i.estimate.lo.is_none());
    let ceiling = "infonce is near its ceiling ln(K + 1) where it has no interval: neither have differences from it, and its β is the ceiling's";
    let few = format!("too few documents: intervals from {} documents are not to be trusted", c.documents);
    let told = [(saturated, ceiling.to_string()), (c.documents < TOO_FEW_DOCUMENTS, few)];
    told.into_iter().filter(|(holds, _)| *holds).map(|(_, told)| Block::Remark(told))
}

fn pair(c: &Compared, base: &Model, m: &Model, d: &Profile) -> Vec<Block> {
    let head = |first: &str| vec![first.to_string(), base.name.clone(), m.name.clone(), format!("{} − {}", m.name, base.name)];
    // Of files that were damaged, profiles may differ in length.
    let row = |first: String, own: [Option<&Estimate>; 2], d: &Estimate| {
        let [a, b] = own.map(|e| e.map_or(String::new(), |e| plus_minus(e.value, e.se)));
        vec![first, a, b, between(d)]
    };
    let both = [&base.profile, &m.profile];
    let mut rows = vec![head("t")];
    for (i, (bin, difference)) in c.bins.iter().zip(&d.loss).enumerate() {
        rows.push(row(places(bin), both.map(|p| p.loss.get(i)), difference));
    }
    rows.push(row("all".into(), both.map(|p| Some(&p.mean_loss)), &d.mean_loss));
    let mut out = vec![Block::table(format!("loss h(t) in {}", c.loss_unit()), rows)];
    let mut last = None;
    for (i, x) in d.information.iter().enumerate() {
        if last.replace((x.estimator, x.ratio)) != Some((x.estimator, x.ratio)) {
            out.push(Block::table(format!("I(ℓ; {}ℓ) by {} in nats", x.ratio, x.estimator), vec![head("ℓ")]));
        }
        if let Some(Block::Table { rows, .. }) = out.last_mut() {
            rows.push(row(x.split.to_string(), both.map(|p| p.information.get(i).map(|x| &x.estimate)), &x.estimate));
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
