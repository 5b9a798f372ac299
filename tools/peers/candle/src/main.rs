//! All tokens' log-probabilities of one text by candle, on request: for every line on standard input the text is scored once and a JSON line is printed.
//!
//! usage: candle-peer {llama|mamba} MODEL_FOLDER TOKENS

use candle_core::{DType, Device, IndexOp, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, mamba};
use std::io::{BufRead, Write};
use std::time::Instant;

/// The text that every engine scores.
fn text(tokens: usize) -> Vec<u32> {
    (0..tokens as u32).map(|i| (i * 7919 + 13) % 50_000).collect()
}

/// Σ ln softmax(logits[i])[next[i]], logits `[rows, vocabulary]`.
fn log_probs(logits: &Tensor, next: &[u32]) -> anyhow::Result<f64> {
    let next = Tensor::new(next, logits.device())?.unsqueeze(1)?;
    let picked = logits.gather(&next, 1)?.squeeze(1)?;
    let all = (picked - logits.log_sum_exp(1)?)?.to_vec1::<f32>()?;
    Ok(all.iter().map(|&x| x as f64).sum())
}

enum Model {
    Llama(Box<llama::Llama>, llama::Config),
    Mamba(Box<mamba::Model>, mamba::Config),
}

impl Model {
    fn open(kind: &str, folder: &str, device: &Device) -> anyhow::Result<Model> {
        let config: serde_json::Value = serde_json::from_slice(&std::fs::read(format!("{folder}/config.json"))?)?;
        // SAFETY: nobody changes the file meanwhile.
        let weights = unsafe { VarBuilder::from_mmaped_safetensors(&[format!("{folder}/model.safetensors")], DType::F32, device)? };
        if kind == "llama" {
            let config = serde_json::from_value::<llama::LlamaConfig>(config)?.into_config(false);
            return Ok(Model::Llama(Box::new(llama::Llama::load(weights, &config)?), config));
        }
        let number = |key: &str| config[key].as_u64().unwrap_or(0) as usize;
        let config = mamba::Config { d_model: number("hidden_size"), n_layer: number("num_hidden_layers"), vocab_size: number("vocab_size"), pad_vocab_size_multiple: 8 };
        // The library's name of the table is that of the first release's checkpoints.
        let weights = weights.rename_f(|name| name.replace("embedding.", "embeddings."));
        Ok(Model::Mamba(Box::new(mamba::Model::new(&config, weights.pp("backbone"))?), config))
    }

    fn score(&self, ids: &[u32], device: &Device) -> anyhow::Result<f64> {
        match self {
            Model::Llama(model, config) => {
                let mut cache = llama::Cache::new(false, DType::F32, config, device)?;
                let logits = model.forward(&Tensor::new(ids, device)?.unsqueeze(0)?, 0, &mut cache)?;
                log_probs(&logits.i((0, ..ids.len() - 1, ..))?.contiguous()?, &ids[1..])
            }
            Model::Mamba(model, config) => {
                let mut state = mamba::State::new(1, config, DType::F32, device)?;
                let mut sum = 0.0;
                for pair in ids.windows(2) {
                    sum += log_probs(&model.forward(&Tensor::new(&pair[..1], device)?, &mut state)?, &pair[1..])?;
                }
                Ok(sum)
            }
        }
    }
}

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, kind, folder, tokens] = &args[..] else { anyhow::bail!("usage: candle-peer llama|mamba MODEL_FOLDER TOKENS") };
    let device = Device::Cpu;
    let model = Model::open(kind, folder, &device)?;
    let ids = text(tokens.parse()?);
    println!("{}", serde_json::json!({ "version": "candle 0.11.1" }));
    for line in std::io::stdin().lock().lines() {
        line?;
        let begin = Instant::now();
        let sum = model.score(&ids, &device)?;
        println!("{}", serde_json::json!({ "seconds": begin.elapsed().as_secs_f64(), "tokens": ids.len(), "sum": sum }));
        std::io::stdout().flush()?;
    }
    Ok(())
}
