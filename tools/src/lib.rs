//! The `weir` command: a server, and a client of any Kafka-protocol cluster.

pub mod cli;
pub mod cluster;
pub mod consume;
pub mod output;
pub mod produce;
pub mod server;
pub mod settings;
pub mod topic;

use crate::cli::Command;
use crate::cluster::Cluster;

/// Runs a command to its end. The error is one sentence for a person.
pub fn run(cli: cli::Cli) -> Result<(), String> {
    let shown = match cli.command {
        Command::Server(args) => return server::run(&args),
        Command::Consume(args) => {
            return cluster::block_on(|host| {
                Box::new(consume::run(Cluster::new(host, &args.target, false), args))
            });
        }
        Command::Topic(args) => {
            let format = args.target.format;
            (
                cluster::block_on(|host| {
                    Box::new(topic::run(Cluster::new(host, &args.target, false), args))
                })?,
                format,
            )
        }
        Command::Produce(args) => {
            let format = args.target.format;
            (
                cluster::block_on(|host| {
                    Box::new(produce::run(Cluster::new(host, &args.target, true), args))
                })?,
                format,
            )
        }
    };
    let (output, format) = shown;
    // Nothing is left to say to whoever closed our output.
    let _ = output.write(format, &mut std::io::stdout().lock());
    Ok(())
}
