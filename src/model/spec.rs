//! What a model is, as data: sizes and the names of its parameters. No arithmetic, no tensors.

pub use crate::activation::Activation;
use crate::tensor::RowMap;

/// One tensor of the checkpoint, demanded by name and shape.
#[derive(Clone, Debug, PartialEq)]
pub struct Param {
    /// Name in the checkpoint.
    pub name: String,
    /// Shape in the file.
    pub shape: Vec<usize>,
    /// Whether a matrix lies as `[inputs, outputs]`.
    pub transposed: bool,
    /// Which of a matrix's outputs are meant.
    pub rows: RowMap,
}

/// `y = x · Wᵀ + b`, with W the parts' outputs one after another.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// Parts in output order; all have the same number of inputs.
    pub parts: Vec<Param>,
    /// One entry a part where any part has a bias; a part without one counts as zeros. Empty: no bias at all.
    pub biases: Vec<Option<Param>>,
    /// Width of x.
    pub inputs: usize,
    /// Width of y.
    pub outputs: usize,
}

/// How a row is normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormKind {
    /// x / √(mean x² + ε) · w
    Rms,
    /// (x − mean) / √(var + ε) · w + b
    Layer,
}

/// A normalisation over the whole width.
#[derive(Clone, Debug, PartialEq)]
pub struct Norm {
    /// Formula.
    pub kind: NormKind,
    /// `[width]`.
    pub weight: Param,
    /// `[width]`.
    pub bias: Option<Param>,
    /// ε.
    pub eps: f32,
}

/// Rotary position embedding: pairs (i, i + dims/2) of the first `dims` numbers of a head are turned by position · `inv_freq[i]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// How many numbers of a head are turned; even.
    pub dims: usize,
    /// `[dims/2]`, float32 as the reference library has them; angles are products in float32 too.
    pub inv_freq: Vec<f32>,
    /// Factor on cosine and sine (yarn; 1 elsewhere).
    pub attention_factor: f32,
}

/// Causal attention with its projections.
#[derive(Clone, Debug, PartialEq)]
pub struct Attention {
    /// d → (heads + kv)·head_dim + kv·v_head_dim: queries, keys, values.
    pub qkv: Linear,
    /// heads·v_head_dim → d.
    pub out: Linear,
    /// Query heads.
    pub heads: usize,
    /// Key-value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head of queries and keys.
    pub head_dim: usize,
    /// Width of a head of values.
    pub v_head_dim: usize,
    /// Factor on q·k.
    pub scale: f32,
    /// Rotary embedding, if any.
    pub rope: Option<Rope>,
    /// A row at position p sees positions above p − window.
    pub window: Option<usize>,
    /// s ← c·tanh(s/c) on scores.
    pub softcap: Option<f32>,
    /// `[heads]`: the score of a key without a value that every row sees, in each head's softmax.
    pub sinks: Option<Param>,
    /// RMS norms over each head of q and of k, before rope, one ε.
    pub qk_norm: Option<(Param, Param, f32)>,
}

/// Up, activation, down.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// d → ff, or where `gated` d → 2·ff: gate, then up.
    pub up: Linear,
    /// Whether the activation of the gate multiplies the other half.
    pub gated: bool,
    /// Activation.
    pub activation: Activation,
    /// ff → d.
    pub down: Linear,
    /// ff.
    pub width: usize,
}

/// Selective scan of Mamba-1 (Gu and Dao 2023).
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba1 {
    /// d → 2·d_inner: x, z.
    pub in_proj: Linear,
    /// `[d_inner, 1, K]`.
    pub conv_weight: Param,
    /// `[d_inner]`.
    pub conv_bias: Option<Param>,
    /// d_inner → rank + 2·N: dt, B, C.
    pub x_proj: Linear,
    /// rank → d_inner; its bias enters before the softplus.
    pub dt_proj: Linear,
    /// `[d_inner, N]`; A = −exp(A_log).
    pub a_log: Param,
    /// `[d_inner]`.
    pub d_skip: Param,
    /// d_inner → d.
    pub out_proj: Linear,
    /// Inner width.
    pub d_inner: usize,
    /// State size N.
    pub d_state: usize,
    /// Convolution width K.
    pub conv: usize,
    /// Rank of dt.
    pub dt_rank: usize,
    /// After the convolution.
    pub activation: Activation,
}

/// State-space dual of Mamba-2 (Dao and Gu 2024).
#[derive(Clone, Debug, PartialEq)]
pub struct Mamba2 {
    /// d → d_inner (z) + d_inner (x) + groups·N (B) + groups·N (C) + heads (dt).
    pub in_proj: Linear,
    /// `[d_inner + 2·groups·N, 1, K]`.
    pub conv_weight: Param,
    /// `[d_inner + 2·groups·N]`.
    pub conv_bias: Option<Param>,
    /// `[heads]`, enters before the softplus.
    pub dt_bias: Param,
    /// `[heads]`; A = −exp(A_log).
    pub a_log: Param,
    /// `[heads]`.
    pub d_skip: Param,
    /// Gated RMS norm over each of `norm_groups` slices of d_inner; `None` where the gate multiplies without one.
    pub norm: Option<Param>,
    /// ε of the gated norm.
    pub norm_eps: f32,
    /// Slices that are normalised on their own.
    pub norm_groups: usize,
    /// Whether the norm comes before the gate (else after it).
    pub norm_before_gate: bool,
    /// d_inner → d.
    pub out_proj: Linear,
    /// heads·head_dim.
    pub d_inner: usize,
    /// Heads.
    pub heads: usize,
    /// Width P of a head.
    pub head_dim: usize,
    /// Groups of heads that share B and C.
    pub groups: usize,
    /// State size N.
    pub d_state: usize,
    /// Convolution width K.
    pub conv: usize,
    /// dt is clamped to this range after the softplus.
    pub dt_limit: (f32, f32),
    /// After the convolution.
    pub activation: Activation,
}

/// What a block does with its normalised input.
#[derive(Clone, Debug, PartialEq)]
pub enum Mixer {
    /// Attention over the past.
    Attention(Attention),
    /// Row by row.
    Mlp(Mlp),
    /// Mamba-1.
    Mamba1(Mamba1),
    /// Mamba-2.
    Mamba2(Mamba2),
}

/// Reads the residual, normalises, mixes, adds back.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// Name of the block in traces: `L03.attn`.
    pub name: String,
    /// Before the mixer.
    pub norm: Norm,
    /// The mixer.
    pub mixer: Mixer,
}

/// How the blocks of a layer meet the residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residual {
    /// Each block reads what the one before it has added to.
    Sequential,
    /// All read the layer's input (GPT-NeoX).
    Parallel,
}

/// A layer: blocks that share a place in the stack.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// In order. At most one of them owns history.
    pub blocks: Vec<Block>,
    /// How they add back.
    pub residual: Residual,
}

/// Token ids to the first residual.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// `[vocab_rows, d]`.
    pub tokens: Param,
    /// Learned positions `[positions, d]`.
    pub positions: Option<Param>,
}

/// Residual to log-probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct Head {
    /// Final norm.
    pub norm: Norm,
    /// d → vocabulary.
    pub unembedding: Linear,
    /// logits ← c·tanh(logits/c).
    pub softcap: Option<f32>,
    /// Factor on logits.
    pub scale: f32,
}

/// Where the start token comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct StartToken {
    /// Its id.
    pub id: u32,
    /// As told to the user: `bos_token_id of config.json`.
    pub source: String,
}

/// A whole model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// `model_type` as config.json has it.
    pub family: String,
    /// Width of the residual.
    pub d: usize,
    /// Rows of the embedding and of the head: ids run below this. Probabilities are normalised over all of them, padding included, as the reference does.
    pub vocab: usize,
    /// The longest path that may be fed; `None` where nothing bounds it.
    pub max_positions: Option<usize>,
    /// First step.
    pub embedding: Embedding,
    /// The stack.
    pub layers: Vec<Layer>,
    /// Last step.
    pub head: Head,
    /// Start token by config.json, if it names one.
    pub start: Option<StartToken>,
}

impl Linear {
    /// All tensors of it.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.parts.iter().chain(self.biases.iter().flatten())
    }
}

impl Norm {
    /// All tensors of it.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        std::iter::once(&self.weight).chain(self.bias.as_ref())
    }
}

impl Mixer {
    /// Whether it looks at other rows than its own.
    pub fn owns_history(&self) -> bool {
        !matches!(self, Mixer::Mlp(_))
    }

    /// All products of it, in the order in which they are packed.
    pub fn linears(&self) -> Vec<&Linear> {
        match self {
            Mixer::Attention(a) => vec![&a.qkv, &a.out],
            Mixer::Mlp(m) => vec![&m.up, &m.down],
            Mixer::Mamba1(m) => vec![&m.in_proj, &m.x_proj, &m.dt_proj, &m.out_proj],
            Mixer::Mamba2(m) => vec![&m.in_proj, &m.out_proj],
        }
    }

    /// All tensors of it.
    pub fn params(&self) -> Vec<&Param> {
        let mut p: Vec<_> = self.linears().into_iter().flat_map(Linear::params).collect();
        match self {
            Mixer::Attention(a) => {
                if let Some((q, k, _)) = &a.qk_norm {
                    p.extend([q, k]);
                }
                p.extend(a.sinks.as_ref());
            }
            Mixer::Mlp(_) => {}
            Mixer::Mamba1(m) => {
                p.extend([&m.conv_weight, &m.a_log, &m.d_skip]);
                p.extend(m.conv_bias.as_ref());
            }
            Mixer::Mamba2(m) => {
                p.extend([&m.conv_weight, &m.dt_bias, &m.a_log, &m.d_skip]);
                p.extend(m.conv_bias.as_ref());
                p.extend(m.norm.as_ref());
            }
        }
        p
    }
}

impl ModelSpec {
    /// All tensors, in the order in which they are used; shared or split ones come more than once.
    pub fn params(&self) -> Vec<&Param> {
        let mut p = vec![&self.embedding.tokens];
        p.extend(self.embedding.positions.as_ref());
        for block in self.layers.iter().flat_map(|l| &l.blocks) {
            p.extend(block.norm.params());
            p.extend(block.mixer.params());
        }
        p.extend(self.head.norm.params());
        p.extend(self.head.unembedding.params());
        p
    }
}
