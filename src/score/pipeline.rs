//! Documents in, rows and a summary out.

use super::json_rows::JsonRows;
use super::parquet_rows::{ParquetRow, ParquetRows};
use super::summary::{Summary, Tally, Windowed};
use super::windows::{Window, Windows};
use crate::corpus::TokenizedDocument;
use crate::engine::{Scorer, Values};
use crate::error::{Error, Result};
use crate::forest::{Forest, Readout, Slot, TokenId};
use std::path::Path;

/// How much of a document a row holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Its sum and count.
    Document,
    /// Its tokens and the log-probability of each, too.
    Token,
}

/// How documents are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreOptions {
    /// The start token that goes before each document; without one the first token is predicted by nothing and not scored.
    pub start: Option<TokenId>,
    /// What is read.
    pub detail: Detail,
    /// Tokens handed to the scorer at a time, more where one document has more.
    pub batch_tokens: usize,
    /// How a text past the model's positions is scored; `None`: it is an error.
    pub windows: Option<Windows>,
}

impl ScoreOptions {
    /// Sums only, 16,384 tokens at a time.
    pub fn new(start: Option<TokenId>) -> Self {
        ScoreOptions { start, detail: Detail::Document, batch_tokens: 16_384, windows: None }
    }
}

/// A document's row.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct ScoredDocument {
    /// The document's id.
    pub id: String,
    /// Token ids, the start token not among them; `None` with [`Detail::Document`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<TokenId>>,
    /// ln q of each token given those before it, in nats; `None` for a first token without a start token before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Vec<Option<f32>>>,
    /// Σ ln q over the scored tokens, added in float64.
    pub sum: f64,
    /// Number of scored tokens.
    pub count: u64,
    /// Bytes of text that the scored tokens stand for; `None` for documents that came as tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// How many windows it took; `None` where [`ScoreOptions::windows`] is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<u32>,
}

/// Takes rows, in their order.
pub trait ScoreWriter<R = ScoredDocument> {
    /// Takes one row.
    ///
    /// # Errors
    /// It cannot be written.
    fn write(&mut self, row: &R) -> Result<()>;

    /// All rows were taken. What was written is there under its name only after this.
    ///
    /// # Errors
    /// It cannot be written.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// A writer by the file's ending: `.jsonl` or `.parquet`.
///
/// # Errors
/// Another ending; a place where no file can be made.
pub fn create_writer<R: ParquetRow + serde::Serialize + 'static>(path: &Path, detail: Detail) -> Result<Box<dyn ScoreWriter<R>>> {
    match path.extension().and_then(|e| e.to_str()) {
        Some("jsonl") => Ok(Box::new(JsonRows::create(path)?)),
        Some("parquet") => Ok(Box::new(ParquetRows::create(path, detail)?)),
        _ => Err(Error::file(path, "is neither .jsonl nor .parquet; the ending says what is written")),
    }
}

/// Scores every document and hands its row to `write`; `progress` is told documents and scored tokens after every batch.
///
/// Documents keep their order. Each is a text of its own: no document sees another, and what is handed over together makes no difference.
///
/// # Errors
/// A document that cannot be read, one longer than the model's positions, and whatever the scorer or the writer meets.
pub fn score_corpus(
    scorer: &mut dyn Scorer,
    documents: impl Iterator<Item = Result<TokenizedDocument>>,
    options: &ScoreOptions,
    write: &mut dyn FnMut(&ScoredDocument) -> Result<()>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Summary> {
    if let Some(start) = options.start
        && start as usize >= scorer.vocab()
    {
        return Err(Error::input(format!("the start token {start} is not among the model's {} ids; choose one with --start", scorer.vocab())));
    }
    let mut tally = Tally::default();
    let (mut batch, mut tokens) = (Vec::new(), 0);
    let (mut done, mut scored, mut windowed) = (0, 0, 0);
    let mut flush = |batch: &mut Vec<TokenizedDocument>| -> Result<()> {
        for row in score_batch(scorer, batch, options)? {
            write(&row)?;
            tally.add(row.sum, row.count, row.bytes);
            windowed += u64::from(row.windows.is_some_and(|n| n > 1));
            scored += row.count;
            done += 1;
        }
        batch.clear();
        progress(done, scored);
        Ok(())
    };
    for document in documents {
        let document = document?;
        let fed = fed(&document, options);
        tokens += fed;
        if tokens > options.batch_tokens && !batch.is_empty() {
            flush(&mut batch)?;
            tokens = fed;
        }
        batch.push(document);
    }
    if !batch.is_empty() {
        flush(&mut batch)?;
    }
    if done == 0 {
        return Err(Error::input("the corpus holds no document"));
    }
    let mut summary = tally.summary();
    summary.windows = options.windows.map(|w| Windowed { size: w.size, stride: w.stride, documents: windowed });
    Ok(summary)
}

/// Tokens that go through the model for a document, and one more.
fn fed(document: &TokenizedDocument, options: &ScoreOptions) -> usize {
    let whole = document.tokens.len() + 1;
    options.windows.map_or(whole, |w| w.of(whole).iter().map(|w| w.tokens.len()).sum())
}

/// Where a document's values come out: those of each of its windows, of which there is one for the whole where none were asked for.
type Places = Vec<(Window, Slot, Option<Slot>)>;

fn score_batch(scorer: &mut dyn Scorer, batch: &mut Vec<TokenizedDocument>, options: &ScoreOptions) -> Result<Vec<ScoredDocument>> {
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    let places = batch.iter().map(|d| plant(d, options, scorer.max_positions(), &mut forest, &mut readout)).collect::<Result<Vec<_>>>()?;
    let mut values = Values::new(&readout);
    if readout.slots() > 0 {
        scorer.score(&forest, &readout, &mut values)?;
    }
    let unscored = usize::from(options.start.is_none());
    let rows = batch.drain(..).zip(places).map(|(document, place)| {
        let TokenizedDocument { id, tokens, byte_offsets } = document;
        let count = tokens.len().saturating_sub(unscored);
        let sum = place.iter().fold(0.0, |s, &(_, slot, _)| s + values.sum(slot));
        if !sum.is_finite() {
            return Err(Error::input(format!("the model gives {id} a log-probability of {sum}, which is no finite number")));
        }
        let logprobs = (options.detail == Detail::Token).then(|| {
            let mut logprobs = vec![None; tokens.len() - count];
            for (window, _, each) in &place {
                let read = each.map(|first| values.tokens(first, window.scored.len()));
                logprobs.extend(read.into_iter().flatten().map(Some));
            }
            logprobs
        });
        let bytes = byte_offsets.map(|b| b[tokens.len()] - b[tokens.len() - count]);
        let tokens = (options.detail == Detail::Token).then_some(tokens);
        let windows = options.windows.map(|_| place.len() as u32);
        Ok(ScoredDocument { id, tokens, logprobs, sum, count: count as u64, bytes, windows })
    });
    rows.collect()
}

/// Adds a document's roots and readings; empty where none of its tokens is predicted.
fn plant(document: &TokenizedDocument, options: &ScoreOptions, limit: Option<usize>, forest: &mut Forest, readout: &mut Readout) -> Result<Places> {
    let path: Vec<TokenId> = options.start.iter().chain(&document.tokens).copied().collect();
    let windows = match options.windows {
        Some(w) => w.of(path.len()),
        None if path.len() < 2 => Vec::new(),
        None => vec![Window { tokens: 0..path.len(), scored: 1..path.len() }],
    };
    windows
        .into_iter()
        .map(|window| {
            let fed = window.tokens.len() - 1;
            if let Some(limit) = limit.filter(|&l| fed > l) {
                return Err(too_long(&document.id, document.tokens.len(), options.start.is_some(), limit));
            }
            let root = forest.root(&path[window.tokens.clone()])?;
            let scored = (window.scored.start - window.tokens.start) as u32..window.tokens.len() as u32;
            let sum = readout.sum(forest, root, scored.clone())?;
            let each = (options.detail == Detail::Token).then(|| readout.each(forest, root, scored)).transpose()?;
            Ok((window, sum, each))
        })
        .collect()
}

fn too_long(id: &str, tokens: usize, start: bool, limit: usize) -> Error {
    let start = if start { " and a start token" } else { "" };
    Error::input(format!(
        "{id} has {tokens} tokens{start}, but the model knows {limit} positions; slide a window over it (--window), cut the texts, or choose a model for longer ones"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Sink;
    use crate::forest::{SlotValue, Wanted};

    /// ln q of a token given the one before it and its position: an arithmetic stand-in for a model.
    struct Arithmetic {
        limit: Option<usize>,
        calls: usize,
    }

    fn law(before: u32, token: u32, position: usize) -> f32 {
        -((before * 7 + token * 3 + position as u32 % 5) as f32 + 1.0) / 16.0
    }

    impl Scorer for Arithmetic {
        fn vocab(&self) -> usize {
            100
        }

        fn max_positions(&self) -> Option<usize> {
            self.limit
        }

        fn score(&mut self, forest: &Forest, readout: &Readout, sink: &mut dyn Sink) -> Result<()> {
            self.calls += 1;
            for r in readout.readings() {
                let path = forest.path(r.span);
                let values: Vec<f32> = r.tokens.clone().map(|i| law(path[i as usize - 1], path[i as usize], i as usize)).collect();
                if r.wanted == Wanted::Each {
                    values.iter().enumerate().for_each(|(i, &v)| sink.put(Slot(r.slot.0 + i as u32), SlotValue::Token(v)));
                } else {
                    sink.put(r.slot, SlotValue::Sum { sum: values.iter().map(|&v| v as f64).sum(), count: values.len() as u32, greedy: None });
                }
            }
            Ok(())
        }
    }

    fn documents() -> Vec<TokenizedDocument> {
        let text = |id: &str, tokens: &[u32]| TokenizedDocument {
            id: id.into(),
            tokens: tokens.to_vec(),
            byte_offsets: Some((0..=tokens.len() as u64).map(|i| 3 * i).collect()),
        };
        vec![text("a", &[5, 6, 7]), text("empty", &[]), text("one", &[9]), text("b", &[1, 1, 2, 3, 5, 8])]
    }

    fn run(options: &ScoreOptions, limit: Option<usize>) -> Result<(Vec<ScoredDocument>, Summary, usize)> {
        let mut scorer = Arithmetic { limit, calls: 0 };
        let mut rows = Vec::new();
        let mut told = (0, 0);
        let mut write = |row: &ScoredDocument| {
            rows.push(row.clone());
            Ok(())
        };
        let summary = score_corpus(&mut scorer, documents().into_iter().map(Ok), options, &mut write, &mut |d, t| told = (d, t))?;
        assert_eq!(told, (summary.documents, summary.tokens));
        Ok((rows, summary, scorer.calls))
    }

    #[test]
    fn rows_hold_every_token() {
        let options = ScoreOptions { detail: Detail::Token, ..ScoreOptions::new(Some(4)) };
        let (rows, summary, _) = run(&options, None).unwrap();
        let want = [law(4, 5, 1), law(5, 6, 2), law(6, 7, 3)];
        assert_eq!(rows[0].logprobs, Some(want.map(Some).to_vec()));
        assert_eq!(rows[0].sum, want.iter().map(|&v| v as f64).sum::<f64>());
        assert_eq!((rows[0].count, rows[0].bytes, rows[0].tokens.clone()), (3, Some(9), Some(vec![5, 6, 7])));
        assert_eq!((&rows[1].logprobs, rows[1].sum, rows[1].count, rows[1].bytes), (&Some(vec![]), 0.0, 0, Some(0)));
        assert_eq!(rows.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["a", "empty", "one", "b"]);
        assert_eq!((summary.documents, summary.tokens, summary.bytes), (4, 10, Some(30)));
        assert_eq!(summary.sum, rows.iter().map(|r| r.sum).sum::<f64>());
        assert_eq!(summary.nats_per_token, Some(-summary.sum / 10.0));
    }

    #[test]
    fn without_a_start_token_the_first_reads_null() {
        let options = ScoreOptions { detail: Detail::Token, ..ScoreOptions::new(None) };
        let (rows, summary, _) = run(&options, None).unwrap();
        assert_eq!(rows[0].logprobs, Some(vec![None, Some(law(5, 6, 1)), Some(law(6, 7, 2))]));
        assert_eq!((rows[0].count, rows[0].bytes), (2, Some(6)));
        assert_eq!((&rows[2].logprobs, rows[2].sum, rows[2].count, rows[2].bytes), (&Some(vec![None]), 0.0, 0, Some(0)));
        assert_eq!((summary.tokens, summary.bytes), (7, Some(21)));
    }

    #[test]
    fn batches_make_no_difference() {
        let options = ScoreOptions { detail: Detail::Token, ..ScoreOptions::new(Some(4)) };
        let whole = run(&options, None).unwrap();
        assert_eq!(whole.2, 1);
        let single = run(&ScoreOptions { batch_tokens: 1, ..options }, None).unwrap();
        // The empty document asks nothing of the scorer.
        assert_eq!((whole.0.clone(), whole.1, 3), single);
        let sums = run(&ScoreOptions { detail: Detail::Document, ..options }, None).unwrap();
        for (a, b) in whole.0.iter().zip(&sums.0) {
            assert_eq!((&a.id, a.sum, a.count, &b.tokens, &b.logprobs), (&b.id, b.sum, b.count, &None, &None));
        }
    }

    #[test]
    fn windows_are_texts_of_their_own() {
        // The law looks at one token back and at the position: in a window the positions begin anew.
        let options = ScoreOptions { detail: Detail::Token, windows: Some(Windows::new(4, 1, Some(3)).unwrap()), ..ScoreOptions::new(Some(4)) };
        let (rows, summary, _) = run(&options, Some(3)).unwrap();
        let b = [4, 1, 1, 2, 3, 5, 8];
        let at = [1, 2, 3, 3, 3, 3];
        let want: Vec<f32> = (1..7).map(|i| law(b[i - 1], b[i], at[i - 1])).collect();
        assert_eq!(rows[3].logprobs, Some(want.iter().map(|&v| Some(v)).collect()));
        assert_eq!(rows[3].sum, [&want[..3], &want[3..4], &want[4..5], &want[5..]].iter().fold(0.0, |s, w| s + w.iter().map(|&v| v as f64).sum::<f64>()));
        assert_eq!(rows.iter().map(|r| (r.windows, r.count)).collect::<Vec<_>>(), [(Some(1), 3), (Some(0), 0), (Some(1), 1), (Some(4), 6)]);
        assert_eq!(summary.windows, Some(Windowed { size: 4, stride: 1, documents: 1 }));
        assert_eq!(run(&ScoreOptions { batch_tokens: 1, ..options }, Some(3)).unwrap().0, rows);
        let without = ScoreOptions { start: None, windows: Some(Windows::new(4, 2, None).unwrap()), ..options };
        let rows = run(&without, Some(3)).unwrap().0;
        assert_eq!((rows[3].windows, rows[3].count, rows[3].logprobs.as_ref().unwrap()[0]), (Some(2), 5, None));
        assert!(rows[3].logprobs.as_ref().unwrap()[1..].iter().all(Option::is_some));
    }

    #[test]
    fn too_long_texts_are_named() {
        // With a start token all but the last of 1 + 6 tokens are fed.
        assert!(run(&ScoreOptions::new(Some(4)), Some(6)).is_ok());
        let said = run(&ScoreOptions::new(Some(4)), Some(5)).unwrap_err().to_string();
        assert!(said.starts_with("b has 6 tokens and a start token, but the model knows 5 positions"), "{said}");
        assert!(run(&ScoreOptions::new(None), Some(5)).is_ok());
        assert!(run(&ScoreOptions::new(None), Some(4)).unwrap_err().to_string().starts_with("b has 6 tokens, but the model knows 4"));
        assert!(run(&ScoreOptions::new(Some(100)), None).unwrap_err().to_string().contains("choose one with --start"));
    }
}
