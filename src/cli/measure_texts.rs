//! The texts of a measurement: an index of the corpus, and what is drawn from it.

use super::corpus::CorpusArgs;
use crate::corpus::{Corpus, Cutting, Draw, Fingerprint, Index, Opened, Room, TokenizedDocuments, Tokenizer, Tokens, Unit, draw, matched, published};
use crate::error::{Error, Result};
use crate::estimate::{NgramCounter, NgramCounts, Pairing};
use crate::measure::{Design, Text};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Chunks where --chunks does not say otherwise.
const CHUNKS: usize = 256;

/// The chunks of a measurement in their groups, as the tokenizers have them.
pub struct Groups {
    by_tokenizer: Vec<Vec<Vec<Text>>>,
    reader: Vec<usize>,
}

impl Groups {
    /// The groups as model number `model` reads them.
    pub fn of(&self, model: usize) -> &[Vec<Text>] {
        &self.by_tokenizer[self.reader[model]]
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_tokenizer.first().map_or(0, Vec::len)
    }

    /// Bytes of memory that their tokens take.
    pub fn bytes(&self) -> usize {
        self.by_tokenizer.iter().flatten().flatten().map(|t| 4 * t.tokens.len()).sum()
    }
}

/// A corpus and how it becomes tokens.
pub struct Texts<'a> {
    corpus: &'a Corpus,
    tokenizers: Vec<Tokenizer>,
    /// Of every model, which of the tokenizers reads for it.
    reader: Vec<usize>,
    unit: Unit,
    vocab: usize,
    room: Room,
    index: Index,
    read: Vec<String>,
}

impl<'a> Texts<'a> {
    /// Reads the corpus once. The tokenizer is the one that was named, or else each model's own. Where lengths are tokens the other models' must give the same
    /// tokens as the first one's of all that is tokenised, and every id must be below the smallest of `vocabs`, the models' numbers of ids.
    ///
    /// # Errors
    /// As [`Index::read`]; no tokenizer, or one that does not fit.
    pub fn open(args: &CorpusArgs, corpus: &'a Corpus, models: &[PathBuf], vocabs: &[usize], (cutting, unit): (Cutting, Unit), room: Room) -> Result<Self> {
        let mut tokenizers: Vec<Tokenizer> = Vec::new();
        let mut reader = Vec::with_capacity(models.len());
        let least = vocabs.iter().min().copied().unwrap_or(0);
        let each_its_own = unit == Unit::Bytes && args.tokenizer.is_none();
        for (model, &vocab) in models.iter().zip(vocabs) {
            let found = match (reader.is_empty(), args.tokenizer.is_some()) {
                (false, true) => None,
                _ => args.tokenizer(corpus, model, if each_its_own { vocab } else { least })?,
            };
            let known = |t: &Tokenizer| tokenizers.iter().position(|k| k.hash() == t.hash());
            reader.push(match found {
                Some(t) => known(&t).unwrap_or_else(|| {
                    tokenizers.push(t);
                    tokenizers.len() - 1
                }),
                None => 0,
            });
        }
        // Where lengths are tokens, one list of them is every model's.
        if unit == Unit::Tokens {
            reader.fill(0);
        }
        // Each tokenizer was held against its own model.
        let vocab = if each_its_own { vocabs.iter().max().copied().unwrap_or(0) } else { least };
        let mut documents = corpus.documents();
        let index = Index::read(&mut documents, cutting, Tokens { tokenizers: &tokenizers, unit, vocab, room })?;
        let read = documents.notices();
        Ok(Texts { corpus, tokenizers, reader, unit, vocab, room, index, read })
    }

    /// Of the corpus, and of its tokenizer where lengths are tokens.
    pub fn fingerprint(&self) -> &Fingerprint {
        self.index.fingerprint()
    }

    /// Where lengths are bytes, the XXH3-128 of the tokenizer that reads for a model, in 32 hexadecimal digits.
    pub fn tokenizer_of(&self, model: usize) -> Option<String> {
        let own = self.tokenizers.get(self.reader[model]).filter(|_| self.unit == Unit::Bytes)?;
        Some(format!("{:032x}", own.hash()))
    }

    fn tokens(&self) -> Tokens<'_> {
        Tokens { tokenizers: &self.tokenizers, unit: self.unit, vocab: self.vocab, room: self.room }
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
    pub fn groups(&self, design: &Design, seed: u64, chunks: Option<usize>) -> Result<(Groups, Vec<String>)> {
        let copies = self.index.copies();
        let what = Draw { length: design.length, seed, wanted: chunks.unwrap_or(CHUNKS), named: copies.as_ref().map_or(&[], |c| &c.example) };
        let cut = |opened: &Opened<'_>, start: u64| {
            let label = self.index.label(opened.number).map(str::to_owned);
            let texts = Text::cut(design, opened, &self.tokenizers, start)?;
            Ok(texts.into_iter().map(|text| Text { label: label.clone(), ..text }).collect())
        };
        let drawing = draw(self.corpus, &self.index, self.tokens(), &what, &cut)?;
        let mut notices: Vec<String> = self.tokenizers.iter().flat_map(Tokenizer::notices).chain(&self.read).cloned().collect();
        notices.extend(self.index.tokenised_whole().map(|why| format!("{why}; the whole corpus is tokenised to draw from it")));
        if let Some(c) = copies {
            let [a, b] = c.example.map(|d| drawing.names.get(&d).map_or("?", String::as_str));
            let have = if c.count == 1 { "1 document has".into() } else { format!("{} documents have", c.count) };
            notices.push(format!("{have} the same text as another one ({a} and {b}, for example): copies are not independent; leave them out"));
        }
        let (documents, unit) = (self.index.documents(), self.unit);
        if drawing.too_short > 0 {
            let (few, length) = (drawing.too_short, design.length);
            notices.push(match drawing.known {
                known if known == documents => format!("{few} of {documents} documents have fewer than {length} {unit} and are not used"),
                known => {
                    format!("{few} of the {known} documents whose length was looked at ({documents} in all) have fewer than {length} {unit} and are not used")
                }
            });
        }
        let wanted = drawing.chunks.len();
        if let Some(asked) = chunks.filter(|&n| n > wanted) {
            notices.push(format!("there are {wanted} chunks of {} {unit}, fewer than the {asked} asked for", design.length));
        }
        let (order, texts): (Vec<_>, Vec<Vec<Text>>) = drawing.chunks.into_iter().unzip();
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
        for (tokenizer, t) in self.tokenizers.iter().enumerate().filter(|_| unit == Unit::Bytes) {
            let divided: u64 = texts.iter().map(|of| of[tokenizer].divided as u64).sum();
            let places = texts.len() * (design.marks().len() + 1);
            if divided > 0 {
                notices.push(format!(
                    "{}: {divided} of {places} places where chunks are cut lie inside a token, which is read in two parts there; direct comes out too low where these are many",
                    t.path().display()
                ));
            }
        }
        let readings = texts.first().map_or(0, Vec::len);
        let mut texts: Vec<std::vec::IntoIter<Text>> = texts.into_iter().map(Vec::into_iter).collect();
        let mut next = |i: &usize| texts[*i].next().expect("groups are disjoint, and every chunk is read by every tokenizer");
        let by_tokenizer = (0..readings).map(|_| groups.iter().map(|g| g.iter().map(&mut next).collect()).collect()).collect();
        Ok((Groups { by_tokenizer, reader: self.reader.clone() }, notices))
    }
}
