//! The `weir` command: parses the line, runs it, tells a failure in one sentence.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match tools::run(tools::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // The last word of a failed command; nothing is left to do if nobody hears it.
            let _ = writeln!(std::io::stderr(), "weir: {failure}");
            ExitCode::FAILURE
        }
    }
}
