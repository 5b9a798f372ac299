//! Rotary frequencies by the formulas of the papers, in float64.

use super::json::J;
use super::numbers::{Keys, Told};
use std::f64::consts::PI;

/// A rotary embedding: each frequency with what float32 may make of it.
pub struct Turn {
    pub frequencies: Vec<(f64, f64)>,
    pub factor: f64,
    pub positions: f64,
}

impl Turn {
    pub fn read<'a>(c: &Keys<'a>, width: f64, outer: (Option<f64>, Option<f64>), partial: f64, positions: f64, length: Option<usize>) -> Told<Turn> {
        let (old, new) = (c.get("rope_scaling"), c.get("rope_parameters"));
        if c.object.get("rope_scaling").is_some_and(|o| *o != J::Null) && new.is_some() && old != new {
            return Err("two different ropes".into());
        }
        let nothing = J::Object(vec![]);
        let s = Keys::of(new.or(old).unwrap_or(&nothing));
        let kind = match (s.text("rope_type")?, s.text("type")?) {
            (Some(a), Some(b)) if a != b => return Err("two kinds of rope".into()),
            (a, b) => a.or(b).unwrap_or("default"),
        };
        let pair = |key, outer: Option<f64>| match (s.number(key)?, outer) {
            (Some(a), Some(b)) if a != b => Err(format!("{key} twice")),
            (a, b) => Ok(a.or(b)),
        };
        let theta = pair("rope_theta", outer.0)?.unwrap_or(1e4);
        let dims = (width * pair("partial_rotary_factor", outer.1)?.unwrap_or(partial)).floor();
        let original = || -> Told<f64> {
            let inside = s.number("original_max_position_embeddings")?;
            Ok(pair("original_max_position_embeddings", c.number("original_max_position_embeddings")?)?.or(inside).unwrap_or(positions))
        };
        let power = |theta: f64| (0..dims as usize / 2).map(move |i| theta.powf(2.0 * i as f64 / dims)).collect::<Vec<_>>();
        let (mut turn, plain) = (Turn { frequencies: vec![], factor: 1.0, positions }, power(theta));
        match kind {
            "default" => turn.frequencies = plain.iter().map(|p| (1.0 / p, 1.0 / p)).collect(),
            "linear" => {
                let factor = s.need("factor")?;
                turn.frequencies = plain.iter().map(|p| (1.0 / p / factor, 1.0 / p / factor)).collect();
            }
            "dynamic" => {
                let factor = s.need("factor")?;
                turn.positions = positions.max(length.unwrap_or(0) as f64);
                let stretch = factor * turn.positions / positions - (factor - 1.0);
                let base = if dims <= 2.0 { theta } else { theta * stretch.powf(dims / (dims - 2.0)) };
                // Where the factor leaves no digits of float32 to the difference, the reference's own number is all that there is.
                let slack = if factor < 1e3 && factor > 1e-3 { 30.0 } else { f64::INFINITY };
                turn.frequencies = power(base).iter().map(|p| (1.0 / p, slack / p)).collect();
            }
            "llama3" => {
                let (factor, low, high, original) = (s.need("factor")?, s.need("low_freq_factor")?, s.need("high_freq_factor")?, original()?);
                let scale = |p: &f64| {
                    let (f, wave) = (1.0 / p, 2.0 * PI * p);
                    let smooth = ((original / wave - low) / (high - low)).clamp(0.0, 1.0);
                    // The blend's own slope passes rounding of the wave on.
                    ((1.0 - smooth) * f / factor + smooth * f, (f / factor).max(f) * (1.0 + original / wave / (high - low)))
                };
                turn.frequencies = plain.iter().map(scale).collect();
            }
            "yarn" => {
                let original = original()?;
                let factor = s.number("factor")?.unwrap_or(positions / original);
                let (m, all) = (s.or("mscale", 0.0)?, s.or("mscale_all_dim", 0.0)?);
                let stretch = |m: f64| if factor <= 1.0 { 1.0 } else { 0.1 * m * factor.ln() + 1.0 };
                turn.factor = match s.number("attention_factor")? {
                    Some(given) => given,
                    None if m != 0.0 && all != 0.0 => stretch(m) / stretch(all),
                    None => stretch(1.0),
                };
                let beta = |key, default: f64| Ok::<_, String>(s.number(key)?.filter(|b| *b != 0.0).unwrap_or(default));
                let (fast, slow) = (beta("beta_fast", 32.0)?, beta("beta_slow", 1.0)?);
                let dim = |turns: f64| dims * (original / (turns * 2.0 * PI)).ln() / (2.0 * theta.ln());
                let (mut low, mut high) = (dim(fast), dim(slow));
                if s.flag("truncate", true)? {
                    (low, high) = (low.floor(), high.ceil());
                }
                (low, high) = (low.max(0.0), high.min(dims - 1.0));
                high += if low == high { 0.001 } else { 0.0 };
                let blend = |(i, p): (usize, &f64)| {
                    let ramp = ((i as f64 - low) / (high - low)).clamp(0.0, 1.0);
                    let slope = ((i as f64).abs() + low.abs()) / (high - low).abs();
                    (ramp / (factor * p) + (1.0 - ramp) / p, (1.0 / (factor * p)).max(1.0 / p) * (1.0 + slope))
                };
                turn.frequencies = plain.iter().enumerate().map(blend).collect();
            }
            other => return Err(format!("a rope of kind {other:?}")),
        }
        s.done(&[])?;
        // An exponent is rounded to float32, too, and a power of a large base passes that on by the logarithm of the result.
        turn.frequencies.iter_mut().zip(&plain).for_each(|(f, p)| f.1 *= 1.0 + p.ln().abs());
        Ok(turn)
    }
}
