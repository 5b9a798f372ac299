//! `hilberg measure`: from model folders and texts to I(ℓ; L), its exponent, and a record that resumes.

use super::budget::Budget;
use super::checkpoints::expanded;
use super::corpus::CorpusArgs;
use super::engine::Telling;
use super::measure_texts::{Groups, Texts};
use super::options::{ModelArgs, OpenModel, open_model};
use super::progress::{Meter, ceiling, duration};
use super::run_log::RunLog;
use super::signals::{Heeding, stop_flag};
use super::{ascending, say, say_json};
use crate::corpus::{Cutting, Unit};
use crate::engine::{Scorer, WAVE_ROWS};
use crate::error::{Error, Result};
use crate::estimate::{Estimator, Options, Pairing};
use crate::measure::{Design, Done, FIRST, Journal, ModelIdentity, Pace, Plan, Planned, Project, Shard, Task, Terms, Text, run as score_groups};
use crate::report;
use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Instant;

/// Tokens of a chunk where neither --length nor --splits says otherwise.
const LENGTH: u32 = 2048;

/// Bytes of a token at the least, as a rule: so many times a model's positions are chunks that it can take.
const BYTES_OF_A_TOKEN: u32 = 2;

/// The smallest default split in bytes: smaller ones are shorter than many a word.
const LEAST_BYTES: u32 = 32;

/// What lengths count, as the option spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum UnitChoice {
    /// Tokens; all models must share a tokenizer
    Tokens,
    /// Bytes of text, cut between words; models may have tokenizers of their own
    Bytes,
}

/// Who meets whom, as the option spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PairingChoice {
    /// Both terms of an estimate on the same tail: the smaller error
    Matched,
    /// Joint terms of one list of pieces, the others of a second one: to reproduce published tables
    Published,
}

/// What documents are cut into, as the option spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum PiecesChoice {
    /// Chunks at random places, without overlap
    Random,
    /// Pieces of at least 5,000 words that begin and end with sentences; the first tokens of each
    Published,
}

/// Measure the mutual information between a text's first ℓ tokens and those after them, and how it grows with ℓ
#[derive(Args, Debug)]
pub struct MeasureArgs {
    /// Model folder (config.json, *.safetensors, tokenizer.json), or a folder of checkpoints (`step-1000`, …); repeat it to hold several models against each
    /// other on the same chunks
    #[arg(short, long = "model", required = true, value_name = "MODEL")]
    model: Vec<PathBuf>,
    #[command(flatten)]
    corpus: CorpusArgs,
    /// Estimators: direct, direct-ngram, vclub, l1out, infonce, profile
    #[arg(long, value_delimiter = ',', default_values = ["direct", "vclub"], value_name = "NAMES")]
    estimators: Vec<Estimator>,
    /// What --length and --splits count
    #[arg(long, value_enum, default_value = "tokens")]
    unit: UnitChoice,
    /// Splits ℓ in tokens, or bytes [default: powers of two that fit; from 32 bytes on]
    #[arg(long, value_delimiter = ',', value_name = "LENGTHS")]
    splits: Vec<u32>,
    /// Ratios r: the text ends at rℓ
    #[arg(long, value_delimiter = ',', default_values_t = [2], value_name = "RATIOS")]
    ratios: Vec<u32>,
    /// Tokens of a chunk, or bytes [default: what the splits need; else 2048 tokens or the model's positions, or twice as many bytes]
    #[arg(long, value_name = "LENGTH")]
    length: Option<u32>,
    /// Chunks to measure; more can be added later [default: 256, or as many as there are]
    #[arg(long, value_name = "N")]
    chunks: Option<usize>,
    /// Foreign tails of every trunk, K [default: 1 where an estimator needs them]
    #[arg(long, value_name = "K")]
    foreign: Option<u32>,
    /// Who meets whom
    #[arg(long, value_enum, default_value = "matched")]
    pairing: PairingChoice,
    /// What documents are cut into
    #[arg(long, value_enum, default_value = "random")]
    pieces: PiecesChoice,
    /// Seed of the chunks' places and order
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the record and the results; started again with the same options, the measurement goes on
    #[arg(long, default_value = "hilberg-out", value_name = "DIR")]
    out: PathBuf,
    /// Score only every N-th group, from the I-th on: one machine's share of a measurement that several do, each into a folder of its own;
    /// `hilberg estimate` merges the folders
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Stop once the standard error of direct at the largest ℓ and r = 2 is at most this, in nats, for every model: at the smallest number of groups, at
    /// least 30, in their fixed order; --chunks is the most. Errors of a measurement that stopped so are slightly too low
    #[arg(long, value_name = "NATS", conflicts_with = "shard")]
    until_se: Option<f64>,
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

/// What is known of a model before anything is scored.
struct Known {
    identity: ModelIdentity,
    /// All that the last bits of its log-probabilities depend on: backend, instruction path, precision, version.
    arithmetic: String,
    vocab: usize,
    positions: Option<usize>,
}

impl Known {
    fn of(model: &OpenModel, args: &ModelArgs) -> Result<Self> {
        let start = model.start.as_ref().ok_or_else(|| Error::input("a measurement needs a start token; leave --start at auto or name an id"))?;
        let engine = &model.engine;
        let backend = engine.backend();
        let precision = args.precision.to_possible_value().map_or_else(String::new, |p| p.get_name().to_string());
        Ok(Known {
            arithmetic: format!("{backend} {precision} of hilberg {}", env!("CARGO_PKG_VERSION")),
            identity: ModelIdentity {
                name: model.name.clone(),
                fingerprint: engine.checkpoint().fingerprint(),
                tokenizer: None,
                start: start.id,
                rope_length: args.rope_length,
                device: backend.split('/').next().unwrap_or_default().to_string(),
                precision,
            },
            vocab: engine.vocab(),
            positions: engine.max_positions(),
        })
    }
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever is wrong with options, models, texts or the output folder; an interruption.
pub fn run(mut args: MeasureArgs) -> Result<()> {
    args.model = expanded(&args.model)?;
    let (args, log) = (&args, RunLog::begin());
    let corpus = args.corpus.open()?;
    // Each is opened and checked once, and let go of once it has scored: weights are packed only then.
    let open = args.model.iter().map(|folder| open_model(&args.open, folder)).collect::<Result<Vec<OpenModel>>>()?;
    let known = open.iter().map(|model| Known::of(model, &args.open)).collect::<Result<Vec<Known>>>()?;
    let design = args.design(&known)?;
    let vocabs: Vec<usize> = known.iter().map(|k| k.vocab).collect();
    let needs_ngrams = args.estimators.contains(&Estimator::DirectNgram);
    let room = Budget::of(args.open.memory).room_before_engine();
    let texts = Texts::open(&args.corpus, &corpus, &args.model, &vocabs, (design.cutting, design.unit), room)?;
    let (groups, of_texts) = texts.groups(&design, args.seed, args.chunks)?;
    for (i, k) in known.iter().enumerate() {
        if let Some(most) = k.positions {
            Text::check_positions(groups.of(i), most, &k.identity.name)?;
        }
    }
    let notices: Vec<String> = corpus.notices().iter().cloned().chain(of_texts).collect();
    let own = (0..groups.count() as u32).filter(|&g| args.shard.is_none_or(|s| s.holds(g))).count();
    if let (Some(shard), 0) = (args.shard, own) {
        return Err(Error::input(format!("shard {shard} has no group: there are {}; ask for more --chunks or fewer shards", groups.count())));
    }
    if !args.quiet {
        notices.iter().for_each(|n| eprintln!("note: {n}"));
    }
    let mut options = Options { estimators: args.estimators.clone(), ..Options::default() };
    options.resampling.seed = args.seed;
    if args.dry_run {
        return args.dry_run(&design, &groups, own, &known, open);
    }
    let identity = |(i, k): (usize, &Known)| ModelIdentity { tokenizer: texts.tokenizer_of(i), ..k.identity.clone() };
    let identities = known.iter().enumerate().map(identity).collect();
    let mut plan = Plan::new(texts.fingerprint().clone(), args.seed, design, groups.count() as u32, options, identities);
    plan.shard = args.shard;
    plan.until_se = args.until_se;
    let project = Project::open(&args.out, plan)?;
    if needs_ngrams && project.ngrams()?.is_none() {
        project.write_ngrams(&texts.ngrams(project.folder())?)?;
    }
    drop(texts);
    let mut session = Session { args, project: &project, groups: &groups, known: &known, runs: Vec::new(), notices };
    let scored = session.score(open);
    let Session { runs, notices, .. } = session;
    if let Err(e) = scored {
        // Where both fail, what ended the work is what there is to tell.
        let _ = log.write(project.folder(), false, args.logged(runs, notices));
        return Err(e);
    }
    let report = report::estimate(&project)?;
    log.write(project.folder(), true, args.logged(runs, notices))?;
    super::estimate::print(&report, project.folder(), args.json, args.quiet)
}

/// One run's scoring, and what is to be told of it.
struct Session<'a> {
    args: &'a MeasureArgs,
    project: &'a Project,
    groups: &'a Groups,
    known: &'a [Known],
    runs: Vec<Value>,
    notices: Vec<String>,
}

impl Session<'_> {
    /// Scores with every model. Where the measurement ends at an error, all models score as many groups as the one that needs most: a model that has
    /// stopped before is opened again.
    fn score(&mut self, open: Vec<OpenModel>) -> Result<()> {
        let (mut scored, mut least) = (Vec::new(), 0);
        for (i, model) in open.into_iter().enumerate() {
            least = self.score_by(i, model, least)?;
            scored.push(least);
        }
        for (i, folder) in self.args.model.iter().enumerate().filter(|&(i, _)| scored[i] < least) {
            self.score_by(i, open_model(&self.args.open, folder)?, least)?;
        }
        Ok(())
    }

    /// Scores with model `i`, and says how many groups are needed by now.
    fn score_by(&mut self, i: usize, mut model: OpenModel, least: u32) -> Result<u32> {
        let (known, plan, groups) = (&self.known[i], &self.project.plan, self.groups.of(i));
        let mut journal = Journal::open(&self.project.record_folder(i), plan.heading(i), &known.arithmetic, groups)?;
        if let Some(target) = self.args.until_se {
            journal.watch(&plan.design, target)?;
        }
        for other in journal.unlike() {
            let notice = format!("{} goes on by {} what {other} began; the two may differ in the last bits", known.identity.name, known.arithmetic);
            eprintln!("note: {notice}");
            self.notices.push(notice);
        }
        let mut meter = Meter::new(&known.identity.name, self.args.quiet);
        if !self.args.quiet {
            let mut one = Planned::new(&plan.design, known.identity.start);
            (0..plan.design.members()).try_for_each(|m| one.add(0, m, &groups[0]))?;
            meter = meter.against(ceiling(&model.engine, &one.forest, &one.readout));
        }
        let mut last = Done::default();
        let task = Task { design: &plan.design, start: known.identity.start, groups, shard: self.args.shard, least };
        let (flag, _heeding) = (stop_flag(), Heeding::new());
        let scored = score_groups(&mut Telling(&mut model.engine), task, &mut journal, self.args.pace(), &flag, &mut |done: &Done| {
            last = *done;
            meter.show(done);
        });
        meter.finish();
        self.runs.push(told(known, &last));
        scored.map(|_| journal.reached().unwrap_or(groups.len() as u32).max(least))
    }
}

impl MeasureArgs {
    fn pace(&self) -> Pace {
        let pace = Pace::default();
        match self.open.wave_rows {
            Some(most) => Pace { first_rows: pace.first_rows.min(most as usize), most_rows: most as usize, ..pace },
            None => pace,
        }
    }

    fn design(&self, known: &[Known]) -> Result<Design> {
        let positions = known.iter().filter_map(|k| k.positions).min();
        let (ratios, mut splits) = (ascending(&self.ratios), ascending(&self.splits));
        let (least, most) = (ratios.first().copied().unwrap_or(2), ratios.last().copied().unwrap_or(2));
        let unit = match self.unit {
            UnitChoice::Tokens => Unit::Tokens,
            UnitChoice::Bytes => Unit::Bytes,
        };
        let of_a_token = if unit.is_tokens() { 1 } else { BYTES_OF_A_TOKEN };
        let limit = positions.map_or(u32::MAX, |p| p.min(u32::MAX as usize) as u32).saturating_mul(of_a_token);
        let length = match (self.length, splits.last()) {
            (Some(length), _) => length,
            // The longest text that a split asks for, or where the model is too short for that, the longest that it can take.
            (None, Some(&split)) => split.saturating_mul(most).min(limit.max(split.saturating_mul(least))),
            (None, None) => (LENGTH * of_a_token).min(limit),
        };
        if let Some(p) = positions
            && unit.is_tokens()
            && length as usize > p
        {
            let names: Vec<&str> = known.iter().filter(|k| k.positions == Some(p)).map(|k| k.identity.name.as_str()).collect();
            return Err(Error::input(format!(
                "chunks of {length} tokens are longer than the {p} positions of {}; choose a smaller --length or --splits",
                names[0]
            )));
        }
        if splits.is_empty() {
            let first = if unit.is_tokens() { 2 } else { LEAST_BYTES };
            splits = (1..31).map(|k| 1 << k).take_while(|&l: &u32| l as u64 * least as u64 <= length as u64).filter(|&l| l >= first).collect();
            if splits.is_empty() {
                return Err(Error::input(format!("no split fits into chunks of {length} {unit}; choose a larger --length")));
            }
        }
        let terms = Terms::of(&self.estimators);
        let pairing = match self.pairing {
            PairingChoice::Matched => Pairing::Matched,
            PairingChoice::Published => Pairing::Published,
        };
        let cutting = match self.pieces {
            PiecesChoice::Random => Cutting::Chunks,
            PiecesChoice::Published => Cutting::Pieces,
        };
        self.refuse_what_cannot_be_had(pairing, &ratios)?;
        let foreign = self.foreign.unwrap_or(u32::from(terms.cross || pairing == Pairing::Published));
        let design = Design { pairing, cutting, unit, length, splits, ratios, foreign, terms };
        design.check()?;
        Ok(design)
    }

    /// Estimators that this pairing and these ratios leave nothing of are better refused before the work than after.
    fn refuse_what_cannot_be_had(&self, pairing: Pairing, ratios: &[u32]) -> Result<()> {
        let same_tail = [Estimator::L1out, Estimator::Infonce, Estimator::Profile];
        if pairing == Pairing::Published
            && let Some(e) = self.estimators.iter().find(|e| same_tail.contains(e))
        {
            return Err(Error::input(format!("{e} cannot be had with --pairing published; leave it out of --estimators or take --pairing matched")));
        }
        if let Some(x) = self.until_se {
            if !(x > 0.0 && x.is_finite()) {
                return Err(Error::input(format!("--until-se {x} is no standard error in nats; give a number above 0")));
            }
            // The published lists follow each other by label: their first groups are no sample of all.
            if pairing == Pairing::Published {
                return Err(Error::input("--until-se goes by the first groups of a random order; leave it out or take --pairing matched"));
            }
            if !self.estimators.contains(&Estimator::Direct) || !ratios.contains(&2) {
                return Err(Error::input("--until-se watches direct at the ratio 2; add direct to --estimators and 2 to --ratios, or leave it out"));
            }
        }
        if self.pieces == PiecesChoice::Published && self.estimators.contains(&Estimator::Profile) {
            let what = "profile needs texts from random places, and --pieces published begins each with a sentence; leave it out of --estimators or take --pieces random";
            return Err(Error::input(what));
        }
        if self.unit == UnitChoice::Bytes && self.estimators.contains(&Estimator::DirectNgram) {
            return Err(Error::input(
                "direct-ngram corrects by n-grams of tokens and cannot be had with --unit bytes; leave it out of --estimators or take --unit tokens",
            ));
        }
        if self.estimators.contains(&Estimator::Profile) && !ratios.contains(&2) {
            return Err(Error::input("profile is defined for the ratio 2 alone; add 2 to --ratios or leave it out of --estimators"));
        }
        Ok(())
    }

    /// What `run.json` says of a run.
    fn logged(&self, models: Vec<Value>, notices: Vec<String>) -> Value {
        json!({ "shard": self.shard, "models": models, "notices": notices })
    }

    /// Says what a measurement takes, of which `own` groups are to be scored here, with the time of one tree as its measure of speed.
    fn dry_run(&self, design: &Design, groups: &Groups, own: usize, known: &[Known], open: Vec<OpenModel>) -> Result<()> {
        let cells = design.splits.len() * (FIRST + design.ratios.len() * design.members());
        let texts = groups.bytes();
        let mut models = Vec::new();
        for (i, (mut model, k)) in open.into_iter().zip(known).enumerate() {
            let groups = groups.of(i);
            let rows_of_first = design.rows_of(&groups[0])?;
            let rows: usize = match design.unit {
                Unit::Tokens => rows_of_first.iter().sum::<usize>() * groups.len(),
                Unit::Bytes => groups.iter().map(|g| design.rows_of(g).map(|rows| rows.iter().sum::<usize>())).sum::<Result<usize>>()?,
            };
            let mut planned = Planned::new(design, k.identity.start);
            planned.add(0, 0, &groups[0])?;
            let clock = Instant::now();
            model.engine.score(&planned.forest, &planned.readout, &mut planned.collector())?;
            let speed = rows_of_first[0] as f64 / clock.elapsed().as_secs_f64();
            // Memory as of a usual wave: as many texts as make one.
            let each = rows_of_first.iter().sum::<usize>().max(1);
            let mut wave = Planned::new(design, k.identity.start);
            for (g, group) in groups.iter().take(WAVE_ROWS.div_ceil(each)).enumerate() {
                for m in 0..design.members() {
                    wave.add(g as u32, m, group)?;
                }
            }
            let tokens: usize = groups.iter().flatten().map(|t| t.tokens.len()).sum();
            let disk = own * (4 * tokens / groups.len() + 8 * cells * design.members());
            models.push((k, rows, speed, model.engine.needed_bytes(&wave.forest, &wave.readout)?, disk));
        }
        let rows = models.iter().map(|m| m.1).max().unwrap_or(0);
        let disk = models.iter().map(|m| m.4).max().unwrap_or(0);
        if self.json {
            let each = models.iter().map(
                |(k, rows, speed, memory, _)| json!({ "name": k.identity.name, "tokens": rows, "tokens_per_second": speed, "seconds": *rows as f64 / speed, "memory_bytes": memory }),
            );
            let told = json!({ "chunks": own * design.members(), "groups": own, "tokens": rows, "text_bytes": texts, "disk_bytes": disk, "models": each.collect::<Vec<_>>() });
            return say_json(&told);
        }
        let most = if self.until_se.is_some() { "at most " } else { "" };
        say(&format!("{most}{own} groups of {} chunks of {} {}; {rows} tokens to feed a model", design.members(), design.length, design.unit))?;
        for (k, rows, speed, memory, _) in models {
            let time = duration(rows as f64 / speed);
            say(&format!("{}: about {time} at {speed:.0} tokens/s (one text timed); {:.1} MB for weights and a wave", k.identity.name, memory as f64 / 1e6))?;
        }
        say(&format!("texts in memory: {:.1} MB; disk: at most about {:.1} MB a model", texts as f64 / 1e6, disk as f64 / 1e6))
    }
}

fn told(model: &Known, done: &Done) -> Value {
    let speed = if done.seconds > 0.0 { Some(done.fed as f64 / done.seconds) } else { None };
    json!({ "name": model.identity.name, "arithmetic": model.arithmetic, "trees": done.trees, "trees_total": done.trees_total,
        "tokens_fed": done.fed, "tokens_total": done.rows_total, "seconds": done.seconds, "tokens_per_second": speed })
}
