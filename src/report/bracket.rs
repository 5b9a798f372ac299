//! The bracket [InfoNCE, L1Out] (see [`crate::estimate::Bracket`]) as text.

use super::figure::measured::ascending;
use super::table::{aligned, decimals};
use crate::estimate::{Analysis, Bracket, End};

/// `1.23 [1.20, 1.27]`: an end and its interval, decimals by the interval's width.
pub(super) fn end(e: &End) -> String {
    match (e.lo, e.hi) {
        (Some(lo), Some(hi)) if hi > lo => {
            let decimals = decimals((hi - lo) / 2.0).min(4);
            format!("{:.decimals$} [{lo:.decimals$}, {hi:.decimals$}]", e.value)
        }
        _ => format!("{:.4}", e.value),
    }
}

/// What is to be known of a bracket, in a few words.
pub(super) fn worth(b: &Bracket) -> String {
    let told = [(b.saturated, "lower saturated"), (b.not_tight, "upper not tight"), (b.inverted, "inverted")];
    told.iter().filter(|t| t.0).map(|t| t.1).collect::<Vec<_>>().join(", ")
}

/// The table of one ratio; empty where there is none.
pub(super) fn of_ratio(a: &Analysis, ratio: u32) -> String {
    let mut rows: Vec<Vec<String>> = vec![["ℓ", "at least (infonce)", "at most (l1out)", ""].map(String::from).to_vec()];
    rows.extend(a.brackets_at(ratio).map(|b| vec![b.split.to_string(), end(&b.lower), end(&b.upper), worth(b)]));
    if rows.len() == 1 {
        return String::new();
    }
    format!("\n  I(ℓ; {ratio}ℓ) in nats is between, {}% intervals\n{}", a.options.resampling.level * 100.0, aligned(&rows))
}

/// Under what condition the ends are bounds, and where they say little.
pub(super) fn sentences(a: &Analysis) -> Vec<String> {
    let Some(first) = a.brackets.first() else { return Vec::new() };
    let ceiling = format!("ln(K + 1) = {:.3}", first.ceiling);
    let mut out = vec![format!(
        "the lower end, infonce, is a bound whatever the model is, and at most {ceiling}; the upper end, l1out, only if the model is the texts' law"
    )];
    let at = |holds: fn(&Bracket) -> bool| {
        let splits = ascending(a.brackets.iter().filter(|b| holds(b)).map(|b| b.split));
        splits.iter().map(u32::to_string).collect::<Vec<_>>().join(", ")
    };
    let (not_tight, inverted) = (at(|b| b.not_tight), at(|b| b.inverted));
    if !not_tight.is_empty() {
        out.push(format!(
            "l1out is above {ceiling} at ℓ = {not_tight}, where it is not tight for any model, since that takes about e^I foreign heads; raise --foreign"
        ));
    }
    if !inverted.is_empty() {
        out.push(format!("the bracket is inverted at ℓ = {inverted}: the model is far from these texts, and l1out no bound"));
    }
    out
}
