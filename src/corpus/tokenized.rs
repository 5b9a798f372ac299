//! The stream of documents as tokens.

use super::document::{Content, Document};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::collections::VecDeque;

/// A document in the model's tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenizedDocument {
    /// As [`Document::id`].
    pub id: String,
    /// Token ids, no start token among them.
    pub tokens: Vec<u32>,
    /// Where the tokens lie in the document's text, `tokens.len() + 1` ascending byte offsets; `None` for documents that came as tokens.
    pub byte_offsets: Option<Vec<u64>>,
}

/// Memory for texts on their way to tokens, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room(pub usize);

impl Room {
    /// Memory that a byte of text takes while it is tokenised: 135 bytes were measured with byte-level BPE of English (the library keeps an alignment of
    /// 16 bytes a character in each of its passes, and some 100 bytes a word and a token), and 12 for a token that is done.
    const A_BYTE: usize = 160;
    /// Text read ahead at most: enough to occupy many threads.
    const BATCH: usize = 8 << 20;
    /// Documents read ahead at most.
    const DOCUMENTS: usize = 4096;

    /// Bytes of text that may be tokenised at one time.
    pub fn text(self) -> usize {
        self.0 / Self::A_BYTE
    }

    /// Makes sure that a text of `bytes` bytes can be tokenised.
    ///
    /// # Errors
    /// A text that is too long.
    fn check(self, id: &str, bytes: usize) -> Result<()> {
        if bytes > self.text() {
            let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
            return Err(Error::input(format!(
                "{id} has {:.1} MiB of text in one document, and to tokenise it takes {:.0} MiB of memory where {:.0} MiB are left for that; split it into several documents or give --memory more",
                mib(bytes),
                mib(bytes * Self::A_BYTE).ceil(),
                mib(self.0)
            )));
        }
        Ok(())
    }
}

impl Default for Room {
    /// A gigabyte.
    fn default() -> Self {
        Room(1 << 30)
    }
}

/// Documents read ahead, so many at a time as may be tokenised at once. After an error it ends.
pub(super) struct Batches<I> {
    documents: I,
    room: Room,
    /// Read, but too large for the last batch.
    next: Option<Result<Document>>,
}

impl<I: Iterator<Item = Result<Document>>> Batches<I> {
    pub(super) fn new(documents: I, room: Room) -> Self {
        Batches { documents, room, next: None }
    }
}

impl<I: Iterator<Item = Result<Document>>> Iterator for Batches<I> {
    type Item = Vec<Result<Document>>;

    fn next(&mut self) -> Option<Self::Item> {
        let most = self.room.text().min(Room::BATCH);
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while batch.len() < Room::DOCUMENTS {
            let Some(document) = self.next.take().or_else(|| self.documents.next()) else { break };
            bytes += document.as_ref().map_or(0, |d| match &d.content {
                Content::Text(t) => t.len(),
                Content::Tokens(t) => 4 * t.len(),
            });
            if bytes > most && !batch.is_empty() {
                self.next = Some(document);
                break;
            }
            batch.push(document);
        }
        (!batch.is_empty()).then_some(batch)
    }
}

/// Tokenises documents in parallel, a bounded batch at a time, and hands them on in their order. After an error it ends.
pub struct TokenizedDocuments<'a, I> {
    batches: Batches<I>,
    tokenizer: Option<&'a Tokenizer>,
    vocab: usize,
    ready: VecDeque<Result<TokenizedDocument>>,
    over: bool,
}

impl<'a, I: Iterator<Item = Result<Document>>> TokenizedDocuments<'a, I> {
    /// `vocab` is the model's number of ids. Without a tokenizer a document of text is an error.
    pub fn new(documents: I, tokenizer: Option<&'a Tokenizer>, vocab: usize) -> Self {
        Self::within(Room::default(), documents, tokenizer, vocab)
    }

    /// The same with texts in `room` bytes of memory.
    pub fn within(room: Room, documents: I, tokenizer: Option<&'a Tokenizer>, vocab: usize) -> Self {
        TokenizedDocuments { batches: Batches::new(documents, room), tokenizer, vocab, ready: VecDeque::new(), over: false }
    }

    fn fill(&mut self) {
        let (tokenizer, vocab, room) = (self.tokenizer, self.vocab, self.batches.room);
        let batch = self.batches.next().unwrap_or_default();
        let done: Vec<_> = batch.into_par_iter().map(|document| document.and_then(|d| tokenize(d, tokenizer, vocab, room))).collect();
        self.ready.extend(done);
    }
}

impl<I: Iterator<Item = Result<Document>>> Iterator for TokenizedDocuments<'_, I> {
    type Item = Result<TokenizedDocument>;

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

/// The document's tokens, each below `vocab`.
///
/// # Errors
/// Text without a tokenizer, or too much of it for `room`; text that the tokenizer cannot express; other ids.
pub(super) fn tokenize(document: Document, tokenizer: Option<&Tokenizer>, vocab: usize, room: Room) -> Result<TokenizedDocument> {
    let Document { id, content, .. } = document;
    let (tokens, byte_offsets, reason) = match content {
        Content::Tokens(tokens) => (tokens, None, "the file belongs to another model, or its tokens are of another width".to_string()),
        Content::Text(text) => {
            let t = tokenizer.ok_or_else(|| Error::input(format!("{id} is text and there is no tokenizer; name one with --tokenizer")))?;
            room.check(&id, text.len())?;
            let encoded = t.encode(&text)?;
            if encoded.tokens.is_empty() && !text.is_empty() {
                return Err(Error::file(t.path(), format!("makes no token of {id}")));
            }
            (encoded.tokens, Some(encoded.byte_offsets), format!("the tokenizer {} ({} tokens) belongs to another model", t.path().display(), t.vocab_size()))
        }
    };
    if let Some((at, token)) = tokens.iter().enumerate().find(|&(_, &t)| t as usize >= vocab) {
        let what = format!("token {at} of {id} is {token}, but the model's vocabulary has {vocab} ids; {reason}");
        return Err(Error::input(what));
    }
    Ok(TokenizedDocument { id, tokens, byte_offsets })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(id: &str, tokens: &[u32]) -> Result<Document> {
        Ok(Document { id: id.into(), label: None, content: Content::Tokens(tokens.to_vec()) })
    }

    #[test]
    fn order_is_kept_and_an_error_ends_it() {
        let documents = (0..10_000).map(|i| if i == 9_000 { Err(Error::input("bad")) } else { tokens(&i.to_string(), &[i]) });
        let got: Vec<_> = TokenizedDocuments::new(documents, None, 10_000).collect();
        assert_eq!(got.len(), 9_001);
        assert!(got[..9_000].iter().enumerate().all(|(i, d)| d.as_ref().is_ok_and(|d| d.id == i.to_string() && d.tokens == [i as u32])));
        assert_eq!(got[9_000].as_ref().unwrap_err().to_string(), "bad");
    }

    #[test]
    fn batches_are_bounded() {
        let sizes = [3usize, 4, 3, 20, 1, 1, 9, 10, 0];
        let documents = || sizes.iter().map(|&n| Ok(Document { id: n.to_string(), label: None, content: Content::Text("x".repeat(n)) }));
        let batches: Vec<Vec<usize>> = Batches::new(documents(), Room(10 * Room::A_BYTE))
            .map(|b| b.into_iter().map(|d| if let Content::Text(t) = d.unwrap().content { t.len() } else { 0 }).collect())
            .collect();
        assert_eq!(batches, [vec![3, 4, 3], vec![20], vec![1, 1], vec![9], vec![10, 0]]);
        let t = Tokenizer::from_bytes(br#"{"model": {"type": "WordLevel", "vocab": {"x": 0}, "unk_token": "x"}}"#, "t".into()).unwrap();
        let mut tokens = TokenizedDocuments::within(Room(10 * Room::A_BYTE), documents(), Some(&t), 9);
        assert_eq!((&mut tokens).take(3).filter(Result::is_ok).count(), 3);
        let said = tokens.next().unwrap().unwrap_err().to_string();
        assert!(
            said.starts_with("20 has 0.0 MiB of text in one document") && said.ends_with("split it into several documents or give --memory more"),
            "{said}"
        );
        assert!(tokens.next().is_none());
    }

    #[test]
    fn ids_beyond_the_vocabulary_are_an_error() {
        let one = |d| TokenizedDocuments::new([d].into_iter(), None, 5).next().unwrap();
        assert!(one(tokens("a.bin", &[4, 0])).is_ok());
        let said = one(tokens("a.bin", &[4, 5])).unwrap_err().to_string();
        assert!(said.starts_with("token 1 of a.bin is 5, but the model's vocabulary has 5 ids"), "{said}");
        let text = Ok(Document { id: "a.txt".into(), label: None, content: Content::Text("x".into()) });
        assert_eq!(one(text).unwrap_err().to_string(), "a.txt is text and there is no tokenizer; name one with --tokenizer");
    }
}
