//! Estimates against processes whose information is known exactly. Checks over many cells use simultaneous bounds (Bonferroni, 1 % over all cells
//! of a test); seeds were fixed before the first run.

use hilberg::backend::reference::Reference;
use hilberg::engine::{Engine, Scorer, Values, score_lists};
use hilberg::estimate::special::{normal_quantile, student_quantile};
use hilberg::estimate::*;
use hilberg::forest::{Forest, Readout, Slot, TokenId};
use hilberg::rng::Rng;
use hilberg::source::{Exact, Markov, PlantedNetwork, Process, SantaFe, markov_network, santa_fe_network};

/// Draws groups of K + 1 documents of one chunk each and scores them with the process' own conditionals.
fn measure<P: Process>(process: &P, groups: usize, foreign: usize, length: usize, splits: &[u32], ratios: &[u32], seed: u64) -> Sums {
    measure_with(&mut Exact(process), process, groups, foreign, length, splits, ratios, seed)
}

/// As [`measure`], scored by anything.
fn measure_with<P: Process>(
    scorer: &mut dyn Scorer,
    process: &P,
    groups: usize,
    foreign: usize,
    length: usize,
    splits: &[u32],
    ratios: &[u32],
    seed: u64,
) -> Sums {
    let members = foreign + 1;
    let groups = (0..groups)
        .map(|g| {
            let chunks: Vec<Vec<TokenId>> = (0..members).map(|i| process.draw(length, &mut Rng::new(seed, (g * members + i) as u64))).collect();
            score_group(scorer, process.start_token(), &chunks, (g * members) as u32, splits, ratios)
        })
        .collect();
    Sums { pairing: Pairing::Matched, length: length as u32, splits: splits.to_vec(), ratios: ratios.to_vec(), groups }
}

fn score_group(scorer: &mut dyn Scorer, start: TokenId, chunks: &[Vec<TokenId>], first_document: u32, splits: &[u32], ratios: &[u32]) -> Group {
    let length = chunks[0].len();
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    let trunks: Vec<_> = chunks.iter().map(|c| forest.root(&[&[start], &c[..]].concat()).unwrap()).collect();
    let each: Vec<Slot> = trunks.iter().map(|&t| readout.each(&forest, t, 1..length as u32 + 1).unwrap()).collect();
    // The slots of one tail under one past: the sums at every ratio that fits.
    let longest = |l: u32| ratios.iter().filter(|&&r| (r * l) as usize <= length).max().map(|r| r * l);
    let mut branch = |trunk: usize, offset: u32, tail: &[TokenId], l: u32, firsts: u32| {
        let span = forest.branch(trunks[trunk], offset, tail).unwrap();
        let n = tail.len() as u32;
        let by_ratio: Vec<_> = ratios.iter().map(|r| ((r - 1) * l <= n).then(|| readout.sum(&forest, span, 0..(r - 1) * l).unwrap())).collect();
        let first: Vec<_> = (1..=firsts).map(|f| (f <= n).then(|| readout.sum(&forest, span, 0..f).unwrap())).collect();
        (by_ratio, first)
    };
    let mut marginal = vec![Vec::new(); chunks.len()];
    let mut cross = vec![vec![Vec::new(); chunks.len()]; chunks.len()];
    for (j, chunk) in chunks.iter().enumerate() {
        for &l in splits {
            let tail = &chunk[l as usize..longest(l).unwrap() as usize];
            marginal[j].push(branch(j, 1, tail, l, 8));
            for i in (0..chunks.len()).filter(|&i| i != j) {
                cross[j][i].push(branch(i, l + 1, tail, l, 0).0);
            }
        }
    }
    let mut values = Values::new(&readout);
    scorer.score(&forest, &readout, &mut values).unwrap();
    let value = |slot: &Option<Slot>| slot.map_or(f64::NAN, |s| values.sum(s));
    let members = (0..chunks.len())
        .map(|j| Member {
            document: first_document + j as u32,
            trunk: values.tokens(each[j], length),
            marginal: marginal[j]
                .iter()
                .map(|(by_ratio, first)| Marginal { by_ratio: by_ratio.iter().map(value).collect(), first: std::array::from_fn(|i| value(&first[i])) })
                .collect(),
            cross: (0..chunks.len()).filter(|&i| i != j).map(|i| cross[j][i].iter().map(|by_ratio| by_ratio.iter().map(value).collect()).collect()).collect(),
        })
        .collect();
    Group { members }
}

/// A cell's estimate, its standard error and what it should be.
struct Check {
    point: Point,
    want: f64,
    /// Whether `want` is only a bound from above.
    upper: bool,
}

/// All cells within simultaneous 99 % intervals.
fn hold(checks: &[Check]) {
    let t = student_quantile(1.0 - 0.005 / checks.len() as f64, checks[0].point.groups as f64 - 1.0);
    for Check { point, want, upper } in checks {
        let z = (point.value - want) / point.se.unwrap();
        assert!(
            if *upper { z <= t } else { z.abs() <= t },
            "{} at ℓ = {}, r = {}: {} ± {} against {want}: {z:.2} standard errors, {t:.2} allowed",
            point.estimator,
            point.split,
            point.ratio,
            point.value,
            point.se.unwrap()
        );
    }
}

/// Estimates without resampling: only means and standard errors are looked at.
fn points(sums: &Sums, estimators: &[Estimator]) -> Vec<Point> {
    let options = Options { estimators: estimators.to_vec(), resampling: Resampling { resamples: 0, ..Default::default() }, ..Default::default() };
    analyse(sums, &options, None).unwrap().points
}

#[test]
fn markov_chain() {
    let chain = Markov::new(&[vec![0.7, 0.1, 0.1, 0.1], vec![0.1, 0.2, 0.6, 0.1], vec![0.3, 0.1, 0.1, 0.5], vec![0.05, 0.8, 0.1, 0.05]]).unwrap();
    let sums = measure(&chain, 1500, 1, 64, &[1, 2, 4, 8, 16, 32], &[2, 3, 4], 101);
    let mut checks = Vec::new();
    for sums in [&sums, &sums.as_published().unwrap()] {
        for point in points(sums, &[Estimator::Direct, Estimator::Vclub, Estimator::Infonce, Estimator::Profile]) {
            let (want, upper) = match point.estimator {
                Estimator::Vclub => (chain.vclub(), false),
                Estimator::Infonce => (chain.information(), true),
                _ => (chain.information(), false),
            };
            checks.push(Check { point, want, upper });
        }
    }
    hold(&checks);
}

#[test]
fn santa_fe_process() {
    let process = SantaFe::new(0.5, 200, 1e-6).unwrap();
    let sums = measure(&process, 400, 1, 1024, &[8, 16, 32, 64, 128, 256, 512], &[2, 3, 4], 102);
    let checks: Vec<Check> = points(&sums, &[Estimator::Direct, Estimator::Vclub, Estimator::Infonce, Estimator::Profile])
        .into_iter()
        .map(|point| {
            let (l, end) = (point.split as u64, point.split as u64 * point.ratio as u64);
            let (want, upper) = match point.estimator {
                Estimator::Vclub => (process.vclub(l, end), false),
                Estimator::Infonce => (process.information(l, end), true),
                _ => (process.direct(l, end), false),
            };
            Check { point, want, upper }
        })
        .collect();
    hold(&checks);
    // The exponent of the closed form over the same splits, by the same fit; its interval is one look.
    let options = Options { estimators: vec![Estimator::Direct], resampling: Resampling { level: 0.99, ..Default::default() }, ..Default::default() };
    let analysis = analyse(&sums, &options, None).unwrap();
    let (x, y): (Vec<f64>, Vec<f64>) = sums.splits.iter().map(|&l| ((l as f64).ln(), process.information(l as u64, 2 * l as u64).ln())).unzip();
    let (mx, my) = (x.iter().sum::<f64>() / 7.0, y.iter().sum::<f64>() / 7.0);
    let slope = x.iter().zip(&y).map(|(x, y)| (x - mx) * (y - my)).sum::<f64>() / x.iter().map(|x| (x - mx) * (x - mx)).sum::<f64>();
    let beta = analysis.fit(Estimator::Direct, 2).unwrap().exponent;
    assert!(beta.lo.unwrap() <= slope && slope <= beta.hi.unwrap(), "{beta:?} against {slope}");
    // The law is ℓ^0.5 up to small facts' curvature; an interval of this many texts is narrow enough to mean something.
    assert!(beta.hi.unwrap() - beta.lo.unwrap() < 0.06 && (slope - 0.5).abs() < 0.1);
}

/// A planted network, written, opened and run by the engine in float64: what is left is the weights' own rounding.
fn engine(network: &PlantedNetwork) -> Engine<Reference> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("planted");
    network.write(&folder).unwrap();
    let (spec, checkpoint) = hilberg::model::open(&folder, &Default::default()).unwrap();
    Engine::new(Reference, spec, checkpoint, Default::default()).unwrap()
}

/// The largest distance from the exact conditionals over all tokens, in nats.
fn distance<P: Process>(process: &P, engine: &mut Engine<Reference>, texts: &[Vec<TokenId>]) -> f64 {
    let (planted, exact) = (score_lists(engine, texts).unwrap(), score_lists(&mut Exact(process), texts).unwrap());
    planted.iter().flatten().zip(exact.iter().flatten()).map(|(a, b)| (*a as f64 - *b as f64).abs()).fold(0.0, f64::max)
}

/// Documents behind ⊥, and one whose first half is another document's.
fn texts<P: Process>(process: &P, length: usize, seed: u64) -> Vec<Vec<TokenId>> {
    let draw = |i, n| process.draw(n, &mut Rng::new(seed, i));
    let start = [process.start_token()];
    vec![[&start[..], &draw(0, length)].concat(), [&start[..], &draw(1, length / 2), &draw(2, length - length / 2)].concat()]
}

/// Through planted weights: every token within 1e-5 nats of exact, and the same agreement of estimates.
#[test]
fn planted_markov_chain() {
    let chain = Markov::new(&[vec![0.7, 0.1, 0.1, 0.1], vec![0.1, 0.2, 0.6, 0.1], vec![0.3, 0.1, 0.1, 0.5], vec![0.05, 0.8, 0.1, 0.05]]).unwrap();
    let mut engine = engine(&markov_network(&chain, 512));
    let error = distance(&chain, &mut engine, &texts(&chain, 512, 106));
    assert!(error < 1e-5, "{error}");
    let sums = measure_with(&mut engine, &chain, 100, 1, 32, &[1, 2, 4, 8, 16], &[2], 107);
    let checks: Vec<Check> = points(&sums, &[Estimator::Direct, Estimator::Vclub])
        .into_iter()
        .map(|point| Check { want: if point.estimator == Estimator::Vclub { chain.vclub() } else { chain.information() }, point, upper: false })
        .collect();
    hold(&checks);
}

#[test]
fn planted_santa_fe_process() {
    let process = SantaFe::new(0.5, 20, 1e-6).unwrap();
    let mut engine = engine(&santa_fe_network(&process, 512));
    let error = distance(&process, &mut engine, &texts(&process, 512, 108));
    assert!(error < 1e-5, "{error}");
    let sums = measure_with(&mut engine, &process, 24, 1, 128, &[8, 16, 32, 64], &[2], 109);
    let checks: Vec<Check> = points(&sums, &[Estimator::Direct, Estimator::Vclub, Estimator::Infonce, Estimator::Profile])
        .into_iter()
        .map(|point| {
            let (l, end) = (point.split as u64, 2 * point.split as u64);
            let (want, upper) = match point.estimator {
                Estimator::Vclub => (process.vclub(l, end), false),
                Estimator::Infonce => (process.information(l, end), true),
                _ => (process.direct(l, end), false),
            };
            Check { point, want, upper }
        })
        .collect();
    hold(&checks);
}

/// Jensen, tail by tail. Sums are below 2¹⁴ nats, where a unit in the last place is 1.8e-12; some ten operations round: 2e-11.
#[test]
fn leave_one_out_is_never_above_vclub() {
    let process = SantaFe::new(0.5, 50, 1e-6).unwrap();
    let splits = [4, 16, 64];
    for foreign in [3, 1] {
        let sums = measure(&process, 40, foreign, 256, &splits, &[2, 4], 103);
        let mut below = 0;
        for group in 0..sums.groups.len() {
            for (split, ratio) in splits.iter().flat_map(|&l| [(l, 2), (l, 4)]) {
                let of = |estimator| Contributions::tails(&sums, group, Cell { estimator, split, ratio }, NgramCorrection::default(), None);
                for (l1out, vclub) in of(Estimator::L1out).into_iter().zip(of(Estimator::Vclub)) {
                    if foreign == 1 {
                        assert_eq!(l1out, vclub);
                    } else {
                        assert!(l1out <= vclub + 2e-11, "{l1out} {vclub}");
                        below += usize::from(l1out < vclub - 1.0);
                    }
                }
            }
        }
        assert!(foreign == 1 || below > 100);
    }
}

/// With foreign tails InfoNCE stays under its ceiling, and says when it is near.
#[test]
fn infonce_saturates() {
    let process = SantaFe::new(0.5, 200, 1e-6).unwrap();
    let sums = measure(&process, 40, 3, 512, &[2, 256], &[2], 104);
    let p = points(&sums, &[Estimator::Infonce]);
    assert!(p[1].value <= 4f64.ln() && p[1].notes.contains(&Note::Saturated), "{p:?}");
    assert!(!p[0].notes.contains(&Note::Saturated), "{p:?}");
}

/// Sums whose direct contribution at (1, 2) is `value(document, chunk)` for every chunk, `groups` being lists of (document, value).
fn toy(groups: Vec<Vec<(u32, f64)>>) -> Sums {
    let member = |(document, v): (u32, f64)| Member {
        document,
        trunk: vec![0.0, 0.0],
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

/// Coverage of the 90 % intervals, within simultaneous 99 % binomial bounds over all cells. Independent groups are held to 90 % itself;
/// where only 20 documents are resampled the intervals are good to about 3 %: too wide where documents do not differ (the
/// variance is never taken below that of independent groups), too narrow where documents and chunks differ alike.
#[test]
fn intervals_cover() {
    let designs: [(&str, u32, u32, f64, f64, f64); 4] = [
        ("one chunk a document", 40, 1, 1.0, 0.0, 0.0),
        ("documents and chunks differ", 20, 4, 1.0, 1.0, 0.03),
        ("only chunks differ", 20, 4, 0.0, 1.0, 0.03),
        ("only documents differ", 20, 4, 1.0, 0.0, 0.03),
    ];
    let (replicates, level) = (800u64, 0.9);
    let bound = normal_quantile(1.0 - 0.005 / (3 * designs.len()) as f64) * (level * (1.0 - level) / replicates as f64).sqrt();
    for (d, (name, documents, chunks, effect, noise, slack)) in designs.into_iter().enumerate() {
        let mut hits = [0usize; 3];
        for replicate in 0..replicates {
            let sums = clustered(documents, chunks, effect, noise, &mut Rng::new(105 + d as u64, replicate));
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
            assert!((covered - level).abs() <= bound + slack, "{name}: {kind} intervals cover {covered}");
        }
    }
}

/// 500 pairs, 10 splits, 3 ratios, 1,000 resamples: the same bytes on one thread and on two.
#[test]
fn analysis_is_the_same_on_any_threads() {
    let process = Markov::new(&[vec![0.7, 0.3], vec![0.2, 0.8]]).unwrap();
    let splits: Vec<u32> = (0..10).map(|i| 1 << i).collect();
    let sums = measure(&process, 500, 1, 1024, &splits, &[2, 3, 4], 110);
    let documents: Vec<Vec<u32>> = (0..50).map(|i| process.draw(1024, &mut Rng::new(111, i))).collect();
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
