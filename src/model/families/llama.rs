//! Llama (HF `LlamaForCausalLM`, `modeling_llama.py`), and as rows of it Mistral (windows), Qwen2 (biases on q, k, v; windows on upper layers)
//! and Qwen3 (norms on each head of q and k).

use super::head;
use crate::error::Result;
use crate::model::OpenOptions;
use crate::model::build::{Bias, Names};
use crate::model::checkpoint::Naming;
use crate::model::config::{Config, LAYERS, LENGTH, WIDTH};
use crate::model::rope::{self, RopeContext};
use crate::model::spec::{Activation, Attention, Block, Embedding, Layer, Linear, Mixer, Mlp, ModelSpec, Residual};

/// Known buffers of older folders.
const BUFFERS: &[&str] = &["layers.*.self_attn.rotary_emb.inv_freq", "rotary_emb.inv_freq"];

pub(super) fn read(c: &Config, options: &OpenOptions) -> Result<(ModelSpec, Naming)> {
    let family = c.text("model_type")?.unwrap_or("llama").to_string();
    let (d, layers, heads) = (c.size("hidden_size", WIDTH)?, c.layer_count("num_hidden_layers")?, c.size("num_attention_heads", WIDTH)?);
    let kv = match (c.optional("num_key_value_heads", WIDTH)?, family.as_str()) {
        (Some(kv), _) => kv,
        // The class's default where config.json is silent; a null means as many as query heads there too.
        (None, "mistral") if !c.is_null("num_key_value_heads") => 8,
        (None, _) => heads,
    };
    if heads % kv != 0 {
        return Err(c.error(format!("`num_attention_heads` {heads} is no multiple of `num_key_value_heads` {kv}")));
    }
    let head_dim = match c.optional("head_dim", 1..=1 << 13)? {
        Some(given) => given,
        None if family == "qwen3" => 128,
        None if d % heads == 0 => d / heads,
        None => return Err(c.error(format!("`hidden_size` {d} is no multiple of `num_attention_heads` {heads}, and there is no `head_dim`"))),
    };
    let (ff, vocab) = (c.size("intermediate_size", WIDTH)?, c.size("vocab_size", LENGTH)?);
    let eps = c.epsilon("rms_norm_eps", 1e-6)?;
    let activation = c.activation("hidden_act", Activation::Silu)?;
    let context = RopeContext {
        head_dim,
        outer_theta: c.positive("rope_theta")?,
        theta: 10_000.0,
        outer_partial: None,
        partial: 1.0,
        positions: c.size("max_position_embeddings", LENGTH)?,
        length: options.rope_length,
    };
    let (rope, max_positions) = rope::read(c, context)?;
    if rope.dims != head_dim {
        return Err(c.error("`partial_rotary_factor` is not 1, which this family does not implement"));
    }
    let (qkv_bias, out_bias, mlp_bias) = match family.as_str() {
        "qwen2" => (Bias::With, Bias::Without, Bias::Without),
        "mistral" => (Bias::Without, Bias::Without, Bias::Without),
        "qwen3" => {
            let attention = Bias::from(c.flag("attention_bias", false)?);
            (attention, attention, Bias::Without)
        }
        _ => {
            let attention = Bias::from(c.flag("attention_bias", false)?);
            (attention, attention, Bias::from(c.flag("mlp_bias", false)?))
        }
    };
    let windows = windows(c, &family, layers)?;
    if family == "qwen2" {
        c.only("use_mrope", false, "positions of several axes are not implemented")?;
    }

    let root = Names::under("model");
    let embedding = root.tensor("embed_tokens.weight", &[vocab, d]);
    let (head, aliases) = head(c.flag("tie_word_embeddings", false)?, &embedding, "lm_head.weight", root.rms("norm", d, eps));
    let layer = |i: usize| {
        let p = Names::under(format!("model.layers.{i}"));
        let project = |name: &str, n: usize| p.linear(&format!("self_attn.{name}"), n * head_dim, d, qkv_bias);
        let head_norm = |name: &str| p.tensor(&format!("self_attn.{name}.weight"), &[head_dim]);
        let attention = Attention {
            qkv: Linear::stacked(vec![project("q_proj", heads), project("k_proj", kv), project("v_proj", kv)]),
            out: p.linear("self_attn.o_proj", d, heads * head_dim, out_bias),
            heads,
            kv_heads: kv,
            head_dim,
            v_head_dim: head_dim,
            scale: (head_dim as f64).powf(-0.5) as f32,
            rope: Some(rope.clone()),
            window: windows[i],
            softcap: None,
            sinks: None,
            qk_norm: (family == "qwen3").then(|| (head_norm("q_norm"), head_norm("k_norm"), eps)),
        };
        let mlp = Mlp {
            up: Linear::stacked(vec![p.linear("mlp.gate_proj", ff, d, mlp_bias), p.linear("mlp.up_proj", ff, d, mlp_bias)]),
            gated: true,
            activation,
            down: p.linear("mlp.down_proj", d, ff, mlp_bias),
            width: ff,
        };
        Layer {
            blocks: vec![
                Block { name: format!("L{i:02}.attn"), norm: p.rms("input_layernorm", d, eps), mixer: Mixer::Attention(attention) },
                Block { name: format!("L{i:02}.mlp"), norm: p.rms("post_attention_layernorm", d, eps), mixer: Mixer::Mlp(mlp) },
            ],
            residual: Residual::Sequential,
        }
    };
    let spec = ModelSpec {
        family: family.clone(),
        d,
        vocab,
        max_positions: Some(max_positions),
        embedding: Embedding { tokens: embedding, positions: None },
        layers: (0..layers).map(layer).collect(),
        head,
        start: c.start_token()?,
    };
    c.finish(&[])?;
    Ok((spec, Naming { prefix: "model.", buffers: BUFFERS, aliases }))
}

/// Each layer's window.
fn windows(c: &Config, family: &str, layers: usize) -> Result<Vec<Option<usize>>> {
    if family == "llama" {
        return Ok(vec![None; layers]);
    }
    let given = c.optional("sliding_window", LENGTH)?;
    // The classes' default where config.json does not have the key at all; null says that there is no window.
    let window = if c.is_null("sliding_window") { None } else { given.or(Some(4096)) };
    if family == "mistral" {
        return Ok(vec![window; layers]);
    }
    let used = c.flag("use_sliding_window", false)?;
    let window = window.filter(|_| used);
    let first = c.optional("max_window_layers", 0..=*LAYERS.end())?.unwrap_or(28);
    let Some(types) = c.list("layer_types")? else {
        return Ok((0..layers).map(|i| window.filter(|_| i >= first)).collect());
    };
    if types.len() != layers {
        return Err(c.error(format!("`layer_types` has {} entries for {layers} layers", types.len())));
    }
    let of = |kind: &serde_json::Value| match (kind.as_str(), window) {
        (Some("full_attention"), _) => Ok(None),
        (Some("sliding_attention"), Some(w)) => Ok(Some(w)),
        (Some("sliding_attention"), None) => Err(c.error("`layer_types` has sliding_attention, but there is no window in use")),
        _ => Err(c.error(format!("`layer_types` has {kind}; full_attention and sliding_attention are implemented"))),
    };
    types.iter().map(of).collect()
}
