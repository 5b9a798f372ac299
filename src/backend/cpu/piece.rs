//! How the rows of a block find their pasts: a block meets runs, each meeting is a piece.

use super::Mat;
use crate::backend::History;
use crate::forest::{Run, Segment, Store, Wave};
use std::ops::Range;

/// The rows that a run and a block have in common.
pub(super) struct Piece<'w> {
    pub run: &'w Run,
    /// Rows of the wave.
    pub rows: Range<u32>,
    /// Position of the first of them.
    pub position: u32,
}

/// The pieces of a block, in row order; together they are the block.
pub(super) fn pieces(wave: &Wave, block: Range<usize>) -> impl Iterator<Item = Piece<'_>> {
    let (from, to) = (block.start as u32, block.end as u32);
    let first = wave.runs.partition_point(move |r| r.rows.end <= from);
    wave.runs[first..].iter().take_while(move |r| r.rows.start < to).map(move |run| {
        let rows = run.rows.start.max(from)..run.rows.end.min(to);
        Piece { run, position: run.position + rows.start - run.rows.start, rows }
    })
}

impl Piece<'_> {
    /// Position after the last row.
    pub(super) fn end(&self) -> u32 {
        self.position + self.rows.end - self.rows.start
    }

    /// Where the rows of the path from position `from` up to the piece's last lie, by [`Segment`]s in ascending positions.
    /// `from` must lie within the reach that the wave was planned for.
    pub(super) fn path(&self, wave: &Wave, from: u32) -> Vec<Segment> {
        let mut at = from;
        let mut out = Vec::new();
        let own = Segment { store: Store::Wave, row: self.run.rows.start, position: self.run.position, len: self.rows.end - self.run.rows.start };
        for s in wave.segments[self.run.past.start as usize..self.run.past.end as usize].iter().chain([&own]) {
            let end = s.position + s.len;
            if end > at {
                debug_assert!(s.position <= at, "a row's past has no holes within reach");
                let skip = at - s.position;
                out.push(Segment { store: s.store, row: s.row + skip, position: at, len: s.len - skip });
                at = end;
            }
        }
        out
    }
}

/// The rows of segments, as they lie in the two stores of a history.
pub(super) fn lines<'h>(path: &[Segment], history: &'h History<Mat>) -> impl Iterator<Item = &'h [f32]> {
    let (wave, resident): (&'h Mat, &'h Mat) = (history.wave, history.resident);
    path.iter().flat_map(move |s| {
        let store = match s.store {
            Store::Wave => wave,
            Store::Resident => resident,
        };
        (s.row..s.row + s.len).map(move |r| store.row(r as usize))
    })
}
