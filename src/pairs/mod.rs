//! Counting the pairs of tokens at many distances, over texts of any size in bounded memory, by folds of documents.
//!
//! The texts come as symbols 0 … V − 1, document after document. What fits the memory is a *segment*. It is inverted once: the places of symbol 0, of
//! symbol 1, and so on, each by fold. Then for a symbol a and each distance d its partners w_{t+d} are looked up at its places t, and counted in one row of
//! V numbers: the V × V table row by row, without sorting and without a hash. For small alphabets the whole table is counted instead, in one go through the text. Where all texts
//! are one segment, a row becomes counts of counts at once. Otherwise the rows are written as a *run*, symbol by symbol, and at the end the rows of each symbol are read from all runs together.
//!
//! Work is divided by the first symbol, modulo [`PARTS`]: parts are about equal, whatever the vocabulary's order. Counts are integers, and
//! each part's come to the same sum in any order: the result depends neither on the memory nor on the threads.

mod counter;
mod dense;
mod folder;
mod rows;
mod runs;
mod segment;

pub use counter::{Limits, PairCounter};
pub use folder::{Folder, Plan};

/// Parts into which symbols are divided, by their remainder.
pub const PARTS: usize = 64;
