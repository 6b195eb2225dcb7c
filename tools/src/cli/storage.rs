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

/// Who founds a quorum whose voters live in its log: for controllers without `controller.quorum.voters`.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub struct FirstControllers {
    /// This controller alone; others are added later
    #[arg(short = 's', long)]
    pub standalone: bool,
    /// These controllers, the same list on each of them
    #[arg(short = 'I', long, value_name = "ID@HOST:PORT:DIRECTORY_ID,...")]
    pub initial_controllers: Option<String>,
    /// Somebody else: this one observes, and can be added
    #[arg(short = 'N', long)]
    pub no_initial_controllers: bool,
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
        #[command(flatten)]
        first: FirstControllers,
    },
    /// Show to whom a node's directories belong
    Info {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Make up an id
    RandomUuid,
}
