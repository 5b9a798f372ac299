//! The chunks of a measurement, chosen in one look at the corpus.
//!
//! A document of more than `min_tokens` tokens loses its first `skip` and last `drop_last` ones; the rest is cut into chunks of `length`. Every chunk has a random key that depends on the
//! seed and its place alone, and those of the smallest keys are chosen, in the order of keys: so no more than these are held, and a larger number adds chunks behind those that were chosen
//! before.

use super::plan::{Design, Samples};
use crate::corpus::{ContentHash, Corpus, Fingerprint, Fingerprinter, Room, TokenizedDocuments, Tokenizer};
use crate::error::{Error, Result};
use crate::forest::TokenId;
use crate::rng::mix;
use std::cell::RefCell;
use std::collections::BinaryHeap;

/// Of one chunk the tokens that some context needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Piece {
    key: u64,
    /// Number of its document among those that are long enough.
    pub document: u32,
    /// Which chunk of it.
    pub chunk: u32,
    /// The last tokens of the chunk, or where positions are sampled the first ones: as many as the longest context.
    pub tokens: Vec<TokenId>,
}

/// Which chunks are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Selection {
    /// At most so many.
    pub chunks: usize,
    /// Seed of their keys.
    pub seed: u64,
    /// Ids of the model.
    pub vocab: usize,
    /// Memory for texts on their way to tokens.
    pub room: Room,
}

/// What was chosen.
#[derive(Debug)]
pub struct Chosen {
    /// Numbers of the folds that have chunks, and these in the order of keys.
    pub folds: Vec<(usize, Vec<Piece>)>,
    /// Chunks in all.
    pub chunks: usize,
    /// Documents that gave some of them.
    pub documents: usize,
    /// The corpus and its tokenizer.
    pub fingerprint: Fingerprint,
    /// What is to be said of the corpus.
    pub notices: Vec<String>,
}

/// Reads the whole corpus and chooses.
///
/// # Errors
/// What is wrong with the texts; too few long documents for two folds.
pub fn choose(corpus: &Corpus, tokenizer: Option<&Tokenizer>, design: &Design, how: Selection) -> Result<Chosen> {
    let most = design.most() as usize;
    let (mut documents, prints) = (corpus.documents(), RefCell::new(Fingerprinter::default()));
    let watched = (&mut documents).inspect(|d| {
        if let Ok(d) = d {
            prints.borrow_mut().add(&d.id, ContentHash::of(&d.content));
        }
    });
    let mut heap: BinaryHeap<Piece> = BinaryHeap::new();
    let (mut long, mut all, mut there) = (0u32, 0u64, 0u64);
    for document in TokenizedDocuments::within(how.room, watched, tokenizer, how.vocab) {
        let tokens = document?.tokens;
        all += 1;
        if tokens.len() <= design.min_tokens as usize {
            continue;
        }
        let inner = (design.skip as usize).min(tokens.len())..tokens.len().saturating_sub(design.drop_last as usize);
        let inner = tokens.get(inner).unwrap_or_default();
        let mut some = false;
        for (chunk, tokens) in (0..).zip(inner.chunks_exact(design.length as usize)) {
            (some, there) = (true, there + 1);
            let key = key(how.seed, long, chunk);
            if heap.len() == how.chunks {
                // Equal keys are told apart by place.
                if heap.peek().is_some_and(|last| (last.key, last.document, last.chunk) < (key, long, chunk)) {
                    continue;
                }
                heap.pop();
            }
            let own = match design.samples {
                Samples::Last => &tokens[tokens.len() - most..],
                Samples::Positions => &tokens[..most],
            };
            heap.push(Piece { key, document: long, chunk, tokens: own.to_vec() });
        }
        long += u32::from(some);
    }
    let mut notices: Vec<String> = tokenizer.iter().flat_map(|t| t.notices()).cloned().chain(documents.notices()).collect();
    if all > long as u64 {
        let whole = design.skip + design.drop_last + design.length;
        notices.push(format!(
            "{} of {all} documents have at most {} tokens, or fewer than {whole}, and are not used (--min-tokens, --skip, --drop-last, --length)",
            all - long as u64,
            design.min_tokens
        ));
    }
    let pieces = heap.into_sorted_vec();
    let chunks = pieces.len();
    let mut folds = vec![Vec::new(); design.folds as usize];
    let mut used: Vec<u32> = pieces.iter().map(|p| p.document).collect();
    for piece in pieces {
        folds[(piece.document % design.folds) as usize].push(piece);
    }
    let folds: Vec<(usize, Vec<Piece>)> = folds.into_iter().enumerate().filter(|(_, f)| !f.is_empty()).collect();
    used.sort_unstable();
    used.dedup();
    if folds.len() < 2 {
        return Err(Error::input(format!(
            "errors need chunks of at least two documents, and {} of {all} are long enough; choose a smaller --length or --min-tokens, or give more texts",
            used.len()
        )));
    }
    if there > chunks as u64 {
        notices.push(format!("{chunks} of {there} chunks are used; --chunks takes more"));
    }
    let fingerprint = prints.into_inner().finish(tokenizer.map(Tokenizer::hash));
    Ok(Chosen { folds, chunks, documents: used.len(), fingerprint, notices })
}

fn key(seed: u64, document: u32, chunk: u32) -> u64 {
    let mut state = seed;
    let mut state = mix(&mut state) ^ ((document as u64) << 32 | chunk as u64);
    mix(&mut state)
}
