//! The part of a connection that others see: its handlers, the watch and the listener.
//!
//! **Invariant:** plain words without locks; the connection's task is the only writer of its own progress.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use host::{Abort, Host, Task};
use protocol::bounds::{FRAME_RECEIVE_BYTES_PER_SECOND_MIN, FRAME_RECEIVE_TIMEOUT};
use tokio::sync::Notify;

use super::Inner;
use crate::context::{Authorizer, Peer};
use crate::frame::Progress;
use crate::quotas::Admitted;

/// No frame is being received.
const NO_FRAME: u64 = 0;

pub(crate) struct Shared {
    pub(crate) peer: Peer,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(super) server: Arc<Inner>,
    /// Counted against the quotas until the connection ends; None for a stream in memory.
    admitted: Option<Admitted>,
    /// When bytes last went in or out, in ms of the host's clock.
    active_ms: AtomicU64,
    /// The peer has to do something next: send a request, or read answers.
    is_peers_turn: AtomicBool,
    /// When the frame that is being received began, or NO_FRAME; and how much of it came.
    frame_began_ms: AtomicU64,
    frame_bytes: AtomicU64,
    muted_until_ms: AtomicU64,
    is_draining: AtomicBool,
    /// Wakes the reading side for `is_draining`.
    signal: Notify,
    is_ended: AtomicBool,
    end: Notify,
    abort: Abort,
    task: OnceLock<Task<()>>,
}

/// The host's steady clock in milliseconds; never zero.
pub(super) fn now_ms(host: &Host) -> u64 {
    host.clock().now().since_start().as_millis() as u64 + 1
}

impl Shared {
    pub(super) fn new(server: Arc<Inner>, peer: Peer, abort: Abort, admitted: Option<Admitted>) -> Shared {
        Shared {
            peer,
            authorizer: Arc::clone(&server.config.authorizer),
            admitted,
            active_ms: AtomicU64::new(now_ms(&server.host)),
            is_peers_turn: AtomicBool::new(true),
            frame_began_ms: AtomicU64::new(NO_FRAME),
            frame_bytes: AtomicU64::new(0),
            muted_until_ms: AtomicU64::new(0),
            is_draining: AtomicBool::new(false),
            signal: Notify::new(),
            is_ended: AtomicBool::new(false),
            end: Notify::new(),
            abort,
            task: OnceLock::new(),
            server,
        }
    }

    pub(super) fn started(&self, task: Task<()>) {
        assert!(self.task.set(task).is_ok(), "a connection is started once");
    }

    pub(crate) fn now_ms(&self) -> u64 {
        now_ms(&self.server.host)
    }

    /// Bytes went in or out.
    pub(super) fn touch(&self) {
        self.active_ms.store(self.now_ms(), Ordering::Relaxed);
    }

    pub(super) fn set_peers_turn(&self, is_peers_turn: bool) {
        self.is_peers_turn.store(is_peers_turn, Ordering::Relaxed);
    }

    /// The frame is complete, or was given up.
    pub(super) fn frame_done(&self) {
        self.frame_began_ms.store(NO_FRAME, Ordering::Relaxed);
    }

    pub(crate) fn mute_until(&self, at_ms: u64) {
        self.muted_until_ms.fetch_max(at_ms, Ordering::Relaxed);
    }

    /// When the connection may be read again; None if it may now.
    pub(super) fn muted_for(&self) -> Option<Duration> {
        let until = self.muted_until_ms.load(Ordering::Relaxed);
        if until == 0 {
            return None;
        }
        until.checked_sub(self.now_ms()).filter(|ms| *ms > 0).map(Duration::from_millis)
    }

    /// Why the peer has kept us waiting for too long, if it has.
    pub(super) fn is_late(&self, now_ms: u64, idle_max: Duration) -> Option<&'static str> {
        // Within the process nobody is late.
        self.admitted.as_ref()?;
        let began = self.frame_began_ms.load(Ordering::Relaxed);
        if began != NO_FRAME {
            let earned = self.frame_bytes.load(Ordering::Relaxed) / FRAME_RECEIVE_BYTES_PER_SECOND_MIN as u64;
            let allowed = FRAME_RECEIVE_TIMEOUT + Duration::from_secs(earned);
            if now_ms.saturating_sub(began) > allowed.as_millis() as u64 {
                return Some("a frame was not completed in time");
            }
        }
        let quiet_ms = now_ms.saturating_sub(self.active_ms.load(Ordering::Relaxed));
        let is_idle = self.is_peers_turn.load(Ordering::Relaxed) && quiet_ms > idle_max.as_millis() as u64;
        is_idle.then_some("idle for connections.max.idle.ms")
    }

    /// Lets the connection end after its pending answers.
    pub(super) fn drain(&self) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.signal.notify_one();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::SeqCst)
    }

    pub(super) async fn until_draining(&self) {
        while !self.is_draining() {
            self.signal.notified().await;
        }
    }

    /// Ends the connection at once. What the peer does not read is not kept in the kernel either.
    pub(super) fn kill(&self) {
        self.abort.abort();
        // A task that is not registered yet is found by the next walk.
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    pub(super) fn ended(&self) {
        self.is_ended.store(true, Ordering::SeqCst);
        self.end.notify_waiters();
        self.server.ended(self);
    }

    pub(crate) async fn until_ended(&self) {
        let mut end = std::pin::pin!(self.end.notified());
        end.as_mut().enable();
        if !self.is_ended.load(Ordering::SeqCst) {
            end.await;
        }
    }
}

impl Progress for Shared {
    fn received(&self, frame_bytes: usize) {
        self.touch();
        self.frame_bytes.store(frame_bytes as u64, Ordering::Relaxed);
        if self.frame_began_ms.load(Ordering::Relaxed) == NO_FRAME {
            self.frame_began_ms.store(self.now_ms(), Ordering::Relaxed);
        }
    }

    fn waits_for_memory(&self) {
        // The clock of this frame starts anew when there is memory: the wait is not the peer's fault.
        self.frame_done();
        self.touch();
    }
}
