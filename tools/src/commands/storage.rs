//! `weir storage`: the directories of a node before it runs, as Kafka's `kafka-storage` makes and shows them.
//!
//!     <dir>/meta.properties                              version, cluster.id, node.id, directory.id
//!     <dir>/__cluster_metadata-0/0...0-0...0.checkpoint  the first voters, of a controller that is one of them
//!
//! A node that is its own quorum needs none of this: it makes its directories, and an id for its cluster, when it starts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use controller::raft::types::{RaftId, Voter};
use host::{Fs, Host};
use protocol::Uuid;
use protocol::config::parse_directory_voters;
use storage::{LogDir, MetaProperties};

use crate::cli::{FirstControllers, ServerArgs, StorageCommand};
use crate::output::Output;
use crate::server::Plan;
use crate::settings::Settings;

/// Runs the command and returns what it shows.
pub async fn run(host: Host, command: StorageCommand) -> Result<Output, String> {
    match command {
        StorageCommand::Format { server, cluster_id, ignore_formatted, first } => {
            let cluster_id = cluster_id.parse::<Uuid>();
            let cluster_id =
                cluster_id.map_err(|e| format!("--cluster-id: {e}; `weir storage random-uuid` makes one"))?;
            let plan = plan(&server)?;
            let quorum = FirstQuorum::new(&host, &plan, &first)?;
            format(&host, &plan, cluster_id, ignore_formatted, quorum).await
        }
        StorageCommand::Info { server } => info(&host, &plan(&server)?).await,
        StorageCommand::RandomUuid => {
            let mut output = Output::new(&["uuid"]);
            output.row(vec![random_id(&host).to_string().into()]);
            Ok(output)
        }
    }
}

fn plan(args: &ServerArgs) -> Result<Plan, String> {
    let settings = Settings::read(args.config.as_deref(), std::env::vars(), &args.set);
    Plan::new(settings.map_err(|e| e.to_string())?)
}

/// One that does not begin with a dash, which command lines take for an option.
fn random_id(host: &Host) -> Uuid {
    loop {
        let id = Uuid::from_random(|| host.entropy().u128());
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

async fn read(host: &Host, dir: &Path) -> Result<Option<MetaProperties>, String> {
    let path = dir.to_owned();
    let read = host.disk(dir).run_slow(move |fs| MetaProperties::read(fs, &path)).await;
    read.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// The voters that a metadata directory is formatted for, and its own id among them.
struct FirstQuorum {
    metadata_dir: PathBuf,
    directory_id: Uuid,
    voters: BTreeMap<RaftId, Voter>,
}

impl FirstQuorum {
    fn new(host: &Host, plan: &Plan, first: &FirstControllers) -> Result<Option<FirstQuorum>, String> {
        let is_told = first.standalone || first.initial_controllers.is_some() || first.no_initial_controllers;
        let Some(controller) = plan.controller() else {
            let is_founder = first.standalone || first.initial_controllers.is_some();
            let refused = "this node is no controller, and founds no quorum: leave out --standalone and --initial-controllers";
            return if is_founder { Err(refused.to_owned()) } else { Ok(None) };
        };
        if !controller.voters.is_empty() && is_told {
            return Err("controller.quorum.voters names the first controllers: leave out --standalone, \
                        --initial-controllers and --no-initial-controllers, or that setting"
                .to_owned());
        }
        let is_alone = controller.joining.bootstrap_servers.is_empty();
        if first.no_initial_controllers && is_alone {
            return Err(
                "a controller that observes must know whom to ask: set controller.quorum.bootstrap.servers"
                    .to_owned(),
            );
        }
        if controller.voters.is_empty() && !is_told && !is_alone {
            return Err("who founds the quorum? One of --standalone, --initial-controllers and --no-initial-controllers is \
                        needed, since controller.quorum.voters is not set"
                .to_owned());
        }
        let voter = |node, address, directory| (RaftId { node, directory }, Voter { address });
        let voters: BTreeMap<RaftId, Voter> = match &first.initial_controllers {
            Some(text) => {
                let voters =
                    parse_directory_voters("--initial-controllers", text).map_err(|e| e.to_string())?;
                voters.into_iter().map(|(node, address, directory)| voter(node, address, directory)).collect()
            }
            None if first.standalone => {
                let address = controller.joining.advertised_address.clone();
                let address = address.ok_or("controller.listener.names names no listener of this node")?;
                BTreeMap::from([voter(plan.node_id(), address, random_id(host))])
            }
            None => return Ok(None),
        };
        let own: Vec<Uuid> =
            voters.keys().filter(|id| id.node == plan.node_id()).map(|id| id.directory).collect();
        let nodes: BTreeSet<i32> = voters.keys().map(|id| id.node).collect();
        let metadata_dir = controller.metadata_dir.clone();
        match own[..] {
            _ if nodes.len() < voters.len() => Err("--initial-controllers names a node twice".to_owned()),
            [directory_id] => Ok(Some(FirstQuorum { metadata_dir, directory_id, voters })),
            _ => Err(format!(
                "--initial-controllers does not name node {}; --no-initial-controllers formats one that observes",
                plan.node_id()
            )),
        }
    }
}

/// All directories are looked at before the first is written.
async fn format(
    host: &Host,
    plan: &Plan,
    cluster_id: Uuid,
    ignore_formatted: bool,
    quorum: Option<FirstQuorum>,
) -> Result<Output, String> {
    let (cluster_id, node_id) = (cluster_id.to_string(), plan.node_id());
    let mut new = Vec::new();
    for dir in plan.directories() {
        let Some(found) = read(host, &dir).await? else {
            new.push(dir);
            continue;
        };
        found.check(&dir, &cluster_id, node_id).map_err(|e| e.to_string())?;
        if !ignore_formatted {
            let shown = dir.display();
            return Err(format!(
                "{shown} is formatted already; --ignore-formatted leaves it alone and formats the others"
            ));
        }
    }
    let mut output = Output::new(&["formatted", "directory_id"]);
    for dir in new {
        let founder = quorum.as_ref().filter(|quorum| quorum.metadata_dir == dir);
        let directory_id = founder.map_or_else(|| random_id(host), |founder| founder.directory_id);
        let (path, cluster_id) = (dir.clone(), cluster_id.clone());
        let (voters, now_ms) = (founder.map(|founder| founder.voters.clone()), host.clock().wall_ms());
        let made = move |fs: &Fs| -> Result<(), String> {
            // Before the directory counts as formatted: it must not count as an observer's in between.
            if let Some(voters) = voters {
                let written = controller::format::write_first_voters(fs, &path, &voters, now_ms);
                written.map_err(|e| format!("{}: {e}", path.display()))?;
            }
            LogDir::open(fs, &path, &cluster_id, node_id, directory_id).map(drop).map_err(|e| e.to_string())
        };
        host.disk(&dir).run_slow(made).await.map_err(|e| e.to_string())??;
        output.row(vec![dir.display().to_string().into(), directory_id.to_string().into()]);
    }
    if output.is_empty() {
        output.note("All of the log directories are already formatted.");
    }
    Ok(output)
}

async fn info(host: &Host, plan: &Plan) -> Result<Output, String> {
    let mut output = Output::new(&["directory", "cluster_id", "node_id", "directory_id"]);
    // All are to belong to the cluster of the first.
    let mut first: Option<String> = None;
    for dir in plan.directories() {
        let shown = dir.display();
        match read(host, &dir).await {
            Err(why) => output.failure(why),
            Ok(None) => output.failure(format!("{shown} is not formatted")),
            Ok(Some(meta)) => {
                let cluster_id = first.get_or_insert_with(|| meta.cluster_id.clone());
                if let Err(foreign) = meta.check(&dir, cluster_id, plan.node_id()) {
                    output.failure(foreign.to_string());
                }
                output.row(vec![
                    shown.to_string().into(),
                    meta.cluster_id.into(),
                    meta.node_id.into(),
                    meta.directory_id.to_string().into(),
                ]);
            }
        }
    }
    Ok(output)
}
