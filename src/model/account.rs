//! What a model holds, counted from its spec.

use std::collections::BTreeSet;

use super::spec::{Mixer, ModelSpec};

/// Number of parameters; shared tensors (a tied head) once.
pub fn parameters(spec: &ModelSpec) -> u64 {
    let mut seen = BTreeSet::new();
    spec.params().iter().filter(|p| seen.insert(&p.name)).map(|p| p.shape.iter().map(|n| *n as u64).product::<u64>()).sum()
}

/// dim(z): how many values the history state holds after `t` tokens, which bounds the mutual information that the model can carry (L²M).
/// Attention keeps a key and a value per key-value head for each token in its window, a scan its state and the tail of its convolution.
pub fn history_state(spec: &ModelSpec, t: u64) -> u64 {
    let block = |m: &Mixer| match m {
        Mixer::Attention(a) => (a.kv_heads * (a.head_dim + a.v_head_dim)) as u64 * a.window.map_or(t, |w| t.min(w as u64)),
        Mixer::Mlp(_) => 0,
        Mixer::Mamba1(m) => (m.d_inner * (m.d_state + m.conv - 1)) as u64,
        Mixer::Mamba2(m) => (m.d_inner * m.d_state + (m.d_inner + 2 * m.groups * m.d_state) * (m.conv - 1)) as u64,
    };
    spec.layers.iter().flat_map(|l| &l.blocks).map(|b| block(&b.mixer)).sum()
}
