//! Where a run's keys and values lie.

use crate::backend::History;
use crate::backend::cpu::mat::Mat;
use crate::forest::{Run, Segment, Store, Wave};
use std::ops::Range;

/// Rows from which a tile is read: pointer to the first and distance between two.
#[derive(Clone, Copy)]
pub(super) struct Rows {
    pub(super) at: *const f32,
    pub(super) stride: usize,
}

/// A head's keys or values, to be read in rows of `padded` numbers.
pub(super) struct Head<'a> {
    pub(super) history: &'a History<'a, Mat>,
    /// Which of how many.
    pub(super) head: (usize, usize),
    pub(super) padded: usize,
}

impl Head<'_> {
    fn width(&self) -> usize {
        self.history.wave.cols()
    }

    /// Rows of a store.
    fn rows(&self, store: Store, rows: Range<u32>) -> &[f32] {
        let mat = match store {
            Store::Wave => &*self.history.wave,
            Store::Resident => self.history.resident,
        };
        let first = self.head.0 * (mat.rows() / self.head.1);
        mat.span(first + rows.start as usize..first + rows.end as usize)
    }
}

/// A run and what came before it.
#[derive(Clone, Copy)]
pub(super) struct Path<'a> {
    pub(super) wave: &'a Wave,
    pub(super) run: &'a Run,
}

impl Path<'_> {
    /// Segment `i` of the path; after those of the past comes the run itself.
    fn segment(&self, i: usize) -> Segment {
        let (past, run) = (&self.run.past, self.run);
        let own = Segment { store: Store::Wave, row: run.rows.start, position: run.position, len: run.rows.end - run.rows.start };
        self.wave.segments[past.start as usize..past.end as usize].get(i).copied().unwrap_or(own)
    }

    /// The segment with a position.
    fn with(&self, position: u32) -> usize {
        let past = &self.run.past;
        self.wave.segments[past.start as usize..past.end as usize].partition_point(|s| s.position + s.len <= position)
    }

    /// The rows of positions `span` where they lie, if one store holds them side by side and their width needs no padding.
    pub(super) fn in_place(&self, span: Range<u32>, of: &Head) -> Option<Rows> {
        let s = self.segment(self.with(span.start));
        let side_by_side = of.padded == of.width() && span.end <= s.position + s.len && !span.is_empty();
        let first = s.row + span.start - s.position;
        side_by_side.then(|| Rows { at: of.rows(s.store, first..first + span.len() as u32).as_ptr(), stride: of.padded })
    }

    /// The same rows, copied into `room`.
    pub(super) fn gathered(&self, span: Range<u32>, of: &Head, room: &mut [f32]) -> Rows {
        let (width, padded) = (of.width(), of.padded);
        let mut position = span.start;
        let mut i = self.with(position);
        while position < span.end {
            let s = self.segment(i);
            let end = span.end.min(s.position + s.len);
            let from = of.rows(s.store, s.row + position - s.position..s.row + end - s.position);
            let to = &mut room[(position - span.start) as usize * padded..(end - span.start) as usize * padded];
            for (row, out) in from.chunks_exact(width).zip(to.chunks_exact_mut(padded)) {
                out[..width].copy_from_slice(row);
                out[width..].fill(0.0);
            }
            position = end;
            i += 1;
        }
        Rows { at: room.as_ptr(), stride: padded }
    }
}
