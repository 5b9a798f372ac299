//! The tables of each wave, from the layout.

use super::layout::{Layout, Needs, Piece};
use super::{Cut, Keep, Run, Segment, Slot, SpanId, StateRef, StateSave, Store, Target, Wanted, Wave, allot::Allot};
use std::collections::BTreeMap;
use std::ops::Range;

/// All waves with all their tables.
pub(super) fn fill(needs: &Needs, layout: &Layout, cut: Cut) -> Vec<Wave> {
    let mut waves = vec![Wave::default(); layout.waves as usize];
    for (w, &rows) in waves.iter_mut().zip(&layout.resident_rows) {
        w.resident_rows = rows;
    }
    let mut pasts = Pasts { needs, layout, cut, known: vec![Known { wave: u32::MAX, from: 0, past: 0..0 }; needs.fed.len()] };
    for piece in &layout.pieces {
        let wave = &mut waves[piece.wave as usize];
        wave.tokens.extend_from_slice(&needs.forest.tokens(piece.span)[piece.own.start as usize..piece.own.end as usize]);
        wave.positions.extend(piece.position..piece.position + piece.own.end - piece.own.start);
        wave.keeps.extend(piece.kept.iter().map(|k| Keep { row: piece.row_of(k.own.start), resident: k.resident, len: k.own.end - k.own.start }));
        let past = pasts.of(piece, &mut wave.segments);
        wave.runs.push(Run { rows: piece.row..piece.row_of(piece.own.end), position: piece.position, past, state: StateRef::Zero, saves: 0..0 });
    }
    if let Some(grain) = cut.grain {
        fill_states(needs, layout, grain, &mut waves);
    }
    fill_targets(needs, layout, &mut waves);
    waves
}

/// The past of a span's first token, as one wave sees it from one position on.
#[derive(Clone)]
struct Known {
    wave: u32,
    from: u32,
    past: Range<u32>,
}

/// Finds pasts. A branch's past is its parent's and some of its parent's tokens: the segments of the former are shared
/// where they can be, so that a deep chain of forks does not take a quadratic number of them.
struct Pasts<'a> {
    needs: &'a Needs<'a>,
    layout: &'a Layout,
    cut: Cut,
    known: Vec<Known>,
}

impl Pasts<'_> {
    /// The past of a piece: indices into its wave's segments.
    fn of(&mut self, piece: &Piece, segments: &mut Vec<Segment>) -> Range<u32> {
        let (wave, from) = (piece.wave, self.cut.first_seen(piece.position));
        // Up to where the past is known, or out of reach.
        let mut chain = Vec::new();
        let mut top = piece.span;
        while !self.is_known(top, wave, from) {
            match self.needs.up[top.0 as usize] {
                Some((p, seen)) if self.needs.span(top).position > from => {
                    chain.push((top, p, seen));
                    top = p;
                }
                _ => {
                    self.known[top.0 as usize] = Known { wave, from, past: 0..0 };
                    break;
                }
            }
        }
        for (s, p, seen) in chain.into_iter().rev() {
            let past = self.extend(p, seen, wave, from, segments);
            self.known[s.0 as usize] = Known { wave, from, past };
        }
        self.extend(piece.span, piece.own.start, wave, from, segments)
    }

    fn is_known(&self, span: SpanId, wave: u32, from: u32) -> bool {
        let k = &self.known[span.0 as usize];
        k.wave == wave && k.from <= from
    }

    /// The known past of `span`, from position `from` on, followed by the span's first `n` tokens.
    fn extend(&self, span: SpanId, n: u32, wave: u32, from: u32, segments: &mut Vec<Segment>) -> Range<u32> {
        let mut old = self.known[span.0 as usize].past.clone();
        old.start += segments[old.start as usize..old.end as usize].partition_point(|s| s.position + s.len <= from) as u32;
        let next = self.own(span, n, wave, from);
        let (a, b) = (old.start as usize, old.end as usize);
        if a == b || !next.first().is_some_and(|n| follows(&segments[b - 1], n)) {
            let there = next.len().min(segments.len() - b);
            if segments[b..b + there] == next[..there] && (there == next.len() || b + there == segments.len()) {
                segments.extend_from_slice(&next[there..]);
                return old.start..old.end + next.len() as u32;
            }
        }
        let start = segments.len();
        for i in a..b {
            segments.push(after(segments[i], from));
        }
        for s in next {
            push(segments, start, s);
        }
        start as u32..segments.len() as u32
    }

    /// Where `wave` finds the first `n` tokens of `span`, from position `from` on.
    fn own(&self, span: SpanId, n: u32, wave: u32, from: u32) -> Vec<Segment> {
        let first = self.needs.span(span).position;
        let seen = from.saturating_sub(first)..n;
        let mut out = Vec::new();
        if seen.start >= seen.end {
            return out;
        }
        for p in self.layout.pieces(span, &seen) {
            let mut put = |store, own: &Range<u32>, row: u32| {
                let (start, end) = (own.start.max(seen.start), own.end.min(seen.end));
                if start < end {
                    push(&mut out, 0, Segment { store, row: row + start - own.start, position: first + start, len: end - start });
                }
            };
            if p.wave == wave {
                put(Store::Wave, &p.own, p.row);
            } else {
                for k in &p.kept {
                    put(Store::Resident, &k.own, k.resident);
                }
            }
        }
        out
    }
}

/// What of a segment lies at `from` or after.
fn after(s: Segment, from: u32) -> Segment {
    let off = from.saturating_sub(s.position);
    Segment { row: s.row + off, position: s.position + off, len: s.len - off, ..s }
}

/// Whether rows and positions of `next` go on where those of `last` end.
fn follows(last: &Segment, next: &Segment) -> bool {
    last.store == next.store && last.row + last.len == next.row && last.position + last.len == next.position
}

/// Appends a segment to the list that begins at `start`, joined to the one before it where it can be.
fn push(segments: &mut Vec<Segment>, start: usize, next: Segment) {
    match segments[start..].last_mut() {
        Some(last) if follows(last, &next) => last.len += next.len,
        _ => segments.push(next),
    }
}

/// Where the state after a token was put.
#[derive(Clone, Copy, Default)]
struct Saved {
    /// First and last wave that start from it.
    first: u32,
    last: u32,
    saver: u32,
    here: u32,
    resident: u32,
}

fn fill_states(needs: &Needs, layout: &Layout, grain: u32, waves: &mut [Wave]) {
    // Who starts from the state after which token: (span, own index).
    let mut saved: BTreeMap<(SpanId, u32), Saved> = BTreeMap::new();
    let mut starts = Vec::with_capacity(layout.pieces.len());
    for piece in &layout.pieces {
        let boundary = piece.position / grain * grain;
        let at = (boundary > 0).then(|| token_at(needs, piece.span, boundary - 1));
        if let Some(at) = at {
            saved.entry(at).or_insert(Saved { first: piece.wave, ..Saved::default() }).last = piece.wave;
        }
        starts.push(at);
    }
    // Slots, walked in row order so that resident ones are free again as waves pass.
    for w in waves.iter_mut() {
        w.states = 1;
    }
    let (mut allot, mut live, mut wave) = (Allot::default(), Vec::<(u32, u32)>::new(), 0);
    for piece in &layout.pieces {
        if piece.wave != wave {
            wave = piece.wave;
            live.retain(|&(last, slot)| {
                if last < wave {
                    allot.free(slot, 1);
                }
                last >= wave
            });
        }
        let w = &mut waves[wave as usize];
        let first = w.saves.len() as u32;
        for (&(_, own), s) in saved.range_mut((piece.span, piece.own.start)..(piece.span, piece.own.end)) {
            let row = piece.row_of(own);
            s.saver = wave;
            if s.first == wave {
                s.here = w.states;
                w.saves.push(StateSave { row, to: StateRef::Wave(s.here) });
                w.states += 1;
            }
            if s.last > wave {
                s.resident = allot.take(1);
                live.push((s.last, s.resident));
                w.resident_states = w.resident_states.max(s.resident + 1);
                w.saves.push(StateSave { row, to: StateRef::Resident(s.resident) });
            }
        }
        let saves = first..w.saves.len() as u32;
        run_at(w, piece.row).saves = saves;
    }
    for (piece, at) in layout.pieces.iter().zip(&starts) {
        if let Some(at) = at {
            let s = saved[at];
            let state = if s.saver == piece.wave { StateRef::Wave(s.here) } else { StateRef::Resident(s.resident) };
            run_at(&mut waves[piece.wave as usize], piece.row).state = state;
        }
    }
    // The store must be as large for every wave of a tree as for the one that needs most.
    for tree in &layout.cut_trees {
        let of_tree = &mut waves[layout.pieces[tree.start].wave as usize..=layout.pieces[tree.end - 1].wave as usize];
        let most = of_tree.iter().map(|w| w.resident_states).max().unwrap_or(0);
        of_tree.iter_mut().for_each(|w| w.resident_states = most);
    }
}

/// The span and own index of the token at `position` of the path of `span`.
fn token_at(needs: &Needs, span: SpanId, position: u32) -> (SpanId, u32) {
    let mut s = span;
    while needs.span(s).position > position {
        s = needs.up[s.0 as usize].expect("a span with a past sees a token of some ancestor").0;
    }
    (s, position - needs.span(s).position)
}

/// The run that starts at `row`; every piece has one.
fn run_at(wave: &mut Wave, row: u32) -> &mut Run {
    let i = wave.runs.partition_point(|r| r.rows.start < row);
    &mut wave.runs[i]
}

fn fill_targets(needs: &Needs, layout: &Layout, waves: &mut [Wave]) {
    let mut found: Vec<Vec<(u32, u32, Target)>> = vec![Vec::new(); waves.len()];
    for (r, reading) in needs.readout.readings().iter().enumerate() {
        let (span, tokens) = (reading.span, needs.forest.tokens(reading.span));
        let each = reading.wanted == Wanted::Each;
        let of = if each { 0 } else { reading.tokens.end - reading.tokens.start };
        let mut put = |piece: &Piece, row: u32, t: u32| {
            let slot = if each { Slot(reading.slot.0 + t - reading.tokens.start) } else { reading.slot };
            let greedy = reading.wanted == Wanted::SumAndGreedy;
            found[piece.wave as usize].push((row, r as u32, Target { token: tokens[t as usize], slot, of, greedy, sample: reading.sample }));
        };
        // A span's first token is predicted by the row of the last token that it sees.
        if reading.tokens.start == 0 {
            let (p, seen) = needs.up[span.0 as usize].expect("a readable first token has a past");
            for piece in layout.pieces(p, &(seen - 1..seen)) {
                put(piece, piece.row_of(seen - 1), 0);
            }
        }
        let predicting = reading.tokens.start.max(1) - 1..reading.tokens.end - 1;
        for piece in layout.pieces(span, &predicting) {
            for t in predicting.start.max(piece.own.start)..predicting.end.min(piece.own.end) {
                put(piece, piece.row_of(t), t + 1);
            }
        }
    }
    for (wave, mut list) in waves.iter_mut().zip(found) {
        list.sort_by_key(|&(row, reading, t)| (row, reading, t.slot));
        wave.read_ptr.push(0);
        for (row, _, target) in list {
            if wave.read_rows.last() != Some(&row) {
                wave.read_rows.push(row);
                wave.read_ptr.push(wave.targets.len() as u32);
            }
            wave.targets.push(target);
            if let Some(end) = wave.read_ptr.last_mut() {
                *end = wave.targets.len() as u32;
            }
        }
    }
}
