//! log q of whole documents, and of completions after prompts: what an evaluation harness, a filter, a reranker or a policy's training asks for.
//!
//! *Documents* go through a [`Scorer`](crate::engine::Scorer) several at a time, each as a root of a forest, or as [`Windows`] where it is longer than the model's positions.
//! *Prompts* are context only: each is computed once for all its completions, and a beginning that several have in common once for all of them.
//! Rows go to a [`ScoreWriter`] as they are made, and a [`Summary`] says what the whole comes to.
//!
//! ```
//! use hilberg::backend::cpu::Cpu;
//! use hilberg::corpus::Tokenizer;
//! use hilberg::engine::{Engine, Options};
//! use hilberg::model;
//! use hilberg::score::{Detail, Encoder, score_prompts};
//!
//! let folder = "assets/models/books-llama".as_ref();
//! let (spec, checkpoint) = model::open(folder, &Default::default())?;
//! let start = spec.start.as_ref().map(|s| s.id);
//! let mut engine = Engine::new(Cpu::new(None)?, spec, checkpoint, Options::default())?;
//! let tokenizer = Tokenizer::open(folder)?;
//!
//! // A question with two answers, joined as lm-evaluation-harness joins them. Token ids go into a `Prompt` as they are.
//! let encoder = Encoder::new(&tokenizer, start);
//! let question = encoder.encode("She looked at him, and he looked at", &[" her", " purple"])?;
//! let scores = score_prompts(&mut engine, &[question.prompt], Detail::Document)?;
//! assert!(scores[0][0].sum > scores[0][1].sum);
//! println!("{} nats over {} tokens, greedy: {}", scores[0][0].sum, scores[0][0].count, scores[0][0].is_greedy());
//! # Ok::<(), hilberg::Error>(())
//! ```

mod joining;
mod json_rows;
mod parquet_rows;
mod pipeline;
mod prompts;
mod rows;
mod summary;
mod windows;

pub use joining::{EncodedPrompt, Encoder, Joining, StartBefore};
pub use json_rows::JsonRows;
pub use parquet_rows::{Group, ParquetRow, ParquetRows};
pub use pipeline::{Detail, ScoreOptions, ScoreWriter, ScoredDocument, create_writer, score_corpus};
pub use prompts::{Completion, Load, Prompt, score_prompts};
pub use rows::{PromptFields, PromptRow, PromptRows, ScoredCompletion, ScoredPrompt, score_rows};
pub use summary::{Completions, Summary, Tally, Windowed};
pub use windows::Windows;
