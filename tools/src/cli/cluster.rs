//! Options of `weir cluster`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Target;

#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Show the cluster's id, its controller and its brokers
    Describe,
    /// Show the controllers: who leads, and how far each has come
    Quorum,
    /// Show the feature levels, finalized and supported
    Features,
    /// Show the log directories of brokers
    LogDirs {
        /// Only of this broker; may be repeated
        #[arg(long = "broker", value_name = "ID")]
        brokers: Vec<i32>,
        /// Every partition in them, instead of their sums
        #[arg(long)]
        partitions: bool,
        /// Only partitions of this topic; may be repeated
        #[arg(short, long = "topic", value_name = "TOPIC", requires = "partitions")]
        topics: Vec<String>,
    },
    /// Restart the nodes one after the other, each when nothing is endangered by it, the next when it is back and in sync
    RollingRestart(RollingRestartArgs),
    /// Write the metadata log as Kafka's files, for `kafka-dump-log --cluster-metadata-decoder`
    DumpMetadata {
        /// The directory to write to; made if need be
        directory: PathBuf,
        /// The active controller; otherwise the brokers are asked who it is
        #[arg(long, value_name = "HOST:PORT")]
        controller: Option<String>,
    },
}

#[derive(Debug, Args)]
pub struct RollingRestartArgs {
    /// What restarts a node, for a shell; {id}, {host} and {port} are the node's. Without it you restart each node when told
    #[arg(short, long, value_name = "WORDS")]
    pub command: Option<String>,
    /// Only this node; may be repeated; the order stays ours
    #[arg(long = "node", value_name = "ID")]
    pub nodes: Vec<i32>,
    /// How long a node is back before the next one goes, so that clients have come back to it
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    pub pause: u64,
    /// Only show the order, and what stands against it
    #[arg(long)]
    pub dry_run: bool,
    /// Although partitions fall below min.insync.replicas, or lose their leader, while a node is away
    #[arg(long)]
    pub force: bool,
}
