//! Hidden states as samples: the same bits however they are computed, the numbers that NumPy makes of them, and records that go on where they were interrupted.

use hilberg::backend::cpu::Cpu;
use hilberg::backend::{Backend, moments_len};
use hilberg::context::{Design, Options as Computed, Plan, Project, Samples, Selection, Task, analyse, choose, forest_of, power, run};
use hilberg::corpus::{Corpus, ReadOptions, Room};
use hilberg::engine::{Engine, Options, Sampled, Sampler, Scorer, Several, Values, score_lists};
use hilberg::estimate::density::{kernel_entropy, silverman};
use hilberg::estimate::spectrum::Spectrum;
use hilberg::forest::{Forest, Readout};
use hilberg::measure::{Done, ModelIdentity, Pace};
use hilberg::model;
use hilberg::rng::Rng;
use hilberg::source::write_npy;
use hilberg::{Error, Result};
use safetensors::SafeTensors;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

fn engine(name: &str, threads: usize, wave_rows: usize) -> Engine<Cpu> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name);
    let (spec, checkpoint) = model::open(&folder, &Default::default()).unwrap();
    Engine::new(Cpu::new(Some(threads)).unwrap(), spec, checkpoint, Options { wave_rows: Some(wave_rows), ..Options::default() }).unwrap()
}

/// Trees of different lengths with a branch, and readings that overlap in two samples.
fn forest(vocab: u64) -> (Forest, Readout) {
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    let mut rng = Rng::new(8, 0);
    let mut tokens = |n: usize| (0..n).map(|_| rng.below(vocab) as u32).collect::<Vec<_>>();
    for n in [20, 90, 33, 7, 61] {
        let root = forest.root(&tokens(n)).unwrap();
        readout.each_sampled(&forest, root, 1..7, 0).unwrap();
        readout.each_sampled(&forest, root, 3..n as u32, 1).unwrap();
        let branch = forest.branch(root, 5, &tokens(12)).unwrap();
        readout.each_sampled(&forest, branch, 0..12, 0).unwrap();
    }
    (forest, readout)
}

fn sampled(engine: &mut impl Sampler, forest: &Forest, readout: &Readout) -> Vec<Sampled> {
    engine.begin(&[&[], &[]], true).unwrap();
    engine.score(forest, readout, &mut Values::new(readout)).unwrap();
    engine.taken().unwrap()
}

#[test]
fn neither_waves_nor_threads_change_a_bit() {
    for name in ["gpt2", "llama", "mamba2", "gpt-neox"] {
        let mut one = engine(name, 1, 64);
        let (forest, readout) = forest(one.vocab() as u64);
        // The states are what the head reads.
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = seen.clone();
        one.set_trace(Some(Box::new(move |verb, values, _| {
            if verb == "head.norm" {
                into.lock().unwrap().extend(values.iter().map(|&x| x as f32));
            }
        })));
        let want = sampled(&mut one, &forest, &readout);
        let (d, seen) = (one.width(), seen.lock().unwrap().clone());
        for s in &want {
            assert!(s.states.chunks(d).all(|state| seen.chunks(d).any(|row| row == state)), "{name}");
            // Their sums are those of plain loops.
            let mut sums = vec![0.0f64; moments_len(d)];
            for state in s.states.chunks(d) {
                let mut at = d;
                for j in 0..d {
                    sums[j] += state[j] as f64;
                    for k in j..d {
                        sums[at] += state[j] as f64 * state[k] as f64;
                        at += 1;
                    }
                }
            }
            assert!(sums == s.moments, "{name}");
        }
        assert_eq!(want.iter().map(|s| s.states.len() / d).collect::<Vec<_>>(), [5 * 18, 17 + 87 + 30 + 4 + 58]);
        for (threads, rows) in [(1, 7), (2, 1000), (2, 31)] {
            assert!(sampled(&mut engine(name, threads, rows), &forest, &readout) == want, "{name}, {threads} threads, waves of {rows} rows");
        }
        // One of several engines is one; more than one would add in another order.
        assert!(sampled(&mut Several::of(vec![engine(name, 1, 64)]).unwrap(), &forest, &readout) == want);
        let why = Several::of(vec![engine(name, 1, 64), engine(name, 1, 64)]).unwrap().begin(&[&[]], false).unwrap_err().to_string();
        assert!(why.contains("--device"), "{why}");
        // Begun from sums, it goes on from them.
        let (first, of_first) = forest.part(&readout, 0..2);
        let (second, of_second) = forest.part(&readout, 2..5);
        let half = sampled(&mut one, &first, &of_first);
        one.begin(&half.iter().map(|s| &s.moments[..]).collect::<Vec<_>>(), false).unwrap();
        one.score(&second, &of_second, &mut Values::new(&of_second)).unwrap();
        let whole = one.taken().unwrap();
        assert!(whole.iter().zip(&want).all(|(a, b)| a.moments == b.moments && a.states.is_empty()), "{name}");
        // A sample that was not begun is an error.
        one.begin(&[&[]], false).unwrap();
        assert!(one.score(&forest, &readout, &mut Values::new(&readout)).unwrap_err().to_string().contains("sample 1"));
        one.end();
        assert!(one.score(&forest, &readout, &mut Values::new(&readout)).is_err());
    }
}

/// `tests/fixtures/context/states.safetensors`: 200 hidden states of the shipped Llama given 64 tokens, and what NumPy makes of them in float64 (`tools/check_context.py --fixture`).
#[test]
fn numpy_has_the_same_numbers() {
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/context/states.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let f64s = |name: &str| -> Vec<f64> { file.tensor(name).unwrap().data().chunks(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect() };
    let i64s = |name: &str| -> Vec<usize> { file.tensor(name).unwrap().data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as usize).collect() };
    let shape = file.tensor("states").unwrap().shape().to_vec();
    let (samples, width) = (shape[0], shape[1]);
    let states: Vec<f32> = file.tensor("states").unwrap().data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let cpu = Cpu::new(Some(2)).unwrap();
    let mut moments = cpu.moments(width, &[]).unwrap();
    cpu.accumulate(&cpu.upload(&states, width).unwrap(), samples, &mut moments).unwrap();
    let s = Spectrum::of_moments(width, samples, &cpu.moments_taken(&moments).unwrap()).unwrap();

    // Both sides: a covariance within γ(M) Σ h²/(M − 1) of the exact one by norm, and a backward stable decomposition, within d · u · λ_1 of it (see `spectrum`).
    let u = f64::EPSILON / 2.0;
    let squares: f64 = states.iter().map(|&x| x as f64 * x as f64).sum();
    let eigenvalues = f64s("eigenvalues");
    let budget = 2.0 * (samples as f64 * u * squares / (samples as f64 - 1.0) + width as f64 * u * eigenvalues[0]);
    assert_eq!(s.eigenvalues.len(), width);
    for (got, want) in s.eigenvalues.iter().zip(&eigenvalues) {
        assert!((got - want).abs() <= budget, "{got} {want} ± {budget:e}");
    }
    assert_eq!(s.resolved, width);
    for (t, want) in f64s("thresholds").iter().zip(i64s("dimensions")) {
        assert_eq!(s.dimension(*t), want, "τ = {t}");
        assert!((want as f64..want as f64 + 1.0).contains(&s.smooth_dimension(*t)));
    }
    // A logarithm moves by the relative error of its eigenvalue: of N of them the errors of all, and of λ_1 N times.
    for ((n, entropy), unnormalised) in i64s("leading").into_iter().zip(f64s("entropies")).zip(f64s("unnormalised")) {
        let relative: f64 = eigenvalues[..n].iter().map(|x| budget / x).sum();
        let summing = n as f64 * u * (entropy.abs() + unnormalised.abs());
        assert!((s.entropy(n).unwrap() - entropy).abs() <= relative + n as f64 * budget / eigenvalues[0] + summing, "N = {n}");
        assert!((s.entropy_unnormalised(n).unwrap() - unnormalised).abs() <= 0.5 * relative + summing, "N = {n}");
    }
    let sigma = silverman(width, samples, s.trace);
    let want = f64s("sigma")[0];
    assert!((sigma - want).abs() <= 2.0 * (samples + width) as f64 * u * want, "{sigma} {want}");
    // The exponents |f_i − f_j|²/2σ² are of a few hundred: d roundings each, and as many of the sum over j.
    let folds: Vec<&[f32]> = states.chunks(50 * width).collect();
    let (got, want) = (kernel_entropy(width, &folds, want).value, f64s("kernel")[0]);
    let largest = (0..samples).flat_map(|i| (0..i).map(move |j| (i, j))).map(|(i, j)| {
        let of = |i: usize| &states[i * width..(i + 1) * width];
        of(i).iter().zip(of(j)).map(|(a, b)| (*a as f64 - *b as f64).powi(2)).sum::<f64>() / (2.0 * sigma * sigma)
    });
    let budget = 2.0 * (width + samples) as f64 * u * (largest.fold(0.0, f64::max) + want.abs());
    assert!((got - want).abs() <= budget, "{got} {want} ± {budget:e}");
}

/// A measurement of a fixture over token files: 6 documents of 200 ids.
struct Small {
    folder: TempDir,
    corpus: Corpus,
}

fn small() -> Small {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("texts.npy");
    let row = |i: usize| {
        let mut rng = Rng::new(4, i as u64);
        (0..200).map(|_| rng.below(331) as u32).collect()
    };
    write_npy(&file, [6, 200], 331, (0..6).map(row)).unwrap();
    let corpus = Corpus::open(&[file], ReadOptions::default()).unwrap();
    Small { folder, corpus }
}

fn design(samples: Samples) -> Design {
    Design { contexts: vec![4, 9, 20], samples, length: 24, skip: 10, drop_last: 5, min_tokens: 100, start: None, states: true, folds: 3 }
}

impl Small {
    fn selection(&self, chunks: usize) -> Selection {
        Selection { chunks, seed: 1, vocab: 331, room: Room::default() }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Measures; `waves` is after how many waves it is interrupted.
    fn measure(&self, out: &str, design: &Design, chunks: usize, pace: Pace, waves: usize) -> Result<Project> {
        let chosen = choose(&self.corpus, None, design, self.selection(chunks))?;
        let model = ModelIdentity {
            name: "llama".into(),
            fingerprint: String::new(),
            tokenizer: None,
            start: 0,
            rope_length: None,
            device: "cpu".into(),
            precision: "f32".into(),
        };
        let project = Project::open(&self.out(out), Plan::new(chosen.fingerprint.clone(), 1, design.clone(), chosen.chunks as u64, model))?;
        let (stop, mut seen) = (AtomicBool::new(false), 0);
        let mut progress = |_: &Done| {
            seen += 1;
            stop.store(seen > waves, Ordering::Relaxed);
        };
        run(&mut engine("llama", 2, 64), Task { project: &project, folds: &chosen.folds, arithmetic: "this" }, pace, &stop, &mut progress)?;
        Ok(project)
    }
}

/// A wave a chunk, each written.
const EACH: Pace = Pace { first_rows: 1, most_rows: 1, target: Duration::ZERO };

fn record(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(folder.join("record")).unwrap().map(|e| e.unwrap().path()).collect();
    all.sort();
    all.into_iter().map(|p| (p.file_name().unwrap().to_string_lossy().into_owned(), fs::read(p).unwrap())).collect()
}

#[test]
fn a_record_goes_on_in_the_middle_of_a_fold_and_grows() {
    let small = small();
    for samples in [Samples::Last, Samples::Positions] {
        let (design, name) = (design(samples), format!("{samples:?}"));
        let whole = small.measure(&format!("{name} whole"), &design, 30, Pace::default(), usize::MAX).unwrap();
        let broken = format!("{name} broken");
        let mut interrupted = 0;
        for waves in (1..).step_by(4) {
            match small.measure(&broken, &design, if interrupted < 3 { 14 } else { 30 }, EACH, waves.min(9)) {
                Err(Error::Interrupted) => interrupted += 1,
                Err(e) => panic!("{e}"),
                Ok(project) if project.plan.chunks == 30 => break,
                Ok(_) => interrupted += 10,
            }
            assert!(waves < 400, "it never ends");
        }
        assert!(interrupted > 3, "{interrupted}");
        assert!(record(&small.out(&broken)) == record(whole.folder()), "{name}");
        let folds = [0, 1, 2];
        let computed = Computed { thresholds: vec![0.01, 0.2], leading: vec![2, 5], ..Computed::default() };
        let of = |project: &Project| analyse(project, &folds, &computed).unwrap();
        let broken = small.measure(&broken, &design, 30, EACH, usize::MAX).unwrap();
        assert_eq!(of(&whole), of(&broken));

        // The losses are those of the plain lists; states belong to the row that predicts the last token.
        let chosen = choose(&small.corpus, None, &design, small.selection(30)).unwrap();
        let analysis = of(&whole);
        for (point, &c) in analysis.points.iter().zip(&design.contexts) {
            let lists: Vec<Vec<u32>> = chosen
                .folds
                .iter()
                .flat_map(|f| &f.1)
                .map(|p| match samples {
                    Samples::Last => p.tokens[p.tokens.len() - c as usize..].to_vec(),
                    Samples::Positions => p.tokens[..c as usize].to_vec(),
                })
                .collect();
            let logs = score_lists(&mut engine("llama", 1, 64), &lists).unwrap();
            let sums = logs.iter().map(|l| -(*l.last().unwrap() as f64)).sum::<f64>();
            assert!((point.loss.value - sums / lists.len() as f64).abs() < 1e-12, "{name}, c = {c}");
            assert_eq!((point.samples, point.documents), (30, 6));
            assert!(point.kernel.is_some() && point.resolved == 29 && point.loss.se.is_some_and(|se| se > 0.0));
        }
        if samples == Samples::Last {
            // What is predicted is the same for every c.
            let (forest, readout) = forest_of(&design, &[4], chosen.folds[0].1.iter()).unwrap();
            let (longer, also) = forest_of(&design, &[20], chosen.folds[0].1.iter()).unwrap();
            let last = |f: &Forest, r: &Readout| r.readings().iter().map(|r| f.tokens(r.span)[r.tokens.start as usize]).collect::<Vec<_>>();
            assert_eq!(last(&forest, &readout), last(&longer, &also));
        }
    }
}

#[test]
fn chunks_are_those_of_the_smallest_keys() {
    let small = small();
    let design = design(Samples::Last);
    let all = choose(&small.corpus, None, &design, small.selection(1000)).unwrap();
    // Of 200 tokens 185 are left, which make 7 chunks of 24.
    assert_eq!((all.chunks, all.documents, all.folds.len()), (42, 6, 3));
    let few = choose(&small.corpus, None, &design, small.selection(11)).unwrap();
    assert_eq!(few.chunks, 11);
    for ((fold, few), (of_all, all)) in few.folds.iter().zip(&all.folds) {
        assert_eq!((fold, &few[..]), (of_all, &all[..few.len()]), "a larger number adds chunks behind those that were there");
    }
    let too_long = Design { min_tokens: 200, ..design.clone() };
    let why = choose(&small.corpus, None, &too_long, small.selection(5)).unwrap_err().to_string();
    assert!(why.contains("two documents") && why.contains("--min-tokens"), "{why}");
}

/// The published losses of Llama-3.1-8B (Shi et al. 2025), by SciPy's `curve_fit` with tolerances of 1e-14 (`tools/check_context.py --laws`).
#[test]
fn scipy_fits_the_published_losses_alike() {
    let (c, ce): (Vec<f64>, Vec<f64>) = [
        (8.0, 3.9531),
        (12.0, 3.5390),
        (16.0, 3.28283),
        (24.0, 2.99618),
        (32.0, 2.83873),
        (48.0, 2.65246),
        (64.0, 2.53125),
        (128.0, 2.36169),
        (256.0, 2.21765),
        (512.0, 2.12716),
    ]
    .into_iter()
    .unzip();
    let scipy = [1.96291409, 6.85410678, 0.59383286, 0.99984755];
    // Eight decimals are printed; a search for the least sum of squares S knows its place to some √(u S) of it.
    let values = |y: &[f64], rising| {
        let fit = power(&c, y, rising).unwrap();
        assert_eq!(fit.bound, None);
        fit.values.into_iter().chain([fit.r_squared])
    };
    for (got, want) in values(&ce, None).zip(scipy) {
        assert!((got - want).abs() < 1e-6 * want, "{got} {want}");
    }
    // A quantity that rises to a limit is the same law of what is missing of a larger number.
    let rising: Vec<f64> = ce.iter().map(|y| 10.0 - y).collect();
    for (got, want) in values(&rising, Some(50.0)).zip([10.0 - scipy[0], -scipy[1], scipy[2], scipy[3]]) {
        assert!((got - want).abs() < 1e-6 * want.abs(), "{got} {want}");
    }
    // What does not vary has no law, and what falls faster than any has its exponent at the bound.
    assert!(power(&c, &[7.0; 10], None).unwrap_err().contains("the same"));
    let sudden: Vec<f64> = c.iter().map(|&c| if c == 8.0 { 3.0 } else { 2.0 }).collect();
    assert_eq!(power(&c, &sudden, None).unwrap().bound, Some(3.0));
}
