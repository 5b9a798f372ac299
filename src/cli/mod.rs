//! (in the making)
pub mod corpus;
pub mod options;
pub mod score;
pub mod source;
