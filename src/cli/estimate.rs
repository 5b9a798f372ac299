//! `hilberg estimate`: everything anew from the record alone, or from the records of several machines as one.

use super::run_log::RunLog;
use super::{say, say_json};
use crate::error::{Error, Result};
use crate::estimate::FitRange;
use crate::measure::Project;
use crate::report::{self, Published, Reading, Report};
use clap::Args;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Compute estimates, intervals, exponents and the figure anew from a measurement's record; no model is needed
///
/// Several folders, of shards or of repeated runs, are read as one record.
#[derive(Args, Debug)]
pub struct EstimateArgs {
    /// Output folders of `hilberg measure`, all of one measurement
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Folder for the merged record and its results; a folder that an earlier merge made is added to [default: of one DIR its own results are written
    /// anew, several are printed only]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["estimators", "as_published"])]
    out: Option<PathBuf>,
    /// Estimators to print, and write nothing [default: those of the measurement]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    estimators: Vec<crate::estimate::Estimator>,
    /// Print what published pairing would have made of a record of matched pairs, and write nothing: to compare the errors
    #[arg(long)]
    as_published: bool,
    /// Everything of the laws: each with its parameters, local slopes, and the fits without the smallest ℓ
    #[arg(long)]
    laws: bool,
    /// Put the published lines of this corpus beside ours, over their splits, and write nothing; that the texts are theirs is for you to say
    #[arg(long, value_enum, value_name = "CORPUS", conflicts_with = "out")]
    published: Option<Corpus>,
    /// Print result.json instead of tables
    #[arg(long)]
    json: bool,
}

#[derive(clap::ValueEnum, Clone, Copy, Debug)]
enum Corpus {
    /// PG19
    Pg19,
    /// English Wikipedia
    Wikipedia,
}

/// Runs the subcommand.
///
/// # Errors
/// Folders without a readable record, or of different measurements.
pub fn run(args: &EstimateArgs) -> Result<()> {
    if let Some(out) = &args.out {
        return merge(args, out);
    }
    let mut project = Project::merged(&args.folders)?;
    let named = !args.estimators.is_empty();
    if named {
        project.plan.options.estimators = args.estimators.clone();
    }
    if args.published.is_some() {
        project.plan.options.fit = FitRange::Published;
    }
    if args.as_published {
        return show(&mut report::compute(&project, Reading::AsPublished)?, args);
    }
    if named || args.published.is_some() {
        let mut report = report::compute(&project, Reading::Recorded)?;
        if let Some(s) = report.models.iter().flat_map(|m| &m.analysis.skipped).find(|_| named) {
            return Err(Error::file(&args.folders[0], format!("has no {}: {}; measure again with --estimators {}", s.estimator, s.why, s.estimator)));
        }
        return show(&mut report, args);
    }
    if args.folders.len() > 1 {
        show(&mut report::compute(&project, Reading::Recorded)?, args)?;
        eprintln!("note: nothing is written; --out DIR keeps the merged record and its results");
        return Ok(());
    }
    let mut report = report::estimate(&project)?;
    report.all_of_the_laws = args.laws;
    print(&report, &args.folders[0], args.json, false)
}

/// Merges the folders' records into `out` and writes the results there.
fn merge(args: &EstimateArgs, out: &Path) -> Result<()> {
    let log = RunLog::begin();
    let mut folders = args.folders.clone();
    // What an earlier merge left counts first. A folder that is none is refused below.
    if out.join("plan.json").exists() && !folders.iter().any(|f| same(f, out)) {
        folders.insert(0, out.to_path_buf());
    }
    let from = Project::merged(&folders)?;
    // Before anything is written it is known that the records agree and bear a result.
    let mut report = report::compute(&from, Reading::Recorded)?;
    report.all_of_the_laws = args.laws;
    let project = Project::open(out, from.plan.clone())?;
    project.absorb(&from)?;
    report.write(out)?;
    let merged: Vec<String> = args.folders.iter().map(|f| f.display().to_string()).collect();
    log.write(project.folder(), true, json!({ "merged": merged, "notices": report.notices }))?;
    print(&report, out, args.json, false)
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// Prints what is not written anywhere.
fn show(report: &mut Report, args: &EstimateArgs) -> Result<()> {
    report.all_of_the_laws = args.laws;
    if let Some(corpus) = args.published {
        let corpus = match corpus {
            Corpus::Pg19 => Published::Pg19,
            Corpus::Wikipedia => Published::Wikipedia,
        };
        corpus.stand_beside(report)?;
    }
    tell(report, args.json)
}

fn tell(report: &Report, json: bool) -> Result<()> {
    report.notices.iter().for_each(|n| eprintln!("note: {n}"));
    if json { say_json(report) } else { say(&report::table(report)) }
}

/// Prints a report to standard output, and where its files lie.
pub(super) fn print(report: &Report, folder: &Path, json: bool, quiet: bool) -> Result<()> {
    tell(report, json)?;
    if !json && !quiet {
        say(&format!("{}: result.json, result.csv, figure.png, figure.svg", folder.display()))?;
    }
    Ok(())
}
