//! openraft's view of the world: its `AsyncRuntime` over [`host`].
//!
//! openraft asks for tasks, timers and randomness through associated functions without `self`, so the host cannot be
//! handed in: it is `host::current()`, the host of the task that is being polled.
//!
//! **Invariant:** nothing here touches a runtime, a clock or a random source except through the host. Channels and
//! mutexes are tokio's, which need no runtime, so a simulated node runs the very same code.

use std::convert::Infallible;
use std::future::Future;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::rt;
use openraft::{OptionalSend, OptionalSync};
use tokio::sync;

/// The runtime adapter. It has no state: everything comes from the current host.
#[derive(Debug)]
pub struct HostRuntime;

/// Time since the host began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostInstant(Duration);

impl Add<Duration> for HostInstant {
    type Output = HostInstant;
    fn add(self, by: Duration) -> HostInstant {
        HostInstant(self.0 + by)
    }
}

impl AddAssign<Duration> for HostInstant {
    fn add_assign(&mut self, by: Duration) {
        self.0 += by;
    }
}

impl Sub<Duration> for HostInstant {
    type Output = HostInstant;
    /// Saturates: openraft goes back from "now" by its leases, also in the first moments of a host.
    fn sub(self, by: Duration) -> HostInstant {
        HostInstant(self.0.saturating_sub(by))
    }
}

impl Sub for HostInstant {
    type Output = Duration;
    fn sub(self, earlier: HostInstant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl SubAssign<Duration> for HostInstant {
    fn sub_assign(&mut self, by: Duration) {
        self.0 = self.0.saturating_sub(by);
    }
}

impl rt::Instant for HostInstant {
    fn now() -> HostInstant {
        HostInstant(host::current().clock().now().since_start())
    }
}

type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

fn sleep(duration: Duration) -> Sleep {
    let clock = host::current().clock().clone();
    Box::pin(async move { clock.sleep(duration).await })
}

/// The time was up before the future was ready.
#[derive(Debug)]
pub struct Elapsed;

impl std::fmt::Display for Elapsed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the time is up")
    }
}

/// A future with a limit. Both halves are boxed, which keeps this `Unpin` without unsafe code.
pub struct Timeout<F> {
    future: Pin<Box<F>>,
    sleep: Sleep,
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if let Poll::Ready(value) = self.future.as_mut().poll(cx) {
            return Poll::Ready(Ok(value));
        }
        self.sleep.as_mut().poll(cx).map(|()| Err(Elapsed))
    }
}

/// Randomness of the current host.
#[derive(Debug)]
pub struct HostRng(());

impl rand_core::TryRng for HostRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((host::current().entropy().u64() >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(host::current().entropy().u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        host::current().entropy().fill(bytes);
        Ok(())
    }
}

impl rt::AsyncRuntime for HostRuntime {
    type JoinError = host::TaskEnded;
    type JoinHandle<T: OptionalSend + 'static> = host::Task<T>;
    type Sleep = Sleep;
    type Instant = HostInstant;
    type TimeoutError = Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = Timeout<T>;
    type ThreadLocalRng = HostRng;
    type Mpsc = Mpsc;
    type Watch = Watch;
    type Oneshot = Oneshot;
    type Mutex<T: OptionalSend + 'static> = Mutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        host::current().spawn("raft", future)
    }

    fn sleep(duration: Duration) -> Sleep {
        sleep(duration)
    }

    fn sleep_until(deadline: HostInstant) -> Sleep {
        sleep(deadline - <HostInstant as rt::Instant>::now())
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Timeout<F> {
        Timeout { future: Box::pin(future), sleep: sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: HostInstant, future: F) -> Timeout<F> {
        Self::timeout(deadline - <HostInstant as rt::Instant>::now(), future)
    }

    /// Tasks are dropped or aborted; a panic of a simulated or real task is the host's business.
    fn is_panic(_join_error: &host::TaskEnded) -> bool {
        false
    }

    fn thread_rng() -> HostRng {
        HostRng(())
    }

    fn new(_threads: usize) -> HostRuntime {
        HostRuntime
    }

    fn block_on<F, T>(&mut self, _future: F) -> T
    where
        F: Future<Output = T>,
    {
        unreachable!("only openraft's own tests block on a runtime; a host is entered from outside")
    }
}

#[derive(Debug)]
pub struct Mpsc;
pub struct MpscSender<T>(sync::mpsc::Sender<T>);
pub struct MpscReceiver<T>(sync::mpsc::Receiver<T>);
pub struct MpscWeakSender<T>(sync::mpsc::WeakSender<T>);

impl<T> Clone for MpscSender<T> {
    fn clone(&self) -> Self {
        MpscSender(self.0.clone())
    }
}

impl<T> Clone for MpscWeakSender<T> {
    fn clone(&self) -> Self {
        MpscWeakSender(self.0.clone())
    }
}

impl rt::Mpsc for Mpsc {
    type Sender<T: OptionalSend> = MpscSender<T>;
    type Receiver<T: OptionalSend> = MpscReceiver<T>;
    type WeakSender<T: OptionalSend> = MpscWeakSender<T>;

    fn channel<T: OptionalSend>(buffer: usize) -> (MpscSender<T>, MpscReceiver<T>) {
        let (sender, receiver) = sync::mpsc::channel(buffer);
        (MpscSender(sender), MpscReceiver(receiver))
    }
}

impl<T: OptionalSend> rt::MpscSender<Mpsc, T> for MpscSender<T> {
    async fn send(&self, message: T) -> Result<(), rt::SendError<T>> {
        self.0.send(message).await.map_err(|e| rt::SendError(e.0))
    }

    fn downgrade(&self) -> MpscWeakSender<T> {
        MpscWeakSender(self.0.downgrade())
    }
}

impl<T: OptionalSend> rt::MpscReceiver<T> for MpscReceiver<T> {
    fn recv(&mut self) -> impl Future<Output = Option<T>> + OptionalSend {
        self.0.recv()
    }

    fn try_recv(&mut self) -> Result<T, rt::TryRecvError> {
        self.0.try_recv().map_err(|e| match e {
            sync::mpsc::error::TryRecvError::Empty => rt::TryRecvError::Empty,
            sync::mpsc::error::TryRecvError::Disconnected => rt::TryRecvError::Disconnected,
        })
    }
}

impl<T: OptionalSend> rt::MpscWeakSender<Mpsc, T> for MpscWeakSender<T> {
    fn upgrade(&self) -> Option<MpscSender<T>> {
        self.0.upgrade().map(MpscSender)
    }
}

#[derive(Debug)]
pub struct Watch;
pub struct WatchSender<T>(sync::watch::Sender<T>);
pub struct WatchReceiver<T>(sync::watch::Receiver<T>);

impl<T> Clone for WatchSender<T> {
    fn clone(&self) -> Self {
        WatchSender(self.0.clone())
    }
}

impl<T> Clone for WatchReceiver<T> {
    fn clone(&self) -> Self {
        WatchReceiver(self.0.clone())
    }
}

impl rt::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = WatchSender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = WatchReceiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = sync::watch::Ref<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (WatchSender<T>, WatchReceiver<T>) {
        let (sender, receiver) = sync::watch::channel(init);
        (WatchSender(sender), WatchReceiver(receiver))
    }
}

impl<T: OptionalSend + OptionalSync> rt::WatchSender<Watch, T> for WatchSender<T> {
    fn send(&self, value: T) -> Result<(), rt::watch::SendError<T>> {
        self.0.send(value).map_err(|e| rt::watch::SendError(e.0))
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.0.send_if_modified(modify)
    }

    fn borrow_watched(&self) -> sync::watch::Ref<'_, T> {
        self.0.borrow()
    }

    fn subscribe(&self) -> WatchReceiver<T> {
        WatchReceiver(self.0.subscribe())
    }
}

impl<T: OptionalSend + OptionalSync> rt::WatchReceiver<Watch, T> for WatchReceiver<T> {
    async fn changed(&mut self) -> Result<(), rt::RecvError> {
        self.0.changed().await.map_err(|_| rt::RecvError(()))
    }

    fn borrow_watched(&self) -> sync::watch::Ref<'_, T> {
        self.0.borrow()
    }

    fn borrow_and_update(&mut self) -> sync::watch::Ref<'_, T> {
        self.0.borrow_and_update()
    }
}

#[derive(Debug)]
pub struct Oneshot;
pub struct OneshotSender<T>(sync::oneshot::Sender<T>);

impl rt::Oneshot for Oneshot {
    type Sender<T: OptionalSend> = OneshotSender<T>;
    type Receiver<T: OptionalSend> = sync::oneshot::Receiver<T>;
    type ReceiverError = sync::oneshot::error::RecvError;

    fn channel<T: OptionalSend>() -> (OneshotSender<T>, sync::oneshot::Receiver<T>) {
        let (sender, receiver) = sync::oneshot::channel();
        (OneshotSender(sender), receiver)
    }
}

impl<T: OptionalSend> rt::OneshotSender<T> for OneshotSender<T> {
    fn send(self, value: T) -> Result<(), T> {
        self.0.send(value)
    }
}

pub struct Mutex<T>(sync::Mutex<T>);

impl<T: OptionalSend + 'static> rt::Mutex<T> for Mutex<T> {
    type Guard<'a> = sync::MutexGuard<'a, T>;

    fn new(value: T) -> Mutex<T> {
        Mutex(sync::Mutex::new(value))
    }

    fn lock(&self) -> impl Future<Output = sync::MutexGuard<'_, T>> + OptionalSend {
        self.0.lock()
    }
}
