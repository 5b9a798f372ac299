//! The one register-blocked product that everything dense is made of.
//!
//! `acc[i][v] += Σ_k a[i, k] · b[k, v]`: numbers of A broadcast, vectors of B, one fused multiply-add chain in ascending k for
//! every element. So an element's bits depend on its own row of A and column of B alone: not on MR, not on which other rows
//! are there, not on where a matrix was cut.

use super::simd::{Isa, Simd};

/// Columns of a packed panel.
pub(super) fn panel(isa: Isa) -> usize {
    2 * isa.lanes()
}

/// The product. `a[i·ar + k·ak]`, `b[k·bk + v·LANES]`; `each` runs once for every k, beside the arithmetic.
///
/// # Safety
/// All those addresses are readable, and the path of `S` exists.
#[inline(always)]
pub(super) unsafe fn tile<S: Simd, const MR: usize, const NV: usize>(
    k: usize,
    a: *const f32,
    (ar, ak): (usize, usize),
    b: *const f32,
    bk: usize,
    acc: &mut [[S::V; NV]; MR],
    mut each: impl FnMut(),
) {
    unsafe {
        let mut c = *acc;
        let (mut pa, mut pb) = (a, b);
        for _ in 0..k {
            each();
            let mut bv = [S::splat(0.0); NV];
            for v in 0..NV {
                bv[v] = S::load(pb.add(v * S::LANES));
            }
            for i in 0..MR {
                let x = S::splat(*pa.add(i * ar));
                for v in 0..NV {
                    c[i][v] = S::fma(x, bv[v], c[i][v]);
                }
            }
            pa = pa.add(ak);
            pb = pb.add(bk);
        }
        *acc = c;
    }
}
