//! Sums over samples of hidden states.

use super::device::Device;
use super::mat::{Mat, countable};
use super::params;
use super::twin::Cuda;
use crate::backend::{moments_len, packed, unpacked};
use crate::error::Result;

/// Columns of a tile, as `MOMENTS_TILE` of `kernels/moments.cu`.
const TILE: usize = 64;
/// Bytes of a number.
const F64: usize = size_of::<f64>();

/// Sums `[width]`, then products `[width, width]`, float64.
pub struct Moments<D: Device> {
    memory: D::Memory,
    width: usize,
}

impl<D: Device> Cuda<D> {
    pub(super) fn moments_of(&self, width: usize, values: &[f64]) -> Result<Moments<D>> {
        countable("columns of a matrix", width)?;
        let mut memory = self.device.allocate(F64 * width * (width + 1))?;
        if values.len() == moments_len(width) {
            self.device.upload(bytemuck::cast_slice(&unpacked(width, values)?), &mut memory, 0)?;
        }
        Ok(Moments { memory, width })
    }

    pub(super) fn add_rows(&self, x: &Mat<D>, rows: usize, moments: &mut Moments<D>) -> Result<()> {
        countable("rows of a sample", rows)?;
        let (width, tiles) = (moments.width, moments.width.div_ceil(TILE));
        let sums = self.device.address(&moments.memory);
        let params = params::Moments { x: self.at(x, 0, 0), sums, products: sums + (F64 * width) as u64, rows: rows as u32, width: width as u32 };
        // Two chunks of 16 rows, as `MOMENTS_CHUNK` and `MOMENTS_ROW` there.
        self.launch("moments_f32", [tiles, tiles, 1], 256, 2 * 16 * (TILE + 4) * size_of::<f32>(), &params)
    }

    pub(super) fn moments_back(&self, moments: &Moments<D>) -> Result<Vec<f64>> {
        let mut all = crate::backend::float64s(moments.width * (moments.width + 1))?;
        self.device.download(&moments.memory, 0, bytemuck::cast_slice_mut(&mut all))?;
        packed(moments.width, &all)
    }
}
