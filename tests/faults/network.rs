//! A network of its own: each node in a network namespace, joined by a bridge in another, where clients live.
//!
//! ```text
//!   hub     10.84.0.1 ── br0 ──┬── v1 ═ eth0  10.84.0.11   controller 1
//!   (clients, this thread)     ├── ...
//!                              └── v13 ═ eth0 10.84.0.23   broker 13
//! ```
//! A namespace has no name: it lives as long as the process that holds it, which ends when this one does, however it ends.
//! Links are cut with iptables inside of a node's namespace. Nothing outside is touched.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Of both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    In,
    Out,
}

/// A network namespace without a name.
struct Namespace(Child);

impl Namespace {
    fn new() -> Result<Namespace, String> {
        let mut holder = Command::new("unshare");
        holder.args(["--net", "cat"]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let holder = holder.spawn().map_err(|e| format!("unshare: {e}"))?;
        let mut namespace = Namespace(holder);
        let own = std::fs::read_link("/proc/self/ns/net").map_err(|e| e.to_string())?;
        let deadline = Instant::now() + Duration::from_secs(5);
        // Until it has left ours, what is asked of it would be done to the machine.
        while std::fs::read_link(namespace.path()).map_or(true, |theirs| theirs == own) {
            let is_running = matches!(namespace.0.try_wait(), Ok(None));
            if !is_running || Instant::now() > deadline {
                return Err("this process may not make network namespaces".to_owned());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        namespace.run("ip", &["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/ns/net", self.0.id()))
    }

    fn run(&self, program: &str, args: &[&str]) -> Result<(), String> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg(program).args(args);
        run(command)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a command to its end; what it said if it failed.
pub(crate) fn run(mut command: Command) -> Result<(), String> {
    let told = command.stdin(Stdio::null()).output().map_err(|e| format!("{command:?}: {e}"))?;
    if told.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", told.status, String::from_utf8_lossy(&told.stderr).trim()))
}

pub(crate) struct Network {
    hub: Namespace,
    nodes: BTreeMap<i32, Namespace>,
    /// Why links cannot be cut here.
    pub(crate) uncut: Option<String>,
}

impl Network {
    /// The network of these nodes; why there cannot be one.
    pub(crate) fn new(ids: &[i32]) -> Result<Network, String> {
        let hub = Namespace::new()?;
        hub.run("ip", &["link", "add", "br0", "type", "bridge"])?;
        hub.run("ip", &["addr", "add", "10.84.0.1/24", "dev", "br0"])?;
        hub.run("ip", &["link", "set", "br0", "up"])?;
        let mut nodes = BTreeMap::new();
        for id in ids {
            let (node, outer) = (Namespace::new()?, format!("v{id}"));
            let holder = node.0.id().to_string();
            hub.run(
                "ip",
                &["link", "add", &outer, "type", "veth", "peer", "name", "eth0", "netns", &holder],
            )?;
            hub.run("ip", &["link", "set", &outer, "master", "br0", "up"])?;
            node.run("ip", &["addr", "add", &format!("{}/24", address(*id)), "dev", "eth0"])?;
            node.run("ip", &["link", "set", "eth0", "up"])?;
            nodes.insert(*id, node);
        }
        let uncut = nodes.values().find_map(|node| node.run("iptables", &["-w", "-F"]).err());
        Ok(Network { hub, nodes, uncut })
    }

    /// Where a process of a node is started.
    pub(crate) fn namespace(&self, id: i32) -> PathBuf {
        self.nodes[&id].path()
    }

    /// This thread, and the processes and threads that it starts, live where clients live from now on.
    #[allow(unsafe_code)]
    pub(crate) fn enter(&self) {
        let hub = std::fs::File::open(self.hub.path()).expect("its holder runs");
        // SAFETY: the descriptor is open for the time of the call, which touches no memory of ours; it concerns this thread alone.
        let entered = unsafe { libc::setns(hub.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(entered, 0, "{}", std::io::Error::last_os_error());
    }

    /// Nothing of whoever comes through in these directions.
    pub(crate) fn isolate(&self, id: i32, directions: &[Direction]) {
        for direction in directions {
            match direction {
                Direction::In => self.rule(id, &["INPUT", "!", "-i", "lo", "-j", "DROP"]),
                Direction::Out => self.rule(id, &["OUTPUT", "!", "-o", "lo", "-j", "DROP"]),
            }
        }
    }

    /// Two nodes lose sight of each other; both see the others.
    pub(crate) fn cut(&self, one: i32, other: i32) {
        self.rule(one, &["INPUT", "-s", &address(other), "-j", "DROP"]);
        self.rule(one, &["OUTPUT", "-d", &address(other), "-j", "DROP"]);
    }

    /// So much of what is sent to a node is lost.
    pub(crate) fn lose(&self, id: i32, share: &str) {
        let dice = ["-m", "statistic", "--mode", "random", "--probability", share];
        self.rule(id, &[&["INPUT", "!", "-i", "lo"], &dice[..], &["-j", "DROP"]].concat());
    }

    fn rule(&self, id: i32, rule: &[&str]) {
        let told = self.nodes[&id].run("iptables", &[&["-w", "-A"], rule].concat());
        assert_eq!(told, Ok(()), "iptables was there before");
    }

    /// All links are whole again.
    pub(crate) fn heal(&self) {
        for node in self.nodes.values().filter(|_| self.uncut.is_none()) {
            assert_eq!(node.run("iptables", &["-w", "-F"]), Ok(()), "iptables was there before");
        }
    }
}

/// Where a node listens in this network.
pub(crate) fn address(id: i32) -> String {
    format!("10.84.0.{}", 10 + id)
}
