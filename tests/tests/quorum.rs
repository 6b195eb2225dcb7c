//! Controllers that are added to a running quorum and taken out of it: real processes, and Kafka's own tool.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tests::kafka::Tools;
use tests::process::{free_port, http, runtimes, weir_binary};

const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";
const WITHIN: Duration = Duration::from_secs(60);

/// A node of one role, run by a file of settings as Kafka's tools read it too.
struct Node {
    id: u32,
    port: u16,
    http_port: u16,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Node {
    fn new(id: u32) -> Node {
        let (port, http_port) = (free_port(), free_port());
        Node { id, port, http_port, dir: tempfile::tempdir().unwrap(), child: None }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("server.properties")
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn write(&self, role: &str, listener: &str, bootstrap: &[String], more: &str) {
        let text = format!(
            "process.roles={role}\nnode.id={}\nlisteners={listener}://{}\ncontroller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers={}\nlog.dirs={}\nweir.http.address=127.0.0.1:{}\n\
             offsets.topic.replication.factor=1\n{more}",
            self.id,
            self.address(),
            bootstrap.join(","),
            self.dir.path().join("data").display(),
            self.http_port,
        );
        std::fs::write(self.file(), text).unwrap();
    }

    fn format(&self, first: &[&str]) {
        let mut command = Command::new(weir_binary());
        command.args(["storage", "format", "-t", CLUSTER]).args(first).arg("--config").arg(self.file());
        told(command.output().unwrap());
    }

    fn start(&mut self) {
        let log =
            std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(weir_binary());
        command.arg("server").arg("--config").arg(self.file()).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn directory_id(&self) -> String {
        let text = std::fs::read_to_string(self.dir.path().join("data/meta.properties")).unwrap();
        text.lines().find_map(|line| line.strip_prefix("directory.id=")).unwrap().to_owned()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let told = format!("node {} said:\n{}\n", self.id, self.log());
            std::io::stderr().write_all(told.as_bytes()).ok();
        }
    }
}

fn told(output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    out.into_owned()
}

/// Tries until it is there.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + WITHIN;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A broker of its own, and what is asked through it.
struct Broker(Node);

impl Broker {
    fn start(bootstrap: &[String]) -> Broker {
        let mut node = Node::new(10);
        node.write("broker", "PLAINTEXT", bootstrap, "");
        node.format(&[]);
        node.start();
        let port = node.http_port;
        eventually("the broker is ready", || http(port, "/readyz").filter(|(status, _)| *status == 200));
        Broker(node)
    }

    fn weir(&self, args: &[&str]) -> Output {
        let mut command = Command::new(weir_binary());
        command.env("WEIR_BOOTSTRAP", self.0.address()).args(args).stdin(Stdio::null());
        command.output().unwrap()
    }

    fn create(&self, topic: &str) {
        eventually(&format!("topic {topic} is created"), || {
            self.weir(&["topic", "create", topic]).status.success().then_some(())
        });
    }

    /// Node id, whether it votes, and directory id of every controller.
    fn controllers(&self) -> Option<Vec<(u64, bool, String)>> {
        let listed = self.weir(&["controller", "list", "-o", "json"]);
        let value: Value = serde_json::from_slice(&listed.stdout).ok()?;
        let row = |row: &Value| {
            Some((row["node"].as_u64()?, row["votes"].as_bool()?, row["directory_id"].as_str()?.to_owned()))
        };
        value["controllers"].as_array()?.iter().map(row).collect()
    }

    fn wait_for_voters(&self, expected: &[u64]) {
        eventually(&format!("{expected:?} vote; it is {:?}", self.controllers()), || {
            let voters: Vec<u64> =
                self.controllers()?.iter().filter(|(_, votes, _)| *votes).map(|(id, ..)| *id).collect();
            (voters == expected).then_some(())
        });
    }
}

/// Controllers 1 to 3 that found a quorum, and one more that may join it.
fn four() -> (Vec<Node>, Vec<String>) {
    let mut nodes: Vec<Node> = (1..=4).map(Node::new).collect();
    let bootstrap: Vec<String> = nodes[..3].iter().map(Node::address).collect();
    let directories = ["AAAAAAAAAAAAAAAAAAAAAQ", "AAAAAAAAAAAAAAAAAAAAAg", "AAAAAAAAAAAAAAAAAAAAAw"];
    let voters: Vec<String> = nodes
        .iter()
        .zip(directories)
        .map(|(node, directory)| format!("{}@{}:{directory}", node.id, node.address()))
        .collect();
    for node in &mut nodes {
        node.write("controller", "CONTROLLER", &bootstrap, "");
        match node.id {
            4 => node.format(&["--no-initial-controllers"]),
            _ => node.format(&["--initial-controllers", &voters.join(",")]),
        }
        node.start();
    }
    assert_eq!(nodes[1].directory_id(), directories[1]);
    (nodes, bootstrap)
}

#[test]
fn kafkas_tool_adds_a_fourth_controller_and_removes_the_others() {
    if !runtimes::have("kafka") {
        return;
    }
    let mut tools = Tools::start();
    let (mut nodes, bootstrap) = four();
    let broker = Broker::start(&bootstrap);
    broker.create("one");
    broker.wait_for_voters(&[1, 2, 3]);
    let controllers = bootstrap.join(",");
    let mut quorum = |args: &[&str]| tools.run("metadata-quorum", args, "");
    let fourth = nodes[3].directory_id();
    // The fourth observes, and so does the broker.
    let described = eventually("both observe", || {
        let told = quorum(&["--bootstrap-controller", &controllers, "describe", "--replication"]).out;
        (told.matches("Observer").count() == 2 && told.contains(&fourth)).then_some(told)
    });
    assert_eq!(described.matches("Follower").count(), 2, "{described}");
    let file = nodes[3].file();
    let add = [
        "--bootstrap-controller",
        &controllers,
        "--command-config",
        file.to_str().unwrap(),
        "add-controller",
    ];
    let added = quorum(&add).out();
    assert!(added.contains(&format!("Added controller 4 with directory id {fourth}")), "{added}");
    broker.wait_for_voters(&[1, 2, 3, 4]);
    let again = quorum(&add);
    assert!(again.err.contains("DuplicateVoter"), "{}{}", again.out, again.err);
    // Through a broker, which sends it on; the first is dead.
    nodes[0].kill();
    let remove = |id: u32, directory: &str, at: &[&str]| {
        let id = id.to_string();
        let args = ["remove-controller", "--controller-id", &id, "--controller-directory-id", directory];
        [at, &args[..]].concat().iter().map(|s| (*s).to_owned()).collect::<Vec<String>>()
    };
    let at_broker = broker.0.address();
    for (id, at) in [(1, at_broker.as_str()), (2, at_broker.as_str()), (3, controllers.as_str())] {
        let option = if id == 3 { "--bootstrap-controller" } else { "--bootstrap-server" };
        let args = remove(id, &nodes[id as usize - 1].directory_id(), &[option, at]);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let removed = eventually(&format!("controller {id} is removed"), || {
            let told = quorum(&args);
            // One that was removed and whose answer was lost is not found again.
            (told.code == 0 || told.err.contains("VoterNotFound")).then_some(told)
        });
        assert!(removed.code != 0 || removed.out.contains("Removed"), "{}", removed.out);
    }
    // The fourth decides alone now, and the broker has found it, though nobody told it of that one.
    broker.wait_for_voters(&[4]);
    nodes[1].kill();
    nodes[2].kill();
    broker.create("two");
    let topics = told(broker.weir(&["topic", "list", "-o", "json"]));
    assert!(topics.contains("\"one\"") && topics.contains("\"two\""), "{topics}");
}

#[test]
fn a_controller_is_added_by_its_id_and_one_that_lost_its_disk_is_replaced() {
    let (mut nodes, bootstrap) = four();
    let broker = Broker::start(&bootstrap);
    broker.wait_for_voters(&[1, 2, 3]);
    eventually("the fourth observes", || {
        broker.controllers()?.iter().find(|(id, votes, _)| *id == 4 && !votes).map(drop)
    });
    let added = told(broker.weir(&["controller", "add", "4", "-o", "json"]));
    assert!(added.contains(&nodes[3].directory_id()), "{added}");
    broker.wait_for_voters(&[1, 2, 3, 4]);
    // The second comes back with nothing: its former directory goes, the new one comes.
    nodes[1].kill();
    let former = nodes[1].directory_id();
    std::fs::remove_dir_all(nodes[1].dir.path().join("data")).unwrap();
    nodes[1].format(&["--no-initial-controllers"]);
    nodes[1].start();
    let current = nodes[1].directory_id();
    assert_ne!(former, current);
    eventually("it observes", || {
        broker.controllers()?.iter().find(|(_, votes, id)| !votes && *id == current).map(drop)
    });
    let early = broker.weir(&["controller", "add", "2"]);
    assert!(String::from_utf8_lossy(&early.stderr).contains("DUPLICATE_VOTER"), "{early:?}");
    told(broker.weir(&["controller", "remove", "2"]));
    broker.wait_for_voters(&[1, 3, 4]);
    told(broker.weir(&["controller", "add", "2"]));
    broker.wait_for_voters(&[1, 2, 3, 4]);
    let listed = broker.controllers().unwrap();
    assert!(listed.iter().any(|(_, votes, id)| *votes && *id == current), "{listed:?}");
    assert!(listed.iter().all(|(_, _, id)| *id != former), "{listed:?}");
    broker.create("after");
}

#[test]
fn controllers_that_are_told_to_join_by_themselves_do() {
    let mut nodes: Vec<Node> = (1..=3).map(Node::new).collect();
    let bootstrap = [nodes[0].address()];
    for node in &mut nodes {
        node.write("controller", "CONTROLLER", &bootstrap, "controller.quorum.auto.join.enable=true\n");
        node.format(&[if node.id == 1 { "--standalone" } else { "--no-initial-controllers" }]);
        node.start();
    }
    let broker = Broker::start(&bootstrap);
    broker.wait_for_voters(&[1, 2, 3]);
    nodes[0].kill();
    broker.create("without-the-first");
}

#[test]
fn a_directory_that_kafkas_tool_formatted_founds_a_quorum_here() {
    if !runtimes::have("kafka") {
        return;
    }
    let mut node = Node::new(1);
    let bootstrap = [node.address()];
    node.write("controller", "CONTROLLER", &bootstrap, "");
    let file = node.file();
    let args = ["format", "-t", CLUSTER, "--standalone", "-c", file.to_str().unwrap()];
    Tools::start().run("storage", &args, "").out();
    node.start();
    let broker = Broker::start(&bootstrap);
    broker.wait_for_voters(&[1]);
    let listed = broker.controllers().unwrap();
    assert_eq!(listed, [(1, true, node.directory_id())]);
    broker.create("one");
}
