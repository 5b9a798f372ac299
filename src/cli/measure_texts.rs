//! The texts of a measurement: an index of the corpus, and what is drawn from it.

use super::corpus::CorpusArgs;
use crate::corpus::{Corpus, Cutting, Draw, Fingerprint, Index, Room, TokenizedDocuments, Tokenizer, Tokens, draw, matched, published};
use crate::error::{Error, Result};
use crate::estimate::{NgramCounter, NgramCounts, Pairing};
use crate::measure::{Design, Text};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Chunks where --chunks does not say otherwise.
const CHUNKS: usize = 256;

/// A corpus and how it becomes tokens.
pub struct Texts<'a> {
    corpus: &'a Corpus,
    tokenizers: Vec<Tokenizer>,
    vocab: usize,
    room: Room,
    index: Index,
    read: Vec<String>,
}

impl<'a> Texts<'a> {
    /// Reads the corpus once. The tokenizer is the one that was named, or else the first model's; then the other models' must give the same tokens of all that
    /// is tokenised. Every id must be below `vocab`.
    ///
    /// # Errors
    /// As [`Index::read`]; no tokenizer, or one that does not fit.
    pub fn open(args: &CorpusArgs, corpus: &'a Corpus, models: &[PathBuf], vocab: usize, cutting: Cutting, room: Room) -> Result<Self> {
        let mut tokenizers: Vec<Tokenizer> = Vec::new();
        let mut hashes = BTreeSet::new();
        let named = args.tokenizer.is_some();
        for model in models.iter().take(if named { 1 } else { models.len() }) {
            tokenizers.extend(args.tokenizer(corpus, model, vocab)?.filter(|t| hashes.insert(t.hash())));
        }
        let mut documents = corpus.documents();
        let index = Index::read(&mut documents, cutting, Tokens { tokenizers: &tokenizers, vocab, room })?;
        let read = documents.notices();
        Ok(Texts { corpus, tokenizers, vocab, room, index, read })
    }

    /// Of the corpus and its tokenizer.
    pub fn fingerprint(&self) -> &Fingerprint {
        self.index.fingerprint()
    }

    fn tokens(&self) -> Tokens<'_> {
        Tokens { tokenizers: &self.tokenizers, vocab: self.vocab, room: self.room }
    }

    /// Counts of n-grams over the whole corpus, which is tokenised for it; what does not fit the room lies in a file without a name in `folder` meanwhile.
    ///
    /// # Errors
    /// As [`Index::read`]; a corpus that changed; what the system refuses.
    pub fn ngrams(&self, folder: &Path) -> Result<Vec<NgramCounts>> {
        let room = Room(self.room.0 / 2);
        let mut counter = NgramCounter::new(self.index.documents(), self.vocab, Some((folder, room.0)));
        let mut documents = 0;
        for document in TokenizedDocuments::within(room, self.corpus.documents(), self.tokenizers.first(), self.vocab) {
            counter.add(&document?.tokens)?;
            documents += 1;
        }
        if documents != self.index.documents() {
            return Err(Error::input("the corpus has changed while it was read; start again"));
        }
        counter.finish()
    }

    /// The texts in their groups, and what is to be said about the corpus and about texts that are not used. `chunks` is how many were asked for.
    ///
    /// # Errors
    /// As [`draw`] and [`matched`].
    pub fn groups(&self, design: &Design, seed: u64, chunks: Option<usize>) -> Result<(Vec<Vec<Text>>, Vec<String>)> {
        let copies = self.index.copies();
        let what = Draw { length: design.length, seed, wanted: chunks.unwrap_or(CHUNKS), named: copies.as_ref().map_or(&[], |c| &c.example) };
        let cut = |number: u32, document: &_, start: u64| {
            let label = self.index.label(number).map(str::to_owned);
            Ok(Text { label, ..Text::cut(design, number, document, start)? })
        };
        let drawing = draw(self.corpus, &self.index, self.tokens(), &what, &cut)?;
        let mut notices: Vec<String> = self.tokenizers.iter().flat_map(Tokenizer::notices).chain(&self.read).cloned().collect();
        notices.extend(self.index.tokenised_whole().map(|why| format!("{why}; the whole corpus is tokenised to draw from it")));
        if let Some(c) = copies {
            let [a, b] = c.example.map(|d| drawing.names.get(&d).map_or("?", String::as_str));
            let have = if c.count == 1 { "1 document has".into() } else { format!("{} documents have", c.count) };
            notices.push(format!("{have} the same text as another one ({a} and {b}, for example), and is not independent of it; leave copies out"));
        }
        let documents = self.index.documents();
        if drawing.too_short > 0 {
            let (few, length) = (drawing.too_short, design.length);
            notices.push(match drawing.known {
                known if known == documents => format!("{few} of {documents} documents have fewer than {length} tokens and are not used"),
                known => {
                    format!("{few} of the {known} documents whose length was looked at ({documents} in all) have fewer than {length} tokens and are not used")
                }
            });
        }
        let wanted = drawing.chunks.len();
        if let Some(asked) = chunks.filter(|&n| n > wanted) {
            notices.push(format!("there are {wanted} chunks of {} tokens, fewer than the {asked} asked for", design.length));
        }
        let (order, texts): (Vec<_>, Vec<Text>) = drawing.chunks.into_iter().unzip();
        let label = |document| self.index.label_number(document);
        let groups: Vec<Vec<usize>> = match design.pairing {
            Pairing::Matched => {
                let m = matched(&order, label, design.foreign as usize)?;
                if m.unused > 0 {
                    notices.push(format!(
                        "{} of {wanted} chunks fill no group of {} from different documents{} and are not used",
                        m.unused,
                        design.members(),
                        if self.index.has_labels() { " of one label" } else { "" }
                    ));
                }
                m.groups
            }
            Pairing::Published => {
                let mut lists: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
                for (i, chunk) in order.iter().enumerate() {
                    lists.entry(label(chunk.document)).or_default().push(i);
                }
                lists.values().flat_map(|list| published(list.len()).into_iter().map(|pair| pair.map(|i| list[i]).to_vec())).collect()
            }
        };
        if groups.is_empty() {
            return Err(Error::input(format!("{wanted} chunks fill no group of {}; give more --chunks or more texts", design.members())));
        }
        let mut texts: Vec<Option<Text>> = texts.into_iter().map(Some).collect();
        let mut taken = |i: &usize| texts[*i].take().expect("groups are disjoint");
        Ok((groups.iter().map(|g| g.iter().map(&mut taken).collect()).collect(), notices))
    }
}
