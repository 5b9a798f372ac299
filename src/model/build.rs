//! The words in which a family file says its blocks.

use std::fmt::Display;

use super::spec::{Linear, Norm, NormKind, Param};
use crate::tensor::RowMap;

/// Whether a projection adds a bias.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bias {
    /// `name.weight` alone.
    Without,
    /// `name.weight` and `name.bias`.
    With,
}

impl From<bool> for Bias {
    fn from(b: bool) -> Self {
        if b { Bias::With } else { Bias::Without }
    }
}

/// Names below a prefix: `model.layers.3` and what is in it.
#[derive(Clone, Debug)]
pub struct Names(String);

impl Names {
    /// The names that start with `prefix.`.
    pub fn under(prefix: impl Display) -> Self {
        Names(format!("{prefix}."))
    }

    /// The names without prefix.
    pub fn root() -> Self {
        Names(String::new())
    }

    /// A tensor of any shape.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Param {
        Param { name: format!("{}{name}", self.0), shape: shape.to_vec(), transposed: false, rows: RowMap::All }
    }

    /// `name.weight [outputs, inputs]`, and `name.bias [outputs]`.
    pub fn linear(&self, name: &str, outputs: usize, inputs: usize, bias: Bias) -> Linear {
        let weight = self.tensor(&format!("{name}.weight"), &[outputs, inputs]);
        self.with_bias(name, weight, outputs, inputs, bias)
    }

    /// The same lying as `[inputs, outputs]`: GPT-2's Conv1D, which always has a bias.
    pub fn conv1d(&self, name: &str, outputs: usize, inputs: usize) -> Linear {
        let weight = Param { transposed: true, ..self.tensor(&format!("{name}.weight"), &[inputs, outputs]) };
        self.with_bias(name, weight, outputs, inputs, Bias::With)
    }

    fn with_bias(&self, name: &str, weight: Param, outputs: usize, inputs: usize, bias: Bias) -> Linear {
        let biases = match bias {
            Bias::Without => vec![],
            Bias::With => vec![Some(self.tensor(&format!("{name}.bias"), &[outputs]))],
        };
        Linear { parts: vec![weight], biases, inputs, outputs }
    }

    /// `name.weight [d]`.
    pub fn rms(&self, name: &str, d: usize, eps: f32) -> Norm {
        Norm { kind: NormKind::Rms, weight: self.tensor(&format!("{name}.weight"), &[d]), bias: None, eps }
    }

    /// `name.weight [d]` and `name.bias [d]`.
    pub fn layer_norm(&self, name: &str, d: usize, eps: f32) -> Norm {
        Norm { kind: NormKind::Layer, bias: Some(self.tensor(&format!("{name}.bias"), &[d])), ..self.rms(name, d, eps) }
    }
}

impl Linear {
    /// One product whose outputs are those of `parts` one after another; all have the same inputs.
    pub fn stacked(parts: Vec<Linear>) -> Linear {
        let inputs = parts[0].inputs;
        let outputs = parts.iter().map(|p| p.outputs).sum();
        let biased = parts.iter().any(|p| !p.biases.is_empty());
        let (mut weights, mut biases) = (vec![], vec![]);
        for part in parts {
            let n = part.parts.len();
            weights.extend(part.parts);
            if biased {
                biases.extend(if part.biases.is_empty() { vec![None; n] } else { part.biases });
            }
        }
        Linear { parts: weights, biases, inputs, outputs }
    }

    /// A matrix without bias as a product: the unembedding.
    pub fn matrix(weight: Param) -> Linear {
        let (outputs, inputs) = (weight.shape[0], weight.shape[1]);
        Linear { parts: vec![weight], biases: vec![], inputs, outputs }
    }

    /// `parts` views of one fused projection that lies as `[heads][parts][head_dim]`, outputs ordered part by part (GPT-NeoX).
    pub fn per_head(fused: Linear, parts: usize, head_dim: usize) -> Linear {
        let view = |p: &Param, part| Param { rows: RowMap::PerHead { part, parts, head_dim }, ..p.clone() };
        Linear {
            parts: (0..parts).flat_map(|i| fused.parts.iter().map(move |p| view(p, i))).collect(),
            biases: (0..parts).flat_map(|i| fused.biases.iter().map(move |b| b.as_ref().map(|p| view(p, i)))).collect(),
            ..fused
        }
    }
}
