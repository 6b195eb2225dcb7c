//! The `weir` command: parses the line, runs it, tells a failure in one sentence.
#![allow(clippy::print_stderr)] // The last word of a failed command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match tools::run(tools::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("weir: {failure}");
            ExitCode::FAILURE
        }
    }
}
