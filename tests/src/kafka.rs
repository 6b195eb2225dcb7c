//! Apache Kafka beside Weir: a node of it, and its command-line tools in one JVM.

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{free_port, root};

/// A JVM that starts beside a busy compiler.
const READY_WITHIN: Duration = Duration::from_secs(120);

fn launcher(command: &str) -> Command {
    let mut launcher = Command::new(root().join("tests/runtimes.sh"));
    launcher.arg(command);
    launcher
}

/// A real Kafka, one combined node.
pub struct Kafka {
    child: Child,
    dir: tempfile::TempDir,
    pub port: u16,
    pub controller_port: u16,
}

impl Kafka {
    /// Formats a directory and starts a node on it, without waiting for it. `settings` are further `name=value`.
    pub fn launch(settings: &[&str]) -> Kafka {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (port, controller_port) = (free_port(), free_port());
        let mut properties = format!(
            "node.id=1\nprocess.roles=broker,controller\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\nlog.dirs={}\n",
            dir.path().join("data").display()
        );
        settings.iter().for_each(|line| writeln!(properties, "{line}").expect("into a string"));
        let file = dir.path().join("server.properties");
        std::fs::write(&file, properties).expect("written");
        let log = std::fs::File::create(dir.path().join("log")).expect("the log can be written");
        let mut command = launcher("kafka-node");
        command.arg(&file).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        Kafka { child: command.spawn().expect("the launcher runs"), dir, port, controller_port }
    }

    /// Waits until it listens.
    pub fn await_ready(&mut self) {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.log().contains("Kafka Server started")
            || TcpStream::connect(("127.0.0.1", self.port)).is_err()
        {
            let ended = self.child.try_wait().expect("its state can be asked");
            assert!(ended.is_none() && Instant::now() < deadline, "Kafka did not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
