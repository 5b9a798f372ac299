//! The command line's front door.

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    hilberg::cli::main(hilberg::cli::Cli::parse())
}
