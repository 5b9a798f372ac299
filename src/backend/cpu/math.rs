//! Vector forms of the element-wise functions.

use super::simd::Simd;
use crate::backend::Act;

/// tanh x = 1 − 2 / (1 + e^2x) for |x| ≥ ½, where nothing cancels; an odd polynomial below (Cephes tanhf, Moshier 1989).
#[inline(always)]
pub(super) unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let one = S::splat(1.0);
        let far = S::sub(one, S::div(S::splat(2.0), S::add(one, S::exp(S::add(x, x)))));
        let z = S::mul(x, x);
        let mut p = S::splat(-5.704_988_7e-3);
        for k in [2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1] {
            p = S::fma(p, z, S::splat(k));
        }
        let near = S::fma(S::mul(p, z), x, x);
        S::if_less(z, S::splat(0.25), near, far)
    }
}

/// erf x by two minimax polynomials (coefficients by N. Juffa): within 1 to 2 units in the last place.
#[inline(always)]
pub(super) unsafe fn erf<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let s = |c: f32| S::splat(c);
        let z = S::mul(x, x);
        let neg = S::sub(s(0.0), x);
        let t = S::max(x, neg);
        let r = S::fma(s(-1.728_534_7e-5), t, s(3.831_971_3e-4));
        let u = S::fma(s(-3.883_964_4e-3), t, s(2.425_462_2e-2));
        let mut r = S::fma(r, z, u);
        for k in [-1.067_778_8e-1, -0.634_846_7, -0.128_717_5] {
            r = S::fma(r, t, s(k));
        }
        let r = S::fma(r, t, S::sub(s(0.0), t));
        let tail = S::sub(s(1.0), S::exp(r));
        let far = S::if_less(x, s(0.0), S::sub(s(0.0), tail), tail);
        let mut p = s(-5.967_617e-4);
        for k in [4.991_194_2e-3, -2.676_813_5e-2, 1.128_199_25e-1, -3.761_253_4e-1, 1.283_791_7e-1] {
            p = S::fma(p, z, s(k));
        }
        let near = S::fma(p, x, x);
        S::if_less(t, s(0.927_734_4), near, far)
    }
}

/// 1 / (1 + e^−x)
#[inline(always)]
pub(super) unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    unsafe { S::div(S::splat(1.0), S::add(S::splat(1.0), S::exp(S::sub(S::splat(0.0), x)))) }
}

/// An activation.
#[inline(always)]
pub(super) unsafe fn act<S: Simd>(kind: Act, x: S::V) -> S::V {
    unsafe {
        match kind {
            Act::None => x,
            Act::Relu => S::max(x, S::splat(0.0)),
            Act::Relu2 => {
                let r = S::max(x, S::splat(0.0));
                S::mul(r, r)
            }
            Act::Silu => S::mul(x, sigmoid::<S>(x)),
            Act::Gelu => {
                let e = erf::<S>(S::mul(x, S::splat(std::f32::consts::FRAC_1_SQRT_2)));
                S::mul(S::mul(x, S::splat(0.5)), S::add(S::splat(1.0), e))
            }
            Act::GeluTanh => {
                // ½ x (1 + tanh u) = x / (1 + e^−2u), which cancels nowhere; 2u = √(8/π) (x + 0.044715 x³).
                let x3 = S::mul(S::mul(x, x), x);
                let u = S::mul(S::fma(x3, S::splat(0.044_715), x), S::splat(1.595_769));
                S::mul(x, sigmoid::<S>(u))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd::{Isa, Kernel};
    use super::*;

    struct Map<'a>(&'a [f32], u8);
    impl Kernel for Map<'_> {
        type Out = Vec<f32>;
        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> Vec<f32> {
            self.0
                .iter()
                .map(|&x| unsafe {
                    let v = S::splat(x);
                    S::to_array(match self.1 {
                        0 => tanh::<S>(v),
                        1 => erf::<S>(v),
                        2 => act::<S>(Act::Silu, v),
                        3 => act::<S>(Act::Gelu, v),
                        _ => act::<S>(Act::GeluTanh, v),
                    })[0]
                })
                .collect()
        }
    }

    #[test]
    fn functions_are_within_a_few_units_in_the_last_place() {
        let xs: Vec<f32> = (-12_000..=12_000).map(|i| i as f32 * 1e-3).collect();
        let gelu = |x: f64| 0.5 * x * (1.0 + libm::erf(x / 2f64.sqrt()));
        // Not by tanh, which is −1 in float64 long before the function is 0.
        let gelu_tanh = |x: f64| x / (1.0 + (-(8.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).exp());
        let truth: [&dyn Fn(f64) -> f64; 5] = [&|x| x.tanh(), &|x| libm::erf(x), &|x| x / (1.0 + (-x).exp()), &gelu, &gelu_tanh];
        for isa in Isa::available() {
            for (kind, f) in truth.iter().enumerate() {
                for (&x, got) in xs.iter().zip(isa.run(Map(&xs, kind as u8))) {
                    let want = f(x as f64);
                    // 4 units of the result. Gelu's 1 + erf cancels for negative x, where the error is that of erf (2 units of 1) times |x|/2; in its other form the
                    // argument of exp has four roundings, half a unit each, and so has the result, relative to what it is, as many as the argument is large.
                    let (unit, far) = (f64::powi(2.0, -23), (x as f64).abs());
                    let more = match kind {
                        3 => 2.0 * unit * far,
                        4 => 2.0 * unit * 1.6 * (far + 0.044715 * far.powi(3)) * want.abs(),
                        _ => 0.0,
                    };
                    let bound = 4.0 * unit * want.abs() + more + 1e-37;
                    assert!((got as f64 - want).abs() <= bound, "{isa}: function {kind} at {x}: {got:e}, not {want:e}");
                }
            }
        }
    }
}
