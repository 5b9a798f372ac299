//! Operands of dense products, packed: weights once, rows of x for each product.
//!
//! W lies in panels of `2·LANES` outputs, `[outputs/panel][inputs][panel]`; a gated pair lies as LANES of the gate beside LANES
//! of the other half, so that an epilogue sees both in registers. Rows of x lie in tiles of [`Products::row_tile`] rows,
//! `[inputs][tile]`, spare rows zero. With bfloat16 operands a word holds a pair of inputs, and for AMX a tile of rows lies as
//! the tile loads want it, `[step][row][16 pairs]`.

use super::lanes::Aligned;
use super::mat::Mat;
use super::products::{Products, STEP, amx_tile, dot_tile, pairs};
use super::simd::{Isa, Simd};
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
            // Written front to back; spare rows read zeros.
            let row = |i: usize| if t * mr + i < rows { &x[(t * mr + i) * stride + from..][..inputs] } else { &zeros[..] };
            match (products, mr) {
                (Products::F32, 14) => interleave::<14, f32>(std::array::from_fn(row), out),
                (Products::F32, _) => interleave::<6, f32>(std::array::from_fn(row), out),
                (Products::Bf16Dot, _) => {
                    let mut rounded = vec![0u32; mr * words];
                    // SAFETY: such a path was chosen, so the processor has it.
                    rounded.chunks_exact_mut(words.max(1)).enumerate().for_each(|(i, w)| unsafe { pairs(row(i), w) });
                    interleave::<14, u32>(std::array::from_fn(|i| &rounded[i * words..(i + 1) * words]), bytemuck::cast_slice_mut(out));
                }
                (Products::Bf16Amx, _) => {
                    let out: &mut [u32] = bytemuck::cast_slice_mut(out);
                    for i in 0..mr {
                        let row = row(i);
                        for (step, tile) in out.chunks_exact_mut(mr * STEP / 2).enumerate() {
                            let part = &row[step * STEP..row.len().min((step + 1) * STEP)];
                            // SAFETY: as above.
                            unsafe { pairs(part, &mut tile[i * STEP / 2..(i + 1) * STEP / 2]) };
                        }
                    }
                }
            }
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

    /// Tiles that a task takes at once.
    pub(super) fn group(&self) -> usize {
        (GROUP_BYTES / (self.mr * self.words * 4).max(1)).clamp(1, (GROUP_ROWS / self.mr).max(1))
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

/// `out[k·MR + i] = rows[i][k]`; sixteen columns at a time, of which the compiler knows the bounds.
#[inline(always)]
fn interleave<const MR: usize, T: Copy>(rows: [&[T]; MR], out: &mut [T]) {
    let (blocks, rest) = out.as_chunks_mut::<MR>().0.as_chunks_mut::<16>();
    for (b, block) in blocks.iter_mut().enumerate() {
        let columns: [&[T; 16]; MR] = std::array::from_fn(|i| rows[i][b * 16..].first_chunk().expect("rows are as long as out is wide"));
        for (k, o) in block.iter_mut().enumerate() {
            *o = std::array::from_fn(|i| columns[i][k]);
        }
    }
    let done = blocks.len() * 16;
    for (k, o) in rest.iter_mut().enumerate() {
        *o = std::array::from_fn(|i| rows[i][done + k]);
    }
}
