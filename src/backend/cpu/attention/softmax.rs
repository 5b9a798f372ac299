//! The softmax of a tile, with the running maximum and sum of every lane.

use crate::backend::cpu::math::tanh;
use crate::backend::cpu::simd::Simd;
use std::ops::Range;

/// What the lanes may see.
pub(super) struct Sight {
    /// Position of the first lane.
    pub(super) first: u32,
    /// Lanes of one position.
    pub(super) group: usize,
    /// Lanes that mean something.
    pub(super) used: usize,
    /// Positions back to which a lane sees, its own among them.
    pub(super) window: Option<usize>,
}

impl Sight {
    /// Whether some lane must not see some key of a tile.
    fn is_cut(&self, span: &Range<u32>) -> bool {
        let last = self.first as usize + (self.used - 1) / self.group;
        span.end - 1 > self.first || self.window.is_some_and(|w| last >= span.start as usize + w)
    }

    /// Positions of the lanes from `lane` on, counted from the tile's first key: small numbers where they are compared, so exact.
    #[inline(always)]
    unsafe fn positions<S: Simd>(&self, lane: usize, span: &Range<u32>) -> S::V {
        let mut from_key = [0.0f32; 16];
        for (l, p) in from_key[..S::LANES].iter_mut().enumerate() {
            *p = (self.first as i64 + ((lane + l).min(self.used - 1) / self.group) as i64 - span.start as i64) as f32;
        }
        unsafe { S::load(from_key.as_ptr()) }
    }
}

/// Scores `[keys, lanes]` to unnormalised probabilities, with the running (maximum, sum) of the lanes, and the factor by which what came before shrinks.
#[inline(always)]
pub(super) unsafe fn softmax<S: Simd>(sight: &Sight, softcap: Option<f32>, span: Range<u32>, lanes: usize, s: &mut [f32], running: [&mut [f32]; 3]) {
    let running = running.map(|r| r.as_mut_ptr());
    let is_cut = sight.is_cut(&span);
    let mut lane = 0;
    while lane < lanes {
        let vectors = (lanes - lane) / S::LANES;
        unsafe {
            let at = s.as_mut_ptr().add(lane);
            let running = running.map(|r| r.add(lane));
            if is_cut || softcap.is_some() {
                for v in 0..vectors.min(WIDE) {
                    cut::<S>(is_cut.then_some(sight), softcap, lane + v * S::LANES, &span, lanes, at.add(v * S::LANES));
                }
            }
            if vectors >= WIDE {
                columns::<S, WIDE>(span.len(), lanes, at, running);
            } else {
                for v in 0..vectors {
                    columns::<S, 1>(span.len(), lanes, at.add(v * S::LANES), running.map(|r| r.add(v * S::LANES)));
                }
            }
        }
        lane += vectors.min(WIDE) * S::LANES;
    }
}

/// Vectors of lanes that go abreast: exponentials that do not wait for one another.
const WIDE: usize = 4;

/// Caps the scores of a vector of lanes; with a sight, takes away those of keys that a lane must not see.
#[inline(always)]
unsafe fn cut<S: Simd>(sight: Option<&Sight>, softcap: Option<f32>, lane: usize, span: &Range<u32>, lanes: usize, s: *mut f32) {
    unsafe {
        let sight = sight.map(|s| (s.positions::<S>(lane, span), s.window));
        let away = S::splat(f32::NEG_INFINITY);
        for j in 0..span.len() {
            let mut x = S::load(s.add(j * lanes));
            if let Some(c) = softcap {
                x = S::mul(S::splat(c), tanh::<S>(S::mul(x, S::splat(1.0 / c))));
            }
            if let Some((position, window)) = sight {
                x = S::if_less(position, S::splat(j as f32), away, x);
                if let Some(w) = window {
                    x = S::if_less(position, S::splat((j + w) as f32), x, away);
                }
            }
            S::store(s.add(j * lanes), x);
        }
    }
}

#[inline(always)]
unsafe fn columns<S: Simd, const NV: usize>(n: usize, lanes: usize, s: *mut f32, [max, sum, factor]: [*mut f32; 3]) {
    unsafe {
        let mut old = [S::splat(0.0); NV];
        for v in 0..NV {
            old[v] = S::load(max.add(v * S::LANES));
        }
        let mut m = old;
        for j in 0..n {
            for v in 0..NV {
                m[v] = S::max(S::load(s.add(j * lanes + v * S::LANES)), m[v]);
            }
        }
        let mut total = [S::splat(0.0); NV];
        for j in 0..n {
            let mut e = [S::splat(0.0); NV];
            for v in 0..NV {
                e[v] = S::sub(S::load(s.add(j * lanes + v * S::LANES)), m[v]);
            }
            let e = S::exp_each(e);
            for v in 0..NV {
                S::store(s.add(j * lanes + v * S::LANES), e[v]);
                total[v] = S::add(total[v], e[v]);
            }
        }
        for v in 0..NV {
            let f = S::exp(S::sub(old[v], m[v]));
            S::store(max.add(v * S::LANES), m[v]);
            S::store(factor.add(v * S::LANES), f);
            S::store(sum.add(v * S::LANES), S::fma(S::load(sum.add(v * S::LANES)), f, total[v]));
        }
    }
}
