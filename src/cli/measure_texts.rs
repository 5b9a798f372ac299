//! A corpus in tokens, kept while it is small and read again where it is not.

use super::corpus::CorpusArgs;
use crate::corpus::{Chunk, Corpus, Fingerprint, Fingerprinter, TokenizedDocument, TokenizedDocuments, Tokenizer};
use crate::error::{Error, Result};
use crate::measure::{Design, Text};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Tokens of a corpus that is kept in memory between two looks at it, at 12 bytes each.
const KEPT_TOKENS: usize = 32 << 20;

/// What a corpus is in tokens.
pub struct Tokens {
    /// Tokens of every document.
    pub lengths: Vec<u64>,
    /// Of the tokens.
    pub fingerprint: Fingerprint,
    tokenizer: Option<Tokenizer>,
    vocab: usize,
    kept: Option<Vec<TokenizedDocument>>,
}

impl Tokens {
    /// Tokenises the corpus with the tokenizer that was named, or else the first model's, and makes sure then that all models would give the same tokens.
    /// Every id must be below `vocab`.
    ///
    /// # Errors
    /// No tokenizer, texts that it cannot express, ids beyond `vocab`; models that tokenise differently.
    pub fn read(args: &CorpusArgs, corpus: &Corpus, models: &[PathBuf], vocab: usize) -> Result<Self> {
        let first = Self::by(corpus, args.tokenizer(corpus, &models[0], vocab)?, vocab)?;
        if first.tokenizer.is_some() && args.tokenizer.is_none() {
            let file = |folder: &Path| folder.join("tokenizer.json");
            let bytes = |folder: &Path| fs::read(file(folder)).map_err(Error::io(file(folder)));
            let of_first = bytes(&models[0])?;
            for other in &models[1..] {
                if bytes(other)? != of_first && Self::by(corpus, args.tokenizer(corpus, other, vocab)?, vocab)?.fingerprint != first.fingerprint {
                    return Err(Error::file(
                        file(other),
                        format!("gives other tokens than {}: their curves cannot share chunks; measure these models one by one", file(&models[0]).display()),
                    ));
                }
            }
        }
        Ok(first)
    }

    fn by(corpus: &Corpus, tokenizer: Option<Tokenizer>, vocab: usize) -> Result<Self> {
        let (mut lengths, mut kept, mut sum) = (Vec::new(), Some(Vec::new()), 0);
        let mut fingerprint = Fingerprinter::default();
        each(corpus, tokenizer.as_ref(), vocab, |document| {
            lengths.push(document.tokens.len() as u64);
            fingerprint.add(&document);
            sum += document.tokens.len();
            if sum > KEPT_TOKENS {
                kept = None;
            }
            if let Some(k) = &mut kept {
                k.push(document);
            }
            Ok(())
        })?;
        Ok(Tokens { lengths, fingerprint: fingerprint.finish(), tokenizer, vocab, kept })
    }

    /// What was switched off in the tokenizer, one sentence each.
    pub fn notices(&self) -> &[String] {
        self.tokenizer.as_ref().map_or(&[], Tokenizer::notices)
    }

    /// The tokens of all documents; all of them are in memory then.
    ///
    /// # Errors
    /// As [`Tokens::read`].
    pub fn all(&self, corpus: &Corpus) -> Result<Vec<Vec<u32>>> {
        let mut out = Vec::with_capacity(self.lengths.len());
        self.visit(corpus, |document| {
            out.push(document.tokens.clone());
            Ok(())
        })?;
        Ok(out)
    }

    fn visit(&self, corpus: &Corpus, mut look: impl FnMut(&TokenizedDocument) -> Result<()>) -> Result<()> {
        match &self.kept {
            Some(documents) => documents.iter().try_for_each(look),
            None => each(corpus, self.tokenizer.as_ref(), self.vocab, |document| look(&document)),
        }
    }
}

fn each(corpus: &Corpus, tokenizer: Option<&Tokenizer>, vocab: usize, mut look: impl FnMut(TokenizedDocument) -> Result<()>) -> Result<()> {
    for document in TokenizedDocuments::new(corpus.documents(), tokenizer, vocab) {
        look(document?)?;
    }
    Ok(())
}

/// Cuts the chunks of all groups out of their documents; `groups` index into `order`.
///
/// # Errors
/// As [`Tokens::read`]; a corpus that changed meanwhile.
pub fn group_texts(design: &Design, order: &[Chunk], groups: &[Vec<usize>], tokens: &Tokens, corpus: &Corpus) -> Result<Vec<Vec<Text>>> {
    let mut by_document: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for &i in groups.iter().flatten() {
        by_document.entry(order[i].document).or_default().push(i);
    }
    let mut texts: BTreeMap<usize, Text> = BTreeMap::new();
    let mut number = 0;
    tokens.visit(corpus, |document| {
        for &i in by_document.get(&number).into_iter().flatten() {
            texts.insert(i, Text::cut(design, number, document, order[i].start)?);
        }
        number += 1;
        Ok(())
    })?;
    let mut taken = |i: &usize| texts.remove(i).ok_or_else(|| Error::input("the corpus has changed while it was read; start again"));
    groups.iter().map(|g| g.iter().map(&mut taken).collect()).collect()
}
