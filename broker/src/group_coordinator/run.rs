//! One shard's task: loads, then takes operations and deadlines in turn.
//!
//! ```text
//!  all that is queued ─► perform ─► one batch ─► append ─┬► committed: answers leave
//!                                                        └► failed:    all who wait are told, and it is loaded anew
//! ```
//! While an append is on its way the next operations gather: that is group commit.

use std::sync::Arc;
use std::time::Duration;

use coordinator::{Answer, Effects, GroupShard, Machine, Moment, Ticket};
use protocol::batch::{BatchBuilder, BatchOptions};
use protocol::ids::Offset;
use protocol::{ErrorCode, bounds};

use super::shard::Shard;
use super::{Surroundings, load};
use crate::partition::{AppendError, CommitWait, Produced};
use crate::waiters::Commit;

/// Runs until the shard is closed. Nothing is lost when it is dropped: what was not appended was not acknowledged.
pub(super) async fn run(shard: Arc<Shard>, surroundings: Arc<Surroundings>) {
    while !shard.is_gone() {
        match serve(&shard, &surroundings).await {
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(partition = shard.partition.id.partition, ?error, "groups are loaded anew");
                shard.reset(error);
                surroundings.host.clock().sleep(bounds::GROUP_RELOAD_WAIT).await;
            }
        }
    }
}

/// One life of the machine. An error ends it: what it holds may not be what the log says.
async fn serve(shard: &Arc<Shard>, surroundings: &Surroundings) -> Result<(), ErrorCode> {
    let mut machine = GroupShard::new(surroundings.group_config(shard));
    let end = load::load(shard, &mut machine).await.map_err(|error| {
        tracing::error!(partition = shard.partition.id.partition, %error, "groups cannot be loaded");
        ErrorCode::NotCoordinator
    })?;
    for error in machine.take_unreadable() {
        tracing::warn!(partition = shard.partition.id.partition, %error, "a record of a group was skipped");
    }
    let mut tail = end - 1;
    let mut effects = Effects::default();
    machine.loaded(moment(surroundings), &mut effects);
    shard.serve();
    tracing::debug!(
        partition = shard.partition.id.partition,
        groups = machine.group_count(),
        "groups loaded"
    );
    loop {
        write(shard, surroundings, &mut effects, &mut tail).await?;
        deliver(shard, surroundings, std::mem::take(&mut effects.answers), tail)?;
        wait(shard, surroundings, &machine).await;
        if shard.is_gone() {
            return Ok(());
        }
        perform(shard, surroundings, &mut machine, &mut effects);
    }
}

fn moment(surroundings: &Surroundings) -> Moment {
    let clock = surroundings.host.clock();
    Moment { wall_ms: clock.wall_ms(), timer_ms: clock.now().since_start().as_millis() as i64 }
}

/// Until there is an operation, a deadline is due, or the shard is closed.
async fn wait(shard: &Shard, surroundings: &Surroundings, machine: &GroupShard) {
    let clock = surroundings.host.clock();
    let Some(deadline_ms) = machine.next_deadline_ms() else { return shard.changed().await };
    let deadline = host::Instant::from_start(Duration::from_millis(deadline_ms.max(0) as u64));
    if deadline > clock.now() {
        // Cancellation is safe: a notification that came stays.
        let _ = clock.timeout_at(deadline, shard.changed()).await;
    }
}

/// What is due, and what is queued, until a batch is half full: one operation's entries take up to a whole one.
fn perform(
    shard: &Shard,
    surroundings: &Surroundings,
    machine: &mut GroupShard,
    effects: &mut Effects<Answer>,
) {
    let batch_bytes_max = surroundings.settings(shard).batch_bytes_max;
    machine.expire(moment(surroundings), effects);
    let mut bytes = effects.size_bytes();
    while bytes < batch_bytes_max / 2 {
        let Some((ticket, operation)) = shard.next() else { return };
        let mut of_one = Effects::default();
        machine.perform(moment(surroundings), ticket, operation, &mut of_one);
        bytes += of_one.size_bytes();
        effects.entries.append(&mut of_one.entries);
        effects.answers.append(&mut of_one.answers);
    }
    // More is queued than one batch takes: the task comes back at once.
    shard.nudge();
}

/// Appends the entries; `tail` becomes the last of them.
async fn write(
    shard: &Shard,
    surroundings: &Surroundings,
    effects: &mut Effects<Answer>,
    tail: &mut Offset,
) -> Result<(), ErrorCode> {
    let entries = std::mem::take(&mut effects.entries);
    if entries.is_empty() {
        return Ok(());
    }
    let settings = surroundings.settings(shard);
    let now_ms = surroundings.host.clock().wall_ms();
    let batch_bytes_max = settings.batch_bytes_max;
    let mut builder = BatchBuilder::new(BatchOptions::default());
    for entry in entries {
        let is_full = builder.size_bytes() + entry.size_bytes() > batch_bytes_max;
        if is_full && !builder.is_empty() {
            let full = std::mem::replace(&mut builder, BatchBuilder::new(BatchOptions::default()));
            *tail = append(shard, &settings, full, now_ms).await?;
        }
        builder.append(now_ms, Some(&entry.key), entry.value.as_deref(), &[]);
    }
    *tail = append(shard, &settings, builder, now_ms).await?;
    Ok(())
}

async fn append(
    shard: &Shard,
    settings: &Arc<crate::topic_settings::TopicSettings>,
    builder: BatchBuilder,
    now_ms: i64,
) -> Result<Offset, ErrorCode> {
    /// The newest version of Produce: nothing old is written.
    const PRODUCE_VERSION: i16 = 13;
    let produced = Produced {
        batch: builder.finish(),
        rules: settings.rules(PRODUCE_VERSION, now_ms),
        settings: Arc::clone(settings),
        wants_all: true,
        leader_epoch: shard.leader_epoch,
    };
    match shard.partition.append_as_leader(produced).await {
        Ok(appended) => Ok(appended.last_offset),
        Err(error) => {
            tracing::warn!(partition = shard.partition.id.partition, %error, "groups cannot be written");
            Err(code(&error))
        }
    }
}

/// What clients are told of a failed append: to look for the coordinator again, or to try again.
fn code(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::NotEnoughReplicas { .. } => ErrorCode::CoordinatorNotAvailable,
        AppendError::Leader(_) | AppendError::Flush(_) | AppendError::Disk(_) | AppendError::Log(_) => {
            ErrorCode::NotCoordinator
        }
    }
}

/// Gives the answers once everything up to `tail` is committed: nobody is told what might still be lost.
fn deliver(
    shard: &Arc<Shard>,
    surroundings: &Surroundings,
    answers: Vec<(Ticket, Answer)>,
    tail: Offset,
) -> Result<(), ErrorCode> {
    if answers.is_empty() {
        return Ok(());
    }
    match shard.partition.committed(tail) {
        CommitWait::Ready(Commit::Reached) => shard.deliver(answers, None),
        CommitWait::Ready(Commit::Lost) => return Err(ErrorCode::NotCoordinator),
        waiting @ CommitWait::Waiting(_) => {
            let (shard, clock) = (Arc::clone(shard), surroundings.host.clock().clone());
            let limit =
                Duration::from_millis(surroundings.server.int("offsets.commit.timeout.ms").max(1) as u64);
            surroundings.host.spawn("group answers", async move {
                let error = match clock.timeout(limit, waiting.wait()).await {
                    Ok(Commit::Reached) => None,
                    Ok(Commit::Lost) => Some(ErrorCode::NotCoordinator),
                    // It may be committed yet: clients do it again.
                    Err(_) => Some(ErrorCode::CoordinatorNotAvailable),
                };
                shard.deliver(answers, error);
            });
        }
    }
    Ok(())
}
