//! Loss, intrinsic dimension and intrinsic entropy against the length of the context that a model is given.
//!
//! As published (Shi et al. 2025, *Explaining context length scaling and bounds for language models*, and its code NLPCtlScalingAndBounds): documents are cut into chunks, and of
//! each chunk the last c tokens are taken, for every context length c; the final one is predicted from those before it, so the target is the same for every c. CE(c) is its mean loss;
//! the hidden state that predicts it, after the final norm, is a sample of what the model makes of c tokens, and the covariance of these states has eigenvalues from which intrinsic
//! dimension and entropy follow ([`spectrum`](crate::estimate::spectrum)). Cheaper, by positions: one pass over a chunk gives a sample of every c, each with a target of its own.
//!
//! ```text
//! OUT/plan.json                                        what is measured: corpus, design, seed, model
//! OUT/record/c-000016-fold-003.safetensors …           of each c and fold of documents: log-probabilities, Σ h and Σ h hᵀ, and where asked the states h (see `part`)
//! ```
//! Everything else in OUT is computed from these. Folds are what the jackknife leaves out.

mod analysis;
mod laws;
mod optimum;
mod part;
mod plan;
mod run;
mod texts;

pub use analysis::{Analysis, Line, Options, Point, Reading, analyse};
pub use laws::{NoPower, Power, power};
pub use optimum::{Curve, Growth, Optimum, Place, growth};
pub use part::{Part, read as read_part};
pub use plan::{Design, Plan, Project, Samples, published_contexts};
pub use run::{Task, forest_of, run};
pub use texts::{Chosen, Piece, Selection, choose};
