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
    #[command(flatten)]
    options: SourceOptions,
}

/// The parameters of every kind of source.
#[derive(Args, Debug)]
pub(super) struct SourceOptions {
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

/// Sources of known information.
#[derive(clap::ValueEnum, Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
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
        self.options.source(self.process, length)
    }

    /// The parameters of a source that has tokens.
    ///
    /// # Errors
    /// A matrix that cannot be read, a source of numbers.
    pub(super) fn parameters(&self) -> Result<Parameters> {
        self.options.parameters(self.process)
    }
}

impl SourceOptions {
    /// The source of a kind, chunks of at most `length` tokens or numbers being asked for.
    ///
    /// # Errors
    /// Parameters outside their range.
    pub(super) fn source(&self, kind: Kind, length: u64) -> Result<Source> {
        let covariance = match kind {
            Kind::HierarchicalGaussian => Covariance::Hierarchy,
            Kind::FractionalNoise => Covariance::FractionalNoise { hurst: self.hurst },
            _ => return Ok(Source::Process(self.parameters(kind)?.process()?)),
        };
        self.check_state(kind)?;
        // What does not fit into 32 bits is refused as well.
        Ok(Source::Gaussian(Gaussian::new(covariance, u32::try_from(length).unwrap_or(u32::MAX))?))
    }

    /// What a source of a kind is, with its parameters, in a few words.
    pub(super) fn describe(&self, kind: Kind) -> String {
        match kind {
            Kind::Markov => format!("Markov {}", self.matrix),
            Kind::HiddenMarkov => format!("hidden Markov {} / {}", self.matrix, self.emission),
            Kind::SantaFe => {
                let memory = self.state.map_or(String::new(), |s| format!(", {s} state numbers"));
                format!("Santa Fe, β = {}, {} facts{memory}", self.beta, self.facts)
            }
            Kind::HierarchicalGaussian => "hierarchical Gaussian".into(),
            Kind::FractionalNoise => format!("fractional noise, H = {}", self.hurst),
        }
    }

    fn parameters(&self, kind: Kind) -> Result<Parameters> {
        self.check_state(kind)?;
        match kind {
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

    fn check_state(&self, kind: Kind) -> Result<()> {
        if self.state.is_some() && kind != Kind::SantaFe {
            return Err(Error::input("--state is the memory of a law for the process santa-fe; leave it out"));
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
