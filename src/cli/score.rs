//! `hilberg score`: log q of documents.

use super::options::{ModelArgs, open_model};
use super::{say, say_json};
use crate::corpus::{Corpus, ReadOptions, TokenWidth, TokenizedDocuments, Tokenizer};
use crate::error::{Error, Result};
use crate::score::{Detail, ScoreOptions, Summary, create_writer, score_corpus};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Log-probabilities of documents, to Parquet or JSON lines
#[derive(clap::Args, Debug)]
pub struct ScoreArgs {
    /// Model folder
    #[arg(short, long, value_name = "DIR")]
    model: PathBuf,
    /// Texts: .txt, .jsonl, .npy, .bin files, or folders of them
    #[arg(required = true, value_name = "CORPUS")]
    corpus: Vec<PathBuf>,
    /// Where to write, by ending: .jsonl or .parquet
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Every token's log-probability too, not only each document's sum
    #[arg(long, requires = "out")]
    per_token: bool,
    /// What was asked for, without scoring: documents, tokens, memory
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    corpus_options: CorpusArgs,
    #[command(flatten)]
    run: ModelArgs,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

/// How corpora are read.
#[derive(Clone, Debug, clap::Args)]
pub struct CorpusArgs {
    /// The field of a JSON line that holds the text
    #[arg(long, default_value = "text", value_name = "NAME", help_heading = "Corpus")]
    pub text_field: String,
    /// Token ids in .bin files: u16 or u32
    #[arg(long, default_value = "u16", value_name = "TYPE", value_parser = ["u16", "u32"], help_heading = "Corpus")]
    pub token_dtype: String,
    /// tokenizer.json to use [default: the model folder's]
    #[arg(long, value_name = "PATH", help_heading = "Corpus")]
    pub tokenizer: Option<PathBuf>,
}

impl CorpusArgs {
    /// Lists the corpus and opens the tokenizer if some file holds text. Notices go to standard error.
    ///
    /// # Errors
    /// A path or a tokenizer that cannot be read; a tokenizer with more ids than `vocab`.
    pub fn open(&self, paths: &[PathBuf], model: &Path, vocab: usize) -> Result<(Corpus, Option<Tokenizer>)> {
        let token_width = if self.token_dtype == "u32" { TokenWidth::U32 } else { TokenWidth::U16 };
        let corpus = Corpus::open(paths, ReadOptions { text_field: self.text_field.clone(), token_width })?;
        let tokenizer = if corpus.needs_tokenizer() {
            let path = self.tokenizer.clone().unwrap_or_else(|| model.join("tokenizer.json"));
            if self.tokenizer.is_none() && !path.exists() {
                return Err(Error::file(model, "has no tokenizer.json, and the corpus holds text; give --tokenizer PATH, or token files (.npy, .bin)"));
            }
            let t = Tokenizer::open(&path)?;
            t.check_vocab(vocab)?;
            Some(t)
        } else {
            None
        };
        for n in corpus.notices().iter().chain(tokenizer.iter().flat_map(|t| t.notices())) {
            eprintln!("note: {n}");
        }
        Ok((corpus, tokenizer))
    }
}

#[derive(serde::Serialize)]
struct Said {
    model: String,
    backend: String,
    start: Option<u32>,
    #[serde(flatten)]
    summary: Summary,
    seconds: f64,
    tokens_per_second: f64,
}

/// Runs it.
///
/// # Errors
/// Whatever is wrong with the model, the corpus or the output's place.
pub fn run(args: &ScoreArgs) -> Result<()> {
    let mut model = open_model(&args.run, &args.model)?;
    let vocab = model.engine.spec().vocab;
    let (corpus, tokenizer) = args.corpus_options.open(&args.corpus, &args.model, vocab)?;
    let documents = TokenizedDocuments::new(corpus.documents(), tokenizer.as_ref(), vocab);
    if args.dry_run {
        return dry_run(args, &model.engine, documents);
    }
    let detail = if args.per_token { Detail::Token } else { Detail::Document };
    let mut writer = args.out.as_ref().map(|p| create_writer(p, detail)).transpose()?;
    let options = ScoreOptions { detail, ..ScoreOptions::new(model.start.as_ref().map(|s| s.id)) };
    let bar = meter(args.quiet);
    let begun = Instant::now();
    let summary =
        score_corpus(&mut model.engine, documents, &options, &mut |row| writer.as_mut().map_or(Ok(()), |w| w.write(row)), &mut |documents, tokens| {
            bar.set_message(format!("{documents} documents, {tokens} tokens, {:.0} tokens/s", tokens as f64 / begun.elapsed().as_secs_f64()));
            bar.tick();
        })?;
    bar.finish_and_clear();
    if let Some(w) = writer {
        w.finish()?;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let said = Said {
        model: model.name,
        backend: model.engine.backend(),
        start: model.start.as_ref().map(|s| s.id),
        tokens_per_second: summary.tokens as f64 / seconds,
        summary,
        seconds,
    };
    if args.json { say_json(&said) } else { print(&said, model.start.as_ref().map(|s| s.source.as_str())) }
}

fn print(said: &Said, start: Option<&str>) -> Result<()> {
    let s = &said.summary;
    let with = |v: Option<f64>, e: Option<f64>, digits: usize| match (v, e) {
        (Some(v), Some(e)) => format!("{v:.digits$} ± {e:.digits$}"),
        (Some(v), None) => format!("{v:.digits$}"),
        _ => "–".into(),
    };
    say(&format!("model           {} ({})", said.model, said.backend))?;
    say(&format!("start token     {}", said.start.map_or("none".into(), |id| format!("{id} ({})", start.unwrap_or("")))))?;
    say(&format!("documents       {}", s.documents))?;
    say(&format!("tokens          {}", s.tokens))?;
    say(&format!("log q           {:.4} nats", s.sum))?;
    say(&format!("nats per token  {}", with(s.nats_per_token, s.nats_per_token_error, 4)))?;
    say(&format!("bits per byte   {}", with(s.bits_per_byte, s.bits_per_byte_error, 4)))?;
    say(&format!("perplexity      {}", with(s.perplexity, None, 3)))?;
    say(&format!("speed           {:.0} tokens/s ({:.1} s)", said.tokens_per_second, said.seconds))
}

/// A spinner on a terminal, nothing elsewhere.
fn meter(quiet: bool) -> indicatif::ProgressBar {
    if quiet || !std::io::stderr().is_terminal() { indicatif::ProgressBar::hidden() } else { indicatif::ProgressBar::new_spinner() }
}

#[derive(serde::Serialize)]
struct Forecast {
    documents: u64,
    tokens: u64,
    longest_document: usize,
    weight_bytes: usize,
}

fn dry_run(args: &ScoreArgs, engine: &super::options::AnyEngine, documents: impl Iterator<Item = Result<crate::corpus::TokenizedDocument>>) -> Result<()> {
    let mut f = Forecast { documents: 0, tokens: 0, longest_document: 0, weight_bytes: engine.weight_bytes() };
    for d in documents {
        let n = d?.tokens.len();
        f.documents += 1;
        f.tokens += n as u64;
        f.longest_document = f.longest_document.max(n);
    }
    if args.json {
        return say_json(&f);
    }
    say(&format!("documents         {}", f.documents))?;
    say(&format!("tokens            {}", f.tokens))?;
    say(&format!("longest document  {} tokens", f.longest_document))?;
    say(&format!("packed weights    {} MiB", f.weight_bytes.div_ceil(1 << 20)))
}
