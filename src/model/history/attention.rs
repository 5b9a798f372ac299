//! Families of attention alone, as rows of one table: how many heads and how wide where config.json is silent, and which layers have windows.
//! Defaults are those of the reference library's configuration classes (transformers, `configuration_*.py`, named beside each row).

use super::{Growth, Part, Reader, by_kind, divided};
use crate::error::Result;
use crate::model::config::{Config, LENGTH, WIDTH};

/// `model_type` to its reader.
pub(super) const FAMILIES: &[(&str, Reader)] = &[
    ("gemma", |c| layers(c, &Family { head_dim: Some(256), ..PLAIN })),
    ("gemma2", |c| layers(c, &Family { kv: Some(4), head_dim: Some(256), windows: Windows::Alternate(4096, 2) })),
    ("gemma3_text", |c| layers(c, &GEMMA3)),
    ("gemma3", |c| match c.section("text_config")? {
        Some(text) => layers(&text, &GEMMA3),
        None => Err(c.error("lacks `text_config`")),
    }),
    ("phi3", |c| layers(c, &Family { windows: Windows::All(None), ..PLAIN })),
    ("olmo2", |c| layers(c, &PLAIN)),
    ("olmo3", |c| layers(c, &Family { windows: Windows::Alternate(4096, 4), ..PLAIN })),
    ("mixtral", |c| layers(c, &Family { kv: Some(8), windows: Windows::All(None), ..PLAIN })),
    ("qwen3_moe", |c| layers(c, &Family { kv: Some(4), windows: Windows::Used(4096), ..PLAIN })),
    ("gpt_oss", |c| layers(c, &Family { kv: Some(8), head_dim: Some(64), windows: Windows::Alternate(128, 2) })),
    ("deepseek_v2", latent),
    ("deepseek_v3", latent),
    ("progen", progen),
];

/// Which layers have windows.
enum Windows {
    /// None has.
    None,
    /// All have, where `sliding_window` is there; the width where config.json is silent.
    All(Option<usize>),
    /// All have, where `use_sliding_window` says so; the width where config.json is silent.
    Used(usize),
    /// By `layer_types`, and without that all but every n-th layer (`sliding_window_pattern`): the width and the n where config.json is silent.
    Alternate(usize, usize),
}

/// What a configuration class says where config.json does not.
struct Family {
    /// Key-value heads; `None`: as many as query heads.
    kv: Option<usize>,
    /// Width of a head; `None`: the width over the number of query heads.
    head_dim: Option<usize>,
    windows: Windows,
}

const PLAIN: Family = Family { kv: None, head_dim: None, windows: Windows::None };
const GEMMA3: Family = Family { kv: Some(4), head_dim: Some(256), windows: Windows::Alternate(4096, 6) };

fn layers(c: &Config, family: &Family) -> Result<Vec<Part>> {
    let n = c.layer_count("num_hidden_layers")?;
    let (kv, head_dim) = heads(c, family.kv, family.head_dim)?;
    let window = |default: Option<usize>| match c.is_null("sliding_window") {
        true => Ok(None),
        false => Ok::<_, crate::Error>(c.optional("sliding_window", LENGTH)?.or(default)),
    };
    let all = |w: Option<usize>| vec![Part { layers: n as u64, ..Part::attention(kv, head_dim, w) }];
    match family.windows {
        Windows::None => Ok(all(None)),
        Windows::All(default) => Ok(all(window(default)?)),
        Windows::Used(default) => Ok(all(if c.flag("use_sliding_window", false)? { window(Some(default))? } else { None })),
        Windows::Alternate(default, every) => {
            let window = window(Some(default))?;
            if let Some(types) = c.list("layer_types")? {
                if types.len() != n {
                    return Err(c.error(format!("`layer_types` has {} entries for {n} layers", types.len())));
                }
                return by_kind(c, "layer_types", types, |kind| match kind {
                    "full_attention" => Some(vec![Part::attention(kv, head_dim, None)]),
                    "sliding_attention" => Some(vec![Part::attention(kv, head_dim, window)]),
                    _ => None,
                });
            }
            let every = c.optional("sliding_window_pattern", LENGTH)?.or(c.optional("_sliding_window_pattern", LENGTH)?).unwrap_or(every);
            Ok((1..=n).map(|i| Part::attention(kv, head_dim, if i % every == 0 { None } else { window })).collect())
        }
    }
}

/// Key-value heads and their width, with a class's defaults.
pub(super) fn heads(c: &Config, kv: Option<usize>, head_dim: Option<usize>) -> Result<(usize, usize)> {
    let heads = c.size("num_attention_heads", WIDTH)?;
    // A null means as many as query heads; a missing key the class's default.
    let default = kv.filter(|_| !c.is_null("num_key_value_heads")).unwrap_or(heads);
    let kv = c.optional("num_key_value_heads", WIDTH)?.unwrap_or(default);
    let given = c.optional("head_dim", 1..=1 << 13)?.or(head_dim);
    let head_dim = match given {
        Some(given) => given,
        None => divided(c, "hidden_size", "num_attention_heads", (c.size("hidden_size", WIDTH)?, heads))?,
    };
    Ok((kv, head_dim))
}

/// DeepSeek-V2 and V3: one latent vector and one rotated key a token serve all heads (multi-head latent attention, arXiv:2405.04434, equations 9 to 13).
fn latent(c: &Config) -> Result<Vec<Part>> {
    let (rank, rope) = (c.optional("kv_lora_rank", WIDTH)?.unwrap_or(512), c.optional("qk_rope_head_dim", WIDTH)?.unwrap_or(64));
    Ok(vec![Part { layers: c.layer_count("num_hidden_layers")? as u64, ..Part::layer("latent attention", rank + rope, Growth::Token) }])
}

/// ProGen and ProGen2 (the configuration shipped with the models): GPT-J's attention, keys and values as wide as the residual.
fn progen(c: &Config) -> Result<Vec<Part>> {
    let d = match c.optional("embed_dim", WIDTH)? {
        Some(d) => d,
        None => c.size("n_embd", WIDTH)?,
    };
    Ok(vec![Part { layers: c.layer_count("n_layer")? as u64, ..Part::layer("attention", 2 * d, Growth::Token) }])
}
