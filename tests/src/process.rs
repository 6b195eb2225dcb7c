//! A real `weir server` process for tests: started on free ports, killed without mercy, ended when the test ends.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a node may take until it is ready; a loaded two-core machine compiles beside the tests.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Until a dead leader is replaced, or a replica in sync again; the machine may be busy.
const REPLICATED_WITHIN: Duration = Duration::from_secs(60);

/// Of clusters of several nodes.
pub const CLUSTER_ID: &str = "cluster.id=4L6g3nShT-eMCtK--X86sw";

/// The root of the checkout.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above").to_path_buf()
}

/// `target/release/weir`, which `make test` has built before it runs the tests.
pub fn weir_binary() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let binary = target.join("release/weir");
    assert!(binary.exists(), "{} is missing: run `make build` first", binary.display());
    binary
}

/// Ports that tests hand out: below the range from which the kernel takes the ports of outgoing connections, so that
/// nobody else comes upon one between the moment it is chosen and the moment a node listens on it.
const TEST_PORTS: std::ops::Range<u16> = 10_240..32_768;
/// A process owns whole blocks; it listens on the first port of each for as long as it lives, which is the lock.
const PORTS_PER_BLOCK: u16 = 64;

/// The blocks that this process owns, and the ports of the last one that were not handed out yet.
#[derive(Default)]
struct OwnPorts {
    locks: Vec<TcpListener>,
    left: std::ops::Range<u16>,
}

/// A port that nobody listens on, and that no other test is given, of this process or of another.
pub fn free_port() -> u16 {
    static OWN: Mutex<Option<OwnPorts>> = Mutex::new(None);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    let own = own.get_or_insert_default();
    loop {
        if let Some(port) = own.left.find(is_free) {
            return port;
        }
        let mut blocks = TEST_PORTS.step_by(usize::from(PORTS_PER_BLOCK));
        let lock = blocks.find_map(|first| TcpListener::bind(("127.0.0.1", first)).ok());
        let lock = lock.expect("loopback has a free block of ports");
        let first = lock.local_addr().expect("it is bound").port();
        own.left = first + 1..first + PORTS_PER_BLOCK;
        own.locks.push(lock);
    }
}

/// GET over HTTP/1.0, so that the body comes in one piece: status and body; None if nobody listens.
pub fn http(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned()))
}

/// Sends a process a signal: `-STOP`, `-CONT`, `-TERM`.
///
/// # Panics
/// When there is no such process.
pub fn signal(pid: u32, signal: &str) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().expect("kill runs");
    assert!(status.success(), "process {pid} was there");
}

/// Nodes of either system.
pub fn servers(nodes: Vec<impl Server + 'static>) -> Vec<Box<dyn Server>> {
    nodes.into_iter().map(|node| Box::new(node) as Box<dyn Server>).collect()
}

/// A node of either system, as a test runs it.
pub trait Server: Send {
    fn port(&self) -> u16;
    fn controller_port(&self) -> u16;
    fn pid(&self) -> u32;
    /// Its only log directory.
    fn data(&self) -> PathBuf;
    fn log(&self) -> String;
    /// SIGTERM; returns when it has ended.
    fn stop(&mut self);
    /// kill -9.
    fn kill(&mut self);
    /// Starts it again on what it left; returns when it serves.
    fn start(&mut self);

    /// Resident memory of the process in KiB, file-backed pages left out.
    fn rss_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let field = |name: &str| -> u64 {
            let line = status.lines().find(|l| l.starts_with(name)).unwrap_or("");
            line.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        field("RssAnon:") + field("RssShmem:")
    }
}

impl Server for Node {
    fn port(&self) -> u16 {
        self.port
    }

    fn controller_port(&self) -> u16 {
        self.controller_port
    }

    fn pid(&self) -> u32 {
        Node::pid(self)
    }

    fn data(&self) -> PathBuf {
        Node::data(self)
    }

    fn log(&self) -> String {
        Node::log(self)
    }

    fn stop(&mut self) {
        Node::stop(self);
    }

    fn kill(&mut self) {
        Node::kill(self);
    }

    fn start(&mut self) {
        self.launch();
    }
}

/// What a node is, as `process.roles` says it.
#[derive(Clone, Copy, PartialEq)]
enum Roles {
    Combined,
    Controller,
}

/// One node, usually a combined one, with its data in a directory of its own.
pub struct Node {
    id: u32,
    roles: Roles,
    /// Node ids and controller ports of the quorum.
    voters: Vec<(u32, u16)>,
    pub port: u16,
    pub controller_port: u16,
    pub http_port: u16,
    pub dir: tempfile::TempDir,
    child: Option<Child>,
    settings: Vec<String>,
}

impl Node {
    /// Starts a node and waits until it is ready. `settings` are further `name=value`.
    pub fn start(settings: &[&str]) -> Node {
        let mut node = Node::new(1, settings);
        node.voters = vec![(1, node.controller_port)];
        node.launch();
        node
    }

    /// Starts a cluster of so many nodes, and waits until all are ready. `{id}` in a setting is each node's id.
    pub fn cluster(nodes: u32, settings: &[&str]) -> Vec<Node> {
        Node::start_all((1..=nodes).map(|id| Node::new(id, settings)).collect())
    }

    /// Starts a quorum of so many controllers that are no brokers, and waits until all are ready.
    pub fn controllers(nodes: u32, settings: &[&str]) -> Vec<Node> {
        let new = |id| {
            let mut node = Node::new(id, settings);
            node.roles = Roles::Controller;
            node
        };
        Node::start_all((1..=nodes).map(new).collect())
    }

    fn start_all(mut cluster: Vec<Node>) -> Vec<Node> {
        let voters: Vec<(u32, u16)> = cluster.iter().map(|node| (node.id, node.controller_port)).collect();
        for node in &mut cluster {
            node.voters.clone_from(&voters);
            node.spawn();
        }
        cluster.iter_mut().for_each(Node::wait_until_ready);
        cluster
    }

    /// The brokers of several nodes, as clients take them.
    pub fn bootstrap_of(nodes: &[Node]) -> String {
        let all: Vec<String> = nodes.iter().map(Node::bootstrap).collect();
        all.join(",")
    }

    fn new(id: u32, settings: &[&str]) -> Node {
        Node {
            id,
            roles: Roles::Combined,
            voters: Vec::new(),
            port: free_port(),
            controller_port: free_port(),
            http_port: free_port(),
            dir: tempfile::tempdir().expect("a temporary directory"),
            child: None,
            settings: settings.iter().map(|s| (*s).to_owned()).collect(),
        }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// The command that starts this node, for tests that want to see it fail.
    pub fn command(&self) -> Command {
        let mut command = Command::new(weir_binary());
        command.arg("server");
        let voters: Vec<String> =
            self.voters.iter().map(|(id, port)| format!("{id}@127.0.0.1:{port}")).collect();
        let controller = format!("CONTROLLER://127.0.0.1:{}", self.controller_port);
        let (roles, listeners) = match self.roles {
            Roles::Combined => {
                ("broker,controller", format!("PLAINTEXT://127.0.0.1:{},{controller}", self.port))
            }
            Roles::Controller => ("controller", controller),
        };
        let own = [
            format!("node.id={}", self.id),
            format!("process.roles={roles}"),
            format!("controller.quorum.voters={}", voters.join(",")),
            format!("listeners={listeners}"),
            "controller.listener.names=CONTROLLER".to_owned(),
            format!("log.dirs={}", self.data().display()),
            format!("weir.http.address=127.0.0.1:{}", self.http_port),
        ];
        for setting in own.iter().chain(&self.settings) {
            command.args(["--set", &setting.replace("{id}", &self.id.to_string())]);
        }
        command
    }

    /// Starts the process on the same directory and waits until `/readyz` says yes.
    pub fn launch(&mut self) {
        self.spawn();
        self.wait_until_ready();
    }

    fn spawn(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log"));
        let log = log.expect("the log can be written");
        let mut command = self.command();
        command.stdout(log.try_clone().expect("a second handle")).stderr(log).stdin(Stdio::null());
        self.child = Some(command.spawn().expect("weir starts"));
    }

    fn wait_until_ready(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        while self.http("/readyz").is_none_or(|(status, _)| status != 200) {
            let ended =
                self.child.as_mut().expect("just started").try_wait().expect("its state can be asked");
            assert!(ended.is_none(), "weir ended with {ended:?}:\n{}", self.log());
            assert!(Instant::now() < deadline, "not ready in {READY_WITHIN:?}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    /// SIGTERM; returns the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("it runs");
        signal(child.id(), "-TERM");
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if let Some(status) = child.try_wait().expect("its state can be asked") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|c| matches!(c.try_wait(), Ok(None)))
    }

    /// GET from the node's HTTP listener: status and body; None if nobody listens.
    pub fn http(&self, path: &str) -> Option<(u16, String)> {
        http(self.http_port, path)
    }

    /// One sample of the node's metrics, by its name and labels as they are written; None if it is not there.
    pub fn sample(&self, series: &str) -> Option<f64> {
        let (_, text) = self.http("/metrics").expect("it answers");
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }

    /// Makes a topic of one partition with a replica on each of three nodes, and returns its id.
    pub fn create_replicated(&self, topic: &str, options: &[&str]) -> String {
        let create =
            ["topic", "create", topic, "--partitions", "1", "--replication-factor", "3", "-o", "json"];
        let created = self.weir(&[&create[..], options].concat());
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let rows: serde_json::Value = serde_json::from_slice(&created.stdout).expect("JSON");
        rows[0]["id"].as_str().expect("an id").to_owned()
    }

    /// Leader of a topic's first partition and the size of its ISR, as this node sees them.
    pub fn leader_and_isr(&self, topic: &str) -> Option<(u32, usize)> {
        let described = self.weir(&["topic", "describe", topic, "-o", "json"]);
        let rows: serde_json::Value = serde_json::from_slice(&described.stdout).ok()?;
        Some((u32::try_from(rows[0]["leader"].as_u64()?).ok()?, rows[0]["isr"].as_array()?.len()))
    }

    /// Waits until leader and size of the ISR are as they should be.
    pub fn wait_for_leader(
        &self,
        topic: &str,
        what: &str,
        is_there: impl Fn((u32, usize)) -> bool,
    ) -> (u32, usize) {
        let deadline = Instant::now() + REPLICATED_WITHIN;
        loop {
            let now = self.leader_and_isr(topic);
            if let Some(state) = now.filter(|state| is_there(*state)) {
                return state;
            }
            assert!(Instant::now() < deadline, "{what}: still {now:?}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A raw connection to the broker's listener.
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("the broker listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out can be set");
        stream
    }

    /// Runs `weir ARGS` against this node.
    pub fn weir(&self, args: &[&str]) -> Output {
        let mut command = Command::new(weir_binary());
        command.env("WEIR_BOOTSTRAP", self.bootstrap()).args(args).stdin(Stdio::null());
        command.output().expect("weir runs")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            std::io::stderr()
                .write_all(format!("the node's log ended:\n{}\n", tail.join("\n")).as_bytes())
                .ok();
        }
    }
}

/// Other people's programs. `make test-deps` installs them.
pub mod runtimes {
    use super::*;
    use crate::kafka::Told;

    /// Whether `name` (`kcat`, `kafka`, a client) is here. Missing: a loud word for a person, a failure for CI.
    pub fn have(name: &str) -> bool {
        let found = script().args(["have", name]).status().is_ok_and(|s| s.success());
        if !found {
            let told = format!("SKIPPED: {name} is not installed; `make test-deps` installs it\n");
            assert!(std::env::var_os("CI").is_none(), "{told}");
            std::io::stderr().write_all(told.as_bytes()).ok();
        }
        found
    }

    /// `tests/runtimes.sh`, without arguments yet.
    pub fn script() -> Command {
        Command::new(root().join("tests/runtimes.sh"))
    }

    /// Runs a program to its end with `input` on its standard input and returns its standard output. Panics when it fails.
    pub fn run(command: Command, input: &[u8]) -> String {
        let what = format!("{command:?}");
        let Told { code, out, err } = told(command, input);
        assert!(code == 0, "{what}\nexit {code}\n{out}\n{err}");
        out
    }

    /// Runs a program to its end with `input` on its standard input.
    pub fn told(mut command: Command, input: &[u8]) -> Told {
        let what = format!("{command:?}");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut stdin = child.stdin.take().expect("it was asked for");
        let input = input.to_vec();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().expect("it ends");
        writer.join().expect("the writer does not panic");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        // No code: a signal ended it.
        Told {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// One of Kafka's own tools.
    pub fn kafka(tool: &str, args: &[&str], input: &[u8]) -> String {
        let mut command = script();
        command.args(["kafka", tool]).args(args);
        run(command, input)
    }

    /// The scenario of `tests/clients` in one of its languages, ready to be started.
    pub fn client(name: &str, args: &[&str]) -> Command {
        let mut command = script();
        command.args(["client", name]).args(args);
        command
    }

    pub fn kcat(args: &[&str], input: &[u8]) -> String {
        let mut command = Command::new("kcat");
        command.args(args);
        run(command, input)
    }
}
