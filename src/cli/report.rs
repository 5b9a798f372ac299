//! `hilberg report`: output folders as one page to read and to quote from, without a network.

use super::{say, say_json};
use crate::error::Result;
use crate::report::page::{Document, check_name};
use clap::Args;
use std::path::PathBuf;

/// Write one page of figures and tables from output folders, and the same as CSV and JSON
///
/// The page stands alone: no script, nothing to fetch. Measurements are set out in full, and beside each other in bytes where there are several; of other
/// folders figure, table and what was run are shown.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Output folders of `hilberg measure`, of merges by `hilberg estimate`, and of every other subcommand that writes a result.json
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// The page; .csv and .json of the same name are written beside it, and .svg and .png of the figure of several measurements together
    #[arg(long, default_value = "report.html", value_name = "FILE.html")]
    out: PathBuf,
    /// What heads the page
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
    /// Print report.json, too
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// A name that no page may have; folders that hold no results; what the system refuses.
pub fn run(args: &ReportArgs) -> Result<()> {
    check_name(&args.out)?;
    let document = Document::read(&args.folders, args.title.as_deref())?;
    document.notices().for_each(|n| eprintln!("note: {n}"));
    document.write(&args.out)?;
    if args.json {
        return say_json(&document.json());
    }
    let written: Vec<String> = document.endings().iter().map(|ending| args.out.with_extension(ending).display().to_string()).collect();
    say(&written.join(", "))
}
