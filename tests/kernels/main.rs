//! Every verb of the CPU and CUDA twins against the float64 reference: same trait calls, edge sizes, each instruction path of the machine; CUDA's kernels run on
//! the processor, watched.
//!
//! Budgets are a priori bounds of rounding errors (Higham 2002, chapter 3): a sum of n products computed in float32 in any order
//! is within γ(n) Σ|a||b| of the true one, γ(n) = n u / (1 − n u), u = 2⁻²⁴. Two threads must give the bits of one, and a row
//! alone, or in another wave or block, the bits that it has in company.

mod dense;
#[cfg(target_os = "linux")]
#[path = "../emulation/device.rs"]
mod device;
mod forked;
mod moments;

use hilberg::backend::cpu::{Cpu, Isa, Products};
#[cfg(target_os = "linux")]
use hilberg::backend::cuda::{Cuda, Gpu};
use hilberg::backend::{Backend, reference::Reference};
use hilberg::rng::Rng;
use hilberg::tensor::{Dtype, Tensor};
use std::sync::OnceLock;

/// Half a unit in the last place of 1.
const U: f64 = 1.0 / (1u64 << 24) as f64;

fn gamma(n: usize) -> f64 {
    n as f64 * U / (1.0 - n as f64 * U)
}

/// A verb with its operands.
trait Case: Sync {
    /// What a failure is called.
    fn name(&self) -> String;
    /// Everything that the verb has written.
    fn run<B: Backend>(&self, b: &B) -> Vec<f64>;
    /// How far from the truth each number may be.
    fn budget(&self, truth: &[f64]) -> Vec<f64>;
    /// Whether emulated kernels are watched, which takes much longer.
    fn watched(&self) -> bool {
        true
    }
}

/// Each path of this machine, with one thread and with two.
fn devices() -> &'static [[Cpu; 2]] {
    static ALL: OnceLock<Vec<[Cpu; 2]>> = OnceLock::new();
    ALL.get_or_init(|| Isa::available().into_iter().map(|isa| [1, 2].map(|n| Cpu::with(isa, Products::F32, Some(n)).unwrap())).collect())
}

/// The ways this machine has to multiply bfloat16 operands, with one thread and with two; none on many machines.
fn bf16_devices() -> &'static [[Cpu; 2]] {
    static ALL: OnceLock<Vec<[Cpu; 2]>> = OnceLock::new();
    ALL.get_or_init(|| {
        let isa = Isa::detect();
        let bf16 = Products::available(isa).into_iter().skip(1);
        bf16.map(|products| [1, 2].map(|n| Cpu::with(isa, products, Some(n)).unwrap())).collect()
    })
}

/// Holds every float32 path against the truth, two threads against one and one schedule against another; gives what each path computed.
fn hold(case: &impl Case) -> Vec<Vec<f64>> {
    hold_in(devices(), case, Dtype::F32)
}

/// As [`hold`], on these devices and on CUDA's kernels for operands of this precision, to which a case's must be rounded already.
fn hold_in(devices: &[[Cpu; 2]], case: &impl Case, precision: Dtype) -> Vec<Vec<f64>> {
    let truth = truth(case);
    let mut all = on_paths(devices, case, &truth);
    all.extend(on_cuda(case, &truth, precision));
    all
}

/// What a case should give, and how far from it each number may be.
struct Truth {
    numbers: Vec<f64>,
    budget: Vec<f64>,
}

fn truth(case: &impl Case) -> Truth {
    let numbers = case.run(&Reference);
    let budget = case.budget(&numbers);
    assert_eq!(numbers.len(), budget.len(), "{}", case.name());
    Truth { numbers, budget }
}

/// The GPU of this machine, if there is one; opened once a precision.
#[cfg(target_os = "linux")]
fn gpu(precision: Dtype) -> Option<&'static Cuda<Gpu>> {
    static ALL: [OnceLock<Option<Cuda<Gpu>>>; 3] = [const { OnceLock::new() }; 3];
    let which = [Dtype::F32, Dtype::Bf16, Dtype::F16].iter().position(|p| *p == precision)?;
    ALL[which].get_or_init(|| device::gpu(precision)).as_ref()
}

/// CUDA's kernels for operands of this precision, emulated and on a GPU.
#[cfg(target_os = "linux")]
fn on_cuda(case: &impl Case, truth: &Truth, precision: Dtype) -> Vec<Vec<f64>> {
    use emulation::Schedule;
    let [one, other] = [Schedule::ALL[3], Schedule::ALL[0]].map(|s| device::emulated(s, precision));
    let got = case.run(&one);
    check(case, &one.name(), &got, truth);
    if case.watched() {
        assert!(same_bits(&got, &case.run(&other)), "{}: {} differs from {}", case.name(), other.name(), one.name());
    }
    let mut all = vec![got];
    if precision != Dtype::F32 {
        let hopper = device::emulated_hopper(Schedule::ALL[3], precision);
        let got = case.run(&hopper);
        check(case, &hopper.name(), &got, truth);
        all.push(got);
    }
    if let Some(gpu) = gpu(precision) {
        let got = case.run(gpu);
        check(case, &gpu.name(), &got, truth);
        assert!(same_bits(&got, &case.run(gpu)), "{}: {} differs from run to run", case.name(), gpu.name());
        all.push(got);
    }
    all
}

#[cfg(not(target_os = "linux"))]
fn on_cuda(_: &impl Case, _: &Truth, _: Dtype) -> Vec<Vec<f64>> {
    Vec::new()
}

fn check(case: &impl Case, by: &str, got: &[f64], truth: &Truth) {
    assert_eq!(got.len(), truth.numbers.len(), "{} on {by}", case.name());
    for ((i, got), (truth, allowed)) in got.iter().enumerate().zip(truth.numbers.iter().zip(&truth.budget)) {
        let error = (got - truth).abs();
        assert!(error <= *allowed, "{} on {by}: number {i} is {got}, not {truth}; off by {error:e}, allowed {allowed:e}", case.name());
    }
}

fn on_paths(devices: &[[Cpu; 2]], case: &impl Case, truth: &Truth) -> Vec<Vec<f64>> {
    let mut all = Vec::new();
    for [one, two] in devices {
        let got = one.enter(|| case.run(one));
        check(case, &one.name(), &got, truth);
        assert!(same_bits(&got, &two.enter(|| case.run(two))), "{} on {}: two threads differ from one", case.name(), one.name());
        all.push(got);
    }
    all
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(x, y)| x.to_bits() == y.to_bits())
}

/// `n` numbers, uniform within ±`scale`.
fn uniform(seed: u64, n: usize, scale: f32) -> Vec<f32> {
    let mut rng = Rng::new(seed, 0);
    (0..n).map(|_| (rng.uniform() as f32 * 2.0 - 1.0) * scale).collect()
}

/// What the operands of a product are rounded to before anyone sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    /// Nothing: float32 operands are what a product must take whole.
    None,
    /// bfloat16: products of such operands are exact in float32, so the same bounds hold for bfloat16 paths, whatever order they add in.
    Bf16,
    /// float16: likewise.
    F16,
}

impl Rounding {
    fn of(self, values: Vec<f32>) -> Vec<f32> {
        match self {
            Rounding::None => values,
            Rounding::Bf16 => values.into_iter().map(|v| half::bf16::from_f32(v).to_f32()).collect(),
            Rounding::F16 => values.into_iter().map(|v| half::f16::from_f32(v).to_f32()).collect(),
        }
    }

    fn hold(self, case: &impl Case) -> Vec<Vec<f64>> {
        match self {
            Rounding::None => hold(case),
            Rounding::Bf16 => hold_in(bf16_devices(), case, Dtype::Bf16),
            Rounding::F16 => hold_in(&[], case, Dtype::F16),
        }
    }
}

/// Stored bytes of a tensor, in a type that its values need not fit.
struct Stored {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl Stored {
    fn new(values: &[f32], cols: usize, dtype: Dtype) -> Stored {
        let bytes = match dtype {
            Dtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Dtype::F16 => values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect(),
            Dtype::Bf16 => values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect(),
        };
        Stored { dtype, shape: vec![values.len() / cols.max(1), cols], bytes }
    }

    fn tensor(&self) -> Tensor<'_> {
        Tensor { dtype: self.dtype, shape: self.shape.clone(), bytes: &self.bytes }
    }
}
