//! A client's end of one stream.
//!
//!     submit -> in-flight permit -> queue -> [task: writes, remembers who waits] -> peer
//!     Pending <------------------------------[task: reads, hands out in order  ] <- peer
//!
//! **Invariant:** answers are matched by order and checked by correlation id; one that does not match ends the
//! connection. When it ends, everybody who waits is told, and nothing can be submitted any more.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use bytes::Bytes;
use host::{Host, ReadHalf, Stream, Task, WriteHalf};
use protocol::bounds::{
    CLIENT_REQUESTS_IN_FLIGHT_MAX, CLIENT_RESPONSE_BYTES_IN_FLIGHT_MAX, RESPONSE_BYTES_MAX,
};
use protocol::header::{RequestHeader, decode_response_header};
use protocol::{ApiKey, DecodeError, Decoder, EncodeError, Encoder, Request, Str};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::answer::{Body, Encoded, framed};
use crate::budget::FrameBudget;
use crate::frame::{FrameReader, Progress};

/// Why a request has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// The request may or may not have been handled.
    #[error("the connection to {peer} ended: {reason}")]
    Closed { peer: Arc<str>, reason: Arc<str> },
    /// The request was not sent.
    #[error("cannot connect to {peer}: {reason}")]
    Connect { peer: Arc<str>, reason: Arc<str> },
    /// The request may or may not have been handled.
    #[error("{peer} did not answer {key} in time")]
    TimedOut { peer: Arc<str>, key: ApiKey },
    #[error("{peer} serves no version of {key} that we know")]
    NoVersion { peer: Arc<str>, key: ApiKey },
    #[error("the request cannot be encoded: {0}")]
    Encode(#[from] EncodeError),
    #[error("the answer to {key} cannot be read: {error}")]
    Decode { key: ApiKey, error: DecodeError },
}

impl CallError {
    /// Another attempt may succeed.
    pub fn is_retriable(&self) -> bool {
        matches!(self, CallError::Closed { .. } | CallError::Connect { .. } | CallError::TimedOut { .. })
    }
}

#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    pub client_id: Option<Str>,
    /// Requests without an answer; further ones wait.
    pub in_flight_max: usize,
    pub response_bytes_max: usize,
    /// Memory of answers that are being received; shared by the connections of a pool.
    pub budget: Arc<FrameBudget>,
}

impl Default for ConnectionOptions {
    fn default() -> ConnectionOptions {
        ConnectionOptions {
            client_id: Some(Str::from_static("weir")),
            in_flight_max: CLIENT_REQUESTS_IN_FLIGHT_MAX,
            response_bytes_max: RESPONSE_BYTES_MAX,
            budget: FrameBudget::new(CLIENT_RESPONSE_BYTES_IN_FLIGHT_MAX),
        }
    }
}

/// A connection as its users hold it; clones share it. It ends when the last one is dropped, or by `close`.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    peer: Arc<str>,
    options: ConnectionOptions,
    in_flight: Arc<Semaphore>,
    state: Arc<State>,
    task: Task<()>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the users and the task share.
struct State {
    peer: Arc<str>,
    queue: Mutex<Queue>,
    closed: tokio::sync::watch::Sender<bool>,
}

struct Queue {
    next_correlation_id: i32,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    /// Set when the connection has ended.
    ended: Option<Arc<str>>,
}

struct Outgoing {
    frame: Encoded,
    /// None if no answer comes.
    waiting: Option<Waiting>,
}

struct Waiting {
    correlation_id: i32,
    key: ApiKey,
    version: i16,
    answer: oneshot::Sender<Result<Bytes, CallError>>,
    _permit: OwnedSemaphorePermit,
}

/// An answer that is on its way: the body of the response, without its header.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<Bytes, CallError>>,
    closed: CallError,
}

impl Future for Pending {
    type Output = Result<Bytes, CallError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match Pin::new(&mut self.answer).poll(cx) {
            Poll::Ready(Ok(answer)) => Poll::Ready(answer),
            // The task was dropped: the node it ran on is gone.
            Poll::Ready(Err(_)) => Poll::Ready(Err(self.closed.clone())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl Connection {
    /// Makes a connection of a stream; `peer` is what errors call the other side.
    pub fn start(host: &Host, stream: Stream, peer: &str, options: ConnectionOptions) -> Connection {
        let (outgoing, incoming) = mpsc::unbounded_channel();
        let peer: Arc<str> = Arc::from(peer);
        let state = Arc::new(State {
            peer: Arc::clone(&peer),
            queue: Mutex::new(Queue { next_correlation_id: 0, outgoing, ended: None }),
            closed: tokio::sync::watch::Sender::new(false),
        });
        // On the heap before it is spawned: a spawned future takes its size twice.
        let task =
            host.spawn("wire client", Box::pin(run(Arc::clone(&state), stream, incoming, options.clone())));
        let in_flight = Arc::new(Semaphore::new(options.in_flight_max));
        Connection { inner: Arc::new(Inner { peer, options, in_flight, state, task }) }
    }

    pub fn peer(&self) -> &str {
        &self.inner.peer
    }

    /// Sends a request and waits for its answer.
    pub async fn call<R: Request>(&self, version: i16, request: &R) -> Result<R::Response, CallError> {
        let answer = self.submit(version, request).await?.await?;
        decode_body::<R>(version, answer)
    }

    /// Sends an encoded body and waits for the body of the answer.
    pub async fn call_raw(&self, key: ApiKey, version: i16, body: Body) -> Result<Bytes, CallError> {
        self.submit_raw(key, version, body).await?.await
    }

    /// Queues a request; requests leave in the order in which this returns. Waits only while too many are in flight.
    pub async fn submit<R: Request>(&self, version: i16, request: &R) -> Result<Pending, CallError> {
        let mut out = Encoder::new();
        request.encode(&mut out, version)?;
        self.submit_raw(R::KEY, version, Body::from(out)).await
    }

    /// Queues an encoded body.
    pub async fn submit_raw(&self, key: ApiKey, version: i16, body: Body) -> Result<Pending, CallError> {
        let permit = Arc::clone(&self.inner.in_flight).acquire_owned().await.expect("it is never closed");
        let (sender, answer) = oneshot::channel();
        self.enqueue(key, version, body, Some((sender, permit)))?;
        Ok(Pending { answer, closed: self.inner.state.closed_error("its task ended") })
    }

    /// Queues a request that is not answered: Produce with acks=0.
    pub fn send_one_way<R: Request>(&self, version: i16, request: &R) -> Result<(), CallError> {
        let mut out = Encoder::new();
        request.encode(&mut out, version)?;
        self.enqueue(R::KEY, version, Body::from(out), None)
    }

    fn enqueue(
        &self,
        key: ApiKey,
        version: i16,
        body: Body,
        waiting: Option<(oneshot::Sender<Result<Bytes, CallError>>, OwnedSemaphorePermit)>,
    ) -> Result<(), CallError> {
        let state = &self.inner.state;
        // The lock makes the order of correlation ids that of the queue.
        let mut queue = state.lock();
        if let Some(reason) = &queue.ended {
            return Err(state.closed_error(reason));
        }
        let correlation_id = queue.next_correlation_id;
        queue.next_correlation_id = correlation_id.wrapping_add(1);
        let header =
            RequestHeader { key, version, correlation_id, client_id: self.inner.options.client_id.clone() };
        let mut out = Encoder::with_capacity(64);
        out.i32(0); // The length, known at the end.
        header.encode(&mut out)?;
        let mut chunks = out.into_chunks();
        chunks.extend(body.chunks);
        let waiting =
            waiting.map(|(answer, permit)| Waiting { correlation_id, key, version, answer, _permit: permit });
        let sent = queue.outgoing.send(Outgoing { frame: framed(chunks), waiting });
        sent.map_err(|_| state.closed_error("its task ended"))
    }

    /// Ends the connection; whoever waits gets an error.
    pub fn close(&self, reason: &str) {
        self.inner.state.end(reason);
        self.inner.task.abort();
    }

    pub fn is_closed(&self) -> bool {
        *self.inner.state.closed.borrow()
    }

    /// Completes when the connection has ended.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closed = self.inner.state.closed.subscribe();
        // An error says that the connection is gone altogether.
        async move { drop(closed.wait_for(|closed| *closed).await) }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Connection({}{})", self.inner.peer, if self.is_closed() { ", closed" } else { "" })
    }
}

/// Reads the body of an answer.
pub(crate) fn decode_body<R: Request>(version: i16, body: Bytes) -> Result<R::Response, CallError> {
    use protocol::Message;
    R::Response::decode(&mut Decoder::new(body), version)
        .map_err(|error| CallError::Decode { key: R::KEY, error })
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nobody panics while holding it")
    }

    fn closed_error(&self, reason: &str) -> CallError {
        CallError::Closed { peer: Arc::clone(&self.peer), reason: Arc::from(reason) }
    }

    /// Lets nothing more in. The first reason counts.
    fn end(&self, reason: &str) {
        self.lock().ended.get_or_insert_with(|| Arc::from(reason));
        self.closed.send_replace(true);
    }

    fn end_reason(&self) -> Arc<str> {
        self.lock().ended.clone().unwrap_or_else(|| Arc::from("closed"))
    }
}

/// Ends the connection for its users, also when the task is aborted.
struct Guard<'a> {
    state: &'a State,
    waiting: &'a Mutex<VecDeque<Waiting>>,
    incoming: mpsc::UnboundedReceiver<Outgoing>,
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.state.end("closed");
        self.incoming.close();
        let error = self.state.closed_error(&self.state.end_reason());
        let sent = std::mem::take(&mut *lock(self.waiting));
        let queued = std::iter::from_fn(|| self.incoming.try_recv().ok()).filter_map(|o| o.waiting);
        for waiting in sent.into_iter().chain(queued) {
            // Nobody may be waiting any more.
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}

fn lock(waiting: &Mutex<VecDeque<Waiting>>) -> MutexGuard<'_, VecDeque<Waiting>> {
    waiting.lock().expect("nobody panics while holding it")
}

async fn run(
    state: Arc<State>,
    stream: Stream,
    incoming: mpsc::UnboundedReceiver<Outgoing>,
    options: ConnectionOptions,
) {
    let (read, write) = stream.split();
    let waiting = Mutex::new(VecDeque::new());
    let mut guard = Guard { state: &state, waiting: &waiting, incoming };
    let reason = {
        let reader = pin!(read_answers(read, &waiting, &options));
        let writer = pin!(write_requests(write, &waiting, &mut guard.incoming));
        futures_util::future::select(reader, writer).await.factor_first().0
    };
    state.end(&reason);
}

/// Hands out answers until the stream ends; returns why it did.
async fn read_answers(
    read: ReadHalf,
    waiting: &Mutex<VecDeque<Waiting>>,
    options: &ConnectionOptions,
) -> String {
    let mut frames = FrameReader::new(read, options.response_bytes_max);
    loop {
        let frame = match frames.next(&options.budget, &Unwatched).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return "the peer closed it".to_owned(),
            Err(error) => return error.to_string(),
        };
        let Some(first) = lock(waiting).pop_front() else {
            return "an answer to nothing".to_owned();
        };
        let mut input = Decoder::new(frame.payload);
        match decode_response_header(&mut input, first.key, first.version) {
            Ok(correlation_id) if correlation_id == first.correlation_id => {
                // Nobody may be waiting any more; the answer is dropped then.
                let _ = first.answer.send(Ok(input.into_rest()));
            }
            Ok(other) => {
                let reason = format!("an answer to request {other}, where {} was due", first.correlation_id);
                lock(waiting).push_front(first);
                return reason;
            }
            Err(error) => {
                lock(waiting).push_front(first);
                return format!("a response header that cannot be read: {error}");
            }
        }
    }
}

/// Writes requests until the stream fails or the users are gone.
async fn write_requests(
    mut write: WriteHalf,
    waiting: &Mutex<VecDeque<Waiting>>,
    incoming: &mut mpsc::UnboundedReceiver<Outgoing>,
) -> String {
    while let Some(first) = incoming.recv().await {
        let mut chunks = VecDeque::new();
        let mut next = Some(first);
        while let Some(mut outgoing) = next {
            chunks.append(&mut outgoing.frame.chunks);
            lock(waiting).extend(outgoing.waiting);
            next = incoming.try_recv().ok();
        }
        if let Err(error) = write.write_chunks(&mut chunks).await {
            return error.to_string();
        }
    }
    "closed".to_owned()
}

/// A client's time-outs are those of its calls.
struct Unwatched;

impl Progress for Unwatched {
    fn received(&self, _: usize) {}
    fn waits_for_memory(&self) {}
}
