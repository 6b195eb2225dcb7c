//! One connection: a single task in which two futures take turns.
//!
//!     read_requests:  room? -> frame -> dispatch -> ordered part -> AnswerQueue
//!     write_answers:  AnswerQueue -> ready answers gathered -> socket
//!
//! The next request is dispatched when the ordered part of the former one is done; what then still waits does so in the
//! queue. When the peer does not read, answers pile up to the queue's bound, then requests are not read, then TCP tells
//! the peer.
//!
//! **Invariant:** answers leave in the order of the requests, each once; an idle connection owns no buffer.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use host::{Chunk, FileRegion, Instant, Stream, WriteHalf};
use protocol::ErrorTally;
use protocol::bounds::WRITE_BYTES_MAX;

use super::dispatch::{self, Refused, Session};
use super::queue::{AnswerQueue, Asked, Next};
use super::{Answered, Shared};
use crate::answer::Answer;
use crate::frame::{Frame, FrameError, FrameReader};

/// How a connection ended.
#[derive(Debug)]
enum End {
    /// It was reset, or the peer went away within a frame.
    Lost(io::Error),
    /// We end it, because of what the peer sent.
    Refused(String),
    /// The peer has closed it, or the server stops; what could be answered is answered.
    Drained,
}

/// Tells the server, also when the task is aborted.
struct Guard(Arc<Shared>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.ended();
    }
}

pub(super) async fn run(shared: Arc<Shared>, stream: Stream) {
    let _guard = Guard(Arc::clone(&shared));
    let config = &shared.server.config;
    let queue = AnswerQueue::new(config.pending_answers_max, config.pending_answer_bytes_max);
    let (read, write) = stream.split();
    // Outlives the reading: a peer that still sends shall get its answers, not an error.
    let mut frames = FrameReader::new(read, config.request_bytes_max);
    let end = take_turns(&shared, &mut frames, write, &queue).await;
    let address = shared.peer.address;
    match end {
        End::Refused(why) => {
            shared.server.complaints.warn(|| format!("closed the connection of {address}: {why}"))
        }
        End::Lost(error) if is_everyday(&error) => {
            tracing::debug!("the connection of {address} was lost: {error}")
        }
        End::Lost(error) => {
            shared.server.complaints.warn(|| format!("lost the connection of {address}: {error}"))
        }
        End::Drained => {}
    }
}

/// Peers come and go; anything else (a frame cut short, a file that cannot be read) is worth a line.
fn is_everyday(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut)
}

async fn take_turns(
    shared: &Arc<Shared>,
    frames: &mut FrameReader,
    write: WriteHalf,
    queue: &AnswerQueue,
) -> End {
    let mut reader = pin!(read_requests(shared, frames, queue));
    let mut writer = pin!(write_answers(shared, write, queue));
    let mut is_reading = true;
    std::future::poll_fn(|cx| {
        loop {
            if is_reading && let Poll::Ready(end) = reader.as_mut().poll(cx) {
                match end {
                    Some(end) => return Poll::Ready(end),
                    None => is_reading = false,
                }
            }
            if let Poll::Ready(end) = writer.as_mut().poll(cx) {
                return Poll::Ready(end);
            }
            // The writer may have made the room that the reader waits for.
            if !(is_reading && queue.can_go_on()) {
                shared.set_peers_turn(queue.is_peers_turn());
                return Poll::Pending;
            }
        }
    })
    .await
}

/// Reads and dispatches. None when it stops reading and the writer shall finish what is pending.
async fn read_requests(shared: &Arc<Shared>, frames: &mut FrameReader, queue: &AnswerQueue) -> Option<End> {
    let mut session = Session::new();
    loop {
        queue.room().await;
        let frame = tokio::select! {
            biased;
            // Gives up a frame that is being received: nothing was done about it, and its sender sees the end.
            () = shared.until_draining() => {
                queue.close();
                return None;
            }
            frame = next_frame(shared, frames) => frame,
        };
        shared.frame_done();
        let frame = match frame {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                queue.half_close();
                return None;
            }
            Err(FrameError::Io(error)) => return Some(End::Lost(error)),
            Err(error @ FrameError::EndedWithin { .. }) => return Some(End::Lost(io::Error::other(error))),
            Err(error) => {
                queue.push_close(error.to_string());
                return None;
            }
        };
        if !handle(shared, &mut session, frame, queue).await {
            return None;
        }
    }
}

/// The next frame, once the connection may be read.
async fn next_frame(shared: &Shared, frames: &mut FrameReader) -> Result<Option<Frame>, FrameError> {
    let clock = shared.server.host.clock();
    while let Some(mute) = shared.muted_for() {
        clock.sleep_until(clock.now() + mute).await;
    }
    frames.next(&shared.server.config.budget, shared).await
}

/// Runs the ordered part of a request. False if the connection ends after the pending answers.
async fn handle(shared: &Arc<Shared>, session: &mut Session, frame: Frame, queue: &AnswerQueue) -> bool {
    let traffic = &shared.server.traffic;
    let bytes = 4 + frame.payload.len() as u64;
    traffic.requests.fetch_add(1, Ordering::Relaxed);
    traffic.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    let clock = shared.server.host.clock();
    let at = clock.now();
    let (key, version, answer) = match dispatch::start(shared, session, frame.payload) {
        Ok(started) => {
            queue.set_handling(true);
            let answer = started.ordered.await;
            queue.set_handling(false);
            (started.key, started.version, answer)
        }
        Err(Refused::Answer(key, version, answer)) => (key, version, answer),
        Err(Refused::Close(reason)) => {
            queue.push_close(reason);
            return false;
        }
    };
    // The handler has taken over what it needs of the frame: its memory counts no longer.
    drop(frame.hold);
    if let Answer::Close(reason) = answer {
        queue.push_close(format!("{key}: {reason}"));
        return false;
    }
    queue.push(Asked { key, version, bytes, at, ordered_at: clock.now() }, answer);
    true
}

/// Writes answers until the connection ends.
async fn write_answers(shared: &Shared, mut write: WriteHalf, queue: &AnswerQueue) -> End {
    loop {
        let mut batch = std::future::poll_fn(|cx| gather(shared, queue, cx)).await;
        queue.set_writing(true);
        // On the heap, all of it: an idle connection would carry its size, which is more than that of all the rest.
        if let Err(error) = Box::pin(write_batch(shared, &mut write, &mut batch)).await {
            return End::Lost(error);
        }
        queue.set_writing(false);
        queue.written(batch.memory_bytes);
        batch.tell(shared);
        if let Some(end) = batch.end {
            // The end follows the last answer; if that fails, the peer is gone already.
            let _ = Box::pin(write.shutdown()).await;
            return end;
        }
    }
}

async fn write_batch(shared: &Shared, write: &mut WriteHalf, batch: &mut Batch) -> io::Result<()> {
    while let Some((mut piece, bytes)) = batch.next_piece() {
        write.write_chunks(&mut piece).await?;
        shared.touch();
        shared.server.traffic.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    Ok(())
}

/// Answers that are written together.
struct Batch {
    chunks: VecDeque<Chunk>,
    bytes: u64,
    memory_bytes: usize,
    end: Option<End>,
    answers: Vec<Taken>,
    /// When it was gathered.
    at: Instant,
}

/// An answer of a batch, for those who observe.
struct Taken {
    asked: Asked,
    ready_at: Instant,
    bytes: u64,
    errors: ErrorTally,
}

/// Takes what is ready, up to about one piece.
fn gather(shared: &Shared, queue: &AnswerQueue, cx: &mut Context<'_>) -> Poll<Batch> {
    let clock = shared.server.host.clock();
    let mut batch = Batch::new();
    while batch.bytes < WRITE_BYTES_MAX as u64 && batch.end.is_none() {
        match queue.poll_next(cx, clock) {
            Some(Next::Write(asked, ready_at, mut encoded)) => {
                let bytes: u64 = encoded.chunks.iter().map(Chunk::len).sum();
                let errors = std::mem::take(&mut encoded.errors);
                batch.answers.push(Taken { asked, ready_at, bytes, errors });
                batch.bytes += bytes;
                batch.memory_bytes += encoded.memory_bytes;
                batch.chunks.append(&mut encoded.chunks);
            }
            Some(Next::Close(reason)) => batch.end = Some(End::Refused(reason)),
            Some(Next::Drained) => batch.end = Some(End::Drained),
            None if batch.bytes == 0 => {
                // acks=0 leaves nothing to write.
                if !batch.answers.is_empty() {
                    batch.at = clock.now();
                    batch.tell(shared);
                }
                return Poll::Pending;
            }
            None => break,
        }
    }
    batch.at = clock.now();
    Poll::Ready(batch)
}

impl Batch {
    fn new() -> Batch {
        let at = Instant::from_start(Duration::ZERO);
        Batch { chunks: VecDeque::new(), bytes: 0, memory_bytes: 0, end: None, answers: Vec::new(), at }
    }

    /// All of it was written: one look at the clock for all of its answers.
    fn tell(&self, shared: &Shared) {
        let now = shared.server.host.clock().now();
        for Taken { asked, ready_at, bytes, errors } in &self.answers {
            shared.server.config.observer.answered(&Answered {
                peer: &shared.peer,
                key: asked.key,
                version: asked.version,
                request_bytes: asked.bytes,
                response_bytes: *bytes,
                local: asked.ordered_at - asked.at,
                remote: *ready_at - asked.ordered_at,
                queued: self.at - *ready_at,
                sending: now - self.at,
                errors,
            });
        }
    }

    /// The next chunks to write, and their length: small enough that finishing one is a sign of life of the peer.
    fn next_piece(&mut self) -> Option<(VecDeque<Chunk>, u64)> {
        let mut piece = VecDeque::new();
        let mut bytes = 0;
        while let Some(front) = self.chunks.front_mut() {
            let room = WRITE_BYTES_MAX as u64 - bytes;
            if front.len() > room {
                piece.push_back(split_front(front, room));
                bytes += room;
                break;
            }
            bytes += front.len();
            piece.extend(self.chunks.pop_front());
        }
        (!piece.is_empty()).then_some((piece, bytes))
    }
}

/// Takes `length` bytes off the front of a longer chunk.
fn split_front(chunk: &mut Chunk, length: u64) -> Chunk {
    match chunk {
        Chunk::Bytes(bytes) => Chunk::Bytes(bytes.split_to(length as usize)),
        Chunk::File(region) => {
            let front = FileRegion { file: region.file.clone(), position: region.position, length };
            region.position += length;
            region.length -= length;
            Chunk::File(front)
        }
    }
}
