//! Documents as symbols 0 … V − 1: tokens, bytes or words, for those who count them and look at nothing else.
//!
//! Two readings of the corpus: a [`Survey`] finds out what symbols there are and what corpus it was; then the documents come one after the other.

use super::document::{Content, Document, Documents};
use super::fingerprint::{ContentHash, Fingerprint, Fingerprinter};
use super::tokenized::{Room, TokenizedDocuments};
use super::tokenizer::Tokenizer;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::fmt;

/// What a symbol is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SymbolUnit {
    /// A token, of a tokenizer or of token files.
    Tokens,
    /// A byte of text (UTF-8); of FASTA a base or a residue.
    Bytes,
    /// Characters between white space (Unicode `White_Space`), as they are spelled.
    Words,
}

impl fmt::Display for SymbolUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SymbolUnit::Tokens => "tokens",
            SymbolUnit::Bytes => "bytes",
            SymbolUnit::Words => "words",
        })
    }
}

/// Ids from here on are numbered anew, so that tables by symbol do not become larger than the texts.
const LARGE: u32 = 1 << 21;

/// What one reading of a corpus shows.
#[derive(Debug)]
pub struct Survey {
    unit: SymbolUnit,
    fingerprint: Fingerprint,
    /// Ids below this stay as they are.
    plain: u32,
    /// Those of [`LARGE`] and above, in the order in which they came.
    large: HashMap<u32, u32>,
    words: HashMap<Box<str>, u32>,
    notices: Vec<String>,
}

/// A document's symbols.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Symbols {
    /// The symbols.
    pub symbols: Vec<u32>,
    /// Bytes of its text, or four a token of those that came as tokens.
    pub bytes: u64,
}

impl Survey {
    /// Bytes that a word or a large id takes beside its spelling: its entry, its box, and the room that the table keeps free.
    const AN_ENTRY: usize = 64;

    /// Reads all documents. What symbols they have may take `memory` bytes. A tokenizer is needed where tokens are of text.
    ///
    /// # Errors
    /// Documents that cannot be read; tokens where text is asked for, text without a tokenizer; more words than the memory holds.
    pub fn read(documents: &mut Documents<'_>, unit: SymbolUnit, tokenizer: Option<&Tokenizer>, memory: usize) -> Result<Self> {
        let (mut print, mut plain, mut large, mut words) = (Fingerprinter::default(), 0, HashMap::new(), HashMap::<Box<str>, u32>::new());
        let mut spelled = 0;
        for document in &mut *documents {
            let Document { id, content, .. } = document?;
            print.add(&id, ContentHash::of(&content));
            match (unit, &content) {
                (SymbolUnit::Tokens, Content::Text(_)) => {
                    let t = tokenizer.ok_or_else(|| Error::input(format!("{id} is text and there is no tokenizer; name one with --tokenizer")))?;
                    plain = plain.max(t.ids()).max(t.vocab_size() as u32);
                }
                (SymbolUnit::Tokens, Content::Tokens(tokens)) => {
                    for &t in tokens {
                        if t < LARGE {
                            plain = plain.max(t + 1);
                        } else {
                            let number = large.len() as u32;
                            large.entry(t).or_insert(number);
                        }
                    }
                }
                (SymbolUnit::Bytes, Content::Text(_)) => plain = 256,
                (SymbolUnit::Words, Content::Text(text)) => {
                    for word in text.split_whitespace().filter(|&w| !words.contains_key(w)).collect::<Vec<_>>() {
                        // The same word may be twice among the new ones of one text.
                        if !words.contains_key(word) {
                            spelled += word.len();
                            words.insert(word.into(), words.len() as u32);
                        }
                    }
                }
                (_, Content::Tokens(_)) => return Err(Error::input(format!("{id} has tokens and no text; leave --unit {unit} out"))),
            }
            if (large.len() + words.len()) * Self::AN_ENTRY + spelled > memory {
                let (many, mib) = (large.len() + words.len(), memory.div_ceil(1 << 20));
                return Err(Error::memory(format!(
                    "{many} different {unit} and more do not fit into the {mib} MiB that are left for them; give --memory more"
                )));
            }
        }
        let notices = documents.notices();
        Ok(Survey { unit, fingerprint: print.finish(tokenizer.map(Tokenizer::hash)), plain, large, words, notices })
    }

    /// Of all documents, and of the tokenizer.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// What a symbol is.
    pub fn unit(&self) -> SymbolUnit {
        self.unit
    }

    /// V.
    pub fn kinds(&self) -> usize {
        self.plain as usize + self.large.len() + self.words.len()
    }

    /// Bytes that it takes.
    pub fn memory(&self) -> usize {
        (self.large.len() + self.words.len()) * Self::AN_ENTRY + self.words.keys().map(|w| w.len()).sum::<usize>()
    }

    /// What is to be said of the texts, one sentence each.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// The documents' symbols, in their order; text that is tokenised takes `room`.
    ///
    /// # Errors
    /// The iterator gives those of the documents and of tokenising, and what shows that the corpus is not the one that was surveyed.
    pub fn symbols<'a>(
        &'a self,
        documents: impl Iterator<Item = Result<Document>> + 'a,
        tokenizer: Option<&'a Tokenizer>,
        room: Room,
    ) -> Box<dyn Iterator<Item = Result<Symbols>> + 'a> {
        match self.unit {
            SymbolUnit::Tokens => Box::new(TokenizedDocuments::within(room, documents, tokenizer, u32::MAX as usize).map(|document| {
                let document = document?;
                let (mut symbols, of_text) = (document.tokens, document.byte_offsets.and_then(|b| b.last().copied()));
                let bytes = of_text.unwrap_or(4 * symbols.len() as u64);
                for s in symbols.iter_mut().filter(|s| **s >= self.plain) {
                    *s = self.plain + *self.large.get(s).ok_or_else(changed)?;
                }
                Ok(Symbols { symbols, bytes })
            })),
            SymbolUnit::Bytes | SymbolUnit::Words => Box::new(documents.map(|document| {
                let Content::Text(text) = document?.content else { return Err(changed()) };
                let symbols = match self.unit {
                    SymbolUnit::Words => text.split_whitespace().map(|w| self.words.get(w).copied().ok_or_else(changed)).collect::<Result<_>>()?,
                    _ => text.bytes().map(u32::from).collect(),
                };
                Ok(Symbols { symbols, bytes: text.len() as u64 })
            })),
        }
    }
}

fn changed() -> Error {
    Error::input("the corpus has changed while it was read; start again")
}

#[cfg(test)]
mod tests {
    use super::super::{Corpus, ReadOptions};
    use super::*;

    /// The symbols of all documents, and how many there are.
    fn read(files: &[(&str, &[u8])], unit: SymbolUnit, memory: usize) -> Result<(usize, Vec<Vec<u32>>)> {
        let dir = tempfile::tempdir().unwrap();
        let paths: Vec<_> = files.iter().map(|f| dir.path().join(f.0)).collect();
        paths.iter().zip(files).for_each(|(path, file)| std::fs::write(path, file.1).unwrap());
        let corpus = Corpus::open(&paths, ReadOptions::default())?;
        let survey = Survey::read(&mut corpus.documents(), unit, None, memory)?;
        let symbols = survey.symbols(corpus.documents(), None, Room::default()).map(|s| s.map(|s| s.symbols)).collect::<Result<_>>()?;
        Ok((survey.kinds(), symbols))
    }

    #[test]
    fn words_and_bytes() {
        let texts: [(&str, &[u8]); 2] = [("a.txt", "the cat\u{a0}the\n".as_bytes()), ("b.txt", b"A cat the  ")];
        assert_eq!(read(&texts, SymbolUnit::Words, 1 << 20).unwrap(), (3, vec![vec![0, 1, 0], vec![2, 1, 0]]));
        assert_eq!(read(&texts[1..], SymbolUnit::Bytes, 0).unwrap(), (256, vec![b"A cat the  ".map(u32::from).to_vec()]));
        assert!(read(&texts, SymbolUnit::Words, 100).unwrap_err().to_string().contains("2 different words and more do not fit"));
        assert!(read(&texts, SymbolUnit::Tokens, 0).unwrap_err().to_string().contains("a.txt is text and there is no tokenizer"));
        let tokens: [(&str, &[u8]); 1] = [("t.bin", &[1, 0])];
        assert!(read(&tokens, SymbolUnit::Bytes, 0).unwrap_err().to_string().contains("t.bin has tokens and no text; leave --unit bytes out"));
    }

    #[test]
    fn large_ids_are_numbered_anew() {
        let bytes: Vec<u8> = [7u32, u32::MAX >> 1, 5, LARGE, u32::MAX >> 1, LARGE - 1].iter().flat_map(|t| t.to_le_bytes()).collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.bin");
        std::fs::write(&path, bytes).unwrap();
        let corpus = Corpus::open(&[path], ReadOptions { token_width: super::super::TokenWidth::U32, ..ReadOptions::default() }).unwrap();
        let survey = Survey::read(&mut corpus.documents(), SymbolUnit::Tokens, None, 1 << 20).unwrap();
        let symbols: Vec<_> = survey.symbols(corpus.documents(), None, Room::default()).map(|s| s.unwrap().symbols).collect();
        assert_eq!((survey.kinds(), symbols), (LARGE as usize + 2, vec![vec![7, LARGE, 5, LARGE + 1, LARGE, LARGE - 1]]));
    }
}
