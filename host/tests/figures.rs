//! The figures of the README, on this machine: `cargo test --release -p host --test figures -- --ignored --nocapture --test-threads 1`
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types)]

use std::time::Instant;

use bytes::BytesMut;
use host::{OpenMode, Stream};

const JOBS: u32 = 100_000;
const CONNECTIONS: usize = 2000;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Of this process: user and system, seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<f64> =
        stat.rsplit(')').next().unwrap().split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // After the state, which is no number: utime is the eleventh, stime the twelfth, in hundredths.
    (fields[10] + fields[11]) / 100.0
}

#[test]
#[ignore = "prints figures"]
fn what_a_job_costs_inline_and_on_a_thread() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    runtime().block_on(async move {
        let host = host::real::host();
        let disk = host.disk(dir.path());
        let file = disk.run(move |fs| fs.open(&path, OpenMode::CreateNew).unwrap()).await.unwrap();
        let task = host.spawn("jobs", async move {
            for (name, slow) in [("inline", false), ("thread", true), ("inline", false), ("thread", true)] {
                let (began, cpu) = (Instant::now(), cpu_seconds());
                for n in 0..JOBS {
                    let file = file.clone();
                    let job =
                        move |_: &host::Fs| file.write_all_at(&[7; 1024], u64::from(n % 1024) << 10).unwrap();
                    if slow { disk.run_slow(job).await.unwrap() } else { disk.run(job).await.unwrap() }
                }
                let us = |seconds: f64| seconds * 1e6 / f64::from(JOBS);
                println!(
                    "a job that writes 1 KiB, {name}: {:.1} us, {:.1} us of CPU",
                    us(began.elapsed().as_secs_f64()),
                    us(cpu_seconds() - cpu)
                );
            }
        });
        task.await.unwrap();
    });
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

/// A task that waits for the peer, as a server's does.
fn wait_on(host: &host::Host, stream: Stream) {
    let (mut read, write) = stream.split();
    drop(host.spawn("idle", async move {
        let _write = write;
        while read.readable().await.is_ok() {
            if read.read_into(&mut BytesMut::with_capacity(1024)).await.unwrap_or(0) == 0 {
                return;
            }
        }
    }));
}

#[test]
#[ignore = "prints figures"]
fn what_an_idle_connection_costs_in_memory() {
    runtime().block_on(async {
        let host = host::real::host();
        let inner = host.clone();
        let task = host.spawn("connects", async move {
            let mut listener = inner.net().listen("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr();
            let mut peers = Vec::new();
            let mut before = 0;
            for n in 0..CONNECTIONS + 200 {
                if n == 200 {
                    before = resident_bytes();
                }
                // The peer is not ours: a bare descriptor.
                peers.push(std::net::TcpStream::connect(address).unwrap());
                wait_on(&inner, listener.accept().await.unwrap().0);
            }
            tokio::task::yield_now().await;
            println!(
                "an idle connection and its task: {} bytes resident",
                (resident_bytes() - before) / CONNECTIONS
            );
        });
        task.await.unwrap();
    });
}
