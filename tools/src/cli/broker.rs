//! Options of `weir broker`.

use clap::{Args, Subcommand};

use super::Target;

#[derive(Debug, Args)]
pub struct BrokerArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: BrokerCommand,
}

#[derive(Debug, Subcommand)]
pub enum BrokerCommand {
    /// List the registered brokers: what each leads and holds, and what of it is not in sync
    List,
    /// Show one broker, its features and its log directories
    Describe { id: i32 },
    /// Take a broker that will not come back out of the cluster's books
    Unregister {
        id: i32,
        /// Although it is alive, or partitions still have replicas on it
        #[arg(long)]
        force: bool,
    },
    /// Wait until a broker is registered, not fenced, and in sync for every replica that it has
    Wait { id: i32 },
}
