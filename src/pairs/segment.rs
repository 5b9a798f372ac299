//! Texts in memory, and the places of every symbol in them.

use super::rows::Row;
use std::ops::Range;

/// Documents, or parts of them, of a segment at most: so that two bytes say which.
pub(super) const MOST_PIECES: usize = 1 << 16;

/// A document in a segment, or the part of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece {
    /// Its first place.
    start: u32,
    /// The end of the places that are counted here.
    own: u32,
    /// The end of those that can be seen from them.
    end: u32,
    /// What fold its document is in.
    fold: u32,
    /// Where in the document it starts.
    offset: u64,
}

impl Piece {
    /// The places that are counted here.
    pub fn own(&self) -> Range<usize> {
        self.start as usize..self.own as usize
    }

    /// The first place that has a partner at this distance before it, and the end of those that have one after them; of distance 0 none has one after it.
    pub fn partners(&self, distance: u64) -> (usize, usize) {
        // No text in memory is as long as a distance beyond 32 bits.
        let bounded = |d: u64| u32::try_from(d).unwrap_or(u32::MAX);
        let from = self.start.saturating_add(bounded(distance.saturating_sub(self.offset)));
        (from as usize, if distance == 0 { 0 } else { self.end.saturating_sub(bounded(distance)) as usize })
    }
}

/// Texts as symbols.
#[derive(Debug, Default)]
pub(super) struct Segment {
    symbols: Vec<u32>,
    pieces: Vec<Piece>,
    /// Places that are counted here.
    own: usize,
}

impl Segment {
    /// Bytes that a place takes, here and inverted.
    pub const A_PLACE: usize = 10;

    /// Takes `document[offset .. offset + own]`, and sees what follows up to `reach` symbols on. `most` bounds what is ever taken.
    pub fn push(&mut self, document: &[u32], offset: usize, own: usize, reach: usize, fold: usize, most: usize) {
        let end = (offset + own).saturating_add(reach).min(document.len());
        let (start, seen) = (self.symbols.len(), &document[offset..end]);
        if self.symbols.capacity() - start < seen.len() {
            // Doubling would go beyond the bound.
            self.symbols.reserve_exact(seen.len().max(start.min(most.saturating_sub(start))));
        }
        self.symbols.extend_from_slice(seen);
        self.pieces.push(Piece { start: start as u32, own: (start + own) as u32, end: self.symbols.len() as u32, fold: fold as u32, offset: offset as u64 });
        self.own += own;
    }

    /// Places that are counted here.
    pub fn own(&self) -> usize {
        self.own
    }

    /// Its symbols, with those that are only seen.
    pub fn symbols(&self) -> &[u32] {
        &self.symbols
    }

    /// The pieces of documents in a fold.
    pub fn of_fold(&self, fold: usize) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(move |p| p.fold as usize == fold)
    }

    /// Pieces taken.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// Forgets all, and keeps the memory.
    pub fn clear(&mut self) {
        self.symbols.clear();
        self.pieces.clear();
        self.own = 0;
    }

    /// Finds the places of each of `kinds` symbols.
    pub fn invert(&mut self, kinds: usize) -> Inverted<'_> {
        // By fold, and in the order of the text within it.
        self.pieces.sort_by_key(|p| (p.fold, p.start));
        let mut starts = vec![0u32; kinds + 1];
        for p in &self.pieces {
            for &s in &self.symbols[p.own()] {
                starts[s as usize + 1] += 1;
            }
        }
        for s in 0..kinds {
            starts[s + 1] += starts[s];
        }
        let mut next = starts[..kinds].to_vec();
        let (mut places, mut piece_of) = (vec![0u32; self.own], vec![0u16; self.own]);
        for (number, p) in self.pieces.iter().enumerate() {
            for place in p.own() {
                let at = &mut next[self.symbols[place] as usize];
                places[*at as usize] = place as u32;
                piece_of[*at as usize] = number as u16;
                *at += 1;
            }
        }
        Inverted { symbols: &self.symbols, pieces: &self.pieces, starts, places, piece_of }
    }
}

/// A segment with the places of every symbol, by fold and then by place.
pub(super) struct Inverted<'a> {
    symbols: &'a [u32],
    pieces: &'a [Piece],
    /// Where each symbol's places begin.
    starts: Vec<u32>,
    places: Vec<u32>,
    piece_of: Vec<u16>,
}

/// Takes what a symbol is paired with, fold after fold.
pub(super) trait Groups {
    /// In `fold` the symbol is `seconds` times the second of a pair, and the first of those that are in the row.
    fn group(&mut self, fold: usize, seconds: u64, row: &mut Row);
}

impl Inverted<'_> {
    /// How often a symbol occurs.
    pub fn occurs(&self, symbol: usize) -> usize {
        (self.starts[symbol + 1] - self.starts[symbol]) as usize
    }

    /// Counts the pairs at a distance of which `symbol` is the first, and how often it is the second, fold by fold. Of distance 0 there are no pairs.
    pub fn pairs(&self, symbol: usize, distance: u64, row: &mut Row, groups: &mut impl Groups) {
        let of = self.starts[symbol] as usize..self.starts[symbol + 1] as usize;
        let (mut fold, mut seconds) = (None, 0);
        let (mut places, mut piece_of) = (&self.places[of.clone()], &self.piece_of[of]);
        while let Some(&number) = piece_of.first() {
            let many = piece_of.iter().position(|&n| n != number).unwrap_or(piece_of.len());
            let p = &self.pieces[number as usize];
            if fold != Some(p.fold)
                && let Some(fold) = fold.replace(p.fold)
            {
                groups.group(fold as usize, std::mem::take(&mut seconds), row);
            }
            let (own, later) = places.split_at(many);
            let (from, until) = p.partners(distance);
            seconds += (many - own.partition_point(|&place| (place as usize) < from)) as u64;
            let firsts = &own[..own.partition_point(|&place| (place as usize) < until)];
            row.count(self.symbols, firsts, distance as usize);
            (places, piece_of) = (later, &piece_of[many..]);
        }
        if let Some(fold) = fold {
            groups.group(fold as usize, seconds, row);
        }
    }
}
