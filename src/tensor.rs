//! Plain types for tensors as they lie in a file: everyone's, no arithmetic beyond widening.

use half::{bf16, f16};

/// Element type of a stored tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    /// As a config.json or a table has it.
    pub fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
        }
    }
}

/// A contiguous row-major tensor borrowed from a mapped file; `bytes` may be unaligned.
#[derive(Clone, Debug)]
pub struct Tensor<'a> {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions, outermost first.
    pub shape: Vec<usize>,
    /// `shape.product() * dtype.size()` bytes, little endian.
    pub bytes: &'a [u8],
}

impl Tensor<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// Whether it holds no element.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Widens elements `start..start + out.len()` (flat index) into `out`.
    pub fn widen(&self, start: usize, out: &mut [f32]) {
        let s = self.dtype.size();
        let bytes = &self.bytes[start * s..(start + out.len()) * s];
        match self.dtype {
            Dtype::F32 => {
                for (o, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                    *o = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
                }
            }
            Dtype::F16 => {
                for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *o = f16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
            Dtype::Bf16 => {
                for (o, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                    *o = bf16::from_le_bytes([b[0], b[1]]).to_f32();
                }
            }
        }
    }

    /// All elements, widened.
    pub fn to_f32(&self) -> Vec<f32> {
        let mut v = vec![0.0; self.len()];
        self.widen(0, &mut v);
        v
    }
}

/// Which rows of a stored matrix serve as the outputs of a product, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowMap {
    /// Row i is output i.
    All,
    /// `n` rows from `first` on.
    Range {
        /// First stored row.
        first: usize,
        /// How many.
        n: usize,
    },
    /// GPT-NeoX's fused projection: stored as `[heads][parts][head_dim]`; the outputs are part `part`, head by head.
    PerHead {
        /// Which of the parts.
        part: usize,
        /// Parts per head (3 for q, k, v).
        parts: usize,
        /// Rows of one part of one head.
        head_dim: usize,
    },
}

impl RowMap {
    /// Number of outputs taken from a matrix of `stored` outputs.
    pub fn len(self, stored: usize) -> usize {
        match self {
            RowMap::All => stored,
            RowMap::Range { n, .. } => n,
            RowMap::PerHead { parts, .. } => stored / parts,
        }
    }

    /// Stored row of output `i`.
    pub fn source(self, i: usize) -> usize {
        match self {
            RowMap::All => i,
            RowMap::Range { first, .. } => first + i,
            RowMap::PerHead { part, parts, head_dim } => (i / head_dim * parts + part) * head_dim + i % head_dim,
        }
    }
}

/// A stored matrix seen as the operand of a product `y = x · Wᵀ`: `outputs` rows of `inputs` numbers.
#[derive(Clone, Debug)]
pub struct MatrixView<'a> {
    /// The tensor: `[outputs, inputs]`, or `[inputs, outputs]` where `transposed` (GPT-2's Conv1D).
    pub tensor: Tensor<'a>,
    /// Whether inputs are the outer dimension in the file.
    pub transposed: bool,
    /// Which stored outputs, in which order.
    pub rows: RowMap,
}

impl MatrixView<'_> {
    /// Outputs stored in the file, before the row map.
    fn stored(&self) -> (usize, usize) {
        let (a, b) = (self.tensor.shape[0], self.tensor.shape[1..].iter().product());
        if self.transposed { (b, a) } else { (a, b) }
    }

    /// Number of outputs (columns of y).
    pub fn outputs(&self) -> usize {
        self.rows.len(self.stored().0)
    }

    /// Number of inputs (the reduced dimension).
    pub fn inputs(&self) -> usize {
        self.stored().1
    }

    /// The weights of output `i` as they are stored, where they lie one after another.
    pub fn stored_row(&self, i: usize) -> Option<&[u8]> {
        let bytes = self.inputs() * self.tensor.dtype.size();
        let first = self.rows.source(i) * bytes;
        if self.transposed { None } else { self.tensor.bytes.get(first..first + bytes) }
    }

    /// Widens the weights of output `i` into `out` (`inputs` long).
    pub fn widen_row(&self, i: usize, out: &mut [f32]) {
        let (n, k) = self.stored();
        let r = self.rows.source(i);
        debug_assert_eq!(out.len(), k);
        if self.transposed {
            for (j, o) in out.iter_mut().enumerate() {
                self.tensor.widen(j * n + r, std::slice::from_mut(o));
            }
        } else {
            self.tensor.widen(r * k, out);
        }
    }
}
