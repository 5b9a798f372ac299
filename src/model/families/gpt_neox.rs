//! GPT-NeoX and Pythia (HF `GPTNeoXForCausalLM`, `modeling_gpt_neox.py`): attention and MLP side by side, rotary on a part of each head,
//! q, k and v fused head by head.

use super::head;
use crate::error::Result;
use crate::model::OpenOptions;
use crate::model::build::{Bias, Names};
use crate::model::checkpoint::Naming;
use crate::model::config::{Config, LENGTH, WIDTH};
use crate::model::rope::{self, RopeContext};
use crate::model::spec::{Activation, Attention, Block, Embedding, Layer, Linear, Mixer, Mlp, ModelSpec, Residual};

/// Masks and frequencies stored by older versions.
const BUFFERS: &[&str] = &["layers.*.attention.bias", "layers.*.attention.masked_bias", "layers.*.attention.rotary_emb.inv_freq", "rotary_emb.inv_freq"];

pub(super) fn read(c: &Config, options: &OpenOptions) -> Result<(ModelSpec, Naming)> {
    let (d, layers, heads) = (c.size("hidden_size", WIDTH)?, c.layer_count("num_hidden_layers")?, c.size("num_attention_heads", WIDTH)?);
    if d % heads != 0 {
        return Err(c.error(format!("`hidden_size` {d} is no multiple of `num_attention_heads` {heads}")));
    }
    let head_dim = d / heads;
    let (ff, vocab) = (c.size("intermediate_size", WIDTH)?, c.size("vocab_size", LENGTH)?);
    let eps = c.epsilon("layer_norm_eps", 1e-5)?;
    let activation = c.activation("hidden_act", Activation::Gelu)?;
    let bias = Bias::from(c.flag("attention_bias", true)?);
    let context = RopeContext {
        head_dim,
        outer_theta: c.agreed(&["rotary_emb_base", "rope_theta"])?,
        theta: 10_000.0,
        outer_partial: c.agreed(&["rotary_pct", "partial_rotary_factor"])?,
        partial: 0.25,
        positions: c.size("max_position_embeddings", LENGTH)?,
        length: options.rope_length,
    };
    let (rope, max_positions) = rope::read(c, context)?;
    let residual = if c.flag("use_parallel_residual", true)? { Residual::Parallel } else { Residual::Sequential };

    let root = Names::under("gpt_neox");
    let embedding = root.tensor("embed_in.weight", &[vocab, d]);
    let (head, mut aliases) = head(c.flag("tie_word_embeddings", false)?, &embedding, "embed_out.weight", root.layer_norm("final_layer_norm", d, eps));
    // transformers 5 calls the head so in memory, and takes either from a file.
    aliases.push(("lm_head.weight".to_string(), head.unembedding.parts[0].name.clone()));
    let layer = |i: usize| {
        let p = Names::under(format!("gpt_neox.layers.{i}"));
        let attention = Attention {
            qkv: Linear::per_head(p.linear("attention.query_key_value", 3 * d, d, bias), 3, head_dim),
            out: p.linear("attention.dense", d, d, bias),
            heads,
            kv_heads: heads,
            head_dim,
            v_head_dim: head_dim,
            scale: (head_dim as f64).powf(-0.5) as f32,
            rope: Some(rope.clone()),
            window: None,
            softcap: None,
            sinks: None,
            qk_norm: None,
        };
        let mlp = Mlp {
            up: p.linear("mlp.dense_h_to_4h", ff, d, Bias::With),
            gated: false,
            activation,
            down: p.linear("mlp.dense_4h_to_h", d, ff, Bias::With),
            width: ff,
        };
        Layer {
            blocks: vec![
                Block { name: format!("L{i:02}.attn"), norm: p.layer_norm("input_layernorm", d, eps), mixer: Mixer::Attention(attention) },
                Block { name: format!("L{i:02}.mlp"), norm: p.layer_norm("post_attention_layernorm", d, eps), mixer: Mixer::Mlp(mlp) },
            ],
            residual,
        }
    };
    let spec = ModelSpec {
        family: "gpt_neox".to_string(),
        d,
        vocab,
        max_positions: Some(max_positions),
        embedding: Embedding { tokens: embedding, positions: None },
        layers: (0..layers).map(layer).collect(),
        head,
        start: c.start_token()?,
    };
    c.finish(&[])?;
    Ok((spec, Naming { prefix: "gpt_neox.", buffers: BUFFERS, aliases }))
}
