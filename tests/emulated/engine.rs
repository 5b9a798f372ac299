//! The whole engine on the emulated device: the same bits whatever the company, the wave and the schedule.

use super::device::{emulated, emulated_hopper, gpu};
use emulation::Schedule;
use hilberg::backend::cpu::Cpu;
use hilberg::backend::{Backend, reference::Reference};
use hilberg::engine::{Engine, Options, Scorer, Several, Values, Weights, score_lists};
use hilberg::forest::{Forest, Readout, TokenId};
use hilberg::model::{self, Checkpoint, Mixer, ModelSpec};
use hilberg::tensor::{Dtype, RowMap};
use std::path::Path;

/// A transformer with windows, one with learned positions, both kinds of scan.
const FAMILIES: [&str; 4] = ["mistral", "gpt2", "mamba", "mamba2-groups"];
/// Heads that tensor cores take, with a window and beside the MLP; heads of 12, which they do not; both kinds of scan.
const SHORT: [&str; 5] = ["qwen3-options", "gpt-neox", "llama", "mamba", "mamba2-groups"];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn forest_equals_strings() {
    hold(&FAMILIES, Dtype::F32);
}

#[test]
fn forest_equals_strings_in_16_bits() {
    hold(&SHORT, Dtype::Bf16);
    hold(&SHORT[..1], Dtype::F16);
}

fn hold(families: &[&str], precision: Dtype) {
    let [one, other, third, watched] = [1, 0, 2, 3].map(|i| move || emulated(Schedule::ALL[i], precision));
    hold_on(families, 75, one, &[(&other, 4096), (&third, 50), (&watched, 7)]);
}

#[test]
fn forest_equals_strings_on_sm_90a() {
    let [one, other, third] = [1, 3, 5].map(|i| move || emulated_hopper(Schedule::ALL[i], Dtype::Bf16));
    // A trunk of more than the positions of a tile.
    hold_on(&SHORT[1..2], 133, one, &[(&other, 4096), (&third, 50)]);
}

/// Weights that are packed anew for every wave, the next layer's while one computes: same bits.
#[test]
fn streamed_weights_give_the_same_bits() {
    for precision in [Dtype::F32, Dtype::Bf16] {
        for name in ["llama", "mamba2-groups"] {
            let lists: Vec<Vec<TokenId>> = (1..4).map(|l| (0..40 * l).map(|i| (i * 37 + l) % 89).collect()).collect();
            let [kept, streamed] = [Weights::Resident, Weights::Stream].map(|weights| {
                let (spec, checkpoint) = model::open(&Path::new("tests/fixtures/models").join(name), &Default::default()).unwrap();
                let options = Options { weights, wave_rows: Some(50), ..Options::default() };
                let mut engine = Engine::new(emulated(Schedule::ALL[1], precision), spec, checkpoint, options).unwrap();
                assert_eq!(engine.streaming(), weights == Weights::Stream);
                score_lists(&mut engine, &lists).unwrap().iter().flat_map(|l| bits(l)).collect::<Vec<_>>()
            });
            assert_eq!(kept, streamed, "{name} in {precision:?}");
        }
    }
}

/// A model whose values are half as wide as its queries and keys, with sinks: near to float64 wherever it runs. It is a fixture with other roles for its tensors; no family that is read has either.
#[test]
fn narrow_values_and_sinks() {
    let list: Vec<TokenId> = (0..90).map(|i| i * 37 % 331).collect();
    let opened = |sinks: bool| {
        let (mut spec, checkpoint) = model::open(Path::new("tests/fixtures/models/qwen3"), &Default::default()).unwrap();
        for block in spec.layers.iter_mut().flat_map(|l| &mut l.blocks) {
            let Mixer::Attention(a) = &mut block.mixer else { continue };
            a.v_head_dim = a.head_dim / 2;
            // Keys' weights, which are as wide as the model, mix what comes out; of the values only the first half is left.
            a.out.parts = vec![a.qkv.parts[1].clone()];
            a.out.inputs = a.heads * a.v_head_dim;
            a.qkv.parts[2].rows = RowMap::Range { first: 0, n: a.kv_heads * a.v_head_dim };
            a.qkv.outputs -= a.kv_heads * (a.head_dim - a.v_head_dim);
            // The first numbers of the queries' norm, which are about 1.
            a.sinks = a.qk_norm.as_ref().filter(|_| sinks).map(|(q, ..)| q.clone());
        }
        (spec, checkpoint)
    };
    fn run<B: Backend>(backend: B, (spec, checkpoint): (ModelSpec, Checkpoint), rows: usize, list: &[TokenId]) -> Vec<f32> {
        let options = Options { wave_rows: Some(rows), ..Options::default() };
        score_lists(&mut Engine::new(backend, spec, checkpoint, options).unwrap(), &[list.to_vec()]).unwrap().remove(0)
    }
    let off = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let [truth, without] = [true, false].map(|sinks| run(Reference, opened(sinks), 4096, &list));
    let cpu = run(Cpu::new(Some(1)).unwrap(), opened(true), 4096, &list);
    let whole = run(emulated(Schedule::ALL[1], Dtype::F32), opened(true), 4096, &list);
    let [short, cut] = [4096, 30].map(|rows| run(emulated(Schedule::ALL[1], Dtype::Bf16), opened(true), rows, &list));
    assert!(off(&cpu, &truth) <= 1e-4 && off(&whole, &truth) <= 1e-4, "{:e}, {:e}", off(&cpu, &truth), off(&whole, &truth));
    assert_eq!(bits(&short), bits(&cut));
    // What 16 bits leave is far less than what the sinks do.
    assert!(4.0 * off(&short, &truth) <= off(&without, &truth), "{:e} in 16 bits; sinks {:e}", off(&short, &truth), off(&without, &truth));
}

/// Two devices give what one gives, and such as may differ in the last bits do not work together.
#[test]
fn two_devices_are_as_one() {
    let make = |schedule: usize| {
        let (spec, checkpoint) = model::open(Path::new("tests/fixtures/models/llama"), &Default::default()).unwrap();
        Engine::new(emulated(Schedule::ALL[schedule], Dtype::F32), spec, checkpoint, Options::default()).unwrap()
    };
    let lists: Vec<Vec<TokenId>> = (1..5).map(|l| (0..11 * l).map(|i| (i * 37 + l) % 89).collect()).collect();
    let mut two = Several::of(vec![make(1), make(1)]).unwrap();
    let (name, mut one) = (two.backend().name(), make(1));
    let (got, want) = (score_lists(&mut two, &lists).unwrap(), score_lists(&mut one, &lists).unwrap());
    assert_eq!(got.iter().map(|l| bits(l)).collect::<Vec<_>>(), want.iter().map(|l| bits(l)).collect::<Vec<_>>());
    assert!(name == one.backend().name() && two.scorers().iter().all(|e| e.fed() > 0));
    assert_eq!(two.weight_bytes(), 2 * one.weight_bytes());
    let why = Several::of(vec![make(1), make(3)]).err().unwrap().to_string();
    assert!(why.contains("name devices of one kind") && !why.contains('\n'), "{why}");
}

/// On a GPU, where there is one.
#[test]
fn forest_equals_strings_on_a_gpu() {
    for precision in [Dtype::F32, Dtype::Bf16, Dtype::F16] {
        if gpu(precision).is_none() {
            return eprintln!("no GPU: nothing was tested");
        }
        let make = || gpu(precision).unwrap();
        hold_on(&SHORT, 75, make, &[(&make, 4096), (&make, 50), (&make, 7)]);
    }
}

/// Strings in one wave on one device, and the forest, whose trunk is so long, in waves of so many rows on others.
fn hold_on<B: Backend>(families: &[&str], trunk: u32, one: impl Fn() -> B, others: &[(&dyn Fn() -> B, usize)]) {
    for name in families {
        let folder = Path::new("tests/fixtures/models").join(name);
        let engine = |backend: B, rows| {
            let (spec, checkpoint) = model::open(&folder, &Default::default()).unwrap();
            Engine::new(backend, spec, checkpoint, Options { wave_rows: Some(rows), ..Options::default() }).unwrap()
        };
        let tokens = |n: u32, seed: u32| -> Vec<TokenId> { (0..n).map(|i| (i * 37 + seed * 11) % 89).collect() };
        let trunk = tokens(trunk, 1);
        let ends = [(1, tokens(4, 2)), (40, tokens(6, 3)), (64, tokens(9, 4)), (trunk.len() as u32, tokens(2, 5))];
        let strings: Vec<Vec<TokenId>> = ends.iter().map(|(at, end)| [&trunk[..*at as usize], end].concat()).collect();
        let want = score_lists(&mut engine(one(), 4096), &strings).unwrap();
        assert!(want.iter().flatten().all(|v| *v <= 0.0), "{name}");

        let (mut forest, mut readout) = (Forest::new(), Readout::new());
        let root = forest.root(&trunk).unwrap();
        let read: Vec<_> = ends
            .iter()
            .map(|(at, end)| {
                let branch = forest.branch(root, *at, end).unwrap();
                (readout.each(&forest, branch, 0..end.len() as u32).unwrap(), end.len())
            })
            .collect();
        for (backend, rows) in others {
            let mut values = Values::new(&readout);
            let mut engine = engine(backend(), *rows);
            let by = engine.backend().name();
            engine.score(&forest, &readout, &mut values).unwrap();
            for ((slot, n), string) in read.iter().zip(&want) {
                let got: Vec<f32> = values.tokens(*slot, *n);
                assert_eq!(bits(&got), bits(&string[string.len() - n..]), "{name} on {by}, waves of {rows} rows");
            }
        }
    }
}
