//! The entropy of hidden states by a Gaussian kernel (Shi et al. 2025, arXiv:2502.01481, final version).
//!
//! S = −(1/M) Σ_i ln[ (1/(M−1)) Σ_{j≠i} N(f_i; f_j, σ² I) ], in the log domain: the exponents −|f_i − f_j|²/2σ² are summed as logarithms, since a density in thousands of dimensions is no
//! float64. Distances are sums of squared differences in float64, never differences of large products.
//!
//! σ by Silverman's rule (Silverman 1986, eq. 4.14 with p. 87's variance): σ = s · (4 / ((d + 2) M))^(1/(d + 4)), s² = tr Σ / d, the mean variance of a coordinate.

use super::special::log_sum_exp;
use rayon::prelude::*;
use std::f64::consts::TAU;

/// Squares that are summed side by side.
const LANES: usize = 8;

/// The entropy of all samples, and of those without each fold.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelEntropy {
    /// In nats.
    pub value: f64,
    /// With each fold left out and σ as it is; NaN where fewer than two samples are left.
    pub left_out: Vec<f64>,
}

/// Silverman's σ for `samples` states of `width` numbers whose covariance has this trace.
pub fn silverman(width: usize, samples: usize, trace: f64) -> f64 {
    let (d, m) = (width as f64, samples as f64);
    (trace / d).sqrt() * libm::pow(4.0 / ((d + 2.0) * m), 1.0 / (d + 4.0))
}

/// The entropy of states of `width` numbers, one after another in each fold, with a kernel of width σ > 0.
pub fn kernel_entropy(width: usize, folds: &[&[f32]], sigma: f64) -> KernelEntropy {
    let of: Vec<(usize, &[f32])> = folds.iter().enumerate().flat_map(|(g, f)| f.chunks_exact(width.max(1)).map(move |state| (g, state))).collect();
    let (samples, groups) = (of.len(), folds.len());
    let scale = -0.5 / (sigma * sigma);
    // Of every sample the logarithm of its kernels' sum over each fold.
    let sums: Vec<Vec<f64>> = (0..samples)
        .into_par_iter()
        .map(|i| {
            let mut exponents: Vec<Vec<f64>> = folds.iter().map(|f| Vec::with_capacity(f.len() / width.max(1))).collect();
            for (_, (g, state)) in of.iter().enumerate().filter(|(j, _)| *j != i) {
                exponents[*g].push(scale * distance(of[i].1, state));
            }
            exponents.iter().map(|e| log_sum_exp(e.iter().copied())).collect()
        })
        .collect();
    let normal = 0.5 * width as f64 * libm::log(TAU * sigma * sigma);
    let entropy = |without: Option<usize>| {
        let kept = || (0..samples).filter(|&i| Some(of[i].0) != without);
        let m = kept().count();
        if m < 2 {
            return f64::NAN;
        }
        let logs = kept().map(|i| log_sum_exp((0..groups).filter(|&g| Some(g) != without).map(|g| sums[i][g]))).sum::<f64>();
        normal + libm::log(m as f64 - 1.0) - logs / m as f64
    };
    KernelEntropy { value: entropy(None), left_out: (0..groups).map(|g| entropy(Some(g))).collect() }
}

/// |a − b|², summed in [`LANES`] parts.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (a, b) = (a.chunks(LANES), b.chunks(LANES));
    for (a, b) in a.zip(b) {
        for (s, (x, y)) in sums.iter_mut().zip(a.iter().zip(b)) {
            let off = f64::from(*x) - f64::from(*y);
            *s += off * off;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn by_hand_and_without_folds() {
        // Two states at distance 5, σ = 2: −ln N = ln(2π σ²) + 25/8 in two dimensions.
        let e = kernel_entropy(2, &[&[0.0, 0.0], &[3.0, 4.0]], 2.0);
        assert!((e.value - ((TAU * 4.0).ln() + 25.0 / 8.0)).abs() < 1e-14);
        assert!(e.left_out.iter().all(|x| x.is_nan()));
        // Without a fold it is the entropy of the others.
        let mut rng = Rng::new(3, 0);
        let folds: Vec<Vec<f32>> = [3, 1, 4].iter().map(|&n| (0..n * 11).map(|_| rng.normal() as f32).collect()).collect();
        let all: Vec<&[f32]> = folds.iter().map(|f| &f[..]).collect();
        let e = kernel_entropy(11, &all, 0.7);
        for g in 0..3 {
            let others: Vec<&[f32]> = all.iter().enumerate().filter(|(i, _)| *i != g).map(|(_, f)| *f).collect();
            assert!((e.left_out[g] - kernel_entropy(11, &others, 0.7).value).abs() < 1e-12);
        }
        // States far apart, whose density is no float64: the nearest neighbour's term alone.
        let far = kernel_entropy(1, &[&[0.0, 1000.0]], 1.0);
        assert!((far.value - (0.5 * TAU.ln() + 5e5)).abs() < 1e-6);
        // Silverman in one dimension: (4/3)^(1/5) s M^(−1/5).
        assert!((silverman(1, 32, 4.0) - 2.0 * (4.0f64 / 3.0 / 32.0).powf(0.2)).abs() < 1e-15);
    }
}
