//! What an engine holds in memory: packed weights, scratch, workspace, and the pages of weight files that are mapped meanwhile.

use super::rooms::{Extent, workspace_bytes};
use super::wave::MAPPED_TABLE;
use super::{Engine, weights};
use crate::backend::{Backend, Needs, SsdSizes};
use crate::error::Result;
use crate::forest::{Forest, Readout};
use crate::model::{Layer, Linear, Mixer, ModelSpec, Param};
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
    /// Bytes that the engine holds besides its workspace: packed weights (all of them, or where they stream two groups), scratch, and sums over hidden states.
    pub fn weight_bytes(&self) -> usize {
        let layers = self.spec.layers.iter().map(|l| weights::layer_bytes(&self.backend, l));
        let head = weights::head_bytes(&self.backend, &self.spec);
        let scratch = self.backend.scratch_bytes(&needs(&self.spec)) + self.sample_bytes();
        if self.streaming { scratch + (2 * layers.max().unwrap_or(0)).max(head) } else { scratch + layers.sum::<usize>() + head }
    }

    /// What the waves of this would need at the most. Where they do not fit beside all the weights, these stream from now on, if they may.
    ///
    /// # Errors
    /// A memory bound that not even one small wave fits; more positions than the model has.
    pub fn extent(&mut self, forest: &Forest, readout: &Readout) -> Result<Extent> {
        let (waves, extent) = self.plan(forest, readout)?;
        self.check(forest, &waves)?;
        Ok(extent)
    }

    /// Bytes that scoring this would hold: weights and scratch as [`Engine::weight_bytes`], and the workspace of its waves. Weights stream as for [`Engine::extent`].
    ///
    /// # Errors
    /// A memory bound that not even one small wave fits.
    pub fn needed_bytes(&mut self, forest: &Forest, readout: &Readout) -> Result<usize> {
        let (_, extent) = self.plan(forest, readout)?;
        Ok(self.weight_bytes() + workspace_bytes(&self.backend, &self.spec, extent))
    }

    /// The most that waves of this extent make it hold.
    pub fn peak(&self, extent: Extent) -> Peak {
        let (backend, spec) = (&self.backend, &self.spec);
        let beside = workspace_bytes(backend, spec, extent) + backend.scratch_bytes(&needs(spec));
        let head = weights::head_bytes(backend, spec);
        let packing_head = head + self.stored(&spec.head.unembedding);
        let layers = spec.layers.iter().map(|l| (weights::layer_bytes(backend, l), self.packing_bytes(l)));
        let table = Some(self.stored_param(&spec.embedding.tokens)).filter(|&t| t <= MAPPED_TABLE).unwrap_or(0);
        // Allocated, and with what is mapped, at every stage.
        let stages = if self.streaming {
            let (layer, packing) = layers.fold((0, 0), |most, l| (most.0.max(l.0), most.1.max(l.1)));
            vec![(2 * layer + beside, layer + packing + table + beside), (head + beside, packing_head + beside)]
        } else {
            let (all, packing) = layers.fold((head, packing_head), |(before, most), l| (before + l.0, most.max(before + l.1)));
            vec![(all, packing), (all + beside, all + table + beside)]
        };
        let most = |of: fn(&(usize, usize)) -> usize| stages.iter().map(of).max().unwrap_or(0);
        Peak { allocated: most(|s| s.0), with_mapped: most(|s| s.0.max(s.1)) }
    }

    /// The most that is allocated or mapped while a layer is packed: each product beside those before it, its tensors mapped.
    fn packing_bytes(&self, layer: &Layer) -> usize {
        let linears = layer.blocks.iter().flat_map(|b| b.mixer.linears());
        let (_, most) = linears.fold((0, 0), |(before, most), l| {
            let packed = before + self.backend.weight_bytes(l.inputs, l.outputs);
            (packed, most.max(packed + self.stored(l)))
        });
        most
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

/// The largest sizes that the model asks of the verbs.
fn needs(spec: &ModelSpec) -> Needs {
    let mut needs = Needs { inputs: spec.d, vocab: spec.vocab, ..Needs::default() };
    for b in spec.layers.iter().flat_map(|l| &l.blocks) {
        let inputs = match &b.mixer {
            Mixer::Attention(a) => {
                needs.head_dim = needs.head_dim.max(a.head_dim);
                needs.v_head_dim = needs.v_head_dim.max(a.v_head_dim);
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
    told("/proc/meminfo", "MemAvailable:").unwrap_or(4 << 30)
}

/// Bytes that this process has allocated, and bytes of files that it has mapped, of which the program itself is one; 0 where the system does not say.
pub fn own_memory() -> (usize, usize) {
    let of = |name| told("/proc/self/status", name).unwrap_or(0);
    (of("RssAnon:"), of("RssFile:"))
}

/// An amount of memory out of one of the system's tables, whose lines are a name and a number of KiB.
fn told(table: &str, name: &str) -> Option<usize> {
    let text = std::fs::read_to_string(table).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<usize>().ok().map(|k| k << 10)
}
