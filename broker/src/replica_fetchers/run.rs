//! One fetcher's task: fetch, take over, again.
//!
//! ```text
//!   due partitions --> Fetch (long poll) --> answers --> disk jobs --> due partitions ...
//!                        ^ a new partition ends the poll: it must not wait for the others' records
//! ```
//! While it waits at the leader nothing else can be asked on that connection, so a poll is ended by ending its connection.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use protocol::messages::fetch_response::PartitionData;
use protocol::{ErrorCode, bounds};
use wire::client::{Node, NodeOptions, Target};

use super::fetch::{self, Asked, NoAnswer};
use super::session::FetchSession;
use super::{Fetcher, Followed, Surroundings};
use crate::partition::{FollowError, Partition, Replicated};

/// The line to a leader, where that was when it was made, and what it has been told over it.
struct Line {
    address: String,
    node: Node,
    session: FetchSession,
}

/// Runs until it is aborted. Cancellation is safe: each append or cut is one disk job, which runs whole or not at all.
pub(super) async fn run(surroundings: Arc<Surroundings>, fetcher: Arc<Fetcher>, leader: i32) {
    let clock = surroundings.host.clock();
    let mut line: Option<Line> = None;
    loop {
        let now = clock.now();
        let due = ready(&surroundings, &fetcher, fetcher.due(now)).await;
        // Asked afterwards: what is throttled is due later.
        let next = fetcher.next_due(now);
        if due.is_empty() {
            let changed = fetcher.changed.notified();
            match next {
                Some(next) => drop(clock.timeout_at(next, changed).await),
                None => changed.await,
            }
            continue;
        }
        let Some(Line { node, session, .. }) = connect(&surroundings, leader, &mut line) else {
            // The metadata does not say yet, or not any more, where the leader is.
            clock.sleep(bounds::REPLICA_RETRY_WAIT_MIN).await;
            continue;
        };
        let limit = next.map_or(Duration::MAX, |next| next - now);
        // Cancellation is safe: an answer that nobody takes is asked for again from the same offset.
        let answer = tokio::select! {
            biased;
            answer = fetch::fetch(&surroundings, node, session, &due, limit) => Some(answer),
            () = fetcher.changed.notified() => None,
        };
        match answer {
            Some(Ok(answers)) => {
                let work = answers
                    .into_iter()
                    .map(|(asked, data)| take_over(&surroundings, &fetcher, node, asked, data));
                if join_all(work).await.contains(&false) {
                    session.restart();
                }
            }
            Some(Err(NoAnswer::SessionLost(_))) => {}
            Some(Err(error)) => {
                tracing::debug!(%error, leader, "nothing was fetched");
                for asked in &due {
                    fetcher.failed(&asked.followed, clock.now(), waits(&surroundings));
                }
            }
            None => node.disconnect().await,
        }
    }
}

/// First and longest wait after a failure.
fn waits(surroundings: &Surroundings) -> (Duration, Duration) {
    let longest = surroundings.server.int("replica.fetch.backoff.ms").unsigned_abs();
    (bounds::REPLICA_RETRY_WAIT_MIN, Duration::from_millis(u64::from(longest)))
}

/// Where each partition goes on. One that has records which should be durable and are not waits for that first.
async fn ready(surroundings: &Surroundings, fetcher: &Fetcher, due: Vec<Followed>) -> Vec<Asked> {
    let mut ready = Vec::with_capacity(due.len());
    let throttle = &surroundings.quotas.follower;
    let is_exceeded = throttle.is_exceeded();
    for followed in due {
        let partition = &followed.partition;
        if is_exceeded && partition.lags() && is_throttled(surroundings, partition) {
            fetcher.waits(&followed, surroundings.host.clock().now() + bounds::REPLICATION_THROTTLE_WAIT);
            continue;
        }
        let Some(position) = followed.partition.position(followed.leader_epoch) else {
            // Another role, or another epoch: what comes next is said by the metadata.
            fetcher.gives_up(&followed);
            continue;
        };
        if position.must_flush
            && let Err(error) = followed.partition.flush_to(position.offset, true).await
        {
            surroundings.log_dirs.log_failed(&followed.partition, &error.to_string());
            fetcher.gives_up(&followed);
            continue;
        }
        ready.push(Asked { followed, position });
    }
    ready
}

/// Whether what comes of a partition counts against this follower's rate.
fn is_throttled(surroundings: &Surroundings, partition: &Partition) -> bool {
    let settings = || {
        let image = surroundings.metadata.current();
        partition.settings(&image, &surroundings.server, surroundings.node_id)
    };
    surroundings.quotas.follower.is_limited()
        && settings().follower_throttled.contains(partition.id.partition)
}

/// The line to the leader, made anew when it is somewhere else now.
fn connect<'a>(surroundings: &Surroundings, leader: i32, line: &'a mut Option<Line>) -> Option<&'a mut Line> {
    let image = surroundings.metadata.current();
    let broker = image.cluster.broker(leader)?;
    let endpoint = broker.listener(&surroundings.listener)?;
    let address = format!("{}:{}", endpoint.host, endpoint.port);
    if line.as_ref().is_none_or(|line| line.address != address) {
        let options = NodeOptions {
            request_timeout: fetch::call_timeout(surroundings),
            reconnect_wait_min: bounds::REPLICA_RETRY_WAIT_MIN,
            ..NodeOptions::default()
        };
        let node = Node::new(&surroundings.host, Target::address(&address), options);
        *line = Some(Line { address, node, session: FetchSession::default() });
    }
    line.as_mut()
}

/// Does what the leader answered for one partition. False if it was not taken over.
async fn take_over(
    surroundings: &Surroundings,
    fetcher: &Fetcher,
    node: &Node,
    asked: Asked,
    data: PartitionData,
) -> bool {
    let (followed, partition) = (&asked.followed, &asked.followed.partition);
    let done = match ErrorCode::from_code(data.error_code) {
        ErrorCode::None => follow(surroundings, &asked, data).await,
        ErrorCode::OffsetOutOfRange => out_of_range(surroundings, node, &asked).await,
        error => Err(NotFollowed::Refused(error)),
    };
    let (now, is_done) = (surroundings.host.clock().now(), done.is_ok());
    match done {
        Ok(()) => fetcher.succeeded(followed),
        // It was about another role or another epoch.
        Err(NotFollowed::Local(FollowError::Stale | FollowError::Disk(_))) => {}
        Err(NotFollowed::Local(
            error @ (FollowError::Io(_) | FollowError::Append(storage::AppendError::Io(_))),
        )) => {
            surroundings.log_dirs.log_failed(partition, &error.to_string());
            fetcher.gives_up(followed);
        }
        Err(error) => {
            tracing::debug!(topic = %partition.topic, partition = partition.id.partition, %error, "not followed");
            fetcher.failed(followed, now, waits(surroundings));
        }
    }
    is_done
}

/// Why a partition did not come forward.
#[derive(Debug, thiserror::Error)]
enum NotFollowed {
    #[error("the leader answers {0}")]
    Refused(ErrorCode),
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    #[error(transparent)]
    Local(#[from] FollowError),
}

async fn follow(surroundings: &Surroundings, asked: &Asked, data: PartitionData) -> Result<(), NotFollowed> {
    let Asked { followed, position } = asked;
    let partition = &followed.partition;
    let diverging = &data.diverging_epoch;
    if diverging.end_offset >= 0 {
        tracing::info!(
            topic = %partition.topic, partition = partition.id.partition, epoch = diverging.epoch,
            end = diverging.end_offset, here = position.offset.0, "this log is not the leader's: it is cut"
        );
        let end = (diverging.epoch, diverging.end_offset.into());
        return Ok(partition.truncate_diverged(followed.leader_epoch, end).await?);
    }
    let image = surroundings.metadata.current();
    let settings = partition.settings(&image, &surroundings.server, surroundings.node_id);
    let records = data.records.unwrap_or_default().to_bytes();
    if settings.follower_throttled.contains(partition.id.partition) {
        surroundings.quotas.follower.record(records.as_ref().map_or(0, |records| records.len() as u64));
    }
    let replicated = Replicated {
        leader_epoch: followed.leader_epoch,
        offset: position.offset,
        records: records.expect("a client's answers lie in memory"),
        high_watermark: data.high_watermark.into(),
        log_start: data.log_start_offset.into(),
        settings,
        now_ms: surroundings.host.clock().wall_ms(),
    };
    Ok(partition.append_as_follower(replicated).await?)
}

/// The leader does not have where this replica goes on: asks it what it has.
async fn out_of_range(surroundings: &Surroundings, node: &Node, asked: &Asked) -> Result<(), NotFollowed> {
    let followed = &asked.followed;
    let start = fetch::offset(surroundings, node, followed, fetch::EARLIEST).await?;
    let end = fetch::offset(surroundings, node, followed, fetch::LATEST).await?;
    let (topic, partition) = (&followed.partition.topic, followed.partition.id.partition);
    tracing::info!(%topic, partition, %start, %end, here = asked.position.offset.0, "outside of the leader's log");
    Ok(followed.partition.truncate_out_of_range(followed.leader_epoch, (start, end)).await?)
}
