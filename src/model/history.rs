//! The history state z_ℓ: all that a model hands from the first ℓ tokens to the rest, counted from config.json alone.
//!
//! Its size dim(z_ℓ) bounds the information that the model can carry: I^q(ℓ; L) ≤ C·dim(z_ℓ) + a constant (Chen et al. 2025, L²M). Families that the engine
//! computes are counted from their spec; the others from the few keys that their histories depend on, read with the same strictness. Weights are not looked
//! at: a folder with a config.json suffices. Counted is what one forward pass hands on, as the family's reference keeps it:
//!
//! | part | numbers after t tokens |
//! |---|---|
//! | attention | a key and a value a key-value head and token: 2·n_kv·d_h·t, with a window W of it 2·n_kv·d_h·min(t, W) |
//! | latent attention | (kv_lora_rank + qk_rope_head_dim)·t (DeepSeek-V2, arXiv:2405.04434) |
//! | Mamba scan | d_in·N, and d_in·(K − 1) of the convolution |
//! | Mamba-2 scan | d_in·N, and (d_in + 2·g·N)·(K − 1) of the convolution |
//! | others | at their readers |

mod attention;
mod hybrids;
mod recurrent;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::OpenOptions;
use super::config::Config;
use super::families;
use super::spec::{Mixer, ModelSpec};
use crate::error::Result;
use std::borrow::Cow;

/// How a part grows with the number of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Growth {
    /// It does not.
    Fixed,
    /// With every token.
    Token,
    /// With every token up to the window.
    Window(u64),
}

/// What layers of one kind keep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Their kind: `attention`, `Mamba-2 scan`.
    pub what: Cow<'static, str>,
    /// How many of them there are.
    pub layers: u64,
    /// Numbers that each keeps of a token, or in all where they are fixed.
    pub numbers: u64,
    /// How these add up.
    pub growth: Growth,
}

/// The history state of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryState {
    /// `model_type`.
    pub family: String,
    /// Its parts; alike layers together.
    pub parts: Vec<Part>,
}

impl Part {
    /// One layer.
    fn layer(what: &'static str, numbers: usize, growth: Growth) -> Self {
        Part { what: what.into(), layers: 1, numbers: numbers as u64, growth }
    }

    /// A layer of attention whose keys and values are of one width.
    fn attention(kv_heads: usize, head_dim: usize, window: Option<usize>) -> Self {
        Part::keys_and_values(kv_heads, (head_dim, head_dim), window)
    }

    fn keys_and_values(kv_heads: usize, (key, value): (usize, usize), window: Option<usize>) -> Self {
        Part::layer("attention", kv_heads * (key + value), window.map_or(Growth::Token, |w| Growth::Window(w as u64)))
    }

    fn mamba(d_inner: usize, d_state: usize, conv: usize) -> Self {
        Part::layer("Mamba scan", d_inner * (d_state + conv - 1), Growth::Fixed)
    }

    fn mamba2(d_inner: usize, d_state: usize, groups: usize, conv: usize) -> Self {
        Part::layer("Mamba-2 scan", d_inner * d_state + (d_inner + 2 * groups * d_state) * (conv - 1), Growth::Fixed)
    }
}

impl HistoryState {
    /// Of a model that the engine computes.
    pub fn of(spec: &ModelSpec) -> Self {
        let layer = |m: &Mixer| match m {
            Mixer::Attention(a) => Some(Part::keys_and_values(a.kv_heads, (a.head_dim, a.v_head_dim), a.window)),
            Mixer::Mlp(_) => None,
            Mixer::Mamba1(m) => Some(Part::mamba(m.d_inner, m.d_state, m.conv)),
            Mixer::Mamba2(m) => Some(Part::mamba2(m.d_inner, m.d_state, m.groups, m.conv)),
        };
        HistoryState::new(&spec.family, spec.layers.iter().flat_map(|l| &l.blocks).filter_map(|b| layer(&b.mixer)))
    }

    /// Of layers in any order.
    fn new(family: &str, layers: impl IntoIterator<Item = Part>) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        for layer in layers {
            match parts.iter_mut().find(|p| (&p.what, p.numbers, p.growth) == (&layer.what, layer.numbers, layer.growth)) {
                Some(p) => p.layers += layer.layers,
                None => parts.push(layer),
            }
        }
        HistoryState { family: family.to_string(), parts }
    }

    /// dim(z): numbers after `t` tokens.
    pub fn numbers(&self, t: u64) -> u64 {
        let part = |p: &Part| {
            let tokens = match p.growth {
                Growth::Fixed => 1,
                Growth::Token => t,
                Growth::Window(w) => t.min(w),
            };
            p.layers.saturating_mul(p.numbers).saturating_mul(tokens)
        };
        self.parts.iter().map(part).fold(0, u64::saturating_add)
    }

    /// dim(z) after a number of tokens that need not be whole: a mean over texts, or a length on a curve.
    pub fn at(&self, t: f64) -> f64 {
        let part = |p: &Part| {
            let tokens = match p.growth {
                Growth::Fixed => 1.0,
                Growth::Token => t,
                Growth::Window(w) => t.min(w as f64),
            };
            p.layers as f64 * p.numbers as f64 * tokens
        };
        self.parts.iter().map(part).sum()
    }

    /// Lengths in tokens at which some window is full, ascending: between them dim(z) is a straight line.
    pub fn knees(&self) -> Vec<u64> {
        let mut knees: Vec<u64> = self.parts.iter().filter_map(|p| if let Growth::Window(w) = p.growth { Some(w) } else { None }).collect();
        knees.sort_unstable();
        knees.dedup();
        knees
    }

    /// Whether it grows without bound.
    pub fn is_unbounded(&self) -> bool {
        self.parts.iter().any(|p| p.growth == Growth::Token)
    }

    /// Its parts in words: `6 × attention, window 4096 (2048 a token); 26 × Mamba scan (65,536)`.
    pub fn told(&self) -> String {
        let part = |p: &Part| match p.growth {
            Growth::Fixed => format!("{} × {} ({} numbers)", p.layers, p.what, p.numbers),
            Growth::Token => format!("{} × {} ({} a token)", p.layers, p.what, p.numbers),
            Growth::Window(w) => format!("{} × {}, window {w} ({} a token)", p.layers, p.what, p.numbers),
        };
        self.parts.iter().map(part).collect::<Vec<_>>().join("; ")
    }
}

/// A history state with how its numbers are stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredState {
    /// The numbers.
    #[serde(flatten)]
    pub state: HistoryState,
    /// `torch_dtype` or `dtype` of config.json; `None` where it names none.
    pub dtype: Option<String>,
    /// Bits of such a number; 32 where config.json names none, as the reference library takes it.
    pub bits: u32,
}

type Reader = fn(&Config) -> Result<Vec<Part>>;

/// Reads the history state of the model in `folder` from its config.json; `accepted` keys may go unread.
///
/// # Errors
/// No such file, a family that is not known, or whatever that family finds wrong; for families that the engine computes a key that nobody reads.
pub fn open(folder: &Path, accepted: &[String]) -> Result<StoredState> {
    let config = Config::open(folder, accepted)?;
    of_config(&config)
}

fn of_config(config: &Config) -> Result<StoredState> {
    let kind = config.text("model_type")?.map(str::to_string);
    let more = || [attention::FAMILIES, recurrent::FAMILIES, hybrids::FAMILIES].into_iter().flatten();
    let row = kind.as_deref().and_then(|kind| more().find(|(k, _)| *k == kind));
    let state = match (kind.as_deref(), row) {
        (Some(kind), Some((_, read))) => {
            // A row wins over a spec: an engine may keep more than the model hands on, such as keys and values where a latent vector determines them.
            config.refuse_common()?;
            HistoryState::new(kind, read(config)?)
        }
        (Some(kind), None) if !families::knows(kind) => return Err(config.error(families::unsupported(kind, more().map(|(k, _)| *k)))),
        _ => {
            // How weights are packed changes nothing of what is handed on.
            config.value("quantization_config");
            config.value("compression_config");
            HistoryState::of(&families::spec(config, &OpenOptions::default())?.0)
        }
    };
    if state.parts.is_empty() {
        return Err(config.error("has no layer that keeps a history"));
    }
    let named = match config.text("dtype")? {
        None => config.text("torch_dtype")?,
        named => named,
    };
    let bits = match named.map(|d| d.trim_start_matches("torch.")) {
        None | Some("float32" | "float") => 32,
        Some("bfloat16" | "float16" | "half") => 16,
        Some("float64" | "double") => 64,
        Some("float8_e4m3fn" | "float8_e5m2") => 8,
        Some(other) => {
            return Err(config.error(format!("`dtype` \"{other}\" is no type of which the width is known (float32, bfloat16, float16, float64, float8)")));
        }
    };
    Ok(StoredState { state, dtype: named.map(str::to_string), bits })
}

/// What a list says of each layer: `of` gives the parts of one kind, none of them for a layer without history, and `None` for a kind that it does not know.
///
/// # Errors
/// An entry that is no text, or one that `of` does not know.
fn by_kind(c: &Config, key: &str, kinds: &[serde_json::Value], of: impl Fn(&str) -> Option<Vec<Part>>) -> Result<Vec<Part>> {
    let one = |v: &serde_json::Value| v.as_str().and_then(&of).ok_or_else(|| c.error(format!("`{key}` has {v}, a kind of layer that is not known")));
    Ok(kinds.iter().map(one).collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

/// A quotient that must be whole.
fn divided(c: &Config, what: &str, by: &str, (a, b): (usize, usize)) -> Result<usize> {
    if b > 0 && a.is_multiple_of(b) { Ok(a / b) } else { Err(c.error(format!("`{what}` {a} is no multiple of `{by}` {b}"))) }
}
