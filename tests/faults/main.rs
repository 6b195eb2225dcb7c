//! Faults on real processes: three controllers and three brokers under load are killed, paused, cut off, and lose their power
//! and their disks, and everything that clients were told is held against the log. See `README.md` beside this file.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

mod cluster;
mod disk;
mod fault;
mod load;
mod network;
mod run;
mod server;
mod twice;

use std::io::Write as _;
use std::time::Duration;

use run::{Form, Outcome, run};
use tests::history::Anomaly;
use tests::process::runtimes;

/// Past the harness of tests, which keeps what passes to itself.
fn say(text: &str) {
    std::io::stderr().write_all(format!("{text}\n").as_bytes()).ok();
}

fn skipped(what: &str, why: &str) {
    say(&format!("SKIPPED: {what}: {why}"));
}

fn have_clients() -> bool {
    ["java", "librdkafka", "kcat"].into_iter().all(runtimes::have)
}

/// A whole number from the environment.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// `make faults` says how many faults; without it, the bounded form.
#[test]
fn nothing_that_was_promised_is_broken_by_faults() {
    if !have_clients() {
        return;
    }
    let seed = number("FAULTS_SEED").unwrap_or(1);
    let form = match number("FAULTS") {
        Some(faults) => Form { faults, hold_max: Duration::from_secs(12), doubles: true },
        None => Form { faults: 8, hold_max: Duration::from_secs(3), doubles: false },
    };
    let Outcome { told, broken, logs, .. } = run(seed, &form);
    say(&told);
    assert!(broken.is_empty(), "FAULTS={} SEED={seed}:\n{}\n{logs}", form.faults, broken.join("\n"));
}

/// The same machinery finds what is lost where nothing is flushed: this is what the other runs would look like if Weir
/// acknowledged what is not on a disk.
#[test]
fn all_power_lost_without_flushes_is_noticed() {
    if !have_clients() {
        return;
    }
    if let Some(Outcome { anomalies, told, .. }) = run::all_power_lost_without_flushes() {
        let is_lost = |a: &Anomaly| matches!(a, Anomaly::LostWrite { was: "acknowledged", .. });
        assert!(anomalies.iter().any(is_lost), "acknowledged records were in memory only:\n{told}");
    }
}
