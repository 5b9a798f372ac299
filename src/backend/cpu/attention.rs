//! Attention of a block's rows over the forest: softmax in tiles of [`KEY_TILE`] absolute positions.
//!
//! Queries lie across the lanes (rows of a run × the heads that share a key-value head), keys down the rows: S^T = K · Q^T, so
//! that maximum, exponential and sum run lane by lane and every query's numbers are its own; then O += P · V. Keys and values
//! are read where they lie; only a tile that a fork or a store's end breaks is gathered first. For every query the tiles come in
//! ascending order with one running (maximum, sum, output), as in FlashAttention (Dao et al. 2022).
//!
//! Why the bits do not depend on company: a masked key enters as exp(−∞) = 0, an all-masked tile leaves maximum, sum and
//! output as they were (the factor is exp(0) = 1), and each element of both products is one chain over its own row and column.

mod products;
mod rows;
mod softmax;

use self::products::{outputs, scores};
use self::rows::{Head, Path};
use self::softmax::{Sight, softmax};
use super::lanes::{Aligned, LINE};
use super::mat::{Mat, Shared};
use super::simd::{Isa, Kernel, Simd};
use crate::backend::{AttentionOp, History, KEY_TILE};
use crate::forest::{Run, Wave};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// Query lanes of a task: rows × heads of a group.
const LANES_MAX: usize = 64;
/// Lanes whose queries are turned at once; every path's lanes are a multiple.
const TURNED: usize = 8;

/// One piece of work: some rows of a run under one key-value head.
struct Piece {
    run: usize,
    rows: Range<u32>,
    head: usize,
}

/// See the trait.
pub(super) fn attention(
    isa: Isa,
    op: &AttentionOp<Mat>,
    wave: &Wave,
    block: Range<usize>,
    qkv: &Mat,
    keys: &History<Mat>,
    values: &History<Mat>,
    out: &mut Mat,
) {
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
pub(super) fn room_bytes(head_dim: usize, v_head_dim: usize) -> usize {
    let widths = head_dim.next_multiple_of(16) + v_head_dim.next_multiple_of(16);
    4 * (LANES_MAX.max(128) * widths + KEY_TILE * LANES_MAX.max(128) + KEY_TILE * widths + 4 * 128)
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
    /// Output `[lanes, padded v_head_dim]`.
    o: Aligned,
    /// Gathered keys `[KEY_TILE, head_dim]` and values `[KEY_TILE, padded v_head_dim]`.
    k: Aligned,
    v: Aligned,
    /// Running maximum, running sum and the tile's factor, one a lane.
    max: Aligned,
    sum: Aligned,
    factor: Aligned,
}

struct Task<'a> {
    op: &'a AttentionOp<'a, Mat>,
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

impl Task<'_> {
    #[inline(always)]
    unsafe fn go<S: Simd>(self) {
        let (op, run) = (self.op, self.run);
        let (hd, vd, group) = (op.head_dim, op.v_head_dim, op.heads / op.kv_heads);
        let n_rows = self.piece.rows.len();
        let used = n_rows * group;
        let lanes = used.next_multiple_of(S::LANES);
        let vd_pad = vd.next_multiple_of(S::LANES);
        let first = run.position + self.piece.rows.start - run.rows.start;
        let last = first + n_rows as u32 - 1;
        let room = &mut *self.room;
        room.q.at_least(hd * lanes);
        room.s.at_least(KEY_TILE * lanes);
        room.o.at_least(lanes * vd_pad);
        room.k.at_least(KEY_TILE * hd);
        room.v.at_least(KEY_TILE * vd_pad);
        for v in [&mut room.max, &mut room.sum, &mut room.factor] {
            v.at_least(lanes);
        }
        // Lanes that nobody uses repeat the last one; nothing of theirs is read.
        let from = |l: usize| {
            let l = l.min(used - 1);
            let row = self.qkv.row(self.piece.rows.start as usize + l / group - self.block_start);
            row[(self.piece.head * group + l % group) * hd..][..hd].as_ptr()
        };
        // SAFETY: a head's numbers are read, and room for all lanes is there.
        unsafe {
            // Rows lie far apart: one after the other, their way from memory would take longer than all that is done with them.
            for l in 0..used {
                let at = from(l);
                (0..hd).step_by(LINE).for_each(|c| S::fetch(at.add(c)));
            }
            for l in (0..lanes).step_by(TURNED) {
                let mut rows = [std::ptr::null(); TURNED];
                for (t, row) in rows.iter_mut().enumerate() {
                    *row = from(l + t);
                }
                turn(&rows, hd, op.scale, room.q.as_mut_ptr().add(l), lanes);
            }
        }
        room.o[..lanes * vd_pad].fill(0.0);
        // The least finite number rather than −∞: a tile that is masked for a lane then has the factor exp(0), not exp(−∞ + ∞).
        room.max[..lanes].fill(f32::MIN);
        room.sum[..lanes].fill(0.0);
        let path = Path { wave: self.wave, run };
        let head = (self.piece.head, op.kv_heads);
        let (keys, values) = (Head { history: self.keys, head, padded: hd }, Head { history: self.values, head, padded: vd_pad });
        let sight = Sight { first, group, used, window: op.window };
        let begin = op.window.map_or(0, |w| (first as usize + 1).saturating_sub(w));
        let mut tile_at = begin / KEY_TILE * KEY_TILE;
        while tile_at <= last as usize {
            // Keys before the first lane's window are out of every lane's sight; their products need not exist.
            let from = begin.max(tile_at);
            let n = (last as usize + 1).min(tile_at + KEY_TILE) - from;
            let span = from as u32..(from + n) as u32;
            let k = path.in_place(span.clone(), &keys).unwrap_or_else(|| path.gathered(span.clone(), &keys, &mut room.k));
            let v = path.in_place(span.clone(), &values).unwrap_or_else(|| path.gathered(span.clone(), &values, &mut room.v));
            // SAFETY: the rows exist in their stores; lanes and padding were sized above.
            unsafe {
                scores::<S>(k, n, hd, &room.q, lanes, &mut room.s);
                softmax::<S>(&sight, op.softcap, span, lanes, &mut room.s, [&mut room.max, &mut room.sum, &mut room.factor]);
                outputs::<S>(v, n, vd_pad, lanes, &room.s, &room.factor, &mut room.o);
            }
            tile_at += KEY_TILE;
        }
        for l in 0..used {
            let query_head = self.piece.head * group + l % group;
            let inv = match op.sinks {
                None => 1.0 / room.sum[l],
                // In float64 a sink far above every score needs no new maximum: its power may overflow, and the output is then 0, as it should be.
                Some(sinks) => (1.0 / (room.sum[l] as f64 + libm::exp(sinks.row(0)[query_head] as f64 - room.max[l] as f64))) as f32,
            };
            let row = self.piece.rows.start as usize + l / group - self.block_start;
            let at = row * self.cols + query_head * vd;
            // SAFETY: these numbers of the output are this task's alone.
            let out = unsafe { self.out.slice(at..at + vd) };
            for (o, x) in out.iter_mut().zip(&room.o[l * vd_pad..l * vd_pad + vd]) {
                *o = x * inv;
            }
        }
    }
}

/// `out[k·lanes + t] = from[t][k] · scale`, k < width.
#[inline(always)]
unsafe fn turn(from: &[*const f32; TURNED], width: usize, scale: f32, out: *mut f32, lanes: usize) {
    unsafe {
        for k in 0..width {
            for (t, row) in from.iter().enumerate() {
                *out.add(k * lanes + t) = *row.add(k) * scale;
            }
        }
    }
}
