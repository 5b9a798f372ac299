//! A GPU's rates, and what a verb takes there at least.

use super::ceilings::weight;
use super::{Case, Ceilings, Load, Machine, Prepared, Sizes, Work, verbs};
use crate::backend::Backend;
use crate::backend::cuda::ceilings::{Copy, Instruction, Loop};
use crate::backend::cuda::{Cuda, Device};
use crate::error::Result;
use crate::tensor::Dtype;
use std::time::Instant;

/// What is multiplied: sums stay whole numbers, or large.
const VALUE: f32 = 1.0;

/// What measures a GPU's rates: memory, and what runs on it.
pub struct Loops<D: Device> {
    fma: Loop<D>,
    exp: Loop<D>,
    /// By each of the instructions that there are.
    products: Vec<Loop<D>>,
    copy: Copy<D>,
    launches: usize,
}

/// Units of work a second of some launches, after one that warms up.
fn rate<D: Device>(cuda: &Cuda<D>, launches: usize, work: f64, launch: impl Fn() -> Result<()>) -> Result<f64> {
    launch()?;
    cuda.finish()?;
    let begin = Instant::now();
    (0..launches).try_for_each(|_| launch())?;
    cuda.finish()?;
    Ok(launches as f64 * work / begin.elapsed().as_secs_f64())
}

impl<D: Device> Machine for Cuda<D> {
    type Loops = Loops<D>;

    /// A residual and a copy larger than the second-level cache, a full block, and loops of some milliseconds in so many blocks that the last ones leave little of the device idle.
    fn sizes(&self) -> Sizes {
        let load = Load { blocks: 1 << 16, steps: 256, copied: 256 << 20, launches: 4 };
        Sizes { wave: 1 << 16, text: 8192, block: self.block_rows(), load }
    }

    fn loops(&self, _: &[Case], sizes: &Sizes) -> Result<Loops<D>> {
        let Load { blocks, steps, copied, launches } = sizes.load;
        // A multiply-add is eight times as fast as an exponential; a block of warpgroups has a multiprocessor to itself, and does more with each step.
        let mut products = Vec::new();
        for (instruction, blocks, steps) in [(Instruction::Mma, blocks, steps), (Instruction::Wide, blocks.div_ceil(8), 2 * steps)] {
            if self.has(instruction)? {
                products.push(self.instruction_loop(instruction, blocks, steps)?);
            }
        }
        let (fma, exp) = (self.instruction_loop(Instruction::Fma, blocks, 8 * steps)?, self.instruction_loop(Instruction::Exp2, blocks, steps)?);
        Ok(Loops { fma, exp, products, copy: self.copy_of(copied, &[])?, launches })
    }

    fn ceilings(&self, loops: &mut Loops<D>) -> Result<Ceilings> {
        let of = |l: &Loop<D>| rate(self, loops.launches, l.operations(), || self.run_loop(l, VALUE));
        let fma = of(&loops.fma)?;
        let products = loops.products.iter().map(of).collect::<Result<Vec<f64>>>()?;
        let product = products.into_iter().reduce(f64::max).unwrap_or(fma);
        let copy = rate(self, 8 * loops.launches, loops.copy.moved(), || self.run_copy(&loops.copy))?;
        Ok(Ceilings { fma, product, exp: of(&loops.exp)?, copy })
    }

    fn finish(&self) -> Result<()> {
        Cuda::finish(self)
    }

    fn library(&self) -> Option<Result<String, String>> {
        Some(self.device().library())
    }

    /// What comes out is float32 where our product's is; of a gated one both halves, and of the head logits, have the operands' type.
    fn library_product<'c>(&'c self, case: &Case, sizes: Sizes) -> Result<Option<Prepared<'c>>> {
        let (inputs, outputs, results) = match *case {
            Case::Linear { inputs, outputs, gated: None } => (inputs, outputs, Dtype::F32),
            Case::Linear { inputs, outputs, gated: Some(_) } => (inputs, outputs, self.precision()),
            Case::Head { inputs, vocab } => (inputs, vocab, self.precision()),
            _ => return Ok(None),
        };
        let (x, weight) = (verbs::operand(self, sizes.block, inputs)?, weight(self, inputs, outputs)?);
        let mut product = self.library_product(x, weight, results)?;
        Ok(Some(Box::new(move || product.run())))
    }

    /// Tensor cores, multiply-adds, exponentials and memory are units of their own, which work at the same time: the slowest of them decides. Attention multiplies short operands as products do.
    fn least_seconds(&self, case: &Case, work: &Work, at: &Ceilings) -> f64 {
        let short = matches!(case, Case::Attention { .. }) && self.precision() != Dtype::F32;
        let (products, mixing) = if short { (work.operations(), 0.0) } else { (work.products, work.mixing) };
        [products / at.product, mixing / at.fma, work.exps / at.exp, work.bytes / at.copy].into_iter().fold(0.0, f64::max)
    }
}
