//! What a model folder holds, before anything is run: family, blocks, parameters, start token, history state.

use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

use serde::Serialize;

use super::engine::AnyEngine;
use super::options::{ModelArgs, open_engine};
use super::{say, say_json};
use crate::backend::Backend;
use crate::corpus::Tokenizer;
use crate::engine::{Engine, Extent, cut, own_memory, workspace_bytes};
use crate::error::Result;
use crate::forest::{Forest, Readout};
use crate::model::{self, Checkpoint, HistoryState, Mixer, ModelSpec, Residual};
use crate::report::{bytes, grouped};

/// Lengths at which the history state is told, where the model's positions reach them.
const LENGTHS: [u64; 5] = [128, 1024, 8192, 65_536, 1_048_576];

/// Tokens of a text for which the memory is told where nothing else is said and the model has as many positions.
const LENGTH: usize = 1024;

/// Scan states of a wave for which the memory is told: a trunk's ten forks, with some room.
const FORKS: usize = 17;

/// What a model folder holds: family, sizes, start token, history state, memory
#[derive(clap::Args, Debug)]
pub struct InspectArgs {
    /// Model folder
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    run: ModelArgs,
    /// Tokens of a text, the start token apart, for which the memory is told [default: 1024, or the model's positions]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    length: Option<u32>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a run would hold in memory.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Memory {
    /// Packed weights and scratch.
    pub weights: u64,
    /// Whether weights are packed anew for each wave: because all of them exceed the bound, or because that was asked for.
    pub streamed: bool,
    /// Tokens of a text.
    pub length: usize,
    /// Rows of the wave.
    pub wave_rows: usize,
    /// Activations, histories and states of a wave, and what is kept of a text across waves.
    pub workspace: u64,
    /// Of it, what is kept of a text that takes more than a wave.
    pub kept: u64,
    /// What the program itself has allocated, by this process; 0 where the system does not say.
    pub program: u64,
    /// The most that is allocated at a time, but for texts on their way to tokens.
    pub allocated: u64,
    /// The most that is allocated or mapped at a time: the program's own pages and those of weight files that are being packed, too.
    pub with_mapped: u64,
}

#[derive(Serialize)]
struct Said {
    #[serde(flatten)]
    inspection: Inspection,
    memory: Memory,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever is wrong with the folder.
pub fn run(args: &InspectArgs) -> Result<()> {
    let (spec, checkpoint) = model::open(&args.model, &args.run.opening())?;
    let path = args.model.join("tokenizer.json");
    let tokenizer = if path.exists() { Some(Tokenizer::open(&path)?) } else { None };
    let inspection = describe(&spec, &checkpoint, tokenizer.as_ref());
    let length = args.length.map(|n| n as usize);
    let memory = match open_engine(&args.run, &args.model, (spec, checkpoint))? {
        AnyEngine::Cpu(mut engine) => Memory::of(&mut engine, length),
        AnyEngine::Float64(mut engine) => Memory::of(&mut engine, length),
        // They are all alike.
        AnyEngine::Cuda(mut several) => Memory::of(several.first_mut(), length),
    }?;
    let said = Said { inspection, memory };
    if args.json {
        return say_json(&said);
    }
    say(&said.inspection.to_string())?;
    let how = if memory.streamed { "packed anew for each wave" } else { "packed once" };
    let kept = match memory.kept {
        0 => String::new(),
        kept => format!(", {} of it kept of a text of {} tokens from wave to wave", bytes(kept), grouped(memory.length as u64)),
    };
    let (weights, workspace, rows) = (bytes(memory.weights), bytes(memory.workspace), grouped(memory.wave_rows as u64));
    say(&format!("memory         {weights} of weights ({how}), {workspace} for waves of {rows} rows{kept}"))?;
    say(&format!(
        "peak           {} allocated, {} with mapped files; texts on their way to tokens come on top",
        bytes(memory.allocated),
        bytes(memory.with_mapped)
    ))
}

impl Memory {
    /// Of an engine at work on texts of so many tokens.
    fn of<B: Backend>(engine: &mut Engine<B>, length: Option<usize>) -> Result<Self> {
        let states = if cut(engine.spec(), 1).grain.is_some() { FORKS } else { 0 };
        let length = length.unwrap_or_else(|| engine.spec().max_positions.unwrap_or(LENGTH).min(LENGTH));
        // Many texts fill usual waves; one that is longer than a wave leaves its history to the next.
        let (mut forest, mut readout) = (Forest::new(), Readout::new());
        let text = forest.root(&vec![0; length + 1])?;
        readout.each(&forest, text, 1..length as u32 + 1)?;
        // Where this makes the weights stream, usual waves are those that fit beside them.
        let planned = engine.extent(&forest, &readout)?;
        let extent = planned.most(Extent { rows: engine.usual_rows(states), states, ..Extent::default() });
        let room = |extent| workspace_bytes(engine.backend(), engine.spec(), extent) as u64;
        let kept = room(extent) - room(Extent { resident_rows: 0, resident_states: 0, ..extent });
        let (own, peak) = (own_memory(), engine.peak(extent));
        Ok(Memory {
            weights: engine.weight_bytes() as u64,
            streamed: engine.streaming(),
            length,
            wave_rows: extent.rows,
            workspace: room(extent),
            kept,
            program: own.0 as u64,
            allocated: (own.0 + peak.allocated) as u64,
            with_mapped: (own.0 + own.1 + peak.with_mapped) as u64,
        })
    }
}

/// A model, described.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// `model_type`.
    pub family: String,
    /// Number of layers.
    pub layers: usize,
    /// Width of the residual.
    pub width: usize,
    /// Runs of alike layers, in order: `2 × attention (4 heads of 12 over 2 key-value heads), then gated MLP 88`.
    pub blocks: Vec<String>,
    /// Number of parameters; shared ones once.
    pub parameters: u64,
    /// Bytes of the weights in the files.
    pub weight_bytes: u64,
    /// Stored element types with the number of parameters in each.
    pub dtypes: Vec<(String, u64)>,
    /// Whether the head is the embedding.
    pub tied_head: bool,
    /// Rows of the embedding: ids run below this, and probabilities are normalised over all of them.
    pub vocabulary: usize,
    /// The tokenizer's vocabulary, where the folder has a tokenizer.json; the rest of `vocabulary` is padding.
    pub tokenizer_vocabulary: Option<usize>,
    /// The longest path that may be fed.
    pub max_positions: Option<usize>,
    /// Start token: its id, where it comes from, and whether the vocabulary has it.
    pub start: Option<Start>,
    /// The history state at a few lengths.
    pub history: Vec<History>,
    /// As records name this model.
    pub fingerprint: String,
}

/// The token before every text.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    /// Its id.
    pub id: u32,
    /// Where it comes from.
    pub source: String,
    /// Whether the embedding has a row for it.
    pub usable: bool,
}

/// dim(z): what a model remembers of `tokens` tokens.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct History {
    /// Length of the past.
    pub tokens: u64,
    /// Numbers in the history state.
    pub values: u64,
    /// Their bytes in float32.
    pub bytes: u64,
}

/// Describes an opened model; reads no more of the weights than [`Checkpoint::fingerprint`] does.
pub fn describe(spec: &ModelSpec, checkpoint: &Checkpoint, tokenizer: Option<&Tokenizer>) -> Inspection {
    let reach = spec.max_positions.map_or(u64::MAX, |n| n as u64);
    let mut lengths: Vec<u64> = LENGTHS.into_iter().filter(|t| *t <= reach).collect();
    if let Some(n) = spec.max_positions.filter(|n| !lengths.contains(&(*n as u64))) {
        lengths.push(n as u64);
        lengths.sort();
    }
    let state = HistoryState::of(spec);
    let history = |tokens| {
        let values = state.numbers(tokens);
        History { tokens, values, bytes: values.saturating_mul(4) }
    };
    Inspection {
        family: spec.family.clone(),
        layers: spec.layers.len(),
        width: spec.d,
        blocks: blocks(spec),
        parameters: model::parameters(spec),
        weight_bytes: checkpoint.stored_bytes(),
        dtypes: checkpoint.dtypes(),
        tied_head: spec.head.unembedding.parts[0].name == spec.embedding.tokens.name,
        vocabulary: spec.vocab,
        tokenizer_vocabulary: tokenizer.map(Tokenizer::vocab_size),
        max_positions: spec.max_positions,
        start: spec.start.as_ref().map(|s| Start { id: s.id, source: s.source.clone(), usable: (s.id as usize) < spec.vocab }),
        history: lengths.into_iter().map(history).collect(),
        fingerprint: checkpoint.fingerprint(),
    }
}

/// One line for each run of layers that are alike.
fn blocks(spec: &ModelSpec) -> Vec<String> {
    let mut runs: Vec<(String, usize)> = vec![];
    for layer in &spec.layers {
        let joint = match layer.residual {
            Residual::Sequential => ", then ",
            Residual::Parallel => ", beside ",
        };
        let line = layer.blocks.iter().map(|b| mixer(&b.mixer)).collect::<Vec<_>>().join(joint);
        match runs.last_mut() {
            Some((last, n)) if *last == line => *n += 1,
            _ => runs.push((line, 1)),
        }
    }
    runs.into_iter().map(|(line, n)| format!("{n} × {line}")).collect()
}

fn mixer(m: &Mixer) -> String {
    match m {
        Mixer::Attention(a) => {
            let mut s = format!("attention ({} heads of {}", a.heads, a.head_dim);
            if a.kv_heads != a.heads {
                s += &format!(" over {} key-value heads", a.kv_heads);
            }
            if a.v_head_dim != a.head_dim {
                s += &format!(", values of {}", a.v_head_dim);
            }
            if let Some(w) = a.window {
                s += &format!(", window {w}");
            }
            if a.sinks.is_some() {
                s += ", sinks";
            }
            s + ")"
        }
        Mixer::Mlp(m) => format!("{} {}", if m.gated { "gated MLP" } else { "MLP" }, m.width),
        Mixer::Mamba1(m) => format!("Mamba scan ({} channels of state {}, convolution {})", m.d_inner, m.d_state, m.conv),
        Mixer::Mamba2(m) => format!(
            "Mamba-2 scan ({} heads of {} with state {}, {}, convolution {})",
            m.heads,
            m.head_dim,
            m.d_state,
            if m.groups == 1 { "one group".to_string() } else { format!("{} groups", m.groups) },
            m.conv
        ),
    }
}

impl Display for Inspection {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        writeln!(f, "family         {}", self.family)?;
        writeln!(f, "layers         {} of width {}", self.layers, self.width)?;
        for (i, line) in self.blocks.iter().enumerate() {
            writeln!(f, "{:14} {line}", if i == 0 { "blocks" } else { "" })?;
        }
        let dtypes: Vec<String> =
            self.dtypes.iter().map(|(name, n)| if self.dtypes.len() == 1 { name.clone() } else { format!("{} {name}", grouped(*n)) }).collect();
        writeln!(f, "parameters     {} ({}; {} in the files)", grouped(self.parameters), dtypes.join(", "), bytes(self.weight_bytes))?;
        writeln!(f, "head           {}", if self.tied_head { "tied to the embedding" } else { "of its own" })?;
        let padding = match self.tokenizer_vocabulary {
            None => ", no tokenizer.json".to_string(),
            Some(n) if n < self.vocabulary => format!(", {} of the tokenizer and {} of padding", grouped(n as u64), grouped((self.vocabulary - n) as u64)),
            Some(n) if n == self.vocabulary => ", all of the tokenizer".to_string(),
            Some(n) => format!(", but the tokenizer has {}: ids beyond the embedding cannot be scored", grouped(n as u64)),
        };
        writeln!(f, "vocabulary     {}{padding}", grouped(self.vocabulary as u64))?;
        match &self.start {
            None => writeln!(f, "start token    none named by config.json; pass --start ID")?,
            Some(s) if s.usable => writeln!(f, "start token    {} ({})", s.id, s.source)?,
            Some(s) => writeln!(f, "start token    {} ({}), which the vocabulary does not have; pass --start ID", s.id, s.source)?,
        }
        writeln!(f, "positions      {}", self.max_positions.map_or("unbounded".to_string(), |n| grouped(n as u64)))?;
        for (i, h) in self.history.iter().enumerate() {
            let label = if i == 0 { "history state" } else { "" };
            writeln!(f, "{label:14} {} values ({} in float32) after {} tokens", grouped(h.values), bytes(h.bytes), grouped(h.tokens))?;
        }
        write!(f, "fingerprint    {}", self.fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::OpenOptions;
    use std::path::Path;

    fn fixture(name: &str) -> Inspection {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(name);
        let (spec, checkpoint) = model::open(&folder, &OpenOptions::default()).unwrap();
        describe(&spec, &checkpoint, None)
    }

    #[test]
    fn a_windowed_model_is_described() {
        let i = fixture("qwen2");
        assert_eq!(
            i.blocks,
            [
                "1 × attention (4 heads of 12 over 2 key-value heads), then gated MLP 88",
                "1 × attention (4 heads of 12 over 2 key-value heads, window 29), then gated MLP 88"
            ]
        );
        assert!(i.tied_head);
        assert_eq!(i.history.iter().map(|h| h.tokens).collect::<Vec<_>>(), [128, 256]);
        assert_eq!(i.history[1].values, 2 * 24 * (256 + 29));
        let start = i.start.as_ref().unwrap();
        assert_eq!((start.id, start.source.as_str(), start.usable), (1, "bos_token_id of config.json", true));
        assert!(i.to_string().contains("no tokenizer.json"));
    }

    #[test]
    fn a_scan_has_no_last_position() {
        let i = fixture("mamba2");
        assert_eq!(i.max_positions, None);
        assert_eq!(i.history.len(), LENGTHS.len());
        assert!(i.history.iter().all(|h| h.values == i.history[0].values));
        assert_eq!(i.blocks, ["2 × Mamba-2 scan (4 heads of 16 with state 128, one group, convolution 4)"]);
    }
}
