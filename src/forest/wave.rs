//! How a forest is cut into waves, and the tables by which a wave's rows find their pasts.
//!
//! A wave holds whole trees, as many as its rows allow. A tree larger than a wave is cut where the rows run out and goes on
//! over a *resident* past: rows and scan states that later waves will ask for are kept in a second store. Nothing here
//! depends on a model beyond the two numbers of [`Cut`], and no cut changes a number.

use super::{Forest, Readout, Slot, SpanId, TokenId, allot::Allot};
use std::collections::BTreeMap;
use std::ops::Range;

/// Where waves end and what their rows ask of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Most rows of a wave; at least 1.
    pub rows: usize,
    /// How many positions back a row looks; `None`: to the beginning.
    pub reach: Option<u32>,
    /// Scan states are handed on at positions that are multiples of this; `None` where the model has no scan.
    pub grain: Option<u32>,
}

/// Which of the two stores of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// This wave's rows, recycled layer by layer.
    Wave,
    /// Rows kept for every layer from one wave to a later one.
    Resident,
}

/// Consecutive rows of a store that are consecutive positions of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The store.
    pub store: Store,
    /// First row in it.
    pub row: u32,
    /// Position of that row.
    pub position: u32,
    /// How many.
    pub len: u32,
}

/// A scan state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateRef {
    /// Before any token.
    Zero,
    /// Slot of the wave's states; slot 0 is the carry from one block of rows to the next and never named here.
    Wave(u32),
    /// Slot of the resident states.
    Resident(u32),
}

/// A state that someone will start from: the one after `row`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSave {
    /// Row of the wave.
    pub row: u32,
    /// Where to; never `Zero`.
    pub to: StateRef,
}

/// Rows of one span in one wave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Rows of the wave.
    pub rows: Range<u32>,
    /// Position of the first.
    pub position: u32,
    /// Its past within reach, in ascending positions, ending right before `position`: indices into [`Wave::segments`].
    pub past: Range<u32>,
    /// State at the last multiple of the grain at or before `position`.
    pub state: StateRef,
    /// States to keep, in ascending rows: indices into [`Wave::saves`].
    pub saves: Range<u32>,
}

/// Rows copied into the resident store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// First row of the wave.
    pub row: u32,
    /// First resident row.
    pub resident: u32,
    /// How many.
    pub len: u32,
}

/// One predicted token of a read row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The token.
    pub token: TokenId,
    /// Where its ln q goes.
    pub slot: Slot,
    /// Tokens of the reading that the slot sums; 0 where the slot is this token's own.
    pub of: u32,
}

/// Rows that go through the layers together, with all tables.
#[derive(Clone, Debug, Default)]
pub struct Wave {
    /// Token of each row.
    pub tokens: Vec<TokenId>,
    /// Position of each row.
    pub positions: Vec<u32>,
    /// Spans' rows, in row order; every row belongs to one.
    pub runs: Vec<Run>,
    /// Pasts.
    pub segments: Vec<Segment>,
    /// States to keep.
    pub saves: Vec<StateSave>,
    /// Rows to keep.
    pub keeps: Vec<Keep>,
    /// Rows whose prediction is read, ascending.
    pub read_rows: Vec<u32>,
    /// `targets[read_ptr[i]..read_ptr[i + 1]]` belong to `read_rows[i]`.
    pub read_ptr: Vec<u32>,
    /// What is predicted. In the order of rows; within a row in the order of readings.
    pub targets: Vec<Target>,
    /// Wave state slots used, the carry included (so at least 1 where there is a grain).
    pub states: u32,
    /// Resident rows that must exist while this wave runs.
    pub resident_rows: u32,
    /// Resident state slots that must exist while this wave runs.
    pub resident_states: u32,
}

/// Rows of a span that one wave holds.
#[derive(Clone, Debug)]
struct Piece {
    wave: u32,
    own: Range<u32>,
    row: u32,
    /// Ranges of own tokens that later waves see, with their resident rows and the last wave that needs them.
    kept: Vec<Kept>,
}

#[derive(Clone, Debug)]
struct Kept {
    own: Range<u32>,
    resident: u32,
    last: u32,
}

/// All waves of a forest, in order.
pub struct Waves;

impl Waves {
    /// Cuts `forest` so that everything in `readout` is computed, and nothing that no reading needs.
    pub fn plan(forest: &Forest, readout: &Readout, cut: Cut) -> Vec<Wave> {
        let by_span = readings_by_span(forest, readout);
        let fed = fed(forest, readout, &by_span);
        let budget = cut.rows.max(1);
        let mut waves = Vec::new();
        let mut group: Vec<&[SpanId]> = Vec::new();
        let mut rows = 0;
        let context = Context { forest, readout, by_span: &by_span, fed: &fed, cut };
        for tree in forest.trees() {
            let n: usize = tree.iter().map(|s| fed[s.0 as usize] as usize).sum();
            if n == 0 {
                continue;
            }
            if rows + n > budget && !group.is_empty() {
                context.waves_of(&group, budget, &mut waves);
                group.clear();
                rows = 0;
            }
            group.push(tree);
            rows += n;
        }
        if !group.is_empty() {
            context.waves_of(&group, budget, &mut waves);
        }
        waves
    }

    /// Rows that a forest feeds in all, per tree.
    pub fn rows_by_tree(forest: &Forest, readout: &Readout) -> Vec<usize> {
        let fed = fed(forest, readout, &readings_by_span(forest, readout));
        forest.trees().iter().map(|t| t.iter().map(|s| fed[s.0 as usize] as usize).sum()).collect()
    }
}

fn readings_by_span(forest: &Forest, readout: &Readout) -> Vec<Vec<u32>> {
    let mut by_span = vec![Vec::new(); forest.spans().len()];
    for (i, r) in readout.readings().iter().enumerate() {
        by_span[r.span.0 as usize].push(i as u32);
    }
    by_span
}

/// How many of each span's tokens are fed: all that predict a read token of its own, and all that a fed or read branch sees.
fn fed(forest: &Forest, readout: &Readout, by_span: &[Vec<u32>]) -> Vec<u32> {
    let mut fed = vec![0u32; forest.spans().len()];
    // Children come after parents, so one backward pass sees every child before its parent.
    for s in (0..fed.len()).rev() {
        let own = by_span[s].iter().map(|&r| readout.readings()[r as usize].tokens.end - 1).max().unwrap_or(0);
        fed[s] = fed[s].max(own);
        if fed[s] == 0 && by_span[s].is_empty() {
            continue;
        }
        let mut up = forest.spans()[s].parent;
        while let Some((p, offset)) = up {
            if offset > 0 {
                let f = &mut fed[p.0 as usize];
                *f = (*f).max(offset);
                break;
            }
            up = forest.span(p).parent;
        }
    }
    fed
}

struct Context<'a> {
    forest: &'a Forest,
    readout: &'a Readout,
    by_span: &'a [Vec<u32>],
    fed: &'a [u32],
    cut: Cut,
}

/// Everything known about a group of trees while their waves are laid out.
struct Layout {
    pieces: BTreeMap<SpanId, Vec<Piece>>,
    /// Pieces in row order: (span, index into its pieces).
    order: Vec<(SpanId, usize)>,
    waves: u32,
}

impl Context<'_> {
    /// Lays out one group: one wave, or where a single tree exceeds the budget several.
    fn waves_of(&self, trees: &[&[SpanId]], budget: usize, out: &mut Vec<Wave>) {
        let mut layout = self.lay_out(trees, budget);
        if layout.waves > 1 {
            self.mark_kept(&mut layout);
        }
        let first = out.len();
        out.extend((0..layout.waves).map(|_| Wave::default()));
        let waves = &mut out[first..];
        self.fill_rows(&layout, waves);
        self.fill_pasts(&layout, waves);
        if let Some(grain) = self.cut.grain {
            self.fill_states(&layout, waves, grain);
        }
        self.fill_targets(&layout, trees, waves);
    }

    fn lay_out(&self, trees: &[&[SpanId]], budget: usize) -> Layout {
        let mut layout = Layout { pieces: BTreeMap::new(), order: Vec::new(), waves: 1 };
        let mut row = 0usize;
        for &span in trees.iter().copied().flatten() {
            let (mut at, end) = (0, self.fed[span.0 as usize]);
            while at < end {
                if row == budget {
                    layout.waves += 1;
                    row = 0;
                }
                let n = (end - at).min((budget - row) as u32);
                let list = layout.pieces.entry(span).or_default();
                layout.order.push((span, list.len()));
                list.push(Piece { wave: layout.waves - 1, own: at..at + n, row: row as u32, kept: Vec::new() });
                at += n;
                row += n as usize;
            }
        }
        layout
    }

    /// The pieces of the past of own token `at` of `span` that lie within reach, with the part of each that is seen.
    fn past<'l>(&self, layout: &'l Layout, span: SpanId, at: u32) -> Vec<(SpanId, usize, &'l Piece, Range<u32>)> {
        let position = self.forest.span(span).position + at;
        let from = self.cut.reach.map_or(0, |r| position.saturating_sub(r));
        let mut out = Vec::new();
        for (s, seen) in self.forest.past(span, at) {
            let first = self.forest.span(s).position;
            let seen = seen.start.max(from.saturating_sub(first))..seen.end;
            for (i, p) in layout.pieces.get(&s).into_iter().flatten().enumerate() {
                let part = p.own.start.max(seen.start)..p.own.end.min(seen.end);
                if part.start < part.end {
                    out.push((s, i, p, part));
                }
            }
        }
        out
    }

    /// Gives resident rows to whatever a later wave will see.
    fn mark_kept(&self, layout: &mut Layout) {
        let mut wanted: BTreeMap<(SpanId, usize), Vec<(Range<u32>, u32)>> = BTreeMap::new();
        for &(span, i) in &layout.order {
            let run = &layout.pieces[&span][i];
            for (s, j, p, part) in self.past(layout, span, run.own.start) {
                if p.wave != run.wave {
                    wanted.entry((s, j)).or_default().push((part, run.wave));
                }
            }
        }
        let mut allot = Allot::default();
        let mut live: Vec<(u32, u32, u32)> = Vec::new();
        let mut wave = 0;
        for k in 0..layout.order.len() {
            let (span, i) = layout.order[k];
            let Some(piece) = layout.pieces.get_mut(&span).map(|l| &mut l[i]) else { continue };
            if piece.wave != wave {
                wave = piece.wave;
                // What was last read by an earlier wave makes room; what this wave still reads must not be overwritten in it.
                live.retain(|&(last, at, len)| {
                    if last < wave {
                        allot.free(at, len);
                    }
                    last >= wave
                });
            }
            for (own, last) in merged(wanted.remove(&(span, i)).unwrap_or_default()) {
                let len = own.end - own.start;
                let resident = allot.take(len);
                live.push((last, resident, len));
                piece.kept.push(Kept { own, resident, last });
            }
        }
    }

    fn fill_rows(&self, layout: &Layout, waves: &mut [Wave]) {
        let mut resident = 0;
        for &(span, i) in &layout.order {
            let piece = &layout.pieces[&span][i];
            let wave = &mut waves[piece.wave as usize];
            let first = self.forest.span(span).position;
            wave.tokens.extend_from_slice(&self.forest.tokens(span)[piece.own.start as usize..piece.own.end as usize]);
            wave.positions.extend(piece.own.clone().map(|t| first + t));
            for k in &piece.kept {
                let len = k.own.end - k.own.start;
                wave.keeps.push(Keep { row: piece.row + k.own.start - piece.own.start, resident: k.resident, len });
                resident = resident.max(k.resident + len);
            }
        }
        for w in waves {
            w.resident_rows = resident;
        }
    }

    fn fill_pasts(&self, layout: &Layout, waves: &mut [Wave]) {
        for &(span, i) in &layout.order {
            let piece = &layout.pieces[&span][i];
            let wave = &mut waves[piece.wave as usize];
            let start = wave.segments.len() as u32;
            for (s, _, p, part) in self.past(layout, span, piece.own.start) {
                let first = self.forest.span(s).position;
                if p.wave == piece.wave {
                    push_segment(
                        wave,
                        start,
                        Segment { store: Store::Wave, row: p.row + part.start - p.own.start, position: first + part.start, len: part.end - part.start },
                    );
                    continue;
                }
                for k in &p.kept {
                    let seen = part.start.max(k.own.start)..part.end.min(k.own.end);
                    if seen.start < seen.end {
                        debug_assert!(k.last >= piece.wave);
                        let row = k.resident + seen.start - k.own.start;
                        push_segment(wave, start, Segment { store: Store::Resident, row, position: first + seen.start, len: seen.end - seen.start });
                    }
                }
            }
            let past = start..wave.segments.len() as u32;
            let n = piece.own.end - piece.own.start;
            let position = self.forest.span(span).position + piece.own.start;
            wave.runs.push(Run { rows: piece.row..piece.row + n, position, past, state: StateRef::Zero, saves: 0..0 });
        }
    }

    fn fill_states(&self, layout: &Layout, waves: &mut [Wave], grain: u32) {
        // Who starts from the state after which token: (span, own index) -> waves that read it.
        let mut wanted: BTreeMap<(SpanId, u32), Vec<u32>> = BTreeMap::new();
        let mut starts: Vec<Option<(SpanId, u32)>> = Vec::with_capacity(layout.order.len());
        for &(span, i) in &layout.order {
            let piece = &layout.pieces[&span][i];
            let position = self.forest.span(span).position + piece.own.start;
            let boundary = position / grain * grain;
            let at = (boundary > 0).then(|| self.token_at(span, boundary - 1));
            if let Some(at) = at {
                wanted.entry(at).or_default().push(piece.wave);
            }
            starts.push(at);
        }
        for w in waves.iter_mut() {
            w.states = 1;
        }
        // Slots, walked in row order so that resident ones can be freed as waves pass.
        let mut slots: BTreeMap<(SpanId, u32), (Option<u32>, Option<u32>)> = BTreeMap::new();
        let (mut allot, mut live, mut most, mut wave) = (Allot::default(), Vec::<(u32, u32)>::new(), 0, 0);
        for &(span, i) in &layout.order {
            let piece = &layout.pieces[&span][i];
            if piece.wave != wave {
                wave = piece.wave;
                live.retain(|&(last, slot)| {
                    if last < wave {
                        allot.free(slot, 1);
                    }
                    last >= wave
                });
            }
            let w = &mut waves[piece.wave as usize];
            let first = w.saves.len() as u32;
            for (&(s, own), readers) in wanted.range((span, piece.own.start)..(span, piece.own.end)) {
                let row = piece.row + own - piece.own.start;
                let mut slot = (None, None);
                if readers.contains(&piece.wave) {
                    slot.0 = Some(w.states);
                    w.saves.push(StateSave { row, to: StateRef::Wave(w.states) });
                    w.states += 1;
                }
                if let Some(&last) = readers.iter().filter(|&&r| r != piece.wave).max() {
                    let r = allot.take(1);
                    live.push((last, r));
                    most = most.max(r + 1);
                    slot.1 = Some(r);
                    w.saves.push(StateSave { row, to: StateRef::Resident(r) });
                }
                slots.insert((s, own), slot);
            }
            let saves = first..w.saves.len() as u32;
            run_at(w, piece.row).saves = saves;
        }
        for (&(span, i), at) in layout.order.iter().zip(&starts) {
            let (Some(at), piece) = (at, &layout.pieces[&span][i]) else { continue };
            let saved_in = layout.pieces[&at.0].iter().find(|p| p.own.contains(&at.1)).expect("a past token was fed: invariant of fed()").wave;
            let (here, resident) = slots[at];
            let state = if saved_in == piece.wave { here.map(StateRef::Wave) } else { resident.map(StateRef::Resident) };
            run_at(&mut waves[piece.wave as usize], piece.row).state = state.expect("every reader was counted above");
        }
        for w in waves {
            w.resident_states = most;
        }
    }

    /// The span and own index of the token at `position` of the path of `span`.
    fn token_at(&self, span: SpanId, position: u32) -> (SpanId, u32) {
        let mut s = span;
        while self.forest.span(s).position > position {
            s = self.forest.span(s).parent.expect("a span with a past has a parent").0;
        }
        (s, position - self.forest.span(s).position)
    }

    fn fill_targets(&self, layout: &Layout, trees: &[&[SpanId]], waves: &mut [Wave]) {
        let mut found: Vec<Vec<(u32, u32, Target)>> = vec![Vec::new(); waves.len()];
        for &span in trees.iter().copied().flatten() {
            let tokens = self.forest.tokens(span);
            for &r in &self.by_span[span.0 as usize] {
                let reading = &self.readout.readings()[r as usize];
                let of = if reading.each { 0 } else { reading.tokens.end - reading.tokens.start };
                for t in reading.tokens.clone() {
                    let position = self.forest.span(span).position + t - 1;
                    let (s, own) = if t > 0 { (span, t - 1) } else { self.token_at(span, position) };
                    let piece = layout.pieces[&s].iter().find(|p| p.own.contains(&own)).expect("a predicting token was fed: invariant of fed()");
                    let slot = if reading.each { Slot(reading.slot.0 + t - reading.tokens.start) } else { reading.slot };
                    let row = piece.row + own - piece.own.start;
                    found[piece.wave as usize].push((row, r, Target { token: tokens[t as usize], slot, of }));
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
}

/// The run that starts at `row`; every piece has one.
fn run_at(wave: &mut Wave, row: u32) -> &mut Run {
    let i = wave.runs.partition_point(|r| r.rows.start < row);
    &mut wave.runs[i]
}

/// Appends a segment, joined to the one before it where rows and positions go on.
fn push_segment(wave: &mut Wave, start: u32, next: Segment) {
    if wave.segments.len() as u32 > start
        && let Some(last) = wave.segments.last_mut()
        && last.store == next.store
        && last.row + last.len == next.row
        && last.position + last.len == next.position
    {
        last.len += next.len;
        return;
    }
    wave.segments.push(next);
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
