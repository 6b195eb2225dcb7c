//! Brokers that exist at the controllers only: they register, beat and follow the metadata as real ones do, and have no logs of
//! partitions. The quorum is real: three processes.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use host::{Host, Task};
use metadata::{Delta, Image, Record, features};
use protocol::batch::batches;
use protocol::bounds::DECOMPRESSED_BATCH_BYTES_MAX;
use protocol::messages::broker_registration_request::{Feature, Listener};
use protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use protocol::messages::{BrokerHeartbeatRequest, BrokerRegistrationRequest, IncrementalAlterConfigsRequest};
use protocol::{ErrorCode, Request, Str, Uuid};
use tests::process::{CLUSTER_ID, Node as Process, Server as _};
use tokio::sync::Notify;
use wire::client::{CallError, MetadataFetched, MetadataLog, Node, NodeOptions, Target};

use crate::nodes::active_controller;
use crate::{Size, seconds, tell};

const WITHIN: Duration = Duration::from_secs(120);
/// `broker.heartbeat.interval.ms` and `broker.session.timeout.ms`, as they are by default.
const BEAT_EVERY: Duration = Duration::from_secs(2);
const SESSION: Duration = Duration::from_secs(9);
const FETCH_WAIT: Duration = Duration::from_millis(500);

/// The controllers, as one client sees them.
struct Quorum {
    host: Host,
    /// By id, from 1 on.
    nodes: Vec<Node>,
    active: AtomicI32,
}

impl Quorum {
    fn new(host: &Host, addresses: &[String]) -> Quorum {
        let options = NodeOptions { request_timeout: Duration::from_secs(60), ..NodeOptions::default() };
        let node = |address: &String| Node::new(host, Target::address(address), options.clone());
        Quorum { host: host.clone(), nodes: addresses.iter().map(node).collect(), active: AtomicI32::new(1) }
    }

    fn active(&self) -> &Node {
        &self.nodes[self.active.load(Ordering::SeqCst) as usize - 1]
    }

    /// Whoever was active is it no more: asks the others.
    async fn look(&self) {
        self.host.clock().sleep(Duration::from_millis(20)).await;
        for node in &self.nodes {
            let asked = self.host.clock().timeout(Duration::from_secs(1), active_controller(node)).await;
            if let Ok(Some(active)) = asked {
                self.active.store(active, Ordering::SeqCst);
                return;
            }
        }
    }

    /// Asks the active controller until it answers.
    async fn call<R: Request>(&self, request: &R, code: impl Fn(&R::Response) -> i16) -> R::Response {
        let began = Instant::now();
        loop {
            match self.active().call(request).await {
                Ok(answer) if ErrorCode::from_code(code(&answer)) != ErrorCode::NotController => {
                    return answer;
                }
                other => {
                    let error = other.err().map(|error: CallError| error.to_string());
                    assert!(began.elapsed() < WITHIN, "the controllers do not answer: {error:?}");
                    self.look().await;
                }
            }
        }
    }
}

/// A simulated broker.
struct Broker {
    id: i32,
    beats: Quorum,
    follows: Quorum,
    /// How far it has read the metadata.
    offset: AtomicI64,
    /// Another controller is active, and should hear of it.
    beat_now: Notify,
}

/// A broker and what it does. Its death ends its connections, and nobody listens where it was.
struct Living {
    broker: Arc<Broker>,
    /// Where controllers look whether it lives. The kernel connects them: nothing is ever said there.
    listener: TcpListener,
    tasks: [Task<()>; 2],
}

impl Living {
    fn start(host: &Host, addresses: &[String], id: i32) -> Living {
        let (beats, follows) = (Quorum::new(host, addresses), Quorum::new(host, addresses));
        let broker =
            Arc::new(Broker { id, beats, follows, offset: AtomicI64::new(0), beat_now: Notify::new() });
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let (beating, following) = (Arc::clone(&broker), Arc::clone(&broker));
        let tasks = [
            host.spawn("beats", async move { beating.beat(port).await }),
            host.spawn("follows", async move { following.follow().await }),
        ];
        Living { broker, listener, tasks }
    }

    async fn die(self) {
        self.tasks.iter().for_each(Task::abort);
        drop(self.listener);
        for node in self.broker.beats.nodes.iter().chain(&self.broker.follows.nodes) {
            node.disconnect().await;
        }
    }
}

impl Broker {
    async fn beat(&self, port: u16) {
        let request = registration(self.id, port);
        let answer = self.beats.call(&request, |answer| answer.error_code).await;
        assert_eq!(answer.error_code, 0, "broker {} is registered", self.id);
        let epoch = answer.broker_epoch;
        loop {
            let offset = self.offset.load(Ordering::SeqCst);
            let request = BrokerHeartbeatRequest {
                broker_id: self.id,
                broker_epoch: epoch,
                current_metadata_offset: offset,
                want_fence: offset < epoch,
                ..Default::default()
            };
            let answer = self.beats.call(&request, |answer| answer.error_code).await;
            assert_eq!(answer.error_code, 0, "broker {} beats", self.id);
            let pause = if answer.is_fenced { Duration::from_millis(50) } else { BEAT_EVERY };
            // Woken or not: the next beat is due.
            let _ = self.beats.host.clock().timeout(pause, self.beat_now.notified()).await;
        }
    }

    /// Reads the log without looking into it.
    async fn follow(&self) {
        let mut epoch = -1;
        loop {
            let offset = self.offset.load(Ordering::SeqCst);
            let before = self.follows.active.load(Ordering::SeqCst);
            let read = read(&self.follows, offset, epoch).await;
            if self.follows.active.load(Ordering::SeqCst) != before {
                self.beat_now.notify_one();
            }
            let Some(read) = read else { continue };
            let last = batches(read.batches).filter_map(Result::ok).last();
            epoch = last.map_or(epoch, |batch| batch.header.leader_epoch.0);
            self.offset.store(read.end_offset, Ordering::SeqCst);
        }
    }
}

fn registration(id: i32, port: u16) -> BrokerRegistrationRequest {
    let listener = Listener {
        name: Str::from_static("PLAINTEXT"),
        host: Str::from_static("127.0.0.1"),
        port,
        ..Default::default()
    };
    let feature = |feature: features::Feature| Feature {
        name: Str::from_static(feature.name),
        min_supported_version: *feature.supported.start(),
        max_supported_version: *feature.supported.end(),
        ..Default::default()
    };
    BrokerRegistrationRequest {
        broker_id: id,
        cluster_id: Str::from(CLUSTER_ID.trim_start_matches("cluster.id=")),
        incarnation_id: Uuid(u128::from(id.unsigned_abs()) + 1000),
        listeners: vec![listener],
        features: features::supported().into_iter().map(feature).collect(),
        log_dirs: vec![Uuid(u128::from(id.unsigned_abs()) + 2000)],
        previous_broker_epoch: -1,
        ..Default::default()
    }
}

/// A piece of the metadata.
struct Read {
    is_snapshot: bool,
    batches: Bytes,
    end_offset: i64,
}

/// Reads on from an offset; None if there was nothing, or nobody who could say.
async fn read(quorum: &Quorum, offset: i64, epoch: i32) -> Option<Read> {
    let fetched = async {
        let log = MetadataLog::new(quorum.active().session().await?, None);
        match log.fetch(offset, epoch, FETCH_WAIT).await? {
            MetadataFetched::Snapshot { end_offset, epoch } => {
                let batches = log.fetch_snapshot(end_offset, epoch).await?;
                Ok(Read { is_snapshot: true, batches, end_offset })
            }
            MetadataFetched::Batches { records, .. } => {
                let last = batches(records.clone()).filter_map(Result::ok).last();
                let end_offset = last.map_or(offset, |batch| batch.header.next_offset().0);
                Ok(Read { is_snapshot: false, batches: records, end_offset })
            }
        }
    };
    match fetched.await {
        Ok(read) => Some(read).filter(|read| read.is_snapshot || !read.batches.is_empty()),
        Err::<_, wire::client::MetadataLogError>(_) => {
            quorum.look().await;
            None
        }
    }
}

/// One who looks into the metadata.
struct Watcher {
    quorum: Quorum,
    image: Image,
    epoch: i32,
    /// Brokers that were fenced, each time.
    fenced: usize,
    /// Of the log, without snapshots.
    bytes: usize,
    snapshot_bytes: usize,
}

impl Watcher {
    fn new(host: &Host, addresses: &[String]) -> Watcher {
        let quorum = Quorum::new(host, addresses);
        Watcher { quorum, image: Image::default(), epoch: -1, fenced: 0, bytes: 0, snapshot_bytes: 0 }
    }

    /// Reads until the metadata are as they should be.
    async fn wait(&mut self, what: &str, is_there: impl Fn(&Image) -> bool) {
        let began = Instant::now();
        while !is_there(&self.image) {
            assert!(began.elapsed() < WITHIN, "not {what} in {WITHIN:?}");
            if let Some(read) = read(&self.quorum, self.image.end_offset, self.epoch).await {
                self.take(read);
            }
        }
    }

    fn take(&mut self, read: Read) {
        if read.is_snapshot {
            self.snapshot_bytes = read.batches.len();
            self.image = Image::default();
        } else {
            self.bytes += read.batches.len();
        }
        let mut delta = Delta::new(&self.image);
        for batch in batches(read.batches) {
            let batch = batch.expect("whole batches");
            self.epoch = batch.header.leader_epoch.0;
            if batch.header.is_control() {
                continue;
            }
            for record in batch.records(DECOMPRESSED_BATCH_BYTES_MAX).expect("records") {
                let value = record.expect("a record").value.expect("it has a value");
                let record = metadata::record::decode(value).expect("a record that is known");
                let is_fence =
                    matches!(&record, Record::BrokerRegistrationChange(change) if change.fenced == 1);
                self.fenced += usize::from(is_fence);
                delta.apply(&record);
            }
        }
        delta.skip_offsets((read.end_offset - delta.image().end_offset).max(0));
        self.image = delta.finish();
    }
}

/// How many brokers are there and not fenced.
fn active_brokers(image: &Image) -> usize {
    image.cluster.brokers().filter(|broker| broker.is_active()).count()
}

/// How many partitions a broker leads; -1: that nobody leads.
fn led_by(image: &Image, broker: i32) -> usize {
    let partitions = image.topics.iter().flat_map(|topic| topic.partitions.values());
    partitions.filter(|partition| partition.leader == broker).count()
}

/// Real controllers, and what is simulated around them.
struct Run {
    host: Host,
    controllers: Vec<Process>,
    addresses: Vec<String>,
    living: Vec<Living>,
    watcher: Watcher,
    size: Size,
}

/// Brings brokers and partitions to the controllers, ends a broker and a controller, and tells what each took. `changes`: of a
/// topic's settings, each an entry of the log.
pub async fn measure(host: &Host, controllers: Vec<Process>, brokers: i32, size: Size, changes: usize) {
    let addresses: Vec<String> =
        controllers.iter().map(|node| format!("127.0.0.1:{}", node.controller_port)).collect();
    let watcher = Watcher::new(host, &addresses);
    let mut run = Run { host: host.clone(), controllers, addresses, living: Vec::new(), watcher, size };
    tell(&format!(
        "{brokers} brokers, {} partitions of three replicas, three controllers",
        size.partitions()
    ));
    run.watcher.quorum.look().await;
    run.tell_memory("at rest");
    run.start_brokers(brokers).await;
    run.create_partitions().await;
    run.change(changes).await;
    run.read_from_the_start().await;
    run.lose_a_broker().await;
    run.lose_the_controller().await;
}

impl Run {
    fn tell_memory(&self, when: &str) {
        let mib: Vec<u64> = self.controllers.iter().map(|node| node.rss_kib() / 1024).collect();
        tell(&format!("memory of each controller {when}, MiB: {mib:?}"));
    }

    async fn start_brokers(&mut self, brokers: i32) {
        let began = Instant::now();
        let start = |id| Living::start(&self.host, &self.addresses, 1000 + id);
        self.living = (0..brokers).map(start).collect();
        self.watcher.wait("unfenced", |image| active_brokers(image) == brokers as usize).await;
        tell(&format!("brokers registered and unfenced: {:.2} s", seconds(began)));
    }

    async fn create_partitions(&mut self) {
        let (began, bytes, size) = (Instant::now(), self.watcher.bytes, self.size);
        create(&self.watcher.quorum, "many", size).await;
        self.watcher.wait("created", |image| image.topics.partition_count() == size.partitions()).await;
        let bytes_each = (self.watcher.bytes - bytes) / size.partitions();
        tell(&format!("partitions created: {:.1} s, {bytes_each} bytes of metadata each", seconds(began)));
        self.tell_memory("with them");
    }

    async fn change(&mut self, changes: usize) {
        let (began, bytes) = (Instant::now(), self.watcher.bytes);
        change_settings(&self.watcher.quorum, changes).await;
        let took = seconds(began);
        let is_last = |image: &Image| {
            let topic = metadata::ConfigResource::topic("many-0");
            image.configs.value(&topic, "retention.ms").is_some_and(|value| **value == *changes.to_string())
        };
        self.watcher.wait("changed", is_last).await;
        let bytes_each = (self.watcher.bytes - bytes) / changes;
        tell(&format!(
            "{changes} changes of settings, one after the other: {took:.1} s, {bytes_each} bytes each"
        ));
        for controller in &self.controllers {
            let log = controller.log();
            let lines = log.lines().filter(|line| line.contains("took a snapshot"));
            lines.for_each(|line| tell(&format!("controller {}: {line}", controller.id())));
        }
    }

    async fn read_from_the_start(&self) {
        let began = Instant::now();
        let mut late = Watcher::new(&self.host, &self.addresses);
        late.quorum.look().await;
        let all = self.watcher.image.end_offset;
        late.wait("read from the start", |image| image.end_offset >= all).await;
        tell(&format!(
            "a new broker reads all: {:.2} s ({} bytes of snapshot, {} of log)",
            seconds(began),
            late.snapshot_bytes,
            late.bytes
        ));
    }

    async fn lose_a_broker(&mut self) {
        let victim = self.living.pop().expect("brokers are there");
        let id = victim.broker.id;
        let led = led_by(&self.watcher.image, id);
        assert!(led > 0, "a broker among few leads some of many partitions");
        let (bytes, records) = (self.watcher.bytes, self.watcher.image.end_offset);
        let began = Instant::now();
        victim.die().await;
        self.watcher.wait("led by others", |image| led_by(image, id) == 0 && led_by(image, -1) == 0).await;
        let took = seconds(began);
        let changes = self.watcher.image.end_offset - records;
        let bytes_each = (self.watcher.bytes - bytes) as i64 / changes;
        tell(&format!(
            "a broker that led {led} dies: {took:.2} s until the last has another leader, {changes} records of {bytes_each} \
             bytes"
        ));
    }

    async fn lose_the_controller(&mut self) {
        let active = self.watcher.quorum.active.load(Ordering::SeqCst) as usize - 1;
        let fenced = self.watcher.fenced;
        self.controllers[active].kill();
        let began = Instant::now();
        self.watcher.quorum.look().await;
        create(&self.watcher.quorum, "after", Size { topics: 1, partitions_each: 1 }).await;
        tell(&format!("the active controller dies: {:.2} s until a topic is created", seconds(began)));
        // Longer than a session: who is not heard of is fenced by then.
        self.host.clock().sleep(SESSION + Duration::from_secs(2)).await;
        create(&self.watcher.quorum, "last", Size { topics: 1, partitions_each: 1 }).await;
        self.watcher.wait("there", |image| image.topics.by_name("last-0").is_some()).await;
        assert_eq!(self.watcher.fenced, fenced, "nobody was fenced for it");
        let began = Instant::now();
        self.controllers[active].launch();
        tell(&format!("it is back: {:.2} s until it is ready", seconds(began)));
        self.tell_memory("in the end");
    }
}

async fn create(quorum: &Quorum, name: &str, size: Size) {
    for request in size.requests(name) {
        let answer = quorum.call(&request, |answer| answer.topics[0].error_code).await;
        for topic in answer.topics {
            // One that was in doubt when the controller died is there already.
            let error = ErrorCode::from_code(topic.error_code);
            assert!(
                matches!(error, ErrorCode::None | ErrorCode::TopicAlreadyExists),
                "{}: {error}",
                topic.name
            );
        }
    }
}

/// Sets `retention.ms` of one topic to 1, 2, ...
async fn change_settings(quorum: &Quorum, changes: usize) {
    for value in 1..=changes {
        let config = AlterableConfig {
            name: Str::from_static("retention.ms"),
            value: Some(Str::from(value.to_string().as_str())),
            ..Default::default()
        };
        let resource = AlterConfigsResource {
            resource_type: 2,
            resource_name: Str::from_static("many-0"),
            configs: vec![config],
            ..Default::default()
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], ..Default::default() };
        let answer = quorum.call(&request, |answer| answer.responses[0].error_code).await;
        assert_eq!(answer.responses[0].error_code, 0);
    }
}
