//! Devices of the CUDA backend for the tests of kernels, models and engine: the emulator, and a GPU where there is one.

use emulation::{Memory, Schedule};
use hilberg::backend::cuda::{Cuda, Device, Fill, Gpu, LibraryProduct, Planes, Run, TensorMap};
use hilberg::tensor::Dtype;
use hilberg::{Error, Result};
use std::sync::{Arc, Mutex};

/// The processor, which plays a GPU under one schedule.
pub struct Emulated {
    schedule: Schedule,
    /// Whether it has what sm_90a has.
    hopper: bool,
    /// What is brought comes as late as it may: memory, and what it will hold.
    brought: Mutex<Vec<(Arc<Memory>, Vec<u8>)>>,
    limits: Limits,
    /// What was asked for.
    pub count: Arc<Mutex<Count>>,
}

/// When its memory runs out.
#[derive(Clone, Copy)]
pub struct Limits {
    /// Bytes that it has.
    pub bytes: usize,
    /// The allocation, counted from 0, that finds none left whatever there is.
    pub refused: usize,
}

impl Limits {
    /// Never.
    pub const NONE: Limits = Limits { bytes: usize::MAX, refused: usize::MAX };
}

/// What of its memory was asked for.
#[derive(Clone, Copy, Default)]
pub struct Count {
    /// Bytes at this moment.
    pub bytes: usize,
    /// The most bytes so far.
    pub peak: usize,
    /// Allocations so far.
    pub allocations: usize,
}

impl Emulated {
    fn new(schedule: Schedule, hopper: bool) -> Self {
        Emulated { schedule, hopper, brought: Mutex::default(), limits: Limits::NONE, count: Arc::default() }
    }
}

/// Some of its memory, counted.
pub struct Counted {
    memory: Arc<Memory>,
    bytes: usize,
    count: Arc<Mutex<Count>>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.count.lock().unwrap().bytes -= self.bytes;
    }
}

/// # Safety
/// No kernel may run meanwhile, and no other copy.
unsafe fn write(memory: &Memory, at: usize, bytes: &[u8]) {
    assert!(at + bytes.len() <= memory.bytes().len());
    // SAFETY: within the memory, by the assertion; nobody else reads or writes it, by the caller.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), (memory.address() as usize + at) as *mut u8, bytes.len()) };
}

/// The backend on it, with operands of this precision.
pub fn emulated(schedule: Schedule, precision: Dtype) -> Cuda<Emulated> {
    Cuda::on(Emulated::new(schedule, false), precision)
}

/// The same, whose memory runs out.
#[allow(dead_code, reason = "not every test that includes this file runs out of memory")]
pub fn emulated_within(limits: Limits, schedule: Schedule, precision: Dtype) -> Cuda<Emulated> {
    Cuda::on(Emulated { limits, ..Emulated::new(schedule, false) }, precision)
}

/// The same with the kernels of sm_90a.
#[allow(dead_code, reason = "not every test that includes this file has 16-bit operands")]
pub fn emulated_hopper(schedule: Schedule, precision: Dtype) -> Cuda<Emulated> {
    Cuda::on(Emulated::new(schedule, true), precision)
}

/// The backend on the first GPU; `None` where there is none, which REQUIRE_CUDA=1 forbids.
pub fn gpu(precision: Dtype) -> Option<Cuda<Gpu>> {
    match Gpu::open(0) {
        Ok(gpu) => Some(Cuda::on(gpu, precision)),
        Err(why) if std::env::var("REQUIRE_CUDA").is_ok_and(|v| v == "1") => panic!("{why}"),
        Err(_) => None,
    }
}

/// A number of a matrix.
///
/// # Safety
/// There must be one, and nobody may write it meanwhile.
unsafe fn number(matrix: u64, at: usize, dtype: Dtype) -> f32 {
    let address = matrix as usize + at * dtype.size();
    // SAFETY: the caller's.
    unsafe {
        match dtype {
            Dtype::F32 => *(address as *const f32),
            Dtype::Bf16 => (*(address as *const half::bf16)).to_f32(),
            Dtype::F16 => (*(address as *const half::f16)).to_f32(),
        }
    }
}

impl Device for Emulated {
    type Memory = Counted;

    fn name(&self) -> String {
        format!("emulated{}, {:?}", if self.hopper { " sm_90a" } else { "" }, self.schedule)
    }

    fn allocate(&self, bytes: usize) -> Result<Counted> {
        let mut count = self.count.lock().unwrap();
        let this = count.allocations;
        count.allocations += 1;
        if count.bytes + bytes > self.limits.bytes || this == self.limits.refused {
            return Err(Error::memory(format!("the emulated device has no {bytes} bytes left")));
        }
        count.bytes += bytes;
        count.peak = count.peak.max(count.bytes);
        Ok(Counted { memory: Arc::new(Memory::new(bytes)), bytes, count: self.count.clone() })
    }

    fn library(&self) -> std::result::Result<String, String> {
        if self.hopper { Ok("loops".into()) } else { Err("nothing is installed on sm_80".into()) }
    }

    /// Of float32 results, in plain loops.
    unsafe fn library_product(&self, of: LibraryProduct) -> Result<Run<'_>> {
        self.library().map_err(Error::input)?;
        if of.results != Dtype::F32 {
            return Err(Error::input("loops write float32"));
        }
        Ok(Box::new(move || {
            for (row, output) in (0..of.rows).flat_map(|row| (0..of.outputs).map(move |output| (row, output))) {
                // SAFETY: the caller's matrices are of these sizes, and no kernel runs meanwhile.
                unsafe {
                    let term = |i| number(of.x, row * of.stride + i, of.operands) * number(of.weight, output * of.stride + i, of.operands);
                    *((of.out as usize + 4 * (row * of.out_stride + output)) as *mut f32) = (0..of.inputs).map(term).sum();
                }
            }
            Ok(())
        }))
    }

    fn address(&self, memory: &Counted) -> u64 {
        memory.memory.address()
    }

    fn upload(&self, bytes: &[u8], memory: &mut Counted, at: usize) -> Result<()> {
        // SAFETY: kernels are done when their launch returns, and what is brought has memory of its own.
        unsafe { write(&memory.memory, at, bytes) };
        Ok(())
    }

    fn bring(&self, rows: usize, row_bytes: usize, fill: &Fill) -> Result<Counted> {
        let (room, mut bytes) = (self.allocate(rows * row_bytes)?, vec![0; rows * row_bytes]);
        let half = rows / 2 * row_bytes;
        fill(rows / 2..rows, &mut bytes[half..]);
        fill(0..rows / 2, &mut bytes[..half]);
        self.brought.lock().unwrap().push((room.memory.clone(), bytes));
        Ok(room)
    }

    fn arrive(&self) -> Result<()> {
        for (memory, bytes) in self.brought.lock().unwrap().drain(..) {
            // SAFETY: as for uploads.
            unsafe { write(&memory, 0, &bytes) };
        }
        Ok(())
    }

    fn download(&self, memory: &Counted, at: usize, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(&memory.memory.bytes()[at..at + bytes.len()]);
        Ok(())
    }

    fn tensor_map(&self, of: Planes) -> Result<Option<TensorMap>> {
        let Planes { address, sizes, strides, of_box } = of;
        Ok(self.hopper.then(|| TensorMap(emulation::Planes { address, sizes, strides, of_box }.map())))
    }

    unsafe fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize, shared: usize, params: &[u8]) -> Result<()> {
        // SAFETY: the caller's.
        unsafe { emulation::launch(kernel, grid.map(|n| n as u32), threads as u32, shared, params, self.schedule) }.map_err(Error::input)
    }
}
