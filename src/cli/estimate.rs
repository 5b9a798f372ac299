//! `hilberg estimate`: everything anew from the record alone.

use super::{say, say_json};
use crate::error::Result;
use crate::measure::Project;
use crate::report::{self, Report};
use clap::Args;
use std::path::{Path, PathBuf};

/// Compute estimates, intervals, exponents and the figure anew from a measurement's record; no model is needed
#[derive(Args, Debug)]
pub struct EstimateArgs {
    /// Output folder of `hilberg measure`
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Estimators to show [default: those of the measurement]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    estimators: Vec<crate::estimate::Estimator>,
    /// Print result.json instead of tables
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// A folder without a readable record.
pub fn run(args: &EstimateArgs) -> Result<()> {
    let mut project = Project::read(&args.folder)?;
    if !args.estimators.is_empty() {
        project.plan.options.estimators = args.estimators.clone();
    }
    print(&report::estimate(&project)?, &args.folder, args.json, false)
}

/// Prints a report to standard output, and where its files lie.
pub(super) fn print(report: &Report, folder: &Path, json: bool, quiet: bool) -> Result<()> {
    if json {
        return say_json(report);
    }
    say(&report::table(report))?;
    if quiet { Ok(()) } else { say(&format!("{}: result.json, result.csv, figure.png, figure.svg", folder.display())) }
}
