//! A shard from outside: its queue, and those who wait for its answers.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use coordinator::{Answer, Operation, Ticket};
use protocol::ids::PartitionId;
use protocol::{ErrorCode, bounds};
use tokio::sync::{Notify, oneshot};

use crate::partition::Partition;

/// What a caller waits for.
pub(super) type Waiting = oneshot::Receiver<Result<Answer, ErrorCode>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Loading,
    Serving,
    Gone,
}

#[derive(Debug)]
struct Queue {
    status: Status,
    operations: VecDeque<(Ticket, Operation)>,
    callers: BTreeMap<Ticket, oneshot::Sender<Result<Answer, ErrorCode>>>,
    last_ticket: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) partition: Arc<Partition>,
    pub(super) leader_epoch: i32,
    queue: Mutex<Queue>,
    changed: Notify,
}

impl Shard {
    pub(super) fn new(partition: Arc<Partition>, leader_epoch: i32) -> Arc<Shard> {
        let queue = Queue {
            status: Status::Loading,
            operations: VecDeque::new(),
            callers: BTreeMap::new(),
            last_ticket: 0,
        };
        Arc::new(Shard { partition, leader_epoch, queue: Mutex::new(queue), changed: Notify::new() })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("no code that holds this lock panics")
    }

    pub(super) fn is(&self, id: PartitionId, leader_epoch: i32) -> bool {
        self.partition.id == id && self.leader_epoch == leader_epoch
    }

    pub(super) fn submit(&self, operation: Operation) -> Result<Waiting, ErrorCode> {
        let mut queue = self.queue();
        match queue.status {
            Status::Loading => return Err(ErrorCode::CoordinatorLoadInProgress),
            Status::Gone => return Err(ErrorCode::NotCoordinator),
            Status::Serving => {}
        }
        // Members that wait for the others are a client's requests, kept for it. A crowd of them keeps more of its kind away,
        // and not the heartbeats and commits of other groups.
        let may_wait = matches!(operation, Operation::Join(_) | Operation::Sync(_));
        let counted = if may_wait { queue.callers.len() } else { queue.operations.len() };
        if counted >= bounds::GROUP_SHARD_OPERATIONS_MAX {
            return Err(ErrorCode::CoordinatorNotAvailable);
        }
        queue.last_ticket += 1;
        let ticket = Ticket(queue.last_ticket);
        let (answer, waiting) = oneshot::channel();
        queue.callers.insert(ticket, answer);
        queue.operations.push_back((ticket, operation));
        drop(queue);
        self.changed.notify_one();
        Ok(waiting)
    }

    /// The next operation, if one is queued.
    pub(super) fn next(&self) -> Option<(Ticket, Operation)> {
        self.queue().operations.pop_front()
    }

    /// Waits until something was queued, or the shard was closed, since this was last asked.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Lets `changed` return once more.
    pub(super) fn nudge(&self) {
        self.changed.notify_one();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.queue().status == Status::Gone
    }

    pub(super) fn serve(&self) {
        let mut queue = self.queue();
        if queue.status == Status::Loading {
            queue.status = Status::Serving;
        }
    }

    /// Answers all who wait with an error, and begins to load anew.
    pub(super) fn reset(&self, error: ErrorCode) {
        self.end(Status::Loading, error);
    }

    /// This broker does not coordinate these groups any more.
    pub(super) fn close(&self, error: ErrorCode) {
        self.end(Status::Gone, error);
        self.changed.notify_one();
    }

    fn end(&self, status: Status, error: ErrorCode) {
        let mut queue = self.queue();
        if queue.status != Status::Gone {
            queue.status = status;
        }
        queue.operations.clear();
        let callers = std::mem::take(&mut queue.callers);
        drop(queue);
        for caller in callers.into_values() {
            // A client that has gone away wants no answer.
            drop(caller.send(Err(error)));
        }
    }

    /// Gives answers, or one error in the place of all of them.
    pub(super) fn deliver(&self, answers: Vec<(Ticket, Answer)>, error: Option<ErrorCode>) {
        let mut queue = self.queue();
        let callers: Vec<_> =
            answers.into_iter().filter_map(|(t, answer)| Some((queue.callers.remove(&t)?, answer))).collect();
        drop(queue);
        for (caller, answer) in callers {
            drop(caller.send(error.map_or(Ok(answer), Err)));
        }
    }
}
