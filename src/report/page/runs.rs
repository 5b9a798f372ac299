//! What was run: plan and machine, as the folder has them.

use super::folder::{Kind, Results};
use super::html::Html;
use super::write::{facts, plain_values};
use crate::report::Report;
use serde_json::Value;

/// Inputs, then every run that wrote into the folder.
pub(super) fn body(h: &mut Html, results: &Results) {
    let inputs = match &results.kind {
        Kind::Measurement(report) => of_measurement(report),
        Kind::Other(_) => plain_values(&results.value),
    };
    if inputs.is_empty() && results.runs.is_empty() {
        return;
    }
    h.leaf("h3", &[], "What was run");
    if !inputs.is_empty() {
        facts(h, &inputs);
    }
    for run in &results.runs {
        h.element("div", &[("class", "run")], |h| one(h, run));
    }
}

fn of_measurement(report: &Report) -> Vec<(String, String)> {
    let d = &report.design;
    let list = |numbers: &[u32]| numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
    let mut out = vec![
        ("corpus".into(), format!("{} documents, {} bytes, XXH3-128 {}", report.corpus.documents, report.corpus.bytes, report.corpus.xxh3)),
        ("design".into(), {
            let (pairing, cutting) = (spelled(&d.pairing), spelled(&d.cutting));
            format!("{pairing} pairing; {cutting} of {} {}; ℓ = {}; L/ℓ = {}; {} foreign", d.length, d.unit, list(&d.splits), list(&d.ratios), d.foreign)
        }),
        ("seed".into(), report.seed.to_string()),
    ];
    if let Some(a) = report.models.first().map(|m| &m.analysis) {
        let r = a.options.resampling;
        out.push(("intervals".into(), format!("{} %, {} resamples with seed {}, {} units", 100.0 * r.level, r.resamples, r.seed, spelled(&a.errors))));
    }
    for m in &report.models {
        out.push((format!("model {}", m.name), format!("fingerprint {}, start token {}", m.fingerprint, m.start)));
    }
    out
}

/// An option's value as files spell it.
fn spelled(value: &impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_string)).unwrap_or_default()
}

fn one(h: &mut Html, run: &Value) {
    let words: Vec<String> = run["command"].as_array().map_or(Vec::new(), |words| words.iter().filter_map(Value::as_str).map(quoted).collect());
    if !words.is_empty() {
        h.element("pre", &[], |h| h.leaf("code", &[], &words.join(" ")));
    }
    let mut told = Vec::new();
    if let Some(version) = run["version"].as_str() {
        told.push(format!("hilberg {version}"));
    }
    if let Some(began) = run["began_unix"].as_u64() {
        let until = run["ended_unix"].as_u64().map_or(String::new(), |ended| format!(", {} s", ended.saturating_sub(began)));
        told.push(format!("{}{until}", utc(began)));
    }
    if run["finished"] == Value::Bool(false) {
        told.push("not finished".into());
    }
    let known = ["command", "version", "began_unix", "ended_unix", "finished"];
    let members = run.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(&name.as_str()));
    let (lists, plain): (Vec<_>, Vec<_>) = members.partition(|(_, value)| value.as_array().is_some_and(|list| list.iter().any(Value::is_object)));
    let plain: serde_json::Map<String, Value> = plain.into_iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    told.extend(plain_values(&Value::Object(plain)).into_iter().map(|(name, value)| format!("{} {value}", name.replace(['.', '_'], " "))));
    h.leaf("p", &[], &told.join("; "));
    // What a run tells of each model, or of whatever else there are several of.
    for one in lists.into_iter().flat_map(|(_, list)| list.as_array().into_iter().flatten()) {
        let values: Vec<String> = plain_values(one).into_iter().map(|(name, value)| format!("{} {value}", name.replace(['.', '_'], " "))).collect();
        h.leaf("p", &[], &values.join("; "));
    }
}

/// A word of a command line as a shell takes it.
fn quoted(word: &str) -> String {
    let bare = |c: char| c.is_alphanumeric() || "-_./=,:@%+".contains(c);
    if !word.is_empty() && word.chars().all(bare) { word.to_string() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// A moment as `2026-11-28 02:20 UTC`.
fn utc(unix: u64) -> String {
    let (days, minutes) = (unix / 86_400, unix / 60 % 1440);
    let (y, m, d) = civil(days);
    format!("{y}-{m:02}-{d:02} {:02}:{:02} UTC", minutes / 60, minutes % 60)
}

/// The date that lies so many days after 1970-01-01 (Hinnant, "chrono-compatible low-level date algorithms", days_to_civil).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_and_words_are_told_as_people_write_them() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_782_400 + 86_399), "2000-02-29 23:59 UTC");
        assert_eq!(utc(1_795_831_260), "2026-11-28 02:01 UTC");
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(["a-b.c", "", "it's", "*"].map(quoted), ["a-b.c", "''", "'it'\\''s'", "'*'"]);
    }
}
