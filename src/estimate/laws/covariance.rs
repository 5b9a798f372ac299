//! One covariance between the points of a curve, and least squares under it.
//!
//! *From independent units.* Let x_u be the rows by which unit u moves the means (see `errors`), so that S = Σ_u x_u x_uᵀ is the bootstrap's covariance with
//! infinitely many draws. S is shrunk towards its diagonal: every correlation r_ij becomes (1 − λ) r_ij, variances stay. The intensity is the analytic one that
//! minimises the expected squared error of the correlations (Ledoit and Wolf 2003; for this target Schäfer and Strimmer 2005):
//!
//! λ = Σ_{i≠j} Var(r_ij) / Σ_{i≠j} r_ij², cut to [0, 1],   Var(r_ij) = n/(n−1)³ Σ_u (w_uij − w̄_ij)²,   w_uij = (n−1) z_ui z_uj,
//!
//! z_ui = x_ui/√S_ii, n the number of units. The draws' own number does not count: a thousand resamples of thirty units know what thirty units know. An error
//! that all units share (the n-gram entropy's) is added after that.
//!
//! *Its inverse.* The inverse of a sample covariance of n units in p dimensions is too large by (n − 1)/(n − p − 2) on average; Hartlap, Simon and Schneider (2007)
//! take that factor out: W = (n − p − 2)/(n − 1) Σ⁻¹. Of a shrunk covariance it takes out more than there is, so that χ² is too small rather than too large.
//!
//! *Errors of a fit.* Weights that come from the same units as the points follow their noise. For normal units and q = p − k points more than parameters (ν = n − 1)
//! the fitted parameters scatter by (ν−1)/(ν−q−1) of the variance under the true weights, while the plug-in variance (JᵀS⁻¹J)⁻¹ is (ν−q)/ν of it on average (Rao 1967; the
//! first is also Dodelson and Schneider 2013): intervals are made from draws widened by √[(ν−1)/(ν−q−1) · ν/(ν−q)], with ν − q degrees of freedom. Exact without shrinkage,
//! wide with it.

/// Covariance `[points, points]` of the points of a curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Covariance {
    points: usize,
    matrix: Vec<f64>,
    /// Independent units it was estimated from; `None` where it is known.
    units: Option<usize>,
    /// λ, where it was shrunk.
    shrinkage: Option<f64>,
}

/// K with KᵀK = W: residuals times K are uncorrelated and of variance 1.
#[derive(Clone, Debug)]
pub(super) struct Whitening {
    points: usize,
    /// `[points, points]`, lower triangular.
    matrix: Vec<f64>,
}

impl Covariance {
    /// Independent errors.
    pub fn diagonal(errors: &[f64]) -> Self {
        let points = errors.len();
        let mut matrix = vec![0.0; points * points];
        for (i, e) in errors.iter().enumerate() {
            matrix[i * points + i] = e * e;
        }
        Covariance { points, matrix, units: None, shrinkage: None }
    }

    /// As given, row by row; `units` if it was estimated from so many independent samples.
    ///
    /// # Errors
    /// A sentence: not square, not symmetric, not finite, a variance that is not positive.
    pub fn given(rows: &[Vec<f64>], units: Option<usize>) -> Result<Self, String> {
        let points = rows.len();
        if let Some((i, row)) = rows.iter().enumerate().find(|(_, r)| r.len() != points) {
            return Err(format!("the covariance has {points} rows, and row {} has {} numbers", i + 1, row.len()));
        }
        for i in 0..points {
            if !(rows[i][i] > 0.0 && rows[i][i].is_finite()) {
                return Err(format!("variance {} of the covariance is {}; it must be above 0", i + 1, rows[i][i]));
            }
            for j in 0..i {
                // Printed with some 15 digits, the two may differ in the last.
                let near = 1e-9 * (rows[i][i] * rows[j][j]).sqrt();
                if !rows[i][j].is_finite() || (rows[i][j] - rows[j][i]).abs() > near {
                    return Err(format!("the covariance is not symmetric at row {}, column {}", i + 1, j + 1));
                }
            }
        }
        let at = |i: usize, j: usize| if i >= j { rows[i][j] } else { rows[j][i] };
        let matrix = (0..points).flat_map(|i| (0..points).map(move |j| at(i, j))).collect();
        Ok(Covariance { points, matrix, units, shrinkage: None })
    }

    /// From the rows `[units, points]` by which each unit moves the means, shrunk; `shared` is the error of a term that all units share, point by point.
    pub fn shrunk(influence: &[f64], points: usize, shared: &[f64]) -> Self {
        let units = influence.len() / points.max(1);
        let mut matrix = vec![0.0; points * points];
        for row in influence.chunks_exact(points.max(1)) {
            for i in 0..points {
                for j in 0..points {
                    matrix[i * points + j] += row[i] * row[j];
                }
            }
        }
        let scale: Vec<f64> = (0..points).map(|i| matrix[i * points + i].sqrt()).collect();
        let (mut noise, mut signal) = (0.0, 0.0);
        let n = units as f64;
        for i in 0..points {
            for j in 0..i {
                let both = scale[i] * scale[j];
                if both > 0.0 && units > 1 {
                    let r = matrix[i * points + j] / both;
                    // Σ_u z_ui z_uj = r, so the mean of w is (n − 1) r / n.
                    let spread: f64 = influence.chunks_exact(points).map(|x| x[i] * x[j] / both - r / n).map(|e| e * e).sum();
                    noise += n / (n - 1.0) * spread;
                    signal += r * r;
                }
            }
        }
        let shrinkage = if signal > 0.0 { (noise / signal).clamp(0.0, 1.0) } else { 1.0 };
        for i in 0..points {
            for j in 0..points {
                let kept = if i == j { 1.0 } else { 1.0 - shrinkage };
                matrix[i * points + j] = kept * matrix[i * points + j] + shared[i] * shared[j];
            }
        }
        Covariance { points, matrix, units: Some(units), shrinkage: Some(shrinkage) }
    }

    /// λ.
    pub fn shrinkage(&self) -> Option<f64> {
        self.shrinkage
    }

    /// Independent units it was estimated from.
    pub fn units(&self) -> Option<usize> {
        self.units
    }

    /// Standard errors of the points.
    pub fn errors(&self) -> impl Iterator<Item = f64> {
        (0..self.points).map(|i| self.matrix[i * self.points + i].sqrt())
    }

    /// Whether no two points are correlated.
    pub fn is_diagonal(&self) -> bool {
        self.matrix.iter().enumerate().all(|(at, &v)| v == 0.0 || at / self.points == at % self.points)
    }

    /// Hartlap's factor: 1 of a known covariance, `None` where there are too few units for any.
    pub fn hartlap(&self) -> Option<f64> {
        match self.units {
            None => Some(1.0),
            Some(n) if n > self.points + 2 => Some((n - self.points - 2) as f64 / (n - 1) as f64),
            Some(_) => None,
        }
    }

    /// By how much the draws behind intervals of a law of `parameters` are widened, and the degrees of freedom left (see the module); `None` without units.
    pub(super) fn widening(&self, parameters: usize) -> Option<(f64, f64)> {
        let nu = self.units?.checked_sub(1)? as f64;
        let q = self.points.saturating_sub(parameters) as f64;
        (nu - q > 1.0).then(|| (((nu - 1.0) / (nu - q - 1.0) * nu / (nu - q)).sqrt(), nu - q))
    }

    /// That of the points from `first` on.
    pub(super) fn from(&self, first: usize) -> Self {
        let kept = first..self.points;
        let matrix = kept.clone().flat_map(|i| kept.clone().map(move |j| self.matrix[i * self.points + j])).collect();
        Covariance { points: kept.len(), matrix, ..*self }
    }

    /// Its lower Cholesky factor, by way of the correlations; `None` where it is not positive definite to rounding.
    pub(super) fn cholesky(&self) -> Option<Vec<f64>> {
        let p = self.points;
        let scale: Vec<f64> = self.errors().collect();
        let mut l = vec![0.0; p * p];
        for i in 0..p {
            for j in 0..=i {
                let r = self.matrix[i * p + j] / (scale[i] * scale[j]);
                let left = r - (0..j).map(|k| l[i * p + k] * l[j * p + k]).sum::<f64>();
                if i > j {
                    l[i * p + j] = left / l[j * p + j];
                } else if left > 1e-12 {
                    l[i * p + i] = left.sqrt();
                } else {
                    return None;
                }
            }
        }
        for i in 0..p {
            for j in 0..=i {
                l[i * p + j] *= scale[i];
            }
        }
        Some(l)
    }

    /// The whitening of W.
    ///
    /// # Errors
    /// Too few units; a matrix that has no inverse.
    pub(super) fn whitening(&self) -> Result<Whitening, String> {
        let p = self.points;
        let factor = self
            .hartlap()
            .ok_or_else(|| format!("{} independent units bear no covariance of {p} points; it takes {} or more", self.units.unwrap_or(0), p + 3))?;
        let l = self.cholesky().ok_or("the points' covariance has no inverse: some of them say the same")?;
        let mut matrix = vec![0.0; p * p];
        for column in 0..p {
            for i in column..p {
                let known: f64 = (column..i).map(|k| l[i * p + k] * matrix[k * p + column]).sum();
                let unit = if i == column { factor.sqrt() } else { 0.0 };
                matrix[i * p + column] = (unit - known) / l[i * p + i];
            }
        }
        Ok(Whitening { points: p, matrix })
    }
}

impl Whitening {
    /// Equal weights.
    pub fn none(points: usize) -> Self {
        Covariance::diagonal(&vec![1.0; points]).whitening().unwrap_or(Whitening { points: 0, matrix: Vec::new() })
    }

    /// K y.
    pub fn apply(&self, y: &[f64]) -> Vec<f64> {
        let rows = self.matrix.chunks_exact(self.points.max(1)).enumerate();
        rows.map(|(i, row)| row[..=i].iter().zip(y).map(|(k, y)| k * y).sum()).collect()
    }

    /// Kᵀ v.
    pub fn transposed(&self, v: &[f64]) -> Vec<f64> {
        (0..self.points).map(|j| (j..self.points).map(|i| self.matrix[i * self.points + j] * v[i]).sum()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four units, two points, by hand: S = [[4, 2], [2, 4]], r = ½, products of the z: ¼, ¼, ¼ and −¼.
    #[test]
    fn shrinkage_by_hand() {
        let influence = [1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0];
        let c = Covariance::shrunk(&influence, 2, &[0.0, 0.0]);
        // Mean product ⅛: deviations ⅛, ⅛, ⅛, −⅜, squares 12/64; Var(r) = 4/3 · 12/64 = ¼ = r².
        assert_eq!(c.shrinkage(), Some(1.0));
        assert_eq!(c.matrix, [4.0, 0.0, 0.0, 4.0]);
        // Twice the same units: products of ±⅛ about 1/16, six of them off by 1/16 and two by −3/16; Var(r) = 8/7 · (6 + 18)/256 = 3/28, λ = 3/7.
        let twice: Vec<f64> = influence.iter().chain(&influence).copied().collect();
        let c = Covariance::shrunk(&twice, 2, &[0.0, 0.0]);
        assert!((c.shrinkage().unwrap() - 3.0 / 7.0).abs() < 1e-15, "{c:?}");
        assert!((c.matrix[1] - 4.0 * 4.0 / 7.0).abs() < 1e-14 && c.matrix[0] == 8.0, "{c:?}");
        // (8 − 2 − 2) / 7, and an error that all share comes on top.
        assert_eq!(c.hartlap(), Some(4.0 / 7.0));
        let shared = Covariance::shrunk(&twice, 2, &[1.0, 2.0]);
        assert!((shared.matrix[0] - 9.0).abs() < 1e-14 && (shared.matrix[1] - c.matrix[1] - 2.0).abs() < 1e-14, "{shared:?}");
        assert_eq!(Covariance::shrunk(&influence, 2, &[0.0, 0.0]).hartlap(), None);
        assert!(Covariance::shrunk(&influence, 2, &[0.0, 0.0]).whitening().unwrap_err().starts_with("4 independent units"));
    }

    /// KᵀK against the inverse of [[4, 2], [2, 9]], which is [[9, −2], [−2, 4]] / 32.
    #[test]
    fn whitening_is_a_root_of_the_inverse() {
        let c = Covariance::given(&[vec![4.0, 2.0], vec![2.0, 9.0]], None).unwrap();
        let k = c.whitening().unwrap();
        for (i, want) in [[9.0, -2.0], [-2.0, 4.0]].into_iter().enumerate() {
            let mut e = [0.0; 2];
            e[i] = 1.0;
            for (got, want) in k.transposed(&k.apply(&e)).into_iter().zip(want) {
                assert!((got - want / 32.0).abs() < 1e-15, "{got} {want}");
            }
        }
        assert!(Covariance::given(&[vec![1.0, 1.0], vec![1.0, 1.0]], None).unwrap().whitening().unwrap_err().contains("no inverse"));
        assert!(Covariance::given(&[vec![1.0, 0.5], vec![0.4, 1.0]], None).unwrap_err().contains("not symmetric"));
        assert!(Covariance::given(&[vec![1.0, 0.5], vec![0.5, 0.0]], None).unwrap_err().contains("variance 2"));
    }

    #[test]
    fn widening_by_hand() {
        // ν = 20, q = 5: 19/14 · 20/15.
        let c = Covariance { points: 7, matrix: vec![0.0; 49], units: Some(21), shrinkage: None };
        let (by, df) = c.widening(2).unwrap();
        assert!((by * by - 19.0 / 14.0 * 20.0 / 15.0).abs() < 1e-14 && df == 15.0);
        assert_eq!(Covariance { units: None, ..c }.widening(2), None);
    }
}
