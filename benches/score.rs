//! Scoring as evaluations ask for it: what ragged lengths and short completions cost, and what shared beginnings save.
//!
//! `cargo bench --bench score` scores, with a model of `assets/models` (`--model DIR`, `--rounds N`, `--threads N`), cases of random tokens in turn, and prints medians of rows fed a second:
//! *even* texts of one length; *ragged* ones of 5 to 500 tokens, as many tokens in all; *choices*, four completions of 1 to 3 tokens after each of many prompts of 60 to 140 tokens;
//! *header*, the same questions after a header of 350 tokens that all share, and *apart*, these with nothing shared. Ratios are taken within a round.

use hilberg::backend::cpu::Cpu;
use hilberg::engine::{Engine, Options, Scorer};
use hilberg::model;
use hilberg::rng::Rng;
use hilberg::score::{Detail, Prompt, score_prompts};
use std::time::Instant;

fn tokens(rng: &mut Rng, n: usize, vocab: usize) -> Vec<u32> {
    (0..n).map(|_| rng.below(vocab as u64) as u32).collect()
}

/// Texts as completions of the start token.
fn texts(lengths: impl Iterator<Item = usize>, rng: &mut Rng, vocab: usize) -> Vec<Prompt> {
    lengths.map(|n| Prompt { context: vec![0], completions: vec![tokens(rng, n, vocab)] }).collect()
}

fn choices(header: &[u32], questions: usize, rng: &mut Rng, vocab: usize) -> Vec<Prompt> {
    let question = |rng: &mut Rng| {
        let n = 60 + rng.below(81) as usize;
        let own = tokens(rng, n, vocab);
        let mut completion = || {
            let n = 1 + rng.below(3) as usize;
            tokens(rng, n, vocab)
        };
        Prompt { context: [&[0], header, &own].concat(), completions: (0..4).map(|_| completion()).collect() }
    };
    (0..questions).map(|_| question(rng)).collect()
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let rounds: usize = value("--rounds").and_then(|v| v.parse().ok()).unwrap_or(5);
    let threads: usize = value("--threads").and_then(|v| v.parse().ok()).unwrap_or(2);
    let folder = value("--model").unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/assets/models/books-llama").into());
    let (spec, checkpoint) = model::open(folder.as_ref(), &Default::default()).expect("a model");
    let vocab = spec.vocab;
    let mut engine = Engine::new(Cpu::new(Some(threads)).expect("threads"), spec, checkpoint, Options::default()).expect("memory for the weights");
    let rng = &mut Rng::new(1, 0);
    let lengths: Vec<usize> = (0..1000).map(|_| 5 + rng.below(496) as usize).collect();
    let mean = lengths.iter().sum::<usize>() / lengths.len();
    let header = tokens(rng, 350, vocab);
    let shared = choices(&header, 300, rng, vocab);
    let cases = [
        ("even", texts(std::iter::repeat_n(mean, 1000), rng, vocab)),
        ("ragged", texts(lengths.into_iter(), rng, vocab)),
        ("choices", choices(&[], 1500, rng, vocab)),
        ("header", shared.clone()),
    ];
    score_prompts(&mut engine as &mut dyn Scorer, &cases[0].1[..10], Detail::Document).expect("small prompts");
    let (mut rates, mut seconds) = (vec![Vec::new(); cases.len()], vec![Vec::new(); cases.len()]);
    let mut apart = Vec::new();
    for _ in 0..rounds {
        for (i, (_, prompts)) in cases.iter().enumerate() {
            let (fed, t) = (engine.fed(), Instant::now());
            score_prompts(&mut engine, prompts, Detail::Document).expect("as before");
            seconds[i].push(t.elapsed().as_secs_f64());
            rates[i].push((engine.fed() - fed) as f64 / t.elapsed().as_secs_f64());
        }
        let t = Instant::now();
        for one in &shared {
            score_prompts(&mut engine, std::slice::from_ref(one), Detail::Document).expect("as before");
        }
        apart.push(t.elapsed().as_secs_f64());
    }
    let ratio = |a: &[f64], b: &[f64]| median(a.iter().zip(b).map(|(a, b)| a / b).collect());
    for (i, (name, _)) in cases.iter().enumerate() {
        println!("{name:<8} {:>9.0} rows/s, {:.3} of even", median(rates[i].clone()), ratio(&rates[i], &rates[0]));
    }
    println!("header   {:.2} times as fast as one prompt after the other", ratio(&apart, &seconds[3]));
}
