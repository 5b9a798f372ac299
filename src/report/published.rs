//! Published lines to stand beside a measurement of the same texts.
//!
//! No program can tell from the texts that they are the published ones: files are named, ordered and cut in many ways. So the user says which corpus this is, and what can be
//! checked is: lengths in tokens, the ratio 2, and the published splits, over which both lines are then drawn.

use super::results::Report;
use super::table::{aligned, with_interval};
use crate::error::{Error, Result};
use crate::estimate::Estimator;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// A corpus with published lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Books of Project Gutenberg from before 1919 (Rae et al. 2019).
    Pg19,
    /// English Wikipedia.
    Wikipedia,
}

/// One published line, least squares on logarithms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PublishedLine {
    /// The texts.
    pub corpus: String,
    /// By which estimator.
    pub estimator: Estimator,
    /// A, in nats, of A L^β as it is printed.
    pub amplitude: f64,
    /// β.
    pub exponent: f64,
    /// Whose it is.
    pub source: String,
}

const SOURCE: &str = "Chen et al. 2025 (L²M), Llama-3.1-405B in FP8, 1,024 pairs";

/// ℓ of the published lines at the ratio 2.
const SPLITS: [u32; 9] = [2, 4, 8, 16, 32, 64, 128, 256, 512];

impl Published {
    fn lines(self) -> [PublishedLine; 2] {
        let (corpus, direct, vclub) = match self {
            Published::Pg19 => ("PG19", (2.27, 0.76), (3.26, 0.71)),
            Published::Wikipedia => ("Wikipedia", (4.50, 0.66), (7.01, 0.60)),
        };
        let line = |estimator, (amplitude, exponent)| PublishedLine { corpus: corpus.into(), estimator, amplitude, exponent, source: SOURCE.into() };
        [line(Estimator::Direct, direct), line(Estimator::Vclub, vclub)]
    }

    /// Puts the published lines beside a report whose fits go over the published range.
    ///
    /// # Errors
    /// Lengths in bytes, no ratio 2, other splits: the sentence says which.
    pub fn stand_beside(self, report: &mut Report) -> Result<()> {
        let lines = self.lines();
        let design = &report.design;
        let why = if !design.unit.is_tokens() {
            "lengths are bytes".to_string()
        } else if !design.ratios.contains(&2) {
            "the ratio 2 was not measured".into()
        } else if let Some(missing) = SPLITS.iter().find(|l| !design.splits.contains(l) || **l * 2 > design.length) {
            format!("ℓ = {missing} was not measured")
        } else {
            let other: Vec<String> = design.splits.iter().filter(|l| (2..=512).contains(*l) && !SPLITS.contains(l)).map(u32::to_string).collect();
            if other.is_empty() {
                report.published = lines.to_vec();
                return Ok(());
            }
            format!("ℓ = {} was measured besides", other.join(", "))
        };
        Err(Error::input(format!(
            "--published {}: its lines go through ℓ = 2, 4, 8, … 512 tokens at the ratio 2, and here {why}",
            lines[0].corpus.to_lowercase()
        )))
    }
}

/// The lines beside those of every model.
pub(super) fn table(report: &Report) -> String {
    let Some(first) = report.published.first() else { return String::new() };
    let mut out = String::new();
    let _ = writeln!(out, "\n{} as published, and here, both through ℓ = 2 … 512 by least squares on logarithms", first.corpus);
    let mut rows = vec![["", "", "β", "A (nats)"].map(String::from).to_vec()];
    for line in &report.published {
        rows.push(vec!["published".into(), line.estimator.to_string(), format!("{:.2}", line.exponent), format!("{:.2}", line.amplitude)]);
        for m in &report.models {
            if let Some(f) = m.analysis.fit(line.estimator, 2) {
                rows.push(vec![m.name.clone(), line.estimator.to_string(), with_interval(&f.exponent), with_interval(&f.amplitude)]);
            }
        }
    }
    out.push_str(&aligned(&rows));
    let _ = writeln!(out, "  published: {}, printed as A L^β; whether these texts are theirs is not checked", first.source);
    out
}
