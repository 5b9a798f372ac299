//! (in the making)
pub mod options;
pub mod source;
