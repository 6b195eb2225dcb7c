//! Brokers at the controller's listener: registration, heartbeats, metadata by fetch and by snapshot, fencing, forwarding.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use host::Host;
use host::sim::World;
use metadata::{Delta, Image, features};
use protocol::header::{RequestHeader, decode_response_header};
use protocol::messages::broker_registration_request::{Feature, Listener};
use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_snapshot_request::{PartitionSnapshot, SnapshotId, TopicSnapshot};
use protocol::messages::{
    ApiVersionsRequest, BrokerHeartbeatRequest, BrokerRegistrationRequest, CreateTopicsRequest,
    CreateTopicsResponse, DefaultPrincipalData, DescribeClusterRequest, DescribeQuorumRequest,
    EnvelopeRequest, FetchRequest, FetchResponse, FetchSnapshotRequest, UnregisterBrokerRequest,
    describe_quorum_request,
};
use protocol::{ApiKey, Decoder, Encoder, ErrorCode, Message, Records, Str, Uuid};
use wire::SecurityProtocol;
use wire::client::{Connection, ConnectionOptions};

use super::LIMIT;
use crate::kv::KvKind;
use crate::raft::batches;
use crate::{Controller, ControllerConfig, Listen};

fn config(kv: KvKind, metadata_dir: PathBuf, address: &str) -> ControllerConfig {
    ControllerConfig {
        node_id: 1,
        voters: vec![(1, address.to_owned())],
        joining: Default::default(),
        listeners: vec![Listen {
            name: Str::from_static("CONTROLLER"),
            protocol: SecurityProtocol::Plaintext,
            address: address.to_owned(),
        }],
        metadata_dir,
        cluster_id: None,
        session_timeout: Duration::from_secs(9),
        properties: BTreeMap::new(),
        kv,
        broken: Default::default(),
    }
}

fn connect(host: &Host, controller: &Controller) -> Connection {
    Connection::start(host, controller.connect(), "controller", ConnectionOptions::default())
}

/// What a broker does, by hand.
struct Broker {
    id: i32,
    epoch: i64,
    connection: Connection,
    image: Image,
    last_epoch: i32,
}

impl Broker {
    async fn register(host: &Host, controller: &Controller, id: i32) -> Broker {
        let connection = connect(host, controller);
        let feature = |f: features::Feature| Feature {
            name: Str::from_static(f.name),
            min_supported_version: *f.supported.start(),
            max_supported_version: *f.supported.end(),
        };
        let listener =
            Listener { name: Str::from("PLAINTEXT"), host: Str::from("b"), port: 9092, ..Default::default() };
        let request = BrokerRegistrationRequest {
            broker_id: id,
            cluster_id: Str::from(controller.cluster_id().to_string()),
            incarnation_id: Uuid(5000 + u128::from(host.entropy().u64())),
            listeners: vec![listener],
            features: features::supported().into_iter().map(feature).collect(),
            log_dirs: vec![Uuid(7000 + id as u128)],
            ..Default::default()
        };
        loop {
            let answer = connection.call(4, &request).await.unwrap();
            match ErrorCode::from_code(answer.error_code) {
                ErrorCode::None => {
                    return Broker {
                        id,
                        epoch: answer.broker_epoch,
                        connection,
                        image: Image::default(),
                        last_epoch: -1,
                    };
                }
                ErrorCode::NotController => host.clock().sleep(Duration::from_millis(10)).await,
                other => panic!("{other}"),
            }
        }
    }

    /// The error code, and whether the broker is fenced.
    async fn beat(&self) -> (ErrorCode, bool) {
        let request = BrokerHeartbeatRequest {
            broker_id: self.id,
            broker_epoch: self.epoch,
            current_metadata_offset: self.image.end_offset - 1,
            ..Default::default()
        };
        let answer = self.connection.call(1, &request).await.unwrap();
        (ErrorCode::from_code(answer.error_code), answer.is_fenced)
    }

    async fn fetch_once(&self, max_wait_ms: i32) -> FetchResponse {
        let partition = FetchPartition {
            fetch_offset: self.image.end_offset,
            last_fetched_epoch: self.last_epoch,
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic =
            FetchTopic { topic_id: Uuid::METADATA_TOPIC, partitions: vec![partition], ..Default::default() };
        let request = FetchRequest { max_wait_ms, topics: vec![topic], ..Default::default() };
        self.connection.call(17, &request).await.unwrap()
    }

    /// Fetches up to the high watermark.
    async fn follow(&mut self, max_wait_ms: i32) {
        loop {
            let response = self.fetch_once(max_wait_ms).await;
            let partition = &response.responses[0].partitions[0];
            assert_eq!(ErrorCode::from_code(partition.error_code), ErrorCode::None);
            if partition.snapshot_id.end_offset >= 0 {
                let (end_offset, epoch) = (partition.snapshot_id.end_offset, partition.snapshot_id.epoch);
                self.image = self.take_snapshot(end_offset, epoch).await;
                self.last_epoch = epoch;
                continue;
            }
            let bytes = partition.records.as_ref().and_then(Records::to_bytes).unwrap();
            for batch in protocol::batch::batches(bytes.clone()) {
                let batch = batch.unwrap();
                batch.check_crc().unwrap();
                self.last_epoch = batch.header.leader_epoch.0;
            }
            let mut delta = Delta::new(&self.image);
            batches::apply(&mut delta, &bytes).unwrap();
            self.image = delta.finish();
            if self.image.end_offset == partition.high_watermark {
                return;
            }
        }
    }

    async fn take_snapshot(&self, end_offset: i64, epoch: i32) -> Image {
        let mut all = Vec::new();
        loop {
            let snapshot_id = SnapshotId { end_offset, epoch };
            let partition =
                PartitionSnapshot { snapshot_id, position: all.len() as i64, ..Default::default() };
            let name = Str::from_static("__cluster_metadata");
            let topic = TopicSnapshot { name, partitions: vec![partition] };
            let request = FetchSnapshotRequest { max_bytes: 100, topics: vec![topic], ..Default::default() };
            let answer = self.connection.call(1, &request).await.unwrap();
            let part = &answer.topics[0].partitions[0];
            assert_eq!(ErrorCode::from_code(part.error_code), ErrorCode::None);
            all.extend_from_slice(&part.unaligned_records.to_bytes().unwrap());
            if all.len() as i64 == part.size {
                return batches::read_checkpoint(&Bytes::from(all), end_offset).unwrap();
            }
        }
    }

    async fn become_active(host: &Host, controller: &Controller, id: i32) -> Broker {
        let mut broker = Broker::register(host, controller, id).await;
        broker.follow(0).await;
        assert_eq!(broker.beat().await, (ErrorCode::None, false), "caught up, so unfenced");
        broker
    }

    async fn create_topic(&self, name: &str) -> CreateTopicsResponse {
        self.connection.call(7, &create_topic(name)).await.unwrap()
    }
}

fn create_topic(name: &str) -> CreateTopicsRequest {
    let topic = CreatableTopic {
        name: Str::from(name),
        num_partitions: 2,
        replication_factor: 1,
        ..Default::default()
    };
    CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() }
}

fn codes(response: &CreateTopicsResponse) -> Vec<ErrorCode> {
    response.topics.iter().map(|t| ErrorCode::from_code(t.error_code)).collect()
}

/// Runs a test on one controller in the simulation.
fn simulate<F: Future<Output = ()> + Send + 'static>(
    test: impl FnOnce(Host, Controller) -> F + Send + 'static,
) {
    let world = World::new(11);
    let host = world.node("c").host();
    let inner = host.clone();
    let task = host.spawn("test", async move {
        let config = config(KvKind::Journal, PathBuf::from("/data/meta"), "c:9093");
        let controller = Controller::start(&inner, config).await.unwrap();
        test(inner, controller).await;
    });
    world.block_on(LIMIT, task).expect("the test ends").expect("the test passes");
}

async fn life_of_a_broker(host: Host, controller: Controller) {
    let mut broker = Broker::become_active(&host, &controller, 5).await;
    assert_eq!(codes(&broker.create_topic("a").await), [ErrorCode::None]);
    assert_eq!(codes(&broker.create_topic("a").await), [ErrorCode::TopicAlreadyExists]);
    broker.follow(0).await;
    assert_eq!(broker.image, controller.committed().borrow().image);
    assert_eq!(broker.image.topics.by_name("a").unwrap().partition_count(), 2);
    assert_eq!(broker.image.topics.by_name("a").unwrap().partition(0).unwrap().leader, 5);
}

#[test]
fn a_broker_registers_follows_is_unfenced_and_leads_what_is_created() {
    simulate(life_of_a_broker);
}

#[test]
fn the_same_on_the_machine_with_rocksdb_and_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let path = dir.path().join("meta");
    runtime.block_on(async move {
        let host = host::real::host();
        let inner = host.clone();
        let test = host.spawn("test", async move {
            let config = config(KvKind::Rocks, path, "127.0.0.1:0");
            let controller = Controller::start(&inner, config.clone()).await.unwrap();
            assert!(Controller::start(&inner, config.clone()).await.is_err(), "the directory is in use");
            let cluster_id = controller.cluster_id();
            let mut broker = Broker::become_active(&inner, &controller, 5).await;
            assert_eq!(codes(&broker.create_topic("a").await), [ErrorCode::None]);
            broker.follow(0).await;
            controller.stop().await;
            drop(controller);
            let again = Controller::start(&inner, config).await.unwrap();
            assert_eq!(again.cluster_id(), cluster_id);
            let mut active = again.active();
            active.wait_for(|a| a.here).await.unwrap();
            let found = again.committed().borrow().image.clone();
            assert!(found.topics.by_name("a").is_some());
            assert!(found.end_offset >= broker.image.end_offset);
            again.stop().await;
        });
        test.await.expect("the test passes");
    });
}

#[test]
fn a_broker_whose_connection_is_lost_is_fenced_after_a_hundred_milliseconds() {
    simulate(|host, controller| async move {
        let broker = Broker::become_active(&host, &controller, 5).await;
        let mut committed = controller.committed();
        let lost = host.clock().now();
        broker.connection.close("lost");
        let fenced = committed.wait_for(|c| c.image.cluster.broker(5).is_some_and(|b| b.fenced));
        assert!(host.clock().timeout(Duration::from_secs(5), fenced).await.is_ok());
        let took = host.clock().now() - lost;
        assert!(
            took >= Duration::from_millis(100) && took < Duration::from_millis(400),
            "fenced after {took:?}"
        );
        // Another incarnation is accepted at once.
        Broker::become_active(&host, &controller, 5).await;
    });
}

#[test]
fn a_silent_broker_is_fenced_after_its_session_and_a_second_incarnation_waits_for_that() {
    simulate(|host, controller| async move {
        let broker = Broker::become_active(&host, &controller, 5).await;
        let mut committed = controller.committed();
        let begun = host.clock().now();
        let duplicate = BrokerRegistrationRequest {
            broker_id: 5,
            cluster_id: Str::from(controller.cluster_id().to_string()),
            incarnation_id: Uuid(4242),
            ..Default::default()
        };
        let refused = connect(&host, &controller).call(4, &duplicate).await.unwrap();
        assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::DuplicateBrokerRegistration);
        let fenced = committed.wait_for(|c| c.image.cluster.broker(5).is_some_and(|b| b.fenced));
        assert!(host.clock().timeout(Duration::from_secs(20), fenced).await.is_ok());
        let took = host.clock().now() - begun;
        assert!(
            took >= Duration::from_millis(8_900) && took < Duration::from_secs(10),
            "fenced after {took:?}"
        );
        assert_eq!(broker.beat().await, (ErrorCode::None, false), "it was only silent");
    });
}

#[test]
fn a_long_poll_ends_when_metadata_comes_or_the_time_is_up() {
    simulate(|host, controller| async move {
        let mut broker = Broker::become_active(&host, &controller, 5).await;
        broker.follow(0).await;
        let begun = host.clock().now();
        let empty = broker.fetch_once(300).await;
        assert!(empty.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
        assert!(host.clock().now() - begun >= Duration::from_millis(300));
        let other = connect(&host, &controller);
        let clock = host.clock().clone();
        host.spawn("later", async move {
            clock.sleep(Duration::from_millis(50)).await;
            other.call(7, &create_topic("b")).await.unwrap();
        });
        let begun = host.clock().now();
        let filled = broker.fetch_once(4_000).await;
        assert!(!filled.responses[0].partitions[0].records.as_ref().unwrap().is_empty());
        assert!(host.clock().now() - begun < Duration::from_millis(1_000));
    });
}

#[test]
fn a_broker_behind_the_log_takes_the_snapshot_and_goes_on() {
    simulate(|host, controller| async move {
        let mut late = Broker::become_active(&host, &controller, 5).await;
        late.create_topic("before").await;
        controller.node.raft.trigger().snapshot().await.unwrap();
        while controller.node.publisher.checkpoint().is_none() {
            host.clock().sleep(Duration::from_millis(5)).await;
        }
        controller.node.publisher.forget_covered();
        late.create_topic("after").await;
        late.image = Image::default();
        late.last_epoch = -1;
        late.follow(0).await;
        assert_eq!(late.image, controller.committed().borrow().image);
        assert!(
            late.image.topics.by_name("before").is_some() && late.image.topics.by_name("after").is_some()
        );
    });
}

#[test]
fn a_forwarded_request_is_answered_as_if_it_had_come_directly() {
    simulate(|host, controller| async move {
        let broker = Broker::become_active(&host, &controller, 5).await;
        let mut inner = Encoder::new();
        let header =
            RequestHeader { key: ApiKey::CreateTopics, version: 7, correlation_id: 99, client_id: None };
        header.encode(&mut inner).unwrap();
        create_topic("forwarded").encode(&mut inner, 7).unwrap();
        let mut principal = Encoder::new();
        principal.i16(0);
        let data =
            DefaultPrincipalData { type_: Str::from("User"), name: Str::from("alice"), ..Default::default() };
        data.encode(&mut principal, 0).unwrap();
        let envelope = EnvelopeRequest {
            request_data: inner.into_bytes().unwrap(),
            request_principal: principal.into_bytes(),
            ..Default::default()
        };
        let answer = broker.connection.call(0, &envelope).await.unwrap();
        assert_eq!(ErrorCode::from_code(answer.error_code), ErrorCode::None);
        let mut input = Decoder::new(answer.response_data.unwrap());
        assert_eq!(decode_response_header(&mut input, ApiKey::CreateTopics, 7).unwrap(), 99);
        assert_eq!(codes(&CreateTopicsResponse::decode(&mut input, 7).unwrap()), [ErrorCode::None]);

        let nobody = EnvelopeRequest { request_principal: None, ..envelope };
        let refused = broker.connection.call(0, &nobody).await.unwrap();
        assert_eq!(ErrorCode::from_code(refused.error_code), ErrorCode::PrincipalDeserializationFailure);
    });
}

#[test]
fn the_quorum_and_the_features_are_described() {
    simulate(|host, controller| async move {
        let broker = Broker::become_active(&host, &controller, 5).await;
        let word = Str::from("test");
        let request =
            ApiVersionsRequest { client_software_name: word.clone(), client_software_version: word };
        let versions = broker.connection.call(3, &request).await.unwrap();
        assert!(versions.api_keys.iter().any(|k| k.api_key == ApiKey::BrokerHeartbeat.code()));
        assert!(versions.finalized_features.iter().any(|f| f.name == *features::METADATA_VERSION));

        let partitions = vec![describe_quorum_request::PartitionData::default()];
        let topic_name = Str::from_static("__cluster_metadata");
        let topic = describe_quorum_request::TopicData { topic_name, partitions };
        let request = DescribeQuorumRequest { topics: vec![topic] };
        let quorum = broker.connection.call(2, &request).await.unwrap();
        let partition = &quorum.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.leader_id), (0, 1));
        assert!(partition.current_voters[0].replica_directory_id.is_zero(), "voters are static");
        assert_eq!(partition.current_voters[0].log_end_offset, partition.high_watermark);

        let request = DescribeClusterRequest { endpoint_type: 2, ..Default::default() };
        let cluster = broker.connection.call(2, &request).await.unwrap();
        assert_eq!((cluster.controller_id, cluster.brokers.len()), (1, 1));
    });
}

#[test]
fn an_unregistered_broker_is_unknown_afterwards() {
    simulate(|host, controller| async move {
        let broker = Broker::become_active(&host, &controller, 5).await;
        let request = UnregisterBrokerRequest { broker_id: 5 };
        assert_eq!(broker.connection.call(0, &request).await.unwrap().error_code, 0);
        assert_eq!(broker.beat().await.0, ErrorCode::StaleBrokerEpoch);
    });
}
