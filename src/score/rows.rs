//! Rows of prompt and completions, from JSON lines to what is written of them.

use super::joining::{EncodedPrompt, Encoder};
use super::pipeline::Detail;
use super::prompts::{BATCH_TOKENS, Load, Prompt, score_together};
use super::summary::{Completions, Summary, Tally};
use crate::corpus::{JsonRow, Source};
use crate::engine::Scorer;
use crate::error::{Error, Result};
use crate::forest::TokenId;
use rayon::prelude::*;
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};
use std::collections::VecDeque;

/// Which fields of a row hold what. A prompt is text or a list of token ids; the completions are one of these, or a list of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PromptFields {
    /// The prompt's.
    pub prompt: String,
    /// The completions'; `None`: `completion` or `completions`, whichever a row has.
    pub completion: Option<String>,
}

impl Default for PromptFields {
    fn default() -> Self {
        PromptFields { prompt: "prompt".into(), completion: None }
    }
}

/// The fields that hold completions where none was named.
const COMPLETIONS: [&str; 2] = ["completion", "completions"];

/// What a row's results are called where it has a single completion, and where it has a list of them.
const RESULTS: [&str; 6] = ["tokens", "logprobs", "sum", "count", "is_greedy", "bytes"];
const LIST: &str = "completions";

impl PromptFields {
    /// Whether a row has them.
    pub fn are_in(&self, row: &JsonRow) -> bool {
        let has = |field: &str| row.rest.contains_key(field);
        has(&self.prompt) && self.completion.as_deref().map_or(COMPLETIONS.iter().any(|f| has(f)), has)
    }
}

/// A row in the model's tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptRow {
    /// As [`JsonRow::id`].
    pub id: String,
    /// The tokens.
    pub prompt: Prompt,
    /// Bytes of text by completion; `None` for token ids.
    pub bytes: Option<Vec<u64>>,
    /// Whether the completions came as a list.
    pub list: bool,
    /// The row's other fields, in their order.
    pub fields: Map<String, Value>,
}

/// A scored row.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredPrompt {
    /// As [`PromptRow::id`].
    pub id: String,
    /// The row's other fields, in their order.
    pub fields: Map<String, Value>,
    /// Whether the completions came as a list.
    pub list: bool,
    /// Every completion, in the row's order.
    pub completions: Vec<ScoredCompletion>,
}

/// A scored completion.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoredCompletion {
    /// Its token ids; `None` with [`Detail::Document`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<TokenId>>,
    /// ln q of each token given the prompt and those before it, in nats; never `None` inside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<Option<f32>>>,
    /// Σ ln q, added in float64.
    pub sum: f64,
    /// Number of tokens.
    pub count: u64,
    /// Whether every token is the model's first choice ([`Completion::greedy`](super::Completion::greedy)).
    pub is_greedy: bool,
    /// Bytes of text that its tokens stand for; `None` for token ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// `id`, the other fields, then the results: a list `completions`, or a single completion's fields.
impl Serialize for ScoredPrompt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("id", &self.id)?;
        for (name, value) in &self.fields {
            map.serialize_entry(name, value)?;
        }
        match &self.completions[..] {
            [c] if !self.list => {
                if let (Some(tokens), Some(logprobs)) = (&c.tokens, &c.logprobs) {
                    map.serialize_entry("tokens", tokens)?;
                    map.serialize_entry("logprobs", logprobs)?;
                }
                map.serialize_entry("sum", &c.sum)?;
                map.serialize_entry("count", &c.count)?;
                map.serialize_entry("is_greedy", &c.is_greedy)?;
                if let Some(bytes) = c.bytes {
                    map.serialize_entry("bytes", &bytes)?;
                }
            }
            all => map.serialize_entry(LIST, all)?,
        }
        map.end()
    }
}

/// A prompt or a completion as a row has it.
enum Piece {
    Text(String),
    Ids(Vec<TokenId>),
}

impl Piece {
    fn of(value: Value) -> Option<Piece> {
        match value {
            Value::String(text) => Some(Piece::Text(text)),
            Value::Array(ids) => ids.iter().map(|id| id.as_u64().and_then(|id| TokenId::try_from(id).ok())).collect::<Option<_>>().map(Piece::Ids),
            _ => None,
        }
    }
}

/// What a row asks, before it is encoded.
struct Asked {
    row: JsonRow,
    prompt: Piece,
    completions: Vec<Piece>,
    list: bool,
}

/// Takes prompt and completions out of a row. What is wrong with it is said without its place.
fn ask(mut row: JsonRow, fields: &PromptFields) -> Result<Asked> {
    let has = |field: &str| row.rest.contains_key(field);
    let lacks = |field: &str, option: &str| {
        let names: Vec<&str> = row.rest.keys().map(String::as_str).collect();
        Error::input(format!("there is no field {field} but {}; name the one that holds it with {option}", names.join(", ")))
    };
    if !has(&fields.prompt) {
        return Err(lacks(&format!("\"{}\"", fields.prompt), "--prompt-field"));
    }
    let field = match &fields.completion {
        Some(field) if !has(field) => return Err(lacks(&format!("\"{field}\""), "--completion-field")),
        Some(field) => field.as_str(),
        None => match COMPLETIONS.map(has) {
            [true, true] => return Err(Error::input("there are both \"completion\" and \"completions\"; name the one to take with --completion-field")),
            [false, false] => return Err(lacks("\"completion\" or \"completions\"", "--completion-field")),
            [_, list] => COMPLETIONS[usize::from(list)],
        },
    };
    let own = |field: &str, what: &str| Error::input(format!("field \"{field}\" is neither a string nor a list of token ids{what}"));
    let mut take = |field: &str| row.rest.shift_remove(field).unwrap_or_default();
    let (prompt, value) = (take(&fields.prompt), take(field));
    let prompt = Piece::of(prompt).ok_or_else(|| own(&fields.prompt, ""))?;
    let (completions, list) = match value {
        Value::Array(all) if all.is_empty() => return Err(Error::input(format!("field \"{field}\" is an empty list"))),
        Value::Array(all) if !all[0].is_number() => {
            let each = |(i, value)| Piece::of(value).ok_or_else(|| own(field, &format!(" at its place {}", i + 1)));
            (all.into_iter().enumerate().map(each).collect::<Result<Vec<_>>>()?, true)
        }
        one => (vec![Piece::of(one).ok_or_else(|| own(field, ", nor a list of these"))?], false),
    };
    let taken: &[&str] = if list { &[LIST] } else { &RESULTS };
    if let Some(name) = taken.iter().find(|n| row.rest.contains_key(**n)) {
        return Err(Error::input(format!("field \"{name}\" is what a result is called; rename it")));
    }
    Ok(Asked { row, prompt, completions, list })
}

/// Encodes what a row asks, and holds it against the model.
fn encode(asked: Asked, encoder: &Encoder, model: Model) -> Result<PromptRow> {
    let Asked { row, prompt, completions, list } = asked;
    let mixed = || Error::input("text and token ids are mixed; give prompt and completions as one or the other");
    let text = completions.iter().any(|c| matches!(c, Piece::Text(_)));
    let EncodedPrompt { prompt, bytes } = if text {
        let text_of = |piece| match piece {
            Piece::Text(text) => Ok(text),
            Piece::Ids(ids) if ids.is_empty() => Ok(String::new()),
            Piece::Ids(_) => Err(mixed()),
        };
        encoder.encode(&text_of(prompt)?, &completions.into_iter().map(text_of).collect::<Result<Vec<_>>>()?)?
    } else {
        let ids_of = |piece| match piece {
            Piece::Ids(ids) => Ok(ids),
            Piece::Text(text) if text.is_empty() => Ok(Vec::new()),
            Piece::Text(_) => Err(mixed()),
        };
        encoder.ids(ids_of(prompt)?, completions.into_iter().map(ids_of).collect::<Result<Vec<_>>>()?)?
    };
    if let Some(id) = prompt.context.iter().chain(prompt.completions.iter().flatten()).find(|&&t| t as usize >= model.vocab) {
        return Err(Error::input(format!("token {id} is not among the model's {} ids", model.vocab)));
    }
    // The last token is not fed.
    let fed = prompt.context.len() + prompt.longest() - 1;
    if let Some(most) = model.positions.filter(|&p| fed > p) {
        let what = format!("prompt and completion have {} tokens, the start token counted, but the model knows {most} positions; shorten the prompt", fed + 1);
        return Err(Error::input(what));
    }
    Ok(PromptRow { id: row.id, prompt, bytes, list, fields: row.rest })
}

/// What rows are held against.
#[derive(Clone, Copy, Debug)]
struct Model {
    vocab: usize,
    positions: Option<usize>,
}

/// Rows encoded at a time, and bytes of their texts after which no more are taken: enough to occupy many threads, little enough to be held.
const BATCH_ROWS: usize = 1024;
const BATCH_BYTES: usize = 4 << 20;

/// Encodes rows in parallel, a bounded batch at a time, and hands them on in their order. After an error it ends.
pub struct PromptRows<'a, I> {
    rows: I,
    fields: &'a PromptFields,
    encoder: Encoder<'a>,
    model: Model,
    ready: VecDeque<Result<PromptRow>>,
    over: bool,
}

impl<'a, 's, I: Iterator<Item = Result<(&'s Source, JsonRow)>>> PromptRows<'a, I> {
    /// Rows for this scorer.
    pub fn new(rows: I, fields: &'a PromptFields, encoder: Encoder<'a>, scorer: &dyn Scorer) -> Self {
        let model = Model { vocab: scorer.vocab(), positions: scorer.max_positions() };
        PromptRows { rows, fields, encoder, model, ready: VecDeque::new(), over: false }
    }

    fn fill(&mut self) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES && batch.len() < BATCH_ROWS {
            let Some(row) = self.rows.next() else { break };
            let asked = row.and_then(|(source, row)| {
                let line = row.line;
                ask(row, self.fields).map(|a| (source, a)).map_err(|e| placed(source, line, &e))
            });
            if let Ok((_, a)) = &asked {
                let size = |p: &Piece| match p {
                    Piece::Text(t) => t.len(),
                    Piece::Ids(ids) => 4 * ids.len(),
                };
                bytes += a.completions.iter().map(|c| size(c) + size(&a.prompt)).sum::<usize>();
            }
            batch.push(asked);
        }
        let (encoder, model) = (self.encoder, self.model);
        let encoded = batch.into_par_iter().map(|asked| {
            let (source, asked) = asked?;
            let line = asked.row.line;
            encode(asked, &encoder, model).map_err(|e| placed(source, line, &e))
        });
        self.ready.extend(encoded.collect::<Vec<_>>());
    }
}

fn placed(source: &Source, line: u64, e: &Error) -> Error {
    Error::file(&source.path, format!("line {line}: {e}"))
}

impl<'s, I: Iterator<Item = Result<(&'s Source, JsonRow)>>> Iterator for PromptRows<'_, I> {
    type Item = Result<PromptRow>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        if self.ready.is_empty() {
            self.fill();
        }
        let next = self.ready.pop_front();
        self.over = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Scores every row and hands it to `write`; `progress` is told rows and scored tokens after every batch of some 16,384 tokens fed.
///
/// Rows keep their order; neighbours share the beginnings of their prompts as [`score_prompts`](super::score_prompts) says, and what is handed over together makes no
/// difference to any number.
///
/// # Errors
/// A row that cannot be read, and whatever the scorer or the writer meets.
pub fn score_rows(
    scorer: &mut dyn Scorer,
    rows: impl Iterator<Item = Result<PromptRow>>,
    detail: Detail,
    write: &mut dyn FnMut(&ScoredPrompt) -> Result<()>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary> {
    let (mut tally, mut said) = (Tally::default(), Completions::default());
    let (mut done, mut tokens) = (0, 0);
    let mut flush = |batch: &mut Vec<PromptRow>, load: &mut Load| -> Result<()> {
        *load = Load::default();
        let (mut rows, mut prompts) = (Vec::new(), Vec::new());
        for mut row in batch.drain(..) {
            prompts.push(std::mem::take(&mut row.prompt));
            rows.push(row);
        }
        let (scored, fed) = score_together(scorer, &prompts, detail)?;
        said.prompt_tokens_fed += fed as u64;
        for ((row, prompt), scored) in rows.into_iter().zip(prompts).zip(scored) {
            said.prompt_tokens += prompt.context.len() as u64;
            let row = finished(row, prompt, scored, detail)?;
            write(&row)?;
            let all = || row.completions.iter();
            let bytes = all().map(|c| c.bytes).sum();
            let count = all().map(|c| c.count).sum();
            tally.add(all().fold(0.0, |s, c| s + c.sum), count, bytes);
            said.completions += row.completions.len() as u64;
            said.greedy += all().filter(|c| c.is_greedy).count() as u64;
            done += 1;
            tokens += count;
        }
        progress(done, tokens);
        Ok(())
    };
    let (mut batch, mut load) = (Vec::new(), Load::default());
    for row in rows {
        let row = row?;
        if !load.take(&row.prompt, BATCH_TOKENS) {
            flush(&mut batch, &mut load)?;
            load.take(&row.prompt, BATCH_TOKENS);
        }
        batch.push(row);
    }
    if !batch.is_empty() {
        flush(&mut batch, &mut load)?;
    }
    if done == 0 {
        return Err(Error::input("there is no row"));
    }
    Ok(Summary { completions: Some(said), ..tally.summary() })
}

fn finished(row: PromptRow, prompt: Prompt, scored: Vec<super::Completion>, detail: Detail) -> Result<ScoredPrompt> {
    let PromptRow { id, bytes, list, fields, .. } = row;
    let completions = prompt.completions.into_iter().zip(scored).enumerate().map(|(i, (tokens, c))| {
        if !c.sum.is_finite() {
            return Err(Error::input(format!("the model gives completion {} of {id} a log-probability of {}, which is no finite number", i + 1, c.sum)));
        }
        Ok(ScoredCompletion {
            is_greedy: c.is_greedy(),
            tokens: (detail == Detail::Token).then_some(tokens),
            logprobs: c.logprobs.map(|l| l.into_iter().map(Some).collect()),
            sum: c.sum,
            count: c.count.into(),
            bytes: bytes.as_ref().map(|b| b[i]),
        })
    });
    let completions = completions.collect::<Result<_>>()?;
    Ok(ScoredPrompt { id, fields, list, completions })
}
