//! `hilberg score` of rows of prompt and completions.

use super::options::OpenModel;
use super::say_json;
use super::score::{Forecast, SAMPLE, ScoreArgs, notes, table, tell, timed, written};
use crate::corpus::{Corpus, Format, JsonRow, Rest, RowFields, Source, Tokenizer};
use crate::engine::Scorer;
use crate::error::{Error, Result};
use crate::score::{Detail, Encoder, Joining, Load, PromptFields, PromptRow, PromptRows, StartBefore, score_prompts, score_rows};

/// How rows of prompt and completions are read.
#[derive(Clone, Debug, clap::Args)]
pub struct PromptArgs {
    /// Field of a row that holds the prompt, text or a list of token ids; makes JSON lines rows of prompt and completions [default: prompt]
    #[arg(long, value_name = "NAME", help_heading = "Prompts and completions")]
    prompt_field: Option<String>,
    /// Field that holds one completion or a list of them, text or token ids [default: completion or completions]
    #[arg(long, value_name = "NAME", help_heading = "Prompts and completions")]
    completion_field: Option<String>,
    /// Encode prompt and completion each on its own; otherwise together, the completion's tokens being those after as many as the prompt alone has, and white space at
    /// the prompt's end moved to the completion, as lm-evaluation-harness does
    #[arg(long, help_heading = "Prompts and completions")]
    separate: bool,
    /// Put the start token before every prompt, or only in the place of an empty one (lm-evaluation-harness without add_bos_token)
    #[arg(long, value_name = "every|empty", default_value = "every", value_enum, help_heading = "Prompts and completions")]
    start_before: StartBeforeChoice,
}

/// [`StartBefore`] as an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum StartBeforeChoice {
    /// Every prompt.
    Every,
    /// Empty ones.
    Empty,
}

/// All fields of a row.
fn everything() -> RowFields {
    RowFields { text: None, group: None, rest: Rest::Keep }
}

/// Which fields hold prompts and completions, where the corpus is rows of these: by an option, or by its first row.
///
/// # Errors
/// A first row that cannot be read.
pub(super) fn asked(args: &ScoreArgs, corpus: &Corpus) -> Result<Option<PromptFields>> {
    let PromptArgs { prompt_field, completion_field, .. } = &args.prompts;
    let mut fields = PromptFields { completion: completion_field.clone(), ..PromptFields::default() };
    if let Some(prompt) = prompt_field {
        fields.prompt = prompt.clone();
    }
    if prompt_field.is_some() || completion_field.is_some() {
        return Ok(Some(fields));
    }
    if corpus.sources().iter().any(|s| s.format != Format::JsonLines) {
        return Ok(None);
    }
    let first = corpus.rows(everything())?.next().transpose()?;
    Ok(first.is_some_and(|(_, row)| !row.rest.contains_key(&args.corpus.text_field) && fields.are_in(&row)).then_some(fields))
}

/// Scores the rows.
///
/// # Errors
/// Whatever is wrong with rows, model or output, as one sentence.
pub(super) fn run(args: &ScoreArgs, corpus: &Corpus, fields: &PromptFields, model: &mut OpenModel) -> Result<()> {
    let tokenizer = tokenizer(args, corpus, fields, model)?;
    notes(args, corpus, tokenizer.as_ref(), model);
    let joining = if args.prompts.separate { Joining::Separate } else { Joining::Together };
    let start_before = match args.prompts.start_before {
        StartBeforeChoice::Every => StartBefore::Every,
        StartBeforeChoice::Empty => StartBefore::Empty,
    };
    if !args.quiet {
        let how = match joining {
            _ if tokenizer.is_none() => "token ids as they are",
            Joining::Together => "encoded together",
            Joining::Separate => "encoded separately",
        };
        let completion = fields.completion.as_deref().unwrap_or("completion(s)");
        eprintln!("rows of prompt (field {}) and completions (field {completion}), {how}", fields.prompt);
    }
    let encoder = Encoder { tokenizer: tokenizer.as_ref(), start: model.start.as_ref().map(|s| s.id), start_before, joining };
    let rows = PromptRows::new(corpus.rows(everything())?, fields, encoder, &model.engine);
    if args.dry_run {
        let forecast = forecast(rows, model, args.detail())?;
        return if args.json { say_json(&forecast) } else { tell(&forecast, "rows") };
    }
    let summary = written(args, "rows", &mut model.engine, |scorer, write, progress| score_rows(scorer, rows, args.detail(), write, progress))?;
    if args.json { say_json(&summary) } else { table(&summary) }
}

/// The tokenizer that was named, or the model's where the first row is text.
fn tokenizer(args: &ScoreArgs, corpus: &Corpus, fields: &PromptFields, model: &OpenModel) -> Result<Option<Tokenizer>> {
    let first = corpus.rows(everything())?.next().transpose()?;
    let ids = |row: &JsonRow| row.rest.get(&fields.prompt).is_some_and(|p| p.is_array());
    let path = match &args.corpus.tokenizer {
        Some(path) => path,
        None if first.is_some_and(|(_, row)| ids(&row)) => return Ok(None),
        None => &args.model,
    };
    let tokenizer = Tokenizer::open(path)?;
    tokenizer.check_vocab(model.engine.vocab())?;
    Ok(Some(tokenizer))
}

fn forecast<'s>(rows: PromptRows<impl Iterator<Item = Result<(&'s Source, JsonRow)>>>, model: &mut OpenModel, detail: Detail) -> Result<Forecast> {
    let (mut all, mut of_sample, mut sample) = (Load::default(), Load::default(), Vec::new());
    let (mut count, mut tokens, mut longest, mut disk) = (0, 0, 0, 0);
    for row in rows {
        let PromptRow { id, prompt, fields, .. } = row?;
        count += 1;
        let own: usize = prompt.completions.iter().map(Vec::len).sum();
        tokens += own as u64;
        longest = longest.max((prompt.context.len() + prompt.longest()) as u64);
        let per_token = if detail == Detail::Token { 20 * own } else { 0 };
        disk += (id.len() + serde_json::Value::from(fields).to_string().len() + 80 * prompt.completions.len() + per_token) as u64;
        all.take(&prompt, usize::MAX);
        if of_sample.tokens() < SAMPLE {
            of_sample.take(&prompt, usize::MAX);
            sample.push(prompt);
        }
    }
    if count == 0 {
        return Err(Error::input("there is no row"));
    }
    let fed = all.tokens() as u64;
    let seconds = timed(fed, || score_prompts(&mut model.engine, &sample, Detail::Document).map(|_| of_sample.tokens() as u64))?;
    Ok(Forecast {
        documents: count,
        tokens,
        prompt_tokens: Some(fed - tokens),
        longest,
        positions: model.engine.max_positions(),
        seconds,
        weight_bytes: model.engine.weight_bytes(),
        disk_bytes: disk,
    })
}
