//! `weir completions`: what a shell needs to complete a command line of ours.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

/// The script, to be sourced by the shell.
pub fn write(shell: Shell, out: &mut dyn Write) {
    clap_complete::generate(shell, &mut crate::cli::Cli::command(), "weir", &mut &mut *out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_completes_commands_and_options() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            write(shell, &mut script);
            let script = String::from_utf8(script).expect("text");
            for word in ["reset-offsets", "dump-metadata", "bootstrap-server", "to-datetime"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
