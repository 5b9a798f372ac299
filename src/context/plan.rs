//! What is measured, and the folder that it is measured into.

use super::part::{self, Part};
use crate::corpus::Fingerprint;
use crate::error::{Error, Result};
use crate::files;
use crate::forest::TokenId;
use crate::measure::ModelIdentity;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Version of the record's layout.
const FORMAT: u32 = 1;

/// Which tokens are a sample of context length c.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Samples {
    /// The last c tokens of a chunk, the final one predicted: the same target for every c, a pass for each.
    Last,
    /// The first c tokens of a chunk, the final one predicted: one pass for all c.
    Positions,
}

/// What is scored of every chunk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Design {
    /// Context lengths c in tokens, the predicted one among them; ascending, at least 2.
    pub contexts: Vec<u32>,
    /// Which tokens are a sample.
    pub samples: Samples,
    /// Tokens of a chunk.
    pub length: u32,
    /// Tokens dropped at the beginning of a document.
    pub skip: u32,
    /// Tokens dropped at its end.
    pub drop_last: u32,
    /// Documents must have more tokens than this.
    pub min_tokens: u32,
    /// The token before every text, if any; it does not count in c.
    pub start: Option<TokenId>,
    /// Whether hidden states are kept.
    pub states: bool,
    /// Folds of documents; document number i of those that are long enough is in fold i mod folds.
    pub folds: u32,
}

/// The context lengths of the published figures, then doubled, up to `most` tokens.
pub fn published_contexts(most: u32) -> Vec<u32> {
    const PUBLISHED: [u32; 10] = [8, 12, 16, 24, 32, 48, 64, 128, 256, 512];
    PUBLISHED.into_iter().chain((10..31).map(|k| 1 << k)).take_while(|&c| c <= most).collect()
}

impl Design {
    /// Makes sure that it can be measured.
    ///
    /// # Errors
    /// What contradicts itself.
    pub fn check(&self) -> Result<()> {
        let ascending = self.contexts.windows(2).all(|w| w[0] < w[1]);
        match (self.contexts.first(), self.contexts.last()) {
            (Some(&least), Some(&most)) if ascending => {
                if least < 2 {
                    return Err(Error::input(format!("a context of {least} tokens predicts nothing; --contexts begin at 2")));
                }
                if most > self.length {
                    return Err(Error::input(format!(
                        "a context of {most} tokens does not fit into chunks of {}; choose a larger --length or smaller --contexts",
                        self.length
                    )));
                }
            }
            _ => return Err(Error::input("--contexts must name context lengths, each once")),
        }
        if self.folds < 2 {
            return Err(Error::input("errors need at least two folds of documents; give --folds 2 or more"));
        }
        Ok(())
    }

    /// The longest context.
    pub fn most(&self) -> u32 {
        self.contexts.last().copied().unwrap_or(0)
    }

    /// What one pass gives: each c on its own, or all together.
    pub fn units(&self) -> Vec<&[u32]> {
        match self.samples {
            Samples::Last => self.contexts.chunks(1).collect(),
            Samples::Positions => vec![&self.contexts],
        }
    }

    /// Rows that a piece feeds for a unit.
    pub fn rows(&self, unit: &[u32]) -> usize {
        unit.last().map_or(0, |&c| c as usize - 1 + usize::from(self.start.is_some()))
    }
}

/// All that a record's content follows from. Written as `plan.json` before anything is scored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the layout.
    format: u32,
    /// The corpus and its tokenizer.
    pub corpus: Fingerprint,
    /// Seed of the chunks' choice and order.
    pub seed: u64,
    /// What is scored of every chunk.
    pub design: Design,
    /// Chunks, of which later runs may add some.
    pub chunks: u64,
    /// The model.
    pub model: ModelIdentity,
}

impl Plan {
    /// Of the present format.
    pub fn new(corpus: Fingerprint, seed: u64, design: Design, chunks: u64, model: ModelIdentity) -> Self {
        Plan { format: FORMAT, corpus, seed, design, chunks, model }
    }

    /// What every part of the record says of itself.
    pub fn identity(&self) -> String {
        let m = &self.model;
        let model = serde_json::json!({ "name": m.name, "fingerprint": m.fingerprint, "start": self.design.start, "rope_length": m.rope_length, "device": m.device, "precision": m.precision });
        serde_json::json!({ "format": self.format, "corpus": self.corpus, "seed": self.seed, "design": self.design, "model": model }).to_string()
    }

    /// Where `now` is another measurement: what, what was recorded, and what is asked for.
    fn difference(&self, now: &Plan) -> Option<(&'static str, String, String)> {
        let (d, n) = (&self.design, &now.design);
        let list = |c: &[u32]| c.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        let model = |m: &ModelIdentity| {
            let rope = m.rope_length.map_or(String::new(), |n| format!(" rope length {n}"));
            format!("{} {}{rope}", m.name, m.fingerprint)
        };
        let start = |d: &Design| d.start.map_or("none".into(), |s| s.to_string());
        let samples = |d: &Design| format!("{:?}", d.samples).to_lowercase();
        let all = [
            ("corpus", self.corpus.to_string(), now.corpus.to_string()),
            ("model", model(&self.model), model(&now.model)),
            ("--device or --precision", format!("{} {}", self.model.device, self.model.precision), format!("{} {}", now.model.device, now.model.precision)),
            ("--seed", self.seed.to_string(), now.seed.to_string()),
            ("--contexts", list(&d.contexts), list(&n.contexts)),
            ("--samples", samples(d), samples(n)),
            ("--length", d.length.to_string(), n.length.to_string()),
            ("--skip", d.skip.to_string(), n.skip.to_string()),
            ("--drop-last", d.drop_last.to_string(), n.drop_last.to_string()),
            ("--min-tokens", d.min_tokens.to_string(), n.min_tokens.to_string()),
            ("start token", start(d), start(n)),
            ("--kernel-entropy", d.states.to_string(), n.states.to_string()),
            ("--folds", d.folds.to_string(), n.folds.to_string()),
        ];
        all.into_iter().find(|(_, was, is)| was != is)
    }
}

/// An output folder with its plan.
#[derive(Debug)]
pub struct Project {
    folder: PathBuf,
    /// The plan.
    pub plan: Plan,
    /// Held by the one process that writes.
    _lock: File,
}

impl Project {
    /// Starts a measurement in `folder`, or goes on with the one that is there, of which more chunks may be asked for than before.
    ///
    /// # Errors
    /// A folder that holds another measurement (the sentence names what differs), or something else; another process at work in it.
    pub fn open(folder: &Path, plan: Plan) -> Result<Self> {
        plan.design.check()?;
        let file = folder.join("plan.json");
        if folder.is_file() {
            return Err(Error::file(folder, "is a file; --out names a folder"));
        }
        if !file.exists() && fs::read_dir(folder).is_ok_and(|mut entries| entries.any(|e| e.is_ok_and(|e| !e.file_name().to_string_lossy().starts_with('.')))) {
            return Err(Error::file(folder, "is not empty and holds no measurement of context lengths; choose another --out"));
        }
        fs::create_dir_all(folder.join("record")).map_err(Error::io(folder))?;
        let lock = files::lock(folder)?;
        files::remove_partial(folder)?;
        files::remove_partial(&folder.join("record"))?;
        if file.exists() {
            let recorded = read_plan(&file)?;
            if let Some((what, was, is)) = recorded.difference(&plan) {
                return Err(Error::file(folder, format!("holds a measurement of another {what} (recorded: {was}; now: {is}); choose another --out")));
            }
            if plan.chunks < recorded.chunks {
                return Err(Error::file(
                    folder,
                    format!("holds a measurement of {} chunks, and this one asks for {}; ask for as many or more", recorded.chunks, plan.chunks),
                ));
            }
        }
        files::write_json(&file, &plan)?;
        Ok(Project { folder: folder.to_path_buf(), plan, _lock: lock })
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file of a unit's fold.
    fn part_file(&self, unit: &[u32], fold: usize) -> PathBuf {
        let of = match (self.plan.design.samples, unit) {
            (Samples::Last, [c]) => format!("c-{c:06}"),
            _ => "positions".into(),
        };
        self.folder.join("record").join(format!("{of}-fold-{fold:03}.safetensors"))
    }

    /// What is recorded of a unit's fold; `None` where nothing is.
    ///
    /// # Errors
    /// A damaged part; one of another measurement.
    pub fn part(&self, unit: &[u32], fold: usize) -> Result<Option<Part>> {
        let file = self.part_file(unit, fold);
        if !file.exists() {
            return Ok(None);
        }
        let part = part::read(&file)?;
        if part.plan != self.plan.identity() || part.contexts != unit {
            return Err(Error::file(&file, "this part belongs to another measurement; choose another --out or move it away"));
        }
        Ok(Some(part))
    }

    /// Replaces what is recorded of a unit's fold.
    ///
    /// # Errors
    /// What the system refuses; the record is then as before.
    pub fn write(&self, part: &Part, fold: usize) -> Result<()> {
        part::write(&self.part_file(&part.contexts, fold), part)
    }
}

fn read_plan(file: &Path) -> Result<Plan> {
    let json: serde_json::Value = files::read_json(file)?;
    // The plan of a measurement of information has several models.
    if json.get("model").is_none() {
        return Err(Error::file(file, "is not the plan of a measurement of context lengths; choose another --out"));
    }
    match json.get("format").and_then(serde_json::Value::as_u64) {
        Some(v) if v == FORMAT as u64 => {}
        _ => return Err(Error::file(file, format!("is of another format than {FORMAT}, which this version reads"))),
    }
    serde_json::from_value(json).map_err(|e| Error::file(file, format!("is not what hilberg wrote: {e}")))
}
