//! Where kernels run: a GPU, or in tests the processor.

use crate::error::Result;

/// A device with memory of its own. Work that is handed over is done in order.
pub trait Device: Send + Sync {
    /// Some of its memory; given back when dropped.
    type Memory: Send + Sync;

    /// As fingerprints name it: `sm_90a`.
    fn name(&self) -> String;

    /// So many bytes, zeroed, aligned to 256.
    ///
    /// # Errors
    /// There are not so many left.
    fn allocate(&self, bytes: usize) -> Result<Self::Memory>;

    /// Its address on the device.
    fn address(&self, memory: &Self::Memory) -> u64;

    /// Copies bytes to `at` bytes into the memory.
    ///
    /// # Errors
    /// The device fails.
    fn upload(&self, bytes: &[u8], memory: &mut Self::Memory, at: usize) -> Result<()>;

    /// Copies bytes back, once all work handed over before is done.
    ///
    /// # Errors
    /// The device fails.
    fn download(&self, memory: &Self::Memory, at: usize, bytes: &mut [u8]) -> Result<()>;

    /// Hands a kernel over: a grid of blocks of `threads` threads with `shared` bytes of shared memory each.
    ///
    /// # Errors
    /// There is no such kernel, or the device fails.
    ///
    /// # Safety
    /// `params` must be the kernel's struct, and what it points to must be large enough and live until the work is done.
    unsafe fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize, shared: usize, params: &[u8]) -> Result<()>;
}
