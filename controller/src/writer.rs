//! The single writer of metadata: operations in, one Raft entry per queue, answers after apply.
//!
//! ```text
//!   operations (bounded) --> decide(committed + proposed) --> one Proposal --> Raft --> apply --> answers
//!                                  ^                              |
//!                                  '---- image after it <---------'          at most 2 proposals on their way
//!   changes of the quorum (one at a time) --> an entry of its own, in the same order
//! ```
//!
//! **Invariant:** every decision sees the committed image plus everything proposed before it, and becomes part of the log
//! at exactly the offset it was decided for, or not at all. When leadership is lost, whatever is pending fails with
//! NOT_CONTROLLER (its outcome is unknown, and the next controller knows it) and the state falls back to the committed
//! image.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use host::Host;
use metadata::{Delta, Image, Record, record};
use openraft::async_runtime::WatchReceiver as _;
use openraft::{ChangeMembers, EntryPayload, Precondition, ServerState};
use protocol::{ErrorCode, bounds};
use tokio::sync::{mpsc, oneshot, watch};

use crate::decide::{Context, Decision, Random, Refusal, Settings, bootstrap_records};
use crate::publisher::Publisher;
use crate::raft::batches::{self, Stamp};
use crate::raft::types::{Applied, Membership, Proposal, Raft, RaftId, TypeConfig, Voter};

/// Why an operation was not done, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("this is not the active controller")]
    NotController,
    #[error("too many operations wait for the controller")]
    Busy,
    #[error("the operation did not commit in time; it may still happen")]
    TimedOut,
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Error {
    pub fn code(&self) -> ErrorCode {
        match self {
            Error::NotController => ErrorCode::NotController,
            Error::Busy => ErrorCode::RequestTimedOut,
            Error::TimedOut => ErrorCode::RequestTimedOut,
            Error::Refused(refusal) => refusal.code,
        }
    }
}

/// Who is the active controller, as far as this node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Active {
    /// Its node id; None while there is none.
    pub node_id: Option<i32>,
    pub epoch: i32,
    /// It is this node, and it has applied everything that was committed before its epoch.
    pub here: bool,
}

type Written = openraft::raft::ClientWriteResponse<TypeConfig>;
type WriteError = openraft::errors::RaftError<TypeConfig, openraft::errors::ClientWriteError<TypeConfig>>;
type Decide = Box<dyn FnOnce(&Context<'_>, &mut Random<'_>) -> Decided + Send>;
type Answer = Box<dyn FnOnce(Result<i64, Error>) + Send>;

struct Decided {
    records: Vec<Record>,
    answer: Answer,
}

/// An operation in the queue.
struct Operation {
    decide: Decide,
    /// Runs instead of `decide` when this is not the active controller.
    refuse: oneshot::Sender<Error>,
}

/// A change of the quorum itself.
#[derive(Clone, Debug, PartialEq)]
pub enum QuorumChange {
    /// Who votes and who observes from now on; one voter more or less at most.
    Members(Membership),
    /// Somebody listens elsewhere.
    Address(RaftId, Voter),
    /// `kraft.version`.
    Level(i16),
}

type DecideChange = Box<dyn FnOnce(&Membership, &Image) -> Result<Option<QuorumChange>, Refusal> + Send>;

/// A change of the quorum in the queue.
struct Change {
    decide: DecideChange,
    answer: Answer,
}

/// Hands operations to the writer. Cheap to clone.
#[derive(Clone)]
pub struct Writer {
    host: Host,
    operations: mpsc::Sender<Operation>,
    changes: mpsc::Sender<Change>,
}

impl Writer {
    /// Starts the writer's task.
    pub fn start(
        host: &Host,
        raft: Raft,
        id: RaftId,
        publisher: Arc<Publisher>,
        settings: Settings,
        active: watch::Sender<Active>,
    ) -> Writer {
        let (operations, queue) = mpsc::channel(bounds::CONTROLLER_OPERATIONS_MAX);
        let (changes, asked) = mpsc::channel(bounds::CONTROLLER_QUORUM_CHANGES_MAX);
        let (completions, completed) = mpsc::channel(bounds::CONTROLLER_PROPOSALS_IN_FLIGHT_MAX);
        let state = State {
            host: host.clone(),
            raft,
            id,
            publisher,
            settings,
            active,
            standing: None,
            led: None,
            in_flight: BTreeMap::new(),
            changing: None,
            next_proposal: 0,
            turn: oneshot::channel().1,
            completions,
        };
        host.spawn("controller writer", state.run(queue, asked, completed));
        Writer { host: host.clone(), operations, changes }
    }

    /// Changes the quorum; answers when that is committed and applied, or when there is nothing to change.
    ///
    /// Dropping the future does not take the change back.
    pub async fn change_quorum(
        &self,
        decide: impl FnOnce(&Membership, &Image) -> Result<Option<QuorumChange>, Refusal> + Send + 'static,
    ) -> Result<(), Error> {
        let (sender, answered) = oneshot::channel();
        let answer: Answer = Box::new(move |outcome| {
            // Whoever gave up waiting does not need the answer.
            let _ = sender.send(outcome.map(drop));
        });
        self.changes.try_send(Change { decide: Box::new(decide), answer }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Error::Busy,
            mpsc::error::TrySendError::Closed(_) => Error::NotController,
        })?;
        let outcome = async move { answered.await.unwrap_or(Err(Error::NotController)) };
        let limit = bounds::CONTROLLER_OPERATION_TIMEOUT;
        self.host.clock().timeout(limit, outcome).await.unwrap_or(Err(Error::TimedOut))
    }

    /// Decides, commits and applies; then gives the answer and the end offset of the metadata that holds it.
    ///
    /// Dropping the future does not take the operation back.
    pub async fn perform<A: Send + 'static>(
        &self,
        decide: impl FnOnce(&Context<'_>, &mut Random<'_>) -> Result<Decision<A>, Refusal> + Send + 'static,
    ) -> Result<(A, i64), Error> {
        let (sender, answered) = oneshot::channel();
        let (refuse, refused) = oneshot::channel();
        let decide: Decide = Box::new(move |context, random| match decide(context, random) {
            Ok(Decision { records, answer }) => {
                let answer: Answer = Box::new(move |outcome| {
                    // Whoever gave up waiting does not need the answer.
                    let _ = sender.send(outcome.map(|end_offset| (answer, end_offset)));
                });
                Decided { records, answer }
            }
            // A refusal may rest on what is only proposed yet, so it too is answered after that is committed.
            Err(refusal) => {
                let answer: Answer = Box::new(move |outcome| {
                    let _ = sender.send(Err(outcome.err().unwrap_or(Error::Refused(refusal))));
                });
                Decided { records: Vec::new(), answer }
            }
        });
        let operation = Operation { decide, refuse };
        self.operations.try_send(operation).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => Error::Busy,
            mpsc::error::TrySendError::Closed(_) => Error::NotController,
        })?;
        let outcome = async move {
            match answered.await {
                Ok(outcome) => outcome,
                // Never decided: the writer says why, or is gone.
                Err(_) => Err(refused.await.unwrap_or(Error::NotController)),
            }
        };
        let limit = bounds::CONTROLLER_OPERATION_TIMEOUT;
        self.host.clock().timeout(limit, outcome).await.unwrap_or(Err(Error::TimedOut))
    }
}

/// Being the active controller of one epoch.
struct Standing {
    term: u64,
    /// Committed plus proposed.
    image: Image,
}

/// An entry in the making: what is decided next sees its image.
struct Draft {
    base_offset: i64,
    delta: Delta,
    /// Control batches that the entry begins with, one record each.
    control: Vec<Bytes>,
    values: Vec<Bytes>,
    values_bytes: usize,
}

impl Standing {
    fn draft(&self) -> Draft {
        let delta = Delta::new(&self.image);
        Draft {
            base_offset: self.image.end_offset,
            delta,
            control: Vec::new(),
            values: Vec::new(),
            values_bytes: 0,
        }
    }
}

impl Draft {
    fn control(&mut self, batch: Bytes) {
        assert!(self.values.is_empty(), "control batches come first");
        self.control.push(batch);
        self.delta.skip_offsets(1);
    }

    /// Finalizes a level of `kraft.version`.
    fn raise(&mut self, level: i16, stamp: Stamp) {
        self.control(batches::kraft_version(self.delta.image().end_offset, stamp, level));
        self.delta.set_kraft_version(level);
    }

    fn add(&mut self, records: &[Record]) {
        for record in records {
            self.delta.apply(record);
            // A level record counts for itself and for what follows.
            let level = self.delta.image().features.metadata_version();
            let value = record::encode(record, level)
                .expect("decide makes records that the finalized level can carry");
            self.values_bytes += value.len();
            self.values.push(value);
        }
    }

    fn is_empty(&self) -> bool {
        self.values.is_empty() && self.control.is_empty()
    }

    fn is_full(&self) -> bool {
        self.values.len() >= bounds::CONTROLLER_PROPOSAL_RECORDS_MAX
            || self.values_bytes >= bounds::CONTROLLER_PROPOSAL_BYTES_MAX
    }

    /// The entry, and the image after it.
    fn finish(self, term: u64, stamp: Stamp) -> (Proposal, Image) {
        let mut bytes = Vec::with_capacity(self.values_bytes + 1024);
        for batch in &self.control {
            bytes.extend_from_slice(batch);
        }
        let mut offset = self.base_offset + self.control.len() as i64;
        for chunk in self.values.chunks(bounds::CONTROLLER_SNAPSHOT_BATCH_RECORDS_MAX) {
            bytes.extend_from_slice(&batches::data(offset, stamp, chunk));
            offset += chunk.len() as i64;
        }
        (Proposal { epoch: term, base_offset: self.base_offset, batch: bytes.into() }, self.delta.finish())
    }
}

struct State {
    host: Host,
    raft: Raft,
    id: RaftId,
    publisher: Arc<Publisher>,
    settings: Settings,
    active: watch::Sender<Active>,
    standing: Option<Standing>,
    /// The term whose leader change was proposed already.
    led: Option<u64>,
    in_flight: BTreeMap<u64, Vec<Answer>>,
    /// The proposal that changes the quorum: one at a time.
    changing: Option<u64>,
    next_proposal: u64,
    /// Tells that Raft has the last proposal, or will not get it.
    turn: oneshot::Receiver<()>,
    completions: mpsc::Sender<(u64, Option<i64>)>,
}

/// What woke the writer.
enum Event {
    Leadership,
    Completed(u64, Option<i64>),
    Change(Option<Change>),
    Operation(Option<Operation>),
}

impl State {
    async fn run(
        mut self,
        mut queue: mpsc::Receiver<Operation>,
        mut changes: mpsc::Receiver<Change>,
        mut completed: mpsc::Receiver<(u64, Option<i64>)>,
    ) {
        let mut metrics = self.raft.metrics();
        loop {
            self.observe();
            let room = self.in_flight.len() < bounds::CONTROLLER_PROPOSALS_IN_FLIGHT_MAX;
            let event = tokio::select! {
                biased;
                changed = metrics.changed() => match changed {
                    Ok(()) => Event::Leadership,
                    // Raft has stopped: nothing can be proposed any more.
                    Err(_) => break,
                },
                Some((proposal, end_offset)) = completed.recv() => Event::Completed(proposal, end_offset),
                change = changes.recv(), if room && self.changing.is_none() => Event::Change(change),
                operation = queue.recv(), if room => Event::Operation(operation),
            };
            match event {
                Event::Leadership => {}
                Event::Completed(proposal, end_offset) => self.complete(proposal, end_offset),
                Event::Change(Some(change)) => self.take_change(change),
                Event::Operation(Some(first)) => self.take(first, &mut queue),
                Event::Change(None) | Event::Operation(None) => break,
            }
        }
        self.stand_down();
        self.publish_active(Active::default());
    }

    /// Looks at what Raft says, and begins or ends being the active controller.
    fn observe(&mut self) {
        let metrics = self.raft.metrics();
        let (leader, term, state, applied_term) = {
            let now = metrics.borrow_watched();
            let applied_term = now.last_applied.map(|id| id.leader_id.term);
            (now.current_leader, now.current_term, now.state, applied_term)
        };
        let leads = state == ServerState::Leader && leader == Some(self.id);
        if self.standing.as_ref().is_some_and(|s| !leads || s.term != term) {
            self.stand_down();
        }
        // The first entry of this term is applied, and so is everything before it: decisions see all that was committed.
        if leads && self.standing.is_none() && applied_term == Some(term) && self.in_flight.is_empty() {
            self.stand_up(term);
        }
        let epoch = i32::try_from(term).expect("a term counts elections");
        self.publish_active(Active {
            node_id: leader.map(|id| id.node),
            epoch,
            here: self.standing.is_some(),
        });
    }

    fn publish_active(&self, now: Active) {
        self.active.send_if_modified(|active| std::mem::replace(active, now) != now);
    }

    fn stand_up(&mut self, term: u64) {
        let image = self.publisher.committed().image;
        self.standing = Some(Standing { term, image });
        if self.led == Some(term) {
            return;
        }
        self.led = Some(term);
        tracing::info!(epoch = term, "this node is the active controller");
        let voters: Vec<RaftId> = self.raft.voter_ids().collect();
        let stamp = self.stamp(term);
        let mut draft = self.standing.as_ref().expect("it was set above").draft();
        draft.control(batches::leader_change(draft.base_offset, stamp, self.id.node, &voters));
        if draft.delta.image().features.iter().next().is_none() {
            if self.settings.dynamic_quorum {
                draft.raise(batches::DYNAMIC_VOTERS, stamp);
            }
            let context = Context { image: draft.delta.image(), settings: &self.settings };
            let records = bootstrap_records(&context);
            draft.add(&records);
        }
        self.propose(draft, Vec::new());
    }

    fn stamp(&self, term: u64) -> Stamp {
        let epoch = i32::try_from(term).expect("a term counts elections");
        Stamp { epoch, timestamp_ms: self.host.clock().wall_ms() }
    }

    fn stand_down(&mut self) {
        if let Some(standing) = self.standing.take() {
            tracing::info!(epoch = standing.term, "this node is not the active controller any more");
        }
        for answer in self.in_flight.values_mut().flat_map(std::mem::take) {
            answer(Err(Error::NotController));
        }
    }

    /// Decides everything that is queued, and proposes it as one entry.
    fn take(&mut self, first: Operation, queue: &mut mpsc::Receiver<Operation>) {
        let Some(standing) = &mut self.standing else {
            // Whoever waits for the answer may have given up.
            let _ = first.refuse.send(Error::NotController);
            return;
        };
        let mut draft = standing.draft();
        let mut answers = Vec::new();
        let entropy = self.host.entropy();
        let mut next = Some(first);
        while let Some(operation) = next {
            let mut number = || entropy.u64();
            let context = Context { image: draft.delta.image(), settings: &self.settings };
            let decided = (operation.decide)(&context, &mut Random(&mut number));
            draft.add(&decided.records);
            answers.push(decided.answer);
            next = if draft.is_full() { None } else { queue.try_recv().ok() };
        }
        self.propose(draft, answers);
    }

    /// Sends one entry on its way. Without records the answers wait for what was proposed before, which they saw.
    fn propose(&mut self, draft: Draft, answers: Vec<Answer>) {
        if draft.is_empty() {
            match self.in_flight.last_entry() {
                Some(mut last) => last.get_mut().extend(answers),
                None => answers.into_iter().for_each(|answer| answer(Ok(draft.base_offset))),
            }
            return;
        }
        let term = self.standing.as_ref().expect("only the active controller proposes").term;
        let (proposal, image) = draft.finish(term, self.stamp(term));
        self.standing = Some(Standing { term, image });
        let raft = self.raft.clone();
        self.submit(answers, async move { raft.client_write(proposal).await });
    }

    /// Decides a change of the quorum against who is in it now, and proposes it as an entry of its own.
    fn take_change(&mut self, Change { decide, answer }: Change) {
        let Some(standing) = &self.standing else {
            return answer(Err(Error::NotController));
        };
        let (term, mut delta) = (standing.term, Delta::new(&standing.image));
        let members = self.raft.metrics().borrow_watched().membership_config.clone();
        let change = match decide(members.membership(), &standing.image) {
            Ok(Some(change)) => change,
            Ok(None) => return answer(Ok(standing.image.end_offset)),
            Err(refusal) => return answer(Err(refusal.into())),
        };
        self.changing = Some(self.next_proposal);
        let raft = self.raft.clone();
        // What was decided against other members must not become an entry.
        let only_after = [Precondition::LastMembershipLogId { last_membership_log_id: *members.log_id() }];
        match change {
            QuorumChange::Level(level) => {
                let mut draft = standing.draft();
                draft.raise(level, self.stamp(term));
                return self.propose(draft, vec![answer]);
            }
            QuorumChange::Members(members) => self.submit(vec![answer], async move {
                raft.append_membership(members, EntryPayload::Blank, only_after).await
            }),
            QuorumChange::Address(id, voter) => self.submit(vec![answer], async move {
                let moved = ChangeMembers::SetNodes(BTreeMap::from([(id, voter)]));
                raft.change_membership(moved, true).await
            }),
        }
        // Its records are those that every voter makes of a membership.
        delta.skip_offsets(batches::RECORDS_OF_MEMBERSHIP);
        self.standing = Some(Standing { term, image: delta.finish() });
    }

    /// Hands an entry to Raft, after those before it; its answers wait until it is applied.
    fn submit(
        &mut self,
        answers: Vec<Answer>,
        write: impl Future<Output = Result<Written, WriteError>> + Send + 'static,
    ) {
        let number = self.next_proposal;
        self.next_proposal += 1;
        self.in_flight.insert(number, answers);
        let completions = self.completions.clone();
        let (handed_over, next_turn) = oneshot::channel();
        let turn = std::mem::replace(&mut self.turn, next_turn);
        self.host.spawn("controller proposal", async move {
            // In order: of two tasks either may run first, and a proposal that overtakes another is refused by its base offset.
            let _ = turn.await;
            let mut writing = std::pin::pin!(write);
            let first = std::future::poll_fn(|cx| Poll::Ready(writing.as_mut().poll(cx))).await;
            let _ = handed_over.send(());
            let written = match first {
                Poll::Ready(written) => written,
                Poll::Pending => writing.await,
            };
            let end_offset = match written.map(|written| written.data) {
                Ok(Applied { accepted: true, end_offset }) => Some(end_offset),
                Ok(_) => None,
                Err(error) => {
                    tracing::info!(%error, "a proposal was not committed");
                    None
                }
            };
            // The writer is gone when the controller stops.
            let _ = completions.send((number, end_offset)).await;
        });
    }

    fn complete(&mut self, proposal: u64, end_offset: Option<i64>) {
        let answers = self.in_flight.remove(&proposal).unwrap_or_default();
        self.changing = self.changing.filter(|changing| *changing != proposal);
        match end_offset {
            Some(end_offset) => answers.into_iter().for_each(|answer| answer(Ok(end_offset))),
            None => {
                answers.into_iter().for_each(|answer| answer(Err(Error::NotController)));
                // What was decided after it rests on something that did not happen.
                self.stand_down();
            }
        }
    }
}
