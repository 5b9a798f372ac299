//! `hilberg condition`: the history states of models, from their config.json alone, against the laws of measurements.

use super::run_log::RunLog;
use super::{ascending, say, say_json};
use crate::error::{Error, Result};
use crate::estimate::Estimator;
use crate::model::{StoredState, history};
use crate::report::as_text;
use crate::report::condition::{Choice, condition};
use clap::Args;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Lengths at which sizes are told where no measurement says others.
const LENGTHS: [u64; 5] = [128, 1024, 8192, 65_536, 1_048_576];

/// Hold the size of models' history states against the measured growth of information (the L²M condition); no weights are needed
///
/// A model whose state has dim(z) numbers after ℓ tokens carries at most C·dim(z) nats on; texts ask for I(ℓ) = A ℓ^β.
#[derive(Args, Debug)]
pub struct ConditionArgs {
    /// Model folders; a config.json in each is enough
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<PathBuf>,
    /// Output folder of `hilberg measure` whose laws the models are held against; repeat it for several [default: sizes alone]
    #[arg(long, value_name = "DIR")]
    record: Vec<PathBuf>,
    /// Whose law [default: direct, or the first that has one]
    #[arg(long, value_name = "NAME", requires = "record")]
    estimator: Option<Estimator>,
    /// r = L/ℓ of the law [default: the smallest measured]
    #[arg(long, value_name = "R", requires = "record")]
    ratio: Option<u32>,
    /// Tokens at which sizes are told [default: the splits of the first record; else 128 to 1,048,576]
    #[arg(long, value_delimiter = ',', value_name = "LENGTHS", value_parser = clap::value_parser!(u64).range(1..))]
    lengths: Vec<u64>,
    /// Bits in which a number is stored [default: by `dtype` of config.json]
    #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(1..=64))]
    bits: Option<u32>,
    /// Read a config.json that has this key although the program does not know it; repeat it for several
    #[arg(long, value_name = "KEY")]
    accept_key: Vec<String>,
    /// Folder for condition.json, condition.csv, condition.png and condition.svg [default: that of the record, where there is one; else nothing is written]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print condition.json instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// A config.json that cannot be read or whose family is not known; a record without a law.
pub fn run(args: &ConditionArgs) -> Result<()> {
    let log = RunLog::begin();
    let models = args.models.iter().map(|folder| args.open(folder)).collect::<Result<Vec<_>>>()?;
    let mut lengths = ascending(&args.lengths);
    if lengths.is_empty() && args.record.is_empty() {
        lengths = LENGTHS.to_vec();
    }
    let choice = Choice { estimator: args.estimator, ratio: args.ratio };
    let report = condition(&models, &args.record, choice, &lengths)?;
    let out = match (&args.out, args.record.as_slice()) {
        (Some(out), _) => Some(out),
        (None, [record]) => Some(record),
        _ => None,
    };
    if let Some(out) = out {
        fs::create_dir_all(out).map_err(Error::io(out))?;
        report.write(out)?;
    }
    // A measurement's own folder tells of measuring alone.
    if let Some(out) = &args.out {
        log.write(out, true, json!({ "models": args.models, "records": args.record }))?;
    }
    if args.json {
        return say_json(&report);
    }
    say(&as_text(&report.blocks()))?;
    match out {
        Some(out) if report.laws.is_empty() => say(&format!("{}: condition.json, condition.csv", out.display())),
        Some(out) => say(&format!("{}: condition.json, condition.csv, condition.png, condition.svg", out.display())),
        None => Ok(()),
    }
}

impl ConditionArgs {
    /// A model's name and history state. A config.json may stand for its folder.
    fn open(&self, given: &Path) -> Result<(String, StoredState)> {
        let folder = if given.is_file() && given.file_name().is_some_and(|n| n == "config.json") { given.parent().unwrap_or(given) } else { given };
        if !folder.is_dir() {
            return Err(Error::file(given, "is no model folder"));
        }
        let mut stored = history::open(folder, &self.accept_key)?;
        stored.bits = self.bits.unwrap_or(stored.bits);
        let whole = folder.canonicalize().map_err(Error::io(folder))?;
        let name = whole.file_name().map_or_else(|| folder.display().to_string(), |n| n.to_string_lossy().into_owned());
        Ok((name, stored))
    }
}
