//! Operands of dense products, packed: weights once, rows of x for each product.
//!
//! W lies in panels of `2·LANES` outputs, `[outputs/panel][inputs][panel]`; a gated pair lies as LANES of the gate beside LANES
//! of the other half, so that an epilogue sees both in registers. Rows of x lie in tiles of [`Products::row_tile`] rows,
//! `[inputs][tile]`, spare rows zero. With bfloat16 operands a word holds a pair of inputs, and for AMX a tile of rows lies as
//! the tile loads want it, `[step][row][16 pairs]`.

use super::lanes::Aligned;
use super::mat::Mat;
use super::products::{Products, STEP, amx_tile, dot_tile, pairs};
use super::simd::{Isa, Kernel, Simd};
use super::tile::{panel, tile};
use crate::backend::Operand;
use crate::error::Result;
use crate::tensor::MatrixView;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Packed rows of x that a task keeps in its share of the second-level cache.
const GROUP_BYTES: usize = 768 << 10;
/// Most rows that a task takes at once.
pub(super) const GROUP_ROWS: usize = 16 * 14;

/// A packed operand.
pub struct Weight {
    panels: Mat,
    products: Products,
    inputs: usize,
    /// Columns of the product before a gate halves them.
    outputs: usize,
}

impl Weight {
    /// Packs; parallel over panels.
    ///
    /// # Errors
    /// Not enough memory.
    pub fn pack(isa: Isa, products: Products, operand: &Operand) -> Result<Weight> {
        let nr = panel(isa);
        let (inputs, outputs, gated) = match operand {
            Operand::Plain(parts) => (parts[0].inputs(), parts.iter().map(MatrixView::outputs).sum(), false),
            Operand::Gated(gate, up) => (gate.inputs(), gate.outputs() + up.outputs(), true),
        };
        let half = nr / 2;
        let panels = if gated { (outputs / 2).div_ceil(half) } else { outputs.div_ceil(nr) };
        let words = products.words(inputs);
        let mut mat = Mat::zeros(panels, words * nr)?;
        // Where output `lane` of panel `p` comes from.
        let source = |p: usize, lane: usize| -> Option<(&MatrixView, usize)> {
            match operand {
                Operand::Plain(parts) => {
                    let mut j = p * nr + lane;
                    for part in parts {
                        if j < part.outputs() {
                            return Some((part, j));
                        }
                        j -= part.outputs();
                    }
                    None
                }
                Operand::Gated(gate, up) => {
                    let j = p * half + lane % half;
                    (j < gate.outputs()).then_some((if lane < half { gate } else { up }, j))
                }
            }
        };
        mat.data_mut().par_chunks_exact_mut((words * nr).max(1)).enumerate().for_each_init(
            || (vec![0.0f32; inputs], vec![0u32; words]),
            |(row, rounded), (p, out)| {
                for lane in 0..nr {
                    let Some((view, j)) = source(p, lane) else { continue };
                    view.widen_row(j, row);
                    if products == Products::F32 {
                        for (k, x) in row.iter().enumerate() {
                            out[k * nr + lane] = *x;
                        }
                    } else {
                        // SAFETY: such a path was chosen, so the processor has it.
                        unsafe { pairs(row, rounded) };
                        let out: &mut [u32] = bytemuck::cast_slice_mut(out);
                        for (k, x) in rounded.iter().enumerate() {
                            out[k * nr + lane] = *x;
                        }
                    }
                }
            },
        );
        Ok(Weight { panels: mat, products, inputs, outputs })
    }

    /// Bytes of a packed operand.
    pub fn bytes(isa: Isa, products: Products, inputs: usize, outputs: usize) -> usize {
        outputs.div_ceil(panel(isa)) * panel(isa) * products.words(inputs) * 4
    }

    /// What is multiplied.
    #[inline]
    pub(super) fn products(&self) -> Products {
        self.products
    }

    /// Width of x.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of y before a gate.
    #[inline]
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Panel `p`.
    #[inline]
    pub(super) fn panel(&self, p: usize) -> &[f32] {
        self.panels.row(p)
    }

    /// Number of panels.
    #[inline]
    pub(super) fn panels(&self) -> usize {
        self.panels.rows()
    }
}

/// Rows of x packed in tiles.
pub(super) struct Packed<'a> {
    data: &'a [f32],
    products: Products,
    /// Rows.
    pub(super) rows: usize,
    /// Four-byte words of a row.
    pub(super) words: usize,
    mr: usize,
}

impl<'a> Packed<'a> {
    /// Packs `rows` rows of width `inputs` that start at `x[from]` and lie `stride` apart.
    pub(super) fn pack(
        (isa, products): (Isa, Products),
        x: &[f32],
        stride: usize,
        from: usize,
        rows: usize,
        inputs: usize,
        room: &'a mut Aligned,
    ) -> Packed<'a> {
        let (mr, words) = (products.row_tile(isa.lanes()), products.words(inputs));
        let need = rows.div_ceil(mr) * mr * words;
        room.at_least(need);
        let zeros = vec![0.0; inputs];
        room[..need].par_chunks_exact_mut((mr * words).max(1)).enumerate().for_each(|(t, out)| {
            let mut of = [std::ptr::null(); MOST_ROWS];
            for (i, row) in of[..mr].iter_mut().enumerate() {
                let at = t * mr + i;
                // Spare rows read zeros.
                *row = if at < rows { x[at * stride + from..][..inputs].as_ptr() } else { zeros.as_ptr() };
            }
            isa.run(Tile { products, rows: &of[..mr], inputs, words, out });
        });
        Packed { data: &room[..need], products, rows, words, mr }
    }

    /// Tile `t`.
    #[inline]
    pub(super) fn tile(&self, t: usize) -> &[f32] {
        &self.data[t * self.mr * self.words..(t + 1) * self.mr * self.words]
    }

    /// Number of tiles.
    #[inline]
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(self.mr)
    }

    /// Into how many groups the tiles go; a task takes one, so that it stays in the second-level cache.
    pub(super) fn groups(&self) -> usize {
        let most = (GROUP_BYTES / (self.mr * self.words * 4).max(1)).clamp(1, (GROUP_ROWS / self.mr).max(1));
        self.tiles().div_ceil(most)
    }

    /// The tiles of a group. All groups are of one size or one less: what a small last one saves in products it would lose waiting for weights.
    pub(super) fn group(&self, g: usize) -> (usize, usize) {
        let (tiles, groups) = (self.tiles(), self.groups());
        (g * tiles / groups, (g + 1) * tiles / groups)
    }
}

/// Most rows of a tile, whatever the product.
const MOST_ROWS: usize = 32;

/// A tile to be packed.
struct Tile<'a> {
    products: Products,
    /// Where its rows begin.
    rows: &'a [*const f32],
    inputs: usize,
    words: usize,
    out: &'a mut [f32],
}

impl Kernel for Tile<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: a row has `inputs` numbers; the processor has the products that were chosen.
        unsafe {
            let row = |i: usize| std::slice::from_raw_parts(self.rows[i], self.inputs);
            match (self.products, self.rows.len()) {
                (Products::F32, 14) => interleave::<S, 14>(self.rows, self.words, self.out),
                (Products::F32, _) => interleave::<S, 6>(self.rows, self.words, self.out),
                (Products::Bf16Dot, _) => {
                    let mut rounded = vec![0u32; self.rows.len() * self.words];
                    rounded.chunks_exact_mut(self.words.max(1)).enumerate().for_each(|(i, w)| pairs(row(i), w));
                    let mut of = [std::ptr::null(); 14];
                    of.iter_mut().enumerate().for_each(|(i, p)| *p = rounded[i * self.words..].as_ptr().cast());
                    interleave::<S, 14>(&of, self.words, self.out);
                }
                (Products::Bf16Amx, mr) => {
                    let out: &mut [u32] = bytemuck::cast_slice_mut(self.out);
                    for i in 0..mr {
                        let row = row(i);
                        for (step, tile) in out.chunks_exact_mut(mr * STEP / 2).enumerate() {
                            let part = &row[step * STEP..row.len().min((step + 1) * STEP)];
                            pairs(part, &mut tile[i * STEP / 2..(i + 1) * STEP / 2]);
                        }
                    }
                }
            }
        }
    }
}

/// A register tile's product, whatever its operands. `share`: this is which of how many tiles that meet this panel; each of them has a part of the next one
/// fetched meanwhile, without which the first tile would wait for memory.
///
/// # Safety
/// Inside [`Products::run`] of `weight.products`; `MR` is its row tile on the path of `S`.
#[inline(always)]
pub(super) unsafe fn product<S: Simd, const MR: usize>(x: &Packed, t: usize, weight: &Weight, p: usize, share: (usize, usize)) -> [[S::V; 2]; MR] {
    unsafe {
        let (a, b) = (x.tile(t).as_ptr(), weight.panel(p).as_ptr());
        if x.products == Products::F32 {
            let mut acc = [[S::splat(0.0); 2]; MR];
            let step = (2 * S::LANES).div_ceil(share.1);
            let mut next = b.wrapping_add(x.words * (2 * S::LANES + share.0 * step));
            let fetch = || {
                S::fetch(next);
                next = next.wrapping_add(step);
            };
            tile::<S, MR, 2>(x.words, a, (1, MR), b, 2 * S::LANES, &mut acc, fetch);
            return acc;
        }
        // Written whole by the product; zeros before it would cost as much as a tenth of it.
        let mut acc = MaybeUninit::<[[S::V; 2]; MR]>::uninit();
        match x.products {
            Products::Bf16Dot => dot_tile(x.words, a, b, acc.as_mut_ptr().cast()),
            _ => amx_tile(x.words, a, b, acc.as_mut_ptr().cast()),
        }
        acc.assume_init()
    }
}

/// `out[k·MR + i] = rows[i][k]`, k < words; words are moved, whatever they hold.
#[inline(always)]
unsafe fn interleave<S: Simd, const MR: usize>(rows: &[*const f32], words: usize, out: &mut [f32]) {
    assert!(rows.len() == MR && out.len() == MR * words);
    let out = out.as_mut_ptr();
    let whole = words / 4 * 4;
    // SAFETY: inside the tile and its rows by the lines above.
    unsafe {
        for k in (0..whole).step_by(4) {
            for i in (0..MR).step_by(4) {
                // The last four rows may be written twice; they come out the same.
                let i = i.min(MR - 4);
                S::turn4([rows[i].add(k), rows[i + 1].add(k), rows[i + 2].add(k), rows[i + 3].add(k)], out.add(k * MR + i), MR);
            }
        }
        for k in whole..words {
            for (i, row) in rows.iter().enumerate() {
                *out.add(k * MR + i) = *row.add(k);
            }
        }
    }
}
