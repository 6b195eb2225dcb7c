//! A cluster of two little brokers, of which one leads at a time.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use host::sim::World;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use protocol::messages::*;
use protocol::{ErrorCode, Records, Str, Uuid};

use crate::client::{Cluster, ClusterError, ClusterOptions, FetchOptions};
use crate::{Api, Context, Reply, Server, ServerConfig, Table, api_versions_response};

/// What both brokers see.
#[derive(Default)]
struct Shared {
    leader: AtomicI32,
    log: Mutex<Vec<Bytes>>,
    /// Errors that the next produce requests get, before anything else.
    failures: Mutex<VecDeque<ErrorCode>>,
}

struct Broker {
    id: i32,
    shared: Arc<Shared>,
    table: OnceLock<Arc<Table<Broker>>>,
}

impl Broker {
    fn leads(&self) -> Result<(), ErrorCode> {
        if self.shared.leader.load(Ordering::SeqCst) == self.id {
            Ok(())
        } else {
            Err(ErrorCode::NotLeaderOrFollower)
        }
    }
}

const TOPIC_ID: Uuid = Uuid(77);

async fn api_versions(
    broker: Arc<Broker>,
    context: Context,
    request: ApiVersionsRequest,
) -> Reply<ApiVersionsResponse> {
    api_versions_response(broker.table.get().unwrap(), &context, &request).into()
}

async fn metadata(broker: Arc<Broker>, _: Context, request: MetadataRequest) -> Reply<MetadataResponse> {
    let named = |id: i32| MetadataResponseBroker {
        node_id: id,
        host: format!("b{id}").into(),
        port: 9092,
        ..MetadataResponseBroker::default()
    };
    let partition = MetadataResponsePartition {
        leader_id: broker.shared.leader.load(Ordering::SeqCst),
        leader_epoch: 5,
        ..MetadataResponsePartition::default()
    };
    let topic = |name: Option<Str>| match name.as_deref() {
        Some("t") => MetadataResponseTopic {
            name,
            topic_id: TOPIC_ID,
            partitions: vec![partition.clone()],
            ..MetadataResponseTopic::default()
        },
        _ => MetadataResponseTopic {
            error_code: ErrorCode::InvalidTopicException.code(),
            name,
            ..MetadataResponseTopic::default()
        },
    };
    let names = request.topics.map_or(vec![Some("t".into())], |t| t.into_iter().map(|t| t.name).collect());
    MetadataResponse {
        brokers: vec![named(1), named(2)],
        topics: names.into_iter().map(topic).collect(),
        ..MetadataResponse::default()
    }
    .into()
}

async fn produce(broker: Arc<Broker>, _: Context, request: ProduceRequest) -> Reply<ProduceResponse> {
    assert_eq!(request.topic_data[0].topic_id, TOPIC_ID);
    let failure = broker.shared.failures.lock().unwrap().pop_front();
    let mut answer = PartitionProduceResponse::default();
    match failure.map_or_else(|| broker.leads(), Err) {
        Ok(()) => {
            let mut log = broker.shared.log.lock().unwrap();
            answer.base_offset = log.len() as i64;
            log.push(request.topic_data[0].partition_data[0].records.as_ref().unwrap().to_bytes().unwrap());
        }
        Err(code) => answer.error_code = code.code(),
    }
    if request.acks == 0 {
        return Reply::Nothing;
    }
    let topic = TopicProduceResponse { partition_responses: vec![answer], ..TopicProduceResponse::default() };
    ProduceResponse { responses: vec![topic], ..ProduceResponse::default() }.into()
}

async fn fetch(broker: Arc<Broker>, _: Context, request: FetchRequest) -> Reply<FetchResponse> {
    let asked = &request.topics[0].partitions[0];
    assert_eq!((asked.current_leader_epoch, request.session_epoch), (5, -1));
    let mut answer = PartitionData::default();
    match broker.leads() {
        Ok(()) => {
            let log = broker.shared.log.lock().unwrap();
            answer.high_watermark = log.len() as i64;
            answer.records =
                Some(Records::from(log.get(asked.fetch_offset as usize).cloned().unwrap_or_default()));
        }
        Err(code) => answer.error_code = code.code(),
    }
    let topic = FetchableTopicResponse { topic_id: TOPIC_ID, partitions: vec![answer], ..Default::default() };
    FetchResponse { responses: vec![topic], ..FetchResponse::default() }.into()
}

async fn list_offsets(
    broker: Arc<Broker>,
    _: Context,
    request: ListOffsetsRequest,
) -> Reply<ListOffsetsResponse> {
    let asked = &request.topics[0].partitions[0];
    let end = broker.shared.log.lock().unwrap().len() as i64;
    let mut answer = ListOffsetsPartitionResponse {
        offset: if asked.timestamp == -1 { end } else { 0 },
        ..Default::default()
    };
    if let Err(code) = broker.leads() {
        answer.error_code = code.code();
    }
    let topic = ListOffsetsTopicResponse { partitions: vec![answer], ..ListOffsetsTopicResponse::default() };
    ListOffsetsResponse { topics: vec![topic], ..ListOffsetsResponse::default() }.into()
}

fn start(world: &World, shared: &Arc<Shared>) -> Cluster {
    shared.leader.store(1, Ordering::SeqCst);
    for id in [1, 2] {
        let host = world.node(&format!("b{id}")).host();
        let broker = Arc::new(Broker { id, shared: Arc::clone(shared), table: OnceLock::new() });
        let rows = [
            Api::new(api_versions),
            Api::new(metadata),
            Api::new(produce),
            Api::new(fetch),
            Api::new(list_offsets),
        ];
        let table = Arc::new(Table::new(rows));
        assert!(broker.table.set(Arc::clone(&table)).is_ok());
        let config = ServerConfig::new("PLAINTEXT", format!("b{id}:9092"));
        let started = async move { Server::start(&host, config, table.with(broker)).await.unwrap() };
        world.block_on(Duration::from_secs(1), started).unwrap();
    }
    let bootstrap = ["nowhere:1".to_owned(), "b2:9092".to_owned()];
    Cluster::new(&world.host(), bootstrap, ClusterOptions::default())
}

#[test]
fn records_go_to_the_leader_and_come_back() {
    let (world, shared) = (World::new(1), Arc::default());
    let cluster = start(&world, &shared);
    let done = world.block_on(Duration::from_secs(60), async move {
        let topic = Str::from("t");
        for (offset, text) in [b"one", b"two"].into_iter().enumerate() {
            let records = Records::from(Bytes::from_static(text));
            let produced = cluster.produce_batch(&topic, 0, records, -1).await.unwrap().unwrap();
            assert_eq!(produced.base_offset, offset as i64);
        }
        let records = Records::from(Bytes::from_static(b"unanswered"));
        assert_eq!(cluster.produce_batch(&topic, 0, records, 0).await.unwrap(), None);
        assert_eq!(cluster.offset_for(&topic, 0, -2).await.unwrap(), 0);
        assert_eq!(
            cluster.offset_for(&topic, 0, -1).await.unwrap(),
            3,
            "acks=0 went before on the same connection"
        );
        let fetched = cluster.fetch(&topic, 0, 1, FetchOptions::default()).await.unwrap();
        assert_eq!(
            (fetched.records.to_bytes().unwrap(), fetched.high_watermark),
            (Bytes::from_static(b"two"), 3)
        );
    });
    assert_eq!(done, Ok(()));
}

#[test]
fn a_moved_leader_is_found() {
    let (world, shared): (_, Arc<Shared>) = (World::new(2), Arc::default());
    let cluster = start(&world, &shared);
    let done = world.block_on(Duration::from_secs(60), async move {
        let topic = Str::from("t");
        for round in 0..6 {
            shared.leader.store(1 + round % 2, Ordering::SeqCst);
            let records = Records::from(Bytes::from(vec![round as u8]));
            let produced = cluster.produce_batch(&topic, 0, records, -1).await.unwrap().unwrap();
            assert_eq!(produced.base_offset, i64::from(round));
            shared.leader.store(2 - round % 2, Ordering::SeqCst);
            let fetched = cluster.fetch(&topic, 0, i64::from(round), FetchOptions::default()).await.unwrap();
            assert_eq!(fetched.records.to_bytes().unwrap()[..], [round as u8]);
            assert_eq!(cluster.leader(&topic, 0, false).await.unwrap().broker_id, 2 - round % 2);
        }
    });
    assert_eq!(done, Ok(()));
}

#[test]
fn retriable_errors_are_retried_and_others_are_told() {
    let (world, shared): (_, Arc<Shared>) = (World::new(3), Arc::default());
    let cluster = start(&world, &shared);
    let inner = Arc::clone(&shared);
    let done = world.block_on(Duration::from_secs(600), async move {
        let topic = Str::from("t");
        let records = Records::from(Bytes::from_static(b"x"));
        inner.failures.lock().unwrap().extend([ErrorCode::NotEnoughReplicas, ErrorCode::KafkaStorageError]);
        cluster.produce_batch(&topic, 0, records.clone(), -1).await.unwrap();
        inner.failures.lock().unwrap().push_back(ErrorCode::MessageTooLarge);
        let refused = cluster.produce_batch(&topic, 0, records.clone(), -1).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::MessageTooLarge));
        assert_eq!(refused.to_string(), "MESSAGE_TOO_LARGE for t-0");
        let unknown = cluster.produce_batch(&Str::from("other"), 0, records.clone(), -1).await.unwrap_err();
        assert_eq!(unknown.code(), Some(ErrorCode::InvalidTopicException));
        let no_partition = cluster.leader(&topic, 9, false).await.unwrap_err();
        assert_eq!(no_partition.code(), Some(ErrorCode::UnknownTopicOrPartition));
        // Nobody leads: it tries until its time is up.
        inner.leader.store(9, Ordering::SeqCst);
        let leaderless = cluster.produce_batch(&topic, 0, records, -1).await.unwrap_err();
        assert_eq!(leaderless.code(), Some(ErrorCode::LeaderNotAvailable));
    });
    assert_eq!(done, Ok(()));
    let took = world.now();
    assert!((Duration::from_secs(55)..Duration::from_secs(75)).contains(&took), "{took:?}");
    assert_eq!(shared.log.lock().unwrap().len(), 1);
}

#[test]
fn no_server_at_all_is_an_error_in_the_end() {
    let world = World::new(4);
    let none = Cluster::new(&world.host(), [], ClusterOptions::default());
    let wrong = Cluster::new(&world.host(), ["nowhere:1".to_owned()], ClusterOptions::default());
    let done = world.block_on(Duration::from_secs(600), async move {
        assert!(matches!(none.refresh(None).await, Err(ClusterError::NoBootstrap)));
        assert!(matches!(wrong.refresh(None).await, Err(ClusterError::Call(_))));
    });
    assert_eq!(done, Ok(()));
}
