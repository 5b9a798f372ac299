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

/// A head's columns of keys or values, to be read in rows of `padded` numbers.
pub(super) struct Columns<'a> {
    pub(super) history: &'a History<'a, Mat>,
    pub(super) from: usize,
    pub(super) width: usize,
    pub(super) padded: usize,
}

impl Columns<'_> {
    fn store(&self, s: Store) -> &Mat {
        match s {
            Store::Wave => self.history.wave,
            Store::Resident => self.history.resident,
        }
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
    pub(super) fn in_place(&self, span: Range<u32>, columns: &Columns) -> Option<Rows> {
        let s = self.segment(self.with(span.start));
        let side_by_side = columns.padded == columns.width && span.end <= s.position + s.len && !span.is_empty();
        side_by_side.then(|| {
            let mat = columns.store(s.store);
            let row = (s.row + span.start - s.position) as usize;
            Rows { at: mat.row(row)[columns.from..].as_ptr(), stride: mat.cols() }
        })
    }

    /// The same rows, copied into `room`.
    pub(super) fn gathered(&self, span: Range<u32>, columns: &Columns, room: &mut [f32]) -> Rows {
        let (width, padded) = (columns.width, columns.padded);
        let mut position = span.start;
        let mut i = self.with(position);
        while position < span.end {
            let s = self.segment(i);
            let mat = columns.store(s.store);
            let end = span.end.min(s.position + s.len);
            for p in position..end {
                let out = &mut room[(p - span.start) as usize * padded..][..padded];
                out[..width].copy_from_slice(&mat.row((s.row + p - s.position) as usize)[columns.from..][..width]);
                out[width..].fill(0.0);
            }
            position = end;
            i += 1;
        }
        Rows { at: room.as_ptr(), stride: padded }
    }
}
