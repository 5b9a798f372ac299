//! Hidden states as samples: what a covariance is made of is summed where the states are made.
//!
//! A readout names the sample that the rows of a reading enter ([`Readout::each_sampled`]). Their states after the final norm, float32 whatever the operands of products
//! are, are added by [`Backend::accumulate`] in the order of trees and of tokens, so that neither waves nor blocks change a bit of the sums.

use super::layers::norm_op;
use super::weights::{Loader, NormWeights};
use super::{Engine, Scorer, Several, Weights};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::forest::{Forest, Readout, Wave};
use std::ops::Range;

/// What a sample holds by now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampled {
    /// Σ h, then the upper triangle of Σ h hᵀ, row after row ([`moments_len`](crate::backend::moments_len) numbers).
    pub moments: Vec<f64>,
    /// The states that came since they were last taken, one after another; empty unless they are kept.
    pub states: Vec<f32>,
}

/// A scorer that samples hidden states.
pub trait Sampler: Scorer {
    /// Numbers of a hidden state.
    fn width(&self) -> usize;

    /// From now on there are as many samples as `begin` has entries, each of which goes on from its sums (packed as in [`Sampled::moments`]; none: from zero). `keep` says whether
    /// states are kept beside. What earlier samples held is dropped.
    ///
    /// # Errors
    /// Too little memory; more than one device.
    fn begin(&mut self, begin: &[&[f64]], keep: bool) -> Result<()>;

    /// What the samples hold by now.
    ///
    /// # Errors
    /// The device fails.
    fn taken(&mut self) -> Result<Vec<Sampled>>;

    /// Drops the samples with their memory.
    fn end(&mut self);
}

/// The samples of an engine.
pub(super) struct Samples<B: Backend> {
    norm: NormWeights<B>,
    /// States of a block `[rows, d]`, float32.
    room: B::Mat,
    rows: usize,
    moments: Vec<B::Moments>,
    /// Kept states, a list a sample.
    states: Option<Vec<Vec<f32>>>,
    counts: Vec<Count>,
}

/// Rows of the forest in work that a sample has taken, and how many came: where waves are computed again, those that were taken are passed over.
#[derive(Clone, Copy, Default)]
struct Count {
    taken: usize,
    seen: usize,
}

impl<B: Backend> Samples<B> {
    /// A forest begins.
    pub fn restart(&mut self) {
        self.counts.fill(Count::default());
    }

    /// These trees of the forest in work are done with, and what is left of it begins anew.
    pub fn pass(&mut self, forest: &Forest, readout: &Readout, trees: Range<usize>) {
        for r in readout.readings().iter().filter(|r| trees.contains(&(forest.span(r.span).tree as usize))) {
            if let Some(count) = r.sample.and_then(|s| self.counts.get_mut(s as usize)) {
                count.taken -= r.tokens.len();
            }
        }
        self.counts.iter_mut().for_each(|c| c.seen = 0);
    }
}

impl<B: Backend> Engine<B> {
    /// Bytes that the samples take.
    pub(super) fn sample_bytes(&self) -> usize {
        self.samples.as_ref().map_or(0, |s| s.moments.len() * self.backend.moments_bytes(self.spec.d) + 4 * s.rows * self.spec.d)
    }

    /// Adds the states of a wave that has just been carried through the layers.
    pub(super) fn sample(&mut self, wave: &Wave) -> Result<()> {
        let Some(mut samples) = self.samples.take() else {
            let asked = wave.targets.iter().any(|t| t.sample.is_some());
            return if asked { Err(Error::input("a readout asks for samples of hidden states, and none were begun")) } else { Ok(()) };
        };
        let added = self.backend.enter(|| self.add(wave, &mut samples));
        self.samples = Some(samples);
        added
    }

    fn add(&self, wave: &Wave, samples: &mut Samples<B>) -> Result<()> {
        let Some(rooms) = &self.rooms else { return Err(Error::input("the engine has no workspace")) };
        let op = norm_op(&self.spec.head.norm, &samples.norm);
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); samples.moments.len()];
        for (i, &row) in wave.read_rows.iter().enumerate() {
            for target in &wave.targets[wave.read_ptr[i] as usize..wave.read_ptr[i + 1] as usize] {
                if let Some(sample) = target.sample {
                    let of = rows.get_mut(sample as usize);
                    of.ok_or_else(|| Error::input(format!("a readout asks for sample {sample} of hidden states, which was not begun")))?.push(row);
                }
            }
        }
        for (s, rows) in rows.iter().enumerate() {
            let count = &mut samples.counts[s];
            let again = (count.taken - count.seen).min(rows.len());
            count.seen += again;
            for block in rows[again..].chunks(samples.rows) {
                self.backend.norm_gather(&op, &rooms.residual, block, &mut samples.room)?;
                let kept = samples.states.as_ref().map(|_| self.backend.download(&samples.room, 0..block.len())).transpose()?;
                self.backend.accumulate(&samples.room, block.len(), &mut samples.moments[s])?;
                if let (Some(states), Some(kept)) = (&mut samples.states, kept) {
                    states[s].extend(kept.into_iter().map(|x| x as f32));
                }
                count.taken += block.len();
                count.seen += block.len();
            }
        }
        Ok(())
    }
}

impl<B: Backend> Sampler for Engine<B> {
    fn width(&self) -> usize {
        self.spec.d
    }

    fn begin(&mut self, begin: &[&[f64]], keep: bool) -> Result<()> {
        self.samples = None;
        let (rows, d) = (self.backend.block_rows(), self.spec.d);
        let bytes = begin.len() * self.backend.moments_bytes(d) + 4 * rows * d;
        if self.weight_bytes() + bytes > self.memory && self.options.weights == Weights::Auto {
            self.streaming = true;
            (self.packed, self.head) = (None, None);
        }
        if self.weight_bytes() + bytes > self.memory {
            let mib = |b: usize| b.div_ceil(1 << 20);
            return Err(Error::input(format!(
                "sums over {1} samples of hidden states of {d} numbers take {0} MiB, and {2} MiB of memory are left for them; give --memory more",
                mib(bytes),
                begin.len(),
                mib(self.memory.saturating_sub(self.weight_bytes()))
            )));
        }
        let backend = &self.backend;
        let loader = Loader { backend, checkpoint: &self.checkpoint };
        let samples = backend.enter(|| -> Result<_> {
            Ok(Samples {
                norm: loader.norm(&self.spec.head.norm)?,
                room: backend.mat(rows, d)?,
                rows,
                moments: begin.iter().map(|values| backend.moments(d, values)).collect::<Result<_>>()?,
                states: keep.then(|| vec![Vec::new(); begin.len()]),
                counts: vec![Count::default(); begin.len()],
            })
        })?;
        self.samples = Some(samples);
        Ok(())
    }

    fn taken(&mut self) -> Result<Vec<Sampled>> {
        let Some(samples) = &mut self.samples else { return Ok(Vec::new()) };
        let mut states = samples.states.as_mut().map(|all| all.iter_mut().map(std::mem::take).collect::<Vec<_>>()).unwrap_or_default().into_iter();
        let backend = &self.backend;
        samples.moments.iter().map(|m| Ok(Sampled { moments: backend.moments_taken(m)?, states: states.next().unwrap_or_default() })).collect()
    }

    fn end(&mut self) {
        self.samples = None;
    }
}

impl<B: Backend> Several<Engine<B>> {
    fn only(&mut self) -> Result<&mut Engine<B>> {
        if self.scorers().len() > 1 {
            return Err(Error::input("hidden states are sampled on one device, since sums over parts of them would end in other bits; name one with --device"));
        }
        Ok(self.first_mut())
    }
}

impl<B: Backend> Sampler for Several<Engine<B>> {
    fn width(&self) -> usize {
        self.spec().d
    }

    fn begin(&mut self, begin: &[&[f64]], keep: bool) -> Result<()> {
        self.only()?.begin(begin, keep)
    }

    fn taken(&mut self) -> Result<Vec<Sampled>> {
        self.only()?.taken()
    }

    fn end(&mut self) {
        self.first_mut().end();
    }
}
