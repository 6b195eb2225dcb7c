//! Three controllers and three brokers, each a process with a disk and a network of its own, as far as the machine has them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tests::process::{CLUSTER_ID, free_port, weir_binary};

use super::disk::{self, Disk};
use super::network::{Network, address};
use super::server::{Role, Server, no_wrong_clocks};

const CONTROLLERS: [i32; 3] = [1, 2, 3];
pub(crate) const BROKERS: [i32; 3] = [11, 12, 13];
pub(crate) const TOPIC: &str = "faults";
pub(crate) const PARTITIONS: i32 = 4;
/// Of one command, in seconds; a node that it asks may be cut off.
const COMMAND_S: &str = "15";

pub(crate) struct Cluster {
    // In the order in which they go: processes, then what they stand on.
    pub(crate) servers: BTreeMap<i32, Server>,
    pub(crate) network: Option<Network>,
    addresses: BTreeMap<i32, String>,
    /// What the machine lacks, and why; by what cannot be tested for it.
    pub(crate) lacks: BTreeMap<&'static str, String>,
    pub(crate) dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts the cluster; this thread lives in its network from now on.
    pub(crate) fn start(further: &[&str]) -> Cluster {
        disk::sweep();
        let dir = disk::directory();
        let ids: Vec<i32> = CONTROLLERS.into_iter().chain(BROKERS).collect();
        let mut lacks = BTreeMap::new();
        let network = match Network::new(&ids) {
            Ok(network) => {
                network.enter();
                network.uncut.iter().for_each(|why| drop(lacks.insert("cut links", why.clone())));
                Some(network)
            }
            Err(why) => {
                lacks.insert("cut links", why);
                None
            }
        };
        let disks: Result<Vec<Disk>, String> =
            ids.iter().map(|id| Disk::new(dir.path(), &id.to_string())).collect();
        let mut disks = match disks {
            Ok(disks) => disks.into_iter().map(Some).collect(),
            Err(why) => {
                lacks.insert("disks", why);
                Vec::new()
            }
        }
        .into_iter();
        no_wrong_clocks().into_iter().for_each(|why| drop(lacks.insert("wrong clocks", why)));
        let addresses: BTreeMap<i32, String> = ids
            .iter()
            .map(|id| match network {
                Some(_) => (*id, format!("{}:9092", address(*id))),
                None => (*id, format!("127.0.0.1:{}", free_port())),
            })
            .collect();
        let servers = ids.iter().map(|id| {
            let disk = disks.next().flatten();
            let data =
                disk.as_ref().map_or_else(|| dir.path().join(id.to_string()), |d| d.path().to_path_buf());
            let settings = settings(*id, &addresses, &data.join("data"), network.is_some(), further);
            let server = Server {
                id: *id,
                role: if BROKERS.contains(id) { Role::Broker } else { Role::Controller },
                settings,
                namespace: network.as_ref().map(|network| network.namespace(*id)),
                disk,
                log: dir.path().join(format!("{id}.log")),
                child: None,
                clock_off_s: 0,
                is_paused: false,
                may_end: false,
                is_dark: false,
            };
            (*id, server)
        });
        let servers = servers.collect();
        let mut cluster = Cluster { servers, network, addresses, lacks, dir };
        cluster.servers.values_mut().for_each(Server::start);
        cluster
    }

    /// The brokers, as clients take them.
    pub(crate) fn bootstrap(&self) -> String {
        BROKERS.map(|id| self.addresses[&id].as_str()).join(",")
    }

    pub(crate) fn address(&self, id: i32) -> &str {
        &self.addresses[&id]
    }

    /// What `weir ARGS` shows; None if it could not.
    fn weir(&self, args: &[&str]) -> Option<Json> {
        self.ask(&self.bootstrap(), args)
    }

    fn ask(&self, bootstrap: &str, args: &[&str]) -> Option<Json> {
        let mut command = Command::new("timeout");
        command.arg(COMMAND_S).arg(weir_binary()).args(args).args(["-o", "json"]);
        command.env("WEIR_BOOTSTRAP", bootstrap).stdin(Stdio::null());
        let told = command.output().expect("it starts");
        if !told.status.success() {
            return None;
        }
        serde_json::from_slice(&told.stdout).ok()
    }

    /// Makes the topic, with a replica on each broker.
    pub(crate) fn create_topic(&self, within: Duration) {
        let (deadline, partitions) = (Instant::now() + within, PARTITIONS.to_string());
        let create = ["topic", "create", TOPIC, "--partitions", &partitions, "--replication-factor", "3"];
        while self.weir(&create).is_none() {
            assert!(Instant::now() < deadline, "no topic in {within:?}\n{}", self.last_lines(30));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Who leads the quorum, as the brokers know it.
    pub(crate) fn active_controller(&self) -> Option<i32> {
        let quorum = self.weir(&["cluster", "quorum"])?;
        i32::try_from(quorum["leader"].as_i64()?).ok().filter(|id| CONTROLLERS.contains(id))
    }

    /// What is not in sync; nothing if all is well. Every broker is asked: one that was cut off may still know what was.
    pub(crate) fn lacking(&self) -> Vec<String> {
        let mut lacking = Vec::new();
        for (broker, bootstrap) in BROKERS.map(|id| (id, &self.addresses[&id])) {
            let Some(Json::Array(rows)) = self.ask(bootstrap, &["topic", "describe"]) else {
                lacking.push(format!("broker {broker} describes nothing"));
                continue;
            };
            let size = |row: &Json, what: &str| row[what].as_array().map_or(0, Vec::len);
            let is_whole = |row: &Json| row["leader"].is_i64() && size(row, "isr") == size(row, "replicas");
            let torn = rows.iter().filter(|row| !is_whole(row));
            lacking.extend(torn.map(|row| format!("broker {broker} knows {row}")));
        }
        lacking
    }

    /// Nodes that have ended although nothing was done to them that they may end for.
    pub(crate) fn ended(&mut self) -> Vec<String> {
        let gone = self.servers.values_mut().filter(|s| s.child.is_some() && !s.may_end);
        let gone = gone.filter_map(|s| (!s.is_running()).then(|| s.name()));
        gone.collect()
    }

    /// Everything that was done is undone.
    pub(crate) fn heal(&mut self) {
        self.network.iter().for_each(Network::heal);
        self.servers.values_mut().for_each(Server::heal);
    }

    /// All is as it was: from now on nobody may end.
    pub(crate) fn is_whole(&mut self) {
        self.servers.values_mut().for_each(|server| server.may_end = false);
    }

    /// The segments of a replica, in their order.
    fn segments(&self, broker: i32, partition: i32) -> Vec<PathBuf> {
        let on_disk = self.servers[&broker].disk.as_ref().map(|disk| disk.path().to_path_buf());
        let data = on_disk.unwrap_or_else(|| self.dir.path().join(broker.to_string()));
        let entries = std::fs::read_dir(data.join(format!("data/{TOPIC}-{partition}"))).into_iter().flatten();
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
        files.sort();
        files
    }

    /// A replica's log of a partition, as it lies in its files.
    pub(crate) fn replica(&self, broker: i32, partition: i32) -> Vec<u8> {
        let files = self.segments(broker, partition);
        files.iter().flat_map(|file| std::fs::read(file).expect("it can be read")).collect()
    }

    /// Copies what brokers have on their disks of a partition.
    pub(crate) fn keep_segments(&self, partition: i32, to: &Path) {
        for broker in BROKERS {
            let to = to.join(format!("{broker}/{TOPIC}-{partition}"));
            std::fs::create_dir_all(&to).expect("there is room");
            for file in self.segments(broker, partition) {
                let name = file.file_name().expect("a file has a name");
                std::fs::copy(&file, to.join(name)).expect("there is room");
            }
        }
    }

    /// The last lines of all nodes.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let of =
            |server: &Server| format!("--- {} said at last:\n{}\n", server.name(), server.last_lines(count));
        self.servers.values().map(of).collect()
    }
}

fn settings(
    id: i32,
    addresses: &BTreeMap<i32, String>,
    data: &Path,
    has_own_network: bool,
    further: &[&str],
) -> Vec<String> {
    let is_broker = BROKERS.contains(&id);
    let voters = CONTROLLERS.map(|id| format!("{id}@{}", addresses[&id])).join(",");
    let (role, listener) = if is_broker { ("broker", "PLAINTEXT") } else { ("controller", "CONTROLLER") };
    let http_port = if has_own_network { 9644 } else { free_port() };
    let mut settings = vec![
        CLUSTER_ID.to_owned(),
        format!("node.id={id}"),
        format!("process.roles={role}"),
        format!("listeners={listener}://{}", addresses[&id]),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("controller.quorum.voters={voters}"),
        format!("log.dirs={}", data.display()),
        format!("weir.http.address=127.0.0.1:{http_port}"),
        // What is acknowledged is on the disks of two, commits of groups too.
        "min.insync.replicas=2".to_owned(),
        "weir.flush.on.acknowledge=true".to_owned(),
        "offsets.topic.replication.factor=3".to_owned(),
        "offsets.topic.num.partitions=2".to_owned(),
        "group.initial.rebalance.delay.ms=0".to_owned(),
    ];
    settings.extend(further.iter().map(|setting| (*setting).to_owned()));
    settings
}
