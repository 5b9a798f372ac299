//! A record read back: one machine's, or those of several machines as one.

use super::journal::parts;
use super::part::{self, Heading, Part, Row};
use super::plan::{Design, FIRST};
use crate::error::{Error, Result};
use crate::estimate::{Group, Marginal, Member, Sums};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a record holds, as far as groups are complete.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The sums of complete groups, ascending.
    pub sums: Sums,
    /// The label of every complete group, where all of its documents have the same one.
    pub labels: Vec<Option<String>>,
    /// Groups of which trees are missing, ascending.
    pub missing: Vec<u32>,
    /// Mean bytes a token over the complete groups' chunks; `None` where documents came as tokens.
    pub bytes_per_token: Option<f64>,
    /// What computed the trees: backend, instruction path, precision, version; in the order in which they are met.
    pub arithmetic: Vec<String>,
    /// Trees that were recorded more than once.
    pub twice: Twice,
}

/// Trees that several parts hold: how far their values lie apart.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Twice {
    /// Recordings beyond the first.
    pub trees: u64,
    /// Of these, by another arithmetic than the first.
    pub unlike: u64,
    /// The largest difference of any value in them, in nats: of a token in a trunk, or of a sum.
    pub largest: f64,
}

/// Trees as they are read, with the index of their arithmetic.
#[derive(Default)]
struct Trees {
    rows: BTreeMap<(u32, u32), (Row, usize)>,
    arithmetic: Vec<String>,
    twice: Twice,
}

/// Reads the first `groups` groups of the records in `folders`. Of a tree that is recorded more than once the first folder's first part counts.
///
/// # Errors
/// A damaged part; one of another measurement or of another shape; two recordings of a tree that are not of one chunk, or that differ although the
/// same arithmetic made them.
pub fn load(folders: &[PathBuf], heading: &Heading, design: &Design, groups: u32) -> Result<Recorded> {
    let mut trees = Trees::default();
    for folder in folders {
        for (_, path) in parts(folder)? {
            trees.add(&path, part::read(&path)?, heading, design, groups)?;
        }
    }
    let Trees { mut rows, arithmetic, twice } = trees;
    let (mut complete, mut labels, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let (mut bytes, mut tokens, mut without) = (0u64, 0u64, false);
    let members = design.members() as u32;
    for group in 0..groups {
        let rows: Vec<Row> = (0..members).filter_map(|m| rows.remove(&(group, m))).map(|(row, _)| row).collect();
        if rows.len() < members as usize {
            missing.push(group);
            continue;
        }
        for row in &rows {
            tokens += row.tokens.last().copied().unwrap_or(design.length) as u64;
            match row.bytes.last() {
                Some(&b) => bytes += b as u64,
                None => without = true,
            }
        }
        labels.push(rows[0].label.clone().filter(|_| rows.windows(2).all(|w| w[0].label == w[1].label)));
        complete.push(group_of(design, rows));
    }
    let sums = Sums { groups: complete, ..design.no_sums() };
    let bytes_per_token = (!without && tokens > 0).then(|| bytes as f64 / tokens as f64);
    Ok(Recorded { sums, labels, missing, bytes_per_token, arithmetic, twice })
}

impl Trees {
    fn add(&mut self, path: &Path, part: Part, heading: &Heading, design: &Design, groups: u32) -> Result<()> {
        if part.heading != *heading {
            return Err(Error::file(path, "this part belongs to another measurement; move it away"));
        }
        let by = self.arithmetic.iter().position(|a| *a == part.arithmetic).unwrap_or_else(|| {
            self.arithmetic.push(part.arithmetic);
            self.arithmetic.len() - 1
        });
        for row in part.rows {
            let at = (row.tree.group, row.tree.member);
            if !design.fits(&row.tree, &row.tokens) {
                return Err(Error::file(path, format!("chunk {} of group {} has sums of another shape than the plan says", at.1, at.0)));
            }
            if at.0 >= groups {
                continue;
            }
            let Some((first, first_by)) = self.rows.get(&at) else {
                self.rows.insert(at, (row, by));
                continue;
            };
            let apart = distance(first, &row)
                .ok_or_else(|| Error::file(path, format!("chunk {} of group {} is another text than in another part; leave one of the two out", at.1, at.0)))?;
            if apart > 0.0 && *first_by == by {
                let what = format!(
                    "chunk {} of group {} differs by {apart:e} nats from what another part holds, though {} made both; one of the two is not to be trusted",
                    at.1, at.0, self.arithmetic[by]
                );
                return Err(Error::file(path, what));
            }
            self.twice.trees += 1;
            self.twice.unlike += u64::from(*first_by != by);
            self.twice.largest = self.twice.largest.max(apart);
        }
        Ok(())
    }
}

/// The largest difference between two recordings of one tree, in nats; `None` where they are not of the same chunk, or only one of them has a number.
/// Both have the shape of the design.
fn distance(a: &Row, b: &Row) -> Option<f64> {
    let whereabouts = |r: &Row| (r.document, r.token_offset, r.byte_offset);
    if whereabouts(a) != whereabouts(b) || a.document_id != b.document_id || a.label != b.label || a.bytes != b.bytes || a.tokens != b.tokens {
        return None;
    }
    let values = |r: &Row| -> Vec<f64> { r.tree.trunk.iter().map(|&x| x as f64).chain(r.tree.marginal.iter().chain(&r.tree.cross).copied()).collect() };
    values(a).into_iter().zip(values(b)).try_fold(0.0f64, |largest, (x, y)| match (x.is_nan(), y.is_nan()) {
        (true, true) => Some(largest),
        (false, false) => Some(largest.max((x - y).abs())),
        _ => None,
    })
}

/// A group out of its trees: cross sums lie with the head that they were scored under and belong to the tail.
pub(super) fn group_of(design: &Design, rows: Vec<Row>) -> Group {
    let (splits, ratios) = (design.splits.len(), design.ratios.len());
    let mut cross: Vec<Vec<Vec<Vec<f64>>>> = vec![Vec::new(); rows.len()];
    for (head, row) in rows.iter().enumerate() {
        let tails = (0..rows.len()).filter(|&t| t != head);
        for (tail, sums) in tails.zip(row.tree.cross.chunks(splits * ratios)) {
            cross[tail].push(sums.chunks(ratios).map(<[f64]>::to_vec).collect());
        }
    }
    let members = rows.into_iter().zip(cross).map(|(row, cross)| {
        let marginal = row.tree.marginal.chunks(FIRST + ratios);
        let marginal = marginal.map(|m| Marginal { first: std::array::from_fn(|n| m[n]), by_ratio: m[FIRST..].to_vec() }).collect();
        Member { document: row.document, trunk: row.tree.trunk, cuts: row.tokens, marginal, cross }
    });
    Group { members: members.collect() }
}
