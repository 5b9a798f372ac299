//! The verbs whose time is a product's: `linear` and `head`.

use super::device::{Device, Planes, TensorMap};
use super::mat::{Mat, Weight, padded};
use super::params;
use super::tables::sent;
use super::twin::{Cuda, act};
use crate::backend::{Backend, Epilogue, HeadOp, Needs};
use crate::error::{Error, Result};
use crate::forest::TokenId;
use crate::tensor::Dtype;

/// Ids of a segment of the vocabulary, whose sums are combined in order.
const HEAD_SEGMENT: usize = 2048;

/// How a kernel cuts a product: rows and columns of a block's tile, and its bytes of shared memory.
fn tile(dtype: Dtype) -> (usize, usize) {
    match dtype {
        Dtype::F32 => (64, 2 * 16 * (64 + 4) * 4),
        // Three stages of chunks of 64 inputs, of 128 rows of either operand.
        Dtype::Bf16 | Dtype::F16 => (128, 3 * 64 * 2 * 128 * 2),
    }
}

/// The same of the kernels of sm_90a: four stages of chunks of 64 inputs, of 128 rows of x and 256 of the weights, and two barriers for each.
const WIDE: (usize, usize, usize) = (128, 256, 4 * (64 * 2 * 384 + 2 * 8));
const WIDE_THREADS: usize = 384;

/// Rows of tiles that blocks take at a time, column by column (kernels/kernel.cuh).
const BAND: usize = 16;

/// Blocks of the kernels of sm_80 for so many tiles down and across: those of float32 do not know bands.
fn grid(dtype: Dtype, [down, across]: [usize; 2]) -> [usize; 3] {
    if dtype == Dtype::F32 { [down, across, 1] } else { in_bands([down, across]) }
}

/// Blocks for so many tiles down and across.
fn in_bands([down, across]: [usize; 2]) -> [usize; 3] {
    [down.min(BAND), across, down.div_ceil(BAND)]
}

/// Rows of operands as a kernel reads them: address and numbers from one to the next. What was made for it lives as long.
struct Rows<D: Device> {
    address: u64,
    stride: usize,
    _made: Option<D::Memory>,
}

impl<D: Device> Cuda<D> {
    /// Bytes that products and head allocate besides matrices.
    pub(super) fn product_bytes(&self, needs: &Needs) -> usize {
        let narrowed = if self.precision == Dtype::F32 { 0 } else { self.precision.size() * padded(needs.inputs, self.precision) };
        self.block_rows() * (narrowed + 8 * needs.vocab.div_ceil(HEAD_SEGMENT))
    }

    /// Columns `from..` of x as operands for these weights: as they are, or rounded into memory of their own.
    fn operands(&self, x: &Mat<D>, from: usize, rows: usize, weight: &Weight<D>) -> Result<Rows<D>> {
        let stride = weight.stride();
        if stride == 0 {
            return Err(Error::input("a product without inputs"));
        }
        if x.dtype == weight.dtype && (x.dtype == Dtype::F32 || (from.is_multiple_of(8) && weight.inputs == stride)) {
            return Ok(Rows { address: self.at(x, 0, from), stride: x.cols, _made: None });
        }
        if x.dtype != Dtype::F32 {
            return Err(Error::input(format!("columns of {} that begin at {from} cannot be multiplied", x.dtype.name())));
        }
        let made = self.device.allocate(weight.dtype.size() * rows * stride)?;
        let params = params::Narrow {
            x: self.at(x, 0, from),
            out: self.device.address(&made),
            numbers: (rows * stride) as u64,
            stride: x.cols as u32,
            columns: weight.inputs as u32,
            to_stride: stride as u32,
            padding: 0,
        };
        self.launch(&format!("narrow_{}", weight.dtype.name()), [(rows * stride).div_ceil(256), 1, 1], 256, 0, &params)?;
        Ok(Rows { address: self.device.address(&made), stride, _made: Some(made) })
    }

    /// Maps of both operands of a product, where the device has kernels that take them.
    fn maps(&self, x: &Rows<D>, rows: usize, weight: &Weight<D>, weight_rows: usize) -> Result<Option<(TensorMap, TensorMap)>> {
        if weight.dtype == Dtype::F32 || rows == 0 || weight_rows == 0 {
            return Ok(None);
        }
        let (columns, address) = (weight.stride(), self.device.address(&weight.memory));
        let map = |address, rows, stride| self.device.tensor_map(Planes::rows(address, columns, rows, stride));
        Ok(map(x.address, rows, x.stride)?.zip(map(address, weight_rows, columns)?))
    }

    /// As [`Backend::linear`].
    pub(super) fn product(
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
            Epilogue::Add => (1, crate::backend::Act::None),
            Epilogue::Gated(kind) => (2, kind),
        };
        let x = self.operands(x, from, rows, weight)?;
        let params = params::Linear {
            x: x.address,
            weight: self.device.address(&weight.memory),
            bias: self.or_null(bias),
            out: self.at(out, out_first, 0),
            rows: rows as u32,
            x_stride: x.stride as u32,
            inputs: weight.stride() as u32,
            outputs: weight.outputs as u32,
            epilogue: how,
            act: act(kind),
            narrow: u32::from(out.dtype != Dtype::F32),
            padding: 0,
        };
        // Gate and up of a column are of one tile where operands are short.
        let halves = if how == 2 && weight.dtype != Dtype::F32 { 2 } else { 1 };
        let tiles = |tile_rows: usize, tile_columns: usize| [rows.div_ceil(tile_rows), weight.outputs.div_ceil(tile_columns / halves)];
        if let Some((x_map, weight_map)) = self.maps(&x, rows, weight, weight.outputs * if how == 2 { 2 } else { 1 })? {
            let params = params::Linear90 { x_map, weight_map, linear: params, padding: [0; 8] };
            return self.launch(&format!("linear_{}_90", weight.dtype.name()), in_bands(tiles(WIDE.0, WIDE.1)), WIDE_THREADS, WIDE.2, &params);
        }
        let (tile, shared) = tile(weight.dtype);
        self.launch(&format!("linear_{}", weight.dtype.name()), grid(weight.dtype, tiles(tile, tile)), 256, shared, &params)
    }

    /// As [`Backend::head`].
    pub(super) fn log_probabilities(
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
        let x = self.operands(x, 0, rows, weight)?;
        if x.stride != weight.stride() {
            return Err(Error::input(format!("the head reads {} numbers of rows of {}", weight.stride(), x.stride)));
        }
        let (ptr, targets_there) = (sent(&self.device, ptr)?, sent(&self.device, targets)?);
        let room = |bytes| self.device.allocate(bytes);
        let (sums, picked, logs, ties) = (room(8 * segments * rows)?, room(4 * targets.len())?, room(4 * targets.len())?, room(targets.len())?);
        let of = |memory: &D::Memory| self.device.address(memory);
        let product = params::Head {
            x: x.address,
            weight: of(&weight.memory),
            bias: self.or_null(bias),
            ptr: of(&ptr),
            targets: of(&targets_there),
            sums: of(&sums),
            picked: of(&picked),
            rows: rows as u32,
            d: weight.stride() as u32,
            vocab: weight.outputs as u32,
            softcap: op.softcap.unwrap_or(0.0),
            scale: op.scale,
            padding: 0,
        };
        if let Some((x_map, weight_map)) = self.maps(&x, rows, weight, weight.outputs)? {
            let product = params::Head90 { x_map, weight_map, head: product, padding: [0; 6] };
            self.launch(&format!("head_segments_{}_90", weight.dtype.name()), in_bands([rows.div_ceil(WIDE.0), segments]), WIDE_THREADS, WIDE.2, &product)?;
        } else {
            let (tile, shared) = tile(weight.dtype);
            let grid = grid(weight.dtype, [rows.div_ceil(tile), segments]);
            self.launch(&format!("head_segments_{}", weight.dtype.name()), grid, 256, shared, &product)?;
        }
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
