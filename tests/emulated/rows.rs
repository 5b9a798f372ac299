//! kernels/rows.cu

use super::{numbers, under_every_schedule};
use emulation::Memory;
use half::{bf16, f16};
use hilberg::backend::cuda::params;

/// Unit in the last place of numbers about 1.
const F32: f64 = 1.0 / (1 << 23) as f64;

struct Case {
    width: usize,
    rows: usize,
    center: bool,
    bias: bool,
    gathered: bool,
}

const CASES: [Case; 7] = [
    Case { width: 1, rows: 1, center: false, bias: false, gathered: false },
    Case { width: 64, rows: 3, center: false, bias: false, gathered: true },
    Case { width: 255, rows: 2, center: true, bias: true, gathered: false },
    Case { width: 256, rows: 2, center: true, bias: false, gathered: false },
    Case { width: 257, rows: 2, center: false, bias: true, gathered: true },
    Case { width: 768, rows: 5, center: true, bias: true, gathered: true },
    Case { width: 1031, rows: 1, center: false, bias: false, gathered: false },
];

/// (x − mean?) / √(mean of squares + ε) · weight + bias? in float64, and by plain float32 loops.
fn oracle(x: &[f32], weight: &[f32], bias: Option<&[f32]>, center: bool, eps: f32) -> (Vec<f64>, Vec<f32>) {
    let n = x.len() as f64;
    let mean = if center { x.iter().map(|&v| v as f64).sum::<f64>() / n } else { 0.0 };
    let factor = 1.0 / (x.iter().map(|&v| (v as f64 - mean).powi(2)).sum::<f64>() / n + eps as f64).sqrt();
    let near = if center { x.iter().sum::<f32>() / n as f32 } else { 0.0 };
    let near_factor = 1.0 / (x.iter().map(|&v| (v - near) * (v - near)).sum::<f32>() / n as f32 + eps).sqrt();
    let b = |j: usize| bias.map_or(0.0, |b| b[j]);
    let truth = (0..x.len()).map(|j| (x[j] as f64 - mean) * factor * weight[j] as f64 + b(j) as f64);
    (truth.collect(), (0..x.len()).map(|j| (x[j] - near) * near_factor * weight[j] + b(j)).collect())
}

/// err(kernel) ≤ 2 · err(plain float32 loops) + the rounding of what is stored.
fn check<T: bytemuck::Pod + PartialEq + std::fmt::Debug>(kernel: &str, widen: impl Fn(T) -> f32, rounding: f64) {
    for (seed, case) in CASES.iter().enumerate() {
        let Case { width, rows, center, bias, gathered } = *case;
        let all = rows + 2;
        // A mean far from 0 asks more of a centred norm.
        let x: Vec<f32> = numbers(seed as u64, all * width).iter().map(|v| v + if center { 30.0 } else { 0.0 }).collect();
        let (weight, bias_values) = (numbers(100 + seed as u64, width), numbers(200 + seed as u64, width));
        let which: Vec<u32> = (0..rows as u32).map(|i| (i * 2 + 1) % all as u32).collect();
        let memory = |values: &[f32]| Memory::of(bytemuck::cast_slice(values));
        let (x_memory, weight_memory, bias_memory, which_memory) =
            (memory(&x), memory(&weight), memory(&bias_values), Memory::of(bytemuck::cast_slice(&which)));
        let mut out = Memory::new(rows * width * size_of::<T>());
        let (first, eps) = (2, 1e-5);
        let params = params::Norm {
            x: x_memory.address(),
            which: if gathered { which_memory.address() } else { 0 },
            weight: weight_memory.address(),
            bias: if bias { bias_memory.address() } else { 0 },
            out: out.address(),
            first,
            width: width as u32,
            eps,
            center: center.into(),
            padding: 0,
        };
        let got: Vec<T> = under_every_schedule(&mut out, &[((kernel, [rows as u32, 1, 1], 256, 32), bytemuck::bytes_of(&params))]);
        for i in 0..rows {
            let row = if gathered { which[i] as usize } else { first as usize + i };
            let (truth, near) = oracle(&x[row * width..(row + 1) * width], &weight, bias.then_some(&bias_values), center, eps);
            let size = truth.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            let naive = truth.iter().zip(&near).fold(0.0, |m: f64, (t, n)| m.max((t - *n as f64).abs()));
            let budget = 2.0 * naive + (F32 + rounding) * size;
            for j in 0..width {
                let (got, want) = (widen(got[i * width + j]) as f64, truth[j]);
                assert!((got - want).abs() <= budget, "{kernel}, width {width}, row {i}, column {j}: {got}, not {want} ± {budget:.1e}");
            }
        }
    }
}

#[test]
fn norms() {
    check::<f32>("norm_f32", |v| v, 0.0);
    check::<bf16>("norm_bf16", bf16::to_f32, 1.0 / 256.0);
    check::<f16>("norm_f16", f16::to_f32, 1.0 / 2048.0);
}
