//! The options that name a source of known information, for every subcommand that has one.

use crate::error::{Error, Result};
use crate::source::{AnyProcess, Covariance, Gaussian, Known, Parameters};
use clap::Args;

/// A source and its parameters.
#[derive(Args, Debug)]
pub(super) struct ProcessArgs {
    /// The process
    #[arg(long, value_enum)]
    process: Kind,
    /// Markov: the transition matrix, rows separated by semicolons; hidden Markov: that of the hidden states
    #[arg(long, default_value = "0.9,0.1;0.2,0.8")]
    matrix: String,
    /// Hidden Markov: what each hidden state emits, rows separated by semicolons
    #[arg(long, default_value = "0.9,0.1;0.3,0.7")]
    emission: String,
    /// Santa Fe: the exponent β
    #[arg(long, default_value_t = 0.5)]
    beta: f64,
    /// Santa Fe: number of facts
    #[arg(long, default_value_t = 200)]
    facts: usize,
    /// Santa Fe: probability that the model leaves for a contradiction
    #[arg(long, default_value_t = 1e-6)]
    epsilon: f64,
    /// Santa Fe: score by a law whose S state numbers hold the S/2 most probable facts, and no more [default: one that knows every fact]
    #[arg(long, value_name = "S")]
    state: Option<usize>,
    /// Fractional noise: the Hurst exponent
    #[arg(long, default_value_t = 0.9)]
    hurst: f64,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// A stationary Markov chain
    Markov,
    /// A stationary hidden Markov process
    HiddenMarkov,
    /// The finite Santa Fe process: I grows as a power
    SantaFe,
    /// The hierarchical Gaussian of the L²M paper: I grows as a power; numbers, not tokens
    HierarchicalGaussian,
    /// Fractional Gaussian noise: I grows as a logarithm; numbers, not tokens
    FractionalNoise,
}

/// A source of any kind.
pub(super) enum Source {
    /// Of tokens.
    Process(AnyProcess),
    /// Of numbers.
    Gaussian(Gaussian),
}

impl Source {
    /// What is known of it.
    pub(super) fn known(&self) -> &dyn Known {
        match self {
            Source::Process(p) => p.known(),
            Source::Gaussian(g) => g,
        }
    }
}

impl ProcessArgs {
    /// The source, chunks of at most `length` tokens or numbers being asked for.
    ///
    /// # Errors
    /// Parameters outside their range.
    pub(super) fn source(&self, length: u64) -> Result<Source> {
        let covariance = match self.process {
            Kind::HierarchicalGaussian => Covariance::Hierarchy,
            Kind::FractionalNoise => Covariance::FractionalNoise { hurst: self.hurst },
            _ => return Ok(Source::Process(self.parameters()?.process()?)),
        };
        self.check_state()?;
        // What does not fit into 32 bits is refused as well.
        Ok(Source::Gaussian(Gaussian::new(covariance, u32::try_from(length).unwrap_or(u32::MAX))?))
    }

    /// The parameters of a source that has tokens.
    ///
    /// # Errors
    /// A matrix that cannot be read, a source of numbers.
    pub(super) fn parameters(&self) -> Result<Parameters> {
        self.check_state()?;
        match self.process {
            Kind::Markov => Ok(Parameters::Markov { matrix: parse_matrix(&self.matrix, "--matrix")? }),
            Kind::HiddenMarkov => {
                Ok(Parameters::HiddenMarkov { matrix: parse_matrix(&self.matrix, "--matrix")?, emission: parse_matrix(&self.emission, "--emission")? })
            }
            Kind::SantaFe => Ok(Parameters::SantaFe { beta: self.beta, facts: self.facts, epsilon: self.epsilon, state: self.state }),
            Kind::HierarchicalGaussian | Kind::FractionalNoise => {
                Err(Error::input("this source has numbers, not tokens: nothing of it can be drawn for a model or planted in one"))
            }
        }
    }

    fn check_state(&self) -> Result<()> {
        if self.state.is_some() && self.process != Kind::SantaFe {
            return Err(Error::input("--state is the memory of a law for --process santa-fe; leave it out"));
        }
        Ok(())
    }
}

fn parse_matrix(text: &str, option: &str) -> Result<Vec<Vec<f64>>> {
    text.split(';')
        .map(|row| {
            row.split(',')
                .map(|x| x.trim().parse().map_err(|_| Error::input(format!("{option}: {x:?} is no number; write rows like 0.9,0.1;0.2,0.8"))))
                .collect()
        })
        .collect()
}
