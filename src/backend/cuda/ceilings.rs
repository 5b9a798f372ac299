//! Loops of one kind of instruction, and a copy: what `hilberg bench` measures a device's rates by. The kernels are those of `kernels/ceilings.cu`.

use super::device::{Device, Planes};
use super::params;
use super::twin::Cuda;
use crate::error::Result;
use crate::tensor::Dtype;

/// Threads of a block.
const THREADS: usize = 256;
/// Bytes that a block copies: four words of 16 a thread.
const COPIED: usize = 16 * 4 * THREADS;
/// Operands of 64 and of 256 rows of 64 numbers of 16 bits.
const WIDE_SHARED: usize = (64 + 256) * 64 * 2;

/// What a loop repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Float32 multiply-adds.
    Fma,
    /// 2^x as the device approximates it.
    Exp2,
    /// Products of 16-bit numbers by `mma.sync`.
    Mma,
    /// Products of 16-bit numbers by a warpgroup, on sm_90a.
    Wide,
}

/// A loop that can be run again and again, and a number for each of its threads that it leaves.
pub struct Loop<D: Device> {
    instruction: Instruction,
    blocks: usize,
    steps: u32,
    out: D::Memory,
}

impl<D: Device> Loop<D> {
    /// Operations of one run: additions and multiplications, or exponentials.
    pub fn operations(&self) -> f64 {
        let of_block = match self.instruction {
            Instruction::Fma => 2 * 8 * THREADS,
            Instruction::Exp2 => 8 * THREADS,
            Instruction::Mma => 8 * THREADS / 32 * 2 * 16 * 16 * 8,
            Instruction::Wide => 2 * 2 * 64 * 256 * 64,
        };
        self.blocks as f64 * of_block as f64 * f64::from(self.steps)
    }
}

/// Two stretches of memory, one of which is copied to the other.
pub struct Copy<D: Device> {
    from: D::Memory,
    to: D::Memory,
    bytes: usize,
}

impl<D: Device> Copy<D> {
    /// Bytes that one run reads and writes.
    pub fn moved(&self) -> f64 {
        2.0 * self.bytes as f64
    }
}

impl<D: Device> Cuda<D> {
    /// Whether the device has the instruction for operands of the precision.
    ///
    /// # Errors
    /// The device fails.
    pub fn has(&self, instruction: Instruction) -> Result<bool> {
        Ok(match instruction {
            Instruction::Fma | Instruction::Exp2 => true,
            Instruction::Mma => self.precision != Dtype::F32,
            // Who copies boxes has warpgroups.
            Instruction::Wide => {
                self.precision != Dtype::F32 && self.device.tensor_map(Planes::rows(self.device.address(&self.device.allocate(16)?), 8, 1, 8))?.is_some()
            }
        })
    }

    /// So many blocks of 256 threads that repeat an instruction that there is `steps` times in eight chains; products of a warpgroup four times `steps`, in one.
    ///
    /// # Errors
    /// No memory for a number a thread, or the device fails.
    pub fn instruction_loop(&self, instruction: Instruction, blocks: usize, steps: u32) -> Result<Loop<D>> {
        Ok(Loop { instruction, blocks, steps, out: self.device.allocate(4 * blocks * THREADS)? })
    }

    /// Hands a loop over, whose operands are all `value`.
    ///
    /// # Errors
    /// The device fails.
    pub fn run_loop(&self, of: &Loop<D>, value: f32) -> Result<()> {
        let params = params::Ceiling { out: self.device.address(&of.out), steps: of.steps, value };
        let short = self.precision.name();
        let (kernel, shared) = match of.instruction {
            Instruction::Fma => ("ceiling_fma".to_string(), 0),
            Instruction::Exp2 => ("ceiling_exp2".to_string(), 0),
            Instruction::Mma => (format!("ceiling_mma_{short}"), 0),
            Instruction::Wide => (format!("ceiling_wide_{short}"), WIDE_SHARED),
        };
        self.launch(&kernel, [of.blocks, 1, 1], THREADS, shared, &params)
    }

    /// What a loop left: a number for each thread, as `kernels/ceilings.cu` says.
    ///
    /// # Errors
    /// The device fails.
    pub fn loop_results(&self, of: &Loop<D>) -> Result<Vec<f32>> {
        let mut results = vec![0.0f32; of.blocks * THREADS];
        self.device.download(&of.out, 0, bytemuck::cast_slice_mut(&mut results))?;
        Ok(results)
    }

    /// Memory that holds these bytes, a multiple of 16 of them, and as much to copy them to.
    ///
    /// # Errors
    /// No memory for them, or the device fails.
    pub fn copy_of(&self, bytes: usize, first: &[u8]) -> Result<Copy<D>> {
        let mut copy = Copy { from: self.device.allocate(bytes)?, to: self.device.allocate(bytes)?, bytes };
        self.device.upload(first, &mut copy.from, 0)?;
        Ok(copy)
    }

    /// Hands the copy over.
    ///
    /// # Errors
    /// The device fails.
    pub fn run_copy(&self, of: &Copy<D>) -> Result<()> {
        let address = |memory| self.device.address(memory);
        let params = params::CeilingCopy { from: address(&of.from), to: address(&of.to), words: (of.bytes / 16) as u64 };
        self.launch("ceiling_copy", [of.bytes.div_ceil(COPIED), 1, 1], THREADS, 0, &params)
    }

    /// What was copied.
    ///
    /// # Errors
    /// The device fails.
    pub fn copied(&self, of: &Copy<D>) -> Result<Vec<u8>> {
        let mut bytes = vec![0; of.bytes];
        self.device.download(&of.to, 0, &mut bytes)?;
        Ok(bytes)
    }

    /// Waits until all that was handed over is done.
    ///
    /// # Errors
    /// The device fails.
    pub fn finish(&self) -> Result<()> {
        self.device.download(&self.device.allocate(1)?, 0, &mut [0])
    }

    /// Of the operands of products, keys and values.
    pub fn precision(&self) -> Dtype {
        self.precision
    }
}
