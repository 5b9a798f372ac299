//! `hilberg optimum`: the best context length by the size of the data, from the results of `hilberg context`.

use super::run_log::RunLog;
use super::{say, say_json};
use crate::context::{Curve, growth};
use crate::error::{Error, Result};
use crate::files;
use crate::report::{ContextReport, OptimumReport, as_text};
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::str::FromStr;

/// An output folder, and how much the model in it was trained on.
#[derive(Clone, Debug)]
struct Trained {
    folder: PathBuf,
    tokens: f64,
}

impl FromStr for Trained {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let parts = s.rsplit_once('=').and_then(|(folder, n)| Some((folder, n.parse::<f64>().ok()?)));
        let (folder, tokens) = parts.filter(|(_, n)| *n > 0.0 && n.is_finite()).ok_or_else(|| format!("`{s}` is not DIR=TOKENS, such as small=2e6"))?;
        Ok(Trained { folder: folder.into(), tokens })
    }
}

/// Find the context length of least loss for models trained on different amounts of data, and how it grows
#[derive(Args, Debug)]
pub struct OptimumArgs {
    /// Output folders of `hilberg context`, each with the number of tokens that its model was trained on
    #[arg(required = true, value_name = "DIR=TOKENS")]
    models: Vec<Trained>,
    /// Folder for optimum.json, optimum.csv, optimum.png and optimum.svg [default: they are printed only]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand.
///
/// # Errors
/// Folders without results, or of measurements whose losses do not compare.
pub fn run(args: &OptimumArgs) -> Result<()> {
    let log = RunLog::begin();
    let mut reports: Vec<ContextReport> = Vec::new();
    for m in &args.models {
        let file = m.folder.join("result.json");
        if !file.exists() {
            return Err(Error::file(&m.folder, "holds no result.json of hilberg context; let the measurement end first"));
        }
        let value: serde_json::Value = files::read_json(&file)?;
        // A measurement of information has several models.
        if value.get("model").is_none() || value.get("analysis").is_none() {
            return Err(Error::file(&file, "is not of hilberg context"));
        }
        let report = ContextReport::deserialize(value).map_err(|e| Error::file(&file, format!("cannot be read as results of this version: {e}")))?;
        if let Some(first) = reports.first().filter(|f| f.corpus != report.corpus || f.design.samples != report.design.samples) {
            return Err(Error::file(
                &m.folder,
                format!("was measured on other texts, with another tokenizer or other --samples than {}: their losses do not compare", first.model),
            ));
        }
        reports.push(report);
    }
    let curves: Vec<Curve> = reports.iter().zip(&args.models).map(|(r, m)| r.curve(m.tokens)).collect();
    let level = reports.first().map_or(0.95, |r| r.analysis.options.resampling.level);
    let report = OptimumReport { growth: growth(&curves, level)?, curves };
    if let Some(out) = &args.out {
        report.write(out)?;
        log.write(out, true, json!({ "context": args.models.iter().map(|m| &m.folder).collect::<Vec<_>>() }))?;
    }
    if args.json {
        return say_json(&report.growth);
    }
    say(&as_text(&report.blocks()))?;
    args.out.as_ref().map_or(Ok(()), |out| say(&format!("{}: optimum.json, optimum.csv, optimum.png, optimum.svg", out.display())))
}
