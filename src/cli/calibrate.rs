//! `hilberg calibrate`: the estimators held against sources whose answers are known.

use super::run_log::RunLog;
use super::signals::{Heeding, stop_flag};
use super::source_args::{Kind, SourceOptions};
use super::{ascending, say, say_json};
use crate::error::{Error, Result};
use crate::estimate::{Estimator, Resampling};
use crate::files;
use crate::report::as_text;
use crate::report::calibration::Calibration;
use crate::source::calibration::{Calibrated, Drawn, Trial, compare, draw_once, expected};
use crate::source::{Expectation, Known};
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Time between two writings of what was drawn: what a kill costs at most, and a draw.
const EVERY: Duration = Duration::from_secs(10);

/// Hold the estimators against sources whose answers are known: bias of each estimate, and how often its interval holds what it should
///
/// Every source is drawn again and again, a whole measurement each time, scored by its own law. Means and coverages are compared with the exact expectation of
/// each estimator, all of them together at 99%.
#[derive(Args, Debug)]
pub struct CalibrateArgs {
    /// Sources [default: all]
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAMES")]
    sources: Vec<Kind>,
    #[command(flatten)]
    parameters: SourceOptions,
    /// Estimators [default: all]
    #[arg(long, value_delimiter = ',', value_name = "NAMES")]
    estimators: Vec<Estimator>,
    /// Splits ℓ, in tokens or numbers
    #[arg(long, value_delimiter = ',', default_values_t = [2, 8, 32, 128], value_name = "LENGTHS")]
    splits: Vec<u32>,
    /// Ratios r = L/ℓ
    #[arg(long, value_delimiter = ',', default_values_t = [2], value_name = "RATIOS")]
    ratios: Vec<u32>,
    /// Foreign tails of every trunk, K
    #[arg(long, default_value_t = 3, value_name = "K")]
    foreign: u32,
    /// Groups of K + 1 documents in a draw
    #[arg(long, default_value_t = 100, value_name = "N")]
    groups: u32,
    /// Draws of each source
    #[arg(long, default_value_t = 100, value_name = "N")]
    draws: u32,
    /// Groups from which an expectation is sampled where it has no closed form [default: three times those of all draws]
    #[arg(long, value_name = "N")]
    expected_from: Option<u32>,
    /// Seed of everything
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Folder of draws and results; started again with the same options, the calibration goes on
    #[arg(long, default_value = "hilberg-calibration", value_name = "DIR")]
    out: PathBuf,
    /// Print result.json instead of tables
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(short, long)]
    quiet: bool,
}

/// What was drawn of one source so far.
#[derive(Debug, Serialize, Deserialize)]
struct Draws {
    source: String,
    trial: Trial,
    draws: Vec<Drawn>,
}

/// What the estimates of one source expect.
#[derive(Debug, Serialize, Deserialize)]
struct Expected {
    source: String,
    trial: Trial,
    /// Groups that it is sampled from where there is no closed form.
    from: u32,
    expected: Vec<Option<Expectation>>,
}

/// Runs the subcommand.
///
/// # Errors
/// Options that make no sense, an output folder of another calibration, an interruption.
pub fn run(args: &CalibrateArgs) -> Result<()> {
    let log = RunLog::begin();
    if args.draws < 2 {
        return Err(Error::input("--draws: a calibration needs two draws or more"));
    }
    let drawn = args.groups.checked_mul(args.draws).and_then(|n| n.checked_mul(3));
    let expected_from = args.expected_from.or(drawn).ok_or_else(|| Error::input("--groups times --draws is more than can be drawn"))?;
    let trial = args.trial();
    std::fs::create_dir_all(&args.out).map_err(Error::io(&args.out))?;
    let kinds = if args.sources.is_empty() { Kind::value_variants().to_vec() } else { args.sources.clone() };
    let mut calibrated: Vec<Calibrated> = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let source = args.parameters.source(kind, trial.length())?;
        let name = args.parameters.describe(kind);
        let file = |of: &str| args.out.join(format!("{of}-{}.json", slug(kind)));
        let draws = args.draw(&name, source.known(), &trial, &file("draws"))?;
        let expected = expected_once(
            Expected { source: name.clone(), trial: trial.clone(), from: expected_from, expected: Vec::new() },
            source.known(),
            &file("expected"),
        )?;
        calibrated.push(compare(&name, source.known(), &trial, &draws, &expected)?);
    }
    let found = Calibration::new(calibrated);
    files::write_json(&args.out.join("result.json"), &found)?;
    files::write_bytes(&args.out.join("result.csv"), found.csv().as_bytes())?;
    found.figure().write(&args.out, "figure")?;
    log.write(&args.out, true, json!({}))?;
    if args.json {
        return say_json(&found);
    }
    say(&as_text(&found.blocks()))?;
    if args.quiet { Ok(()) } else { say(&format!("{}: result.json, result.csv, figure.png, figure.svg", args.out.display())) }
}

/// What the estimates of one source expect: the file's, where it has them, since they may take longer than the draws.
fn expected_once(asked: Expected, source: &dyn Known, file: &Path) -> Result<Vec<Option<Expectation>>> {
    if file.exists() {
        let found: Expected = files::read_json(file)?;
        if (&found.source, &found.trial, found.from) == (&asked.source, &asked.trial, asked.from) {
            return Ok(found.expected);
        }
    }
    let expected = expected(source, &asked.trial, asked.from)?;
    files::write_json(file, &Expected { expected: expected.clone(), ..asked })?;
    Ok(expected)
}

fn slug(kind: Kind) -> String {
    kind.to_possible_value().map_or_else(String::new, |v| v.get_name().to_string())
}

impl CalibrateArgs {
    fn trial(&self) -> Trial {
        let estimators = if self.estimators.is_empty() { Estimator::ALL.to_vec() } else { self.estimators.clone() };
        let resampling = Resampling { seed: self.seed, ..Resampling::default() };
        let (splits, ratios) = (ascending(&self.splits), ascending(&self.ratios));
        Trial { splits, ratios, foreign: self.foreign, groups: self.groups, estimators, resampling, seed: self.seed }
    }

    /// The draws of one source, those that the file holds already and the rest.
    fn draw(&self, name: &str, source: &dyn Known, trial: &Trial, file: &Path) -> Result<Vec<Drawn>> {
        let mut held = Draws { source: name.into(), trial: trial.clone(), draws: Vec::new() };
        if file.exists() {
            let found: Draws = files::read_json(file)?;
            if (&found.source, &found.trial) != (&held.source, &held.trial) {
                return Err(Error::file(file, "holds draws of another source or with other options; choose another --out"));
            }
            held = found;
        }
        let bar = self.bar(name);
        let (flag, _heeding) = (stop_flag(), Heeding::new());
        let mut written = Instant::now();
        while held.draws.len() < self.draws as usize {
            if flag.load(Ordering::Relaxed) {
                files::write_json(file, &held)?;
                return Err(Error::Interrupted);
            }
            let drawn = draw_once(source, trial, held.draws.len() as u32)?;
            held.draws.push(drawn);
            bar.set_position(held.draws.len() as u64);
            if written.elapsed() >= EVERY || held.draws.len() == self.draws as usize {
                files::write_json(file, &held)?;
                written = Instant::now();
                if !self.quiet && !std::io::stderr().is_terminal() {
                    eprintln!("{name}: {} of {} draws", held.draws.len(), self.draws);
                }
            }
        }
        bar.abandon();
        // More may have been drawn by an earlier run.
        held.draws.truncate(self.draws as usize);
        Ok(held.draws)
    }

    fn bar(&self, name: &str) -> ProgressBar {
        if self.quiet || !std::io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new(self.draws.into());
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar} {pos} of {len} draws, {eta} left") {
            bar.set_style(style);
        }
        bar.set_prefix(name.to_string());
        bar
    }
}
