//! Two-point information of texts whose two-point information is known.

use super::*;
use hilberg::estimate::special::normal_quantile;
use hilberg::estimate::{EntropyEstimator, TwoPoint, TwoPointOptions};
use hilberg::pairs::{Limits, PairCounter};
use hilberg::rng::Rng;

/// Counts drawn documents and estimates from them.
fn two_point(process: &AnyProcess, documents: u64, length: usize, distances: &[u64], seed: u64) -> TwoPoint {
    let limits = Limits { kinds: process.vocab(), distances: distances.to_vec(), documents, memory: 1 << 30, stop: None };
    let folds = limits.folds();
    let mut counter = PairCounter::open(limits, None).unwrap();
    (0..documents).try_for_each(|i| counter.add(&process.draw(length, &mut Rng::new(seed, i)))).unwrap();
    let counts = counter.finish(|_| Ok(None), |_| Ok(())).unwrap();
    TwoPoint::of(&counts, &TwoPointOptions { marginals: Default::default(), level: 0.95, documents, folds })
}

/// Santa Fe: I_d = ln 2 · S, S = Σ p_k², at every distance: a pair tells something where both tokens are of one fact, and then a bit.
///
/// *Bias.* A document's facts are drawn once, so counts of different documents are independent and those of one are not. To second order an entropy estimate is low by
/// ½ Σ var(p̂)/p. Between documents, where each is as long as one likes, that is (3 − 2S)/D of the pairs' law and 1/D of each token's: over k ≠ k' the four values
/// have p_k p_k'/4 in a quarter of the documents, ¾ p_k p_k'/D each, and k = k' the two that can be, ½ p_k²/D each. So Î_d is high by ½ (3 − 2S − 2)/D = (1 − 2S)/2D. Within
/// documents the counts are multinomial, which all but the plug-in correct; the rarest pair is expected some 50 times here.
///
/// *Error.* To first order Î_d − I_d is the mean over pairs of ln(p_ab/(p_a p_b)) less its own: ln 2 · (share of pairs of one fact − S), of a sequence of facts that are
/// drawn independently. Its variance is ln² 2 · (S(1 − S) + 2(T − S²))/N at the most, T = Σ p_k³, N pairs, of which each overlaps two others. To second order come the
/// documents' facts: with m_k and c_kk' the means over documents of s_k and s_k s_k', s = ±1 for a fact's value, Î_d moves by Σ_{k<k'} p_k p_k' c²_kk' − ½ Σ p_k² m_k². D m² and D c² are χ² of
/// one degree of freedom, so the variance is (S² − ½ Σ p_k⁴)/D²; such a sum goes beyond ten of its standard deviations once in ten thousand times.
#[test]
fn santa_fe_at_every_distance() {
    let santa_fe = SantaFe::new(0.5, 8, 1e-6).unwrap();
    let power = |n| santa_fe.fact_law().iter().map(|p| p.powi(n)).sum::<f64>();
    let (s, t, ln2) = (power(2), power(3), std::f64::consts::LN_2);
    let (documents, length) = (4000, 1024);
    let distances: Vec<u64> = (0..10).map(|k| 1 << k).collect();
    let result = two_point(&AnyProcess::SantaFe(santa_fe.clone()), documents, length, &distances, 2026);
    let corrected = &EntropyEstimator::ALL[..3];
    let cells = (distances.len() * corrected.len()) as f64;
    let z = normal_quantile(1.0 - 0.005 / cells);
    let want = ln2 * s + (1.0 - 2.0 * s) / (2.0 * documents as f64);
    let of_facts = (s * s - 0.5 * power(4)).sqrt() / documents as f64;
    let mut largest = 0f64;
    for p in &result.points {
        let error = ln2 * ((s * (1.0 - s) + 2.0 * (t - s * s)) / p.pairs as f64).sqrt();
        for v in p.values.iter().filter(|v| corrected.contains(&v.estimator)) {
            largest = largest.max((v.nats - want).abs() / error);
            assert!((v.nats - want).abs() < z * error + 10.0 * of_facts, "{} at {}: {}, not {want} ± {error}", v.estimator, p.distance, v.nats);
            // A jackknife over 20 folds knows a standard error to 1/√38; five times that bounds it over all cells.
            assert!(v.se.unwrap() < error.hypot(of_facts) * (1.0 + 5.0 / 38f64.sqrt()), "{} at {}: ± {:?}, not {error}", v.estimator, p.distance, v.se);
        }
        assert_eq!((p.pairs, p.distinct), (documents * (length as u64 - p.distance), 16 * 16 - 16));
    }
    println!("largest deviation {largest:.2} standard errors, of {z:.2} that the bound allows");
    // There is no decay to be fitted.
    assert!(result.laws.iter().all(|l| l.law.as_ref().is_none_or(|law| law.residual.value > 0.5 * want)));
}

/// A Markov chain: I_d = Σ π_i (P^d)_ij ln((P^d)_ij/π_j), which decays as the second eigenvalue's 2d-th power. The texts are 64 independent documents; errors are the
/// jackknife's, and the bounds Student's over all cells.
#[test]
fn a_chain_decays() {
    let chain = chain();
    let (documents, length, distances) = (64, 20_000, [1u64, 2, 3, 4, 6]);
    let result = two_point(&AnyProcess::Markov(chain.clone()), documents, length, &distances, 7);
    let p = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.6, 0.1], [0.3, 0.1, 0.1, 0.5], [0.05, 0.8, 0.1, 0.05]];
    let times =
        |a: [[f64; 4]; 4], b: [[f64; 4]; 4]| -> [[f64; 4]; 4] { std::array::from_fn(|i| std::array::from_fn(|j| (0..4).map(|k| a[i][k] * b[k][j]).sum())) };
    let power = |n: u64| (1..n).fold(p, |a, _| times(a, p));
    let pi = power(400)[0];
    let t = student_quantile(1.0 - 0.005 / distances.len() as f64, 19.0);
    for at in &result.points {
        let q = power(at.distance);
        let want: f64 = (0..16).map(|c| (c / 4, c % 4)).map(|(i, j)| pi[i] * q[i][j] * (q[i][j] / pi[j]).ln()).sum();
        let v = &at.values[0];
        // Grassberger's bias is far below the error: no pair is rare. What is left is that of estimated marginals, below (4 − 1)²/2N.
        let (se, bias) = (v.se.unwrap(), 9.0 / (2.0 * at.pairs as f64));
        assert!((v.nats - want).abs() < t * se + bias, "{}: {} ± {se}, not {want}", at.distance, v.nats);
    }
    assert_eq!(result.points.len(), distances.len());
}
