//! How much a text's past tells about its future: bipartite mutual information and its power law, and log q(text), with any language model on disk.

pub mod activation;
pub mod backend;
pub mod bench;
pub mod cli;
pub mod context;
pub mod corpus;
pub mod engine;
pub mod error;
pub mod estimate;
pub mod files;
pub mod forest;
pub mod measure;
pub mod model;
pub mod pairs;
pub mod report;
pub mod rng;
pub mod score;
pub mod source;
pub mod tensor;

pub use error::{Error, Result};

/// The front page's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct FrontPage;
