//! Who meets whom: chunks in groups.

use super::chunks::Chunk;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, VecDeque};

/// Complete groups of the matched pairing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Each group's K + 1 chunks, as indices into the drawn order, ascending.
    pub groups: Vec<Vec<usize>>,
    /// Chunks that fill no group.
    pub unused: usize,
}

/// Fills disjoint groups of `foreign` + 1 chunks, no two of one document in a group and all of one label: each chunk in turn joins the first group of its
/// label that is neither full nor has a chunk of its document. `label` says a document's.
///
/// A group's chunks depend on the order up to its last one only, and groups come in the order in which they fill up; so more chunks
/// add groups and never change one. (Within a label that is the order in which they were begun: a document always joins the first open group without it, so the
/// open groups that have it are the first few. A group that fills up therefore has no open one before it: that one would have every document of the full group, and
/// be full itself.) With `foreign` = 0 every chunk is a group.
///
/// # Errors
/// No label with chunks of `foreign` + 1 documents.
pub fn matched(order: &[Chunk], label: impl Fn(u32) -> u32, foreign: usize) -> Result<Matched> {
    let mut filling: BTreeMap<u32, Filling> = BTreeMap::new();
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (i, chunk) in order.iter().enumerate() {
        let f = filling.entry(label(chunk.document)).or_default();
        let next = f.next.entry(chunk.document).or_insert(0);
        let g = (*next).max(f.full);
        *next = g + 1;
        if g == f.full + f.open.len() {
            f.open.push_back(Vec::with_capacity(foreign + 1));
        }
        let group = &mut f.open[g - f.full];
        group.push(i);
        if group.len() == foreign + 1 {
            debug_assert_eq!(g, f.full);
            groups.extend(f.open.pop_front());
            f.full += 1;
        }
    }
    let most = filling.values().map(|f| f.next.len()).max().unwrap_or(0);
    if most < foreign + 1 {
        let labels = if filling.len() > 1 { " of one label" } else { "" };
        return Err(Error::input(format!(
            "a group of --foreign {foreign} needs chunks of {}{labels}, but the {} drawn come from {}{} (one document is one file or row); ask for more --chunks, or with so few documents for --estimators direct,profile",
            count(foreign + 1),
            order.len(),
            if filling.len() > 1 { "at most " } else { "" },
            count(most)
        )));
    }
    Ok(Matched { unused: order.len() - groups.len() * (foreign + 1), groups })
}

/// The groups of one label while they fill up.
#[derive(Default)]
struct Filling {
    /// Groups that are full.
    full: usize,
    /// Those after them.
    open: VecDeque<Vec<usize>>,
    /// By document: the first group that does not have it, or one before it that is full.
    next: BTreeMap<u32, usize>,
}

fn count(documents: usize) -> String {
    match documents {
        1 => "1 document".into(),
        n => format!("{n} documents"),
    }
}

/// The published pairing of `pieces` pieces: pairs (a, b) of indices, the joint terms of a and the marginal and cross terms of b.
///
/// The first half of the pieces is one list, in order; the second half is the other, in an order scattered by a prime stride: pair n takes its
/// (n·stride mod pairs)-th. The stride is the first prime above 0.618 of the number of pairs that does not divide it. As in the published
/// scripts, the two pieces of a pair may come from one document. An odd piece is left over.
pub fn published(pieces: usize) -> Vec<[usize; 2]> {
    let pairs = pieces / 2;
    if pairs == 0 {
        return Vec::new();
    }
    let from = (pairs as f64 * 0.618) as usize + 1;
    let stride = (from.max(2)..).find(|&s| is_prime(s) && !pairs.is_multiple_of(s)).expect("there are infinitely many primes, and few divide a number");
    (0..pairs).map(|n| [n, pairs + (n as u128 * stride as u128 % pairs as u128) as usize]).collect()
}

fn is_prime(n: usize) -> bool {
    n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn chunks(documents: &[u32]) -> Vec<Chunk> {
        documents.iter().enumerate().map(|(i, &document)| Chunk { document, start: i as u64 }).collect()
    }

    proptest! {
        #[test]
        fn groups_are_disjoint_of_different_documents_and_stable(documents in prop::collection::vec(0u32..6, 1..80), foreign in 0usize..5, cut in 0usize..80) {
            let order = chunks(&documents);
            let have = documents.iter().collect::<BTreeSet<_>>().len();
            let all = matched(&order, |_| 0, foreign);
            prop_assert_eq!(all.is_ok(), have > foreign);
            let Ok(all) = all else { return Ok(()) };
            let used: BTreeSet<usize> = all.groups.iter().flatten().copied().collect();
            prop_assert_eq!(used.len() + all.unused, order.len());
            prop_assert_eq!(used.len(), all.groups.len() * (foreign + 1));
            for g in &all.groups {
                prop_assert_eq!(g.iter().map(|&i| documents[i]).collect::<BTreeSet<_>>().len(), foreign + 1);
                prop_assert!(g.is_sorted());
            }
            // What is left could not make another group by itself.
            let rest: BTreeSet<u32> = (0..order.len()).filter(|i| !used.contains(i)).map(|i| documents[i]).collect();
            prop_assert!(rest.len() <= foreign);
            if let Ok(fewer) = matched(&order[..cut.min(order.len())], |_| 0, foreign) {
                prop_assert_eq!(&fewer.groups[..], &all.groups[..fewer.groups.len()]);
            }
        }

        #[test]
        fn labels_are_filled_by_themselves(documents in prop::collection::vec(0u32..9, 1..80), foreign in 0usize..3, cut in 0usize..80) {
            let order = chunks(&documents);
            let label = |d: u32| d % 3;
            let one = |l: u32| -> Vec<usize> { (0..order.len()).filter(|&i| label(documents[i]) == l).collect() };
            // Every label's groups are those that it would have alone.
            let mut alone: Vec<Vec<usize>> = Vec::new();
            for l in 0..3 {
                let own = one(l);
                let chunks: Vec<Chunk> = own.iter().map(|&i| order[i]).collect();
                alone.extend(matched(&chunks, |_| 0, foreign).into_iter().flat_map(|m| m.groups).map(|g| g.iter().map(|&i| own[i]).collect()));
            }
            // In the order in which they fill up.
            alone.sort_by_key(|g| g.last().copied());
            let all = matched(&order, label, foreign);
            prop_assert_eq!(all.is_err(), alone.is_empty());
            let Ok(all) = all else { return Ok(()) };
            prop_assert_eq!(&all.groups, &alone);
            if let Ok(fewer) = matched(&order[..cut.min(order.len())], label, foreign) {
                prop_assert_eq!(&fewer.groups[..], &all.groups[..fewer.groups.len()]);
            }
        }

        #[test]
        fn it_is_what_searching_all_open_groups_gives(documents in prop::collection::vec(0u32..7, 1..60), foreign in 0usize..4) {
            let order = chunks(&documents);
            let Ok(fast) = matched(&order, |_| 0, foreign) else { return Ok(()) };
            let mut groups: Vec<Vec<usize>> = Vec::new();
            for (i, d) in documents.iter().enumerate() {
                match groups.iter_mut().find(|g| g.len() <= foreign && g.iter().all(|&j| documents[j] != *d)) {
                    Some(g) => g.push(i),
                    None => groups.push(vec![i]),
                }
            }
            groups.retain(|g| g.len() == foreign + 1);
            prop_assert_eq!(fast.groups, groups);
        }
    }

    #[test]
    fn too_few_documents_say_what_is_left() {
        let said = matched(&chunks(&[3, 3, 3]), |_| 0, 1).unwrap_err().to_string();
        assert!(said.starts_with("a group of --foreign 1 needs chunks of 2 documents, but the ") && said.contains(" drawn come from 1 document "), "{said}");
        assert!(said.ends_with("ask for more --chunks, or with so few documents for --estimators direct,profile"), "{said}");
        assert_eq!(matched(&chunks(&[3, 3]), |_| 0, 0).unwrap().groups, [[0], [1]]);
    }

    #[test]
    fn published_lists_are_disjoint_and_scattered() {
        assert_eq!(published(1), [] as [[usize; 2]; 0]);
        for pieces in [2, 3, 4, 5, 6, 7, 12, 60, 211, 2048] {
            let pairs = published(pieces);
            assert_eq!(pairs.len(), pieces / 2);
            let (a, b): (BTreeSet<_>, BTreeSet<_>) = pairs.iter().map(|p| (p[0], p[1])).unzip();
            assert_eq!((a.len(), b.len()), (pairs.len(), pairs.len()));
            assert!(a.is_disjoint(&b));
        }
        // 1,024 pairs: 0.618 of them is 632, and 641 is the first prime above.
        assert_eq!(published(2048)[..3], [[0, 1024], [1, 1024 + 641], [2, 1024 + 258]]);
    }
}
