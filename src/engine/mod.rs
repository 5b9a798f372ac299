//! The layer-major loop, and the interface that everything which scores forests answers.

mod scorer;

pub use scorer::{Scorer, Sink, Values, score_lists};
