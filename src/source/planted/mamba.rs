//! The Mamba layout, one layer: S state numbers hold the last values of S/2 facts, and no more.
//!
//! Channel 2(k − 1) + z of the scan stands for token (k, z) of a kept fact. The state size is 1 and the convolution a delta, so that a channel's whole memory is
//! one number h ← e^(−Δ) h + Δ B x, which Δ = softplus(±large) either overwrites or keeps: on a token of its own fact Δ = [`ON`], e^(−Δ) = 0 and h becomes 1 or
//! 0 as the token is the channel's own or the fact's other; on all others Δ = e^[`OFF`], which is nothing. So h says "z is the last value seen with k", and the
//! residual's channels after the layer are the h themselves, from which the head reads q of [`FixedMemory`] linearly:
//! the logit of (k, z) is ln p_k − ln 2 + A·h_kz + B·h_k(1−z), A = ln 2 + ln(1 − ε), B = ln 2 + ln ε.

use super::{NEVER, PIN, PlantedNetwork, SMALL, Sparse, named};
use crate::forest::TokenId;
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

    let mut norm = vec![scale(SMALL, d); d];
    norm[pin] = scale(PIN, d);
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

    let parts = Parts { embedding, in_proj, last_tap: TAPS - 1, x_proj, dt_proj, dt_bias: OFF, skip, out_proj, norm, head };
    parts.network(process.start_token())
}

/// Before token t the two tokens before it: a trigram model of `symbols` tokens, ⊥ being the next.
///
/// There is a channel of the scan for each pair (a, b), without a state: its convolution is a delta one token back, so that x says "the token before was a",
/// and its gate says "this one is b". The residual after the layer holds one-hot pairs, and the untied head ln P(j | a, b); after ⊥ alone, ln P(j).
pub(super) fn trigram_network(symbols: usize, log_p: impl Fn(Option<[usize; 2]>, usize) -> f64) -> PlantedNetwork {
    let vocab = symbols + 1;
    // Channels: the pairs, tokens, the pin.
    let (token, pin) = (vocab * symbols, vocab * symbols + vocab);
    let d = pin + 1;
    let mut embedding = Sparse::zeros(vocab, d);
    let mut in_proj = Sparse::zeros(2 * d, d);
    let mut out_proj = Sparse::zeros(d, d);
    let mut head = Sparse::zeros(vocab, d);
    let mut norm = vec![scale(SMALL, d); d];
    norm[pin] = scale(PIN, d);
    for t in 0..vocab {
        embedding.set(t, pin, PIN);
        embedding.set(t, token + t, SMALL);
    }
    for a in 0..vocab {
        for b in 0..symbols {
            let pair = a * symbols + b;
            in_proj.set(pair, token + a, IDENTITY);
            in_proj.set(d + pair, token + b, IDENTITY);
            out_proj.set(pair, pair, SMALL / (IDENTITY * IDENTITY));
            for j in 0..symbols {
                head.set(j, pair, log_p(Some([a, b]), j));
            }
        }
    }
    for j in 0..symbols {
        head.set(j, token + symbols, log_p(None, j));
    }
    head.set(symbols, pin, NEVER as f64);
    // B is 0, so that states stay 0, and the skip is all that passes.
    let (x_proj, dt_proj, skip) = (Sparse::zeros(3, d), Sparse::zeros(d, 1), vec![1.0; d]);
    Parts { embedding, in_proj, last_tap: TAPS - 2, x_proj, dt_proj, dt_bias: OFF, skip, out_proj, norm, head }.network(symbols as TokenId)
}

/// The norm's weight with which a channel that holds `x` beside the pin reads 1.
fn scale(x: f64, d: usize) -> f32 {
    (PIN / (d as f64).sqrt() / x) as f32
}

/// What differs between networks of one layer with inner width = width and one state number a channel, A = −1.
struct Parts {
    embedding: Sparse,
    in_proj: Sparse,
    /// The tap of the convolution that is 1.
    last_tap: usize,
    x_proj: Sparse,
    dt_proj: Sparse,
    dt_bias: f64,
    skip: Vec<f32>,
    out_proj: Sparse,
    /// Of the layer and before the head.
    norm: Vec<f32>,
    head: Sparse,
}

impl Parts {
    fn network(self, start: TokenId) -> PlantedNetwork {
        let ([vocab, d], rank) = (self.embedding.shape, self.dt_proj.shape[1]);
        let mixer = |name: &str| format!("backbone.layers.0.mixer.{name}");
        let matrices = [
            ("backbone.embeddings.weight".into(), self.embedding),
            (mixer("in_proj.weight"), self.in_proj),
            (mixer("x_proj.weight"), self.x_proj),
            (mixer("dt_proj.weight"), self.dt_proj),
            // A = −exp(A_log) = −1.
            (mixer("A_log"), Sparse::zeros(d, 1)),
            (mixer("out_proj.weight"), self.out_proj),
            ("lm_head.weight".into(), self.head),
        ];
        let vectors = [
            (mixer("dt_proj.bias"), vec![self.dt_bias as f32; d]),
            (mixer("D"), self.skip),
            ("backbone.layers.0.norm.weight".into(), self.norm.clone()),
            ("backbone.norm_f.weight".into(), self.norm),
        ];
        let mut tensors = named(matrices, vectors);
        let delta = (0..d * TAPS).map(|i| if i % TAPS == self.last_tap { 1.0 } else { 0.0 }).collect();
        tensors.push((mixer("conv1d.weight"), vec![d, 1, TAPS], delta));
        let config = serde_json::json!({
            "architectures": ["MambaForCausalLM"],
            "bos_token_id": start,
            "conv_kernel": TAPS,
            "dtype": "float32",
            "eos_token_id": start,
            "expand": 1,
            "hidden_act": "silu",
            "hidden_size": d,
            "initializer_range": 0.02,
            "intermediate_size": d,
            "layer_norm_epsilon": 1e-6,
            "model_type": "mamba",
            "num_hidden_layers": 1,
            "pad_token_id": null,
            "residual_in_fp32": true,
            "state_size": 1,
            "tie_word_embeddings": false,
            "time_step_rank": rank,
            "use_bias": false,
            "use_cache": true,
            "use_conv_bias": false,
            "vocab_size": vocab,
        });
        PlantedNetwork { config, tensors }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::distance;
    use super::*;
    use crate::rng::Rng;
    use crate::source::SantaFe;

    /// Through the engine, texts with foreign heads. Head weights of up to 14 nats stand on states whose three factors each carry a few roundings of 6e-8:
    /// 2e-5 is what to expect at the most.
    #[test]
    fn networks_hold_the_conditionals() {
        let texts = SantaFe::new(0.5, 20, 1e-6).unwrap();
        for state in [2, 10, 40] {
            let process = FixedMemory::new(texts.clone(), state).unwrap();
            let mut text = vec![process.start_token()];
            // Facts of one document, then of another, then of the first again.
            for document in [0, 1, 0, 2] {
                text.extend(process.draw(150, &mut Rng::new(122, document)));
            }
            let e = distance(&process, &mamba_network(&process), &text);
            assert!(e < 2e-5, "S = {state}: {e}");
        }
    }
}
