//! Any of the processes, and the parameters that make it: what a command line names and a planted folder remembers.

use super::known::Known;
use super::{FixedMemory, HiddenMarkov, Markov, Process, SantaFe};
use crate::error::Result;
use crate::forest::TokenId;
use crate::rng::Rng;
use serde::{Deserialize, Serialize};

/// One of the processes.
#[derive(Clone, Debug)]
pub enum AnyProcess {
    /// A Markov chain.
    Markov(Markov),
    /// A hidden Markov process.
    HiddenMarkov(HiddenMarkov),
    /// A finite Santa Fe process, under a law that knows every fact of the past.
    SantaFe(SantaFe),
    /// The same texts under a law of fixed memory.
    FixedMemory(FixedMemory),
}

impl AnyProcess {
    /// Token ids, ⊥ included.
    pub fn vocab(&self) -> usize {
        match self {
            AnyProcess::Markov(p) => p.vocab(),
            AnyProcess::HiddenMarkov(p) => p.vocab(),
            AnyProcess::SantaFe(p) => p.vocab(),
            AnyProcess::FixedMemory(p) => p.vocab(),
        }
    }

    /// ⊥.
    pub fn start_token(&self) -> TokenId {
        match self {
            AnyProcess::Markov(p) => p.start_token(),
            AnyProcess::HiddenMarkov(p) => p.start_token(),
            AnyProcess::SantaFe(p) => p.start_token(),
            AnyProcess::FixedMemory(p) => p.start_token(),
        }
    }

    /// Draws one document, without ⊥.
    pub fn draw(&self, length: usize, rng: &mut Rng) -> Vec<TokenId> {
        match self {
            AnyProcess::Markov(p) => p.draw(length, rng),
            AnyProcess::HiddenMarkov(p) => p.draw(length, rng),
            AnyProcess::SantaFe(p) => p.draw(length, rng),
            AnyProcess::FixedMemory(p) => p.draw(length, rng),
        }
    }

    /// What is known of it.
    pub fn known(&self) -> &dyn Known {
        match self {
            AnyProcess::Markov(p) => p,
            AnyProcess::HiddenMarkov(p) => p,
            AnyProcess::SantaFe(p) => p,
            AnyProcess::FixedMemory(p) => p,
        }
    }
}

/// What makes a process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "process", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Parameters {
    /// As [`Markov::new`].
    Markov {
        /// Rows of the transition matrix.
        matrix: Vec<Vec<f64>>,
    },
    /// As [`HiddenMarkov::new`].
    HiddenMarkov {
        /// Rows of the hidden states' transition matrix.
        matrix: Vec<Vec<f64>>,
        /// What each hidden state emits.
        emission: Vec<Vec<f64>>,
    },
    /// As [`SantaFe::new`] and [`FixedMemory::new`].
    SantaFe {
        /// β.
        beta: f64,
        /// M.
        facts: usize,
        /// ε.
        epsilon: f64,
        /// S, where the scoring law's memory is fixed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<usize>,
    },
}

impl Parameters {
    /// The process.
    ///
    /// # Errors
    /// Parameters outside their range.
    pub fn process(&self) -> Result<AnyProcess> {
        Ok(match self {
            Parameters::Markov { matrix } => AnyProcess::Markov(Markov::new(matrix)?),
            Parameters::HiddenMarkov { matrix, emission } => AnyProcess::HiddenMarkov(HiddenMarkov::new(matrix, emission)?),
            Parameters::SantaFe { beta, facts, epsilon, state } => {
                let texts = SantaFe::new(*beta, *facts, *epsilon)?;
                match state {
                    None => AnyProcess::SantaFe(texts),
                    Some(state) => AnyProcess::FixedMemory(FixedMemory::new(texts, *state)?),
                }
            }
        })
    }
}
