//! Random histories with crashes, by seed, against a model.
//!
//! The model is the list of values appended. After a crash of the process everything appended is there. After a loss of
//! power everything flushed is there, what is there is a prefix of what was appended, and nothing is corrupt.
//! `WEIR_SIM_SEED` replays one seed; `WEIR_SIM_SEEDS` says how many are tried.

use host::sim::{CrashKind, Node};

use super::*;

/// What the disk is asked to do between two crashes.
#[derive(Clone, Copy)]
enum Operation {
    Append { tag: u64, count: usize },
    Flush,
    Roll,
    Truncate { keep_percent: u64 },
    Reopen,
    Check,
}

struct Outcome {
    /// Values appended so far, and how many of them were flushed.
    model: Vec<String>,
    flushed: usize,
}

fn operations(world: &World, next_tag: &mut u64) -> Vec<Operation> {
    let count = 5 + world.random() % 30;
    (0..count)
        .map(|_| match world.random() % 20 {
            0 | 1 => Operation::Flush,
            2 => Operation::Roll,
            3 => Operation::Truncate { keep_percent: 50 + world.random() % 50 },
            4 => Operation::Reopen,
            5 | 6 => Operation::Check,
            _ => {
                *next_tag += 1;
                Operation::Append { tag: *next_tag, count: 1 + (world.random() % 5) as usize }
            }
        })
        .collect()
}

fn perform(fs: &Fs, log: &mut Log, outcome: &mut Outcome, operation: Operation, config: &LogConfig) {
    match operation {
        Operation::Append { tag, count } => {
            let appended = append(log, fs, &batch(tag, count, 1000 + tag as i64), config);
            assert_eq!(appended.first_offset.0 as usize, outcome.model.len());
            outcome.model.extend((0..count).map(|n| format!("value-{tag}-{n}")));
        }
        Operation::Flush => {
            log.flush(fs).expect("flushed");
            outcome.flushed = outcome.model.len();
        }
        Operation::Roll => log.roll(fs).expect("rolled"),
        Operation::Truncate { keep_percent } => {
            let to = (outcome.model.len() as u64 * keep_percent / 100) as i64;
            log.truncate_to(fs, Offset(to)).expect("truncated");
            outcome.model.truncate(log.log_end_offset().0 as usize);
            // What is cut and not flushed again may come back after a loss of power: only below is certain.
            outcome.flushed = outcome.flushed.min(outcome.model.len());
            log.flush(fs).expect("flushed");
            outcome.flushed = outcome.model.len();
        }
        Operation::Reopen => {
            log.close(fs).expect("closed");
            *log = open(fs, true, config);
            outcome.flushed = outcome.model.len();
            check(fs, log, &outcome.model);
        }
        Operation::Check => check(fs, log, &outcome.model),
    }
}

fn check(fs: &Fs, log: &mut Log, model: &[String]) {
    assert_eq!(log.log_end_offset().0 as usize, model.len());
    let found = values(log, fs, 0);
    let offsets: Vec<i64> = found.iter().map(|(o, _)| *o).collect();
    assert_eq!(offsets, (0..model.len() as i64).collect::<Vec<_>>());
    assert!(found.iter().map(|(_, v)| v).eq(model.iter()), "values are those of the model");
    // The indexes agree with the log: a read may begin anywhere.
    for at in (0..model.len()).step_by(7) {
        assert_eq!(values(log, fs, at as i64).first().map(|(o, _)| *o), Some(at as i64));
    }
}

/// One life between two crashes. Returns the model, or None if the process died in the middle of a job.
fn live(world: &World, node: &Node, before: Outcome, kind: Option<CrashKind>, next_tag: &mut u64) -> Outcome {
    let operations = operations(world, next_tag);
    let disk = node.host().disk(Path::new("/d"));
    let recovery_point = before.flushed as i64;
    let done = world.block_on(Duration::from_secs(3600), async move {
        disk.run(move |fs| {
            let config = small_segments();
            let files = LogFiles { recovery_point, ..files(false) };
            let mut log = Log::open(fs, &files, &config, 0).expect("it opens after every crash");
            let mut outcome = before;
            let found = values(&mut log, fs, 0);
            match kind {
                Some(CrashKind::Process) => assert_eq!(found.len(), outcome.model.len(), "the page cache survives"),
                Some(CrashKind::Power) => {
                    assert!(found.len() >= outcome.flushed, "{} of {} flushed", found.len(), outcome.flushed);
                    assert!(found.len() <= outcome.model.len());
                    outcome.model.truncate(found.len());
                }
                None => {}
            }
            check(fs, &mut log, &outcome.model);
            for operation in operations {
                perform(fs, &mut log, &mut outcome, operation, &config);
            }
            outcome
        })
        .await
    });
    done.expect("it ends").expect("it runs")
}

fn run_seed(seed: u64) {
    let world = World::new(seed);
    let node = world.node("a");
    let mut outcome = Outcome { model: Vec::new(), flushed: 0 };
    let mut next_tag = 0;
    let mut kind = None;
    for _ in 0..4 {
        outcome = live(&world, &node, outcome, kind, &mut next_tag);
        let crash = if world.random().is_multiple_of(2) { CrashKind::Process } else { CrashKind::Power };
        node.crash(crash);
        node.restart();
        kind = Some(crash);
    }
    live(&world, &node, outcome, kind, &mut next_tag);
}

#[test]
fn sim_crashes_lose_nothing_that_was_promised() {
    let one = std::env::var("WEIR_SIM_SEED").ok().and_then(|s| s.parse().ok());
    let count: u64 = std::env::var("WEIR_SIM_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(200);
    let seeds = one.map_or(0..count, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run_seed(seed));
        assert!(outcome.is_ok(), "seed {seed} fails: WEIR_SIM_SEED={seed} replays it");
    }
}
