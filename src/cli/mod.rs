//! (in the making)
pub mod estimate;
pub mod measure;
mod measure_texts;
pub mod options;
mod progress;
pub mod source;
