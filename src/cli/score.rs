//! `hilberg score`: log q of whole documents.

use super::corpus::CorpusArgs;
use super::options::{ModelArgs, OpenModel, open_model};
use crate::corpus::{Corpus, TokenizedDocument, TokenizedDocuments, Tokenizer};
use crate::engine::Scorer;
use crate::error::{Error, Result};
use crate::score::{Detail, ScoreOptions, Summary, create_writer, score_corpus};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Score texts: log-probabilities of documents and tokens under a model
#[derive(Args, Debug)]
pub struct ScoreArgs {
    /// The model's folder
    #[arg(short, long, value_name = "MODEL")]
    pub model: PathBuf,
    #[command(flatten)]
    corpus: CorpusArgs,
    /// Where a row a document is written: FILE.jsonl or FILE.parquet
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write every token's log-probability, too
    #[arg(long, requires = "out")]
    per_token: bool,
    /// Say tokens, time, memory and disk, and score nothing but a sample
    #[arg(long)]
    dry_run: bool,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    /// Say nothing but the summary and errors
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    options: ModelArgs,
}

/// What `--dry-run` says.
#[derive(Debug, serde::Serialize)]
struct Forecast {
    documents: u64,
    tokens: u64,
    /// Tokens of the longest document, and how many the model takes.
    longest: u64,
    positions: Option<usize>,
    seconds: Option<f64>,
    weight_bytes: usize,
    /// Of the output, about.
    disk_bytes: u64,
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
    let mut model = open_model(&args.options, &args.model)?;
    let tokenizer = args.corpus.tokenizer(&corpus, &args.model, model.engine.vocab())?;
    if !args.quiet {
        let of_tokenizer = tokenizer.iter().flat_map(Tokenizer::notices);
        corpus.notices().iter().chain(of_tokenizer).for_each(|n| eprintln!("note: {n}"));
        match &model.start {
            Some(s) => eprintln!("start token {} ({})", s.id, s.source),
            None => eprintln!("no start token: the first token of a text is not scored"),
        }
    }
    let detail = if args.per_token { Detail::Token } else { Detail::Document };
    let options = ScoreOptions { detail, ..ScoreOptions::new(model.start.as_ref().map(|s| s.id)) };
    if args.dry_run {
        let forecast = forecast(&corpus, tokenizer.as_ref(), &mut model, &options)?;
        // The last token is not fed.
        let fed = (forecast.longest + u64::from(options.start.is_some())).saturating_sub(1);
        if let Some(most) = forecast.positions.filter(|&p| fed > p as u64) {
            let what = format!(
                "a document of {} tokens would be refused: the model knows {most} positions; cut the texts, or choose a model for longer ones",
                forecast.longest
            );
            return Err(Error::input(what));
        }
        return if args.json { json(&forecast) } else { tell(&forecast) };
    }
    let summary = score(args, &corpus, tokenizer.as_ref(), &mut model, &options)?;
    if args.json { json(&summary) } else { table(&summary) }
}

fn score(args: &ScoreArgs, corpus: &Corpus, tokenizer: Option<&Tokenizer>, model: &mut OpenModel, options: &ScoreOptions) -> Result<Summary> {
    let mut writer = args.out.as_deref().map(|path| create_writer(path, options.detail)).transpose()?;
    let bar = if args.quiet { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} tokens, {per_sec}, {elapsed}: {msg}") {
        bar.set_style(style);
    }
    let documents = TokenizedDocuments::new(corpus.documents(), tokenizer, model.engine.vocab());
    let mut logged = Instant::now();
    let mut progress = |documents: u64, tokens: u64| {
        bar.set_position(tokens);
        bar.set_message(format!("{documents} documents"));
        // A bar is not drawn into a log; a line every half minute is.
        if bar.is_hidden() && !args.quiet && logged.elapsed() > Duration::from_secs(30) {
            eprintln!("{tokens} tokens, {documents} documents");
            logged = Instant::now();
        }
    };
    let summary = score_corpus(&mut model.engine, documents, options, &mut |row| writer.as_mut().map_or(Ok(()), |w| w.write(row)), &mut progress);
    bar.finish_and_clear();
    let summary = summary?;
    if let Some(writer) = writer {
        writer.finish()?;
    }
    Ok(summary)
}

/// Tokens whose scoring is timed.
const SAMPLE: usize = 4096;

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
    let time = |model: &mut OpenModel| -> Result<Option<f64>> {
        let start = Instant::now();
        let scored = score_corpus(&mut model.engine, sample.iter().cloned().map(Ok), options, &mut |_| Ok(()), &mut |_, _| {})?.tokens;
        Ok((scored > 0).then(|| start.elapsed().as_secs_f64() / scored as f64 * tokens as f64))
    };
    // The first pass packs the weights.
    time(model)?;
    let seconds = time(model)?;
    Ok(Forecast { documents, tokens, longest, positions: model.engine.max_positions(), seconds, weight_bytes: model.engine.weight_bytes(), disk_bytes: disk })
}

/// Prints, where a closed pipe is the reader's wish and no error.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("standard output")(e)),
        _ => Ok(()),
    }
}

fn json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::input(e.to_string()))?;
    print(&(text + "\n"))
}

fn tell(f: &Forecast) -> Result<()> {
    let time = f.seconds.map_or("unknown".into(), |s| format!("about {} s (texts beyond {SAMPLE} tokens: longer)", s.ceil()));
    let positions = f.positions.map_or(String::new(), |p| format!(" (the model knows {p} positions)"));
    print(&format!(
        "documents  {}\ntokens     {}, at most {} a document{positions}\ntime       {time}\nmemory     {} MiB of weights, and a wave\ndisk       about {} MiB with --out\n",
        f.documents,
        f.tokens,
        f.longest,
        f.weight_bytes.div_ceil(1 << 20),
        f.disk_bytes.div_ceil(1 << 20),
    ))
}

fn table(s: &Summary) -> Result<()> {
    let with_error = |value: Option<f64>, error: Option<f64>| match (value, error) {
        (Some(v), Some(e)) => format!("{v:.5} ± {e:.5} (standard error over documents)"),
        (Some(v), None) => format!("{v:.5}"),
        _ => "none".into(),
    };
    let mut text = format!("documents       {}\ntokens scored   {}\n", s.documents, s.tokens);
    text += &format!("nats per token  {}\n", with_error(s.nats_per_token, s.nats_per_token_error));
    if s.bytes.is_some() {
        text += &format!("bits per byte   {}\n", with_error(s.bits_per_byte, s.bits_per_byte_error));
    }
    text += &format!("perplexity      {}\n", s.perplexity.map_or("none".into(), |p| format!("{p:.4}")));
    print(&text)
}
