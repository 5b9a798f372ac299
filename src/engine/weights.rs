//! Parameters on their way from the mapped file to the backend: packed, widened, kept where they fit.

use crate::backend::{Backend, Operand};
use crate::error::Result;
use crate::model::{Block, Checkpoint, Layer, Linear, Mixer, ModelSpec, Norm, Param};
use crate::tensor::MatrixView;

/// A product's operand with its bias.
pub(super) struct Lin<B: Backend> {
    pub weight: B::Weight,
    pub bias: Option<B::Mat>,
}

/// A norm's parameters.
pub(super) struct NormWeights<B: Backend> {
    pub weight: B::Mat,
    pub bias: Option<B::Mat>,
}

/// A mixer's parameters.
pub(super) enum MixerWeights<B: Backend> {
    Attention { qkv: Lin<B>, out: Lin<B>, qk_norm: Option<(B::Mat, B::Mat)>, sinks: Option<B::Mat> },
    Mlp { up: Lin<B>, down: Lin<B> },
    Mamba1 { in_proj: Lin<B>, conv: ConvWeights<B>, x_proj: Lin<B>, dt_proj: Lin<B>, a_log: B::Mat, d_skip: B::Mat, out_proj: Lin<B> },
    Mamba2 { in_proj: Lin<B>, conv: ConvWeights<B>, dt_bias: B::Mat, a_log: B::Mat, d_skip: B::Mat, norm: Option<B::Mat>, out_proj: Lin<B> },
}

/// A convolution's parameters.
pub(super) struct ConvWeights<B: Backend> {
    pub weight: B::Mat,
    pub bias: Option<B::Mat>,
}

/// A block's parameters.
pub(super) struct BlockWeights<B: Backend> {
    pub norm: NormWeights<B>,
    pub mixer: MixerWeights<B>,
}

/// Packs parameters of one checkpoint for one backend.
pub(super) struct Loader<'a, B: Backend> {
    pub backend: &'a B,
    pub checkpoint: &'a Checkpoint,
}

impl<B: Backend> Loader<'_, B> {
    pub fn layer(&self, layer: &Layer) -> Result<Vec<BlockWeights<B>>> {
        layer.blocks.iter().map(|b| self.block(b)).collect()
    }

    pub fn norm(&self, norm: &Norm) -> Result<NormWeights<B>> {
        Ok(NormWeights { weight: self.vector(&norm.weight)?, bias: norm.bias.as_ref().map(|b| self.vector(b)).transpose()? })
    }

    pub fn linear(&self, linear: &Linear) -> Result<Lin<B>> {
        self.packed(linear, Operand::Plain(self.views(&linear.parts)?))
    }

    /// Packs; from here on the file's pages are not needed.
    fn packed(&self, linear: &Linear, operand: Operand) -> Result<Lin<B>> {
        let lin = Lin { weight: self.backend.pack(&operand)?, bias: self.bias(linear)? };
        linear.params().for_each(|p| self.checkpoint.release(p));
        Ok(lin)
    }

    fn block(&self, block: &Block) -> Result<BlockWeights<B>> {
        let mixer = match &block.mixer {
            Mixer::Attention(a) => MixerWeights::Attention {
                qkv: self.linear(&a.qkv)?,
                out: self.linear(&a.out)?,
                qk_norm: match &a.qk_norm {
                    Some((q, k, _)) => Some((self.vector(q)?, self.vector(k)?)),
                    None => None,
                },
                sinks: a.sinks.as_ref().map(|s| self.vector(s)).transpose()?,
            },
            Mixer::Mlp(m) => {
                let up = if m.gated {
                    let mut views = self.views(&m.up.parts)?.into_iter();
                    match (views.next(), views.next()) {
                        (Some(gate), Some(up)) => self.packed(&m.up, Operand::Gated(gate, up))?,
                        _ => return Err(crate::Error::input("a gated MLP needs two parts: gate and up")),
                    }
                } else {
                    self.linear(&m.up)?
                };
                MixerWeights::Mlp { up, down: self.linear(&m.down)? }
            }
            Mixer::Mamba1(m) => MixerWeights::Mamba1 {
                in_proj: self.linear(&m.in_proj)?,
                conv: self.conv(&m.conv_weight, m.conv_bias.as_ref(), m.d_inner)?,
                x_proj: self.linear(&m.x_proj)?,
                dt_proj: self.linear(&m.dt_proj)?,
                a_log: self.backend.param(&self.checkpoint.get(&m.a_log)?, m.d_inner)?,
                d_skip: self.vector(&m.d_skip)?,
                out_proj: self.linear(&m.out_proj)?,
            },
            Mixer::Mamba2(m) => MixerWeights::Mamba2 {
                in_proj: self.linear(&m.in_proj)?,
                conv: self.conv(&m.conv_weight, m.conv_bias.as_ref(), m.d_inner + 2 * m.groups * m.d_state)?,
                dt_bias: self.vector(&m.dt_bias)?,
                a_log: self.vector(&m.a_log)?,
                d_skip: self.vector(&m.d_skip)?,
                norm: m.norm.as_ref().map(|n| self.vector(n)).transpose()?,
                out_proj: self.linear(&m.out_proj)?,
            },
        };
        Ok(BlockWeights { norm: self.norm(&block.norm)?, mixer })
    }

    fn conv(&self, weight: &Param, bias: Option<&Param>, width: usize) -> Result<ConvWeights<B>> {
        Ok(ConvWeights { weight: self.backend.param(&self.checkpoint.get(weight)?, width)?, bias: bias.map(|b| self.vector(b)).transpose()? })
    }

    fn vector(&self, param: &Param) -> Result<B::Mat> {
        self.backend.param(&self.checkpoint.get(param)?, 1)
    }

    fn views(&self, parts: &[Param]) -> Result<Vec<MatrixView<'_>>> {
        parts.iter().map(|p| Ok(MatrixView { tensor: self.checkpoint.get(p)?, transposed: p.transposed, rows: p.rows })).collect()
    }

    /// The parts' biases one after another, zeros where a part has none; row maps hold for biases too.
    fn bias(&self, linear: &Linear) -> Result<Option<B::Mat>> {
        if linear.biases.iter().all(Option::is_none) {
            return Ok(None);
        }
        let mut all = Vec::with_capacity(linear.outputs);
        for (part, bias) in linear.parts.iter().zip(&linear.biases) {
            let stored = part.shape[usize::from(part.transposed)];
            let outputs = part.rows.len(stored);
            match bias {
                Some(b) => {
                    let values = self.checkpoint.get(b)?.to_f32();
                    all.extend((0..outputs).map(|i| values[b.rows.source(i)]));
                }
                None => all.resize(all.len() + outputs, 0.0),
            }
        }
        Ok(Some(self.backend.upload(&all, all.len())?))
    }
}

/// Bytes of a layer's packed products on this backend, and of what else of it is not small.
pub(super) fn layer_bytes<B: Backend>(backend: &B, layer: &Layer) -> usize {
    let products = |m: &Mixer| m.linears().into_iter().map(|l| backend.weight_bytes(l.inputs, l.outputs)).sum::<usize>();
    let others = |m: &Mixer| match m {
        Mixer::Mamba1(m) => 4 * m.d_inner * (m.d_state + m.conv),
        _ => 0,
    };
    layer.blocks.iter().map(|b| products(&b.mixer) + others(&b.mixer)).sum()
}

/// Bytes of the packed head.
pub(super) fn head_bytes<B: Backend>(backend: &B, spec: &ModelSpec) -> usize {
    backend.weight_bytes(spec.head.unembedding.inputs, spec.head.unembedding.outputs)
}
