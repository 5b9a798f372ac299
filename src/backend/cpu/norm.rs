//! Row-wise steps: norms, embedding, rotary embedding with the append to the key-value store.

use super::lanes::{part, put};
use super::mat::{Mat, Shared};
use super::simd::{Isa, Kernel, Simd};
use crate::backend::{NormOp, RotaryOp};
use crate::forest::TokenId;
use crate::tensor::Tensor;
use rayon::prelude::*;
use std::ops::Range;

/// Rows that a task takes at once.
const ROWS: usize = 16;

struct NormRow<'a> {
    center: bool,
    eps: f32,
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    x: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for NormRow<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe {
            let d = self.x.len();
            let inv = 1.0 / d as f32;
            let mut mean = 0.0;
            if self.center {
                let mut s = S::splat(0.0);
                for j in (0..d).step_by(S::LANES) {
                    s = S::add(s, part::<S>(self.x, j));
                }
                mean = S::sum(s) * inv;
            }
            let mut q = S::splat(0.0);
            for j in (0..d).step_by(S::LANES) {
                let n = S::LANES.min(d - j);
                // Spare lanes read the mean, so that they add nothing.
                let x = if n == S::LANES { S::load(self.x.as_ptr().add(j)) } else { S::load_part(self.x.as_ptr().add(j), n, mean) };
                let c = S::sub(x, S::splat(mean));
                q = S::fma(c, c, q);
            }
            let r = S::splat(1.0 / (S::sum(q) * inv + self.eps).sqrt());
            for j in (0..d).step_by(S::LANES) {
                let n = S::LANES.min(d - j);
                let mut y = S::mul(S::mul(S::sub(part::<S>(self.x, j), S::splat(mean)), r), part::<S>(self.weight, j));
                if let Some(b) = self.bias {
                    y = S::add(y, part::<S>(b, j));
                }
                put::<S>(&mut self.out[j..j + n], y);
            }
        }
    }
}

/// `out[i] = norm(x[row(i)])`, i < rows.
pub(super) fn norm(isa: Isa, op: &NormOp<Mat>, x: &Mat, row: impl Fn(usize) -> usize + Sync, rows: usize, out: &mut Mat) {
    let d = x.cols();
    out.span_mut(0..rows).par_chunks_mut(ROWS * d).enumerate().for_each(|(c, chunk)| {
        for (i, out) in chunk.chunks_exact_mut(d).enumerate() {
            let x = x.row(row(c * ROWS + i));
            isa.run(NormRow { center: op.center, eps: op.eps, weight: op.weight.row(0), bias: op.bias.map(|b| b.row(0)), x, out });
        }
    });
}

/// `x[first + i] = E[token_i] (+ P[position_i])`.
pub(super) fn embed(tokens: &[TokenId], positions: &[u32], table: &Tensor, learned: Option<&Tensor>, x: &mut Mat, first: usize) {
    let d = x.cols();
    x.span_mut(first..first + tokens.len()).par_chunks_mut(ROWS * d).enumerate().for_each_init(
        || vec![0.0f32; d],
        |p, (c, chunk)| {
            for (i, out) in chunk.chunks_exact_mut(d).enumerate() {
                let r = c * ROWS + i;
                table.widen(tokens[r] as usize * d, out);
                if let Some(learned) = learned {
                    learned.widen(positions[r] as usize * d, p);
                    for (o, v) in out.iter_mut().zip(&*p) {
                        *o += v;
                    }
                }
            }
        },
    );
}

/// Norms one head, then turns it, in place.
#[inline(always)]
unsafe fn turn<S: Simd>(head: &mut [f32], norm: Option<(&[f32], f32)>, angles: Option<&[f32]>, room: &mut [f32]) {
    unsafe {
        if let Some((weight, eps)) = norm {
            NormRow { center: false, eps, weight, bias: None, x: head, out: room }.run::<S>();
            head.copy_from_slice(room);
        }
        let Some(angles) = angles else { return };
        let half = angles.len() / 2;
        let (cos, sin) = angles.split_at(half);
        let (lo, hi) = head[..2 * half].split_at_mut(half);
        for i in (0..half).step_by(S::LANES) {
            let (a, b, c, s) = (part::<S>(lo, i), part::<S>(hi, i), part::<S>(cos, i), part::<S>(sin, i));
            let end = half.min(i + S::LANES);
            put::<S>(&mut lo[i..end], S::sub(S::mul(a, c), S::mul(b, s)));
            put::<S>(&mut hi[i..end], S::add(S::mul(b, c), S::mul(a, s)));
        }
    }
}

/// Heads of queries and keys of some rows.
struct Heads<'a> {
    op: &'a RotaryOp<'a, Mat>,
    positions: &'a [u32],
    cols: usize,
    qkv: &'a mut [f32],
    room: &'a mut [f32],
}

impl Kernel for Heads<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let hd = self.op.head_dim;
        let norms = self.op.qk_norm.map(|(q, k, eps)| [(q.row(0), eps), (k.row(0), eps)]);
        for (row, &position) in self.qkv.chunks_exact_mut(self.cols).zip(self.positions) {
            let angles = self.op.table.map(|t| t.row(position as usize));
            let heads = row[..(self.op.heads + self.op.kv_heads) * hd].chunks_exact_mut(hd);
            for (h, head) in heads.enumerate() {
                // SAFETY: slices bound all that is touched.
                unsafe { turn::<S>(head, norms.map(|n| n[(h >= self.op.heads) as usize]), angles, self.room) };
            }
        }
    }
}

/// See the trait.
pub(super) fn rotary_append(isa: Isa, op: &RotaryOp<Mat>, positions: &[u32], block: Range<usize>, qkv: &mut Mat, keys: &mut Mat, values: &mut Mat) {
    let (hd, vd, cols) = (op.head_dim, op.v_head_dim, qkv.cols());
    let (nq, nk) = (op.heads * hd, op.kv_heads * hd);
    let positions = &positions[block.clone()];
    let store = keys.rows() / op.kv_heads;
    let (keys, values) = (Shared::new(keys.data_mut()), Shared::new(values.data_mut()));
    qkv.span_mut(0..block.len()).par_chunks_mut(ROWS * cols).zip(positions.par_chunks(ROWS)).enumerate().for_each_init(
        || vec![0.0f32; hd],
        |room, (c, (qkv, positions))| {
            isa.run(Heads { op, positions, cols, qkv, room });
            for h in 0..op.kv_heads {
                let first = h * store + block.start + c * ROWS;
                let rows = first..first + positions.len();
                // SAFETY: these rows of the head belong to this task alone.
                let (keys, values) = unsafe { (keys.slice(rows.start * hd..rows.end * hd), values.slice(rows.start * vd..rows.end * vd)) };
                for (row, (k, v)) in qkv.chunks_exact(cols).zip(keys.chunks_exact_mut(hd).zip(values.chunks_exact_mut(vd))) {
                    k.copy_from_slice(&row[nq + h * hd..][..hd]);
                    v.copy_from_slice(&row[nq + nk + h * vd..][..vd]);
                }
            }
        },
    );
}
