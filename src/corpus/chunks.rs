//! Chunks: equally long pieces of documents, at random places, in a random order.

use crate::error::{Error, Result};
use crate::rng::Rng;

/// `length` tokens of a document, from token `start` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Chunk {
    /// Index of the document in the corpus.
    pub document: u32,
    /// Its first token's index in the document.
    pub start: u64,
}

/// All chunks that a corpus holds, in the order in which they are to be used, and what was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing {
    /// Tokens of a chunk.
    pub length: u32,
    /// The chunks; a measurement of N uses the first N.
    pub chunks: Vec<Chunk>,
    /// Documents with fewer than `length` tokens.
    pub too_short: u64,
}

/// Streams of the seed: the order's, and from there on one a document.
const ORDER: u64 = 0;
const PLACES: u64 = 1;

/// Draws as many disjoint chunks as fit, from documents of the given numbers of tokens, and puts them into a random order.
///
/// *Places.* A document of T tokens holds m = ⌊T/L⌋ chunks of L, and T − mL tokens remain over. Its chunks' starts s_0 < … < s_(m−1) are one of the
/// C(T − mL + m, m) ways to place m disjoint chunks, all equally likely: the remainder falls into the m + 1 gaps uniformly ("stars and bars"). So where one
/// chunk fits its start is uniform on 0 … T − L; where several do, each is uniform given its neighbours, s_k on s_(k−1) + L … s_(k+1) − L (with 0 and
/// T − L at the ends), and no token is favoured but for what the document's two ends do to chunks that must all fit between them. A document's
/// places depend on the seed, its index and its length alone.
///
/// *Order.* A uniform permutation of all chunks of all documents. It does not depend on how many are wanted: the first N of it are N chunks without
/// replacement, and stay the same when N grows.
///
/// # Errors
/// No document of `length` tokens.
pub fn draw(lengths: &[u64], length: u32, seed: u64) -> Result<Drawing> {
    if length == 0 {
        return Err(Error::input("a chunk needs at least one token; choose a larger --length"));
    }
    let (mut chunks, mut too_short) = (Vec::new(), 0);
    for (document, &tokens) in lengths.iter().enumerate() {
        if tokens < length as u64 {
            too_short += 1;
            continue;
        }
        let mut rng = Rng::new(seed, PLACES + document as u64);
        chunks.extend(places(tokens, length as u64, &mut rng).into_iter().map(|start| Chunk { document: document as u32, start }));
    }
    if chunks.is_empty() {
        let longest = lengths.iter().max().copied().unwrap_or(0);
        return Err(Error::input(format!(
            "no text is long enough: a chunk has {length} tokens and the longest of {} documents has {longest}; choose a smaller --length or give longer texts",
            lengths.len()
        )));
    }
    Rng::new(seed, ORDER).shuffle(&mut chunks);
    Ok(Drawing { length, chunks, too_short })
}

/// Starts of ⌊tokens/length⌋ disjoint chunks, ascending. `length` is not 0.
///
/// Choosing m of the slack + m places of a row (Knuth, The Art of Computer Programming 2, 3.4.2, algorithm S) says in which order m chunks and `slack`
/// single tokens follow each other.
fn places(tokens: u64, length: u64, rng: &mut Rng) -> Vec<u64> {
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
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn chunks_are_disjoint_inside_and_as_many_as_fit(lengths in prop::collection::vec(0u64..200, 1..20), length in 1u32..50, seed: u64) {
            let fit: u64 = lengths.iter().map(|t| t / length as u64).sum();
            let drawing = draw(&lengths, length, seed);
            prop_assert_eq!(drawing.is_ok(), fit > 0);
            let Ok(drawing) = drawing else { return Ok(()) };
            prop_assert_eq!(drawing.chunks.len() as u64, fit);
            prop_assert_eq!(drawing.too_short, lengths.iter().filter(|&&t| t < length as u64).count() as u64);
            let mut by_document: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
            for c in &drawing.chunks {
                by_document.entry(c.document).or_default().push(c.start);
            }
            for (document, mut starts) in by_document {
                starts.sort();
                prop_assert!(starts.windows(2).all(|w| w[0] + length as u64 <= w[1]));
                prop_assert!(starts.last().unwrap() + length as u64 <= lengths[document as usize]);
            }
            prop_assert_eq!(&draw(&lengths, length, seed).unwrap(), &drawing);
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
                *counts.entry(places(tokens, length, &mut Rng::new(seed, PLACES))).or_insert(0) += 1;
            }
            assert!(uniform(&counts, ways), "{tokens} {length}: {counts:?}");
        }
    }

    #[test]
    fn every_chunk_is_equally_likely_to_come_first() {
        let mut counts = BTreeMap::new();
        for seed in 0..20_000 {
            let first = draw(&[8, 40, 3, 16], 8, seed).unwrap().chunks[0];
            *counts.entry(vec![first.document as u64, first.start]).or_insert(0) += 1;
        }
        assert!(uniform(&counts, 8), "{counts:?}");
    }

    #[test]
    fn documents_are_placed_independently_of_each_other() {
        let sorted = |lengths: &[u64]| {
            let mut c = draw(lengths, 10, 7).unwrap().chunks;
            c.sort_by_key(|c| (c.document, c.start));
            c
        };
        let (a, b) = (sorted(&[95, 48]), sorted(&[95, 48, 77]));
        assert_eq!(a[..], b[..a.len()]);
    }

    #[test]
    fn texts_that_are_all_too_short_are_an_error() {
        let said = draw(&[5, 9], 10, 1).unwrap_err().to_string();
        assert!(said.starts_with("no text is long enough: a chunk has 10 tokens and the longest of 2 documents has 9"), "{said}");
        assert!(draw(&[], 10, 1).is_err() && draw(&[5], 0, 1).is_err());
    }
}
