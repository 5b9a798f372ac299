//! The two products of a tile: S^T = K · Q^T and O += P · V.

use super::rows::Rows;
use crate::backend::cpu::simd::Simd;
use crate::backend::cpu::tile::tile;

/// Calls a function of (rows of A, vectors of B) for as many vectors as there are: 8 to 16 accumulators keep both multiply-add units busy and leave registers
/// for the rest. The numbers of rows divide a tile of keys and every path's lanes.
macro_rules! of_vectors {
    ($function:ident, $path:ident, $vectors:expr, $arguments:tt) => {
        match $vectors {
            4 => $function::<$path, 4, 4> $arguments,
            3 => $function::<$path, 4, 3> $arguments,
            2 if $path::LANES == 16 => $function::<$path, 8, 2> $arguments,
            2 => $function::<$path, 4, 2> $arguments,
            _ => $function::<$path, 8, 1> $arguments,
        }
    };
}

/// Vectors of B at once.
const fn wide(lanes: usize) -> usize {
    if lanes == 16 { 4 } else { 2 }
}

/// `s[j, lane] = k_j · q_lane`, j < n.
#[inline(always)]
pub(super) unsafe fn scores<S: Simd>(k: Rows, n: usize, hd: usize, q: &[f32], lanes: usize, s: &mut [f32]) {
    let mut lane = 0;
    while lane < lanes {
        let vectors = ((lanes - lane) / S::LANES).min(wide(S::LANES));
        unsafe {
            let (b, out) = (q.as_ptr().add(lane), s.as_mut_ptr().add(lane));
            of_vectors!(score_columns, S, vectors, (k, n, hd, b, lanes, out));
        }
        lane += vectors * S::LANES;
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

/// `o[lane] = o[lane] · factor[lane] + Σ_j p[j, lane] v_j`, j < n.
#[inline(always)]
pub(super) unsafe fn outputs<S: Simd>(v: Rows, n: usize, hd_pad: usize, lanes: usize, p: &[f32], factor: &[f32], o: &mut [f32]) {
    let mut c = 0;
    while c < hd_pad {
        let vectors = ((hd_pad - c) / S::LANES).min(wide(S::LANES));
        unsafe {
            let b = Rows { at: v.at.add(c), stride: v.stride };
            let (p, factor, out) = (p.as_ptr(), factor.as_ptr(), o.as_mut_ptr().add(c));
            of_vectors!(output_columns, S, vectors, (b, n, lanes, hd_pad, p, factor, out));
        }
        c += vectors * S::LANES;
    }
}

#[inline(always)]
unsafe fn output_columns<S: Simd, const MR: usize, const NV: usize>(
    v: Rows,
    n: usize,
    lanes: usize,
    hd_pad: usize,
    p: *const f32,
    factor: *const f32,
    o: *mut f32,
) {
    unsafe {
        for l in (0..lanes).step_by(MR) {
            let mut acc = [[S::splat(0.0); NV]; MR];
            for i in 0..MR {
                let f = S::splat(*factor.add(l + i));
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
