//! Whether laws are told apart, and whether the intervals of their exponents cover, on sources whose information is known: run by hand, some minutes.
//!
//! usage: cargo bench --bench laws [-- GROUPS … SOURCE …]
//!
//! For each number of groups (of two documents each), 100 measurements of each source, or of those whose names contain a word; seeds are fixed here. Sources:
//! - *Santa Fe* (β = 0.5, 200 facts, ℓ = 8 … 1024, r = 2): I grows as a power. A document's direct term is ln 2 + ln(1 − ε) for each fact that both of its halves mention.
//! - *Fractional Gaussian noise* (H = 0.9, ℓ = 8 … 512, r = 2): I grows as a logarithm. Densities by the Durbin–Levinson recursion, whose innovations draw the document, too.
//!
//! Printed: how often each kind of growth is judged; how often the 95 % interval of the power law's β covers the β of the same fit, under the same covariance, to the exact curve; its mean width.

use hilberg::estimate::laws::{Curve, Growth, Law};
use hilberg::estimate::{Resamples, Resampling};
use hilberg::rng::Rng;
use hilberg::source::{Process, SantaFe};
use std::collections::BTreeMap;

const DRAWS: u64 = 100;

/// A source of independent documents and its direct terms at each ℓ.
trait Source {
    fn name(&self) -> &'static str;
    fn splits(&self) -> &[usize];
    fn exact(&self) -> Vec<f64>;
    /// The direct term of one new document at every ℓ, in nats.
    fn document(&self, rng: &mut Rng) -> Vec<f64>;
}

struct Facts {
    process: SantaFe,
    splits: Vec<usize>,
}

impl Source for Facts {
    fn name(&self) -> &'static str {
        "Santa Fe"
    }

    fn splits(&self) -> &[usize] {
        &self.splits
    }

    fn exact(&self) -> Vec<f64> {
        self.splits.iter().map(|&l| self.process.direct(l as u64, 2 * l as u64)).collect()
    }

    fn document(&self, rng: &mut Rng) -> Vec<f64> {
        let tokens = self.process.draw(2 * self.splits[self.splits.len() - 1], rng);
        let each = std::f64::consts::LN_2 + (1.0 - self.process.epsilon()).ln();
        let of = |l: &usize| {
            let mut seen = vec![0u8; self.process.facts()];
            tokens[..2 * l].iter().enumerate().for_each(|(t, &k)| seen[k as usize / 2] |= if t < *l { 1 } else { 2 });
            each * seen.iter().filter(|s| **s == 3).count() as f64
        };
        self.splits.iter().map(of).collect()
    }
}

struct Noise {
    splits: Vec<usize>,
    /// By t: coefficients of x[t−1], x[t−2], … in the prediction of x[t].
    coefficients: Vec<Vec<f64>>,
    /// By t: variance of its error.
    variance: Vec<f64>,
}

impl Noise {
    fn new(hurst: f64, splits: Vec<usize>) -> Self {
        let length = 2 * splits[splits.len() - 1];
        let covariance = |k: usize| {
            let p = |x: f64| x.abs().powf(2.0 * hurst);
            0.5 * (p(k as f64 + 1.0) - 2.0 * p(k as f64) + p(k as f64 - 1.0))
        };
        let (mut coefficients, mut variance): (Vec<Vec<f64>>, Vec<f64>) = (vec![Vec::new()], vec![covariance(0)]);
        for t in 1..length {
            let last = &coefficients[t - 1];
            let explained: f64 = last.iter().enumerate().map(|(j, c)| c * covariance(t - 1 - j)).sum();
            let reflection = (covariance(t) - explained) / variance[t - 1];
            let mut row: Vec<f64> = (0..t - 1).map(|j| last[j] - reflection * last[t - 2 - j]).collect();
            row.push(reflection);
            variance.push(variance[t - 1] * (1.0 - reflection * reflection));
            coefficients.push(row);
        }
        // Reversed, so that a prediction is a product of two runs in the same direction.
        coefficients.iter_mut().for_each(|c| c.reverse());
        Noise { splits, coefficients, variance }
    }

    /// In eight sums, which the processor can keep apart.
    fn predict(&self, past: &[f64]) -> f64 {
        let coefficients = &self.coefficients[past.len()];
        let mut sums = [0.0; 8];
        let (c, x) = (coefficients.chunks_exact(8), past.chunks_exact(8));
        let rest: f64 = c.remainder().iter().zip(x.remainder()).map(|(c, x)| c * x).sum();
        for (c, x) in c.zip(x) {
            sums.iter_mut().zip(c.iter().zip(x)).for_each(|(s, (c, x))| *s += c * x);
        }
        sums.iter().sum::<f64>() + rest
    }
}

impl Source for Noise {
    fn name(&self) -> &'static str {
        "fractional Gaussian noise"
    }

    fn splits(&self) -> &[usize] {
        &self.splits
    }

    fn exact(&self) -> Vec<f64> {
        let half_logs = |range: std::ops::Range<usize>| self.variance[range].iter().map(|v| 0.5 * v.ln()).sum::<f64>();
        self.splits.iter().map(|&l| half_logs(0..l) - half_logs(l..2 * l)).collect()
    }

    fn document(&self, rng: &mut Rng) -> Vec<f64> {
        let (mut x, mut log_density) = (Vec::with_capacity(self.variance.len()), vec![0.0]);
        // The constant of the normal density is the same in both terms.
        let term = |error: f64, variance: f64| -0.5 * (error * error / variance + variance.ln());
        for t in 0..self.variance.len() {
            let error = self.variance[t].sqrt() * rng.normal();
            x.push(self.predict(&x) + error);
            log_density.push(log_density[t] + term(error, self.variance[t]));
        }
        let of = |&l: &usize| {
            let tail = &x[l..2 * l];
            let alone: f64 = (0..l).map(|t| term(tail[t] - self.predict(&tail[..t]), self.variance[t])).sum();
            log_density[2 * l] - log_density[l] - alone
        };
        self.splits.iter().map(of).collect()
    }
}

/// One measurement: `groups` means over two documents.
fn measured(source: &dyn Source, groups: usize, seed: u64) -> Curve {
    let points = source.splits().len();
    let mut values = Vec::with_capacity(groups * points);
    for g in 0..groups as u64 {
        let (a, b) = (source.document(&mut Rng::new(seed, 2 * g)), source.document(&mut Rng::new(seed, 2 * g + 1)));
        values.extend(a.iter().zip(&b).map(|(a, b)| 0.5 * (a + b)));
    }
    let documents: Vec<Vec<u32>> = (0..groups as u32).map(|g| vec![2 * g, 2 * g + 1]).collect();
    let resamples = Resamples::of(&documents, &values, &vec![0.0; points], Resampling { seed, ..Default::default() });
    let x: Vec<f64> = source.splits().iter().map(|&l| l as f64).collect();
    Curve::resampled(&x, &resamples, &(0..points).collect::<Vec<_>>())
}

fn main() {
    // `cargo bench` adds an option of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let asked: Vec<usize> = args.iter().filter_map(|a| a.parse().ok()).collect();
    let named: Vec<&String> = args.iter().filter(|a| a.parse::<usize>().is_err()).collect();
    let sizes = if asked.is_empty() { vec![100, 300, 1000, 3000] } else { asked };
    let doublings = |last: u32| (3..=last).map(|k| 1usize << k).collect::<Vec<_>>();
    let santa_fe = Facts { process: SantaFe::new(0.5, 200, 1e-6).expect("parameters in range"), splits: doublings(10) };
    let sources: [Box<dyn Source>; 2] = [Box::new(santa_fe), Box::new(Noise::new(0.9, doublings(9)))];
    for source in sources.iter().filter(|s| named.is_empty() || named.iter().any(|n| s.name().contains(n.as_str()))) {
        let exact = source.exact();
        println!("{}: exact I {}", source.name(), exact.iter().map(|v| format!("{v:.4}")).collect::<Vec<_>>().join(" "));
        for &groups in &sizes {
            let (mut judged, mut covered, mut width): (BTreeMap<&str, u32>, u32, f64) = (BTreeMap::new(), 0, 0.0);
            for draw in 0..DRAWS {
                let curve = measured(source.as_ref(), groups, 500 + draw);
                let comparison = curve.compare(&Law::OF_INFORMATION).expect("enough units");
                let name = match comparison.growth() {
                    Some(Growth::Power) => "power",
                    Some(Growth::Logarithm) => "logarithm",
                    Some(Growth::Saturating) => "saturating",
                    None => "none",
                };
                *judged.entry(name).or_default() += 1;
                let beta = |c: &Curve| c.fit(Law::Power).expect("points that rise").parameter("β").expect("a power has one").quantity;
                let (ours, target) =
                    (comparison.fit(Law::Power).and_then(|f| f.parameter("β")).expect("points that rise").quantity, beta(&curve.with_values(&exact)).value);
                if let (Some(lo), Some(hi)) = (ours.lo, ours.hi) {
                    covered += u32::from(lo <= target && target <= hi);
                    width += (hi - lo) / DRAWS as f64;
                }
            }
            let judged: Vec<String> = judged.iter().map(|(name, n)| format!("{name} {n}")).collect();
            println!("  {groups} groups, {} documents: judged {}; β covered {covered} of {DRAWS}, mean width {width:.3}", 2 * groups, judged.join(", "));
        }
    }
}
