//! From a measurement's folder to `result.json`, `result.csv` and the figure.

use super::figure::Plot;
use super::figure::measured::{self, Measured};
use super::published::PublishedLine;
use crate::corpus::Fingerprint;
use crate::error::{Error, Result};
use crate::estimate::{Analysis, Estimator, MeanLoss, NgramEntropies, Options, Pairing, Sums, analyse};
use crate::files;
use crate::forest::TokenId;
use crate::measure::{Design, Project, Shard, Stop};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

/// One model's results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ModelResult {
    /// As in the plan.
    pub name: String,
    /// Of its configuration and weights.
    pub fingerprint: String,
    /// ⊥.
    pub start: TokenId,
    /// Groups of which the record lacks trees; they are not used.
    pub incomplete_groups: u32,
    /// Mean bytes of text a token, by which nats a token become nats a byte; `None` where documents came as tokens.
    pub bytes_per_token: Option<f64>,
    /// Mean of −ln q over the chunks' tokens.
    pub mean_loss: MeanLoss,
    /// Estimates and fits.
    pub analysis: Analysis,
    /// The same for the groups of each label alone, by label; empty where the texts have fewer than two.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelResult>,
}

/// What the groups of one label say.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LabelResult {
    /// The label.
    pub label: String,
    /// Estimates and fits; `None` where it has fewer than [`FEWEST_OF_A_LABEL`] groups.
    pub analysis: Option<Analysis>,
    /// Its groups.
    pub groups: usize,
}

/// Groups of a label below which it has no results of its own: one group bears no error.
pub const FEWEST_OF_A_LABEL: usize = 2;

/// All results of a measurement, as `result.json` holds them: a pure function of the record.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Report {
    /// The corpus, and its tokenizer where lengths are tokens.
    pub corpus: Fingerprint,
    /// Seed of the chunks' order.
    pub seed: u64,
    /// What was scored.
    pub design: Design,
    /// The shard whose groups these are, where they are not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// Where it stopped, if it was to stop at an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_se: Option<Stop>,
    /// By model, in the order of the plan.
    pub models: Vec<ModelResult>,
    /// Published lines to stand beside ours, where the texts are said to be theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<PublishedLine>,
    /// Whether tables say everything of the laws.
    #[serde(skip)]
    pub all_of_the_laws: bool,
    /// What is to be said of a record from several machines (see [`Project::notices`]): no result depends on it.
    #[serde(skip)]
    pub notices: Vec<String>,
}

/// How a record's groups are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// As they were recorded.
    Recorded,
    /// Matched pairs as published pairing would have them (see [`Sums::as_published`](crate::estimate::Sums::as_published)): to compare the two errors.
    AsPublished,
}

/// Computes everything from the record alone, and writes `result.json`, `result.csv`, `figure.png` and `figure.svg` beside it.
///
/// # Errors
/// As [`compute`]; what the system refuses.
pub fn estimate(project: &Project) -> Result<Report> {
    let report = compute(project, Reading::Recorded)?;
    report.write(project.folder())?;
    Ok(report)
}

/// Computes everything from the record alone, and writes nothing.
///
/// # Errors
/// A record that is missing, damaged, or without a complete group; a record of other groups than matched pairs where these are needed.
pub fn compute(project: &Project, reading: Reading) -> Result<Report> {
    let plan = &project.plan;
    let ngrams = project.ngrams()?.map(|counts| NgramEntropies::from_counts(&counts));
    let until_se = project.stop()?;
    let groups = until_se.map_or(plan.groups, |s| s.groups);
    let (mut models, mut notices) = (Vec::with_capacity(plan.models.len()), Vec::new());
    for (i, model) in plan.models.iter().enumerate() {
        let recorded = project.load(i, groups)?;
        notices.extend(project.notices(i, &recorded));
        if recorded.sums.groups.is_empty() {
            let what = format!("no group of {} is complete yet; start the measurement again to go on", model.name);
            return Err(Error::file(project.folder(), what));
        }
        let sums = match reading {
            Reading::Recorded => recorded.sums,
            Reading::AsPublished => recorded.sums.as_published().ok_or_else(|| {
                Error::file(project.folder(), "holds no matched pairs, which --as-published reads; measure with --pairing matched --foreign 1")
            })?,
        };
        models.push(ModelResult {
            name: model.name.clone(),
            fingerprint: model.fingerprint.clone(),
            start: model.start,
            incomplete_groups: recorded.missing.len() as u32,
            bytes_per_token: recorded.bytes_per_token,
            mean_loss: MeanLoss::of(&sums),
            analysis: analyse(&sums, &plan.options, ngrams.as_ref())?,
            labels: by_label(&sums, &recorded.labels, &plan.options)?,
        });
    }
    let mut design = plan.design.clone();
    if reading == Reading::AsPublished {
        design.pairing = Pairing::Published;
    }
    let shard = plan.shard.filter(|_| models.iter().any(|m| m.incomplete_groups > 0));
    Ok(Report { corpus: plan.corpus.clone(), seed: plan.seed, design, shard, until_se, models, published: Vec::new(), all_of_the_laws: false, notices })
}

/// The groups of each label by themselves.
fn by_label(sums: &Sums, labels: &[Option<String>], options: &Options) -> Result<Vec<LabelResult>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (g, label) in labels.iter().enumerate() {
        if let Some(label) = label {
            groups.entry(label).or_default().push(g);
        }
    }
    if groups.len() < 2 {
        return Ok(Vec::new());
    }
    let mut out = Vec::with_capacity(groups.len());
    for (label, own) in groups {
        let analysis = if own.len() < FEWEST_OF_A_LABEL {
            None
        } else {
            let own_sums = Sums { groups: own.iter().map(|&g| sums.groups[g].clone()).collect(), ..sums.with_no_group() };
            let mut analysis = analyse(&own_sums, options, None)?;
            for s in analysis.skipped.iter_mut().filter(|s| s.estimator == Estimator::DirectNgram) {
                s.why = "its n-grams are counted over texts of all labels".into();
            }
            Some(analysis)
        };
        out.push(LabelResult { label: label.to_string(), analysis, groups: own.len() });
    }
    Ok(out)
}

impl Report {
    /// Writes `result.json`, `result.csv`, `figure.png` and `figure.svg` into a folder.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join("result.json"), self)?;
        files::write_bytes(&folder.join("result.csv"), self.csv().as_bytes())?;
        self.figure().write(folder, "figure")
    }

    /// I against ℓ, one panel a model.
    pub fn figure(&self) -> Plot {
        let unit = self.design.unit.to_string();
        let models: Vec<Measured> = self.models.iter().map(|m| Measured { title: self.title(m), unit: unit.clone(), analysis: &m.analysis }).collect();
        measured::figure(&models)
    }

    /// A model's name, and which part of the measurement this is of it.
    pub fn title(&self, model: &ModelResult) -> String {
        match self.shard {
            Some(shard) => format!("{}, shard {shard}, incomplete", model.name),
            None => model.name.clone(),
        }
    }

    /// One row a point; an empty field where there is no error, and in place of a label for the points of all groups together.
    pub fn csv(&self) -> String {
        let mut out = String::from("model,label,estimator,ratio,split,unit,nats,se,lo,hi,level,groups,documents,notes\n");
        let unit = self.design.unit;
        for m in &self.models {
            let labels = m.labels.iter().filter_map(|l| l.analysis.as_ref().map(|a| (l.label.as_str(), a)));
            for (label, analysis) in std::iter::once(("", &m.analysis)).chain(labels) {
                let level = analysis.options.resampling.level;
                for p in &analysis.points {
                    let notes: Vec<String> =
                        p.notes.iter().filter_map(|n| serde_json::to_value(n).ok()).filter_map(|n| n.as_str().map(str::to_string)).collect();
                    let (name, notes) = (field(&m.name), notes.join(" "));
                    let (se, lo, hi) = (optional(p.se), optional(p.lo), optional(p.hi));
                    let (estimator, ratio, split, value, groups, documents) = (p.estimator, p.ratio, p.split, p.value, p.groups, p.documents);
                    let _ =
                        writeln!(out, "{name},{},{estimator},{ratio},{split},{unit},{value},{se},{lo},{hi},{level},{groups},{documents},{notes}", field(label));
                }
            }
        }
        out
    }
}

/// A number of a CSV file; an empty field where there is none.
pub(super) fn optional(x: Option<f64>) -> String {
    x.map_or(String::new(), |x| x.to_string())
}

/// A field as RFC 4180 wants it.
pub(super) fn field(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_quoted_where_they_must_be() {
        assert_eq!(field("books-llama"), "books-llama");
        assert_eq!(field("a,\"b\""), "\"a,\"\"b\"\"\"");
    }
}
