//! A chunk as it is scored.

use super::plan::Design;
use crate::corpus::{Opened, Stretch, Tokenizer, Unit};
use crate::error::{Error, Result};
use crate::forest::TokenId;

/// A chunk with its tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    /// Index of its document in the corpus.
    pub document: u32,
    /// The document's name.
    pub document_id: String,
    /// The document's label, where the corpus gives it one.
    pub label: Option<String>,
    /// Index of its first token in the document, or in the piece of it, which is tokenised on its own.
    pub token_offset: u64,
    /// Where it lies in the document's bytes; `None` where the document came as tokens.
    pub bytes: Option<Bytes>,
    /// w[1..L].
    pub tokens: Vec<TokenId>,
    /// Where lengths are bytes, how many of these lie before each of [`Design::marks`]; else empty.
    pub cuts: Vec<u32>,
    /// How many of these places, the chunk's beginning among them, lie inside a token, which is then read in two parts.
    pub divided: u32,
}

/// Where a chunk lies in its document's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bytes {
    /// Its first byte.
    pub offset: u64,
    /// Its bytes before each of [`Design::marks`].
    pub lengths: Vec<u32>,
}

impl Text {
    /// The chunk that begins with token or byte `start` of what was opened, as each of its token lists has it: one where lengths are tokens, and one a
    /// tokenizer where they are bytes.
    ///
    /// # Errors
    /// A document that ends before; a part of a token that a tokenizer cannot express.
    pub fn cut(design: &Design, opened: &Opened<'_>, tokenizers: &[Tokenizer], start: u64) -> Result<Vec<Text>> {
        match design.unit {
            Unit::Tokens => Ok(vec![Self::cut_tokens(design, opened, start)?]),
            Unit::Bytes => Self::cut_bytes(design, opened, tokenizers, start),
        }
    }

    /// Makes sure that every chunk fits into the positions of a model, which errors call `name`.
    ///
    /// # Errors
    /// The first chunk that does not.
    pub fn check_positions(groups: &[Vec<Text>], most: usize, name: &str) -> Result<()> {
        let Some(long) = groups.iter().flatten().find(|t| t.tokens.len() > most) else { return Ok(()) };
        let (bytes, tokens) = (long.bytes.as_ref().and_then(|b| b.lengths.last()).copied().unwrap_or(0), long.tokens.len());
        let what = format!("{bytes} bytes of {} are {tokens} tokens, more than the {most} positions of {name}; choose a smaller --length", long.document_id);
        Err(Error::input(what))
    }

    fn cut_tokens(design: &Design, opened: &Opened<'_>, start: u64) -> Result<Text> {
        let document = opened.tokenized.first().ok_or_else(|| Error::input("a document was opened without its tokens"))?;
        let from = start as usize;
        let tokens = document.tokens.get(from..from + design.length as usize);
        let tokens = tokens.ok_or_else(|| Error::input(format!("{} has no {} tokens from token {start} on", document.id, design.length)))?.to_vec();
        let bytes = document.byte_offsets.as_ref().map(|at| {
            let offset = at[from];
            Bytes { offset, lengths: design.marks().iter().map(|&n| (at[from + n as usize] - offset) as u32).collect() }
        });
        Ok(Text { document: opened.number, document_id: document.id.clone(), token_offset: start, bytes, tokens, ..Text::default() })
    }

    fn cut_bytes(design: &Design, opened: &Opened<'_>, tokenizers: &[Tokenizer], start: u64) -> Result<Vec<Text>> {
        let marks = design.marks();
        let of_one = |(document, tokenizer)| -> Result<Text> {
            let Stretch { first, offset, tokens, bytes, counts, divided } = Stretch::cut(opened.text, document, tokenizer, start, &marks)?;
            let bytes = Some(Bytes { offset: opened.offset + offset, lengths: bytes });
            Ok(Text { document: opened.number, document_id: document.id.clone(), token_offset: first, bytes, tokens, cuts: counts, divided, label: None })
        };
        opened.tokenized.iter().zip(tokenizers).map(of_one).collect()
    }
}
