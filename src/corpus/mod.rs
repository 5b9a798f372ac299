//! From what people keep on disk to tokens: a listing of sources, a stream of documents, their tokens with byte offsets, and chunks drawn from them.
//!
//! A [`Corpus`] is listed once and in a fixed order; its documents are read one after the other, each file once, so that a corpus may be larger than the
//! memory as long as one document fits. Text becomes tokens by a [`Tokenizer`]; token files skip it.
//!
//! ```no_run
//! use hilberg::corpus::{Corpus, ReadOptions, TokenizedDocuments, Tokenizer};
//! # fn main() -> hilberg::Result<()> {
//! let corpus = Corpus::open(&["books".into()], ReadOptions::default())?;
//! let tokenizer = Tokenizer::open("models/gpt2".as_ref())?;
//! for document in TokenizedDocuments::new(corpus.documents(), Some(&tokenizer), 50_257) {
//!     let document = document?;
//!     println!("{} {}", document.id, document.tokens.len());
//! }
//! # Ok(())
//! # }
//! ```

mod chunks;
mod document;
mod drawing;
mod fasta;
mod fingerprint;
mod groups;
mod index;
mod jsonl;
mod listing;
mod notes;
mod options;
mod parquet_texts;
mod pieces;
#[cfg(test)]
mod samples;
mod source;
mod stream;
mod stretch;
mod symbols;
mod token_bound;
mod token_files;
mod tokenized;
mod tokenizer;
mod unicode;
mod walk;

pub use chunks::{Chunk, Order, Slot, places};
pub use document::{Content, Document, Documents};
pub use drawing::{Draw, Drawing, Opened, draw};
pub use fingerprint::{ContentHash, Fingerprint, Fingerprinter};
pub use groups::{Matched, matched, published};
pub use index::{Copies, Cutting, Index, Tokens, Unit};
pub use jsonl::{JsonLines, JsonRow, Rest, RowFields};
pub use listing::Corpus;
pub use options::{GroupBy, ReadOptions, Streams};
pub use pieces::{WORDS, pieces};
pub use source::{Format, Source};
pub use stream::{ByteStream, Packing, Passed};
pub use stretch::{REACH, Stretch};
pub use symbols::{Survey, SymbolUnit, Symbols};
pub use token_bound::TokenBound;
pub use token_files::TokenWidth;
pub use tokenized::{Room, TokenizedDocument, TokenizedDocuments};
pub use tokenizer::{Encoded, Tokenizer};
pub use unicode::{BadBytes, Mended};
