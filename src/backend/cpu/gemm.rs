//! Products with packed weights: y = epilogue(x Wᵀ + b).

use super::lanes::{part, put};
use super::mat::{Mat, Shared};
use super::math::act;
use super::packed::{Packed, Weight, product};
use super::products::Products;
use super::simd::{Isa, Kernel, Simd};
use crate::backend::Epilogue;
use rayon::prelude::*;

/// `out[out_first + i] = epilogue(x[i] Wᵀ + bias)`.
pub(super) fn linear(isa: Isa, x: &Packed, weight: &Weight, bias: Option<&[f32]>, epilogue: Epilogue, out: &mut Mat, out_first: usize) {
    let (groups, cols) = (x.groups(), out.cols());
    // Enough tasks that threads finish together, few enough that each reuses its rows.
    let width = (weight.panels() * groups / (8 * rayon::current_num_threads())).clamp(1, weight.panels().max(1));
    let columns = weight.panels().div_ceil(width);
    let shared = Shared::new(out.data_mut());
    (0..groups * columns).into_par_iter().with_max_len(1).for_each(|task| {
        let (g, c) = (task % groups, task / groups);
        weight.products().run(
            isa,
            Task { x, weight, bias, epilogue, tiles: x.group(g), panels: (c * width, ((c + 1) * width).min(weight.panels())), out: &shared, out_first, cols },
        );
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
        unsafe {
            match (self.weight.products(), S::LANES) {
                (Products::Bf16Amx, _) => self.tiles::<S, 32>(),
                (_, 16) => self.tiles::<S, 14>(),
                _ => self.tiles::<S, 6>(),
            }
        }
    }
}

impl Task<'_> {
    #[inline(always)]
    unsafe fn tiles<S: Simd, const MR: usize>(&self) {
        unsafe {
            let (first, last) = self.tiles;
            for p in self.panels.0..self.panels.1 {
                for t in first..last {
                    let acc = product::<S, MR>(self.x, t, self.weight, p, (t - first, last - first));
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
                        let half = self.weight.outputs() / 2;
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
                            if j >= self.weight.outputs() {
                                break;
                            }
                            let n = S::LANES.min(self.weight.outputs() - j);
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
