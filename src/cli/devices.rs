//! `hilberg devices`: what this machine can compute on.

use super::{say, say_json};
use crate::backend::cpu::{Isa, Products};
use crate::backend::cuda;
use crate::error::Result;

/// What there is to compute on, and why not more
///
/// Several GPUs of a kind work on one measurement or scoring with --device cuda:0,1: each on texts of its own, with the results of one.
#[derive(clap::Args, Debug)]
pub struct DevicesArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(serde::Serialize)]
struct Device {
    device: String,
    available: bool,
    what: String,
}

/// Runs it.
///
/// # Errors
/// Standard output cannot be written.
pub fn run(args: &DevicesArgs) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let paths: Vec<String> = Isa::available().iter().map(Isa::to_string).collect();
    let bf16 = match Products::available(Isa::detect())[..] {
        [_, .., Products::Bf16Amx] => "--precision bf16 by AMX tiles",
        [_, .., Products::Bf16Dot] => "--precision bf16 by AVX512_BF16",
        _ => "no bf16 products",
    };
    let devices: Vec<Device> = [
        Device { device: "cpu".into(), available: true, what: format!("{cores} cores; instruction paths {} (the first is used); {bf16}", paths.join(", ")) },
        Device { device: "float64".into(), available: true, what: "plain float64 loops on one core: slow, for checking".into() },
    ]
    .into_iter()
    .chain(cuda())
    .collect();
    if args.json {
        return say_json(&devices);
    }
    for d in &devices {
        say(&format!("{:<8} {:<4} {}", d.device, if d.available { "yes" } else { "no" }, d.what))?;
    }
    together(&devices).map_or(Ok(()), |told| say(&told))
}

/// How GPUs are used together, where there are several.
fn together(devices: &[Device]) -> Option<String> {
    let numbers: Vec<&str> = devices.iter().filter(|d| d.available).filter_map(|d| d.device.strip_prefix("cuda:")).collect();
    (numbers.len() > 1).then(|| format!("together: --device cuda:{}, those of one sm_", numbers.join(",")))
}

/// The GPUs, or why there is none.
fn cuda() -> Vec<Device> {
    let found = match cuda::devices() {
        Ok(found) => found,
        Err(why) => return vec![Device { device: "cuda".into(), available: false, what: why.to_string() }],
    };
    let one = |f: &cuda::Found| {
        let (major, minor) = f.capability;
        let what = format!("{}, sm_{major}{minor}, {} multiprocessors, {} GiB", f.name, f.multiprocessors, f.memory >> 30);
        let old = if f.is_enough() { "" } else { "; the kernels ask for sm_80 or later" };
        Device { device: format!("cuda:{}", f.ordinal), available: f.is_enough(), what: what + old }
    };
    found.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_gpus_are_named_together() {
        let device = |device: &str, available| Device { device: device.into(), available, what: String::new() };
        let all = [device("cpu", true), device("cuda:0", true), device("cuda:1", false), device("cuda:2", true)];
        assert_eq!(together(&all).unwrap(), "together: --device cuda:0,2, those of one sm_");
        assert_eq!((together(&all[..3]), together(&[device("cuda", false)])), (None, None));
    }
}
