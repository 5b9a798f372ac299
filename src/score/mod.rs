//! log q of whole documents: what an evaluation harness, a filter or a reranker asks for.
//!
//! Documents go through a [`Scorer`](crate::engine::Scorer) several at a time, each as a root of a forest; rows go to a [`ScoreWriter`] as they are made, and
//! a [`Summary`] says what the whole comes to.

mod json_rows;
mod parquet_rows;
mod pipeline;
mod summary;

pub use json_rows::JsonRows;
pub use parquet_rows::ParquetRows;
pub use pipeline::{Detail, ScoreOptions, ScoreWriter, ScoredDocument, create_writer, score_corpus};
pub use summary::{Summary, Tally};
