//! Families that mix attention with scans, summed over layers. Defaults are those of the reference library's configuration classes
//! (transformers, `configuration_*.py`).

use super::attention::heads;
use super::{Growth, Part, Reader, by_kind, divided};
use crate::error::Result;
use crate::model::config::{Config, LAYERS, LENGTH, WIDTH};

/// `model_type` to its reader.
pub(super) const FAMILIES: &[(&str, Reader)] = &[
    ("jamba", jamba),
    ("zamba2", zamba2),
    ("bamba", bamba),
    ("granitemoehybrid", granite),
    ("nemotron_h", nemotron_h),
    ("falcon_h1", falcon_h1),
    ("qwen3_next", qwen3_next),
];

/// Jamba (arXiv:2403.19887): one layer of `attn_layer_period` attends, the others are Mamba.
fn jamba(c: &Config) -> Result<Vec<Part>> {
    let (n, d) = (c.layer_count("num_hidden_layers")?, c.size("hidden_size", WIDTH)?);
    let (kv, head_dim) = heads(c, Some(8), None)?;
    let (period, offset) = (c.optional("attn_layer_period", LENGTH)?.unwrap_or(8), c.optional("attn_layer_offset", 0..=*LENGTH.end())?.unwrap_or(4));
    let inner = c.optional("mamba_expand", 1..=64)?.unwrap_or(2) * d;
    let (state, conv) = (c.optional("mamba_d_state", WIDTH)?.unwrap_or(16), c.optional("mamba_d_conv", 1..=64)?.unwrap_or(4));
    let window = c.optional("sliding_window", LENGTH)?;
    let layer = |i| if i % period == offset { Part::attention(kv, head_dim, window) } else { Part::mamba(inner, state, conv) };
    Ok((0..n).map(layer).collect())
}

/// Zamba2 (arXiv:2411.15242): every layer is Mamba-2; `hybrid` ones have attention before it, of shared weights but with keys and values of their own,
/// over the residual and the embedding side by side: heads are 2·d over their number wide.
fn zamba2(c: &Config) -> Result<Vec<Part>> {
    let (n, d) = (c.layer_count("num_hidden_layers")?, c.size("hidden_size", WIDTH)?);
    let query_heads = c.size("num_attention_heads", WIDTH)?;
    let kv = c.optional("num_key_value_heads", WIDTH)?.unwrap_or(query_heads);
    let head_dim = c.optional("attention_head_dim", WIDTH)?.map_or_else(|| divided(c, "2 × hidden_size", "num_attention_heads", (2 * d, query_heads)), Ok)?;
    let inner = c.optional("mamba_expand", 1..=64)?.unwrap_or(2) * d;
    let scan = Part::mamba2(
        inner,
        c.optional("mamba_d_state", WIDTH)?.unwrap_or(64),
        c.optional("mamba_ngroups", WIDTH)?.unwrap_or(1),
        c.optional("mamba_d_conv", 1..=64)?.unwrap_or(4),
    );
    let hybrid = || vec![Part::attention(kv, head_dim, None), scan.clone()];
    if let Some(kinds) = c.list("layers_block_type")? {
        check_length(c, "layers_block_type", kinds.len(), n)?;
        return by_kind(c, "layers_block_type", kinds, |kind| match kind {
            "mamba" => Some(vec![scan.clone()]),
            "hybrid" => Some(hybrid()),
            _ => None,
        });
    }
    let ids = layer_ids(c, "hybrid_layer_ids", n)?.ok_or_else(|| c.error("lacks `layers_block_type`"))?;
    Ok((0..n).flat_map(|i| if ids.contains(&i) { hybrid() } else { vec![scan.clone()] }).collect())
}

/// Bamba: Mamba-2, and attention in the layers of `attn_layer_indices`.
fn bamba(c: &Config) -> Result<Vec<Part>> {
    let n = c.layer_count("num_hidden_layers")?;
    let (kv, head_dim) = heads(c, Some(8), None)?;
    let scan = scan_by_expand(c, 256)?;
    let ids = layer_ids(c, "attn_layer_indices", n)?.unwrap_or_default();
    Ok((0..n).map(|i| if ids.contains(&i) { Part::attention(kv, head_dim, None) } else { scan.clone() }).collect())
}

/// Granite-4 hybrids: by `layer_types`.
fn granite(c: &Config) -> Result<Vec<Part>> {
    let n = c.layer_count("num_hidden_layers")?;
    let (kv, head_dim) = heads(c, None, None)?;
    let scan = scan_by_expand(c, 256)?;
    let Some(kinds) = c.list("layer_types")? else { return Ok(vec![Part { layers: n as u64, ..scan }]) };
    check_length(c, "layer_types", kinds.len(), n)?;
    by_kind(c, "layer_types", kinds, |kind| match kind {
        "mamba" => Some(vec![scan.clone()]),
        "attention" | "full_attention" => Some(vec![Part::attention(kv, head_dim, None)]),
        _ => None,
    })
}

/// Nemotron-H (arXiv:2504.03624): by `hybrid_override_pattern` (M Mamba-2, * attention, - MLP, E experts) or `layers_block_type`.
fn nemotron_h(c: &Config) -> Result<Vec<Part>> {
    let given = c.agreed(&["head_dim", "attention_head_dim"])?.unwrap_or(128.0);
    let kv = c.optional("num_key_value_heads", WIDTH)?.map_or(if c.is_null("num_key_value_heads") { None } else { Some(8) }, Some);
    let kv = kv.map_or_else(|| c.size("num_attention_heads", WIDTH), Ok)?;
    if given.fract() != 0.0 || given > *WIDTH.end() as f64 {
        return Err(c.error(format!("`head_dim` should be a whole number, found {given}")));
    }
    let inner = c.optional("mamba_num_heads", WIDTH)?.unwrap_or(128) * c.optional("mamba_head_dim", WIDTH)?.unwrap_or(64);
    let scan = Part::mamba2(
        inner,
        c.optional("ssm_state_size", WIDTH)?.unwrap_or(128),
        c.optional("n_groups", WIDTH)?.unwrap_or(8),
        c.optional("conv_kernel", 1..=64)?.unwrap_or(4),
    );
    let attention = Part::attention(kv, given as usize, c.optional("sliding_window", LENGTH)?);
    let of = |kind: &str| match kind {
        "M" | "mamba" | "linear_attention" => Some(vec![scan.clone()]),
        "*" | "attention" | "full_attention" => Some(vec![attention.clone()]),
        "-" | "mlp" | "E" | "moe" => Some(vec![]),
        _ => None,
    };
    if let Some(pattern) = c.text("hybrid_override_pattern")? {
        let kinds: Vec<serde_json::Value> = pattern.chars().map(|k| k.to_string().into()).collect();
        if let Some(n) = c.optional("num_hidden_layers", LAYERS)? {
            check_length(c, "hybrid_override_pattern", kinds.len(), n)?;
        }
        return by_kind(c, "hybrid_override_pattern", &kinds, of);
    }
    let kinds = c.list("layers_block_type")?.ok_or_else(|| c.error("lacks `hybrid_override_pattern`"))?;
    by_kind(c, "layers_block_type", kinds, of)
}

/// Falcon-H1 (arXiv:2507.22448): attention and Mamba-2 side by side in every layer.
fn falcon_h1(c: &Config) -> Result<Vec<Part>> {
    let n = c.layer_count("num_hidden_layers")? as u64;
    let (kv, head_dim) = heads(c, Some(8), None)?;
    let expanded = c.optional("mamba_expand", 1..=64)?.unwrap_or(2) * c.size("hidden_size", WIDTH)?;
    // A null means the expanded width; a missing key the class's 1,024.
    let inner = c.optional("mamba_d_ssm", WIDTH)?.unwrap_or(if c.is_null("mamba_d_ssm") { expanded } else { 1024 });
    let scan = Part::mamba2(
        inner,
        c.optional("mamba_d_state", WIDTH)?.unwrap_or(256),
        c.optional("mamba_n_groups", WIDTH)?.unwrap_or(1),
        c.optional("mamba_d_conv", 1..=64)?.unwrap_or(4),
    );
    Ok(vec![Part { layers: n, ..Part::attention(kv, head_dim, None) }, Part { layers: n, ..scan }])
}

/// Qwen3-Next: every `full_attention_interval`-th layer attends, the others are gated delta rules (arXiv:2412.06464), a matrix of key by value width a
/// value head, with one convolution over queries, keys and values.
fn qwen3_next(c: &Config) -> Result<Vec<Part>> {
    let n = c.layer_count("num_hidden_layers")?;
    let (kv, head_dim) = heads(c, Some(2), Some(256))?;
    let (key, value) = (c.optional("linear_key_head_dim", WIDTH)?.unwrap_or(128), c.optional("linear_value_head_dim", WIDTH)?.unwrap_or(128));
    let (keys, values) = (c.optional("linear_num_key_heads", WIDTH)?.unwrap_or(16), c.optional("linear_num_value_heads", WIDTH)?.unwrap_or(32));
    let conv = c.optional("linear_conv_kernel_dim", 1..=64)?.unwrap_or(4);
    let delta = Part::layer("gated delta rule", values * key * value + (2 * keys * key + values * value) * (conv - 1), Growth::Fixed);
    let attention = Part::attention(kv, head_dim, None);
    if let Some(kinds) = c.list("layer_types")? {
        check_length(c, "layer_types", kinds.len(), n)?;
        return by_kind(c, "layer_types", kinds, |kind| match kind {
            "linear_attention" => Some(vec![delta.clone()]),
            "full_attention" => Some(vec![attention.clone()]),
            _ => None,
        });
    }
    let every = c.optional("full_attention_interval", LENGTH)?.unwrap_or(4);
    Ok((1..=n).map(|i| if i % every == 0 { attention.clone() } else { delta.clone() }).collect())
}

/// Mamba-2 by the keys that Bamba and Granite share.
fn scan_by_expand(c: &Config, state: usize) -> Result<Part> {
    let inner = c.optional("mamba_expand", 1..=64)?.unwrap_or(2) * c.size("hidden_size", WIDTH)?;
    let (state, groups) = (c.optional("mamba_d_state", WIDTH)?.unwrap_or(state), c.optional("mamba_n_groups", WIDTH)?.unwrap_or(1));
    Ok(Part::mamba2(inner, state, groups, c.optional("mamba_d_conv", 1..=64)?.unwrap_or(4)))
}

fn check_length(c: &Config, key: &str, entries: usize, layers: usize) -> Result<()> {
    if entries == layers { Ok(()) } else { Err(c.error(format!("`{key}` has {entries} entries for {layers} layers"))) }
}

/// Numbers of layers, each below `n`.
fn layer_ids(c: &Config, key: &str, n: usize) -> Result<Option<Vec<usize>>> {
    let Some(ids) = c.list(key)? else { return Ok(None) };
    let one = |v: &serde_json::Value| {
        v.as_u64().filter(|&i| i < n as u64).map(|i| i as usize).ok_or_else(|| c.error(format!("`{key}` has {v}, which is none of {n} layers")))
    };
    ids.iter().map(one).collect::<Result<Vec<usize>>>().map(Some)
}
