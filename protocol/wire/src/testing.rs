//! A little server and a raw client for the tests of both sides.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use host::sim::World;
use host::{Chunk, Host, Instant, ReadHalf, Stream, WriteHalf};
use protocol::header::RequestHeader;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, FetchRequest, FetchResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse,
};
use protocol::{ApiKey, Decoder, Encoder, Records, Request, Str};
use tokio::sync::Semaphore;

use crate::{Api, Body, Context, Reply, Server, ServerConfig, ServerHandle, Table, api_versions_response};

/// What the test's handlers saw, and what they wait for.
pub(crate) struct Desk {
    pub(crate) host: Host,
    /// (correlation id, when) in the order of dispatch.
    pub(crate) seen: Mutex<Vec<(i32, Instant)>>,
    /// Produce with acks=-1 answers later, when it gets one of these.
    pub(crate) commits: Semaphore,
    /// How long the ordered part of Metadata takes.
    pub(crate) ordered_part: Mutex<Duration>,
    pub(crate) throttle: Mutex<Duration>,
    /// What Fetch answers with.
    pub(crate) records: Mutex<Records>,
    pub(crate) contexts: Mutex<Vec<Context>>,
    pub(crate) dropped: AtomicUsize,
    pub(crate) ordered_running: AtomicBool,
    table: OnceLock<Arc<Table<Desk>>>,
}

impl Desk {
    pub(crate) fn new(host: &Host) -> Arc<Desk> {
        Arc::new(Desk {
            host: host.clone(),
            seen: Mutex::default(),
            commits: Semaphore::new(0),
            ordered_part: Mutex::default(),
            throttle: Mutex::default(),
            records: Mutex::default(),
            contexts: Mutex::default(),
            dropped: AtomicUsize::new(0),
            ordered_running: AtomicBool::new(false),
            table: OnceLock::new(),
        })
    }

    pub(crate) fn seen_ids(&self) -> Vec<i32> {
        self.seen.lock().unwrap().iter().map(|(id, _)| *id).collect()
    }

    fn note(&self, context: &Context) {
        assert!(!self.ordered_running.load(Ordering::SeqCst), "dispatched while an ordered part runs");
        self.seen.lock().unwrap().push((context.correlation_id, self.host.clock().now()));
    }
}

async fn api_versions(
    desk: Arc<Desk>,
    context: Context,
    request: ApiVersionsRequest,
) -> Reply<ApiVersionsResponse> {
    let response = api_versions_response(desk.table.get().unwrap(), &context, &request);
    desk.contexts.lock().unwrap().push(context);
    response.into()
}

async fn metadata(desk: Arc<Desk>, context: Context, _: MetadataRequest) -> Reply<MetadataResponse> {
    desk.note(&context);
    let takes = *desk.ordered_part.lock().unwrap();
    if takes > Duration::ZERO {
        desk.ordered_running.store(true, Ordering::SeqCst);
        desk.host.clock().sleep(takes).await;
        desk.ordered_running.store(false, Ordering::SeqCst);
    }
    let throttle = *desk.throttle.lock().unwrap();
    context.throttle(throttle);
    let throttle_time_ms = throttle.as_millis() as i32;
    MetadataResponse { throttle_time_ms, cluster_id: Some("c".into()), ..MetadataResponse::default() }.into()
}

struct CountDrop(Arc<Desk>);

impl Drop for CountDrop {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

async fn produce(desk: Arc<Desk>, context: Context, request: ProduceRequest) -> Reply<ProduceResponse> {
    desk.note(&context);
    match request.acks {
        0 => Reply::Nothing,
        1 => ProduceResponse::default().into(),
        -1 => Reply::later(async move {
            let _counted = CountDrop(Arc::clone(&desk));
            desk.commits.acquire().await.unwrap().forget();
            ProduceResponse { throttle_time_ms: 1, ..ProduceResponse::default() }
        }),
        _ => Reply::Close("acks that nobody knows"),
    }
}

async fn fetch(desk: Arc<Desk>, context: Context, _: FetchRequest) -> Reply<FetchResponse> {
    desk.note(&context);
    let records = Some(desk.records.lock().unwrap().clone());
    let partitions = vec![PartitionData { records, ..PartitionData::default() }];
    let responses = vec![FetchableTopicResponse { partitions, ..FetchableTopicResponse::default() }];
    FetchResponse { responses, ..FetchResponse::default() }.into()
}

/// Answers with the bytes of the request's body.
async fn echo(desk: Arc<Desk>, context: Context, body: Decoder) -> Reply<Body> {
    desk.note(&context);
    Body::from(body.into_rest()).into()
}

pub(crate) fn serve(desk: &Arc<Desk>, bound: crate::Bound) -> ServerHandle {
    let table = desk.table.get_or_init(|| {
        Arc::new(Table::new([
            Api::new(api_versions),
            Api::new(metadata),
            Api::new(produce),
            Api::new(fetch).versions(4..=12),
            Api::raw(ApiKey::DescribeCluster, echo),
        ]))
    });
    bound.serve(Arc::clone(table).with(Arc::clone(desk)))
}

/// The address of the server in a simulated world.
pub(crate) const ADDRESS: &str = "server:9092";

/// A simulated world with a server in it.
pub(crate) struct Site {
    pub(crate) world: World,
    pub(crate) desk: Arc<Desk>,
    pub(crate) server: ServerHandle,
}

impl Site {
    pub(crate) fn new(seed: u64, adapt: impl FnOnce(&mut ServerConfig)) -> Site {
        let world = World::new(seed);
        let host = world.node("server").host();
        let desk = Desk::new(&host);
        let mut config = ServerConfig::new("PLAINTEXT", ADDRESS);
        adapt(&mut config);
        let inner = Arc::clone(&desk);
        let start = async move { serve(&inner, Server::bind(&host, config).await.unwrap()) };
        let server = world.block_on(Duration::from_secs(1), start).unwrap();
        Site { world, desk, server }
    }

    /// Runs a client against the server, for at most an hour of virtual time.
    pub(crate) fn run<T: Send + 'static>(&self, client: impl Future<Output = T> + Send + 'static) -> T {
        self.world.block_on(Duration::from_secs(3600), client).unwrap()
    }

    pub(crate) fn raw(&self) -> impl Future<Output = Raw> + Send + 'static {
        let host = self.world.host();
        async move { Raw::new(host.net().connect(ADDRESS).await.unwrap()) }
    }
}

/// A connection on which a test sends what it likes.
pub(crate) struct Raw {
    read: ReadHalf,
    pub(crate) write: WriteHalf,
    buffer: BytesMut,
}

impl Raw {
    pub(crate) fn new(stream: Stream) -> Raw {
        let (read, write) = stream.split();
        Raw { read, write, buffer: BytesMut::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl Into<Bytes>) {
        // A server that has closed the connection does not take it; what it answered counts.
        let _ = self.write.write_chunks(&mut VecDeque::from([Chunk::Bytes(bytes.into())])).await;
    }

    /// The next frame's payload; None at the end of the stream, orderly or not.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(length) = self.buffer.first_chunk::<4>() {
                let whole = 4 + u32::from_be_bytes(*length) as usize;
                if self.buffer.len() >= whole {
                    return Some(self.buffer.split_to(whole).freeze().slice(4..));
                }
            }
            self.buffer.reserve(64 << 10);
            if self.read.read_into(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The correlation id of the next answer; None at the end.
    pub(crate) async fn id(&mut self) -> Option<i32> {
        self.frame().await.map(|f| i32::from_be_bytes(*f.first_chunk().unwrap()))
    }

    /// The correlation ids of all answers until the end.
    pub(crate) async fn ids_until_end(&mut self) -> Vec<i32> {
        let mut ids = Vec::new();
        while let Some(id) = self.id().await {
            ids.push(id);
        }
        ids
    }
}

/// A frame with whatever is in it.
pub(crate) fn framed(payload: &[u8]) -> Bytes {
    let mut frame = BytesMut::with_capacity(4 + payload.len());
    frame.put_u32(payload.len() as u32);
    frame.put_slice(payload);
    frame.freeze()
}

/// A whole request.
pub(crate) fn request<R: Request>(correlation_id: i32, version: i16, body: &R) -> Bytes {
    let mut out = Encoder::new();
    let header = RequestHeader { key: R::KEY, version, correlation_id, client_id: Some(Str::from("test")) };
    header.encode(&mut out).unwrap();
    body.encode(&mut out, version).unwrap();
    framed(&out.into_bytes().unwrap())
}

pub(crate) fn metadata_request(correlation_id: i32) -> Bytes {
    request(correlation_id, 12, &MetadataRequest::default())
}

pub(crate) fn produce_request(correlation_id: i32, acks: i16) -> Bytes {
    request(correlation_id, 9, &ProduceRequest { acks, ..ProduceRequest::default() })
}

pub(crate) fn fetch_request(correlation_id: i32) -> Bytes {
    request(correlation_id, 12, &FetchRequest::default())
}

pub(crate) fn describe_cluster_request(correlation_id: i32) -> Bytes {
    request(correlation_id, 1, &DescribeClusterRequest::default())
}

/// Polls once.
pub(crate) async fn is_waiting(mut future: std::pin::Pin<&mut impl Future>) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(future.as_mut().poll(cx).is_pending())).await
}
