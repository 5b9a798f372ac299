//! Where kernels run: a GPU, or in tests the processor.

use super::library::{LibraryProduct, Run};
use crate::error::{Error, Result};
use std::ops::Range;

/// What a kernel of sm_90a copies boxes from: [`Planes`], as the device encodes them.
#[repr(C, align(128))]
#[derive(Clone, Copy, Debug, bytemuck::Pod, bytemuck::Zeroable)]
pub struct TensorMap(pub [u64; 16]);

/// Planes of rows of 16-bit numbers in a device's memory, and the boxes that kernels copy of them.
#[derive(Clone, Copy, Debug)]
pub struct Planes {
    /// Of the first number; a multiple of 16.
    pub address: u64,
    /// Numbers of a row, rows of a plane, planes.
    pub sizes: [usize; 3],
    /// Numbers from one row to the next, and from one plane to the next: multiples of 8.
    pub strides: [usize; 2],
    /// Columns and rows of a box. A row of 64 columns has the swizzle of 128 bytes, one of 32 that of 64.
    pub of_box: [usize; 2],
}

impl Planes {
    /// One plane, in boxes of 64 × 128.
    pub fn rows(address: u64, columns: usize, rows: usize, stride: usize) -> Self {
        Planes { address, sizes: [columns, rows, 1], strides: [stride, rows * stride], of_box: [64, 128] }
    }
}

/// Writes these rows' bytes.
pub type Fill<'a> = dyn Fn(Range<usize>, &mut [u8]) + Sync + 'a;

/// A device with memory of its own. Work that is handed over is done in order.
pub trait Device: Send + Sync {
    /// Some of its memory; given back when dropped.
    type Memory: Send + Sync;

    /// As fingerprints name it: `sm_90a`.
    fn name(&self) -> String;

    /// So many bytes, zeroed, aligned to 256.
    ///
    /// # Errors
    /// [`Error::Memory`](crate::Error::Memory) where there are not so many left; the device fails.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory>;

    /// Its address on the device.
    fn address(&self, memory: &Self::Memory) -> u64;

    /// Copies bytes to `at` bytes into the memory.
    ///
    /// # Errors
    /// The device fails.
    fn upload(&self, bytes: &[u8], memory: &mut Self::Memory, at: usize) -> Result<()>;

    /// Memory of `rows` rows of `row_bytes` bytes each, which `fill` writes, some rows at a time and several at once. They are copied beside the work that was handed over:
    /// kernels may read them after [`Device::arrive`].
    ///
    /// # Errors
    /// There is not so much left, or the device fails.
    fn bring(&self, rows: usize, row_bytes: usize, fill: &Fill) -> Result<Self::Memory>;

    /// Work that is handed over from now on begins once everything is there that was brought before. Waits for the work that was handed over before, so that memory which was
    /// dropped is free.
    ///
    /// # Errors
    /// The device fails.
    fn arrive(&self) -> Result<()>;

    /// Copies bytes back, once all work handed over before is done.
    ///
    /// # Errors
    /// The device fails.
    fn download(&self, memory: &Self::Memory, at: usize, bytes: &mut [u8]) -> Result<()>;

    /// Their map; `None` where the device has no kernels of sm_90a.
    ///
    /// # Errors
    /// The device cannot encode it.
    fn tensor_map(&self, of: Planes) -> Result<Option<TensorMap>> {
        let _ = of;
        Ok(None)
    }

    /// The device's own library of products, and how it is used, in a line.
    ///
    /// # Errors
    /// Why there is none, in a line.
    fn library(&self) -> std::result::Result<String, String> {
        Err("the device has no library of products".into())
    }

    /// A product by that library, ready to be run again and again.
    ///
    /// # Errors
    /// There is no library, it has no algorithm for this, or the device fails.
    ///
    /// # Safety
    /// The addresses must be of matrices so large, which live as long as what is returned.
    unsafe fn library_product(&self, product: LibraryProduct) -> Result<Run<'_>> {
        let _ = product;
        Err(Error::input(self.library().err().unwrap_or_default()))
    }

    /// Hands a kernel over: a grid of blocks of `threads` threads with `shared` bytes of shared memory each.
    ///
    /// # Errors
    /// There is no such kernel, or the device fails.
    ///
    /// # Safety
    /// `params` must be the kernel's struct, and what it points to must be large enough and live until the work is done.
    unsafe fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize, shared: usize, params: &[u8]) -> Result<()>;
}
