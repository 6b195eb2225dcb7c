//! A controller for the broker's tests: one node, a log in memory, and just enough decisions.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use host::Host;
use metadata::{Delta, Image, Record, features, record};
use protocol::batch::{BatchBuilder, BatchOptions};
use protocol::header::{RequestHeader, RequestPrefix, encode_response_header};
use protocol::ids::{LeaderEpoch, Offset};
use protocol::messages::create_topics_response::CreatableTopicResult;
use protocol::messages::delete_topics_response::DeletableTopicResult;
use protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use protocol::messages::register_broker_record::BrokerEndpoint;
use protocol::messages::*;
use protocol::{Chunk, Decoder, Encoder, ErrorCode, Message, Records, Str, Uuid};
use tokio::sync::watch;
use wire::{Api, Context, Reply, Server, ServerConfig, ServerHandle, Table};

pub(crate) struct TestController {
    host: Host,
    table: Arc<Table<TestController>>,
    state: Mutex<State>,
    end: watch::Sender<i64>,
}

struct State {
    image: Image,
    batches: Vec<(i64, Bytes)>,
    next_id: u128,
    next_producer_id: i64,
    /// AssignReplicasToDirs that came.
    assignments: usize,
}

type Node = Arc<TestController>;

impl TestController {
    pub(super) async fn start(host: &Host) -> (Arc<TestController>, ServerHandle) {
        let table = Arc::new(Table::new([
            Api::new(async |node: Node, cx: Context, request: ApiVersionsRequest| {
                Reply::Now(wire::api_versions_response(&node.table, &cx, &request))
            }),
            Api::new(async |node: Node, _: Context, request: FetchRequest| {
                Reply::later(async move { node.fetch(request).await })
            }),
            Api::new(async |node: Node, _: Context, r: BrokerRegistrationRequest| {
                Reply::Now(node.register(&r))
            }),
            Api::new(async |node: Node, _: Context, r: BrokerHeartbeatRequest| Reply::Now(node.beat(&r))),
            Api::new(async |node: Node, _: Context, _: AllocateProducerIdsRequest| {
                Reply::Now(node.allocate())
            }),
            Api::new(async |node: Node, _: Context, r: AssignReplicasToDirsRequest| {
                Reply::Now(node.assign(&r))
            }),
            Api::new(async |node: Node, _: Context, r: EnvelopeRequest| Reply::Now(node.envelope(r))),
        ]));
        let state = State {
            image: Image::default(),
            batches: Vec::new(),
            next_id: 1000,
            next_producer_id: 0,
            assignments: 0,
        };
        let controller = Arc::new(TestController {
            host: host.clone(),
            table: Arc::clone(&table),
            state: Mutex::new(state),
            end: watch::Sender::new(0),
        });
        let level = |f: features::Feature| {
            let (name, feature_level) = (Str::from_static(f.name), f.default_level);
            Record::from(FeatureLevelRecord { name, feature_level, ..Default::default() })
        };
        let (first, rest): (Vec<_>, Vec<_>) =
            features::supported().into_iter().partition(|f| f.name == features::METADATA_VERSION);
        controller.append(first.into_iter().chain(rest).map(level).collect());
        let bound =
            Server::bind(host, ServerConfig::new("CONTROLLER", "controller:0")).await.expect("a free port");
        let handle = bound.serve(table.with(Arc::clone(&controller)));
        (controller, handle)
    }

    /// Commits records; returns the offset of the first.
    pub(super) fn append(&self, records: Vec<Record>) -> i64 {
        let mut state = self.state.lock().unwrap();
        let base = state.image.end_offset;
        let options =
            BatchOptions { base_offset: Offset(base), leader_epoch: LeaderEpoch(1), ..Default::default() };
        let mut batch = BatchBuilder::new(options);
        let mut delta = Delta::new(&state.image);
        for r in &records {
            delta.apply(r);
            let value = record::encode(r, features::MetadataVersion::LATEST).unwrap();
            batch.append(0, None, Some(&value), &[]);
        }
        state.image = delta.finish();
        let end = state.image.end_offset;
        state.batches.push((end, batch.finish().to_bytes()));
        self.end.send_replace(end);
        base
    }

    pub(super) fn image(&self) -> Image {
        self.state.lock().unwrap().image.clone()
    }

    /// A topic whose partitions all have these replicas, led by the first, with all of them in sync.
    pub(super) fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replicas: &[i32],
        configs: &[(&str, &str)],
    ) -> Uuid {
        let topic_id = {
            let mut state = self.state.lock().unwrap();
            state.next_id += 1;
            Uuid(state.next_id)
        };
        let mut records =
            vec![Record::from(TopicRecord { name: Str::from(name), topic_id, ..Default::default() })];
        records.extend((0..partitions).map(|partition_id| {
            Record::from(PartitionRecord {
                partition_id,
                topic_id,
                replicas: replicas.to_vec(),
                isr: replicas.to_vec(),
                leader: replicas[0],
                leader_epoch: 0,
                partition_epoch: 0,
                directories: vec![Uuid::ZERO; replicas.len()],
                ..Default::default()
            })
        }));
        records.extend(configs.iter().map(|(key, value)| {
            Record::from(ConfigRecord {
                resource_type: 2,
                resource_name: Str::from(name),
                name: Str::from(*key),
                value: Some(Str::from(*value)),
                ..Default::default()
            })
        }));
        self.append(records);
        topic_id
    }

    async fn fetch(&self, request: FetchRequest) -> FetchResponse {
        let offset = request.topics[0].partitions[0].fetch_offset;
        let wait = Duration::from_millis(request.max_wait_ms as u64);
        let mut end = self.end.subscribe();
        let _ = self.host.clock().timeout(wait, end.wait_for(|end| *end > offset)).await;
        let state = self.state.lock().unwrap();
        let after = state.batches.iter().filter(|(end, _)| *end > offset);
        let chunks: Vec<Chunk> = after.map(|(_, bytes)| Chunk::Bytes(bytes.clone())).collect();
        let data = PartitionData {
            high_watermark: state.image.end_offset,
            records: Some(Records::from(chunks)),
            ..Default::default()
        };
        let topic = FetchableTopicResponse { partitions: vec![data], ..Default::default() };
        FetchResponse { responses: vec![topic], ..Default::default() }
    }

    fn register(&self, request: &BrokerRegistrationRequest) -> BrokerRegistrationResponse {
        let broker_epoch = self.image().end_offset;
        let endpoint = |l: &broker_registration_request::Listener| BrokerEndpoint {
            name: l.name.clone(),
            host: l.host.clone(),
            port: l.port,
            security_protocol: l.security_protocol,
            ..Default::default()
        };
        self.append(vec![Record::from(RegisterBrokerRecord {
            broker_id: request.broker_id,
            incarnation_id: request.incarnation_id,
            broker_epoch,
            end_points: request.listeners.iter().map(endpoint).collect(),
            fenced: true,
            log_dirs: request.log_dirs.clone(),
            ..Default::default()
        })]);
        BrokerRegistrationResponse { broker_epoch, ..Default::default() }
    }

    fn beat(&self, request: &BrokerHeartbeatRequest) -> BrokerHeartbeatResponse {
        let image = self.image();
        let broker = image.cluster.broker(request.broker_id).expect("registered");
        assert_eq!(broker.epoch, request.broker_epoch);
        if broker.fenced && !request.want_fence {
            assert!(request.current_metadata_offset >= broker.epoch, "it knows its own registration");
            self.append(vec![Record::from(BrokerRegistrationChangeRecord {
                broker_id: broker.id,
                broker_epoch: broker.epoch,
                fenced: -1,
                ..Default::default()
            })]);
        }
        BrokerHeartbeatResponse { should_shut_down: request.want_shut_down, ..Default::default() }
    }

    fn allocate(&self) -> AllocateProducerIdsResponse {
        let mut state = self.state.lock().unwrap();
        state.next_producer_id += 10;
        let producer_id_start = state.next_producer_id;
        AllocateProducerIdsResponse { producer_id_start, producer_id_len: 2, ..Default::default() }
    }

    /// The first time it is somebody else's business.
    fn assign(&self, request: &AssignReplicasToDirsRequest) -> AssignReplicasToDirsResponse {
        let is_first = {
            let mut state = self.state.lock().unwrap();
            state.assignments += 1;
            state.assignments == 1
        };
        if is_first {
            let error_code = ErrorCode::NotController.code();
            return AssignReplicasToDirsResponse { error_code, ..Default::default() };
        }
        let image = self.image();
        let told = request.directories.iter().flat_map(|d| d.topics.iter().map(|topic| (d.id, topic)));
        let told = told.flat_map(|(id, topic)| topic.partitions.iter().map(move |p| (id, topic, p)));
        let record = |(id, topic, partition): (Uuid, &assign_replicas_to_dirs_request::TopicData, &_)| {
            let partition: &assign_replicas_to_dirs_request::PartitionData = partition;
            // A topic may be gone by now.
            let known = image.topics.by_id(topic.topic_id)?.partition(partition.partition_index)?;
            let mut directories = known.directories.clone();
            directories[known.replicas.iter().position(|replica| *replica == request.broker_id)?] = id;
            Some(Record::from(PartitionChangeRecord {
                partition_id: partition.partition_index,
                topic_id: topic.topic_id,
                directories: Some(directories),
                ..Default::default()
            }))
        };
        let records: Vec<Record> = told.filter_map(record).collect();
        if !records.is_empty() {
            self.append(records);
        }
        AssignReplicasToDirsResponse::default()
    }

    fn envelope(&self, request: EnvelopeRequest) -> EnvelopeResponse {
        let mut principal = Decoder::new(request.request_principal.expect("it is forwarded"));
        assert_eq!(principal.i16(), Ok(0));
        assert_eq!(DefaultPrincipalData::decode(&mut principal, 0).unwrap().name, "ANONYMOUS");
        let prefix = RequestPrefix::peek(&request.request_data).unwrap();
        let key = protocol::ApiKey::from_code(prefix.key).unwrap();
        let mut input = Decoder::new(request.request_data);
        let header = RequestHeader::decode(&mut input, key, prefix.version).unwrap();
        let mut out = Encoder::new();
        encode_response_header(&mut out, key, header.version, header.correlation_id);
        match key {
            protocol::ApiKey::CreateTopics => {
                let request = CreateTopicsRequest::decode(&mut input, header.version).unwrap();
                self.create(&request).encode(&mut out, header.version).unwrap();
            }
            protocol::ApiKey::DeleteTopics => {
                let request = DeleteTopicsRequest::decode(&mut input, header.version).unwrap();
                self.delete(&request).encode(&mut out, header.version).unwrap();
            }
            other => panic!("{other} is not forwarded"),
        }
        EnvelopeResponse { response_data: out.into_bytes(), ..Default::default() }
    }

    fn create(&self, request: &CreateTopicsRequest) -> CreateTopicsResponse {
        let topics = request.topics.iter().map(|topic| {
            if self.image().topics.by_name(&topic.name).is_some() {
                let error_code = ErrorCode::TopicAlreadyExists.code();
                return CreatableTopicResult { name: topic.name.clone(), error_code, ..Default::default() };
            }
            let topic_id = self.create_topic(&topic.name, topic.num_partitions.max(1), &[1], &[]);
            CreatableTopicResult { name: topic.name.clone(), topic_id, ..Default::default() }
        });
        CreateTopicsResponse { topics: topics.collect(), ..Default::default() }
    }

    fn delete(&self, request: &DeleteTopicsRequest) -> DeleteTopicsResponse {
        let names =
            request.topics.iter().filter_map(|topic| topic.name.clone()).chain(request.topic_names.clone());
        let responses = names.map(|name| {
            let topic_id = self.image().topics.id(&name).expect("tests delete what is there");
            self.append(vec![Record::from(RemoveTopicRecord { topic_id, ..Default::default() })]);
            DeletableTopicResult { name: Some(name), topic_id, ..Default::default() }
        });
        DeleteTopicsResponse { responses: responses.collect(), ..Default::default() }
    }
}
