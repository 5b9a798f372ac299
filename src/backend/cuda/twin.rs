//! The verbs on a device, in float32.

use super::device::Device;
use super::params::{self, MOST_TAPS};
use super::tables::{States as DeviceStates, Stores, Tables, sent};
use crate::backend::{Act, AttentionOp, Backend, ConvOp, Epilogue, GateOp, HeadOp, History, Needs, NormOp, OnDevice, Operand, RotaryOp, ScanOp, SsdOp, States};
use crate::error::{Error, Result};
use crate::forest::{TokenId, Wave};
use crate::tensor::Tensor;
use bytemuck::Pod;
use std::ops::Range;

/// Rows of a block: enough to fill a device.
const BLOCK_ROWS: usize = 8192;
/// Ids of a segment of the vocabulary, whose sums are combined in order.
const HEAD_SEGMENT: usize = 2048;
/// Tile of `linear_f32` and `head_segments_f32`, and its chunks of shared memory.
const TILE: usize = 64;
const TILE_SHARED: usize = 2 * 16 * (TILE + 4) * 4;
/// Widest head of `attention_f32` and `ssd_f32`.
const MOST_HEAD_DIM: usize = 256;

/// A device with its verbs.
pub struct Cuda<D: Device> {
    device: D,
}

/// `[rows, cols]` float32.
pub struct Mat<D: Device> {
    memory: D::Memory,
    rows: usize,
    cols: usize,
}

/// Weights `[outputs, inputs]`; of a gate `[2 · outputs, inputs]`.
pub struct Weight<D: Device> {
    memory: D::Memory,
    inputs: usize,
    outputs: usize,
}

fn act(kind: Act) -> u32 {
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
    /// On this device.
    pub fn on(device: D) -> Self {
        Cuda { device }
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Address of a row's number.
    fn at(&self, mat: &Mat<D>, row: usize, col: usize) -> u64 {
        self.device.address(&mat.memory) + 4 * (row * mat.cols + col) as u64
    }

    fn or_null(&self, mat: Option<&Mat<D>>) -> u64 {
        mat.map_or(0, |m| self.at(m, 0, 0))
    }

    fn stores(&self, history: &History<Mat<D>>) -> Stores {
        Stores { of: [self.at(history.wave, 0, 0), self.at(history.resident, 0, 0)] }
    }

    fn states(&self, states: &States<Mat<D>>, size: usize) -> DeviceStates {
        DeviceStates { of: [self.at(states.wave, 0, 0), self.at(states.resident, 0, 0)], size: size as u64 }
    }

    fn taps(&self, op: &ConvOp<Mat<D>>) -> Result<params::Taps> {
        if op.taps > MOST_TAPS {
            return Err(Error::input(format!("the convolution is {} wide; on CUDA at most {MOST_TAPS}", op.taps)));
        }
        Ok(params::Taps { weight: self.at(op.weight, 0, 0), bias: self.or_null(op.bias), taps: op.taps as u32, act: act(op.act) })
    }

    /// Hands a kernel over, unless its grid is empty.
    fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize, shared: usize, params: &impl Pod) -> Result<()> {
        if grid.contains(&0) {
            return Ok(());
        }
        // SAFETY: callers name memory that they hold, of the sizes that the kernel's contract says; work is done in order, and memory that is
        // dropped is given back only after what was handed over before.
        unsafe { self.device.launch(kernel, grid, threads, shared, bytemuck::bytes_of(params)) }
    }
}

/// The run that holds a wave's row.
fn run_of(wave: &Wave, row: usize) -> u32 {
    wave.runs.partition_point(|r| r.rows.end as usize <= row) as u32
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
    this.launch("norm_f32", [rows, 1, 1], 256, 32, &params)
}

impl<D: Device> Backend for Cuda<D> {
    type Mat = Mat<D>;
    type Weight = Weight<D>;
    type Tables = Tables<D>;

    fn name(&self) -> String {
        format!("cuda/{}", self.device.name())
    }

    fn block_rows(&self) -> usize {
        BLOCK_ROWS
    }

    fn weight_bytes(&self, inputs: usize, outputs: usize) -> usize {
        4 * inputs * outputs
    }

    fn scratch_bytes(&self, needs: &Needs) -> usize {
        8 * self.block_rows() * needs.vocab.div_ceil(HEAD_SEGMENT)
    }

    fn mat(&self, rows: usize, cols: usize) -> Result<Mat<D>> {
        Ok(Mat { memory: self.device.allocate(4 * rows * cols)?, rows, cols })
    }

    fn param(&self, tensor: &Tensor, rows: usize) -> Result<Mat<D>> {
        self.upload(&tensor.to_f32(), tensor.len() / rows.max(1))
    }

    fn upload(&self, values: &[f32], cols: usize) -> Result<Mat<D>> {
        Ok(Mat { memory: sent(&self.device, values)?, rows: values.len() / cols.max(1), cols })
    }

    fn download(&self, mat: &Mat<D>, rows: Range<usize>) -> Result<Vec<f64>> {
        let mut values = vec![0.0f32; rows.len() * mat.cols];
        self.device.download(&mat.memory, 4 * rows.start * mat.cols, bytemuck::cast_slice_mut(&mut values))?;
        Ok(values.into_iter().map(f64::from).collect())
    }

    fn pack(&self, operand: &Operand) -> Result<Weight<D>> {
        let parts: Vec<_> = match operand {
            Operand::Plain(parts) => parts.iter().collect(),
            Operand::Gated(gate, up) => vec![gate, up],
        };
        let inputs = parts.first().map_or(0, |p| p.inputs());
        let rows: usize = parts.iter().map(|p| p.outputs()).sum();
        let mut values = vec![0.0f32; rows * inputs];
        let places = parts.iter().flat_map(|part| (0..part.outputs()).map(move |i| (part, i)));
        for ((part, i), row) in places.zip(values.chunks_exact_mut(inputs.max(1))) {
            part.widen_row(i, row);
        }
        let outputs = if matches!(operand, Operand::Gated(..)) { rows / 2 } else { rows };
        Ok(Weight { memory: sent(&self.device, &values)?, inputs, outputs })
    }

    fn tables(&self, wave: &Wave) -> Result<Tables<D>> {
        Tables::send(&self.device, wave)
    }

    fn embed(&self, tokens: &[TokenId], positions: &[u32], table: &Tensor, learned: Option<&Tensor>, x: &mut Mat<D>, first: usize) -> Result<()> {
        let d = x.cols;
        let (mut rows, mut added) = (vec![0.0f32; tokens.len() * d], vec![0.0f32; d]);
        for ((row, &token), &position) in rows.chunks_exact_mut(d).zip(tokens).zip(positions) {
            table.widen(token as usize * d, row);
            if let Some(learned) = learned {
                learned.widen(position as usize * d, &mut added);
                row.iter_mut().zip(&added).for_each(|(x, p)| *x += p);
            }
        }
        self.device.upload(bytemuck::cast_slice(&rows), &mut x.memory, 4 * first * d)
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
        let (how, kind) = match epilogue {
            Epilogue::Store(kind) => (0, kind),
            Epilogue::Add => (1, Act::None),
            Epilogue::Gated(kind) => (2, kind),
        };
        let params = params::Linear {
            x: self.at(x, 0, from),
            weight: self.device.address(&weight.memory),
            bias: self.or_null(bias),
            out: self.at(out, out_first, 0),
            rows: rows as u32,
            x_stride: x.cols as u32,
            inputs: weight.inputs as u32,
            outputs: weight.outputs as u32,
            epilogue: how,
            act: act(kind),
        };
        self.launch("linear_f32", [rows.div_ceil(TILE), weight.outputs.div_ceil(TILE), 1], 256, TILE_SHARED, &params)
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
            dims: op.dims as u32,
            eps,
            padding: 0,
        };
        self.launch("rotary_append_f32", [(block.len() * (op.heads + 2 * op.kv_heads)).div_ceil(8), 1, 1], 256, 0, &params)
    }

    fn attention(
        &self,
        op: &AttentionOp,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        qkv: &Mat<D>,
        keys: &History<Mat<D>>,
        values: &History<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        if op.head_dim > MOST_HEAD_DIM {
            return Err(Error::input(format!("heads of attention are {} wide; on CUDA at most {MOST_HEAD_DIM}", op.head_dim)));
        }
        let params = params::PlainAttention {
            forest: on.tables.forest(&self.device),
            q: self.at(qkv, 0, 0),
            keys: self.stores(keys).of,
            values: self.stores(values).of,
            out: self.at(out, 0, 0),
            store_rows: [keys.wave.rows, keys.resident.rows].map(|r| (r / op.kv_heads) as u64),
            first_row: block.start as u32,
            rows: block.len() as u32,
            q_stride: qkv.cols as u32,
            heads: op.heads as u32,
            kv_heads: op.kv_heads as u32,
            head_dim: op.head_dim as u32,
            window: op.window.unwrap_or(0) as u32,
            scale: op.scale,
            softcap: op.softcap.unwrap_or(0.0),
            padding: 0,
        };
        self.launch("attention_f32", [(block.len() * op.heads).div_ceil(4), 1, 1], 128, 0, &params)
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
        let params = params::Conv {
            forest: on.tables.forest(&self.device),
            stores: self.stores(history),
            taps: self.taps(op)?,
            out: self.at(out, 0, 0),
            first_row: block.start as u32,
            width: out.cols as u32,
            history: history.wave.cols as u32,
            padding: 0,
        };
        self.launch("conv_f32", [block.len(), out.cols.div_ceil(256), 1], 256, 4 * MOST_TAPS, &params)
    }

    fn scan(
        &self,
        op: &ScanOp<Mat<D>>,
        on: &OnDevice<Tables<D>>,
        block: Range<usize>,
        x: &Mat<D>,
        dt: &Mat<D>,
        (bc, b_from): (&Mat<D>, usize),
        (z, z_from): (&Mat<D>, usize),
        states: &mut States<Mat<D>>,
        out: &mut Mat<D>,
    ) -> Result<()> {
        let params = params::Scan {
            forest: on.tables.forest(&self.device),
            states: self.states(states, op.d_inner * op.d_state),
            x: self.at(x, 0, 0),
            dt: self.at(dt, 0, 0),
            bc: self.at(bc, 0, b_from),
            z: self.at(z, 0, z_from),
            a_log: self.at(op.a_log, 0, 0),
            d_skip: self.at(op.d_skip, 0, 0),
            out: self.at(out, 0, 0),
            first_row: block.start as u32,
            end_row: block.end as u32,
            first_run: run_of(on.wave, block.start),
            d_inner: op.d_inner as u32,
            d_state: op.d_state as u32,
            bc_stride: bc.cols as u32,
            z_stride: z.cols as u32,
            act: act(op.act),
        };
        let blocks = if block.is_empty() { 0 } else { op.d_inner.div_ceil(64) };
        self.launch("scan_f32", [blocks, 1, 1], 64, 0, &params)
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
        if op.head_dim > MOST_HEAD_DIM {
            return Err(Error::input(format!("heads of Mamba-2 are {} wide; on CUDA at most {MOST_HEAD_DIM}", op.head_dim)));
        }
        let params = params::Ssd {
            forest: on.tables.forest(&self.device),
            stores: self.stores(history),
            states: self.states(states, op.heads * op.head_dim * op.d_state),
            taps: self.taps(&op.conv)?,
            dt_bias: self.at(op.dt_bias, 0, 0),
            a_log: self.at(op.a_log, 0, 0),
            d_skip: self.at(op.d_skip, 0, 0),
            out: self.at(out, 0, 0),
            first_row: block.start as u32,
            end_row: block.end as u32,
            first_run: run_of(on.wave, block.start),
            heads: op.heads as u32,
            head_dim: op.head_dim as u32,
            groups: op.groups as u32,
            d_state: op.d_state as u32,
            history: history.wave.cols as u32,
            dt_least: op.dt_limit.0,
            dt_most: op.dt_limit.1,
        };
        let heads = if block.is_empty() { 0 } else { op.heads };
        self.launch("ssd_f32", [heads, 1, 1], 256, 4 * (MOST_TAPS + 2 * 16), &params)
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
            width: wave.cols as u32,
            padding: 0,
        };
        self.launch("keep_f32", [on.wave.keeps.len(), heads, 1], 256, 0, &params)
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
        if rows == 0 || targets.is_empty() {
            return Ok(());
        }
        let segments = weight.outputs.div_ceil(HEAD_SEGMENT);
        let (ptr, targets_there) = (sent(&self.device, ptr)?, sent(&self.device, targets)?);
        let room = |bytes| self.device.allocate(bytes);
        let (sums, picked, logs, ties) = (room(8 * segments * rows)?, room(4 * targets.len())?, room(4 * targets.len())?, room(targets.len())?);
        let of = |memory: &D::Memory| self.device.address(memory);
        let product = params::Head {
            x: self.at(x, 0, 0),
            weight: of(&weight.memory),
            bias: self.or_null(bias),
            ptr: of(&ptr),
            targets: of(&targets_there),
            sums: of(&sums),
            picked: of(&picked),
            rows: rows as u32,
            d: weight.inputs as u32,
            vocab: weight.outputs as u32,
            softcap: op.softcap.unwrap_or(0.0),
            scale: op.scale,
            padding: 0,
        };
        self.launch("head_segments_f32", [rows.div_ceil(TILE), segments, 1], 256, TILE_SHARED, &product)?;
        let combine = params::HeadCombine {
            sums: of(&sums),
            picked: of(&picked),
            ptr: of(&ptr),
            logs: of(&logs),
            greedy: if greedy.is_some() { of(&ties) } else { 0 },
            rows: rows as u32,
            segments: segments as u32,
        };
        self.launch("head_combine", [rows.div_ceil(8), 1, 1], 256, 0, &combine)?;
        let mut values = vec![0.0f32; targets.len()];
        self.device.download(&logs, 0, bytemuck::cast_slice_mut(&mut values))?;
        out.extend(values);
        if let Some(greedy) = greedy {
            let mut bytes = vec![0u8; targets.len()];
            self.device.download(&ties, 0, &mut bytes)?;
            greedy.extend(bytes.into_iter().map(|b| b != 0));
        }
        Ok(())
    }
}
