//! What lies in an output folder, recognised by its files: a name.json with a name.csv beside it is a result, and so is result.json in any case. Its figure is
//! name.svg, and figure.svg for result.json.

use super::svg::Svg;
use super::table::Table;
use crate::context::Growth;
use crate::error::{Error, Result};
use crate::files;
use crate::report::calibration::Calibration;
use crate::report::compare::{Compared, Steps};
use crate::report::{Block, ContextReport, Report, TwoPointReport, condition, optimum};
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// What a result is of.
pub enum Kind {
    /// `hilberg measure`, or a merge of its shards.
    Measurement(Box<Report>),
    /// Anything else.
    Other(String),
}

/// One result of an output folder.
pub struct Results {
    /// The folder, as the user named it.
    pub folder: PathBuf,
    /// Name of its files without ending.
    pub stem: String,
    /// What it is of.
    pub kind: Kind,
    /// The JSON file.
    pub value: Value,
    /// What it says in tables and sentences, where it is of a kind that this version knows; of a measurement nothing.
    pub blocks: Vec<Block>,
    /// The CSV file; without rows where there is none.
    pub table: Table,
    /// The figure, where there is one.
    pub figure: Option<Svg>,
    /// The runs of run.json, oldest first; of the first result in a folder.
    pub runs: Vec<Value>,
    /// What is to be said of files that were not taken.
    pub notices: Vec<String>,
}

/// What the main result's files are called.
const MAIN: &str = "result";

impl Results {
    /// Reads all results of a folder, the main one first. A figure that has more in it than this program draws is left out, and said.
    ///
    /// # Errors
    /// No such folder; one without results; files in it that are not what this program writes.
    pub fn of_folder(folder: &Path) -> Result<Vec<Self>> {
        if !folder.is_dir() {
            return Err(Error::file(folder, if folder.exists() { "is no folder; name an output folder" } else { "there is no such folder" }));
        }
        let mut results = stems(folder)?.iter().map(|stem| Results::read(folder, stem)).collect::<Result<Vec<_>>>()?;
        let Some(first) = results.first_mut() else {
            let unfinished = folder.join("plan.json").exists();
            let why =
                if unfinished { "holds a measurement without results yet; `hilberg estimate` writes them" } else { "has no result.json: no output folder" };
            return Err(Error::file(folder, why));
        };
        let runs = folder.join("run.json");
        first.runs = match if runs.exists() { files::read_json(&runs)? } else { Value::Null } {
            Value::Array(runs) => runs,
            Value::Null => Vec::new(),
            run => vec![run],
        };
        Ok(results)
    }

    fn read(folder: &Path, stem: &str) -> Result<Self> {
        let at = |ending: &str| folder.join(format!("{stem}.{ending}"));
        let value: Value = files::read_json(&at("json"))?;
        let has = |members: &[&str]| members.iter().all(|m| value.get(m).is_some());
        let kind = match value.get("kind").and_then(Value::as_str) {
            Some(kind) => Kind::Other(kind.to_string()),
            None if stem != MAIN => Kind::Other(stem.to_string()),
            None if has(&["design", "models"]) => {
                // Results of an earlier version lack what this one tells.
                let anew = |e| Error::file(at("json"), format!("cannot be read as results of this version ({e}); `hilberg estimate DIR` writes them anew"));
                Kind::Measurement(Box::new(serde_json::from_value(value.clone()).map_err(anew)?))
            }
            None if has(&["design", "model", "analysis"]) => Kind::Other("context".into()),
            None if has(&["corpus", "unit", "growth", "points"]) => Kind::Other("two-point".into()),
            None if has(&["bounds", "biased", "sources"]) => Kind::Other("calibrate".into()),
            None => Kind::Other("results".into()),
        };
        let mut notices = Vec::new();
        let blocks = match &kind {
            Kind::Measurement(_) => Vec::new(),
            Kind::Other(kind) => told(kind, &value).unwrap_or_else(|e| {
                notices.push(format!("{}: cannot be read as results of this version ({e}); its rows are shown instead", at("json").display()));
                Vec::new()
            }),
        };
        let (figure, table) = match &kind {
            // Made anew from the results: whatever lies beside them, it is theirs.
            Kind::Measurement(report) => {
                let drawn = report.figure().svg().and_then(|svg| Svg::read(&svg)).map_err(|e| Error::file(folder, format!("its figure {e}")))?;
                (Some(drawn), Table::read(&report.csv()).map_err(|e| Error::file(at("csv"), e))?)
            }
            Kind::Other(_) => {
                let path = if stem == MAIN { folder.join("figure.svg") } else { at("svg") };
                let figure =
                    text(&path)?.and_then(|svg| Svg::read(&svg).map_err(|why| notices.push(format!("{}: {why}; it is left out", path.display()))).ok());
                (figure, text(&at("csv"))?.map_or(Ok(Table::default()), |t| Table::read(&t)).map_err(|e| Error::file(at("csv"), e))?)
            }
        };
        Ok(Results { folder: folder.to_path_buf(), stem: stem.to_string(), kind, value, blocks, table, figure, runs: Vec::new(), notices })
    }

    /// The kind's name in files.
    pub fn kind_name(&self) -> &str {
        match &self.kind {
            Kind::Measurement(_) => "measure",
            Kind::Other(kind) => kind,
        }
    }

    /// What the kind is called in a heading.
    pub fn heading(&self) -> &str {
        match self.kind_name() {
            "measure" => "Bipartite mutual information",
            "two-point" => "Two-point mutual information",
            "context" => "Context length and intrinsic entropy",
            "condition" => "The L²M condition",
            "compare" => "Loss by position, models compared",
            "steps" => "Exponents by training step",
            "optimum" => "The best context length by size of the data",
            "calibrate" => "Calibration on known processes",
            "fit" => "Laws",
            "results" => "Results",
            other => other,
        }
    }
}

/// What a result of that kind says; nothing of a kind that is not known.
fn told(kind: &str, value: &Value) -> serde_json::Result<Vec<Block>> {
    Ok(match kind {
        "two-point" => TwoPointReport::deserialize(value)?.blocks(),
        "context" => ContextReport::deserialize(value)?.blocks(),
        "condition" => condition::Report::deserialize(value)?.blocks(),
        "compare" => Compared::deserialize(value)?.blocks(),
        "steps" => Steps::deserialize(value)?.blocks(),
        "optimum" => optimum::blocks(&Growth::deserialize(value)?),
        "calibrate" => Calibration::deserialize(value)?.blocks(),
        _ => Vec::new(),
    })
}

/// Names of a folder's results, without ending; the main one first, then in the order of their bytes.
fn stems(folder: &Path) -> Result<Vec<String>> {
    let mut stems = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        let Some(stem) = path.file_stem().and_then(|s| s.to_str()) else { continue };
        if path.extension().is_some_and(|e| e == "json") && (stem == MAIN || path.with_extension("csv").exists()) {
            stems.push(stem.to_string());
        }
    }
    stems.sort_by(|a, b| (a != MAIN, a).cmp(&(b != MAIN, b)));
    Ok(stems)
}

/// A text file, where there is one.
fn text(path: &Path) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = fs::read(path).map_err(Error::io(path))?;
    String::from_utf8(bytes).map(Some).map_err(|_| Error::file(path, "is not UTF-8"))
}
