//! The `weir` command: a server, and a client of any Kafka-protocol cluster.

pub mod advice;
pub mod cli;
pub mod client;
pub mod client_config;
pub mod cluster_state;
pub mod commands;
pub mod moment;
pub mod output;
pub mod patience;
pub mod progress;
pub mod server;
pub mod settings;

use std::io::Write;

use crate::cli::{Command, Target};
use crate::client::Client;
use crate::client_config::ClientConfig;
use crate::commands::{
    broker, cluster, completions, config, consume, controller, group, partition, produce, storage, topic,
};
use crate::output::{Format, Output};

/// Runs a command to its end. The error is one sentence for a person, or several lines of them.
pub fn run(cli: cli::Cli) -> Result<(), String> {
    match cli.command {
        Command::Server(args) => server::run(&args),
        Command::Completions { shell } => {
            completions::write(shell, &mut std::io::stdout().lock());
            Ok(())
        }
        Command::Consume(args) => {
            let config = ClientConfig::of(&args.target)?;
            client::block_on(move |host| Box::new(consume::run(Client::new(host, &config, false), args)))
        }
        Command::Topic(args) => {
            let target = args.target.clone();
            show(&target, false, |client| Box::new(topic::run(client, args.command)))
        }
        Command::Partition(args) => {
            let (target, patience) = args.target.for_waiting();
            show(&target, false, move |client| Box::new(partition::run(client, patience, args.command)))
        }
        Command::Broker(args) => {
            let (target, patience) = args.target.for_waiting();
            show(&target, false, move |client| Box::new(broker::run(client, patience, args.command)))
        }
        Command::Group(args) => {
            let target = args.target.clone();
            show(&target, false, |client| Box::new(group::run(client, args.command)))
        }
        Command::Config(args) => {
            let target = args.target.clone();
            show(&target, false, |client| Box::new(config::run(client, args.command)))
        }
        Command::Cluster(args) => {
            let (target, patience) = args.target.for_waiting();
            show(&target, false, move |client| Box::new(cluster::run(client, patience, args.command)))
        }
        Command::Controller(args) => {
            let target = args.target.clone();
            show(&target, false, |client| Box::new(controller::run(client, args.command)))
        }
        Command::Storage(args) => {
            write(args.format, &client::block_on(move |host| Box::new(storage::run(host, args.command)))?)
        }
        Command::Produce(args) => {
            let target = args.target.clone();
            show(&target, true, |client| Box::new(produce::run(client, args)))
        }
    }
}

type Shown = Box<dyn Future<Output = Result<Output, String>> + Send>;

/// Runs a command that ends with rows, and writes them. With `create`, asking for a topic may create it.
fn show(
    target: &Target,
    create: bool,
    command: impl FnOnce(Client) -> Shown + Send + 'static,
) -> Result<(), String> {
    let config = ClientConfig::of(target)?;
    let output = client::block_on(move |host| command(Client::new(host, &config, create)))?;
    write(target.format, &output)
}

fn write(format: Format, output: &Output) -> Result<(), String> {
    // Nothing is left to say to whoever closed our output.
    let _ = output.write(format, &mut std::io::stdout().lock());
    for note in output.notes() {
        let _ = writeln!(std::io::stderr(), "{note}");
    }
    output.failed()
}
