//! What a node refuses to start with: one clear sentence and a non-zero exit.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tests::process::{CLUSTER_ID, Node, free_port, weir_binary};

/// Runs to its end (at most 20 seconds) and returns what it said on standard error. Panics if it goes on or exits with 0.
fn refused(mut command: Command) -> String {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("weir starts");
    let deadline = Instant::now() + Duration::from_secs(20);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().ok();
            panic!("it went on: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_ne!(output.status.code(), Some(0), "{said}");
    assert!(output.status.code().is_some(), "ended by a signal: {said}");
    assert!(!said.contains("panicked"), "{said}");
    let last = said.lines().last().unwrap_or("").to_owned();
    assert!(last.starts_with("weir: "), "the last line is for the operator: {said}");
    last
}

#[test]
fn a_second_node_on_the_same_data_directory_is_refused() {
    let node = Node::start(&[]);
    let mut second = node.command();
    let (port, controller) = (free_port(), free_port());
    for setting in [
        format!("listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
        format!("controller.quorum.voters=1@127.0.0.1:{controller}"),
        format!("weir.http.address=127.0.0.1:{}", free_port()),
    ] {
        second.args(["--set", &setting]);
    }
    let said = refused(second);
    assert!(said.contains("in use") && said.contains(node.data().to_str().unwrap()), "{said}");
}

#[test]
fn a_port_in_use_is_named() {
    let node = Node::start(&[]);
    let other = Node::start(&[]);
    for (setting, port) in [
        (
            format!("listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}", node.port, free_port()),
            node.port,
        ),
        (format!("weir.http.address=127.0.0.1:{}", node.http_port), node.http_port),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let mut command = other.command();
        let controller = free_port();
        command.args([
            "--set",
            &format!("listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{controller}", free_port()),
        ]);
        command.args(["--set", &format!("controller.quorum.voters=1@127.0.0.1:{controller}")]);
        command.args(["--set", &format!("log.dirs={}", dir.path().join("d").display())]);
        command.args(["--set", &format!("weir.http.address=127.0.0.1:{}", free_port())]);
        command.args(["--set", &setting]);
        let said = refused(command);
        assert!(said.contains(&port.to_string()) && said.contains("in use"), "{said}");
    }
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a-file");
    std::fs::write(&file, "not a directory").unwrap();
    for data in
        [file.join("data").display().to_string(), "/proc/weir-data".to_owned(), "/sys/weir-data".to_owned()]
    {
        let mut command = Command::new(weir_binary());
        command.args(["server", "--set", &format!("log.dirs={data}")]);
        let (broker, controller) = (free_port(), free_port());
        command.args([
            "--set",
            &format!("listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}"),
        ]);
        command.args(["--set", &format!("weir.http.address=127.0.0.1:{}", free_port())]);
        let said = refused(command);
        assert!(said.contains(&data), "{said}");
    }
}

/// A file that is in order.
const BASE: &str = "process.roles=broker,controller\nnode.id=1\ncontroller.listener.names=CONTROLLER\n\
    listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\n";

#[test]
fn a_bad_config_is_named_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let cases = [
        ("node.id=one\n", "node.id"),
        ("node.id=1\njust words\n", "line 2"),
        ("num.partitions=0\n", "num.partitions"),
        ("listeners=PLAINTEXT:127.0.0.1:9092\n", "listeners"),
        ("listeners=NOSUCH://127.0.0.1:1\n", "NOSUCH"),
        ("process.roles=broker,president\n", "process.roles"),
        ("controller.quorum.voters=1@\n", "controller.quorum.voters"),
        ("compression.type=brotli\n", "compression.type"),
        ("log.dirs=\n", "log.dirs"),
    ];
    for (text, named) in cases {
        let file = dir.path().join("server.properties");
        // The bad line comes last, and the last one counts.
        let whole = format!("{BASE}log.dirs={}\n{text}", data.display());
        std::fs::write(&file, if named == "line 2" { text.to_owned() } else { whole }).unwrap();
        let mut command = Command::new(weir_binary());
        command.args(["server", "--config", file.to_str().unwrap()]);
        let said = refused(command);
        assert!(said.contains(named), "{text:?}: {said}");
    }
    let mut command = Command::new(weir_binary());
    command.args(["server", "--config", dir.path().join("absent").to_str().unwrap()]);
    assert!(refused(command).contains("absent"));
    let mut command = Command::new(weir_binary());
    command.args(["server", "--set", "novalue"]);
    assert!(refused(command).contains("novalue"));
}

#[test]
fn a_full_directory_is_named_and_breaks_nothing() {
    let mount = tempfile::tempdir().unwrap();
    let path = mount.path().to_str().unwrap().to_owned();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "weir-test", &path]).output();
    if !mounted.is_ok_and(|o| o.status.success()) {
        return; // A person's machine without the right to mount; CI runs as root.
    }
    let outcome = std::panic::catch_unwind(|| {
        std::fs::write(mount.path().join("fill"), vec![0u8; 64 << 10]).ok();
        let mut command = Command::new(weir_binary());
        let (broker, controller) = (free_port(), free_port());
        command.args(["server", "--set", &format!("log.dirs={path}/data")]);
        command.args([
            "--set",
            &format!("listeners=PLAINTEXT://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}"),
        ]);
        command.args(["--set", &format!("weir.http.address=127.0.0.1:{}", free_port())]);
        refused(command)
    });
    Command::new("umount").args(["-l", &path]).status().ok();
    let said = outcome.expect("refused");
    assert!(said.contains("space") && said.contains(&path), "{said}");
}

/// A broker that would join the cluster of `node`.
fn broker_beside(node: &Node, dir: &tempfile::TempDir, settings: &[&str]) -> Command {
    let mut command = Command::new(weir_binary());
    let own = [
        "process.roles=broker".to_owned(),
        "weir.http.address=".to_owned(),
        format!("listeners=PLAINTEXT://127.0.0.1:{}", free_port()),
        format!("controller.quorum.voters=1@127.0.0.1:{}", node.controller_port),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("log.dirs={}", dir.path().join("logs").display()),
    ];
    command.arg("server");
    own.iter().map(String::as_str).chain(settings.iter().copied()).for_each(|setting| {
        command.args(["--set", setting]);
    });
    command
}

#[test]
fn a_broker_of_another_cluster_and_one_with_a_used_id_are_refused_and_the_cluster_goes_on() {
    let mut node = Node::start(&[CLUSTER_ID]);
    let dir = tempfile::tempdir().unwrap();
    let said = refused(broker_beside(&node, &dir, &["node.id=2", "cluster.id=5L6g3nShT-eMCtK--X86sw"]));
    assert!(said.contains("another cluster") && said.contains("5L6g3nShT-eMCtK--X86sw"), "{said}");

    let dir = tempfile::tempdir().unwrap();
    let twice = ["node.id=1", CLUSTER_ID, "initial.broker.registration.timeout.ms=1000"];
    let said = refused(broker_beside(&node, &dir, &twice));
    assert!(said.contains("another broker") && said.contains("node.id 1"), "{said}");

    assert!(node.is_running() && node.weir(&["topic", "create", "t"]).status.success(), "{}", node.log());
    node.kill();
    let dir = tempfile::tempdir().unwrap();
    let alone = ["node.id=3", CLUSTER_ID, "initial.broker.registration.timeout.ms=1000"];
    let said = refused(broker_beside(&node, &dir, &alone));
    assert!(said.contains("no controller could be reached"), "{said}");
}
