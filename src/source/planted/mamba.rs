//! The Mamba layout, one layer: S state numbers hold the last values of S/2 facts, and no more.
//!
//! Channel 2(k − 1) + z of the scan stands for token (k, z) of a kept fact. The state size is 1 and the convolution a delta, so that a channel's whole memory is
//! one number h ← e^(−Δ) h + Δ B x, which Δ = softplus(±large) either overwrites or keeps: on a token of its own fact Δ = [`ON`], e^(−Δ) = 0 and h becomes 1 or
//! 0 as the token is the channel's own or the fact's other; on all others Δ = e^[`OFF`], which is nothing. So h says "z is the last value seen with k", and the
//! residual's channels after the layer are the h themselves, from which the head reads q of [`FixedMemory`] linearly:
//! the logit of (k, z) is ln p_k − ln 2 + A·h_kz + B·h_k(1−z), A = ln 2 + ln(1 − ε), B = ln 2 + ln ε.

use super::{NEVER, PIN, PlantedNetwork, SMALL, Sparse, named};
use crate::source::{FixedMemory, Process};
use std::f64::consts::LN_2;

/// What goes into silu where it stands for the identity: silu(32) = 32 (1 − 1e-14), and silu(0) = 0.
const IDENTITY: f64 = 32.0;
/// softplus⁻¹ of Δ on a fact's own tokens. Large, so that rounding of the sum that it comes from does not show in Δ.
const ON: f64 = 4032.0;
/// softplus⁻¹ of Δ elsewhere: e^−64 is 2e-28 and leaves a state as it is for any length of text.
const OFF: f64 = -64.0;
/// Taps of the convolution. One would do; the reference library's fused kernels take 2 to 4.
const TAPS: usize = 2;

/// The network of a law of fixed memory, for texts of any length. Its inner width is S + 1: the last channel is constant and makes C.
pub fn mamba_network(process: &FixedMemory) -> PlantedNetwork {
    let (state, kept, vocab) = (process.state(), process.kept(), process.vocab());
    // Channels of the residual: one for each channel of the scan, and the pin.
    let (d, d_inner, pin) = (state + 1, state + 1, state);
    let mut embedding = Sparse::zeros(vocab, d);
    let mut in_proj = Sparse::zeros(2 * d_inner, d);
    let mut x_proj = Sparse::zeros(kept + 2, d_inner);
    let mut dt_proj = Sparse::zeros(d_inner, kept);
    let mut out_proj = Sparse::zeros(d, d_inner);
    let mut head = Sparse::zeros(vocab, d);

    // After a norm the pin reads 1 and a channel of SMALL reads 1.
    let scale = |x: f64| (PIN / (d as f64).sqrt() / x) as f32;
    let mut norm = vec![scale(SMALL); d];
    norm[pin] = scale(PIN);
    for t in 0..vocab {
        embedding.set(t, pin, PIN);
    }
    for c in 0..d_inner {
        // x: the token's one-hot vector, and the constant. z: constant, so that the gate is a factor.
        in_proj.set(c, c, IDENTITY);
        in_proj.set(d_inner + c, pin, IDENTITY);
    }
    for c in 0..state {
        embedding.set(c, c, SMALL);
        // Which fact the token is of; B, which is 0 where it is of none.
        x_proj.set(c / 2, c, 1.0 / IDENTITY);
        x_proj.set(kept, c, 1.0 / (ON * IDENTITY * IDENTITY));
        dt_proj.set(c, c / 2, ON - OFF);
        out_proj.set(c, c, SMALL / IDENTITY);
    }
    x_proj.set(kept + 1, pin, 1.0 / IDENTITY);
    // The skip takes the token's own one-hot value out of the residual again: what is left there is h.
    let mut skip = vec![(-1.0 / IDENTITY) as f32; d_inner];
    skip[pin] = 0.0;

    let (sure, epsilon) = (libm::log1p(-process.texts().epsilon()), libm::log(process.texts().epsilon()));
    for t in 0..vocab - 1 {
        head.set(t, pin, libm::log(process.texts().fact_law()[t / 2]) - LN_2);
        if t < state {
            head.set(t, t, LN_2 + sure);
            head.set(t, t ^ 1, LN_2 + epsilon);
        }
    }
    head.set(vocab - 1, pin, NEVER as f64);

    let mixer = |name: &str| format!("backbone.layers.0.mixer.{name}");
    let matrices = [
        ("backbone.embeddings.weight".into(), embedding),
        (mixer("in_proj.weight"), in_proj),
        (mixer("x_proj.weight"), x_proj),
        (mixer("dt_proj.weight"), dt_proj),
        // A = −exp(A_log) = −1.
        (mixer("A_log"), Sparse::zeros(d_inner, 1)),
        (mixer("out_proj.weight"), out_proj),
        ("lm_head.weight".into(), head),
    ];
    let vectors = [
        (mixer("dt_proj.bias"), vec![OFF as f32; d_inner]),
        (mixer("D"), skip),
        ("backbone.layers.0.norm.weight".into(), norm.clone()),
        ("backbone.norm_f.weight".into(), norm),
    ];
    let mut tensors = named(matrices, vectors);
    let delta = (0..d_inner).flat_map(|_| (0..TAPS).map(|tap| if tap + 1 == TAPS { 1.0 } else { 0.0 })).collect();
    tensors.push((mixer("conv1d.weight"), vec![d_inner, 1, TAPS], delta));
    let config = serde_json::json!({
        "architectures": ["MambaForCausalLM"],
        "bos_token_id": process.start_token(),
        "conv_kernel": TAPS,
        "dtype": "float32",
        "eos_token_id": process.start_token(),
        "expand": 1,
        "hidden_act": "silu",
        "hidden_size": d,
        "initializer_range": 0.02,
        "intermediate_size": d_inner,
        "layer_norm_epsilon": 1e-6,
        "model_type": "mamba",
        "num_hidden_layers": 1,
        "pad_token_id": null,
        "residual_in_fp32": true,
        "state_size": 1,
        "tie_word_embeddings": false,
        "time_step_rank": kept,
        "use_bias": false,
        "use_cache": true,
        "use_conv_bias": false,
        "vocab_size": vocab,
    });
    PlantedNetwork { config, tensors }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::engine::{Engine, score_lists};
    use crate::rng::Rng;
    use crate::source::SantaFe;

    /// Through the engine, texts with foreign heads: every token within 1e-4 nats. Head weights of up to 14 nats stand on states whose three factors each carry
    /// a few roundings of 6e-8: 2e-5 is what to expect.
    #[test]
    fn networks_hold_the_conditionals() {
        let texts = SantaFe::new(0.5, 20, 1e-6).unwrap();
        for state in [2, 10, 40] {
            let process = FixedMemory::new(texts.clone(), state).unwrap();
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("planted");
            mamba_network(&process).write(&folder).unwrap();
            let (spec, checkpoint) = crate::model::open(&folder, &Default::default()).unwrap();
            let mut engine = Engine::new(Cpu::new(None).unwrap(), spec, checkpoint, Default::default()).unwrap();
            let mut text = vec![process.start_token()];
            // Facts of one document, then of another, then of the first again.
            for document in [0, 1, 0, 2] {
                text.extend(process.draw(150, &mut Rng::new(122, document)));
            }
            let planted = score_lists(&mut engine, std::slice::from_ref(&text)).unwrap().remove(0);
            let mut exact = process.begin();
            for (t, (&token, got)) in text[1..].iter().zip(planted).enumerate() {
                let want = process.log_q(&exact, token);
                assert!((got as f64 - want).abs() < 1e-4, "S = {state}, token {t}: {got}, not {want}");
                process.push(&mut exact, token);
            }
        }
    }
}
