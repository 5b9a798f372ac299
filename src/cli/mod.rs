//! (in the making)
pub mod source;
