//! Rates that the machine does not exceed: measured in a few hundredths of a second, on all threads of a backend at once.

use super::{Case, Load, Machine, Sizes, verbs};
use crate::backend::cpu::Cpu;
use crate::backend::cpu::simd::{Kernel, Simd};
use crate::backend::{Act, Backend, Epilogue, Operand};
use crate::error::Result;
use crate::rng::Rng;
use crate::tensor::{Dtype, MatrixView, RowMap, Tensor};
use rayon::prelude::*;
use std::hint::black_box;
use std::time::Instant;

/// The machine's rates on the threads and the instruction path of one backend, or a GPU's in one precision. A measured rate is what was reached at least; the best of several
/// measurements ([`Ceilings::best`]) is the nearest to the truth on a machine that others use, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Ceilings {
    /// Float32 operations a second of multiply-adds in registers, 2 a lane: nothing computes faster.
    pub fma: f64,
    /// Operations a second of products: of the backend's own, weights packed, over blocks of [`Backend::block_rows`] rows, the best shape's; of a GPU the instruction's that multiplies
    /// operands of its precision, which is the multiply-add in float32.
    pub product: f64,
    /// Exponentials a second, float32 to about a unit in the last place, of numbers that lie in the first-level cache; of a GPU the instruction's that approximates 2^x.
    pub exp: f64,
    /// Bytes read plus bytes written a second by a copy of 12 MB, the size of a wave's residual; on a GPU of what its caches do not hold.
    pub copy: f64,
}

impl Ceilings {
    /// One measurement; `products` are the (inputs, outputs) that count, each tried once. The first call warms the threads up and is better thrown away.
    ///
    /// # Errors
    /// Not enough memory.
    pub fn measure(cpu: &Cpu, products: &mut [Product]) -> Result<Ceilings> {
        let product = products.iter_mut().map(|p| p.rate(cpu)).collect::<Result<Vec<f64>>>()?;
        Ok(Ceilings { fma: fma(cpu), product: product.into_iter().fold(0.0, f64::max), exp: exp(cpu), copy: copy(cpu) })
    }

    /// What a progress line needs, in some 50 ms: no copy is measured, and the product is one of 1,024 × 1,024.
    ///
    /// # Errors
    /// Not enough memory.
    pub fn probe(cpu: &Cpu) -> Result<Ceilings> {
        let mut product = Product::new(cpu, 1024, 1024)?;
        let mut best = Ceilings::default();
        for _ in 0..3 {
            best = best.best(Ceilings { fma: fma(cpu), product: product.rate(cpu)?, exp: exp(cpu), copy: 0.0 });
        }
        Ok(best)
    }

    /// The larger rate of each kind.
    pub fn best(self, other: Ceilings) -> Ceilings {
        Ceilings { fma: self.fma.max(other.fma), product: self.product.max(other.product), exp: self.exp.max(other.exp), copy: self.copy.max(other.copy) }
    }
}

impl Machine for Cpu {
    type Loops = Vec<Product>;

    fn sizes(&self) -> Sizes {
        Sizes { wave: 4096, text: verbs::TEXT, block: self.block_rows(), load: Load::default() }
    }

    fn loops(&self, cases: &[Case], _: &Sizes) -> Result<Vec<Product>> {
        verbs::products(cases).into_iter().map(|(k, n)| Product::new(self, k, n)).collect()
    }

    fn ceilings(&self, loops: &mut Vec<Product>) -> Result<Ceilings> {
        Ceilings::measure(self, loops)
    }
}

/// A rate summed over the pool's threads, all at work at the same time.
fn on_all_threads(cpu: &Cpu, rate: impl Fn() -> f64 + Sync) -> f64 {
    cpu.enter(|| rayon::broadcast(|_| rate()).iter().sum())
}

/// Twelve independent chains of multiply-adds: as many as hide the latency of two units.
struct Chains(u64);

/// Steps of [`Chains`] in one measurement: some milliseconds.
const STEPS: u64 = 500_000;

impl Kernel for Chains {
    type Out = f32;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        // SAFETY: no memory is touched.
        unsafe {
            let (b, c) = (S::splat(0.999), S::splat(0.001));
            // Away from the fixed point 1, or the chains would be folded away.
            let mut a = [S::splat(black_box(0.5)); 12];
            for _ in 0..self.0 {
                for x in &mut a {
                    *x = S::fma(*x, b, c);
                }
            }
            a.iter().fold(0.0, |s, x| s + S::sum(*x))
        }
    }
}

/// Multiply-adds in registers: operations a second.
pub fn fma(cpu: &Cpu) -> f64 {
    let isa = cpu.isa();
    on_all_threads(cpu, || {
        let begin = Instant::now();
        black_box(isa.run(Chains(black_box(STEPS))));
        (STEPS * 12 * 2 * isa.lanes() as u64) as f64 / begin.elapsed().as_secs_f64()
    })
}

/// Numbers of which [`exp`] takes exponentials: half a first-level cache.
const NUMBERS: usize = 4096;
/// How often.
const PASSES: usize = 200;

/// Sums of exponentials, in four chains; `bounded`: of numbers between −87 and 88, for which 2^n is one factor and nothing is clamped.
struct Exps<'a> {
    numbers: &'a [f32],
    bounded: bool,
}

impl Kernel for Exps<'_> {
    type Out = f32;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        // SAFETY: whole vectors of the slice.
        unsafe {
            let mut sums = [S::splat(0.0); 4];
            for _ in 0..PASSES {
                for group in black_box(self.numbers).chunks_exact(4 * S::LANES) {
                    for (i, sum) in sums.iter_mut().enumerate() {
                        let x = S::load(group.as_ptr().add(i * S::LANES));
                        *sum = S::add(*sum, if self.bounded { S::exp_within_each([x])[0] } else { S::exp(x) });
                    }
                }
            }
            sums.iter().fold(0.0, |s, x| s + S::sum(*x))
        }
    }
}

/// Exponentials a second: the faster of the backend's own and of one for bounded arguments.
pub fn exp(cpu: &Cpu) -> f64 {
    let numbers: Vec<f32> = (0..NUMBERS).map(|i| -(i as f32) * 0.01).collect();
    let rate = |bounded| {
        on_all_threads(cpu, || {
            let begin = Instant::now();
            black_box(cpu.isa().run(Exps { numbers: &numbers, bounded }));
            (PASSES * NUMBERS) as f64 / begin.elapsed().as_secs_f64()
        })
    };
    rate(true).max(rate(false))
}

/// Numbers of a copy: 4,096 rows of 768.
const COPIED: usize = 4096 * 768;

/// Bytes read plus bytes written a second by one copy.
pub fn copy(cpu: &Cpu) -> f64 {
    let from = vec![1.0f32; COPIED];
    let mut to = vec![2.0f32; COPIED];
    let mut best = 0.0f64;
    for _ in 0..5 {
        let begin = Instant::now();
        cpu.enter(|| to.par_chunks_mut(1 << 14).zip(from.par_chunks(1 << 14)).for_each(|(t, f)| t.copy_from_slice(f)));
        best = best.max((2 * COPIED * size_of::<f32>()) as f64 / begin.elapsed().as_secs_f64());
        black_box(&mut to);
    }
    best
}

/// A product with packed random weights, ready to be timed.
pub struct Product {
    x: <Cpu as Backend>::Mat,
    y: <Cpu as Backend>::Mat,
    weight: <Cpu as Backend>::Weight,
    inputs: usize,
    outputs: usize,
}

impl Product {
    /// Packs weights `[outputs, inputs]` and makes a block of rows for them.
    ///
    /// # Errors
    /// Not enough memory.
    pub fn new(cpu: &Cpu, inputs: usize, outputs: usize) -> Result<Product> {
        let rows = cpu.block_rows();
        Ok(Product { x: random(cpu, rows, inputs, 1.0, 1)?, y: cpu.mat(rows, outputs)?, weight: weight(cpu, inputs, outputs)?, inputs, outputs })
    }

    /// Operations a second of one run over the block.
    ///
    /// # Errors
    /// As the backend's product.
    pub fn rate(&mut self, cpu: &Cpu) -> Result<f64> {
        let rows = cpu.block_rows();
        let begin = Instant::now();
        cpu.enter(|| cpu.linear(&self.x, 0, rows, &self.weight, None, Epilogue::Store(Act::None), &mut self.y, 0))?;
        Ok((2 * rows * self.inputs * self.outputs) as f64 / begin.elapsed().as_secs_f64())
    }
}

/// A matrix of normal numbers.
pub(super) fn random<B: Backend>(on: &B, rows: usize, cols: usize, deviation: f64, seed: u64) -> Result<B::Mat> {
    let mut rng = Rng::new(seed, 0);
    let values: Vec<f32> = (0..rows * cols).map(|_| (deviation * rng.normal()) as f32).collect();
    on.upload(&values, cols)
}

/// Packed weights: a few thousand normal numbers of deviation 0.02, again and again.
pub(super) fn weight<B: Backend>(on: &B, inputs: usize, outputs: usize) -> Result<B::Weight> {
    let bytes = weight_bytes(inputs * outputs);
    let view = MatrixView { tensor: Tensor { dtype: Dtype::F32, shape: vec![outputs, inputs], bytes: &bytes }, transposed: false, rows: RowMap::All };
    packed(on, &Operand::Plain(vec![view]))
}

/// Packed weights that verbs may use.
pub(super) fn packed<B: Backend>(on: &B, operand: &Operand) -> Result<B::Weight> {
    let weight = on.pack(operand)?;
    on.arrive()?;
    Ok(weight)
}

/// Float32 numbers as a checkpoint has them.
pub(super) fn weight_bytes(numbers: usize) -> Vec<u8> {
    let mut rng = Rng::new(3, 0);
    let some: Vec<u8> = (0..4093).flat_map(|_| (0.02 * rng.normal() as f32).to_le_bytes()).collect();
    some.iter().copied().cycle().take(4 * numbers).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_two_is_no_slower_than_either() {
        let cpu = Cpu::new(Some(1)).unwrap();
        let mut products = [Product::new(&cpu, 256, 256).unwrap()];
        let first = Ceilings::measure(&cpu, &mut products).unwrap();
        let both = first.best(Ceilings::measure(&cpu, &mut products).unwrap());
        for rate in [both.fma, both.product, both.exp, both.copy] {
            assert!(rate.is_finite() && rate > 0.0);
        }
        assert!(both.fma >= first.fma && both.product >= first.product && both.exp >= first.exp && both.copy >= first.copy);
    }

    struct Distance;
    impl Kernel for Distance {
        type Out = f64;
        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> f64 {
            let error = |x: f32| {
                // SAFETY: arithmetic on lanes.
                let got = unsafe { S::to_array(S::exp_within_each([S::splat(x)])[0])[0] } as f64;
                (got / libm::exp(x as f64) - 1.0).abs()
            };
            (-870..=880).map(|i| error(i as f32 * 0.1)).fold(0.0, f64::max)
        }
    }

    #[test]
    fn the_bounded_exponential_is_one() {
        for isa in crate::backend::cpu::Isa::available() {
            assert!(isa.run(Distance) < 3.0 * f64::powi(2.0, -23), "{isa}");
        }
    }
}
