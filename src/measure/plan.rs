//! From groups of chunks to a forest with its readout, and from slots back to one record a tree.
//!
//! A tree belongs to one member of a group and is the unit of the journal. Its root is ⊥ w[1..L]; ⊥ counts in branch offsets, so the tail of another
//! chunk under the head w[1..ℓ] is a branch at ℓ + 1 and the own tail on its own a branch at 1. Foreign tails are trees of their own as well, so all
//! terms of a group are had once its trees are.

use crate::corpus::{Cutting, TokenizedDocument};
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

/// A chunk with its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Index of its document in the corpus.
    pub document: u32,
    /// The document's name.
    pub document_id: String,
    /// The document's label, where the corpus gives it one.
    pub label: Option<String>,
    /// Index of its first token in the document; 0 for a piece, which is tokenised on its own.
    pub token_offset: u64,
    /// Where it lies in the document's bytes; `None` where the document came as tokens.
    pub bytes: Option<Bytes>,
    /// w[1..L].
    pub tokens: Vec<TokenId>,
}

/// Where a chunk lies in its document's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Its first byte.
    pub offset: u64,
    /// Bytes of the first n tokens, n at each of [`Design::marks`].
    pub lengths: Vec<u32>,
}

impl Text {
    /// The chunk of `design.length` tokens from token `start` of document number `index` on.
    ///
    /// # Errors
    /// A document that ends before.
    pub fn cut(design: &Design, index: u32, document: &TokenizedDocument, start: u64) -> Result<Text> {
        let from = start as usize;
        let tokens = document.tokens.get(from..from + design.length as usize);
        let tokens = tokens.ok_or_else(|| Error::input(format!("{} has no {} tokens from token {start} on", document.id, design.length)))?.to_vec();
        let bytes = document.byte_offsets.as_ref().map(|at| {
            let offset = at[from];
            Bytes { offset, lengths: design.marks().iter().map(|&n| (at[from + n as usize] - offset) as u32).collect() }
        });
        Ok(Text { document: index, document_id: document.id.clone(), label: None, token_offset: start, bytes, tokens })
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
    /// Tokens of a chunk, L_max.
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
        if self.splits.is_empty() || self.splits[0] == 0 || !ascending(&self.splits) {
            return Err(Error::input("--splits must be different numbers of tokens, each at least 1"));
        }
        if self.ratios.is_empty() || self.ratios[0] < 2 || !ascending(&self.ratios) {
            return Err(Error::input("--ratios must be different whole numbers, each at least 2"));
        }
        let largest = self.splits[self.splits.len() - 1];
        if largest as u64 * self.ratios[0] as u64 > self.length as u64 {
            return Err(Error::input(format!(
                "a split of {largest} tokens at ratio {} needs chunks of {} tokens, but --length is {}",
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

    /// Numbers of tokens at which a chunk's bytes are told: every ℓ, every rℓ and L, ascending.
    pub fn marks(&self) -> Vec<u32> {
        let fitting = self.splits.iter().flat_map(|&l| std::iter::once(l).chain(self.cross_ends(l).into_iter().map(move |n| l + n)));
        fitting.chain([self.length]).collect::<BTreeSet<u32>>().into_iter().collect()
    }

    fn role(&self, member: usize) -> Role {
        let Terms { marginal, cross } = self.terms;
        match (self.pairing, member) {
            (Pairing::Matched, _) => Role { trunk: true, marginal, tails: if cross { self.foreign as usize } else { 0 } },
            (Pairing::Published, 0) => Role { trunk: true, marginal: false, tails: cross as usize },
            (Pairing::Published, _) => Role { trunk: false, marginal, tails: 0 },
        }
    }

    /// Whether a tree's record has the shape that this design gives it.
    pub(super) fn fits(&self, tree: &TreeRecord) -> bool {
        let member = tree.member as usize;
        let role = self.role(member);
        let (splits, ratios) = (self.splits.len(), self.ratios.len());
        member < self.members()
            && tree.trunk.len() == if role.trunk { self.length as usize } else { 0 }
            && tree.marginal.len() == if role.marginal { splits * (FIRST + ratios) } else { 0 }
            && tree.cross.len() == role.tails * splits * ratios
    }

    /// Whose tails branch off the trunk of `member`, in the order of the group; as many as `role` says.
    fn tails(&self, member: usize, count: usize) -> impl Iterator<Item = usize> + use<> {
        (0..self.members()).filter(move |&j| j != member).take(count)
    }

    /// Tokens of the longest tail at split ℓ.
    fn tail(&self, split: u32) -> u32 {
        self.cross_ends(split).last().copied().unwrap_or(0)
    }

    /// After how many tokens of a foreign tail its sum is wanted, ascending.
    fn cross_ends(&self, split: u32) -> Vec<u32> {
        self.ratios.iter().filter(|&&r| split as u64 * r as u64 <= self.length as u64).map(|r| (r - 1) * split).collect()
    }

    /// After how many tokens of a tail on its own its sum is wanted, ascending.
    fn marginal_ends(&self, split: u32) -> Vec<u32> {
        let tail = self.tail(split);
        let ends: BTreeSet<u32> = self.cross_ends(split).into_iter().chain((1..=FIRST as u32).filter(|&n| n <= tail)).collect();
        ends.into_iter().collect()
    }

    /// Rows that one group feeds, by member: fed tokens, ⊥ among them.
    pub fn rows(&self) -> Result<Vec<usize>> {
        let empty = Text { tokens: vec![0; self.length as usize], ..Text::default() };
        let group = vec![empty; self.members()];
        let mut planned = Planned::new(self, 0);
        for member in 0..self.members() {
            planned.add(0, member, &group)?;
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
    /// Empty where none was asked for.
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
    trees: Vec<(u32, usize, Range<u32>)>,
}

impl<'d> Planned<'d> {
    /// No tree yet; `start` is ⊥.
    pub fn new(design: &'d Design, start: TokenId) -> Self {
        Planned { design, start, forest: Forest::new(), readout: Readout::new(), trees: Vec::new() }
    }

    /// Adds the tree of one member of a group.
    ///
    /// # Errors
    /// A group or chunk of another size than the design says.
    pub fn add(&mut self, group: u32, member: usize, chunks: &[Text]) -> Result<()> {
        let d = self.design;
        if chunks.len() != d.members() || chunks.iter().any(|c| c.tokens.len() != d.length as usize) {
            return Err(Error::input(format!("group {group} is not {} chunks of {} tokens", d.members(), d.length)));
        }
        let role = d.role(member);
        let first = self.readout.slots();
        let mut root = vec![self.start];
        if role.trunk {
            root.extend_from_slice(&chunks[member].tokens);
        }
        let trunk = self.forest.root(&root)?;
        if role.trunk {
            self.readout.each(&self.forest, trunk, 1..d.length + 1)?;
        }
        if role.marginal {
            for &split in &d.splits {
                self.tail(trunk, 1, &chunks[member], split, &d.marginal_ends(split))?;
            }
        }
        for tail in d.tails(member, role.tails) {
            for &split in &d.splits {
                self.tail(trunk, split + 1, &chunks[tail], split, &d.cross_ends(split))?;
            }
        }
        self.trees.push((group, member, first..self.readout.slots()));
        Ok(())
    }

    /// A tail as a branch; every segment between two ends is a sum of its own.
    fn tail(&mut self, trunk: SpanId, offset: u32, of: &Text, split: u32, ends: &[u32]) -> Result<()> {
        let span = self.forest.branch(trunk, offset, &of.tokens[split as usize..(split + self.design.tail(split)) as usize])?;
        let mut from = 0;
        for &to in ends {
            self.readout.sum(&self.forest, span, from..to)?;
            from = to;
        }
        Ok(())
    }

    /// A sink for all values of this readout.
    pub fn collector(&self) -> Collector {
        Collector(vec![f64::NAN; self.readout.slots() as usize])
    }

    /// The record of every tree, in the order in which they were added.
    pub fn records(&self, values: &Collector) -> Vec<TreeRecord> {
        self.trees.iter().map(|(group, member, slots)| self.record(*group, *member, &values.0[slots.start as usize..slots.end as usize])).collect()
    }

    fn record(&self, group: u32, member: usize, values: &[f64]) -> TreeRecord {
        let d = self.design;
        let role = d.role(member);
        let (trunk, mut rest) = values.split_at(if role.trunk { d.length as usize } else { 0 });
        // The sums at `ends`, made of the segments in their order.
        let mut sums = |ends: &[u32]| -> Vec<(u32, f64)> {
            let (segments, after) = rest.split_at(ends.len());
            rest = after;
            let mut sum = 0.0;
            ends.iter()
                .zip(segments)
                .map(|(&end, s)| {
                    sum += s;
                    (end, sum)
                })
                .collect()
        };
        let at = |sums: &[(u32, f64)], end: u64| sums.iter().find(|s| s.0 as u64 == end).map_or(f64::NAN, |s| s.1);
        let by_ratio = |sums: &[(u32, f64)], split: u32| -> Vec<f64> { d.ratios.iter().map(|&r| at(sums, (r as u64 - 1) * split as u64)).collect() };
        let mut marginal = Vec::new();
        if role.marginal {
            for &split in &d.splits {
                let s = sums(&d.marginal_ends(split));
                marginal.extend((1..=FIRST as u64).map(|n| at(&s, n)));
                marginal.extend(by_ratio(&s, split));
            }
        }
        let mut cross = Vec::new();
        for _ in 0..role.tails {
            for &split in &d.splits {
                cross.extend(by_ratio(&sums(&d.cross_ends(split)), split));
            }
        }
        TreeRecord { group, member: member as u32, trunk: trunk.iter().map(|&x| x as f32).collect(), marginal, cross }
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
            length,
            splits: splits.into(),
            ratios: ratios.into(),
            foreign,
            terms: Terms { marginal: true, cross: true },
        }
    }

    #[test]
    fn fed_rows_of_one_text_at_2048() {
        let splits: Vec<u32> = (1..=10).map(|k| 1 << k).collect();
        let d = design(2048, &splits, &[2], 1, Pairing::Matched);
        assert_eq!(d.rows().unwrap(), [6120, 6120]);
        // Joint and cross under the first piece; of the second ⊥ and its tails: 2048 + 2036, and 1 + 2036.
        let d = Design { pairing: Pairing::Published, ..d };
        assert_eq!(d.rows().unwrap(), [4084, 2037]);
        let profile = Design { pairing: Pairing::Matched, terms: Terms::of(&[Estimator::Profile]), ..d.clone() };
        assert_eq!(profile.rows().unwrap(), [2048, 2048]);
        let direct = Design { terms: Terms::of(&[Estimator::Direct]), ..profile };
        assert_eq!(direct.rows().unwrap(), [4084, 4084]);
        let published = Design { terms: Terms::of(&[Estimator::Vclub]), ..d };
        assert_eq!(published.rows().unwrap(), [4084, 0]);
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
