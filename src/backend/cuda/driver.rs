//! The driver: whether there is one, and the devices it knows.

use super::BINARIES;
use crate::error::{OneLine, caught};
use cudarc::driver::{result, sys};
use std::fmt;

/// Why there is nothing to compute on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Absent {
    /// The program was built where no `nvcc` was found.
    Kernels,
    /// There is no libcuda.
    Driver,
    /// The driver is there, and says this.
    Said(String),
    /// The driver is there, but too old or damaged.
    Fails(String),
    /// The driver is of this version of CUDA, older than the kernels' compiler.
    Old(i32),
    /// The driver knows no device.
    Device,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Absent::Kernels => write!(f, "built without CUDA kernels, since no nvcc was found then"),
            Absent::Driver => write!(f, "NVIDIA's driver (libcuda) is not installed"),
            Absent::Said(what) => write!(f, "the driver says {what}"),
            Absent::Fails(why) => write!(f, "the driver lacks what is needed: {}", OneLine(why)),
            Absent::Old(version) => {
                let (major, minor) = (version / 1000, version % 1000 / 10);
                write!(f, "the driver knows CUDA {major}.{minor}, and the kernels ask for {}.0; install a newer one", CUDA / 1000)
            }
            Absent::Device => write!(f, "the driver knows no device"),
        }
    }
}

/// The version whose compiler wrote the kernels, as the driver counts: what it writes, older drivers cannot load.
const CUDA: i32 = 13_000;

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// As `cuda:N` counts.
    pub ordinal: usize,
    /// Its name.
    pub name: String,
    /// Major and minor number of what it can do: 8.0 for sm_80.
    pub capability: (i32, i32),
    /// Multiprocessors.
    pub multiprocessors: i32,
    /// Bytes of memory.
    pub memory: usize,
}

impl Found {
    /// Whether the kernels run there.
    pub fn is_enough(&self) -> bool {
        self.capability.0 >= 8
    }
}

/// The devices, or why there is none to compute on.
///
/// # Errors
/// No kernels, no driver, a driver that fails or lacks a function, no device.
pub fn devices() -> Result<Vec<Found>, Absent> {
    if BINARIES.is_empty() {
        return Err(Absent::Kernels);
    }
    // Asked first, since the library panics where it is missing.
    // SAFETY: loads a library from the system's usual places.
    if !unsafe { sys::is_culib_present() } {
        return Err(Absent::Driver);
    }
    // It panics as well where an old driver lacks a function.
    caught(look).map_err(Absent::Fails)?
}

/// Its number alone: the driver that is asked for an error's text may lack the function.
fn said(e: result::DriverError) -> Absent {
    Absent::Said(format!("{:?}", e.0))
}

fn look() -> Result<Vec<Found>, Absent> {
    result::init().map_err(said)?;
    let mut version = 0;
    // SAFETY: writes the number.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result().map_err(said)?;
    if version < CUDA {
        return Err(Absent::Old(version));
    }
    let count = result::device::get_count().map_err(said)?;
    if count == 0 {
        return Err(Absent::Device);
    }
    (0..count).map(|ordinal| found(ordinal).map_err(said)).collect()
}

fn found(ordinal: i32) -> Result<Found, result::DriverError> {
    use sys::CUdevice_attribute::*;
    let device = result::device::get(ordinal)?;
    // SAFETY: the device is one that the driver gave.
    unsafe {
        let attribute = |which| result::device::get_attribute(device, which);
        Ok(Found {
            ordinal: ordinal as usize,
            name: result::device::get_name(device)?,
            capability: (attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?, attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?),
            multiprocessors: attribute(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
            memory: result::device::total_mem(device)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On whatever machine this runs: devices, or a reason of one line, and no panic.
    #[test]
    fn there_are_devices_or_a_reason() {
        match devices() {
            Ok(found) => assert!(!found.is_empty() && found.iter().all(|f| f.memory > 0 && f.capability.0 > 0)),
            Err(why) => assert!(!why.to_string().is_empty() && !why.to_string().contains('\n')),
        }
        if BINARIES.is_empty() {
            assert_eq!(devices(), Err(Absent::Kernels));
        }
    }
}
