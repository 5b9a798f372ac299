//! Which tokens are fed, which rows of which wave they get, and which of those rows later waves will ask for.

use super::{Cut, Forest, Readout, Span, SpanId, allot::Allot};
use std::cmp::Reverse;
use std::ops::Range;

/// What the readings ask of the forest.
pub(super) struct Needs<'a> {
    pub(super) forest: &'a Forest,
    pub(super) readout: &'a Readout,
    /// For each span the nearest ancestor of which it sees a token, and how many of its own tokens it sees (at least 1).
    pub(super) up: Vec<Option<(SpanId, u32)>>,
    /// How many of each span's tokens are fed.
    pub(super) fed: Vec<u32>,
}

impl<'a> Needs<'a> {
    pub(super) fn new(forest: &'a Forest, readout: &'a Readout) -> Self {
        let n = forest.spans().len();
        // The last token read of each span: those before it are fed.
        let mut last: Vec<Option<u32>> = vec![None; n];
        for r in readout.readings() {
            let l = &mut last[r.span.0 as usize];
            *l = (*l).max(Some(r.tokens.end - 1));
        }
        let mut up: Vec<Option<(SpanId, u32)>> = Vec::with_capacity(n);
        for s in forest.spans() {
            up.push(match s.parent {
                Some((p, 0)) => up[p.0 as usize],
                seen => seen,
            });
        }
        // Children come after parents, so one backward pass sees every child before its parent.
        let mut fed = vec![0; n];
        for s in (0..n).rev() {
            fed[s] = fed[s].max(last[s].unwrap_or(0));
            if let Some((p, seen)) = up[s]
                && (last[s].is_some() || fed[s] > 0)
            {
                let f = &mut fed[p.0 as usize];
                *f = seen.max(*f);
            }
        }
        Needs { forest, readout, up, fed }
    }

    /// Rows of a tree.
    pub(super) fn rows(&self, tree: &[SpanId]) -> usize {
        tree.iter().map(|s| self.fed[s.0 as usize] as usize).sum()
    }

    pub(super) fn span(&self, id: SpanId) -> &Span {
        self.forest.span(id)
    }
}

/// Rows of a span that one wave holds.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) span: SpanId,
    /// Which of the span's tokens.
    pub(super) own: Range<u32>,
    /// Position of the first.
    pub(super) position: u32,
    pub(super) wave: u32,
    pub(super) row: u32,
    /// What later waves see of it, in ascending order, disjoint.
    pub(super) kept: Vec<Kept>,
}

impl Piece {
    /// Row of own token `t`.
    pub(super) fn row_of(&self, t: u32) -> u32 {
        self.row + t - self.own.start
    }
}

/// Own tokens of a span with their resident rows.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) own: Range<u32>,
    pub(super) resident: u32,
}

/// All pieces, in row order.
pub(super) struct Layout {
    pub(super) pieces: Vec<Piece>,
    /// Each span's pieces.
    of_span: Vec<Range<usize>>,
    pub(super) waves: u32,
    /// Resident rows of each wave's store: the same for all waves over which a tree goes on.
    pub(super) resident_rows: Vec<u32>,
    /// Pieces of each tree that goes on over several waves.
    pub(super) cut_trees: Vec<Range<usize>>,
}

impl Layout {
    pub(super) fn new(needs: &Needs, cut: Cut) -> Layout {
        let budget = cut.rows.max(1);
        let mut l = Layout { pieces: Vec::new(), of_span: vec![0..0; needs.fed.len()], waves: 0, resident_rows: Vec::new(), cut_trees: Vec::new() };
        // Rows left in the open wave.
        let mut left = 0;
        for tree in needs.forest.trees() {
            let (rows, first) = (needs.rows(tree), l.pieces.len());
            if rows == 0 {
                continue;
            }
            if rows > left {
                l.waves += 1;
                left = budget;
            }
            for &span in tree {
                let (from, fed) = (l.pieces.len(), needs.fed[span.0 as usize]);
                let mut at = 0;
                while at < fed {
                    if left == 0 {
                        l.waves += 1;
                        left = budget;
                    }
                    let n = left.min((fed - at) as usize);
                    let position = needs.span(span).position + at;
                    l.pieces.push(Piece { span, own: at..at + n as u32, position, wave: l.waves - 1, row: (budget - left) as u32, kept: Vec::new() });
                    at += n as u32;
                    left -= n;
                }
                l.of_span[span.0 as usize] = from..l.pieces.len();
            }
            if rows > budget {
                l.cut_trees.push(first..l.pieces.len());
                left = 0;
            }
        }
        l.resident_rows = vec![0; l.waves as usize];
        l.keep(needs, cut);
        l
    }

    /// The pieces of `span` that hold some of its tokens `own`.
    pub(super) fn pieces(&self, span: SpanId, own: &Range<u32>) -> &[Piece] {
        let all = &self.pieces[self.of_span[span.0 as usize].clone()];
        let first = all.partition_point(|p| p.own.end <= own.start);
        let n = all[first..].partition_point(|p| p.own.start < own.end);
        &all[first..first + n]
    }

    /// Gives resident rows to whatever a later wave will see.
    fn keep(&mut self, needs: &Needs, cut: Cut) {
        let mut seen = Seen { marks: vec![Vec::new(); needs.fed.len()], up_from: vec![u32::MAX; needs.fed.len()] };
        for tree in self.cut_trees.clone() {
            // Latest wave first, and in it by position: a walk up stops where one for a later wave, or from further back, has passed.
            let mut order: Vec<usize> = tree.clone().collect();
            order.sort_by_key(|&i| (Reverse(self.pieces[i].wave), self.pieces[i].position));
            for i in order {
                seen.walk(needs, &self.pieces[i], cut.first_seen(self.pieces[i].position));
            }
            self.allot(tree, &seen);
        }
    }

    fn allot(&mut self, tree: Range<usize>, seen: &Seen) {
        let waves = self.pieces[tree.start].wave..self.pieces[tree.end - 1].wave + 1;
        let mut allot = Allot::default();
        let mut live: Vec<(u32, u32, u32)> = Vec::new();
        let (mut wave, mut rows) = (waves.start, 0);
        for piece in &mut self.pieces[tree] {
            if piece.wave != wave {
                wave = piece.wave;
                // What was last seen by an earlier wave makes room; what this wave still sees must not be overwritten in it.
                live.retain(|&(last, at, len)| {
                    if last < wave {
                        allot.free(at, len);
                    }
                    last >= wave
                });
            }
            let mut wanted = Vec::new();
            for (own, reader) in &seen.marks[piece.span.0 as usize] {
                let part = own.start.max(piece.own.start)..own.end.min(piece.own.end);
                if *reader > piece.wave && part.start < part.end {
                    wanted.push((part, *reader));
                }
            }
            for (own, last) in merged(wanted) {
                let len = own.end - own.start;
                let resident = allot.take(len);
                rows = rows.max(resident + len);
                live.push((last, resident, len));
                piece.kept.push(Kept { own, resident });
            }
        }
        for w in waves {
            self.resident_rows[w as usize] = rows;
        }
    }
}

impl Cut {
    /// The first position that a row at `position` looks at.
    pub(super) fn first_seen(&self, position: u32) -> u32 {
        self.reach.map_or(0, |r| position.saturating_sub(r))
    }
}

/// Which tokens are seen by which waves.
struct Seen {
    /// Of each span: own tokens and a wave that sees them.
    marks: Vec<Vec<(Range<u32>, u32)>>,
    /// Of each span: the first position for which its ancestors have been marked, by this wave or a later one.
    up_from: Vec<u32>,
}

impl Seen {
    /// Marks the past of a piece from position `from` on.
    fn walk(&mut self, needs: &Needs, reader: &Piece, from: u32) {
        let mut at = Some((reader.span, reader.own.start));
        while let Some((s, end)) = at {
            let (position, i) = (needs.span(s).position, s.0 as usize);
            let start = from.saturating_sub(position);
            if start < end {
                self.mark(i, start..end, reader.wave);
            }
            if position <= from || self.up_from[i] <= from {
                break;
            }
            self.up_from[i] = from;
            at = needs.up[i];
        }
    }

    fn mark(&mut self, span: usize, own: Range<u32>, wave: u32) {
        if let Some((last, w)) = self.marks[span].last_mut() {
            if last.start <= own.start && own.end <= last.end {
                return;
            }
            if *w == wave && own.start <= last.start && last.end <= own.end {
                *last = own;
                return;
            }
        }
        self.marks[span].push((own, wave));
    }
}

/// Overlapping or touching ranges joined; the last wave of a union is the latest of its parts.
fn merged(mut ranges: Vec<(Range<u32>, u32)>) -> Vec<(Range<u32>, u32)> {
    ranges.sort_by_key(|(r, _)| (r.start, r.end));
    let mut out: Vec<(Range<u32>, u32)> = Vec::new();
    for (r, last) in ranges {
        match out.last_mut() {
            Some((o, l)) if r.start <= o.end => {
                o.end = o.end.max(r.end);
                *l = (*l).max(last);
            }
            _ => out.push((r, last)),
        }
    }
    out
}
