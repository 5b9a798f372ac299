//! The CPU twin: float32, AVX-512, AVX2 or portable Rust, chosen when the program runs.

mod mat;
pub mod simd;

pub use mat::Mat;
