//! The command line: every command and option.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

mod broker;
mod cluster;
mod config;
mod controller;
mod group;
mod partition;
mod storage;
mod topic;

pub use broker::{BrokerArgs, BrokerCommand};
pub use cluster::{ClusterArgs, ClusterCommand, RollingRestartArgs};
pub use config::{ConfigArgs, ConfigCommand, EntityKind};
pub use controller::{ControllerArgs, ControllerCommand};
pub use group::{GroupArgs, GroupCommand, ResetArgs};
pub use partition::{
    ElectArgs, ElectionType, PartitionArgs, PartitionCommand, PartitionListArgs, ReassignArgs,
};
pub use storage::{FirstControllers, StorageArgs, StorageCommand};
pub use topic::{TopicArgs, TopicCommand};

use crate::output::Format;
use crate::patience::Patience;

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
    /// Create, list, describe, alter and delete topics, and what is in them
    Topic(TopicArgs),
    /// List partitions and what is wrong with them, elect leaders, move replicas
    Partition(PartitionArgs),
    /// List and describe brokers, wait for one, and forget one that is gone
    Broker(BrokerArgs),
    /// List, describe and delete groups, and move their offsets
    Group(GroupArgs),
    /// Show and change configs of topics, brokers, groups and client metrics
    Config(ConfigArgs),
    /// Show brokers, quorum, features and log directories of the cluster; restart its nodes in turn
    Cluster(ClusterArgs),
    /// List, add and remove the controllers that vote
    Controller(ControllerArgs),
    /// Make and show the directories of a node before it runs
    Storage(StorageArgs),
    /// Write lines of standard input as records
    Produce(ProduceArgs),
    /// Read records to standard output
    Consume(ConsumeArgs),
    /// Print a shell's completions of this command; e.g. `source <(weir completions bash)`
    Completions { shell: Shell },
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
    /// Brokers to ask first, host:port, separated by commas; otherwise those of the config file, or 127.0.0.1:9092
    #[arg(
        short = 'b',
        long = "bootstrap-server",
        visible_alias = "bootstrap",
        global = true,
        env = "WEIR_BOOTSTRAP",
        value_name = "HOST:PORT"
    )]
    pub bootstrap: Option<String>,
    /// A properties file as Kafka's tools take it: bootstrap.servers, client.id, request.timeout.ms
    #[arg(long, global = true, env = "WEIR_COMMAND_CONFIG", value_name = "FILE")]
    pub command_config: Option<PathBuf>,
    /// How the answer is shown
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,
    /// Give up after so many seconds; otherwise after the config file's request.timeout.ms, or 10 seconds. What waits for
    /// others' work has 600 seconds
    #[arg(long, global = true, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// Of a command that waits, one request takes so many seconds at most, however long it is to wait.
const REQUEST_SECONDS_MAX: u64 = 60;

impl Target {
    /// For commands that wait for work of others: --timeout limits the waiting, and not only each request.
    pub fn for_waiting(&self) -> (Target, Patience) {
        let asked = self.timeout.map(|seconds| seconds.max(1));
        let timeout = asked.map(|seconds| seconds.min(REQUEST_SECONDS_MAX));
        (Target { timeout, ..self.clone() }, Patience { asked: asked.map(Duration::from_secs) })
    }
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
    /// earliest, latest, an offset, a time (2026-11-24T10:00:00Z), or @ and milliseconds since 1970
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
