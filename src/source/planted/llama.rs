//! The Llama layout, one layer. Query and key weights are zero: attention is the mean over the past, the row's own token included.

use super::{NEVER, PIN, PlantedNetwork, SMALL, Sparse, named};
use crate::source::{Markov, Process, SantaFe};

/// The threshold of the seen-indicators: silu(−32) = −4e-13.
const THRESHOLD: f64 = 32.0;

/// The sizes that a config and its tensors share.
struct Shape {
    vocab: usize,
    hidden: usize,
    intermediate: usize,
    heads: usize,
    head_dim: usize,
    positions: usize,
    start: u32,
}

/// The parts that differ between processes; the rest is zero.
struct Parts {
    embedding: Sparse,
    value: Sparse,
    output: Sparse,
    gate: Sparse,
    up: Sparse,
    down: Sparse,
    /// Scales after the norms before attention, before the MLP and at the end.
    norms: [Vec<f32>; 3],
    head: Sparse,
}

impl Shape {
    fn zeros(&self) -> Parts {
        let (d, a) = (self.hidden, self.heads * self.head_dim);
        Parts {
            embedding: Sparse::zeros(self.vocab, d),
            value: Sparse::zeros(a, d),
            output: Sparse::zeros(d, a),
            gate: Sparse::zeros(self.intermediate, d),
            up: Sparse::zeros(self.intermediate, d),
            down: Sparse::zeros(d, self.intermediate),
            norms: [vec![1.0; d], vec![1.0; d], vec![1.0; d]],
            head: Sparse::zeros(self.vocab, d),
        }
    }

    fn network(&self, parts: Parts) -> PlantedNetwork {
        let layer = |name: &str| format!("model.layers.0.{name}.weight");
        let [before_attention, before_mlp, last] = parts.norms;
        let a = self.heads * self.head_dim;
        let matrices = [
            ("model.embed_tokens.weight".into(), parts.embedding),
            (layer("self_attn.q_proj"), Sparse::zeros(a, self.hidden)),
            (layer("self_attn.k_proj"), Sparse::zeros(a, self.hidden)),
            (layer("self_attn.v_proj"), parts.value),
            (layer("self_attn.o_proj"), parts.output),
            (layer("mlp.gate_proj"), parts.gate),
            (layer("mlp.up_proj"), parts.up),
            (layer("mlp.down_proj"), parts.down),
            ("lm_head.weight".into(), parts.head),
        ];
        let vectors = [(layer("input_layernorm"), before_attention), (layer("post_attention_layernorm"), before_mlp), ("model.norm.weight".into(), last)];
        let config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "bos_token_id": self.start,
            "dtype": "float32",
            "eos_token_id": self.start,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "hidden_size": self.hidden,
            "initializer_range": 0.02,
            "intermediate_size": self.intermediate,
            "max_position_embeddings": self.positions,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": self.heads,
            "num_hidden_layers": 1,
            "num_key_value_heads": self.heads,
            "pad_token_id": null,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-6,
            "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
            "tie_word_embeddings": false,
            "use_cache": true,
            "vocab_size": self.vocab,
        });
        PlantedNetwork { config, tensors: named(matrices, vectors) }
    }
}

/// A Markov chain as a bigram model.
pub fn markov_network(process: &Markov, positions: usize) -> PlantedNetwork {
    bigram_network(process.symbols(), positions, |before, j| libm::log(before.map_or(process.stationary()[j], |i| process.transition(i, j))))
}

/// A bigram model of `symbols` tokens, ⊥ being the next: the residual is the token's one-hot vector, the untied head holds ln P(j | token before it, or ⊥).
/// Attention and MLP are zero.
pub(super) fn bigram_network(symbols: usize, positions: usize, log_p: impl Fn(Option<usize>, usize) -> f64) -> PlantedNetwork {
    let vocab = symbols + 1;
    let shape = Shape { vocab, hidden: vocab.next_multiple_of(8), intermediate: 8, heads: 1, head_dim: 8, positions, start: symbols as u32 };
    let mut parts = shape.zeros();
    // All rows have the same norm, PIN / √hidden: scaled back to a one-hot vector of 1.
    parts.norms[2] = vec![(1.0 / (shape.hidden as f64).sqrt()) as f32; shape.hidden];
    for i in 0..vocab {
        parts.embedding.set(i, i, PIN);
        parts.head.set(symbols, i, NEVER as f64);
        for j in 0..symbols {
            parts.head.set(j, i, log_p((i < symbols).then_some(i), j));
        }
    }
    shape.network(parts)
}

/// The finite Santa Fe process under q_ε for texts of up to `positions` rows fed.
///
/// The mean over t + 1 one-hot values is at least 1/positions where a token was seen and exactly 0 where not. One gated unit each says
/// "not seen": silu(32 − g·mean)/32 with g = 80·positions is 1 or, from 32 − 80 = −48 down, within 1e-19 of 0; a single unit, so
/// that nothing large cancels. Units of the two values of fact k (u_k0, u_k1) and of their sum (n_k: neither seen) give every case of
/// q_ε linearly: with A = ln 2 + ln(1 − ε), B = ln 2 + ln ε the logit of (k, z) is
/// ln p_k − ln 2 + B·u_kz + A·u_k(1−z) − (A + B)·n_k.
pub fn santa_fe_network(process: &SantaFe, positions: usize) -> PlantedNetwork {
    let facts = process.facts();
    let tokens = 2 * facts;
    let head_dim = if tokens >= 64 { 64 } else { tokens.next_multiple_of(8) };
    let heads = tokens.div_ceil(head_dim);
    // Channels: the pin, one-hot tokens, their means, "not seen" of each token, "neither seen" of each fact.
    let (one_hot, mean, unseen, neither) = (1, 1 + tokens, 1 + 2 * tokens, 1 + 3 * tokens);
    let hidden = (neither + facts).next_multiple_of(8 * heads);
    let intermediate = (tokens + facts).next_multiple_of(8);
    let shape = Shape { vocab: tokens + 1, hidden, intermediate, heads, head_dim, positions, start: process.start_token() };
    let mut parts = shape.zeros();

    // After a norm the pin reads 1 and a channel of SMALL reads 1.
    let scale = |x: f64| (PIN / (hidden as f64).sqrt() / x) as f32;
    for norm in &mut parts.norms {
        norm.fill(scale(SMALL));
        norm[0] = scale(PIN);
    }
    for t in 0..=tokens {
        parts.embedding.set(t, 0, PIN);
    }
    for t in 0..tokens {
        parts.embedding.set(t, one_hot + t, SMALL);
        parts.value.set(t, one_hot + t, 1.0);
        parts.output.set(mean + t, t, SMALL);
    }
    let gain = 80.0 * positions as f64;
    let unit = |parts: &mut Parts, unit: usize, seen: &[usize], out: usize| {
        parts.gate.set(unit, 0, THRESHOLD);
        for &t in seen {
            parts.gate.set(unit, mean + t, -gain);
        }
        parts.up.set(unit, 0, 1.0);
        parts.down.set(out, unit, SMALL / THRESHOLD);
    };
    for t in 0..tokens {
        unit(&mut parts, t, &[t], unseen + t);
    }
    for k in 0..facts {
        unit(&mut parts, tokens + k, &[2 * k, 2 * k + 1], neither + k);
    }
    let ln2 = std::f64::consts::LN_2;
    let (a, b) = (ln2 + libm::log1p(-process.epsilon()), ln2 + libm::log(process.epsilon()));
    for t in 0..tokens {
        let k = t / 2;
        parts.head.set(t, 0, libm::log(process.fact_law()[k]) - ln2);
        parts.head.set(t, unseen + t, b);
        parts.head.set(t, unseen + (t ^ 1), a);
        parts.head.set(t, neither + k, -(a + b));
    }
    parts.head.set(tokens, 0, NEVER as f64);
    shape.network(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One pass through a network of one layer whose attention is uniform, in float64 from the float32 weights: ln q of every token but the first.
    fn forward(net: &PlantedNetwork, tokens: &[u32]) -> Vec<f64> {
        let get = |name: &str| net.tensors.iter().find(|t| t.0.ends_with(&format!("{name}.weight"))).unwrap();
        let product = |name: &str, x: &[f64]| -> Vec<f64> {
            let (_, shape, w) = get(name);
            w.chunks_exact(shape[1]).map(|row| row.iter().zip(x).map(|(&w, x)| w as f64 * x).sum()).collect()
        };
        let norm = |name: &str, x: &[f64]| -> Vec<f64> {
            let s = 1.0 / (x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64 + 1e-6).sqrt();
            get(name).2.iter().zip(x).map(|(&w, v)| w as f64 * v * s).collect()
        };
        let (_, shape, embedding) = get("embed_tokens");
        assert!(["q_proj", "k_proj"].iter().all(|n| get(n).2.iter().all(|&w| w == 0.0)));
        let mut sum = vec![0.0; get("v_proj").1[0]];
        let mut out = Vec::new();
        for (t, pair) in tokens.windows(2).enumerate() {
            let mut x: Vec<f64> = embedding[pair[0] as usize * shape[1]..][..shape[1]].iter().map(|&v| v as f64).collect();
            let v = product("v_proj", &norm("input_layernorm", &x));
            sum.iter_mut().zip(&v).for_each(|(s, v)| *s += v);
            let mean: Vec<f64> = sum.iter().map(|s| s / (t + 1) as f64).collect();
            x.iter_mut().zip(product("o_proj", &mean)).for_each(|(x, o)| *x += o);
            let h = norm("post_attention_layernorm", &x);
            let gated: Vec<f64> = product("gate_proj", &h).iter().zip(product("up_proj", &h)).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            x.iter_mut().zip(product("down_proj", &gated)).for_each(|(x, o)| *x += o);
            let logits = product("lm_head", &norm("model.norm", &x));
            out.push(logits[pair[1] as usize] - crate::estimate::special::log_sum_exp(logits.iter().copied()));
        }
        out
    }

    fn largest_error<P: Process>(process: &P, net: &PlantedNetwork, text: &[u32]) -> f64 {
        let mut state = process.begin();
        let mut worst = 0.0f64;
        process.push(&mut state, text[0]);
        for (t, got) in text[1..].iter().zip(forward(net, text)) {
            worst = worst.max((got - process.log_q(&state, *t)).abs());
            process.push(&mut state, *t);
        }
        worst
    }

    /// Weights in float32 hold ln p to half a unit in the last place (4.8e-7 at 14 nats); a handful of them enter a logit, and the pinned norm
    /// varies by 1e-7 of up to 30 nats: 1e-5 bounds the sum.
    #[test]
    fn networks_hold_the_conditionals() {
        let mut rng = crate::rng::Rng::new(7, 0);
        let markov = Markov::new(&[vec![0.9, 0.0999, 0.0001], vec![0.2, 0.5, 0.3], vec![0.05, 0.05, 0.9]]).unwrap();
        let mut text = vec![markov.start_token()];
        text.extend(markov.draw(64, &mut rng));
        let e = largest_error(&markov, &markov_network(&markov, 64), &text);
        assert!(e < 1e-5, "{e}");

        let santa_fe = SantaFe::new(0.5, 12, 1e-6).unwrap();
        let mut text = vec![santa_fe.start_token()];
        // A foreign head: facts of one document, then of another, both values seen.
        text.extend(santa_fe.draw(64, &mut rng));
        text.extend(santa_fe.draw(64, &mut rng));
        let e = largest_error(&santa_fe, &santa_fe_network(&santa_fe, 128), &text);
        assert!(e < 1e-5, "{e}");
    }
}
