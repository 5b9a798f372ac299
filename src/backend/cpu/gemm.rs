//! Products with packed weights: y = epilogue(x Wᵀ + b).
//!
//! W is packed once into panels of `2·LANES` outputs, `[outputs/panel][inputs][panel]`; a gated pair lies as LANES of the gate
//! beside LANES of the other half, so that the epilogue sees both in registers. Rows of x are packed in tiles of
//! [`row_tile`] rows, `[inputs][tile]`, spare rows zero.

use super::lanes::{part, put};
use super::mat::{Mat, Shared};
use super::math::act;
use super::simd::{Isa, Kernel, Simd};
use super::tile::{panel, row_tile, tile};
use crate::backend::{Epilogue, Operand};
use crate::error::Result;
use crate::tensor::MatrixView;
use rayon::prelude::*;

/// Packed rows of x that a task keeps in its share of the second-level cache.
const GROUP_BYTES: usize = 384 << 10;

/// A packed operand.
pub struct Weight {
    panels: Mat,
    inputs: usize,
    /// Columns of the product before a gate halves them.
    outputs: usize,
}

impl Weight {
    /// Packs; parallel over panels.
    ///
    /// # Errors
    /// Not enough memory.
    pub fn pack(isa: Isa, operand: &Operand) -> Result<Weight> {
        let nr = panel(isa);
        let (inputs, outputs, gated) = match operand {
            Operand::Plain(parts) => (parts[0].inputs(), parts.iter().map(MatrixView::outputs).sum(), false),
            Operand::Gated(gate, up) => (gate.inputs(), gate.outputs() + up.outputs(), true),
        };
        let half = nr / 2;
        let panels = if gated { (outputs / 2).div_ceil(half) } else { outputs.div_ceil(nr) };
        let mut mat = Mat::zeros(panels, inputs * nr)?;
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
        mat.data_mut().par_chunks_exact_mut((inputs * nr).max(1)).enumerate().for_each_init(
            || vec![0.0f32; inputs],
            |row, (p, out)| {
                for lane in 0..nr {
                    let Some((view, j)) = source(p, lane) else { continue };
                    view.widen_row(j, row);
                    for (k, x) in row.iter().enumerate() {
                        out[k * nr + lane] = *x;
                    }
                }
            },
        );
        Ok(Weight { panels: mat, inputs, outputs })
    }

    /// Bytes of a packed operand.
    pub fn bytes(isa: Isa, inputs: usize, outputs: usize) -> usize {
        outputs.div_ceil(panel(isa)) * panel(isa) * inputs * 4
    }

    /// Width of x.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Width of y before a gate.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Panel `p`.
    pub(super) fn panel(&self, p: usize) -> &[f32] {
        self.panels.row(p)
    }

    /// Number of panels.
    pub(super) fn panels(&self) -> usize {
        self.panels.rows()
    }
}

/// Rows of x packed in tiles.
pub(super) struct Packed<'a> {
    data: &'a [f32],
    /// Rows.
    pub(super) rows: usize,
    inputs: usize,
    mr: usize,
}

impl<'a> Packed<'a> {
    /// Packs `rows` rows of width `inputs` that start at `x[from]` and lie `stride` apart.
    pub(super) fn pack(isa: Isa, x: &[f32], stride: usize, from: usize, rows: usize, inputs: usize, room: &'a mut Vec<f32>) -> Packed<'a> {
        let mr = row_tile(isa.lanes());
        let tiles = rows.div_ceil(mr);
        let need = tiles * mr * inputs;
        if room.len() < need {
            room.resize(need, 0.0);
        }
        let zeros = vec![0.0; inputs];
        room[..need].par_chunks_exact_mut((mr * inputs).max(1)).enumerate().for_each(|(t, out)| {
            // Written front to back; spare rows read zeros.
            let row = |i: usize| if t * mr + i < rows { &x[(t * mr + i) * stride + from..][..inputs] } else { &zeros[..] };
            if mr == 14 { interleave::<14>(std::array::from_fn(row), out) } else { interleave::<6>(std::array::from_fn(row), out) }
        });
        Packed { data: &room[..need], rows, inputs, mr }
    }

    /// Tile `t`.
    pub(super) fn tile(&self, t: usize) -> &[f32] {
        &self.data[t * self.mr * self.inputs..(t + 1) * self.mr * self.inputs]
    }

    /// Number of tiles.
    pub(super) fn tiles(&self) -> usize {
        self.rows.div_ceil(self.mr)
    }

    /// Tiles that a task takes at once.
    pub(super) fn group(&self) -> usize {
        (GROUP_BYTES / (self.mr * self.inputs * 4).max(1)).clamp(1, 16)
    }
}

/// `out[k·MR + i] = rows[i][k]`.
fn interleave<const MR: usize>(rows: [&[f32]; MR], out: &mut [f32]) {
    for (k, o) in out.chunks_exact_mut(MR).enumerate() {
        for i in 0..MR {
            o[i] = rows[i][k];
        }
    }
}

/// `out[out_first + i] = epilogue(x[i] Wᵀ + bias)`.
pub(super) fn linear(isa: Isa, x: &Packed, weight: &Weight, bias: Option<&[f32]>, epilogue: Epilogue, out: &mut Mat, out_first: usize) {
    let (group, tiles, cols) = (x.group(), x.tiles(), out.cols());
    let groups = tiles.div_ceil(group);
    // Enough tasks that threads finish together, few enough that each reuses its rows.
    let width = (weight.panels() * groups / (8 * rayon::current_num_threads())).clamp(1, weight.panels().max(1));
    let columns = weight.panels().div_ceil(width);
    let shared = Shared::new(out.data_mut());
    (0..groups * columns).into_par_iter().with_max_len(1).for_each(|task| {
        let (g, c) = (task % groups, task / groups);
        isa.run(Task {
            x,
            weight,
            bias,
            epilogue,
            tiles: (g * group, ((g + 1) * group).min(tiles)),
            panels: (c * width, ((c + 1) * width).min(weight.panels())),
            out: &shared,
            out_first,
            cols,
        });
    });
}

struct Task<'a> {
    x: &'a Packed<'a>,
    weight: &'a Weight,
    bias: Option<&'a [f32]>,
    epilogue: Epilogue,
    tiles: (usize, usize),
    panels: (usize, usize),
    out: &'a Shared<'a>,
    out_first: usize,
    cols: usize,
}

impl Kernel for Task<'_> {
    type Out = ();
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        unsafe { if S::LANES == 16 { self.tiles::<S, 14>() } else { self.tiles::<S, 6>() } }
    }
}

impl Task<'_> {
    #[inline(always)]
    unsafe fn tiles<S: Simd, const MR: usize>(&self) {
        unsafe {
            for p in self.panels.0..self.panels.1 {
                let b = self.weight.panel(p);
                for t in self.tiles.0..self.tiles.1 {
                    let mut acc = [[S::splat(0.0); 2]; MR];
                    tile::<S, MR, 2>(self.x.inputs, self.x.tile(t).as_ptr(), (1, MR), b.as_ptr(), 2 * S::LANES, &mut acc);
                    self.finish::<S, MR>(p, t, &acc);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn finish<S: Simd, const MR: usize>(&self, p: usize, t: usize, acc: &[[S::V; 2]; MR]) {
        unsafe {
            let rows = MR.min(self.x.rows - t * MR);
            for i in 0..rows {
                let row = (self.out_first + t * MR + i) * self.cols;
                match self.epilogue {
                    Epilogue::Gated(kind) => {
                        let half = self.weight.outputs / 2;
                        let j = p * S::LANES;
                        let (mut gate, mut up) = (acc[i][0], acc[i][1]);
                        if let Some(b) = self.bias {
                            gate = S::add(gate, part::<S>(&b[..half], j));
                            up = S::add(up, part::<S>(&b[half..], j));
                        }
                        let n = S::LANES.min(half - j);
                        put::<S>(self.out.slice(row + j..row + j + n), S::mul(act::<S>(kind, gate), up));
                    }
                    Epilogue::Store(_) | Epilogue::Add => {
                        for v in 0..2 {
                            let j = p * 2 * S::LANES + v * S::LANES;
                            if j >= self.weight.outputs {
                                break;
                            }
                            let n = S::LANES.min(self.weight.outputs - j);
                            let mut y = acc[i][v];
                            if let Some(b) = self.bias {
                                y = S::add(y, part::<S>(b, j));
                            }
                            let out = self.out.slice(row + j..row + j + n);
                            if let Epilogue::Store(kind) = self.epilogue {
                                put::<S>(out, act::<S>(kind, y));
                            } else {
                                let old = part::<S>(out, 0);
                                put::<S>(out, S::add(old, y));
                            }
                        }
                    }
                }
            }
        }
    }
}
