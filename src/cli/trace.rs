//! `hilberg trace`: every verb's output by name, one backend against another.

use super::engine::AnyEngine;
use super::options::{DeviceChoice, ModelArgs, Precision, open_model};
use super::{say, say_json};
use crate::engine::{Scorer, Values};
use crate::error::{Error, Result};
use crate::forest::{Forest, Readout};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Compare every step of a forward pass between two backends; stops at the first that is off
#[derive(clap::Args, Debug)]
pub struct TraceArgs {
    /// Model folder
    #[arg(short, long, value_name = "DIR")]
    model: PathBuf,
    /// Token ids of the text, the start token among them
    #[arg(required = true, value_delimiter = ',', value_name = "IDS")]
    tokens: Vec<u32>,
    /// The backend to compare with
    #[arg(long, default_value = "float64", value_name = "DEVICE")]
    against: DeviceChoice,
    /// Largest error of a step that passes, as a share of the step's largest number
    #[arg(long, default_value_t = 1e-4, value_name = "SHARE")]
    budget: f64,
    #[command(flatten)]
    run: ModelArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One verb's output.
struct Seen {
    name: String,
    values: Vec<f64>,
}

#[derive(serde::Serialize)]
struct Row {
    step: String,
    largest: f64,
    max_error: f64,
    mean_error: f64,
    share: f64,
    within: bool,
}

fn seen(args: &TraceArgs, device: &DeviceChoice, precision: Precision) -> Result<Vec<Seen>> {
    let run = ModelArgs { device: device.clone(), precision, ..args.run.clone() };
    let mut engine: AnyEngine = open_model(&run, &args.model)?.engine;
    let all = Arc::new(Mutex::new(Vec::new()));
    let into = all.clone();
    engine.set_trace(Some(Box::new(move |name, values, _| {
        into.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { name: name.into(), values: values.to_vec() });
    })));
    let (mut forest, mut readout) = (Forest::new(), Readout::new());
    let root = forest.root(&args.tokens)?;
    readout.each(&forest, root, 1..args.tokens.len() as u32)?;
    engine.score(&forest, &readout, &mut Values::new(&readout))?;
    engine.set_trace(None);
    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(std::mem::take(&mut *all))
}

/// Runs it.
///
/// # Errors
/// A step over its budget; whatever is wrong with the model.
pub fn run(args: &TraceArgs) -> Result<()> {
    if args.tokens.len() < 2 {
        return Err(Error::input("a trace needs at least two token ids"));
    }
    // A text within one block of either backend is seen in the same steps.
    if args.tokens.len() > 512 {
        return Err(Error::input("a trace takes at most 512 token ids"));
    }
    // In float64 there is no other precision: it is what any is held against.
    let precision = if args.against == DeviceChoice::Float64 { Precision::F32 } else { args.run.precision };
    let (ours, theirs) = (seen(args, &args.run.device, args.run.precision)?, seen(args, &args.against, precision)?);
    let mut rows = Vec::new();
    for (a, b) in ours.iter().zip(&theirs) {
        if a.name != b.name || a.values.len() != b.values.len() {
            return Err(Error::input(format!(
                "the backends take different steps: {} ({} numbers) and {} ({})",
                a.name,
                a.values.len(),
                b.name,
                b.values.len()
            )));
        }
        let errors = a.values.iter().zip(&b.values).map(|(x, y)| (x - y).abs());
        let largest = b.values.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let max_error = errors.clone().fold(0.0f64, f64::max);
        let mean_error = errors.sum::<f64>() / a.values.len().max(1) as f64;
        let share = max_error / largest.max(f64::MIN_POSITIVE);
        let within = share <= args.budget;
        rows.push(Row { step: a.name.clone(), largest, max_error, mean_error, share, within });
        if !within {
            break;
        }
    }
    if args.json {
        say_json(&rows)?;
    } else {
        say(&format!("{:<24} {:>12} {:>12} {:>12}  share of the largest", "step", "largest", "max error", "mean error"))?;
        for r in &rows {
            say(&format!(
                "{:<24} {:>12.4e} {:>12.4e} {:>12.4e}  {:.1e}{}",
                r.step,
                r.largest,
                r.max_error,
                r.mean_error,
                r.share,
                if r.within { "" } else { "  over the budget" }
            ))?;
        }
    }
    match rows.last() {
        Some(r) if !r.within => Err(Error::input(format!("{} is the first step over the budget of {:.0e}: {:.1e}", r.step, args.budget, r.share))),
        _ => Ok(()),
    }
}
