//! What is done to the cluster: kinds of faults, dealt by a seed.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::cluster::Cluster;
use super::network::Direction;
use super::server::{Role, Server};

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    /// From the first to the second, in milliseconds.
    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below((to - from).max(1)))
    }

    fn one_of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    KillBroker,
    KillController,
    KillActiveController,
    Pause,
    /// Power is lost by one node, by two brokers at the same moment.
    PowerCut,
    PowerCutOfTwo,
    /// A disk that answers everything with EIO, under a process that goes on.
    FailingDisk,
    FullDisk,
    /// So little room that producers must wait; nobody gives up for that.
    ShortDisk,
    Isolate,
    IsolateOneWay,
    /// Some links of one node.
    IsolatePartly,
    /// A fifth of all packets that nodes are sent.
    Loss,
    /// A node comes back after kill -9 with a clock that is ten minutes off.
    WrongClock,
}

const ALL: [Kind; 14] = [
    Kind::KillBroker,
    Kind::KillController,
    Kind::KillActiveController,
    Kind::Pause,
    Kind::PowerCut,
    Kind::PowerCutOfTwo,
    Kind::FailingDisk,
    Kind::FullDisk,
    Kind::ShortDisk,
    Kind::Isolate,
    Kind::IsolateOneWay,
    Kind::IsolatePartly,
    Kind::Loss,
    Kind::WrongClock,
];

impl Kind {
    /// What of the machine it needs, as `Cluster::lacks` names it.
    fn needs(self) -> Option<&'static str> {
        match self {
            Kind::KillBroker | Kind::KillController | Kind::KillActiveController | Kind::Pause => None,
            Kind::PowerCut | Kind::PowerCutOfTwo => Some("disks"),
            Kind::FailingDisk | Kind::FullDisk | Kind::ShortDisk => Some("disks"),
            Kind::Isolate | Kind::IsolateOneWay | Kind::IsolatePartly | Kind::Loss => Some("cut links"),
            Kind::WrongClock => Some("wrong clocks"),
        }
    }
}

/// Deals every kind that this machine can do once before it deals one again; `FAULTS_KINDS` chooses among them by name.
pub(crate) struct Deck {
    able: Vec<Kind>,
    left: Vec<Kind>,
}

impl Deck {
    pub(crate) fn new(cluster: &Cluster) -> Deck {
        let chosen = std::env::var("FAULTS_KINDS").ok().filter(|chosen| !chosen.is_empty());
        let is_chosen = |kind: &Kind| match &chosen {
            Some(chosen) => chosen.split(',').any(|name| name == format!("{kind:?}")),
            None => true,
        };
        let has_means = |kind: &Kind| kind.needs().is_none_or(|what| !cluster.lacks.contains_key(what));
        let is_able = |kind: &Kind| is_chosen(kind) && has_means(kind);
        Deck { able: ALL.into_iter().filter(is_able).collect(), left: Vec::new() }
    }

    pub(crate) fn deal(&mut self, random: &mut Random) -> Kind {
        if self.left.is_empty() {
            self.left.clone_from(&self.able);
            random.shuffle(&mut self.left);
        }
        self.left.pop().expect("a kind that this machine can do")
    }
}

/// Half of what Weir keeps in reserve on such a disk.
const SHORT_BYTES: i64 = 12 << 20;

/// Does it, and says what was done to whom.
pub(crate) fn inject(kind: Kind, cluster: &mut Cluster, random: &mut Random) -> String {
    // Whoever is down or stands still already has had his share.
    let is_free = |s: &Server| s.child.is_some() && !s.is_paused && !s.is_dark;
    let free = |cluster: &Cluster, role: Option<Role>| -> Vec<i32> {
        let of_role = |s: &&Server| role.is_none_or(|role| s.role == role);
        cluster.servers.values().filter(of_role).filter(|s| is_free(s)).map(|s| s.id).collect()
    };
    let role = match kind {
        Kind::KillBroker | Kind::PowerCutOfTwo | Kind::ShortDisk => Some(Role::Broker),
        Kind::KillController | Kind::KillActiveController => Some(Role::Controller),
        _ => None,
    };
    let mut whom = free(cluster, role);
    random.shuffle(&mut whom);
    let Some(&id) = whom.first() else { return format!("nobody is left for {kind:?}") };
    let name = cluster.servers[&id].name();
    match kind {
        Kind::KillBroker | Kind::KillController => {
            server(cluster, id).kill();
            format!("kill -9 of {name}")
        }
        Kind::KillActiveController => {
            let active = cluster.active_controller().filter(|id| whom.contains(id));
            let id = active.unwrap_or(id);
            server(cluster, id).kill();
            let what = if active.is_some() {
                "active controller"
            } else {
                "controller, nobody knows which is active,"
            };
            format!("kill -9 of the {what} {id}")
        }
        Kind::Pause => {
            server(cluster, id).pause();
            format!("SIGSTOP of {name}")
        }
        Kind::PowerCut | Kind::PowerCutOfTwo => {
            let count = if kind == Kind::PowerCut { 1 } else { 2 };
            whom.truncate(count);
            power_cut(cluster, &whom);
            format!("power cut of {whom:?} at once")
        }
        Kind::FailingDisk | Kind::FullDisk | Kind::ShortDisk => break_disk(kind, server(cluster, id)),
        Kind::WrongClock => {
            let server = server(cluster, id);
            server.kill();
            server.clock_off_s = random.one_of(&[-600, 600]);
            server.start();
            format!("kill -9 of {name}, back with its clock {:+} s off", server.clock_off_s)
        }
        Kind::Isolate | Kind::IsolateOneWay | Kind::IsolatePartly | Kind::Loss => {
            cut(kind, cluster, id, random)
        }
    }
}

fn break_disk(kind: Kind, server: &mut Server) -> String {
    let name = server.name();
    let disk = server.disk.as_ref().expect("the kind needs it");
    match kind {
        Kind::FailingDisk => {
            disk.power_off();
            (server.is_dark, server.may_end) = (true, true);
            format!("failing disk (EIO) of {name}")
        }
        Kind::FullDisk => {
            disk.fill(0);
            server.may_end = true;
            format!("full disk of {name}")
        }
        _ => {
            disk.fill(SHORT_BYTES);
            format!("room on the disk of {name} is short")
        }
    }
}

fn server(cluster: &mut Cluster, id: i32) -> &mut Server {
    cluster.servers.get_mut(&id).expect("it is one of ours")
}

/// All of them, before any has time to notice the others.
pub(crate) fn power_cut(cluster: &mut Cluster, whom: &[i32]) {
    for id in whom {
        server(cluster, *id).disk.as_ref().expect("the kind needs it").power_off();
    }
    for id in whom {
        let server = server(cluster, *id);
        server.is_dark = true;
        server.kill();
    }
}

fn cut(kind: Kind, cluster: &Cluster, id: i32, random: &mut Random) -> String {
    let network = cluster.network.as_ref().expect("the kind needs it");
    let name = cluster.servers[&id].name();
    let both = [Direction::In, Direction::Out];
    let is_reached = || {
        let address: SocketAddr = cluster.address(id).parse().expect("an address of ours");
        TcpStream::connect_timeout(&address, Duration::from_millis(300)).is_ok()
    };
    match kind {
        Kind::Isolate => {
            network.isolate(id, &both);
            assert!(!is_reached(), "{name} is cut off, and answers");
            format!("{name} cut off")
        }
        Kind::IsolateOneWay => {
            let direction = random.one_of(&both);
            network.isolate(id, &[direction]);
            assert!(!is_reached(), "{name} is cut off one way, and answers");
            format!(
                "{name} {}",
                if direction == Direction::In { "hears nobody" } else { "is heard by nobody" }
            )
        }
        Kind::IsolatePartly => {
            let mut others: Vec<i32> = cluster.servers.keys().copied().filter(|other| *other != id).collect();
            random.shuffle(&mut others);
            others.truncate(1 + random.below(3) as usize);
            others.iter().for_each(|other| network.cut(id, *other));
            format!("{name} cut off from {others:?}, seen by all others and by clients")
        }
        _ => {
            cluster.servers.keys().for_each(|id| network.lose(*id, "0.2"));
            "a fifth of all packets to nodes lost".to_owned()
        }
    }
}

#[test]
fn a_deck_deals_each_kind_once_a_round() {
    let (mut deck, mut random) = (Deck { able: ALL.to_vec(), left: Vec::new() }, Random::new(7));
    for _ in 0..2 {
        let dealt: Vec<Kind> = ALL.iter().map(|_| deck.deal(&mut random)).collect();
        assert!(ALL.iter().all(|kind| dealt.contains(kind)), "{dealt:?}");
    }
}
