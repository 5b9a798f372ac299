//! Whole models on the CPU: seconds for all log-probabilities of one text of 1,024 tokens, beside ceilings measured before and after it.
//!
//! `cargo bench --bench engine` writes three models of random weights into a temporary folder and scores the text once a round: the Llama shape
//! (12 × 768, 12 heads of 64, 2,048 wide, vocabulary 50,304, tied: 123.6 M parameters), GPT-2 small, and the Mamba-130m shape (24 × 768, state 16).
//! Options: `--models DIR` keeps the folders (and uses them if they are there), `--only NAME`, `--rounds N`, `--threads N`, `--precision bf16`;
//! `--serve` runs a round for every line on standard input, so that a script can let several programs take turns.
//!
//! # The model bound
//! [`Work::text`] counts the operations and exponentials that the text takes. The bound is the time at which operations / product ceiling + exponentials /
//! exponential ceiling is all it takes; `share_of_bound` is that time by the time taken. Both ceilings are the best of the same round (two measurements
//! before, two after the text): the product ceiling that of the engine's own product with packed weights over its own block of rows, the best of the
//! model's product shapes, and it stands for all operations, attention's and the scan's among them. Since a slow product would flatter the share, the same
//! round says how the product stands to the multiply-add peak (`product` / `fma`), and `share_of_fma_peak` is operations a second by that peak;
//! `tools/bench_peers.py` measures the products of other libraries beside it.

use hilberg::backend::Backend;
use hilberg::backend::cpu::Cpu;
use hilberg::bench::ceilings::{Ceilings, Product};
use hilberg::bench::{Spread, Work, verbs};
use hilberg::engine::{Engine, Options, score_lists};
use hilberg::model;
use hilberg::rng::Rng;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

const TOKENS: usize = 1024;

struct Shape {
    name: &'static str,
    config: &'static str,
    tensors: Vec<(String, Vec<usize>)>,
}

fn llama() -> Shape {
    let (d, ff) = (768, 2048);
    let mut tensors = vec![("model.embed_tokens.weight".to_string(), vec![50304, d]), ("model.norm.weight".into(), vec![d])];
    for i in 0..12 {
        for n in ["q", "k", "v", "o"] {
            tensors.push((format!("model.layers.{i}.self_attn.{n}_proj.weight"), vec![d, d]));
        }
        tensors.push((format!("model.layers.{i}.mlp.gate_proj.weight"), vec![ff, d]));
        tensors.push((format!("model.layers.{i}.mlp.up_proj.weight"), vec![ff, d]));
        tensors.push((format!("model.layers.{i}.mlp.down_proj.weight"), vec![d, ff]));
        tensors.push((format!("model.layers.{i}.input_layernorm.weight"), vec![d]));
        tensors.push((format!("model.layers.{i}.post_attention_layernorm.weight"), vec![d]));
    }
    let config = r#"{"model_type":"llama","architectures":["LlamaForCausalLM"],"vocab_size":50304,"hidden_size":768,"intermediate_size":2048,"num_hidden_layers":12,"num_attention_heads":12,"num_key_value_heads":12,"head_dim":64,"hidden_act":"silu","max_position_embeddings":4096,"rms_norm_eps":1e-05,"rope_theta":10000.0,"rope_scaling":null,"attention_bias":false,"mlp_bias":false,"tie_word_embeddings":true,"bos_token_id":1,"eos_token_id":2}"#;
    Shape { name: "llama-12x768", config, tensors }
}

fn gpt2() -> Shape {
    let d = 768;
    let mut tensors = vec![("transformer.wte.weight".to_string(), vec![50257, d]), ("transformer.wpe.weight".into(), vec![1024, d])];
    for i in 0..12 {
        // The products' weights lie as [inputs, outputs].
        for (n, inputs, outputs) in [("attn.c_attn", d, 3 * d), ("attn.c_proj", d, d), ("mlp.c_fc", d, 4 * d), ("mlp.c_proj", 4 * d, d)] {
            tensors.push((format!("transformer.h.{i}.{n}.weight"), vec![inputs, outputs]));
            tensors.push((format!("transformer.h.{i}.{n}.bias"), vec![outputs]));
        }
        for n in ["ln_1", "ln_2"] {
            tensors.push((format!("transformer.h.{i}.{n}.weight"), vec![d]));
            tensors.push((format!("transformer.h.{i}.{n}.bias"), vec![d]));
        }
    }
    tensors.extend(["weight", "bias"].map(|n| (format!("transformer.ln_f.{n}"), vec![d])));
    let config = r#"{"model_type":"gpt2","architectures":["GPT2LMHeadModel"],"vocab_size":50257,"n_positions":1024,"n_embd":768,"n_layer":12,"n_head":12,"n_inner":null,"activation_function":"gelu_new","layer_norm_epsilon":1e-05,"tie_word_embeddings":true,"bos_token_id":50256,"eos_token_id":50256}"#;
    Shape { name: "gpt2-small", config, tensors }
}

fn mamba() -> Shape {
    let d = 768;
    let mut tensors = vec![("backbone.embeddings.weight".to_string(), vec![50280, d]), ("backbone.norm_f.weight".into(), vec![d])];
    for i in 0..24 {
        let p = format!("backbone.layers.{i}");
        tensors.push((format!("{p}.norm.weight"), vec![d]));
        for (n, shape) in [
            ("in_proj.weight", vec![3072, d]),
            ("conv1d.weight", vec![1536, 1, 4]),
            ("conv1d.bias", vec![1536]),
            ("x_proj.weight", vec![80, 1536]),
            ("dt_proj.weight", vec![1536, 48]),
            ("dt_proj.bias", vec![1536]),
            ("A_log", vec![1536, 16]),
            ("D", vec![1536]),
            ("out_proj.weight", vec![d, 1536]),
        ] {
            tensors.push((format!("{p}.mixer.{n}"), shape));
        }
    }
    let config = r#"{"model_type":"mamba","architectures":["MambaForCausalLM"],"vocab_size":50280,"hidden_size":768,"state_size":16,"num_hidden_layers":24,"expand":2,"conv_kernel":4,"intermediate_size":1536,"time_step_rank":48,"hidden_act":"silu","layer_norm_epsilon":1e-05,"use_bias":false,"use_conv_bias":true,"residual_in_fp32":true,"tie_word_embeddings":true,"bos_token_id":0,"eos_token_id":0}"#;
    Shape { name: "mamba-130m", config, tensors }
}

/// Writes a model of random weights: normal with deviation 0.02 as initialisations have it, norms 1, A_log = ln(1 … N).
fn write(shape: &Shape, folder: &Path) {
    std::fs::create_dir_all(folder).expect("a place for the models");
    std::fs::write(folder.join("config.json"), shape.config).expect("room for config.json");
    let mut rng = Rng::new(7, 0);
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = shape
        .tensors
        .iter()
        .map(|(name, dims)| {
            let n: usize = dims.iter().product();
            let number = |i: usize, rng: &mut Rng| match name.as_str() {
                s if s.ends_with("dt_proj.bias") => -4.0,
                s if s.ends_with(".bias") => 0.02 * rng.normal() as f32,
                s if s.contains("norm") || s.contains(".ln_") || s.ends_with(".D") => 1.0,
                s if s.ends_with("A_log") => ((i % 16 + 1) as f32).ln(),
                _ => 0.02 * rng.normal() as f32,
            };
            (name.clone(), dims.clone(), (0..n).flat_map(|i| number(i, &mut rng).to_le_bytes()).collect())
        })
        .collect();
    let views: Vec<(String, safetensors::tensor::TensorView)> = data
        .iter()
        .map(|(n, d, b)| (n.clone(), safetensors::tensor::TensorView::new(safetensors::Dtype::F32, d.clone(), b).expect("shapes fit their bytes")))
        .collect();
    safetensors::serialize_to_file(views, None, &folder.join("model.safetensors")).expect("room for the weights");
}

/// A model with its text and its products.
struct Bench {
    engine: Engine<Cpu>,
    products: Vec<Product>,
    text: [Vec<u32>; 1],
    work: Work,
}

#[derive(serde::Serialize)]
struct Round {
    seconds: f64,
    tokens: usize,
    sum: f64,
    ceilings: Ceilings,
    bound_seconds: f64,
    share_of_bound: f64,
    share_of_fma_peak: f64,
}

impl Bench {
    fn new(folder: &Path, cpu: Cpu) -> Bench {
        let (spec, checkpoint) = model::open(folder, &Default::default()).expect("the folder was just written");
        let products = verbs::products(&verbs::of(&spec)).into_iter().map(|(k, n)| Product::new(&cpu, k, n).expect("memory")).collect();
        let work = Work::text(&spec, TOKENS);
        let engine = Engine::new(cpu, spec, checkpoint, Options::default()).expect("memory for the weights");
        Bench { engine, products, text: [(0..TOKENS as u32).map(|i| (i * 7919 + 13) % 50_000).collect()], work }
    }

    fn score(&mut self) -> (f64, f64) {
        let begin = Instant::now();
        let logs = score_lists(&mut self.engine, &self.text).expect("a text within the positions");
        (begin.elapsed().as_secs_f64(), logs[0].iter().map(|&x| x as f64).sum())
    }

    fn ceilings(&mut self) -> Ceilings {
        let mut measure = || Ceilings::measure(self.engine.backend(), &mut self.products).expect("memory");
        measure().best(measure())
    }

    fn round(&mut self) -> Round {
        let before = self.ceilings();
        let (seconds, sum) = self.score();
        let ceilings = before.best(self.ceilings());
        let bound = self.work.bound_seconds(&ceilings);
        Round {
            seconds,
            tokens: TOKENS,
            sum,
            ceilings,
            bound_seconds: bound,
            share_of_bound: bound / seconds,
            share_of_fma_peak: self.work.operations() / seconds / ceilings.fma,
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let rounds: usize = value("--rounds").and_then(|v| v.parse().ok()).unwrap_or(5);
    let threads: usize = value("--threads").and_then(|v| v.parse().ok()).unwrap_or(2);
    let kept = value("--models").map(PathBuf::from);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let root = kept.as_deref().unwrap_or(temporary.path());
    for shape in [llama(), gpt2(), mamba()].iter().filter(|s| value("--only").is_none_or(|o| o == s.name)) {
        let folder = root.join(shape.name);
        if !folder.join("model.safetensors").exists() {
            write(shape, &folder);
        }
        let cpu = if value("--precision").is_some_and(|p| p == "bf16") { Cpu::bf16(Some(threads)) } else { Cpu::new(Some(threads)) };
        let mut bench = Bench::new(&folder, cpu.expect("threads, and products of that precision"));
        // Packs the weights and warms the threads up.
        bench.round();
        if args.iter().any(|a| a == "--serve") {
            println!("{}", serde_json::json!({ "model": shape.name, "backend": bench.engine.backend().name(), "work": bench.work }));
            for _ in std::io::stdin().lock().lines() {
                println!("{}", serde_json::to_string(&bench.round()).expect("numbers"));
                std::io::stdout().flush().expect("a reader");
            }
            continue;
        }
        let all: Vec<Round> = (0..rounds).map(|_| bench.round()).collect();
        let spread = |of: &dyn Fn(&Round) -> f64| Spread::of(&all.iter().map(of).collect::<Vec<_>>());
        println!(
            "{}",
            serde_json::json!({
                "model": shape.name, "backend": bench.engine.backend().name(), "threads": threads, "tokens": TOKENS, "rounds": rounds,
                "sum": all.first().map(|r| r.sum), "work": bench.work, "tokens_per_second": spread(&|r| TOKENS as f64 / r.seconds),
                "fma_gflops": spread(&|r| r.ceilings.fma / 1e9), "product_gflops": spread(&|r| r.ceilings.product / 1e9),
                "exp_giga": spread(&|r| r.ceilings.exp / 1e9), "share_of_bound": spread(&|r| r.share_of_bound),
                "share_of_fma_peak": spread(&|r| r.share_of_fma_peak),
            })
        );
    }
}
