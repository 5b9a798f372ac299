//! The CPU twin: float32, AVX-512, AVX2 or portable Rust, chosen when the program runs.
//!
//! Verbs are parallel inside (rayon), over rows, heads or channels; every number is one chain of operations in an order that
//! depends on its own row alone, so neither threads nor blocks can change a bit.

#![allow(dead_code)]

mod attention;
mod conv;
mod gate;
mod gemm;
#[cfg(test)]
mod harness;
mod head;
mod lanes;
mod mat;
mod math;
mod norm;
mod piece;
mod scan;
pub mod simd;
mod ssd;
mod tile;

pub use gemm::Weight;
pub use mat::Mat;
pub use simd::Isa;
