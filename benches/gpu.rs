//! Whole models on a GPU: tokens a second for texts of 2,048 tokens, all log-probabilities.
//!
//! `cargo bench --bench gpu -- --models DIR` writes models of random weights in bfloat16 into DIR, where they are not there yet, and scores the texts once a round, after one
//! round that warms up: the shapes of Llama 3.2 1B and 3.1 8B, and of Mamba 2.8b. With weights that stay on the device, and streamed. One line of JSON a model and way. Options: `--only NAME`, `--rounds N`, `--texts N`, `--precision f32|bf16|f16`.
//! `operations_per_second` counts what [`Work::text`] counts; what the chip can do is measured beside it by `tools/gpu/compare.py`.

use hilberg::backend::Backend;
use hilberg::backend::cuda::{Cuda, Gpu};
use hilberg::bench::{Spread, Work};
use hilberg::engine::{Engine, Options, Weights, score_lists};
use hilberg::model;
use hilberg::rng::Rng;
use hilberg::tensor::Dtype;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

const TOKENS: usize = 2048;

struct Shape {
    name: &'static str,
    config: serde_json::Value,
    tensors: Vec<(String, Vec<usize>)>,
}

fn llama(name: &'static str, d: usize, ff: usize, layers: usize, (heads, kv_heads, head_dim): (usize, usize, usize), tied: bool) -> Shape {
    let vocab = 128_256;
    let mut tensors = vec![("model.embed_tokens.weight".to_string(), vec![vocab, d]), ("model.norm.weight".into(), vec![d])];
    if !tied {
        tensors.push(("lm_head.weight".into(), vec![vocab, d]));
    }
    for i in 0..layers {
        let (q, kv) = (heads * head_dim, kv_heads * head_dim);
        for (name, shape) in [
            ("self_attn.q_proj", vec![q, d]),
            ("self_attn.k_proj", vec![kv, d]),
            ("self_attn.v_proj", vec![kv, d]),
            ("self_attn.o_proj", vec![d, q]),
            ("mlp.gate_proj", vec![ff, d]),
            ("mlp.up_proj", vec![ff, d]),
            ("mlp.down_proj", vec![d, ff]),
            ("input_layernorm", vec![d]),
            ("post_attention_layernorm", vec![d]),
        ] {
            tensors.push((format!("model.layers.{i}.{name}.weight"), shape));
        }
    }
    let config = serde_json::json!({
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": vocab, "hidden_size": d, "intermediate_size": ff, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "head_dim": head_dim, "hidden_act": "silu", "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5,
        "rope_theta": 500_000.0, "rope_scaling": null, "attention_bias": false, "mlp_bias": false, "tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": 2,
        "torch_dtype": "bfloat16"
    });
    Shape { name, config, tensors }
}

fn mamba() -> Shape {
    let (d, inner, rank, state, vocab) = (2560, 5120, 160, 16, 50_280);
    let mut tensors = vec![("backbone.embeddings.weight".to_string(), vec![vocab, d]), ("backbone.norm_f.weight".into(), vec![d])];
    for i in 0..64 {
        let p = format!("backbone.layers.{i}");
        tensors.push((format!("{p}.norm.weight"), vec![d]));
        for (name, shape) in [
            ("in_proj.weight", vec![2 * inner, d]),
            ("conv1d.weight", vec![inner, 1, 4]),
            ("conv1d.bias", vec![inner]),
            ("x_proj.weight", vec![rank + 2 * state, inner]),
            ("dt_proj.weight", vec![inner, rank]),
            ("dt_proj.bias", vec![inner]),
            ("A_log", vec![inner, state]),
            ("D", vec![inner]),
            ("out_proj.weight", vec![d, inner]),
        ] {
            tensors.push((format!("{p}.mixer.{name}"), shape));
        }
    }
    let config = serde_json::json!({
        "model_type": "mamba", "architectures": ["MambaForCausalLM"], "vocab_size": vocab, "hidden_size": d, "state_size": state, "num_hidden_layers": 64, "expand": 2,
        "conv_kernel": 4, "intermediate_size": inner, "time_step_rank": rank, "hidden_act": "silu", "layer_norm_epsilon": 1e-5, "use_bias": false, "use_conv_bias": true,
        "residual_in_fp32": true, "tie_word_embeddings": true, "bos_token_id": 0, "eos_token_id": 0, "torch_dtype": "bfloat16"
    });
    Shape { name: "mamba-2.8b", config, tensors }
}

/// Writes a model as it goes: billions of numbers, of which a block of a million normal ones (deviation 0.02) is repeated; norms 1, A_log 1, the bias of dt −4.
fn write(shape: &Shape, folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("config.json"), shape.config.to_string())?;
    let mut rng = Rng::new(7, 0);
    // A prime: rows do not repeat each other.
    let block: Vec<u8> = (0..999_983).flat_map(|_| half::bf16::from_f32(0.02 * rng.normal() as f32).to_le_bytes()).collect();
    let (mut header, mut at) = (serde_json::Map::new(), 0usize);
    for (name, dims) in &shape.tensors {
        let end = at + 2 * dims.iter().product::<usize>();
        header.insert(name.clone(), serde_json::json!({ "dtype": "BF16", "shape": dims, "data_offsets": [at, end] }));
        at = end;
    }
    let header = serde_json::to_vec(&header)?;
    let mut file = BufWriter::with_capacity(1 << 22, File::create(folder.join("model.safetensors"))?);
    file.write_all(&(header.len() as u64).to_le_bytes())?;
    file.write_all(&header)?;
    for (name, dims) in &shape.tensors {
        let mut bytes = 2 * dims.iter().product::<usize>();
        let constant = match name.as_str() {
            s if s.contains("norm") || s.ends_with(".D") || s.ends_with("A_log") => Some(1.0),
            s if s.ends_with("dt_proj.bias") => Some(-4.0),
            _ => None,
        };
        let repeated = constant.map(|c: f32| half::bf16::from_f32(c).to_le_bytes().repeat(1 << 16));
        let source = repeated.as_deref().unwrap_or(&block);
        while bytes > 0 {
            let some = bytes.min(source.len());
            file.write_all(&source[..some])?;
            bytes -= some;
        }
    }
    file.flush()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let number = |name: &str, usual: usize| value(name).map_or(Ok(usual), |v| v.parse());
    let (rounds, texts) = (number("--rounds", 5)?, number("--texts", 32)?);
    let precision = match value("--precision").as_deref() {
        Some("f32") => Dtype::F32,
        Some("f16") => Dtype::F16,
        _ => Dtype::Bf16,
    };
    let root = PathBuf::from(value("--models").ok_or("say --models DIR: where the models are, or shall be written")?);
    let gpu = || Gpu::open(0);
    gpu()?;
    let shapes = [llama("llama-3.2-1b", 2048, 8192, 16, (32, 8, 64), true), llama("llama-3.1-8b", 4096, 14_336, 32, (32, 8, 128), false), mamba()];
    for shape in shapes.iter().filter(|s| value("--only").is_none_or(|o| o == s.name)) {
        let folder = root.join(shape.name);
        if !folder.join("model.safetensors").exists() {
            write(shape, &folder)?;
        }
        let lists: Vec<Vec<u32>> = (0..texts as u32).map(|t| (0..TOKENS as u32).map(|i| (i * 7919 + t * 104_729 + 13) % 50_000).collect()).collect();
        for (way, weights) in [("resident", Weights::Resident), ("stream", Weights::Stream)] {
            let (spec, checkpoint) = model::open(&folder, &Default::default())?;
            let operations = texts as f64 * Work::text(&spec, TOKENS).operations();
            let gpu = gpu()?;
            let memory = Some(gpu.free_memory()? / 10 * 9);
            let mut engine = Engine::new(Cuda::on(gpu, precision), spec, checkpoint, Options { memory, weights, ..Options::default() })?;
            let (mut seconds, mut sum) = (Vec::new(), 0.0);
            for round in 0..=rounds {
                let begin = Instant::now();
                let logs = score_lists(&mut engine, &lists)?;
                if round > 0 {
                    seconds.push(begin.elapsed().as_secs_f64());
                }
                sum = logs.iter().flatten().map(|&x| x as f64).sum();
            }
            let rate = |of: f64| Spread::of(&seconds.iter().map(|s| of / s).collect::<Vec<_>>());
            println!(
                "{}",
                serde_json::json!({
                    "model": shape.name, "weights": way, "backend": engine.backend().name(), "texts": texts, "tokens": TOKENS, "sum": sum, "seconds": seconds,
                    "tokens_per_second": rate((texts * TOKENS) as f64), "operations_per_second": rate(operations),
                })
            );
        }
    }
    Ok(())
}
