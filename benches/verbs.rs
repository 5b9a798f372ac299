//! The verbs at the sizes of real models, by criterion: `cargo bench --bench verbs`. `hilberg bench` holds the same against the machine's ceilings.
//!
//! The Mamba-2 dual is held against a plain sequential recurrence over the same numbers, compiled by the same compiler.

use criterion::{Criterion, criterion_group, criterion_main};
use hilberg::backend::cpu::Cpu;
use hilberg::bench::Machine;
use hilberg::bench::verbs::{TEXT, typical};
use hilberg::rng::Rng;
use std::hint::black_box;

fn verbs(c: &mut Criterion) {
    let cpu = Cpu::new(Some(2)).expect("two threads");
    let mut g = c.benchmark_group("verbs");
    g.sample_size(10);
    for case in typical() {
        let mut run = case.prepare(&cpu, cpu.sizes()).expect("memory for one verb");
        g.bench_function(case.title(cpu.sizes()), |b| b.iter(|| run().expect("known sizes")));
    }
    g.finish();
}

/// y_t = C_t · h_t, h_t = a_t h_(t−1) + Δ_t B_t x_t, one head after the other: what the dual form equals.
fn plain_scan(heads: usize, p: usize, n: usize, x: &[f32], bc: &[f32], decay: &[f32], dt: &[f32], y: &mut [f32]) {
    let mut h = vec![0.0f32; p * n];
    for head in 0..heads {
        h.fill(0.0);
        for t in 0..TEXT {
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

fn plain(c: &mut Criterion) {
    let (heads, p, n) = (32, 64, 128);
    let mut rng = Rng::new(14, 0);
    let mut numbers = |count: usize| -> Vec<f32> { (0..count).map(|_| rng.uniform() as f32).collect() };
    let (x, bc, decay) = (numbers(TEXT * heads * p), numbers(TEXT * 2 * n), numbers(TEXT * heads));
    let mut out = vec![0.0f32; TEXT * heads * p];
    let mut g = c.benchmark_group("plain");
    g.sample_size(10);
    g.bench_function("recurrence of the Mamba-2 dual's size, one thread", |b| {
        b.iter(|| {
            plain_scan(heads, p, n, &x, &bc, &decay, &decay, &mut out);
            black_box(out[0])
        });
    });
    g.finish();
}

criterion_group!(all, verbs, plain);
criterion_main!(all);
