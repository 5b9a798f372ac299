//! The CPU twin: float32, AVX-512, AVX2 or portable Rust, chosen when the program runs.
//!
//! Verbs are parallel inside (rayon), over rows, heads or channels; every number is one chain of operations in an order that
//! depends on its own row alone, so neither threads nor blocks can change a bit.

#![allow(dead_code)]

mod attention;
mod gemm;
mod head;
mod mat;
mod math;
mod norm;
pub mod simd;
mod tile;

pub use gemm::Weight;
pub use mat::Mat;
pub use simd::Isa;
