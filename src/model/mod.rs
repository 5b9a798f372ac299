//! A model folder read strictly: config.json to a [`ModelSpec`], safetensors to borrowed tensors. Nothing in the folder is executed.

mod spec;

pub use spec::*;
