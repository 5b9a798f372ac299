//! Cholesky factors Σ = L Lᵀ and what conditionals of a normal law are read off them.

use crate::error::{Error, Result};

/// L, lower triangular, rows packed one after another.
#[derive(Clone, Debug)]
pub struct Factor {
    size: usize,
    rows: Vec<f64>,
}

/// Σ a_i b_i in eight running sums, added in a fixed order: one sum would wait for itself.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a8.remainder().iter().zip(b8.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a8.zip(b8) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest
}

impl Factor {
    /// The factor of the covariance `of(i, j)` of `size` numbers, row by row (Banachiewicz's order).
    ///
    /// # Errors
    /// A matrix that is not positive definite.
    pub fn new(size: usize, of: impl Fn(usize, usize) -> f64) -> Result<Self> {
        let mut rows: Vec<f64> = Vec::with_capacity(size * (size + 1) / 2);
        for i in 0..size {
            let start = rows.len();
            for j in 0..i {
                let other = j * (j + 1) / 2;
                let rest = of(i, j) - dot(&rows[start..start + j], &rows[other..other + j]);
                rows.push(rest / rows[other + j]);
            }
            let rest = of(i, i) - dot(&rows[start..], &rows[start..]);
            if rest.is_nan() || rest <= 0.0 {
                return Err(Error::input(format!("the covariance of the first {} numbers is not positive definite", i + 1)));
            }
            rows.push(rest.sqrt());
        }
        Ok(Factor { size, rows })
    }

    /// Numbers.
    pub fn size(&self) -> usize {
        self.size
    }

    /// L_i0 … L_ii.
    fn row(&self, i: usize) -> &[f64] {
        &self.rows[i * (i + 1) / 2..(i + 1) * (i + 2) / 2]
    }

    /// L_ii: the standard deviation of number i given those before it.
    fn deviation(&self, i: usize) -> f64 {
        self.rows[(i + 1) * (i + 2) / 2 - 1]
    }

    /// Σ ln L_ii over a range: half the log-determinant of its numbers' covariance given those before it.
    pub fn log_deviations(&self, range: std::ops::Range<usize>) -> f64 {
        range.map(|i| libm::log(self.deviation(i))).sum()
    }

    /// L z: numbers from independent standard normal ones.
    pub fn numbers(&self, z: &[f64]) -> Vec<f64> {
        (0..z.len()).map(|i| dot(self.row(i), &z[..=i])).collect()
    }

    /// ln density of the number whose standardised innovation is `z`, given those before it.
    pub fn log_density(&self, i: usize, z: f64) -> f64 {
        -0.5 * (libm::log(std::f64::consts::TAU) + z * z) - libm::log(self.deviation(i))
    }

    /// ln densities of `tail`, each given what is before it: numbers whose innovations are `innovations`, and the tail so far.
    pub fn continued(&self, innovations: &[f64], tail: &[f64]) -> Vec<f64> {
        let mut z = Vec::with_capacity(innovations.len() + tail.len());
        z.extend_from_slice(innovations);
        tail.iter()
            .map(|w| {
                let i = z.len();
                let row = self.row(i);
                z.push((w - dot(&row[..i], &z)) / row[i]);
                self.log_density(i, z[i])
            })
            .collect()
    }

    /// tr(S⁻¹ Σ_Y) − |Y| for Y the numbers from `split` to `end` and S their covariance given those before: the square of the entries of L_YY⁻¹ L_YX.
    pub fn explained(&self, split: usize, end: usize) -> f64 {
        let mut solved: Vec<f64> = Vec::with_capacity((end - split) * split);
        let mut sum = 0.0;
        for i in split..end {
            let row = self.row(i);
            let mut w = row[..split].to_vec();
            for (l, before) in row[split..i].iter().zip(solved.chunks_exact(split)) {
                w.iter_mut().zip(before).for_each(|(w, b)| *w -= l * b);
            }
            w.iter_mut().for_each(|w| *w /= row[i]);
            sum += w.iter().map(|w| w * w).sum::<f64>();
            solved.extend(w);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_numbers_by_hand() {
        // L = [2; 1 3; −1 2 1].
        let s = [[4.0, 2.0, -2.0], [2.0, 10.0, 5.0], [-2.0, 5.0, 6.0]];
        let f = Factor::new(3, |i, j| s[i][j]).unwrap();
        assert_eq!(f.rows, [2.0, 1.0, 3.0, -1.0, 2.0, 1.0]);
        assert_eq!(f.numbers(&[1.0, 1.0, 2.0]), [2.0, 4.0, 3.0]);
        // ln N(w; 0, Σ) = −½ (3 ln 2π + ln det Σ + wᵀ Σ⁻¹ w), det Σ = 36, wᵀ Σ⁻¹ w = |z|².
        let sum: f64 = f.continued(&[], &[2.0, 4.0, 3.0]).iter().sum();
        assert!((sum + 0.5 * (3.0 * std::f64::consts::TAU.ln() + 36f64.ln() + 6.0)).abs() < 1e-14);
        assert_eq!(f.continued(&[1.0], &[4.0, 3.0]), f.continued(&[], &[2.0, 4.0, 3.0])[1..]);
        // Y the last number: S = 1, Σ_Y = 6.
        assert!((f.explained(2, 3) - 5.0).abs() < 1e-14);
        assert!(Factor::new(2, |_, _| 1.0).is_err());
    }

    #[test]
    fn dot_of_ragged_lengths() {
        for n in 0..40 {
            let a: Vec<f64> = (0..n).map(|i| i as f64).collect();
            assert_eq!(dot(&a, &a), (0..n).map(|i| (i * i) as f64).sum::<f64>());
        }
    }
}
