//! Verbs against ceilings, in turns.

use super::{Case, Ceilings, Machine, Sizes, Spread};
use crate::error::Result;
use std::time::Instant;

/// A verb's time and work, medians of some turns.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Step {
    /// The verb and its sizes.
    pub step: String,
    /// Of one run.
    pub seconds: Spread,
    /// Additions and multiplications.
    pub operations: f64,
    /// Exponentials.
    pub exps: f64,
    /// What is read or written at least.
    pub bytes: f64,
    /// The least time that the ceilings leave, over the median.
    pub share: f64,
    /// Whether that least time is the one of the bytes.
    #[serde(skip)]
    pub moves: bool,
}

/// Times each case in `rounds` turns of about `turn` seconds, and measures the ceilings before each round; the best of these count.
///
/// # Errors
/// Not enough memory, or the device fails.
pub fn run<M: Machine>(machine: &M, cases: &[Case], sizes: Sizes, rounds: usize, turn: f64) -> Result<(Ceilings, Vec<Step>)> {
    let mut loops = machine.loops(cases, &sizes)?;
    let mut ready = Vec::new();
    for case in cases {
        let mut step = case.prepare(machine, sizes)?;
        step()?;
        machine.finish()?;
        let begin = Instant::now();
        step()?;
        machine.finish()?;
        // The first run warms up, and the second tells how many fill a turn.
        let times = (turn / begin.elapsed().as_secs_f64()).clamp(1.0, 1000.0) as u32;
        ready.push((step, times, Vec::new()));
    }
    machine.ceilings(&mut loops)?;
    let mut best = Ceilings::default();
    for _ in 0..rounds {
        best = best.best(machine.ceilings(&mut loops)?);
        for (step, times, seconds) in &mut ready {
            let begin = Instant::now();
            (0..*times).try_for_each(|_| step())?;
            machine.finish()?;
            seconds.push(begin.elapsed().as_secs_f64() / f64::from(*times));
        }
    }
    let steps = cases.iter().zip(&ready).map(|(case, (_, _, seconds))| {
        let (work, seconds) = (case.work(machine, sizes), Spread::of(seconds));
        let least = machine.least_seconds(case, &work, &best);
        let moves = work.bytes / best.copy >= least;
        Step { step: case.title(sizes), seconds, operations: work.operations(), exps: work.exps, bytes: work.bytes, share: least / seconds.median, moves }
    });
    Ok((best, steps.collect()))
}
