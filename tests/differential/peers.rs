//! The two nodes that are compared, set up alike.

use std::fmt::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::process::{Node, free_port, root};

use crate::play::Side;

/// A JVM that starts beside a busy compiler.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// What both are told. Internal topics are small, so that their coordinators load at once.
pub const SETTINGS: &[&str] = &[
    "offsets.topic.replication.factor=1",
    "offsets.topic.num.partitions=3",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "transaction.state.log.num.partitions=3",
    "share.coordinator.state.topic.replication.factor=1",
    "share.coordinator.state.topic.min.isr=1",
    "share.coordinator.state.topic.num.partitions=3",
    "group.initial.rebalance.delay.ms=0",
];

/// A node of Weir, with `changes` beyond the common settings.
pub fn weir(changes: &[&str]) -> Node {
    Node::start(&[SETTINGS, changes].concat())
}

pub fn side_of(node: &Node) -> Side {
    Side { port: node.port, data: node.data(), lie: None }
}

/// A real Apache Kafka, one combined node.
pub struct Kafka {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

impl Kafka {
    /// Formats a directory, starts a node on it and waits until it listens.
    pub fn start() -> Kafka {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (port, controller) = (free_port(), free_port());
        let mut properties = format!(
            "node.id=1\nprocess.roles=broker,controller\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\nlog.dirs={}\n",
            dir.path().join("data").display()
        );
        SETTINGS.iter().for_each(|line| writeln!(properties, "{line}").expect("into a string"));
        let file = dir.path().join("server.properties");
        std::fs::write(&file, properties).expect("written");
        let log = std::fs::File::create(dir.path().join("log")).expect("the log can be written");
        let child = Command::new(root().join("tests/runtimes.sh"))
            .arg("kafka-node")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("the launcher runs");
        let mut kafka = Kafka { child, dir, port };
        kafka.await_ready();
        kafka
    }

    fn await_ready(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.log().contains("Kafka Server started")
            || TcpStream::connect(("127.0.0.1", self.port)).is_err()
        {
            let ended = self.child.try_wait().expect("its state can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "Kafka did not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub fn side(&self) -> Side {
        Side { port: self.port, data: self.dir.path().join("data"), lie: None }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
