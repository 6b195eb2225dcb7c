//! Options of `weir topic`.

use clap::{Args, Subcommand};

use super::Target;

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
    Describe {
        names: Vec<String>,
        /// Only partitions with a replica that is not in sync
        #[arg(long)]
        under_replicated: bool,
        /// Only partitions without a leader
        #[arg(long)]
        unavailable: bool,
    },
    /// Give a topic more partitions
    Alter {
        name: String,
        /// How many it shall have; never fewer than now
        #[arg(short, long)]
        partitions: i32,
    },
    /// Delete topics
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Delete the records of a topic before an offset
    DeleteRecords {
        name: String,
        /// The first offset that stays, or `latest`: nothing stays
        #[arg(long, value_name = "OFFSET")]
        before: String,
        /// Only in this partition; may be repeated; otherwise in all
        #[arg(short, long = "partition")]
        partitions: Vec<i32>,
    },
    /// Show where the partitions of topics begin and end
    Offsets {
        #[arg(required = true)]
        names: Vec<String>,
        /// The offset at this place too: earliest, latest, max-timestamp, a time (2026-11-24T10:00:00Z), or @ and
        /// milliseconds since 1970
        #[arg(long, value_name = "WHEN")]
        at: Option<String>,
    },
}
