//! An engine on whichever backend the options choose.

use super::signals::Heeding;
use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::backend::cuda::{Cuda, Gpu};
use crate::backend::reference::Reference;
use crate::engine::{Engine, Sampled, Sampler, Scorer, Several, Sink, Trace};
use crate::error::Result;
use crate::forest::{Forest, Readout};
use crate::model::{Checkpoint, ModelSpec};

/// An engine on whichever backend was chosen: the one place where the choice is a value.
pub enum AnyEngine {
    /// The processor.
    Cpu(Engine<Cpu>),
    /// Plain float64 loops.
    Float64(Engine<Reference>),
    /// A GPU, or several, or one several times.
    Cuda(Several<Engine<Cuda<Gpu>>>),
}

macro_rules! each {
    ($any:expr, $e:ident => $body:expr) => {
        match $any {
            AnyEngine::Cpu($e) => $body,
            AnyEngine::Float64($e) => $body,
            AnyEngine::Cuda($e) => $body,
        }
    };
}

impl AnyEngine {
    /// The model.
    pub fn spec(&self) -> &ModelSpec {
        each!(self, e => e.spec())
    }

    /// Its weights.
    pub fn checkpoint(&self) -> &Checkpoint {
        each!(self, e => e.checkpoint())
    }

    /// The backend with its instruction path, as fingerprints name it.
    pub fn backend(&self) -> String {
        each!(self, e => e.backend().name())
    }

    /// Rows fed so far.
    pub fn fed(&self) -> u64 {
        each!(self, e => e.fed())
    }

    /// The most rows of a wave since memory ran out; `None` where it has not.
    pub fn shrunk(&self) -> Option<usize> {
        each!(self, e => e.shrunk())
    }

    /// Bytes of weights and scratch, on all devices together.
    pub fn weight_bytes(&self) -> usize {
        each!(self, e => e.weight_bytes())
    }

    /// Bytes that scoring this would hold, on all devices together.
    ///
    /// # Errors
    /// A memory bound that not even one small wave fits.
    pub fn needed_bytes(&mut self, forest: &Forest, readout: &Readout) -> Result<usize> {
        each!(self, e => e.needed_bytes(forest, readout))
    }

    /// Sends every verb's output to `trace`; of several engines the first one's.
    pub fn set_trace(&mut self, trace: Option<Trace>) {
        each!(self, e => e.set_trace(trace))
    }
}

impl Scorer for AnyEngine {
    fn vocab(&self) -> usize {
        each!(self, e => e.vocab())
    }
    fn max_positions(&self) -> Option<usize> {
        each!(self, e => e.max_positions())
    }
    fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
        let _heeding = Heeding::new();
        each!(self, e => e.score(forest, readout, sink))
    }
}

impl Sampler for AnyEngine {
    fn width(&self) -> usize {
        each!(self, e => e.width())
    }
    fn begin(&mut self, begin: &[&[f64]], keep: bool) -> Result<()> {
        each!(self, e => e.begin(begin, keep))
    }
    fn taken(&mut self) -> Result<Vec<Sampled>> {
        each!(self, e => e.taken())
    }
    fn end(&mut self) {
        each!(self, e => e.end())
    }
}

/// Says on standard error, once for an engine, that memory ran out and waves became smaller.
pub struct Telling<'e>(pub &'e mut AnyEngine);

impl Scorer for Telling<'_> {
    fn vocab(&self) -> usize {
        self.0.vocab()
    }
    fn max_positions(&self) -> Option<usize> {
        self.0.max_positions()
    }
    fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
        let before = self.0.shrunk();
        self.0.score(forest, readout, sink)?;
        if let (None, Some(rows)) = (before, self.0.shrunk()) {
            eprintln!("note: memory ran out; waves have at most {rows} rows from now on, and the results are the same");
        }
        Ok(())
    }
}

impl Sampler for Telling<'_> {
    fn width(&self) -> usize {
        self.0.width()
    }
    fn begin(&mut self, begin: &[&[f64]], keep: bool) -> Result<()> {
        self.0.begin(begin, keep)
    }
    fn taken(&mut self) -> Result<Vec<Sampled>> {
        self.0.taken()
    }
    fn end(&mut self) {
        self.0.end()
    }
}
