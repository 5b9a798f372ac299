//! Several output folders as one: shards of a measurement, and repetitions of it.

use super::journal::{Journal, parts};
use super::part;
use super::project::{Plan, Project, differs};
use super::recorded::Recorded;
use super::shard::Shard;
use crate::error::{Error, Result};
use std::fs;
use std::path::PathBuf;

impl Project {
    /// Output folders of one measurement, read as one record: of what several of them hold the first folder's counts. The plan has as many groups as the
    /// largest of theirs, and is a shard's only where there is one folder.
    ///
    /// # Errors
    /// No folder, or one named twice; a folder without a plan; plans that differ in more than shard, number of groups, device and precision.
    pub fn merged(folders: &[PathBuf]) -> Result<Self> {
        let mut all = folders.iter().map(|f| Project::read(f));
        let mut whole = all.next().ok_or_else(|| Error::input("name at least one output folder of hilberg measure"))??;
        for other in all {
            let other = other?;
            let (here, first) = (other.folder(), whole.folder());
            let place = |f: &std::path::Path| fs::canonicalize(f).map_err(Error::io(f));
            for known in &whole.folders {
                if place(known)? == place(here)? {
                    return Err(Error::file(here, "is named twice; name every folder once"));
                }
            }
            if let Some(d) = different(&whole.plan, &other.plan) {
                let what = format!("is not of the measurement that is in {}: {} ({} there, {} here)", first.display(), d.another(), d.first, d.second);
                return Err(Error::file(here, what));
            }
            whole.plan.groups = whole.plan.groups.max(other.plan.groups);
            whole.plan.shard = None;
            whole.folders.extend(other.folders);
            whole.shards.extend(other.shards);
        }
        Ok(whole)
    }

    /// Adds to this folder's records what those of `from` hold and they do not.
    ///
    /// # Errors
    /// A part that is damaged or of another measurement; what the system refuses. What was added by then stays.
    pub fn absorb(&self, from: &Project) -> Result<()> {
        if let (None, Some(counts)) = (self.ngrams()?, from.ngrams()?) {
            self.write_ngrams(&counts)?;
        }
        for model in 0..self.plan.models.len() {
            let heading = self.plan.heading(model);
            let mut journal = Journal::open(&self.record_folder(model), heading.clone(), "", &[])?;
            for folder in from.folders.iter().map(|f| self.record_in(f, model)).filter(|f| f.is_dir()) {
                for (_, path) in parts(&folder)? {
                    let part = part::read(&path)?;
                    if part.heading != heading {
                        return Err(Error::file(&path, "this part belongs to another measurement; move it away"));
                    }
                    let rows: Vec<_> = part.rows.into_iter().filter(|r| !journal.holds(r.tree.group, r.tree.member)).collect();
                    if !rows.is_empty() {
                        journal.append_by(&part.arithmetic, &rows)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What is to be said of a record of model `index` that was made on several machines, one sentence each: that their arithmetic differs and how far
    /// what both recorded lies apart, and which folders lack groups.
    pub fn notices(&self, index: usize, recorded: &Recorded) -> Vec<String> {
        let name = &self.plan.models[index].name;
        let mut said = Vec::new();
        if let [first, others @ ..] = &recorded.arithmetic[..]
            && !others.is_empty()
        {
            let twice = match recorded.twice.unlike {
                0 => "no chunk was computed by two of them".to_string(),
                n => format!("of {n} chunks that two of them computed no number differs by more than {:.2e} nats", recorded.twice.largest),
            };
            said.push(format!("{name} was computed by {first} and by {}, which may differ in the last bits; {twice}", others.join(", by ")));
        }
        if self.folders.len() > 1 && !recorded.missing.is_empty() {
            said.push(format!("{name}: {} of {} groups are missing: {}", recorded.missing.len(), self.plan.groups, self.lacking(&recorded.missing).join("; ")));
        }
        said
    }

    /// Who was to score these groups.
    fn lacking(&self, missing: &[u32]) -> Vec<String> {
        let mut said = Vec::new();
        for (folder, shard) in self.folders.iter().zip(&self.shards) {
            let lacks = missing.iter().filter(|&&g| shard.is_none_or(|s| s.holds(g))).count();
            if lacks > 0 {
                let shard = shard.map_or(String::new(), |s| format!(" (shard {s})"));
                said.push(format!("{}{shard} lacks {lacks}", folder.display()));
            }
        }
        let nobody: Vec<u32> = missing.iter().copied().filter(|&g| !self.shards.iter().any(|s| s.is_none_or(|s| s.holds(g)))).collect();
        if nobody.is_empty() {
            return said;
        }
        let of: Option<Vec<u32>> = self.shards.iter().map(|s| s.map(Shard::of)).collect();
        match of.filter(|n| n.iter().all(|x| *x == n[0])) {
            Some(n) => {
                let absent = (1..=n[0]).filter_map(|i| Shard::new(i, n[0]).ok()).filter(|s| nobody.iter().any(|&g| s.holds(g)));
                said.extend(absent.map(|s| format!("no folder is shard {s}, which has {}", nobody.iter().filter(|&&g| s.holds(g)).count())));
            }
            None => said.push(format!("{} are in no folder's shard", nobody.len())),
        }
        said
    }
}

/// Where two plans are not of one measurement: anything but the shard, the number of groups, and the device.
fn different(first: &Plan, other: &Plan) -> Option<super::project::Difference> {
    let models = |p: &Plan| p.models.len().to_string();
    let named = |p: &Plan| p.options.estimators.iter().map(|e| e.name()).collect::<Vec<_>>().join(",");
    let until = |p: &Plan| p.until_se.map_or("none".into(), |x| x.to_string());
    let options = |p: &Plan| format!("{:?}", (p.options.ngram, p.options.resampling, p.options.fit));
    first
        .difference(other)
        .or_else(|| differs("number of models", models(first), models(other)))
        .or_else(|| differs("set of --estimators", named(first), named(other)))
        .or_else(|| differs("set of options", options(first), options(other)))
        .or_else(|| differs("--until-se", until(first), until(other)))
}
