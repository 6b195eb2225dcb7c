//! All partitions of this broker, by topic id and index; they follow the metadata.
//!
//! ```text
//!   image + changes --> for each log dir one job: open or make logs, take over roles --> in the map: found by handlers
//!                   '-> gone from the metadata: out of the map, waiters told, directory renamed, removed in the background
//! ```
//! **Invariant:** what is in the map is in the metadata and open. A topic that was deleted and made anew has another id:
//! nothing of the old one is ever found under the new one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use host::{Fs, Host, Map};
use metadata::configs::ResourceType;
use metadata::{Changes, Image, Topic};
use protocol::config::{Configs, Value};
use protocol::ids::{Offset, PartitionId};
use protocol::{Str, Uuid};
use storage::{Log, LogCheckpoint, LogFiles, OpenError};

use crate::broken::Broken;
use crate::config::BrokerConfig;
use crate::config_layers::ConfigLayers;
use crate::deleted_files;
use crate::directory_assignments::DirectoryAssignments;
use crate::log_dirs::{Dir, LogDirs};
use crate::metrics::Metrics;
use crate::partition::{Keeping, Partition, Registration};
use crate::replica_fetchers::{Leader, ReplicaFetchers};
use crate::topic_settings::TopicSettings;

/// See the module.
pub struct Replicas {
    host: Host,
    node_id: i32,
    server: Arc<Configs>,
    log_dirs: Arc<LogDirs>,
    fetchers: ReplicaFetchers,
    pub(crate) directory_assignments: Arc<DirectoryAssignments>,
    broken: Broken,
    metrics: Arc<Metrics>,
    partitions: RwLock<Map<PartitionId, Arc<Partition>>>,
}

/// A partition that the metadata gives to this broker.
struct Assigned {
    id: PartitionId,
    topic: Str,
    registration: Registration,
}

/// A log to be opened in a job.
struct Opening {
    assigned: Assigned,
    settings: Arc<TopicSettings>,
    /// What the settings were worked out from.
    configs: Arc<metadata::Configs>,
}

/// What partitions are, and whom they follow.
type Following = Vec<(Arc<Partition>, Option<Leader>)>;

impl Replicas {
    pub fn new(
        host: &Host,
        config: &BrokerConfig,
        log_dirs: Arc<LogDirs>,
        fetchers: ReplicaFetchers,
        metrics: Arc<Metrics>,
    ) -> Replicas {
        let partitions = RwLock::new(host.map());
        let (host, server) = (host.clone(), Arc::clone(&config.server));
        let (node_id, broken) = (config.node_id, config.broken);
        let directory_assignments = Arc::default();
        Replicas {
            host,
            node_id,
            server,
            log_dirs,
            fetchers,
            directory_assignments,
            broken,
            metrics,
            partitions,
        }
    }

    /// `replica.lag.time.max.ms`
    pub fn lag_max(&self) -> Duration {
        Duration::from_millis(self.server.long("replica.lag.time.max.ms").max(1).unsigned_abs())
    }

    /// `num.recovery.threads.per.data.dir`: how many logs of a directory are opened, or closed, side by side.
    fn recovery_threads(&self) -> usize {
        usize::try_from(self.server.int("num.recovery.threads.per.data.dir")).unwrap_or(1)
    }

    pub fn find(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.partitions.read().expect("no code that holds this lock panics").get(&id).cloned()
    }

    /// All partitions, in the order of their ids.
    pub fn all(&self) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.read().expect("no code that holds this lock panics");
        let mut all: Vec<_> = partitions.values().cloned().collect();
        all.sort_by_key(|partition| partition.id);
        all
    }

    /// Takes over what changed between two images. One at a time.
    pub async fn apply(&self, before: &Image, image: &Image, changes: &Changes) {
        for id in &changes.removed_topics {
            if let Some(topic) = before.topics.by_id(*id) {
                let indexes: Vec<i32> = topic.partitions.iter().map(|(index, _)| *index).collect();
                self.remove(image, topic, &indexes).await;
            }
        }
        let mut known: BTreeMap<PathBuf, Vec<(Arc<Partition>, Registration)>> = BTreeMap::new();
        let mut new: BTreeMap<PathBuf, (Arc<Dir>, Vec<Opening>)> = BTreeMap::new();
        for (topic_id, indexes) in &changes.topics {
            let Some(topic) = image.topics.by_id(*topic_id) else { continue };
            let mut unassigned = Vec::new();
            for index in indexes {
                let Some(registered) = topic.partition(*index) else { continue };
                if !registered.replicas.contains(&self.node_id) {
                    unassigned.push(*index);
                    continue;
                }
                let id = PartitionId { topic_id: *topic_id, partition: *index };
                let registration = Registration { registered: Arc::clone(registered), node_id: self.node_id };
                match self.find(id) {
                    Some(partition) => {
                        self.tell_directory(id, &registration, partition.directory_id);
                        known.entry(partition.log_dir.clone()).or_default().push((partition, registration));
                    }
                    None => {
                        let assigned = Assigned { id, topic: topic.name.clone(), registration };
                        self.place(image, assigned, &mut new);
                    }
                }
            }
            self.remove(image, topic, &unassigned).await;
        }
        let mut following = Following::new();
        for (path, partitions) in known {
            following.extend(partitions.iter().map(|(partition, r)| (Arc::clone(partition), self.leader(r))));
            self.update(&path, partitions).await;
        }
        for (_, (dir, openings)) in new {
            self.open(dir, openings, &mut following).await;
        }
        if before.end_offset == 0 {
            self.log_dirs.set_strays_aside(&self.host).await;
        }
        self.fetchers.follow(following);
        self.follow_configs(image, changes);
        self.follow_brokers(image, changes).await;
    }

    /// Where a replica is, if the metadata says otherwise.
    fn tell_directory(&self, id: PartitionId, registration: &Registration, directory_id: Uuid) {
        if registration.registered.directory(self.node_id) != Some(directory_id) {
            self.directory_assignments.submit(id, directory_id);
        }
    }

    /// Whom a replica follows; None if it leads, or nobody does.
    fn leader(&self, registration: &Registration) -> Option<Leader> {
        let registered = &registration.registered;
        let follows = registered.has_leader() && registered.leader != self.node_id;
        follows.then_some(Leader { id: registered.leader, epoch: registered.leader_epoch })
    }

    /// What commits depend on takes effect at once, and not with the next request.
    fn follow_configs(&self, image: &Image, changes: &Changes) {
        let topics: Vec<&Arc<Topic>> = changes
            .configs
            .iter()
            .filter(|resource| resource.kind == ResourceType::TOPIC)
            .filter_map(|resource| image.topics.by_name(&resource.name))
            .collect();
        for topic in topics {
            for index in topic.partitions.keys() {
                if let Some(partition) = self.find(PartitionId { topic_id: topic.id, partition: *index }) {
                    partition.settings(image, &self.server, self.node_id);
                }
            }
        }
    }

    /// Commits do not wait for a broker that is fenced, or leaves, to join an ISR.
    async fn follow_brokers(&self, image: &Image, changes: &Changes) {
        for id in changes.brokers.iter().filter(|id| !image.cluster.is_active(**id)) {
            for partition in self.all() {
                // Gone is the disk only with the node itself.
                let _ = partition.broker_is_gone(*id).await;
            }
        }
    }

    fn place(
        &self,
        image: &Image,
        assigned: Assigned,
        new: &mut BTreeMap<PathBuf, (Arc<Dir>, Vec<Opening>)>,
    ) {
        let planned = |path: &Path| new.get(path).map_or(0, |(_, openings)| openings.len());
        let open = |path: &Path| {
            let partitions = self.partitions.read().expect("no code that holds this lock panics");
            partitions.values().filter(|partition| partition.log_dir == path).count()
        };
        let wanted = assigned.registration.registered.directory(self.node_id);
        let placed = self
            .log_dirs
            .place(&assigned.topic, assigned.id.partition, wanted, |path| planned(path) + open(path));
        let Some(dir) = placed else {
            tracing::error!(topic = %assigned.topic, partition = assigned.id.partition, "no log dir is online");
            return;
        };
        self.tell_directory(assigned.id, &assigned.registration, dir.files.directory_id());
        let settings = Arc::new(TopicSettings::of(image, &self.server, self.node_id, &assigned.topic));
        let configs = Arc::clone(&image.configs);
        let entry = new.entry(dir.files.path().to_owned()).or_insert_with(|| (dir, Vec::new()));
        entry.1.push(Opening { assigned, settings, configs });
    }

    async fn update(&self, path: &Path, partitions: Vec<(Arc<Partition>, Registration)>) {
        let Some(dir) = self.log_dirs.dir(path) else { return };
        // Gone is the disk only with the node itself.
        let _ =
            dir.disk.run(move |fs| partitions.iter().for_each(|(partition, r)| partition.apply(fs, r))).await;
    }

    async fn open(&self, dir: Arc<Dir>, openings: Vec<Opening>, following: &mut Following) {
        let clock = self.host.clock().clone();
        let leaders: Vec<_> = openings.iter().map(|o| self.leader(&o.assigned.registration)).collect();
        let now_ms = clock.wall_ms();
        let keeping = Keeping { clock, lag_max: self.lag_max(), broken: self.broken };
        let unique: Vec<Uuid> =
            openings.iter().map(|_| Uuid::from_random(|| self.host.entropy().u128())).collect();
        let (job_dir, metrics) = (Arc::clone(&dir), Arc::clone(&self.metrics));
        let openings = openings.into_iter().zip(unique).collect();
        let job = dir.disk.run_each(self.recovery_threads(), openings, move |fs, (opening, unique)| {
            let log = open_log(fs, &job_dir, &opening, unique, now_ms)?;
            let Assigned { id, topic, registration } = opening.assigned;
            let place = (job_dir.files.path().to_owned(), job_dir.files.directory_id());
            let (of_topic, disk) = (metrics.topic(&topic), job_dir.disk.clone());
            let partition = Partition::new(id, topic, place, disk, keeping.clone(), of_topic, log);
            partition.set_settings(&opening.configs, &opening.settings);
            partition.apply(fs, &registration);
            Ok::<_, OpenError>(Arc::new(partition))
        });
        let Ok(opened) = job.await else { return };
        for (partition, leader) in opened.into_iter().zip(leaders) {
            match partition {
                Ok(partition) => {
                    following.push((Arc::clone(&partition), leader));
                    let mut partitions =
                        self.partitions.write().expect("no code that holds this lock panics");
                    partitions.insert(partition.id, partition);
                }
                Err(error) => self.log_dirs.set_offline(dir.files.path(), &error.to_string()),
            }
        }
    }

    /// Takes partitions out of the map and deletes their logs.
    async fn remove(&self, image: &Image, topic: &Arc<Topic>, indexes: &[i32]) {
        for index in indexes {
            let id = PartitionId { topic_id: topic.id, partition: *index };
            let removed = self.partitions.write().expect("no code that holds this lock panics").remove(&id);
            let Some(partition) = removed else { continue };
            partition.retire();
            self.fetchers.follow(vec![(Arc::clone(&partition), None)]);
            let Some(dir) = self.log_dirs.dir(&partition.log_dir).cloned() else { continue };
            let unique = Uuid::from_random(|| self.host.entropy().u128());
            let (job_dir, name, index) = (Arc::clone(&dir), topic.name.clone(), *index);
            let marked = dir.disk.run(move |fs| {
                // Appends that were queued before have run; later ones find a partition without a role.
                let _log = partition.log();
                job_dir.files.mark_deleted(fs, &name, index, unique)
            });
            match marked.await {
                Ok(Ok(log)) => {
                    deleted_files::remove_log_later(&self.host, &dir, log, self.delete_delay(image))
                }
                Ok(Err(error)) => {
                    tracing::warn!(topic = %topic.name, partition = index, %error, "log was not deleted");
                }
                Err(_) => {}
            }
        }
    }

    fn delete_delay(&self, image: &Image) -> Duration {
        let configs = ConfigLayers::new(image, &self.server, self.node_id);
        match configs.value("log.segment.delete.delay.ms") {
            Value::Long(millis) => Duration::from_millis(u64::try_from(millis).unwrap_or(0)),
            _ => Duration::ZERO,
        }
    }

    /// What the checkpoint files shall say.
    pub fn checkpoints(&self) -> BTreeMap<PathBuf, BTreeMap<(String, i32), LogCheckpoint>> {
        let mut dirs: BTreeMap<PathBuf, BTreeMap<_, _>> = BTreeMap::new();
        for partition in self.all() {
            let log = (partition.topic.to_string(), partition.id.partition);
            dirs.entry(partition.log_dir.clone()).or_default().insert(log, partition.checkpoint());
        }
        dirs
    }

    /// Closes all logs; nothing can be appended any more. The checkpoints afterwards say that all is durable.
    pub async fn close(&self) {
        self.fetchers.stop();
        let mut dirs: BTreeMap<PathBuf, Vec<Arc<Partition>>> = BTreeMap::new();
        for partition in self.all() {
            partition.retire();
            dirs.entry(partition.log_dir.clone()).or_default().push(partition);
        }
        for (path, partitions) in dirs {
            let Some(dir) = self.log_dirs.dir(&path).filter(|dir| !dir.is_offline()) else { continue };
            let closed = dir.disk.run_each(self.recovery_threads(), partitions, |fs, p| p.close(fs)).await;
            if let Some(error) = closed.into_iter().flatten().find_map(Result::err) {
                self.log_dirs.set_offline(&path, &error.to_string());
            }
        }
    }
}

/// Opens the log of a partition, or makes it. What stands there of a deleted topic of the same name goes first.
fn open_log(fs: &Fs, dir: &Dir, opening: &Opening, unique: Uuid, now_ms: i64) -> Result<Log, OpenError> {
    let (topic, index) = (&opening.assigned.topic, opening.assigned.id.partition);
    let checkpoint = dir.files.checkpoint(topic, index);
    let mut files = LogFiles {
        dir: dir.files.partition_dir(topic, index),
        topic_id: Some(opening.assigned.id.topic_id),
        recovery_point: checkpoint.recovery_point,
        log_start_offset: checkpoint.log_start_offset,
        clean: dir.files.was_clean(),
    };
    let io = |source| OpenError::Io { dir: dir.files.path().to_owned(), source };
    if !fs.exists(&files.dir) {
        // Checkpoints of a former log of this name are not about this one.
        (files.recovery_point, files.log_start_offset) = (0, 0);
    }
    match Log::open(fs, &files, &opening.settings.log, now_ms) {
        Err(OpenError::OtherTopic { found, .. }) => {
            tracing::info!(%topic, partition = index, %found, "log of a deleted topic goes");
            let gone = dir.files.mark_deleted(fs, topic, index, unique).map_err(io)?;
            fs.remove_dir_all(&gone).map_err(io)?;
            (files.recovery_point, files.log_start_offset) = (0, 0);
            Log::open(fs, &files, &opening.settings.log, now_ms)
        }
        Ok(mut log) => {
            log.set_high_watermark(Offset(checkpoint.high_watermark));
            Ok(log)
        }
        Err(error) => Err(error),
    }
}
