//! `hilberg context`: loss, intrinsic dimension and intrinsic entropy against context length, from a model folder and texts.

use super::budget::Budget;
use super::corpus::CorpusArgs;
use super::engine::Telling;
use super::options::{ModelArgs, OpenModel, StartChoice, open_model};
use super::progress::{Meter, ceiling, duration};
use super::run_log::RunLog;
use super::signals::{Heeding, stop_flag};
use super::{ascending, say, say_json};
use crate::backend::moments_len;
use crate::context::{Chosen, Design, Options, Plan, Project, Samples, Selection, Task, analyse, choose, forest_of, published_contexts, run as score_chunks};
use crate::engine::{Sampler, Scorer, WAVE_ROWS};
use crate::error::{Error, Result};
use crate::measure::{Done, ModelIdentity, Pace};
use crate::report::{ContextReport, as_text};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use std::time::Instant;

/// Tokens of a chunk as published, where the model has as many positions.
const LENGTH: u32 = 2048;

/// Documents of the published measurement have more tokens than this, for chunks of [`LENGTH`].
const MIN_TOKENS: u32 = 3000;

/// Which tokens are a sample, as the option spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SamplesChoice {
    /// The last c tokens of every chunk, as published: the same target for every c, a pass for each
    Last,
    /// The first c tokens of every chunk: one pass for all c, a target for each
    Positions,
}

/// Measure loss, intrinsic dimension and intrinsic entropy of a model's hidden states against the length of the context that it is given
#[derive(Args, Debug)]
pub struct ContextArgs {
    /// Model folder (config.json, *.safetensors, tokenizer.json)
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    #[command(flatten)]
    corpus: CorpusArgs,
    /// Context lengths c in tokens, the predicted one among them [default: 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024 … as far as chunks go]
    #[arg(long, value_delimiter = ',', value_name = "LENGTHS")]
    contexts: Vec<u32>,
    /// Which tokens are a sample of context length c
    #[arg(long, value_enum, default_value = "last")]
    samples: SamplesChoice,
    /// Tokens of a chunk [default: 2048, or the model's positions]
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u32).range(2..))]
    length: Option<u32>,
    /// Tokens dropped at the beginning of a document
    #[arg(long, default_value_t = 100, value_name = "TOKENS")]
    skip: u32,
    /// Tokens dropped at the end of a document
    #[arg(long, default_value_t = 50, value_name = "TOKENS")]
    drop_last: u32,
    /// Documents must have more tokens than this [default: 3000 for chunks of 2048, and in proportion]
    #[arg(long, value_name = "TOKENS")]
    min_tokens: Option<u32>,
    /// Chunks to measure, at most; more can be added later
    #[arg(long, default_value_t = 1024, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    chunks: u32,
    /// Folds of documents that the jackknife leaves out, one at a time, for errors
    #[arg(long, default_value_t = 10, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=1000))]
    folds: u32,
    /// τ of the intrinsic dimension: the number of eigenvalues above τ times the largest [default: 0.002 … 0.25]
    #[arg(long, value_delimiter = ',', value_name = "SHARES")]
    thresholds: Vec<f64>,
    /// N of the spectral entropy of the leading eigenvalues [default: 3 … 2000, as far as they are resolved]
    #[arg(long, value_delimiter = ',', value_name = "NUMBERS")]
    leading: Vec<u32>,
    /// Keep the hidden states, for the entropy by a Gaussian kernel: 4 bytes a number, on disk, and of one context length at a time in memory
    #[arg(long)]
    kernel_entropy: bool,
    /// σ of that kernel [default: Silverman's rule, for each context length]
    #[arg(long, value_name = "WIDTH", requires = "kernel_entropy")]
    sigma: Option<f64>,
    /// Put the model's start token before every text; --start ID does so with another one
    #[arg(long)]
    with_start: bool,
    /// Seed of the chunks' choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the record and the results; started again with the same options, the measurement goes on
    #[arg(long, default_value = "hilberg-context", value_name = "DIR")]
    out: PathBuf,
    /// Only say what it would take: tokens, time, memory, disk
    #[arg(long)]
    dry_run: bool,
    /// Print result.json instead of tables
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    open: ModelArgs,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever is wrong with options, model, texts or the output folder; an interruption.
pub fn run(args: &ContextArgs) -> Result<()> {
    let log = RunLog::begin();
    let options = args.options()?;
    let corpus = args.corpus.open()?;
    let mut model = args.open_model()?;
    let design = args.design(&model)?;
    let vocab = model.engine.vocab();
    let tokenizer = args.corpus.tokenizer(&corpus, &args.model, vocab)?;
    let how = Selection { chunks: args.chunks as usize, seed: args.seed, vocab, room: Budget::of(args.open.memory).room_before_engine() };
    let chosen = choose(&corpus, tokenizer.as_ref(), &design, how)?;
    if !args.quiet {
        chosen.notices.iter().for_each(|n| eprintln!("note: {n}"));
    }
    if args.dry_run {
        return args.dry_run(&design, &chosen, &mut model);
    }
    let precision = args.open.precision.to_possible_value().map_or_else(String::new, |p| p.get_name().to_string());
    let backend = model.engine.backend();
    let arithmetic = format!("{backend} {precision} of hilberg {}", env!("CARGO_PKG_VERSION"));
    let identity = ModelIdentity {
        name: model.name.clone(),
        fingerprint: model.engine.checkpoint().fingerprint(),
        tokenizer: None,
        start: design.start.unwrap_or_default(),
        rope_length: args.open.rope_length,
        device: backend.split('/').next().unwrap_or_default().to_string(),
        precision,
    };
    let plan = Plan::new(chosen.fingerprint.clone(), args.seed, design, chosen.chunks as u64, identity);
    let project = Project::open(&args.out, plan)?;
    let mut meter = Meter::new(&model.name, args.quiet);
    if !args.quiet {
        let design = &project.plan.design;
        let unit = design.units().pop().unwrap_or_default();
        let (forest, readout) = forest_of(design, unit, chosen.folds.iter().flat_map(|f| &f.1).take(1))?;
        meter = meter.against(ceiling(&model.engine, &forest, &readout));
    }
    let mut last = Done::default();
    let task = Task { project: &project, folds: &chosen.folds, arithmetic: &arithmetic };
    let (flag, heeding) = (stop_flag(), Heeding::new());
    let scored = score_chunks(&mut Telling(&mut model.engine), task, args.pace(), &flag, &mut |done: &Done| {
        last = *done;
        meter.show(done);
    });
    drop(heeding);
    meter.finish();
    let told = json!({ "arithmetic": arithmetic, "tokens_fed": last.fed, "tokens_total": last.rows_total, "seconds": last.seconds, "notices": chosen.notices });
    if let Err(e) = scored {
        // Where both fail, what ended the work is what there is to tell.
        let _ = log.write(project.folder(), false, told);
        return Err(e);
    }
    drop(model);
    let folds: Vec<usize> = chosen.folds.iter().map(|f| f.0).collect();
    let report = ContextReport::new(&project.plan, analyse(&project, &folds, &options)?);
    report.write(project.folder())?;
    log.write(project.folder(), true, told)?;
    if args.json {
        return say_json(&report);
    }
    say(&as_text(&report.blocks()))?;
    if args.quiet { Ok(()) } else { say(&format!("{}: result.json, result.csv, spectra.csv, figure.png, figure.svg", project.folder().display())) }
}

impl ContextArgs {
    fn options(&self) -> Result<Options> {
        let mut options = Options { sigma: self.sigma, ..Options::default() };
        options.resampling.seed = self.seed;
        if !self.thresholds.is_empty() {
            options.thresholds = self.thresholds.clone();
            options.thresholds.sort_by(f64::total_cmp);
            options.thresholds.dedup();
        }
        if !self.leading.is_empty() {
            options.leading = ascending(&self.leading);
        }
        options.check()?;
        Ok(options)
    }

    /// The model; it begins texts without a start token unless one is asked for.
    fn open_model(&self) -> Result<OpenModel> {
        let mut open = self.open.clone();
        if open.start == StartChoice::Auto && !self.with_start {
            open.start = StartChoice::None;
        }
        open_model(&open, &self.model)
    }

    fn pace(&self) -> Pace {
        let pace = Pace::default();
        match self.open.wave_rows {
            Some(most) => Pace { first_rows: pace.first_rows.min(most as usize), most_rows: most as usize, ..pace },
            None => pace,
        }
    }

    fn design(&self, model: &OpenModel) -> Result<Design> {
        let start = model.start.as_ref().map(|s| s.id);
        // The predicted token is not fed.
        let limit = model.engine.max_positions().map(|p| (p + 1).saturating_sub(usize::from(start.is_some())));
        let length = self.length.unwrap_or_else(|| LENGTH.min(model.engine.max_positions().unwrap_or(usize::MAX).min(u32::MAX as usize) as u32));
        let contexts = if self.contexts.is_empty() {
            let most = limit.map_or(length, |l| length.min(l.min(u32::MAX as usize) as u32));
            published_contexts(most)
        } else {
            ascending(&self.contexts)
        };
        if let (Some(limit), Some(&most)) = (limit, contexts.last())
            && most as usize > limit
        {
            return Err(Error::input(format!("contexts of {most} tokens are longer than the {limit} that {} can take; choose smaller --contexts", model.name)));
        }
        let samples = match self.samples {
            SamplesChoice::Last => Samples::Last,
            SamplesChoice::Positions => Samples::Positions,
        };
        let min_tokens = self.min_tokens.unwrap_or((u64::from(MIN_TOKENS) * u64::from(length) / u64::from(LENGTH)).min(u64::from(u32::MAX)) as u32);
        let design =
            Design { contexts, samples, length, skip: self.skip, drop_last: self.drop_last, min_tokens, start, states: self.kernel_entropy, folds: self.folds };
        design.check()?;
        Ok(design)
    }

    /// Says what a measurement takes, with the time of one chunk at the longest context as its measure of speed.
    fn dry_run(&self, design: &Design, chosen: &Chosen, model: &mut OpenModel) -> Result<()> {
        let (units, width) = (design.units(), model.engine.width());
        let rows: usize = units.iter().map(|u| design.rows(u) * chosen.chunks).sum();
        let longest = units.last().copied().unwrap_or_default();
        let pieces = || chosen.folds.iter().flat_map(|f| &f.1);
        let (forest, readout) = forest_of(design, longest, pieces().take(1))?;
        model.engine.begin(&vec![&[][..]; longest.len()], false)?;
        let clock = Instant::now();
        model.engine.score(&forest, &readout, &mut crate::engine::Values::new(&readout))?;
        let speed = design.rows(longest) as f64 / clock.elapsed().as_secs_f64();
        let (forest, readout) = forest_of(design, longest, pieces().take(WAVE_ROWS.div_ceil(design.rows(longest).max(1))))?;
        // A part that is written lies in memory as sums, as its tensors' bytes, and as the file's.
        let memory = model.engine.needed_bytes(&forest, &readout)? + 3 * 8 * moments_len(width) * longest.len();
        let states = if design.states { 4 * width * chosen.chunks } else { 0 };
        let sums = 8 * moments_len(width) * chosen.folds.len();
        let disk = design.contexts.len() * (sums + states + 20 * chosen.chunks);
        // Sums of all folds, and beside them a covariance and its decomposition for every core.
        let afterwards = sums + states + 2 * 8 * width * width * std::thread::available_parallelism().map_or(1, |n| n.get()).min(chosen.folds.len());
        let texts: usize = pieces().map(|p| 4 * p.tokens.len()).sum();
        let seconds = rows as f64 / speed;
        if self.json {
            return say_json(
                &json!({ "chunks": chosen.chunks, "documents": chosen.documents, "contexts": design.contexts, "tokens": rows, "tokens_per_second": speed,
                "seconds": seconds, "memory_bytes": memory, "analysis_bytes": afterwards, "text_bytes": texts, "disk_bytes": disk }),
            );
        }
        let mb = |bytes: usize| bytes as f64 / 1e6;
        say(&format!(
            "{} chunks of {} documents, {} context lengths; {rows} tokens to feed {}",
            chosen.chunks,
            chosen.documents,
            design.contexts.len(),
            model.name
        ))?;
        say(&format!(
            "about {} at {speed:.0} tokens/s (one chunk timed); {:.1} MB for weights, a wave and sums, {:.1} MB for the analysis afterwards",
            duration(seconds),
            mb(memory),
            mb(afterwards)
        ))?;
        say(&format!("texts in memory: {:.1} MB; disk: about {:.1} MB", mb(texts), mb(disk)))
    }
}
