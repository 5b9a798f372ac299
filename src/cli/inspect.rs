//! `hilberg inspect`: what a model folder holds.

use super::options::{Bytes, ModelArgs, StartChoice};
use super::{say, say_json};
use crate::backend::{Backend, cpu::Cpu};
use crate::corpus::Tokenizer;
use crate::engine::{Engine, Extent, Options, WAVE_ROWS, workspace_bytes};
use crate::error::Result;
use crate::model::{self, Mixer, ModelSpec, OpenOptions};
use std::path::PathBuf;

/// What a model folder holds: family, sizes, start token, history state, memory
#[derive(clap::Args, Debug)]
pub struct InspectArgs {
    /// Model folder
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Rows of a wave for the memory line
    #[arg(long, default_value_t = WAVE_ROWS, value_name = "ROWS")]
    wave: usize,
    #[command(flatten)]
    run: ModelArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct State {
    tokens: u64,
    values: u64,
    bytes_f32: u64,
}

#[derive(serde::Serialize)]
struct Inspection {
    model: String,
    family: String,
    layers: usize,
    blocks: String,
    width: usize,
    parameters: u64,
    stored_bytes: u64,
    dtypes: Vec<(String, u64)>,
    vocabulary: usize,
    tokenizer_ids: Option<usize>,
    max_positions: Option<usize>,
    start_token: Option<u32>,
    start_source: Option<String>,
    fingerprint: String,
    history_state: Vec<State>,
    wave_rows: usize,
    workspace_bytes: usize,
    weight_bytes: usize,
    streamed: bool,
}

/// Kinds of blocks, counted in order of appearance.
fn blocks(spec: &ModelSpec) -> String {
    let mut kinds: Vec<(&str, usize)> = Vec::new();
    for b in spec.layers.iter().flat_map(|l| &l.blocks) {
        let kind = match &b.mixer {
            Mixer::Attention(a) if a.window.is_some() => "windowed attention",
            Mixer::Attention(_) => "attention",
            Mixer::Mlp(_) => "MLP",
            Mixer::Mamba1(_) => "Mamba-1",
            Mixer::Mamba2(_) => "Mamba-2",
        };
        match kinds.iter_mut().find(|k| k.0 == kind) {
            Some(k) => k.1 += 1,
            None => kinds.push((kind, 1)),
        }
    }
    kinds.iter().map(|(k, n)| format!("{n} {k}")).collect::<Vec<_>>().join(", ")
}

/// Runs it.
///
/// # Errors
/// Whatever is wrong with the folder.
pub fn run(args: &InspectArgs) -> Result<()> {
    let options = OpenOptions { accept_keys: args.run.accept_key.clone(), rope_length: args.run.rope_length };
    let (spec, checkpoint) = model::open(&args.model, &options)?;
    let path = args.model.join("tokenizer.json");
    let tokenizer_ids = if path.exists() { Some(Tokenizer::open(&path)?.vocab_size()) } else { None };
    let lengths = [1u64, 128, 1024, 8192, 131_072];
    let history_state = lengths
        .iter()
        .map(|&t| {
            let values = model::history_state(&spec, t);
            State { tokens: t, values, bytes_f32: 4 * values }
        })
        .collect();
    let (start_token, start_source) = match (&args.run.start, &spec.start) {
        (StartChoice::None, _) => (None, None),
        (StartChoice::Id(id), _) => (Some(*id), Some("--start".to_string())),
        (StartChoice::Auto, s) => (s.as_ref().map(|s| s.id), s.as_ref().map(|s| s.source.clone())),
    };
    let (parameters, dtypes, fingerprint, stored) = (model::parameters(&spec), checkpoint.dtypes(), checkpoint.fingerprint(), checkpoint.stored_bytes());
    let extent = Extent { rows: args.wave, states: if crate::engine::cut(&spec, 1).grain.is_some() { 17 } else { 0 }, resident_rows: 0, resident_states: 0 };
    let memory = args.run.memory.map(|Bytes(b)| b);
    let engine = Engine::new(Cpu::new(args.run.threads.map(usize::from))?, spec, checkpoint, Options { memory, ..Options::default() })?;
    let spec = engine.spec();
    let found = Inspection {
        model: args.model.display().to_string(),
        family: spec.family.clone(),
        layers: spec.layers.len(),
        blocks: blocks(spec),
        width: spec.d,
        parameters,
        stored_bytes: stored,
        dtypes,
        vocabulary: spec.vocab,
        tokenizer_ids,
        max_positions: spec.max_positions,
        start_token,
        start_source,
        fingerprint,
        history_state,
        wave_rows: args.wave,
        workspace_bytes: workspace_bytes(spec, extent, engine.backend().block_rows()),
        weight_bytes: engine.weight_bytes(),
        streamed: engine.streaming(),
    };
    if args.json { say_json(&found) } else { print(&found) }
}

fn print(f: &Inspection) -> Result<()> {
    let mib = |b: usize| format!("{:.1} MiB", b as f64 / (1 << 20) as f64);
    let line = |name: &str, what: String| say(&format!("{name:<16} {what}"));
    line("model", f.model.clone())?;
    line("family", f.family.clone())?;
    line("layers", format!("{} ({}), width {}", f.layers, f.blocks, f.width))?;
    let dtypes: Vec<String> = f.dtypes.iter().map(|(d, n)| format!("{n} {d}")).collect();
    line("parameters", format!("{} ({}; {} on disk)", f.parameters, dtypes.join(", "), mib(f.stored_bytes as usize)))?;
    let padding = match f.tokenizer_ids {
        Some(n) if n < f.vocabulary => format!(" (tokenizer {n}, {} rows of padding)", f.vocabulary - n),
        Some(n) if n > f.vocabulary => format!(" (tokenizer {n}: ids from {} on cannot be scored)", f.vocabulary),
        Some(_) => " (as the tokenizer)".into(),
        None => " (no tokenizer.json in the folder)".into(),
    };
    line("vocabulary", format!("{}{padding}", f.vocabulary))?;
    line("positions", f.max_positions.map_or("without limit".into(), |n| n.to_string()))?;
    line("start token", f.start_token.map_or("none".into(), |t| format!("{t} ({})", f.start_source.as_deref().unwrap_or(""))))?;
    for s in &f.history_state {
        line(&format!("state at {}", s.tokens), format!("{} values, {} in float32", s.values, mib(s.bytes_f32 as usize)))?;
    }
    let how = if f.streamed { "packed anew for each wave: they exceed --memory" } else { "packed once, kept" };
    line("weights", format!("{} ({how})", mib(f.weight_bytes)))?;
    line("workspace", format!("{} for waves of {} rows", mib(f.workspace_bytes), f.wave_rows))?;
    line("fingerprint", f.fingerprint.clone())
}
