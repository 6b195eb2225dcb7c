//! Options of `weir config`.

use clap::{Args, Subcommand, ValueEnum};

use super::Target;

#[derive(Debug, Args)]
pub struct ConfigArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What has configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EntityKind {
    #[value(alias = "topics")]
    Topic,
    /// Named by its id, or `default` for what holds for all brokers
    #[value(alias = "brokers")]
    Broker,
    #[value(alias = "groups")]
    Group,
    ClientMetrics,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show the configs that are set, and where
    Describe {
        kind: EntityKind,
        /// A topic, a broker's id or `default`, a group, a client metrics subscription; every one if left out
        name: Option<String>,
        /// The defaults too
        #[arg(short, long)]
        all: bool,
        /// Only this config; may be repeated
        #[arg(short, long = "config", value_name = "NAME")]
        configs: Vec<String>,
    },
    /// Set configs; `name+=item` and `name-=item` change a list
    Set {
        kind: EntityKind,
        name: String,
        #[arg(required = true, value_name = "NAME=VALUE")]
        configs: Vec<String>,
        /// Only ask whether it would be accepted
        #[arg(long)]
        dry_run: bool,
    },
    /// Take configs back to what holds without them
    Delete {
        kind: EntityKind,
        name: String,
        #[arg(required = true, value_name = "CONFIG")]
        configs: Vec<String>,
        /// Only ask whether it would be accepted
        #[arg(long)]
        dry_run: bool,
    },
}
