//! Apache Kafka beside Weir: a node of it, and its command-line tools in one JVM.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{Server, free_port, root, signal};

/// A JVM that starts beside a busy compiler.
const READY_WITHIN: Duration = Duration::from_secs(120);

fn launcher(command: &str) -> Command {
    let mut launcher = Command::new(root().join("tests/runtimes.sh"));
    launcher.arg(command);
    launcher
}

/// A real Kafka, one combined node.
pub struct Kafka {
    child: Option<Child>,
    dir: tempfile::TempDir,
    pub port: u16,
    pub controller_port: u16,
}

impl Kafka {
    /// Formats a directory and starts a node on it, without waiting for it. `settings` are further `name=value`.
    pub fn launch(settings: &[&str]) -> Kafka {
        Kafka::launch_all(1, settings).remove(0)
    }

    /// Starts a cluster of so many nodes, 1 and up, and waits until all listen.
    pub fn cluster(nodes: usize, settings: &[&str]) -> Vec<Kafka> {
        let mut cluster = Kafka::launch_all(nodes, settings);
        cluster.iter_mut().for_each(Kafka::await_ready);
        cluster
    }

    fn launch_all(nodes: usize, settings: &[&str]) -> Vec<Kafka> {
        let new = |_| {
            let dir = tempfile::tempdir().expect("a temporary directory");
            Kafka { child: None, dir, port: free_port(), controller_port: free_port() }
        };
        let mut cluster: Vec<Kafka> = (0..nodes).map(new).collect();
        let voter = |(at, node): (usize, &Kafka)| format!("{}@127.0.0.1:{}", at + 1, node.controller_port);
        let voters = cluster.iter().enumerate().map(voter).collect::<Vec<_>>().join(",");
        for (at, node) in cluster.iter_mut().enumerate() {
            node.configure(at + 1, &voters, settings);
            node.spawn();
        }
        cluster
    }

    fn configure(&self, id: usize, voters: &str, settings: &[&str]) {
        let (port, controller_port) = (self.port, self.controller_port);
        let mut properties = format!(
            "node.id={id}\nprocess.roles=broker,controller\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.voters={voters}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\nlog.dirs={}\n",
            self.data().display()
        );
        settings.iter().for_each(|line| writeln!(properties, "{line}").expect("into a string"));
        std::fs::write(self.properties(), properties).expect("written");
    }

    fn properties(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    fn spawn(&mut self) {
        let log = std::fs::File::create(self.dir.path().join("log")).expect("the log can be written");
        let mut command = launcher("kafka-node");
        command.arg(self.properties()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.child = Some(command.spawn().expect("the launcher runs"));
    }

    /// Waits until it listens.
    pub fn await_ready(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.log().contains("Kafka Server started")
            || TcpStream::connect(("127.0.0.1", self.port)).is_err()
        {
            let child = self.child.as_mut().expect("it was started");
            let ended = child.try_wait().expect("its state can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "Kafka did not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn child(&self) -> &Child {
        self.child.as_ref().expect("it runs")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Server for Kafka {
    fn port(&self) -> u16 {
        self.port
    }

    fn controller_port(&self) -> u16 {
        self.controller_port
    }

    fn pid(&self) -> u32 {
        self.child().id()
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> String {
        Kafka::log(self)
    }

    fn stop(&mut self) {
        signal(self.pid(), "-TERM");
        let mut child = self.child.take().expect("it runs");
        let deadline = Instant::now() + READY_WITHIN;
        while child.try_wait().expect("its state can be asked").is_none() {
            if Instant::now() > deadline {
                child.kill().expect("it can be killed");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("it can be killed");
        child.wait().expect("it ends");
    }

    fn start(&mut self) {
        self.spawn();
        self.await_ready();
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
    }
}

/// What a tool said.
#[derive(Clone, Debug, Default)]
pub struct Told {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Told {
    /// Its standard output. Panics if it failed.
    pub fn out(self) -> String {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self.out
    }
}

/// Kafka's command-line tools, one after the other in one JVM: `tests/kafka_tools/Driver.java`.
pub struct Tools {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    classes: String,
}

impl Tools {
    pub fn start() -> Tools {
        let mut command = launcher("kafka-tools");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the launcher runs");
        let commands = child.stdin.take().expect("it was asked for");
        let answers = BufReader::new(child.stdout.take().expect("it was asked for"));
        let classes = root().join("tests/kafka_tools/classes.txt");
        let classes = std::fs::read_to_string(classes).expect("the list is here");
        Tools { child, commands, answers, classes }
    }

    /// Runs a tool to its end.
    pub fn run(&mut self, tool: &str, args: &[&str], input: &str) -> Told {
        let class = self.classes.lines().find_map(|l| l.strip_prefix(tool)?.strip_prefix(' '));
        let class = class.unwrap_or_else(|| panic!("no such tool: {tool}"));
        let input = input.replace('\n', "\\n").replace('\t', "\\t");
        let words = [&[class, input.as_str()], args].concat();
        writeln!(self.commands, "{}", words.join("\t")).expect("the driver listens");
        let mut head = String::new();
        self.answers.read_line(&mut head).expect("the driver answers");
        let numbers: Vec<i64> = head.split(' ').skip(1).filter_map(|n| n.trim().parse().ok()).collect();
        let [code, out, err] = numbers[..] else { panic!("the driver said {head:?} to {tool} {args:?}") };
        let mut take = |len: i64| {
            let mut bytes = vec![0; len as usize];
            self.answers.read_exact(&mut bytes).expect("as many as it said");
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Told { code: code as i32, out: take(out), err: take(err) }
    }
}

impl Drop for Tools {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
