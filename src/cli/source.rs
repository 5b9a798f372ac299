//! `hilberg source`: processes whose information is known exactly, to check measurements against.

use super::{say, say_json};
use crate::error::{Error, Result};
use crate::source::{AnyProcess, Markov, SantaFe, describe, draw, plant};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Processes of known information: list it, draw texts, plant a network that knows them
#[derive(Args, Debug)]
pub struct SourceArgs {
    /// What to do
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand, Debug)]
enum Action {
    /// List the exact information and what direct and vCLUB estimates expect
    Exact {
        #[command(flatten)]
        process: ProcessArgs,
        /// Splits ℓ, in tokens
        #[arg(long, value_delimiter = ',', default_values_t = [2, 4, 8, 16, 32, 64, 128, 256, 512])]
        splits: Vec<u32>,
        /// Ratios r = L/ℓ
        #[arg(long, value_delimiter = ',', default_values_t = [2])]
        ratios: Vec<u32>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Draw documents of token ids into a NumPy array
    Draw {
        #[command(flatten)]
        process: ProcessArgs,
        /// Number of documents
        #[arg(long, default_value_t = 256)]
        documents: usize,
        /// Tokens of a document
        #[arg(long, default_value_t = 1024)]
        length: usize,
        /// Seed of the draws
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// The .npy file to write
        #[arg(long)]
        out: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a Llama model folder whose weights hold the exact conditionals
    Plant {
        #[command(flatten)]
        process: ProcessArgs,
        /// Longest text that it must score, in tokens
        #[arg(long, default_value_t = 2048)]
        positions: usize,
        /// The folder to write
        #[arg(long)]
        out: PathBuf,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
struct ProcessArgs {
    /// The process
    #[arg(long, value_enum)]
    process: Kind,
    /// Markov: the transition matrix, rows separated by semicolons
    #[arg(long, default_value = "0.9,0.1;0.2,0.8")]
    matrix: String,
    /// Santa Fe: the exponent β
    #[arg(long, default_value_t = 0.5)]
    beta: f64,
    /// Santa Fe: number of facts
    #[arg(long, default_value_t = 200)]
    facts: usize,
    /// Santa Fe: probability that the model leaves for a contradiction
    #[arg(long, default_value_t = 1e-6)]
    epsilon: f64,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Kind {
    /// A stationary Markov chain
    Markov,
    /// The finite Santa Fe process
    SantaFe,
}

impl ProcessArgs {
    fn process(&self) -> Result<AnyProcess> {
        Ok(match self.process {
            Kind::Markov => AnyProcess::Markov(Markov::new(&parse_matrix(&self.matrix)?)?),
            Kind::SantaFe => AnyProcess::SantaFe(SantaFe::new(self.beta, self.facts, self.epsilon)?),
        })
    }
}

fn parse_matrix(text: &str) -> Result<Vec<Vec<f64>>> {
    text.split(';')
        .map(|row| {
            row.split(',')
                .map(|x| x.trim().parse().map_err(|_| Error::input(format!("--matrix: {x:?} is no number; write rows like 0.9,0.1;0.2,0.8"))))
                .collect()
        })
        .collect()
}

/// Runs `hilberg source`.
///
/// # Errors
/// Parameters outside their range, files that exist or cannot be written.
pub fn run(args: SourceArgs) -> Result<()> {
    match args.action {
        Action::Exact { process, splits, ratios, json } => {
            let known = describe(&process.process()?, &splits, &ratios)?;
            if json {
                return say_json(&known);
            }
            say(&format!("{:>6} {:>3} {:>12} {:>12} {:>12}   (nats)", "ℓ", "r", "I", "direct", "vCLUB"))?;
            for k in known {
                say(&format!("{:>6} {:>3} {:>12.6} {:>12.6} {:>12.6}", k.split, k.ratio, k.information, k.direct, k.vclub))?;
            }
            Ok(())
        }
        Action::Draw { process, documents, length, seed, out, json } => {
            draw(&process.process()?, documents, length, seed, &out)?;
            if json {
                say_json(&serde_json::json!({"out": out, "documents": documents, "length": length, "seed": seed}))
            } else {
                say(&format!("{documents} documents of {length} tokens in {}", out.display()))
            }
        }
        Action::Plant { process, positions, out, json } => {
            plant(&process.process()?, positions, &out)?;
            if json {
                say_json(&serde_json::json!({"out": out, "positions": positions}))
            } else {
                say(&format!("a model for texts of up to {positions} tokens in {}", out.display()))
            }
        }
    }
}
