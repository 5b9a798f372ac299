//! The products of a chunk: small, so that their operands stay in the nearest caches and their results in registers.
//!
//! Every result is a chain of fused multiply-adds over the same index in the same order whatever tile it falls into: a tile
//! takes `T` results down (numbers that are broadcast) and `V` vectors across.

use super::{Batch, Chunk, Parts, Start};
use crate::backend::cpu::Mat;
use crate::backend::cpu::lanes::{Aligned, load, store};
use crate::backend::cpu::mat::Shared;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::{SSD_CHUNK, SsdOp, SsdSizes};
use crate::forest::{StateRef, StateSave};

/// Results of a tile down: with those across it, as many accumulators as registers hold beside one row of operands.
const DOWN: usize = 6;

/// What a task of one head works in.
pub(super) struct Local {
    /// The running state `[N, head_dim]`.
    state: Aligned,
    /// (C_t·B_s) e^(c_t − c_s) Δ_s, `[SSD_CHUNK, SSD_CHUNK]`.
    weights: Aligned,
    /// e^(c_last − c_s) Δ_s x_s, `[SSD_CHUNK, head_dim]`.
    inputs: Aligned,
}

impl Local {
    pub(super) fn new(op: &SsdOp<Mat>) -> Self {
        Local {
            state: Aligned::zeros(op.d_state * op.head_dim),
            weights: Aligned::zeros(SSD_CHUNK * SSD_CHUNK),
            inputs: Aligned::zeros(SSD_CHUNK * op.head_dim),
        }
    }

    pub(super) fn bytes(sizes: &SsdSizes) -> usize {
        (sizes.d_state * (sizes.head_dim + SSD_CHUNK) + SSD_CHUNK * (SSD_CHUNK + sizes.head_dim)) * size_of::<f32>()
    }
}

/// acc[t][v] += Σ_k a(k, t) · b(k)[v], k in order. A partial vector (`lanes` < LANES) stands alone (V = 1).
#[inline(always)]
unsafe fn chain<S: Simd, const T: usize, const V: usize>(
    acc: &mut [[S::V; V]; T],
    steps: usize,
    lanes: usize,
    a: impl Fn(usize, usize) -> f32,
    b: impl Fn(usize) -> *const f32,
) {
    for k in 0..steps {
        // SAFETY: the caller's pointers hold V vectors, or one of `lanes` numbers.
        unsafe {
            let bv = get::<S, V>(b(k), lanes);
            for t in 0..T {
                let av = S::splat(a(k, t));
                for v in 0..V {
                    acc[t][v] = S::fma(av, bv[v], acc[t][v]);
                }
            }
        }
    }
}

/// e^x for x ≤ 0, and 0 below x = −64: 10⁻²⁸ of a number that was there before is nothing in a sum of float32, but products
/// with it would be subnormal, which processors compute a hundred times slower.
#[inline(always)]
unsafe fn fade<S: Simd>(x: S::V) -> S::V {
    unsafe { S::if_less(x, S::splat(-64.0), S::splat(0.0), S::exp_within_each([S::min(S::max(x, S::splat(-64.0)), S::splat(0.0))])[0]) }
}

/// Stores V vectors, or one of `lanes` numbers.
#[inline(always)]
unsafe fn put<S: Simd, const V: usize>(at: *mut f32, lanes: usize, acc: [S::V; V]) {
    for v in 0..V {
        // SAFETY: the caller's word.
        unsafe { if V > 1 { S::store(at.add(v * S::LANES), acc[v]) } else { store::<S>(at, lanes, acc[v]) } };
    }
}

/// Loads V vectors, or one of `lanes` numbers.
#[inline(always)]
unsafe fn get<S: Simd, const V: usize>(at: *const f32, lanes: usize) -> [S::V; V] {
    unsafe {
        let mut out = [S::splat(0.0); V];
        for v in 0..V {
            out[v] = if V > 1 { S::load(at.add(v * S::LANES)) } else { load::<S>(at, lanes) };
        }
        out
    }
}

/// A step of a product over all its rows and columns; `tile` computes T rows from `row` and V vectors (or one of `lanes`) from `col`.
trait Tiles {
    unsafe fn tile<S: Simd, const T: usize, const V: usize>(&mut self, row: usize, col: usize, lanes: usize);
}

/// Covers rows `rows` and columns `0..cols` with tiles.
#[inline(always)]
unsafe fn cover<S: Simd>(rows: std::ops::Range<usize>, cols: usize, tiles: &mut impl Tiles) {
    // SAFETY: the tiles lie inside rows and columns.
    unsafe {
        let mut row = rows.start;
        while row + DOWN <= rows.end {
            across::<S, DOWN>(row, cols, tiles);
            row += DOWN;
        }
        while row + 2 <= rows.end {
            across::<S, 2>(row, cols, tiles);
            row += 2;
        }
        if row < rows.end {
            across::<S, 1>(row, cols, tiles);
        }
    }
}

#[inline(always)]
unsafe fn across<S: Simd, const T: usize>(row: usize, cols: usize, tiles: &mut impl Tiles) {
    // SAFETY: the tiles lie inside the columns.
    unsafe {
        let mut col = 0;
        // As many vectors as leave the accumulators and one row of operands in registers: 32 of 16 lanes, 16 of 8.
        while S::LANES == 16 && col + 4 * S::LANES <= cols {
            tiles.tile::<S, T, 4>(row, col, S::LANES);
            col += 4 * S::LANES;
        }
        while col + 2 * S::LANES <= cols {
            tiles.tile::<S, T, 2>(row, col, S::LANES);
            col += 2 * S::LANES;
        }
        while col < cols {
            let n = S::LANES.min(cols - col);
            tiles.tile::<S, T, 1>(row, col, n);
            col += n;
        }
    }
}

/// C_t·B_s of one chunk and group, for the piece's rows t and the chunk's rows s ≤ t.
pub(super) struct Gram<'a> {
    pub parts: &'a Parts<'a>,
    pub chunk: &'a Chunk,
    pub rows: &'a [u32],
    pub group: usize,
    /// B turned, `[N, SSD_CHUNK]`.
    pub turned: &'a mut Aligned,
    /// `[block rows, groups, SSD_CHUNK]`
    pub products: &'a Shared<'a>,
}

impl Kernel for Gram<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Gram { parts, chunk, rows, group, turned, products } = self;
        let op = parts.op;
        let (n, b, c) = (op.d_state, op.heads * op.head_dim + group * op.d_state, op.heads * op.head_dim + (op.groups + group) * op.d_state);
        turned.at_least(n * SSD_CHUNK);
        for (s, &row) in rows.iter().enumerate() {
            for (k, &v) in parts.mixed[row as usize * parts.width + b..][..n].iter().enumerate() {
                turned[k * SSD_CHUNK + s] = v;
            }
        }
        let mut tile = GramTile { c: [std::ptr::null(); SSD_CHUNK], to: [std::ptr::null_mut(); SSD_CHUNK], turned, n };
        for t in chunk.first..rows.len() {
            let to = ((chunk.out + t - chunk.first) * op.groups + group) * SSD_CHUNK;
            // SAFETY: these products are this task's alone.
            tile.to[t] = unsafe { products.slice(to..to + SSD_CHUNK).as_mut_ptr() };
            tile.c[t] = parts.mixed[rows[t] as usize * parts.width + c..][..n].as_ptr();
        }
        // SAFETY: the rows' pointers were set above; every row of products and of B turned has SSD_CHUNK numbers, whole vectors.
        unsafe { cover::<S>(chunk.first..rows.len(), SSD_CHUNK, &mut tile) };
    }
}

struct GramTile<'a> {
    c: [*const f32; SSD_CHUNK],
    to: [*mut f32; SSD_CHUNK],
    turned: &'a [f32],
    n: usize,
}

impl Tiles for GramTile<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize, const V: usize>(&mut self, row: usize, col: usize, lanes: usize) {
        // SAFETY: the caller's word on rows and columns.
        unsafe {
            let mut acc = [[S::splat(0.0); V]; T];
            let (c, turned) = (&self.c[row..row + T], self.turned.as_ptr().add(col));
            chain::<S, T, V>(&mut acc, self.n, lanes, |k, t| *c.get_unchecked(t).add(k), |k| turned.add(k * SSD_CHUNK));
            for t in 0..T {
                put::<S, V>(self.to[row + t].add(col), lanes, acc[t]);
            }
        }
    }
}

/// One head through a batch.
pub(super) struct Head<'a> {
    pub parts: &'a Parts<'a>,
    pub batch: &'a Batch<'a>,
    /// `[block rows, groups, SSD_CHUNK]`
    pub products: &'a [f32],
    pub saves: &'a [StateSave],
    pub here: &'a Shared<'a>,
    pub resident: &'a Shared<'a>,
    pub out: &'a Shared<'a>,
    pub head: usize,
    pub local: &'a mut Local,
}

/// One head of one chunk.
struct Operands {
    /// x_s, each `head_dim` numbers.
    x: [*const f32; SSD_CHUNK],
    /// B_s and C_t, each N numbers.
    b: [*const f32; SSD_CHUNK],
    c: [*const f32; SSD_CHUNK],
    /// Δ_s.
    delta: [f32; SSD_CHUNK],
    /// c_t.
    cum: [f64; SSD_CHUNK],
    /// e^(c_t).
    decay: [f32; SSD_CHUNK],
    d_skip: f32,
}

impl Operands {
    #[inline(always)]
    fn new<S: Simd>(parts: &Parts, rows: &[u32], head: usize) -> Self {
        let op = parts.op;
        let (inner, group) = (op.heads * op.head_dim, head / (op.heads / op.groups));
        let mut o = Operands {
            x: [std::ptr::null(); SSD_CHUNK],
            b: [std::ptr::null(); SSD_CHUNK],
            c: [std::ptr::null(); SSD_CHUNK],
            delta: [0.0; SSD_CHUNK],
            cum: [0.0; SSD_CHUNK],
            decay: [0.0; SSD_CHUNK],
            d_skip: op.d_skip.data()[head],
        };
        let mut sum = 0.0;
        for (s, &row) in rows.iter().enumerate() {
            let line = &parts.mixed[row as usize * parts.width..][..parts.width];
            o.x[s] = line[head * op.head_dim..].as_ptr();
            o.b[s] = line[inner + group * op.d_state..].as_ptr();
            o.c[s] = line[inner + (op.groups + group) * op.d_state..].as_ptr();
            o.delta[s] = parts.delta[row as usize * op.heads + head];
            sum += parts.decay[head] as f64 * o.delta[s] as f64;
            o.cum[s] = sum;
            o.decay[s] = sum as f32;
        }
        for v in o.decay.chunks_exact_mut(S::LANES) {
            // SAFETY: a whole vector.
            unsafe { S::store(v.as_mut_ptr(), fade::<S>(S::load(v.as_ptr()))) };
        }
        o
    }

    /// out[s] = factor[s] · e^(c − c_s) · Δ_s for s < n; what comes after up to the vector's end means nothing.
    #[inline(always)]
    fn faded<S: Simd>(&self, c: f64, n: usize, factor: Option<&[f32]>, out: &mut [f32]) {
        let mut gap = [0.0; SSD_CHUNK];
        let whole = n.next_multiple_of(S::LANES);
        for s in 0..whole {
            gap[s] = (c - self.cum[s]) as f32;
        }
        assert!(whole <= out.len() && factor.is_none_or(|f| whole <= f.len()));
        for s in (0..whole).step_by(S::LANES) {
            // SAFETY: whole vectors below `whole`, which every array holds.
            unsafe {
                let mut w = S::mul(fade::<S>(S::load(gap.as_ptr().add(s))), S::load(self.delta.as_ptr().add(s)));
                if let Some(f) = factor {
                    w = S::mul(S::load(f.as_ptr().add(s)), w);
                }
                S::store(out.as_mut_ptr().add(s), w);
            }
        }
    }
}

impl Head<'_> {
    /// This head's numbers of a stored state.
    ///
    /// # Safety
    /// Only the task of this head asks, and it uses one at a time.
    unsafe fn stored(&self, at: StateRef) -> Option<*mut f32> {
        let op = self.parts.op;
        let (store, slot) = match at {
            StateRef::Zero => return None,
            StateRef::Wave(slot) => (self.here, slot),
            StateRef::Resident(slot) => (self.resident, slot),
        };
        let size = op.d_state * op.head_dim;
        let from = (slot as usize * op.heads + self.head) * size;
        // SAFETY: numbers of this head are this task's alone.
        Some(unsafe { store.slice(from..from + size).as_mut_ptr() })
    }
}

impl Kernel for Head<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let op = self.parts.op;
        let (heads, n, p) = (op.heads, op.d_state, op.head_dim);
        let group = self.head / (heads / op.groups);
        for chunk in &self.batch.chunks {
            let rows = self.batch.rows(chunk);
            let o = Operands::new::<S>(self.parts, rows, self.head);
            let state = match chunk.start {
                // SAFETY: the one stored state in use.
                Start::Stored(at) => unsafe { self.stored(at) }.map(|s| s.cast_const()),
                Start::Running => Some(self.local.state.as_ptr()),
            };
            let mut to = [std::ptr::null_mut(); SSD_CHUNK];
            for t in chunk.first..rows.len() {
                let row = chunk.out + t - chunk.first;
                let products = &self.products[(row * op.groups + group) * SSD_CHUNK..][..SSD_CHUNK];
                o.faded::<S>(o.cum[t], t + 1, Some(products), &mut self.local.weights[t * SSD_CHUNK..(t + 1) * SSD_CHUNK]);
                let at = (row * heads + self.head) * p;
                // SAFETY: these columns of the rows are this task's alone.
                to[t] = unsafe { self.out.slice(at..at + p).as_mut_ptr() };
            }
            // SAFETY: every pointer was taken from a slice of the length that the tiles use.
            unsafe { cover::<S>(chunk.first..rows.len(), p, &mut Outputs { o: &o, state, weights: &self.local.weights, to: &to, p, n }) };
            if !chunk.next {
                continue;
            }
            let total = o.cum[SSD_CHUNK - 1];
            let mut fade = [0.0; SSD_CHUNK];
            o.faded::<S>(total, SSD_CHUNK, None, &mut fade);
            for (s, inputs) in self.local.inputs.chunks_exact_mut(p).enumerate() {
                for (j, v) in inputs.chunks_mut(S::LANES).enumerate() {
                    // SAFETY: x_s has as many numbers as `inputs`.
                    unsafe { store::<S>(v.as_mut_ptr(), v.len(), S::mul(S::splat(fade[s]), load::<S>(o.x[s].add(j * S::LANES), v.len()))) };
                }
            }
            let next = self.local.state.as_mut_ptr();
            // SAFETY: as above; a tile reads the numbers of the old state that it overwrites before it does so.
            unsafe { cover::<S>(0..n, p, &mut Next { b: &o.b, state, decay: o.decay[SSD_CHUNK - 1], inputs: &self.local.inputs, next, p }) };
            let saves = self.saves[chunk.saves.clone()].iter().map(|s| s.to).chain(chunk.carry.then_some(StateRef::Wave(0)));
            for slot in saves {
                // SAFETY: the one stored state in use; it holds as many numbers as the running one.
                if let Some(to) = unsafe { self.stored(slot) } {
                    unsafe { to.copy_from_nonoverlapping(next, n * p) };
                }
            }
        }
    }
}

/// y of a chunk's rows.
struct Outputs<'a> {
    o: &'a Operands,
    state: Option<*const f32>,
    weights: &'a [f32],
    to: &'a [*mut f32; SSD_CHUNK],
    p: usize,
    n: usize,
}

impl Tiles for Outputs<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize, const V: usize>(&mut self, row: usize, col: usize, lanes: usize) {
        // SAFETY: the caller's word on rows and columns.
        unsafe {
            let mut acc = [[S::splat(0.0); V]; T];
            if let Some(state) = self.state {
                let (c, state, p) = (&self.o.c[row..row + T], state.add(col), self.p);
                chain::<S, T, V>(&mut acc, self.n, lanes, |k, t| *c.get_unchecked(t).add(k), |k| state.add(k * p));
                for t in 0..T {
                    let decay = S::splat(self.o.decay[row + t]);
                    for v in 0..V {
                        acc[t][v] = S::mul(decay, acc[t][v]);
                    }
                }
            }
            let (x, weights) = (self.o.x.as_ptr(), self.weights.as_ptr().add(row * SSD_CHUNK));
            chain::<S, T, V>(&mut acc, row + 1, lanes, |s, t| *weights.add(t * SSD_CHUNK + s), |s| (*x.add(s)).add(col));
            // The tile's own rows: each row stops at itself, since nothing later may touch it, not even times zero.
            for s in 1..T {
                let xs = get::<S, V>(self.o.x[row + s].add(col), lanes);
                for t in s..T {
                    let w = S::splat(*weights.add(t * SSD_CHUNK + row + s));
                    for v in 0..V {
                        acc[t][v] = S::fma(w, xs[v], acc[t][v]);
                    }
                }
            }
            let d = S::splat(self.o.d_skip);
            for t in 0..T {
                let xt = get::<S, V>(self.o.x[row + t].add(col), lanes);
                for v in 0..V {
                    acc[t][v] = S::fma(d, xt[v], acc[t][v]);
                }
                put::<S, V>(self.to[row + t].add(col), lanes, acc[t]);
            }
        }
    }
}

/// The state after a chunk; rows are the N numbers, columns those of the head.
struct Next<'a> {
    b: &'a [*const f32; SSD_CHUNK],
    state: Option<*const f32>,
    decay: f32,
    inputs: &'a [f32],
    next: *mut f32,
    p: usize,
}

impl Tiles for Next<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const T: usize, const V: usize>(&mut self, row: usize, col: usize, lanes: usize) {
        // SAFETY: the caller's word on rows and columns.
        unsafe {
            let mut acc = [[S::splat(0.0); V]; T];
            if let Some(state) = self.state {
                let decay = S::splat(self.decay);
                for t in 0..T {
                    let old = get::<S, V>(state.add((row + t) * self.p + col), lanes);
                    for v in 0..V {
                        acc[t][v] = S::mul(decay, old[v]);
                    }
                }
            }
            let (b, inputs, p) = (self.b.as_ptr(), self.inputs.as_ptr().add(col), self.p);
            chain::<S, T, V>(&mut acc, SSD_CHUNK, lanes, |s, t| *(*b.add(s)).add(row + t), |s| inputs.add(s * p));
            for t in 0..T {
                put::<S, V>(self.next.add((row + t) * p + col), lanes, acc[t]);
            }
        }
    }
}
