//! Families whose history is fixed, or bounded by windows: scans and gated recurrences.

use super::attention::heads;
use super::{Growth, Part, Reader, divided};
use crate::error::Result;
use crate::model::config::{Config, LENGTH, WIDTH};

/// `model_type` to its reader.
pub(super) const FAMILIES: &[(&str, Reader)] =
    &[("falcon_mamba", falcon_mamba), ("recurrent_gemma", recurrent_gemma), ("rwkv", rwkv4), ("rwkv5", rwkv), ("rwkv6", rwkv), ("rwkv7", rwkv)];

/// Falcon-Mamba (`configuration_falcon_mamba.py`): Mamba with norms on dt, B and C.
fn falcon_mamba(c: &Config) -> Result<Vec<Part>> {
    let inner = match c.optional("intermediate_size", WIDTH)? {
        Some(given) => given,
        None => c.optional("expand", 1..=64)?.unwrap_or(2) * c.size("hidden_size", WIDTH)?,
    };
    let (state, conv) = (c.optional("state_size", WIDTH)?.unwrap_or(16), c.optional("conv_kernel", 1..=64)?.unwrap_or(4));
    Ok(vec![Part { layers: c.layer_count("num_hidden_layers")? as u64, ..Part::mamba(inner, state, conv) }])
}

/// RecurrentGemma (Griffin, arXiv:2402.19427; `configuration_recurrent_gemma.py`): the RG-LRU's state and the tail of its convolution, one number a channel
/// each step, beside attention in a window; a short pattern of blocks is repeated over the layers.
fn recurrent_gemma(c: &Config) -> Result<Vec<Part>> {
    let n = c.layer_count("num_hidden_layers")?;
    let (kv, head_dim) = heads(c, None, None)?;
    let width = c.optional("lru_width", WIDTH)?.map_or_else(|| c.size("hidden_size", WIDTH), Ok)?;
    let conv = c.optional("conv1d_width", 1..=64)?.unwrap_or(4);
    let window = c.optional("attention_window_size", LENGTH)?.unwrap_or(2048);
    let key = if c.has("block_types") { "block_types" } else { "_block_types" };
    let default = ["recurrent", "recurrent", "attention"].map(serde_json::Value::from);
    let pattern = c.list(key)?.unwrap_or(&default);
    if pattern.is_empty() {
        return Err(c.error(format!("`{key}` is empty")));
    }
    let kinds: Vec<_> = (0..n).map(|i| pattern[i % pattern.len()].clone()).collect();
    super::by_kind(c, key, &kinds, |kind| match kind {
        "recurrent" => Some(vec![Part::layer("RG-LRU", width + width * (conv - 1), Growth::Fixed)]),
        "attention" => Some(vec![Part::attention(kv, head_dim, Some(window))]),
        _ => None,
    })
}

/// RWKV-4 (arXiv:2305.13048; `configuration_rwkv.py`): numerator, denominator and running maximum a channel, and the last token at both mixings.
fn rwkv4(c: &Config) -> Result<Vec<Part>> {
    let d = c.size("hidden_size", WIDTH)?;
    let attention = c.optional("attention_hidden_size", WIDTH)?.unwrap_or(d);
    Ok(vec![Part { layers: c.layer_count("num_hidden_layers")? as u64, ..Part::layer("RWKV", 3 * attention + 2 * d, Growth::Fixed) }])
}

/// RWKV-5 and 6 (arXiv:2404.05892) and RWKV-7 (arXiv:2503.14456): a matrix of head size squared a head, and the last token at both mixings.
fn rwkv(c: &Config) -> Result<Vec<Part>> {
    for key in ["expand_k", "expand_v", "value_dim"] {
        if c.has(key) {
            return Err(c.error(format!("`{key}` is set: states that are not square are not counted here")));
        }
    }
    let d = c.size("hidden_size", WIDTH)?;
    let width = c.optional("attention_hidden_size", WIDTH)?.unwrap_or(d);
    let size = match c.agreed(&["head_size", "head_dim"])? {
        Some(given) if given.fract() == 0.0 && given <= *WIDTH.end() as f64 => given as usize,
        Some(given) => return Err(c.error(format!("`head_size` should be a whole number, found {given}"))),
        None => 64,
    };
    let heads = divided(c, "attention_hidden_size", "head_size", (width, size))?;
    Ok(vec![Part { layers: c.layer_count("num_hidden_layers")? as u64, ..Part::layer("RWKV", heads * size * size + 2 * d, Growth::Fixed) }])
}
