//! `hilberg fit`: laws of any table of lengths and values.

use super::{say, say_json};
use crate::error::{Error, Result};
use crate::estimate::Resampling;
use crate::estimate::laws::{Columns, Law, Points};
use crate::report;
use clap::Args;
use serde_json::json;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

/// A table of points beyond this is a mistake.
const MOST_BYTES: u64 = 16 << 20;
/// A thousand refits of so many points take seconds.
const MOST_POINTS: usize = 256;

/// Fit laws to any table of lengths and values, and compare them: those of information, or of a loss
///
/// The file is CSV (or tab-separated) with a line of names, or a JSON object with lists "x", "y" and "se" or "covariance" (a list of rows; "units" says from how many independent
/// samples it was estimated). Errors count as independent where only "se" is given, and as equal and unknown where nothing is.
#[derive(Args, Debug)]
pub struct FitArgs {
    /// The table
    file: PathBuf,
    /// Laws: power, power-constant, logarithm, saturating; hilberg (loss by position), context (loss by context length)
    #[arg(long, value_delimiter = ',', value_name = "NAMES", default_values_t = Law::OF_INFORMATION)]
    laws: Vec<Law>,
    /// Column of lengths [default: the first called x, ℓ, l, split, length, t, position, c, context, d or distance]
    #[arg(long, value_name = "COLUMN")]
    x: Option<String>,
    /// Column of values [default: the first called y, I, nats, value, information, h, loss or CE]
    #[arg(long, value_name = "COLUMN")]
    y: Option<String>,
    /// Column of standard errors [default: the first called se, error, stderr or sigma, if any]
    #[arg(long, value_name = "COLUMN")]
    se: Option<String>,
    /// Only rows that have this value in this column; may be repeated
    #[arg(long, value_name = "COLUMN=VALUE", value_parser = condition)]
    only: Vec<(String, String)>,
    /// Draws behind the intervals, where errors are given
    #[arg(long, value_name = "N", default_value_t = 1000)]
    resamples: u32,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Coverage that intervals aim at
    #[arg(long, default_value_t = 0.95)]
    level: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn condition(text: &str) -> Result<(String, String), String> {
    text.split_once('=').map(|(c, v)| (c.to_string(), v.to_string())).ok_or_else(|| "write COLUMN=VALUE".into())
}

/// Runs the subcommand.
///
/// # Errors
/// A file that cannot be read or holds no curve; points that bear none of the laws.
pub fn run(args: &FitArgs) -> Result<()> {
    if !(args.level > 0.0 && args.level < 1.0) {
        return Err(Error::input(format!("--level {}: give a number between 0 and 1, such as 0.95", args.level)));
    }
    if args.resamples > 1_000_000 {
        return Err(Error::input(format!("--resamples {}: at most 1,000,000", args.resamples)));
    }
    let file = &args.file;
    let about = |e: Error| Error::file(file, e.to_string());
    let mut bytes = Vec::new();
    File::open(file).and_then(|f| f.take(MOST_BYTES + 1).read_to_end(&mut bytes)).map_err(Error::io(file))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(Error::file(file, "is no table of points: it has more than 16 MiB"));
    }
    let text = String::from_utf8(bytes).map_err(|_| Error::file(file, "is not UTF-8"))?;
    let columns = Columns { x: args.x.clone(), y: args.y.clone(), se: args.se.clone(), only: args.only.clone() };
    let points = Points::read(&text, &columns).map_err(about)?;
    if points.x.len() > MOST_POINTS {
        return Err(Error::file(file, format!("has {} points; at most {MOST_POINTS} are fitted together", points.x.len())));
    }
    let curve = points.curve(Resampling { resamples: args.resamples, seed: args.seed, level: args.level }).map_err(about)?;
    let mut laws = args.laws.clone();
    laws.sort();
    laws.dedup();
    let comparison = curve.compare(&laws).map_err(|why| Error::file(file, why))?;
    if let (true, Some(first)) = (comparison.laws.is_empty(), comparison.refused.first()) {
        return Err(Error::file(file, format!("no {}: {}", first.law, first.why)));
    }
    let errors = match &points.covariance {
        None => "unknown, taken as equal and independent: least squares",
        Some(c) if c.is_diagonal() => "given, taken as independent",
        Some(_) => "given, with their covariance",
    };
    if args.json {
        return say_json(&json!({ "file": file, "errors": errors, "level": args.level, "comparison": comparison }));
    }
    let (first, last) = (points.x.first().copied().unwrap_or(0.0), points.x.last().copied().unwrap_or(0.0));
    say(&format!("{}: {} points from {first} to {last}; {}% intervals; errors {errors}", file.display(), points.x.len(), args.level * 100.0))?;
    say(report::comparison(&comparison).trim_end())
}
