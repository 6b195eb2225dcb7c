//! One `weir server` process with one role, and what can be done to it.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tests::process::{signal, weir_binary};

use super::disk::Disk;

/// A stop in order takes no longer; a busy machine is slow.
const STOPPED_WITHIN: Duration = Duration::from_secs(60);
/// Where Debian and Ubuntu put it, for two architectures.
const LIBFAKETIME: [&str; 2] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Controller,
    Broker,
}

pub(crate) struct Server {
    pub(crate) id: i32,
    pub(crate) role: Role,
    /// `name=value`
    pub(crate) settings: Vec<String>,
    pub(crate) namespace: Option<PathBuf>,
    /// Power cuts and full disks need one; otherwise the data lies in a directory.
    pub(crate) disk: Option<Disk>,
    pub(crate) log: PathBuf,
    pub(crate) child: Option<Child>,
    /// Seconds that its clock is ahead, or behind.
    pub(crate) clock_off_s: i64,
    pub(crate) is_paused: bool,
    /// Its disk is in a state in which it may give up.
    pub(crate) may_end: bool,
    /// Its disk has lost its power.
    pub(crate) is_dark: bool,
}

fn libfaketime() -> Option<&'static str> {
    LIBFAKETIME.into_iter().find(|path| std::path::Path::new(path).exists())
}

/// Why clocks cannot be wrong here.
pub(crate) fn no_wrong_clocks() -> Option<String> {
    let missing = "libfaketime is not installed; `make test-deps` installs it";
    libfaketime().is_none().then(|| missing.to_owned())
}

/// Time that is measured goes on as it does; what the calendar says is wrong.
fn with_clock_off(libfaketime: &str, off_s: i64) -> [String; 4] {
    let (preload, off) = (format!("LD_PRELOAD={libfaketime}"), format!("FAKETIME={off_s:+}s"));
    ["env".to_owned(), preload, off, "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned()]
}

impl Server {
    pub(crate) fn start(&mut self) {
        let mut words: Vec<String> = Vec::new();
        if let Some(namespace) = &self.namespace {
            words.extend(["nsenter".to_owned(), format!("--net={}", namespace.display())]);
        }
        // However this process ends, the node ends with it.
        words.extend(["setpriv", "--pdeathsig", "KILL"].map(str::to_owned));
        if self.clock_off_s != 0 {
            words.extend(with_clock_off(libfaketime().expect("the kind needs it"), self.clock_off_s));
        }
        words.extend([weir_binary().display().to_string(), "server".to_owned()]);
        for setting in &self.settings {
            words.extend(["--set".to_owned(), setting.clone()]);
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.expect("the log can be written");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.child = Some(command.spawn().expect("it starts"));
    }

    pub(crate) fn name(&self) -> String {
        format!("{} {}", if self.role == Role::Broker { "broker" } else { "controller" }, self.id)
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it is ours");
            child.wait().expect("it ends");
        }
        self.is_paused = false;
    }

    pub(crate) fn pause(&mut self) {
        if self.is_running() {
            signal(self.pid(), "-STOP");
            self.is_paused = true;
        }
    }

    /// Whether it has not ended by itself.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// Whatever was done to it is undone; it runs afterwards.
    pub(crate) fn heal(&mut self) {
        if std::mem::take(&mut self.is_paused) {
            signal(self.pid(), "-CONT");
        }
        if self.is_dark || self.clock_off_s != 0 {
            self.kill();
            self.clock_off_s = 0;
        }
        if let Some(disk) = &self.disk {
            if std::mem::take(&mut self.is_dark) {
                disk.power_on();
            }
            disk.make_room();
        }
        if !self.is_running() {
            self.start();
        }
    }

    /// A node that gave up its disk takes its time to end, and comes back like one that somebody looks after.
    pub(crate) fn revive(&mut self) {
        if self.may_end && !self.is_running() {
            self.start();
        }
    }

    /// SIGTERM, and waits until it has ended in order.
    pub(crate) fn stop(&mut self) {
        signal(self.pid(), "-TERM");
        let mut child = self.child.take().expect("it runs");
        let deadline = Instant::now() + STOPPED_WITHIN;
        let status = loop {
            match child.try_wait().expect("its state can be asked") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    break child.wait().expect("it ends");
                }
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        assert!(status.success(), "{} did not stop in order: {status}", self.name());
    }

    /// The last lines that it wrote.
    pub(crate) fn last_lines(&self, count: usize) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
fn a_wrong_clock_is_wrong() {
    let Some(library) = libfaketime() else {
        return super::skipped("wrong clocks", &no_wrong_clocks().unwrap_or_default());
    };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for off_s in [-600, 600] {
        let words = with_clock_off(library, off_s);
        let told = Command::new(&words[0]).args(&words[1..]).args(["date", "+%s"]).output().unwrap();
        let told: i64 = String::from_utf8(told.stdout).unwrap().trim().parse().unwrap();
        let difference = told - i64::try_from(now()).unwrap();
        assert!((difference - off_s).abs() <= 5, "{difference} s off, {off_s} asked for");
    }
}
