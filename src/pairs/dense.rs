//! The whole table of pairs, for alphabets so small that it fits: bytes, bases, residues. Text is read once from front to back for each distance.

use super::rows::Row;
use super::segment::{Groups, Segment};
use rayon::prelude::*;

/// Counts of all pairs of the symbols that occur, by distance and fold.
pub(super) struct Dense {
    /// The symbols that occur.
    symbols: Vec<u32>,
    /// Of every symbol its place among those.
    index: Vec<Option<u8>>,
    folds: usize,
    /// `[distances, folds, first, second]`.
    pairs: Vec<u32>,
    /// `[distances, folds, symbol]`: how often it is the second of a pair.
    seconds: Vec<u32>,
}

impl Dense {
    /// Symbols of an alphabet at the most.
    pub const MOST_KINDS: usize = 256;

    /// Counts a segment at all distances; `None` where the table would take more than `memory` bytes.
    pub fn count(segment: &Segment, kinds: usize, folds: usize, distances: &[u64], memory: usize) -> Option<Self> {
        if kinds > Self::MOST_KINDS {
            return None;
        }
        let mut occurs = vec![false; kinds];
        segment.symbols().iter().for_each(|&s| occurs[s as usize] = true);
        let symbols: Vec<u32> = (0..kinds as u32).filter(|&s| occurs[s as usize]).collect();
        let k = symbols.len();
        if 4 * k * k * folds * distances.len() > memory {
            return None;
        }
        let mut index = vec![None; kinds];
        symbols.iter().enumerate().for_each(|(i, &s)| index[s as usize] = Some(i as u8));
        let text: Vec<u8> = segment.symbols().par_iter().map(|&s| index[s as usize].unwrap_or_default()).collect();
        let (mut pairs, mut seconds) = (vec![0u32; distances.len() * folds * k * k], vec![0u32; distances.len() * folds * k]);
        let tables = pairs.par_chunks_mut((k * k).max(1)).zip(seconds.par_chunks_mut(k.max(1))).enumerate();
        tables.for_each(|(at, (pairs, seconds))| {
            let (distance, fold) = (distances[at / folds], at % folds);
            for piece in segment.of_fold(fold) {
                let (from, until) = piece.partners(distance);
                let own = piece.own();
                text[own.start.max(from).min(own.end)..own.end].iter().for_each(|&s| seconds[s as usize] += 1);
                let firsts = &text[own.start..until.clamp(own.start, own.end)];
                // Where none has a partner, the distance may lead beyond the text.
                let partners = text.get(own.start + distance as usize..).unwrap_or_default();
                firsts.iter().zip(partners).for_each(|(&a, &b)| pairs[a as usize * k + b as usize] += 1);
            }
        });
        Some(Dense { symbols, index, folds, pairs, seconds })
    }

    /// Whether a symbol occurs.
    pub fn occurs(&self, symbol: usize) -> bool {
        self.index[symbol].is_some()
    }

    /// Tells the pairs at the distance of this index of which `symbol` is the first, and how often it is the second, fold by fold.
    pub fn pairs(&self, symbol: usize, distance: usize, row: &mut Row, groups: &mut impl Groups) {
        let (Some(i), k) = (self.index[symbol].map(usize::from), self.symbols.len()) else { return };
        for fold in 0..self.folds {
            let table = distance * self.folds + fold;
            let times = &self.pairs[(table * k + i) * k..][..k];
            self.symbols.iter().zip(times).filter(|t| *t.1 > 0).for_each(|(&second, &times)| row.put(second, times));
            groups.group(fold, self.seconds[table * k + i].into(), row);
        }
    }
}
