//! The command line: one file a subcommand, each thin: parse, call the library, print.

/// A line on standard error, as everywhere below this module: std's own panics where the reader of standard error went away.
macro_rules! eprintln {
    ($($told:tt)*) => { $crate::cli::note(format_args!($($told)*)) };
}

pub mod bench;
mod budget;
pub mod calibrate;
mod checkpoints;
pub mod compare;
pub mod condition;
pub mod context;
pub mod corpus;
pub mod devices;
pub mod engine;
pub mod estimate;
pub mod fit;
pub mod inspect;
pub mod measure;
mod measure_texts;
pub mod optimum;
pub mod options;
mod progress;
pub mod report;
mod run_log;
pub mod score;
mod score_rows;
pub mod signals;
pub mod source;
mod source_args;
mod source_figure;
pub mod trace;
pub mod two_point;

use crate::error::{OneLine, Result};
use clap::Parser;
use std::process::ExitCode;

/// How much information a text's past carries about its future, and log q(text), with any language model on disk
#[derive(clap::Parser, Debug)]
#[command(name = "hilberg", version)]
pub struct Cli {
    /// What to do
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand, Debug)]
enum Command {
    Measure(measure::MeasureArgs),
    Estimate(estimate::EstimateArgs),
    Fit(fit::FitArgs),
    Compare(compare::CompareArgs),
    Condition(condition::ConditionArgs),
    Context(context::ContextArgs),
    Optimum(optimum::OptimumArgs),
    Score(score::ScoreArgs),
    Inspect(inspect::InspectArgs),
    Devices(devices::DevicesArgs),
    Bench(bench::BenchArgs),
    Source(source::SourceArgs),
    Calibrate(calibrate::CalibrateArgs),
    Trace(trace::TraceArgs),
    TwoPoint(two_point::TwoPointArgs),
    Report(report::ReportArgs),
}

/// Runs the command line; errors become one line and an exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(e) => return refuse(&e),
    };
    signals::install();
    crate::error::quiet_guarded_panics();
    let done: Result<()> = match cli.command {
        Command::Measure(args) => measure::run(args),
        Command::Estimate(args) => estimate::run(&args),
        Command::Fit(args) => fit::run(&args),
        Command::Compare(args) => compare::run(&args),
        Command::Condition(args) => condition::run(&args),
        Command::Context(args) => context::run(&args),
        Command::Optimum(args) => optimum::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Devices(args) => devices::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Source(args) => source::run(args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Trace(args) => trace::run(&args),
        Command::TwoPoint(args) => two_point::run(&args),
        Command::Report(args) => report::run(&args),
    };
    signals::end();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}

/// Help and version as they are; what is wrong with an option in one line, without the usage that clap adds.
fn refuse(e: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion};
    if matches!(e.kind(), DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand) {
        // A reader that went away is no error.
        let _ = e.print();
    } else {
        let text = e.to_string();
        let told = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more information"));
        eprintln!("{} (--help says more)", one_line(&told.collect::<Vec<_>>().join("\n")));
    }
    ExitCode::from(e.exit_code() as u8)
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
}

/// A line on standard error; a reader that went away is no error.
pub(crate) fn note(told: std::fmt::Arguments<'_>) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{}", OneLine(told));
}

/// Prints to standard output; a reader that went away is no error.
pub(crate) fn say(text: &str) -> Result<()> {
    use std::io::Write;
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(crate::Error::io("standard output")(e)),
        _ => Ok(()),
    }
}

/// The numbers of an option, each once, ascending.
fn ascending<T: Copy + Ord>(numbers: &[T]) -> Vec<T> {
    let mut n = numbers.to_vec();
    n.sort_unstable();
    n.dedup();
    n
}

/// A value as JSON on standard output.
pub(crate) fn say_json(value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| crate::Error::input(format!("cannot write JSON: {e}")))?;
    say(&text)
}
