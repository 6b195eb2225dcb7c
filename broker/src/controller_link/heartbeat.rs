//! Registration and heartbeats: how the controller knows that this broker lives, and how it leaves.
//!
//! ```text
//!   register --> heartbeat (wants a fence) ... caught up --> heartbeat (no fence) every broker.heartbeat.interval.ms
//!      ^                                                        |
//!      '------------- the epoch is stale, or unknown -----------'
//! ```
//! **Invariant:** a broker asks to be unfenced only when it has read its own registration and its partitions are open.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use protocol::messages::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};
use protocol::{ErrorCode, bounds};
use wire::client::CallError;

use super::ControllerLink;
use crate::log_dirs::LogDirs;
use crate::metadata_cache::MetadataCache;

/// Registers and beats until it is dropped. Cancellation is safe: a beat more or less is no harm.
///
/// `registration_timeout`: how long the first registration may take before this broker gives up.
pub async fn beat(
    link: Arc<ControllerLink>,
    metadata: Arc<MetadataCache>,
    log_dirs: Arc<LogDirs>,
    interval: Duration,
    registration_timeout: Duration,
) {
    let patience = (interval / 2).clamp(bounds::HEARTBEAT_PATIENCE_MIN, bounds::HEARTBEAT_PATIENCE_MAX);
    loop {
        register(&link, registration_timeout).await;
        link.applied(metadata.applied().end_offset);
        loop {
            let wants_fence = !link.caught_up.load(Ordering::SeqCst);
            match send(&link, &metadata, &log_dirs, patience, (wants_fence, false)).await {
                Ok(_) => {
                    let woken = link.beat_now.notified();
                    // Woken or not: the next beat is due.
                    let _ = link.host.clock().timeout(interval, woken).await;
                }
                Err(ErrorCode::StaleBrokerEpoch | ErrorCode::BrokerIdNotRegistered) => break,
                Err(_) => link.host.clock().sleep(bounds::CONTROLLER_RETRY_WAIT).await,
            }
        }
        tracing::warn!("the controller does not know this registration any more; registering again");
        link.caught_up.store(false, Ordering::SeqCst);
    }
}

async fn register(link: &ControllerLink, timeout: Duration) {
    let request = link.identity.request();
    let deadline = link.host.clock().now() + timeout;
    let mut told = None;
    loop {
        let id = link.active();
        match link.lines(id).heartbeat.call(&request).await {
            Ok(answer) => match ErrorCode::from_code(answer.error_code) {
                ErrorCode::None => {
                    link.broker_epoch.store(answer.broker_epoch, Ordering::SeqCst);
                    link.is_proven(id);
                    tracing::info!(epoch = answer.broker_epoch, "registered");
                    return;
                }
                ErrorCode::NotController => link.is_not_active(id, None),
                // Said once: it may take until the former incarnation's session ends.
                error if told != Some(error) => {
                    tracing::warn!(%error, "the controller refuses the registration; trying again");
                    told = Some(error);
                }
                _ => {}
            },
            Err(error) => {
                tracing::debug!(%error, controller = id, "not registered yet");
                link.is_not_active(id, None);
            }
        }
        if link.broker_epoch() < 0
            && let Some(why) = refusal(link, told, link.host.clock().now() >= deadline)
        {
            link.refused.send_replace(Some(why));
        }
        link.host.clock().sleep(bounds::CONTROLLER_RETRY_WAIT).await;
    }
}

/// Why there is no use in trying on: the cluster is another one, or nobody has registered this broker in time.
fn refusal(link: &ControllerLink, told: Option<ErrorCode>, is_late: bool) -> Option<String> {
    let identity = &link.identity;
    match told {
        Some(ErrorCode::InconsistentClusterId) => Some(format!(
            "the controllers belong to another cluster than this node, which is formatted for {}",
            identity.cluster_id
        )),
        Some(ErrorCode::DuplicateBrokerRegistration) if is_late => {
            Some(format!("another broker that lives is registered as node.id {}", identity.node_id))
        }
        Some(error) if is_late => Some(format!("the controller does not register this broker: {error}")),
        None if is_late => Some("no controller could be reached to register this broker".to_owned()),
        _ => None,
    }
}

async fn send(
    link: &ControllerLink,
    metadata: &MetadataCache,
    log_dirs: &LogDirs,
    patience: Duration,
    (want_fence, want_shut_down): (bool, bool),
) -> Result<BrokerHeartbeatResponse, ErrorCode> {
    let (broker_id, broker_epoch) = link.registration();
    let request = BrokerHeartbeatRequest {
        broker_id,
        broker_epoch,
        current_metadata_offset: metadata.applied().end_offset - 1,
        want_fence,
        want_shut_down,
        offline_log_dirs: log_dirs.offline_ids(),
        ..Default::default()
    };
    let (id, answered) = ask(link, &request, patience).await;
    match answered {
        Ok(answer) => match ErrorCode::from_code(answer.error_code) {
            ErrorCode::NotController => {
                link.is_not_active(id, None);
                Err(ErrorCode::NotController)
            }
            error => {
                link.is_proven(id);
                if error == ErrorCode::None { Ok(answer) } else { Err(error) }
            }
        },
        Err(error) => {
            tracing::debug!(%error, controller = id, "no answer to a heartbeat");
            link.is_not_active(id, None);
            Err(ErrorCode::NetworkException)
        }
    }
}

/// Whoever answers, and what. Of one that is only slow the answer is waited for, and its connection stays: an end of it would
/// count as the broker's.
async fn ask(
    link: &ControllerLink,
    request: &BrokerHeartbeatRequest,
    patience: Duration,
) -> (i32, Result<BrokerHeartbeatResponse, CallError>) {
    let id = link.active();
    let lines = link.lines(id);
    // Boxed, as the others' below: together they would make large futures of all who await this.
    let mut call = Box::pin(lines.heartbeat.call(request));
    // Cancellation is safe: a beat more or less is no harm.
    if let Ok(answered) = link.host.clock().timeout(patience, &mut call).await {
        return (id, answered);
    }
    tokio::select! {
        biased;
        answered = call => (id, answered),
        (other, answer) = Box::pin(ask_others(link, id, request, patience)) => (other, Ok(answer)),
    }
}

/// Asks the controllers beside one until one of them is active.
async fn ask_others(
    link: &ControllerLink,
    id: i32,
    request: &BrokerHeartbeatRequest,
    patience: Duration,
) -> (i32, BrokerHeartbeatResponse) {
    loop {
        for other in link.others(id) {
            let lines = link.lines(other);
            // One that hangs, too, must not hold up the round.
            let asked = link.host.clock().timeout(patience, lines.heartbeat.call(request)).await;
            if let Ok(Ok(answer)) = asked
                && answer.error_code != ErrorCode::NotController.code()
            {
                return (other, answer);
            }
        }
        link.host.clock().sleep(bounds::CONTROLLER_RETRY_WAIT).await;
    }
}

/// Controlled shutdown: asks to leave until the controller lets this broker go. False when the time was up first.
pub async fn leave(link: &ControllerLink, metadata: &MetadataCache, log_dirs: &LogDirs) -> bool {
    let leaving = async {
        loop {
            let patience = bounds::HEARTBEAT_PATIENCE_MAX;
            if let Ok(answer) = send(link, metadata, log_dirs, patience, (false, true)).await
                && answer.should_shut_down
            {
                return;
            }
            link.host.clock().sleep(bounds::CONTROLLER_RETRY_WAIT).await;
        }
    };
    link.broker_epoch() >= 0
        && link.host.clock().timeout(bounds::CONTROLLED_SHUTDOWN_WAIT_MAX, leaving).await.is_ok()
}
