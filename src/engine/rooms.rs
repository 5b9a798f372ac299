//! The workspace: every matrix that a wave needs, of sizes that follow from (spec, wave) alone.

use crate::backend::Backend;
use crate::error::Result;
use crate::model::{Attention, Mamba1, Mamba2, Mixer, Mlp, ModelSpec, Residual, Rope};

/// What a plan of waves asks for at the most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Rows of a wave.
    pub rows: usize,
    /// Scan-state slots of a wave, the carry included.
    pub states: usize,
    /// Resident rows.
    pub resident_rows: usize,
    /// Resident scan-state slots.
    pub resident_states: usize,
    /// Positions for which rotary tables are there.
    pub positions: usize,
}

impl Extent {
    /// Enough for either.
    pub fn most(self, other: Extent) -> Extent {
        Extent {
            rows: self.rows.max(other.rows),
            states: self.states.max(other.states),
            resident_rows: self.resident_rows.max(other.resident_rows),
            resident_states: self.resident_states.max(other.resident_states),
            positions: self.positions.max(other.positions),
        }
    }
}

/// Buffers of one kind of mixer; layers of the same sizes share them.
pub(super) enum Room<B: Backend> {
    Attention { qkv: B::Mat, mixed: B::Mat, keys: B::Mat, values: B::Mat },
    Mlp { hidden: B::Mat },
    Mamba1 { xz: B::Mat, x: B::Mat, dbc: B::Mat, dt: B::Mat, y: B::Mat, history: B::Mat, states: B::Mat },
    Mamba2 { proj: B::Mat, y: B::Mat, history: B::Mat, states: B::Mat },
}

/// History of one block that outlives a wave.
pub(super) enum Kept<B: Backend> {
    None,
    Attention { keys: B::Mat, values: B::Mat },
    Scan { history: B::Mat, states: B::Mat },
}

/// Columns of a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cols {
    /// Of [`Backend::mat`].
    Full(usize),
    /// Of [`Backend::operand`].
    Operand(usize),
}

impl Cols {
    fn mat<B: Backend>(self, backend: &B, rows: usize) -> Result<B::Mat> {
        match self {
            Cols::Full(n) => backend.mat(rows, n),
            Cols::Operand(n) => backend.operand(rows, n),
        }
    }

    fn bytes<B: Backend>(self, backend: &B) -> usize {
        match self {
            Cols::Full(n) => 4 * n,
            Cols::Operand(n) => backend.operand_bytes(n) * n,
        }
    }
}

/// Widths of a mixer's buffers, in numbers.
#[derive(PartialEq, Eq)]
struct Widths {
    /// Per row of a block.
    block: Vec<Cols>,
    /// Per row of a wave, and of the resident store; of one head.
    history: Vec<Cols>,
    /// Heads into which a history falls; its rows lie head after head.
    heads: usize,
    /// Per state slot.
    state: usize,
}

impl Widths {
    fn of<B: Backend>(backend: &B, mixer: &Mixer) -> Widths {
        use Cols::{Full, Operand};
        match mixer {
            Mixer::Attention(a) => {
                let widths = [a.head_dim, a.v_head_dim];
                // Attention reads keys and values of one type: where the backend would shorten one of them only, both stay whole.
                let [k, v] = widths.map(|n| backend.operand_bytes(n));
                let history = widths.map(if k == v { Operand } else { Full }).to_vec();
                Widths { block: vec![Full(a.qkv.outputs), Operand(a.heads * a.v_head_dim)], history, heads: a.kv_heads, state: 0 }
            }
            Mixer::Mlp(m) => Widths { block: vec![Operand(m.width)], history: vec![], heads: 1, state: 0 },
            Mixer::Mamba1(m) => Widths {
                block: [2 * m.d_inner, m.d_inner, m.dt_rank + 2 * m.d_state, m.d_inner, m.d_inner].map(Full).to_vec(),
                history: vec![Full(m.d_inner)],
                heads: 1,
                state: m.d_inner * m.d_state,
            },
            Mixer::Mamba2(m) => Widths {
                block: [m.in_proj.outputs, m.d_inner].map(Full).to_vec(),
                history: vec![Full(m.d_inner + 2 * m.groups * m.d_state + m.heads)],
                heads: 1,
                state: m.heads * m.head_dim * m.d_state,
            },
        }
    }

    /// A store of one of the histories.
    fn store<B: Backend>(&self, backend: &B, rows: usize, i: usize) -> Result<B::Mat> {
        self.history[i].mat(backend, self.heads * rows)
    }

    /// Bytes of a row of a block, and of a row of the histories.
    fn bytes<B: Backend>(&self, backend: &B) -> (usize, usize) {
        let sum = |cols: &[Cols]| cols.iter().map(|c| c.bytes(backend)).sum::<usize>();
        (sum(&self.block), self.heads * sum(&self.history))
    }

    /// Layers whose key is the same share a room.
    fn key(self, mixer: &Mixer) -> (u8, Widths) {
        let kind = match mixer {
            Mixer::Attention(_) => 0,
            Mixer::Mlp(_) => 1,
            Mixer::Mamba1(_) => 2,
            Mixer::Mamba2(_) => 3,
        };
        (kind, self)
    }
}

/// All buffers of an engine.
pub(super) struct Rooms<B: Backend> {
    pub extent: Extent,
    /// `[rows, d]`
    pub residual: B::Mat,
    /// `[block, d]`, one a parallel block.
    pub normed: Vec<B::Mat>,
    pub rooms: Vec<Room<B>>,
    /// `[layer][block]` → index of its room.
    pub of: Vec<Vec<usize>>,
    /// `[layer][block]`
    pub kept: Vec<Vec<Kept<B>>>,
}

/// Bytes of the workspace for waves of this extent: what the engine allocates for them.
pub fn workspace_bytes<B: Backend>(backend: &B, spec: &ModelSpec, extent: Extent) -> usize {
    let block = backend.block_rows().min(extent.rows.max(1));
    let mut bytes = 4 * extent.rows * spec.d + normed(spec) * block * Cols::Operand(spec.d).bytes(backend);
    bytes += ropes(spec).iter().map(|rope| 4 * extent.positions * rope.dims).sum::<usize>();
    let mut seen = Vec::new();
    for b in spec.layers.iter().flat_map(|l| &l.blocks) {
        let w = Widths::of(backend, &b.mixer);
        let ((of_block, history), state) = (w.bytes(backend), 4 * w.state);
        let key = w.key(&b.mixer);
        if !seen.contains(&key) {
            bytes += block * of_block + extent.rows * history + extent.states * state;
            seen.push(key);
        }
        bytes += extent.resident_rows * history + extent.resident_states * state;
    }
    bytes
}

/// Normed copies of a block of rows: one for each of the mixers that run side by side.
fn normed(spec: &ModelSpec) -> usize {
    if spec.layers.iter().any(|l| l.residual == Residual::Parallel) { 2 } else { 1 }
}

/// Rotary embeddings that differ; each has one table, whichever layers turn by it.
pub(super) fn ropes(spec: &ModelSpec) -> Vec<&Rope> {
    let mut all: Vec<&Rope> = Vec::new();
    for b in spec.layers.iter().flat_map(|l| &l.blocks) {
        if let Mixer::Attention(Attention { rope: Some(rope), .. }) = &b.mixer
            && !all.contains(&rope)
        {
            all.push(rope);
        }
    }
    all
}

impl<B: Backend> Rooms<B> {
    pub fn new(backend: &B, spec: &ModelSpec, extent: Extent) -> Result<Self> {
        let block = backend.block_rows().min(extent.rows.max(1));
        let normed = (0..normed(spec)).map(|_| backend.operand(block, spec.d)).collect::<Result<_>>()?;
        let mut this = Rooms { extent, residual: backend.mat(extent.rows, spec.d)?, normed, rooms: Vec::new(), of: Vec::new(), kept: Vec::new() };
        let mut keys: Vec<(u8, Widths)> = Vec::new();
        for layer in &spec.layers {
            let (mut of, mut kept) = (Vec::new(), Vec::new());
            for b in &layer.blocks {
                let key = Widths::of(backend, &b.mixer).key(&b.mixer);
                let i = match keys.iter().position(|k| *k == key) {
                    Some(i) => i,
                    None => {
                        keys.push(key);
                        this.rooms.push(room(backend, &b.mixer, block, extent)?);
                        keys.len() - 1
                    }
                };
                of.push(i);
                kept.push(keep(backend, &b.mixer, extent)?);
            }
            this.of.push(of);
            this.kept.push(kept);
        }
        Ok(this)
    }
}

fn room<B: Backend>(backend: &B, mixer: &Mixer, block: usize, extent: Extent) -> Result<Room<B>> {
    let w = Widths::of(backend, mixer);
    let of_block = |i: usize| w.block[i].mat(backend, block);
    let history = |i: usize| w.store(backend, extent.rows, i);
    let states = || backend.mat(extent.states, w.state);
    Ok(match mixer {
        Mixer::Attention(Attention { .. }) => Room::Attention { qkv: of_block(0)?, mixed: of_block(1)?, keys: history(0)?, values: history(1)? },
        Mixer::Mlp(Mlp { .. }) => Room::Mlp { hidden: of_block(0)? },
        Mixer::Mamba1(Mamba1 { .. }) => {
            Room::Mamba1 { xz: of_block(0)?, x: of_block(1)?, dbc: of_block(2)?, dt: of_block(3)?, y: of_block(4)?, history: history(0)?, states: states()? }
        }
        Mixer::Mamba2(Mamba2 { .. }) => Room::Mamba2 { proj: of_block(0)?, y: of_block(1)?, history: history(0)?, states: states()? },
    })
}

fn keep<B: Backend>(backend: &B, mixer: &Mixer, extent: Extent) -> Result<Kept<B>> {
    let w = Widths::of(backend, mixer);
    let rows = |i: usize| w.store(backend, extent.resident_rows, i);
    Ok(match mixer {
        Mixer::Attention(_) => Kept::Attention { keys: rows(0)?, values: rows(1)? },
        Mixer::Mlp(_) => Kept::None,
        Mixer::Mamba1(_) | Mixer::Mamba2(_) => Kept::Scan { history: rows(0)?, states: backend.mat(extent.resident_states, w.state)? },
    })
}
