//! `hilberg bench`: what this machine can do, and how near the verbs come to it.

use super::options::{DeviceChoice, Precision, processor};
use super::{say, say_json};
use crate::backend::cuda::{Cuda, Gpu};
use crate::bench::run::{Library, Step};
use crate::bench::{self, Case, Ceilings, Machine, verbs};
use crate::error::{Error, Result};
use crate::model::{self, OpenOptions};
use std::path::PathBuf;

/// A verb runs about this long before the next one has its turn.
const TURN: f64 = 0.05;

/// What this machine can do, and each step's share of it
///
/// Ceilings: float32 multiply-adds in registers; the program's own product of packed weights; exponentials; a copy of 12 MB. A step's share is the
/// least time that its operations (at the rate of multiply-adds) and exponentials take, or its bytes (at the rate of the copy) if that is longer,
/// divided by the time that it took. Products of bfloat16, where they are faster than float32 multiply-adds, are held against the best of them. Steps
/// are timed in turns, so that a disturbance hits all alike.
///
/// On a GPU, multiply-adds, products of 16 bits by tensor cores and exponentials are loops in registers, and the copy is one of 256 MiB. All of these work
/// at the same time, so that a step's least time is that of the slowest. Where NVIDIA's cuBLASLt is installed, it multiplies the matrices of products and of
/// the head in the same turns; "library" is its time over the step's.
#[derive(clap::Args, Debug)]
pub struct BenchArgs {
    /// Model folder whose sizes to take [default: sizes of Llama 12 × 768, Mamba-130m and Mamba-2 370m]; its weights are not read
    #[arg(short, long, value_name = "MODEL")]
    model: Option<PathBuf>,
    /// What to measure: auto or cpu (the processor), cuda or cuda:N (a GPU)
    #[arg(long, default_value = "auto", value_name = "DEVICE")]
    device: DeviceChoice,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    threads: Option<usize>,
    rounds: u16,
    block_rows: usize,
    /// What products and the head are held against besides.
    #[serde(skip_serializing_if = "Option::is_none")]
    library: Option<String>,
    /// Why they are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_library: Option<String>,
    /// The best of all rounds.
    ceilings: Ceilings,
    steps: Vec<Step>,
}

/// Runs it.
///
/// # Errors
/// A model folder that cannot be read, a device that cannot be measured, not enough memory or threads, standard output that cannot be written.
pub fn run(args: &BenchArgs) -> Result<()> {
    let cases = match &args.model {
        Some(folder) => verbs::of(&model::open(folder, &OpenOptions { accept_keys: args.accept_key.clone(), rope_length: None })?.0),
        None => verbs::typical(),
    };
    match &args.device {
        DeviceChoice::Auto | DeviceChoice::Cpu => {
            let cpu = processor(args.precision, args.threads.map(usize::from))?;
            measure(&cpu, Some(cpu.threads()), &cases, args)
        }
        DeviceChoice::Cuda(numbers) => match numbers[..] {
            [n] => measure(&Cuda::on(Gpu::open(n)?, args.precision.dtype()), None, &cases, args),
            _ => Err(Error::input("bench measures one device; name one of them")),
        },
        DeviceChoice::Float64 => Err(Error::input("--device float64 is for checking, and has no ceilings; bench measures cpu and cuda")),
    }
}

fn measure<M: Machine>(machine: &M, threads: Option<usize>, cases: &[Case], args: &BenchArgs) -> Result<()> {
    let sizes = machine.sizes();
    let (ceilings, steps) = bench::run::run(machine, cases, sizes, args.rounds.into(), TURN)?;
    let (library, no_library) = machine.library().map_or((None, None), |told| (told.clone().ok(), told.err()));
    let report = Report { backend: machine.name(), threads, rounds: args.rounds, block_rows: sizes.block, library, no_library, ceilings, steps };
    if args.json { say_json(&report) } else { report.print() }
}

impl Report {
    fn print(&self) -> Result<()> {
        let c = &self.ceilings;
        let threads = self.threads.map_or(String::new(), |n| format!("{n} threads, "));
        say(&format!("{}, {threads}blocks of {} rows; best of {} rounds\n", self.backend, self.block_rows, self.rounds))?;
        for (name, rate, unit) in
            [("multiply-adds", c.fma, "Gop/s"), ("product", c.product, "Gop/s"), ("exponentials", c.exp, "G/s"), ("copy, read + written", c.copy, "GB/s")]
        {
            say(&format!("  {name:<22} {:>8.1} {unit}", rate / 1e9))?;
        }
        if let Some(why) = &self.no_library {
            say(&format!("  no library's products: {why}"))?;
        }
        if let Some(which) = &self.library {
            say(&format!("  library: {which}"))?;
        }
        let wide = self.steps.iter().map(|s| s.step.chars().count()).max().unwrap_or(0);
        let title = format!("\n  {:<wide$}  {:>9}  {:>17}  {:>8}  {:>8}  {:>12}  share", "step", "ms", "least … largest", "Gop", "MB", "speed");
        say(&(title + if self.library.is_some() { "  library" } else { "" }))?;
        for s in &self.steps {
            // What takes longer at its ceiling is what the speed is told in.
            let (amount, unit) = match (s.moves, s.operations > 0.0) {
                (true, _) => (s.bytes, "GB/s"),
                (false, true) => (s.operations, "Gop/s"),
                (false, false) => (s.exps, "Gexp/s"),
            };
            let speed = format!("{:.1} {unit}", amount / s.seconds.median / 1e9);
            let ms = |t: f64| format!("{:.3}", 1e3 * t);
            let range = format!("{} … {}", ms(s.seconds.least), ms(s.seconds.largest));
            let (operations, bytes) = (s.operations / 1e9, s.bytes / 1e6);
            let library = match &s.library {
                Some(Library::Timed { share, .. }) => format!("  {:>6.0}%", 100.0 * share),
                Some(Library::Absent { absent }) => format!("  {absent}"),
                None => String::new(),
            };
            say(&format!(
                "  {:<wide$}  {:>9}  {range:>17}  {operations:>8.2}  {bytes:>8.1}  {speed:>12}  {:>4.0}%{library}",
                s.step,
                ms(s.seconds.median),
                100.0 * s.share
            ))?;
        }
        Ok(())
    }
}
