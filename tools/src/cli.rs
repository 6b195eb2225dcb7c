//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;

/// A Kafka-protocol broker cluster in one binary.
#[derive(Debug, Parser)]
#[command(name = "weir", version, about, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a broker, a controller, or both, as server.properties says
    Server(ServerArgs),
    /// Create, list, describe and delete topics
    Topic(TopicArgs),
    /// Write lines of standard input as records
    Produce(ProduceArgs),
    /// Read records to standard output
    Consume(ConsumeArgs),
}

#[derive(Debug, Args)]
pub struct ServerArgs {
    /// A server.properties file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One setting, over file and environment; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

/// How a cluster is reached and how answers are shown.
#[derive(Clone, Debug, Args)]
pub struct Target {
    /// Brokers to ask first, host:port, separated by commas
    #[arg(short = 'b', long, global = true, env = "WEIR_BOOTSTRAP", default_value = "127.0.0.1:9092")]
    pub bootstrap: String,
    /// How the answer is shown
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Give up after so many seconds
    #[arg(long, global = true, default_value_t = 10, value_name = "SECONDS")]
    pub timeout: u64,
}

#[derive(Debug, Args)]
pub struct TopicArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: TopicCommand,
}

#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Create a topic
    Create {
        name: String,
        /// The broker's default if left out
        #[arg(short, long)]
        partitions: Option<i32>,
        /// The broker's default if left out
        #[arg(short, long)]
        replication_factor: Option<i16>,
        /// A config of the topic, name=value; may be repeated
        #[arg(short, long = "config", value_name = "NAME=VALUE")]
        configs: Vec<String>,
    },
    /// List topics
    List {
        /// Internal ones too
        #[arg(long)]
        internal: bool,
    },
    /// Show the partitions of topics; all of them if none is named
    Describe { names: Vec<String> },
    /// Delete topics
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
    },
}

#[derive(Debug, Args)]
pub struct ProduceArgs {
    #[command(flatten)]
    pub target: Target,
    pub topic: String,
    /// Write to this partition; otherwise by the key's hash, or to all in turn
    #[arg(short, long)]
    pub partition: Option<i32>,
    /// What separates the key from the value in a line
    #[arg(short, long, value_name = "TEXT")]
    pub key_separator: Option<String>,
    /// A header of every record, name=value; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME=VALUE")]
    pub headers: Vec<String>,
    /// none, gzip, snappy, lz4 or zstd
    #[arg(short = 'z', long, default_value = "none")]
    pub compression: String,
    /// all, 1 or 0
    #[arg(long, default_value = "all")]
    pub acks: String,
}

#[derive(Debug, Args)]
pub struct ConsumeArgs {
    #[command(flatten)]
    pub target: Target,
    pub topic: String,
    /// Only this partition; otherwise all
    #[arg(short, long)]
    pub partition: Option<i32>,
    /// earliest, latest, an offset, or @ and milliseconds since 1970
    #[arg(short, long, default_value = "latest")]
    pub from: String,
    /// End after so many records
    #[arg(short = 'n', long, value_name = "COUNT")]
    pub max: Option<u64>,
    /// End where the partitions ended when this began
    #[arg(short = 'e', long)]
    pub exit_at_end: bool,
    /// Do not show records of open and aborted transactions
    #[arg(long)]
    pub read_committed: bool,
}
