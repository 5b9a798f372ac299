//! Vectors at the end of a row, where fewer than `LANES` numbers are left; scratch for vectors; and two functions that scans need.

use super::simd::Simd;
use std::ops::{Deref, DerefMut};

/// Scratch that starts at a cache line: a vector of 16 lanes that starts elsewhere lies in two lines, and loads at half speed.
#[derive(Default)]
pub(super) struct Aligned {
    room: Vec<f32>,
    first: usize,
}

/// Numbers in a cache line.
pub(super) const LINE: usize = 16;

impl Aligned {
    /// All zeros.
    pub(super) fn zeros(len: usize) -> Aligned {
        let room = vec![0.0f32; len + LINE];
        let first = room.as_ptr().align_offset(LINE * size_of::<f32>()).min(LINE);
        Aligned { room, first }
    }

    /// Has at least `len` numbers from now on; what they are is not said.
    pub(super) fn at_least(&mut self, len: usize) {
        if self.len() < len {
            *self = Aligned::zeros(len);
        }
    }
}

impl Deref for Aligned {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        let end = (self.room.len() + self.first).saturating_sub(LINE);
        &self.room[self.first..end]
    }
}

impl DerefMut for Aligned {
    fn deref_mut(&mut self) -> &mut [f32] {
        let end = (self.room.len() + self.first).saturating_sub(LINE);
        &mut self.room[self.first..end]
    }
}

/// Loads the first n ≤ LANES numbers, the rest is zero.
#[inline(always)]
pub(super) unsafe fn load<S: Simd>(p: *const f32, n: usize) -> S::V {
    unsafe { if n == S::LANES { S::load(p) } else { S::load_part(p, n, 0.0) } }
}

/// Stores the first n ≤ LANES numbers.
#[inline(always)]
pub(super) unsafe fn store<S: Simd>(p: *mut f32, n: usize, v: S::V) {
    unsafe { if n == S::LANES { S::store(p, v) } else { S::store_part(p, n, v) } }
}

/// Up to LANES numbers of `b` from `j` on, zeros behind.
#[inline(always)]
pub(super) unsafe fn part<S: Simd>(b: &[f32], j: usize) -> S::V {
    unsafe { load::<S>(b.as_ptr().add(j), S::LANES.min(b.len() - j)) }
}

/// Stores as many lanes as `out` has room for.
#[inline(always)]
pub(super) unsafe fn put<S: Simd>(out: &mut [f32], v: S::V) {
    unsafe { store::<S>(out.as_mut_ptr(), S::LANES.min(out.len()), v) }
}

/// softplus(x) = ln(1 + e^x) = max(x, 0) + ln(1 + u), u = e^−|x|, to a few units in the last place for every x:
/// ln(1 + u) = 2 artanh s, s = u / (2 + u) ≤ ⅓, whose series' ninth term is below 2⁻²⁸ of the first.
#[inline(always)]
pub(super) unsafe fn softplus<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let zero = S::splat(0.0);
        let u = S::exp(S::min(x, S::sub(zero, x)));
        let s = S::div(u, S::add(S::splat(2.0), u));
        let z = S::mul(s, s);
        let mut p = S::splat(1.0 / 17.0);
        for k in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
            p = S::fma(p, z, S::splat(1.0 / k));
        }
        let twice = S::add(s, s);
        S::add(S::max(x, zero), S::fma(S::mul(p, z), twice, twice))
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Isa, Kernel};
    use super::*;

    struct Softplus(f32);
    impl Kernel for Softplus {
        type Out = f32;
        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> f32 {
            unsafe { S::to_array(softplus::<S>(S::splat(self.0)))[0] }
        }
    }

    struct Exps(f32);
    impl Kernel for Exps {
        type Out = (f32, f32);
        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> (f32, f32) {
            unsafe { (S::to_array(S::exp_within_each([S::splat(self.0)])[0])[0], S::to_array(S::exp(S::splat(self.0)))[0]) }
        }
    }

    #[test]
    fn exp_within_its_range_is_exp() {
        for isa in Isa::available() {
            for i in -8700..=8800 {
                let (got, want) = isa.run(Exps(i as f32 * 0.01));
                assert_eq!(got.to_bits(), want.to_bits(), "{isa}: exp({i} / 100)");
            }
        }
    }

    #[test]
    fn softplus_is_within_a_few_units_in_the_last_place() {
        for isa in Isa::available() {
            for i in -8700..=12_000 {
                let x = i as f32 * 0.01;
                let (got, want) = (isa.run(Softplus(x)) as f64, libm::log1p((x as f64).exp()));
                // exp 2 units, quotient 1, polynomial and sum 1.
                assert!((got - want).abs() <= 4.0 * f64::powi(2.0, -23) * want, "{isa}: softplus({x}) = {got:e}, not {want:e}");
            }
        }
    }
}
