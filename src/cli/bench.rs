//! `hilberg bench`: what this machine can do, and how near the verbs come to it.

use super::options::{Precision, processor};
use super::{say, say_json};
use crate::backend::Backend;
use crate::bench::ceilings::{Ceilings, Product};
use crate::bench::{Spread, verbs};
use crate::error::Result;
use crate::model::{self, OpenOptions};
use std::path::PathBuf;
use std::time::Instant;

/// A verb runs about this long before the next one has its turn.
const TURN: f64 = 0.05;

/// What this machine can do, and each step's share of it
///
/// Ceilings: float32 multiply-adds in registers; the program's own product of packed weights; exponentials; a copy of 12 MB. A step's share is the
/// least time that its operations (at the rate of multiply-adds) and exponentials take, or its bytes (at the rate of the copy) if that is longer,
/// divided by the time that it took. Products of bfloat16, where they are faster than float32 multiply-adds, are held against the best of them. Steps are timed in turns, so that a disturbance hits all alike.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// Model folder whose sizes to take [default: sizes of Llama 12 × 768, Mamba-130m and Mamba-2 370m]; its weights are not read
    #[arg(short, long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// Operands of products
    #[arg(long, value_enum, default_value = "f32")]
    precision: Precision,
    /// How many turns every step has
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// A key of config.json that may stay unread (repeatable)
    #[arg(long, value_name = "KEY")]
    accept_key: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Report {
    backend: String,
    threads: usize,
    rounds: u16,
    block_rows: usize,
    /// The best of all rounds.
    ceilings: Ceilings,
    steps: Vec<Step>,
}

#[derive(serde::Serialize)]
struct Step {
    step: String,
    seconds: Spread,
    operations: f64,
    exps: f64,
    bytes: f64,
    share: f64,
}

/// Runs it.
///
/// # Errors
/// A model folder that cannot be read, not enough memory or threads, standard output that cannot be written.
pub fn run(args: &BenchArgs) -> Result<()> {
    let cases = match &args.model {
        Some(folder) => verbs::of(&model::open(folder, &OpenOptions { accept_keys: args.accept_key.clone(), rope_length: None })?.0),
        None => verbs::typical(),
    };
    let cpu = processor(args.precision, args.threads.map(usize::from))?;
    let mut products = verbs::products(&cases).into_iter().map(|(k, n)| Product::new(&cpu, k, n)).collect::<Result<Vec<_>>>()?;
    let mut ready = Vec::new();
    for case in &cases {
        let mut step = case.prepare(&cpu)?;
        let begin = Instant::now();
        step()?;
        // The first run warms up, and tells how many fill a turn.
        let times = (TURN / begin.elapsed().as_secs_f64()).clamp(1.0, 1000.0) as u32;
        ready.push((step, times, Vec::new()));
    }
    Ceilings::measure(&cpu, &mut products)?;
    let mut best = Ceilings::default();
    for _ in 0..args.rounds {
        best = best.best(Ceilings::measure(&cpu, &mut products)?);
        for (step, times, seconds) in &mut ready {
            let begin = Instant::now();
            for _ in 0..*times {
                step()?;
            }
            seconds.push(begin.elapsed().as_secs_f64() / *times as f64);
        }
    }
    let steps = cases.iter().zip(&ready).map(|(case, (_, _, seconds))| {
        let (work, seconds) = (case.work(cpu.block_rows()), Spread::of(seconds));
        let share = work.least_seconds(&best) / seconds.median;
        Step { step: case.to_string(), seconds, operations: work.operations(), exps: work.exps, bytes: work.bytes, share }
    });
    let report =
        Report { backend: cpu.name(), threads: cpu.threads(), rounds: args.rounds, block_rows: cpu.block_rows(), ceilings: best, steps: steps.collect() };
    if args.json { say_json(&report) } else { report.print() }
}

impl Report {
    fn print(&self) -> Result<()> {
        let c = &self.ceilings;
        say(&format!("{}, {} threads, blocks of {} rows; best of {} rounds\n", self.backend, self.threads, self.block_rows, self.rounds))?;
        for (name, rate, unit) in
            [("multiply-adds", c.fma, "Gop/s"), ("product", c.product, "Gop/s"), ("exponentials", c.exp, "G/s"), ("copy, read + written", c.copy, "GB/s")]
        {
            say(&format!("  {name:<22} {:>8.1} {unit}", rate / 1e9))?;
        }
        let wide = self.steps.iter().map(|s| s.step.chars().count()).max().unwrap_or(0);
        say(&format!("\n  {:<wide$}  {:>9}  {:>17}  {:>12}  share", "step", "ms", "least … largest", "speed"))?;
        for s in &self.steps {
            // What takes longer at its ceiling is what the speed is told in.
            let speed = if s.operations + s.exps > 0.0 && s.operations / c.fma + s.exps / c.exp >= s.bytes / c.copy {
                let (amount, unit) = if s.operations > 0.0 { (s.operations, "Gop/s") } else { (s.exps, "Gexp/s") };
                format!("{:.1} {unit}", amount / s.seconds.median / 1e9)
            } else {
                format!("{:.1} GB/s", s.bytes / s.seconds.median / 1e9)
            };
            let ms = |t: f64| format!("{:.3}", 1e3 * t);
            let range = format!("{} … {}", ms(s.seconds.least), ms(s.seconds.largest));
            say(&format!("  {:<wide$}  {:>9}  {range:>17}  {speed:>12}  {:>4.0}%", s.step, ms(s.seconds.median), 100.0 * s.share))?;
        }
        Ok(())
    }
}
