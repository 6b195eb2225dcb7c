//! `weir cluster rolling-restart`: one node after the other, each when nothing is endangered by it, and the next when it is back.
//!
//! ```text
//!  for each node:  safe? ──► command, or a word to the operator ──► gone ──► back ──► in sync ──► pause, next
//!                   └ waits while others catch up
//! ```
//! The order is asked anew before each step: the active controller may have moved.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use self::nodes::{ClusterNode, Danger, dangers};
use self::watch::Watch;
use crate::cli::RollingRestartArgs;
use crate::client::Client;
use crate::cluster_state::{self, ClusterState};
use crate::commands::broker::wait;
use crate::output::Output;
use crate::patience::{Deadline, Patience};
use crate::progress::Progress;

mod nodes;
mod watch;

const COMMAND_LOOKED_AT_EVERY: Duration = Duration::from_millis(50);

pub(super) async fn run(
    client: &Client,
    patience: Patience,
    args: &RollingRestartArgs,
) -> Result<Output, String> {
    let (nodes, state) = look(client).await?;
    if let Some(absent) = args.nodes.iter().find(|id| !nodes.iter().any(|node| node.id == **id)) {
        let ids: Vec<String> = nodes.iter().map(|node| node.id.to_string()).collect();
        return Err(format!("node {absent} is not one of the cluster's, which are {}", ids.join(", ")));
    }
    let is_wanted = |node: &&ClusterNode| args.nodes.is_empty() || args.nodes.contains(&node.id);
    let wanted: Vec<ClusterNode> = nodes.iter().filter(is_wanted).cloned().collect();
    if args.dry_run {
        return Ok(show(&wanted, &nodes, &state, args.force));
    }
    refuse_hopeless(&wanted, &nodes, &state, args.force)?;
    if let Some(node) = wanted.iter().find(|node| !node.is_broker && node.host.is_empty()) {
        return Err(format!(
            "nobody tells where the controller {} listens: leave it out with --node, and restart it by hand",
            node.id
        ));
    }
    if let Some(command) = &args.command {
        wanted.iter().try_for_each(|node| words(command, node).map(drop))?;
    }
    let mut left: Vec<i32> = wanted.iter().map(|node| node.id).collect();
    let mut output = Output::new(&["node", "roles", "address", "seconds"]);
    while !left.is_empty() {
        let begun = client.host.clock().now();
        let node = one(client, patience, args, &left).await.map_err(|why| explain(&why, &wanted, &left))?;
        left.retain(|id| *id != node.id);
        let seconds = (client.host.clock().now() - begun).as_millis() as f64 / 1000.0;
        output.row(vec![node.id.into(), node.roles().into(), node.address().into(), seconds.into()]);
        if !left.is_empty() {
            client.host.clock().sleep(Duration::from_secs(args.pause)).await;
        }
    }
    output.note(
        "every node is back and in sync; `weir partition elect preferred --all` spreads the leaders again",
    );
    Ok(output)
}

async fn look(client: &Client) -> Result<(Vec<ClusterNode>, ClusterState), String> {
    let state = ClusterState::read(client, None, None).await?;
    let nodes = nodes::read(client, &state.brokers).await?;
    Ok((nodes, state))
}

fn show(wanted: &[ClusterNode], nodes: &[ClusterNode], state: &ClusterState, force: bool) -> Output {
    let mut output = Output::new(&["step", "node", "roles", "address", "up", "safe"]);
    for (node, step) in wanted.iter().zip(1_u64..) {
        let dangers = dangers(nodes, state, node.id);
        let row: [Value; 6] = [
            step.into(),
            node.id.into(),
            node.roles().into(),
            node.address().into(),
            node.is_up.into(),
            dangers.is_empty().into(),
        ];
        output.row(row.to_vec());
        for danger in dangers {
            let told = format!("stopping node {}: {danger}", node.id);
            if force { output.note(told) } else { output.failure(told) }
        }
    }
    output.note("nothing was restarted; without --dry-run it is");
    output
}

/// What no waiting helps against is told before the first node is stopped.
fn refuse_hopeless(
    wanted: &[ClusterNode],
    nodes: &[ClusterNode],
    state: &ClusterState,
    force: bool,
) -> Result<(), String> {
    let hopeless = |node: &ClusterNode| {
        let danger = dangers(nodes, state, node.id).into_iter().find(|danger| !danger.may_pass())?;
        Some(format!("nothing was restarted: with node {} stopped, {danger}", node.id))
    };
    match wanted.iter().find_map(hopeless) {
        Some(why) if !force => Err(why),
        _ => Ok(()),
    }
}

/// Restarts the next of the nodes that are left.
async fn one(
    client: &Client,
    patience: Patience,
    args: &RollingRestartArgs,
    left: &[i32],
) -> Result<ClusterNode, String> {
    let clock = client.host.clock();
    let node = until_safe(client, &patience.deadline(clock.now()), left, args.force).await?;
    let mut progress = Progress::new(clock, format!("node {}, replicas in sync", node.id), None);
    let mut watch = Watch::new(client, &node).await?;
    let gone_within = match &args.command {
        Some(command) => {
            progress.say(&format!("{node}: restarting it"));
            run_command(client, &words(command, &node)?, &patience.deadline(clock.now())).await?;
            patience.deadline(clock.now())
        }
        None => {
            progress
                .say(&format!("{node}: restart it now; the next one follows when it is back and in sync"));
            // Nobody knows when the operator comes to it.
            patience.deadline_if_asked(clock.now())
        }
    };
    if !watch.until_gone(&gone_within).await {
        return Err(format!(
            "{node} was not seen to stop within {} s: did the command restart this node, and does it wait for that?",
            gone_within.limit.as_secs()
        ));
    }
    let back_within = patience.deadline(clock.now());
    watch.until_back(&back_within).await.map_err(|why| {
        format!(
            "{node} stopped and did not come back within {} s ({why}); what does its log say?",
            back_within.limit.as_secs()
        )
    })?;
    let in_sync_within = patience.deadline(clock.now());
    if node.is_broker {
        wait::until_in_sync(client, node.id, &in_sync_within, &mut progress).await?;
    }
    if node.voter.is_some() {
        until_caught_up(client, &node, &in_sync_within).await?;
    }
    progress.say(&format!("{node}: it is back and in sync"));
    Ok(node)
}

/// The next node, when it may be stopped.
async fn until_safe(
    client: &Client,
    deadline: &Deadline,
    left: &[i32],
    force: bool,
) -> Result<ClusterNode, String> {
    let clock = client.host.clock();
    loop {
        let begun = clock.now();
        let why = match look(client).await {
            Err(why) => why,
            Ok((nodes, state)) => {
                let next = nodes.iter().find(|node| left.contains(&node.id));
                let next = next.ok_or("a node that was to be restarted is no longer one of the cluster's")?;
                let dangers: Vec<Danger> = dangers(&nodes, &state, next.id);
                let Some(danger) = dangers.first().filter(|_| !force) else { return Ok(next.clone()) };
                format!("node {} cannot be stopped: {danger}", next.id)
            }
        };
        if !deadline.pause(clock, clock.now() - begun).await {
            return Err(format!("after {} s, {why}", deadline.limit.as_secs()));
        }
    }
}

/// Until a voter has what the majority has.
async fn until_caught_up(client: &Client, node: &ClusterNode, deadline: &Deadline) -> Result<(), String> {
    let clock = client.host.clock();
    loop {
        let begun = clock.now();
        let brokers = cluster_state::brokers(client).await;
        let why = match brokers {
            Ok(brokers) => match nodes::read(client, &brokers).await {
                Ok(nodes) => {
                    let voter = nodes.iter().find(|other| other.id == node.id).and_then(|other| other.voter);
                    if voter.is_none_or(|voter| voter.is_caught_up) {
                        return Ok(());
                    }
                    "it is behind; `weir cluster quorum` shows by how much".to_owned()
                }
                Err(why) => why,
            },
            Err(why) => why,
        };
        if !deadline.pause(clock, clock.now() - begun).await {
            let seconds = deadline.limit.as_secs();
            return Err(format!("the controller of {node} has not caught up after {seconds} s: {why}"));
        }
    }
}

/// The command for one node.
fn words(command: &str, node: &ClusterNode) -> Result<String, String> {
    // The host comes from the cluster and goes to a shell.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:-[]".contains(c);
    if command.contains("{host}") && !node.host.chars().all(is_plain) {
        return Err(format!(
            "{:?}, the host of node {}, is no name that a shell may see",
            node.host, node.id
        ));
    }
    let words = command.replace("{id}", &node.id.to_string()).replace("{host}", &node.host);
    Ok(words.replace("{port}", &node.port.to_string()))
}

/// Runs it to its end. What it prints goes to standard error, where our own words go.
async fn run_command(client: &Client, words: &str, deadline: &Deadline) -> Result<(), String> {
    let mut command = Command::new("sh");
    command.args(["-c", words]).stdin(Stdio::null()).stdout(Stdio::from(std::io::stderr()));
    let mut child = command.spawn().map_err(|e| format!("`{words}` cannot be run: {e}"))?;
    let clock = client.host.clock();
    let begun = clock.now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("`{words}` ended with {status}")),
            Ok(None) => clock.sleep(COMMAND_LOOKED_AT_EVERY).await,
            Err(e) => return Err(format!("`{words}` cannot be waited for: {e}")),
        }
        if clock.now() - begun > deadline.limit {
            let _ = child.kill();
            return Err(format!("`{words}` did not end within {} s", deadline.limit.as_secs()));
        }
    }
}

/// What went wrong, how far it came, and how to go on.
fn explain(why: &str, wanted: &[ClusterNode], left: &[i32]) -> String {
    let done: Vec<String> =
        wanted.iter().filter(|node| !left.contains(&node.id)).map(|node| node.id.to_string()).collect();
    let rest: Vec<String> = left.iter().map(|id| format!("--node {id}")).collect();
    let done = if done.is_empty() { "no node".to_owned() } else { format!("node {}", done.join(", ")) };
    format!(
        "{why}\nweir: {done} was restarted before; when this is mended, `weir cluster rolling-restart {}` goes on",
        rest.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: i32, host: &str) -> ClusterNode {
        ClusterNode { id, is_broker: true, host: host.to_owned(), port: 9092, ..Default::default() }
    }

    #[test]
    fn the_command_is_filled_in_for_each_node() {
        let filled = words("ssh {host} systemctl restart weir@{id} # {port} {else}", &node(3, "b3.example"));
        assert_eq!(filled, Ok("ssh b3.example systemctl restart weir@3 # 9092 {else}".to_owned()));
        let evil = node(3, "a;rm -rf $HOME");
        assert!(words("ssh {host} true", &evil).is_err());
        assert_eq!(words("restart {id}", &evil), Ok("restart 3".to_owned()));
    }

    #[test]
    fn a_failure_says_what_is_done_and_how_to_go_on() {
        let wanted = [node(1, "a"), node(2, "b"), node(3, "c")];
        let said = explain("it broke", &wanted, &[2, 3]);
        assert!(said.starts_with("it broke\nweir: node 1 was restarted before"), "{said}");
        assert!(said.contains("rolling-restart --node 2 --node 3`"), "{said}");
        assert!(explain("it broke", &wanted, &[1, 2, 3]).contains("no node was restarted"));
    }
}
