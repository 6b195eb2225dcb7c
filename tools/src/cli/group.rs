//! Options of `weir group`.

use clap::{ArgGroup, Args, Subcommand};

use super::Target;

#[derive(Debug, Args)]
pub struct GroupArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: GroupCommand,
}

#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List groups
    List {
        /// Only of this type (classic, consumer); may be repeated
        #[arg(long = "type", value_name = "TYPE")]
        types: Vec<String>,
        /// Only in this state (Stable, Empty, PreparingRebalance ...); may be repeated
        #[arg(long = "state", value_name = "STATE")]
        states: Vec<String>,
    },
    /// Show offsets and lag of groups, or their members, or their state; all groups if none is named
    Describe {
        names: Vec<String>,
        /// Show the members and what each is assigned
        #[arg(long, conflicts_with = "state")]
        members: bool,
        /// Show state, coordinator and epochs
        #[arg(long)]
        state: bool,
    },
    /// Move the offsets of groups without members; shows what would be, and does it with --execute
    ResetOffsets(ResetArgs),
    /// Delete groups without members, offsets included
    Delete {
        #[arg(required = true)]
        names: Vec<String>,
    },
    /// Forget the offsets of a group for topics that it does not read
    DeleteOffsets {
        name: String,
        /// A topic, or some of its partitions, topic:0,2; may be repeated
        #[arg(short, long = "topic", required = true, value_name = "TOPIC[:P,P]")]
        topics: Vec<String>,
    },
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("where").required(true))]
#[command(group = ArgGroup::new("what").required(true).multiple(true))]
#[command(group = ArgGroup::new("whose").required(true))]
pub struct ResetArgs {
    #[arg(group = "whose")]
    pub names: Vec<String>,
    /// Every group that there is
    #[arg(long, group = "whose")]
    pub all_groups: bool,
    /// A topic, or some of its partitions, topic:0,2; may be repeated
    #[arg(short, long = "topic", group = "what", value_name = "TOPIC[:P,P]")]
    pub topics: Vec<String>,
    /// Every topic of which the group has offsets
    #[arg(long, group = "what", conflicts_with = "topics")]
    pub all_topics: bool,
    /// To where the partitions begin
    #[arg(long, group = "where")]
    pub to_earliest: bool,
    /// To where the partitions end
    #[arg(long, group = "where")]
    pub to_latest: bool,
    /// To where they are; to the end where nothing is committed
    #[arg(long, group = "where")]
    pub to_current: bool,
    /// To this offset, or the nearest one that exists
    #[arg(long, group = "where", value_name = "OFFSET")]
    pub to_offset: Option<i64>,
    /// Forward by so many records, or back (negative), as far as there are some
    #[arg(long, group = "where", value_name = "COUNT", allow_negative_numbers = true)]
    pub shift_by: Option<i64>,
    /// To the first record not older than this (2026-11-24T10:00:00.000Z; UTC unless it says otherwise)
    #[arg(long, group = "where", value_name = "TIME")]
    pub to_datetime: Option<String>,
    /// To the first record not older than so long ago (P7D, PT1H30M, or 90m)
    #[arg(long, group = "where", value_name = "DURATION")]
    pub by_duration: Option<String>,
    /// Do it
    #[arg(long)]
    pub execute: bool,
    /// Only show what would be; this is the default
    #[arg(long, conflicts_with = "execute")]
    pub dry_run: bool,
}
