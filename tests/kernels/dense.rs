//! Products, norms, gate, embedding and the head.

use super::*;
use hilberg::backend::{Act, Epilogue, GateOp, HeadOp, NormOp, Operand};
use hilberg::tensor::{MatrixView, RowMap};

const ACTS: [Act; 6] = [Act::None, Act::Relu, Act::Relu2, Act::Silu, Act::Gelu, Act::GeluTanh];

/// Error of act(z) where |z| ≤ `most` is off by `e`: slopes up to 1.13 (2|z| for relu²), and the function's own rounding.
fn act_error(act: Act, most: f64, e: f64) -> f64 {
    match act {
        Act::None | Act::Relu => e,
        Act::Relu2 => (2.0 * most + e) * e + U * (most + e) * (most + e),
        Act::Silu | Act::Gelu | Act::GeluTanh => 1.13 * e + 16.0 * U * (most + e),
    }
}

/// How large act(z) can be.
fn act_most(act: Act, most: f64) -> f64 {
    if act == Act::Relu2 { most * most } else { most }
}

struct Linear {
    rows: usize,
    inputs: usize,
    outputs: usize,
    epilogue: Epilogue,
    dtype: Dtype,
    bias: bool,
    rounding: Rounding,
}

/// Columns of x before the ones that the product reads, and after.
const SIDES: (usize, usize) = (2, 1);

impl Linear {
    fn x(&self) -> Vec<f32> {
        self.rounding.of(uniform(1, self.rows * self.stride(), 2.0))
    }
    fn stride(&self) -> usize {
        self.inputs + SIDES.0 + SIDES.1
    }
    fn weights(&self) -> Stored {
        Stored::new(&self.rounding.of(uniform(2, self.wide() * self.inputs, 1.0)), self.inputs, self.dtype)
    }
    fn gated(&self) -> bool {
        matches!(self.epilogue, Epilogue::Gated(_))
    }
    /// Columns of the product before a gate.
    fn wide(&self) -> usize {
        if self.gated() { 2 * self.outputs } else { self.outputs }
    }
    fn bias(&self) -> Vec<f32> {
        uniform(3, self.wide(), if self.bias { 1.0 } else { 0.0 })
    }
    fn out(&self) -> Vec<f32> {
        uniform(4, (self.rows + 2) * self.outputs, 1.0)
    }
}

impl Case for Linear {
    fn name(&self) -> String {
        format!("linear {} × {} × {}, {:?}, {}, bias {}", self.rows, self.inputs, self.outputs, self.epilogue, self.dtype.name(), self.bias)
    }

    fn run<B: Backend>(&self, b: &B) -> Vec<f64> {
        let w = self.weights();
        let half = |first, n| MatrixView { tensor: w.tensor(), transposed: false, rows: RowMap::Range { first, n } };
        let cut = self.outputs / 3;
        let operand = match self.gated() {
            true => Operand::Gated(half(0, self.outputs), half(self.outputs, self.outputs)),
            false => Operand::Plain(vec![half(0, cut), half(cut, self.outputs - cut)]),
        };
        let weight = b.pack(&operand).unwrap();
        b.arrive().unwrap();
        let bias = self.bias.then(|| b.upload(&self.bias(), self.wide()).unwrap());
        let x = if self.rows == 0 { b.mat(0, self.stride()).unwrap() } else { b.upload(&self.x(), self.stride()).unwrap() };
        let mut out = b.upload(&self.out(), self.outputs).unwrap();
        b.linear(&x, SIDES.0, self.rows, &weight, bias.as_ref(), self.epilogue, &mut out, 1).unwrap();
        b.download(&out, 0..self.rows + 2).unwrap()
    }

    fn budget(&self, _: &[f64]) -> Vec<f64> {
        let (x, w, bias, old) = (self.x(), self.weights().tensor().to_f32(), self.bias(), self.out());
        let most = |i: usize, j: usize| -> f64 {
            let (x, w) = (&x[i * self.stride() + SIDES.0..][..self.inputs], &w[j * self.inputs..][..self.inputs]);
            x.iter().zip(w).map(|(a, b)| (*a as f64 * *b as f64).abs()).sum::<f64>() + bias[j].abs() as f64
        };
        let g = gamma(self.inputs + 2);
        // Rows beside the product's own stay as they were.
        let mut budget = vec![0.0; (self.rows + 2) * self.outputs];
        for i in 0..self.rows {
            for j in 0..self.outputs {
                let m = most(i, j);
                let at = (i + 1) * self.outputs + j;
                budget[at] = match self.epilogue {
                    Epilogue::Store(act) => act_error(act, m, g * m),
                    Epilogue::Add => g * m + U * (old[at].abs() as f64 + m * (1.0 + g)),
                    Epilogue::Gated(act) => {
                        let (up, e) = (most(i, self.outputs + j), act_error(act, m, g * m));
                        (e + act_most(act, m) * (g + U)) * up * (1.0 + g + U) + e * U * up
                    }
                };
            }
        }
        budget
    }
}

#[test]
fn products() {
    let sizes =
        [(0, 7, 5), (1, 1, 1), (5, 7, 15), (6, 64, 16), (7, 65, 17), (13, 3, 31), (14, 33, 32), (15, 130, 33), (31, 64, 100), (57, 16, 65), (129, 72, 131)];
    for (n, &(rows, inputs, outputs)) in sizes.iter().enumerate() {
        for act in ACTS {
            for epilogue in [Epilogue::Store(act), Epilogue::Gated(act), Epilogue::Add] {
                let dtype = [Dtype::F32, Dtype::F16, Dtype::Bf16][n % 3];
                hold(&Linear { rows, inputs, outputs, epilogue, dtype, bias: n % 2 == 0, rounding: Rounding::None });
                for (rounding, stored) in [(Rounding::Bf16, Dtype::Bf16), (Rounding::F16, Dtype::F16)] {
                    // What one of the short types stores of the other's number may be another one.
                    let dtype = if dtype == Dtype::F32 { dtype } else { stored };
                    rounding.hold(&Linear { rows, inputs, outputs, epilogue, dtype, bias: n % 2 == 0, rounding });
                }
            }
        }
    }
}

#[test]
fn a_product_row_alone_has_the_same_bits() {
    for rounding in [Rounding::None, Rounding::Bf16, Rounding::F16] {
        let case = |rows| Linear { rows, inputs: 130, outputs: 67, epilogue: Epilogue::Store(Act::Silu), dtype: Dtype::F32, bias: true, rounding };
        for (all, one) in rounding.hold(&case(40)).iter().zip(rounding.hold(&case(1))) {
            assert!(same_bits(&all[67..2 * 67], &one[67..2 * 67]));
        }
    }
}

/// Callers that share a device do not wait for each other in a circle.
#[test]
fn two_callers_share_a_device() {
    let case = Linear { rows: 57, inputs: 64, outputs: 100, epilogue: Epilogue::Add, dtype: Dtype::F32, bias: true, rounding: Rounding::None };
    for [_, two] in devices().iter().chain(bf16_devices()) {
        let alone = two.enter(|| case.run(two));
        std::thread::scope(|s| {
            for _ in 0..2 {
                s.spawn(|| (0..200).for_each(|_| assert!(same_bits(&alone, &two.enter(|| case.run(two))))));
            }
        });
    }
}

struct Norm {
    rows: usize,
    cols: usize,
    center: bool,
    bias: bool,
    eps: f32,
}

impl Norm {
    /// Far from zero on average, with an outlying column.
    fn x(&self) -> Vec<f32> {
        let mut x = uniform(5, (self.rows + 1) * self.cols, 1.0);
        x.iter_mut().enumerate().for_each(|(i, v)| *v = if i % self.cols == 1 { *v * 100.0 } else { *v + 0.5 });
        x
    }
    fn params(&self) -> [Vec<f32>; 2] {
        [uniform(6, self.cols, 2.0), uniform(7, self.cols, 1.0)]
    }
}

impl Case for Norm {
    fn name(&self) -> String {
        format!("norm {} × {}, center {}, bias {}", self.rows, self.cols, self.center, self.bias)
    }

    fn run<B: Backend>(&self, b: &B) -> Vec<f64> {
        let x = b.upload(&self.x(), self.cols).unwrap();
        let [w, bias] = self.params().map(|p| b.upload(&p, self.cols).unwrap());
        let op = NormOp { center: self.center, eps: self.eps, weight: &w, bias: self.bias.then_some(&bias) };
        let mut out = b.mat(self.rows, self.cols).unwrap();
        b.norm(&op, &x, 1, self.rows, &mut out).unwrap();
        let mut values = b.download(&out, 0..self.rows).unwrap();
        // The same rows, last first.
        let which: Vec<u32> = (1..=self.rows as u32).rev().collect();
        b.norm_gather(&op, &x, &which, &mut out).unwrap();
        values.extend(b.download(&out, 0..self.rows).unwrap());
        values
    }

    fn budget(&self, truth: &[f64]) -> Vec<f64> {
        let (x, [w, bias], d) = (self.x(), self.params(), self.cols);
        let mut rows = Vec::new();
        for row in x[d..].chunks_exact(d) {
            let wide: Vec<f64> = row.iter().map(|&v| v as f64).collect();
            let mean = if self.center { wide.iter().sum::<f64>() / d as f64 } else { 0.0 };
            let sigma = (wide.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / d as f64 + self.eps as f64).sqrt();
            // The mean is off by γ(d + 1) mean|x|, each difference by that and a rounding, σ relatively by half of γ(d + 3) and of 2 · (that over σ).
            let shift = if self.center { gamma(d + 1) * wide.iter().map(|v| v.abs()).sum::<f64>() / d as f64 } else { 0.0 };
            rows.push(
                wide.iter()
                    .enumerate()
                    .map(|(j, v)| {
                        let off = shift + if self.center { U * ((v - mean).abs() + shift) } else { 0.0 };
                        let y = (v - mean).abs() / sigma;
                        let relative = gamma(d + 3) / 2.0 + 2.0 * (shift + U * sigma) / sigma + 6.0 * U;
                        let b = if self.bias { bias[j].abs() as f64 } else { 0.0 };
                        (w[j].abs() as f64) * (off / sigma * (1.0 + relative) + y * relative) + U * b
                    })
                    .collect::<Vec<_>>(),
            );
        }
        let forth = rows.concat();
        let back = rows.into_iter().rev().flatten();
        let budget: Vec<f64> = forth.into_iter().chain(back).collect();
        budget.iter().zip(truth).map(|(b, t)| b + U * t.abs()).collect()
    }
}

#[test]
fn norms() {
    for rows in [0, 1, 15, 16, 17] {
        for cols in [2, 15, 16, 17, 100, 768] {
            for (center, bias) in [(false, false), (true, true), (true, false)] {
                hold(&Norm { rows, cols, center, bias, eps: 1e-5 });
            }
        }
    }
}

struct Gate {
    rows: usize,
    cols: usize,
    groups: usize,
    norm: bool,
    norm_first: bool,
}

impl Case for Gate {
    fn name(&self) -> String {
        format!("gate {} × {}, {} groups, norm {} first {}", self.rows, self.cols, self.groups, self.norm, self.norm_first)
    }

    fn run<B: Backend>(&self, b: &B) -> Vec<f64> {
        let mut y = b.upload(&uniform(8, (self.rows + 1) * self.cols, 2.0), self.cols).unwrap();
        let z = b.upload(&uniform(9, (self.rows + 1) * (self.cols + 5), 4.0), self.cols + 5).unwrap();
        let w = b.upload(&uniform(10, self.cols, 1.0), self.cols).unwrap();
        let op = GateOp { norm: self.norm.then_some(&w), eps: 1e-5, groups: self.groups, norm_first: self.norm_first, act: Act::Silu };
        b.gate(&op, self.rows, &z, 3, &mut y).unwrap();
        b.download(&y, 0..self.rows + 1).unwrap()
    }

    /// silu is within 16 u relatively (|z| ≤ 4), the norm within γ(d + 3)/2 of its inputs' relative errors and its own.
    fn budget(&self, truth: &[f64]) -> Vec<f64> {
        let relative = 40.0 * U + gamma(self.cols / self.groups + 3) / 2.0;
        let row = |i: usize| if i / self.cols < self.rows { relative } else { 0.0 };
        truth.iter().enumerate().map(|(i, t)| row(i) * t.abs()).collect()
    }
}

#[test]
fn gates() {
    for rows in [0, 1, 17] {
        for (cols, groups) in [(1, 1), (34, 2), (48, 3), (100, 1)] {
            for (norm, norm_first) in [(false, false), (true, false), (true, true)] {
                hold(&Gate { rows, cols, groups, norm, norm_first });
            }
        }
    }
}

struct Embed {
    learned: bool,
}

impl Case for Embed {
    fn name(&self) -> String {
        format!("embed, learned positions {}", self.learned)
    }
    fn run<B: Backend>(&self, b: &B) -> Vec<f64> {
        let (table, learned) = (Stored::new(&uniform(11, 50 * 19, 1.0), 19, Dtype::Bf16), Stored::new(&uniform(12, 30 * 19, 1.0), 19, Dtype::F32));
        let (tokens, positions): (Vec<u32>, Vec<u32>) = (0..35).map(|i| (i * 7 % 50, i * 3 % 30)).unzip();
        let mut x = b.mat(40, 19).unwrap();
        // In two blocks.
        for block in [0..17, 17..35] {
            let first = block.start;
            b.embed(&tokens[block.clone()], &positions[block], &table.tensor(), self.learned.then(|| learned.tensor()).as_ref(), &mut x, first).unwrap();
        }
        b.download(&x, 0..35).unwrap()
    }
    /// One addition, rounded once; without it the stored numbers.
    fn budget(&self, truth: &[f64]) -> Vec<f64> {
        truth.iter().map(|t| if self.learned { U * t.abs() } else { 0.0 }).collect()
    }
}

#[test]
fn embeddings() {
    hold(&Embed { learned: false });
    hold(&Embed { learned: true });
}

struct Head {
    rows: usize,
    inputs: usize,
    vocab: usize,
    op: HeadOp,
    bias: bool,
    /// Size of the weights: how peaked the distribution is.
    peak: f32,
    rounding: Rounding,
}

impl Head {
    fn x(&self) -> Vec<f32> {
        self.rounding.of(uniform(13, self.rows * self.inputs, 2.0))
    }
    fn weights(&self) -> Vec<f32> {
        self.rounding.of(uniform(14, self.vocab * self.inputs, self.peak))
    }
    /// None for every third row, the others the two ends of the vocabulary and one between, twice.
    fn targets(&self) -> (Vec<u32>, Vec<u32>) {
        let (mut ptr, mut targets) = (vec![0], vec![]);
        for i in 0..self.rows {
            if i % 3 != 2 {
                let v = self.vocab as u32;
                targets.extend([v - 1, 0, i as u32 * 131 % v, i as u32 * 131 % v]);
            }
            ptr.push(targets.len() as u32);
        }
        (ptr, targets)
    }
}

impl Case for Head {
    fn name(&self) -> String {
        format!("head {} × {} × {}, {:?}, bias {}, peak {}", self.rows, self.inputs, self.vocab, self.op, self.bias, self.peak)
    }

    fn run<B: Backend>(&self, b: &B) -> Vec<f64> {
        let w = Stored::new(&self.weights(), self.inputs, Dtype::F32);
        let weight = b.pack(&Operand::Plain(vec![MatrixView { tensor: w.tensor(), transposed: false, rows: RowMap::All }])).unwrap();
        b.arrive().unwrap();
        let bias = self.bias.then(|| b.upload(&uniform(15, self.vocab, 1.0), self.vocab).unwrap());
        let x = if self.rows == 0 { b.mat(0, self.inputs).unwrap() } else { b.upload(&self.x(), self.inputs).unwrap() };
        let ((ptr, targets), mut out) = (self.targets(), Vec::new());
        b.head(&self.op, &x, self.rows, &weight, bias.as_ref(), &ptr, &targets, &mut out, None).unwrap();
        assert!(out.iter().all(|&v| v <= 0.0), "{}: a probability above 1", self.name());
        out.iter().map(|&v| v as f64).collect()
    }

    /// Twice the largest error of a logit (the target's and the log-sum's), and of the sum: γ(64) over a segment's lanes and for the
    /// exponentials, whose arguments round at the size of the largest logit.
    fn budget(&self, truth: &[f64]) -> Vec<f64> {
        let (x, w, (ptr, _)) = (self.x(), self.weights(), self.targets());
        let mut budget = Vec::new();
        for i in 0..self.rows {
            let x = &x[i * self.inputs..][..self.inputs];
            let raw = w.chunks_exact(self.inputs).map(|w| x.iter().zip(w).map(|(a, b)| (a * b).abs() as f64).sum::<f64>()).fold(0.0, f64::max);
            let raw = raw + if self.bias { 1.0 } else { 0.0 };
            let cap = self.op.softcap.map_or(0.0, |c| 16.0 * U * c as f64);
            let scale = self.op.scale.abs() as f64;
            let logit = (gamma(self.inputs + 2) * raw + cap) * scale + 2.0 * U * raw * scale;
            for t in ptr[i]..ptr[i + 1] {
                budget.push(2.0 * logit + gamma(64) + 2.0 * U * raw * scale + 2.0 * U * truth[t as usize].abs());
            }
        }
        budget
    }
}

#[test]
fn heads() {
    for (n, vocab) in [1, 2, 31, 503, 512, 513, 1025].into_iter().enumerate() {
        for rows in [0, 1, 6, 7, 15] {
            for (softcap, scale) in [(None, 1.0), (None, 0.25), (Some(30.0), 1.0), (Some(30.0), 0.5)] {
                for peak in [0.01, 0.3, 6.0] {
                    for rounding in [Rounding::None, Rounding::Bf16, Rounding::F16] {
                        let op = HeadOp { softcap, scale };
                        rounding.hold(&Head { rows, inputs: [1, 33, 64][n % 3], vocab, op, bias: n % 2 == 0, peak, rounding });
                    }
                }
            }
        }
    }
    for rounding in [Rounding::None, Rounding::Bf16, Rounding::F16] {
        let op = HeadOp { softcap: None, scale: 1.0 };
        let case = |rows| Head { rows, inputs: 33, vocab: 1025, op, bias: false, peak: 0.3, rounding };
        for (all, one) in rounding.hold(&case(40)).iter().zip(rounding.hold(&case(1))) {
            assert!(same_bits(&all[..4], &one), "a row alone");
        }
    }
}

/// Whole numbers: every product and sum is exact in float32 as in float64, so that the largest logit and its ties are the same in both.
struct Greedy {
    rows: usize,
    inputs: usize,
    vocab: usize,
    bias: bool,
    op: HeadOp,
}

impl Greedy {
    /// Uniform in −3 … 3.
    fn whole(seed: u64, n: usize) -> Vec<f32> {
        uniform(seed, n, 3.5).into_iter().map(f32::round).collect()
    }

    /// Columns come in equal pairs, a quarter of the vocabulary apart (those left over repeat the first ones), so every largest logit is tied: within a
    /// vector, across panels, across segments.
    fn weights(&self) -> Vec<f32> {
        let mut w = Greedy::whole(22, self.vocab * self.inputs);
        let apart = (self.vocab / 4).max(1);
        for t in apart..self.vocab {
            let of = match t / apart {
                1 | 3 => t - apart,
                2 => continue,
                _ => t % apart,
            };
            w.copy_within(of * self.inputs..(of + 1) * self.inputs, t * self.inputs);
        }
        w
    }
}

impl Case for Greedy {
    fn name(&self) -> String {
        format!("greedy {} × {} × {}, {:?}, bias {}", self.rows, self.inputs, self.vocab, self.op, self.bias)
    }

    /// Every token of the vocabulary is a target of every row: its flag, then its log-probability, which must not change for the flag.
    fn run<B: Backend>(&self, b: &B) -> Vec<f64> {
        let w = Stored::new(&self.weights(), self.inputs, Dtype::F32);
        let weight = b.pack(&Operand::Plain(vec![MatrixView { tensor: w.tensor(), transposed: false, rows: RowMap::All }])).unwrap();
        b.arrive().unwrap();
        let bias = self.bias.then(|| b.upload(&vec![1.0; self.vocab], self.vocab).unwrap());
        let x = b.upload(&Greedy::whole(21, self.rows * self.inputs), self.inputs).unwrap();
        let ptr: Vec<u32> = (0..=self.rows).map(|r| (r * self.vocab) as u32).collect();
        let targets: Vec<u32> = (0..self.rows).flat_map(|_| 0..self.vocab as u32).collect();
        let (mut out, mut greedy, mut alone) = (Vec::new(), Vec::new(), Vec::new());
        b.head(&self.op, &x, self.rows, &weight, bias.as_ref(), &ptr, &targets, &mut out, Some(&mut greedy)).unwrap();
        b.head(&self.op, &x, self.rows, &weight, bias.as_ref(), &ptr, &targets, &mut alone, None).unwrap();
        assert!(out.iter().zip(&alone).all(|(a, b)| a.to_bits() == b.to_bits()), "{}: flags change numbers", self.name());
        greedy.into_iter().map(|g| f64::from(u8::from(g))).collect()
    }

    fn budget(&self, truth: &[f64]) -> Vec<f64> {
        for row in truth.chunks_exact(self.vocab) {
            let tied = row.iter().filter(|&&g| g == 1.0).count();
            assert!(tied >= 1 && (tied >= 2 || self.vocab < 2), "{}: no tie", self.name());
        }
        vec![0.0; truth.len()]
    }
}

/// A token is greedy where its logit is the row's largest: all of a tie are, on every path as in float64.
#[test]
fn greedy_tokens() {
    for (n, vocab) in [1, 2, 31, 503, 512, 513, 1025, 2100].into_iter().enumerate() {
        for rows in [1, 7, 15] {
            for (softcap, scale) in [(None, 1.0), (None, 0.25), (Some(30.0), 0.5)] {
                hold(&Greedy { rows, inputs: [1, 33, 64][n % 3], vocab, bias: n % 2 == 0, op: HeadOp { softcap, scale } });
            }
        }
    }
}
