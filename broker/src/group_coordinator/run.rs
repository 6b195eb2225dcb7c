//! One shard's task: loads, then takes operations and deadlines in turn.
//!
//! ```text
//!  all that is queued ─► perform ─► one batch ─► append ─┬► committed: answers leave
//!                                                        └► failed:    all who wait are told, and it is loaded anew
//! ```
//! While an append is on its way the next operations gather: that is group commit.

use std::sync::Arc;
use std::time::Duration;

use coordinator::{Answer, Effects, Entry, GroupShard, Machine, Moment, Ticket};
use protocol::batch::{BatchBuilder, BatchOptions, Compression};
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
    machine.see(surroundings.metadata.current());
    let buffer_bytes = surroundings.server.int("offsets.load.buffer.size").max(1) as u64;
    let end = load::load(shard, &mut machine, buffer_bytes).await.map_err(|error| {
        tracing::error!(partition = shard.partition.id.partition, %error, "groups cannot be loaded");
        ErrorCode::NotCoordinator
    })?;
    for error in machine.take_unreadable() {
        tracing::warn!(partition = shard.partition.id.partition, %error, "a record of a group was skipped");
    }
    let mut tail = end - 1;
    let mut gathered = Gathered::default();
    machine.loaded(moment(surroundings), gathered.next());
    shard.serve();
    tracing::debug!(
        partition = shard.partition.id.partition,
        groups = machine.group_count(),
        "groups loaded"
    );
    loop {
        let (entries, answers) = std::mem::take(&mut gathered).split();
        write(shard, surroundings, entries, &mut tail).await?;
        deliver(shard, surroundings, answers, tail)?;
        wait(shard, surroundings, &machine).await;
        linger(surroundings).await;
        if shard.is_gone() {
            return Ok(());
        }
        perform(shard, surroundings, &mut machine, &mut gathered);
    }
}

/// What operations led to, each by itself: the entries of one stand in one batch, so that a crash leaves all or none of
/// them.
#[derive(Default)]
struct Gathered(Vec<Effects<Answer>>);

impl Gathered {
    fn next(&mut self) -> &mut Effects<Answer> {
        self.0.push(Effects::default());
        self.0.last_mut().expect("it was pushed a moment ago")
    }

    fn split(self) -> (Vec<Vec<Entry>>, Vec<(Ticket, Answer)>) {
        let (entries, answers): (Vec<_>, Vec<_>) =
            self.0.into_iter().map(|effects| (effects.entries, effects.answers)).unzip();
        (entries, answers.into_iter().flatten().collect())
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

/// Lets more operations gather where that was asked for. By itself the time of the append before is the wait, as with
/// Kafka's -1.
async fn linger(surroundings: &Surroundings) {
    let linger_ms = surroundings.server.int("group.coordinator.append.linger.ms");
    if linger_ms > 0 {
        surroundings.host.clock().sleep(Duration::from_millis(linger_ms as u64)).await;
    }
}

/// What is due, and what is queued, until a batch is half full: one operation's entries take up to a whole one.
fn perform(shard: &Shard, surroundings: &Surroundings, machine: &mut GroupShard, gathered: &mut Gathered) {
    let batch_bytes_max = surroundings.settings(shard).batch_bytes_max;
    machine.see(surroundings.metadata.current());
    let due = gathered.next();
    machine.expire(moment(surroundings), due);
    let mut bytes = due.size_bytes();
    while bytes < batch_bytes_max / 2 {
        let Some((ticket, operation)) = shard.next() else { return };
        let of_one = gathered.next();
        machine.perform(moment(surroundings), ticket, operation, of_one);
        bytes += of_one.size_bytes();
    }
    // More is queued than one batch takes: the task comes back at once.
    shard.nudge();
}

/// Appends the entries; `tail` becomes the last of them.
async fn write(
    shard: &Shard,
    surroundings: &Surroundings,
    entries: Vec<Vec<Entry>>,
    tail: &mut Offset,
) -> Result<(), ErrorCode> {
    if entries.iter().all(Vec::is_empty) {
        return Ok(());
    }
    let settings = surroundings.settings(shard);
    let now_ms = surroundings.host.clock().wall_ms();
    let codec = surroundings.server.int("offsets.topic.compression.codec");
    let compression = i8::try_from(codec).ok().and_then(Compression::from_id).unwrap_or(Compression::None);
    let new_batch = || BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    let mut builder = new_batch();
    for of_one in entries {
        let mut needed_bytes: usize = of_one.iter().map(Entry::size_bytes).sum();
        for entry in of_one {
            // All of one operation, unless that alone is more than a batch takes: then as much as there is room for.
            let is_full = builder.size_bytes() + needed_bytes > settings.batch_bytes_max;
            if is_full && !builder.is_empty() {
                let full = std::mem::replace(&mut builder, new_batch());
                *tail = append(shard, &settings, full, now_ms).await?;
            }
            needed_bytes = entry.size_bytes();
            builder.append(now_ms, Some(&entry.key), entry.value.as_deref(), &[]);
        }
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
        Ok((appended, _)) => Ok(appended.last_offset),
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
    match shard.partition.committed(tail, shard.leader_epoch) {
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
