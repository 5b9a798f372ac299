//! One layer over one block of rows: the algorithm box.

use super::rooms::{Kept, Room};
use super::weights::{BlockWeights, Lin, MixerWeights, NormWeights};
use crate::backend::{AttentionOp, Backend, ConvOp, Epilogue, GateOp, History, NormOp, OnDevice, RotaryOp, ScanOp, SsdOp, States};
use crate::error::Result;
use crate::model::{Attention, Mamba1, Mamba2, Mixer, Mlp, Norm, NormKind};
use std::ops::Range;

/// Sees what a verb has written; for traces.
pub(super) trait Watch<B: Backend> {
    /// `rows` rows of `mat` from `first` on are the output of the verb `name`.
    fn see(&mut self, name: &str, mat: &B::Mat, rows: Range<usize>) -> Result<()>;
}

/// Where a block of rows stands.
pub(super) struct At<'a, B: Backend> {
    pub backend: &'a B,
    pub on: OnDevice<'a, B::Tables>,
    pub block: Range<usize>,
}

pub(super) fn norm_op<'a, B: Backend>(norm: &Norm, weights: &'a NormWeights<B>) -> NormOp<'a, B::Mat> {
    NormOp { center: norm.kind == NormKind::Layer, eps: norm.eps, weight: &weights.weight, bias: weights.bias.as_ref() }
}

impl<B: Backend> At<'_, B> {
    /// Mixes the normed block and adds the result to the residual.
    pub fn mix(
        &self,
        name: &str,
        mixer: &Mixer,
        weights: &BlockWeights<B>,
        rope: Option<&B::Mat>,
        normed: &B::Mat,
        room: &mut Room<B>,
        kept: &mut Kept<B>,
        residual: &mut B::Mat,
        watch: &mut Option<&mut dyn Watch<B>>,
    ) -> Result<()> {
        let mut step = Step { at: self, name, watch };
        match (mixer, &weights.mixer, room, kept) {
            (
                Mixer::Attention(a),
                MixerWeights::Attention { qkv, out, qk_norm, sinks },
                Room::Attention { qkv: projected, mixed, keys, values },
                Kept::Attention { keys: kept_keys, values: kept_values },
            ) => {
                step.linear("qkv", normed, qkv, projected)?;
                let rotary = RotaryOp {
                    heads: a.heads,
                    kv_heads: a.kv_heads,
                    head_dim: a.head_dim,
                    v_head_dim: a.v_head_dim,
                    dims: a.rope.as_ref().map_or(0, |r| r.dims),
                    table: rope,
                    qk_norm: match (qk_norm, &a.qk_norm) {
                        (Some((q, k)), Some((_, _, eps))) => Some((q, k, *eps)),
                        _ => None,
                    },
                };
                self.backend.rotary_append(&rotary, &self.on, self.block.clone(), projected, keys, values)?;
                step.see("rotary", projected)?;
                let (keys, values) = (History { wave: keys, resident: kept_keys }, History { wave: values, resident: kept_values });
                self.backend.attention(&attention_op::<B>(a, sinks.as_ref()), &self.on, self.block.clone(), projected, &keys, &values, mixed)?;
                step.see("attention", mixed)?;
                step.add("out", mixed, out, residual)
            }
            (Mixer::Mlp(m), MixerWeights::Mlp { up, down }, Room::Mlp { hidden }, _) => {
                step.up(m, normed, up, hidden)?;
                step.add("down", hidden, down, residual)
            }
            (Mixer::Mamba1(m), MixerWeights::Mamba1 { .. }, room @ Room::Mamba1 { .. }, Kept::Scan { history, states }) => {
                step.mamba1(m, &weights.mixer, normed, room, history, states, residual)
            }
            (Mixer::Mamba2(m), MixerWeights::Mamba2 { .. }, room @ Room::Mamba2 { .. }, Kept::Scan { history, states }) => {
                step.mamba2(m, &weights.mixer, normed, room, history, states, residual)
            }
            _ => unreachable!("rooms and weights are made from the same spec"),
        }
    }

    /// Copies what later waves will ask for.
    pub fn keep(&self, mixer: &Mixer, room: &Room<B>, kept: &mut Kept<B>) -> Result<()> {
        match (mixer, room, kept) {
            (Mixer::Attention(a), Room::Attention { keys, values, .. }, Kept::Attention { keys: k, values: v }) => {
                self.backend.keep(&self.on, a.kv_heads, keys, k)?;
                self.backend.keep(&self.on, a.kv_heads, values, v)
            }
            (_, Room::Mamba1 { history, .. } | Room::Mamba2 { history, .. }, Kept::Scan { history: h, .. }) => self.backend.keep(&self.on, 1, history, h),
            _ => Ok(()),
        }
    }
}

fn attention_op<'a, B: Backend>(a: &Attention, sinks: Option<&'a B::Mat>) -> AttentionOp<'a, B::Mat> {
    let &Attention { heads, kv_heads, head_dim, v_head_dim, scale, window, softcap, .. } = a;
    AttentionOp { heads, kv_heads, head_dim, v_head_dim, scale, window, softcap, sinks }
}

/// The verbs of one mixer, each seen by the watch.
struct Step<'a, 'w, B: Backend> {
    at: &'a At<'a, B>,
    name: &'a str,
    watch: &'a mut Option<&'w mut dyn Watch<B>>,
}

impl<B: Backend> Step<'_, '_, B> {
    fn rows(&self) -> usize {
        self.at.block.len()
    }

    fn see(&mut self, verb: &str, mat: &B::Mat) -> Result<()> {
        match self.watch {
            Some(w) => w.see(&format!("{}.{verb}", self.name), mat, 0..self.at.block.len()),
            None => Ok(()),
        }
    }

    fn project(&mut self, verb: &str, x: &B::Mat, from: usize, lin: &Lin<B>, epilogue: Epilogue, out: &mut B::Mat) -> Result<()> {
        self.at.backend.linear(x, from, self.rows(), &lin.weight, lin.bias.as_ref(), epilogue, out, 0)?;
        self.see(verb, out)
    }

    fn linear(&mut self, verb: &str, x: &B::Mat, lin: &Lin<B>, out: &mut B::Mat) -> Result<()> {
        self.project(verb, x, 0, lin, Epilogue::Store(crate::backend::Act::None), out)
    }

    fn up(&mut self, m: &Mlp, x: &B::Mat, lin: &Lin<B>, out: &mut B::Mat) -> Result<()> {
        let a = m.activation;
        self.project("up", x, 0, lin, if m.gated { Epilogue::Gated(a) } else { Epilogue::Store(a) }, out)
    }

    fn add(&mut self, verb: &str, x: &B::Mat, lin: &Lin<B>, residual: &mut B::Mat) -> Result<()> {
        let block = self.at.block.clone();
        self.at.backend.linear(x, 0, self.rows(), &lin.weight, lin.bias.as_ref(), Epilogue::Add, residual, block.start)?;
        match self.watch {
            Some(w) => w.see(&format!("{}.{verb}", self.name), residual, block),
            None => Ok(()),
        }
    }

    fn mamba1(
        &mut self,
        m: &Mamba1,
        weights: &MixerWeights<B>,
        normed: &B::Mat,
        room: &mut Room<B>,
        kept: &B::Mat,
        kept_states: &mut B::Mat,
        residual: &mut B::Mat,
    ) -> Result<()> {
        let (MixerWeights::Mamba1 { in_proj, conv, x_proj, dt_proj, a_log, d_skip, out_proj }, Room::Mamba1 { xz, x, dbc, dt, y, history, states }) =
            (weights, room)
        else {
            unreachable!("matched by the caller")
        };
        let (backend, on, block) = (self.at.backend, &self.at.on, self.at.block.clone());
        self.linear("in", normed, in_proj, xz)?;
        backend.append(block.clone(), xz, 0, history)?;
        let op = ConvOp { taps: m.conv, weight: &conv.weight, bias: conv.bias.as_ref(), act: m.activation };
        backend.conv(&op, on, block.clone(), &History { wave: history, resident: kept }, x)?;
        self.see("conv", x)?;
        self.linear("x", x, x_proj, dbc)?;
        self.linear("dt", dbc, dt_proj, dt)?;
        let op = ScanOp { d_inner: m.d_inner, d_state: m.d_state, a_log, d_skip, act: m.activation };
        let mut states = States { wave: states, resident: kept_states };
        backend.scan(&op, on, block, x, dt, (dbc, m.dt_rank), (xz, m.d_inner), &mut states, y)?;
        self.see("scan", y)?;
        self.add("out", y, out_proj, residual)
    }

    fn mamba2(
        &mut self,
        m: &Mamba2,
        weights: &MixerWeights<B>,
        normed: &B::Mat,
        room: &mut Room<B>,
        kept: &B::Mat,
        kept_states: &mut B::Mat,
        residual: &mut B::Mat,
    ) -> Result<()> {
        let (MixerWeights::Mamba2 { in_proj, conv, dt_bias, a_log, d_skip, norm, out_proj }, Room::Mamba2 { proj, y, history, states }) = (weights, room)
        else {
            unreachable!("matched by the caller")
        };
        let (backend, on, block) = (self.at.backend, &self.at.on, self.at.block.clone());
        self.linear("in", normed, in_proj, proj)?;
        backend.append(block.clone(), proj, m.d_inner, history)?;
        let op = SsdOp {
            heads: m.heads,
            head_dim: m.head_dim,
            groups: m.groups,
            d_state: m.d_state,
            conv: ConvOp { taps: m.conv, weight: &conv.weight, bias: conv.bias.as_ref(), act: m.activation },
            dt_bias,
            a_log,
            d_skip,
            dt_limit: m.dt_limit,
        };
        let mut states = States { wave: states, resident: kept_states };
        backend.ssd(&op, on, block, &History { wave: history, resident: kept }, &mut states, y)?;
        self.see("ssd", y)?;
        let gate = GateOp { norm: norm.as_ref(), eps: m.norm_eps, groups: m.norm_groups, norm_first: m.norm_before_gate, act: m.activation };
        backend.gate(&gate, self.rows(), proj, 0, y)?;
        self.see("gate", y)?;
        self.add("out", y, out_proj, residual)
    }
}
