//! Options that mean the same in every subcommand that runs a model, and how a model is opened by them.

use super::budget::Budget;
use super::engine::AnyEngine;
use super::signals::stop_flag;
use crate::backend::cpu::Cpu;
use crate::backend::cuda::{Cuda, Gpu};
use crate::backend::reference::Reference;
use crate::engine::{Engine, Options, Several, Weights};
use crate::error::{Error, OneLine, Result};
use crate::model::{self, Checkpoint, ModelSpec, OpenOptions, StartToken};
use crate::tensor::Dtype;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where products are computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The processor, too, until the kernels have been measured on GPUs.
    Auto,
    /// The processor.
    Cpu,
    /// Plain float64 loops: slow, for checking.
    Float64,
    /// The CUDA devices of these numbers, of which there is one at least; one that is named twice has two engines.
    Cuda(Vec<usize>),
}

impl FromStr for DeviceChoice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let unknown = || format!("`{s}` is none of auto, cpu, float64, cuda, cuda:N and cuda:N,M");
        let numbers = |list: &str| list.split(',').map(|n| n.parse().ok()).collect::<Option<Vec<usize>>>();
        match s {
            "auto" => Ok(DeviceChoice::Auto),
            "cpu" => Ok(DeviceChoice::Cpu),
            "float64" => Ok(DeviceChoice::Float64),
            "cuda" => Ok(DeviceChoice::Cuda(vec![0])),
            _ => s.strip_prefix("cuda:").and_then(numbers).map(DeviceChoice::Cuda).ok_or_else(unknown),
        }
    }
}

/// Operands of products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Precision {
    /// float32.
    F32,
    /// bfloat16.
    Bf16,
    /// IEEE binary16.
    F16,
}

impl Precision {
    /// As the backends name it.
    pub fn dtype(self) -> Dtype {
        match self {
            Precision::F32 => Dtype::F32,
            Precision::Bf16 => Dtype::Bf16,
            Precision::F16 => Dtype::F16,
        }
    }
}

/// The token before every text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartChoice {
    /// What config.json names.
    Auto,
    /// None: nothing predicts a text's first token.
    None,
    /// This id.
    Id(u32),
}

impl FromStr for StartChoice {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "auto" => Ok(StartChoice::Auto),
            "none" => Ok(StartChoice::None),
            _ => s.parse().map(StartChoice::Id).map_err(|_| format!("`{s}` is neither auto, none nor a token id")),
        }
    }
}

/// A number of bytes: `1500M`, `2G`, `1.5GiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub usize);

impl FromStr for Bytes {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let digits = s.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(s.len());
        let unit = match s[digits..].trim().to_ascii_lowercase().trim_end_matches("ib").trim_end_matches('b') {
            "" => 1.0,
            "k" => 1024.0,
            "m" => 1_048_576.0,
            "g" => 1_073_741_824.0,
            "t" => 1_099_511_627_776.0,
            _ => return Err(format!("`{s}` is not a size; write 500M or 2G")),
        };
        let n: f64 = s[..digits].parse().map_err(|_| format!("`{s}` is not a size; write 500M or 2G"))?;
        let bytes = n * unit;
        if bytes < 1.0 || bytes > usize::MAX as f64 / 2.0 {
            return Err(format!("`{s}` is not a size that memory can have"));
        }
        Ok(Bytes(bytes as usize))
    }
}

/// Whether weights stay packed, as the option spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum WeightsChoice {
    /// Keep them where they fit beside a wave, stream them where not
    Auto,
    /// Keep them; an error where they do not fit
    Resident,
    /// Pack them anew from the mapped file for each wave
    Stream,
}

/// How a model is opened and run.
#[derive(Clone, Debug, clap::Args)]
pub struct ModelArgs {
    /// Where to compute: auto or cpu (the processor), cuda or cuda:N (a GPU), cuda:N,M (several of a kind, each on texts of its own), float64 (plain loops, slow,
    /// for checking)
    #[arg(long, default_value = "auto", value_name = "DEVICE", help_heading = "Model and machine")]
    pub device: DeviceChoice,
    /// Operands of products; sums and residuals are float32 in any case
    #[arg(long, value_enum, default_value = "f32", help_heading = "Model and machine")]
    pub precision: Precision,
    /// Bound on what is allocated, mapped files apart: 500M, 2G; 24 MiB are the program's, three quarters of the rest the engine's; on GPUs a bound for each of them [default: four fifths of what is free]
    #[arg(long, value_name = "SIZE", help_heading = "Model and machine")]
    pub memory: Option<Bytes>,
    /// Whether weights stay in memory; the results are the same
    #[arg(long, value_enum, default_value = "auto", help_heading = "Model and machine")]
    pub weights: WeightsChoice,
    /// Threads [default: one a core]
    #[arg(long, value_name = "N", help_heading = "Model and machine", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Start token: auto (as config.json names it), none, or an id
    #[arg(long, default_value = "auto", value_name = "auto|none|ID", help_heading = "Model and machine")]
    pub start: StartChoice,
    /// A key of config.json that may stay unread (repeatable)
    #[arg(long, value_name = "KEY", help_heading = "Model and machine")]
    pub accept_key: Vec<String>,
    /// Text length for rope scalings that depend on it
    #[arg(long, value_name = "N", help_heading = "Model and machine")]
    pub rope_length: Option<usize>,
    /// Most rows (tokens fed) of a wave [default: by memory and speed]
    #[arg(long, value_name = "N", help_heading = "Model and machine", value_parser = clap::value_parser!(u32).range(1..))]
    pub wave_rows: Option<u32>,
}

impl ModelArgs {
    /// How a model folder is opened.
    pub fn opening(&self) -> OpenOptions {
        OpenOptions { accept_keys: self.accept_key.clone(), rope_length: self.rope_length }
    }

    /// How an engine runs that has so much memory, in bytes.
    pub fn engine(&self, memory: usize) -> Options {
        let weights = match self.weights {
            WeightsChoice::Auto => Weights::Auto,
            WeightsChoice::Resident => Weights::Resident,
            WeightsChoice::Stream => Weights::Stream,
        };
        Options { memory: Some(memory), weights, wave_rows: self.wave_rows.map(|n| n as usize), stop: Some(stop_flag()) }
    }
}

/// A model, opened and checked.
pub struct OpenModel {
    /// Its folder as given.
    pub folder: PathBuf,
    /// The folder's last name, for tables and files.
    pub name: String,
    /// The engine.
    pub engine: AnyEngine,
    /// The token before every text, if any.
    pub start: Option<StartToken>,
}

/// Opens a model folder: config, tensors, finite weights, start token, device.
///
/// # Errors
/// Whatever is wrong with the folder or the options, as one sentence.
pub fn open_model(args: &ModelArgs, folder: &Path) -> Result<OpenModel> {
    let (spec, checkpoint) = model::open(folder, &args.opening())?;
    checkpoint.check_finite(&spec)?;
    let start = match args.start {
        StartChoice::None => None,
        StartChoice::Id(id) => Some(StartToken { id, source: "--start".into() }),
        StartChoice::Auto => Some(spec.start.clone().ok_or_else(|| {
            Error::file(folder.join("config.json"), "names neither bos_token_id nor eos_token_id; say --start ID (or --start none where that is allowed)")
        })?),
    };
    if let Some(s) = &start
        && s.id as usize >= spec.vocab
    {
        let what = format!("the start token {} ({}) lies outside the model's vocabulary of {}; say --start ID", s.id, s.source, spec.vocab);
        return Err(if matches!(args.start, StartChoice::Id(_)) { Error::input(what) } else { Error::file(folder.join("config.json"), what) });
    }
    let engine = open_engine(args, folder, (spec, checkpoint))?;
    let name =
        folder.file_name().or_else(|| folder.parent().and_then(Path::file_name)).map_or_else(|| "model".into(), |n| OneLine(n.to_string_lossy()).to_string());
    Ok(OpenModel { folder: folder.to_path_buf(), name, engine, start })
}

/// The engine that the options ask for, of a model that was opened.
///
/// # Errors
/// No such device or precision, not enough memory or threads; several devices that differ.
pub fn open_engine(args: &ModelArgs, folder: &Path, (spec, checkpoint): (ModelSpec, Checkpoint)) -> Result<AnyEngine> {
    if args.precision != Precision::F32 && args.device == DeviceChoice::Float64 {
        return Err(Error::input("--device float64 has no other precision; leave --precision out"));
    }
    let options = args.engine(Budget::of(args.memory).engine());
    let threads = args.threads.map(usize::from);
    Ok(match &args.device {
        DeviceChoice::Auto | DeviceChoice::Cpu => AnyEngine::Cpu(Engine::new(processor(args.precision, threads)?, spec, checkpoint, options)?),
        DeviceChoice::Float64 => AnyEngine::Float64(Engine::new(Reference, spec, checkpoint, options)?),
        DeviceChoice::Cuda(numbers) => {
            let mut engines = vec![on_gpu(args, numbers, numbers[0], (spec, checkpoint))?];
            for &n in &numbers[1..] {
                // Each maps the files on its own, and gives pages back when it has packed them.
                engines.push(on_gpu(args, numbers, n, model::open(folder, &args.opening())?)?);
            }
            AnyEngine::Cuda(Several::of(engines)?)
        }
    })
}

/// An engine on the GPU of number `n`, whose memory those of `numbers` that are the same share.
fn on_gpu(args: &ModelArgs, numbers: &[usize], n: usize, (spec, checkpoint): (ModelSpec, Checkpoint)) -> Result<Engine<Cuda<Gpu>>> {
    let gpu = Gpu::open(n)?;
    let memory = args.memory.map_or(gpu.free_memory()? / 5 * 4, |m| m.0) / numbers.iter().filter(|&&m| m == n).count();
    Engine::new(Cuda::on(gpu, args.precision.dtype()), spec, checkpoint, args.engine(memory))
}

/// The processor, computing as asked.
///
/// # Errors
/// A precision that it has no products for; threads that cannot be started.
pub fn processor(precision: Precision, threads: Option<usize>) -> Result<Cpu> {
    match precision {
        Precision::F32 => Cpu::new(threads),
        Precision::Bf16 => Cpu::bf16(threads),
        Precision::F16 => Err(Error::input("the processor has no f16 products; --precision is f32 or bf16 there")),
    }
}
