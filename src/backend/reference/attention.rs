//! Rotary embedding and softmax attention along each row's path.

use super::{Mat, capped, dot, path, position, rms_normed, runs};
use crate::backend::{AttentionOp, History, RotaryOp};
use crate::forest::Wave;
use std::ops::Range;

/// Norms and turns one head in place; `turn` holds cosines, then sines.
fn turn_head(x: &mut [f64], norm: Option<(&Mat, f32)>, turn: Option<&[f64]>) {
    if let Some((w, eps)) = norm {
        rms_normed(x, eps);
        x.iter_mut().zip(w.row(0)).for_each(|(x, w)| *x *= w);
    }
    if let Some(turn) = turn {
        let half = turn.len() / 2;
        for i in 0..half {
            let (a, b, cos, sin) = (x[i], x[i + half], turn[i], turn[i + half]);
            x[i] = a * cos - b * sin;
            x[i + half] = b * cos + a * sin;
        }
    }
}

pub(super) fn rotary_append(op: &RotaryOp<Mat>, wave: &Wave, block: Range<usize>, qkv: &mut Mat, keys: &mut Mat, values: &mut Mat) {
    let (q_width, k_width) = (op.heads * op.head_dim, op.kv_heads * op.head_dim);
    for (i, row) in block.enumerate() {
        let turn = op.table.map(|t| t.row(wave.positions[row] as usize)).filter(|_| op.dims > 0);
        let (q, kv) = qkv.row_mut(i).split_at_mut(q_width);
        let (k, v) = kv.split_at_mut(k_width);
        q.chunks_exact_mut(op.head_dim).for_each(|h| turn_head(h, op.qk_norm.map(|(w, _, eps)| (w, eps)), turn));
        k.chunks_exact_mut(op.head_dim).for_each(|h| turn_head(h, op.qk_norm.map(|(_, w, eps)| (w, eps)), turn));
        for (h, (k, v)) in k.chunks_exact(op.head_dim).zip(v.chunks_exact(op.v_head_dim)).enumerate() {
            keys.row_mut(h * (keys.rows() / op.kv_heads) + row).copy_from_slice(k);
            values.row_mut(h * (values.rows() / op.kv_heads) + row).copy_from_slice(v);
        }
    }
}

pub(super) fn attention(op: &AttentionOp<Mat>, wave: &Wave, block: Range<usize>, qkv: &Mat, keys: &History<Mat>, values: &History<Mat>, out: &mut Mat) {
    for (run, rows) in runs(wave, &block) {
        for row in rows {
            let from = op.window.map_or(0, |w| (position(run, row) + 1).saturating_sub(w));
            let q = qkv.row(row - block.start);
            let y = out.row_mut(row - block.start);
            for h in 0..op.heads {
                let q = &q[h * op.head_dim..(h + 1) * op.head_dim];
                let shared = (h / (op.heads / op.kv_heads), op.kv_heads);
                let (keys, values) = (path(wave, run, row, from, keys, shared), path(wave, run, row, from, values, shared));
                let scores: Vec<f64> = keys.iter().map(|k| capped(dot(q, k) * op.scale as f64, op.softcap)).collect();
                let sink = op.sinks.map_or(f64::NEG_INFINITY, |s| s.row(0)[h]);
                let most = scores.iter().copied().fold(sink, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| libm::exp(s - most)).collect();
                let total = weights.iter().sum::<f64>() + libm::exp(sink - most);
                let y = &mut y[h * op.v_head_dim..(h + 1) * op.v_head_dim];
                y.fill(0.0);
                for (w, v) in weights.iter().zip(&values) {
                    y.iter_mut().zip(*v).for_each(|(y, v)| *y += w / total * v);
                }
            }
        }
    }
}
