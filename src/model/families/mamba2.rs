//! Mamba-2 (HF `Mamba2ForCausalLM`, `modeling_mamba2.py`; the original's options beside it): one projection to z, x, B, C and dt, scalar decay a head,
//! B and C shared by groups of heads, a gated norm over each group.

use super::mamba::{Stack, inner_width, layer_count};
use crate::error::Result;
use crate::model::OpenOptions;
use crate::model::build::{Bias, Names};
use crate::model::checkpoint::Naming;
use crate::model::config::{Config, LENGTH, WIDTH};
use crate::model::spec::{Activation, Mamba2, Mixer, ModelSpec, NormKind};

const IGNORED: &[(&[&str], &str)] = &[
    (&["residual_in_fp32"], "the residual is float32 here always"),
    (&["time_step_rank"], "a head has one dt; the reference does not use the rank"),
    (&["time_step_min", "time_step_max", "time_step_floor", "rescale_prenorm_residual", "A_initializer_range", "emb_initializer_range"], "initialisation"),
    (&["chunk_size", "use_mem_eff_path"], "another order of the same sums"),
    (&["norm_before_gate"], "the reference multiplies by the gate first whatever this says"),
    (&["layer_types"], "all layers are alike"),
];

/// Where the gated norm stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    /// The gate multiplies, and no norm follows.
    Alone,
    /// norm(y · silu(z))
    ThenNorm,
    /// norm(y) · silu(z)
    AfterNorm,
}

pub(super) struct Sizes {
    d: usize,
    d_inner: usize,
    d_state: usize,
    conv: usize,
    head_dim: usize,
    groups: usize,
    bias: Bias,
    conv_bias: Bias,
    gate: Gate,
    norm_eps: f32,
    dt_limit: (f32, f32),
    activation: Activation,
}

impl Sizes {
    /// By ssm_cfg of the original layout, with the defaults of `mamba_ssm/modules/mamba2.py`.
    pub fn original(s: &Config, d: usize, bias: Bias, conv_bias: Bias) -> Result<Self> {
        let d_inner = inner_width(s, "expand", d)?;
        if s.optional("d_ssm", WIDTH)?.is_some_and(|n| n != d_inner) {
            return Err(s.error("`ssm_cfg.d_ssm` is not the inner width: a gated MLP beside the scan is not implemented"));
        }
        s.only("D_has_hdim", false, "a skip weight for each number of a head is not implemented")?;
        let sizes = Sizes {
            d,
            d_inner,
            d_state: s.optional("d_state", WIDTH)?.unwrap_or(128),
            conv: s.optional("d_conv", 1..=64)?.unwrap_or(4),
            head_dim: s.optional("headdim", WIDTH)?.unwrap_or(64),
            groups: s.optional("ngroups", WIDTH)?.unwrap_or(1),
            bias,
            conv_bias,
            gate: match (s.flag("rmsnorm", true)?, s.flag("norm_before_gate", false)?) {
                (false, _) => Gate::Alone,
                (true, false) => Gate::ThenNorm,
                (true, true) => Gate::AfterNorm,
            },
            norm_eps: 1e-5,
            dt_limit: s.interval("dt_limit", (0.0, f32::INFINITY))?,
            activation: Activation::Silu,
        };
        sizes.check(s)?;
        Ok(sizes)
    }

    fn check(&self, c: &Config) -> Result<()> {
        let Sizes { d_inner, head_dim, groups, .. } = *self;
        if d_inner % head_dim != 0 || (d_inner / head_dim) % groups != 0 {
            return Err(c.error(format!("an inner width of {d_inner} does not divide into heads of {head_dim} in {groups} groups")));
        }
        Ok(())
    }

    pub fn mixer(&self, p: &Names) -> Mixer {
        let Sizes { d, d_inner, d_state, conv, head_dim, groups, bias, conv_bias, gate, norm_eps, dt_limit, activation } = *self;
        let heads = d_inner / head_dim;
        let mixed = d_inner + 2 * groups * d_state;
        Mixer::Mamba2(Mamba2 {
            in_proj: p.linear("in_proj", d_inner + mixed + heads, d, bias),
            conv_weight: p.tensor("conv1d.weight", &[mixed, 1, conv]),
            conv_bias: (conv_bias == Bias::With).then(|| p.tensor("conv1d.bias", &[mixed])),
            dt_bias: p.tensor("dt_bias", &[heads]),
            a_log: p.tensor("A_log", &[heads]),
            d_skip: p.tensor("D", &[heads]),
            norm: (gate != Gate::Alone).then(|| p.tensor("norm.weight", &[d_inner])),
            norm_eps,
            norm_groups: groups,
            norm_before_gate: gate == Gate::AfterNorm,
            out_proj: p.linear("out_proj", d, d_inner, bias),
            d_inner,
            heads,
            head_dim,
            groups,
            d_state,
            conv,
            dt_limit,
            activation,
        })
    }
}

pub(super) fn read(c: &Config, _: &OpenOptions) -> Result<(ModelSpec, Naming)> {
    let d = c.size("hidden_size", WIDTH)?;
    let d_inner = inner_width(c, "expand", d)?;
    let eps = c.epsilon("layer_norm_epsilon", 1e-5)?;
    c.only("rms_norm", true, "the reference norms after the gate whatever this says; write true if the folder has mixer.norm.weight")?;
    let (heads, head_dim) = (c.optional("num_heads", WIDTH)?.unwrap_or(128), c.optional("head_dim", WIDTH)?.unwrap_or(64));
    if heads * head_dim != d_inner {
        return Err(c.error(format!("`num_heads` {heads} times `head_dim` {head_dim} is not `expand` times `hidden_size`, {d_inner}")));
    }
    if let Some(given) = c.optional("intermediate_size", WIDTH)?.filter(|n| *n != d_inner) {
        return Err(c.error(format!("`intermediate_size` {given} is not `expand` times `hidden_size`, {d_inner}")));
    }
    let sizes = Sizes {
        d,
        d_inner,
        d_state: c.optional("state_size", WIDTH)?.unwrap_or(128),
        conv: c.optional("conv_kernel", 1..=64)?.unwrap_or(4),
        head_dim,
        groups: c.optional("n_groups", WIDTH)?.unwrap_or(8),
        bias: Bias::from(c.flag("use_bias", false)?),
        conv_bias: Bias::from(c.flag("use_conv_bias", true)?),
        gate: Gate::ThenNorm,
        norm_eps: eps,
        dt_limit: c.interval("time_step_limit", (0.0, f32::INFINITY))?,
        activation: c.activation("hidden_act", Activation::Silu)?,
    };
    sizes.check(c)?;
    let stack = Stack {
        family: "mamba2",
        d,
        layers: layer_count(c)?,
        vocab: c.size("vocab_size", LENGTH)?,
        norm: NormKind::Rms,
        eps,
        tied: c.flag("tie_word_embeddings", false)?,
        start: c.start_token()?,
    };
    let spec = stack.spec(|p| sizes.mixer(p));
    c.finish(IGNORED)?;
    Ok(spec)
}
