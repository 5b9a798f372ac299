//! The layer-major loop, and the interface that everything which scores forests answers.
//!
//! A wave of many trees is carried through layer 0, then layer 1, and so on; a layer's history is recycled for the next, so
//! memory does not grow with depth and weights are touched once a wave. Inside a layer the rows are walked in blocks, in forest
//! order: every row's ancestors come before it.
//!
//! ```no_run
//! use hilberg::engine::{Engine, Options, Scorer, Values, score_lists};
//! use hilberg::backend::cpu::Cpu;
//! use hilberg::forest::{Forest, Readout};
//! use hilberg::model;
//!
//! let (spec, checkpoint) = model::open("models/llama".as_ref(), &Default::default())?;
//! let mut engine = Engine::new(Cpu::new(None)?, spec, checkpoint, Options::default())?;
//!
//! // Plain lists: ln q of every token but the first of each list.
//! let logprobs = score_lists(&mut engine, &[vec![1, 15, 27, 4], vec![1, 99]])?;
//!
//! // A prompt with two continuations: the prompt is computed once.
//! let (mut forest, mut readout) = (Forest::new(), Readout::new());
//! let prompt = forest.root(&[1, 15, 27])?;
//! let mut sums = Vec::new();
//! for continuation in [[4, 8], [5, 9]] {
//!     let branch = forest.branch(prompt, 3, &continuation)?;
//!     sums.push(readout.sum(&forest, branch, 0..2)?);
//! }
//! let mut values = Values::new(&readout);
//! engine.score(&forest, &readout, &mut values)?;
//! println!("{logprobs:?} {} {}", values.sum(sums[0]), values.sum(sums[1]));
//! # Ok::<(), hilberg::Error>(())
//! ```

mod layers;
mod memory;
mod rooms;
mod samples;
mod score;
mod scorer;
mod several;
mod wave;
mod weights;

pub use memory::{Peak, free_memory, own_memory};
pub use rooms::{Extent, workspace_bytes};
pub use samples::{Sampled, Sampler};
pub use scorer::{Scorer, Sink, Values, score_lists};
pub use several::Several;

use crate::backend::{Backend, SSD_CHUNK};
use crate::error::{Error, Result};
use crate::forest::{Cut, Forest, Readout, Wave, Waves};
use crate::model::{Block, Checkpoint, Mixer, ModelSpec, Rope};
use rooms::{Rooms, ropes};
use samples::Samples;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use weights::{BlockWeights, Lin, NormWeights};

/// Rows of a wave where neither memory nor a larger tree says otherwise. With weights kept packed larger waves gain nothing on a CPU: a block's
/// rows already hide their traffic.
pub const WAVE_ROWS: usize = 4096;

/// Fewer rows of a wave are not tried where memory is short.
const LEAST_ROWS: usize = 128;

/// Whether weights stay packed from wave to wave. It makes no difference to what is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weights {
    /// They stay where all of them and a wave fit the memory, and are packed anew for each wave where not.
    #[default]
    Auto,
    /// They stay; where they do not fit, that is an error.
    Resident,
    /// They are packed anew for each wave, whether or not they fit.
    Stream,
}

/// How an engine runs.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Bound on what the engine allocates, in bytes, mapped weights apart; `None`: four fifths of what the machine has free.
    pub memory: Option<usize>,
    /// Whether weights stay packed.
    pub weights: Weights,
    /// Rows of a wave; `None`: [`WAVE_ROWS`] or [`Backend::streaming_rows`].
    pub wave_rows: Option<usize>,
    /// Set from outside to end the work early with [`Error::Interrupted`].
    pub stop: Option<Arc<AtomicBool>>,
}

/// What a trace receives: the verb's name, its rows' numbers and their width.
pub type Trace = Box<dyn FnMut(&str, &[f64], usize) + Send + Sync>;

/// A model on a backend.
pub struct Engine<B: Backend> {
    backend: B,
    spec: ModelSpec,
    checkpoint: Checkpoint,
    options: Options,
    memory: usize,
    /// Everything packed, where it fits.
    packed: Option<Vec<Vec<BlockWeights<B>>>>,
    head: Option<HeadWeights<B>>,
    streaming: bool,
    rooms: Option<Rooms<B>>,
    ropes: Vec<Turning<B>>,
    /// `[layer][block]` → index into `ropes`.
    rope_of: Vec<Vec<Option<usize>>>,
    trace: Option<Trace>,
    fed: u64,
    /// Where memory ran out: the most rows of a wave since then.
    shrunk: Option<usize>,
    samples: Option<Samples<B>>,
}

struct HeadWeights<B: Backend> {
    norm: NormWeights<B>,
    unembedding: Lin<B>,
}

/// A rotary embedding with its table, grown as positions ask for it.
struct Turning<B: Backend> {
    rope: Rope,
    table: Option<B::Mat>,
    positions: usize,
}

impl<B: Backend> Engine<B> {
    /// Puts a model on a backend. Weights are packed when the first forest comes.
    ///
    /// # Errors
    /// A memory bound into which not even one row fits beside the weights, all of them where they are to stay.
    pub fn new(backend: B, spec: ModelSpec, checkpoint: Checkpoint, options: Options) -> Result<Self> {
        let memory = options.memory.unwrap_or_else(|| free_memory() / 5 * 4);
        let all = ropes(&spec);
        let of = |b: &Block| match &b.mixer {
            Mixer::Attention(a) => a.rope.as_ref().and_then(|r| all.iter().position(|t| *t == r)),
            _ => None,
        };
        let rope_of = spec.layers.iter().map(|l| l.blocks.iter().map(of).collect()).collect();
        let ropes = all.into_iter().map(|rope| Turning { rope: rope.clone(), table: None, positions: 0 }).collect();
        let (packed, head, rooms, trace, shrunk, samples) = (None, None, None, None, None, None);
        let mut engine =
            Engine { backend, spec, checkpoint, options, memory, packed, head, streaming: false, rooms, ropes, rope_of, trace, fed: 0, shrunk, samples };
        let wave = |rows, states| workspace_bytes(&engine.backend, &engine.spec, Extent { rows, states, ..Extent::default() });
        let (row, small) = (wave(1, 0), wave(engine.backend.block_rows(), 16));
        engine.streaming = match engine.options.weights {
            Weights::Auto => engine.weight_bytes() + small > memory,
            Weights::Resident => false,
            Weights::Stream => true,
        };
        if engine.weight_bytes() + row > memory { Err(engine.too_large(row)) } else { Ok(engine) }
    }

    fn too_large(&self, workspace: usize) -> Error {
        let mib = |b: usize| b.div_ceil(1 << 20);
        Error::input(format!(
            "this model needs {} MiB for its weights and {} MiB for a small wave, but {} MiB of memory are left for them; give --memory more{}",
            mib(self.weight_bytes()),
            mib(workspace),
            mib(self.memory),
            if self.streaming { "" } else { ", or let weights stream (--weights stream)" }
        ))
    }

    /// The model.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Its weights.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The device.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Rows fed through the layers so far.
    pub fn fed(&self) -> u64 {
        self.fed
    }

    /// The most rows of a wave since memory ran out, though it should have been enough by the bound; `None` where that has not happened.
    pub fn shrunk(&self) -> Option<usize> {
        self.shrunk
    }

    /// Calls `trace` with the output of every verb from now on; where memory runs out, with that of the wave that begins anew once more.
    pub fn set_trace(&mut self, trace: Option<Trace>) {
        self.trace = trace;
    }

    /// How this model's waves must be cut.
    pub fn cut(&self, rows: usize) -> Cut {
        cut(&self.spec, rows)
    }

    /// Whether weights are packed anew for each wave.
    pub fn streaming(&self) -> bool {
        self.streaming
    }

    /// Rows of a wave where nothing says otherwise.
    fn usual(&self) -> usize {
        let rows = if self.streaming { self.backend.streaming_rows() } else { WAVE_ROWS };
        rows.max(self.backend.block_rows())
    }

    /// Rows of a usual wave, as many as memory allows, with `states` scan states kept at forks.
    pub fn usual_rows(&self, states: usize) -> usize {
        let mut rows = self.options.wave_rows.unwrap_or(self.usual()).max(1);
        let room = self.memory.saturating_sub(self.weight_bytes());
        let bytes = |rows| workspace_bytes(&self.backend, &self.spec, Extent { rows, states, ..Extent::default() });
        while rows > LEAST_ROWS && bytes(rows) > room {
            rows = fewer(rows);
        }
        rows
    }

    /// Waves that fit the memory, with their extent. Where none do beside all the weights, these stream from now on, if they may.
    fn plan(&mut self, forest: &Forest, readout: &Readout) -> Result<(Vec<Wave>, Extent)> {
        let planned = self.fitting(forest, readout);
        if planned.is_ok() || self.streaming || self.options.weights != Weights::Auto {
            return planned;
        }
        self.streaming = true;
        (self.packed, self.head) = (None, None);
        self.fitting(forest, readout)
    }

    fn fitting(&self, forest: &Forest, readout: &Readout) -> Result<(Vec<Wave>, Extent)> {
        // A tree that is cut keeps its past for every layer: better a wave that holds it whole, where memory allows one.
        let largest = || Waves::rows_by_tree(forest, readout).into_iter().max().unwrap_or(0);
        let most = self.shrunk.unwrap_or(usize::MAX);
        let mut rows = self.options.wave_rows.unwrap_or_else(|| self.usual().max(largest())).clamp(1, most);
        let room = self.memory.saturating_sub(self.weight_bytes());
        loop {
            let waves = Waves::plan(forest, readout, self.cut(rows));
            let extent = extent(&waves);
            let bytes = workspace_bytes(&self.backend, &self.spec, extent);
            if bytes <= room {
                return Ok((waves, extent));
            }
            if rows <= LEAST_ROWS {
                return Err(self.too_large(bytes));
            }
            rows = fewer(rows);
        }
    }

    fn check(&self, forest: &Forest, waves: &[Wave]) -> Result<()> {
        if let Some(t) = forest.all_tokens().iter().find(|&&t| t as usize >= self.spec.vocab) {
            return Err(Error::input(format!("token {t} lies outside the model's vocabulary of {}", self.spec.vocab)));
        }
        if let (Some(max), Some(most)) = (self.spec.max_positions, waves.iter().flat_map(|w| &w.positions).max())
            && *most as usize >= max
        {
            return Err(Error::input(format!("a text of {} tokens asks for more than the model's {max} positions", *most as usize + 2)));
        }
        Ok(())
    }

    /// Grows the rotary tables to `positions`; angles are float32 products, as the reference library has them.
    fn turn(&mut self, positions: usize) -> Result<()> {
        for t in &mut self.ropes {
            if t.positions >= positions {
                continue;
            }
            let half = t.rope.dims / 2;
            let mut table = vec![0.0f32; positions * 2 * half];
            for (p, row) in table.chunks_exact_mut((2 * half).max(1)).enumerate() {
                for i in 0..half {
                    let angle = (p as f32 * t.rope.inv_freq[i]) as f64;
                    row[i] = (libm::cos(angle) as f32) * t.rope.attention_factor;
                    row[half + i] = (libm::sin(angle) as f32) * t.rope.attention_factor;
                }
            }
            t.table = Some(self.backend.upload(&table, 2 * half)?);
            t.positions = positions;
        }
        Ok(())
    }

    fn stopped(&self) -> Result<()> {
        match &self.options.stop {
            Some(s) if s.load(Ordering::Relaxed) => Err(Error::Interrupted),
            _ => Ok(()),
        }
    }
}

/// Rows of a wave where so many take too much memory.
fn fewer(rows: usize) -> usize {
    (rows / 2).max(LEAST_ROWS)
}

/// How a model's waves must be cut.
pub fn cut(spec: &ModelSpec, rows: usize) -> Cut {
    let mut reach = Some(0u32);
    let mut grain = None;
    for b in spec.layers.iter().flat_map(|l| &l.blocks) {
        let r = match &b.mixer {
            Mixer::Attention(a) => a.window.map(|w| w as u32),
            Mixer::Mlp(_) => Some(0),
            Mixer::Mamba1(m) => {
                grain = Some(1);
                Some(m.conv as u32)
            }
            Mixer::Mamba2(m) => {
                grain = Some(SSD_CHUNK as u32);
                Some((SSD_CHUNK + m.conv) as u32)
            }
        };
        reach = match (reach, r) {
            (Some(a), Some(b)) => Some(a.max(b)),
            _ => None,
        };
    }
    Cut { rows, reach, grain }
}

/// What these waves need at the most.
pub fn extent(waves: &[Wave]) -> Extent {
    let of = |w: &Wave| Extent {
        rows: w.tokens.len(),
        states: w.states as usize,
        resident_rows: w.resident_rows as usize,
        resident_states: w.resident_states as usize,
        positions: w.positions.iter().max().map_or(0, |&p| p as usize + 1),
    };
    waves.iter().map(of).fold(Extent::default(), Extent::most)
}
