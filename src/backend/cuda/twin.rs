//! The verbs on a device. Products and attention take operands of 32 or 16 bits and sum in float32; everything else is float32.

use super::device::Device;
use super::mat::{Mat, Weight, countable, narrow, padded, widened};
use super::moments::Moments;
use super::params;
use super::tables::{Stores, Tables, sent};
use crate::backend::{Act, AttentionOp, Backend, ConvOp, Epilogue, GateOp, HeadOp, History, Needs, NormOp, OnDevice, Operand, RotaryOp, ScanOp, SsdOp, States};
use crate::error::{Error, Result};
use crate::forest::{TokenId, Wave};
use crate::tensor::{Dtype, Tensor};
use bytemuck::Pod;
use std::ops::Range;

/// Rows of a block: enough to fill a device.
const BLOCK_ROWS: usize = 8192;

/// Blocks of a grid in each of its dimensions.
const MOST_BLOCKS: [usize; 3] = [i32::MAX as usize, u16::MAX as usize, u16::MAX as usize];

/// A device with its verbs.
pub struct Cuda<D: Device> {
    pub(super) device: D,
    /// Of the operands of products, keys and values.
    pub(super) precision: Dtype,
}

pub(super) fn act(kind: Act) -> u32 {
    match kind {
        Act::None => 0,
        Act::Relu => 1,
        Act::Relu2 => 2,
        Act::Silu => 3,
        Act::Gelu => 4,
        Act::GeluTanh => 5,
    }
}

impl<D: Device> Cuda<D> {
    /// On this device, with operands of this precision.
    pub fn on(device: D, precision: Dtype) -> Self {
        Cuda { device, precision }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Address of a row's number.
    pub(super) fn at(&self, mat: &Mat<D>, row: usize, col: usize) -> u64 {
        self.device.address(&mat.memory) + mat.offset(row, col) as u64
    }

    pub(super) fn or_null(&self, mat: Option<&Mat<D>>) -> u64 {
        mat.map_or(0, |m| self.at(m, 0, 0))
    }

    pub(super) fn stores(&self, history: &History<Mat<D>>) -> Stores {
        Stores { of: [self.at(history.wave, 0, 0), self.at(history.resident, 0, 0)] }
    }

    fn zeros(&self, rows: usize, cols: usize, dtype: Dtype) -> Result<Mat<D>> {
        countable("columns of a matrix", cols)?;
        Ok(Mat { memory: self.device.allocate(dtype.size() * rows * cols)?, rows, cols, dtype })
    }

    /// Rows that tensor cores cannot read as they are stay float32, and are rounded right before their product.
    fn operand_dtype(&self, cols: usize) -> Dtype {
        if padded(cols, self.precision) == cols { self.precision } else { Dtype::F32 }
    }

    /// Hands a kernel over, unless its grid is empty.
    pub(super) fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize, shared: usize, params: &impl Pod) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        if grid.iter().zip(MOST_BLOCKS).any(|(n, most)| *n > most) {
            return Err(Error::input(format!("CUDA: {kernel} would need a grid of {grid:?} blocks; a device has at most {MOST_BLOCKS:?}")));
        }
        // SAFETY: callers name memory that they hold, of the sizes that the kernel's contract says; work is done in order, and memory that is
        // dropped is given back only after what was handed over before.
        unsafe { self.device.launch(kernel, grid, threads, shared, bytemuck::bytes_of(params)) }
    }
}

fn norm<D: Device>(this: &Cuda<D>, op: &NormOp<Mat<D>>, x: &Mat<D>, which: u64, first: usize, rows: usize, out: &mut Mat<D>) -> Result<()> {
    let params = params::Norm {
        x: this.at(x, 0, 0),
        which,
        weight: this.at(op.weight, 0, 0),
        bias: this.or_null(op.bias),
        out: this.at(out, 0, 0),
        first: first as u64,
        width: x.cols as u32,
        eps: op.eps,
        center: op.center.into(),
        padding: 0,
    };
    this.launch(&format!("norm_{}", out.dtype.name()), [rows, 1, 1], 256, 32, &params)
}

impl<D: Device> Backend for Cuda<D> {
    type Mat = Mat<D>;
    type Weight = Weight<D>;
    type Tables = Tables<D>;
    type Moments = Moments<D>;

    fn name(&self) -> String {
        match self.precision {
            Dtype::F32 => format!("cuda/{}", self.device.name()),
            short => format!("cuda/{}/{}", self.device.name(), short.name()),
        }
    }

    fn block_rows(&self) -> usize {
        BLOCK_ROWS
    }

    /// By arithmetic, not measured: a weight of 16 bits takes 40 ps to come at 50 GB/s, and for so many rows 190 ps to multiply by at 700 TFLOP/s.
    fn streaming_rows(&self) -> usize {
        65_536
    }

    fn weight_bytes(&self, inputs: usize, outputs: usize) -> usize {
        self.precision.size() * padded(inputs, self.precision) * outputs
    }

    fn scratch_bytes(&self, needs: &Needs) -> usize {
        self.product_bytes(needs) + self.attention_bytes(needs) + needs.ssd.map_or(0, |sizes| self.ssd_bytes(&sizes))
    }

    fn mat(&self, rows: usize, cols: usize) -> Result<Mat<D>> {
        self.zeros(rows, cols, Dtype::F32)
    }

    fn operand(&self, rows: usize, cols: usize) -> Result<Mat<D>> {
        self.zeros(rows, cols, self.operand_dtype(cols))
    }

    fn operand_bytes(&self, cols: usize) -> usize {
        self.operand_dtype(cols).size()
    }

    fn param(&self, tensor: &Tensor, rows: usize) -> Result<Mat<D>> {
        self.upload(&tensor.to_f32(), tensor.len() / rows.max(1))
    }

    fn upload(&self, values: &[f32], cols: usize) -> Result<Mat<D>> {
        countable("columns of a matrix", cols)?;
        Ok(Mat { memory: sent(&self.device, values)?, rows: values.len() / cols.max(1), cols, dtype: Dtype::F32 })
    }

    fn download(&self, mat: &Mat<D>, rows: Range<usize>) -> Result<Vec<f64>> {
        let mut bytes = vec![0u8; mat.offset(rows.len(), 0)];
        self.device.download(&mat.memory, mat.offset(rows.start, 0), &mut bytes)?;
        Ok(widened(&bytes, mat.dtype))
    }

    fn pack(&self, operand: &Operand) -> Result<Weight<D>> {
        let parts: Vec<_> = match operand {
            Operand::Plain(parts) => parts.iter().collect(),
            Operand::Gated(gate, up) => vec![gate, up],
        };
        let inputs = parts.first().map_or(0, |p| p.inputs());
        let rows: usize = parts.iter().map(|p| p.outputs()).sum();
        let dtype = self.precision;
        let stride = padded(inputs, dtype);
        countable("inputs of a product", stride)?;
        countable("outputs of a product", rows)?;
        let row_bytes = dtype.size() * stride;
        let firsts: Vec<usize> = parts.iter().scan(0, |next, part| Some(std::mem::replace(next, *next + part.outputs()))).collect();
        let fill = |of: Range<usize>, to: &mut [u8]| {
            let mut widened = vec![0.0f32; inputs];
            for (row, to) in of.zip(to.chunks_exact_mut(row_bytes)) {
                let which = firsts.partition_point(|first| *first <= row) - 1;
                let (part, i) = (parts[which], row - firsts[which]);
                let (to, beyond) = to.split_at_mut(dtype.size() * inputs);
                match part.stored_row(i).filter(|_| part.tensor.dtype == dtype) {
                    Some(stored) => to.copy_from_slice(stored),
                    None => {
                        part.widen_row(i, &mut widened);
                        narrow(&widened, dtype, to);
                    }
                }
                beyond.fill(0);
            }
        };
        let outputs = if matches!(operand, Operand::Gated(..)) { rows / 2 } else { rows };
        Ok(Weight { memory: self.device.bring(rows, row_bytes, &fill)?, inputs, outputs, dtype })
    }

    fn arrive(&self) -> Result<()> {
        self.device.arrive()
    }

    fn tables(&self, wave: &Wave) -> Result<Tables<D>> {
        Tables::send(&self.device, wave)
    }

    fn embed(&self, tokens: &[TokenId], positions: &[u32], table: &Tensor, learned: Option<&Tensor>, x: &mut Mat<D>, first: usize) -> Result<()> {
        let (d, row) = (x.cols, x.cols * table.dtype.size());
        // As the weights have them: half the bytes of float32, and the device widens faster.
        let copy = |of: Range<usize>, to: &mut [u8]| {
            for (&token, to) in tokens[of].iter().zip(to.chunks_exact_mut(row)) {
                to.copy_from_slice(&table.bytes[token as usize * row..(token as usize + 1) * row]);
            }
        };
        let rows = self.device.bring(tokens.len(), row, &copy)?;
        self.device.arrive()?;
        let added = learned.map(|learned| {
            let mut added = vec![0.0f32; tokens.len() * d];
            for (row, &position) in added.chunks_exact_mut(d).zip(positions) {
                learned.widen(position as usize * d, row);
            }
            sent(&self.device, &added)
        });
        let added = added.transpose()?;
        let numbers = tokens.len() * d;
        let params = params::Embed {
            rows: self.device.address(&rows),
            added: added.as_ref().map_or(0, |m| self.device.address(m)),
            out: self.at(x, first, 0),
            numbers: numbers as u64,
        };
        self.launch(&format!("embed_{}", table.dtype.name()), [numbers.div_ceil(256), 1, 1], 256, 0, &params)
    }

    fn norm(&self, op: &NormOp<Mat<D>>, x: &Mat<D>, first: usize, rows: usize, out: &mut Mat<D>) -> Result<()> {
        norm(self, op, x, 0, first, rows, out)
    }

    fn norm_gather(&self, op: &NormOp<Mat<D>>, x: &Mat<D>, which: &[u32], out: &mut Mat<D>) -> Result<()> {
        let on_device = sent(&self.device, which)?;
        norm(self, op, x, self.device.address(&on_device), 0, which.len(), out)
    }

    fn linear(
        &self,
        x: &Mat<D>,
        from: usize,
        rows: usize,
        weight: &Weight<D>,
        bias: Option<&Mat<D>>,
        epilogue: Epilogue,
        out: &mut Mat<D>,
        out_first: usize,
    ) -> Result<()> {
        self.product(x, from, rows, weight, bias, epilogue, out, out_first)
    }

    fn rotary_append(
        &self,
        op: &RotaryOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        qkv: &mut Mat<D>,
        keys: &mut Mat<D>,
        values: &mut Mat<D>,
    ) -> Result<()> {
        let (q_norm, k_norm, eps) = op.qk_norm.map_or((0, 0, 0.0), |(q, k, eps)| (self.at(q, 0, 0), self.at(k, 0, 0), eps));
        let params = params::Rotary {
            qkv: self.at(qkv, 0, 0),
            table: self.or_null(op.table.filter(|_| op.dims > 0)),
            q_norm,
            k_norm,
            positions: self.device.address(&on.tables.positions),
            keys: self.at(keys, 0, 0),
            values: self.at(values, 0, 0),
            store_rows: (keys.rows / op.kv_heads) as u64,
            first_row: block.start as u32,
            rows: block.len() as u32,
            heads: op.heads as u32,
            kv_heads: op.kv_heads as u32,
            head_dim: op.head_dim as u32,
            v_head_dim: op.v_head_dim as u32,
            dims: op.dims as u32,
            eps,
        };
        self.launch(&format!("rotary_append_{}", keys.dtype.name()), [(block.len() * (op.heads + 2 * op.kv_heads)).div_ceil(8), 1, 1], 256, 0, &params)
    }

    fn attention(
        &self,
        op: &AttentionOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        qkv: &Mat<D>,
        keys: &History<Mat<D>>,
        values: &History<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        self.attend(op, on, block, qkv, keys, values, out)
    }

    fn append(&self, block: Range<usize>, x: &Mat<D>, from: usize, history: &mut Mat<D>) -> Result<()> {
        let numbers = block.len() * history.cols;
        let params = params::Append {
            x: self.at(x, 0, from),
            history: self.at(history, block.start, 0),
            numbers: numbers as u64,
            x_stride: x.cols as u32,
            width: history.cols as u32,
        };
        self.launch("append_f32", [numbers.div_ceil(256), 1, 1], 256, 0, &params)
    }

    fn conv(&self, op: &ConvOp<Mat<D>>, on: &OnDevice<Tables<D>>, block: Range<usize>, history: &History<Mat<D>>, out: &mut Mat<D>) -> Result<()> {
        self.convolve(op, on, block, history, out)
    }

    fn scan(
        &self,
        op: &ScanOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        x: &Mat<D>,
        dt: &Mat<D>,
        bc: (&Mat<D>, usize),
        z: (&Mat<D>, usize),
        states: &mut States<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        self.scan_runs(op, on, block, x, dt, bc, z, states, out)
    }

    fn ssd(
        &self,
        op: &SsdOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        history: &History<Mat<D>>,
        states: &mut States<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        self.dual(op, on, block, history, states, out)
    }

    fn gate(&self, op: &GateOp<Mat<D>>, rows: usize, z: &Mat<D>, z_from: usize, y: &mut Mat<D>) -> Result<()> {
        let params = params::Gate {
            y: self.at(y, 0, 0),
            z: self.at(z, 0, z_from),
            weight: self.or_null(op.norm),
            width: y.cols as u32,
            z_stride: z.cols as u32,
            groups: op.groups.max(1) as u32,
            norm_first: op.norm_first.into(),
            act: act(op.act),
            eps: op.eps,
        };
        self.launch("gate_f32", [rows, op.groups.max(1), 1], 256, 32, &params)
    }

    fn keep(&self, on: &OnDevice<Tables<D>>, heads: usize, wave: &Mat<D>, resident: &mut Mat<D>) -> Result<()> {
        let params = params::Keep {
            keeps: self.device.address(&on.tables.keeps),
            wave: self.at(wave, 0, 0),
            resident: self.at(resident, 0, 0),
            wave_rows: (wave.rows / heads) as u64,
            resident_rows: (resident.rows / heads) as u64,
            width: (wave.offset(1, 0) / 4) as u32,
            padding: 0,
        };
        self.launch("keep_words", [on.wave.keeps.len(), heads, 1], 256, 0, &params)
    }

    fn head(
        &self,
        op: &HeadOp,
        x: &Mat<D>,
        rows: usize,
        weight: &Weight<D>,
        bias: Option<&Mat<D>>,
        ptr: &[u32],
        targets: &[TokenId],
        out: &mut Vec<f32>,
        greedy: Option<&mut Vec<bool>>,
    ) -> Result<()> {
        self.log_probabilities(op, x, rows, weight, bias, ptr, targets, out, greedy)
    }

    fn moments(&self, width: usize, values: &[f64]) -> Result<Moments<D>> {
        self.moments_of(width, values)
    }

    fn accumulate(&self, x: &Mat<D>, rows: usize, moments: &mut Moments<D>) -> Result<()> {
        self.add_rows(x, rows, moments)
    }

    fn moments_taken(&self, moments: &Moments<D>) -> Result<Vec<f64>> {
        self.moments_back(moments)
    }
}
