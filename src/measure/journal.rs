//! The record of one model: a folder of parts, one a wave, that grows until every tree is in it.
//!
//! A part is complete or not there (see [`files`](super::files)), so the journal is the set of parts. Which trees a part holds is up to the speed of the
//! machine and does not matter: estimates take complete groups in the order of their numbers. Parts may come from several machines; each says what
//! computed it.

use super::part::{self, Heading, Row};
use super::plan::Design;
use super::text::Text;
use super::until::Watch;
use crate::error::{Error, Result};
use crate::files;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A record to which parts are added.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    heading: Heading,
    arithmetic: String,
    next: u32,
    done: BTreeSet<(u32, u32)>,
    unlike: BTreeSet<String>,
    watch: Option<Watch>,
}

impl Journal {
    /// Opens or starts the record in `folder`; half-written parts are removed. `arithmetic` is what computes the parts to be added: all that the last bits
    /// of a log-probability depend on. `groups` are the chunks that are to be measured.
    ///
    /// # Errors
    /// A damaged part; a part of another measurement, or of other chunks.
    pub fn open(folder: &Path, heading: Heading, arithmetic: &str, groups: &[Vec<Text>]) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        files::remove_partial(folder)?;
        let mut journal = Journal {
            folder: folder.to_path_buf(),
            heading,
            arithmetic: arithmetic.into(),
            next: 0,
            done: BTreeSet::new(),
            unlike: BTreeSet::new(),
            watch: None,
        };
        for (number, path) in parts(folder)? {
            let part = part::read(&path)?;
            if part.heading != journal.heading {
                return Err(Error::file(&path, "this part belongs to another measurement; choose another --out or move it away"));
            }
            if part.arithmetic != arithmetic {
                journal.unlike.insert(part.arithmetic);
            }
            for row in part.rows {
                let at = (row.tree.group, row.tree.member);
                if let Some(text) = groups.get(at.0 as usize).and_then(|g| g.get(at.1 as usize))
                    && (text.document, text.token_offset) != (row.document, row.token_offset)
                {
                    let what = format!("chunk {} of group {} is another one than this measurement draws; choose another --out", at.1, at.0);
                    return Err(Error::file(&path, what));
                }
                journal.done.insert(at);
            }
            journal.next = number + 1;
        }
        Ok(journal)
    }

    /// Whether a tree is recorded.
    pub fn holds(&self, group: u32, member: u32) -> bool {
        self.done.contains(&(group, member))
    }

    /// What computed parts that are there, where it is another arithmetic than this journal's own: such parts may differ from its own in their last bits.
    pub fn unlike(&self) -> impl Iterator<Item = &str> {
        self.unlike.iter().map(String::as_str)
    }

    /// From now on [`Journal::reached`] tells after how many groups the standard error of direct I is at most `target` nats (see [`Stopping`](crate::estimate::Stopping)).
    ///
    /// # Errors
    /// A part that can no longer be read.
    pub fn watch(&mut self, design: &Design, target: f64) -> Result<()> {
        let mut watch = Watch::new(design, target);
        for (_, path) in parts(&self.folder)? {
            part::read(&path)?.rows.iter().for_each(|row| watch.take(row));
        }
        self.watch = Some(watch);
        Ok(())
    }

    /// The number of groups that are enough, once they are recorded; `None` before, and where nothing is watched for.
    pub fn reached(&self) -> Option<u32> {
        self.watch.as_ref().and_then(Watch::reached)
    }

    /// Adds a part.
    ///
    /// # Errors
    /// What the system refuses; the record is then as before.
    pub fn append(&mut self, rows: &[Row]) -> Result<()> {
        let arithmetic = self.arithmetic.clone();
        self.append_by(&arithmetic, rows)
    }

    /// Adds a part that `arithmetic` has computed.
    pub(super) fn append_by(&mut self, arithmetic: &str, rows: &[Row]) -> Result<()> {
        let path = self.folder.join(format!("part-{:06}.parquet", self.next));
        let fill = |file: &mut files::PendingFile| {
            part::write(file, &self.heading, arithmetic, rows).map_err(|e| Error::file(&path, format!("cannot be written: {e}")))
        };
        files::write_whole(&path, fill)?;
        self.next += 1;
        self.done.extend(rows.iter().map(|r| (r.tree.group, r.tree.member)));
        if let Some(watch) = &mut self.watch {
            rows.iter().for_each(|row| watch.take(row));
        }
        Ok(())
    }
}

/// The parts of a record with their numbers, ascending.
pub(super) fn parts(folder: &Path) -> Result<Vec<(u32, PathBuf)>> {
    let mut out = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if let Some(number) = name.strip_prefix("part-").and_then(|n| n.strip_suffix(".parquet")) {
            let number = number.parse().map_err(|_| Error::file(&path, "is not named as a part of a record; move it away"))?;
            out.push((number, path));
        }
    }
    out.sort();
    Ok(out)
}
