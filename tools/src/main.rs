//! The `weir` command: parses the line, runs it, tells a failure in one sentence.

use std::io::Write;

use clap::Parser;

fn main() {
    let failure = tools::run(tools::cli::Cli::parse()).err();
    if let Some(failure) = &failure {
        // The last word of a failed command; nothing is left to do if nobody hears it.
        let _ = writeln!(std::io::stderr(), "weir: {failure}");
    }
    let _ = std::io::stdout().flush();
    // Not by a return: a thread that a sick disk holds inside RocksDB would meet its destroyed globals, and abort.
    host::real::exit_at_once(i32::from(failure.is_some()))
}
