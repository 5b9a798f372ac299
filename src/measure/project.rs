//! The output folder of a measurement: what is measured, by which models, and where their records lie.

use super::journal::{self, Recorded};
use super::part::Heading;
use super::plan::Design;
use crate::corpus::Fingerprint;
use crate::error::{Error, Result};
use crate::estimate::{NgramCounts, Options, Pairing};
use crate::files;
use crate::forest::TokenId;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// Version of the record's layout.
const FORMAT: u32 = 1;

/// Which model, and what computes it: records of differing ones are never mixed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// What the user calls it: the folder's name.
    pub name: String,
    /// Of its configuration and weights.
    pub fingerprint: String,
    /// ⊥.
    pub start: TokenId,
    /// Backend, precision and instruction path: all that the last bits of a log-probability depend on.
    pub arithmetic: String,
}

/// All that a record's content follows from, and how it is to be read. Written as `plan.json` before anything is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the layout.
    format: u32,
    /// The tokenised corpus.
    pub corpus: Fingerprint,
    /// Seed of the chunks' order.
    pub seed: u64,
    /// What is scored.
    pub design: Design,
    /// Groups asked for.
    pub groups: u32,
    /// What is estimated.
    pub options: Options,
    /// The models, in the order of the report.
    pub models: Vec<ModelIdentity>,
}

impl Plan {
    /// A plan of the present format.
    pub fn new(corpus: Fingerprint, seed: u64, design: Design, groups: u32, options: Options, models: Vec<ModelIdentity>) -> Self {
        Plan { format: FORMAT, corpus, seed, design, groups, options, models }
    }

    /// What every part of model `index` says of itself.
    pub fn heading(&self, index: usize) -> Heading {
        let json = serde_json::json!({ "format": self.format, "corpus": self.corpus, "seed": self.seed, "design": self.design, "model": self.models[index] });
        Heading { plan: json.to_string(), marks: serde_json::json!(self.design.marks()).to_string() }
    }

    /// Where this plan contradicts a recorded one, in words: (what, recorded, now, which option).
    fn conflict(&self, recorded: &Plan) -> Option<String> {
        let differs = |what: &str, recorded: String, now: String| (recorded != now).then(|| format!("another {what} (recorded: {recorded}; now: {now})"));
        let (d, r) = (&self.design, &recorded.design);
        let fixed = [
            differs("corpus", recorded.corpus.to_string(), self.corpus.to_string()),
            differs("--seed", recorded.seed.to_string(), self.seed.to_string()),
            differs("--pairing", format!("{:?}", r.pairing).to_lowercase(), format!("{:?}", d.pairing).to_lowercase()),
            differs("--length", r.length.to_string(), d.length.to_string()),
            differs("--splits", list(&r.splits), list(&d.splits)),
            differs("--ratios", list(&r.ratios), list(&d.ratios)),
            differs("--foreign", r.foreign.to_string(), d.foreign.to_string()),
            differs("set of sums, by --estimators", sums(r), sums(d)),
        ];
        let models = recorded.models.iter().enumerate().map(|(i, old)| {
            let now = self.models.get(i);
            let told =
                |m: Option<&ModelIdentity>| m.map_or("none".into(), |m| format!("{} {} start token {} on {}", m.name, m.fingerprint, m.start, m.arithmetic));
            differs(&format!("model as -m number {}", i + 1), told(Some(old)), told(now))
        });
        // The published lists are halves of the pieces: another number of pieces gives other pairs.
        let groups = (d.pairing == Pairing::Published).then(|| differs("--chunks", (2 * recorded.groups).to_string(), (2 * self.groups).to_string()));
        fixed.into_iter().chain(models).chain(groups).flatten().next()
    }
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn sums(d: &Design) -> String {
    let named = [(true, "joint"), (d.terms.marginal, "marginal"), (d.terms.cross, "cross")];
    named.into_iter().filter(|n| n.0).map(|n| n.1).collect::<Vec<_>>().join(" and ")
}

/// An output folder with its plan.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    /// The plan.
    pub plan: Plan,
    /// Held by the one process that writes.
    _lock: Option<File>,
}

impl Project {
    /// Starts a measurement in `folder`, or goes on with the one that is there. More chunks and more models may be asked for than before.
    ///
    /// # Errors
    /// A folder that holds another measurement (the sentence names what differs), or something else; another process at work in it.
    pub fn open(folder: &Path, plan: Plan) -> Result<Self> {
        plan.design.check()?;
        let file = folder.join("plan.json");
        if !file.exists() && fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| !e.file_name().to_string_lossy().starts_with('.')))) {
            return Err(Error::file(folder, "is not empty and holds no measurement; choose another --out"));
        }
        if folder.is_file() {
            return Err(Error::file(folder, "is a file; --out names a folder"));
        }
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let lock = lock(folder)?;
        files::remove_partial(folder)?;
        if file.exists() {
            let recorded = read_plan(&file)?;
            if let Some(conflict) = plan.conflict(&recorded) {
                return Err(Error::file(folder, format!("holds a measurement of {conflict}; choose another --out")));
            }
            if plan.groups < recorded.groups {
                let chunks = |groups: u32| groups as usize * plan.design.members();
                let what = format!(
                    "holds a measurement of {} chunks, and this one asks for {}; ask for as many or more",
                    chunks(recorded.groups),
                    chunks(plan.groups)
                );
                return Err(Error::file(folder, what));
            }
        }
        files::write_json(&file, &plan)?;
        Ok(Project { folder: folder.to_path_buf(), plan, _lock: Some(lock) })
    }

    /// A measurement that is there, complete or not.
    ///
    /// # Errors
    /// No plan in the folder, or one that this version cannot read.
    pub fn read(folder: &Path) -> Result<Self> {
        let file = folder.join("plan.json");
        if !file.exists() {
            return Err(Error::file(folder, "holds no measurement: there is no plan.json in it"));
        }
        Ok(Project { folder: folder.to_path_buf(), plan: read_plan(&file)?, _lock: None })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Folder of the record of model `index`.
    pub fn record_folder(&self, index: usize) -> PathBuf {
        let name: String = self.plan.models[index].name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        self.folder.join(format!("model-{index}-{name}")).join("record")
    }

    /// Reads what model `index` has recorded.
    ///
    /// # Errors
    /// As [`load`](super::load).
    pub fn load(&self, index: usize) -> Result<Recorded> {
        let folder = self.record_folder(index);
        if !folder.is_dir() {
            return Err(Error::file(&folder, "there is no record; start the measurement again to make it"));
        }
        journal::load(&folder, &self.plan.heading(index), &self.plan.design, self.plan.groups)
    }

    /// Stores n-gram counts.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write_ngrams(&self, counts: &[NgramCounts]) -> Result<()> {
        files::write_json(&self.folder.join("ngrams.json"), &counts)
    }

    /// The n-gram counts, where some were stored.
    ///
    /// # Errors
    /// A damaged file.
    pub fn ngrams(&self) -> Result<Option<Vec<NgramCounts>>> {
        let file = self.folder.join("ngrams.json");
        if file.exists() { files::read_json(&file).map(Some) } else { Ok(None) }
    }
}

fn read_plan(file: &Path) -> Result<Plan> {
    let json: serde_json::Value = files::read_json(file)?;
    match json.get("format").and_then(serde_json::Value::as_u64) {
        Some(v) if v == FORMAT as u64 => {}
        Some(v) => return Err(Error::file(file, format!("is of format {v}; this version reads {FORMAT}"))),
        None => return Err(Error::file(file, "is not the plan of a measurement")),
    }
    let plan: Plan = serde_json::from_value(json).map_err(|e| Error::file(file, format!("is not what hilberg wrote: {e}")))?;
    plan.design.check().map_err(|e| Error::file(file, e.to_string()))?;
    Ok(plan)
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::file(folder, "another process is measuring into this folder; wait for it or choose another --out")),
        // Some network file systems know no locks; the measurement itself needs none.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}
