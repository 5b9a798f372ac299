//! Networks whose weights implement a process' conditionals, in float32, as Hugging Face folders: the Llama layout for laws that know the whole past or the last
//! token, the Mamba layout for those of fixed memory and of the last two tokens.
//!
//! A constant channel of 1000 pins every RMSNorm (all else in the residual is below 1, so that the norm's factor is the same within 1e-7) and stands in for
//! biases.

mod llama;
mod mamba;

pub use llama::{markov_network, santa_fe_network};
pub use mamba::mamba_network;

use super::{Ngram, Process};
use crate::error::{Error, Result};
use crate::forest::TokenId;
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

/// Most tokens of a planted bigram model, whose weights grow with their square.
pub const MOST_BIGRAM_TOKENS: usize = 4096;
/// Most tokens of a planted trigram model, whose weights grow with their fourth power: 32 take 20 MB.
pub const MOST_TRIGRAM_TOKENS: usize = 32;

/// Whether a network can hold n-grams of `order` tokens, `symbols` different ones, for texts of up to `positions` tokens.
///
/// # Errors
/// Longer n-grams than three, which no network here implements; more than [`MOST_BIGRAM_TOKENS`] or [`MOST_TRIGRAM_TOKENS`] tokens; no positions or more than 2²⁰.
pub fn check_ngram(order: usize, symbols: usize, positions: usize) -> Result<()> {
    let most = match order {
        1 | 2 => MOST_BIGRAM_TOKENS,
        3 => MOST_TRIGRAM_TOKENS,
        _ => return Err(Error::input(format!("n-gram models are planted up to an order of 3, not {order}"))),
    };
    if symbols > most {
        return Err(Error::input(format!("{symbols} tokens are too many to plant a model of {order}-grams, {most} are the most")));
    }
    check_positions(positions)
}

/// The smallest mean over a past must stand clear of float32 rounding.
pub(super) fn check_positions(positions: usize) -> Result<()> {
    let refused = || Error::input(format!("a planted network has 1 to 2^20 positions, not {positions}"));
    if (1..=1 << 20).contains(&positions) { Ok(()) } else { Err(refused()) }
}

/// The network of an n-gram model: up to bigrams in the Llama layout, for texts of up to `positions` tokens; trigrams in the Mamba layout, for texts of any length.
///
/// # Errors
/// As [`check_ngram`].
pub fn ngram_network(process: &Ngram, positions: usize) -> Result<PlantedNetwork> {
    let (order, symbols) = (process.order(), process.symbols());
    check_ngram(order, symbols, positions)?;
    let log_p = |context: &[TokenId], j: usize| libm::log(process.probability(context, j as TokenId));
    Ok(match order {
        1 | 2 => llama::bigram_network(symbols, positions, |before, j| log_p(before.map(|i| [i as TokenId]).as_ref().map_or(&[], |c| c), j)),
        _ => mamba::trigram_network(symbols, |context, j| match context {
            None => log_p(&[], j),
            Some([a, b]) if a as TokenId == process.start_token() => log_p(&[b as TokenId], j),
            Some(context) => log_p(&context.map(|t| t as TokenId), j),
        }),
    })
}

impl PlantedNetwork {
    /// Writes a Hugging Face folder (config.json, model.safetensors) under a temporary name and renames it.
    ///
    /// # Errors
    /// The folder exists, or cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        self.write_with(folder, &[])
    }

    /// The same with further files, by name.
    ///
    /// # Errors
    /// As [`PlantedNetwork::write`].
    pub fn write_with(&self, folder: &Path, files: &[(&str, &[u8])]) -> Result<()> {
        if folder.exists() {
            return Err(Error::file(folder, "exists already; remove it or give another name"));
        }
        let partial = crate::source::files::partial_name(folder)?;
        let made = std::fs::create_dir_all(&partial).map_err(Error::io(folder));
        let done = made.and_then(|()| self.write_into(&partial, files)).and_then(|()| std::fs::rename(&partial, folder).map_err(Error::io(folder)));
        if done.is_err() {
            // The first error is the one to tell.
            let _ = std::fs::remove_dir_all(&partial);
        }
        done
    }

    fn write_into(&self, folder: &Path, files: &[(&str, &[u8])]) -> Result<()> {
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
        let config = format!("{:#}\n", self.config);
        for (name, bytes) in [("config.json", config.as_bytes())].iter().chain(files) {
            let path = folder.join(name);
            std::fs::write(&path, bytes).map_err(Error::io(&path))?;
            crate::source::files::sync(&path)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::engine::{Engine, score_lists};
    use crate::rng::Rng;
    use crate::source::{Markov, NgramFit, Process};

    /// The largest distance of a network's log-probabilities, through the engine, from the process' own, over a text that starts with ⊥.
    pub fn distance<P: Process>(process: &P, network: &PlantedNetwork, text: &[TokenId]) -> f64 {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("planted");
        network.write(&folder).unwrap();
        let (spec, checkpoint) = crate::model::open(&folder, &Default::default()).unwrap();
        let mut engine = Engine::new(Cpu::new(None).unwrap(), spec, checkpoint, Default::default()).unwrap();
        let got = score_lists(&mut engine, &[text.to_vec()]).unwrap().remove(0);
        let mut state = process.begin();
        let mut worst = 0.0f64;
        process.push(&mut state, text[0]);
        for (&token, got) in text[1..].iter().zip(got) {
            worst = worst.max((got as f64 - process.log_q(&state, token)).abs());
            process.push(&mut state, token);
        }
        worst
    }

    /// Through the engine: log-probabilities of at most 12 nats stand in the head in float32, and a norm's rounding of 1e-7 is on each.
    #[test]
    fn ngrams_are_held() {
        let text: Vec<TokenId> = (0..400u32).map(|i| i * i % 7 % 5 + u32::from(i % 11 == 0)).collect();
        for (order, symbols) in [(1, 6), (2, 6), (3, 6), (3, 9)] {
            let mut fit = NgramFit::new(order, symbols).unwrap();
            fit.add(&text[..300]).unwrap();
            let process = fit.finish().unwrap();
            let network = ngram_network(&process, 512).unwrap();
            // What was counted, and what was not.
            let mut rng = Rng::new(131, order as u64);
            let more = (0..100).map(|_| rng.below(symbols as u64) as TokenId);
            let text: Vec<TokenId> = [process.start_token()].into_iter().chain(text.iter().copied()).chain(more).collect();
            let e = distance(&process, &network, &text);
            assert!(e < 1e-5, "{order}-grams of {symbols} tokens: {e}");
        }
        let large = |order, symbols| {
            let mut fit = NgramFit::new(order, symbols).unwrap();
            fit.add(&text).unwrap();
            ngram_network(&fit.finish().unwrap(), 8).unwrap_err().to_string()
        };
        assert!(large(3, 33).contains("too many") && large(4, 6).contains("order of 3"));
    }

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
