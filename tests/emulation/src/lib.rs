//! Runs the kernels of `kernels/*.cu` on the processor: threads of a block are fibers, barriers and warp collectives hand over between them, and a watch
//! holds every access against allocations and barriers.
//!
//! A kernel that is correct gives the same bits under every [`Schedule`]. One that lacks a barrier may give them under some; so tests run all of them, and the
//! watched one finds the missing barrier whatever the order was.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ops::Range;

/// Which of the threads that could go on does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// First come, first served, from thread 0 on.
    Forward,
    /// The same from the last thread on.
    Backward,
    /// One warp as far ahead of the others as it can get.
    WarpAhead,
}

/// When asynchronous work happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// As soon as it is issued.
    AtOnce,
    /// As late as the waits allow.
    Late,
}

/// How a block's threads are interleaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Who goes on.
    pub order: Order,
    /// When asynchronous work lands.
    pub landing: Landing,
    /// Whether accesses are checked: bounds, races, reads of what was never written. Much slower.
    pub watched: bool,
}

impl Schedule {
    /// Those that a kernel must pass.
    pub const ALL: [Schedule; 6] = [
        Schedule { order: Order::Forward, landing: Landing::AtOnce, watched: true },
        Schedule { order: Order::Forward, landing: Landing::Late, watched: false },
        Schedule { order: Order::Backward, landing: Landing::AtOnce, watched: false },
        Schedule { order: Order::Backward, landing: Landing::Late, watched: false },
        Schedule { order: Order::WarpAhead, landing: Landing::AtOnce, watched: false },
        Schedule { order: Order::WarpAhead, landing: Landing::Late, watched: true },
    ];
}

unsafe extern "C" {
    fn emu_launch(
        name: *const c_char,
        grid: *const c_uint,
        first: *const c_uint,
        blocks: *const c_uint,
        size: *const c_uint,
        shared: usize,
        params: *const c_void,
        params_size: usize,
        order: c_int,
        landing: c_int,
        watched: c_int,
        os_threads: c_int,
        reason: *mut c_char,
        reason_size: usize,
    ) -> c_int;
    fn emu_allocated(p: *const c_void, size: usize);
    fn emu_freed(p: *const c_void);
    fn emu_map(size: usize) -> *mut c_void;
    fn emu_unmap(p: *mut c_void, size: usize);
}

/// What plays a tensor's map: planes of rows of 16-bit numbers.
#[derive(Clone, Copy, Debug)]
pub struct Planes {
    /// Of the first number.
    pub address: u64,
    /// Numbers of a row, rows of a plane, planes.
    pub sizes: [usize; 3],
    /// Numbers from one row to the next, and from one plane to the next.
    pub strides: [usize; 2],
    /// Columns and rows of a box.
    pub of_box: [usize; 2],
}

impl Planes {
    /// As tests/emulation/cpp/ptx90.cpp reads it.
    pub fn map(&self) -> [u64; 16] {
        let ([columns, rows, planes], [stride, plane_stride], [box_columns, box_rows]) = (self.sizes, self.strides, self.of_box);
        let numbers = [columns, rows, planes, 2 * stride, 2 * plane_stride, box_columns, box_rows];
        let mut words = [0; 16];
        words[..2].copy_from_slice(&[0x686f_7070_6572_0001, self.address]);
        words[2..9].copy_from_slice(&numbers.map(|n| n as u64));
        words
    }
}

/// The map of one plane, of `rows` rows of `columns` numbers, in boxes of 64 × 128.
pub fn tensor_map(address: u64, columns: usize, rows: usize, stride: usize) -> [u64; 16] {
    Planes { address, sizes: [columns, rows, 1], strides: [stride, rows * stride], of_box: [64, 128] }.map()
}

/// Runs a grid of blocks to its end.
///
/// # Errors
/// What the kernel did wrong, or what is wrong with the launch, as one line.
///
/// # Safety
/// Addresses in `params` must be of [`Memory`] that lives, and no other launch may write it meanwhile.
pub unsafe fn launch(name: &str, grid: [u32; 3], threads: u32, shared: usize, params: &[u8], schedule: Schedule) -> Result<(), String> {
    // SAFETY: the caller's.
    unsafe { launch_some(name, grid, grid.map(|n| 0..n), threads, shared, params, schedule) }
}

/// Runs some blocks of a grid, and no others.
///
/// # Errors
/// As [`launch`].
///
/// # Safety
/// As [`launch`].
pub unsafe fn launch_some(
    name: &str,
    grid: [u32; 3],
    blocks: [Range<u32>; 3],
    threads: u32,
    shared: usize,
    params: &[u8],
    schedule: Schedule,
) -> Result<(), String> {
    if blocks.iter().zip(grid).any(|(some, all)| some.end > all) {
        return Err(format!("{name}: blocks {blocks:?} are not all of a grid of {grid:?}"));
    }
    let (first, blocks) = (blocks.each_ref().map(|some| some.start), blocks.each_ref().map(|some| some.len() as u32));
    let c_name = CString::new(name).map_err(|_| "a kernel's name holds no zero byte".to_string())?;
    let size = [threads, 1, 1];
    let mut reason = [0 as c_char; 1024];
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get()) as c_int;
    // SAFETY: the caller vouches for what the parameters point to; everything else lives until the call returns.
    let failed = unsafe {
        emu_launch(
            c_name.as_ptr(),
            grid.as_ptr(),
            first.as_ptr(),
            blocks.as_ptr(),
            size.as_ptr(),
            shared,
            params.as_ptr().cast(),
            params.len(),
            schedule.order as c_int,
            schedule.landing as c_int,
            schedule.watched.into(),
            workers,
            reason.as_mut_ptr(),
            reason.len(),
        )
    };
    if failed == 0 {
        return Ok(());
    }
    // SAFETY: the emulator ends what it writes with a zero byte.
    Err(unsafe { CStr::from_ptr(reason.as_ptr()) }.to_string_lossy().into_owned())
}

/// What plays the device's memory: zeroed, aligned to 256 bytes, known to the watch. Kernels change it behind shared references, as a device does.
#[derive(Debug)]
pub struct Memory {
    begin: *mut u8,
    size: usize,
}

// SAFETY: it owns its bytes, and whoever launches a kernel that writes them vouches that nobody reads them meanwhile.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

/// From so many bytes on memory is mapped: what nobody touches of it is not there.
const MAPPED: usize = 1 << 20;

impl Memory {
    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size.max(1), 256).expect("sizes of tests are sizes of memory")
    }

    /// So many bytes.
    pub fn new(size: usize) -> Memory {
        // SAFETY: both sizes are above 0; what is told to the watch is this allocation, until it is dropped.
        unsafe {
            let begin = if size < MAPPED { alloc_zeroed(Memory::layout(size)) } else { emu_map(size).cast() };
            if begin.is_null() {
                handle_alloc_error(Memory::layout(size));
            }
            emu_allocated(begin.cast(), size);
            Memory { begin, size }
        }
    }

    /// Filled with these.
    pub fn of(bytes: &[u8]) -> Memory {
        let mut memory = Memory::new(bytes.len());
        memory.bytes_mut().copy_from_slice(bytes);
        memory
    }

    /// Where it begins.
    pub fn address(&self) -> u64 {
        self.begin as u64
    }

    /// What it holds.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: the allocation has `size` bytes, all of them set.
        unsafe { std::slice::from_raw_parts(self.begin, self.size) }
    }

    /// What it holds, to change.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and nobody else has it.
        unsafe { std::slice::from_raw_parts_mut(self.begin, self.size) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated by `new` with this layout, and told to the watch there.
        unsafe {
            emu_freed(self.begin.cast());
            if self.size < MAPPED { dealloc(self.begin, Memory::layout(self.size)) } else { emu_unmap(self.begin.cast(), self.size) }
        }
    }
}
