//! NVIDIA GPUs: kernels of `kernels/*.cu`, embedded when the program is built, and CUDA's own libraries, found when it runs.
//!
//! Nothing here is needed to build or to start: without a compiler for the kernels the program has none, without a driver it has no device, and [`devices`]
//! says which. [`Cuda`] is the twin of the other backends on any [`Device`]; the tests have one that runs the kernels on the processor.

pub mod attention;
pub mod ceilings;
mod device;
mod driver;
mod gpu;
mod library;
mod mat;
mod moments;
pub mod params;
mod products;
mod scan;
mod ssd;
pub mod tables;
mod twin;

pub use device::{Device, Fill, Planes, TensorMap};
pub use driver::{Absent, Found, devices};
pub use gpu::{Gpu, GpuMemory};
pub use library::{LibraryProduct, Multiplied, Run};
pub use mat::{Mat, Weight};
pub use moments::Moments;
pub use twin::Cuda;

/// The embedded binaries: a source's name, and its code for every target. Empty where the program was built without a compiler for them.
pub const BINARIES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/kernels.rs"));
