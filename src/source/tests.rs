//! What sources say they expect, against the definitions summed over all groups of documents, and against draws.

use super::brute::{expected, score, texts};
use super::enumerate::enumerate;
use super::known::{Asked, Expectation, Grid, Known, expectations, sample_sums};
use super::{Covariance, FixedMemory, Gaussian, HiddenMarkov, Markov, Process, SantaFe};
use crate::estimate::special::{normal_quantile, student_quantile};
use crate::estimate::{Cell, Contributions, Estimator, NgramCorrection, NgramEntropies, NgramEntropy};
use crate::forest::TokenId;

const ESTIMATORS: [Estimator; 5] = [Estimator::Direct, Estimator::Vclub, Estimator::L1out, Estimator::Infonce, Estimator::Profile];

fn hidden() -> HiddenMarkov {
    HiddenMarkov::new(&[vec![0.9, 0.1, 0.0], vec![0.0, 0.7, 0.3], vec![0.5, 0.0, 0.5]], &[vec![0.9, 0.1], vec![0.2, 0.8], vec![0.6, 0.4]]).unwrap()
}

/// The probability of a text under a law that scores itself.
fn own<P: Process>(p: &P) -> impl Fn(&[TokenId]) -> f64 + '_ {
    |t| score(p, &[], t).exp()
}

/// The probability of a Santa Fe document: of each token's fact, and ½ for each fact's value; 0 where a fact has both.
fn document(p: &SantaFe) -> impl Fn(&[TokenId]) -> f64 + '_ {
    |t| {
        let mut values = vec![None; p.facts()];
        let mut product = 1.0;
        for &t in t {
            let (k, z) = (t as usize / 2, t % 2);
            product *= p.fact_law()[k] * if values[k].is_none() { 0.5 } else { 1.0 };
            if values[k].is_some_and(|v| v != z) {
                return 0.0;
            }
            values[k] = Some(z);
        }
        product
    }
}

/// Every exact expectation equals brute force to rounding, and every sampled one does within `bound` of its standard errors.
fn hold<P: Process + Known>(process: &P, texts: &[(f64, Vec<TokenId>)], split: usize, bound: f64) {
    let total: f64 = texts.iter().map(|t| t.0).sum();
    assert!((total - 1.0).abs() < 1e-12, "{total}");
    for foreign in [1, 2] {
        let cells: Vec<Cell> = ESTIMATORS.iter().map(|&estimator| Cell { estimator, ratio: 2, split: split as u32 }).collect();
        // The seed was fixed before the first run.
        let got = expectations(process, &cells, Asked { foreign, groups: 4000, seed: 115, ..Asked::default() }).unwrap();
        for (cell, got) in cells.iter().zip(got) {
            let want = expected(process, texts, split, cell.estimator, foreign as usize);
            let Expectation { value, se } = got.unwrap();
            // Exact: sums of at most 10⁴ terms of at most 30 nats. Sampled: trunks are recorded in float32.
            let allowed = se.map_or(1e-11, |se| bound * se + 1e-5);
            assert!((value - want).abs() < allowed, "{} with K = {foreign}: {value} ± {se:?}, not {want}", cell.estimator);
        }
    }
}

/// Two-sided, 1 % over the sampled cells of all sources in this file: at most 40.
fn bound() -> f64 {
    normal_quantile(1.0 - 0.005 / 40.0)
}

#[test]
fn markov_chain() {
    let p = Markov::new(&[vec![0.7, 0.2, 0.1], vec![0.1, 0.1, 0.8], vec![0.3, 0.4, 0.3]]).unwrap();
    hold(&p, &texts(3, 4, own(&p)), 2, bound());
}

#[test]
fn hidden_markov() {
    let p = hidden();
    hold(&p, &texts(2, 6, own(&p)), 3, bound());
}

#[test]
fn santa_fe() {
    let p = SantaFe::new(0.6, 2, 0.01).unwrap();
    hold(&p, &texts(4, 4, document(&p)), 2, bound());
    let p = SantaFe::new(0.4, 3, 1e-6).unwrap();
    hold(&p, &texts(6, 4, document(&p)), 2, bound());
}

#[test]
fn fixed_memory() {
    let texts_of = SantaFe::new(0.6, 3, 0.01).unwrap();
    for state in [2, 4, 6] {
        let q = FixedMemory::new(texts_of.clone(), state).unwrap();
        hold(&q, &texts(6, 4, document(&texts_of)), 2, bound());
    }
    assert!(FixedMemory::new(texts_of.clone(), 3).is_err() && FixedMemory::new(texts_of.clone(), 8).is_err() && FixedMemory::new(texts_of, 0).is_err());
}

/// The I that a law of fixed memory has of its own texts, by enumeration; it stays below F ln 2.
#[test]
fn information_of_fixed_memory() {
    for state in [2, 4] {
        let q = FixedMemory::new(SantaFe::new(0.6, 2, 0.05).unwrap(), state).unwrap();
        let by_enumeration = enumerate(&q, 4, 3, 6).unwrap().direct;
        assert!((by_enumeration - q.own_information(3, 6)).abs() < 1e-12, "{by_enumeration} {}", q.own_information(3, 6));
        assert!(q.own_information(1000, 2000) <= state as f64 / 2.0 * std::f64::consts::LN_2);
    }
}

/// The n-gram correction: the expectation in closed form is the mean of the estimator over all texts, with the true block entropies.
#[test]
fn corrected_direct() {
    fn check<P: Process + Known>(process: &P, texts: &[(f64, Vec<TokenId>)], split: u32) {
        let entropy = |n: usize| {
            let mut blocks: Vec<(f64, &[TokenId])> = Vec::new();
            for (p, t) in texts {
                match blocks.iter_mut().find(|b| *b.1 == t[..n]) {
                    Some(b) => b.0 += p,
                    None => blocks.push((*p, &t[..n])),
                }
            }
            -blocks.iter().map(|(p, _)| p * p.ln()).sum::<f64>()
        };
        for n in [1, 2] {
            let (correction, h) = (NgramCorrection { n, weight: 0.8 }, entropy(n as usize));
            assert!((process.block_entropy(n).unwrap() - h).abs() < 1e-12);
            let split_at = split as usize;
            let first: f64 = texts.iter().map(|(p, t)| p * score(process, &[], &t[split_at..split_at + n as usize])).sum();
            let want = expected(process, texts, split_at, Estimator::Direct, 1) + correction.weight * (h + first);
            let cell = Cell { estimator: Estimator::DirectNgram, ratio: 2, split };
            let got = process.closed(cell, 1, correction).unwrap();
            assert!((got - want).abs() < 1e-12, "{got} {want}");
        }
    }
    let santa_fe = SantaFe::new(0.6, 2, 0.1).unwrap();
    check(&santa_fe, &texts(4, 4, document(&santa_fe)), 2);
    check(&FixedMemory::new(santa_fe.clone(), 2).unwrap(), &texts(4, 4, document(&santa_fe)), 2);
    let hidden = hidden();
    check(&hidden, &texts(2, 4, own(&hidden)), 2);
    let markov = Markov::new(&[vec![0.7, 0.3], vec![0.2, 0.8]]).unwrap();
    check(&markov, &texts(2, 4, own(&markov)), 2);
}

/// Long texts: sums drawn with one seed against expectations sampled with another, all cells at once.
#[test]
fn sums_meet_their_expectations() {
    fn check(source: &dyn Known, seed: u64) -> Vec<(Cell, f64, f64)> {
        let grid = Grid { length: 128, splits: vec![2, 16, 64], ratios: vec![2, 4], foreign: 3 };
        let estimators: Vec<Estimator> = Estimator::ALL.into_iter().filter(|&e| source.gives(e)).collect();
        let (groups, asked) = (600, Asked { foreign: 3, groups: 1500, seed: seed + 1, ..Asked::default() });
        let sums = sample_sums(source, &grid, groups, seed).unwrap();
        let h = |n: u32| NgramEntropy { n, grassberger: source.block_entropy(n).unwrap_or(f64::NAN), plug_in: 0.0, se: None, blocks: 0, distinct: 0 };
        let c = Contributions::new(&sums, &estimators, asked.correction, Some(&NgramEntropies(vec![h(1), h(2)]))).unwrap();
        assert!(c.refused.is_empty());
        let means = c.means();
        let want = expectations(source, &c.cells, asked).unwrap();
        let of = |i: usize| {
            let n = groups as f64;
            let variance = (0..c.groups).map(|g| (c.row(g)[i] - means[i]).powi(2)).sum::<f64>() / (n - 1.0);
            let want = want[i].unwrap();
            (c.cells[i], means[i] - want.value, (variance / n + want.se.unwrap_or(0.0).powi(2)).sqrt())
        };
        (0..c.cells.len()).map(of).collect()
    }
    let santa_fe = SantaFe::new(0.5, 40, 1e-6).unwrap();
    let mut all = check(&santa_fe, 116);
    all.extend(check(&FixedMemory::new(santa_fe.clone(), 16).unwrap(), 118));
    all.extend(check(&hidden(), 120));
    all.extend(check(&Gaussian::new(Covariance::Hierarchy, 128).unwrap(), 124));
    all.extend(check(&Gaussian::new(Covariance::FractionalNoise { hurst: 0.8 }, 128).unwrap(), 126));
    let t = student_quantile(1.0 - 0.005 / all.len() as f64, 599.0);
    for (cell, off, se) in all {
        assert!(off.abs() <= t * se, "{cell:?}: {off} in standard errors of {se}");
    }
}

#[test]
fn hidden_markov_by_hand() {
    // One hidden state: tokens are independent.
    let coin = HiddenMarkov::new(&[vec![1.0]], &[vec![0.25, 0.75]]).unwrap();
    assert!(Known::information(&coin, 3, 2).unwrap().abs() < 1e-14);
    // States that are all but seen through: nearly the chain itself.
    let e = 1e-9;
    let rows = [vec![0.9, 0.1], vec![0.2, 0.8]];
    let seen = HiddenMarkov::new(&rows, &[vec![1.0 - e, e], vec![e, 1.0 - e]]).unwrap();
    let chain = Markov::new(&rows).unwrap();
    assert!((Known::information(&seen, 2, 2).unwrap() - Markov::information(&chain)).abs() < 1e-6);
    // A text so long that its probability is below every double: the conditionals stay right, and sum to one.
    let p = hidden();
    let mut state = p.begin();
    for token in p.draw(100_000, &mut crate::rng::Rng::new(121, 0)) {
        p.push(&mut state, token);
    }
    assert!(((0..2).map(|t| p.log_q(&state, t).exp()).sum::<f64>() - 1.0).abs() < 1e-14);
    assert!((state.iter().sum::<f64>() - 1.0).abs() < 1e-14);
    for (a, e, says) in [
        (vec![vec![1.0, 0.0], vec![0.5, 0.5]], vec![vec![0.5, 0.5]; 2], "reach"),
        (vec![vec![1.0]], vec![vec![1.0, 0.0]], "not positive"),
        (vec![vec![1.0]], vec![vec![0.5, 0.5]; 2], "2 rows"),
        (vec![vec![1.5, -0.5], vec![0.5, 0.5]], vec![vec![0.5, 0.5]; 2], "negative"),
        (vec![vec![0.5, 0.4], vec![0.5, 0.5]], vec![vec![0.5, 0.5]; 2], "sums to"),
    ] {
        let error = HiddenMarkov::new(&a, &e).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
}
