//! Intervals: how often they cover, and that they are the same bytes on any number of threads.

use super::*;
use hilberg::estimate::special::normal_quantile;
use hilberg::estimate::{Analysis, ErrorModel, Group, Marginal, Member, NgramEntropies, count_ngrams};
use hilberg::rng::Rng;
use hilberg::source::Exact;

/// Sums whose direct contribution at (1, 2) is `value(document, chunk)` for every chunk, `groups` being lists of (document, value).
fn toy(groups: Vec<Vec<(u32, f64)>>) -> Sums {
    let member = |(document, v): (u32, f64)| Member {
        document,
        trunk: vec![0.0, 0.0],
        cuts: Vec::new(),
        marginal: vec![Marginal { by_ratio: vec![-v], first: [-v, f64::NAN, f64::NAN, f64::NAN, f64::NAN, f64::NAN, f64::NAN, f64::NAN] }],
        cross: Vec::new(),
    };
    let groups = groups.into_iter().map(|g| Group { members: g.into_iter().map(member).collect() }).collect();
    Sums { pairing: Pairing::Matched, length: 2, splits: vec![1], ratios: vec![2], groups }
}

/// Pairs of chunks of `documents` documents with `chunks` each, no pair of one document: a Gaussian effect per document and per chunk.
fn clustered(documents: u32, chunks: u32, effect: f64, noise: f64, rng: &mut Rng) -> Sums {
    let mut pool: Vec<(u32, f64)> = Vec::new();
    for d in 0..documents {
        let u = effect * rng.normal();
        (0..chunks).for_each(|_| pool.push((d, u + noise * rng.normal())));
    }
    let mut groups: Vec<Vec<(u32, f64)>> = Vec::new();
    rng.shuffle(&mut pool);
    while let Some(a) = pool.pop() {
        match pool.iter().rposition(|b| b.0 != a.0) {
            Some(i) => groups.push(vec![a, pool.remove(i)]),
            None => break,
        }
    }
    toy(groups)
}

/// Coverage of the 90 % intervals, within simultaneous 99 % binomial bounds over all cells: independent groups, and 20 documents that recur.
#[test]
fn intervals_cover() {
    let designs: [(&str, u32, u32, f64, f64); 4] = [
        ("one chunk a document", 40, 1, 1.0, 0.0),
        ("documents and chunks differ", 20, 4, 1.0, 1.0),
        ("only chunks differ", 20, 4, 0.0, 1.0),
        ("only documents differ", 20, 4, 1.0, 0.0),
    ];
    let (replicates, level) = (800u64, 0.9);
    let bound = normal_quantile(1.0 - 0.005 / (3 * designs.len()) as f64) * (level * (1.0 - level) / replicates as f64).sqrt();
    for (d, (name, documents, chunks, effect, noise)) in designs.into_iter().enumerate() {
        let mut hits = [0usize; 3];
        for replicate in 0..replicates {
            let sums = clustered(documents, chunks, effect, noise, &mut Rng::new(114 + d as u64, replicate));
            let resampling = Resampling { resamples: 400, seed: replicate, level };
            let analysis = analyse(&sums, &Options { estimators: vec![Estimator::Direct], resampling, ..Default::default() }, None).unwrap();
            assert_eq!(analysis.errors, if chunks == 1 { ErrorModel::Independent } else { ErrorModel::Clustered });
            let i = analysis.points[0].intervals;
            for (hit, i) in hits.iter_mut().zip([i.student, i.percentile, i.bca]) {
                *hit += usize::from(i.is_some_and(|i| i.lo <= 0.0 && 0.0 <= i.hi));
            }
        }
        for (hit, kind) in hits.into_iter().zip(["Student", "percentile", "BCa"]) {
            let covered = hit as f64 / replicates as f64;
            assert!((covered - level).abs() <= bound, "{name}: {kind} intervals cover {covered}");
        }
    }
}

/// 500 pairs, 10 splits, 3 ratios, 1,000 resamples: the same bytes on one thread and on two.
#[test]
fn analysis_is_the_same_on_any_threads() {
    let process = Markov::new(&[vec![0.7, 0.3], vec![0.2, 0.8]]).unwrap();
    let splits: Vec<u32> = (0..10).map(|i| 1 << i).collect();
    let sums = measure(AnyProcess::Markov(process.clone()), &mut Exact(&process), &design(Pairing::Matched, 1, 1024, &splits, &[2, 3, 4]), 500, 112);
    let documents: Vec<Vec<u32>> = (0..50).map(|i| process.draw(1024, &mut Rng::new(113, i))).collect();
    let ngram = NgramEntropies::from_counts(&count_ngrams(&documents));
    let json = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let a = pool.install(|| analyse(&sums, &Options::default(), Some(&ngram))).unwrap();
        serde_json::to_string(&a).unwrap()
    };
    let one = json(1);
    assert_eq!(one, json(2));
    let back: Analysis = serde_json::from_str(&one).unwrap();
    assert_eq!(serde_json::to_string(&back).unwrap(), one);
    // 28 pairs (ℓ, r) fit into 1,024 tokens for each of five estimators; the profile has those of r = 2.
    assert_eq!(back.points.len(), 5 * (10 + 9 + 9) + 10);
}
