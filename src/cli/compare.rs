//! `hilberg compare`: several models on the same chunks, and checkpoints of one run by their steps.

use super::run_log::RunLog;
use super::{say, say_json};
use crate::error::{Error, Result};
use crate::report::as_text;
use crate::report::compare::{Steps, compare};
use clap::Args;
use serde::Serialize;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Compare models on the same chunks: loss by position, information and its exponent, with differences taken chunk by chunk
///
/// The models are those of one measurement with several -m, or of several measurements of the same chunks.
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// Output folders of `hilberg measure`
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Model that the others' differences are taken from [default: the first]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Bins of the position t to a doubling; in bytes bins end where X or Y does
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    bins: u32,
    /// Take the models as checkpoints of one training run, by the last number in each name, and show loss, information and exponent by step
    #[arg(long)]
    by_step: bool,
    /// Steps of the models, in their order, where the names do not tell them
    #[arg(long, value_name = "STEPS", value_delimiter = ',', requires = "by_step")]
    steps: Vec<u64>,
    /// Folder for compare.json, compare.csv and the figures, or steps.json and so on with --by-step [default: DIR, where there is one; else nothing is
    /// written]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the JSON instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// Folders without a readable record, or of different chunks; names without steps.
pub fn run(args: &CompareArgs) -> Result<()> {
    let log = RunLog::begin();
    let compared = compare(&args.folders, args.baseline.as_deref(), args.bins)?;
    if args.by_step {
        let steps = Steps::new(compared, &args.steps)?;
        return args.give(&log, &steps, "steps", |folder| steps.write(folder), || as_text(&steps.blocks()));
    }
    args.give(&log, &compared, "compare", |folder| compared.write(folder), || as_text(&compared.blocks()))
}

impl CompareArgs {
    /// Writes what there is to write, and prints it.
    fn give(&self, log: &RunLog, value: &impl Serialize, name: &str, write: impl Fn(&Path) -> Result<()>, table: impl Fn() -> String) -> Result<()> {
        let out = match (&self.out, self.folders.as_slice()) {
            (Some(out), _) => Some(out),
            (None, [folder]) => Some(folder),
            _ => None,
        };
        if let Some(out) = out {
            fs::create_dir_all(out).map_err(Error::io(out))?;
            write(out)?;
        }
        // A measurement's own folder tells of measuring alone.
        if let Some(out) = &self.out {
            log.write(out, true, json!({ "compared": self.folders }))?;
        }
        if self.json {
            return say_json(value);
        }
        say(&table())?;
        out.map_or(Ok(()), |out| say(&format!("{}: {name}.json, {name}.csv, {name}.png, {name}.svg", out.display())))
    }
}
