//! Options of `weir controller`.

use clap::{Args, Subcommand};

use super::Target;

#[derive(Debug, Args)]
pub struct ControllerArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: ControllerCommand,
}

#[derive(Debug, Subcommand)]
pub enum ControllerCommand {
    /// Show who votes in the quorum, and who could
    List,
    /// Let a controller vote that observes until now
    Add {
        /// Its node id
        #[arg(value_name = "NODE_ID")]
        id: i32,
        /// Its directory id, as `weir storage info` shows it; otherwise that of the observer with this node id
        #[arg(long, value_name = "UUID")]
        directory_id: Option<String>,
        /// Where its controller listener is; otherwise where the observer says it is
        #[arg(long, value_name = "HOST:PORT")]
        address: Option<String>,
        /// Do not wait until the others have agreed
        #[arg(long)]
        no_wait: bool,
    },
    /// Take the vote from a controller; it goes on as an observer if it is alive
    Remove {
        /// Its node id
        #[arg(value_name = "NODE_ID")]
        id: i32,
        /// Its directory id; otherwise that of the voter with this node id
        #[arg(long, value_name = "UUID")]
        directory_id: Option<String>,
    },
}
