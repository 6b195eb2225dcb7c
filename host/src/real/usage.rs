//! Usage as Linux tells it: a few small files of `/proc/self`, none of which waits for a disk.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use crate::usage::{Busy, Meter, Usage};

/// `USER_HZ`: what the kernel counts CPU time in towards programs, on every machine that Rust runs on.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) struct Proc {
    pub(super) runtime: tokio::runtime::Handle,
}

impl Meter for Proc {
    fn usage(&self) -> Option<Usage> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program stands in brackets and may hold anything.
        let (_, fields) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        // Numbered from 3 on in proc(5).
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let status = fs::read_to_string("/proc/self/status").ok()?;
        // Not readable for everybody everywhere.
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        Some(Usage {
            cpu: Duration::from_secs_f64((field(14)? + field(15)?) as f64 / TICKS_PER_SECOND),
            resident_bytes: named(&status, "VmRSS:")? * 1024,
            virtual_bytes: field(23)?,
            open_files: open_files()?,
            files_max: rustix::process::getrlimit(rustix::process::Resource::Nofile)
                .current
                .unwrap_or(u64::MAX),
            start_seconds: boot_seconds()? + field(22)? as f64 / TICKS_PER_SECOND,
            disk_read_bytes: named(&io, "read_bytes:").unwrap_or(0),
            disk_write_bytes: named(&io, "write_bytes:").unwrap_or(0),
        })
    }

    fn busy(&self) -> Option<Busy> {
        let metrics = self.runtime.metrics();
        let threads = metrics.num_workers();
        let time = (0..threads).map(|worker| metrics.worker_total_busy_duration(worker)).sum();
        Some(Busy { time, threads })
    }
}

/// The number behind a name at the beginning of a line.
fn named(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn open_files() -> Option<u64> {
    // Since Linux 6.2 the directory's size is their number; before, it is 0.
    let counted = fs::metadata("/proc/self/fd").ok()?.size();
    if counted > 0 {
        return Some(counted);
    }
    Some(fs::read_dir("/proc/self/fd").ok()?.count() as u64)
}

fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    #[tokio::test]
    async fn a_process_knows_what_it_takes() {
        let host = crate::real::host();
        let usage = host.usage().expect("this is Linux");
        assert!(usage.resident_bytes > 1 << 20 && usage.virtual_bytes >= usage.resident_bytes, "{usage:?}");
        assert!(usage.open_files >= 3 && usage.open_files <= usage.files_max, "{usage:?}");
        let age = host.clock().wall_ms() as f64 / 1e3 - usage.start_seconds;
        assert!((-2.0..3600.0).contains(&age), "the test began {age} s ago");
        let file = std::fs::File::open("/proc/self/stat").expect("it is there");
        assert_eq!(host.usage().expect("still Linux").open_files, usage.open_files + 1);
        drop(file);
        assert!(host.busy().is_some_and(|busy| busy.threads >= 1));
    }
}
