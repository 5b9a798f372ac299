//! `hilberg two-point`: mutual information of two tokens at a distance, from counts.

use super::budget::Budget;
use super::corpus::CorpusArgs;
use super::options::Bytes;
use super::progress::Amount;
use super::run_log::RunLog;
use super::signals::{Heeding, stop_flag};
use super::{say, say_json};
use crate::corpus::{Corpus, Room, Survey, SymbolUnit, Tokenizer};
use crate::error::{Error, OneLine, Result};
use crate::estimate::{Marginals, PairCounts, TwoPoint, TwoPointOptions, shuffled};
use crate::pairs::{Folder, Limits, PairCounter, Plan};
use crate::report::{TwoPointReport, as_text};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// What a symbol is, as the option spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UnitChoice {
    /// Tokens of --tokenizer, or of token files
    Tokens,
    /// Bytes of text; bases and residues of FASTA
    Bytes,
    /// What stands between white space
    Words,
}

/// Whose entropy stands for that of a single token, as the option spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MarginalsChoice {
    /// H(w_t) + H(w_t+d) of the tokens that are in pairs
    Pairs,
    /// 2 H of all tokens, as published
    Singles,
}

/// The largest default distance.
const FARTHEST: u64 = 8192;

/// Coverage of intervals.
const LEVEL: f64 = 0.95;

/// Measure the mutual information of two tokens at a distance d, I_d, and how it decays with d; no model is needed
///
/// Every pair of tokens at each distance inside a document is counted. Errors come from leaving out folds of documents; shuffled pairs show the bias.
#[derive(Args, Debug)]
pub struct TwoPointArgs {
    #[command(flatten)]
    corpus: CorpusArgs,
    /// What is counted, and what distances count
    #[arg(long, value_enum, default_value = "tokens")]
    unit: UnitChoice,
    /// Distances d [default: powers of two up to 8192, as far as documents reach]
    #[arg(long, value_delimiter = ',', value_name = "DISTANCES", value_parser = clap::value_parser!(u64).range(1..))]
    distances: Vec<u64>,
    /// Whose entropy stands for that of a single token
    #[arg(long, value_enum, default_value = "pairs")]
    marginals: MarginalsChoice,
    /// Leave the shuffled pairs out, which take about as long as the others
    #[arg(long)]
    no_baseline: bool,
    /// Seed of the shuffled pairs
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of the counts and the results; started again with the same options, the count goes on [default: nothing is kept]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Bound on what is allocated: 500M, 2G; what does not fit goes to disk, to --out or the system's folder for temporary files [default: four fifths of
    /// what is free]
    #[arg(long, value_name = "SIZE", help_heading = "Model and machine")]
    memory: Option<Bytes>,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", help_heading = "Model and machine", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Print result.json instead of tables
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// Whatever is wrong with options, texts or the output folder; an interruption.
pub fn run(args: &TwoPointArgs) -> Result<()> {
    let Some(threads) = args.threads else { return args.count() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into()).build();
    pool.map_err(|e| Error::input(format!("--threads {threads}: {e}")))?.install(|| args.count())
}

impl TwoPointArgs {
    fn count(&self) -> Result<()> {
        let log = RunLog::begin();
        if self.corpus.group_field.is_some() || self.corpus.group_by.is_some() {
            return Err(Error::input("two-point has no results by label; leave --group-field and --group-by out, or count the texts of a label by themselves"));
        }
        let unit = match self.unit {
            UnitChoice::Tokens => SymbolUnit::Tokens,
            UnitChoice::Bytes => SymbolUnit::Bytes,
            UnitChoice::Words => SymbolUnit::Words,
        };
        let distances = self.distances()?;
        let corpus = self.corpus.open()?;
        let tokenizer = self.tokenizer(&corpus, unit)?;
        let room = Budget::of(self.memory).without_engine();
        let survey = Survey::read(&mut corpus.documents(), unit, tokenizer.as_ref(), room / 4)?;
        let mut notices: Vec<String> = corpus.notices().iter().chain(tokenizer.iter().flat_map(Tokenizer::notices)).chain(survey.notices()).cloned().collect();
        if !self.quiet {
            notices.iter().for_each(|n| eprintln!("note: {n}"));
        }
        let plan = Plan::new(survey.fingerprint().clone(), unit.to_string(), distances.clone(), self.seed);
        let folder = self.out.as_ref().map(|out| Folder::open(out, &plan)).transpose()?;
        // Text on its way to tokens takes much; what comes as tokens, or stays bytes, little.
        let rest = room - survey.memory();
        let (texts, pairs) = if tokenizer.is_some() { (rest / 2, rest / 2) } else { (rest / 8, rest / 4 * 3) };
        let limits = Limits { kinds: survey.kinds(), distances, documents: survey.fingerprint().documents, memory: pairs, stop: Some(stop_flag()) };
        let folds = limits.folds();
        let counted = self.pairs(&corpus, &survey, tokenizer.as_ref(), Room(texts), limits, folder.as_ref());
        let counts = match counted {
            Ok(counts) => counts,
            Err(e) => {
                // The error matters more than that the log cannot be written.
                let _ = folder.map(|f| log.write(f.path(), false, json!({ "notices": notices })));
                return Err(e);
            }
        };
        let (documents, marginals) = (survey.fingerprint().documents, self.marginals());
        let result = TwoPoint::of(&counts, &TwoPointOptions { marginals, level: LEVEL, documents, folds });
        if result.points.is_empty() {
            return Err(Error::input(format!("no document has two {unit} at a distance of {}; give longer texts or smaller --distances", plan.distances[0])));
        }
        if let Some(d) = self.distances.iter().filter(|d| result.points.iter().all(|p| p.distance != **d)).min() {
            let notice = format!("no document is longer than {d} {unit}: there are no pairs at this distance or a larger one");
            // What was asked for and is not there is no progress.
            eprintln!("note: {notice}");
            notices.push(notice);
        }
        let report = TwoPointReport { name: self.name(), corpus: plan.corpus, unit: plan.unit, seed: self.seed, result };
        if let Some(folder) = &folder {
            report.write(folder.path())?;
            log.write(folder.path(), true, json!({ "notices": notices }))?;
        }
        if self.json {
            return say_json(&report);
        }
        say(&as_text(&report.blocks()))?;
        match &folder {
            Some(folder) if !self.quiet => say(&format!("{}: result.json, result.csv, figure.png, figure.svg", folder.path().display())),
            _ => Ok(()),
        }
    }

    fn distances(&self) -> Result<Vec<u64>> {
        if self.distances.is_empty() {
            return Ok((0..).map(|k| 1 << k).take_while(|&d| d <= FARTHEST).collect());
        }
        let mut distances = self.distances.clone();
        distances.sort_unstable();
        if let Some(twice) = distances.windows(2).find(|d| d[0] == d[1]) {
            return Err(Error::input(format!("--distances names {} twice", twice[0])));
        }
        Ok(distances)
    }

    fn marginals(&self) -> Marginals {
        match self.marginals {
            MarginalsChoice::Pairs => Marginals::Pairs,
            MarginalsChoice::Singles => Marginals::Singles,
        }
    }

    /// What the texts are called: the last names of the arguments.
    fn name(&self) -> String {
        let last = |path: &PathBuf| path.file_name().map_or_else(|| path.display().to_string(), |n| n.to_string_lossy().into_owned());
        let names: Vec<String> = self.corpus.corpus.iter().take(3).map(last).collect();
        let more = if self.corpus.corpus.len() > names.len() { ", …" } else { "" };
        OneLine(format_args!("{}{more}", names.join(", "))).to_string()
    }

    fn tokenizer(&self, corpus: &Corpus, unit: SymbolUnit) -> Result<Option<Tokenizer>> {
        match (&self.corpus.tokenizer, unit == SymbolUnit::Tokens && corpus.needs_tokenizer()) {
            (Some(path), true) => Tokenizer::open(path).map(Some),
            (None, true) => Err(Error::input(
                "the corpus has text, and tokens of text are a tokenizer's: name one with --tokenizer FILE|MODEL, or count --unit bytes or --unit words",
            )),
            (Some(path), false) => Err(Error::file(path, format!("is not needed: {unit} are counted of what has them; leave --tokenizer out"))),
            (None, false) => Ok(None),
        }
    }

    /// The counts at all distances: those that the folder has, and the others.
    fn pairs(
        &self,
        corpus: &Corpus,
        survey: &Survey,
        tokenizer: Option<&Tokenizer>,
        room: Room,
        limits: Limits,
        folder: Option<&Folder>,
    ) -> Result<Vec<PairCounts>> {
        let _heeding = Heeding::new();
        let known = |distance| folder.map_or(Ok(None), |f| f.counts(distance));
        let keep = |counts: &PairCounts| folder.map_or(Ok(()), |f| f.keep(counts));
        let there = std::iter::once(0).chain(limits.distances.iter().copied()).map(known).collect::<Result<Option<Vec<_>>>>()?;
        let mut counts = match there {
            Some(counts) => {
                if let Some(folder) = folder {
                    folder.remove_runs()?;
                }
                counts
            }
            None => {
                let runs = folder.map(Folder::runs);
                let mut counter = PairCounter::open(limits, runs.as_deref())?;
                if let Some(first) = counter.next_document() {
                    self.read(corpus, survey, tokenizer, room, first, &mut counter)?;
                }
                counter.finish(known, keep)?
            }
        };
        for of in counts.iter_mut().filter(|c| c.distance > 0) {
            match (self.no_baseline, &of.shuffled) {
                (true, _) => of.shuffled = None,
                (false, Some(_)) => {}
                (false, None) => {
                    if stop_flag().load(Ordering::Relaxed) {
                        return Err(Error::Interrupted);
                    }
                    of.shuffled = Some(shuffled(&of.first.all, &of.second.all, self.seed.wrapping_add(of.distance)));
                    keep(of)?;
                }
            }
        }
        Ok(counts)
    }

    /// Reads the documents from number `first` on into the counter.
    fn read(&self, corpus: &Corpus, survey: &Survey, tokenizer: Option<&Tokenizer>, room: Room, first: u64, counter: &mut PairCounter) -> Result<()> {
        let stop = stop_flag();
        let mut meter = Amount::new("two-point", survey.fingerprint().bytes, self.quiet);
        let (mut documents, mut bytes, mut symbols) = (first, 0, 0);
        for document in survey.symbols(corpus.documents_from(first), tokenizer, room) {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::Interrupted);
            }
            let document = document?;
            counter.add(&document.symbols)?;
            (documents, bytes, symbols) = (documents + 1, bytes + document.bytes, symbols + document.symbols.len() as u64);
            meter.show(bytes, &format!("{documents} documents, {symbols} {}", survey.unit()));
        }
        meter.finish();
        if documents != survey.fingerprint().documents {
            return Err(Error::input("the corpus has changed while it was read; start again"));
        }
        Ok(())
    }
}
