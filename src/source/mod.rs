//! Processes whose information is known exactly: they draw documents, score forests by their exact conditionals behind the engine's
//! own interface, know I(ℓ; L) and what each estimator expects, and can be planted into a network's weights.

mod exact;
mod files;
mod markov;
mod planted;
mod santa_fe;

pub use exact::{Exact, Process};
pub use files::{AnyProcess, Known, MOST_PLANTED_FACTS, describe, draw, plant, write_npy};
pub use markov::Markov;
pub use planted::{PlantedNetwork, markov_network, santa_fe_network};
pub use santa_fe::SantaFe;
