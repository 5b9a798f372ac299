//! GPT-2 (HF `GPT2LMHeadModel`, `modeling_gpt2.py`): learned positions, LayerNorm, fused q, k, v and all projections lying as `[inputs, outputs]`.

use super::head;
use crate::error::Result;
use crate::model::OpenOptions;
use crate::model::build::Names;
use crate::model::checkpoint::Naming;
use crate::model::config::{Config, LENGTH, WIDTH};
use crate::model::spec::{Activation, Attention, Block, Embedding, Layer, Mixer, Mlp, ModelSpec, Residual};

/// The causal mask and its fill value, stored by older versions.
const BUFFERS: &[&str] = &["h.*.attn.bias", "h.*.attn.masked_bias"];

const IGNORED: &[(&[&str], &str)] = &[
    (&["n_ctx"], "an older name of n_positions, no longer read by the reference"),
    (&["reorder_and_upcast_attn"], "scores are float32 here always"),
    (&["summary_type", "summary_use_proj", "summary_activation", "summary_proj_to_labels", "summary_first_dropout"], "heads for other tasks"),
];

pub(super) fn read(c: &Config, _: &OpenOptions) -> Result<(ModelSpec, Naming)> {
    let (d, layers, heads) = (c.size("n_embd", WIDTH)?, c.layer_count("n_layer")?, c.size("n_head", WIDTH)?);
    if d % heads != 0 {
        return Err(c.error(format!("`n_embd` {d} is no multiple of `n_head` {heads}")));
    }
    let head_dim = d / heads;
    let (vocab, positions) = (c.size("vocab_size", LENGTH)?, c.size("n_positions", LENGTH)?);
    let ff = c.optional("n_inner", WIDTH)?.unwrap_or(4 * d);
    let eps = c.epsilon("layer_norm_epsilon", 1e-5)?;
    let activation = c.activation("activation_function", Activation::GeluTanh)?;
    let scale = if c.flag("scale_attn_weights", true)? { (head_dim as f64).powf(-0.5) } else { 1.0 };
    let by_layer = c.flag("scale_attn_by_inverse_layer_idx", false)?;

    let root = Names::under("transformer");
    let embedding = root.tensor("wte.weight", &[vocab, d]);
    let (head, aliases) = head(c.flag("tie_word_embeddings", true)?, &embedding, "lm_head.weight", root.layer_norm("ln_f", d, eps));
    let layer = |i: usize| {
        let p = Names::under(format!("transformer.h.{i}"));
        let attention = Attention {
            qkv: p.conv1d("attn.c_attn", 3 * d, d),
            out: p.conv1d("attn.c_proj", d, d),
            heads,
            kv_heads: heads,
            head_dim,
            v_head_dim: head_dim,
            scale: (if by_layer { scale / (i + 1) as f64 } else { scale }) as f32,
            rope: None,
            window: None,
            softcap: None,
            sinks: None,
            qk_norm: None,
        };
        let mlp = Mlp { up: p.conv1d("mlp.c_fc", ff, d), gated: false, activation, down: p.conv1d("mlp.c_proj", d, ff), width: ff };
        Layer {
            blocks: vec![
                Block { name: format!("L{i:02}.attn"), norm: p.layer_norm("ln_1", d, eps), mixer: Mixer::Attention(attention) },
                Block { name: format!("L{i:02}.mlp"), norm: p.layer_norm("ln_2", d, eps), mixer: Mixer::Mlp(mlp) },
            ],
            residual: Residual::Sequential,
        }
    };
    let spec = ModelSpec {
        family: "gpt2".to_string(),
        d,
        vocab,
        max_positions: Some(positions),
        embedding: Embedding { tokens: embedding, positions: Some(root.tensor("wpe.weight", &[positions, d])) },
        layers: (0..layers).map(layer).collect(),
        head,
        start: c.start_token()?,
    };
    c.finish(IGNORED)?;
    Ok((spec, Naming { prefix: "transformer.", buffers: BUFFERS, aliases }))
}
