//! The verbs at the shapes of real models, by criterion: products, attention, head, scans. `cargo bench --bench verbs`.
//!
//! The Mamba-2 dual is held against a plain sequential recurrence over the same numbers, compiled by the same compiler.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hilberg::backend::cpu::{Cpu, Mat};
use hilberg::backend::*;
use hilberg::forest::{Forest, Readout, Wave, Waves};
use hilberg::rng::Rng;
use hilberg::tensor::{Dtype, MatrixView, RowMap, Tensor};
use std::hint::black_box;

const ROWS: usize = 1024;

fn cpu() -> Cpu {
    Cpu::new(Some(2)).expect("two threads")
}

fn random(cpu: &Cpu, rows: usize, cols: usize, scale: f64, seed: u64) -> Mat {
    let mut rng = Rng::new(seed, 0);
    let v: Vec<f32> = (0..rows * cols).map(|_| (scale * rng.normal()) as f32).collect();
    cpu.upload(&v, cols).expect("memory")
}

fn weight(cpu: &Cpu, n: usize, k: usize) -> cpu::Weight {
    let mut rng = Rng::new(3, 0);
    let bytes: Vec<u8> = (0..n * k).flat_map(|_| (0.02 * rng.normal() as f32).to_le_bytes()).collect();
    let view = MatrixView { tensor: Tensor { dtype: Dtype::F32, shape: vec![n, k], bytes: &bytes }, transposed: false, rows: RowMap::All };
    cpu.pack(&Operand::Plain(vec![view])).expect("memory")
}

/// One text of `ROWS` fed tokens.
fn text(grain: Option<u32>) -> Wave {
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    let root = forest.root(&vec![0; ROWS + 1]).expect("a text");
    readout.each(&forest, root, 1..ROWS as u32 + 1).expect("its tokens");
    Waves::plan(&forest, &readout, hilberg::forest::Cut { rows: ROWS, reach: None, grain }).remove(0)
}

fn dense(c: &mut Criterion) {
    let cpu = cpu();
    let mut g = c.benchmark_group("dense");
    g.sample_size(10);
    let x = random(&cpu, ROWS, 768, 1.0, 1);
    let w = weight(&cpu, 3072, 768);
    let mut y = cpu.mat(ROWS, 3072).expect("memory");
    g.throughput(Throughput::Elements((2 * ROWS * 768 * 3072) as u64));
    g.bench_function("linear 1024x768x3072", |b| {
        b.iter(|| cpu.enter(|| cpu.linear(&x, 0, ROWS, &w, None, Epilogue::Store(Act::None), &mut y, 0)));
    });
    let w = weight(&cpu, 50304, 768);
    let (ptr, targets): (Vec<u32>, Vec<u32>) = ((0..=ROWS as u32).collect(), (0..ROWS as u32).collect());
    g.throughput(Throughput::Elements((2 * ROWS * 768 * 50304) as u64));
    g.bench_function("head 1024x768x50304", |b| {
        b.iter(|| {
            let mut out = Vec::new();
            cpu.enter(|| cpu.head(&HeadOp { softcap: None, scale: 1.0 }, &x, ROWS, &w, None, &ptr, &targets, &mut out, None)).expect("known sizes");
            black_box(out)
        });
    });
    g.finish();
}

fn attention(c: &mut Criterion) {
    let cpu = cpu();
    let mut g = c.benchmark_group("attention");
    g.sample_size(10);
    let wave = text(None);
    let on = OnDevice { wave: &wave, tables: &() };
    let qkv = random(&cpu, ROWS, 3 * 768, 1.0, 5);
    let (mut k, mut v) = (random(&cpu, ROWS, 768, 1.0, 6), random(&cpu, ROWS, 768, 1.0, 7));
    let (none, mut out) = (cpu.mat(0, 768).expect("memory"), cpu.mat(ROWS, 768).expect("memory"));
    let op = AttentionOp { heads: 12, kv_heads: 12, head_dim: 64, scale: 0.125, window: None, softcap: None };
    g.throughput(Throughput::Elements((4 * 768 * ROWS * (ROWS + 1) / 2) as u64));
    g.bench_function("12 heads of 64 over 1024", |b| {
        b.iter(|| {
            let (keys, values) = (History { wave: &mut k, resident: &none }, History { wave: &mut v, resident: &none });
            cpu.enter(|| cpu.attention(&op, &on, 0..ROWS, &qkv, &keys, &values, &mut out))
        });
    });
    g.finish();
}

/// y_t = C_t · h_t, h_t = a_t h_(t−1) + Δ_t B_t x_t, one head after the other: what the dual form equals.
fn plain_scan(heads: usize, p: usize, n: usize, x: &[f32], bc: &[f32], decay: &[f32], dt: &[f32], y: &mut [f32]) {
    let mut h = vec![0.0f32; p * n];
    for head in 0..heads {
        h.fill(0.0);
        for t in 0..ROWS {
            let (a, d) = (decay[t * heads + head], dt[t * heads + head]);
            let (b, c) = bc[t * 2 * n..(t + 1) * 2 * n].split_at(n);
            for i in 0..p {
                let u = d * x[(t * heads + head) * p + i];
                let row = &mut h[i * n..(i + 1) * n];
                let mut sum = 0.0;
                for j in 0..n {
                    row[j] = a * row[j] + u * b[j];
                    sum += c[j] * row[j];
                }
                y[(t * heads + head) * p + i] = sum;
            }
        }
    }
}

fn scans(c: &mut Criterion) {
    let cpu = cpu();
    let mut g = c.benchmark_group("scans");
    g.sample_size(10);
    let (di, n) = (1536, 16);
    let wave = text(Some(1));
    let on = OnDevice { wave: &wave, tables: &() };
    let (x, dt, bc, z) =
        (random(&cpu, ROWS, di, 1.0, 1), random(&cpu, ROWS, di, 1.0, 2), random(&cpu, ROWS, 48 + 2 * n, 1.0, 3), random(&cpu, ROWS, 2 * di, 1.0, 4));
    let (a_log, d_skip) = (random(&cpu, di, n, 0.5, 5), random(&cpu, 1, di, 1.0, 6));
    let (mut states, mut kept, mut y) = (cpu.mat(2, di * n).expect("memory"), cpu.mat(0, di * n).expect("memory"), cpu.mat(ROWS, di).expect("memory"));
    let op = ScanOp { d_inner: di, d_state: n, a_log: &a_log, d_skip: &d_skip, act: Act::Silu };
    g.throughput(Throughput::Elements((ROWS * di * n) as u64));
    g.bench_function("Mamba-1, 1536 x 16", |b| {
        b.iter(|| {
            let mut s = States { wave: &mut states, resident: &mut kept };
            cpu.enter(|| cpu.scan(&op, &on, 0..ROWS, &x, &dt, (&bc, 48), (&z, di), &mut s, &mut y))
        });
    });
    let (heads, p, n) = (32, 64, 128);
    let width = heads * p + 2 * n;
    let wave = text(Some(SSD_CHUNK as u32));
    let on = OnDevice { wave: &wave, tables: &() };
    let mut history = random(&cpu, ROWS, width + heads, 1.0, 7);
    let none = cpu.mat(0, width + heads).expect("memory");
    let (cw, dt_bias, a_log, d_skip) =
        (random(&cpu, width, 4, 0.5, 8), random(&cpu, 1, heads, 0.5, 9), random(&cpu, 1, heads, 0.5, 10), random(&cpu, 1, heads, 1.0, 11));
    let (mut states, mut kept, mut y) =
        (cpu.mat(2, heads * p * n).expect("memory"), cpu.mat(0, heads * p * n).expect("memory"), cpu.mat(ROWS, heads * p).expect("memory"));
    let conv = ConvOp { taps: 4, weight: &cw, bias: None, act: Act::Silu };
    let op = SsdOp { heads, head_dim: p, groups: 1, d_state: n, conv, dt_bias: &dt_bias, a_log: &a_log, d_skip: &d_skip, dt_limit: (0.0, f32::INFINITY) };
    g.throughput(Throughput::Elements((ROWS * heads * p * n) as u64));
    g.bench_function("Mamba-2 dual, 32 heads of 64, state 128", |b| {
        b.iter(|| {
            let mut s = States { wave: &mut states, resident: &mut kept };
            cpu.enter(|| cpu.ssd(&op, &on, 0..ROWS, &History { wave: &mut history, resident: &none }, &mut s, &mut y))
        });
    });
    let (x, bc) = (random(&cpu, ROWS, heads * p, 1.0, 12), random(&cpu, ROWS, 2 * n, 1.0, 13));
    let mut rng = Rng::new(14, 0);
    let decay: Vec<f32> = (0..ROWS * heads).map(|_| rng.uniform() as f32).collect();
    let mut out = vec![0.0f32; ROWS * heads * p];
    g.bench_function("plain scan of the same size, one thread", |b| {
        b.iter(|| {
            plain_scan(heads, p, n, x.data(), bc.data(), &decay, &decay, &mut out);
            black_box(out[0])
        });
    });
    g.finish();
}

criterion_group!(verbs, dense, attention, scans);
criterion_main!(verbs);
