//! Mamba (HF `MambaForCausalLM`, `modeling_mamba.py`) and the original state-spaces layout (`MambaLMHeadModel` of mamba_ssm), whose config.json has
//! no model_type and which holds Mamba-2 as well.

use super::{head, mamba2};
use crate::error::Result;
use crate::model::OpenOptions;
use crate::model::build::{Bias, Names};
use crate::model::checkpoint::Naming;
use crate::model::config::{Config, LENGTH, WIDTH};
use crate::model::spec::{Activation, Block, Embedding, Layer, Mamba1, Mixer, ModelSpec, Norm, NormKind, Residual, StartToken};

const IGNORED: &[(&[&str], &str)] = &[
    (&["residual_in_fp32"], "the residual is float32 here always"),
    (&["time_step_scale", "time_step_min", "time_step_max", "time_step_init_scheme", "time_step_floor", "rescale_prenorm_residual"], "initialisation"),
    (&["use_mambapy", "use_associative_scan"], "another program for the same scan"),
    (&["layer_types"], "all layers are alike"),
    (
        &["d_model", "d_inner", "n_layer", "ssm_cfg", "fused_add_norm", "pad_vocab_size_multiple"],
        "the original's spelling of what is read, left behind by conversion; the vocabulary is already padded",
    ),
];

/// Keys of the original layout, at the top and in ssm_cfg.
const ORIGINAL_IGNORED: &[(&[&str], &str)] = &[(&["residual_in_fp32", "fused_add_norm"], "the residual is float32 here always")];
const SSM_IGNORED: &[(&[&str], &str)] = &[
    (&["dt_min", "dt_max", "dt_init", "dt_scale", "dt_init_floor", "A_init_range", "conv_init"], "initialisation"),
    (&["use_fast_path", "use_mem_eff_path", "chunk_size", "sequence_parallel", "process_group"], "another program for the same scan"),
];

/// Everything about the stack that is not inside a mixer.
pub(super) struct Stack {
    /// As [`ModelSpec::family`].
    pub family: &'static str,
    /// Width.
    pub d: usize,
    /// Number of layers.
    pub layers: usize,
    /// Rows of the embedding.
    pub vocab: usize,
    /// Of the norms between blocks.
    pub norm: NormKind,
    /// Their ε.
    pub eps: f32,
    /// Whether the head is the embedding.
    pub tied: bool,
    /// Start token.
    pub start: Option<StartToken>,
}

impl Stack {
    /// Norm and mixer, `layers` times, under the names that HF gives them.
    pub fn spec(self, mixer: impl Fn(&Names) -> Mixer) -> (ModelSpec, Naming) {
        let Stack { d, vocab, eps, .. } = self;
        let norm = |names: &Names, name: &str| -> Norm {
            match self.norm {
                NormKind::Rms => names.rms(name, d, eps),
                NormKind::Layer => names.layer_norm(name, d, eps),
            }
        };
        let root = Names::under("backbone");
        let embedding = root.tensor("embeddings.weight", &[vocab, d]);
        let (head, mut aliases) = head(self.tied, &embedding, "lm_head.weight", norm(&root, "norm_f"));
        // The original's name for the same tensor.
        aliases.push(("backbone.embedding.weight".to_string(), embedding.name.clone()));
        let layer = |i: usize| {
            let p = Names::under(format!("backbone.layers.{i}"));
            let mixer = mixer(&Names::under(format!("backbone.layers.{i}.mixer")));
            Layer { blocks: vec![Block { name: format!("L{i:02}.scan"), norm: norm(&p, "norm"), mixer }], residual: Residual::Sequential }
        };
        let spec = ModelSpec {
            family: self.family.to_string(),
            d,
            vocab,
            max_positions: None,
            embedding: Embedding { tokens: embedding, positions: None },
            layers: (0..self.layers).map(layer).collect(),
            head,
            start: self.start,
        };
        (spec, Naming { prefix: "backbone.", buffers: &[], aliases })
    }
}

struct Sizes {
    d: usize,
    d_inner: usize,
    d_state: usize,
    conv: usize,
    dt_rank: usize,
    bias: Bias,
    conv_bias: Bias,
    activation: Activation,
}

impl Sizes {
    fn mixer(&self, p: &Names) -> Mixer {
        let Sizes { d, d_inner, d_state, conv, dt_rank, bias, conv_bias, activation } = *self;
        Mixer::Mamba1(Mamba1 {
            in_proj: p.linear("in_proj", 2 * d_inner, d, bias),
            conv_weight: p.tensor("conv1d.weight", &[d_inner, 1, conv]),
            conv_bias: (conv_bias == Bias::With).then(|| p.tensor("conv1d.bias", &[d_inner])),
            x_proj: p.linear("x_proj", dt_rank + 2 * d_state, d_inner, Bias::Without),
            dt_proj: p.linear("dt_proj", d_inner, dt_rank, Bias::With),
            a_log: p.tensor("A_log", &[d_inner, d_state]),
            d_skip: p.tensor("D", &[d_inner]),
            out_proj: p.linear("out_proj", d, d_inner, bias),
            d_inner,
            d_state,
            conv,
            dt_rank,
            activation,
        })
    }
}

pub(super) fn read(c: &Config, _: &OpenOptions) -> Result<(ModelSpec, Naming)> {
    let d = c.size("hidden_size", WIDTH)?;
    let d_inner = inner_width(c, "expand", d)?;
    if let Some(given) = c.optional("intermediate_size", WIDTH)?.filter(|n| *n != d_inner) {
        return Err(c.error(format!("`intermediate_size` {given} is not `expand` times `hidden_size`, {d_inner}")));
    }
    let sizes = Sizes {
        d,
        d_inner,
        d_state: c.optional("state_size", WIDTH)?.unwrap_or(16),
        conv: c.optional("conv_kernel", 1..=64)?.unwrap_or(4),
        dt_rank: dt_rank(c, "time_step_rank", d)?,
        bias: Bias::from(c.flag("use_bias", false)?),
        conv_bias: Bias::from(c.flag("use_conv_bias", true)?),
        activation: c.activation("hidden_act", Activation::Silu)?,
    };
    let stack = Stack {
        family: "mamba",
        d,
        layers: layer_count(c)?,
        vocab: c.size("vocab_size", LENGTH)?,
        norm: NormKind::Rms,
        eps: c.epsilon("layer_norm_epsilon", 1e-5)?,
        tied: c.flag("tie_word_embeddings", true)?,
        start: c.start_token()?,
    };
    c.only("rms_norm", true, "the reference's Mamba has RMS norms only")?;
    let spec = stack.spec(|p| sizes.mixer(p));
    c.finish(IGNORED)?;
    Ok(spec)
}

/// `num_hidden_layers`, which converted folders also call `n_layer`.
pub(super) fn layer_count(c: &Config) -> Result<usize> {
    match c.layers("num_hidden_layers")? {
        Some(n) => Ok(n),
        None => c.layer_count("n_layer"),
    }
}

/// `expand` times the width, a whole number.
pub(super) fn inner_width(c: &Config, key: &str, d: usize) -> Result<usize> {
    let inner = c.positive(key)?.unwrap_or(2.0) * d as f64;
    if inner >= 1.0 && inner <= *WIDTH.end() as f64 { Ok(inner as usize) } else { Err(c.error(format!("`{key}` makes an inner width of {inner}"))) }
}

/// A whole number, or "auto" for ⌈d/16⌉.
fn dt_rank(c: &Config, key: &str, d: usize) -> Result<usize> {
    match c.value(key).and_then(|v| v.as_str()) {
        Some("auto") => Ok(d.div_ceil(16)),
        _ => Ok(c.optional(key, WIDTH)?.unwrap_or(d.div_ceil(16))),
    }
}

/// The original layout: `{d_model, n_layer, vocab_size, ssm_cfg, …}`.
pub(super) fn read_original(c: &Config, _: &OpenOptions) -> Result<(ModelSpec, Naming)> {
    let d = c.size("d_model", WIDTH)?;
    let multiple = c.optional("pad_vocab_size_multiple", 1..=1 << 16)?.unwrap_or(8);
    if c.optional("d_intermediate", 0..=*WIDTH.end())?.unwrap_or(0) != 0 {
        return Err(c.error("`d_intermediate` is not 0: blocks with an MLP are not implemented for this layout"));
    }
    if c.list("attn_layer_idx")?.is_some_and(|l| !l.is_empty()) {
        return Err(c.error("`attn_layer_idx` is not empty: attention layers are not implemented for this layout"));
    }
    c.section("attn_cfg")?;
    let stack = |family| {
        Ok::<_, crate::Error>(Stack {
            family,
            d,
            layers: c.layer_count("n_layer")?,
            vocab: c.size("vocab_size", LENGTH)?.next_multiple_of(multiple),
            norm: if c.flag("rms_norm", true)? { NormKind::Rms } else { NormKind::Layer },
            eps: c.epsilon("norm_epsilon", 1e-5)?,
            tied: c.flag("tie_embeddings", true)?,
            start: c.start_token()?,
        })
    };
    let ssm = c.section("ssm_cfg")?;
    let empty;
    let s = match &ssm {
        Some(s) => s,
        None => {
            empty = c.empty("ssm_cfg");
            &empty
        }
    };
    let (bias, conv_bias) = (Bias::from(s.flag("bias", false)?), Bias::from(s.flag("conv_bias", true)?));
    let spec = match s.text("layer")?.unwrap_or("Mamba1") {
        "Mamba1" => {
            let sizes = Sizes {
                d,
                d_inner: inner_width(s, "expand", d)?,
                d_state: s.optional("d_state", WIDTH)?.unwrap_or(16),
                conv: s.optional("d_conv", 1..=64)?.unwrap_or(4),
                dt_rank: dt_rank(s, "dt_rank", d)?,
                bias,
                conv_bias,
                activation: Activation::Silu,
            };
            stack("mamba")?.spec(|p| sizes.mixer(p))
        }
        "Mamba2" => {
            let sizes = mamba2::Sizes::original(s, d, bias, conv_bias)?;
            stack("mamba2")?.spec(|p| sizes.mixer(p))
        }
        other => return Err(s.error(format!("`ssm_cfg.layer` \"{other}\" is not implemented (Mamba1 and Mamba2 are)"))),
    };
    s.finish(SSM_IGNORED)?;
    c.finish(ORIGINAL_IGNORED)?;
    Ok(spec)
}
