//! Compiles `kernels/*.cu` into one fat binary each, for sm_80, sm_90a and, as PTX, for what comes after; the program embeds them.
//!
//! The compiler is `NVCC`, or the `nvcc` of `CUDA_HOME`, of `PATH`, or of `.cuda` (`tools/cuda-toolchain`). Where there is none, the program is built without
//! kernels; with `KERNELS_REQUIRED=1` that is an error. So is a kernel that is to be fast and keeps registers or arrays in memory, or whose products
//! wait for each other.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Kernels whose time is a product's or an exponential's: a register spilled to memory would be paid at every step.
const HOT: &[&str] = &[
    "forest_attention_bf16_64",
    "forest_attention_bf16_96",
    "forest_attention_bf16_128",
    "forest_attention_bf16_192",
    "forest_attention_bf16_256",
    "forest_attention_f16_64",
    "forest_attention_f16_96",
    "forest_attention_f16_128",
    "forest_attention_f16_192",
    "forest_attention_f16_256",
    "forest_attention_bf16_64_90",
    "forest_attention_bf16_96_90",
    "forest_attention_bf16_128_90",
    "forest_attention_bf16_192_90",
    "forest_attention_bf16_256_90",
    "forest_attention_f16_64_90",
    "forest_attention_f16_96_90",
    "forest_attention_f16_128_90",
    "forest_attention_f16_192_90",
    "forest_attention_f16_256_90",
    "linear_bf16",
    "linear_f16",
    "head_segments_bf16",
    "head_segments_f16",
    "linear_bf16_90",
    "linear_f16_90",
    "head_segments_bf16_90",
    "head_segments_f16_90",
    "scan_f32",
    "ssd_gram_bf16",
    "ssd_gram_f16",
    "ssd_chunks_bf16_64",
    "ssd_chunks_bf16_128",
    "ssd_chunks_bf16_256",
    "ssd_chunks_f16_64",
    "ssd_chunks_f16_128",
    "ssd_chunks_f16_256",
    "ceiling_fma",
    "ceiling_exp2",
    "ceiling_mma_bf16",
    "ceiling_mma_f16",
    "ceiling_wide_bf16",
    "ceiling_wide_f16",
];

fn main() {
    for name in ["NVCC", "CUDA_HOME", "KERNELS_REQUIRED"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    // tools/cuda-toolchain touches this file: a path that is not there yet would have this run before every build.
    for path in ["kernels", "build.rs"] {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default());
    let compiler = compiler();
    let required = env::var("KERNELS_REQUIRED").is_ok_and(|v| v == "1");
    if compiler.is_none() {
        if required {
            fail("there is no nvcc, and KERNELS_REQUIRED=1 asks for kernels; tools/cuda-toolchain fetches one");
        }
        println!("cargo::warning=no nvcc was found: built without CUDA kernels (tools/cuda-toolchain fetches one)");
    }
    let mut table = String::from("&[\n");
    for source in sources() {
        let Some(nvcc) = &compiler else { break };
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let binary = out.join(format!("{name}.fatbin"));
        compile(nvcc, &source, &binary);
        table += &format!("    ({name:?}, include_bytes!({:?})),\n", binary.display().to_string());
    }
    let written = fs::write(out.join("kernels.rs"), table + "]\n");
    written.unwrap_or_else(|e| fail(&format!("cannot write the table of kernels: {e}")));
}

fn fail(what: &str) -> ! {
    println!("cargo::error={}", what.replace('\n', "; "));
    std::process::exit(1)
}

fn sources() -> Vec<PathBuf> {
    let mut found: Vec<_> =
        fs::read_dir("kernels").into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "cu")).collect();
    found.sort();
    found
}

/// What the environment names must exist; the rest is looked for.
fn compiler() -> Option<PathBuf> {
    if let Some(named) = env::var_os("NVCC").filter(|v| !v.is_empty()) {
        return Some(PathBuf::from(named));
    }
    let home = env::var_os("CUDA_HOME").map(|home| Path::new(&home).join("bin"));
    let path = env::var_os("PATH").unwrap_or_default();
    let fetched = fs::read_dir(".cuda/lib").into_iter().flatten().flatten().map(|python| python.path().join("site-packages/nvidia/cu13/bin"));
    home.into_iter().chain(env::split_paths(&path)).chain(fetched).map(|folder| folder.join("nvcc")).find(|nvcc| nvcc.is_file())
}

fn compile(nvcc: &Path, source: &Path, binary: &Path) {
    let mut command = Command::new(nvcc);
    // What lies between source and binary is looked at below.
    let kept = binary.with_extension("kept");
    let made = fs::create_dir_all(&kept);
    made.unwrap_or_else(|e| fail(&format!("cannot make {}: {e}", kept.display())));
    command.args(["-fatbin", "-std=c++17", "-O3", "-lineinfo", "--threads", "2", "-Xptxas", "-v", "--keep", "--keep-dir"]).arg(&kept);
    for target in ["arch=compute_80,code=sm_80", "arch=compute_90a,code=sm_90a", "arch=compute_80,code=compute_80"] {
        command.arg("-gencode").arg(target);
    }
    let ran = command.arg("-o").arg(binary).arg(source).output();
    let ran = ran.unwrap_or_else(|e| fail(&format!("cannot run {}: {e}", nvcc.display())));
    let said = String::from_utf8_lossy(&ran.stderr);
    if !ran.status.success() {
        fail(&format!("{} does not compile: {}", source.display(), said.trim()));
    }
    let spilling: Vec<String> = spilling(&said).into_iter().map(|(kernel, target)| format!("{kernel} on {target}")).collect();
    if !spilling.is_empty() {
        fail(&format!("{} keeps registers or arrays in memory: {}", source.display(), spilling.join(", ")));
    }
    let hindered: Vec<&str> = said.lines().filter(|line| line.contains("are serialized") || line.contains("setmaxnreg ignored")).map(str::trim).collect();
    if !hindered.is_empty() {
        fail(&format!("{} holds products that wait for each other, or warpgroups without their registers: {}", source.display(), hindered.join(", ")));
    }
    let plain = plain(&kept);
    if !plain.is_empty() {
        fail(&format!("{} holds no products of warpgroups or no bulk copies for sm_90a in {}", source.display(), plain.join(", ")));
    }
    // They are many megabytes.
    let _ = fs::remove_dir_all(&kept);
}

/// Kernels of sm_90a, by their names, without what they are there for.
fn plain(kept: &Path) -> Vec<String> {
    let files = fs::read_dir(kept).into_iter().flatten().flatten().map(|e| e.path());
    let code: String = files.filter(|p| p.to_string_lossy().ends_with("compute_90a.ptx")).filter_map(|p| fs::read_to_string(p).ok()).collect();
    let entries = code.split(".entry ").skip(1).filter_map(|entry| Some((entry.split('(').next()?.trim(), entry)));
    let of_90 = entries.filter(|(name, _)| name.ends_with("_90"));
    of_90.filter(|(_, entry)| !["wgmma.mma_async", "cp.async.bulk.tensor"].iter().all(|i| entry.contains(i))).map(|(name, _)| name.to_string()).collect()
}

/// Hot kernels of which the assembler says that something of them lies in memory.
fn spilling(said: &str) -> Vec<(&str, &str)> {
    let mut compiling = ("", "");
    let mut found = Vec::new();
    for line in said.lines() {
        if let Some(rest) = line.split("Compiling entry function '").nth(1) {
            let mut quoted = rest.split('\'');
            compiling = (quoted.next().unwrap_or_default(), quoted.nth(1).unwrap_or_default());
        } else if line.contains("bytes stack frame")
            && !line.trim_start().starts_with("0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads")
            && HOT.contains(&compiling.0)
        {
            found.push(compiling);
        }
    }
    found
}
