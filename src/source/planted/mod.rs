//! Networks whose weights implement a process' conditionals, in float32, as Hugging Face folders: [`llama`] for a law that knows the whole past, [`mamba`] for
//! one of fixed memory.
//!
//! A constant channel of 1000 pins every RMSNorm (all else in the residual is below 1, so that the norm's factor is the same within 1e-7) and stands in for
//! biases.

mod llama;
mod mamba;

pub use llama::{markov_network, santa_fe_network};
pub use mamba::mamba_network;

use crate::error::{Error, Result};
use safetensors::tensor::{Dtype, TensorView};
use std::path::Path;

/// The constant channel.
const PIN: f64 = 1000.0;
/// What a one-hot value, or a mean of such, has in the residual.
const SMALL: f64 = 1.0 / 64.0;
/// Logit of ⊥, which never comes: e^−100 is nothing beside 1 in float32.
const NEVER: f32 = -100.0;

/// A model in memory: its config and its tensors.
#[derive(Clone, Debug)]
pub struct PlantedNetwork {
    /// What config.json holds.
    pub config: serde_json::Value,
    /// Name, shape, row-major values.
    pub tensors: Vec<(String, Vec<usize>, Vec<f32>)>,
}

/// A matrix `[outputs, inputs]` of which few entries are not zero.
struct Sparse {
    shape: [usize; 2],
    values: Vec<f32>,
}

impl Sparse {
    fn zeros(outputs: usize, inputs: usize) -> Self {
        Sparse { shape: [outputs, inputs], values: vec![0.0; outputs * inputs] }
    }

    fn set(&mut self, output: usize, input: usize, value: f64) {
        self.values[output * self.shape[1] + input] = value as f32;
    }
}

/// Matrices and vectors as tensors.
fn named(matrices: impl IntoIterator<Item = (String, Sparse)>, vectors: impl IntoIterator<Item = (String, Vec<f32>)>) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let matrices = matrices.into_iter().map(|(name, m)| (name, m.shape.to_vec(), m.values));
    matrices.chain(vectors.into_iter().map(|(name, v)| (name, vec![v.len()], v))).collect()
}

impl PlantedNetwork {
    /// Writes a Hugging Face folder (config.json, model.safetensors) under a temporary name and renames it.
    ///
    /// # Errors
    /// The folder exists, or cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        if folder.exists() {
            return Err(Error::file(folder, "exists already; remove it or give another name"));
        }
        let partial = crate::source::files::partial_name(folder)?;
        let made = std::fs::create_dir_all(&partial).map_err(Error::io(folder));
        let done = made.and_then(|()| self.write_into(&partial)).and_then(|()| std::fs::rename(&partial, folder).map_err(Error::io(folder)));
        if done.is_err() {
            // The first error is the one to tell.
            let _ = std::fs::remove_dir_all(&partial);
        }
        done
    }

    fn write_into(&self, folder: &Path) -> Result<()> {
        let path = folder.join("model.safetensors");
        let bytes: Vec<Vec<u8>> = self.tensors.iter().map(|(_, _, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
        let views: Vec<(&str, TensorView)> = self
            .tensors
            .iter()
            .zip(&bytes)
            .map(|((name, shape, _), b)| Ok((name.as_str(), TensorView::new(Dtype::F32, shape.clone(), b)?)))
            .collect::<Result<_, safetensors::SafeTensorError>>()
            .map_err(|e| Error::file(&path, format!("cannot be laid out: {e}")))?;
        // The reference library asks for the framework's name among the metadata.
        let metadata = std::collections::HashMap::from([("format".to_string(), "pt".to_string())]);
        let file = safetensors::serialize(views, Some(metadata)).map_err(|e| Error::file(&path, format!("cannot be laid out: {e}")))?;
        std::fs::write(&path, file).map_err(Error::io(&path))?;
        crate::source::files::sync(&path)?;
        let path = folder.join("config.json");
        std::fs::write(&path, format!("{:#}\n", self.config)).map_err(Error::io(&path))?;
        crate::source::files::sync(&path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Markov;

    #[test]
    fn folders_are_written_whole() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("bigram");
        let markov = Markov::new(&[vec![0.9, 0.1], vec![0.5, 0.5]]).unwrap();
        let net = markov_network(&markov, 32);
        net.write(&folder).unwrap();
        let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        for (name, shape, values) in &net.tensors {
            let t = file.tensor(name).unwrap();
            assert_eq!(t.shape(), shape);
            let read: Vec<f32> = t.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
            assert_eq!(&read, values);
        }
        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
        assert_eq!(config, net.config);
        assert!(net.write(&folder).unwrap_err().to_string().contains("exists"));
        // Nothing else is left beside it.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
