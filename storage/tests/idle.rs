//! What thousands of idle logs cost in resident memory. Alone in its process: others would be measured too.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types)]

use host::Fs;
use protocol::Uuid;
use protocol::batch::{AppendRules, BatchBuilder, BatchOptions};
use protocol::ids::LeaderEpoch;
use storage::{Log, LogConfig, LogFiles};

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn open_files() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

const COUNT: usize = 1000;

/// Opens logs, writes 40 batches to each, and lets them rest.
fn fill(fs: &Fs, dir: &std::path::Path, numbers: std::ops::Range<usize>) -> Vec<Log> {
    let config = LogConfig::default();
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(1_767_225_600_000, None, Some(&[b'x'; 200]), &[]);
    let batch = builder.finish().to_bytes();
    let open = |n: usize| {
        let files = LogFiles {
            dir: dir.join(format!("orders-{n}")),
            topic_id: Some(Uuid(7)),
            recovery_point: 0,
            log_start_offset: 0,
            clean: false,
        };
        let mut log = Log::open(fs, &files, &config, 0).unwrap();
        for _ in 0..40 {
            log.append_as_leader(fs, &batch, LeaderEpoch(0), &AppendRules::default(), &config).unwrap();
        }
        log.rest();
        log
    };
    numbers.map(open).collect()
}

#[test]
fn thousands_of_idle_logs_cost_little_and_hold_no_files() {
    assert!(host::real::raise_open_files() > 1000);
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let path = dir.path().to_owned();
    let _entered = runtime.enter();
    let disk = host::real::host().disk(&path);
    let job = disk.run_slow(move |fs| {
        // What the first ones make the allocator take is not a log's.
        let first = fill(fs, &path, 0..200);
        let (before, files_before) = (resident_bytes(), open_files());
        let rest = fill(fs, &path, 200..200 + COUNT);
        let per_log = resident_bytes().saturating_sub(before) / COUNT;
        (per_log, open_files().saturating_sub(files_before), first.len() + rest.len())
    });
    let (per_log, files, _) = runtime.block_on(job).unwrap();
    println!("{per_log} bytes of resident memory per idle log, {files} open files");
    assert!(per_log < 4096, "{per_log} bytes per idle log");
    assert!(files < 10, "{files} files are open");
}
