//! Normal numbers of known covariance: I in closed form at every split, one family with a power law and one with a logarithm.
//!
//! There are no tokens here and no model: log-densities of drawn numbers, joint, on their own and under foreign heads, stand where a record has
//! log-probabilities, so that the estimators see them and nothing else does. With Σ_Y|X = S and Y given X normal about its linear prediction,
//! I = ½ ln(det Σ_Y / det S), vCLUB expects ½ E_{p(x)p(y)} (y − Bx)ᵀ S⁻¹ (y − Bx) − ½ |Y| = tr(S⁻¹ Σ_Y) − |Y|, and all of it is read off Cholesky factors.

mod factor;

use super::known::{Grid, Known, Sampler, marginal, member};
use crate::error::{Error, Result};
use crate::estimate::{Cell, Estimator, Group, NgramCorrection};
use crate::rng::Rng;
use factor::Factor;

/// A covariance of this many numbers takes 128 MiB and some seconds to factor.
pub const LONGEST_GAUSSIAN: u32 = 4096;

/// A family of covariances of unit variance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Covariance {
    /// The hierarchy of Chen et al. 2025 (L²M). Level by level, the vector of the level below enters as three independent copies (a, b, c) beside fresh noise, and
    /// each row (a, b, c, noise) becomes four consecutive numbers by the matrix with rows (γ, γ, γ, ρ), (−γ, γ, −γ, ρ), (−γ, −γ, γ, ρ), (γ, −γ, −γ, ρ),
    /// γ = √5/4, ρ = 1/4. Two rows' products sum to 3γ² where they are the same and to −γ² where not, so that with parents i′ = ⌊i/4⌋
    /// Σ_ij = 1 for i = j, −¼ for i ≠ j of one parent, else (15 or −5)/16 · Σ_i′j′ as i and j are or are not at the same place under theirs: the first 4^l numbers
    /// are those of level l. Across their middle I = I_1·3^(l−1), I_1 = ½ ln 1.8 = 0.2939, an exponent of log₄ 3 = 0.79. Not stationary.
    Hierarchy,
    /// Fractional Gaussian noise (Mandelbrot and Van Ness 1968) with Hurst exponent H: Σ_ij = ½(|k+1|^2H − 2|k|^2H + |k−1|^2H), k = i − j.
    /// I gains ½(H − ½)² ln 2 a doubling. Stationary.
    FractionalNoise {
        /// H.
        hurst: f64,
    },
}

impl Covariance {
    fn at(self, i: usize, j: usize) -> f64 {
        match self {
            _ if i == j => 1.0,
            Covariance::Hierarchy if i / 4 == j / 4 => -0.25,
            Covariance::Hierarchy => (if i % 4 == j % 4 { 0.9375 } else { -0.3125 }) * self.at(i / 4, j / 4),
            Covariance::FractionalNoise { hurst } => {
                let power = |k: usize| libm::pow(k as f64, 2.0 * hurst);
                let k = i.abs_diff(j);
                0.5 * (power(k + 1) - 2.0 * power(k) + power(k - 1))
            }
        }
    }

    fn is_stationary(self) -> bool {
        matches!(self, Covariance::FractionalNoise { .. })
    }
}

/// The first numbers of a family.
#[derive(Clone, Debug)]
pub struct Gaussian {
    covariance: Covariance,
    factor: Factor,
}

impl Gaussian {
    /// Numbers 1 … `length`, the longest chunk that will be asked for.
    ///
    /// # Errors
    /// A length of 0 or past [`LONGEST_GAUSSIAN`], a Hurst exponent outside (0, 1).
    pub fn new(covariance: Covariance, length: u32) -> Result<Self> {
        if !(1..=LONGEST_GAUSSIAN).contains(&length) {
            return Err(Error::input(format!("Gaussian chunks have 1 to {LONGEST_GAUSSIAN} numbers, not {length}")));
        }
        if let Covariance::FractionalNoise { hurst } = covariance
            && !(hurst > 0.0 && hurst < 1.0)
        {
            return Err(Error::input(format!("the Hurst exponent must lie between 0 and 1, not be {hurst}")));
        }
        Ok(Gaussian { covariance, factor: Factor::new(length as usize, |i, j| covariance.at(i, j))? })
    }

    /// The family.
    pub fn covariance(&self) -> Covariance {
        self.covariance
    }

    /// Where Y begins and ends; `None` past the length.
    fn places(&self, split: u32, ratio: u32) -> Option<(usize, usize)> {
        let (split, end) = (split as usize, split as usize * ratio as usize);
        (split < end && end <= self.factor.size()).then_some((split, end))
    }

    /// The factor of numbers `split` + 1 … `split` + `length` on their own; `None` where it is that of the first ones.
    fn alone(&self, split: usize, length: usize) -> Result<Option<Factor>> {
        let of = |i, j| self.covariance.at(split + i, split + j);
        (!self.covariance.is_stationary()).then(|| Factor::new(length, of)).transpose()
    }

    /// I(ℓ; rℓ), in nats; `None` past the length.
    fn mutual(&self, split: u32, ratio: u32) -> Option<f64> {
        let (split, end) = self.places(split, ratio)?;
        let alone = self.alone(split, end - split).ok()?;
        Some(alone.as_ref().unwrap_or(&self.factor).log_deviations(0..end - split) - self.factor.log_deviations(split..end))
    }
}

impl Known for Gaussian {
    fn information(&self, split: u32, ratio: u32) -> Option<f64> {
        self.mutual(split, ratio)
    }

    fn closed(&self, cell: Cell, foreign: u32, _: NgramCorrection) -> Option<f64> {
        match cell.estimator {
            Estimator::Direct | Estimator::Profile => self.mutual(cell.split, cell.ratio),
            Estimator::L1out if foreign != 1 => None,
            Estimator::Vclub | Estimator::L1out => self.places(cell.split, cell.ratio).map(|(split, end)| self.factor.explained(split, end)),
            Estimator::DirectNgram | Estimator::Infonce => None,
        }
    }

    fn gives(&self, estimator: Estimator) -> bool {
        match estimator {
            Estimator::DirectNgram => false,
            Estimator::Profile => self.covariance.is_stationary(),
            _ => true,
        }
    }

    fn block_entropy(&self, _: u32) -> Option<f64> {
        None
    }

    fn sampler(&self, grid: &Grid) -> Result<Sampler<'_>> {
        if grid.length as usize > self.factor.size() {
            return Err(Error::input(format!("this source has {} numbers, {} are asked for", self.factor.size(), grid.length)));
        }
        let grid = grid.clone();
        // Of each split that fits: the last number of a tail, and the factor of the tail on its own.
        let mut tails = Vec::new();
        for &split in grid.splits.iter().filter(|&&l| grid.fits(l, grid.ratios[0])) {
            let far = grid.ratios.iter().rev().find(|&&r| grid.fits(split, r)).map_or(split, |&r| r * split) as usize;
            tails.push((split as usize, far, self.alone(split as usize, far - split as usize)?));
        }
        Ok(Box::new(move |seed, group| {
            let members = grid.foreign as u64 + 1;
            let draw = |i: u64| {
                let mut rng = Rng::new(seed, group * members + i);
                let z: Vec<f64> = (0..grid.length).map(|_| rng.normal()).collect();
                (self.factor.numbers(&z), z)
            };
            let drawn: Vec<(Vec<f64>, Vec<f64>)> = (0..members).map(draw).collect();
            let of = |(j, (w, z)): (usize, &(Vec<f64>, Vec<f64>))| {
                let trunk = z.iter().enumerate().map(|(i, &z)| self.factor.log_density(i, z) as f32).collect();
                let on_its_own = tails.iter().map(|(split, far, alone)| {
                    let values = alone.as_ref().unwrap_or(&self.factor).continued(&[], &w[*split..*far]);
                    marginal(&grid, *split as u32, &values)
                });
                let under = |z: &[f64]| {
                    let sums = |(split, far, _): &(usize, usize, _)| {
                        let values = self.factor.continued(&z[..*split], &w[*split..*far]);
                        marginal(&grid, *split as u32, &values).by_ratio
                    };
                    tails.iter().map(sums).collect()
                };
                let cross = drawn.iter().enumerate().filter(|(i, _)| *i != j).map(|(_, (_, z))| under(z)).collect();
                member(&grid, (group * members) as u32 + j as u32, trunk, on_its_own.collect(), cross)
            };
            Ok(Group { members: drawn.iter().enumerate().map(of).collect() })
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::special::normal_quantile;
    use crate::source::{Asked, expectations};

    fn cell(estimator: Estimator, split: u32) -> Cell {
        Cell { estimator, ratio: 2, split }
    }

    /// The covariance by the construction itself: (copies and noise) through the matrix, level by level.
    #[test]
    fn hierarchy_as_constructed() {
        let (g, r) = (5f64.sqrt() / 4.0, 0.25);
        let rows = [[g, g, g, r], [-g, g, -g, r], [-g, -g, g, r], [g, -g, -g, r]];
        let mut below = vec![vec![1.0]];
        for level in 1..=3 {
            let n = below.len();
            // Cov(M x_i, M x_j) with Cov(x_i, x_j) = diag(Σ_ij, Σ_ij, Σ_ij, δ_ij).
            let at = |a: usize, b: usize| {
                let (i, j) = (a / 4, b / 4);
                (0..4).map(|m| rows[a % 4][m] * rows[b % 4][m] * if m < 3 { below[i][j] } else { f64::from(u8::from(i == j)) }).sum::<f64>()
            };
            below = (0..4 * n).map(|a| (0..4 * n).map(|b| at(a, b)).collect()).collect();
            for a in 0..4 * n {
                for b in 0..4 * n {
                    assert!((below[a][b] - Covariance::Hierarchy.at(a, b)).abs() < 1e-14, "level {level}: {a}, {b}");
                }
            }
        }
    }

    #[test]
    fn information_across_the_middle() {
        let source = Gaussian::new(Covariance::Hierarchy, 256).unwrap();
        for level in 1..=4u32 {
            let want = 0.5 * 1.8f64.ln() * 3f64.powi(level as i32 - 1);
            let got = source.mutual(4u32.pow(level) / 2, 2).unwrap();
            assert!((got - want).abs() < 1e-9 * want, "{level}: {got}, not {want}");
        }
        assert!(!source.gives(Estimator::Profile) && source.mutual(129, 2).is_none());
    }

    #[test]
    fn information_of_fractional_noise() {
        let source = Gaussian::new(Covariance::FractionalNoise { hurst: 0.9 }, 512).unwrap();
        let i = |l| source.mutual(l, 2).unwrap();
        assert!((i(256) - i(128) - 0.08 * std::f64::consts::LN_2).abs() < 1e-3, "{}", i(256) - i(128));
        // Two numbers of correlation c: I = −½ ln(1 − c²), vCLUB c²/(1 − c²).
        let c = 2f64.powf(0.8) - 1.0;
        assert!((i(1) + 0.5 * (1.0 - c * c).ln()).abs() < 1e-14);
        let vclub = source.closed(cell(Estimator::Vclub, 1), 3, NgramCorrection::default()).unwrap();
        assert!((vclub - c * c / (1.0 - c * c)).abs() < 1e-13);
        // Independent numbers.
        let white = Gaussian::new(Covariance::FractionalNoise { hurst: 0.5 }, 64).unwrap();
        assert!(white.mutual(32, 2).unwrap().abs() < 1e-13);
        assert!(Gaussian::new(Covariance::FractionalNoise { hurst: 1.0 }, 4).is_err() && Gaussian::new(Covariance::Hierarchy, 0).is_err());
    }

    /// InfoNCE of two numbers with one foreign head, against a sum over a fine grid of (x, y, x′): sampled values are that within their errors.
    #[test]
    fn infonce_of_two_numbers() {
        let source = Gaussian::new(Covariance::FractionalNoise { hurst: 0.9 }, 2).unwrap();
        let c = 2f64.powf(0.8) - 1.0;
        let density = |x: f64| (-0.5 * x * x).exp();
        let log = |y: f64, x: f64| -0.5 * (y - c * x) * (y - c * x) / (1.0 - c * c);
        let points: Vec<f64> = (-40..=40).map(|i| 0.15 * i as f64).collect();
        let (mut sum, mut total) = (0.0, 0.0);
        for &x in &points {
            for &u in &points {
                let y = c * x + (1.0 - c * c).sqrt() * u;
                for &other in &points {
                    let weight = density(x) * density(u) * density(other);
                    total += weight;
                    sum += weight * (std::f64::consts::LN_2 - (log(y, other) - log(y, x)).exp().ln_1p());
                }
            }
        }
        let cells = [cell(Estimator::Infonce, 1), cell(Estimator::Direct, 1)];
        let got = expectations(&source, &cells, Asked { groups: 20_000, seed: 123, ..Asked::default() }).unwrap();
        let (infonce, direct) = (got[0].unwrap(), got[1].unwrap());
        // 99 % of one look. The sum over the grid is good to 1e-6 (steps of half show no other digit), trunks are recorded in float32.
        let bound = normal_quantile(0.995) * infonce.se.unwrap() + 1e-5;
        assert!((infonce.value - sum / total).abs() < bound, "{infonce:?}, not {}", sum / total);
        assert!(direct.se.is_none() && infonce.value < direct.value);
    }
}
