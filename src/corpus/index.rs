//! One look at every document of a corpus: how much can be cut out of it, and what it is known by.

use super::document::{Content, Document};
use super::fingerprint::{ContentHash, Fingerprint, Fingerprinter};
use super::pieces::{WORDS, pieces};
use super::tokenized::{Batches, Room, tokenize};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::fmt;

/// What a document is cut into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cutting {
    /// Chunks at random places.
    #[default]
    Chunks,
    /// Pieces at sentence ends, the first tokens of each; see [`pieces`](super::pieces()).
    Pieces,
}

/// What lengths, places and splits count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Tokens of one tokenizer.
    #[default]
    Tokens,
    /// Bytes of text (UTF-8), whichever tokenizers read it; cut as [`Stretch`](super::Stretch) says.
    Bytes,
}

impl Unit {
    /// Whether these are tokens, which goes without saying in files.
    pub fn is_tokens(&self) -> bool {
        *self == Unit::Tokens
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unit::Tokens => "tokens",
            Unit::Bytes => "bytes",
        })
    }
}

/// How documents become tokens.
#[derive(Clone, Copy)]
pub struct Tokens<'a> {
    /// The tokenizers. Where lengths are tokens all of them must give the same ones. None for a corpus of token files.
    pub tokenizers: &'a [Tokenizer],
    /// What lengths count.
    pub unit: Unit,
    /// The models' number of ids: the largest where their tokenizers differ.
    pub vocab: usize,
    /// Memory for texts that are being read and tokenised.
    pub room: Room,
}

/// Texts that are in a corpus more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Documents whose content an earlier one has as well.
    pub count: u64,
    /// Numbers of the first two documents of one such content.
    pub example: [u32; 2],
}

/// A corpus as one pass over it shows it, in 16 bytes a document, or 20 where documents have labels.
#[derive(Debug)]
pub struct Index {
    pub(super) cutting: Cutting,
    pub(super) unit: Unit,
    /// Most tokens (or exactly the bytes), or pieces, of every document.
    pub(super) sizes: Vec<u64>,
    /// 64 bits of every document's content hash.
    pub(super) contents: Vec<u64>,
    labels: Labels,
    fingerprint: Fingerprint,
    /// Tokens of a sample by the bound on them: how many candidates are worth looking at together.
    sampled: (u64, u64),
    whole: Option<String>,
}

/// Labels by number, in the order in which they were met; empty where no document has one.
#[derive(Debug, Default)]
struct Labels {
    names: Vec<String>,
    numbers: BTreeMap<String, u32>,
    /// Of every document, from the first that has one on: number + 1, or 0 for none.
    of: Vec<u32>,
    before: usize,
}

impl Labels {
    fn push(&mut self, label: Option<String>) {
        let Some(label) = label else {
            match self.names.is_empty() {
                true => self.before += 1,
                false => self.of.push(0),
            }
            return;
        };
        let number = match self.numbers.get(&label) {
            Some(&n) => n,
            None => {
                self.names.push(label.clone());
                *self.numbers.entry(label).or_insert(self.names.len() as u32)
            }
        };
        self.of.push(number);
    }

    fn number(&self, document: u32) -> u32 {
        (document as usize).checked_sub(self.before).map_or(0, |at| self.of[at])
    }
}

/// What the pass finds out about one document.
struct Seen {
    id: String,
    label: Option<String>,
    size: u64,
    content: ContentHash,
}

/// Bytes of text that are tokenised to guess how many tokens a text has.
const SAMPLE: usize = 128 << 10;
/// At most so many of one document.
const SAMPLE_OF_ONE: usize = 16 << 10;

impl Index {
    /// Bytes that a document takes while it is read: what stays of it, vectors that grow, and what the reader remembers of its id.
    const A_DOCUMENT: usize = 64;

    /// Reads all documents, of which only their bounded batches are held. Only where no bound on the number of tokens is known are texts tokenised.
    ///
    /// # Errors
    /// Documents that cannot be read; text without a tokenizer, tokens beyond the vocabulary; pieces or bytes of token files; too many documents.
    pub fn read(documents: impl Iterator<Item = Result<Document>>, cutting: Cutting, how: Tokens<'_>) -> Result<Index> {
        // Bytes are the same for every tokenizer.
        let tokenizer = how.tokenizers.first().filter(|_| how.unit == Unit::Tokens);
        let unbounded = tokenizer.and_then(|t| Some(format!("{}: for its {} no bound on the number of tokens is known", t.path().display(), t.bound().err()?)));
        let whole = unbounded.filter(|_| cutting == Cutting::Chunks);
        let (mut sizes, mut contents, mut labels, mut print) = (Vec::new(), Vec::new(), Labels::default(), Fingerprinter::default());
        let mut sampled = (0, 0);
        for (i, batch) in Batches::new(documents, how.room).enumerate() {
            if let (0, Some(tokenizer)) = (i, tokenizer) {
                sampled = sample(&batch, tokenizer);
            }
            let seen: Vec<Result<Seen>> = batch.into_par_iter().map(|d| look(d?, cutting, how)).collect();
            for seen in seen {
                let seen = seen?;
                print.add(&seen.id, seen.content);
                sizes.push(seen.size);
                contents.push(seen.content.short());
                labels.push(seen.label);
            }
            if sizes.len() * Self::A_DOCUMENT > how.room.0 {
                let mib = |bytes: usize| bytes.div_ceil(1 << 20);
                return Err(Error::input(format!(
                    "an index of {} documents and more takes more than {} MiB, what memory has for it; give --memory more, or measure parts of the corpus",
                    sizes.len(),
                    mib(how.room.0)
                )));
            }
            if sizes.len() > u32::MAX as usize {
                return Err(Error::input(format!("the corpus has more than {} documents; measure parts of it", u32::MAX)));
            }
        }
        Ok(Index { cutting, unit: how.unit, sizes, contents, labels, fingerprint: print.finish(tokenizer.map(Tokenizer::hash)), sampled, whole })
    }

    /// Of all documents, and of the tokenizer where lengths are tokens.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// Number of documents.
    pub fn documents(&self) -> u64 {
        self.sizes.len() as u64
    }

    /// Why the whole corpus had to be tokenised, if it had.
    pub fn tokenised_whole(&self) -> Option<&str> {
        self.whole.as_deref()
    }

    /// Whether some document has a label.
    pub fn has_labels(&self) -> bool {
        !self.labels.names.is_empty()
    }

    /// The label of a document.
    pub fn label(&self, document: u32) -> Option<&str> {
        let number = self.labels.number(document).checked_sub(1)?;
        self.labels.names.get(number as usize).map(String::as_str)
    }

    /// A number that documents of one label share; 0 for those without.
    pub fn label_number(&self, document: u32) -> u32 {
        self.labels.number(document)
    }

    /// Texts that occur more than once; empty documents do not count.
    pub fn copies(&self) -> Option<Copies> {
        let mut sorted: Vec<u64> = self.contents.iter().zip(&self.sizes).filter(|&(_, &size)| size > 0).map(|(&c, _)| c).collect();
        sorted.sort_unstable();
        let count = sorted.windows(2).filter(|w| w[0] == w[1]).count() as u64;
        let content = sorted.windows(2).find(|w| w[0] == w[1])?[0];
        let mut of_it = (0..).zip(&self.contents).filter(|&(_, &c)| c == content).map(|(d, _)| d);
        Some(Copies { count, example: [of_it.next()?, of_it.next()?] })
    }

    /// Most texts of `length` tokens, or bytes, that each document has.
    pub(super) fn slots(&self, length: u32) -> Vec<u64> {
        match self.cutting {
            Cutting::Chunks => self.sizes.iter().map(|&t| t / length as u64).collect(),
            Cutting::Pieces => self.sizes.clone(),
        }
    }

    /// What share of these there will be, as far as the sample tells.
    pub(super) fn share(&self, length: u32) -> f64 {
        let (tokens, most) = self.sampled;
        if self.cutting == Cutting::Pieces || self.whole.is_some() || most == 0 {
            return 1.0;
        }
        let slots = |share: f64| self.sizes.iter().map(|&t| (t as f64 * share) as u64 / length as u64).sum::<u64>() as f64;
        slots(tokens as f64 / most as f64) / slots(1.0).max(1.0)
    }
}

fn look(mut document: Document, cutting: Cutting, how: Tokens<'_>) -> Result<Seen> {
    let content = ContentHash::of(&document.content);
    let label = document.label.take();
    let size = match (&document.content, cutting) {
        (Content::Tokens(_), Cutting::Pieces) => {
            return Err(Error::input(format!("{} is made of tokens, in which no sentence ends are seen; give texts for --pieces published", document.id)));
        }
        (Content::Tokens(_), _) if how.unit == Unit::Bytes => {
            return Err(Error::input(format!("{} is made of tokens, whose bytes are not known; give texts for --unit bytes", document.id)));
        }
        (Content::Text(text), Cutting::Chunks) if how.unit == Unit::Bytes => text.len() as u64,
        (Content::Text(text), Cutting::Pieces) => pieces(text, WORDS).count() as u64,
        (of, Cutting::Chunks) => match (of, how.tokenizers.first().map(Tokenizer::bound)) {
            (Content::Text(text), Some(Ok(bound))) => bound.tokens(text),
            _ => {
                let done = tokenize(document, how.tokenizers.first(), how.vocab, how.room)?;
                return Ok(Seen { id: done.id, label, size: done.tokens.len() as u64, content });
            }
        },
    };
    Ok(Seen { id: document.id, label, size, content })
}

/// Tokens of the beginnings of some texts, and the bound on them.
fn sample(batch: &[Result<Document>], tokenizer: &Tokenizer) -> (u64, u64) {
    let Ok(bound) = tokenizer.bound() else { return (0, 0) };
    let texts = batch.iter().filter_map(|d| match &d.as_ref().ok()?.content {
        Content::Text(text) => {
            let end = (0..=SAMPLE_OF_ONE.min(text.len())).rev().find(|&at| text.is_char_boundary(at))?;
            Some(&text[..end])
        }
        Content::Tokens(_) => None,
    });
    let (mut tokens, mut most, mut bytes) = (0, 0, 0);
    for text in texts {
        let Ok(encoded) = tokenizer.encode(text) else { continue };
        tokens += encoded.tokens.len() as u64;
        most += bound.tokens(text);
        bytes += text.len();
        if bytes > SAMPLE {
            break;
        }
    }
    (tokens, most)
}
