//! Three controllers, three to five brokers and clients in one process under one seed; see `sim::chaos` for what happens to them.
//!
//! `WEIR_SIM_SEED` replays one seed, and `RUST_LOG` shows what its programs log (the times are not the world's);
//! `WEIR_SIM_SEEDS` says how many are tried (600).
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use tests::sim::Broken;
use tests::sim::chaos::{Outcome, run};

/// A run, and a panic of anything in it as a broken promise.
fn outcome(seed: u64, broken: Broken) -> Outcome {
    std::panic::catch_unwind(|| run(seed, broken)).unwrap_or_else(|panic| {
        let told = panic.downcast_ref::<String>().cloned();
        let told = told.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let broken = vec![told.unwrap_or_else(|| "a panic".to_owned())];
        Outcome { trace: 0, broken, acknowledged: 0, voter_sets: 0 }
    })
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse().ok());
    match number("WEIR_SIM_SEED") {
        Some(seed) => {
            let filter = tracing_subscriber::EnvFilter::from_default_env();
            tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
            seed..seed + 1
        }
        None => 0..number("WEIR_SIM_SEEDS").unwrap_or(600),
    }
}

#[test]
fn sim_cluster_keeps_its_promises() {
    let mut failed = Vec::new();
    // Every other seed has a quorum that can change.
    let (mut changing, mut changed) = (0, 0);
    for seed in seeds() {
        let Outcome { broken, acknowledged, voter_sets, .. } = outcome(seed, Broken::default());
        changing += seed % 2;
        changed += u64::from(voter_sets > 1);
        if !broken.is_empty() {
            failed.push(format!("WEIR_SIM_SEED={seed}: {broken:#?}"));
        } else if acknowledged == 0 {
            failed.push(format!("WEIR_SIM_SEED={seed}: nothing was acknowledged, so nothing was seen"));
        }
    }
    assert!(failed.is_empty(), "{} seeds break promises: {}", failed.len(), failed.join("\n"));
    // A seed alone may be one in which they did not.
    assert!(
        changing < 10 || 2 * changed >= changing,
        "of {changing} quorums that can change only {changed} did"
    );
}

/// Whether one of the seeds that CI tries shows that something is broken.
fn is_noticed(broken: Broken) -> bool {
    (0..200).any(|seed| !outcome(seed, broken).broken.is_empty())
}

#[test]
fn sim_notices_a_leader_that_acknowledges_before_replication() {
    let broker = broker::Broken { commits_alone: true, ..Default::default() };
    assert!(is_noticed(Broken { broker, ..Default::default() }));
}

#[test]
fn sim_notices_a_follower_that_does_not_truncate() {
    let broker = broker::Broken { never_truncates: true, ..Default::default() };
    assert!(is_noticed(Broken { broker, ..Default::default() }));
}

#[test]
fn sim_notices_leader_epochs_that_are_ignored() {
    let broker = broker::Broken { ignores_epochs: true, ..Default::default() };
    let controller = controller::decide::Broken { ignores_epochs: true, ..Default::default() };
    assert!(is_noticed(Broken { broker, controller }));
}

#[test]
fn sim_notices_a_leader_that_answers_readers_before_what_they_see_is_committed() {
    let broker = broker::Broken { reads_ahead: true, ..Default::default() };
    assert!(is_noticed(Broken { broker, ..Default::default() }));
}

#[test]
fn sim_notices_a_broker_that_is_believed_after_an_unclean_stop() {
    let controller = controller::decide::Broken { trusts_unclean: true, ..Default::default() };
    assert!(is_noticed(Broken { controller, ..Default::default() }));
}

#[test]
fn sim_cluster_trace_of_a_seed_is_the_same_in_two_processes() {
    let variable = "WEIR_TEST_TRACE";
    let here = run(7, Broken::default()).trace;
    if let Ok(expected) = std::env::var(variable) {
        assert_eq!(here.to_string(), expected, "this process is the second one");
        return;
    }
    let second = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sim_cluster_trace_of_a_seed_is_the_same_in_two_processes"])
        .env(variable, here.to_string())
        .output()
        .unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stdout));
    assert!(String::from_utf8_lossy(&second.stdout).contains("1 passed"));
}
