//! Drawing texts from a corpus of which only the documents that are needed are tokenised.
//!
//! The order of chunks ([`Order`]) is defined without the documents' numbers of tokens, so an upper bound on each is enough to walk it: a slot is looked up
//! when its turn comes, by tokenising its document, and left out where the document turns out to be too short for it. What is drawn is exactly
//! what tokenising everything beforehand would give.

use super::chunks::{Chunk, Order, Slot, places};
use super::document::{Content, Document};
use super::fingerprint::ContentHash;
use super::index::{Cutting, Index, Tokens, Unit};
use super::listing::Corpus;
use super::pieces::{WORDS, pieces};
use super::tokenized::{Batches, TokenizedDocument, tokenize};
use crate::error::{Error, Result};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Texts of equal length, in the order in which they are to be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drawing<T> {
    /// The first of the order, as many as were wanted or as there are, each with what was kept of it.
    pub chunks: Vec<(Chunk, T)>,
    /// Documents that hold no text of this length, as far as they are known.
    pub too_short: u64,
    /// Documents whose number of texts is known; the others were not looked at.
    pub known: u64,
    /// Names of the documents that were asked for.
    pub names: BTreeMap<u32, String>,
}

/// What is to be drawn.
#[derive(Clone, Debug)]
pub struct Draw<'a> {
    /// Tokens of a text, or bytes.
    pub length: u32,
    /// Seed of places and order.
    pub seed: u64,
    /// How many texts.
    pub wanted: usize,
    /// Documents whose names are wanted as well.
    pub named: &'a [u32],
}

/// A document, or a piece of it, as texts are cut out of it.
#[derive(Clone, Debug)]
pub struct Opened<'a> {
    /// Index of the document in the corpus.
    pub number: u32,
    /// Its text where lengths are bytes; else empty.
    pub text: &'a str,
    /// The document's byte with which the text begins.
    pub offset: u64,
    /// What each tokenizer makes of the text where lengths are bytes; else one entry, what all of them make of it, with byte offsets in the document.
    pub tokenized: &'a [TokenizedDocument],
}

/// Makes of a document, or of a piece of it, and of a first token or byte there what is to be known of the text that begins with it.
type Cut<'a, T> = dyn Fn(&Opened<'_>, u64) -> Result<T> + Sync + 'a;

/// What one document gave.
struct Seen<T> {
    document: u32,
    id: String,
    /// Its number of chunks; `None` where only pieces were looked at.
    chunks: Option<u64>,
    longest: u64,
    /// Of the slots asked for those that there are.
    found: Vec<(u64, u64, T)>,
}

/// Slots that are looked up together at the most, and at the least.
const MOST: usize = 1 << 18;
const LEAST: usize = 16;

/// Draws the first texts of the order. `cut` makes of a document, or of a piece of it, and a first token or byte what is to be known of the text there, on
/// several threads; it comes back in the drawing.
///
/// The documents are read once, and again where too few of the texts looked up were there. Up to a fifth more texts are cut and kept than are wanted.
///
/// # Errors
/// No text of that length at all; a corpus that changed since it was indexed; what cannot be read or tokenised; tokenizers that differ; what `cut` returns.
pub fn draw<T: Send>(corpus: &Corpus, index: &Index, how: Tokens<'_>, what: &Draw<'_>, cut: &Cut<'_, T>) -> Result<Drawing<T>> {
    let slots = index.slots(what.length);
    let order = Order::new(&slots, what.seed);
    let mut known: BTreeMap<u32, u64> = BTreeMap::new();
    let mut found: BTreeMap<Slot, (Chunk, T)> = BTreeMap::new();
    let mut names: BTreeMap<u32, String> = BTreeMap::new();
    let mut named: BTreeSet<u32> = what.named.iter().copied().collect();
    let (mut after, mut share, mut longest) = (None, index.share(what.length), 0);
    while found.len() < what.wanted {
        let missing = (what.wanted - found.len()) as f64;
        let count = ((missing / share * 1.1) as usize).saturating_add(LEAST).min(MOST.max(what.wanted));
        let round = order.next(after, count, &known);
        let mut by_document: BTreeMap<u32, Vec<Slot>> = named.iter().map(|&d| (d, Vec::new())).collect();
        for &slot in &round {
            by_document.entry(slot.document).or_default().push(slot);
        }
        let before = found.len();
        look_up(corpus, index, how, what, &by_document, cut, &mut |seen| {
            longest = longest.max(seen.longest);
            if named.remove(&seen.document) {
                names.insert(seen.document, seen.id);
            }
            if let Some(n) = seen.chunks {
                known.insert(seen.document, n);
            }
            for (slot, start, text) in seen.found {
                let slot = by_document[&seen.document].iter().find(|s| s.slot == slot).copied();
                let slot = slot.expect("only slots that were asked for are found");
                found.insert(slot, (Chunk { document: seen.document, start }, text));
            }
            Ok(())
        })?;
        after = round.last().copied().or(after);
        if round.len() < count {
            break;
        }
        let got = found.len() - before;
        share = (got as f64 / round.len() as f64).max(share / 8.0);
    }
    if found.is_empty() && what.wanted > 0 {
        return Err(nothing(index, what.length, longest));
    }
    let none = (0..).zip(&slots).filter(|&(d, &n)| n == 0 && !known.contains_key(&d)).count() as u64;
    Ok(Drawing {
        chunks: found.into_values().take(what.wanted).collect(),
        too_short: none + known.values().filter(|&&n| n == 0).count() as u64,
        known: none + known.len() as u64,
        names,
    })
}

fn nothing(index: &Index, length: u32, longest: u64) -> Error {
    let (documents, unit) = (index.documents(), index.unit);
    let why = match index.cutting {
        Cutting::Pieces => format!("no document has {WORDS} words up to a sentence end that make {length} {unit}"),
        Cutting::Chunks if longest > 0 => format!("a chunk has {length} {unit} and the longest of {documents} documents has {longest}"),
        Cutting::Chunks => {
            let most = index.sizes.iter().max().copied().unwrap_or(0);
            let at_most = if unit == Unit::Bytes { "" } else { "at most " };
            format!("a chunk has {length} {unit} and the longest of {documents} documents has {at_most}{most}")
        }
    };
    Error::input(format!("no text is long enough: {why}; choose a smaller --length or give longer texts"))
}

/// Reads and tokenises documents and hands on, in their order, what is in them.
fn look_up<C: Send>(
    corpus: &Corpus,
    index: &Index,
    how: Tokens<'_>,
    what: &Draw<'_>,
    wanted: &BTreeMap<u32, Vec<Slot>>,
    cut: &Cut<'_, C>,
    done: &mut dyn FnMut(Seen<C>) -> Result<()>,
) -> Result<()> {
    let numbers: Vec<u64> = wanted.keys().map(|&d| d as u64).collect();
    let mut left = wanted.iter();
    for batch in Batches::new(corpus.selected(&numbers), how.room) {
        // In this order: the shorter one first, or an entry of the other is lost.
        let batch: Vec<(u32, &[Slot], Result<Document>)> =
            batch.into_iter().zip(left.by_ref()).map(|(document, (&d, slots))| (d, slots.as_slice(), document)).collect();
        let seen: Vec<Result<Seen<C>>> = batch.into_par_iter().map(|(d, slots, document)| look(d, slots, document?, index, how, what, cut)).collect();
        seen.into_iter().try_for_each(|s| done(s?))?;
    }
    if left.next().is_some() { Err(changed()) } else { Ok(()) }
}

fn changed() -> Error {
    Error::input("the corpus has changed while it was read; start again")
}

fn look<C>(number: u32, slots: &[Slot], document: Document, index: &Index, how: Tokens<'_>, what: &Draw<'_>, cut: &Cut<'_, C>) -> Result<Seen<C>> {
    if ContentHash::of(&document.content).short() != index.contents[number as usize] {
        return Err(changed());
    }
    let mut seen = Seen { document: number, id: document.id.clone(), chunks: None, longest: 0, found: Vec::new() };
    if slots.is_empty() {
        return Ok(seen);
    }
    match (index.cutting, &document.content) {
        (Cutting::Pieces, Content::Text(text)) => {
            let wanted: BTreeSet<u64> = slots.iter().map(|s| s.slot).collect();
            for (slot, range) in (0..).zip(pieces(text, WORDS)).filter(|(slot, _)| wanted.contains(slot)) {
                let piece = Document { id: document.id.clone(), label: None, content: Content::Text(text[range.clone()].to_string()) };
                let mut tokenized = tokens_of(piece, how)?;
                if index.unit == Unit::Tokens {
                    tokenized.iter_mut().flat_map(|t| t.byte_offsets.iter_mut().flatten()).for_each(|at| *at += range.start as u64);
                }
                let opened = Opened { number, text: &text[range.clone()], offset: range.start as u64, tokenized: &tokenized };
                if opened.length(index.unit) >= what.length as u64 {
                    seen.found.push((slot, 0, cut(&opened, 0)?));
                }
            }
        }
        (_, content) => {
            let text = match content {
                Content::Text(text) if index.unit == Unit::Bytes => text.clone(),
                _ => String::new(),
            };
            let tokenized = tokens_of(document, how)?;
            let opened = Opened { number, text: &text, offset: 0, tokenized: &tokenized };
            let length = opened.length(index.unit);
            let most = index.sizes[number as usize];
            if length > most {
                let what = format!("{} became {length} tokens where at most {most} were expected; this is a mistake in hilberg: please report it", seen.id);
                return Err(Error::input(what));
            }
            let starts = places(length, what.length, number, what.seed);
            (seen.chunks, seen.longest) = (Some(starts.len() as u64), length);
            for slot in slots {
                if let Some(&start) = starts.get(slot.slot as usize) {
                    seen.found.push((slot.slot, start, cut(&opened, start)?));
                }
            }
        }
    }
    Ok(seen)
}

impl Opened<'_> {
    /// Tokens or bytes that there are.
    fn length(&self, unit: Unit) -> u64 {
        match unit {
            Unit::Tokens => self.tokenized.first().map_or(0, |t| t.tokens.len() as u64),
            Unit::Bytes => self.text.len() as u64,
        }
    }
}

/// What each tokenizer gives where lengths are bytes; else one entry, the tokens that all of them give.
fn tokens_of(document: Document, how: Tokens<'_>) -> Result<Vec<TokenizedDocument>> {
    let others = how.tokenizers.get(1..).unwrap_or_default();
    let again = (!others.is_empty()).then(|| document.clone());
    let mut each = vec![tokenize(document, how.tokenizers.first(), how.vocab, how.room)?];
    for other in others {
        let Some(document) = again.clone() else { break };
        let tokenized = tokenize(document, Some(other), how.vocab, how.room)?;
        if how.unit == Unit::Bytes {
            each.push(tokenized);
        } else if tokenized.tokens != each[0].tokens {
            let of_first = how.tokenizers[0].path().display();
            let what =
                format!("gives other tokens than {of_first}: curves over tokens cannot share chunks; give --unit bytes, or measure these models one by one");
            return Err(Error::file(other.path(), what));
        }
    }
    Ok(each)
}

#[cfg(test)]
mod tests {
    use super::super::samples::{byte_fallback, byte_level, open};
    use super::super::{ReadOptions, Room, TokenizedDocuments, Tokenizer};
    use super::*;
    use crate::rng::Rng;
    use serde_json::json;
    use std::path::Path;

    /// Files of documents of many lengths: texts of several alphabets, some of them twice, and tokens.
    fn write(folder: &Path, seed: u64) {
        let mut rng = Rng::new(seed, 0);
        let mut lines = String::new();
        for i in 0..60 {
            let words = [4, 40, 400][rng.below(3) as usize];
            let n = rng.below(words);
            let text: Vec<&str> = (0..n).map(|_| ["a", "b", "the", "end.", "é", "€", "ﷺ", " "][rng.below(8) as usize]).collect();
            let line = json!({"text": text.join(" "), "id": i}).to_string();
            lines += &line;
            lines.push('\n');
            if i % 20 == 7 {
                lines += &line.replace(&format!("\"id\":{i}"), "\"id\":\"again\"");
                lines.push('\n');
            }
        }
        std::fs::write(folder.join("b.jsonl"), lines).unwrap();
        std::fs::write(folder.join("a.txt"), "the end. ".repeat(50)).unwrap();
        let tokens: Vec<u8> = (0..100u16).flat_map(|t| t.to_le_bytes()).collect();
        std::fs::write(folder.join("c.bin"), tokens).unwrap();
    }

    /// All texts that full tokenisation gives, in order.
    fn brute(corpus: &Corpus, t: &Tokenizer, length: u32, seed: u64) -> Vec<(Chunk, Vec<u32>)> {
        let documents: Vec<_> = TokenizedDocuments::new(corpus.documents(), Some(t), 1000).map(Result::unwrap).collect();
        let numbers: Vec<u64> = documents.iter().map(|d| d.tokens.len() as u64 / length as u64).collect();
        let slots = Order::new(&numbers, seed).next(None, usize::MAX, &BTreeMap::new());
        let text = |s: Slot| {
            let tokens = &documents[s.document as usize].tokens;
            let start = places(tokens.len() as u64, length, s.document, seed)[s.slot as usize];
            (Chunk { document: s.document, start }, tokens[start as usize..start as usize + length as usize].to_vec())
        };
        slots.into_iter().map(text).collect()
    }

    fn drawn(corpus: &Corpus, tokenizers: &[Tokenizer], room: Room, what: &Draw<'_>) -> Result<Drawing<Vec<u32>>> {
        let how = Tokens { tokenizers, unit: Unit::Tokens, vocab: 1000, room };
        let index = Index::read(corpus.documents(), Cutting::Chunks, how)?;
        let cut = |d: &Opened<'_>, start: u64| Ok(d.tokenized[0].tokens[start as usize..start as usize + what.length as usize].to_vec());
        draw(corpus, &index, how, what, &cut)
    }

    #[test]
    fn it_is_what_full_tokenisation_gives() {
        let mut compatible = byte_level();
        compatible["normalizer"] = json!({"type": "NFKC"});
        let mut unknown = byte_level();
        unknown["normalizer"] = json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true});
        for (seed, json) in [byte_level(), byte_fallback(), compatible, unknown].iter().enumerate() {
            let dir = tempfile::tempdir().unwrap();
            write(dir.path(), seed as u64);
            let corpus = Corpus::open(&[dir.path().to_path_buf()], ReadOptions::default()).unwrap();
            let tokenizers = [open(json)];
            for length in [1, 7, 64, 300] {
                let all = brute(&corpus, &tokenizers[0], length, 5);
                for wanted in [1, 5, all.len() / 2, all.len(), all.len() + 10] {
                    for room in [Room::default(), Room(300 << 10)] {
                        let got = drawn(&corpus, &tokenizers, room, &Draw { length, seed: 5, wanted, named: &[] }).unwrap();
                        assert_eq!(got.chunks, all[..wanted.min(all.len())], "{seed} {length} {wanted}");
                        assert!(got.too_short <= got.known && got.known <= 65);
                        if wanted > all.len() {
                            let short = TokenizedDocuments::new(corpus.documents(), Some(&tokenizers[0]), 1000)
                                .filter(|d| d.as_ref().unwrap().tokens.len() < length as usize);
                            assert_eq!((got.known, got.too_short), (65, short.count() as u64));
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn only_what_is_needed_is_tokenised() {
        let dir = tempfile::tempdir().unwrap();
        let lines: String = (0..2000).map(|i| json!({"text": format!("{i} {}", "the end. ".repeat(20))}).to_string() + "\n").collect();
        std::fs::write(dir.path().join("a.jsonl"), lines).unwrap();
        let corpus = Corpus::open(&[dir.path().join("a.jsonl")], ReadOptions::default()).unwrap();
        let got = drawn(&corpus, &[open(&byte_level())], Room::default(), &Draw { length: 64, seed: 1, wanted: 10, named: &[3, 9] }).unwrap();
        assert_eq!(got.chunks.len(), 10);
        assert!(got.known < 60, "{}", got.known);
        assert_eq!(got.names, BTreeMap::from([(3, "a.jsonl:4".to_string()), (9, "a.jsonl:10".to_string())]));
    }

    #[test]
    fn copies_are_found() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 3);
        let corpus = Corpus::open(&[dir.path().to_path_buf()], ReadOptions::default()).unwrap();
        let tokenizers = [open(&byte_level())];
        let index =
            Index::read(corpus.documents(), Cutting::Chunks, Tokens { tokenizers: &tokenizers, unit: Unit::Tokens, vocab: 1000, room: Room::default() })
                .unwrap();
        let texts: Vec<Content> = corpus.documents().map(|d| d.unwrap().content).collect();
        let copy = |&d: &usize| texts[d] != Content::Text(String::new()) && texts[..d].contains(&texts[d]);
        let copies = index.copies().unwrap();
        assert_eq!(copies.count, (0..texts.len()).filter(copy).count() as u64);
        assert!(copies.count >= 1);
        let [a, b] = copies.example;
        assert!(a < b && texts[a as usize] == texts[b as usize]);
    }

    #[test]
    fn a_corpus_that_changes_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), 3);
        let corpus = Corpus::open(&[dir.path().to_path_buf()], ReadOptions::default()).unwrap();
        let tokenizers = [open(&byte_level())];
        let how = Tokens { tokenizers: &tokenizers, unit: Unit::Tokens, vocab: 1000, room: Room::default() };
        let index = Index::read(corpus.documents(), Cutting::Chunks, how).unwrap();
        let what = Draw { length: 4, seed: 5, wanted: 10_000, named: &[] };
        let again = || draw(&corpus, &index, how, &what, &|_, _| Ok(())).map(|d| d.chunks.len());
        assert!(again().is_ok());
        let lines = std::fs::read_to_string(dir.path().join("b.jsonl")).unwrap();
        let fewer: String = lines.split_inclusive('\n').take(20).collect();
        for changed in [lines.replacen("the", "teh", 1), fewer] {
            std::fs::write(dir.path().join("b.jsonl"), changed).unwrap();
            assert_eq!(again().unwrap_err().to_string(), "the corpus has changed while it was read; start again");
        }
    }

    #[test]
    fn pieces_begin_where_sentences_do() {
        let dir = tempfile::tempdir().unwrap();
        let sentence = |i: usize| format!("the end of sentence {i}. ");
        for d in 0..3 {
            std::fs::write(dir.path().join(format!("{d}.txt")), (0..2500 * (d + 1)).map(|i| sentence(i + d)).collect::<String>()).unwrap();
        }
        let corpus = Corpus::open(&[dir.path().to_path_buf()], ReadOptions::default()).unwrap();
        let texts: Vec<String> = corpus.documents().map(|d| if let Content::Text(t) = d.unwrap().content { t } else { String::new() }).collect();
        let tokenizers = [open(&byte_level())];
        let how = Tokens { tokenizers: &tokenizers, unit: Unit::Tokens, vocab: 1000, room: Room::default() };
        let index = Index::read(corpus.documents(), Cutting::Pieces, how).unwrap();
        let cut = |d: &Opened<'_>, _| Ok((d.tokenized[0].tokens[..90].to_vec(), d.tokenized[0].byte_offsets.as_ref().unwrap()[0]));
        let run = |wanted| draw(&corpus, &index, how, &Draw { length: 90, seed: 2, wanted, named: &[] }, &cut).unwrap().chunks;
        let all = run(100);
        // A sentence has five words, so a piece has a thousand of them.
        assert_eq!(all.len(), 2 + 5 + 7);
        assert_eq!(run(4), all[..4]);
        for (chunk, (tokens, at)) in &all {
            let text = &texts[chunk.document as usize];
            assert!(text[*at as usize..].starts_with("the end of") && (*at == 0 || text[..*at as usize].ends_with(". ")));
            assert_eq!(tokens[..], tokenizers[0].encode(&text[*at as usize..]).unwrap().tokens[..90]);
        }
        let tokens = [Ok(Document { id: "t.bin".into(), label: None, content: Content::Tokens(vec![1]) })];
        let said = Index::read(tokens.into_iter(), Cutting::Pieces, how).unwrap_err().to_string();
        assert!(said.starts_with("t.bin is made of tokens"), "{said}");
    }
}
