//! From recorded sums to I(ℓ), its errors and its exponent: pure functions; no model, no device, no file.

mod data;

pub use data::{Group, Marginal, Member, Pairing, Sums};
