//! The L²M condition: history states against measured laws. What is asked of a state and how is told in `estimate/power.rs` and docs/condition.md.

mod figure;
mod table;

use super::{Block, records};
use crate::corpus::Unit;
use crate::error::{Error, Result};
use crate::estimate::{Behind, Estimator, Fit, Note, Outpaces, Point, PowerLaw, Size, analyse, growth, outpaces};
use crate::files;
use crate::measure::Project;
use crate::model::HistoryState;
use crate::model::StoredState;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One model's history state.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Model {
    /// The folder's name.
    pub name: String,
    /// What it hands on.
    #[serde(flatten)]
    pub stored: StoredState,
    /// dim(z) at some lengths in tokens.
    pub sizes: Vec<SizeAt>,
}

/// dim(z) at one length.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SizeAt {
    /// Tokens.
    pub tokens: u64,
    /// Numbers.
    pub numbers: u64,
    /// Their bytes as stored.
    pub bytes: u64,
    /// Exponent of its growth from the length before: d ln dim / d ln ℓ between the two.
    pub exponent: Option<f64>,
}

/// A measured law.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Law {
    /// The measurement's folder.
    pub record: PathBuf,
    /// The model that measured it.
    pub model: String,
    /// What ℓ counts.
    pub unit: Unit,
    /// Bytes a token of the model that measured, by which lengths in bytes become tokens.
    pub bytes_per_token: Option<f64>,
    /// Coverage that intervals aim at.
    pub level: f64,
    /// β and A.
    pub fit: Fit,
    /// The estimates.
    pub points: Vec<Point>,
    /// What it asks of each model, in their order.
    pub models: Vec<Condition>,
}

/// One model against one law.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Condition {
    /// Exponent of dim(z) over the lengths fitted, by the fit's own least squares.
    pub exponent: f64,
    /// The same between the last two of them.
    pub exponent_at_end: f64,
    /// The exponent that dim(z) has in the end: 1 where some layer keeps every token, else 0.
    pub exponent_in_the_limit: f64,
    /// Whether the exponent over the lengths fitted is above β.
    pub outpaces: Outpaces,
    /// Whether the exponent in the limit is.
    pub outpaces_in_the_limit: Outpaces,
    /// Where a bounded state falls behind, by bits a number.
    pub behind: Vec<BehindAt>,
}

/// Where a history state falls under the law if each of its numbers carries so many bits.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BehindAt {
    /// Bits a number; C is this times ln 2.
    pub bits: u32,
    /// ℓ* in the law's unit.
    #[serde(flatten)]
    pub behind: Behind,
    /// Whether ℓ* lies beyond the lengths that were fitted: the law is only supposed to go on there.
    pub extrapolated: bool,
}

/// History states, and what measured laws ask of them: `condition.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The models.
    pub models: Vec<Model>,
    /// The laws.
    pub laws: Vec<Law>,
    /// What measured no law, and why, or none to rely on; a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub without: Vec<String>,
}

/// Which law of a record is meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Choice {
    /// The estimator; `None`: direct, or the record's first where there is no law of it.
    pub estimator: Option<Estimator>,
    /// r = L/ℓ; `None`: the smallest.
    pub ratio: Option<u32>,
}

/// A history state over lengths in the unit of a law.
struct InUnit<'a> {
    state: &'a HistoryState,
    tokens: f64,
}

impl Size for InUnit<'_> {
    fn at(&self, length: f64) -> f64 {
        self.state.at(length * self.tokens)
    }
    fn knees(&self) -> Vec<f64> {
        self.state.knees().iter().map(|&k| k as f64 / self.tokens).collect()
    }
    fn is_unbounded(&self) -> bool {
        self.state.is_unbounded()
    }
}

/// Holds models' history states against the laws of measurements; without a measurement there are sizes alone, at `lengths`, which are otherwise those that
/// the first measurement's splits have in tokens.
///
/// # Errors
/// A folder without a readable record, or none of whose models measured a law of the kind asked for.
pub fn condition(models: &[(String, StoredState)], folders: &[PathBuf], choice: Choice, lengths: &[u64]) -> Result<Report> {
    let (mut laws, mut without) = (Vec::new(), Vec::new());
    for folder in folders {
        let project = Project::merged(std::slice::from_ref(folder))?;
        let (recorded, ngram) = records::load(&project)?;
        let (options, design) = (&project.plan.options, &project.plan.design);
        let ratio = choice.ratio.unwrap_or(design.ratios[0]);
        if !design.ratios.contains(&ratio) {
            return Err(Error::file(folder, format!("was not measured at the ratio {ratio}; --ratio takes one of its own")));
        }
        if let Some(e) = choice.estimator.filter(|e| !options.estimators.contains(e)) {
            return Err(Error::file(folder, format!("was not measured for {e}; `hilberg estimate` computes what its record holds")));
        }
        let (before, mut lacking) = (laws.len(), Vec::new());
        for (model, r) in project.plan.models.iter().zip(recorded) {
            let analysis = analyse(&r.sums, options, ngram.as_ref())?;
            let fitted = |e: Option<Estimator>| analysis.fits.iter().find(|f| f.ratio == ratio && e.is_none_or(|e| f.estimator == e)).map(|f| f.estimator);
            let Some(estimator) = fitted(choice.estimator) else {
                let why = analysis.unfitted.iter().find(|u| u.ratio == ratio && choice.estimator.is_none_or(|e| u.estimator == e));
                let why = why.map_or("its estimators could not be computed".to_string(), |u| format!("{}: {}", u.estimator, u.why));
                lacking.push(format!("bears no power law of {} at the ratio {ratio} ({why})", model.name));
                continue;
            };
            let Ok(law) = PowerLaw::new(&r.sums, options, ngram.as_ref(), (estimator, ratio))? else { continue };
            let tokens = match (design.unit, r.bytes_per_token) {
                (Unit::Tokens, _) => 1.0,
                (Unit::Bytes, Some(bytes)) => 1.0 / bytes,
                (Unit::Bytes, None) => return Err(Error::file(folder, "has lengths in bytes and does not tell how many make a token")),
            };
            if analysis.points.iter().any(|p| (p.estimator, p.ratio) == (law.fit.estimator, ratio) && p.notes.contains(&Note::Saturated)) {
                without.push(format!(
                    "{} of {} in {} is near its ceiling: its β is the ceiling's, not that of I",
                    law.fit.estimator,
                    model.name,
                    folder.display()
                ));
            }
            let points = analysis.points.iter().filter(|p| (p.estimator, p.ratio) == (law.fit.estimator, ratio)).cloned().collect();
            laws.push(Law {
                record: folder.clone(),
                model: model.name.clone(),
                unit: design.unit,
                bytes_per_token: r.bytes_per_token,
                level: options.resampling.level,
                points,
                models: models.iter().map(|(_, stored)| against(stored, &law, tokens)).collect(),
                fit: law.fit,
            });
        }
        match lacking.first() {
            Some(what) if laws.len() == before => return Err(Error::file(folder, what.clone())),
            _ => without.extend(lacking.into_iter().map(|what| format!("{} {what}", folder.display()))),
        }
    }
    let lengths = match (laws.first(), lengths) {
        (Some(law), []) => law.points.iter().map(|p| (p.split as f64 * law.tokens()).round() as u64).collect(),
        (_, lengths) => lengths.to_vec(),
    };
    let models = models.iter().map(|(name, stored)| Model { name: name.clone(), sizes: sizes(stored, &lengths), stored: stored.clone() }).collect();
    Ok(Report { models, laws, without })
}

fn sizes(stored: &StoredState, lengths: &[u64]) -> Vec<SizeAt> {
    let numbers = |t: u64| stored.state.numbers(t);
    let slope = |a: u64, b: u64| (b > a && a > 0).then(|| libm::log(numbers(b) as f64 / numbers(a) as f64) / libm::log(b as f64 / a as f64));
    let before = std::iter::once(None).chain(lengths.iter().map(|&t| Some(t)));
    let at = |(before, &tokens): (Option<u64>, &u64)| {
        let bytes = (numbers(tokens) as u128 * stored.bits as u128).div_ceil(8).min(u64::MAX as u128) as u64;
        SizeAt { tokens, numbers: numbers(tokens), bytes, exponent: before.and_then(|b| slope(b, tokens)) }
    };
    before.zip(lengths).map(at).collect()
}

fn against(stored: &StoredState, law: &PowerLaw, tokens: f64) -> Condition {
    let size = InUnit { state: &stored.state, tokens };
    let splits = &law.fit.splits;
    let (largest, limit) = (splits.last().copied().unwrap_or(1) as f64, if size.is_unbounded() { 1.0 } else { 0.0 });
    let exponent = growth(&size, splits).unwrap_or(0.0);
    let mut bits = vec![1, stored.bits];
    bits.dedup();
    let behind = bits.into_iter().map(|bits| {
        let behind = law.behind(&size, bits as f64 * std::f64::consts::LN_2);
        BehindAt { bits, behind, extrapolated: behind.length.is_some_and(|l| l > largest) }
    });
    Condition {
        exponent,
        exponent_at_end: growth(&size, &splits[splits.len().saturating_sub(2)..]).unwrap_or(0.0),
        exponent_in_the_limit: limit,
        outpaces: outpaces(exponent, &law.fit.exponent),
        outpaces_in_the_limit: outpaces(limit, &law.fit.exponent),
        behind: behind.collect(),
    }
}

impl Law {
    /// Tokens that one of its unit is.
    fn tokens(&self) -> f64 {
        match self.unit {
            Unit::Tokens => 1.0,
            Unit::Bytes => self.bytes_per_token.map_or(1.0, |b| 1.0 / b),
        }
    }

    /// The law at a length.
    fn at(&self, length: f64) -> f64 {
        self.fit.amplitude.value * libm::pow(length, self.fit.exponent.value)
    }
}

impl Report {
    /// Everything in tables.
    pub fn blocks(&self) -> Vec<Block> {
        table::blocks(self)
    }

    /// Writes `condition.json`, `condition.csv`, `condition.png` and `condition.svg` into a folder, the figures only where there is a law to show.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join("condition.json"), self)?;
        files::write_bytes(&folder.join("condition.csv"), table::csv(self).as_bytes())?;
        if !self.laws.is_empty() {
            figure::figure(self).write(folder, "condition")?;
        }
        Ok(())
    }
}
