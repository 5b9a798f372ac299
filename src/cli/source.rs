//! `hilberg source`: processes whose information is known exactly, to check measurements against.

use super::corpus::CorpusArgs;
use super::source_args::ProcessArgs;
use super::source_figure::figure;
use super::{say, say_json};
use crate::corpus::{TokenizedDocuments, Tokenizer};
use crate::error::{Error, Result};
use crate::estimate::Estimator;
use crate::source::{Asked, Expectation, NgramFit, Parameters, Row, check_ngram, describe, draw, ngram_network, plant};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// Processes of known information: list it, draw texts, plant a network that knows them
#[derive(Args, Debug)]
pub struct SourceArgs {
    /// What to do
    #[command(subcommand)]
    action: Action,
}

/// Where a planted model goes.
#[derive(Args, Debug)]
struct Planting {
    /// Longest text that it must score, in tokens; a Mamba scores any
    #[arg(long, default_value_t = 2048)]
    positions: usize,
    /// The folder to write
    #[arg(long)]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List the exact information and what every estimator expects
    ///
    /// A number without ± has a closed form or was summed over all texts; one with ± is the mean over drawn groups, with its standard error.
    Exact {
        #[command(flatten)]
        process: ProcessArgs,
        /// Splits ℓ, in tokens
        #[arg(long, value_delimiter = ',', default_values_t = [2, 4, 8, 16, 32, 64, 128, 256, 512])]
        splits: Vec<u32>,
        /// Ratios r = L/ℓ
        #[arg(long, value_delimiter = ',', default_values_t = [2])]
        ratios: Vec<u32>,
        /// Estimators: direct, direct-ngram, vclub, l1out, infonce, profile
        #[arg(long, value_delimiter = ',', default_values = Estimator::ALL.map(Estimator::name), value_name = "NAMES")]
        estimators: Vec<Estimator>,
        /// Foreign heads K of a tail, for l1out and infonce
        #[arg(long, default_value_t = 1)]
        foreign: u32,
        /// Groups drawn for what has no closed form
        #[arg(long, default_value_t = 4000)]
        groups: u32,
        /// Seed of these draws, which are other texts than `source draw` makes of it
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Draw documents of token ids into a NumPy array
    Draw {
        #[command(flatten)]
        process: ProcessArgs,
        /// Number of documents
        #[arg(long, default_value_t = 256)]
        documents: usize,
        /// Tokens of a document
        #[arg(long, default_value_t = 1024)]
        length: usize,
        /// Seed of the draws
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// The .npy file to write
        #[arg(long)]
        out: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a model folder whose weights hold the exact conditionals
    Plant {
        #[command(flatten)]
        process: ProcessArgs,
        /// Whose layout [default: mamba with --state, else llama]
        #[arg(long, value_enum)]
        layout: Option<Layout>,
        #[command(flatten)]
        to: Planting,
    },
    /// Fit an n-gram model to a corpus, with Kneser-Ney smoothing, and write a model folder whose weights hold it
    Fit {
        #[command(flatten)]
        corpus: CorpusArgs,
        /// n: 1 or 2 for a Llama of up to 4096 tokens, 3 for a Mamba of up to 32
        #[arg(long, default_value_t = 2)]
        order: usize,
        #[command(flatten)]
        to: Planting,
    },
    /// Draw what planted models were measured to hold beside what each must hold: I by direct, against ℓ
    Figure {
        /// Output folder of `hilberg measure`, with direct among its estimators
        #[arg(value_name = "DIR")]
        record: PathBuf,
        /// The planted models that were measured
        #[arg(short, long = "model", required = true, value_name = "MODEL")]
        models: Vec<PathBuf>,
        /// The figure to write, .png or .svg
        #[arg(long)]
        out: PathBuf,
    },
}

/// How weights are laid out.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq)]
enum Layout {
    /// Llama: attention over the whole past, every fact kept
    Llama,
    /// Mamba: S state numbers (--state), which hold S/2 facts of a Santa Fe process
    Mamba,
}

/// Runs `hilberg source`.
///
/// # Errors
/// Parameters outside their range, files that exist or cannot be written.
pub fn run(args: SourceArgs) -> Result<()> {
    match args.action {
        Action::Exact { process, splits, ratios, estimators, foreign, groups, seed, json } => {
            let longest = splits.iter().max().zip(ratios.iter().max()).map_or(1, |(&l, &r)| l as u64 * r as u64);
            let source = process.source(longest)?;
            let rows = describe(source.known(), &splits, &ratios, &estimators, Asked { foreign, groups, seed, ..Asked::default() })?;
            if json { say_json(&rows) } else { say(&listed(&rows, &estimators)) }
        }
        Action::Draw { process, documents, length, seed, out, json } => {
            draw(&process.parameters()?.process()?, documents, length, seed, &out)?;
            if json {
                say_json(&serde_json::json!({"out": out, "documents": documents, "length": length, "seed": seed}))
            } else {
                say(&format!("{documents} documents of {length} tokens in {}", out.display()))
            }
        }
        Action::Plant { process, layout, to: Planting { positions, out, json } } => {
            let parameters = process.parameters()?;
            let fixed = matches!(parameters, Parameters::SantaFe { state: Some(_), .. });
            match layout {
                Some(Layout::Mamba) if !fixed => {
                    return Err(Error::input("--layout mamba holds the facts of --process santa-fe in --state S numbers; give both"));
                }
                Some(Layout::Llama) if fixed => return Err(Error::input("--layout llama keeps every fact; leave --state out")),
                _ => plant(&parameters, positions, &out)?,
            }
            match (json, fixed) {
                (true, true) => say_json(&serde_json::json!({"out": out})),
                (true, false) => say_json(&serde_json::json!({"out": out, "positions": positions})),
                (false, true) => say(&format!("a model for texts of any length in {}", out.display())),
                (false, false) => say(&format!("a model for texts of up to {positions} tokens in {}", out.display())),
            }
        }
        Action::Fit { corpus, order, to: Planting { positions, out, json } } => {
            let symbols = fit(&corpus, order, positions, &out)?;
            if json {
                say_json(&serde_json::json!({"out": out, "order": order, "tokens": symbols}))
            } else {
                say(&format!("a model of {order}-grams of {symbols} tokens in {}", out.display()))
            }
        }
        Action::Figure { record, models, out } => {
            figure(&record, &models, &out)?;
            say(&out.display().to_string())
        }
    }
}

/// Counts a corpus' n-grams and plants their model, with its tokenizer where the corpus has text. ⊥ is the id after the last.
fn fit(args: &CorpusArgs, order: usize, positions: usize, out: &Path) -> Result<usize> {
    let corpus = args.open()?;
    let tokenizer = match &args.tokenizer {
        None if corpus.needs_tokenizer() => return Err(Error::input("the corpus has text; give the --tokenizer that makes tokens of it")),
        Some(path) if !corpus.needs_tokenizer() => return Err(Error::file(path, "is not needed: the corpus consists of token files; leave --tokenizer out")),
        path => path.as_deref().map(Tokenizer::open).transpose()?,
    };
    let documents = |vocab: usize| TokenizedDocuments::new(corpus.documents(), tokenizer.as_ref(), vocab);
    let symbols = match &tokenizer {
        Some(t) => t.vocab_size(),
        // Token files do not say how many there are.
        None => documents(u32::MAX as usize).try_fold(0, |most, d| Ok::<_, Error>(d?.tokens.iter().fold(most, |most, &t| most.max(t as usize + 1))))?,
    };
    // Before a corpus is counted for nothing.
    check_ngram(order, symbols, positions)?;
    let mut fit = NgramFit::new(order, symbols)?;
    for document in documents(symbols) {
        fit.add(&document?.tokens)?;
    }
    let network = ngram_network(&fit.finish()?, positions)?;
    match &tokenizer {
        Some(t) => {
            let bytes = std::fs::read(t.path()).map_err(Error::io(t.path()))?;
            network.write_with(out, &[("tokenizer.json", &bytes)])?;
        }
        None => network.write(out)?,
    }
    Ok(symbols)
}

/// A table of what is known, a column an estimator.
fn listed(rows: &[Row], estimators: &[Estimator]) -> String {
    let number = |e: Option<&Expectation>| match e {
        None => "–".to_string(),
        Some(Expectation { value, se: None }) => format!("{value:.6}"),
        Some(Expectation { value, se: Some(se) }) => format!("{value:.6} ± {se:.6}"),
    };
    let heads = ["I"].into_iter().chain(estimators.iter().map(|e| e.name()));
    let mut lines = vec![heads.map(String::from).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|r| std::iter::once(Some(&r.information)).chain(estimators.iter().map(|e| r.expected.get(e))).map(number).collect()));
    let widths: Vec<usize> = (0..=estimators.len()).map(|c| lines.iter().map(|l| l[c].chars().count()).max().unwrap_or(0)).collect();
    let places = std::iter::once(format!("{:>6} {:>3}", "ℓ", "r")).chain(rows.iter().map(|r| format!("{:>6} {:>3}", r.split, r.ratio)));
    let line = |(i, (place, cells)): (usize, (String, &Vec<String>))| {
        let cells: String = cells.iter().zip(&widths).map(|(c, w)| format!("  {c:>w$}")).collect();
        format!("{place}{cells}{}", if i == 0 { "   (nats)" } else { "" })
    };
    places.zip(&lines).enumerate().map(line).collect::<Vec<_>>().join("\n")
}
