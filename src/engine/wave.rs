//! One wave through the layers and the head.

use super::layers::{At, Watch, norm_op};
use super::rooms::{Extent, Rooms};
use super::weights::{BlockWeights, Loader};
use super::{Engine, HeadWeights, Trace};
use crate::backend::{Backend, HeadOp, OnDevice};
use crate::error::{Error, Result};
use crate::forest::{TokenId, Wave};
use crate::model::{Block, Residual};
use crate::tensor::Tensor;
use std::ops::Range;

/// Bytes up to which an embedding's rows are read where they are mapped, all of it in the end; those of larger ones are read from the file.
pub(super) const MAPPED_TABLE: usize = 16 << 20;

/// What the head says of a wave's targets.
pub(super) struct Said {
    /// ln q.
    pub logs: Vec<f32>,
    /// Whether each is greedy; `None` where no slot asks.
    pub greedy: Option<Vec<bool>>,
}

/// Sends what verbs write to a trace.
struct Tap<'a, B: Backend> {
    backend: &'a B,
    trace: &'a mut Trace,
}

impl<B: Backend> Watch<B> for Tap<'_, B> {
    fn see(&mut self, name: &str, mat: &B::Mat, rows: Range<usize>) -> Result<()> {
        let n = rows.len();
        let values = self.backend.download(mat, rows)?;
        (self.trace)(name, &values, values.len() / n.max(1));
        Ok(())
    }
}

impl<B: Backend> Engine<B> {
    /// Buffers and rotary tables for this extent, weights where they are kept.
    pub(super) fn prepare(&mut self, extent: Extent) -> Result<()> {
        let fits = |have: &Rooms<B>| {
            let h = have.extent;
            h.rows >= extent.rows && h.states >= extent.states && h.resident_rows >= extent.resident_rows && h.resident_states >= extent.resident_states
        };
        if !self.rooms.as_ref().is_some_and(fits) {
            self.rooms = None;
            self.rooms = Some(Rooms::new(&self.backend, &self.spec, extent)?);
        }
        self.turn(extent.positions)?;
        if !self.streaming && self.packed.is_none() {
            let (backend, spec) = (&self.backend, &self.spec);
            let loader = Loader { backend, checkpoint: &self.checkpoint };
            // The head first: it is the largest, and in the file it lies mapped while it is packed.
            self.head = Some(self.pack_head()?);
            self.packed = Some(backend.enter(|| spec.layers.iter().map(|l| loader.layer(l)).collect::<Result<_>>())?);
            backend.arrive()?;
        }
        Ok(())
    }

    fn pack_head(&self) -> Result<HeadWeights<B>> {
        let loader = Loader { backend: &self.backend, checkpoint: &self.checkpoint };
        self.backend.enter(|| Ok(HeadWeights { norm: loader.norm(&self.spec.head.norm)?, unembedding: loader.linear(&self.spec.head.unembedding)? }))
    }

    /// What the head says of every target of the wave, in the wave's order.
    pub(super) fn run(&mut self, wave: &Wave) -> Result<Said> {
        let (rooms, trace) = (self.rooms.take(), self.trace.take());
        let Some(mut rooms) = rooms else { return Err(Error::input("the engine has no workspace")) };
        let mut trace = trace;
        let this = &*self;
        let result = this.backend.enter(|| this.through(wave, &mut rooms, &mut trace));
        self.rooms = Some(rooms);
        self.trace = trace;
        result
    }

    fn through(&self, wave: &Wave, rooms: &mut Rooms<B>, trace: &mut Option<Trace>) -> Result<Said> {
        let backend = &self.backend;
        let tables = backend.tables(wave)?;
        let loader = Loader { backend, checkpoint: &self.checkpoint };
        let embedding = &self.spec.embedding;
        let learned = embedding.positions.as_ref().map(|p| self.checkpoint.get(p)).transpose()?;
        let table = self.checkpoint.get(&embedding.tokens)?;
        for first in (0..wave.tokens.len()).step_by(backend.block_rows()) {
            let block = first..wave.tokens.len().min(first + backend.block_rows());
            let (tokens, positions) = (&wave.tokens[block.clone()], &wave.positions[block.clone()]);
            if table.bytes.len() <= MAPPED_TABLE {
                backend.embed(tokens, positions, &table, learned.as_ref(), &mut rooms.residual, first)?;
            } else {
                let rows = self.checkpoint.gather(&embedding.tokens, tokens)?;
                let table = Tensor { bytes: &rows, shape: vec![block.len(), self.spec.d], ..table };
                let each: Vec<TokenId> = (0..block.len() as TokenId).collect();
                backend.embed(&each, positions, &table, learned.as_ref(), &mut rooms.residual, first)?;
            }
        }
        if let Some(t) = trace {
            Tap { backend, trace: t }.see("embed", &rooms.residual, 0..wave.tokens.len())?;
        }
        if let Some(packed) = &self.packed {
            for (l, weights) in packed.iter().enumerate() {
                self.stopped()?;
                self.layer(l, weights, wave, &tables, rooms, trace)?;
            }
        } else {
            // The next layer is packed while this one computes.
            let mut next = self.spec.layers.first().map(|l| loader.layer(l)).transpose()?;
            for l in 0..self.spec.layers.len() {
                self.stopped()?;
                let Some(weights) = next.take() else { break };
                // The layer before this one is done with, and its weights are dropped.
                backend.arrive()?;
                let (done, packed) =
                    rayon::join(|| self.layer(l, &weights, wave, &tables, rooms, trace), || self.spec.layers.get(l + 1).map(|n| loader.layer(n)).transpose());
                done?;
                next = packed?;
            }
        }
        match &self.head {
            Some(head) => self.read(head, wave, rooms, trace),
            None => {
                let head = self.pack_head()?;
                backend.arrive()?;
                self.read(&head, wave, rooms, trace)
            }
        }
    }

    fn layer(&self, l: usize, weights: &[BlockWeights<B>], wave: &Wave, tables: &B::Tables, rooms: &mut Rooms<B>, trace: &mut Option<Trace>) -> Result<()> {
        let (backend, layer) = (&self.backend, &self.spec.layers[l]);
        let (rows, step) = (wave.tokens.len(), backend.block_rows());
        for first in (0..rows).step_by(step) {
            let block = first..rows.min(first + step);
            let at = At { backend, on: OnDevice { wave, tables }, block: block.clone() };
            let parallel = layer.residual == Residual::Parallel;
            if parallel {
                // Every block reads the layer's input, so all norms come before the first addition.
                for (b, n) in layer.blocks.iter().zip(0..) {
                    backend.norm(&norm_op(&b.norm, &weights[n].norm), &rooms.residual, first, block.len(), &mut rooms.normed[n])?;
                }
            }
            for (n, b) in layer.blocks.iter().enumerate() {
                let mut tap = trace.as_mut().map(|t| Tap { backend, trace: t });
                let mut watch = tap.as_mut().map(|t| t as &mut dyn Watch<B>);
                let which = if parallel { n } else { 0 };
                if !parallel {
                    backend.norm(&norm_op(&b.norm, &weights[n].norm), &rooms.residual, first, block.len(), &mut rooms.normed[0])?;
                }
                if let Some(w) = &mut watch {
                    w.see(&format!("{}.norm", b.name), &rooms.normed[which], 0..block.len())?;
                }
                let rope = self.rope_of[l][n].and_then(|i| self.ropes[i].table.as_ref());
                let room = rooms.of[l][n];
                at.mix(
                    &b.name,
                    &b.mixer,
                    &weights[n],
                    rope,
                    &rooms.normed[which],
                    &mut rooms.rooms[room],
                    &mut rooms.kept[l][n],
                    &mut rooms.residual,
                    &mut watch,
                )?;
            }
        }
        if !wave.keeps.is_empty() {
            let at = At { backend, on: OnDevice { wave, tables }, block: 0..rows };
            for (n, b) in layer.blocks.iter().enumerate() {
                let room = rooms.of[l][n];
                at.keep(&b.mixer, &rooms.rooms[room], &mut rooms.kept[l][n])?;
            }
        }
        debug_assert!(layer.blocks.iter().filter(|b: &&Block| b.mixer.owns_history()).count() <= 1);
        Ok(())
    }

    fn read(&self, head: &HeadWeights<B>, wave: &Wave, rooms: &mut Rooms<B>, trace: &mut Option<Trace>) -> Result<Said> {
        let backend = &self.backend;
        let spec = &self.spec.head;
        let op = HeadOp { softcap: spec.softcap, scale: spec.scale };
        let mut logs = Vec::with_capacity(wave.targets.len());
        let mut greedy = wave.targets.iter().any(|t| t.greedy).then(|| Vec::with_capacity(wave.targets.len()));
        let step = backend.block_rows().min(rooms.extent.rows.max(1));
        for first in (0..wave.read_rows.len()).step_by(step) {
            self.stopped()?;
            let rows = first..wave.read_rows.len().min(first + step);
            backend.norm_gather(&norm_op(&spec.norm, &head.norm), &rooms.residual, &wave.read_rows[rows.clone()], &mut rooms.normed[0])?;
            if let Some(t) = trace {
                Tap { backend, trace: t }.see("head.norm", &rooms.normed[0], 0..rows.len())?;
            }
            let base = wave.read_ptr[rows.start];
            let ptr: Vec<u32> = wave.read_ptr[rows.start..=rows.end].iter().map(|p| p - base).collect();
            let targets: Vec<TokenId> = wave.targets[base as usize..wave.read_ptr[rows.end] as usize].iter().map(|t| t.token).collect();
            let (weight, bias) = (&head.unembedding.weight, head.unembedding.bias.as_ref());
            backend.head(&op, &rooms.normed[0], rows.len(), weight, bias, &ptr, &targets, &mut logs, greedy.as_mut())?;
        }
        if let Some(t) = trace {
            let wide: Vec<f64> = logs.iter().map(|&x| x as f64).collect();
            t("head.logprob", &wide, 1);
        }
        Ok(Said { logs, greedy })
    }
}
