//! A whole broker on a simulated host, with a controller that decides just enough, asked by a client over the wire.
#![allow(clippy::unwrap_used)]

mod admin;
mod controller;
mod disk;
mod fetch_waiting;
mod fetching;
mod fetching_by_session;
mod metadata;
mod metrics;
mod producing;
mod restarting;
mod telemetry;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::Host;
use host::sim::World;
use protocol::batch::{Batch, BatchBuilder, BatchOptions, batches};
use protocol::config::Configs;
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::messages::produce_response::PartitionProduceResponse;
use protocol::messages::{FetchRequest, ProduceRequest};
use protocol::{ErrorCode, Records, Request, Str, Uuid};
use wire::client::{CallError, Connection, ConnectionOptions};

use crate::{Broker, BrokerConfig, ControllerEndpoints};
use controller::TestController;

/// A cluster of one broker, in a world.
pub(super) struct Rig {
    pub(super) controller: Arc<TestController>,
    pub(super) broker: Arc<Broker>,
    pub(super) controllers: ControllerEndpoints,
    /// The broker's machine.
    pub(super) node: host::sim::Node,
    host: Host,
}

const LIMIT: Duration = Duration::from_secs(120);

fn config(pairs: &[(&str, &str)]) -> BrokerConfig {
    let mut all = vec![
        ("node.id", "1"),
        ("process.roles", "broker"),
        ("controller.listener.names", "CONTROLLER"),
        ("listeners", "PLAINTEXT://broker:0"),
        ("log.dirs", "/data"),
    ];
    all.extend_from_slice(pairs);
    let mut config =
        BrokerConfig::from_server(Configs::parse(protocol::config::server(), all).unwrap()).unwrap();
    config.http_address = None;
    config.cluster_id = Some(Uuid(77));
    config
}

fn controllers(handle: &wire::ServerHandle) -> ControllerEndpoints {
    ControllerEndpoints::default().address(100, &format!("controller:{}", handle.local_addr().port()))
}

/// Runs a test against a broker that is ready.
fn with_broker<T, F>(pairs: &[(&str, &str)], test: T)
where
    T: FnOnce(Rig) -> F + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let world = World::new(1);
    let (controller, node, host) = (world.node("controller"), world.node("broker"), world.host());
    let config = config(pairs);
    let run = async move {
        let (controller_host, broker_host) = (controller.host(), node.host());
        let (controller, handle) = TestController::start(&controller_host).await;
        let controllers = controllers(&handle);
        let broker = Broker::start(&broker_host, config, controllers.clone()).await.expect("started");
        broker.ready().await;
        test(Rig { controller, broker, controllers, node, host }).await;
    };
    world.block_on(LIMIT, run).expect("the test ends");
}

impl Rig {
    pub(super) async fn connect(&self) -> Connection {
        let address = format!("broker:{}", self.broker.local_addrs()[0].port());
        let stream = self.host.net().connect(&address).await.expect("the broker listens");
        Connection::start(&self.host, stream, "broker", ConnectionOptions::default())
    }

    pub(super) async fn call<R: Request>(&self, version: i16, request: &R) -> R::Response {
        self.try_call(version, request).await.expect("answered")
    }

    pub(super) async fn try_call<R: Request>(
        &self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, CallError> {
        let connection = self.connect().await;
        self.host
            .clock()
            .timeout(Duration::from_secs(60), connection.call(version, request))
            .await
            .expect("in time")
    }

    /// Makes a topic and waits until the broker has it.
    pub(super) async fn topic(&self, name: &str, replicas: &[i32], configs: &[(&str, &str)]) -> Uuid {
        let id = self.controller.create_topic(name, 1, replicas, configs);
        let clock = self.broker.host.clock();
        let deadline = clock.now() + Duration::from_secs(10);
        assert!(
            self.broker.metadata.wait_for(clock, deadline, |image| image.topics.by_id(id).is_some()).await
        );
        id
    }

    pub(super) async fn produce(&self, topic: &str, acks: i16, records: Bytes) -> PartitionProduceResponse {
        let mut answer = self.call(9, &produce_request(topic, acks, records)).await;
        answer.responses.remove(0).partition_responses.remove(0)
    }

    pub(super) async fn fetch(&self, request: &FetchRequest) -> PartitionData {
        let mut answer = self.call(12, request).await;
        assert_eq!(answer.error_code, 0);
        answer.responses.remove(0).partitions.remove(0)
    }
}

pub(super) fn produce_request(topic: &str, acks: i16, records: Bytes) -> ProduceRequest {
    let data = PartitionProduceData { index: 0, records: Some(Records::from(records)), ..Default::default() };
    let topic = TopicProduceData { name: Str::from(topic), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 1500, topic_data: vec![topic], ..Default::default() }
}

pub(super) fn fetch_request(topic: &str, offset: i64) -> FetchRequest {
    let partition =
        FetchPartition { fetch_offset: offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: Str::from(topic), partitions: vec![partition], ..Default::default() };
    FetchRequest {
        max_wait_ms: 300,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics: vec![topic],
        ..Default::default()
    }
}

/// A batch of these values.
pub(super) fn batch(values: &[&str]) -> Batch {
    batch_of(values, BatchOptions::default())
}

pub(super) fn batch_of(values: &[&str], options: BatchOptions) -> Batch {
    let mut builder = BatchBuilder::new(options);
    for value in values {
        builder.append(1_767_225_600_000, None, Some(value.as_bytes()), &[]);
    }
    builder.finish()
}

pub(super) fn code(code: i16) -> ErrorCode {
    ErrorCode::from_code(code)
}

/// Offsets and values of the records in an answer.
pub(super) fn records(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.as_ref().unwrap().to_bytes().unwrap();
    let whole = batches(bytes).flat_map(|batch| batch.unwrap().records(1 << 20).unwrap());
    whole
        .map(|record| record.unwrap())
        .map(|record| (record.offset.0, String::from_utf8(record.value.unwrap().to_vec()).unwrap()))
        .collect()
}
