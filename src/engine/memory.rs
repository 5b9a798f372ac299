//! What an engine holds in memory: packed weights, scratch, workspace, and the pages of weight files that are mapped meanwhile.

use super::rooms::{Extent, workspace_bytes};
use super::wave::MAPPED_TABLE;
use super::{Engine, weights};
use crate::backend::{Backend, Needs, SsdSizes};
use crate::error::Result;
use crate::forest::{Forest, Readout};
use crate::model::{Block, Linear, Mixer, ModelSpec, Param};
use std::collections::BTreeMap;

/// The most that an engine holds at a time, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// Allocated: weights, scratch and workspace.
    pub allocated: usize,
    /// Allocated, and mapped pages of weight files at the same moment. Pages are given back when what they hold is packed.
    pub with_mapped: usize,
}

impl<B: Backend> Engine<B> {
    /// Bytes that the engine holds besides its workspace: packed weights (all of them, or where they stream two groups) and scratch.
    pub fn weight_bytes(&self) -> usize {
        let layers = self.spec.layers.iter().map(|l| weights::layer_bytes(&self.backend, l));
        let head = weights::head_bytes(&self.backend, &self.spec);
        let scratch = self.backend.scratch_bytes(&needs(&self.spec));
        if self.streaming { scratch + (2 * layers.max().unwrap_or(0)).max(head) } else { scratch + layers.sum::<usize>() + head }
    }

    /// Bytes that scoring this would hold: weights and scratch as [`Engine::weight_bytes`], and the workspace of its waves.
    ///
    /// # Errors
    /// A memory bound that not even one small wave fits.
    pub fn needed_bytes(&self, forest: &Forest, readout: &Readout) -> Result<usize> {
        let (_, extent) = self.plan(forest, readout)?;
        Ok(self.weight_bytes() + workspace_bytes(&self.spec, extent, self.backend.block_rows()))
    }

    /// The most that waves of this extent make it hold.
    pub fn peak(&self, extent: Extent) -> Peak {
        let (backend, spec) = (&self.backend, &self.spec);
        let workspace = workspace_bytes(spec, extent, backend.block_rows());
        let scratch = backend.scratch_bytes(&needs(spec));
        let (of_head, of_layers) = (weights::head_bytes(backend, spec), || spec.layers.iter().map(|l| weights::layer_bytes(backend, l)));
        // A product's tensors lie mapped while they are packed.
        let head = self.stored(&spec.head.unembedding);
        let product = spec.layers.iter().flat_map(|l| &l.blocks).flat_map(linears).map(|l| self.stored(l)).max().unwrap_or(0);
        let table = Some(self.stored_param(&spec.embedding.tokens)).filter(|&t| t <= MAPPED_TABLE).unwrap_or(0);
        // What is allocated and what is mapped, at every stage.
        let stages = if self.streaming {
            [(2 * of_layers().max().unwrap_or(0) + scratch + workspace, product + table), (of_head + scratch + workspace, head), (0, 0)]
        } else {
            let all = of_layers().sum::<usize>() + of_head;
            [(of_head, head), (all, product), (all + scratch + workspace, table)]
        };
        let most = |of: fn(&(usize, usize)) -> usize| stages.iter().map(of).max().unwrap_or(0);
        Peak { allocated: most(|s| s.0), with_mapped: most(|s| s.0 + s.1) }
    }

    /// Bytes of a product's tensors in the files; several parts may be cut out of one tensor.
    fn stored(&self, linear: &Linear) -> usize {
        let tensors: BTreeMap<&str, &Param> = linear.parts.iter().map(|p| (p.name.as_str(), p)).collect();
        tensors.into_values().map(|p| self.stored_param(p)).sum()
    }

    fn stored_param(&self, param: &Param) -> usize {
        self.checkpoint.get(param).map_or(0, |t| t.bytes.len())
    }
}

fn linears(block: &Block) -> Vec<&Linear> {
    match &block.mixer {
        Mixer::Attention(a) => vec![&a.qkv, &a.out],
        Mixer::Mlp(m) => vec![&m.up, &m.down],
        Mixer::Mamba1(m) => vec![&m.in_proj, &m.x_proj, &m.dt_proj, &m.out_proj],
        Mixer::Mamba2(m) => vec![&m.in_proj, &m.out_proj],
    }
}

/// The largest sizes that the model asks of the verbs.
fn needs(spec: &ModelSpec) -> Needs {
    let mut needs = Needs { inputs: spec.d, vocab: spec.vocab, ..Needs::default() };
    for b in spec.layers.iter().flat_map(|l| &l.blocks) {
        let inputs = match &b.mixer {
            Mixer::Attention(a) => {
                needs.head_dim = needs.head_dim.max(a.head_dim);
                a.out.inputs
            }
            Mixer::Mlp(m) => m.down.inputs,
            Mixer::Mamba1(m) => m.out_proj.inputs,
            Mixer::Mamba2(m) => {
                let sizes = SsdSizes { heads: m.heads, head_dim: m.head_dim, groups: m.groups, d_state: m.d_state, taps: m.conv };
                if needs.ssd.is_none_or(|s| s.heads * s.head_dim < sizes.heads * sizes.head_dim) {
                    needs.ssd = Some(sizes);
                }
                m.out_proj.inputs
            }
        };
        needs.inputs = needs.inputs.max(inputs);
    }
    needs
}

/// What the system says is free, in bytes; 4 GiB where it does not say.
pub fn free_memory() -> usize {
    let of = |name: &str| -> Option<usize> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find(|l| l.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|k| k << 10)
    };
    of("MemAvailable:").unwrap_or(4 << 30)
}
