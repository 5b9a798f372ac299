//! A GPU, by NVIDIA's driver: the [`Device`] that the program computes on.
//!
//! All work goes to one stream, so it is done in order. Memory is the stream's, too: what is dropped is given back after what was handed over before, and a pool
//! keeps it for the next. Copies to the device go through pinned memory, half of which is filled while the other half is on its way. Weights are copied on a stream of
//! their own, beside the work.

use super::BINARIES;
use super::device::{Device, Fill, Planes, TensorMap};
use super::driver::{Absent, devices};
use super::library::{self, LibraryProduct, Run};
use crate::error::{Error, OneLine, Result, caught};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys;
use rayon::prelude::*;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Half of the pinned memory.
const STAGE: usize = 16 << 20;
/// Shared memory that a kernel has without being asked for it.
const USUAL_SHARED: usize = 48 << 10;

/// A GPU.
pub struct Gpu {
    held: Arc<Held>,
}

/// Some of its memory.
pub struct GpuMemory {
    held: Arc<Held>,
    address: sys::CUdeviceptr,
    /// Whether it was filled beside the work.
    brought: bool,
}

/// What goes when the last of its memory does.
struct Held {
    device: sys::CUdevice,
    capability: (i32, i32),
    /// Whether the driver took the binaries of sm_90a, rather than translating what is there for later devices.
    hopper: bool,
    context: sys::CUcontext,
    stream: sys::CUstream,
    /// On which weights are copied, and the event that the work waits for when they must be there.
    copies: sys::CUstream,
    copied: sys::CUevent,
    modules: Vec<sys::CUmodule>,
    kernels: Mutex<HashMap<String, Kernel>>,
    /// Of the stream of work, and of that of copies.
    stages: [Mutex<Stages>; 2],
}

#[derive(Clone, Copy)]
struct Kernel {
    function: sys::CUfunction,
    shared: usize,
}

/// Pinned memory of 2 · [`STAGE`] bytes, and when each half is free.
struct Stages {
    memory: *mut u8,
    free: [sys::CUevent; 2],
    next: usize,
}

impl Default for Stages {
    fn default() -> Self {
        Stages { memory: std::ptr::null_mut(), free: [std::ptr::null_mut(); 2], next: 0 }
    }
}

impl Stages {
    /// # Safety
    /// The device's context must be the thread's.
    unsafe fn make(&mut self) -> Result<(), DriverError> {
        // SAFETY: asks for memory and for events, which this holds until they are given back.
        self.memory = unsafe { result::malloc_host(2 * STAGE, 0) }?.cast();
        for free in &mut self.free {
            *free = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?;
        }
        Ok(())
    }

    /// Copies up to [`STAGE`] bytes that `fill` writes, on a stream.
    ///
    /// # Safety
    /// The context must be the thread's, and the memory at the address so large.
    unsafe fn copy(&mut self, bytes: usize, fill: impl FnOnce(&mut [u8]), address: sys::CUdeviceptr, stream: sys::CUstream) -> Result<(), DriverError> {
        let half = self.next;
        self.next = 1 - half;
        // SAFETY: the half is free once its event has come; the copy stays within it and, by the caller's word, within the memory.
        unsafe {
            result::event::synchronize(self.free[half])?;
            let stage = std::slice::from_raw_parts_mut(self.memory.add(half * STAGE), bytes);
            fill(stage);
            result::memcpy_htod_async(address, stage, stream)?;
            result::event::record(self.free[half], stream)
        }
    }

    /// # Safety
    /// The context must be the thread's, and no copy under way.
    unsafe fn give_back(&mut self) {
        // What fails while it goes cannot be mended.
        // SAFETY: each is given back once.
        unsafe {
            for free in self.free.into_iter().filter(|e| !e.is_null()) {
                let _ = result::event::destroy(free);
            }
            if !self.memory.is_null() {
                let _ = result::free_host(self.memory.cast());
            }
        }
    }
}

// SAFETY: handles of the driver may be used by any thread whose current context is theirs, which every use sets first; the pinned memory is behind a lock.
unsafe impl Send for Held {}
unsafe impl Sync for Held {}
unsafe impl Send for Stages {}
unsafe impl Send for Kernel {}

fn failed(doing: &str) -> impl Fn(DriverError) -> Error {
    move |e| Error::input(format!("CUDA: {doing}: {:?}", e.0))
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gpu {
    /// The device that `cuda:N` names.
    ///
    /// # Errors
    /// There is none, it is older than sm_80, or the driver fails or lacks a function.
    pub fn open(ordinal: usize) -> Result<Self> {
        let absent = |why: &Absent| Error::input(format!("there is no CUDA device: {why}; use --device cpu"));
        let all = devices().map_err(|why| absent(&why))?;
        let Some(found) = all.get(ordinal) else {
            return Err(Error::input(format!("there is no device cuda:{ordinal}; `hilberg devices` lists those that there are")));
        };
        let (major, minor) = found.capability;
        if !found.is_enough() {
            return Err(Error::input(format!("cuda:{ordinal} ({}) is sm_{major}{minor}; the kernels ask for sm_80 or later", OneLine(&found.name))));
        }
        // The library that loads the driver panics where an old one lacks a function: all that is used later is used once here.
        let tried = caught(|| {
            let gpu = Gpu { held: Arc::new(Held::new(ordinal, found.capability)?) };
            let mut memory = gpu.allocate(4)?;
            gpu.upload(&[1, 2, 3, 4], &mut memory, 0)?;
            let brought = gpu.bring(1, 4, &|_, to| to.copy_from_slice(&[5, 6, 7, 8]))?;
            gpu.arrive()?;
            let mut back = [[0; 4]; 2];
            gpu.download(&memory, 0, &mut back[0])?;
            gpu.download(&brought, 0, &mut back[1])?;
            gpu.held.kernel("head_combine", USUAL_SHARED + 1)?;
            gpu.tensor_map(Planes::rows(gpu.address(&gpu.allocate(16)?), 8, 1, 8))?;
            if back == [[1, 2, 3, 4], [5, 6, 7, 8]] { Ok(gpu) } else { Err(Error::input(format!("cuda:{ordinal} gives other bytes back than it was given"))) }
        });
        tried.map_err(|why| absent(&Absent::Fails(why)))?
    }

    /// Bytes of memory that are free.
    ///
    /// # Errors
    /// The device fails.
    pub fn free_memory(&self) -> Result<usize> {
        self.held.enter()?;
        self.held.trim().map_err(failed("giving memory back"))?;
        result::mem_get_info().map(|(free, _)| free).map_err(failed("asking for free memory"))
    }

    /// The stream of work, its context made the thread's.
    pub(super) fn stream(&self) -> Result<sys::CUstream> {
        self.held.enter()?;
        Ok(self.held.stream)
    }
}

impl Held {
    fn new(ordinal: usize, capability: (i32, i32)) -> Result<Self> {
        let say = failed("opening the device");
        let device = result::device::get(ordinal as i32).map_err(&say)?;
        // SAFETY: the device is the driver's; its context is retained here and released when this goes.
        let context = unsafe { result::primary_ctx::retain(device) }.map_err(&say)?;
        let mut held = Held {
            device,
            capability,
            hopper: false,
            context,
            stream: std::ptr::null_mut(),
            copies: std::ptr::null_mut(),
            copied: std::ptr::null_mut(),
            modules: Vec::new(),
            kernels: Mutex::default(),
            stages: Default::default(),
        };
        held.enter()?;
        for stream in [&mut held.stream, &mut held.copies] {
            *stream = result::stream::create(result::stream::StreamKind::NonBlocking).map_err(&say)?;
        }
        held.copied = result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING).map_err(&say)?;
        // SAFETY: the pool is the device's; the attribute is a number of 64 bits.
        unsafe {
            let pool = result::device::get_default_mem_pool(device).map_err(&say)?;
            let mut all = u64::MAX;
            let keep = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            result::mem_pool::set_attribute(pool, keep, (&raw mut all).cast()).map_err(&say)?;
        }
        for (source, binary) in BINARIES {
            // The driver reads numbers of 64 bits.
            let mut aligned = vec![0u64; binary.len().div_ceil(8)];
            bytemuck::cast_slice_mut(&mut aligned)[..binary.len()].copy_from_slice(binary);
            // SAFETY: a binary that nvcc wrote; the driver copies what it keeps.
            let module = unsafe { result::module::load_data(aligned.as_ptr().cast()) };
            held.modules.push(module.map_err(failed(&format!("loading the kernels of {source}.cu")))?);
        }
        // Where the driver translates code for sm_80 instead, kernels of sm_90a are there, but empty.
        let version = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_PTX_VERSION;
        // SAFETY: a function of a loaded module.
        let written_for = unsafe { result::function::get_function_attribute(held.find("linear_bf16_90")?, version) }.map_err(&say)?;
        held.hopper = capability == (9, 0) && written_for == 90;
        for stages in &held.stages {
            // SAFETY: the context was entered above.
            unsafe { lock(stages).make() }.map_err(&say)?;
        }
        Ok(held)
    }

    /// Makes the device the calling thread's.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context is retained as long as this is.
        unsafe { result::ctx::set_current(self.context) }.map_err(failed("entering the device's context"))
    }

    /// A kernel that may have so many bytes of shared memory.
    fn kernel(&self, name: &str, shared: usize) -> Result<sys::CUfunction> {
        let mut kernels = lock(&self.kernels);
        let mut kernel = match kernels.get(name) {
            Some(kernel) => *kernel,
            None => Kernel { function: self.find(name)?, shared: USUAL_SHARED },
        };
        if kernel.shared < shared {
            let most = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: a function of a loaded module.
            unsafe { result::function::set_function_attribute(kernel.function, most, shared as i32) }
                .map_err(failed(&format!("giving {name} {shared} bytes of shared memory")))?;
            kernel.shared = shared;
        }
        kernels.insert(name.to_string(), kernel);
        Ok(kernel.function)
    }

    /// Gives back what the pool keeps for later.
    fn trim(&self) -> Result<(), DriverError> {
        // SAFETY: the streams and the device's pool live as long as this.
        unsafe {
            result::stream::synchronize(self.copies)?;
            result::stream::synchronize(self.stream)?;
            result::mem_pool::trim_to(result::device::get_default_mem_pool(self.device)?, 0)
        }
    }

    /// The stream of work goes on once that of copies has come as far as it is now.
    fn wait_for_copies(&self) -> Result<(), DriverError> {
        // SAFETY: the streams and the event live as long as this.
        unsafe {
            result::event::record(self.copied, self.copies)?;
            result::stream::wait_event(self.stream, self.copied, sys::CUevent_wait_flags::CU_EVENT_WAIT_DEFAULT)
        }
    }

    /// So many bytes, of which nothing is known, for what comes next on a stream.
    fn room(self: &Arc<Self>, bytes: usize, brought: bool) -> Result<GpuMemory> {
        let stream = if brought { self.copies } else { self.stream };
        // SAFETY: the stream lives as long as the memory does.
        let ask = || unsafe { result::malloc_async(stream, bytes.max(1)) };
        let full = |e: &DriverError| e.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY;
        let asked = ask().or_else(|e| if full(&e) && self.trim().is_ok() { ask() } else { Err(e) });
        let address = asked.map_err(|e| match e.0 {
            sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => Error::memory(format!("the GPU has no {} MiB left", bytes.div_ceil(1 << 20))),
            _ => failed("asking for memory")(e),
        })?;
        Ok(GpuMemory { held: self.clone(), address, brought })
    }

    fn find(&self, name: &str) -> Result<sys::CUfunction> {
        let text = CString::new(name).map_err(|_| Error::input("a kernel's name holds a zero"))?;
        // SAFETY: modules are loaded as long as this is.
        let found = self.modules.iter().find_map(|m| unsafe { result::module::get_function(*m, text.clone()) }.ok());
        found.ok_or_else(|| Error::input(format!("CUDA: there is no kernel {name} for this device")))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        // What fails while it goes cannot be mended.
        // SAFETY: nothing uses the streams any more, whose work is waited for; everything is given back once.
        unsafe {
            let streams = [self.copies, self.stream].into_iter().filter(|s| !s.is_null());
            streams.clone().for_each(|stream| _ = result::stream::synchronize(stream));
            for stages in &mut self.stages {
                stages.get_mut().unwrap_or_else(PoisonError::into_inner).give_back();
            }
            if !self.copied.is_null() {
                let _ = result::event::destroy(self.copied);
            }
            for module in &self.modules {
                let _ = result::module::unload(*module);
            }
            streams.for_each(|stream| _ = result::stream::destroy(stream));
            let _ = result::primary_ctx::release(self.device);
        }
    }
}

impl Drop for GpuMemory {
    fn drop(&mut self) {
        // What nobody waited for may still be on its way.
        if self.held.enter().is_ok() && (!self.brought || self.held.wait_for_copies().is_ok()) {
            // SAFETY: allocated on a stream that this one has waited for, given back once, after the work that was handed over before.
            let _ = unsafe { result::free_async(self.address, self.held.stream) };
        }
    }
}

impl Device for Gpu {
    type Memory = GpuMemory;

    fn name(&self) -> String {
        let (major, minor) = self.held.capability;
        format!("sm_{major}{minor}")
    }

    fn allocate(&self, bytes: usize) -> Result<GpuMemory> {
        self.held.enter()?;
        let memory = self.held.room(bytes, false)?;
        // SAFETY: as many bytes as were just given.
        unsafe { result::memset_d8_async(memory.address, 0, bytes.max(1), self.held.stream) }.map_err(failed("clearing memory"))?;
        Ok(memory)
    }

    fn address(&self, memory: &GpuMemory) -> u64 {
        memory.address
    }

    fn upload(&self, bytes: &[u8], memory: &mut GpuMemory, at: usize) -> Result<()> {
        self.held.enter()?;
        let mut stages = lock(&self.held.stages[0]);
        for (i, some) in bytes.chunks(STAGE).enumerate() {
            let address = memory.address + (at + i * STAGE) as u64;
            // SAFETY: the context was entered; the caller's sizes lie within the memory.
            unsafe { stages.copy(some.len(), |to| to.copy_from_slice(some), address, self.held.stream) }.map_err(failed("copying to the device"))?;
        }
        Ok(())
    }

    fn bring(&self, rows: usize, row_bytes: usize, fill: &Fill) -> Result<GpuMemory> {
        self.held.enter()?;
        if row_bytes > STAGE {
            return Err(Error::input(format!("a row of weights has {row_bytes} bytes; on CUDA at most {STAGE}")));
        }
        let memory = self.held.room(rows * row_bytes, true)?;
        let at_once = STAGE / row_bytes.max(1);
        // Enough for a processor to be worth waking.
        let few = ((256 << 10) / row_bytes.max(1)).max(1);
        let mut stages = lock(&self.held.stages[1]);
        for first in (0..rows).step_by(at_once) {
            let some = first..rows.min(first + at_once);
            let write = |to: &mut [u8]| {
                let pieces = to.par_chunks_mut((few * row_bytes).max(1)).zip(some.clone().into_par_iter().step_by(few));
                pieces.for_each(|(to, row)| fill(row..some.end.min(row + few), to));
            };
            let address = memory.address + (first * row_bytes) as u64;
            // SAFETY: the context was entered; the rows lie within the memory.
            unsafe { stages.copy(some.len() * row_bytes, write, address, self.held.copies) }.map_err(failed("copying weights to the device"))?;
        }
        Ok(memory)
    }

    fn arrive(&self) -> Result<()> {
        self.held.enter()?;
        // SAFETY: the stream lives as long as this.
        let waited = unsafe { result::stream::synchronize(self.held.stream) };
        waited.and_then(|()| self.held.wait_for_copies()).map_err(failed("computing"))
    }

    fn download(&self, memory: &GpuMemory, at: usize, bytes: &mut [u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.held.enter()?;
        let say = failed("computing");
        // SAFETY: the bytes are waited for before they are anyone else's.
        unsafe {
            result::memcpy_dtoh_async(bytes, memory.address + at as u64, self.held.stream).map_err(&say)?;
            result::stream::synchronize(self.held.stream).map_err(&say)
        }
    }

    fn tensor_map(&self, of: Planes) -> Result<Option<TensorMap>> {
        if !self.held.hopper {
            return Ok(None);
        }
        self.held.enter()?;
        let mut map = sys::CUtensorMap { opaque: [0; 16] };
        let (sizes, strides) = (of.sizes.map(|n| n as u64), of.strides.map(|n| 2 * n as u64));
        // As Turned of kernels/ptx90.cuh has it.
        let swizzle = match of.of_box[0] {
            32 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
            _ => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
        };
        let (boxes, steps) = ([of.of_box[0] as u32, of.of_box[1] as u32, 1], [1u32; 3]);
        // SAFETY: the arrays are as long as the three dimensions ask for; the map is written here and copied.
        let encoded = unsafe {
            sys::cuTensorMapEncodeTiled(
                &mut map,
                sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_UINT16,
                3,
                of.address as *mut c_void,
                sizes.as_ptr(),
                strides.as_ptr(),
                boxes.as_ptr(),
                steps.as_ptr(),
                sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                swizzle,
                sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        encoded.result().map_err(failed("encoding a tensor's map"))?;
        Ok(Some(TensorMap(map.opaque)))
    }

    fn library(&self) -> Result<String, String> {
        library::found()
    }

    unsafe fn library_product(&self, product: LibraryProduct) -> Result<Run<'_>> {
        // SAFETY: the caller's.
        unsafe { library::product(self, product) }
    }

    unsafe fn launch(&self, kernel: &str, grid: [usize; 3], threads: usize, shared: usize, params: &[u8]) -> Result<()> {
        self.held.enter()?;
        let function = self.held.kernel(kernel, shared)?;
        // The driver reads the struct as the kernel has it, whose numbers have up to 64 bits.
        let mut aligned = vec![0u64; params.len().div_ceil(8)];
        bytemuck::cast_slice_mut(&mut aligned)[..params.len()].copy_from_slice(params);
        let [x, y, z] = grid.map(|n| n as u32);
        let mut handed: [*mut c_void; 1] = [aligned.as_mut_ptr().cast()];
        // SAFETY: the caller's; the struct is copied before this returns.
        unsafe { result::launch_kernel(function, (x, y, z), (threads as u32, 1, 1), shared as u32, self.held.stream, &mut handed) }
            .map_err(failed(&format!("handing over {kernel}")))
    }
}
