//! A model folder read strictly: config.json to a [`ModelSpec`], safetensors to borrowed tensors. Nothing in the folder is executed.
//!
//! ```no_run
//! use hilberg::model::{self, OpenOptions};
//!
//! let (spec, checkpoint) = model::open("models/llama".as_ref(), &OpenOptions::default())?;
//! println!("{} layers, {} parameters, {}", spec.layers.len(), model::parameters(&spec), checkpoint.fingerprint());
//! # Ok::<(), hilberg::Error>(())
//! ```

mod account;
mod build;
mod checkpoint;
mod config;
mod families;
mod fingerprint;
mod folder;
pub mod history;
mod json;
mod mapped;
mod rope;
mod spec;

use std::path::Path;

pub use account::parameters;
pub use checkpoint::{Checkpoint, Naming};
pub use config::Config;
pub use history::{HistoryState, StoredState};
pub use mapped::lost;
pub use spec::*;

use crate::error::Result;

/// What the user may say about a model folder.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// `--accept-key`: keys of config.json that may go unread; `rope_scaling.factor` for one inside an object.
    pub accept_keys: Vec<String>,
    /// `--rope-length`: the text length for which a rope scaling that depends on it is chosen, used throughout. Models without such a scaling do not read it.
    pub rope_length: Option<usize>,
}

/// Opens a model folder: the spec by its config.json, and the checkpoint with every tensor of the spec in it, of the right shape and type.
/// Weights are mapped, not read: [`Checkpoint::check_finite`] reads them.
///
/// # Errors
/// Whatever is wrong with the folder, as one sentence that names the file.
pub fn open(folder: &Path, options: &OpenOptions) -> Result<(ModelSpec, Checkpoint)> {
    folder::check(folder)?;
    let mut config = Config::open(folder, &options.accept_keys)?;
    let checkpoint = Checkpoint::open(folder);
    if let Ok(c) = &checkpoint {
        config.bound_layers(c.stored_tensors());
    }
    let (spec, naming) = families::read(&config, options)?;
    let mut checkpoint = checkpoint?;
    checkpoint.resolve(&spec, &naming)?;
    Ok((spec, checkpoint))
}
