//! The CPU twin: AVX-512, AVX2 or portable Rust, chosen when the program runs. Everything is float32 but the operands of dense
//! products, which may be bfloat16 where the processor multiplies them.
//!
//! Verbs are parallel inside (rayon), over rows, heads or channels; every number is one chain of operations in an order that
//! depends on its own row alone, so neither threads nor blocks can change a bit.

mod attention;
mod conv;
mod gate;
mod gemm;
#[cfg(test)]
mod harness;
mod head;
mod lanes;
mod mat;
mod math;
mod moments;
mod norm;
mod packed;
mod piece;
mod products;
mod scan;
pub mod simd;
mod ssd;
mod tile;

pub use mat::Mat;
pub use moments::Moments;
pub use packed::Weight;
pub use products::Products;
pub use simd::Isa;

use super::*;
use crate::error::Error;
use lanes::Aligned;
use packed::Packed;
use std::sync::{Mutex, PoisonError};

/// The CPU as a device.
pub struct Cpu {
    isa: Isa,
    products: Products,
    pool: rayon::ThreadPool,
    /// Packed rows of the product at hand, kept from one product to the next.
    room: Mutex<Aligned>,
}

impl Cpu {
    /// float32 on the machine's widest path, with `threads` threads (`None`: one a core).
    ///
    /// # Errors
    /// Threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<Cpu> {
        Cpu::with(Isa::detect(), Products::F32, threads)
    }

    /// bfloat16 operands, by the fastest instructions that there are for them.
    ///
    /// # Errors
    /// A processor that has none; threads that cannot be started.
    pub fn bf16(threads: Option<usize>) -> Result<Cpu> {
        let isa = Isa::detect();
        match Products::available(isa)[..] {
            [_, .., fastest] => Cpu::with(isa, fastest, threads),
            _ => Err(Error::input("this processor has no bfloat16 products (AVX512_BF16 or AMX); leave --precision at f32")),
        }
    }

    /// A path and operands of choice, which must be among [`Isa::available`] and [`Products::available`].
    ///
    /// # Errors
    /// What this machine has not; threads that cannot be started.
    pub fn with(isa: Isa, products: Products, threads: Option<usize>) -> Result<Cpu> {
        if !Isa::available().contains(&isa) || !Products::available(isa).contains(&products) {
            return Err(Error::input(format!("this processor has no {products} products by {isa} instructions")));
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.unwrap_or(0))
            .thread_name(|i| format!("hilberg-{i}"))
            .build()
            .map_err(|e| Error::input(format!("cannot start {} threads: {e}", threads.unwrap_or(0))))?;
        Ok(Cpu { isa, products, pool, room: Mutex::new(Aligned::default()) })
    }

    /// The instruction path.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Threads of the pool.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Lends the room for packed rows. It is taken out of its lock: were the lock held, a worker that waits for its product's other
    /// half could steal a second caller's product and wait for itself.
    fn with_room<R>(&self, work: impl FnOnce(&mut Aligned) -> R) -> R {
        let lock = || self.room.lock().unwrap_or_else(PoisonError::into_inner);
        let mut room = std::mem::take(&mut *lock());
        let out = work(&mut room);
        *lock() = room;
        out
    }
}

impl Backend for Cpu {
    type Mat = Mat;
    type Weight = Weight;
    type Tables = ();
    type Moments = Moments;

    fn name(&self) -> String {
        match self.products {
            Products::F32 => format!("cpu/{}", self.isa),
            bf16 => format!("cpu/{}/{bf16}", self.isa),
        }
    }

    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    fn block_rows(&self) -> usize {
        // Weights pass through the caches once a block, so texts of powers of two should not leave a small last one; four megabytes of activations at
        // widths of two thousand.
        512
    }

    fn weight_bytes(&self, inputs: usize, outputs: usize) -> usize {
        Weight::bytes(self.isa, self.products, inputs, outputs)
    }

    fn scratch_bytes(&self, needs: &Needs) -> usize {
        let (rows, threads) = (self.block_rows(), self.threads());
        let (logits, partials) = head::room_bytes(needs.vocab);
        let ssd = needs.ssd.map_or(0, |s| ssd::ssd_scratch_bytes(&s, rows, threads));
        rows * (self.products.words(needs.inputs) * 4 + partials) + threads * (attention::room_bytes(needs.head_dim, needs.v_head_dim) + logits) + ssd
    }

    fn mat(&self, rows: usize, cols: usize) -> Result<Mat> {
        Mat::zeros(rows, cols)
    }

    fn param(&self, tensor: &Tensor, rows: usize) -> Result<Mat> {
        let mut m = Mat::zeros(rows, tensor.len() / rows.max(1))?;
        tensor.widen(0, m.data_mut());
        Ok(m)
    }

    fn upload(&self, values: &[f32], cols: usize) -> Result<Mat> {
        let mut m = Mat::zeros(values.len() / cols.max(1), cols)?;
        m.data_mut().copy_from_slice(values);
        Ok(m)
    }

    fn download(&self, mat: &Mat, rows: Range<usize>) -> Result<Vec<f64>> {
        Ok(mat.span(rows).iter().map(|&x| x as f64).collect())
    }

    fn pack(&self, operand: &Operand) -> Result<Weight> {
        Weight::pack(self.isa, self.products, operand)
    }

    fn tables(&self, _: &Wave) -> Result<()> {
        Ok(())
    }

    fn embed(&self, tokens: &[TokenId], positions: &[u32], table: &Tensor, learned: Option<&Tensor>, x: &mut Mat, first: usize) -> Result<()> {
        norm::embed(tokens, positions, table, learned, x, first);
        Ok(())
    }

    fn norm(&self, op: &NormOp<Mat>, x: &Mat, first: usize, rows: usize, out: &mut Mat) -> Result<()> {
        norm::norm(self.isa, op, x, |i| first + i, rows, out);
        Ok(())
    }

    fn norm_gather(&self, op: &NormOp<Mat>, x: &Mat, which: &[u32], out: &mut Mat) -> Result<()> {
        norm::norm(self.isa, op, x, |i| which[i] as usize, which.len(), out);
        Ok(())
    }

    fn linear(
        &self,
        x: &Mat,
        from: usize,
        rows: usize,
        weight: &Weight,
        bias: Option<&Mat>,
        epilogue: Epilogue,
        out: &mut Mat,
        out_first: usize,
    ) -> Result<()> {
        self.with_room(|room| {
            let packed = Packed::pack((self.isa, self.products), x.data(), x.cols(), from, rows, weight.inputs(), room);
            gemm::linear(self.isa, &packed, weight, bias.map(|b| b.row(0)), epilogue, out, out_first);
        });
        Ok(())
    }

    fn rotary_append(&self, op: &RotaryOp<Mat>, on: &OnDevice<()>, block: Range<usize>, qkv: &mut Mat, keys: &mut Mat, values: &mut Mat) -> Result<()> {
        norm::rotary_append(self.isa, op, &on.wave.positions, block, qkv, keys, values);
        Ok(())
    }

    fn attention(
        &self,
        op: &AttentionOp<Mat>,
        on: &OnDevice<()>,
        block: Range<usize>,
        qkv: &Mat,
        keys: &History<Mat>,
        values: &History<Mat>,
        out: &mut Mat,
    ) -> Result<()> {
        attention::attention(self.isa, op, on.wave, block, qkv, keys, values, out);
        Ok(())
    }

    fn append(&self, block: Range<usize>, x: &Mat, from: usize, history: &mut Mat) -> Result<()> {
        conv::append(block, x, from, history)
    }

    fn conv(&self, op: &ConvOp<Mat>, on: &OnDevice<()>, block: Range<usize>, history: &History<Mat>, out: &mut Mat) -> Result<()> {
        conv::conv(self.isa, op, on.wave, block, history, out)
    }

    fn scan(
        &self,
        op: &ScanOp<Mat>,
        on: &OnDevice<()>,
        block: Range<usize>,
        x: &Mat,
        dt: &Mat,
        bc: (&Mat, usize),
        z: (&Mat, usize),
        states: &mut States<Mat>,
        out: &mut Mat,
    ) -> Result<()> {
        scan::scan(self.isa, op, on.wave, block, x, dt, bc, z, states, out)
    }

    fn ssd(&self, op: &SsdOp<Mat>, on: &OnDevice<()>, block: Range<usize>, history: &History<Mat>, states: &mut States<Mat>, out: &mut Mat) -> Result<()> {
        ssd::ssd(self.isa, op, on.wave, block, history, states, out)
    }

    fn gate(&self, op: &GateOp<Mat>, rows: usize, z: &Mat, z_from: usize, y: &mut Mat) -> Result<()> {
        gate::gate(self.isa, op, rows, z, z_from, y)
    }

    fn keep(&self, on: &OnDevice<()>, heads: usize, wave: &Mat, resident: &mut Mat) -> Result<()> {
        conv::keep(on.wave, heads, wave, resident)
    }

    fn head(
        &self,
        op: &HeadOp,
        x: &Mat,
        rows: usize,
        weight: &Weight,
        bias: Option<&Mat>,
        ptr: &[u32],
        targets: &[TokenId],
        out: &mut Vec<f32>,
        greedy: Option<&mut Vec<bool>>,
    ) -> Result<()> {
        self.with_room(|room| {
            let packed = Packed::pack((self.isa, self.products), x.data(), x.cols(), 0, rows, weight.inputs(), room);
            head::head(self.isa, op, &packed, weight, bias.map(|b| b.row(0)), ptr, targets, out, greedy);
        });
        Ok(())
    }

    fn moments(&self, width: usize, values: &[f64]) -> Result<Moments> {
        Moments::new(width, values)
    }

    fn moments_bytes(&self, width: usize) -> usize {
        Moments::bytes(width)
    }

    fn accumulate(&self, x: &Mat, rows: usize, moments: &mut Moments) -> Result<()> {
        moments.add(self.isa, x, rows)
    }

    fn moments_taken(&self, moments: &Moments) -> Result<Vec<f64>> {
        moments.packed()
    }
}
