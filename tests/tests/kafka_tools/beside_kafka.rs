//! Kafka's own tools, and kcat, say of a node of Weir what they say of a node of Kafka.
//!
//! One list of commands is run against both, Kafka's tools in one JVM, and what each prints is compared after masking what
//! differs between any two clusters: addresses, ids, times, speeds. What is meant to differ stands in the list, with its
//! reason.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use tests::kafka::{Kafka, Told, Tools};
use tests::member;
use tests::process::{Node, Server as _, runtimes, weir_binary};

use crate::scenario::{self, Step};

/// What both nodes are told. Internal topics are small, so that their coordinators load at once.
const SETTINGS: &[&str] = &[
    "offsets.topic.replication.factor=1",
    "offsets.topic.num.partitions=3",
    "transaction.state.log.replication.factor=1",
    "transaction.state.log.min.isr=1",
    "group.initial.rebalance.delay.ms=0",
    "log.retention.hours=5",
];

/// One of the two clusters.
struct Side {
    port: u16,
    controller_port: u16,
    data: String,
}

impl Side {
    /// Runs a step, and masks in what it says what may differ.
    fn run(&self, tools: &mut Tools, files: &Path, step: &Step) -> Told {
        let fill = |text: &str| {
            let files = files.to_str().expect("a UTF-8 path");
            text.replace("{at}", &format!("--bootstrap-server 127.0.0.1:{}", self.port))
                .replace(
                    "{at-controller}",
                    &format!("--bootstrap-controller 127.0.0.1:{}", self.controller_port),
                )
                .replace("{files}", files)
        };
        for (name, text) in step.files {
            std::fs::write(files.join(name), text).expect("written");
        }
        let filled = fill(step.args);
        let args: Vec<&str> = filled.split_whitespace().collect();
        let told = match step.tool {
            "kcat" => self.kcat(&args, step.input),
            tool => tools.run(tool, &args, step.input),
        };
        Told { out: self.mask(&told.out), ..told }
    }

    /// kcat, told where to go first; one that waits for records that do not come is ended.
    fn kcat(&self, args: &[&str], input: &str) -> Told {
        let bootstrap = format!("127.0.0.1:{}", self.port);
        let mut command = Command::new("timeout");
        // The end of a partition is told by a fetch that has waited.
        command.args(["30", "kcat", "-X", "fetch.wait.max.ms=50", "-b", &bootstrap]).args(args);
        runtimes::told(command, input.as_bytes())
    }

    /// A member of group `live` that stays as long as its session lasts.
    fn join(&self) {
        member::join(&format!("127.0.0.1:{}", self.port), "live", "t");
    }

    fn mask(&self, text: &str) -> String {
        let ports = [(self.port, "BROKER"), (self.controller_port, "CONTROLLER")];
        let text = ports.iter().fold(text.replace(&self.data, "DATA"), |text, (port, name)| {
            text.replace(&format!("127.0.0.1:{port}"), name).replace(&port.to_string(), name)
        });
        scenario::mask_words(&text)
    }
}

#[test]
fn kafkas_tools_say_of_weir_what_they_say_of_kafka() {
    if !runtimes::have("kafka") || !runtimes::have("kcat") {
        return;
    }
    let mut kafka = Kafka::launch(SETTINGS);
    let mut tools = Tools::start();
    let node = Node::start(SETTINGS);
    let files = tempfile::tempdir().expect("a directory");
    let data = |path: std::path::PathBuf| path.display().to_string();
    let weir = Side { port: node.port, controller_port: node.controller_port, data: data(node.data()) };
    let real = Side { port: kafka.port, controller_port: kafka.controller_port, data: data(kafka.data()) };
    kafka.await_ready();
    let mut faults = String::new();
    let mut is_joined = false;
    for step in scenario::steps() {
        if step.args.contains("--group live") && !std::mem::replace(&mut is_joined, true) {
            weir.join();
            real.join();
        }
        let ours = weir.run(&mut tools, files.path(), &step);
        let theirs = real.run(&mut tools, files.path(), &step);
        if let Some(fault) = fault(&step, &ours, &theirs) {
            writeln!(faults, "=== {} {}\n{fault}", step.tool, step.args).unwrap();
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
    weir_copies_the_metadata_log_of(&kafka, files.path());
}

/// `weir cluster dump-metadata` of a real Kafka is what lies on Kafka's own disk.
fn weir_copies_the_metadata_log_of(kafka: &Kafka, dir: &Path) {
    let mut command = Command::new(weir_binary());
    command.args(["cluster", "dump-metadata", "-b", &format!("127.0.0.1:{}", kafka.port)]).arg(dir);
    let output = command.output().expect("weir runs");
    assert!(output.status.success(), "{output:?}");
    let name = "00000000000000000000.log";
    let copy = std::fs::read(dir.join(name)).expect("it was written");
    let theirs = std::fs::read(kafka.data().join("__cluster_metadata-0").join(name)).expect("Kafka has it");
    assert!(copy.len() > 1000 && theirs.starts_with(&copy), "{} bytes of {}", copy.len(), theirs.len());
}

/// What is wrong with a step, if something is.
fn fault(step: &Step, ours: &Told, theirs: &Told) -> Option<String> {
    let report = |why: &str| {
        let side =
            |name: &str, told: &Told| format!("--- {name}: exit {}\n{}{}", told.code, told.out, told.err);
        Some(format!("{why}\n{}\n{}", side("Weir", ours), side("Kafka", theirs)))
    };
    if ours.code != theirs.code {
        return report("the exit codes differ");
    }
    if (theirs.code != 0) != step.is_refused {
        return report("Kafka itself does not what the scenario expects");
    }
    if let Some(missing) = step.contains.iter().find(|text| !ours.out.contains(**text)) {
        return report(&format!("{missing:?} is missing"));
    }
    if step.compared.holds(&ours.out, &theirs.out) { None } else { report("they say different things") }
}
