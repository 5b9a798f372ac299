//! Rotary frequencies as transformers 5 computes them (`modeling_rope_utils.py`), in float32 where it does.
//!
//! Powers are taken in float64 and rounded once: the reference's vectorised float32 power is within one unit of that, and equal nearly everywhere.

use std::f64::consts::PI;

use super::config::{Config, LENGTH};
use super::spec::Rope;
use crate::error::Result;

/// What a family knows besides the `rope_parameters` of config.json.
pub(crate) struct RopeContext {
    /// Width of a head.
    pub head_dim: usize,
    /// Base that config.json names beside the object.
    pub outer_theta: Option<f64>,
    /// Base where it names none at all.
    pub theta: f64,
    /// Share of the head that is turned, beside the object.
    pub outer_partial: Option<f64>,
    /// That share where config.json names none at all.
    pub partial: f64,
    /// `max_position_embeddings`.
    pub positions: usize,
    /// `--rope-length`.
    pub length: Option<usize>,
}

/// The rope, and the longest path for which the reference's factors are these.
pub(crate) fn read(config: &Config, known: RopeContext) -> Result<(Rope, usize)> {
    if config.has("rope_scaling") && config.has("rope_parameters") && config.value("rope_scaling") != config.value("rope_parameters") {
        return Err(config.error("`rope_scaling` and `rope_parameters` differ, and mean the same"));
    }
    let scaling = config.section("rope_scaling")?;
    let Some(s) = config.section("rope_parameters")?.or(scaling) else {
        let rope = plain(&known, known.outer_theta.unwrap_or(known.theta), known.outer_partial.unwrap_or(known.partial), config)?;
        return Ok((rope, known.positions));
    };
    let kind = match (s.text("rope_type")?, s.text("type")?) {
        (Some(a), Some(b)) if a != b => return Err(s.error(format!("`rope_type` is \"{a}\" but `type` is \"{b}\": they mean the same"))),
        (a, b) => a.or(b).unwrap_or("default").to_string(),
    };
    let theta = one(&s, "rope_theta", known.outer_theta)?.unwrap_or(known.theta);
    let partial = one(&s, "partial_rotary_factor", known.outer_partial)?.unwrap_or(known.partial);
    let base = plain(&known, theta, partial, config)?;
    let mut positions = known.positions;
    let rope = match kind.as_str() {
        "default" => base,
        "linear" => {
            let factor = factor(&s)?;
            Rope { inv_freq: base.inv_freq.iter().map(|f| f / factor as f32).collect(), ..base }
        }
        "dynamic" => {
            let factor = factor(&s)?;
            positions = positions.max(known.length.unwrap_or(0));
            let theta = dynamic_base(theta, factor, positions, known.positions, base.dims);
            Rope { inv_freq: frequencies(theta, base.dims), ..base }
        }
        "llama3" => llama3(&s, config, base, known.positions)?,
        "yarn" => yarn(&s, config, base, theta, known.positions)?,
        other => return Err(s.error(format!("rope scaling \"{other}\" is not implemented (default, linear, dynamic, llama3 and yarn are)"))),
    };
    s.finish(&[])?;
    if rope.inv_freq.iter().all(|f| f.is_finite()) && rope.attention_factor.is_finite() {
        Ok((rope, positions))
    } else {
        Err(s.error(format!("its {kind} rope scaling gives frequencies that are not finite")))
    }
}

/// A number that may stand in the object and beside it, where readers differ in which of the two wins: they must agree.
fn one(s: &Config, key: &str, outside: Option<f64>) -> Result<Option<f64>> {
    match (s.positive(key)?, outside) {
        (Some(inside), Some(outside)) if inside != outside => {
            Err(s.error(format!("`{key}` is {inside} among the rope's parameters but {outside} beside them: they mean the same")))
        }
        (inside, outside) => Ok(inside.or(outside)),
    }
}

fn factor(s: &Config) -> Result<f64> {
    s.positive("factor")?.ok_or_else(|| s.error("its rope scaling lacks `factor`"))
}

/// No scaling: base^(−2i/dims).
fn plain(known: &RopeContext, theta: f64, partial: f64, config: &Config) -> Result<Rope> {
    let dims = (known.head_dim as f64 * partial) as usize;
    if dims < 2 || dims % 2 == 1 || dims > known.head_dim {
        return Err(config.error(format!("rope turns {dims} of the {} numbers of a head; that must be an even number", known.head_dim)));
    }
    Ok(Rope { dims, inv_freq: frequencies(theta as f32 as f64, dims), attention_factor: 1.0 })
}

/// base^(2i/dims), each rounded to float32.
fn powers(theta: f64, dims: usize) -> impl Iterator<Item = f32> {
    (0..dims).step_by(2).map(move |i| (theta as f32 as f64).powf((i as f32 / dims as f32) as f64) as f32)
}

fn frequencies(theta: f64, dims: usize) -> Vec<f32> {
    powers(theta, dims).map(|p| 1.0 / p).collect()
}

/// The base that a text of `length` tokens gets. Up to the original length the reference computes it in float64, past it in float32.
fn dynamic_base(theta: f64, factor: f64, length: usize, original: usize, dims: usize) -> f64 {
    if dims <= 2 {
        return theta;
    }
    let power = dims as f64 / (dims as f64 - 2.0);
    if length <= original {
        theta * (factor - (factor - 1.0)).powf(power)
    } else {
        let stretch = factor as f32 * length as f32 / original as f32 - (factor - 1.0) as f32;
        (theta as f32 * (stretch as f64).powf(power as f32 as f64) as f32) as f64
    }
}

fn original_positions(s: &Config, config: &Config, positions: usize) -> Result<f64> {
    let outside = config.optional("original_max_position_embeddings", LENGTH)?;
    let inside = s.optional("original_max_position_embeddings", LENGTH)?;
    if let (Some(inside), Some(outside)) = (inside, outside)
        && inside != outside
    {
        let what = format!("`original_max_position_embeddings` is {inside} among the rope's parameters but {outside} beside them: they mean the same");
        return Err(s.error(what));
    }
    Ok(outside.or(inside).unwrap_or(positions) as f64)
}

/// Llama 3.1: long waves are stretched, short ones kept, those between blended.
fn llama3(s: &Config, config: &Config, base: Rope, positions: usize) -> Result<Rope> {
    let need = |key: &str| s.positive(key)?.ok_or_else(|| s.error(format!("its llama3 rope scaling lacks `{key}`")));
    let (factor, low, high) = (need("factor")? as f32, need("low_freq_factor")?, need("high_freq_factor")?);
    let original = original_positions(s, config, positions)?;
    if high <= low {
        return Err(s.error("its llama3 rope scaling has `high_freq_factor` not above `low_freq_factor`"));
    }
    let (long, short) = ((original / low) as f32, (original / high) as f32);
    let scale = |f: f32| {
        let wave = (2.0 * PI) as f32 / f;
        if wave > long {
            f / factor
        } else if wave < short {
            f
        } else {
            let smooth = (original as f32 / wave - low as f32) / (high - low) as f32;
            (1.0 - smooth) * f / factor + smooth * f
        }
    };
    Ok(Rope { inv_freq: base.inv_freq.iter().copied().map(scale).collect(), ..base })
}

/// YaRN (Peng et al. 2023, arXiv:2309.00071).
fn yarn(s: &Config, config: &Config, base: Rope, theta: f64, positions: usize) -> Result<Rope> {
    let original = original_positions(s, config, positions)?;
    let factor = s.positive("factor")?.unwrap_or(positions as f64 / original);
    let (mscale, all) = (s.number("mscale")?.unwrap_or(0.0), s.number("mscale_all_dim")?.unwrap_or(0.0));
    let stretch = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
    let attention = match s.number("attention_factor")? {
        Some(given) => given,
        None if mscale != 0.0 && all != 0.0 => stretch(mscale) / stretch(all),
        None => stretch(1.0),
    };
    let beta = |key: &str, default: f64| Ok::<_, crate::Error>(s.number(key)?.filter(|b| *b != 0.0).unwrap_or(default));
    let (fast, slow) = (beta("beta_fast", 32.0)?, beta("beta_slow", 1.0)?);
    let dim = |rotations: f64| base.dims as f64 * (original / (rotations * 2.0 * PI)).ln() / (2.0 * theta.ln());
    let (mut low, mut high) = (dim(fast), dim(slow));
    if s.flag("truncate", true)? {
        (low, high) = (low.floor(), high.ceil());
    }
    (low, high) = (low.max(0.0), high.min(base.dims as f64 - 1.0));
    if low == high {
        high += 0.001;
    }
    let blend = |(i, p): (usize, f32)| {
        let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
        let keep = 1.0 - ramp;
        1.0 / (factor as f32 * p) * (1.0 - keep) + 1.0 / p * keep
    };
    Ok(Rope { inv_freq: powers(theta, base.dims).enumerate().map(blend).collect(), attention_factor: attention as f32, ..base })
}
