//! `weir storage`: the directories of a node before it runs, as Kafka's `kafka-storage` makes and shows them.
//!
//!     <dir>/meta.properties    version, cluster.id, node.id, directory.id
//!
//! A node that is its own quorum needs none of this: it makes its directories, and an id for its cluster, when it starts.

use std::path::Path;

use host::{Fs, Host};
use protocol::Uuid;
use storage::{LogDir, MetaProperties};

use crate::cli::{ServerArgs, StorageCommand};
use crate::output::Output;
use crate::server::Plan;
use crate::settings::Settings;

/// Runs the command and returns what it shows.
pub async fn run(host: Host, command: StorageCommand) -> Result<Output, String> {
    match command {
        StorageCommand::Format { server, cluster_id, ignore_formatted } => {
            let cluster_id = cluster_id.parse::<Uuid>();
            let cluster_id =
                cluster_id.map_err(|e| format!("--cluster-id: {e}; `weir storage random-uuid` makes one"))?;
            format(&host, &plan(&server)?, cluster_id, ignore_formatted).await
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

/// All directories are looked at before the first is written.
async fn format(
    host: &Host,
    plan: &Plan,
    cluster_id: Uuid,
    ignore_formatted: bool,
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
        let directory_id = random_id(host);
        let (path, cluster_id) = (dir.clone(), cluster_id.clone());
        let made = move |fs: &Fs| LogDir::open(fs, &path, &cluster_id, node_id, directory_id).map(drop);
        let made = host.disk(&dir).run_slow(made).await;
        made.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
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
