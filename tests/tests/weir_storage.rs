//! `weir storage`: directories that are made before a node runs, and the nodes that refuse foreign ones.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tests::kafka::Tools;
use tests::process::{free_port, runtimes, weir_binary};

const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";
const ANOTHER: &str = "5L6g3nShT-eMCtK--X86sw";

/// A config file of node 3 with two log dirs, and the directory that it lies in.
fn config() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (port, controller) = (free_port(), free_port());
    let at = dir.path().display();
    let text = format!(
        "process.roles=broker,controller\nnode.id=3\ncontroller.quorum.voters=3@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         controller.listener.names=CONTROLLER\nlog.dirs={at}/a,{at}/b\n"
    );
    let file = dir.path().join("server.properties");
    std::fs::write(&file, text).unwrap();
    (dir, file)
}

fn storage(args: &[&str], config: &Path) -> Output {
    let mut command = Command::new(weir_binary());
    command.arg("storage").args(args).arg("--config").arg(config);
    command.output().unwrap()
}

fn told(output: Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    format!("{out}{err}")
}

fn refused(output: Output) -> String {
    assert!(!output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn directories_are_formatted_once_and_shown() {
    let (dir, config) = config();
    let not_yet = refused(storage(&["info"], &config));
    assert_eq!(not_yet.matches("is not formatted").count(), 2, "{not_yet}");
    let wrong = refused(storage(&["format", "-t", "zzz"], &config));
    assert!(wrong.contains("random-uuid"), "{wrong}");
    let made = told(storage(&["format", "-t", CLUSTER], &config));
    assert!(made.contains("/a") && made.contains("/b"), "{made}");
    let shown = told(storage(&["info"], &config));
    assert_eq!(shown.matches(CLUSTER).count(), 2, "{shown}");

    let again = refused(storage(&["format", "-t", CLUSTER], &config));
    assert!(again.contains("--ignore-formatted"), "{again}");
    std::fs::remove_dir_all(dir.path().join("b")).unwrap();
    let foreign = refused(storage(&["format", "-t", ANOTHER, "--ignore-formatted"], &config));
    assert!(foreign.contains(CLUSTER) && !dir.path().join("b").exists(), "{foreign}");
    let rest = told(storage(&["format", "-t", CLUSTER, "--ignore-formatted"], &config));
    assert!(!rest.contains("/a ") && rest.contains("/b"), "{rest}");
    let nothing = told(storage(&["format", "-t", CLUSTER, "--ignore-formatted"], &config));
    assert!(nothing.contains("already formatted"), "{nothing}");
}

#[test]
fn who_founds_the_quorum_is_said_where_it_cannot_be_known() {
    let (dir, config) = config();
    let format = |more: &[&str]| storage(&[&["format", "-t", CLUSTER][..], more].concat(), &config);
    let named = refused(format(&["--standalone"]));
    assert!(named.contains("controller.quorum.voters"), "{named}");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("controller.quorum.voters=3@", "#")).unwrap();
    let lost = refused(format(&["--no-initial-controllers"]));
    assert!(lost.contains("controller.quorum.bootstrap.servers"), "{lost}");
    let text = text.replace("controller.quorum.voters=3@", "controller.quorum.bootstrap.servers=");
    std::fs::write(&config, text).unwrap();
    let silent = refused(format(&[]));
    assert!(silent.contains("--standalone") && silent.contains("--no-initial-controllers"), "{silent}");
    let others = format!("1@127.0.0.1:1:{CLUSTER}");
    let absent = refused(format(&["--initial-controllers", &others]));
    assert!(absent.contains("does not name node 3"), "{absent}");
    let twice = format!("3@127.0.0.1:1:{CLUSTER},3@127.0.0.1:1:{ANOTHER}");
    let twice = refused(format(&["--initial-controllers", &twice]));
    assert!(twice.contains("twice"), "{twice}");
    let both = refused(format(&["--standalone", "--no-initial-controllers"]));
    assert!(both.contains("cannot be used with"), "{both}");
    let wrong = refused(format(&["--initial-controllers", "3@127.0.0.1:1"]));
    assert!(wrong.contains("id@host:port:directory-id"), "{wrong}");
    assert!(!dir.path().join("a/meta.properties").exists(), "nothing was formatted by what was refused");
    // The metadata directory, the first, has the id that the others were told.
    let made = told(format(&["--initial-controllers", &format!("3@127.0.0.1:1:{ANOTHER}")]));
    let first = made.lines().find(|line| line.contains("/a ")).unwrap();
    assert!(first.ends_with(ANOTHER) && made.matches(ANOTHER).count() == 1, "{made}");
    let voters = "a/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint";
    assert!(dir.path().join(voters).exists());
}

#[test]
fn kafkas_tool_reads_what_is_formatted_here() {
    if !runtimes::have("kafka") {
        return;
    }
    let (_dir, config) = config();
    told(storage(&["format", "-t", CLUSTER], &config));
    let shown = Tools::start().run("storage", &["info", "-c", config.to_str().unwrap()], "").out();
    assert!(shown.contains(&format!("cluster.id={CLUSTER}")) && shown.contains("node.id=3"), "{shown}");
    assert!(!shown.contains("Found problem"), "{shown}");
}

#[test]
fn made_up_ids_can_be_used() {
    let ids =
        (0..20).map(|_| Command::new(weir_binary()).args(["storage", "random-uuid", "-o", "json"]).output());
    for output in ids {
        let rows: serde_json::Value = serde_json::from_str(&told(output.unwrap())).unwrap();
        let id = rows[0]["uuid"].as_str().unwrap().to_owned();
        assert!(id.len() == 22 && !id.starts_with('-'), "{id}");
    }
}

#[test]
fn a_formatted_node_keeps_its_cluster_and_refuses_another() {
    let (_dir, config) = config();
    told(storage(&["format", "-t", CLUSTER], &config));
    let mut other = Command::new(weir_binary());
    other.args(["server", "--set", &format!("cluster.id={ANOTHER}"), "--set", "weir.http.address="]);
    let said = refused(other.arg("--config").arg(&config).output().unwrap());
    assert!(said.contains(CLUSTER) && said.contains(ANOTHER), "{said}");
    assert!(!said.contains("is not a setting"), "{said}");
}
