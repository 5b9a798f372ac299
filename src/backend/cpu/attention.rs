//! Attention of a block's rows over the forest: softmax in tiles of [`KEY_TILE`] absolute positions.
//!
//! Queries lie across the lanes (rows of a run × the heads that share a key-value head), keys down the rows: S^T = K · Q^T, so
//! that maximum, exponential and sum run lane by lane and every query's numbers are its own; then O += P · V. Keys and values
//! are read where they lie; only a tile that a fork or a store's end breaks is gathered first. For every query the tiles come in
//! ascending order with one running (maximum, sum, output), as in FlashAttention (Dao et al. 2022).
//!
//! Why the bits do not depend on company: a masked key enters as exp(−∞) = 0, an all-masked tile leaves maximum, sum and
//! output as they were (the factor is exp(0) = 1), and each element of both products is one chain over its own row and column.

use super::lanes::Aligned;
use super::mat::{Mat, Shared};
use super::math::tanh;
use super::simd::{Isa, Kernel, Simd};
use super::tile::tile;
use crate::backend::{AttentionOp, History, KEY_TILE};
use crate::forest::{Run, Segment, Store, Wave};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Query lanes of a task: rows × heads of a group.
const LANES_MAX: usize = 64;
/// Rows of A that a product of `vectors` columns takes at once: 8 to 16 accumulators keep both multiply-add units busy, and
/// both numbers divide a tile of keys and every path's lanes.
const fn rows_at_once(vectors: usize) -> usize {
    if vectors > 2 { 4 } else { 8 }
}

/// One piece of work: some rows of a run under one key-value head.
struct Piece {
    run: usize,
    rows: Range<u32>,
    head: usize,
}

/// See the trait.
pub(super) fn attention(isa: Isa, op: &AttentionOp, wave: &Wave, block: Range<usize>, qkv: &Mat, keys: &History<Mat>, values: &History<Mat>, out: &mut Mat) {
    let group = op.heads / op.kv_heads;
    let most = (LANES_MAX / group).max(1) as u32;
    let mut rows = Vec::new();
    let first = wave.runs.partition_point(|r| r.rows.end as usize <= block.start);
    for (i, run) in wave.runs.iter().enumerate().skip(first).take_while(|(_, r)| (r.rows.start as usize) < block.end) {
        let (mut at, end) = (run.rows.start.max(block.start as u32), run.rows.end.min(block.end as u32));
        while at < end {
            let next = end.min(at + most);
            rows.push((i, at..next));
            at = next;
        }
    }
    // Head after head, so that the keys and values of one stay in the second-level cache for all rows.
    let pieces: Vec<Piece> = (0..op.kv_heads).flat_map(|head| rows.iter().map(move |(run, rows)| Piece { run: *run, rows: rows.clone(), head })).collect();
    let cols = out.cols();
    let shared = Shared::new(out.data_mut());
    pieces.par_iter().with_max_len(1).for_each(|piece| {
        ROOM.with_borrow_mut(|room| {
            isa.run(Task { op, wave, run: &wave.runs[piece.run], piece, block_start: block.start, qkv, keys, values, out: &shared, cols, room });
        });
    });
}

/// Bytes of a thread's scratch.
pub(super) fn room_bytes(head_dim: usize) -> usize {
    let hd = head_dim.next_multiple_of(16);
    4 * (2 * LANES_MAX.max(128) * hd + KEY_TILE * LANES_MAX.max(128) + 2 * KEY_TILE * hd + 4 * 128)
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::new(Room::default());
}

/// A thread's scratch.
#[derive(Default)]
struct Room {
    /// Scaled queries `[head_dim, lanes]`.
    q: Aligned,
    /// Scores, then probabilities `[KEY_TILE, lanes]`.
    s: Aligned,
    /// Output `[lanes, padded head_dim]`.
    o: Aligned,
    /// Gathered keys `[KEY_TILE, head_dim]` and values `[KEY_TILE, padded head_dim]`.
    k: Aligned,
    v: Aligned,
    /// Running maximum, running sum and the tile's factor, one a lane.
    max: Aligned,
    sum: Aligned,
    factor: Aligned,
}

struct Task<'a> {
    op: &'a AttentionOp,
    wave: &'a Wave,
    run: &'a Run,
    piece: &'a Piece,
    block_start: usize,
    qkv: &'a Mat,
    keys: &'a History<'a, Mat>,
    values: &'a History<'a, Mat>,
    out: &'a Shared<'a>,
    cols: usize,
    room: &'a mut Room,
}

impl Kernel for Task<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe { self.go::<S>() }
    }
}

/// Rows of a store from which a tile is read: pointer to the first and distance between two.
#[derive(Clone, Copy)]
struct Rows {
    at: *const f32,
    stride: usize,
}

impl Task<'_> {
    #[inline(always)]
    unsafe fn go<S: Simd>(self) {
        let (op, run) = (self.op, self.run);
        let (hd, group) = (op.head_dim, op.heads / op.kv_heads);
        let n_rows = self.piece.rows.len();
        let used = n_rows * group;
        let lanes = used.next_multiple_of(S::LANES);
        let hd_pad = hd.next_multiple_of(S::LANES);
        let first = run.position + self.piece.rows.start - run.rows.start;
        let last = first + n_rows as u32 - 1;
        let room = &mut *self.room;
        room.q.at_least(hd * lanes);
        room.s.at_least(KEY_TILE * lanes);
        room.o.at_least(lanes * hd_pad);
        room.k.at_least(KEY_TILE * hd);
        room.v.at_least(KEY_TILE * hd_pad);
        for v in [&mut room.max, &mut room.sum, &mut room.factor] {
            v.at_least(lanes);
        }
        for l in 0..lanes {
            if l >= used {
                for k in 0..hd {
                    room.q[k * lanes + l] = 0.0;
                }
                continue;
            }
            let row = self.qkv.row(self.piece.rows.start as usize + l / group - self.block_start);
            let q = &row[(self.piece.head * group + l % group) * hd..][..hd];
            for (k, x) in q.iter().enumerate() {
                room.q[k * lanes + l] = *x * op.scale;
            }
        }
        room.o[..lanes * hd_pad].fill(0.0);
        // The least finite number rather than −∞: a tile that is masked for a lane then has the factor exp(0), not exp(−∞ + ∞).
        room.max[..lanes].fill(f32::MIN);
        room.sum[..lanes].fill(0.0);
        let begin = op.window.map_or(0, |w| (first as usize + 1).saturating_sub(w));
        let mut tile_at = begin / KEY_TILE * KEY_TILE;
        while tile_at <= last as usize {
            // Keys before the first lane's window are out of every lane's sight; their products need not exist.
            let from = begin.max(tile_at);
            let n = (last as usize + 1).min(tile_at + KEY_TILE) - from;
            let span = from as u32..(from + n) as u32;
            let head = self.piece.head;
            // SAFETY: the rows named by the tables exist in their stores; lanes and padding were sized above.
            unsafe {
                let k = rows_of(self.wave, run, span.clone(), self.keys, head * hd, hd, hd, &mut room.k);
                let v = rows_of(self.wave, run, span.clone(), self.values, head * hd, hd, hd_pad, &mut room.v);
                scores::<S>(k, n, hd, &room.q, lanes, &mut room.s);
                softmax::<S>(op, span, first, group, used, lanes, &mut room.s, &mut room.max, &mut room.sum, &mut room.factor);
                outputs::<S>(v, n, hd_pad, lanes, &room.s, &room.factor, &mut room.o);
            }
            tile_at += KEY_TILE;
        }
        for l in 0..used {
            let inv = 1.0 / room.sum[l];
            let row = self.piece.rows.start as usize + l / group - self.block_start;
            let at = row * self.cols + (self.piece.head * group + l % group) * hd;
            // SAFETY: these numbers of the output are this task's alone.
            let out = unsafe { self.out.slice(at..at + hd) };
            for (o, x) in out.iter_mut().zip(&room.o[l * hd_pad..l * hd_pad + hd]) {
                *o = x * inv;
            }
        }
    }
}

/// Where rows `span` (positions) of a run's path lie: in place if one store holds them side by side and their width needs no
/// padding, else gathered into `room`.
fn rows_of(wave: &Wave, run: &Run, span: Range<u32>, history: &History<Mat>, from: usize, width: usize, padded: usize, room: &mut [f32]) -> Rows {
    let store = |s: Store| match s {
        Store::Wave => &*history.wave,
        Store::Resident => history.resident,
    };
    let segments = &wave.segments[run.past.start as usize..run.past.end as usize];
    let own = Segment { store: Store::Wave, row: run.rows.start, position: run.position, len: run.rows.end - run.rows.start };
    let mut i = segments.partition_point(|s| s.position + s.len <= span.start);
    let segment = |i: usize| if i < segments.len() { segments[i] } else { own };
    let s = segment(i);
    if padded == width && span.end <= s.position + s.len {
        let mat = store(s.store);
        let row = (s.row + span.start - s.position) as usize;
        return Rows { at: mat.row(row)[from..].as_ptr(), stride: mat.cols() };
    }
    let mut position = span.start;
    while position < span.end {
        let s = segment(i);
        let mat = store(s.store);
        let end = span.end.min(s.position + s.len);
        for p in position..end {
            let out = &mut room[(p - span.start) as usize * padded..][..padded];
            out[..width].copy_from_slice(&mat.row((s.row + p - s.position) as usize)[from..from + width]);
            out[width..].fill(0.0);
        }
        position = end;
        i += 1;
    }
    Rows { at: room.as_ptr(), stride: padded }
}

/// `s[j, lane] = k_j · q_lane`, j < n.
#[inline(always)]
unsafe fn scores<S: Simd>(k: Rows, n: usize, hd: usize, q: &[f32], lanes: usize, s: &mut [f32]) {
    unsafe {
        let wide = if S::LANES == 16 { 4 } else { 2 };
        let mut lane = 0;
        while lane < lanes {
            let vectors = ((lanes - lane) / S::LANES).min(wide);
            let (b, out) = (q.as_ptr().add(lane), s.as_mut_ptr().add(lane));
            match vectors {
                4 => score_columns::<S, { rows_at_once(4) }, 4>(k, n, hd, b, lanes, out),
                3 => score_columns::<S, { rows_at_once(3) }, 3>(k, n, hd, b, lanes, out),
                2 => score_columns::<S, { rows_at_once(2) }, 2>(k, n, hd, b, lanes, out),
                _ => score_columns::<S, { rows_at_once(1) }, 1>(k, n, hd, b, lanes, out),
            }
            lane += vectors * S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn score_columns<S: Simd, const MR: usize, const NV: usize>(k: Rows, n: usize, hd: usize, q: *const f32, lanes: usize, s: *mut f32) {
    unsafe {
        if n < MR {
            for j in 0..n {
                score_rows::<S, 1, NV>(k, j, hd, q, lanes, s);
            }
            return;
        }
        let mut j = 0;
        while j < n {
            // The last rows may be computed twice; they come out the same.
            score_rows::<S, MR, NV>(k, j.min(n - MR), hd, q, lanes, s);
            j += MR;
        }
    }
}

#[inline(always)]
unsafe fn score_rows<S: Simd, const MR: usize, const NV: usize>(k: Rows, j: usize, hd: usize, q: *const f32, lanes: usize, s: *mut f32) {
    unsafe {
        let mut acc = [[S::splat(0.0); NV]; MR];
        tile::<S, MR, NV>(hd, k.at.add(j * k.stride), (k.stride, 1), q, lanes, &mut acc, || ());
        for i in 0..MR {
            for v in 0..NV {
                S::store(s.add((j + i) * lanes + v * S::LANES), acc[i][v]);
            }
        }
    }
}

/// Scores to unnormalised probabilities of one tile, with the running maximum and sum.
#[inline(always)]
unsafe fn softmax<S: Simd>(
    op: &AttentionOp,
    span: Range<u32>,
    first: u32,
    group: usize,
    used: usize,
    lanes: usize,
    s: &mut [f32],
    max: &mut [f32],
    sum: &mut [f32],
    factor: &mut [f32],
) {
    unsafe {
        let n = span.len();
        let last_used = first + ((used - 1) / group) as u32;
        // Whether some lane must not see some key of the tile.
        let ragged = span.end - 1 > first || op.window.is_some_and(|w| (last_used as usize) >= span.start as usize + w);
        let changed = ragged || op.softcap.is_some();
        let mut lane = 0;
        while lane < lanes {
            let at = s.as_mut_ptr().add(lane);
            // The lanes' positions, counted from the tile's first key: small numbers where they are compared, so exact.
            let mut from_key = [0.0f32; 16];
            for (l, p) in from_key[..S::LANES].iter_mut().enumerate() {
                *p = (first as i64 + ((lane + l).min(used - 1) / group) as i64 - span.start as i64) as f32;
            }
            let at_position = S::load(from_key.as_ptr());
            let mut m = S::load(max.as_ptr().add(lane));
            let old = m;
            for j in 0..n {
                let p = at.add(j * lanes);
                let mut x = S::load(p);
                if let Some(c) = op.softcap {
                    x = S::mul(S::splat(c), tanh::<S>(S::mul(x, S::splat(1.0 / c))));
                }
                if ragged {
                    let away = S::splat(f32::NEG_INFINITY);
                    x = S::if_less(at_position, S::splat(j as f32), away, x);
                    if let Some(w) = op.window {
                        x = S::if_less(at_position, S::splat((j + w) as f32), x, away);
                    }
                }
                if changed {
                    S::store(p, x);
                }
                m = S::max(x, m);
            }
            let mut total = S::splat(0.0);
            for j in 0..n {
                let p = at.add(j * lanes);
                let e = S::exp(S::sub(S::load(p), m));
                S::store(p, e);
                total = S::add(total, e);
            }
            let f = S::exp(S::sub(old, m));
            S::store(max.as_mut_ptr().add(lane), m);
            S::store(factor.as_mut_ptr().add(lane), f);
            let old_sum = S::load(sum.as_ptr().add(lane));
            S::store(sum.as_mut_ptr().add(lane), S::fma(old_sum, f, total));
            lane += S::LANES;
        }
    }
}

/// `o[lane] = o[lane] · factor[lane] + Σ_j p[j, lane] v_j`, j < n.
#[inline(always)]
unsafe fn outputs<S: Simd>(v: Rows, n: usize, hd_pad: usize, lanes: usize, p: &[f32], factor: &[f32], o: &mut [f32]) {
    unsafe {
        let mut c = 0;
        let wide = if S::LANES == 16 { 4 } else { 2 };
        while c < hd_pad {
            let vectors = ((hd_pad - c) / S::LANES).min(wide);
            let b = Rows { at: v.at.add(c), stride: v.stride };
            let (p, out) = (p.as_ptr(), o.as_mut_ptr().add(c));
            match vectors {
                4 => output_columns::<S, { rows_at_once(4) }, 4>(b, n, lanes, hd_pad, p, factor, out),
                3 => output_columns::<S, { rows_at_once(3) }, 3>(b, n, lanes, hd_pad, p, factor, out),
                2 => output_columns::<S, { rows_at_once(2) }, 2>(b, n, lanes, hd_pad, p, factor, out),
                _ => output_columns::<S, { rows_at_once(1) }, 1>(b, n, lanes, hd_pad, p, factor, out),
            }
            c += vectors * S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn output_columns<S: Simd, const MR: usize, const NV: usize>(
    v: Rows,
    n: usize,
    lanes: usize,
    hd_pad: usize,
    p: *const f32,
    factor: &[f32],
    o: *mut f32,
) {
    unsafe {
        for l in (0..lanes).step_by(MR) {
            let mut acc = [[S::splat(0.0); NV]; MR];
            for i in 0..MR {
                let f = S::splat(factor[l + i]);
                for c in 0..NV {
                    acc[i][c] = S::mul(S::load(o.add((l + i) * hd_pad + c * S::LANES)), f);
                }
            }
            tile::<S, MR, NV>(n, p.add(l), (1, lanes), v.at, v.stride, &mut acc, || ());
            for i in 0..MR {
                for c in 0..NV {
                    S::store(o.add((l + i) * hd_pad + c * S::LANES), acc[i][c]);
                }
            }
        }
    }
}
