//! Processes whose information is known exactly: they draw documents, score forests by their exact conditionals behind the engine's
//! own interface, know I(ℓ; L) and what each estimator expects, and can be planted into a network's weights.
//!
//! A [`Process`] draws texts and scores them; [`Known`] says what is expected of each estimator on what it draws, and [`expectations`] asks it.

mod any;
#[cfg(test)]
mod brute;
pub mod calibration;
mod enumerate;
mod exact;
mod files;
mod fixed_memory;
mod gaussian;
mod hidden_markov;
mod known;
mod markov;
mod ngram;
mod planted;
mod santa_fe;
#[cfg(test)]
mod tests;

pub use any::{AnyProcess, Parameters};
pub use exact::{Exact, Process};
pub use files::{MOST_PLANTED_FACTS, PLANTED, Row, describe, draw, plant, planted, write_npy};
pub use fixed_memory::FixedMemory;
pub use gaussian::{Covariance, Gaussian, LONGEST_GAUSSIAN};
pub use hidden_markov::HiddenMarkov;
pub use known::{Asked, Expectation, Grid, Known, LONGEST_SAMPLED, Sampler, expectations, process_group, sample_sums};
pub use markov::Markov;
pub use ngram::{LONGEST_NGRAM, Ngram, NgramFit, Scored};
pub use planted::{MOST_BIGRAM_TOKENS, MOST_TRIGRAM_TOKENS, PlantedNetwork, check_ngram, mamba_network, markov_network, ngram_network, santa_fe_network};
pub use santa_fe::SantaFe;
