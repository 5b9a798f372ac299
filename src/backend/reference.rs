//! The slow truth.
