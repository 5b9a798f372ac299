//! (in the making)
pub mod inspect;
pub mod options;
pub mod source;
