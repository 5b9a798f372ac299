//! The output folder of a measurement: what is measured, by which models, and where their records lie.

use super::part::Heading;
use super::plan::Design;
use super::recorded::{Recorded, load};
use super::shard::Shard;
use crate::corpus::Fingerprint;
use crate::error::{Error, Result};
use crate::estimate::{NgramCounts, Options, Pairing, Stopping};
use crate::files;
use crate::forest::TokenId;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Version of the record's layout.
const FORMAT: u32 = 2;

/// Which model, and on what kind of device: one folder never mixes differing ones.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// What the user calls it: the folder's name.
    pub name: String,
    /// Of its configuration and weights.
    pub fingerprint: String,
    /// XXH3-128 of its tokenizer.json where lengths are bytes, so that models may have tokenizers of their own; otherwise it is part of the corpus'
    /// fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// ⊥.
    pub start: TokenId,
    /// The length that rope scalings were made for, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rope_length: Option<usize>,
    /// The kind of device that computes it, such as `cpu`. Instruction path and version stand in every part of the record.
    pub device: String,
    /// Operands of its products, such as `f32`.
    pub precision: String,
}

impl ModelIdentity {
    /// What its sums depend on wherever they are computed.
    fn told(&self) -> String {
        let rope = self.rope_length.map_or(String::new(), |n| format!(" rope length {n}"));
        let tokenizer = self.tokenizer.as_ref().map_or(String::new(), |hash| format!(" tokenizer {hash}"));
        format!("{} {} start token {}{rope}{tokenizer}", self.name, self.fingerprint, self.start)
    }
}

/// All that a record's content follows from, and how it is to be read. Written as `plan.json` before anything is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the layout.
    format: u32,
    /// The corpus, and its tokenizer where lengths are tokens.
    pub corpus: Fingerprint,
    /// Seed of the chunks' order.
    pub seed: u64,
    /// What is scored.
    pub design: Design,
    /// Groups asked for, those of other shards among them.
    pub groups: u32,
    /// Which of these groups this folder's latest run scores, where it does not score all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// Where fewer groups are enough: once the standard error of direct I at the largest ℓ and r = 2 is at most this, in nats, for every model
    /// (see [`Stopping`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_se: Option<f64>,
    /// What is estimated.
    pub options: Options,
    /// The models, in the order of the report.
    pub models: Vec<ModelIdentity>,
}

/// Where a measurement stopped that was to go on until its error is small enough.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// The standard error of direct I at the largest ℓ and r = 2 that was to be reached, in nats.
    pub target: f64,
    /// Groups that are used, of every model.
    pub groups: u32,
    /// Whether all models reached it; otherwise these are all groups.
    pub reached: bool,
}

/// What differs between two measurements, in words.
pub(super) struct Difference {
    /// Which property.
    what: String,
    /// What the first has.
    pub first: String,
    /// What the second has.
    pub second: String,
}

impl Difference {
    /// `another --seed`, or as a sentence needs it.
    pub fn another(&self) -> String {
        format!("another {}", self.what)
    }
}

impl Plan {
    /// A plan of the present format for all groups.
    pub fn new(corpus: Fingerprint, seed: u64, design: Design, groups: u32, options: Options, models: Vec<ModelIdentity>) -> Self {
        Plan { format: FORMAT, corpus, seed, design, groups, shard: None, until_se: None, options, models }
    }

    /// What every part of model `index` says of itself, whichever machine computed it.
    pub fn heading(&self, index: usize) -> Heading {
        let m = &self.models[index];
        let mut model = serde_json::json!({ "name": m.name, "fingerprint": m.fingerprint, "start": m.start, "rope_length": m.rope_length });
        if let Some(hash) = &m.tokenizer {
            model["tokenizer"] = hash.as_str().into();
        }
        let json = serde_json::json!({ "format": self.format, "corpus": self.corpus, "seed": self.seed, "design": self.design, "model": model });
        Heading { plan: json.to_string(), marks: serde_json::json!(self.design.marks()).to_string() }
    }

    /// Where `now`, which may have further models, is another measurement than this one: in anything that a recorded sum depends on wherever it is computed.
    pub(super) fn difference(&self, now: &Plan) -> Option<Difference> {
        let models = self.by_model(now, ModelIdentity::told);
        self.other_chunks(now).or_else(|| models.into_iter().flatten().next()).or_else(|| self.other_lists(now))
    }

    /// In which property the chunks of `now`, or the sums over them, are others than this plan's, and what that property is here and there. Models and
    /// numbers of groups may differ.
    pub fn chunks_apart(&self, now: &Plan) -> Option<(String, String, String)> {
        self.other_chunks(now).or_else(|| self.other_lists(now)).map(|d| (d.another(), d.first, d.second))
    }

    fn other_chunks(&self, now: &Plan) -> Option<Difference> {
        let (d, r) = (&now.design, &self.design);
        let fixed = [
            differs("corpus", self.corpus.to_string(), now.corpus.to_string()),
            differs("--seed", self.seed.to_string(), now.seed.to_string()),
            differs("--pairing", format!("{:?}", r.pairing).to_lowercase(), format!("{:?}", d.pairing).to_lowercase()),
            differs("--pieces", format!("{:?}", r.cutting).to_lowercase(), format!("{:?}", d.cutting).to_lowercase()),
            differs("--unit", r.unit.to_string(), d.unit.to_string()),
            differs("--length", r.length.to_string(), d.length.to_string()),
            differs("--splits", list(&r.splits), list(&d.splits)),
            differs("--ratios", list(&r.ratios), list(&d.ratios)),
            differs("--foreign", r.foreign.to_string(), d.foreign.to_string()),
            differs("set of sums, by --estimators", sums(r), sums(d)),
        ];
        fixed.into_iter().flatten().next()
    }

    /// The published lists are halves of the pieces: another number of pieces gives other pairs.
    fn other_lists(&self, now: &Plan) -> Option<Difference> {
        let chunks = |plan: &Plan| (2 * plan.groups).to_string();
        differs("--chunks of --pairing published, whose lists depend on it", chunks(self), chunks(now)).filter(|_| now.design.pairing == Pairing::Published)
    }

    /// Where `now` would compute on another kind of device or by another precision.
    fn other_arithmetic(&self, now: &Plan) -> Option<Difference> {
        self.by_model(now, |m| format!("{} {}", m.device, m.precision))
            .into_iter()
            .flatten()
            .next()
            .map(|d| Difference { what: "--device or --precision".into(), ..d })
    }

    fn by_model(&self, now: &Plan, told: impl Fn(&ModelIdentity) -> String) -> Vec<Option<Difference>> {
        let of = |m: Option<&ModelIdentity>| m.map_or("none".into(), &told);
        self.models.iter().enumerate().map(|(i, m)| differs(&format!("model as -m number {}", i + 1), told(m), of(now.models.get(i)))).collect()
    }
}

pub(super) fn differs(what: &str, first: String, second: String) -> Option<Difference> {
    (first != second).then(|| Difference { what: what.into(), first, second })
}

fn list(numbers: &[u32]) -> String {
    numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

fn sums(d: &Design) -> String {
    let named = [(true, "joint"), (d.terms.marginal, "marginal"), (d.terms.cross, "cross")];
    named.into_iter().filter(|n| n.0).map(|n| n.1).collect::<Vec<_>>().join(" and ")
}

/// An output folder with its plan, or several that are read as one.
#[derive(Debug)]
pub struct Project {
    pub(super) folders: Vec<PathBuf>,
    /// Which groups each folder was to score.
    pub(super) shards: Vec<Option<Shard>>,
    /// The plan.
    pub plan: Plan,
    /// Held by the one process that writes.
    pub(super) _lock: Option<File>,
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
        let lock = files::lock(folder)?;
        files::remove_partial(folder)?;
        if file.exists() {
            let recorded = read_plan(&file)?;
            if let Some(d) = recorded.difference(&plan).or_else(|| recorded.other_arithmetic(&plan)) {
                let what = format!("holds a measurement of {} (recorded: {}; now: {}); choose another --out", d.another(), d.first, d.second);
                return Err(Error::file(folder, what));
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
        Ok(Project { folders: vec![folder.to_path_buf()], shards: vec![plan.shard], plan, _lock: Some(lock) })
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
        let plan = read_plan(&file)?;
        Ok(Project { folders: vec![folder.to_path_buf()], shards: vec![plan.shard], plan, _lock: None })
    }

    /// The folder; of several the first.
    pub fn folder(&self) -> &Path {
        &self.folders[0]
    }

    /// Folder of the record of model `index`.
    pub fn record_folder(&self, index: usize) -> PathBuf {
        self.record_in(self.folder(), index)
    }

    /// Folder of the record of model `index` in one of the folders.
    pub(super) fn record_in(&self, folder: &Path, index: usize) -> PathBuf {
        let name: String = self.plan.models[index].name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        folder.join(format!("model-{index}-{name}")).join("record")
    }

    /// Where the plan says when to stop: the number of groups that are used, which is the largest that a model needs, and whether every model's error
    /// was reached by then.
    ///
    /// # Errors
    /// As [`Project::load`].
    pub fn stop(&self) -> Result<Option<Stop>> {
        let Some(target) = self.plan.until_se else { return Ok(None) };
        let mut stop = Stop { target, groups: 0, reached: true };
        for model in 0..self.plan.models.len() {
            let recorded = self.load(model, self.plan.groups)?;
            let mut rule = Stopping::new(target);
            // A gap ends the order, since the rule knows only what comes before a group.
            let unbroken = recorded.missing.first().map_or(recorded.sums.groups.len(), |&g| g as usize);
            (0..unbroken).for_each(|g| rule.take(&recorded.sums, g));
            stop.reached &= rule.reached().is_some();
            stop.groups = stop.groups.max(rule.reached().map_or(self.plan.groups, |n| n as u32));
        }
        Ok(Some(stop))
    }

    /// Reads what model `index` has recorded of the first `groups` groups.
    ///
    /// # Errors
    /// No record; otherwise as [`load`](super::load).
    pub fn load(&self, index: usize, groups: u32) -> Result<Recorded> {
        let there: Vec<PathBuf> = self.folders.iter().map(|f| self.record_in(f, index)).filter(|f| f.is_dir()).collect();
        if there.is_empty() {
            return Err(Error::file(self.record_folder(index), "there is no record; start the measurement again to make it"));
        }
        load(&there, &self.plan.heading(index), &self.plan.design, groups)
    }

    /// Stores n-gram counts.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write_ngrams(&self, counts: &[NgramCounts]) -> Result<()> {
        files::write_json(&self.folder().join("ngrams.json"), &counts)
    }

    /// The n-gram counts, where some were stored.
    ///
    /// # Errors
    /// A damaged file; folders with different counts.
    pub fn ngrams(&self) -> Result<Option<Vec<NgramCounts>>> {
        let mut found: Option<Vec<NgramCounts>> = None;
        for file in self.folders.iter().map(|f| f.join("ngrams.json")).filter(|f| f.exists()) {
            let counts: Vec<NgramCounts> = files::read_json(&file)?;
            match &found {
                Some(first) if *first != counts => return Err(Error::file(&file, "counts other n-grams than another folder does; leave one of the two out")),
                Some(_) => {}
                None => found = Some(counts),
            }
        }
        Ok(found)
    }
}

fn read_plan(file: &Path) -> Result<Plan> {
    let json: serde_json::Value = files::read_json(file)?;
    // The plan of a measurement of context lengths has one model, that of a count of pairs none.
    match json.get("format").and_then(serde_json::Value::as_u64).filter(|_| json.get("models").is_some()) {
        Some(v) if v == FORMAT as u64 => {}
        Some(v) => return Err(Error::file(file, format!("is of format {v}; this version reads {FORMAT}"))),
        None => return Err(Error::file(file, "is not the plan of a measurement by `hilberg measure`")),
    }
    let plan: Plan = serde_json::from_value(json).map_err(|e| Error::file(file, format!("is not what hilberg wrote: {e}")))?;
    plan.design.check().map_err(|e| Error::file(file, e.to_string()))?;
    Ok(plan)
}
