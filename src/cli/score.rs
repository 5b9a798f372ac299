//! `hilberg score`: log q of documents, or of completions after prompts.

use super::budget::Budget;
use super::corpus::CorpusArgs;
use super::engine::AnyEngine;
use super::options::{ModelArgs, OpenModel, open_model};
use super::progress::Counter;
use super::score_rows::{self, PromptArgs};
use super::{say, say_json};
use crate::corpus::{Corpus, TokenizedDocument, TokenizedDocuments, Tokenizer};
use crate::engine::Scorer;
use crate::error::{Error, Result};
use crate::score::{Detail, ScoreOptions, ScoreWriter, Summary, Windows, create_writer, score_corpus};
use clap::Args;
use std::path::PathBuf;
use std::time::Instant;

/// Score texts: log-probabilities of documents and tokens, or of completions after prompts, under a model
///
/// Without more, every document is scored whole. JSON lines with a field "prompt" and one "completion" or "completions" (and no field of text) are rows: each completion is scored given
/// its prompt, which is context only and computed once.
#[derive(Args, Debug)]
pub struct ScoreArgs {
    /// The model's folder
    #[arg(short, long, value_name = "MODEL")]
    pub model: PathBuf,
    #[command(flatten)]
    pub(super) corpus: CorpusArgs,
    /// Where a row a document is written: FILE.jsonl or FILE.parquet
    #[arg(long, value_name = "FILE")]
    pub(super) out: Option<PathBuf>,
    /// Write every token's log-probability, too
    #[arg(long, requires = "out")]
    per_token: bool,
    /// Score a text in windows of N tokens, the start token counted, instead of whole: each token once, given what its window holds before it
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Tokens from one window's beginning to the next's; all but the first window's tokens see at least N − S before them [default: N / 2]
    #[arg(long, value_name = "S", requires = "window")]
    stride: Option<usize>,
    #[command(flatten)]
    pub(super) prompts: PromptArgs,
    /// Say tokens, time, memory and disk, and score nothing but a sample
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Say nothing but the summary and errors
    #[arg(short, long)]
    pub(super) quiet: bool,
    #[command(flatten)]
    pub(super) options: ModelArgs,
}

impl ScoreArgs {
    pub(super) fn detail(&self) -> Detail {
        if self.per_token { Detail::Token } else { Detail::Document }
    }
}

/// What `--dry-run` says.
#[derive(Debug, serde::Serialize)]
pub(super) struct Forecast {
    /// Documents, or rows.
    pub documents: u64,
    /// Tokens that would be scored, and for rows those of prompts that would be computed.
    pub tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_tokens: Option<u64>,
    /// Tokens of the longest document, or of the longest prompt with a completion, and how many the model takes.
    pub longest: u64,
    pub positions: Option<usize>,
    pub seconds: Option<f64>,
    pub weight_bytes: usize,
    /// Of the output, about.
    pub disk_bytes: u64,
}

/// Runs `hilberg score`.
///
/// # Errors
/// Whatever is wrong with model, corpus or output, as one sentence.
pub fn run(args: &ScoreArgs) -> Result<()> {
    let corpus = args.corpus.open()?;
    if let Some(out) = &args.out
        && let Ok(real) = out.canonicalize()
        && corpus.sources().iter().any(|s| s.path.canonicalize().is_ok_and(|p| p == real))
    {
        return Err(Error::file(out, "is part of the corpus; choose another --out"));
    }
    let rows = score_rows::asked(args, &corpus)?;
    if rows.is_some() && args.window.is_some() {
        return Err(Error::input("--window slides over documents; rows of prompt and completions are scored whole"));
    }
    let mut model = open_model(&args.options, &args.model)?;
    if let Some(fields) = rows {
        return score_rows::run(args, &corpus, &fields, &mut model);
    }
    let tokenizer = args.corpus.tokenizer(&corpus, &args.model, model.engine.vocab())?;
    notes(args, &corpus, tokenizer.as_ref(), &model);
    let positions = model.engine.max_positions();
    let windows = args.window.map(|n| Windows::new(n, args.stride.unwrap_or(n / 2), positions)).transpose()?;
    let options = ScoreOptions { detail: args.detail(), windows, ..ScoreOptions::new(model.start.as_ref().map(|s| s.id)) };
    if args.dry_run {
        let forecast = forecast(&corpus, tokenizer.as_ref(), &mut model, &options)?;
        // The last token is not fed.
        let fed = (forecast.longest + u64::from(options.start.is_some())).saturating_sub(1);
        if let Some(most) = forecast.positions.filter(|&p| windows.is_none() && fed > p as u64) {
            let what = format!(
                "a document of {} tokens would be refused: the model knows {most} positions; slide a window over it (--window), cut the texts, or choose a model for longer ones",
                forecast.longest
            );
            return Err(Error::input(what));
        }
        return if args.json { say_json(&forecast) } else { tell(&forecast, "documents") };
    }
    let mut documents = corpus.documents();
    let tokenized = TokenizedDocuments::within(Budget::of(args.options.memory).room_beside_engine(), &mut documents, tokenizer.as_ref(), model.engine.vocab());
    let summary = written(args, "documents", &mut model.engine, |scorer, write, progress| score_corpus(scorer, tokenized, &options, write, progress))?;
    if !args.quiet {
        documents.notices().iter().for_each(|n| eprintln!("note: {n}"));
    }
    if args.json { say_json(&summary) } else { table(&summary) }
}

/// What the person should know before the work begins.
pub(super) fn notes(args: &ScoreArgs, corpus: &Corpus, tokenizer: Option<&Tokenizer>, model: &OpenModel) {
    if args.quiet {
        return;
    }
    let of_tokenizer = tokenizer.into_iter().flat_map(Tokenizer::notices);
    corpus.notices().iter().chain(of_tokenizer).for_each(|n| eprintln!("note: {n}"));
    match &model.start {
        Some(s) => eprintln!("start token {} ({})", s.id, s.source),
        None => eprintln!("no start token: the first token of a text is not scored"),
    }
}

/// Takes a row.
pub(super) type Write<'w, R> = &'w mut dyn FnMut(&R) -> Result<()>;
/// Is told documents or rows, and tokens.
pub(super) type Progress<'p> = &'p mut dyn FnMut(u64, u64);

/// Runs `work` with the engine and a writer of `--out`, if there is one, and says how far it is.
pub(super) fn written<R>(
    args: &ScoreArgs,
    what: &'static str,
    engine: &mut AnyEngine,
    work: impl FnOnce(&mut dyn Scorer, Write<R>, Progress) -> Result<Summary>,
) -> Result<Summary>
where
    R: crate::score::ParquetRow + serde::Serialize + 'static,
{
    let mut writer: Option<Box<dyn ScoreWriter<R>>> = args.out.as_deref().map(|path| create_writer(path, args.detail())).transpose()?;
    let mut write = |row: &R| writer.as_mut().map_or(Ok(()), |w| w.write(row));
    let summary = Counter::new(what, args.quiet).watch(engine, |scorer, progress| work(scorer, &mut write, progress))?;
    if let Some(writer) = writer {
        writer.finish()?;
    }
    Ok(summary)
}

/// Tokens whose scoring is timed.
pub(super) const SAMPLE: usize = 4096;

/// Seconds that `tokens` would take, by a sample's `work`, which says its own tokens. A first pass packs the weights.
pub(super) fn timed(tokens: u64, mut work: impl FnMut() -> Result<u64>) -> Result<Option<f64>> {
    work()?;
    let start = Instant::now();
    let scored = work()?;
    Ok((scored > 0).then(|| start.elapsed().as_secs_f64() / scored as f64 * tokens as f64))
}

fn forecast(corpus: &Corpus, tokenizer: Option<&Tokenizer>, model: &mut OpenModel, options: &ScoreOptions) -> Result<Forecast> {
    let vocab = model.engine.vocab();
    let limit = model.engine.max_positions().unwrap_or(SAMPLE).saturating_sub(1).clamp(1, SAMPLE);
    let mut sample: Vec<TokenizedDocument> = Vec::new();
    let (mut documents, mut tokens, mut longest, mut disk, mut sampled) = (0u64, 0u64, 0u64, 0u64, 0);
    for document in TokenizedDocuments::new(corpus.documents(), tokenizer, vocab) {
        let mut document = document?;
        let n = document.tokens.len() as u64;
        documents += 1;
        tokens += n;
        longest = longest.max(n);
        // An id, a sum and a count; a token and its log-probability in at most some 20 characters.
        disk += document.id.len() as u64 + 50 + if options.detail == Detail::Token { 20 * n } else { 0 };
        if sampled < SAMPLE {
            document.tokens.truncate(limit);
            document.byte_offsets = None;
            sampled += document.tokens.len();
            sample.push(document);
        }
    }
    // In windows more is fed than scored.
    let times = options.windows.map_or(1.0, |w| w.size as f64 / w.stride as f64);
    let whole = ScoreOptions { windows: None, ..*options };
    let seconds = timed(tokens, || Ok(score_corpus(&mut model.engine, sample.iter().cloned().map(Ok), &whole, &mut |_| Ok(()), &mut |_, _| {})?.tokens))?;
    Ok(Forecast {
        documents,
        tokens,
        prompt_tokens: None,
        longest,
        positions: model.engine.max_positions(),
        seconds: seconds.map(|s| s * times),
        weight_bytes: model.engine.weight_bytes(),
        disk_bytes: disk,
    })
}

/// Prints a forecast; `what` are documents or rows.
pub(super) fn tell(f: &Forecast, what: &str) -> Result<()> {
    let time = f.seconds.map_or("unknown".into(), |s| format!("about {} s (texts beyond {SAMPLE} tokens: longer)", s.ceil()));
    let positions = f.positions.map_or(String::new(), |p| format!(" (the model knows {p} positions)"));
    let prompts = f.prompt_tokens.map_or(String::new(), |n| format!(", and {n} of prompts"));
    say(&format!(
        "{what:<9}  {}\ntokens     {}{prompts}, at most {} at once{positions}\ntime       {time}\nmemory     {} MiB of weights, and a wave\ndisk       about {} MiB with --out",
        f.documents,
        f.tokens,
        f.longest,
        f.weight_bytes.div_ceil(1 << 20),
        f.disk_bytes.div_ceil(1 << 20),
    ))
}

/// Prints a summary.
pub(super) fn table(s: &Summary) -> Result<()> {
    let what = if s.completions.is_some() { "rows" } else { "documents" };
    let with_error = |value: Option<f64>, error: Option<f64>| match (value, error) {
        (Some(v), Some(e)) => format!("{v:.5} ± {e:.5} (standard error over {what})"),
        (Some(v), None) => format!("{v:.5}"),
        _ => "none".into(),
    };
    let mut lines = vec![format!("{what:<15} {}", s.documents)];
    if let Some(c) = &s.completions {
        lines.push(format!("completions     {}, of which {} greedy", c.completions, c.greedy));
        lines.push(format!("prompt tokens   {}, of which {} computed", c.prompt_tokens, c.prompt_tokens_fed));
    }
    lines.push(format!("tokens scored   {}", s.tokens));
    lines.push(format!("nats per token  {}", with_error(s.nats_per_token, s.nats_per_token_error)));
    if s.bytes.is_some() {
        lines.push(format!("bits per byte   {}", with_error(s.bits_per_byte, s.bits_per_byte_error)));
    }
    let perplexity = match (s.perplexity, s.perplexity_interval) {
        (Some(p), Some([low, high])) => format!("{p:.4} [{low:.4}, {high:.4}] (95 %)"),
        (Some(p), None) => format!("{p:.4}"),
        _ => "none".into(),
    };
    lines.push(format!("perplexity      {perplexity}"));
    if let Some(w) = &s.windows {
        lines.push(format!("windows         of {} tokens every {}, for {} documents longer than one", w.size, w.stride, w.documents));
    }
    say(&lines.join("\n"))
}
