//! The spectrum of a covariance: intrinsic dimension and spectral entropy (Shi et al. 2025, arXiv:2502.01481).
//!
//! From M hidden states the covariance Σ = (Σ h hᵀ − s sᵀ/M) / (M − 1), s = Σ h, with eigenvalues λ_1 ≥ λ_2 ≥ …:
//! - the intrinsic dimension at a threshold τ, ID_τ = max { i : λ_i / λ_1 > τ };
//! - the spectral entropy of the leading N, S_N = Σ_{i ≤ N} ln(λ_i / λ_1), and without the normalisation ½ Σ_{i ≤ N} ln λ_i.
//!
//! Eigenvalues below what rounding leaves of zero say nothing and are not used. Each entry of Σ is within γ(M) Σ|h_j h_k| / (M − 1) of the exact one, γ(M) = M u / (1 − M u), u = 2⁻⁵³,
//! whose Frobenius norm is at most γ(M) · tr(Σ h hᵀ) / (M − 1), and by Weyl's inequality no eigenvalue moves further; the decomposition adds some d · u · λ_1. Of fewer samples than
//! numbers, M − 1 eigenvalues are positive.

use crate::error::{Error, Result};
use nalgebra::DMatrix;

/// The eigenvalues of a covariance.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// All of them, descending.
    pub eigenvalues: Vec<f64>,
    /// How many are above what rounding leaves, and can be.
    pub resolved: usize,
    /// tr Σ.
    pub trace: f64,
}

impl Spectrum {
    /// Of `samples` states of `width` numbers with these sums: Σ h, then the upper triangle of Σ h hᵀ, row after row.
    ///
    /// # Errors
    /// Fewer than two samples; sums that are not finite, or too few; no memory for the matrix.
    pub fn of_moments(width: usize, samples: usize, moments: &[f64]) -> Result<Self> {
        if samples < 2 {
            return Err(Error::input("a covariance needs at least two samples"));
        }
        if width == 0 || moments.len() != width + width * (width + 1) / 2 || !moments.iter().all(|x| x.is_finite()) {
            return Err(Error::input("the sums over hidden states are not finite numbers of the right number"));
        }
        let (m, over) = (samples as f64, samples as f64 - 1.0);
        let (sums, products) = moments.split_at(width);
        let mut room: Vec<f64> = Vec::new();
        room.try_reserve_exact(width * width).map_err(|_| Error::memory(format!("there is no memory left for a covariance of {width} × {width} numbers")))?;
        room.resize(width * width, 0.0);
        let mut covariance = DMatrix::from_vec(width, width, room);
        let (mut at, mut total) = (0, 0.0);
        for j in 0..width {
            total += products[at];
            for k in j..width {
                let v = (products[at] - sums[j] * sums[k] / m) / over;
                covariance[(j, k)] = v;
                covariance[(k, j)] = v;
                at += 1;
            }
        }
        let trace = covariance.trace();
        let mut eigenvalues: Vec<f64> = covariance.symmetric_eigenvalues().iter().copied().collect();
        if !eigenvalues.iter().all(|x| x.is_finite()) {
            return Err(Error::input("the covariance of hidden states has no finite eigenvalues; are its sums damaged?"));
        }
        eigenvalues.sort_unstable_by(|a, b| b.total_cmp(a));
        let u = 0.5 * f64::EPSILON;
        let floor = (m + width as f64) * u / (1.0 - m * u) * total / over;
        let resolved = eigenvalues.partition_point(|&x| x > floor).min(samples - 1);
        Ok(Spectrum { eigenvalues, resolved, trace })
    }

    /// ID_τ for τ > 0; 0 where nothing varies.
    pub fn dimension(&self, threshold: f64) -> usize {
        let Some(&first) = self.eigenvalues.first().filter(|_| self.resolved > 0) else { return 0 };
        self.eigenvalues[..self.resolved].partition_point(|&x| x / first > threshold)
    }

    /// ID_τ as a number that moves with the eigenvalues: where the straight line between the logarithms of λ_i and λ_{i+1}, i = ID_τ, crosses that of τ λ_1. For errors.
    pub fn smooth_dimension(&self, threshold: f64) -> f64 {
        let i = self.dimension(threshold);
        if i == 0 || i >= self.resolved {
            return i as f64;
        }
        let ln = |x: f64| libm::log(x);
        let (above, below) = (ln(self.eigenvalues[i - 1]), ln(self.eigenvalues[i]));
        i as f64 + ((above - ln(threshold * self.eigenvalues[0])) / (above - below)).clamp(0.0, 1.0)
    }

    /// S_N; `None` where fewer than N eigenvalues say something.
    pub fn entropy(&self, leading: usize) -> Option<f64> {
        let first = *self.eigenvalues.first()?;
        (leading <= self.resolved).then(|| self.eigenvalues[..leading].iter().map(|x| libm::log(x / first)).sum())
    }

    /// ½ Σ_{i ≤ N} ln λ_i likewise.
    pub fn entropy_unnormalised(&self, leading: usize) -> Option<f64> {
        (leading <= self.resolved).then(|| 0.5 * self.eigenvalues[..leading].iter().map(|&x| libm::log(x)).sum::<f64>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    /// Packed sums of rows.
    fn moments(rows: &[Vec<f64>]) -> Vec<f64> {
        let d = rows[0].len();
        let mut out: Vec<f64> = (0..d).map(|j| rows.iter().map(|r| r[j]).sum()).collect();
        out.extend((0..d).flat_map(|j| (j..d).map(move |k| (j, k))).map(|(j, k)| rows.iter().map(|r| r[j] * r[k]).sum::<f64>()));
        out
    }

    #[test]
    fn of_two_variables_by_hand() {
        // Centred: (±2, 0), (0, ±1) around (5, −3): Σ = diag(8, 2) / 3.
        let rows = [[7.0, -3.0], [3.0, -3.0], [5.0, -2.0], [5.0, -4.0]].map(|r| r.to_vec());
        let s = Spectrum::of_moments(2, 4, &moments(&rows)).unwrap();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-13, "{a} {b}");
        near(s.eigenvalues[0], 8.0 / 3.0);
        near(s.eigenvalues[1], 2.0 / 3.0);
        near(s.trace, 10.0 / 3.0);
        assert_eq!((s.resolved, s.dimension(0.2), s.dimension(0.3), s.dimension(0.999)), (2, 2, 1, 1));
        near(s.entropy(2).unwrap(), 0.25f64.ln());
        near(s.entropy_unnormalised(2).unwrap(), 0.5 * (16.0f64 / 9.0).ln());
        assert_eq!((s.entropy(3), s.entropy_unnormalised(3)), (None, None));
        // Halfway in logarithms between 1 and ¼.
        near(s.smooth_dimension(0.5), 1.5);
        near(s.smooth_dimension(0.2), 2.0);
    }

    /// Of fewer samples than numbers no more eigenvalues count than can be positive, however large the mean is.
    #[test]
    fn rounding_is_not_taken_for_a_dimension() {
        let mut rng = Rng::new(1, 0);
        let rows: Vec<Vec<f64>> = (0..6).map(|_| (0..20).map(|_| ((rng.normal() + 100.0) as f32) as f64).collect()).collect();
        let s = Spectrum::of_moments(20, 6, &moments(&rows)).unwrap();
        assert_eq!(s.resolved, 5);
        let still: Vec<Vec<f64>> = vec![vec![3.25; 20]; 6];
        let s = Spectrum::of_moments(20, 6, &moments(&still)).unwrap();
        assert_eq!((s.resolved, s.dimension(0.1), s.entropy(1)), (0, 0, None));
        assert!(Spectrum::of_moments(2, 1, &[0.0; 5]).is_err() && Spectrum::of_moments(2, 4, &[0.0; 4]).is_err());
        assert!(Spectrum::of_moments(2, 4, &[0.0, 0.0, 1.0, f64::NAN, 1.0]).is_err());
    }
}
