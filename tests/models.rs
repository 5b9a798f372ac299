//! Every model family against its fixtures: folders under `tests/fixtures/models`, found by listing, so that a new family needs no code here.

#[cfg(target_os = "linux")]
#[path = "emulation/device.rs"]
mod device;

use std::path::{Path, PathBuf};

use hilberg::backend::Backend;
use hilberg::backend::cpu::Cpu;
use hilberg::engine::{Engine, Options, score_lists};
use hilberg::forest::TokenId;
use hilberg::model::{self, Mixer, OpenOptions};
use hilberg::tensor::Dtype;
use safetensors::SafeTensors;
use serde_json::Value;

struct Fixture {
    folder: PathBuf,
    options: OpenOptions,
}

impl Fixture {
    fn name(&self) -> String {
        self.folder.file_name().unwrap().to_string_lossy().into_owned()
    }
}

fn fixtures() -> Vec<Fixture> {
    let root = Path::new("tests/fixtures/models");
    let mut folders: Vec<PathBuf> = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path()).filter(|p| p.join("fixture.json").is_file()).collect();
    folders.sort();
    assert!(folders.len() >= 30, "{} fixtures in {}", folders.len(), root.display());
    folders
        .into_iter()
        .map(|folder| {
            let about: Value = serde_json::from_slice(&std::fs::read(folder.join("fixture.json")).unwrap()).unwrap();
            let rope_length = about.get("rope_length").and_then(Value::as_u64).map(|n| n as usize);
            Fixture { folder, options: OpenOptions { rope_length, ..Default::default() } }
        })
        .collect()
}

#[test]
fn every_fixture_opens() {
    let mut fingerprints = vec![];
    for f in fixtures() {
        let (spec, checkpoint) = model::open(&f.folder, &f.options).unwrap_or_else(|e| panic!("{e}"));
        checkpoint.check_finite(&spec).unwrap();
        assert_eq!(checkpoint.dtypes().iter().map(|(_, n)| n).sum::<u64>(), model::parameters(&spec), "{}", f.folder.display());
        fingerprints.push(checkpoint.fingerprint());
    }
    let n = fingerprints.len();
    fingerprints.sort();
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), n, "two fixtures have the same fingerprint");
}

/// dim(z) of MODELS.md's formulas, worked out by hand for one fixture of each kind.
#[test]
fn history_state_is_as_stated() {
    let state = |name: &str, t: u64| {
        let f = fixtures().into_iter().find(|f| f.folder.ends_with(name)).unwrap();
        let (spec, _) = model::open(&f.folder, &f.options).unwrap();
        model::HistoryState::of(&spec).numbers(t)
    };
    assert_eq!(state("gpt2", 100), 2 * 2 * 48 * 100);
    assert_eq!(state("llama", 100), 2 * 2 * (2 * 12) * 100);
    assert_eq!(state("mistral", 20), 2 * 2 * (2 * 12) * 20);
    assert_eq!(state("mistral", 1000), 2 * 2 * (2 * 12) * 37);
    assert_eq!(state("qwen2", 1000), 2 * (2 * 12) * (1000 + 29));
    assert_eq!(state("mamba", 1000), 2 * 64 * (16 + 4 - 1));
    assert_eq!(state("mamba2-groups", 1), 2 * (64 * 24 + (64 + 2 * 2 * 24) * 3));
}

/// Windows land on the layers that the reference gives them to.
#[test]
fn windows_by_layer() {
    let windows = |name: &str| -> Vec<Option<usize>> {
        let f = fixtures().into_iter().find(|f| f.folder.ends_with(name)).unwrap();
        let (spec, _) = model::open(&f.folder, &f.options).unwrap();
        let of = |m: &Mixer| if let Mixer::Attention(a) = m { Some(a.window) } else { None };
        spec.layers.iter().flat_map(|l| &l.blocks).filter_map(|b| of(&b.mixer)).collect()
    };
    assert_eq!(windows("mistral"), [Some(37), Some(37)]);
    assert_eq!(windows("mistral-no-window"), [None, None]);
    assert_eq!(windows("qwen2"), [None, Some(29)]);
    assert_eq!(windows("qwen2-layer-types"), [Some(50), None]);
    assert_eq!(windows("qwen2-no-window"), [None, None]);
    assert_eq!(windows("qwen3-options"), [None, Some(40)]);
}

/// What the reference library gives: ids, and ln q of each but the first, in its float32 and in float64.
struct Golden {
    ids: Vec<Vec<TokenId>>,
    f32: Vec<Vec<f64>>,
    f64: Vec<Vec<f64>>,
}

impl Golden {
    fn read(folder: &Path) -> Golden {
        let file = std::fs::read(folder.join("golden.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&file).unwrap();
        let rows = |name: &str, size: usize, number: &dyn Fn(&[u8]) -> f64| -> Vec<Vec<f64>> {
            let t = tensors.tensor(name).unwrap();
            t.data().chunks(t.shape()[1] * size).map(|row| row.chunks(size).map(number).collect()).collect()
        };
        let ids = rows("ids", 4, &|b| i32::from_le_bytes(b.try_into().unwrap()) as f64);
        Golden {
            ids: ids.iter().map(|row| row.iter().map(|id| TokenId::from(*id as u32)).collect()).collect(),
            f32: rows("f32", 4, &|b| f32::from_le_bytes(b.try_into().unwrap()) as f64),
            f64: rows("f64", 8, &|b| f64::from_le_bytes(b.try_into().unwrap())),
        }
    }
}

/// Distance of a fixture's log-probabilities from float64, in nats per token: root mean square, and worst.
#[derive(Clone, Copy)]
struct Distance {
    mean: f64,
    worst: f64,
}

impl Distance {
    fn of<B: Backend>(f: &Fixture, golden: &Golden, backend: B) -> Distance {
        let (spec, checkpoint) = model::open(&f.folder, &f.options).unwrap();
        let scored = score_lists(&mut Engine::new(backend, spec, checkpoint, Options::default()).unwrap(), &golden.ids).unwrap();
        assert!(scored.iter().flatten().all(|x| *x <= 0.0), "{}: ln q above 0, or no number", f.name());
        let errors: Vec<f64> = scored.iter().flatten().zip(golden.f64.iter().flatten()).map(|(a, b)| (f64::from(*a) - b).abs()).collect();
        let mean = (errors.iter().map(|e| e * e).sum::<f64>() / errors.len() as f64).sqrt();
        Distance { mean, worst: errors.iter().fold(0.0, |m: f64, e| m.max(*e)) }
    }

    fn within(&self, most: Distance) -> bool {
        self.mean <= most.mean && self.worst <= most.worst
    }
}

impl std::fmt::Display for Distance {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{:.1e} | {:.1e}", self.mean, self.worst)
    }
}

/// Of float32, on every token: within 1e-4 nats, and within twice the largest error of the reference library's own float32, + 1e-5.
fn float32(golden: &Golden) -> Distance {
    let theirs = golden.f32.iter().flatten().zip(golden.f64.iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let worst = (2.0 * theirs + 1e-5).min(1e-4);
    Distance { mean: worst, worst }
}

/// bfloat16 operands, of 8 significant bits. The fixtures' weights are drawn wide, so that their distributions are sharp and errors large; trained models are nearer.
const BF16: Distance = Distance { mean: 0.1, worst: 0.5 };
/// float16 operands, of 11.
#[cfg(target_os = "linux")]
const F16: Distance = Distance { mean: 0.0125, worst: 0.0625 };

/// Every fixture within a distance of float64; `None`: that of float32.
fn near_to_the_truth<B: Backend>(backend: impl Fn() -> B, most: Option<Distance>) {
    let mut over = vec![];
    println!("| fixture | root mean square | worst |");
    for f in fixtures() {
        let golden = Golden::read(&f.folder);
        let (got, most) = (Distance::of(&f, &golden, backend()), most.unwrap_or_else(|| float32(&golden)));
        println!("| {} | {got} |", f.name());
        if !got.within(most) {
            over.push(format!("{}: {got}, more than {most}", f.name()));
        }
    }
    assert!(over.is_empty(), "nats from float64, root mean square | worst:\n{}", over.join("\n"));
}

#[test]
fn cpu_is_near_to_the_truth() {
    near_to_the_truth(|| Cpu::new(None).unwrap(), None);
}

#[test]
fn bf16_is_as_near_as_stated() {
    let Ok(_) = Cpu::bf16(Some(1)) else { return eprintln!("no bfloat16 products on this processor: nothing was tested") };
    near_to_the_truth(|| Cpu::bf16(None).unwrap(), Some(BF16));
}

/// CUDA's kernels, run on the processor: within the budgets, and where docs/precision.md says. It prints the rows of that page's table.
#[cfg(target_os = "linux")]
#[test]
fn emulated_cuda_is_as_near_as_stated() {
    let page = std::fs::read_to_string("docs/precision.md").unwrap();
    let mut over = vec![];
    for f in fixtures() {
        let (golden, name) = (Golden::read(&f.folder), f.name());
        let all = [(Dtype::F32, float32(&golden)), (Dtype::Bf16, BF16), (Dtype::F16, F16)];
        let of = |precision| Distance::of(&f, &golden, device::emulated(emulation::Schedule::ALL[1], precision));
        let got = std::thread::scope(|scope| all.map(|(precision, _)| scope.spawn(move || of(precision))).map(|begun| begun.join().unwrap()));
        println!("| {name} | {} | {} | {} |", got[0], got[1], got[2]);
        let stated: Vec<f64> = page
            .lines()
            .find_map(|l| l.strip_prefix(&format!("| {name} |")))
            .into_iter()
            .flat_map(|l| l.split('|'))
            .filter_map(|n| n.trim().parse().ok())
            .collect();
        for (i, (precision, most)) in all.into_iter().enumerate() {
            if !got[i].within(most) {
                over.push(format!("{name}, {}: {}, more than {most}", precision.name(), got[i]));
            }
            // Another C library rounds its functions otherwise; what is twice as far is another kernel.
            let Some([mean, worst]) = stated.get(2 * i..2 * i + 2) else {
                over.push(format!("{name}, {}: the page states nothing", precision.name()));
                continue;
            };
            let twice = Distance { mean: 2.0 * mean, worst: 2.0 * worst };
            if !got[i].within(twice) {
                over.push(format!("{name}, {}: {}, but stated as {mean:.1e} | {worst:.1e}", precision.name(), got[i]));
            }
        }
    }
    assert!(over.is_empty(), "nats from float64, root mean square | worst:\n{}", over.join("\n"));
}

/// And where there is a GPU, on it.
#[cfg(target_os = "linux")]
#[test]
fn a_gpu_is_near_to_the_truth() {
    for (precision, most) in [(Dtype::F32, None), (Dtype::Bf16, Some(BF16)), (Dtype::F16, Some(F16))] {
        if device::gpu(precision).is_none() {
            return eprintln!("no GPU: nothing was tested");
        }
        println!("{}", precision.name());
        near_to_the_truth(|| device::gpu(precision).unwrap(), most);
    }
}
