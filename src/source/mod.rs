//! Processes whose information is known exactly: they draw documents, score forests by their exact conditionals behind the engine's
//! own interface, know I(ℓ; L) and what each estimator expects, and can be planted into a network's weights.
//!
//! A [`Process`] draws texts and scores them; [`Known`] says what is expected of each estimator on what it draws, and [`expectations`] asks it.

#[cfg(test)]
mod brute;
mod enumerate;
mod exact;
mod files;
mod fixed_memory;
mod gaussian;
mod hidden_markov;
mod known;
mod markov;
mod planted;
mod santa_fe;
#[cfg(test)]
mod tests;

pub use exact::{Exact, Process};
pub use files::{AnyProcess, MOST_PLANTED_FACTS, Row, describe, draw, plant, write_npy};
pub use fixed_memory::FixedMemory;
pub use gaussian::{Covariance, Gaussian, LONGEST_GAUSSIAN};
pub use hidden_markov::HiddenMarkov;
pub use known::{Asked, Expectation, Grid, Known, LONGEST_SAMPLED, Sampler, expectations, process_group, sample_sums};
pub use markov::Markov;
pub use planted::{PlantedNetwork, mamba_network, markov_network, santa_fe_network};
pub use santa_fe::SantaFe;
