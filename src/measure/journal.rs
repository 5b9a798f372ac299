//! The record of one model: a folder of parts, one a wave, that grows until every tree is in it.
//!
//! A part is complete or not there (see [`files`](super::files)), so the journal is the set of parts. Which trees a part holds is up to the speed of the
//! machine and does not matter: estimates take complete groups in the order of their numbers.

use super::part::{self, Heading, Row};
use super::plan::{Design, FIRST, Text};
use crate::error::{Error, Result};
use crate::estimate::{Group, Marginal, Member, Sums};
use crate::files;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A record to which parts are added.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    heading: Heading,
    next: u32,
    done: BTreeSet<(u32, u32)>,
}

impl Journal {
    /// Opens or starts the record in `folder`; half-written parts are removed. `groups` are the chunks that are to be measured.
    ///
    /// # Errors
    /// A damaged part; a part of another measurement, or of other chunks.
    pub fn open(folder: &Path, heading: Heading, groups: &[Vec<Text>]) -> Result<Self> {
        fs::create_dir_all(folder).map_err(Error::io(folder))?;
        files::remove_partial(folder)?;
        let mut journal = Journal { folder: folder.to_path_buf(), heading, next: 0, done: BTreeSet::new() };
        for (number, path) in parts(folder)? {
            let (heading, rows) = part::read(&path)?;
            if heading != journal.heading {
                return Err(Error::file(&path, "this part belongs to another measurement; choose another --out or move it away"));
            }
            for row in rows {
                let at = (row.tree.group, row.tree.member);
                if let Some(text) = groups.get(at.0 as usize).and_then(|g| g.get(at.1 as usize))
                    && (text.document, text.token_offset) != (row.document, row.token_offset)
                {
                    let what = format!("chunk {} of group {} is another one than this measurement draws; choose another --out", at.1, at.0);
                    return Err(Error::file(&path, what));
                }
                if !journal.done.insert(at) {
                    return Err(twice(&path, at));
                }
            }
            journal.next = number + 1;
        }
        Ok(journal)
    }

    /// Whether a tree is recorded.
    pub fn holds(&self, group: u32, member: u32) -> bool {
        self.done.contains(&(group, member))
    }

    /// Adds a part.
    ///
    /// # Errors
    /// What the system refuses; the record is then as before.
    pub fn append(&mut self, rows: &[Row]) -> Result<()> {
        let path = self.folder.join(format!("part-{:06}.parquet", self.next));
        files::write_whole(&path, |file| part::write(file, &self.heading, rows).map_err(|e| Error::file(&path, format!("cannot be written: {e}"))))?;
        self.next += 1;
        self.done.extend(rows.iter().map(|r| (r.tree.group, r.tree.member)));
        Ok(())
    }
}

fn twice(path: &Path, (group, member): (u32, u32)) -> Error {
    Error::file(path, format!("chunk {member} of group {group} is in another part already; keep one of the two"))
}

/// The parts of a record with their numbers, ascending.
fn parts(folder: &Path) -> Result<Vec<(u32, PathBuf)>> {
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

/// What a record holds, as far as groups are complete.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The sums of complete groups, ascending.
    pub sums: Sums,
    /// Groups of which trees are missing.
    pub incomplete: u32,
    /// Mean bytes a token over the complete groups' chunks; `None` where documents came as tokens.
    pub bytes_per_token: Option<f64>,
}

/// Reads the first `groups` groups of a record.
///
/// # Errors
/// A damaged part; one of another measurement or of another shape.
pub fn load(folder: &Path, heading: &Heading, design: &Design, groups: u32) -> Result<Recorded> {
    let mut trees: BTreeMap<(u32, u32), Row> = BTreeMap::new();
    for (_, path) in parts(folder)? {
        let (found, rows) = part::read(&path)?;
        if found != *heading {
            return Err(Error::file(&path, "this part belongs to another measurement; move it away"));
        }
        for row in rows {
            let at = (row.tree.group, row.tree.member);
            if !design.fits(&row.tree) {
                return Err(Error::file(&path, format!("chunk {} of group {} has sums of another shape than the plan says", at.1, at.0)));
            }
            if at.0 < groups && trees.insert(at, row).is_some() {
                return Err(twice(&path, at));
            }
        }
    }
    let (mut complete, mut incomplete) = (Vec::new(), 0);
    let (mut bytes, mut tokens, mut without) = (0u64, 0u64, false);
    let members = design.members() as u32;
    for group in 0..groups {
        let rows: Vec<Row> = (0..members).filter_map(|m| trees.remove(&(group, m))).collect();
        if rows.len() < members as usize {
            incomplete += 1;
            continue;
        }
        for row in &rows {
            tokens += design.length as u64;
            match row.bytes.last() {
                Some(&b) => bytes += b as u64,
                None => without = true,
            }
        }
        complete.push(Group { members: members_of(design, rows) });
    }
    let sums = Sums { pairing: design.pairing, length: design.length, splits: design.splits.clone(), ratios: design.ratios.clone(), groups: complete };
    Ok(Recorded { sums, incomplete, bytes_per_token: (!without && tokens > 0).then(|| bytes as f64 / tokens as f64) })
}

/// A group's members out of its trees: cross sums lie with the head that they were scored under and belong to the tail.
fn members_of(design: &Design, rows: Vec<Row>) -> Vec<Member> {
    let (splits, ratios) = (design.splits.len(), design.ratios.len());
    let mut cross: Vec<Vec<Vec<Vec<f64>>>> = vec![Vec::new(); rows.len()];
    for (head, row) in rows.iter().enumerate() {
        let tails = (0..rows.len()).filter(|&t| t != head);
        for (tail, sums) in tails.zip(row.tree.cross.chunks(splits * ratios)) {
            cross[tail].push(sums.chunks(ratios).map(<[f64]>::to_vec).collect());
        }
    }
    rows.into_iter()
        .zip(cross)
        .map(|(row, cross)| {
            let marginal = row.tree.marginal.chunks(FIRST + ratios);
            let marginal = marginal.map(|m| Marginal { first: std::array::from_fn(|n| m[n]), by_ratio: m[FIRST..].to_vec() }).collect();
            Member { document: row.document, trunk: row.tree.trunk, marginal, cross }
        })
        .collect()
}
