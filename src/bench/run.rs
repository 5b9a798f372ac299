//! Verbs against ceilings, in turns.

use super::{Case, Ceilings, Machine, Prepared, Sizes, Spread};
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
    /// The product alone by the machine's own library, where the step is one and there is a library.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library: Option<Library>,
    /// Whether that least time is the one of the bytes.
    #[serde(skip)]
    pub moves: bool,
}

/// What the machine's own library takes for a step's product.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(untagged)]
pub enum Library {
    /// It was timed in the same turns.
    Timed {
        /// Of one run.
        seconds: Spread,
        /// Its median over the step's.
        share: f64,
    },
    /// It was not.
    Absent {
        /// Why, in a line.
        absent: String,
    },
}

/// Something that is timed in turns.
struct Timed<'c> {
    run: Prepared<'c>,
    /// Runs of a turn.
    times: u32,
    /// A run's, of each turn.
    seconds: Vec<f64>,
}

impl<'c> Timed<'c> {
    /// The first run warms up, and the second tells how many fill a turn.
    fn new<M: Machine>(machine: &M, mut run: Prepared<'c>, turn: f64) -> Result<Self> {
        run()?;
        machine.finish()?;
        let begin = Instant::now();
        run()?;
        machine.finish()?;
        let times = (turn / begin.elapsed().as_secs_f64()).clamp(1.0, 1000.0) as u32;
        Ok(Timed { run, times, seconds: Vec::new() })
    }

    fn turn<M: Machine>(&mut self, machine: &M) -> Result<()> {
        let begin = Instant::now();
        (0..self.times).try_for_each(|_| (self.run)())?;
        machine.finish()?;
        self.seconds.push(begin.elapsed().as_secs_f64() / f64::from(self.times));
        Ok(())
    }
}

/// Times each case in `rounds` turns of about `turn` seconds, and measures the ceilings before each round; the best of these count.
///
/// # Errors
/// Not enough memory, or the device fails.
pub fn run<M: Machine>(machine: &M, cases: &[Case], sizes: Sizes, rounds: usize, turn: f64) -> Result<(Ceilings, Vec<Step>)> {
    let mut loops = machine.loops(cases, &sizes)?;
    let library = matches!(machine.library(), Some(Ok(_)));
    let mut ready = Vec::new();
    for case in cases {
        let step = Timed::new(machine, case.prepare(machine, sizes)?, turn)?;
        // What the library cannot do is no reason not to time the rest.
        let product = || machine.library_product(case, sizes)?.map(|run| Timed::new(machine, run, turn)).transpose();
        let product = if library { product().transpose().map(|made| made.map_err(|why| why.to_string())) } else { None };
        ready.push((step, product));
    }
    machine.ceilings(&mut loops)?;
    let mut best = Ceilings::default();
    for _ in 0..rounds {
        best = best.best(machine.ceilings(&mut loops)?);
        for (step, product) in &mut ready {
            step.turn(machine)?;
            if let Some(Ok(product)) = product {
                product.turn(machine)?;
            }
        }
    }
    let steps = cases.iter().zip(&ready).map(|(case, (step, product))| {
        let (work, seconds) = (case.work(machine, sizes), Spread::of(&step.seconds));
        let least = machine.least_seconds(case, &work, &best);
        let library = product.as_ref().map(|product| match product {
            Ok(product) => {
                let library = Spread::of(&product.seconds);
                Library::Timed { seconds: library, share: library.median / seconds.median }
            }
            Err(why) => Library::Absent { absent: why.clone() },
        });
        Step {
            step: case.title(sizes),
            seconds,
            operations: work.operations(),
            exps: work.exps,
            bytes: work.bytes,
            share: least / seconds.median,
            library,
            moves: work.bytes / best.copy >= least,
        }
    });
    Ok((best, steps.collect()))
}
