//! The least χ² of a law, wherever it lies.
//!
//! Given θ the linear parameters follow from linear least squares (with one or two of them and bounds at 0, by trying which of them are 0: the problem is
//! convex), so that χ² is a function of θ alone. It is computed at every place of a grid over all of θ's range; from each place that no neighbour
//! undercuts, the lowest three at most, a damped Gauss–Newton iteration on that function goes on (variable projection, Golub and Pereyra 1973, in Kaufman's 1975
//! form), never out of the range; the lowest end counts. The same input gives the same bits.

use super::covariance::Whitening;
use super::law::{Law, MOST_PARAMETERS, Range};

/// Ends of the grid's valleys that are followed.
const MOST_STARTS: usize = 3;
/// Steps of an iteration at most; ten are usual.
const MOST_STEPS: usize = 100;
/// A step below this share of a θ's range ends the iteration.
const SMALLEST_STEP: f64 = 1e-14;

/// Where a law is looked at: one x, or the mean over several that stand for a bin, with weights that sum to 1.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place(pub Vec<(f64, f64)>);

/// Whitened columns: those of the linear parameters, and their derivatives by each θ.
struct Columns {
    value: [Vec<f64>; 2],
    by_theta: [[Vec<f64>; 2]; 2],
}

/// A law at given places under given weights, ready for any number of y.
pub(super) struct Search<'a> {
    law: Law,
    places: &'a [Place],
    weights: &'a Whitening,
    ranges: Vec<Range>,
    /// By grid place: θ and the whitened columns.
    grid: Vec<([f64; 2], [Vec<f64>; 2])>,
}

/// A solution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Solution {
    /// In the order of [`Law::parameters`], each θ as it is searched for.
    pub raw: [f64; MOST_PARAMETERS],
    /// χ².
    pub chi_squared: f64,
    /// Which bound a parameter sits at, if any.
    pub bound: [Option<f64>; MOST_PARAMETERS],
}

/// Linear parameters under bounds, and the residuals.
struct Linear {
    a: [f64; 2],
    active: [bool; 2],
    residual: Vec<f64>,
    chi_squared: f64,
}

impl<'a> Search<'a> {
    /// Computes the grid.
    pub fn new(law: Law, places: &'a [Place], weights: &'a Whitening) -> Self {
        let all = || places.iter().flat_map(|p| &p.0).map(|n| n.0);
        let ranges = law.ranges(all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        let mut search = Search { law, places, weights, ranges, grid: Vec::new() };
        // The last place is the bound itself, which the sum may miss by a rounding.
        let place =
            |r: Option<&Range>, i: usize| r.map_or(0.0, |r| if i + 1 == r.places { r.hi } else { r.lo + (r.hi - r.lo) * i as f64 / (r.places - 1) as f64 });
        let [first, second] = search.sizes();
        search.grid = (0..first * second)
            .map(|at| {
                let theta = [place(search.ranges.first(), at / second), place(search.ranges.get(1), at % second)];
                (theta, search.columns(&theta).value)
            })
            .collect();
        search
    }

    fn sizes(&self) -> [usize; 2] {
        std::array::from_fn(|j| self.ranges.get(j).map_or(1, |r| r.places))
    }

    /// Whitened columns at θ.
    fn columns(&self, theta: &[f64; 2]) -> Columns {
        let (linear, thetas) = (self.law.linear(), self.ranges.len());
        let bases: Vec<_> = self
            .places
            .iter()
            .map(|place| {
                let mut mean = super::law::Basis::default();
                for &(x, weight) in &place.0 {
                    let b = self.law.basis(x, theta);
                    for i in 0..2 {
                        mean.value[i] += weight * b.value[i];
                        (0..2).for_each(|j| mean.by_theta[j][i] += weight * b.by_theta[j][i]);
                    }
                }
                mean
            })
            .collect();
        let column = |used: bool, f: &dyn Fn(&super::law::Basis) -> f64| {
            if used { self.weights.apply(&bases.iter().map(f).collect::<Vec<_>>()) } else { Vec::new() }
        };
        Columns {
            value: std::array::from_fn(|i| column(i < linear, &|b| b.value[i])),
            by_theta: std::array::from_fn(|j| std::array::from_fn(|i| column(i < linear && j < thetas, &|b| b.by_theta[j][i]))),
        }
    }

    /// The linear parameters that fit the whitened y best.
    fn linear(&self, columns: &[Vec<f64>; 2], y: &[f64]) -> Linear {
        let count = self.law.linear();
        let subsets: &[[bool; 2]] = match (count, self.law.non_negative()) {
            (1, true) => &[[true, false], [false, false]],
            (1, false) => &[[true, false]],
            (_, true) => &[[true, true], [true, false], [false, true], [false, false]],
            (_, false) => &[[true, true]],
        };
        let mut best: Option<Linear> = None;
        for &active in subsets {
            let found = solve(columns, active, y);
            let allowed = !self.law.non_negative() || (found.a[0] >= 0.0 && found.a[1] >= 0.0);
            if allowed && best.as_ref().is_none_or(|b| found.chi_squared < b.chi_squared) {
                let all = active == subsets[0];
                best = Some(found);
                if all {
                    // Without its bounds the problem has this solution: no subset is better.
                    break;
                }
            }
        }
        best.unwrap_or_else(|| solve(columns, [false; 2], y))
    }

    /// The best fit to y.
    pub fn fit(&self, y: &[f64]) -> Solution {
        let y = self.weights.apply(y);
        let chi: Vec<f64> = self.grid.iter().map(|(_, columns)| self.linear(columns, &y).chi_squared).collect();
        let [first, second] = self.sizes();
        let near = |i: usize, most: usize| i.saturating_sub(1)..(i + 2).min(most);
        let is_valley = |at: usize| {
            let (i, j) = (at / second, at % second);
            near(i, first).all(|k| near(j, second).all(|l| chi[at] <= chi[k * second + l]))
        };
        let mut starts: Vec<usize> = (0..chi.len()).filter(|&at| is_valley(at)).collect();
        starts.sort_by(|&a, &b| chi[a].total_cmp(&chi[b]).then(a.cmp(&b)));
        let ends = starts.iter().take(MOST_STARTS).map(|&at| self.follow(self.grid[at].0, &y));
        let best = ends.reduce(|a, b| if b.1.chi_squared < a.1.chi_squared { b } else { a });
        let (theta, found) = best.unwrap_or_else(|| self.follow([0.0; 2], &y));
        self.told(&theta, &found)
    }

    fn told(&self, theta: &[f64; 2], found: &Linear) -> Solution {
        let linear = self.law.linear();
        let (mut raw, mut bound) = ([0.0; MOST_PARAMETERS], [None; MOST_PARAMETERS]);
        for i in 0..linear {
            raw[i] = found.a[i];
            bound[i] = (!found.active[i]).then_some(0.0);
        }
        for (j, r) in self.ranges.iter().enumerate() {
            raw[linear + j] = theta[j];
            bound[linear + j] = [r.lo, r.hi].into_iter().find(|&b| theta[j] == b).map(|b| self.law.told(b));
        }
        Solution { raw, chi_squared: found.chi_squared, bound }
    }

    /// Downhill from θ to where no step leads on.
    fn follow(&self, mut theta: [f64; 2], y: &[f64]) -> ([f64; 2], Linear) {
        let mut columns = self.columns(&theta);
        let mut here = self.linear(&columns.value, y);
        // What rounding may add to χ² is no reason to stop where the gradient still says where to go.
        let rounding = 1e-15 * y.iter().map(|v| v * v).sum::<f64>();
        let mut damping = 1e-3;
        for _ in 0..MOST_STEPS {
            let Some(step) = self.step(&theta, &columns, &here, damping) else { break };
            let next: [f64; 2] = std::array::from_fn(|j| self.ranges.get(j).map_or(0.0, |r| (theta[j] + step[j]).clamp(r.lo, r.hi)));
            let small = self.ranges.iter().enumerate().all(|(j, r)| (next[j] - theta[j]).abs() <= SMALLEST_STEP * (r.hi - r.lo));
            if small {
                break;
            }
            let next_columns = self.columns(&next);
            let there = self.linear(&next_columns.value, y);
            if there.chi_squared <= here.chi_squared + rounding {
                (theta, columns, here) = (next, next_columns, there);
                damping = (damping * 0.1).max(1e-12);
            } else {
                damping *= 10.0;
                if damping > 1e12 {
                    break;
                }
            }
        }
        (theta, here)
    }

    /// A Gauss–Newton step in θ with the linear parameters following; a θ at its bound that would leave it stays. `None` where nothing moves.
    fn step(&self, theta: &[f64; 2], columns: &Columns, here: &Linear, damping: f64) -> Option<[f64; 2]> {
        let slopes: Vec<Vec<f64>> = (0..self.ranges.len())
            .map(|j| {
                let mut d: Vec<f64> = vec![0.0; here.residual.len()];
                for i in 0..self.law.linear() {
                    d.iter_mut().zip(&columns.by_theta[j][i]).for_each(|(d, b)| *d += here.a[i] * b);
                }
                solve(&columns.value, here.active, &d).residual
            })
            .collect();
        let gradient: Vec<f64> = slopes.iter().map(|s| dot(s, &here.residual)).collect();
        let free: Vec<usize> = (0..slopes.len())
            .filter(|&j| {
                let r = &self.ranges[j];
                let leaves = (theta[j] <= r.lo && gradient[j] < 0.0) || (theta[j] >= r.hi && gradient[j] > 0.0);
                !leaves && dot(&slopes[j], &slopes[j]) > 0.0
            })
            .collect();
        let mut step = [0.0; 2];
        let size = |j: usize| dot(&slopes[j], &slopes[j]) * (1.0 + damping);
        match free[..] {
            [] => return None,
            [j] => step[j] = gradient[j] / size(j),
            _ => {
                let both = dot(&slopes[0], &slopes[1]);
                let det = size(0) * size(1) - both * both;
                step = [(gradient[0] * size(1) - gradient[1] * both) / det, (gradient[1] * size(0) - gradient[0] * both) / det];
            }
        }
        step.iter().all(|s| s.is_finite()).then_some(step)
    }

    /// The rows by which the parameters of a solution move with y, to first order: (JᵀWJ)⁻¹JᵀW over the parameters that are at no bound, a row of zeros
    /// for the others; with their covariance (JᵀWJ)⁻¹ on the diagonal alone. `None` where the parameters are not told apart.
    pub fn sensitivity(&self, solution: &Solution) -> Option<(Vec<Vec<f64>>, Vec<f64>)> {
        let (linear, count) = (self.law.linear(), self.law.parameters().len());
        let theta: [f64; 2] = std::array::from_fn(|j| if linear + j < count { solution.raw[linear + j] } else { 0.0 });
        let columns = self.columns(&theta);
        let column = |p: usize| -> Vec<f64> {
            if p < linear {
                return columns.value[p].clone();
            }
            let mut d = vec![0.0; self.places.len()];
            for i in 0..linear {
                d.iter_mut().zip(&columns.by_theta[p - linear][i]).for_each(|(d, b)| *d += solution.raw[i] * b);
            }
            d.iter().map(|d| d * self.slope_of_told(p, &theta)).collect()
        };
        let free: Vec<usize> = (0..count).filter(|&p| solution.bound[p].is_none()).collect();
        let jacobian: Vec<Vec<f64>> = free.iter().map(|&p| column(p)).collect();
        let inverse = inverse_gram(&jacobian)?;
        let (mut rows, mut variances) = (vec![vec![0.0; self.places.len()]; count], vec![0.0; count]);
        for (a, &p) in free.iter().enumerate() {
            let mut row = vec![0.0; self.places.len()];
            for (b, j) in jacobian.iter().enumerate() {
                row.iter_mut().zip(j).for_each(|(r, j)| *r += inverse[a][b] * j);
            }
            rows[p] = self.weights.transposed(&row);
            variances[p] = inverse[a][a];
        }
        Some((rows, variances))
    }

    /// dθ by the parameter that is reported in its place.
    fn slope_of_told(&self, p: usize, theta: &[f64; 2]) -> f64 {
        if self.law == Law::Saturating { libm::exp(-theta[p - self.law.linear()]) } else { 1.0 }
    }
}

/// Least squares on the active ones of two columns, by Gram–Schmidt: a column is nearly a multiple of the other at the ends of a range.
fn solve(columns: &[Vec<f64>; 2], active: [bool; 2], y: &[f64]) -> Linear {
    let mut a = [0.0; 2];
    let mut residual = y.to_vec();
    let take = |residual: &mut [f64], column: &[f64]| {
        let squares = dot(column, column);
        let t = if squares > 0.0 { dot(residual, column) / squares } else { 0.0 };
        residual.iter_mut().zip(column).for_each(|(r, c)| *r -= t * c);
        t
    };
    match active {
        [true, true] => {
            let mut across = columns[1].clone();
            let overlap = take(&mut across, &columns[0]);
            // Once more: what is left of a nearly parallel column is not yet at right angles.
            let again = take(&mut across, &columns[0]);
            a[1] = take(&mut residual, &across);
            let t = take(&mut residual, &columns[0]);
            a[0] = t - a[1] * (overlap + again);
        }
        [true, false] => a[0] = take(&mut residual, &columns[0]),
        [false, true] => a[1] = take(&mut residual, &columns[1]),
        [false, false] => {}
    }
    let chi_squared = dot(&residual, &residual);
    Linear { a, active, residual, chi_squared }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// (JᵀJ)⁻¹ of at most three columns, each scaled to length 1 before.
fn inverse_gram(columns: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let n = columns.len();
    let length: Vec<f64> = columns.iter().map(|c| dot(c, c).sqrt()).collect();
    let mut m: Vec<Vec<f64>> = (0..n)
        .map(|i| (0..n).map(|j| dot(&columns[i], &columns[j]) / (length[i] * length[j])).chain((0..n).map(|j| f64::from(u8::from(i == j)))).collect())
        .collect();
    for i in 0..n {
        // Of a Gram matrix every pivot is positive; near 0 its column follows from those before.
        if m[i][i].is_nan() || m[i][i] < 1e-13 {
            return None;
        }
        let pivot = m[i].clone();
        for (_, row) in m.iter_mut().enumerate().filter(|(k, _)| *k != i) {
            let times = row[i] / pivot[i];
            row.iter_mut().zip(&pivot).for_each(|(r, p)| *r -= times * p);
        }
        let own = pivot[i];
        m[i].iter_mut().for_each(|v| *v /= own);
    }
    Some((0..n).map(|i| (0..n).map(|j| m[i][n + j] / (length[i] * length[j])).collect()).collect())
}
