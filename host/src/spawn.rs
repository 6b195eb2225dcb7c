//! Tasks, and whose task is running.

use std::cell::RefCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::Host;

/// What starts a task. The future ends by itself when its `Stop` is used.
pub(crate) trait Spawner: Send + Sync {
    fn spawn(&self, name: &'static str, future: Pin<Box<dyn Future<Output = ()> + Send>>) -> Stop;
}

/// Ends a task: its future is dropped at its next turn.
pub(crate) type Stop = Arc<dyn Fn() + Send + Sync>;

/// A started task; a future of its result. Dropping it lets the task run on.
pub struct Task<T> {
    result: oneshot::Receiver<T>,
    stop: Stop,
}

/// The task was aborted, panicked, or its node crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task ended without a result")]
pub struct TaskEnded;

impl<T> Task<T> {
    /// Ends the task at its next await.
    pub fn abort(&self) {
        (self.stop)();
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T, TaskEnded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(cx).map_err(|_| TaskEnded)
    }
}

impl<T> std::fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Task")
    }
}

pub(crate) fn start<T: Send + 'static>(
    host: &Host,
    spawner: &dyn Spawner,
    name: &'static str,
    future: impl Future<Output = T> + Send + 'static,
) -> Task<T> {
    let (sender, result) = oneshot::channel();
    let whole = async move {
        // Nobody may be waiting for the result; that is what dropping a Task means.
        let _ = sender.send(future.await);
    };
    let stop =
        spawner.spawn(name, Box::pin(Scoped { host: Some(host.clone()), future: Some(Box::pin(whole)) }));
    Task { result, stop }
}

thread_local! {
    static CURRENT: RefCell<Option<Host>> = const { RefCell::new(None) };
}

/// The host whose task is being polled. Exists for libraries whose hooks are static functions (openraft's runtime);
/// everything else is given its host.
///
/// Panics outside of a task that `Host::spawn` started.
pub fn current() -> Host {
    CURRENT.with(|c| c.borrow().clone()).expect("called from a task of a host")
}

/// Sets the current host while the future is polled or dropped.
struct Scoped {
    /// None while it is the thread's current one: lent, so that a poll costs no counting of references.
    host: Option<Host>,
    future: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Future for Scoped {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let _scope = Scope::enter(&mut this.host);
        let Some(future) = &mut this.future else { return Poll::Ready(()) };
        future.as_mut().poll(cx)
    }
}

impl Drop for Scoped {
    fn drop(&mut self) {
        let _scope = Scope::enter(&mut self.host);
        self.future = None;
    }
}

/// Exchanges a task's host with the thread's current one, and back at its end, even if the task panics.
struct Scope<'a> {
    host: &'a mut Option<Host>,
}

impl Scope<'_> {
    fn enter(host: &mut Option<Host>) -> Scope<'_> {
        exchange(host);
        Scope { host }
    }
}

impl Drop for Scope<'_> {
    fn drop(&mut self) {
        exchange(self.host);
    }
}

fn exchange(host: &mut Option<Host>) {
    // A thread that is ending has no locals any more; then there is nothing to exchange.
    let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), host));
}
