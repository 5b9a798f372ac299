//! Models compared on the same chunks: loss by position, information and exponents, with paired differences; and along a training run, by step.

mod figure;
mod steps;
mod table;

pub use steps::{Steps, step_of};

use super::{Block, records};
use crate::corpus::Unit;
use crate::error::{Error, Result};
use crate::estimate::{Bin, Paired, Profile, Sums, compare as paired};
use crate::files;
use crate::forest::TokenId;
use crate::measure::{Project, Recorded};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// One model.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Model {
    /// As in its record; with the folder where two records have the same name.
    pub name: String,
    /// The measurement's folder.
    pub record: PathBuf,
    /// Of its configuration and weights.
    pub fingerprint: String,
    /// ⊥.
    pub start: TokenId,
    /// Mean bytes of text a token; `None` where documents came as tokens.
    pub bytes_per_token: Option<f64>,
    /// Its numbers.
    #[serde(flatten)]
    pub profile: Profile,
    /// Its numbers less the baseline's, taken chunk by chunk; `None` for the baseline.
    pub difference: Option<Profile>,
}

/// A comparison: `compare.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Compared {
    /// What lengths count; losses are in nats of one.
    pub unit: Unit,
    /// Length of a chunk.
    pub length: u32,
    /// Name of the model that differences are taken from.
    pub baseline: String,
    /// Groups that all models have.
    pub groups: usize,
    /// Distinct documents behind them.
    pub documents: usize,
    /// Coverage that intervals aim at.
    pub level: f64,
    /// Places t of a chunk that loss is averaged over.
    pub bins: Vec<Bin>,
    /// The models, in the order of the records.
    pub models: Vec<Model>,
}

/// Compares the models of some measurements, which must be of the same chunks. `baseline` names the model that differences are taken from; otherwise it is
/// the first. Bins of t grow geometrically, `per_doubling` to a doubling; in bytes they end where X or Y does.
///
/// # Errors
/// A folder without a readable record; records of different chunks; a baseline that is none of the models; fewer than two models.
pub fn compare(folders: &[PathBuf], baseline: Option<&str>, per_doubling: u32) -> Result<Compared> {
    let projects = folders.iter().map(|f| Project::merged(std::slice::from_ref(f))).collect::<Result<Vec<_>>>()?;
    let first = projects.first().ok_or_else(|| Error::input("name at least one output folder of hilberg measure"))?;
    projects.iter().try_for_each(|p| same_chunks(first, p))?;
    let (mut models, mut recorded, mut ngram) = (Vec::new(), Vec::new(), None);
    let mut options = first.plan.options.clone();
    for project in &projects {
        options.estimators.retain(|e| project.plan.options.estimators.contains(e));
        let (of_models, counted) = records::load(project)?;
        ngram = ngram.or(counted);
        for (identity, r) in project.plan.models.iter().zip(of_models) {
            models.push((identity.clone(), project.folder().to_path_buf(), r.bytes_per_token));
            recorded.push(r);
        }
    }
    if models.len() < 2 {
        return Err(Error::file(first.folder(), "holds one model, and a comparison needs two: measure with several -m, or name several folders"));
    }
    let names: Vec<String> = models.iter().map(|m| m.0.name.clone()).collect();
    let named =
        |i: usize| if names.iter().filter(|n| **n == names[i]).count() > 1 { format!("{} ({})", names[i], models[i].1.display()) } else { names[i].clone() };
    let base = match baseline {
        None => 0,
        Some(name) => (0..names.len())
            .find(|&i| names[i] == name || named(i) == name)
            .ok_or_else(|| Error::input(format!("--baseline {name} is none of the models {}", (0..names.len()).map(named).collect::<Vec<_>>().join(", "))))?,
    };
    let sums = common(recorded);
    let Paired { bins, groups, documents, resampling, models: profiles, differences } =
        paired(&sums, &options, ngram.as_ref(), base, per_doubling).map_err(|e| Error::file(first.folder(), format!("cannot be compared: {e}")))?;
    let numbers = profiles.into_iter().zip(differences);
    let told = models.iter().enumerate().zip(numbers).map(|((i, (identity, record, bytes_per_token)), (profile, difference))| Model {
        name: named(i),
        record: record.clone(),
        fingerprint: identity.fingerprint.clone(),
        start: identity.start,
        bytes_per_token: *bytes_per_token,
        profile,
        difference,
    });
    let design = &first.plan.design;
    let (unit, length, level) = (design.unit, design.length, resampling.level);
    Ok(Compared { unit, length, baseline: named(base), groups, documents, level, bins, models: told.collect() })
}

/// Differences are paired by chunk: both must have the same ones.
fn same_chunks(first: &Project, other: &Project) -> Result<()> {
    let Some((what, there, here)) = first.plan.chunks_apart(&other.plan) else { return Ok(()) };
    let (a, b) = (&first.plan.corpus, &other.plan.corpus);
    // The fingerprint of a corpus whose lengths are tokens holds the tokenizer.
    let tokenizer = if (a.documents, a.bytes) == (b.documents, b.bytes) && a != b && first.plan.design.unit.is_tokens() {
        "; if it is the tokenizer that differs, tokens of the two are not the same text: measure both with --unit bytes"
    } else {
        ""
    };
    let what = format!("is not of the chunks that are in {}: {what} ({there} there, {here} here){tokenizer}", first.folder().display());
    Err(Error::file(other.folder(), what))
}

/// The sums of the groups that all have.
fn common(recorded: Vec<Recorded>) -> Vec<Sums> {
    let ids = |r: &Recorded| {
        let all = (r.sums.groups.len() + r.missing.len()) as u32;
        (0..all).filter(|g| r.missing.binary_search(g).is_err()).collect::<Vec<u32>>()
    };
    let each: Vec<Vec<u32>> = recorded.iter().map(ids).collect();
    let everywhere = |g: &u32| each.iter().all(|ids| ids.binary_search(g).is_ok());
    let of = |(r, ids): (Recorded, &Vec<u32>)| {
        let design = r.sums.with_no_group();
        Sums { groups: r.sums.groups.into_iter().zip(ids).filter(|(_, id)| everywhere(id)).map(|(g, _)| g).collect(), ..design }
    };
    recorded.into_iter().zip(&each).map(of).collect()
}

impl Compared {
    /// Everything in tables.
    pub fn blocks(&self) -> Vec<Block> {
        table::blocks(self)
    }

    /// Writes `compare.json`, `compare.csv`, `compare.png` and `compare.svg` into a folder.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write(&self, folder: &Path) -> Result<()> {
        files::write_json(&folder.join("compare.json"), self)?;
        files::write_bytes(&folder.join("compare.csv"), table::csv(self).as_bytes())?;
        figure::figure(self).write(folder, "compare")
    }

    /// What losses are given in.
    fn loss_unit(&self) -> &'static str {
        if self.unit.is_tokens() { "nats a token" } else { "nats a byte" }
    }

    /// The smallest ratio that was measured.
    fn ratio(&self) -> Option<u32> {
        self.models.iter().flat_map(|m| &m.profile.information).map(|i| i.ratio).min()
    }
}
