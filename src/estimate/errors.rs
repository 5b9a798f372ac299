//! Standard errors, resamples and intervals of means over groups whose documents may recur.
//!
//! Let e_g be a group's residual (contribution minus mean), G the number of groups. Groups without a document in common are
//! independent; groups that share one are not. The variance of the mean is estimated by
//!
//! V = c / G² · Σ_{g,g' sharing a document} e_g e_g',   c = 1 / (1 − P/G²),   P the number of terms (ordered pairs, g = g' among them),
//!
//! the dyadic-robust form (Fafchamps and Gubert 2007; Aronow, Samii and Assenova 2015; Cameron and Miller 2014) for groups of any
//! size. With this c, V is unbiased both where groups differ independently and where each group is a mean of independent effects of
//! its documents, each document in equally many groups. Where no document recurs P = G, and V is the usual s²/G. V is never
//! taken below the s²/G of independent groups: the sum over pairs may come out small or negative by chance.
//!
//! Resamples: the units are groups where no document recurs, otherwise documents, whose score is S_u = Σ_{g ∋ u} e_g. A resample
//! draws as many units as there are, with replacement; unit u comes M_u times, and the mean moves by k/G · Σ_u (M_u − 1) S_u. For
//! independent groups with k = 1 that is the ordinary bootstrap of the mean; for documents it is the score form of the cluster
//! bootstrap (Kline and Santos 2012). k makes the resamples' variance k² Σ S_u² / G² equal to V: it widens by √(G/(G−1)) where groups
//! are independent, and takes out that a group's own noise enters once for each of its documents. The same draw of units serves
//! all cells, so that resamples keep the covariance between the ℓ's.
//!
//! Intervals: Student's, mean ± t·√V with one degree of freedom less than units; percentile and BCa (Efron 1987) of the resamples, both
//! at levels widened from normal to Student quantiles (Hesterberg 2015), acceleration from the S_u.

use super::Sums;
use super::contribution::Contributions;
use super::special::{normal_cdf, normal_quantile, student_quantile};
use crate::rng::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// What is taken as independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ErrorModel {
    /// Groups: no document gave two chunks.
    Independent,
    /// Documents: groups that share one are correlated.
    Clustered,
}

/// How to resample.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resampling {
    /// Resamples; 0 for none.
    pub resamples: u32,
    /// Seed of the draws.
    pub seed: u64,
    /// Coverage that intervals aim at, in (0, 1).
    pub level: f64,
}

impl Default for Resampling {
    /// 1,000 resamples, seed 0, 95 %.
    fn default() -> Self {
        Resampling { resamples: 1000, seed: 0, level: 0.95 }
    }
}

/// A closed interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
}

/// The intervals of one number.
#[derive(Clone, Copy, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Intervals {
    /// Value ± Student quantile · standard error.
    pub student: Option<Interval>,
    /// Percentile bootstrap.
    pub percentile: Option<Interval>,
    /// Bias-corrected and accelerated bootstrap.
    pub bca: Option<Interval>,
}

impl Intervals {
    /// The one to quote: BCa, or Student's with fewer than 10 units, where resamples say too little.
    pub fn chosen(&self, units: usize) -> Option<Interval> {
        if units < 10 { self.student } else { self.bca.or(self.student) }
    }
}

/// Means, errors and resamples of all cells together.
#[derive(Clone, Debug)]
pub struct Resamples {
    /// Means over groups.
    pub mean: Vec<f64>,
    /// Standard errors; `None` where they cannot be had (one group, or every two groups share a document).
    pub se: Vec<Option<f64>>,
    /// `[resamples, cells]`: resampled means; empty where there are no errors.
    pub draws: Vec<f64>,
    /// `[units, cells]`: by how much a unit moves the mean, scaled like the draws.
    pub influence: Vec<f64>,
    /// For each cell the standard error of a term that all units share, else 0.
    pub shared_error: Vec<f64>,
    /// What is resampled.
    pub model: ErrorModel,
    /// Number of units.
    pub units: usize,
    /// Distinct documents.
    pub documents: usize,
    /// How they were made.
    pub how: Resampling,
}

impl Resamples {
    /// Errors and resamples of contributions whose groups are those of `sums`.
    pub fn new(sums: &Sums, contributions: &Contributions, how: Resampling) -> Self {
        Resamples::of(&sums.documents(), &contributions.values, &contributions.shared_error, how)
    }

    /// Errors and resamples of the means of any numbers: `values` is `[groups, cells]`, row-major, with as many cells as `shared_error` has (the standard error of
    /// what all groups share, usually 0), and `documents` are those of each group.
    pub fn of(documents: &[Vec<u32>], values: &[f64], shared_error: &[f64], how: Resampling) -> Self {
        let layout = Layout::new(documents.iter().cloned());
        let (groups, cells) = (documents.len(), shared_error.len());
        let mut mean = vec![0.0; cells];
        values.chunks_exact(cells.max(1)).for_each(|row| add(&mut mean, row, 1.0));
        mean.iter_mut().for_each(|m| *m /= groups as f64);
        let mut residual = values.to_vec();
        for row in residual.chunks_exact_mut(cells.max(1)) {
            row.iter_mut().zip(&mean).for_each(|(e, m)| *e -= m);
        }
        let (model, units) = if layout.recurs() { (ErrorModel::Clustered, layout.members.len()) } else { (ErrorModel::Independent, groups) };
        let mut influence = vec![0.0; units * cells];
        match model {
            ErrorModel::Independent => influence.copy_from_slice(&residual),
            ErrorModel::Clustered => {
                for (u, member_of) in layout.members.iter().enumerate() {
                    for &g in member_of {
                        add(&mut influence[u * cells..(u + 1) * cells], &residual[g * cells..(g + 1) * cells], 1.0);
                    }
                }
            }
        }
        let variance = layout.variance(&residual, cells);
        // From S_u to its share in a resampled mean: k / G.
        let mut squares = vec![0.0; cells];
        for row in influence.chunks_exact(cells.max(1)) {
            squares.iter_mut().zip(row).for_each(|(s, x)| *s += x * x);
        }
        if let Some(v) = &variance {
            let scale: Vec<f64> = (0..cells).map(|c| if squares[c] > 0.0 { (v[c] / squares[c]).sqrt() } else { 0.0 }).collect();
            for row in influence.chunks_exact_mut(cells.max(1)) {
                row.iter_mut().zip(&scale).for_each(|(x, k)| *x *= k);
            }
        }
        let draws = match &variance {
            Some(_) => draw(&mean, &influence, shared_error, units, how),
            None => Vec::new(),
        };
        let with_shared = |c: usize, v: &Vec<f64>| (v[c] + shared_error[c] * shared_error[c]).sqrt();
        let se = (0..cells).map(|c| variance.as_ref().map(|v| with_shared(c, v))).collect();
        Resamples { mean, se, draws, influence, shared_error: shared_error.to_vec(), model, units, documents: layout.members.len(), how }
    }

    /// Number of cells.
    pub fn cells(&self) -> usize {
        self.mean.len()
    }

    /// The resampled means of cell `c`, in draw order.
    pub fn column(&self, c: usize) -> Vec<f64> {
        self.draws.chunks_exact(self.cells()).map(|row| row[c]).collect()
    }

    /// The intervals of cell `c`.
    pub fn intervals(&self, c: usize) -> Intervals {
        let influence: Vec<f64> = self.influence.chunks_exact(self.cells()).map(|row| row[c]).collect();
        self.intervals_of(self.mean[c], self.se[c], self.column(c), &influence)
    }

    /// The intervals of a number computed from the cells: its value, standard error, values over resamples and each unit's influence.
    pub fn intervals_of(&self, value: f64, se: Option<f64>, draws: Vec<f64>, influence: &[f64]) -> Intervals {
        intervals(self.how.level, Some(self.units as f64 - 1.0), value, se.filter(|_| self.units > 1), draws, influence)
    }
}

/// The intervals of a number with `freedom` degrees of freedom behind its standard error, infinitely many if `None`; none without a standard error.
pub(super) fn intervals(level: f64, freedom: Option<f64>, value: f64, se: Option<f64>, mut draws: Vec<f64>, influence: &[f64]) -> Intervals {
    let Some(se) = se else { return Intervals::default() };
    let upper = 0.5 + 0.5 * level;
    let t = freedom.map_or_else(|| normal_quantile(upper), |df| student_quantile(upper, df));
    let student = Some(Interval { lo: value - t * se, hi: value + t * se });
    if draws.is_empty() {
        return Intervals { student, ..Default::default() };
    }
    draws.sort_unstable_by(f64::total_cmp);
    let at = |z: f64| quantile(&draws, normal_cdf(z));
    let percentile = Some(Interval { lo: at(-t), hi: at(t) });
    // Ties count half, so that a constant has no bias.
    let below = draws.partition_point(|&x| x < value);
    let not_above = draws.partition_point(|&x| x <= value);
    let z0 = normal_quantile(0.5 * (below + not_above) as f64 / draws.len() as f64);
    let (squares, cubes) = influence.iter().fold((0.0, 0.0), |(s, c), &x| (s + x * x, c + x * x * x));
    let a = if squares > 0.0 { cubes / (6.0 * squares * squares.sqrt()) } else { 0.0 };
    let shifted = |z: f64| {
        let w = z0 + z;
        let d = 1.0 - a * w;
        at(if d > 0.0 { z0 + w / d } else { w.signum() * f64::INFINITY })
    };
    let bca = z0.is_finite().then(|| Interval { lo: shifted(-t), hi: shifted(t) });
    Intervals { student, percentile, bca }
}

/// The standard error of the mean of `values`, one a group, where the groups are of these documents: the one that [`Resamples`] reports.
pub(super) fn standard_error(documents: &[Vec<u32>], values: &[f64]) -> Option<f64> {
    let mean = values.iter().fold(0.0, |sum, v| sum + v) / values.len() as f64;
    let residual: Vec<f64> = values.iter().map(|v| v - mean).collect();
    Layout::new(documents.iter().cloned()).variance(&residual, 1).map(|v| v[0].sqrt())
}

/// Resampled means: each resample has a stream of its own, so that threads change nothing.
fn draw(mean: &[f64], influence: &[f64], shared_error: &[f64], units: usize, how: Resampling) -> Vec<f64> {
    let cells = mean.len();
    let mut draws = vec![0.0; how.resamples as usize * cells];
    if cells == 0 || units == 0 {
        return draws;
    }
    draws.par_chunks_exact_mut(cells).enumerate().for_each(|(b, out)| {
        let mut rng = Rng::new(how.seed, b as u64);
        // The n-gram entropy is one number for all groups: one draw of its error serves all cells.
        let shared = rng.normal();
        let mut times = vec![-1.0f64; units];
        for _ in 0..units {
            times[rng.below(units as u64) as usize] += 1.0;
        }
        for ((o, m), s) in out.iter_mut().zip(mean).zip(shared_error) {
            *o = m + s * shared;
        }
        for (u, &m) in times.iter().enumerate().filter(|(_, m)| **m != 0.0) {
            add(out, &influence[u * cells..(u + 1) * cells], m);
        }
    });
    draws
}

fn add(to: &mut [f64], from: &[f64], times: f64) {
    to.iter_mut().zip(from).for_each(|(t, f)| *t += times * f);
}

/// The p-quantile of sorted values: x_(h) with h = (n + 1) p, linear between neighbours, the outermost beyond them.
fn quantile(sorted: &[f64], p: f64) -> f64 {
    let h = ((sorted.len() + 1) as f64 * p - 1.0).clamp(0.0, (sorted.len() - 1) as f64);
    let (i, f) = (h.floor() as usize, h.fract());
    if f == 0.0 { sorted[i] } else { sorted[i] + f * (sorted[i + 1] - sorted[i]) }
}

/// Which documents are in which groups.
struct Layout {
    /// For each distinct document the groups that it is in, ascending.
    members: Vec<Vec<usize>>,
    /// For each group its documents, as indices into `members`.
    documents: Vec<Vec<usize>>,
}

impl Layout {
    /// From the documents of every group.
    fn new(groups: impl Iterator<Item = Vec<u32>>) -> Self {
        let groups: Vec<Vec<u32>> = groups.collect();
        let mut ids: Vec<u32> = groups.iter().flatten().copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let (mut members, mut documents) = (vec![Vec::new(); ids.len()], Vec::with_capacity(groups.len()));
        for (g, group) in groups.into_iter().enumerate() {
            let mut d: Vec<usize> = group.into_iter().map(|document| ids.partition_point(|&x| x < document)).collect();
            d.sort_unstable();
            d.dedup();
            d.iter().for_each(|&d| members[d].push(g));
            documents.push(d);
        }
        Layout { members, documents }
    }

    /// Whether some document is in two groups.
    fn recurs(&self) -> bool {
        self.members.iter().any(|g| g.len() > 1)
    }

    /// V of every cell (see the module), from residuals `[groups, cells]`.
    fn variance(&self, residual: &[f64], cells: usize) -> Option<Vec<f64>> {
        let n = self.documents.len();
        let mut own = vec![0.0; cells];
        let mut shared = vec![0.0; cells];
        let mut pairs = n as f64;
        let mut seen = vec![usize::MAX; n];
        let mut near = vec![0.0; cells];
        for g in 0..n {
            let e = &residual[g * cells..(g + 1) * cells];
            own.iter_mut().zip(e).for_each(|(o, x)| *o += x * x);
            near.iter_mut().for_each(|x| *x = 0.0);
            for &d in &self.documents[g] {
                for &h in &self.members[d][self.members[d].partition_point(|&h| h <= g)..] {
                    if std::mem::replace(&mut seen[h], g) != g {
                        pairs += 2.0;
                        add(&mut near, &residual[h * cells..(h + 1) * cells], 1.0);
                    }
                }
            }
            shared.iter_mut().zip(e.iter().zip(&near)).for_each(|(s, (x, y))| *s += 2.0 * x * y);
        }
        let groups = n as f64;
        let rest = 1.0 - pairs / (groups * groups);
        (n > 1 && rest > 1e-12).then(|| (0..cells).map(|c| ((own[c] + shared[c]) / (groups * groups * rest)).max(own[c] / (groups * (groups - 1.0)))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::super::contribution::{Cell, Estimator};
    use super::super::{Group, Member, Pairing};
    use super::*;

    /// Groups of the given documents, with given contributions to a single cell.
    fn resamples(groups: &[(&[u32], f64)], how: Resampling) -> Resamples {
        let member = |&document: &u32| Member { document, trunk: Vec::new(), cuts: Vec::new(), marginal: Vec::new(), cross: Vec::new() };
        let sums = Sums {
            pairing: Pairing::Matched,
            length: 0,
            splits: vec![1],
            ratios: vec![2],
            groups: groups.iter().map(|g| Group { members: g.0.iter().map(member).collect() }).collect(),
        };
        let contributions = Contributions {
            cells: vec![Cell { estimator: Estimator::Direct, ratio: 2, split: 1 }],
            values: groups.iter().map(|g| g.1).collect(),
            groups: groups.len(),
            shared_error: vec![0.0],
            refused: Vec::new(),
        };
        Resamples::new(&sums, &contributions, how)
    }

    #[test]
    fn disjoint_groups_have_the_usual_error() {
        let r = resamples(&[(&[0, 1], 1.0), (&[2, 3], 2.0), (&[4, 5], 6.0)], Resampling::default());
        assert_eq!((r.model, r.units, r.documents), (ErrorModel::Independent, 3, 6));
        // s² = (4 + 1 + 9) / 2 = 7.
        assert!((r.se[0].unwrap() - (7.0f64 / 3.0).sqrt()).abs() < 1e-15);
        // The resamples' own standard deviation: within 5 of its standard errors, about 1/√(2·1000) each.
        let draws = r.column(0);
        let sd = (draws.iter().map(|x| (x - 3.0) * (x - 3.0)).sum::<f64>() / 1000.0).sqrt();
        assert!((sd / r.se[0].unwrap() - 1.0).abs() < 5.0 / 2000f64.sqrt(), "{sd}");
        // t_{0.975} with two degrees of freedom is 4.3027.
        let student = r.intervals(0).student.unwrap();
        assert!((student.hi - 3.0 - 4.302_652_729_749_464 * r.se[0].unwrap()).abs() < 1e-9);
        assert_eq!(r.intervals(0).chosen(r.units), Some(student));
    }

    #[test]
    fn shared_documents_by_hand() {
        // A ring of 5 documents: each group shares one with its two neighbours. P = 5 · 3.
        let values = [3.0, 1.0, -1.0, -2.0, -1.0];
        let groups: Vec<[u32; 2]> = (0..5).map(|i| [i, (i + 1) % 5]).collect();
        let r = resamples(&groups.iter().zip(values).map(|(g, v)| (&g[..], v)).collect::<Vec<_>>(), Resampling::default());
        assert_eq!((r.model, r.units), (ErrorModel::Clustered, 5));
        let sum: f64 = (0..5).map(|i| values[i] * (values[i] + 2.0 * values[(i + 1) % 5])).sum();
        assert!((r.se[0].unwrap().powi(2) - sum / (25.0 - 15.0)).abs() < 1e-14);
        // Opposite neighbours: the sum over pairs is negative, and the error that of independent groups.
        let values = [2.0, -2.0, 2.0, -2.0, 0.0];
        let r = resamples(&groups.iter().zip(values).map(|(g, v)| (&g[..], v)).collect::<Vec<_>>(), Resampling::default());
        assert!((r.se[0].unwrap().powi(2) - 16.0 / 20.0).abs() < 1e-14);
    }

    #[test]
    fn no_error_where_all_groups_share() {
        for groups in [&[(&[0u32, 1][..], 1.0)][..], &[(&[0, 1], 1.0), (&[0, 2], 2.0), (&[1, 2], 4.0)]] {
            let r = resamples(groups, Resampling::default());
            assert_eq!((r.se[0], r.intervals(0)), (None, Intervals::default()));
        }
    }

    #[test]
    fn quantiles_of_sorted_values() {
        let x = [1.0, 2.0, 4.0];
        assert_eq!([0.0, 0.25, 0.5, 0.625, 1.0].map(|p| quantile(&x, p)), [1.0, 1.0, 2.0, 3.0, 4.0]);
    }

    /// BCa of a skewed mean reaches further on the side of the tail; percentile and BCa are the same where nothing is skewed.
    #[test]
    fn bca_follows_the_skew() {
        let documents: Vec<[u32; 1]> = (0..40).map(|i| [i]).collect();
        let of = |f: &dyn Fn(usize) -> f64| {
            let groups: Vec<_> = documents.iter().enumerate().map(|(i, d)| (&d[..], f(i))).collect();
            resamples(&groups, Resampling { resamples: 4000, ..Default::default() }).intervals(0)
        };
        let skewed = of(&|i| libm::exp(3.0 * (i as f64 / 39.0)));
        let (p, b) = (skewed.percentile.unwrap(), skewed.bca.unwrap());
        assert!(b.lo > p.lo && b.hi > p.hi, "{skewed:?}");
    }
}
