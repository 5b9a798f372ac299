//! Chunks: equally long pieces of documents, at random places, in a random order that asks for the tokens of few documents.

use crate::rng::{Rng, mix};
use std::collections::{BTreeMap, BinaryHeap};

/// `length` tokens of a document, from token `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chunk {
    /// Index of the document in the corpus.
    pub document: u32,
    /// Its first token's index in the text that was tokenised: the document, or the piece of it.
    pub start: u64,
}

/// Streams of the seed: the order's, and from there on one a document.
const ORDER: u64 = 0;
const PLACES: u64 = 1;

/// A place in the order: that of a document's chunk number `slot`, if it has that many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot {
    /// Pseudo-random: by it slots are ordered, then by document and number.
    pub key: u64,
    /// Index of the document.
    pub document: u32,
    /// Number of the chunk in its document, in reading order.
    pub slot: u64,
}

/// The order of all chunks of a corpus.
///
/// A slot's key depends on the seed, its document's index and its number alone. So the order of the chunks is a uniform permutation (keys are as good as independent
/// and uniform); the first N of it are N chunks without replacement and stay the same when N grows; and it is the same whether a document's number
/// of chunks is known or only a bound: a slot beyond the last chunk is left out when its turn comes, and changes no other's place.
pub struct Order<'a> {
    /// Most chunks of each document.
    most: &'a [u64],
    seed: u64,
}

impl<'a> Order<'a> {
    /// The order of documents with at most `most` chunks each.
    pub fn new(most: &'a [u64], seed: u64) -> Self {
        Order { most, seed }
    }

    /// The first `count` slots of the order after `after`, without those that are known to be beyond their document's last chunk: `known` has the number of
    /// chunks of documents for which it is certain. Holds 24 bytes a slot.
    pub fn next(&self, after: Option<Slot>, count: usize, known: &BTreeMap<u32, u64>) -> Vec<Slot> {
        let mut first: BinaryHeap<Slot> = BinaryHeap::new();
        let mut seed = self.seed;
        let of_seed = mix(&mut seed) ^ ORDER;
        for (document, &most) in self.most.iter().enumerate() {
            let document = document as u32;
            let most = known.get(&document).map_or(most, |&n| n.min(most));
            let mut state = of_seed ^ (document as u64).wrapping_mul(0xd134_2543_de82_ef95);
            let mut state = mix(&mut state);
            for slot in 0..most {
                let slot = Slot { key: mix(&mut state), document, slot };
                if after.is_some_and(|a| slot <= a) {
                    continue;
                }
                if first.len() < count {
                    first.push(slot);
                } else if let Some(mut last) = first.peek_mut()
                    && slot < *last
                {
                    *last = slot;
                }
            }
        }
        first.into_sorted_vec()
    }
}

/// Starts of the ⌊tokens/length⌋ disjoint chunks of document number `document`, ascending. `length` is not 0.
///
/// A document of T tokens holds m = ⌊T/L⌋ chunks of L, and T − mL tokens remain over. Its chunks' starts s_0 < … < s_(m−1) are one of the
/// C(T − mL + m, m) ways to place m disjoint chunks, all equally likely: the remainder falls into the m + 1 gaps uniformly ("stars and bars"). So where one
/// chunk fits its start is uniform on 0 … T − L; where several do, each is uniform given its neighbours, s_k on s_(k−1) + L … s_(k+1) − L (with 0 and
/// T − L at the ends), and no token is favoured but for what the document's two ends do to chunks that must all fit between them. A document's
/// places depend on the seed, its index and its length alone.
pub fn places(tokens: u64, length: u32, document: u32, seed: u64) -> Vec<u64> {
    spread(tokens, length as u64, &mut Rng::new(seed, PLACES + document as u64))
}

/// Choosing m of the slack + m places of a row (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S) says in which order m chunks and `slack`
/// single tokens follow each other.
fn spread(tokens: u64, length: u64, rng: &mut Rng) -> Vec<u64> {
    let (mut left, mut slack) = (tokens / length, tokens % length);
    let mut out = Vec::with_capacity(left as usize);
    let mut at = 0;
    while left > 0 {
        if rng.below(left + slack) < left {
            out.push(at);
            at += length;
            left -= 1;
        } else {
            at += 1;
            slack -= 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

    /// Every slot below the numbers given, sorted: what the order is.
    fn brute(numbers: &[u64], seed: u64) -> Vec<Slot> {
        let all = numbers.iter().sum::<u64>() as usize;
        let mut slots: Vec<Slot> = Vec::new();
        // One document at a time, so that nothing but the keys is shared with what is tested.
        for d in 0..numbers.len() {
            let mut one = vec![0; numbers.len()];
            one[d] = numbers[d];
            slots.extend(Order::new(&one, seed).next(None, all, &BTreeMap::new()));
        }
        slots.sort();
        slots
    }

    proptest! {
        #[test]
        fn chunks_are_disjoint_inside_and_as_many_as_fit(tokens in 0u64..500, length in 1u32..50, document: u32, seed: u64) {
            let starts = places(tokens, length, document, seed);
            prop_assert_eq!(starts.len() as u64, tokens / length as u64);
            prop_assert!(starts.windows(2).all(|w| w[0] + length as u64 <= w[1]));
            prop_assert!(starts.last().is_none_or(|s| s + length as u64 <= tokens));
            prop_assert_eq!(places(tokens, length, document, seed), starts);
        }

        #[test]
        fn the_order_comes_in_any_portions(numbers in prop::collection::vec(0u64..9, 0..12), portions in prop::collection::vec(1usize..9, 1..4), seed: u64) {
            let all = brute(&numbers, seed);
            let order = Order::new(&numbers, seed);
            let (mut got, mut after) = (Vec::new(), None);
            for &n in portions.iter().cycle() {
                let next = order.next(after, n, &BTreeMap::new());
                prop_assert_eq!(next.len(), n.min(all.len() - got.len()));
                if next.is_empty() {
                    break;
                }
                after = next.last().copied();
                got.extend(next);
            }
            prop_assert_eq!(got, all);
        }

        #[test]
        fn bounds_leave_the_order_as_it_is(numbers in prop::collection::vec((0u64..6, 0u64..6), 0..10), certain in prop::collection::vec(prop::bool::ANY, 10), seed: u64) {
            let (true_ones, bounds): (Vec<u64>, Vec<u64>) = numbers.iter().map(|&(n, more)| (n, n + more)).unzip();
            let known: BTreeMap<u32, u64> = (0..true_ones.len()).filter(|&d| certain[d]).map(|d| (d as u32, true_ones[d])).collect();
            let mut got = Order::new(&bounds, seed).next(None, 1000, &known);
            prop_assert!(got.iter().all(|s| known.get(&s.document).is_none_or(|&n| s.slot < n)));
            got.retain(|s| s.slot < true_ones[s.document as usize]);
            prop_assert_eq!(got, brute(&true_ones, seed));
        }
    }

    /// Whether counts of equally likely cells lie within simultaneous bounds of 1e-6 altogether: each cell within z standard deviations of a
    /// binomial count, with Bonferroni's correction over at most 100 cells (z = 5.6 leaves 2.2e-8 a cell; counts here are in the hundreds and more).
    fn uniform(counts: &BTreeMap<Vec<u64>, u64>, cells: usize) -> bool {
        let n: u64 = counts.values().sum();
        let p = 1.0 / cells as f64;
        let sd = (n as f64 * p * (1.0 - p)).sqrt();
        counts.len() == cells && cells <= 100 && counts.values().all(|&c| (c as f64 - n as f64 * p).abs() <= 5.6 * sd)
    }

    #[test]
    fn every_arrangement_is_equally_likely() {
        // (tokens, length, arrangements): one chunk anywhere; two with five over: C(7, 2); three with two over: C(5, 3); no room to move.
        for (tokens, length, ways) in [(50, 26, 25), (21, 8, 21), (23, 7, 10), (12, 4, 1)] {
            let mut counts = BTreeMap::new();
            for seed in 0..20_000 {
                *counts.entry(places(tokens, length, 0, seed)).or_insert(0) += 1;
            }
            assert!(uniform(&counts, ways), "{tokens} {length}: {counts:?}");
        }
    }

    #[test]
    fn every_order_is_equally_likely() {
        let mut counts = BTreeMap::new();
        for seed in 0..20_000 {
            let order = Order::new(&[1, 0, 2, 1], seed).next(None, 9, &BTreeMap::new());
            *counts.entry(order.iter().map(|s| 10 * s.document as u64 + s.slot).collect::<Vec<u64>>()).or_insert(0) += 1;
        }
        assert!(uniform(&counts, 24), "{counts:?}");
        // Over the documents and slots of one seed, too: which of 8 neighbouring slots comes first.
        let mut counts = BTreeMap::new();
        let slots = Order::new(&[8; 10_000], 3).next(None, 80_000, &BTreeMap::new());
        let mut seen = std::collections::BTreeSet::new();
        for s in slots {
            if seen.insert(s.document) {
                *counts.entry(vec![s.slot]).or_insert(0) += 1;
            }
        }
        assert!(uniform(&counts, 8), "{counts:?}");
    }
}
