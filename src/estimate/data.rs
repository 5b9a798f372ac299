//! The recorded sums of one model over one corpus: all that an estimate is computed from.

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
#[derive(Clone, Debug)]
pub struct Sums {
    /// Pairing of the chunks.
    pub pairing: Pairing,
    /// Tokens of a chunk.
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
    /// ln q(w_t | ⊥ w[1..t−1]) for t = 1 … length; `length` values. May be empty for the second piece of a published pair.
    pub trunk: Vec<f32>,
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
