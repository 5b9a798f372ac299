//! The recorded sums of one model over one corpus: all that an estimate is computed from.

use std::collections::BTreeSet;

/// Who meets whom (see [`Sums`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pairing {
    /// Groups of K+1 chunks of different documents; every chunk is the tail of the other K, and both terms of an estimate use the same tail.
    Matched,
    /// Groups of two pieces (a, b): the joint term of a, the marginal and cross terms of b (K = 1).
    Published,
}

/// Sums of one model over complete groups, in the fixed order of the plan. Natural logarithms.
///
/// Chunk w has `length` tokens w[1..length]; a split is ℓ, a ratio r = L/ℓ, X = w[1..ℓ], Y = w[ℓ+1..rℓ]. A pair (ℓ, r) exists where rℓ ≤ length.
/// Where lengths are bytes, a chunk has `length` bytes, X its first ℓ and Y those after them up to byte rℓ, and [`Member::cuts`] say which tokens these are.
#[derive(Clone, Debug)]
pub struct Sums {
    /// Pairing of the chunks.
    pub pairing: Pairing,
    /// Tokens of a chunk, or bytes.
    pub length: u32,
    /// ℓ, ascending.
    pub splits: Vec<u32>,
    /// r, ascending, each at least 2.
    pub ratios: Vec<u32>,
    /// Independent units.
    pub groups: Vec<Group>,
}

/// K+1 chunks that meet each other.
#[derive(Clone, Debug)]
pub struct Group {
    /// The chunks, in plan order.
    pub members: Vec<Member>,
}

/// One chunk.
#[derive(Clone, Debug)]
pub struct Member {
    /// Index of its document in the corpus.
    pub document: u32,
    /// ln q(w_t | ⊥ w[1..t−1]) of every token. May be empty for the second piece of a published pair.
    pub trunk: Vec<f32>,
    /// Where lengths are bytes, the tokens before each of [`Sums::marks`]; else empty.
    pub cuts: Vec<u32>,
    /// Of its tails on their own, one entry a split. Empty where the member has none (the first piece of a published pair) or none was asked for.
    pub marginal: Vec<Marginal>,
    /// Of its tails under foreign heads: `[head][split][ratio]`, heads being the other members in group order;
    /// Σ ln q(w_t | ⊥ head[1..ℓ] w[ℓ+1..t−1]) over t = ℓ+1 … rℓ, NaN where rℓ > length. Empty where no cross sums were asked for.
    pub cross: Vec<Vec<Vec<f64>>>,
}

/// A tail on its own: ln q(w_t | ⊥ w[ℓ+1..t−1]) summed.
#[derive(Clone, Debug)]
pub struct Marginal {
    /// For each ratio the sum over t = ℓ+1 … rℓ, NaN where rℓ > length.
    pub by_ratio: Vec<f64>,
    /// `first[n−1]`: the sum over the tail's first n tokens, n = 1 … 8; NaN where the tail is shorter.
    pub first: [f64; 8],
}

impl Sums {
    /// Whether the pair (ℓ, r) fits into a chunk.
    pub fn fits(&self, split: u32, ratio: u32) -> bool {
        split as u64 * ratio as u64 <= self.length as u64
    }

    /// The places of a chunk where X or Y ends: every ℓ that fits, every rℓ, and its length, ascending.
    pub fn marks(&self) -> Vec<u32> {
        let ends = |&l: &u32| {
            let far = self.ratios.iter().filter(move |&&r| self.fits(l, r)).map(move |r| r * l);
            std::iter::once(l).chain(far)
        };
        self.splits.iter().flat_map(ends).chain([self.length]).collect::<BTreeSet<u32>>().into_iter().collect()
    }

    /// The documents of every group's chunks.
    pub fn documents(&self) -> Vec<Vec<u32>> {
        self.groups.iter().map(|g| g.members.iter().map(|m| m.document).collect()).collect()
    }

    /// The same design without a group.
    pub fn with_no_group(&self) -> Sums {
        Sums { pairing: self.pairing, length: self.length, splits: self.splits.clone(), ratios: self.ratios.clone(), groups: Vec::new() }
    }

    /// The same texts under published pairing: of each matched pair (a, b) the joint term of a, the marginal and cross terms of b. For
    /// comparing the two pairings' errors on one record. `None` where the groups are not matched pairs.
    pub fn as_published(&self) -> Option<Sums> {
        let pairs = self.pairing == Pairing::Matched && self.groups.iter().all(|g| g.members.len() == 2);
        pairs.then(|| {
            let mut sums = Sums { pairing: Pairing::Published, ..self.clone() };
            for group in &mut sums.groups {
                group.members[0].marginal.clear();
                group.members[0].cross.clear();
            }
            sums
        })
    }
}
