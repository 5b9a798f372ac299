//! The output folder of a count: what is counted, the runs so far, and the counts that are done.

use crate::corpus::Fingerprint;
use crate::error::{Error, Result};
use crate::estimate::PairCounts;
use crate::files;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// Version of the layout.
const FORMAT: u32 = 1;

/// All that the counts follow from. Written as `plan.json` before anything is counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Version of the layout.
    two_point_format: u32,
    /// The corpus, and its tokenizer where symbols are tokens of text.
    pub corpus: Fingerprint,
    /// What a symbol is: `tokens`, `bytes` or `words`.
    pub unit: String,
    /// Distances.
    pub distances: Vec<u64>,
    /// Seed of the shuffled pairs.
    pub seed: u64,
}

impl Plan {
    /// A plan of the present format.
    pub fn new(corpus: Fingerprint, unit: String, distances: Vec<u64>, seed: u64) -> Self {
        Plan { two_point_format: FORMAT, corpus, unit, distances, seed }
    }

    /// What differs from this one in another, as a sentence needs it: what, here, there.
    fn difference(&self, now: &Plan) -> Option<(&'static str, String, String)> {
        let list = |p: &Plan| p.distances.iter().map(u64::to_string).collect::<Vec<_>>().join(",");
        let all = [
            ("corpus or tokenizer", self.corpus.to_string(), now.corpus.to_string()),
            ("--unit", self.unit.clone(), now.unit.clone()),
            ("--distances", list(self), list(now)),
            ("--seed", self.seed.to_string(), now.seed.to_string()),
        ];
        all.into_iter().find(|d| d.1 != d.2)
    }
}

/// A folder that one process counts into.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Held while it lives.
    _lock: File,
}

impl Folder {
    /// Begins, or goes on with what is there.
    ///
    /// # Errors
    /// A folder that holds another count (the sentence names what differs), or something else; another process at work in it.
    pub fn open(path: &Path, plan: &Plan) -> Result<Self> {
        let file = path.join("plan.json");
        if path.is_file() {
            return Err(Error::file(path, "is a file; --out names a folder"));
        }
        if !file.exists() && fs::read_dir(path).is_ok_and(|mut all| all.any(|e| e.is_ok_and(|e| !e.file_name().to_string_lossy().starts_with('.')))) {
            return Err(Error::file(path, "is not empty and holds no count of pairs; choose another --out"));
        }
        fs::create_dir_all(path.join("counts")).map_err(Error::io(path))?;
        let lock = lock(path)?;
        let folder = Folder { path: path.to_path_buf(), _lock: lock };
        [path, &folder.runs()].into_iter().try_for_each(files::remove_partial)?;
        if file.exists() {
            let json: serde_json::Value = files::read_json(&file)?;
            let recorded: Plan = match json.get("two_point_format").and_then(serde_json::Value::as_u64) {
                Some(v) if v == u64::from(FORMAT) => serde_json::from_value(json).map_err(|e| Error::file(&file, format!("is not what hilberg wrote: {e}")))?,
                Some(v) => return Err(Error::file(&file, format!("is of format {v}; this version reads {FORMAT}"))),
                None => return Err(Error::file(&file, "is not the plan of a count of pairs; choose another --out")),
            };
            if let Some((what, first, second)) = recorded.difference(plan) {
                return Err(Error::file(path, format!("holds a count of another {what} (recorded: {first}; now: {second}); choose another --out")));
            }
        } else {
            files::write_json(&file, plan)?;
        }
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where runs lie.
    pub fn runs(&self) -> PathBuf {
        self.path.join("counts")
    }

    /// Removes runs, which are not needed once all counts are there.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn remove_runs(&self) -> Result<()> {
        for entry in fs::read_dir(self.runs()).map_err(Error::io(self.runs()))? {
            let path = entry.map_err(Error::io(self.runs()))?.path();
            if path.extension().is_some_and(|e| e == "pairs") {
                fs::remove_file(&path).map_err(Error::io(&path))?;
            }
        }
        Ok(())
    }

    fn counts_file(&self, distance: u64) -> PathBuf {
        self.path.join("counts").join(format!("distance-{distance:07}.json"))
    }

    /// The counts at a distance, if they are done.
    ///
    /// # Errors
    /// A damaged file.
    pub fn counts(&self, distance: u64) -> Result<Option<PairCounts>> {
        let file = self.counts_file(distance);
        if !file.exists() {
            return Ok(None);
        }
        let counts: PairCounts = files::read_json(&file)?;
        if counts.distance != distance {
            return Err(Error::file(&file, format!("holds counts at distance {}; remove it, and start the same command again", counts.distance)));
        }
        Ok(Some(counts))
    }

    /// Keeps the counts at a distance.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn keep(&self, counts: &PairCounts) -> Result<()> {
        let file = self.counts_file(counts.distance);
        let mut text = serde_json::to_vec(counts).map_err(|e| Error::file(&file, format!("cannot be written as JSON: {e}")))?;
        text.push(b'\n');
        files::write_bytes(&file, &text)
    }
}

fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::file(folder, "another process is counting into this folder; wait for it or choose another --out")),
        // Some network file systems know no locks; the count itself needs none.
        Err(TryLockError::Error(_)) => Ok(file),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_count_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let corpus = Fingerprint { documents: 3, bytes: 30, xxh3: "00".into() };
        let plan = Plan::new(corpus, "bytes".into(), vec![1, 2], 0);
        let say = |plan: &Plan| Folder::open(&out, plan).unwrap_err().to_string();
        let open = Folder::open(&out, &plan).unwrap();
        assert!(say(&plan).contains("another process is counting into this folder"));
        let counts = PairCounts { distance: 2, ..PairCounts::default() };
        open.keep(&counts).unwrap();
        assert_eq!((open.counts(1).unwrap(), open.counts(2).unwrap()), (None, Some(counts)));
        fs::copy(open.counts_file(2), open.counts_file(1)).unwrap();
        assert!(open.counts(1).unwrap_err().to_string().contains("distance-0000001.json: holds counts at distance 2"));
        drop(open);
        assert!(say(&Plan { distances: vec![1], ..plan.clone() }).contains("another --distances (recorded: 1,2; now: 1)"));
        assert!(say(&Plan { unit: "words".into(), ..plan.clone() }).contains("another --unit"));
        fs::write(out.join("plan.json"), "{}").unwrap();
        assert!(say(&plan).contains("is not the plan of a count of pairs"));
        fs::remove_file(out.join("plan.json")).unwrap();
        assert!(say(&plan).contains("is not empty and holds no count of pairs"));
    }
}
