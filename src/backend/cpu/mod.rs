//! The CPU twin: float32, AVX-512, AVX2 or portable Rust, chosen when the program runs.

#[allow(dead_code)]
mod conv;
#[allow(dead_code)]
mod gate;
#[cfg(test)]
mod harness;
#[allow(dead_code)]
mod lanes;
mod mat;
#[allow(dead_code)]
mod math;
#[allow(dead_code)]
mod piece;
#[allow(dead_code)]
mod scan;
pub mod simd;
#[allow(dead_code)]
mod ssd;

pub use mat::Mat;
