//! How a forest is cut into waves, and the tables by which a wave's rows find their pasts.
//!
//! A wave holds whole trees, as many as its rows allow. A tree larger than a wave is cut where the rows run out and goes on
//! over a *resident* past: rows and scan states that later waves will ask for are kept in a second store. Nothing here
//! depends on a model beyond the two numbers of [`Cut`], and no cut changes a number.

use super::layout::{Layout, Needs};
use super::{Forest, Readout, Slot, TokenId, tables};
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
    /// Runs may share segments, so the first one may begin before the reach.
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
    /// Whether the slot counts greedy tokens.
    pub greedy: bool,
    /// The sample that the row's hidden state enters, if any.
    pub sample: Option<u32>,
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

/// All waves of a forest, in order.
pub struct Waves;

impl Waves {
    /// Cuts `forest` so that everything in `readout` is computed, and nothing that no reading needs.
    /// Time and memory are near linear in spans and fed tokens, plus what the pasts of forked rows themselves take.
    pub fn plan(forest: &Forest, readout: &Readout, cut: Cut) -> Vec<Wave> {
        let needs = Needs::new(forest, readout);
        let layout = Layout::new(&needs, cut);
        tables::fill(&needs, &layout, cut)
    }

    /// Rows that a forest feeds in all, per tree.
    pub fn rows_by_tree(forest: &Forest, readout: &Readout) -> Vec<usize> {
        let needs = Needs::new(forest, readout);
        forest.trees().iter().map(|t| needs.rows(t)).collect()
    }
}
