//! From groups of chunks to a forest with its readout, and from slots back to one record a tree.
//!
//! A tree belongs to one member of a group and is the unit of the journal. Its root is ⊥ w[1..L]; ⊥ counts in branch offsets, so the tail of another
//! chunk under the head w[1..ℓ] is a branch at ℓ + 1 and the own tail on its own a branch at 1. Foreign tails are trees of their own as well, so all
//! terms of a group are had once its trees are. Where lengths are bytes, ℓ and L stand for the tokens before those places of each chunk, which differ
//! from chunk to chunk and may be none.

use super::text::Text;
use crate::corpus::{Cutting, Unit};
use crate::engine::Sink;
use crate::error::{Error, Result};
use crate::estimate::{Estimator, Pairing, Sums};
use crate::forest::{Forest, Readout, Slot, SlotValue, SpanId, TokenId, Waves};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::Range;

/// After how many of a tail's first tokens its sum on its own is kept: 1 to this.
pub const FIRST: usize = 8;

/// Which sums the estimators need beside the joint ones, which every estimator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// Tails on their own.
    pub marginal: bool,
    /// Tails under foreign heads.
    pub cross: bool,
}

impl Terms {
    /// What `estimators` need and no more.
    pub fn of(estimators: &[Estimator]) -> Self {
        Terms {
            marginal: estimators.iter().any(|e| matches!(e, Estimator::Direct | Estimator::DirectNgram)),
            cross: estimators.iter().any(|e| matches!(e, Estimator::Vclub | Estimator::L1out | Estimator::Infonce)),
        }
    }
}

/// What is scored of every group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Design {
    /// Who meets whom.
    pub pairing: Pairing,
    /// What documents are cut into.
    #[serde(default)]
    pub cutting: Cutting,
    /// What lengths and splits count.
    #[serde(default, skip_serializing_if = "Unit::is_tokens")]
    pub unit: Unit,
    /// Length of a chunk, L_max.
    pub length: u32,
    /// ℓ, ascending.
    pub splits: Vec<u32>,
    /// r, ascending.
    pub ratios: Vec<u32>,
    /// Foreign tails of each trunk, K; a group has K + 1 chunks.
    pub foreign: u32,
    /// Which sums.
    pub terms: Terms,
}

/// What one member's tree holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Role {
    trunk: bool,
    marginal: bool,
    tails: usize,
}

impl Design {
    /// Checks that the numbers make sense together.
    ///
    /// # Errors
    /// Splits or ratios that are missing, unordered or too small; a split that fits no ratio into the length; published pairing with K ≠ 1.
    pub fn check(&self) -> Result<()> {
        let ascending = |v: &[u32]| v.windows(2).all(|w| w[0] < w[1]);
        let unit = self.unit;
        if self.splits.is_empty() || self.splits[0] == 0 || !ascending(&self.splits) {
            return Err(Error::input(format!("--splits must be different numbers of {unit}, each at least 1")));
        }
        if self.ratios.is_empty() || self.ratios[0] < 2 || !ascending(&self.ratios) {
            return Err(Error::input("--ratios must be different whole numbers, each at least 2"));
        }
        let largest = self.splits[self.splits.len() - 1];
        if largest as u64 * self.ratios[0] as u64 > self.length as u64 {
            return Err(Error::input(format!(
                "a split of {largest} {unit} at ratio {} needs chunks of {} {unit}, but --length is {}",
                self.ratios[0],
                largest as u64 * self.ratios[0] as u64,
                self.length
            )));
        }
        if self.foreign == 0 && (self.terms.cross || self.pairing == Pairing::Published) {
            return Err(Error::input("--foreign must be at least 1"));
        }
        if self.pairing == Pairing::Published && self.foreign != 1 {
            return Err(Error::input("--pairing published takes one foreign tail a trunk; leave --foreign out"));
        }
        Ok(())
    }

    /// Sums of this design over no group.
    pub(super) fn no_sums(&self) -> Sums {
        Sums { pairing: self.pairing, length: self.length, splits: self.splits.clone(), ratios: self.ratios.clone(), groups: Vec::new() }
    }

    /// Chunks of a group.
    pub fn members(&self) -> usize {
        self.foreign as usize + 1
    }

    /// Places of a chunk at which its bytes, or its tokens, are told: every ℓ, every rℓ and L, ascending (see [`Sums::marks`]).
    pub fn marks(&self) -> Vec<u32> {
        self.no_sums().marks()
    }

    fn role(&self, member: usize) -> Role {
        let Terms { marginal, cross } = self.terms;
        match (self.pairing, member) {
            (Pairing::Matched, _) => Role { trunk: true, marginal, tails: if cross { self.foreign as usize } else { 0 } },
            (Pairing::Published, 0) => Role { trunk: true, marginal: false, tails: cross as usize },
            (Pairing::Published, _) => Role { trunk: false, marginal, tails: 0 },
        }
    }

    /// Whether a tree's record has the shape that this design gives it; `cuts` are the chunk's.
    pub(super) fn fits(&self, tree: &TreeRecord, cuts: &[u32]) -> bool {
        let member = tree.member as usize;
        let role = self.role(member);
        let (splits, ratios) = (self.splits.len(), self.ratios.len());
        let (cut, length) = match self.unit {
            Unit::Tokens => (cuts.is_empty(), self.length as usize),
            Unit::Bytes => (cuts.len() == self.marks().len() && cuts.is_sorted(), cuts.last().map_or(0, |&n| n as usize)),
        };
        member < self.members()
            && cut
            && tree.trunk.len() == if role.trunk { length } else { 0 }
            && tree.marginal.len() == if role.marginal { splits * (FIRST + ratios) } else { 0 }
            && tree.cross.len() == role.tails * splits * ratios
    }

    /// Whose tails branch off the trunk of `member`, in the order of the group; as many as `role` says.
    fn tails(&self, member: usize, count: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.members()).filter(move |&j| j != member).take(count)
    }

    /// Length of the longest tail at split ℓ.
    fn tail(&self, split: u32) -> u32 {
        self.cross_ends(split).last().copied().unwrap_or(0)
    }

    /// After which lengths of a foreign tail its sum is wanted, ascending.
    fn cross_ends(&self, split: u32) -> Vec<u32> {
        self.ratios.iter().filter(|&&r| split as u64 * r as u64 <= self.length as u64).map(|r| (r - 1) * split).collect()
    }

    /// After which lengths of a tail on its own its sum is wanted, ascending.
    fn marginal_ends(&self, split: u32) -> Vec<u32> {
        let tail = self.tail(split);
        let first = (1..=FIRST as u32).filter(|&n| n <= tail && self.unit == Unit::Tokens);
        let ends: BTreeSet<u32> = self.cross_ends(split).into_iter().chain(first).collect();
        ends.into_iter().collect()
    }

    /// Rows that one group feeds, by member: fed tokens, ⊥ among them. Where lengths are tokens, those of every group.
    ///
    /// # Errors
    /// As [`Planned::add`].
    pub fn rows_of(&self, group: &[Text]) -> Result<Vec<usize>> {
        let mut planned = Planned::new(self, 0);
        for member in 0..self.members() {
            planned.add(0, member, group)?;
        }
        Ok(Waves::rows_by_tree(&planned.forest, &planned.readout))
    }
}

/// What one tree gave: one row of the record.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeRecord {
    /// Index of the group.
    pub group: u32,
    /// Index in the group.
    pub member: u32,
    /// ln q(w_t | ⊥ w[1..t−1]), t = 1 … L; empty for the second piece of a published pair.
    pub trunk: Vec<f32>,
    /// The own tails on their own, `[split][FIRST + ratios]`: sums after 1 … [`FIRST`] tokens, then up to every rℓ; NaN where a tail is shorter or rℓ > L.
    /// Empty where none was asked for. The first of these are NaN where lengths are bytes.
    pub marginal: Vec<f64>,
    /// Foreign tails under this head, `[tail][split][ratio]`, tails in group order without the member itself; NaN where rℓ > L. May be empty.
    pub cross: Vec<f64>,
}

/// Trees that are scored together.
pub struct Planned<'d> {
    design: &'d Design,
    start: TokenId,
    /// The spans.
    pub forest: Forest,
    /// What is read of them.
    pub readout: Readout,
    marks: Vec<u32>,
    trees: Vec<Tree>,
}

/// Where the values of one tree are to be found.
struct Tree {
    group: u32,
    member: usize,
    trunk: Range<u32>,
    /// Of every tail: the lengths after which its sum is wanted, each with the sum since the one before; none where no token lies between.
    tails: Vec<Vec<(u32, Option<Slot>)>>,
}

impl<'d> Planned<'d> {
    /// No tree yet; `start` is ⊥.
    pub fn new(design: &'d Design, start: TokenId) -> Self {
        Planned { design, start, forest: Forest::new(), readout: Readout::new(), marks: design.marks(), trees: Vec::new() }
    }

    /// Adds the tree of one member of a group.
    ///
    /// # Errors
    /// A group or chunk of another size than the design says.
    pub fn add(&mut self, group: u32, member: usize, chunks: &[Text]) -> Result<()> {
        let d = self.design;
        if chunks.len() != d.members() || chunks.iter().any(|c| !self.is_cut(c)) {
            return Err(Error::input(format!("group {group} is not {} chunks of {} {}", d.members(), d.length, d.unit)));
        }
        let role = d.role(member);
        let mut root = vec![self.start];
        if role.trunk {
            root.extend_from_slice(&chunks[member].tokens);
        }
        let trunk = self.forest.root(&root)?;
        let first = self.readout.slots();
        if root.len() > 1 {
            self.readout.each(&self.forest, trunk, 1..root.len() as u32)?;
        }
        let mut tree = Tree { group, member, trunk: first..self.readout.slots(), tails: Vec::new() };
        if role.marginal {
            for &split in &d.splits {
                tree.tails.push(self.tail(trunk, 1, &chunks[member], split, &d.marginal_ends(split))?);
            }
        }
        for tail in d.tails(member, role.tails) {
            for &split in &d.splits {
                let offset = 1 + self.tokens_before(&chunks[member], split);
                tree.tails.push(self.tail(trunk, offset, &chunks[tail], split, &d.cross_ends(split))?);
            }
        }
        self.trees.push(tree);
        Ok(())
    }

    /// Whether a chunk is as long as the design says, and cut where it says.
    fn is_cut(&self, chunk: &Text) -> bool {
        match self.design.unit {
            Unit::Tokens => chunk.cuts.is_empty() && chunk.tokens.len() == self.design.length as usize,
            Unit::Bytes => chunk.cuts.len() == self.marks.len() && chunk.cuts.is_sorted() && chunk.cuts.last().map(|&n| n as usize) == Some(chunk.tokens.len()),
        }
    }

    /// Tokens of a chunk before one of the marks.
    fn tokens_before(&self, of: &Text, mark: u32) -> u32 {
        match self.design.unit {
            Unit::Tokens => mark,
            Unit::Bytes => of.cuts[self.marks.binary_search(&mark).expect("sums end at marks")],
        }
    }

    /// A tail as a branch; every segment between two ends is a sum of its own.
    fn tail(&mut self, trunk: SpanId, offset: u32, of: &Text, split: u32, ends: &[u32]) -> Result<Vec<(u32, Option<Slot>)>> {
        let first = self.tokens_before(of, split);
        let to = self.tokens_before(of, split + self.design.tail(split));
        if first == to {
            return Ok(ends.iter().map(|&end| (end, None)).collect());
        }
        let span = self.forest.branch(trunk, offset, &of.tokens[first as usize..to as usize])?;
        let (mut from, mut slots) = (0, Vec::with_capacity(ends.len()));
        for &end in ends {
            let to = if self.design.unit == Unit::Tokens { end } else { self.tokens_before(of, split + end) - first };
            slots.push((end, (from < to).then(|| self.readout.sum(&self.forest, span, from..to)).transpose()?));
            from = to;
        }
        Ok(slots)
    }

    /// A sink for all values of this readout.
    pub fn collector(&self) -> Collector {
        Collector(vec![f64::NAN; self.readout.slots() as usize])
    }

    /// The record of every tree, in the order in which they were added.
    pub fn records(&self, values: &Collector) -> Vec<TreeRecord> {
        self.trees.iter().map(|tree| self.record(tree, &values.0)).collect()
    }

    fn record(&self, tree: &Tree, values: &[f64]) -> TreeRecord {
        let d = self.design;
        let role = d.role(tree.member);
        // The sums at a tail's ends, made of the segments in their order.
        let mut sums = tree.tails.iter().map(|tail| -> Vec<(u32, f64)> {
            let mut sum = 0.0;
            let add = |&(end, slot): &(u32, Option<Slot>)| {
                sum += slot.map_or(0.0, |s| values[s.0 as usize]);
                (end, sum)
            };
            tail.iter().map(add).collect()
        });
        let mut next = || sums.next().unwrap_or_default();
        let at = |sums: &[(u32, f64)], end: u64| sums.iter().find(|s| s.0 as u64 == end).map_or(f64::NAN, |s| s.1);
        let by_ratio = |sums: &[(u32, f64)], split: u32| -> Vec<f64> { d.ratios.iter().map(|&r| at(sums, (r as u64 - 1) * split as u64)).collect() };
        let mut marginal = Vec::new();
        if role.marginal {
            for &split in &d.splits {
                let s = next();
                marginal.extend((1..=FIRST as u64).map(|n| if d.unit == Unit::Tokens { at(&s, n) } else { f64::NAN }));
                marginal.extend(by_ratio(&s, split));
            }
        }
        let mut cross = Vec::new();
        for _ in 0..role.tails {
            for &split in &d.splits {
                cross.extend(by_ratio(&next(), split));
            }
        }
        let trunk = &values[tree.trunk.start as usize..tree.trunk.end as usize];
        TreeRecord { group: tree.group, member: tree.member as u32, trunk: trunk.iter().map(|&x| x as f32).collect(), marginal, cross }
    }
}

/// Keeps every slot's value; a token's float32 survives the widening unchanged.
pub struct Collector(Vec<f64>);

impl Collector {
    /// Whether every slot was given a finite number, and if not the first one that was not.
    pub fn missing(&self) -> Option<usize> {
        self.0.iter().position(|v| !v.is_finite())
    }
}

impl Sink for Collector {
    fn put(&mut self, slot: Slot, value: SlotValue) {
        self.0[slot.0 as usize] = match value {
            SlotValue::Token(v) => v as f64,
            SlotValue::Sum { sum, .. } => sum,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn design(length: u32, splits: &[u32], ratios: &[u32], foreign: u32, pairing: Pairing) -> Design {
        Design {
            pairing,
            cutting: Cutting::Chunks,
            unit: Unit::Tokens,
            length,
            splits: splits.into(),
            ratios: ratios.into(),
            foreign,
            terms: Terms { marginal: true, cross: true },
        }
    }

    fn rows(d: &Design) -> Vec<usize> {
        let text = Text { tokens: vec![0; d.length as usize], ..Text::default() };
        d.rows_of(&vec![text; d.members()]).unwrap()
    }

    #[test]
    fn fed_rows_of_one_text_at_2048() {
        let splits: Vec<u32> = (1..=10).map(|k| 1 << k).collect();
        let d = design(2048, &splits, &[2], 1, Pairing::Matched);
        assert_eq!(rows(&d), [6120, 6120]);
        // Joint and cross under the first piece; of the second ⊥ and its tails: 2048 + 2036, and 1 + 2036.
        let d = Design { pairing: Pairing::Published, ..d };
        assert_eq!(rows(&d), [4084, 2037]);
        let profile = Design { pairing: Pairing::Matched, terms: Terms::of(&[Estimator::Profile]), ..d.clone() };
        assert_eq!(rows(&profile), [2048, 2048]);
        let direct = Design { terms: Terms::of(&[Estimator::Direct]), ..profile };
        assert_eq!(rows(&direct), [4084, 4084]);
        let published = Design { terms: Terms::of(&[Estimator::Vclub]), ..d };
        assert_eq!(rows(&published), [4084, 0]);
    }

    #[test]
    fn foolish_designs_are_refused() {
        let said = |d: Design| d.check().unwrap_err().to_string();
        assert!(said(design(8, &[], &[2], 1, Pairing::Matched)).contains("--splits"));
        assert!(said(design(8, &[2, 2], &[2], 1, Pairing::Matched)).contains("--splits"));
        assert!(said(design(8, &[2], &[1], 1, Pairing::Matched)).contains("--ratios"));
        assert!(said(design(8, &[2, 8], &[2, 3], 1, Pairing::Matched)).contains("needs chunks of 16 tokens"));
        assert!(said(design(8, &[2], &[2], 0, Pairing::Matched)).contains("--foreign"));
        assert!(said(design(8, &[2], &[2], 2, Pairing::Published)).contains("--foreign"));
        design(8, &[2, 4], &[2, 3], 2, Pairing::Matched).check().unwrap();
    }
}
