//! Options of `weir storage`.

use clap::{Args, Subcommand};

use super::ServerArgs;
use crate::output::Format;

#[derive(Debug, Args)]
pub struct StorageArgs {
    #[command(subcommand)]
    pub command: StorageCommand,
    /// How the answer is shown
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

#[derive(Debug, Subcommand)]
pub enum StorageCommand {
    /// Make the directories of a node that is to belong to a cluster
    Format {
        #[command(flatten)]
        server: ServerArgs,
        /// The same for all nodes of a cluster; `weir storage random-uuid` makes one up
        #[arg(short = 't', long, value_name = "UUID")]
        cluster_id: String,
        /// Leave alone what is formatted already, and format the others
        #[arg(short = 'g', long)]
        ignore_formatted: bool,
    },
    /// Show to whom a node's directories belong
    Info {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make up an id
    RandomUuid,
}
