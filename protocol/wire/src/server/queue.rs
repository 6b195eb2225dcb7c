//! The answers of one connection, in the order of its requests.
//!
//!     reader: push ->  [ ready | waiting | ready | waiting ]  -> writer: takes ready ones off the front
//!                                  ^-- completed by its `Later` future, in any order
//!
//! Reader and writer are two futures of one task, so the lock is never contended and no wake-ups are needed: the task
//! polls the writer after the reader, and the reader again when there is room.
//!
//! **Invariant:** `slots.len() <= answers_max`, and no request is read while answers of `bytes_max` lie in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt};
use host::{Clock, Instant};
use protocol::ApiKey;

use crate::BoxFuture;
use crate::answer::{Answer, Encoded};

/// What is known of a request while its answer is on the way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    pub(super) bytes: u64,
    /// When its frame was complete.
    pub(super) at: Instant,
    /// When the ordered part of its handler was done.
    pub(super) ordered_at: Instant,
}

enum Slot {
    Waiting,
    /// With the moment at which it became ready.
    Ready(Asked, Instant, Encoded),
    Close(String),
}

pub(super) struct AnswerQueue {
    state: Mutex<State>,
    answers_max: usize,
    bytes_max: usize,
}

struct State {
    slots: VecDeque<Slot>,
    /// The number of the slot at the front.
    first: u64,
    later: FuturesUnordered<BoxFuture<'static, (u64, Asked, Answer)>>,
    /// Bytes of ready answers in memory, until they are written.
    memory_bytes: usize,
    reader_waits: bool,
    /// The ordered part of a request is running.
    is_handling: bool,
    /// Answers are being written.
    is_writing: bool,
    /// Nothing more will be pushed.
    is_closed: bool,
    /// The peer sends no more: what is not ready will not be waited for.
    is_half_closed: bool,
}

/// What the writer is to do next.
pub(super) enum Next {
    Write(Asked, Instant, Encoded),
    /// End the connection with this reason, now that everything before it is written.
    Close(String),
    /// All that the peer can still get is written.
    Drained,
}

impl AnswerQueue {
    pub(super) fn new(answers_max: usize, bytes_max: usize) -> AnswerQueue {
        let state = State {
            slots: VecDeque::new(),
            first: 0,
            later: FuturesUnordered::new(),
            memory_bytes: 0,
            reader_waits: false,
            is_handling: false,
            is_writing: false,
            is_closed: false,
            is_half_closed: false,
        };
        AnswerQueue { state: Mutex::new(state), answers_max, bytes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Puts in the answer to the newest request. The caller has waited for `room`.
    pub(super) fn push(&self, asked: Asked, answer: Answer) {
        let mut state = self.lock();
        let number = state.first + state.slots.len() as u64;
        state.slots.push_back(Slot::Waiting);
        state.settle(number, asked, asked.ordered_at, answer);
    }

    /// Ends the connection once everything before is written.
    pub(super) fn push_close(&self, reason: String) {
        self.lock().slots.push_back(Slot::Close(reason));
    }

    /// Nothing more is pushed; the writer ends when all is written.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
    }

    /// The peer has closed its side. It gets the answers that are ready, as from Kafka; whoever went away altogether is
    /// not waited for.
    pub(super) fn half_close(&self) {
        self.lock().is_half_closed = true;
    }

    /// Waits until another request may be dispatched.
    pub(super) async fn room(&self) {
        std::future::poll_fn(|_| {
            let mut state = self.lock();
            state.reader_waits = !self.has_room(&state);
            if state.reader_waits { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    fn has_room(&self, state: &State) -> bool {
        state.slots.len() < self.answers_max && state.memory_bytes < self.bytes_max
    }

    /// The reader waits for room, and there is some.
    pub(super) fn can_go_on(&self) -> bool {
        let state = self.lock();
        state.reader_waits && self.has_room(&state)
    }

    pub(super) fn set_handling(&self, is_handling: bool) {
        self.lock().is_handling = is_handling;
    }

    pub(super) fn set_writing(&self, is_writing: bool) {
        self.lock().is_writing = is_writing;
    }

    /// Nothing goes on unless the peer does something: reads, or sends.
    pub(super) fn is_peers_turn(&self) -> bool {
        let state = self.lock();
        state.is_writing || (!state.is_handling && state.slots.is_empty())
    }

    /// What the writer can do; None if it has to wait. Moves the waiting answers on.
    pub(super) fn poll_next(&self, cx: &mut Context<'_>, clock: &Clock) -> Option<Next> {
        let mut state = self.lock();
        while let Poll::Ready(Some((number, asked, answer))) = state.later.poll_next_unpin(cx) {
            state.settle(number, asked, clock.now(), answer);
        }
        if matches!(state.slots.front(), None | Some(Slot::Waiting)) {
            let is_done = state.is_half_closed || (state.is_closed && state.slots.is_empty());
            return is_done.then_some(Next::Drained);
        }
        let slot = state.slots.pop_front()?;
        state.first += 1;
        if state.slots.is_empty() {
            // An idle connection keeps no room for answers.
            state.slots = VecDeque::new();
        }
        match slot {
            Slot::Ready(asked, ready_at, encoded) => Some(Next::Write(asked, ready_at, encoded)),
            Slot::Close(reason) => Some(Next::Close(reason)),
            Slot::Waiting => unreachable!("it was looked at"),
        }
    }

    /// Bytes of answers were written.
    pub(super) fn written(&self, memory_bytes: usize) {
        self.lock().memory_bytes -= memory_bytes;
    }
}

impl State {
    fn settle(&mut self, number: u64, asked: Asked, now: Instant, answer: Answer) {
        let at = (number - self.first) as usize;
        self.slots[at] = match answer {
            Answer::Now(encoded) => {
                self.memory_bytes += encoded.memory_bytes;
                Slot::Ready(asked, now, encoded)
            }
            Answer::Nothing => Slot::Ready(asked, now, Encoded::default()),
            Answer::Close(reason) => Slot::Close(format!("{}: {reason}", asked.key)),
            Answer::Later(later) => {
                self.later.push(Box::pin(async move { (number, asked, later.await) }));
                return;
            }
        };
    }
}
