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

/// Text read ahead of the tokenizer, in bytes: enough to occupy many threads, little enough to be held.
const BATCH_BYTES: usize = 8 << 20;
/// Documents read ahead at most.
const BATCH_DOCUMENTS: usize = 4096;

/// Tokenises documents in parallel, a bounded batch at a time, and hands them on in their order. After an error it ends.
pub struct TokenizedDocuments<'a, I> {
    documents: I,
    tokenizer: Option<&'a Tokenizer>,
    vocab: usize,
    ready: VecDeque<Result<TokenizedDocument>>,
    over: bool,
}

impl<'a, I: Iterator<Item = Result<Document>>> TokenizedDocuments<'a, I> {
    /// `vocab` is the model's number of ids. Without a tokenizer a document of text is an error.
    pub fn new(documents: I, tokenizer: Option<&'a Tokenizer>, vocab: usize) -> Self {
        TokenizedDocuments { documents, tokenizer, vocab, ready: VecDeque::new(), over: false }
    }

    fn fill(&mut self) {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while bytes < BATCH_BYTES && batch.len() < BATCH_DOCUMENTS {
            let Some(document) = self.documents.next() else { break };
            bytes += document.as_ref().map_or(0, |d| match &d.content {
                Content::Text(t) => t.len(),
                Content::Tokens(t) => 4 * t.len(),
            });
            batch.push(document);
        }
        let (tokenizer, vocab) = (self.tokenizer, self.vocab);
        let done: Vec<_> = batch.into_par_iter().map(|document| document.and_then(|d| tokenize(d, tokenizer, vocab))).collect();
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

fn tokenize(document: Document, tokenizer: Option<&Tokenizer>, vocab: usize) -> Result<TokenizedDocument> {
    let Document { id, content, .. } = document;
    let (tokens, byte_offsets, reason) = match content {
        Content::Tokens(tokens) => (tokens, None, "the file belongs to another model, or its tokens are of another width".to_string()),
        Content::Text(text) => {
            let t = tokenizer.ok_or_else(|| Error::input(format!("{id} is text and there is no tokenizer; name one with --tokenizer")))?;
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
    fn ids_beyond_the_vocabulary_are_an_error() {
        let one = |d| TokenizedDocuments::new([d].into_iter(), None, 5).next().unwrap();
        assert!(one(tokens("a.bin", &[4, 0])).is_ok());
        let said = one(tokens("a.bin", &[4, 5])).unwrap_err().to_string();
        assert!(said.starts_with("token 1 of a.bin is 5, but the model's vocabulary has 5 ids"), "{said}");
        let text = Ok(Document { id: "a.txt".into(), label: None, content: Content::Text("x".into()) });
        assert_eq!(one(text).unwrap_err().to_string(), "a.txt is text and there is no tokenizer; name one with --tokenizer");
    }
}
