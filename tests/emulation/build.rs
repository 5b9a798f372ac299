//! Compiles the emulator, and the kernels as C++ with every access instrumented.

use std::path::PathBuf;

fn sources(folder: &str, ending: &str) -> Vec<PathBuf> {
    println!("cargo::rerun-if-changed={folder}");
    let mut found: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == ending)).collect();
    found.sort();
    found
}

fn main() {
    let mut common = cc::Build::new();
    common.cpp(true).std("c++17").opt_level(2).debug(false).include("cpp").flag("-ffp-contract=off");
    common.clone().files(sources("cpp", "cpp")).compile("emulator");
    let kernels = [sources("planted", "cu"), sources("../../kernels", "cu")].concat();
    println!("cargo::rerun-if-changed=../../kernels");
    let mut build = common.clone();
    // Kernels make themselves known by constructors, to which nothing refers by name.
    build.include("../../kernels").files(kernels).flag("-x").flag("c++").flag("-include").flag("cuda.h").flag("-fsanitize=thread").link_lib_modifier("+whole-archive");
    build.flag_if_supported("-Wno-unknown-pragmas").compile("emulated_kernels");
    println!("cargo::rustc-link-lib=pthread");
}
