//! Where the device's memory runs out, waves get smaller: same values, each once, in the same order.

use super::device::{Limits, emulated_within};
use emulation::Schedule;
use hilberg::engine::{Engine, Options, Sampler, Scorer, Sink};
use hilberg::forest::{Forest, Readout, Slot, SlotValue, TokenId};
use hilberg::model;
use hilberg::tensor::Dtype;
use hilberg::{Error, Result};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Takes values in the order in which they come.
#[derive(Default)]
struct InOrder(Vec<(Slot, SlotValue)>);

impl Sink for InOrder {
    fn put(&mut self, slot: Slot, value: SlotValue) {
        self.0.push((slot, value));
    }
}

/// Trees of 101, 181 and 41 rows: read token by token, in sums that begin before and end after a cut, and with greedy tokens.
fn forest() -> (Forest, Readout) {
    let tokens = |n: u32, seed: u32| -> Vec<TokenId> { (0..n).map(|i| (i * 37 + seed * 11) % 89).collect() };
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    let one = forest.root(&tokens(102, 1)).unwrap();
    readout.each(&forest, one, 1..102).unwrap();
    let trunk = forest.root(&tokens(121, 2)).unwrap();
    let branch = forest.branch(trunk, 60, &tokens(62, 3)).unwrap();
    readout.sum(&forest, trunk, 1..121).unwrap();
    readout.each(&forest, trunk, 50..121).unwrap();
    readout.sum_and_greedy(&forest, branch, 0..62).unwrap();
    let last = forest.root(&tokens(42, 4)).unwrap();
    readout.sum(&forest, last, 1..42).unwrap();
    (forest, readout)
}

/// What came of scoring the forest.
struct Ran {
    done: Result<()>,
    values: Vec<(Slot, SlotValue)>,
    /// Rows of the waves that began, in order.
    waves: Vec<usize>,
    /// How many allocations there had been when each was in the middle.
    allocations: Vec<usize>,
    shrunk: Option<usize>,
    /// The most bytes that were allocated.
    peak: usize,
}

fn run(name: &str, wave_rows: usize, limits: Limits) -> Ran {
    let (spec, checkpoint) = model::open(&Path::new("tests/fixtures/models").join(name), &Default::default()).unwrap();
    let device = emulated_within(limits, Schedule::ALL[1], Dtype::F32);
    let count = device.device().count.clone();
    let mut engine = Engine::new(device, spec, checkpoint, Options { wave_rows: Some(wave_rows), ..Options::default() }).unwrap();
    let waves = Arc::new(Mutex::new(Vec::new()));
    let (into, counted) = (waves.clone(), count.clone());
    engine.set_trace(Some(Box::new(move |verb, values, width| {
        if verb == "embed" {
            into.lock().unwrap().push((values.len() / width, counted.lock().unwrap().allocations));
        }
    })));
    let ((forest, readout), mut sink) = (forest(), InOrder::default());
    let done = engine.score(&forest, &readout, &mut sink);
    let (waves, allocations) = waves.lock().unwrap().iter().copied().unzip();
    let peak = count.lock().unwrap().peak;
    Ran { done, values: sink.0, waves, allocations, shrunk: engine.shrunk(), peak }
}

#[test]
fn waves_get_smaller_until_they_fit() {
    let within = |wave_rows, bytes| run("llama", wave_rows, Limits { bytes, ..Limits::NONE });
    let (whole, least) = (within(400, usize::MAX), within(128, usize::MAX));
    assert_eq!((&whole.waves, whole.shrunk), (&vec![323], None));
    assert!(whole.done.is_ok() && whole.values == least.values && least.peak < whole.peak);
    // What a wave of 128 rows takes is enough, and a byte less is not.
    let enough = within(400, least.peak);
    assert!(enough.done.is_ok(), "{:?}", enough.done);
    assert_eq!((&enough.values, enough.shrunk), (&whole.values, Some(128)));
    assert!(enough.waves.ends_with(&least.waves), "{:?}", enough.waves);
    let short = within(400, least.peak - 1);
    let why = short.done.unwrap_err();
    assert!(matches!(why, Error::Memory(_)) && short.shrunk == Some(128), "{why}");
    let why = why.to_string();
    assert!(why.contains("with waves of 128 rows; let weights stream (--weights stream)") && !why.contains('\n'), "{why}");
    // A byte less than one wave takes costs one step.
    let once = within(400, whole.peak - 1);
    assert_eq!((once.values, once.shrunk), (whole.values, Some(161)));
}

/// Wherever memory runs out, what the waves before gave is neither lost nor given twice. Waves of 150 rows hold the first tree and cut the second.
#[test]
fn nothing_is_given_twice() {
    let whole = run("llama", 150, Limits::NONE);
    assert_eq!(whole.waves, [101, 150, 31, 41]);
    let expected: [(usize, &[usize]); 5] = [
        (0, &[101, 128, 53, 41]),
        (whole.allocations[0], &[101, 101, 128, 53, 41]),
        (whole.allocations[1], &[101, 150, 128, 53, 41]),
        (whole.allocations[2], &[101, 150, 31, 128, 53, 41]),
        (whole.allocations[3], &[101, 150, 31, 41, 41]),
    ];
    for (refused, waves) in expected {
        let ran = run("llama", 150, Limits { refused, ..Limits::NONE });
        assert!(ran.done.is_ok(), "allocation {refused}: {:?}", ran.done);
        assert_eq!((ran.waves.as_slice(), ran.shrunk, &ran.values), (waves, Some(128), &whole.values), "allocation {refused}");
    }
    // States of a scan, where the tree is in the middle.
    let whole = run("mamba2-groups", 150, Limits::NONE);
    let ran = run("mamba2-groups", 150, Limits { refused: whole.allocations[2], ..Limits::NONE });
    assert_eq!((ran.waves.as_slice(), &ran.values), ([101, 150, 31, 128, 53, 41].as_slice(), &whole.values));
}

/// Wherever memory runs out, a sample takes every state once, and its sums have the same bits.
#[test]
fn no_state_is_sampled_twice() {
    let tokens = |n: u32, seed: u32| -> Vec<TokenId> { (0..n).map(|i| (i * 37 + seed * 11) % 89).collect() };
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    for (i, n) in [12, 162, 12].into_iter().enumerate() {
        let root = forest.root(&tokens(n, i as u32)).unwrap();
        readout.each_sampled(&forest, root, 1..10, 0).unwrap();
        readout.each_sampled(&forest, root, 5..n, 1).unwrap();
    }
    let sampled = |refused: usize| {
        let (spec, checkpoint) = model::open("tests/fixtures/models/llama".as_ref(), &Default::default()).unwrap();
        let device = emulated_within(Limits { refused, ..Limits::NONE }, Schedule::ALL[1], Dtype::F32);
        let count = device.device().count.clone();
        let mut engine = Engine::new(device, spec, checkpoint, Options { wave_rows: Some(150), ..Options::default() }).unwrap();
        engine.begin(&[&[], &[]], true).unwrap();
        let (begun, mut sink) = (count.lock().unwrap().allocations, InOrder::default());
        engine.score(&forest, &readout, &mut sink).unwrap();
        let all = count.lock().unwrap().allocations;
        (engine.taken().unwrap(), sink.0, begun, all, engine.shrunk())
    };
    let (want, values, begun, all, _) = sampled(usize::MAX);
    let states: Vec<usize> = want.iter().map(|s| s.states.len() / 48).collect();
    assert_eq!(states, [3 * 9, 7 + 157 + 7]);
    // From the first allocation on, and in the middle of waves.
    for refused in (begun..all).step_by((all - begun) / 3) {
        let (got, also, _, _, smaller) = sampled(refused);
        assert!(got == want && also == values && smaller.is_some(), "allocation {refused} of {begun} … {all}");
    }
}
