//! Options of `weir partition`. The long names of Kafka's tools are accepted beside ours.

use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::Target;

#[derive(Debug, Args)]
pub struct PartitionArgs {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: PartitionCommand,
}

#[derive(Debug, Subcommand)]
pub enum PartitionCommand {
    /// List partitions: leader, replicas, ISR, and what is wrong with them
    List(PartitionListArgs),
    /// Let the first replica of partitions lead them again, or any replica where none that is in sync is left
    Elect(ElectArgs),
    /// Move replicas to other brokers; shows what would be, and does it with --execute
    Reassign(ReassignArgs),
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which"))]
pub struct PartitionListArgs {
    /// A topic, or some of its partitions, topic:0,2; all if none is named
    #[arg(value_name = "TOPIC[:P,P]")]
    pub topics: Vec<String>,
    /// Only partitions with a replica that is not in sync
    #[arg(long, visible_alias = "under-replicated-partitions", group = "which")]
    pub under_replicated: bool,
    /// Only partitions that acks=all cannot write to: fewer in sync than min.insync.replicas
    #[arg(long, visible_alias = "under-min-isr-partitions", group = "which")]
    pub under_min_isr: bool,
    /// Only partitions with just min.insync.replicas in sync: the next failure stops writes with acks=all
    #[arg(long, visible_alias = "at-min-isr-partitions", group = "which")]
    pub at_min_isr: bool,
    /// Only partitions without a leader
    #[arg(long, visible_alias = "unavailable-partitions", group = "which")]
    pub unavailable: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ElectionType {
    /// The first replica, which must be in sync
    Preferred,
    /// Any replica that lives, where none in sync does: records may be lost
    Unclean,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
#[command(override_usage = "weir partition elect [OPTIONS] <TYPE> <TOPIC[:P,P]...|--all|--file FILE>")]
pub struct ElectArgs {
    #[arg(value_name = "TYPE", ignore_case = true)]
    pub election: ElectionType,
    /// A topic, or some of its partitions, topic:0,2
    #[arg(value_name = "TOPIC[:P,P]", group = "what")]
    pub topics: Vec<String>,
    /// Every partition of the cluster that needs it
    #[arg(long, visible_alias = "all-topic-partitions", group = "what")]
    pub all: bool,
    /// The partitions in a file: {"partitions": [{"topic": "t", "partition": 0}]}
    #[arg(long, visible_alias = "path-to-json-file", value_name = "FILE", group = "what")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true))]
#[command(group = ArgGroup::new("how"))]
#[command(
    override_usage = "weir partition reassign [OPTIONS] <TOPIC[:P,P]...|--topics-to-move-json-file FILE|--file FILE|--list>"
)]
pub struct ReassignArgs {
    /// A topic, or some of its partitions, topic:0,2
    #[arg(value_name = "TOPIC[:P,P]", group = "what")]
    pub topics: Vec<String>,
    /// The topics in a file: {"topics": [{"topic": "t"}]}
    #[arg(long, value_name = "FILE", group = "what")]
    pub topics_to_move_json_file: Option<PathBuf>,
    /// The plan in a file: {"partitions": [{"topic": "t", "partition": 0, "replicas": [1, 2]}]}
    #[arg(
        long,
        visible_alias = "reassignment-json-file",
        value_name = "FILE",
        group = "what",
        conflicts_with = "brokers"
    )]
    pub file: Option<PathBuf>,
    /// Every reassignment that is under way
    #[arg(long, group = "what", group = "how")]
    pub list: bool,
    /// Where the replicas shall be; otherwise all brokers that are alive
    #[arg(short = 'B', long, visible_alias = "broker-list", value_name = "ID,ID", value_delimiter = ',')]
    pub brokers: Vec<i32>,
    /// How many replicas each partition shall have; otherwise as many as it has
    #[arg(short, long, value_name = "COUNT", conflicts_with = "file")]
    pub replication_factor: Option<usize>,
    /// Do not spread the replicas of a partition over racks
    #[arg(long)]
    pub disable_rack_aware: bool,
    /// Only show the plan; this is the default
    #[arg(long, visible_alias = "dry-run", group = "how")]
    pub generate: bool,
    /// Do it, and wait until it is done
    #[arg(long, group = "how")]
    pub execute: bool,
    /// Say how far the plan has come, or the moves of the topics that are named
    #[arg(long, group = "how")]
    pub verify: bool,
    /// Take back what is under way of the plan, or of the topics that are named
    #[arg(long, group = "how")]
    pub cancel: bool,
    /// Although other reassignments are under way
    #[arg(long, requires = "execute")]
    pub additional: bool,
    /// Do not wait
    #[arg(long, requires = "execute")]
    pub no_wait: bool,
    /// With --verify or --list: wait until all is done
    #[arg(long, conflicts_with_all = ["execute", "generate", "cancel"])]
    pub wait: bool,
    /// Write the plan into this file, as --file and Kafka's tool read it
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Write the replicas as they are now into this file: the way back
    #[arg(long, value_name = "FILE")]
    pub save_current: Option<PathBuf>,
}
