//! The whole engine on the emulated device: the same bits whatever the company, the wave and the schedule.

use super::device::emulated;
use emulation::Schedule;
use hilberg::engine::{Engine, Options, Scorer, Values, score_lists};
use hilberg::forest::{Forest, Readout, TokenId};
use hilberg::model;
use std::path::Path;

/// A transformer with windows, one with learned positions, both kinds of scan.
const FAMILIES: [&str; 4] = ["mistral", "gpt2", "mamba", "mamba2-groups"];

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn forest_equals_strings() {
    for name in FAMILIES {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name);
        let engine = |schedule, rows| {
            let (spec, checkpoint) = model::open(&folder, &Default::default()).unwrap();
            Engine::new(emulated(schedule), spec, checkpoint, Options { wave_rows: Some(rows), ..Options::default() }).unwrap()
        };
        let tokens = |n: u32, seed: u32| -> Vec<TokenId> { (0..n).map(|i| (i * 37 + seed * 11) % 89).collect() };
        let trunk = tokens(75, 1);
        let ends = [(1, tokens(4, 2)), (40, tokens(6, 3)), (64, tokens(9, 4)), (75, tokens(2, 5))];
        let strings: Vec<Vec<TokenId>> = ends.iter().map(|(at, end)| [&trunk[..*at as usize], end].concat()).collect();
        let want = score_lists(&mut engine(Schedule::ALL[1], 4096), &strings).unwrap();
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
        for (schedule, rows) in [(Schedule::ALL[0], 4096), (Schedule::ALL[2], 50), (Schedule::ALL[3], 7)] {
            let mut values = Values::new(&readout);
            engine(schedule, rows).score(&forest, &readout, &mut values).unwrap();
            for ((slot, n), string) in read.iter().zip(&want) {
                let got: Vec<f32> = values.tokens(*slot, *n);
                assert_eq!(bits(&got), bits(&string[string.len() - n..]), "{name}, waves of {rows} rows, {schedule:?}");
            }
        }
    }
}
