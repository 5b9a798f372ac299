//! kernels/logprob_head.cu

use super::{Launch, number, numbers, under_every_schedule};
use emulation::Memory;
use half::{bf16, f16};
use hilberg::backend::cuda::{TensorMap, params};

const SEGMENT: usize = 2048;
/// (128 rows + 128 ids) · 64 numbers · 2 bytes · 3 stages
const SHARED: usize = 256 * 64 * 2 * 3;
/// ((128 rows + 256 ids) · 64 numbers · 2 bytes + 2 barriers) · 4 stages
const SHARED_90: usize = (384 * 64 * 2 + 16) * 4;

struct Case {
    rows: usize,
    d: usize,
    vocab: usize,
    bias: bool,
    softcap: f32,
    scale: f32,
    /// Half of the rows equal an id's weights, so that it stands far above the others.
    peaked: bool,
}

const CASES: [Case; 6] = [
    Case { rows: 1, d: 8, vocab: 1, bias: false, softcap: 0.0, scale: 1.0, peaked: false },
    Case { rows: 3, d: 64, vocab: 127, bias: true, softcap: 0.0, scale: 1.0, peaked: true },
    Case { rows: 128, d: 72, vocab: 129, bias: false, softcap: 5.0, scale: 1.0, peaked: false },
    Case { rows: 129, d: 40, vocab: 503, bias: false, softcap: 0.0, scale: 0.25, peaked: true },
    Case { rows: 5, d: 136, vocab: SEGMENT, bias: true, softcap: 0.0, scale: 1.0, peaked: true },
    Case { rows: 2, d: 64, vocab: 2 * SEGMENT + 131, bias: false, softcap: 30.0, scale: 1.0, peaked: true },
];

/// Targets of each row: none, one or several, the first and the last id among them.
fn targets(rows: usize, vocab: usize) -> (Vec<u32>, Vec<u32>) {
    let (mut ptr, mut all) = (vec![0], Vec::new());
    for i in 0..rows {
        all.extend((0..(i * 2 + 1) % 4).map(|t| match t {
            0 => ((i * 7919) % vocab) as u32,
            1 => vocab as u32 - 1,
            _ => 0,
        }));
        ptr.push(all.len() as u32);
    }
    (ptr, all)
}

/// Logits of a row in float64, and by plain float32 loops.
fn logits(case: &Case, x: &[f32], weight: &[f32], bias: &[f32]) -> (Vec<f64>, Vec<f32>) {
    let finish = |dot: f64, id: usize| {
        let v = dot + if case.bias { bias[id] as f64 } else { 0.0 };
        let c = case.softcap as f64;
        case.scale as f64 * if c == 0.0 { v } else { c * (v / c).tanh() }
    };
    let near = |dot: f32, id: usize| {
        let v = dot + if case.bias { bias[id] } else { 0.0 };
        case.scale * if case.softcap == 0.0 { v } else { case.softcap * (v / case.softcap).tanh() }
    };
    let row = |id: usize| &weight[id * case.d..(id + 1) * case.d];
    let truth = (0..case.vocab).map(|id| finish(x.iter().zip(row(id)).map(|(a, b)| *a as f64 * *b as f64).sum(), id));
    (truth.collect(), (0..case.vocab).map(|id| near(x.iter().zip(row(id)).map(|(a, b)| a * b).sum(), id)).collect())
}

fn log_softmax(logits: &[f64], id: usize) -> f64 {
    let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    logits[id] - largest - logits.iter().map(|l| (l - largest).exp()).sum::<f64>().ln()
}

fn log_softmax_f32(logits: &[f32], id: usize) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits[id] - largest - logits.iter().map(|l| (l - largest).exp()).sum::<f32>().ln()
}

/// What the kernels are given.
struct Head<'a, T> {
    x: &'a [T],
    weight: &'a [T],
    bias: Option<&'a [f32]>,
    ptr: &'a [u32],
    targets: &'a [u32],
    d: usize,
    softcap: f32,
    scale: f32,
}

impl<T: bytemuck::Pod> Head<'_, T> {
    /// ln p of every target and whether it is greedy; `run` hands the kernels over and gives what they wrote into its memory.
    fn score(&self, kernel: &str, run: impl FnOnce(&mut Memory, &[(Launch, &[u8])]) -> Vec<f32>) -> (Vec<f32>, Vec<u8>) {
        let (rows, vocab) = (self.x.len() / self.d, self.weight.len() / self.d);
        let segments = vocab.div_ceil(SEGMENT);
        let [x, weight] = [self.x, self.weight].map(|m| Memory::of(bytemuck::cast_slice(m)));
        let [ptr, targets] = [self.ptr, self.targets].map(|m| Memory::of(bytemuck::cast_slice(m)));
        let bias = self.bias.map(|b| Memory::of(bytemuck::cast_slice(b)));
        let n = self.targets.len();
        let (sums, picked, greedy, mut logs) = (Memory::new(8 * segments * rows), Memory::new(4 * n), Memory::new(n), Memory::new(4 * n));
        let product = params::Head {
            x: x.address(),
            weight: weight.address(),
            bias: bias.as_ref().map_or(0, Memory::address),
            ptr: ptr.address(),
            targets: targets.address(),
            sums: sums.address(),
            picked: picked.address(),
            rows: rows as u32,
            d: self.d as u32,
            vocab: vocab as u32,
            softcap: self.softcap,
            scale: self.scale,
            padding: 0,
        };
        let combine = params::HeadCombine {
            sums: sums.address(),
            picked: picked.address(),
            ptr: ptr.address(),
            logs: logs.address(),
            greedy: greedy.address(),
            rows: rows as u32,
            segments: segments as u32,
        };
        let grid = [rows.div_ceil(128) as u32, segments as u32, 1];
        let map = |m: &Memory, rows| TensorMap(emulation::tensor_map(m.address(), self.d, rows, self.d));
        let with_maps = params::Head90 { x_map: map(&x, rows), weight_map: map(&weight, vocab), head: product, padding: [0; 6] };
        let (first, first_params): (Launch, &[u8]) = if kernel.ends_with("_90") {
            ((kernel, grid, 384, SHARED_90), bytemuck::bytes_of(&with_maps))
        } else {
            ((kernel, grid, 256, SHARED), bytemuck::bytes_of(&product))
        };
        let second: Launch = ("head_combine", [rows.div_ceil(8) as u32, 1, 1], 256, 0);
        let logs = run(&mut logs, &[(first, first_params), (second, bytemuck::bytes_of(&combine))]);
        (logs, greedy.bytes().to_vec())
    }
}

fn check<T: bytemuck::Pod>(kernel: &str, narrow: impl Fn(f32) -> T, widen: impl Fn(T) -> f32) {
    for (seed, case) in CASES.iter().enumerate() {
        let Case { rows, d, vocab, .. } = *case;
        let rounded = |v: f32| widen(narrow(v));
        let weight: Vec<f32> = numbers(seed as u64, vocab * d).iter().map(|v| rounded(v / 3.0)).collect();
        let x: Vec<f32> = (0..rows * d)
            .map(|i| if case.peaked && i / d % 2 == 0 { weight[(i / d * 7919) % vocab * d + i % d] * 4.0 } else { number(100 + seed as u64, i) })
            .map(rounded)
            .collect();
        let bias = numbers(200 + seed as u64, vocab);
        let (ptr, targets) = targets(rows, vocab);
        let stored = |v: &[f32]| v.iter().map(|v| narrow(*v)).collect::<Vec<T>>();
        let (x_stored, weight_stored) = (stored(&x), stored(&weight));
        let head = Head {
            x: &x_stored,
            weight: &weight_stored,
            bias: case.bias.then_some(&bias[..]),
            ptr: &ptr,
            targets: &targets,
            d,
            softcap: case.softcap,
            scale: case.scale,
        };
        let (got, greedy) = head.score(kernel, under_every_schedule);

        let (mut worst, mut worst_naive, mut size) = (0.0f64, 0.0f64, 1.0f64);
        for i in 0..rows {
            let (truth, near) = logits(case, &x[i * d..(i + 1) * d], &weight, &bias);
            let largest = truth.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            size = truth.iter().fold(size, |m, v| m.max((v - largest).abs()).max(v.abs()));
            for t in ptr[i] as usize..ptr[i + 1] as usize {
                let id = targets[t] as usize;
                let want = log_softmax(&truth, id);
                assert!(got[t] <= 0.0, "{kernel}, vocabulary {vocab}, row {i}: ln p = {} > 0", got[t]);
                worst = worst.max((got[t] as f64 - want).abs());
                worst_naive = worst_naive.max((log_softmax_f32(&near, id) as f64 - want).abs());
                // Ties apart, the greedy token is that of the largest logit.
                if (truth[id] - largest).abs() > 1e-3 || truth[id] == largest {
                    assert_eq!(greedy[t] == 1, truth[id] == largest, "{kernel}, vocabulary {vocab}, row {i}, token {id}");
                }
            }
        }
        // A logit and its difference from the largest are rounded to float32, and the exponential is off by at most 2^-22 of each term.
        let rounding = 2.0 * size / (1 << 23) as f64 + 1.0 / (1 << 21) as f64;
        assert!(
            worst <= 2.0 * worst_naive + rounding,
            "{kernel}, vocabulary {vocab}: {worst:.1e} from float64, plain float32 {worst_naive:.1e}, rounding {rounding:.1e}"
        );
    }
}

#[test]
fn log_probabilities_without_logits() {
    check("head_segments_bf16", bf16::from_f32, bf16::to_f32);
    check("head_segments_f16", f16::from_f32, f16::to_f32);
}

#[test]
fn log_probabilities_on_sm_90a() {
    check("head_segments_bf16_90", bf16::from_f32, bf16::to_f32);
    check("head_segments_f16_90", f16::from_f32, f16::to_f32);
}

/// A row's bits are its own: alone, and as one of many whatever the others are.
#[test]
fn a_row_in_company() {
    let (d, vocab, rows) = (64, 700, 140);
    let weight: Vec<bf16> = numbers(1, vocab * d).into_iter().map(bf16::from_f32).collect();
    let x: Vec<bf16> = numbers(2, rows * d).into_iter().map(bf16::from_f32).collect();
    let score = |kernel: &str, first: usize, rows: usize| -> Vec<f32> {
        let ptr: Vec<u32> = (0..=rows as u32).collect();
        let targets: Vec<u32> = (0..rows).map(|i| ((first + i) * 13 % vocab) as u32).collect();
        let x = &x[first * d..(first + rows) * d];
        let head = Head { x, weight: &weight, bias: None, ptr: &ptr, targets: &targets, d, softcap: 0.0, scale: 1.0 };
        let once = |logs: &mut Memory, launches: &[(Launch, &[u8])]| {
            super::run(launches, emulation::Schedule::ALL[1]).unwrap();
            bytemuck::cast_slice(logs.bytes()).to_vec()
        };
        head.score(kernel, once).0
    };
    for kernel in ["head_segments_bf16", "head_segments_bf16_90"] {
        let together = score(kernel, 0, rows);
        for i in [0, 7, 127, 128, 139] {
            assert_eq!(score(kernel, i, 1)[0].to_bits(), together[i].to_bits(), "{kernel}, row {i}");
        }
        assert_eq!(score(kernel, 100, 40), together[100..], "{kernel}");
    }
}
