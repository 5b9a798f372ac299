//! Whole models on the CPU: tokens per second as shares of two ceilings measured between the rounds of the same run.
//!
//! `cargo bench --bench engine` writes two models of random weights into a temporary folder, the 12 × 768 Llama shape (123.6 M
//! parameters, vocabulary 50,304, tied) and the Mamba-130m shape (24 × 768, state 16, vocabulary 50,280), and scores one text
//! of 1,024 tokens per round. Options: `--models DIR` keeps the folders (and uses them if they are there), `--only NAME`,
//! `--rounds N`, `--threads N`, `--json`. The FMA peak counts 2 operations per lane; a model's operations are those of its products
//! plus causal attention's (2 · 2 · width · keys) or, for the scan, 6 per state number.

use hilberg::backend::cpu::{
    Cpu, Isa,
    simd::{Kernel, Simd},
};
use hilberg::backend::{Act, Backend, Epilogue, Operand};
use hilberg::engine::{Engine, Options, score_lists};
use hilberg::model::{self, Mixer, ModelSpec};
use hilberg::rng::Rng;
use hilberg::tensor::{Dtype, MatrixView, RowMap, Tensor};
use std::path::{Path, PathBuf};
use std::time::Instant;

const TOKENS: usize = 1024;

/// Twelve independent chains of multiply-adds: as many as hide the latency of two units.
struct Peak(u64);

impl Kernel for Peak {
    type Out = f32;
    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f32 {
        unsafe {
            let (b, c) = (S::splat(0.999), S::splat(0.001));
            // Away from the fixed point 1, or the chains would be folded away.
            let mut a = [S::splat(std::hint::black_box(0.5)); 12];
            for _ in 0..self.0 {
                for x in &mut a {
                    *x = S::fma(*x, b, c);
                }
            }
            a.iter().fold(0.0, |s, x| s + S::sum(*x))
        }
    }
}

/// Giga-operations per second of `threads` threads doing nothing but multiply-adds.
fn fma_peak(isa: Isa, threads: usize) -> f64 {
    const STEPS: u64 = 4_000_000;
    let rates: Vec<f64> = std::thread::scope(|s| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                s.spawn(move || {
                    let t = Instant::now();
                    std::hint::black_box(isa.run(Peak(std::hint::black_box(STEPS))));
                    (STEPS * 12 * 2 * isa.lanes() as u64) as f64 / t.elapsed().as_secs_f64() / 1e9
                })
            })
            .collect();
        workers.into_iter().filter_map(|w| w.join().ok()).collect()
    });
    rates.iter().sum()
}

/// Giga-operations per second of the backend's product at 1,024 × 768 × 3,072.
fn product_ceiling(cpu: &Cpu) -> f64 {
    let (m, k, n) = (1024, 768, 3072);
    let mut rng = Rng::new(1, 1);
    let bytes: Vec<u8> = (0..n * k).flat_map(|_| (rng.normal() as f32).to_le_bytes()).collect();
    let view = MatrixView { tensor: Tensor { dtype: Dtype::F32, shape: vec![n, k], bytes: &bytes }, transposed: false, rows: RowMap::All };
    let weight = cpu.pack(&Operand::Plain(vec![view])).expect("memory for a small product");
    let x: Vec<f32> = (0..m * k).map(|_| rng.normal() as f32).collect();
    let (x, mut y) = (cpu.upload(&x, k).expect("memory"), cpu.mat(m, n).expect("memory"));
    let mut best = f64::MAX;
    for _ in 0..5 {
        let t = Instant::now();
        cpu.enter(|| cpu.linear(&x, 0, m, &weight, None, Epilogue::Store(Act::None), &mut y, 0)).expect("a product of known sizes");
        best = best.min(t.elapsed().as_secs_f64());
    }
    2.0 * (m * k * n) as f64 / best / 1e9
}

/// Operations for one text of `t` tokens of which all but the last are fed: (products, the mixers' own).
fn operations(spec: &ModelSpec, t: usize) -> (f64, f64) {
    let rows = (t - 1) as f64;
    let keys = rows * (rows + 1.0) / 2.0;
    let (mut products, mut mixers) = (2.0 * rows * (spec.d * spec.vocab) as f64, 0.0);
    let lin = |l: &model::Linear| 2.0 * rows * (l.inputs * l.outputs) as f64;
    for b in spec.layers.iter().flat_map(|l| &l.blocks) {
        match &b.mixer {
            Mixer::Attention(a) => {
                products += lin(&a.qkv) + lin(&a.out);
                mixers += 4.0 * keys * (a.heads * a.head_dim) as f64;
            }
            Mixer::Mlp(m) => products += lin(&m.up) + lin(&m.down),
            Mixer::Mamba1(m) => {
                products += lin(&m.in_proj) + lin(&m.x_proj) + lin(&m.dt_proj) + lin(&m.out_proj);
                mixers += 6.0 * rows * (m.d_inner * m.d_state) as f64;
            }
            Mixer::Mamba2(m) => {
                products += lin(&m.in_proj) + lin(&m.out_proj);
                mixers += 6.0 * rows * (m.d_inner * m.d_state) as f64;
            }
        }
    }
    (products, mixers)
}

struct Shape {
    name: &'static str,
    config: &'static str,
    tensors: Vec<(String, Vec<usize>)>,
}

fn shapes() -> Vec<Shape> {
    let (d, ff) = (768usize, 2048usize);
    let mut llama = vec![("model.embed_tokens.weight".to_string(), vec![50304, d]), ("model.norm.weight".into(), vec![d])];
    for i in 0..12 {
        for n in ["q", "k", "v", "o"] {
            llama.push((format!("model.layers.{i}.self_attn.{n}_proj.weight"), vec![d, d]));
        }
        llama.push((format!("model.layers.{i}.mlp.gate_proj.weight"), vec![ff, d]));
        llama.push((format!("model.layers.{i}.mlp.up_proj.weight"), vec![ff, d]));
        llama.push((format!("model.layers.{i}.mlp.down_proj.weight"), vec![d, ff]));
        llama.push((format!("model.layers.{i}.input_layernorm.weight"), vec![d]));
        llama.push((format!("model.layers.{i}.post_attention_layernorm.weight"), vec![d]));
    }
    let mut mamba = vec![("backbone.embeddings.weight".to_string(), vec![50280, d]), ("backbone.norm_f.weight".into(), vec![d])];
    for i in 0..24 {
        let p = format!("backbone.layers.{i}");
        mamba.push((format!("{p}.norm.weight"), vec![d]));
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
            mamba.push((format!("{p}.mixer.{n}"), shape));
        }
    }
    let llama_config = r#"{"model_type":"llama","architectures":["LlamaForCausalLM"],"vocab_size":50304,"hidden_size":768,"intermediate_size":2048,"num_hidden_layers":12,"num_attention_heads":12,"num_key_value_heads":12,"head_dim":64,"hidden_act":"silu","max_position_embeddings":2048,"rms_norm_eps":1e-05,"rope_theta":10000.0,"rope_scaling":null,"attention_bias":false,"mlp_bias":false,"tie_word_embeddings":true,"bos_token_id":1,"eos_token_id":2}"#;
    let mamba_config = r#"{"model_type":"mamba","architectures":["MambaForCausalLM"],"vocab_size":50280,"hidden_size":768,"state_size":16,"num_hidden_layers":24,"expand":2,"conv_kernel":4,"intermediate_size":1536,"time_step_rank":48,"hidden_act":"silu","layer_norm_epsilon":1e-05,"use_bias":false,"use_conv_bias":true,"residual_in_fp32":true,"tie_word_embeddings":true,"bos_token_id":0,"eos_token_id":0}"#;
    vec![Shape { name: "llama-12x768", config: llama_config, tensors: llama }, Shape { name: "mamba-130m", config: mamba_config, tensors: mamba }]
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
                s if s.contains("norm") || s.ends_with(".D") => 1.0,
                s if s.ends_with("A_log") => ((i % 16 + 1) as f32).ln(),
                s if s.ends_with("dt_proj.bias") => -4.0,
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

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let value = |name: &str| args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned();
    let rounds: usize = value("--rounds").and_then(|v| v.parse().ok()).unwrap_or(5);
    let threads: usize = value("--threads").and_then(|v| v.parse().ok()).unwrap_or(2);
    let kept = value("--models").map(PathBuf::from);
    let temporary = tempfile::tempdir().expect("a temporary folder");
    let root = kept.as_deref().unwrap_or(temporary.path());
    for shape in shapes().iter().filter(|s| value("--only").is_none_or(|o| o == s.name)) {
        let folder = root.join(shape.name);
        if !folder.join("model.safetensors").exists() {
            write(shape, &folder);
        }
        let (spec, checkpoint) = model::open(&folder, &Default::default()).expect("the folder was just written");
        let (products, mixers) = operations(&spec, TOKENS);
        let cpu = Cpu::new(Some(threads)).expect("threads");
        let isa = cpu.isa();
        let mut engine = Engine::new(cpu, spec, checkpoint, Options::default()).expect("memory for the weights");
        let text: Vec<u32> = (0..TOKENS as u32).map(|i| (i * 7919 + 13) % 50_000).collect();
        let text = [text];
        let sum: f64 = score_lists(&mut engine, &text).expect("a text within the positions")[0].iter().map(|&x| x as f64).sum();
        let (mut peaks, mut ceilings, mut speeds, mut shares, mut product_shares) = (vec![], vec![], vec![], vec![], vec![]);
        for _ in 0..rounds {
            let (peak, ceiling) = (fma_peak(isa, threads), product_ceiling(engine.backend()));
            let t = Instant::now();
            score_lists(&mut engine, &text).expect("as before");
            let seconds = t.elapsed().as_secs_f64();
            speeds.push(TOKENS as f64 / seconds);
            shares.push((products + mixers) / seconds / 1e9 / peak);
            product_shares.push((products + mixers) / seconds / 1e9 / ceiling);
            peaks.push(peak);
            ceilings.push(ceiling);
        }
        println!(
            "{}",
            serde_json::json!({
                "model": shape.name, "backend": engine.backend().name(), "threads": threads, "tokens": TOKENS, "rounds": rounds, "sum": sum,
                "tokens_per_second": median(speeds.clone()), "fma_peak_gflops": median(peaks), "product_gflops": median(ceilings),
                "share_of_fma_peak": median(shares), "share_of_product": median(product_shares), "all_tokens_per_second": speeds,
            })
        );
    }
}
