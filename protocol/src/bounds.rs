//! Every bound of Weir in one place: queues, frames, batches, waits, caches.
//!
//! A bound that Kafka has as a config is named after it here and is the default; those without a config are ours.
//! Sizes are bytes unless the name says otherwise.

use std::time::Duration;

// --- frames and connections

/// `socket.request.max.bytes`: the largest request frame; a longer one closes the connection.
pub const REQUEST_BYTES_MAX: usize = 100 * 1024 * 1024;
/// The largest answer that our own client accepts.
pub const RESPONSE_BYTES_MAX: usize = 256 * 1024 * 1024;
/// `queued.max.request.bytes` of ours (Kafka's default is "no limit"): memory of all frames being received.
pub const REQUEST_BYTES_IN_FLIGHT_MAX: usize = 512 * 1024 * 1024;
/// Requests of one connection that were dispatched and whose answers are not written yet.
pub const PENDING_ANSWERS_MAX: usize = 128;
/// Bytes of those answers that may lie in memory (file regions do not count).
pub const PENDING_ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// So much of a frame is not counted against the memory of all frames: an idle node's budget is not touched.
pub const FRAME_BUFFER_BYTES_FIRST: usize = 4 * 1024;
/// What one read takes at most until a frame proves to be longer. Frame buffers grow with the bytes received.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Buffers for reads that are kept; in use are as many as threads read at the same moment.
pub const READ_BUFFERS_POOLED_MAX: usize = 16;
/// A frame that was begun must be complete within this, or the connection is closed.
pub const FRAME_RECEIVE_TIMEOUT: Duration = Duration::from_secs(120);
/// ... plus a second for every so many bytes received: a slow line may carry a large frame, a trickle may not.
pub const FRAME_RECEIVE_BYTES_PER_SECOND_MIN: usize = 16 * 1024;
/// What is handed to a socket at a time; finishing it is a sign of life of the peer.
pub const WRITE_BYTES_MAX: usize = 1024 * 1024;
/// `max.connections` of ours: connections of one listener.
pub const CONNECTIONS_MAX: usize = 100_000;

// --- codec

/// What an array of the wire may reserve before its elements are read: elements are then added one by one.
pub const ARRAY_RESERVE_BYTES_MAX: usize = 64 * 1024;
/// What the elements of all arrays of one frame may take in memory. Kafka knows no such bound; a real message stays far below.
pub const DECODED_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Kafka's limit on strings, in both encodings.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;
/// Unknown tagged fields of one struct that are kept (internal records only; elsewhere they are skipped).
pub const TAGGED_FIELDS_MAX: usize = 1024;

// --- record batches

/// `message.max.bytes`: the largest batch that a topic accepts by default.
pub const BATCH_BYTES_MAX: usize = 1024 * 1024 + 12;
/// What one batch may decompress to; more is taken for a decompression bomb.
pub const DECOMPRESSED_BATCH_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The window through which compressed records are walked when a produce request is checked.
pub const DECOMPRESS_WINDOW_BYTES: usize = 16 * 1024;
/// The largest power of two of a zstd window: what `compression.zstd.level=22` writes (128 MiB, touched only as used).
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;
/// Record errors that are named one by one in the answer to a refused batch.
pub const RECORD_ERRORS_MAX: usize = 1000;

// --- controller

/// Operations that wait for the single writer; more are refused with a retriable error.
pub const CONTROLLER_OPERATIONS_MAX: usize = 4 * 1024;
/// Changes of the quorum that wait for the writer: one is made at a time.
pub const CONTROLLER_QUORUM_CHANGES_MAX: usize = 16;
/// How long a controller that is to vote may take to catch up; who asked may ask again.
pub const CONTROLLER_VOTER_CATCH_UP_WAIT: Duration = Duration::from_secs(20);
/// Controllers that follow the metadata log without a vote.
pub const CONTROLLER_OBSERVERS_MAX: usize = 32;
/// An observer that was silent for so long is forgotten, as by Kafka's leaders.
pub const CONTROLLER_OBSERVER_SESSION: Duration = Duration::from_secs(300);
/// Records of one proposal (one Raft entry, one batch). Kafka's limit on an atomic change of metadata.
pub const CONTROLLER_PROPOSAL_RECORDS_MAX: usize = 10_000;
/// Bytes of the records of one proposal, before it is closed and the next one is begun.
pub const CONTROLLER_PROPOSAL_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Proposals on their way through Raft. The next queue gathers meanwhile: that is group commit.
pub const CONTROLLER_PROPOSALS_IN_FLIGHT_MAX: usize = 2;
/// Entries of one append request between voters, in bytes; one entry is always sent.
pub const CONTROLLER_APPEND_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A private request or answer between voters, whole.
pub const CONTROLLER_RAFT_FRAME_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Answers of one connection between voters that are not written yet.
pub const CONTROLLER_RAFT_REQUESTS_IN_FLIGHT_MAX: usize = 64;
/// Writes of the Raft log that wait for the disk.
pub const CONTROLLER_LOG_WRITES_MAX: usize = 1024;
/// Entries since the last snapshot before the next one is taken.
pub const CONTROLLER_LOG_ENTRIES_PER_SNAPSHOT: u64 = 5_000;
/// Bytes of Raft entries in memory before a snapshot is taken early.
pub const CONTROLLER_LOG_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Entries that are kept behind a snapshot, so that a voter which was away for a moment needs none.
pub const CONTROLLER_LOG_ENTRIES_KEPT: u64 = 1_000;
/// One part of a snapshot: on disk, and in a request between voters.
pub const CONTROLLER_SNAPSHOT_CHUNK_BYTES_MAX: usize = 1024 * 1024;
/// A whole snapshot of the metadata.
pub const CONTROLLER_SNAPSHOT_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Records of one batch of a snapshot.
pub const CONTROLLER_SNAPSHOT_BATCH_RECORDS_MAX: usize = 1024;
/// Batches of committed metadata that are kept in memory for brokers to fetch; who is further behind takes a snapshot.
pub const CONTROLLER_PUBLISHED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// What one metadata fetch answers at most, unless a single batch is larger.
pub const CONTROLLER_FETCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest wait of a metadata fetch.
pub const CONTROLLER_FETCH_WAIT_MAX: Duration = Duration::from_secs(5);
/// An operation that did not commit within this is answered with REQUEST_TIMED_OUT; it may still happen.
pub const CONTROLLER_OPERATION_TIMEOUT: Duration = Duration::from_secs(15);
/// Write buffer of the key-value store below the metadata log.
pub const CONTROLLER_KV_BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// A broker whose connection to the active controller ended must be back within this, or it is fenced.
pub const CONTROLLER_RECONNECT_WAIT: Duration = Duration::from_millis(100);
/// A new active controller gives a broker that refuses to be connected to so long to be heard of.
pub const CONTROLLER_PROBE_WAIT: Duration = Duration::from_secs(1);
/// Partitions that one CreateTopics may ask for (Kafka's `MAX_PARTITIONS_PER_BATCH`).
pub const PARTITIONS_PER_REQUEST_MAX: i64 = 10_000;
/// Elections that one balancing of leaders decides; the next turn does more (Kafka's `MAX_ELECTIONS_PER_IMBALANCE`).
pub const ELECTIONS_PER_BALANCE_MAX: usize = 1_000;
/// Producer ids that a broker is given at a time (Kafka's `PRODUCER_ID_BLOCK_SIZE`).
pub const PRODUCER_IDS_PER_BLOCK: i32 = 1_000;
/// Characters of a dynamic config value (an int16 length on the wire).
pub const CONFIG_VALUE_CHARS_MAX: usize = 32_767;

// --- wire

/// `connections.max.idle.ms`: a connection on which the peer lets us wait so long is closed.
pub const CONNECTION_IDLE_MAX: Duration = Duration::from_secs(600);
/// How long a stopping server waits for the answers that it owes.
pub const SERVER_DRAIN_MAX: Duration = Duration::from_secs(5);
/// Log lines about refused peers in one second; the rest is counted.
pub const REFUSALS_LOGGED_PER_SECOND: u32 = 5;
/// Requests of one client connection that are not answered yet; further callers wait.
pub const CLIENT_REQUESTS_IN_FLIGHT_MAX: usize = 128;
/// Memory of all answers that the connections of a pool are receiving.
pub const CLIENT_RESPONSE_BYTES_IN_FLIGHT_MAX: usize = 512 * 1024 * 1024;
/// `socket.connection.setup.timeout.ms` of our client, ApiVersions included.
pub const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// `request.timeout.ms` of our client.
pub const CLIENT_REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How long our client goes on trying when errors are retriable (`default.api.timeout.ms`), and its waits in between.
pub const CLIENT_RETRY_MAX: Duration = Duration::from_secs(60);
pub const CLIENT_RETRY_WAIT_MIN: Duration = Duration::from_millis(20);
pub const CLIENT_RETRY_WAIT_MAX: Duration = Duration::from_secs(1);
/// Our client's first wait before it connects again, and its longest.
pub const CLIENT_RECONNECT_WAIT_MIN: Duration = Duration::from_millis(20);
pub const CLIENT_RECONNECT_WAIT_MAX: Duration = Duration::from_secs(1);
/// A controller that stops waits this long for another one to take over leadership.
pub const CONTROLLER_HAND_OVER_WAIT: Duration = Duration::from_secs(2);

// --- groups

/// Operations that are queued for one shard of the group coordinator; for JoinGroup and SyncGroup, all that are not answered yet:
/// members wait for others, and must not keep heartbeats and commits away.
pub const GROUP_SHARD_OPERATIONS_MAX: usize = 100_000;
/// A shard that could not write waits so long before it is loaded anew.
pub const GROUP_RELOAD_WAIT: Duration = Duration::from_millis(100);

// --- broker

/// How long one request of a broker to a controller may take, connecting not included.
pub const CONTROLLER_CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// When a heartbeat has no answer for so long, the other controllers are asked as well: whoever does not answer may hang, and only
/// whoever is active by then can say. Half an interval where that is less, so that a broker is heard of within its session.
pub const HEARTBEAT_PATIENCE_MAX: Duration = Duration::from_millis(500);
pub const HEARTBEAT_PATIENCE_MIN: Duration = Duration::from_millis(50);
/// A broker whose metadata come no more asks with a heartbeat who is active, this long after they should have come.
pub const METADATA_SILENCE_MAX: Duration = Duration::from_millis(250);
/// A broker tries a controller that did not answer again after this, and after at most so long when it goes on failing.
pub const CONTROLLER_RETRY_WAIT: Duration = Duration::from_millis(20);
pub const CONTROLLER_RETRY_WAIT_MAX: Duration = Duration::from_millis(200);
/// The long poll of a broker that follows the metadata (Kafka's `fetch.max.wait.ms` of controllers).
pub const METADATA_FETCH_WAIT: Duration = Duration::from_millis(500);
/// The same while a broker does not know its own registration yet.
pub const METADATA_START_WAIT: Duration = Duration::from_millis(10);
/// A forwarded request must be answered within this (`request.timeout.ms`).
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a forwarded answer waits for its own effect to reach this broker.
pub const FORWARD_VISIBLE_WAIT: Duration = Duration::from_millis(500);
/// How long a stopping broker waits for its leaderships to be moved.
pub const CONTROLLED_SHUTDOWN_WAIT_MAX: Duration = Duration::from_secs(10);
/// How long a stopping broker waits for answers that are on their way.
pub const STOP_DRAIN_WAIT_MAX: Duration = Duration::from_secs(3);
/// The longest wait of a fetch or a produce, whatever the client asks for.
pub const CLIENT_WAIT_MAX: Duration = Duration::from_secs(600);
/// Memory of all fetch sessions, about; a session that would take more is not kept. 1,000 sessions of 1,000 partitions fit.
pub const FETCH_SESSION_BYTES_MAX: usize = 512 * 1024 * 1024;
/// A fetch session that was not used for so long gives its slot to any other (Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
pub const FETCH_SESSION_EVICTION_AGE_MIN: Duration = Duration::from_secs(120);
/// The reserve of a log dir is at most this share of its disk: one twentieth.
pub const LOG_DIR_RESERVE_SHARE: u64 = 20;
/// The longest and the shortest time between two looks at the room in log dirs.
pub const LOG_DIR_LOOK_WAIT_MAX: Duration = Duration::from_secs(1);
pub const LOG_DIR_LOOK_WAIT_MIN: Duration = Duration::from_millis(20);
/// As fast as disks are written, at most: 2 GB a second. It tells when to look again.
pub const LOG_DIR_BYTES_PER_MS_MAX: u64 = 2_000_000;
/// A follower's first wait after a failure; it doubles up to `replica.fetch.backoff.ms`. Short, since the usual failure is a
/// leader that has not heard yet that it is one.
pub const REPLICA_RETRY_WAIT_MIN: Duration = Duration::from_millis(20);
/// Replicas in one AssignReplicasToDirs, as in Kafka.
pub const DIRECTORY_ASSIGNMENTS_MAX: usize = 2_250;
/// A throttled partition is not fetched for so long once the rate is used up.
pub const REPLICATION_THROTTLE_WAIT: Duration = Duration::from_millis(100);
/// Topics that are being created automatically at a time; for more, clients try again.
pub const AUTO_CREATIONS_MAX: usize = 1_000;
/// Checkpoint files are not written more often than this, whatever the configs say.
pub const CHECKPOINT_INTERVAL_MIN: Duration = Duration::from_millis(100);

// --- metrics

/// Values of histograms are told for the window that is open and the one before it: Kafka's weigh the last five minutes.
pub const METRICS_WINDOW: Duration = Duration::from_secs(150);
/// The text of metrics is made and sent in pieces of about this size.
pub const METRICS_PAGE_BYTES: usize = 64 * 1024;
/// Pages of an answer that wait for its reader.
pub const METRICS_PAGES_MAX: usize = 2;
/// Answers that are made at the same time; more are refused.
pub const METRICS_SCRAPES_MAX: usize = 4;
/// Within this an answer must have been read.
pub const METRICS_SCRAPE_TIMEOUT: Duration = Duration::from_secs(30);
/// Groups, and offsets of groups, that one answer tells of a broker.
pub const METRICS_GROUPS_MAX: usize = 100_000;
pub const METRICS_GROUP_OFFSETS_MAX: usize = 200_000;
/// Offsets that a shard of groups tells at a time: other operations wait for one page only.
pub const METRICS_GROUP_PAGE_OFFSETS: usize = 2_000;
/// Partitions whose oldest unconsumed batch is looked at for one answer.
pub const METRICS_LAG_TIMES_MAX: usize = 2_000;
/// How long an answer waits for one such look, or for another leader.
pub const METRICS_LOOK_UP_TIMEOUT: Duration = Duration::from_secs(1);

// --- client telemetry

/// Clients whose subscriptions are kept; Kafka keeps as many. Whoever would expire first gives way.
pub const TELEMETRY_INSTANCES_MAX: usize = 16 * 1024;
/// Series of one client.
pub const TELEMETRY_CLIENT_SERIES_MAX: usize = 2_000;
/// Series of all clients.
pub const TELEMETRY_SERIES_MAX: usize = 100_000;
/// What they may take in memory, roughly.
pub const TELEMETRY_SERIES_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Labels that a client as a whole, and each of its series, may have.
pub const TELEMETRY_LABELS_MAX: usize = 16;
/// Longer names and values of labels are cut.
pub const TELEMETRY_LABEL_CHARS_MAX: usize = 256;
