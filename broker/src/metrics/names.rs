//! Every name that `/metrics` tells, its kind and its help: nowhere else is one written.
//!
//! Names of Kafka's MBeans are those that the usual rules of the Prometheus JMX exporter give them (`kafka-2_0_0.yml` and, for
//! KRaft, `kafka-kraft-3_0_0.yml`): domain, type and name in lower case, `PerSec` counters end in `_total`, histograms in
//! `_count` beside a gauge by quantile. Names of topics and groups are kafka_exporter's. What neither knows begins with `weir_`.

/// What Prometheus calls the type of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
}

/// One family of series.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Name {
    Name { name, kind: Kind::Counter, help }
}

const fn gauge(name: &'static str, help: &'static str) -> Name {
    Name { name, kind: Kind::Gauge, help }
}

/// A histogram as the rules give it: quantiles, and how often it was recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Summary {
    pub(crate) quantiles: Name,
    pub(crate) count: Name,
}

const fn summary(name: &'static str, count: &'static str, help: &'static str) -> Summary {
    Summary { quantiles: gauge(name, help), count: counter(count, help) }
}

// --- topics: all of them without a label, and each by `topic`

pub(crate) const TOPIC_MESSAGES_IN: Name =
    counter("kafka_server_brokertopicmetrics_messagesin_total", "Records appended by producers.");
pub(crate) const TOPIC_BYTES_IN: Name = counter(
    "kafka_server_brokertopicmetrics_bytesin_total",
    "Bytes of record batches appended by producers.",
);
pub(crate) const TOPIC_BYTES_OUT: Name =
    counter("kafka_server_brokertopicmetrics_bytesout_total", "Bytes of record batches given to consumers.");
pub(crate) const TOPIC_BYTES_REJECTED: Name = counter(
    "kafka_server_brokertopicmetrics_bytesrejected_total",
    "Bytes of record batches that were too large.",
);
pub(crate) const TOPIC_PRODUCE_REQUESTS: Name =
    counter("kafka_server_brokertopicmetrics_totalproducerequests_total", "Partitions in produce requests.");
pub(crate) const TOPIC_FAILED_PRODUCE_REQUESTS: Name = counter(
    "kafka_server_brokertopicmetrics_failedproducerequests_total",
    "Partitions whose produce was refused.",
);
pub(crate) const TOPIC_FETCH_REQUESTS: Name =
    counter("kafka_server_brokertopicmetrics_totalfetchrequests_total", "Partitions in fetch requests.");
pub(crate) const TOPIC_FAILED_FETCH_REQUESTS: Name = counter(
    "kafka_server_brokertopicmetrics_failedfetchrequests_total",
    "Partitions whose fetch was refused.",
);
pub(crate) const TOPIC_INVALID_MAGIC: Name = counter(
    "kafka_server_brokertopicmetrics_invalidmagicnumberrecords_total",
    "Batches of an unknown or old format that were refused.",
);
pub(crate) const TOPIC_INVALID_CRC: Name = counter(
    "kafka_server_brokertopicmetrics_invalidmessagecrcrecords_total",
    "Batches that were refused because their checksum or structure is wrong.",
);
pub(crate) const TOPIC_INVALID_SEQUENCE: Name = counter(
    "kafka_server_brokertopicmetrics_invalidoffsetorsequencerecords_total",
    "Batches that were refused because of their offsets or sequence numbers.",
);
pub(crate) const TOPIC_NO_KEY: Name = counter(
    "kafka_server_brokertopicmetrics_nokeycompactedtopicrecords_total",
    "Batches with records without a key that a compacted topic refused.",
);
pub(crate) const TOPIC_REPLICATION_BYTES_IN: Name = counter(
    "kafka_server_brokertopicmetrics_replicationbytesin_total",
    "Bytes of record batches fetched from leaders.",
);
pub(crate) const TOPIC_REPLICATION_BYTES_OUT: Name = counter(
    "kafka_server_brokertopicmetrics_replicationbytesout_total",
    "Bytes of record batches given to followers.",
);

// --- requests

pub(crate) const REQUESTS: Name =
    counter("kafka_network_requestmetrics_requests_total", "Requests answered, by request and version.");
pub(crate) const REQUEST_ERRORS: Name =
    counter("kafka_network_requestmetrics_errors_total", "Error codes in answers, NONE among them.");
pub(crate) const REQUEST_BYTES: Summary = summary(
    "kafka_network_requestmetrics_requestbytes",
    "kafka_network_requestmetrics_requestbytes_count",
    "Bytes of requests.",
);
pub(crate) const REQUEST_TOTAL: Summary = summary(
    "kafka_network_requestmetrics_totaltimems",
    "kafka_network_requestmetrics_totaltimems_count",
    "From the complete frame until the answer was written.",
);
pub(crate) const REQUEST_QUEUE: Summary = summary(
    "kafka_network_requestmetrics_requestqueuetimems",
    "kafka_network_requestmetrics_requestqueuetimems_count",
    "Waiting for a handler: never, a complete frame is handled at once.",
);
pub(crate) const REQUEST_LOCAL: Summary = summary(
    "kafka_network_requestmetrics_localtimems",
    "kafka_network_requestmetrics_localtimems_count",
    "In the handler, through the append.",
);
pub(crate) const REQUEST_REMOTE: Summary = summary(
    "kafka_network_requestmetrics_remotetimems",
    "kafka_network_requestmetrics_remotetimems_count",
    "Waiting for others: followers, records, members, the controller.",
);
pub(crate) const RESPONSE_QUEUE: Summary = summary(
    "kafka_network_requestmetrics_responsequeuetimems",
    "kafka_network_requestmetrics_responsequeuetimems_count",
    "Ready, behind earlier answers of the connection.",
);
pub(crate) const RESPONSE_SEND: Summary = summary(
    "kafka_network_requestmetrics_responsesendtimems",
    "kafka_network_requestmetrics_responsesendtimems_count",
    "Being written to the socket.",
);

// --- listeners, by `listener` and `networkProcessor` (always 0: connections have no processor here). Both spellings of the
// type are in use: that of the rules above, and that of Confluent's dashboards.

pub(crate) const CONNECTION_COUNT: [Name; 2] = [
    gauge("kafka_server_socket_server_metrics_connection_count", "Open connections."),
    gauge("kafka_server_socketservermetrics_connection_count", "Open connections."),
];
pub(crate) const CONNECTION_CREATION: [Name; 2] = [
    counter("kafka_server_socket_server_metrics_connection_creation_total", "Connections accepted."),
    counter("kafka_server_socketservermetrics_connection_creation_total", "Connections accepted."),
];
pub(crate) const CONNECTION_CLOSE: [Name; 2] = [
    counter("kafka_server_socket_server_metrics_connection_close_total", "Connections ended."),
    counter("kafka_server_socketservermetrics_connection_close_total", "Connections ended."),
];
pub(crate) const INCOMING_BYTES: Name =
    counter("kafka_server_socket_server_metrics_incoming_byte_total", "Bytes of requests received.");
pub(crate) const OUTGOING_BYTES: Name =
    counter("kafka_server_socket_server_metrics_outgoing_byte_total", "Bytes of answers written.");
pub(crate) const SOCKET_REQUESTS: Name =
    counter("kafka_server_socket_server_metrics_request_total", "Requests received.");
pub(crate) const IDLE: [Name; 3] = [
    gauge("kafka_network_socketserver_networkprocessoravgidlepercent", IDLE_HELP),
    gauge("kafka_network_socketserver_networkprocessoravgidle_percent", IDLE_HELP),
    gauge("kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent", IDLE_HELP),
];
const IDLE_HELP: &str =
    "The part of the last minute or so in which the node's threads had nothing to do, 0 to 1.";

// --- replicas

pub(crate) const PARTITION_COUNT: Name =
    gauge("kafka_server_replicamanager_partitioncount", "Replicas on this broker.");
pub(crate) const LEADER_COUNT: Name =
    gauge("kafka_server_replicamanager_leadercount", "Partitions that this broker leads.");
pub(crate) const UNDER_REPLICATED: Name = gauge(
    "kafka_server_replicamanager_underreplicatedpartitions",
    "Partitions led here whose ISR is smaller than their replicas.",
);
pub(crate) const UNDER_MIN_ISR: Name = gauge(
    "kafka_server_replicamanager_underminisrpartitioncount",
    "Partitions led here whose ISR is smaller than min.insync.replicas.",
);
pub(crate) const AT_MIN_ISR: Name = gauge(
    "kafka_server_replicamanager_atminisrpartitioncount",
    "Partitions led here whose ISR has just min.insync.replicas members.",
);
pub(crate) const OFFLINE_REPLICAS: Name =
    gauge("kafka_server_replicamanager_offlinereplicacount", "Replicas on log dirs that have failed.");
pub(crate) const REASSIGNING: Name = gauge(
    "kafka_server_replicamanager_reassigningpartitions",
    "Partitions led here that are being reassigned.",
);
pub(crate) const PRODUCER_IDS: Name =
    gauge("kafka_server_replicamanager_produceridcount", "Idempotent producers that logs remember.");
pub(crate) const ISR_SHRINKS: Name = counter(
    "kafka_server_replicamanager_isrshrinks_total",
    "Members taken out of the ISR of partitions led here.",
);
pub(crate) const ISR_EXPANDS: Name = counter(
    "kafka_server_replicamanager_isrexpands_total",
    "Members taken into the ISR of partitions led here.",
);
pub(crate) const FAILED_ISR_UPDATES: Name = counter(
    "kafka_server_replicamanager_failedisrupdates_total",
    "Changes of an ISR that the controller refused.",
);
pub(crate) const FETCHER_MAX_LAG: Name = gauge(
    "kafka_server_replicafetchermanager_maxlag",
    "The largest number of records that a replica here is behind its leader.",
);

// --- partitions, by `topic` and `partition`

pub(crate) const LOG_START_OFFSET: Name = gauge("kafka_log_log_logstartoffset", "The first offset of a log.");
pub(crate) const LOG_END_OFFSET: Name = gauge("kafka_log_log_logendoffset", "The next offset of a log.");
pub(crate) const LOG_SEGMENTS: Name = gauge("kafka_log_log_numlogsegments", "Segments of a log.");
pub(crate) const LOG_SIZE: Name = gauge("kafka_log_log_size", "Bytes of a log.");
pub(crate) const IS_UNDER_REPLICATED: Name =
    gauge("kafka_cluster_partition_underreplicated", "1 if the ISR is smaller than the replicas.");
pub(crate) const IS_UNDER_MIN_ISR: Name =
    gauge("kafka_cluster_partition_underminisr", "1 if the ISR is smaller than min.insync.replicas.");
pub(crate) const IS_AT_MIN_ISR: Name =
    gauge("kafka_cluster_partition_atminisr", "1 if the ISR has just min.insync.replicas members.");
pub(crate) const ISR_COUNT: Name =
    gauge("kafka_cluster_partition_insyncreplicascount", "Members of the ISR.");
pub(crate) const REPLICAS_COUNT: Name = gauge("kafka_cluster_partition_replicascount", "Assigned replicas.");
pub(crate) const LAST_STABLE_LAG: Name = gauge(
    "kafka_cluster_partition_laststableoffsetlag",
    "Records between the last stable offset and the high watermark.",
);

// --- logs, waits, sessions

pub(crate) const LOG_FLUSH: Summary = summary(
    "kafka_log_logflushstats_logflushrateandtimems",
    "kafka_log_logflushstats_logflushrateandtimems_count",
    "Flushes of logs, their wait for the disk included.",
);
pub(crate) const OFFLINE_LOG_DIRS: Name =
    gauge("kafka_log_logmanager_offlinelogdirectorycount", "Log dirs that have failed.");
pub(crate) const LOG_DIR_OFFLINE: Name =
    gauge("kafka_log_logmanager_logdirectoryoffline", "1 if the log dir has failed.");
pub(crate) const PURGATORY_SIZE: Name = gauge(
    "kafka_server_delayedoperationpurgatory_purgatorysize",
    "Requests that wait, by what they wait to do.",
);
pub(crate) const PURGATORY_DELAYED: Name = gauge(
    "kafka_server_delayedoperationpurgatory_numdelayedoperations",
    "Requests that wait, by what they wait to do.",
);
pub(crate) const PRODUCE_EXPIRES: Name = counter(
    "kafka_server_delayedproducemetrics_expires_total",
    "Partitions in produce requests that were not committed in time.",
);
pub(crate) const FETCH_SESSIONS: Name =
    gauge("kafka_server_fetchsessioncache_numincrementalfetchsessions", "Incremental fetch sessions.");
pub(crate) const FETCH_SESSION_PARTITIONS: Name = gauge(
    "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached",
    "Partitions of incremental fetch sessions.",
);
pub(crate) const FETCH_SESSION_EVICTIONS: Name = counter(
    "kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total",
    "Incremental fetch sessions that gave way to others.",
);

// --- the node

/// 1 starting, 3 running, 6 leaving the cluster (Kafka's `BrokerState`).
pub(crate) const BROKER_STATE: Name =
    gauge("kafka_server_kafkaserver_brokerstate", "1 starting, 3 running, 6 leaving.");
pub(crate) const DISK_READ_BYTES: Name =
    gauge("kafka_server_kafkaserver_linux_disk_read_bytes", "Bytes that this process read from disks.");
pub(crate) const DISK_WRITE_BYTES: Name =
    gauge("kafka_server_kafkaserver_linux_disk_write_bytes", "Bytes that this process wrote to disks.");
pub(crate) const METADATA_OFFSET: Name = gauge(
    "kafka_server_broker_metadata_metrics_last_applied_record_offset",
    "The last record of the metadata log that this broker has applied.",
);
pub(crate) const METADATA_VERSION: Name =
    gauge("kafka_server_metadataloader_currentmetadataversion", "The finalized metadata.version.");
pub(crate) const PROCESS_CPU: Name = counter("process_cpu_seconds_total", "CPU time of this process.");
pub(crate) const PROCESS_RESIDENT: Name = gauge("process_resident_memory_bytes", "Resident memory.");
pub(crate) const PROCESS_VIRTUAL: Name = gauge("process_virtual_memory_bytes", "Virtual memory.");
pub(crate) const PROCESS_OPEN_FDS: Name = gauge("process_open_fds", "Open file descriptors.");
pub(crate) const PROCESS_MAX_FDS: Name =
    gauge("process_max_fds", "The most file descriptors that may be open.");
pub(crate) const PROCESS_START: Name =
    gauge("process_start_time_seconds", "When this process began, since 1970.");

// --- kafka_exporter's names; each is told by one broker, so that sums over brokers come out right

pub(crate) const EXPORTER_BROKERS: Name = gauge("kafka_brokers", "Brokers that are not fenced.");
pub(crate) const EXPORTER_BROKER_INFO: Name =
    gauge("kafka_broker_info", "1 for each broker, told by itself.");
pub(crate) const EXPORTER_PARTITIONS: Name = gauge("kafka_topic_partitions", "Partitions of a topic.");
pub(crate) const EXPORTER_CURRENT_OFFSET: Name = gauge(
    "kafka_topic_partition_current_offset",
    "The offset that the next record to be read will have: the high watermark.",
);
pub(crate) const EXPORTER_OLDEST_OFFSET: Name =
    gauge("kafka_topic_partition_oldest_offset", "The first offset of a partition.");
pub(crate) const EXPORTER_LEADER: Name = gauge("kafka_topic_partition_leader", "The id of the leader.");
pub(crate) const EXPORTER_IS_PREFERRED: Name =
    gauge("kafka_topic_partition_leader_is_preferred", "1 if the leader is the preferred one.");
pub(crate) const EXPORTER_REPLICAS: Name =
    gauge("kafka_topic_partition_replicas", "Assigned replicas of a partition.");
pub(crate) const EXPORTER_ISR: Name =
    gauge("kafka_topic_partition_in_sync_replica", "Members of the ISR of a partition.");
pub(crate) const EXPORTER_IS_UNDER_REPLICATED: Name = gauge(
    "kafka_topic_partition_under_replicated_partition",
    "1 if the ISR of a partition is smaller than its replicas.",
);

// --- client telemetry; the pushed series have the clients' names

pub(crate) const TELEMETRY_INSTANCES: Name =
    gauge("kafka_server_client_metrics_instance_count", "Clients that push metrics, or may.");
pub(crate) const TELEMETRY_UNKNOWN: Name = gauge(
    "kafka_server_client_metrics_unknown_subscription_request_count",
    "Pushes for subscriptions that have changed meanwhile.",
);
pub(crate) const TELEMETRY_THROTTLED: Name = counter(
    "weir_client_metrics_throttled_total",
    "Requests of clients that came before their interval had passed.",
);
pub(crate) const TELEMETRY_PUSHES: Name =
    counter("weir_client_metrics_pushes_total", "Pushes of clients that were taken over.");
pub(crate) const TELEMETRY_FAILED: Name =
    counter("weir_client_metrics_failed_pushes_total", "Pushes of clients that could not be read.");
pub(crate) const TELEMETRY_DROPPED: Name =
    counter("weir_client_metrics_dropped_series_total", "Series of clients for which there was no room.");

// --- controllers

pub(crate) const ACTIVE_CONTROLLERS: Name =
    gauge("kafka_controller_kafkacontroller_activecontrollercount", "1 on the active controller.");
pub(crate) const ACTIVE_BROKERS: Name = gauge(
    "kafka_controller_kafkacontroller_activebrokercount",
    "Brokers that are neither fenced nor leaving.",
);
pub(crate) const FENCED_BROKERS: Name =
    gauge("kafka_controller_kafkacontroller_fencedbrokercount", "Brokers that are fenced.");
pub(crate) const LEAVING_BROKERS: Name = gauge(
    "kafka_controller_kafkacontroller_controlledshutdownbrokercount",
    "Brokers in their controlled shutdown.",
);
pub(crate) const GLOBAL_TOPICS: Name =
    gauge("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.");
pub(crate) const GLOBAL_PARTITIONS: Name =
    gauge("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.");
pub(crate) const OFFLINE_PARTITIONS: Name =
    gauge("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions without a leader.");
pub(crate) const PREFERRED_IMBALANCE: Name = gauge(
    "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
    "Partitions whose leader is not the preferred one.",
);
pub(crate) const LAST_APPLIED_OFFSET: Name = gauge(
    "kafka_controller_kafkacontroller_lastappliedrecordoffset",
    "The last record of the metadata log that was applied.",
);
pub(crate) const LAST_COMMITTED_OFFSET: Name = gauge(
    "kafka_controller_kafkacontroller_lastcommittedrecordoffset",
    "The last record of the metadata log that is committed.",
);
pub(crate) const TIMED_OUT_HEARTBEATS: Name = gauge(
    "kafka_controller_kafkacontroller_timedoutbrokerheartbeatcount",
    "Brokers that this controller has fenced because they were silent.",
);

/// Both spellings are in use: that of the JMX exporter's rules for KRaft, and that of Strimzi's.
const fn raft(name: &'static str, strimzi: &'static str, help: &'static str) -> [Name; 2] {
    [gauge(name, help), gauge(strimzi, help)]
}

pub(crate) const RAFT_STATE: [Name; 2] = raft(
    "kafka_server_raft_metrics_current_state",
    "kafka_server_raftmetrics_current_state",
    "1 for the state of this voter.",
);
pub(crate) const RAFT_EPOCH: [Name; 2] = raft(
    "kafka_server_raft_metrics_current_epoch",
    "kafka_server_raftmetrics_current_epoch",
    "The epoch of the quorum.",
);
pub(crate) const RAFT_LEADER: [Name; 2] = raft(
    "kafka_server_raft_metrics_current_leader",
    "kafka_server_raftmetrics_current_leader",
    "The active controller; -1 if there is none.",
);
pub(crate) const RAFT_VOTE: [Name; 2] = raft(
    "kafka_server_raft_metrics_current_vote",
    "kafka_server_raftmetrics_current_vote",
    "For whom this voter has voted; -1 for nobody.",
);
pub(crate) const RAFT_HIGH_WATERMARK: [Name; 2] = raft(
    "kafka_server_raft_metrics_high_watermark",
    "kafka_server_raftmetrics_high_watermark",
    "The end of the committed metadata log, in records.",
);
pub(crate) const RAFT_LOG_END_OFFSET: [Name; 2] = raft(
    "kafka_server_raft_metrics_log_end_offset",
    "kafka_server_raftmetrics_log_end_offset",
    "The end of what this voter has applied of the metadata log, in records.",
);
pub(crate) const RAFT_LOG_END_EPOCH: [Name; 2] = raft(
    "kafka_server_raft_metrics_log_end_epoch",
    "kafka_server_raftmetrics_log_end_epoch",
    "The epoch of the last record of the metadata log.",
);
pub(crate) const RAFT_VOTERS: [Name; 2] = raft(
    "kafka_server_raft_metrics_number_of_voters",
    "kafka_server_raftmetrics_number_of_voters",
    "Voters of the quorum.",
);
pub(crate) const RAFT_OBSERVERS: [Name; 2] = raft(
    "kafka_server_raft_metrics_number_of_observers",
    "kafka_server_raftmetrics_number_of_observers",
    "Observers of the quorum.",
);

// --- groups: Kafka's names of what a coordinator counts, and kafka_exporter's by `consumergroup`, `topic` and `partition`

pub(crate) const GROUPS: Name =
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroups", "Classic groups that live here.");
pub(crate) const GROUPS_PREPARING: Name = gauge(
    "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
    "Classic groups that wait for their members.",
);
pub(crate) const GROUPS_COMPLETING: Name = gauge(
    "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
    "Classic groups that wait for their leader's assignment.",
);
pub(crate) const GROUPS_STABLE: Name = gauge(
    "kafka_coordinator_group_groupmetadatamanager_numgroupsstable",
    "Classic groups that have settled.",
);
pub(crate) const GROUPS_EMPTY: Name =
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "Classic groups without members.");
pub(crate) const GROUPS_DEAD: Name =
    gauge("kafka_coordinator_group_groupmetadatamanager_numgroupsdead", "Classic groups that are going.");
pub(crate) const GROUP_OFFSETS: Name =
    gauge("kafka_coordinator_group_groupmetadatamanager_numoffsets", "Committed offsets that live here.");
pub(crate) const GROUP_OFFSETS_OMITTED: Name = gauge(
    "weir_consumergroup_omitted_offsets",
    "Committed offsets that are not told here: there are too many.",
);
pub(crate) const GROUP_SHARDS_ACTIVE: Name = gauge(
    "kafka_server_group_coordinator_metrics_state_active_num_partitions",
    "Partitions of __consumer_offsets whose groups are served here.",
);
pub(crate) const GROUP_SHARDS_LOADING: Name = gauge(
    "kafka_server_group_coordinator_metrics_state_loading_num_partitions",
    "Partitions of __consumer_offsets whose groups are being loaded here.",
);
pub(crate) const CLASSIC_GROUPS: Name =
    gauge("kafka_server_group_coordinator_metrics_protocol_classic_group_count", "Classic groups.");
pub(crate) const CONSUMER_GROUPS: Name = gauge(
    "kafka_server_group_coordinator_metrics_protocol_consumer_group_count",
    "Consumer groups (KIP-848).",
);
/// With Kafka's name of the state.
pub(crate) const CONSUMER_GROUPS_BY_STATE: [(Name, &str); 5] = [
    (by_state("kafka_server_group_coordinator_metrics_state_empty_consumer_group_count"), "Empty"),
    (by_state("kafka_server_group_coordinator_metrics_state_assigning_consumer_group_count"), "Assigning"),
    (
        by_state("kafka_server_group_coordinator_metrics_state_reconciling_consumer_group_count"),
        "Reconciling",
    ),
    (by_state("kafka_server_group_coordinator_metrics_state_stable_consumer_group_count"), "Stable"),
    (by_state("kafka_server_group_coordinator_metrics_state_dead_consumer_group_count"), "Dead"),
];

const fn by_state(name: &'static str) -> Name {
    gauge(name, "Consumer groups in this state.")
}

pub(crate) const GROUP_MEMBERS: Name = gauge("kafka_consumergroup_members", "Members of a group.");
pub(crate) const GROUP_CURRENT_OFFSET: Name =
    gauge("kafka_consumergroup_current_offset", "The committed offset of a group.");
pub(crate) const GROUP_CURRENT_OFFSET_SUM: Name =
    gauge("kafka_consumergroup_current_offset_sum", "Committed offsets of a group, over a topic.");
pub(crate) const GROUP_LAG: Name =
    gauge("kafka_consumergroup_lag", "Records between the committed offset and the high watermark.");
pub(crate) const GROUP_LAG_SUM: Name =
    gauge("kafka_consumergroup_lag_sum", "The lag of a group, over a topic.");
pub(crate) const GROUP_LAG_SECONDS: Name = gauge(
    "weir_consumergroup_lag_seconds",
    "The age of the oldest batch that a group has not consumed; told where its partition is led by its coordinator.",
);
