//! One source for three instruction paths: a kernel is written once over [`Simd`] and run by [`Isa::run`], which enters a
//! function compiled for that path. The paths differ in lanes, and the portable one in rounding (no fused multiply-add), so
//! the path is part of a measurement's fingerprint.
//!
//! # Safety
//! Methods of [`Simd`] are unsafe for two reasons only: the path's instructions must exist (that is why only [`Isa::run`]
//! picks a path), and pointers must be valid for `LANES` numbers.

#![allow(clippy::missing_safety_doc, reason = "one section at the top serves all methods")]

use std::fmt;

/// Below it e^x is no normal number, and 0 here: a result that underflows takes a processor some two hundred cycles a vector, and every masked score would.
pub const LEAST: f32 = -87.33;

/// A vector of float32 lanes.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Numbers in a vector.
    const LANES: usize;
    /// The vector.
    type V: Copy;
    /// All lanes x.
    unsafe fn splat(x: f32) -> Self::V;
    /// Unaligned load.
    unsafe fn load(p: *const f32) -> Self::V;
    /// Loads the first n < LANES numbers, the rest is `fill`.
    unsafe fn load_part(p: *const f32, n: usize, fill: f32) -> Self::V;
    /// Unaligned store.
    unsafe fn store(p: *mut f32, v: Self::V);
    /// Stores the first n < LANES numbers.
    unsafe fn store_part(p: *mut f32, n: usize, v: Self::V);
    /// a + b
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    /// a − b
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// a · b
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// a / b
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// a · b + c, fused where the path can.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Lane-wise maximum; b where either lane is NaN.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// Lane-wise minimum; b where either lane is NaN.
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Rounds to the nearest integer, ties to even.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2^n for integral n in −126 … 127.
    unsafe fn pow2(n: Self::V) -> Self::V;
    /// a · 2^n for integral n in −252 … 254, rounded once.
    #[inline(always)]
    unsafe fn times_pow2(a: Self::V, n: Self::V) -> Self::V {
        unsafe {
            let half = Self::round(Self::mul(n, Self::splat(0.5)));
            Self::mul(Self::mul(a, Self::pow2(half)), Self::pow2(Self::sub(n, half)))
        }
    }
    /// Lane-wise a if x < y else b.
    unsafe fn if_less(x: Self::V, y: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Asks for a cache line to be brought into the second-level cache; any address will do.
    #[inline(always)]
    unsafe fn fetch(p: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every x86-64 processor has the instruction, and it reads nothing.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(p.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = p;
    }
    /// Four numbers of each of four rows, turned: `out[k·step + i] = rows[i][k]`. On x86-64 this is shuffles that every processor has; a compiler is left to
    /// find them elsewhere.
    #[inline(always)]
    unsafe fn turn4(rows: [*const f32; 4], out: *mut f32, step: usize) {
        // SAFETY: the caller's addresses are valid for four numbers each.
        unsafe {
            #[cfg(target_arch = "x86_64")]
            {
                use std::arch::x86_64::*;
                let mut r = [_mm_loadu_ps(rows[0]), _mm_loadu_ps(rows[1]), _mm_loadu_ps(rows[2]), _mm_loadu_ps(rows[3])];
                let [a, b, c, d] = &mut r;
                _MM_TRANSPOSE4_PS(a, b, c, d);
                for (k, column) in r.iter().enumerate() {
                    _mm_storeu_ps(out.add(k * step), *column);
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            for k in 0..4 {
                for (i, row) in rows.iter().enumerate() {
                    *out.add(k * step + i) = *row.add(k);
                }
            }
        }
    }
    /// The lanes as an array in memory.
    #[inline(always)]
    unsafe fn to_array(v: Self::V) -> [f32; 16] {
        let mut a = [0.0; 16];
        unsafe { Self::store(a.as_mut_ptr(), v) };
        a
    }
    /// Sum of the lanes, halves folded onto each other: a fixed order.
    #[inline(always)]
    unsafe fn sum(v: Self::V) -> f32 {
        let mut a = unsafe { Self::to_array(v) };
        let mut n = Self::LANES / 2;
        while n > 0 {
            for i in 0..n {
                a[i] += a[i + n];
            }
            n /= 2;
        }
        a[0]
    }
    /// Maximum of the lanes.
    #[inline(always)]
    unsafe fn maximum(v: Self::V) -> f32 {
        let a = unsafe { Self::to_array(v) };
        a[1..Self::LANES].iter().fold(a[0], |m, &x| if x > m { x } else { m })
    }
    /// e^x to 1 unit in the last place or so: x = n ln 2 + r, |r| ≤ ½ ln 2, a polynomial of degree 6 in r (coefficients of the
    /// Cephes library's expf, Moshier 1989), 2^n in two factors. 0 below [`LEAST`] (−∞ included), +∞ above 88.73; exp(0) is exactly 1.
    #[inline(always)]
    unsafe fn exp(x: Self::V) -> Self::V {
        unsafe { Self::exp_each([x])[0] }
    }
    /// [`Simd::exp`] of several vectors abreast: a step of one need not wait for the step before it, which is another's.
    #[inline(always)]
    unsafe fn exp_each<const N: usize>(x: [Self::V; N]) -> [Self::V; N] {
        unsafe {
            let mut bounded = x;
            for i in 0..N {
                // Clamped so that 2^n is a product of two normal numbers; the results above the clamp round to +∞.
                // The number itself stands second: a NaN comes through.
                bounded[i] = Self::max(Self::splat(LEAST), Self::min(Self::splat(89.0), x[i]));
            }
            let (mut p, n) = Self::exp_parts(bounded);
            for i in 0..N {
                p[i] = Self::if_less(x[i], Self::splat(LEAST), Self::splat(0.0), Self::times_pow2(p[i], n[i]));
            }
            p
        }
    }
    /// e^x as [`Simd::exp`] computes it, for −87 ≤ x ≤ 88 alone, of several vectors abreast: there 2^n is one factor and nothing needs a bound.
    #[inline(always)]
    unsafe fn exp_within_each<const N: usize>(x: [Self::V; N]) -> [Self::V; N] {
        unsafe {
            let (mut p, n) = Self::exp_parts(x);
            for i in 0..N {
                p[i] = Self::mul(p[i], Self::pow2(n[i]));
            }
            p
        }
    }
    /// e^x = p · 2^n: (p, n).
    #[inline(always)]
    unsafe fn exp_parts<const N: usize>(x: [Self::V; N]) -> ([Self::V; N], [Self::V; N]) {
        unsafe {
            let s = |c: f32| Self::splat(c);
            let (mut n, mut r, mut p) = (x, x, [s(1.987_569_1e-4); N]);
            for i in 0..N {
                n[i] = Self::round(Self::mul(x[i], s(std::f32::consts::LOG2_E)));
            }
            for c in [-0.693_359_4, 2.121_944_4e-4] {
                for i in 0..N {
                    r[i] = Self::fma(n[i], s(c), r[i]);
                }
            }
            for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1] {
                for i in 0..N {
                    p[i] = Self::fma(p[i], r[i], s(c));
                }
            }
            for i in 0..N {
                p[i] = Self::add(Self::fma(p[i], Self::mul(r[i], r[i]), r[i]), s(1.0));
            }
            (p, n)
        }
    }
}

/// Something to run on a path.
pub trait Kernel {
    /// Its result.
    type Out;
    /// The body; implement with `#[inline(always)]` so that it is compiled for the path.
    ///
    /// # Safety
    /// The path's instructions exist.
    unsafe fn run<S: Simd>(self) -> Self::Out;
}

/// An instruction path, chosen when the program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F, BW, DQ, VL.
    Avx512,
    /// AVX2 and FMA.
    Avx2,
    /// Whatever the compiler's baseline offers.
    Portable,
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Isa::Avx512 => "avx512",
            Isa::Avx2 => "avx2",
            Isa::Portable => "portable",
        })
    }
}

impl Isa {
    /// The widest path that this machine has.
    pub fn detect() -> Isa {
        Isa::available()[0]
    }

    /// All paths that this machine has, widest first.
    pub fn available() -> Vec<Isa> {
        let mut v = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let has512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl");
            if avx2 && has512 {
                v.push(Isa::Avx512);
            }
            if avx2 {
                v.push(Isa::Avx2);
            }
        }
        v.push(Isa::Portable);
        v
    }

    /// Lanes of the path.
    pub fn lanes(self) -> usize {
        match self {
            Isa::Avx512 => 16,
            Isa::Avx2 | Isa::Portable => 8,
        }
    }

    /// Runs a kernel on this path.
    #[inline]
    pub fn run<K: Kernel>(self, kernel: K) -> K::Out {
        match self {
            // SAFETY: values of Isa come from `available`, which asked the processor.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { x86::run_avx512(kernel) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { x86::run_avx2(kernel) },
            // SAFETY: plain Rust.
            _ => unsafe { kernel.run::<Portable>() },
        }
    }
}

/// Eight lanes of plain Rust.
#[derive(Clone, Copy)]
pub struct Portable;

#[inline(always)]
fn lanewise(a: [f32; 8], b: [f32; 8], f: impl Fn(f32, f32) -> f32) -> [f32; 8] {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    const LANES: usize = 8;
    type V = [f32; 8];
    #[inline(always)]
    unsafe fn splat(x: f32) -> [f32; 8] {
        [x; 8]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 8] {
        unsafe { p.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_part(p: *const f32, n: usize, fill: f32) -> [f32; 8] {
        let mut v = [fill; 8];
        for i in 0..n {
            v[i] = unsafe { p.add(i).read() };
        }
        v
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 8]) {
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn store_part(p: *mut f32, n: usize, v: [f32; 8]) {
        for i in 0..n {
            unsafe { p.add(i).write(v[i]) };
        }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanewise(a, b, |x, y| x + y)
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanewise(a, b, |x, y| x - y)
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanewise(a, b, |x, y| x * y)
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanewise(a, b, |x, y| x / y)
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        let mut r = [0.0; 8];
        for i in 0..8 {
            r[i] = a[i] * b[i] + c[i];
        }
        r
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanewise(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        lanewise(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    unsafe fn round(a: [f32; 8]) -> [f32; 8] {
        lanewise(a, a, |x, _| x.round_ties_even())
    }
    #[inline(always)]
    unsafe fn pow2(n: [f32; 8]) -> [f32; 8] {
        lanewise(n, n, |x, _| f32::from_bits(((x as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn if_less(x: [f32; 8], y: [f32; 8], a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        let mut r = [0.0; 8];
        for i in 0..8 {
            r[i] = if x[i] < y[i] { a[i] } else { b[i] };
        }
        r
    }
}

#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests {
    use super::*;

    struct Exp<'a>(&'a [f32]);
    impl Kernel for Exp<'_> {
        type Out = Vec<f32>;
        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> Vec<f32> {
            self.0
                .chunks(S::LANES)
                .flat_map(|c| unsafe { S::to_array(S::exp(S::load_part(c.as_ptr(), c.len().min(S::LANES - 1), 0.0)))[..c.len().min(S::LANES - 1)].to_vec() })
                .collect()
        }
    }

    #[test]
    fn exp_is_near_the_truth_on_every_path() {
        for isa in Isa::available() {
            for i in -10_400..=887 {
                let x = i as f32 * if i < 0 { 0.01 } else { 0.1 };
                let (got, want) = (isa.run(Exp(&[x]))[0] as f64, (x as f64).exp());
                // 2 units in the last place of the normal range.
                let bound = 2.0 * want * f64::powi(2.0, -24) * 2.0;
                let near = if x < LEAST { got == 0.0 } else { (got - want).abs() <= bound };
                assert!(near, "{isa}: exp({x}) = {got:e}, not {want:e}");
            }
            assert_eq!(isa.run(Exp(&[0.0, f32::NEG_INFINITY, -200.0])), [1.0, 0.0, 0.0]);
            assert!(isa.run(Exp(&[f32::NAN]))[0].is_nan());
            assert_eq!(isa.run(Exp(&[f32::INFINITY]))[0], f32::INFINITY);
        }
    }
}
