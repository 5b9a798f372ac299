//! The same through weights that hold the conditionals, written as model folders, opened, and run by the engine.

use super::*;
use hilberg::backend::cpu::Cpu;
use hilberg::engine::{Engine, score_lists};
use hilberg::estimate::{Cell, NgramCorrection};
use hilberg::forest::TokenId;
use hilberg::rng::Rng;
use hilberg::source::{Exact, FixedMemory, Known, PlantedNetwork, mamba_network, markov_network, santa_fe_network};

fn engine(network: &PlantedNetwork) -> Engine<Cpu> {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("planted");
    network.write(&folder).unwrap();
    let (spec, checkpoint) = hilberg::model::open(&folder, &Default::default()).unwrap();
    Engine::new(Cpu::new(None).unwrap(), spec, checkpoint, Default::default()).unwrap()
}

/// Texts of 2,048 tokens behind ⊥: two of one document each, the others a document's tail under another's head, the last of four documents.
fn texts<P: Process>(process: &P, seed: u64) -> Vec<Vec<TokenId>> {
    const LENGTH: usize = 2048;
    let cuts: [&[usize]; 7] = [&[], &[], &[8], &[100], &[1024], &[1984], &[512, 1024, 1536]];
    let mut documents = 0;
    cuts.iter()
        .map(|cuts| {
            let mut text = vec![process.start_token()];
            for &end in cuts.iter().chain([&LENGTH]) {
                text.extend(process.draw(end + 1 - text.len(), &mut Rng::new(seed, documents)));
                documents += 1;
            }
            text
        })
        .collect()
}

/// Every token within 1e-4 nats of exact.
fn near<P: Process>(process: &P, engine: &mut Engine<Cpu>, seed: u64) {
    let texts = texts(process, seed);
    let planted = score_lists(engine, &texts).unwrap();
    let mut worst = 0.0f64;
    for (text, planted) in texts.iter().zip(planted) {
        let mut state = process.begin();
        process.push(&mut state, text[0]);
        for (&token, got) in text[1..].iter().zip(planted) {
            worst = worst.max((got as f64 - process.log_q(&state, token)).abs());
            process.push(&mut state, token);
        }
    }
    println!("largest distance from the exact conditionals: {worst:.2e} nats");
    assert!(worst < 1e-4, "{worst}");
}

#[test]
fn markov_chain() {
    let chain = chain();
    let mut engine = engine(&markov_network(&chain, 2048));
    near(&chain, &mut engine, 106);
    let design = design(Pairing::Matched, 1, 64, &[1, 2, 4, 8, 16, 32], &[2, 4]);
    let sums = measure(AnyProcess::Markov(chain.clone()), &mut engine, &design, 300, 107);
    let estimators = [Estimator::Direct, Estimator::Vclub, Estimator::Infonce];
    hold(&points(&sums, &estimators).into_iter().map(|p| of_chain(&chain, p)).collect::<Vec<_>>());
}

/// As many texts as the time of a test allows; still the direct estimate at ℓ = 512 has a standard error below 2 %.
#[test]
fn santa_fe_process() {
    let process = SantaFe::new(0.5, 200, 1e-6).unwrap();
    let mut engine = engine(&santa_fe_network(&process, 2048));
    near(&process, &mut engine, 108);
    let design = design(Pairing::Matched, 1, 1024, &[8, 16, 32, 64, 128, 256, 512], &[2]);
    let sums = measure(AnyProcess::SantaFe(process.clone()), &mut engine, &design, 48, 109);
    let estimators = [Estimator::Direct, Estimator::Vclub, Estimator::Infonce, Estimator::Profile];
    let points = points(&sums, &estimators);
    let last = points.iter().find(|p| p.estimator == Estimator::Direct && p.split == 512).unwrap();
    assert!(last.se.unwrap() < 0.02 * last.value, "{last:?}");
    hold(&points.into_iter().map(|p| of_santa_fe(&process, p)).collect::<Vec<_>>());
}

/// Mambas whose S state numbers hold S/2 of 200 facts: on every token as the exact law of that memory, and measured, each as it expects; so that the curve is flat,
/// at F ln 2, once its F facts are in both parts, where the process' own I grows on.
#[test]
fn fixed_memory() {
    for (state, seed) in [(16, 132), (64, 134)] {
        let process = FixedMemory::new(SantaFe::new(0.5, 200, 1e-6).unwrap(), state).unwrap();
        let mut engine = engine(&mamba_network(&process));
        near(&process, &mut engine, seed);
        let design = design(Pairing::Matched, 1, 1024, &[8, 32, 128, 512], &[2]);
        let sums = measure(AnyProcess::FixedMemory(process.clone()), &mut engine, &design, 48, seed + 1);
        let of = |point: Point| {
            let cell = Cell { estimator: point.estimator, ratio: point.ratio, split: point.split };
            Check { want: process.closed(cell, 1, NgramCorrection::default()).unwrap(), point, upper: false }
        };
        let estimators = [Estimator::Direct, Estimator::Vclub, Estimator::Profile];
        hold(&points(&sums, &estimators).into_iter().map(of).collect::<Vec<_>>());
    }
}

/// Sum by sum, planted weights give what the exact conditionals give on the same chunks, and L1Out stays below vCLUB tail by tail.
#[test]
fn leave_one_out() {
    let process = SantaFe::new(0.5, 50, 1e-6).unwrap();
    let mut engine = engine(&santa_fe_network(&process, 256));
    let design = design(Pairing::Matched, 3, 256, &[4, 16, 64], &[2, 4]);
    let of = |scorer: &mut dyn Scorer| measure(AnyProcess::SantaFe(process.clone()), scorer, &design, 12, 110);
    let (planted, exact) = (of(&mut engine), of(&mut Exact(&process)));
    leave_one_out_is_never_above_vclub(&planted);
    let sums = |s: &Sums| -> Vec<f64> {
        let members = s.groups.iter().flat_map(|g| &g.members);
        members.flat_map(|m| m.marginal.iter().flat_map(|m| &m.by_ratio).chain(m.cross.iter().flatten().flatten()).copied().collect::<Vec<_>>()).collect()
    };
    let (planted, exact) = (sums(&planted), sums(&exact));
    assert_eq!(planted.len(), exact.len());
    for (p, e) in planted.iter().zip(&exact) {
        // Tails have at most 192 tokens, each within 1e-4 nats.
        assert!((p - e).abs() <= 192.0 * 1e-4, "{p} {e}");
    }
}
