//! What a device must be able to do: about fifteen fused verbs over row-major matrices, one signature, several twins.
//!
//! Every activation is a matrix `[rows, cols]`, rows in forest order: no batch axis, no strides. Verbs work on a *block* of
//! rows, consecutive rows of a wave that the engine walks in order; matrices that hold a block start at the block's first row.
//! History (keys and values, convolution inputs, scan states) lives in stores of one layer: the wave's, recycled for the next
//! layer, and the resident one, kept for every layer where a tree goes on over several waves.
//!
//! Promises that every twin keeps: a row's result depends on its path alone (never on other rows, on where a block or a wave
//! ends, or on the number of threads); sums run over fixed segments cut at absolute positions or columns, combined in order.

pub mod cpu;
pub mod cuda;
mod moments;
pub mod reference;

use moments::{float64s, packed, unpacked};
pub use moments::{moments_len, packed_row};

pub use crate::activation::Activation as Act;
use crate::error::Result;
use crate::forest::{TokenId, Wave};
use crate::tensor::{MatrixView, Tensor};
use std::ops::Range;

/// Keys and values are reduced in tiles of this many absolute positions; scans of Mamba-2 in chunks of [`SSD_CHUNK`].
pub const KEY_TILE: usize = 64;

/// Positions per chunk of the Mamba-2 dual; states are handed on at its multiples.
pub const SSD_CHUNK: usize = 64;

/// What happens to a product before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epilogue {
    /// y = act(x Wᵀ + b)
    Store(Act),
    /// y = act(gate) · up, where W was packed as [`Operand::Gated`]; y has half as many columns.
    Gated(Act),
    /// y += x Wᵀ + b: the residual.
    Add,
}

/// The weights of one product.
#[derive(Clone, Debug)]
pub enum Operand<'a> {
    /// The parts' outputs one after another.
    Plain(Vec<MatrixView<'a>>),
    /// Gate and up of a gated activation: same shape, packed side by side so that the epilogue sees both.
    Gated(MatrixView<'a>, MatrixView<'a>),
}

/// Row normalisation: (x − mean?) / √(mean of squares + ε) · w + b?
#[derive(Clone, Copy, Debug)]
pub struct NormOp<'a, M> {
    /// Whether the mean is taken off first (LayerNorm).
    pub center: bool,
    /// ε.
    pub eps: f32,
    /// `[1, d]`
    pub weight: &'a M,
    /// `[1, d]`
    pub bias: Option<&'a M>,
}

/// Split of the fused projection, per-head norms, rotary embedding.
#[derive(Clone, Copy, Debug)]
pub struct RotaryOp<'a, M> {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of a head of queries and keys.
    pub head_dim: usize,
    /// Width of a head of values.
    pub v_head_dim: usize,
    /// Numbers of a head that are turned: pairs (i, i + dims/2); 0 without rope.
    pub dims: usize,
    /// `[positions, dims]`: cosines, then sines, of each position, attention factor included.
    pub table: Option<&'a M>,
    /// RMS norm of each head of q and of k: weights `[1, head_dim]` and ε.
    pub qk_norm: Option<(&'a M, &'a M, f32)>,
}

/// Attention proper: Σ e^s v / (Σ e^s + e^sink), s the scores of what a row sees.
#[derive(Clone, Copy, Debug)]
pub struct AttentionOp<'a, M> {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Width of a head of queries and keys.
    pub head_dim: usize,
    /// Width of a head of values, and of what comes out.
    pub v_head_dim: usize,
    /// Factor on q·k.
    pub scale: f32,
    /// A row at position p sees positions above p − window.
    pub window: Option<usize>,
    /// s ← c·tanh(s/c).
    pub softcap: Option<f32>,
    /// `[1, heads]`: of each head the score of a key that every row sees and that has no value, neither scaled nor capped (Agarwal et al. 2025,
    /// arXiv:2508.10925); −∞ is none.
    pub sinks: Option<&'a M>,
}

/// Depthwise causal convolution with its activation.
#[derive(Clone, Copy, Debug)]
pub struct ConvOp<'a, M> {
    /// Width K: taps at t−K+1 … t.
    pub taps: usize,
    /// `[width, K]`
    pub weight: &'a M,
    /// `[1, width]`
    pub bias: Option<&'a M>,
    /// After the sum.
    pub act: Act,
}

/// Mamba-1's selective scan: h ← exp(Δ A) h + Δ B x, y = C·h + D x, y ← y · silu(z).
#[derive(Clone, Copy, Debug)]
pub struct ScanOp<'a, M> {
    /// Inner width.
    pub d_inner: usize,
    /// State size N.
    pub d_state: usize,
    /// `[d_inner, N]`, stored A_log; A = −exp(A_log).
    pub a_log: &'a M,
    /// `[1, d_inner]`
    pub d_skip: &'a M,
    /// Gate.
    pub act: Act,
}

/// Mamba-2: convolution with activation over x, B, C; then the dual form in chunks of [`SSD_CHUNK`] positions.
#[derive(Clone, Copy, Debug)]
pub struct SsdOp<'a, M> {
    /// Heads.
    pub heads: usize,
    /// Width P of a head.
    pub head_dim: usize,
    /// Groups that share B and C.
    pub groups: usize,
    /// State size N.
    pub d_state: usize,
    /// Convolution over the width d_inner + 2·groups·N.
    pub conv: ConvOp<'a, M>,
    /// `[1, heads]`
    pub dt_bias: &'a M,
    /// `[1, heads]`, A_log.
    pub a_log: &'a M,
    /// `[1, heads]`
    pub d_skip: &'a M,
    /// Clamp of Δ = softplus(dt + bias).
    pub dt_limit: (f32, f32),
}

/// The gate of Mamba-2 with or without its RMS norm.
#[derive(Clone, Copy, Debug)]
pub struct GateOp<'a, M> {
    /// `[1, d_inner]`; `None`: y · act(z) alone.
    pub norm: Option<&'a M>,
    /// ε.
    pub eps: f32,
    /// Slices normalised on their own.
    pub groups: usize,
    /// Norm of y, then gate; else norm of the gated y.
    pub norm_first: bool,
    /// Gate.
    pub act: Act,
}

/// The head: logits = softcap(x Wᵀ + b) · scale, never stored.
#[derive(Clone, Copy, Debug)]
pub struct HeadOp {
    /// c·tanh(·/c).
    pub softcap: Option<f32>,
    /// Factor on logits.
    pub scale: f32,
}

/// The largest sizes that a model asks of the verbs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Width of a product's x.
    pub inputs: usize,
    /// Ids that the head normalises over.
    pub vocab: usize,
    /// Width of an attention head's queries and keys.
    pub head_dim: usize,
    /// Width of an attention head's values.
    pub v_head_dim: usize,
    /// Sizes of the largest Mamba-2 block.
    pub ssd: Option<SsdSizes>,
}

/// Sizes of a Mamba-2 block, as in [`SsdOp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SsdSizes {
    /// Heads.
    pub heads: usize,
    /// Width P of a head.
    pub head_dim: usize,
    /// Groups that share B and C.
    pub groups: usize,
    /// State size N.
    pub d_state: usize,
    /// Convolution width K.
    pub taps: usize,
}

/// One kind of history of one layer: `[rows, width]`, and of keys or values `[heads, rows, width of a head]`, so that what a head reads lies side by side.
#[derive(Debug)]
pub struct History<'a, M> {
    /// Rows of this wave; written by the verbs.
    pub wave: &'a mut M,
    /// Rows kept from earlier waves and for later ones.
    pub resident: &'a M,
}

/// Scan states of one layer: row 0 of the wave's is the carry from one block to the next.
#[derive(Debug)]
pub struct States<'a, M> {
    /// `[1 + forks, state]`
    pub wave: &'a mut M,
    /// `[kept, state]`
    pub resident: &'a mut M,
}

/// A wave, as tables on the host and whatever the device keeps of them.
#[derive(Debug)]
pub struct OnDevice<'a, T> {
    /// The tables.
    pub wave: &'a Wave,
    /// The device's copy.
    pub tables: &'a T,
}

/// A device with its verbs. All sizes are checked by the engine; a verb may fail for want of memory or of the device itself.
pub trait Backend: Send + Sync {
    /// Row-major `[rows, cols]`; float32 unless the twin says otherwise. Zeroed when made.
    type Mat: Send + Sync;
    /// A packed product operand.
    type Weight: Send + Sync;
    /// A wave's tables.
    type Tables: Send + Sync;
    /// Σ x and Σ x xᵀ over a sample of rows, float64.
    type Moments: Send + Sync;

    /// As `devices` and fingerprints name it, instruction path included: `cpu/avx512`.
    fn name(&self) -> String;
    /// Runs work where the backend's threads are; verbs are called inside.
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        work()
    }
    /// Rows that the engine hands over in one block.
    fn block_rows(&self) -> usize;
    /// Rows of a wave for which weights are packed anew: so many that packing them takes less time than multiplying by them.
    fn streaming_rows(&self) -> usize {
        16_384
    }
    /// Bytes of a packed operand.
    fn weight_bytes(&self, inputs: usize, outputs: usize) -> usize;
    /// Bytes that the verbs need besides matrices, for blocks of [`Backend::block_rows`] rows.
    fn scratch_bytes(&self, needs: &Needs) -> usize;

    /// A zeroed matrix.
    fn mat(&self, rows: usize, cols: usize) -> Result<Self::Mat>;
    /// A zeroed matrix for what only products and attention read: normed rows, what attention and activations give, keys and values. It may hold numbers as short
    /// as the operands that the backend multiplies.
    fn operand(&self, rows: usize, cols: usize) -> Result<Self::Mat> {
        self.mat(rows, cols)
    }
    /// Bytes of a number in rows of `cols` of a [`Backend::operand`].
    fn operand_bytes(&self, cols: usize) -> usize {
        let _ = cols;
        4
    }
    /// A matrix of parameters, widened; the tensor is seen as `[rows, len/rows]`.
    fn param(&self, tensor: &Tensor, rows: usize) -> Result<Self::Mat>;
    /// A matrix from the host.
    fn upload(&self, values: &[f32], cols: usize) -> Result<Self::Mat>;
    /// Rows of a matrix to the host, widened to float64.
    fn download(&self, mat: &Self::Mat, rows: Range<usize>) -> Result<Vec<f64>>;
    /// Packs the weights of a product. Verbs may use them after [`Backend::arrive`].
    fn pack(&self, operand: &Operand) -> Result<Self::Weight>;
    /// Verbs may use what was packed so far. Where a device copies weights while it computes, this waits for the verbs before, so that weights which were dropped
    /// have given their memory back.
    fn arrive(&self) -> Result<()> {
        Ok(())
    }
    /// Sends a wave's tables.
    fn tables(&self, wave: &Wave) -> Result<Self::Tables>;

    /// Gathers embedding rows, adds learned positions. `x[first + i] = E[token_i] (+ P[position_i])`.
    fn embed(&self, tokens: &[TokenId], positions: &[u32], table: &Tensor, learned: Option<&Tensor>, x: &mut Self::Mat, first: usize) -> Result<()>;
    /// `out[i] = norm(x[first + i])`, i < rows.
    fn norm(&self, op: &NormOp<Self::Mat>, x: &Self::Mat, first: usize, rows: usize, out: &mut Self::Mat) -> Result<()>;
    /// `out[i] = norm(x[which[i]])`.
    fn norm_gather(&self, op: &NormOp<Self::Mat>, x: &Self::Mat, which: &[u32], out: &mut Self::Mat) -> Result<()>;
    /// `out[out_first + i] = epilogue(x[i, from..from + inputs] · Wᵀ + bias)`, i < rows. `from` is a column of x.
    fn linear(
        &self,
        x: &Self::Mat,
        from: usize,
        rows: usize,
        weight: &Self::Weight,
        bias: Option<&Self::Mat>,
        epilogue: Epilogue,
        out: &mut Self::Mat,
        out_first: usize,
    ) -> Result<()>;
    /// Takes q, k, v of the block out of `qkv [rows, (heads + kv_heads)·head_dim + kv_heads·v_head_dim]`; norms and turns q (left in place) and k; writes k and v to rows `block` of every head
    /// of their stores.
    fn rotary_append(
        &self,
        op: &RotaryOp<Self::Mat>,
        on: &OnDevice<Self::Tables>,
        block: Range<usize>,
        qkv: &mut Self::Mat,
        keys: &mut Self::Mat,
        values: &mut Self::Mat,
    ) -> Result<()>;
    /// Softmax attention of the block's queries (first heads·head_dim columns of `qkv`) over their pasts and themselves; `out [rows, heads·v_head_dim]`.
    /// Needs every row of the pasts within the wave appended; both stores of keys and values hold numbers of one type.
    fn attention(
        &self,
        op: &AttentionOp<Self::Mat>,
        on: &OnDevice<Self::Tables>,
        block: Range<usize>,
        qkv: &Self::Mat,
        keys: &History<Self::Mat>,
        values: &History<Self::Mat>,
        out: &mut Self::Mat,
    ) -> Result<()>;
    /// Copies columns `from..from + history.cols` of the block into rows `block` of the wave store.
    fn append(&self, block: Range<usize>, x: &Self::Mat, from: usize, history: &mut Self::Mat) -> Result<()>;
    /// Causal convolution over the path of each row of the block; `out [rows, width]`. The history's first `width` columns are the inputs.
    fn conv(&self, op: &ConvOp<Self::Mat>, on: &OnDevice<Self::Tables>, block: Range<usize>, history: &History<Self::Mat>, out: &mut Self::Mat) -> Result<()>;
    /// Mamba-1: `x [rows, d_inner]` convolved, `dt [rows, d_inner]` before the softplus (bias added), `bc` holding B at column `b_from` and C right after it,
    /// `z` at column `z_from`; `out [rows, d_inner]`. States `[d_inner · N]` are taken and saved as the runs say; blocks come in order.
    fn scan(
        &self,
        op: &ScanOp<Self::Mat>,
        on: &OnDevice<Self::Tables>,
        block: Range<usize>,
        x: &Self::Mat,
        dt: &Self::Mat,
        bc: (&Self::Mat, usize),
        z: (&Self::Mat, usize),
        states: &mut States<Self::Mat>,
        out: &mut Self::Mat,
    ) -> Result<()>;
    /// Mamba-2: history rows are [x | B | C | dt] before the convolution, appended already; `out [rows, d_inner]` before the gate, skip added.
    /// States `[heads · head_dim · N]` at multiples of [`SSD_CHUNK`].
    fn ssd(
        &self,
        op: &SsdOp<Self::Mat>,
        on: &OnDevice<Self::Tables>,
        block: Range<usize>,
        history: &History<Self::Mat>,
        states: &mut States<Self::Mat>,
        out: &mut Self::Mat,
    ) -> Result<()>;
    /// `y[i] = gate(y[i], z[i, z_from..])`, in place.
    fn gate(&self, op: &GateOp<Self::Mat>, rows: usize, z: &Self::Mat, z_from: usize, y: &mut Self::Mat) -> Result<()>;
    /// Rows of the wave's store to rows of the resident one, for later waves; of each of so many heads.
    fn keep(&self, on: &OnDevice<Self::Tables>, heads: usize, wave: &Self::Mat, resident: &mut Self::Mat) -> Result<()>;
    /// For row i of `x` (normed) and each target in `targets[ptr[i]..ptr[i + 1]]`: `ln softmax(logits)[target]` ≤ 0, pushed to `out` in order. Vocabulary = the weight's outputs.
    /// Where `greedy` is given, whether the target's logit equals the largest of its row, as numbers of the backend's precision, is pushed to it.
    fn head(
        &self,
        op: &HeadOp,
        x: &Self::Mat,
        rows: usize,
        weight: &Self::Weight,
        bias: Option<&Self::Mat>,
        ptr: &[u32],
        targets: &[TokenId],
        out: &mut Vec<f32>,
        greedy: Option<&mut Vec<bool>>,
    ) -> Result<()>;
    /// Sums over a sample of rows of `width` numbers: those of `values`, packed ([`moments_len`]), or zeros where it is empty.
    fn moments(&self, width: usize, values: &[f64]) -> Result<Self::Moments>;
    /// Bytes of them.
    fn moments_bytes(&self, width: usize) -> usize {
        size_of::<f64>() * width * (width + 1)
    }
    /// Adds the first `rows` rows of x, a [`Backend::mat`] `[·, width]`, one after the other: `Σ x[j] += x[i, j]`, `Σ x xᵀ[j, k] += x[i, j] · x[i, k]`. Every number is one chain of
    /// float64 additions, so blocks of rows make no difference.
    fn accumulate(&self, x: &Self::Mat, rows: usize, moments: &mut Self::Moments) -> Result<()>;
    /// The sums so far, packed.
    fn moments_taken(&self, moments: &Self::Moments) -> Result<Vec<f64>>;
}
