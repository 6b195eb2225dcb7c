//! Tasks and events on one thread, in an order that the seed decides.
//!
//!     woken --> ready --pick at random--> polled --> pending ...          (no time passes)
//!     events, by (time, order) --when nothing is ready--> run             (time jumps to the event)
//!
//! An event may belong to a node's life: then it is dropped when that life has ended, and waits while the node is paused.
//!
//! **Invariant:** nothing is polled, run or dropped while the state is locked: all of that may come back here.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::entropy::split_mix;

pub(crate) type NodeId = usize;
type TaskId = u64;
type Future = Pin<Box<dyn std::future::Future<Output = ()> + Send>>;
type Action = Box<dyn FnOnce() + Send>;
/// Names a scheduled event: when, and its number among those of that time.
pub(crate) type EventId = (Duration, u64);

/// So many turns without any time passing are a busy loop, not work.
const TURNS_AT_ONE_TIME_MAX: u64 = 3_000_000;

/// A node's tasks of one life: a crash ends all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) node: NodeId,
    pub(crate) generation: u64,
}

struct TaskCell {
    life: Life,
    name: &'static str,
    /// None while it is being polled.
    future: Option<Future>,
    stopped: bool,
    /// It is in the list of ready tasks, or held by its paused node.
    queued: bool,
}

struct Event {
    /// None for what happens whatever becomes of the nodes.
    life: Option<Life>,
    action: Action,
}

#[derive(Default)]
struct NodeState {
    generation: u64,
    paused: bool,
    /// Tasks that became ready, and events whose time came, while the node was paused.
    held_tasks: BTreeSet<TaskId>,
    held_events: VecDeque<Event>,
}

struct State {
    now: Duration,
    random: u64,
    trace: u64,
    next_order: u64,
    next_task: TaskId,
    tasks: BTreeMap<TaskId, TaskCell>,
    ready: Vec<TaskId>,
    events: BTreeMap<EventId, Event>,
    nodes: Vec<NodeState>,
    turns_at_now: u64,
    /// The words of the trace, one entry an event, if somebody wants to compare two runs.
    recorded: Option<Vec<Vec<u64>>>,
}

impl State {
    /// Mixes an event into the trace.
    fn note(&mut self, words: &[u64]) {
        mix(&mut self.trace, words);
        if let Some(recorded) = &mut self.recorded {
            recorded.push(words.to_vec());
        }
    }

    fn is_alive(&self, life: Life) -> bool {
        self.nodes[life.node].generation == life.generation
    }

    fn schedule(&mut self, at: Duration, event: Event) -> EventId {
        let id = (at.max(self.now), self.next_order);
        self.next_order += 1;
        self.events.insert(id, event);
        id
    }
}

/// What a step was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Done,
    /// Nothing is ready and nothing is scheduled.
    Nothing,
    /// Tasks wake each other and time does not pass.
    Spinning,
}

/// See the module.
pub(crate) struct Executor {
    state: Mutex<State>,
    /// Tasks that were woken; apart from the state, because wakers are called from anywhere.
    woken: Mutex<Vec<TaskId>>,
}

struct TaskWaker {
    task: TaskId,
    executor: Weak<Executor>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Some(executor) = self.executor.upgrade() {
            executor.woken.lock().expect("nobody panics while holding it").push(self.task);
        }
    }
}

impl Executor {
    pub(crate) fn new(seed: u64) -> Arc<Executor> {
        let state = State {
            now: Duration::ZERO,
            random: seed,
            trace: 0xcbf2_9ce4_8422_2325,
            next_order: 0,
            next_task: 0,
            tasks: BTreeMap::new(),
            ready: Vec::new(),
            events: BTreeMap::new(),
            nodes: Vec::new(),
            turns_at_now: 0,
            recorded: None,
        };
        Arc::new(Executor { state: Mutex::new(state), woken: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    pub(crate) fn now(&self) -> Duration {
        self.lock().now
    }

    pub(crate) fn random(&self) -> u64 {
        split_mix(&mut self.lock().random)
    }

    /// A number below `limit`; 0 for a limit of 0.
    pub(crate) fn below(&self, limit: u64) -> u64 {
        if limit == 0 { 0 } else { self.random() % limit }
    }

    /// A duration up to `limit`.
    pub(crate) fn duration_up_to(&self, limit: Duration) -> Duration {
        Duration::from_nanos(self.below(limit.as_nanos() as u64 + 1))
    }

    /// Mixes an event into the trace.
    pub(crate) fn trace(&self, words: &[u64]) {
        self.lock().note(words);
    }

    /// Keeps the events of the trace from now on.
    pub(crate) fn record(&self) {
        self.lock().recorded = Some(Vec::new());
    }

    /// The events since `record`, in words.
    pub(crate) fn recorded(&self) -> Vec<Vec<u64>> {
        self.lock().recorded.clone().unwrap_or_default()
    }

    pub(crate) fn trace_hash(&self) -> u64 {
        self.lock().trace
    }

    pub(crate) fn add_node(&self) -> NodeId {
        let mut state = self.lock();
        state.nodes.push(NodeState::default());
        state.nodes.len() - 1
    }

    pub(crate) fn life(&self, node: NodeId) -> Life {
        Life { node, generation: self.lock().nodes[node].generation }
    }

    pub(crate) fn is_alive(&self, life: Life) -> bool {
        self.lock().is_alive(life)
    }

    /// Does `action` after `delay`.
    pub(crate) fn after(&self, delay: Duration, life: Option<Life>, action: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        let at = state.now.saturating_add(delay);
        state.schedule(at, Event { life, action: Box::new(action) });
    }

    /// Does `action` at a time, or next if that time is past.
    pub(crate) fn at(
        &self,
        at: Duration,
        life: Option<Life>,
        action: impl FnOnce() + Send + 'static,
    ) -> EventId {
        self.lock().schedule(at, Event { life, action: Box::new(action) })
    }

    pub(crate) fn cancel(&self, event: EventId) {
        let event = self.lock().events.remove(&event);
        drop(event);
    }

    pub(crate) fn spawn(&self, life: Life, name: &'static str, future: Future) -> TaskId {
        let mut state = self.lock();
        let task = state.next_task;
        state.next_task += 1;
        if state.is_alive(life) {
            let cell = TaskCell { life, name, future: Some(future), stopped: false, queued: true };
            state.tasks.insert(task, cell);
            state.ready.push(task);
            return task;
        }
        // The node is gone; its code runs on until its next await, but starts nothing.
        drop(state);
        drop(future);
        task
    }

    /// Ends a task. If it is the one being polled, it ends when its turn does.
    pub(crate) fn stop(&self, task: TaskId) {
        let future = {
            let mut state = self.lock();
            let Some(cell) = state.tasks.get_mut(&task) else { return };
            cell.stopped = true;
            let future = cell.future.take();
            if future.is_some() {
                state.tasks.remove(&task);
            }
            future
        };
        drop(future);
    }

    /// Ends a node's life: its tasks are dropped, and nothing that belongs to it happens any more.
    pub(crate) fn end_life(&self, node: NodeId) {
        let (futures, held) = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let ended = &mut state.nodes[node];
            let life = Life { node, generation: ended.generation };
            ended.generation += 1;
            ended.paused = false;
            ended.held_tasks.clear();
            let held = std::mem::take(&mut ended.held_events);
            let mine = state.tasks.values_mut().filter(|cell| cell.life == life);
            let futures: Vec<Option<Future>> = mine
                .map(|cell| {
                    cell.stopped = true;
                    cell.future.take()
                })
                .collect();
            (futures, held)
        };
        drop((futures, held));
        self.lock().tasks.retain(|_, cell| !cell.stopped || cell.future.is_some());
    }

    pub(crate) fn set_paused(&self, node: NodeId, paused: bool) {
        let mut state = self.lock();
        state.nodes[node].paused = paused;
        if !paused {
            let tasks = std::mem::take(&mut state.nodes[node].held_tasks);
            state.ready.extend(tasks);
            let now = state.now;
            for event in std::mem::take(&mut state.nodes[node].held_events) {
                state.schedule(now, event);
            }
        }
    }

    /// Polls one ready task, or lets time pass until the next event.
    pub(crate) fn step(self: &Arc<Executor>) -> Step {
        self.take_woken();
        if let Some(task) = self.pick() {
            self.poll(task);
            return if self.lock().turns_at_now > TURNS_AT_ONE_TIME_MAX {
                Step::Spinning
            } else {
                Step::Done
            };
        }
        let due = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let Some(((at, order), event)) = state.events.pop_first() else { return Step::Nothing };
            if at > state.now {
                state.now = at;
                state.turns_at_now = 0;
            }
            match event.life {
                Some(life) if !state.is_alive(life) => Err(event),
                Some(life) if state.nodes[life.node].paused => {
                    state.nodes[life.node].held_events.push_back(event);
                    return Step::Done;
                }
                _ => {
                    state.note(&[EVENT, at.as_nanos() as u64, order]);
                    Ok(event)
                }
            }
        };
        match due {
            Ok(event) => (event.action)(),
            Err(of_the_dead) => drop(of_the_dead),
        }
        Step::Done
    }

    fn take_woken(&self) {
        let mut woken = std::mem::take(&mut *self.woken.lock().expect("nobody panics while holding it"));
        // Whoever wakes several tasks may do so in an order of its own dice: tokio's watch channel spreads its waiters over
        // random shards. Which of them runs first is for this executor's dice alone.
        woken.sort_unstable();
        let mut guard = self.lock();
        let state = &mut *guard;
        for task in woken {
            if let Some(cell) = state.tasks.get_mut(&task)
                && !cell.queued
            {
                cell.queued = true;
                state.ready.push(task);
            }
        }
    }

    /// A ready task of a node that is not paused, at random.
    fn pick(&self) -> Option<TaskId> {
        let mut guard = self.lock();
        let state = &mut *guard;
        while !state.ready.is_empty() {
            let index = (split_mix(&mut state.random) % state.ready.len() as u64) as usize;
            let task = state.ready.swap_remove(index);
            let Some(cell) = state.tasks.get_mut(&task) else { continue };
            let node = &mut state.nodes[cell.life.node];
            if node.paused {
                node.held_tasks.insert(task);
                continue;
            }
            cell.queued = false;
            return Some(task);
        }
        None
    }

    fn poll(self: &Arc<Executor>, task: TaskId) {
        let future = {
            let mut guard = self.lock();
            let state = &mut *guard;
            state.turns_at_now += 1;
            let now = state.now.as_nanos() as u64;
            let node = state.tasks.get(&task).map_or(u64::MAX, |cell| cell.life.node as u64);
            state.note(&[TURN, now, task, node]);
            state.tasks.get_mut(&task).and_then(|cell| cell.future.take())
        };
        let Some(mut future) = future else { return };
        let waker = Waker::from(Arc::new(TaskWaker { task, executor: Arc::downgrade(self) }));
        let done = future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready();
        let mut state = self.lock();
        match state.tasks.get_mut(&task) {
            Some(cell) if !done && !cell.stopped => cell.future = Some(future),
            _ => {
                state.tasks.remove(&task);
                drop(state);
                drop(future);
            }
        }
    }

    /// Forgets everything: tasks and events hold what holds the executor, and the circle is cut here.
    pub(crate) fn clear(&self) {
        let (tasks, events) = {
            let mut state = self.lock();
            for node in &mut state.nodes {
                node.generation += 1;
            }
            (std::mem::take(&mut state.tasks), std::mem::take(&mut state.events))
        };
        drop((tasks, events));
    }

    /// What is there but cannot go on, for the message of a run that is stuck.
    pub(crate) fn waiting(&self) -> Vec<(NodeId, &'static str)> {
        self.lock().tasks.values().map(|c| (c.life.node, c.name)).collect()
    }
}

/// What an event of the trace is: its first word.
pub(crate) const EVENT: u64 = 1;
pub(crate) const TURN: u64 = 2;
pub(crate) const DELIVERY: u64 = 3;
pub(crate) const DISK: u64 = 4;
pub(crate) const CRASH: u64 = 5;
pub(crate) const BYTES_WRITTEN: u64 = 6;
/// What a test saw.
pub(crate) const NOTE: u64 = 7;

const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a, a word at a time.
fn mix(trace: &mut u64, words: &[u64]) {
    for word in words {
        let mixed = (*trace ^ word).wrapping_mul(FNV_PRIME);
        // A product carries upwards only: the high bits come back down.
        *trace = mixed ^ (mixed >> 29);
    }
}

/// A number for some bytes, for the trace.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    for eight in bytes.chunks(8) {
        let mut word = [0; 8];
        word[..eight.len()].copy_from_slice(eight);
        mix(&mut hash, &[u64::from_le_bytes(word)]);
    }
    hash
}
