//! Devices of the CUDA backend for the tests of kernels, models and engine: the emulator, and a GPU where there is one.

use emulation::{Memory, Schedule};
use hilberg::backend::cuda::{Cuda, Device, Gpu, TensorMap};
use hilberg::tensor::Dtype;
use hilberg::{Error, Result};

/// The processor, which plays a GPU under one schedule.
pub struct Emulated {
    schedule: Schedule,
    /// Whether it has what sm_90a has.
    hopper: bool,
}

/// The backend on it, with operands of this precision.
pub fn emulated(schedule: Schedule, precision: Dtype) -> Cuda<Emulated> {
    Cuda::on(Emulated { schedule, hopper: false }, precision)
}

/// The same with the kernels of sm_90a.
#[allow(dead_code, reason = "not every test that includes this file has 16-bit operands")]
pub fn emulated_hopper(schedule: Schedule, precision: Dtype) -> Cuda<Emulated> {
    Cuda::on(Emulated { schedule, hopper: true }, precision)
}

/// The backend on the first GPU; `None` where there is none, which REQUIRE_CUDA=1 forbids.
pub fn gpu(precision: Dtype) -> Option<Cuda<Gpu>> {
    match Gpu::open(0) {
        Ok(gpu) => Some(Cuda::on(gpu, precision)),
        Err(why) if std::env::var("REQUIRE_CUDA").is_ok_and(|v| v == "1") => panic!("{why}"),
        Err(_) => None,
    }
}

impl Device for Emulated {
    type Memory = Memory;

    fn name(&self) -> String {
        format!("emulated{}, {:?}", if self.hopper { " sm_90a" } else { "" }, self.schedule)
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

    fn tensor_map(&self, address: u64, columns: usize, rows: usize, stride: usize) -> Result<Option<TensorMap>> {
        Ok(self.hopper.then(|| TensorMap(emulation::tensor_map(address, columns, rows, stride))))
    }

    unsafe fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize, shared: usize, params: &[u8]) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { emulation::launch(kernel, grid.map(|n| n as u32), threads as u32, shared, params, self.schedule) }.map_err(Error::input)
    }
}
