//! `hilberg estimate`: everything anew from the record alone.

use super::{say, say_json};
use crate::error::{Error, Result};
use crate::measure::Project;
use crate::report::{self, Reading, Report};
use clap::Args;
use std::path::{Path, PathBuf};

/// Compute estimates, intervals, exponents and the figure anew from a measurement's record; no model is needed
#[derive(Args, Debug)]
pub struct EstimateArgs {
    /// Output folder of `hilberg measure`
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Estimators to print, and write nothing [default: those of the measurement]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    estimators: Vec<crate::estimate::Estimator>,
    /// Print what published pairing would have made of a record of matched pairs, and write nothing: to compare the errors
    #[arg(long)]
    as_published: bool,
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
    let named = !args.estimators.is_empty();
    if named {
        project.plan.options.estimators = args.estimators.clone();
    }
    if args.as_published {
        return show(&report::compute(&project, Reading::AsPublished)?, args.json);
    }
    if named {
        let report = report::compute(&project, Reading::Recorded)?;
        if let Some(s) = report.models.iter().flat_map(|m| &m.analysis.skipped).next() {
            return Err(Error::file(&args.folder, format!("has no {}: {}; measure again with --estimators {}", s.estimator, s.why, s.estimator)));
        }
        return show(&report, args.json);
    }
    print(&report::estimate(&project)?, &args.folder, args.json, false)
}

fn show(report: &Report, json: bool) -> Result<()> {
    if json { say_json(report) } else { say(&report::table(report)) }
}

/// Prints a report to standard output, and where its files lie.
pub(super) fn print(report: &Report, folder: &Path, json: bool, quiet: bool) -> Result<()> {
    show(report, json)?;
    if !json && !quiet {
        say(&format!("{}: result.json, result.csv, figure.png, figure.svg", folder.display()))?;
    }
    Ok(())
}
