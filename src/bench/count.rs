//! What must be computed: operations and exponentials of a model over a text, counted from its sizes.

use super::Ceilings;
use crate::activation::Activation;
use crate::model::{Linear, Mixer, ModelSpec};
use std::ops::{Add, Mul};

/// What a contract says must be computed and moved.
///
/// *Products* are the additions and multiplications of products with weights, the head's among them: 2 · rows · inputs · outputs.
///
/// *Mixing* is those that bring rows together, float32 in every precision:
/// - causal attention: 2 · head size for q·k and as many for p·v, for each query head and each pair of a row and a position that it sees (the causal
///   triangle, diagonal included, cut by a sliding window);
/// - scans: 6 a state number and token (Δ·A, two for e^(ΔA)·h + ΔB·x with ΔB·x one more, two for C·h); Mamba-2 likewise, as the recurrence.
///
/// *Exponentials* are one for each score of attention, each logit (the log-sum-exp), each value of SiLU, GELU (an erf or tanh has one), and softplus, and one
/// for e^(ΔA): a state number and token of Mamba-1, a head and token of Mamba-2.
///
/// Not counted: norms, rotary embedding, convolutions, gathers, divisions, logarithms, everything that is moved. A bound from operations and exponentials
/// is therefore a little below what any program can reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Work {
    /// Additions and multiplications of products with weights.
    pub products: f64,
    /// Additions and multiplications of attention and scans.
    pub mixing: f64,
    /// Exponentials.
    pub exps: f64,
    /// Bytes of activations and weights, each read or written once.
    pub bytes: f64,
}

impl Add for Work {
    type Output = Work;
    fn add(self, o: Work) -> Work {
        Work { products: self.products + o.products, mixing: self.mixing + o.mixing, exps: self.exps + o.exps, bytes: self.bytes + o.bytes }
    }
}

impl Mul<f64> for Work {
    type Output = Work;
    fn mul(self, x: f64) -> Work {
        Work { products: x * self.products, mixing: x * self.mixing, exps: x * self.exps, bytes: x * self.bytes }
    }
}

impl Work {
    /// A product: rows × inputs × outputs.
    pub fn product(rows: usize, inputs: usize, outputs: usize) -> Work {
        Work { products: 2.0 * rows as f64 * inputs as f64 * outputs as f64, ..Work::default() }
    }

    /// As many exponentials of an activation's values.
    pub fn activation(kind: Activation, values: f64) -> Work {
        let exps = match kind {
            Activation::None | Activation::Relu | Activation::Relu2 => 0.0,
            Activation::Silu | Activation::Gelu | Activation::GeluTanh => values,
        };
        Work { exps, ..Work::default() }
    }

    /// Causal attention of a text's first `rows` tokens over themselves.
    /// `widths` are those of a head: of queries and keys, and of values.
    pub fn attention(rows: usize, heads: usize, widths: [usize; 2], window: Option<usize>) -> Work {
        let seen = window.unwrap_or(rows).min(rows) as f64;
        // 1 + 2 + … + seen, then `seen` for each row after.
        let pairs = seen * (seen + 1.0) / 2.0 + (rows as f64 - seen) * seen;
        Work::pairs(pairs, heads, widths)
    }

    /// Attention for so many pairs of a row and a position that it sees.
    fn pairs(pairs: f64, heads: usize, [head_dim, v_head_dim]: [usize; 2]) -> Work {
        Work { mixing: 2.0 * pairs * (heads * (head_dim + v_head_dim)) as f64, exps: pairs * heads as f64, ..Work::default() }
    }

    /// Mamba-1's scan of `rows` tokens, softplus and gate among it.
    pub fn scan(rows: usize, d_inner: usize, d_state: usize, gate: Activation) -> Work {
        let (numbers, width) = ((rows * d_inner * d_state) as f64, (rows * d_inner) as f64);
        Work { mixing: 6.0 * numbers, exps: numbers + width, ..Work::default() } + Work::activation(gate, width)
    }

    /// Mamba-2's recurrence over `rows` tokens, softplus among it.
    pub fn ssd(rows: usize, heads: usize, head_dim: usize, d_state: usize) -> Work {
        Work { mixing: 6.0 * (rows * heads * head_dim * d_state) as f64, exps: 2.0 * (rows * heads) as f64, ..Work::default() }
    }

    /// The head: a product and a log-sum-exp of every row.
    pub fn head(rows: usize, inputs: usize, vocab: usize) -> Work {
        Work { exps: rows as f64 * vocab as f64, ..Work::product(rows, inputs, vocab) }
    }

    /// All tokens' log-probabilities of one text of `tokens` tokens, the first of which is predicted by nothing and the last of which is never fed.
    pub fn text(spec: &ModelSpec, tokens: usize) -> Work {
        let rows = tokens.saturating_sub(1);
        let positions: Vec<u32> = (0..rows as u32).collect();
        Work::rows(spec, &positions, rows)
    }

    /// Rows fed at these positions of their paths, of which `read` ask the head for log-probabilities.
    pub fn rows(spec: &ModelSpec, positions: &[u32], read: usize) -> Work {
        let rows = positions.len();
        let wide = rows as f64;
        let linear = |l: &Linear| Work::product(rows, l.inputs, l.outputs);
        spec.layers.iter().flat_map(|l| &l.blocks).fold(Work::head(read, spec.d, spec.vocab), |sum, b| {
            sum + match &b.mixer {
                Mixer::Attention(a) => {
                    let pairs: u64 = positions.iter().map(|&p| (p as u64 + 1).min(a.window.map_or(u64::MAX, |w| w as u64))).sum();
                    linear(&a.qkv) + linear(&a.out) + Work::pairs(pairs as f64, a.heads, [a.head_dim, a.v_head_dim])
                }
                Mixer::Mlp(m) => linear(&m.up) + linear(&m.down) + Work::activation(m.activation, wide * m.width as f64),
                Mixer::Mamba1(m) => {
                    [&m.in_proj, &m.x_proj, &m.dt_proj, &m.out_proj].into_iter().fold(Work::default(), |s, l| s + linear(l))
                        + Work::activation(m.activation, wide * m.d_inner as f64)
                        + Work::scan(rows, m.d_inner, m.d_state, m.activation)
                }
                Mixer::Mamba2(m) => {
                    let convolved = wide * (m.d_inner + 2 * m.groups * m.d_state) as f64;
                    linear(&m.in_proj)
                        + linear(&m.out_proj)
                        + Work::activation(m.activation, convolved + wide * m.d_inner as f64)
                        + Work::ssd(rows, m.heads, m.head_dim, m.d_state)
                }
            }
        })
    }

    /// Additions and multiplications, all of them.
    pub fn operations(&self) -> f64 {
        self.products + self.mixing
    }

    /// The model bound: seconds if all operations run at the product ceiling and exponentials at theirs, one after the other. Where products are faster
    /// than float32 multiply-adds (bfloat16), mixing runs at the peak of these.
    pub fn bound_seconds(&self, at: &Ceilings) -> f64 {
        self.products / at.product + self.mixing / at.product.min(at.fma) + self.exps / at.exp
    }

    /// The least seconds of a verb: operations at the peak of multiply-adds (products at the product ceiling where that is higher) and exponentials at
    /// theirs, and meanwhile the bytes moved as a copy moves them.
    pub fn least_seconds(&self, at: &Ceilings) -> f64 {
        (self.products / at.product.max(at.fma) + self.mixing / at.fma + self.exps / at.exp).max(self.bytes / at.copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_of_a_row_and_what_it_sees() {
        // 1 + 2 + 3 + 4 pairs; with a window of 2: 1 + 2 + 2 + 2.
        assert_eq!(Work::attention(4, 3, [8, 8], None), Work { mixing: 4.0 * 10.0 * 24.0, exps: 30.0, ..Work::default() });
        assert_eq!(Work::attention(4, 3, [8, 4], None).mixing, 10.0 * 3.0 * (16.0 + 8.0));
        assert_eq!(Work::attention(4, 3, [8, 8], Some(2)).exps, 21.0);
        assert_eq!(Work::attention(4, 3, [8, 8], Some(100)), Work::attention(4, 3, [8, 8], None));
    }

    #[test]
    fn bounds_are_sums_and_maxima() {
        let at = Ceilings { fma: 100.0, product: 50.0, exp: 10.0, copy: 5.0 };
        let work = Work { products: 150.0, mixing: 50.0, exps: 30.0, bytes: 50.0 };
        assert_eq!(work.bound_seconds(&at), 7.0);
        assert_eq!(work.least_seconds(&at), 10.0);
        assert_eq!(work.least_seconds(&Ceilings { copy: 500.0, ..at }), 5.0);
        // Products of half the width at four times the rate: 150 / 400, but 50 / 100.
        assert_eq!(work.bound_seconds(&Ceilings { product: 400.0, ..at }), 0.375 + 0.5 + 3.0);
        assert_eq!((work * 0.5 + Work::product(2, 3, 5)).operations(), 160.0);
    }
}
