//! The emulator as a device of the CUDA backend: what the tests of kernels, models and engine include.

use emulation::{Memory, Schedule};
use hilberg::backend::cuda::{Cuda, Device};
use hilberg::{Error, Result};

/// The processor, which plays a GPU under one schedule.
pub struct Emulated(pub Schedule);

/// The backend on it.
pub fn emulated(schedule: Schedule) -> Cuda<Emulated> {
    Cuda::on(Emulated(schedule))
}

impl Device for Emulated {
    type Memory = Memory;

    fn name(&self) -> String {
        format!("emulated, {:?}", self.0)
    }

    fn allocate(&self, bytes: usize) -> Result<Memory> {
        Ok(Memory::new(bytes))
    }

    fn address(&self, memory: &Memory) -> u64 {
        memory.address()
    }

    fn upload(&self, bytes: &[u8], memory: &mut Memory, at: usize) -> Result<()> {
        memory.bytes_mut()[at..at + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn download(&self, memory: &Memory, at: usize, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(&memory.bytes()[at..at + bytes.len()]);
        Ok(())
    }

    unsafe fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize, shared: usize, params: &[u8]) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { emulation::launch(kernel, grid.map(|n| n as u32), threads as u32, shared, params, self.0) }.map_err(Error::input)
    }
}
