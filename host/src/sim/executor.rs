//! Tasks, timers and events on one thread, in an order that the seed decides.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use crate::entropy::split_mix;

pub(crate) type NodeId = usize;
type TaskId = u64;
type Future = Pin<Box<dyn std::future::Future<Output = ()> + Send>>;
type Action = Box<dyn FnOnce() + Send>;

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
}

struct Event {
    at: Duration,
    order: u64,
    action: Action,
}

impl PartialEq for Event {
    fn eq(&self, other: &Event) -> bool {
        self.order == other.order
    }
}

impl Eq for Event {}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Event) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Event {
    fn cmp(&self, other: &Event) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

#[derive(Default)]
struct NodeState {
    generation: u64,
    paused: bool,
    /// Tasks that became ready while the node was paused.
    held: BTreeSet<TaskId>,
}

struct State {
    now: Duration,
    random: u64,
    trace: u64,
    next_order: u64,
    next_task: TaskId,
    tasks: BTreeMap<TaskId, TaskCell>,
    ready: Vec<TaskId>,
    events: BinaryHeap<Reverse<Event>>,
    nodes: Vec<NodeState>,
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
            events: BinaryHeap::new(),
            nodes: Vec::new(),
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

    /// Mixes an event into the trace (FNV-1a over its words).
    pub(crate) fn trace(&self, words: &[u64]) {
        mix(&mut self.lock().trace, words);
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
        self.lock().nodes[life.node].generation == life.generation
    }

    /// Does `action` after `delay`.
    pub(crate) fn after(&self, delay: Duration, action: impl FnOnce() + Send + 'static) {
        let at = self.lock().now.saturating_add(delay);
        self.at(at, action);
    }

    pub(crate) fn at(&self, at: Duration, action: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        let order = state.next_order;
        state.next_order += 1;
        state.events.push(Reverse(Event { at, order, action: Box::new(action) }));
    }

    pub(crate) fn spawn(&self, life: Life, name: &'static str, future: Future) -> TaskId {
        let mut state = self.lock();
        let task = state.next_task;
        state.next_task += 1;
        if state.nodes[life.node].generation == life.generation {
            state.tasks.insert(task, TaskCell { life, name, future: Some(future), stopped: false });
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
        drop(future); // Outside of the lock: dropping may wake others.
    }

    /// Ends a node's life: its tasks are dropped, and nothing that belongs to it happens any more.
    pub(crate) fn end_life(&self, node: NodeId) {
        let futures: Vec<Option<Future>> = {
            let mut state = self.lock();
            let ended = state.nodes[node].generation;
            state.nodes[node].generation += 1;
            state.nodes[node].held.clear();
            state.nodes[node].paused = false;
            let mine: Vec<TaskId> =
                state.tasks.iter().filter(|(_, c)| c.life == Life { node, generation: ended }).map(|(id, _)| *id).collect();
            mine.iter()
                .map(|id| {
                    let cell = state.tasks.get_mut(id).expect("just listed");
                    cell.stopped = true;
                    cell.future.take()
                })
                .collect()
        };
        drop(futures);
        self.lock().tasks.retain(|_, c| !c.stopped);
    }

    pub(crate) fn set_paused(&self, node: NodeId, paused: bool) {
        let mut state = self.lock();
        state.nodes[node].paused = paused;
        if !paused {
            let held = std::mem::take(&mut state.nodes[node].held);
            state.ready.extend(held);
        }
    }

    /// Polls one ready task, or lets time pass until the next event. False if neither exists.
    pub(crate) fn step(self: &Arc<Executor>) -> bool {
        self.take_woken();
        if let Some(task) = self.pick() {
            self.poll(task);
            return true;
        }
        let event = {
            let mut state = self.lock();
            let Some(Reverse(event)) = state.events.pop() else { return false };
            state.now = state.now.max(event.at);
            let (now, order) = (state.now.as_nanos() as u64, event.order);
            mix(&mut state.trace, &[1, now, order]);
            event
        };
        (event.action)();
        true
    }

    fn take_woken(&self) {
        let woken = std::mem::take(&mut *self.woken.lock().expect("nobody panics while holding it"));
        let mut state = self.lock();
        for task in woken {
            if state.tasks.contains_key(&task) && !state.ready.contains(&task) {
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
            let Some(cell) = state.tasks.get(&task) else { continue };
            let node = &mut state.nodes[cell.life.node];
            if node.paused {
                node.held.insert(task);
                continue;
            }
            return Some(task);
        }
        None
    }

    fn poll(self: &Arc<Executor>, task: TaskId) {
        let future = {
            let mut guard = self.lock();
            let state = &mut *guard;
            let now = state.now.as_nanos() as u64;
            mix(&mut state.trace, &[2, now, task]);
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
                drop(future); // Outside of the lock: dropping may wake others.
            }
        }
    }

    /// What is there but cannot go on, for the message of a run that is stuck.
    pub(crate) fn waiting(&self) -> Vec<(NodeId, &'static str)> {
        self.lock().tasks.values().map(|c| (c.life.node, c.name)).collect()
    }
}

fn mix(trace: &mut u64, words: &[u64]) {
    for word in words {
        for byte in word.to_le_bytes() {
            *trace = (*trace ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}
