//! Changes of the quorum while it runs (KIP-853), and who looks after that.
//!
//! ```text
//!   a controller that nobody sends the log to --> asks the active one to observe --> Raft sends it the log
//!   AddRaftVoter    --> who listens there? --> observe --> caught up? --> votes
//!   RemoveRaftVoter --> votes no more, observes if it is alive; the active controller hands over if that was itself
//! ```
//! Kafka's observers come by themselves, with a Fetch; Raft's learners are sent to, so they are members that do not vote.
//!
//! **Invariant:** one voter more or less at a time, and only after the former change is committed; a new voter has the log
//! before it votes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use host::Instant;
use metadata::Image;
use metadata::features::KRAFT_VERSION;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use openraft::rt::Instant as _;
use protocol::{ErrorCode, bounds};

use crate::decide::{self, Refusal};
use crate::node::Node;
use crate::raft::network::{Asked, hello, observe};
use crate::raft::rpc::Response;
use crate::raft::runtime::HostInstant;
use crate::raft::types::{Membership, Metrics, RaftId, Voter};
use crate::writer::{Error, QuorumChange};

/// Between two looks at the quorum.
const ROUND: Duration = Duration::from_millis(500);
/// Who heard nothing for so long asks whether it is forgotten: longer than an election takes.
const SILENCE: Duration = Duration::from_secs(2);
/// Who answers within this is alive.
const ALIVE: Duration = Duration::from_secs(2);
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
/// Between two attempts of a controller to make itself a voter.
const JOIN_WAIT: Duration = Duration::from_secs(2);

/// The change has not happened in time: it can be asked for again.
fn timed_out(message: impl Into<String>) -> Error {
    Refusal::new(ErrorCode::RequestTimedOut, message).into()
}

/// One change is made at a time, from the first question to the last answer.
struct Changing<'a>(&'a Node);

impl<'a> Changing<'a> {
    fn begin(node: &'a Node) -> Result<Changing<'a>, Error> {
        if node.changing.swap(true, Ordering::SeqCst) {
            let message = "Request timed out waiting for leader to handle previous voter change request";
            return Err(timed_out(message));
        }
        Ok(Changing(node))
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.changing.store(false, Ordering::SeqCst);
    }
}

fn voters_of(membership: &Membership) -> BTreeSet<RaftId> {
    membership.voter_ids().collect()
}

fn nodes_of(membership: &Membership) -> BTreeMap<RaftId, Voter> {
    membership.nodes().map(|(id, node)| (*id, node.clone())).collect()
}

fn members(voters: BTreeSet<RaftId>, nodes: BTreeMap<RaftId, Voter>) -> QuorumChange {
    let members = Membership::new(vec![voters], nodes).expect("every voter has a node, and there is one");
    QuorumChange::Members(members)
}

/// Who was heard of by the leader, and how long ago.
pub(crate) fn silence(metrics: &Metrics, id: &RaftId) -> Option<Duration> {
    let acknowledged = metrics.heartbeat.as_ref()?.get(id).copied().flatten()?;
    Some(HostInstant::now() - acknowledged.into_inner())
}

fn is_alive(metrics: &Metrics, id: &RaftId) -> bool {
    silence(metrics, id).is_some_and(|silence| silence < ALIVE)
}

impl Node {
    pub(crate) fn metrics(&self) -> Metrics {
        self.raft.metrics().borrow_watched().clone()
    }

    fn check_active(&self) -> Result<(), Error> {
        if self.active().here { Ok(()) } else { Err(Error::NotController) }
    }

    fn check(
        &self,
        decide: impl FnOnce(&Image, &BTreeSet<RaftId>) -> Result<(), Refusal>,
    ) -> Result<(), Error> {
        let voters = voters_of(self.metrics().membership_config.membership());
        Ok(decide(&self.publisher.committed().image, &voters)?)
    }

    /// Finalizes a level of `kraft.version`.
    pub async fn raise_kraft_version(&self, level: i16) -> Result<(), Error> {
        let raise = move |_: &Membership, image: &Image| {
            Ok((image.features.level(KRAFT_VERSION) < level).then_some(QuorumChange::Level(level)))
        };
        self.writer.change_quorum(raise).await
    }

    /// Makes a controller that listens at `address` a voter. Without `until_committed` the answer comes once all is well with
    /// it, and the change is on its way.
    pub async fn add_voter(
        self: &Arc<Self>,
        new: RaftId,
        address: String,
        limit: Duration,
        until_committed: bool,
    ) -> Result<(), Error> {
        self.check_active()?;
        let changing = Changing::begin(self)?;
        self.check(|image, voters| decide::add_voter(image, voters, new).map(drop))?;
        match hello(&self.host, &address, self.cluster_id, self.id, limit.min(ANSWER_LIMIT)).await {
            Ok((id, _)) if id == new => {}
            Ok((id, _)) => return Err(timed_out(format!("The controller at {address} is {id}, not {new}"))),
            Err(error) => {
                let message =
                    format!("New voter {new} at {address} is not ready to receive requests: {error}");
                return Err(timed_out(message));
            }
        }
        self.let_observe(new, Voter { address }).await?;
        self.catch_up(new, limit.min(bounds::CONTROLLER_VOTER_CATCH_UP_WAIT)).await?;
        if until_committed {
            return self.seat(new).await;
        }
        drop(changing);
        let node = self.clone();
        self.host.spawn("controller add voter", async move {
            if let Err(error) = node.seat(new).await {
                tracing::warn!(%error, "{new} was not added to the voters");
            }
        });
        Ok(())
    }

    /// An observer votes from now on.
    async fn seat(&self, new: RaftId) -> Result<(), Error> {
        let change = move |membership: &Membership, image: &Image| {
            let voters = decide::add_voter(image, &voters_of(membership), new)?;
            let nodes = nodes_of(membership);
            if !nodes.contains_key(&new) {
                return Err(Refusal::new(
                    ErrorCode::RequestTimedOut,
                    "the new voter does not observe any more",
                ));
            }
            Ok(Some(members(voters, nodes)))
        };
        self.writer.change_quorum(change).await
    }

    /// Waits until an observer has what was in the log when this began.
    async fn catch_up(&self, id: RaftId, limit: Duration) -> Result<(), Error> {
        let mut watched = self.raft.metrics();
        let target = watched.borrow_watched().last_log_index;
        let there = async {
            loop {
                let (leads, matched) = {
                    let now = watched.borrow_watched();
                    let replication = now.replication.as_ref();
                    let matched = replication.and_then(|r| r.get(&id).copied().flatten());
                    (now.state == ServerState::Leader, matched.map(|log_id| log_id.index))
                };
                match leads {
                    false => return Err(Error::NotController),
                    true if matched >= target => return Ok(()),
                    true => watched.changed().await.map_err(|_| Error::NotController)?,
                }
            }
        };
        // Cancellation is safe: waiting takes nothing.
        let outcome = self.host.clock().timeout(limit, there).await;
        let lagging =
            || timed_out(format!("Aborted add voter operation for {id} since it is lagging behind"));
        outcome.unwrap_or_else(|_| Err(lagging()))
    }

    /// Takes a voter out. It goes on as an observer if it is alive.
    pub async fn remove_voter(&self, old: RaftId) -> Result<(), Error> {
        self.check_active()?;
        let _changing = Changing::begin(self)?;
        let goes_on = old == self.id || is_alive(&self.metrics(), &old);
        let change = move |membership: &Membership, image: &Image| {
            let voters = decide::remove_voter(image, &voters_of(membership), old)?;
            let mut nodes = nodes_of(membership);
            // Who is there again under another directory id has lost the former one.
            let is_replaced = nodes.keys().any(|other| other.node == old.node && *other != old);
            if !goes_on || is_replaced {
                nodes.remove(&old);
            }
            Ok(Some(members(voters, nodes)))
        };
        self.writer.change_quorum(change).await?;
        self.tend_now.notify_one();
        Ok(())
    }

    /// A voter listens elsewhere.
    pub async fn update_voter(
        &self,
        voter: RaftId,
        address: String,
        supported: std::ops::RangeInclusive<i16>,
    ) -> Result<(), Error> {
        self.check_active()?;
        let _changing = Changing::begin(self)?;
        let change = move |membership: &Membership, image: &Image| {
            decide::update_voter(image, &voters_of(membership), voter, supported)?;
            let moved = Voter { address };
            let is_same = membership.get_node(&voter) == Some(&moved);
            Ok((!is_same).then_some(QuorumChange::Address(voter, moved)))
        };
        self.writer.change_quorum(change).await
    }

    /// A controller that is sent nothing says where it listens. It is believed once it answers there.
    pub async fn admit_observer(&self, id: RaftId, node: Voter) -> Response {
        let metrics = self.metrics();
        let membership = metrics.membership_config.membership();
        if !self.active().here {
            let leader = metrics.current_leader.filter(|leader| *leader != self.id);
            let leader = leader.and_then(|leader| membership.get_node(&leader));
            return Response::NotObserving { leader: leader.map(|leader| leader.address.clone()) };
        }
        if membership.get_node(&id) == Some(&node) {
            return Response::Observing;
        }
        let admitted = match hello(&self.host, &node.address, self.cluster_id, self.id, ANSWER_LIMIT).await {
            Ok((there, _)) if there == id => self.let_observe(id, node).await.map_err(|e| e.to_string()),
            Ok((there, _)) => Err(format!("the controller at {} is {there}", node.address)),
            Err(error) => Err(format!("nobody answers at {}: {error}", node.address)),
        };
        match admitted {
            Ok(()) => Response::Observing,
            Err(why) => Response::Refused(why),
        }
    }

    /// Sends the log to a controller from now on, where it listens now; who is no voter observes.
    async fn let_observe(&self, id: RaftId, node: Voter) -> Result<(), Error> {
        let change = move |membership: &Membership, image: &Image| {
            let (voters, mut nodes) = (voters_of(membership), nodes_of(membership));
            match nodes.get(&id) {
                Some(known) if *known == node => return Ok(None),
                // `controller.quorum.voters` says where it is.
                Some(_) if voters.contains(&id) && image.features.level(KRAFT_VERSION) == 0 => {
                    return Ok(None);
                }
                Some(_) => return Ok(Some(QuorumChange::Address(id, node))),
                None => {}
            }
            if nodes.len() - voters.len() >= bounds::CONTROLLER_OBSERVERS_MAX {
                return Err(Refusal::new(ErrorCode::RequestTimedOut, "there are too many observers"));
            }
            nodes.insert(id, node);
            Ok(Some(members(voters, nodes)))
        };
        self.writer.change_quorum(change).await
    }

    /// Forgets an observer that is gone, or that came back under another directory id.
    async fn forget(&self, gone: RaftId) -> Result<(), Error> {
        let change = move |membership: &Membership, _: &Image| {
            let (voters, mut nodes) = (voters_of(membership), nodes_of(membership));
            let is_observer = !voters.contains(&gone) && nodes.remove(&gone).is_some();
            Ok(is_observer.then(|| members(voters, nodes)))
        };
        self.writer.change_quorum(change).await
    }

    /// Gives leadership to the voter that has the most of the log, and waits a moment until it has taken over.
    pub async fn hand_over(&self) {
        let mut metrics = self.raft.metrics();
        let now = metrics.borrow_watched().clone();
        let voters = now.membership_config.voter_ids().filter(|id| *id != self.id);
        // One that does not answer would take the time of an election.
        let rank = |id: &RaftId| {
            let matched = now.replication.as_ref().and_then(|r| r.get(id).copied().flatten());
            (is_alive(&now, id), matched.map(|log_id| log_id.index))
        };
        let Some(next) = voters.max_by_key(rank).filter(|_| now.state == ServerState::Leader) else {
            return;
        };
        if self.raft.trigger().transfer_leader(next).await.is_err() {
            return;
        }
        let taken = async {
            while metrics.borrow_watched().state == ServerState::Leader {
                if metrics.changed().await.is_err() {
                    return;
                }
            }
        };
        // Nobody took it: the others will elect one when this node is gone.
        let _ = self.host.clock().timeout(bounds::CONTROLLER_HAND_OVER_WAIT, taken).await;
    }
}

/// Looks after the quorum as long as this controller runs.
pub(crate) async fn tend(node: Arc<Node>) {
    let clock = node.host.clock().clone();
    let (mut known_since, mut tried_to_join) = (BTreeMap::new(), None);
    loop {
        // Cancellation is safe: a wake-up that comes meanwhile is kept.
        let _ = clock.timeout(ROUND, node.tend_now.notified()).await;
        let metrics = node.metrics();
        node.addresses.follow(metrics.membership_config.membership());
        if metrics.state == ServerState::Leader {
            let nodes = nodes_of(metrics.membership_config.membership());
            known_since.retain(|id, _| nodes.contains_key(id));
            for id in nodes.into_keys() {
                known_since.entry(id).or_insert(clock.now());
            }
            lead(&node, &metrics, &known_since).await;
            continue;
        }
        known_since.clear();
        if node.service.silence() > SILENCE {
            ask_to_observe(&node, &metrics).await;
            continue;
        }
        let may_try = tried_to_join.is_none_or(|tried| clock.now() >= tried + JOIN_WAIT);
        if may_try && tell_of_itself(&node, &metrics).await {
            tried_to_join = Some(clock.now());
        }
    }
}

/// What the active controller does: it gives way if it is no voter, and forgets observers that are gone. Who has not
/// answered yet is silent since this leader knows it.
async fn lead(node: &Node, metrics: &Metrics, known_since: &BTreeMap<RaftId, Instant>) {
    let stored = &metrics.membership_config;
    let is_committed = metrics.committed_membership_config.log_id() == stored.log_id();
    if is_committed && !stored.voter_ids().any(|id| id == node.id) {
        return node.hand_over().await;
    }
    let own = Voter { address: node.advertised_address.clone() };
    if stored.membership().get_node(&node.id) != Some(&own) && node.active().here {
        // It leads where it did not listen when it last said so. Where the config says where voters are, nothing changes.
        if let Err(error) = node.let_observe(node.id, own).await {
            tracing::debug!(%error, "the log does not say yet where this controller listens");
        }
    }
    let nodes = nodes_of(stored.membership());
    let is_gone = |id: &RaftId| {
        let known_for =
            || known_since.get(id).map_or(Duration::ZERO, |since| node.host.clock().now() - *since);
        let silence = silence(metrics, id).unwrap_or_else(known_for);
        let mut others = nodes.keys().filter(|other| other.node == id.node && *other != id);
        silence > bounds::CONTROLLER_OBSERVER_SESSION
            // It came back with another directory.
            || silence > ALIVE && others.any(|other| is_alive(metrics, other))
    };
    let gone = stored.membership().learner_ids().find(|id| *id != node.id && is_gone(id));
    if let Some(gone) = gone.filter(|_| node.active().here) {
        tracing::info!(%gone, "an observer is forgotten: it is silent");
        if let Err(error) = node.forget(gone).await {
            tracing::debug!(%error, "it is not forgotten yet");
        }
    }
}

/// Nobody sends the log to this controller: it asks those it knows. Who is not the active one says no, as all do while the
/// quorum is being founded; who has a vote already is told yes, and nothing changes.
async fn ask_to_observe(node: &Node, metrics: &Metrics) {
    let membership = metrics.membership_config.membership();
    let known = membership.nodes().map(|(_, voter)| voter.address.clone());
    let given = node.voters.values().chain(&node.bootstrap_servers).cloned();
    let mut to_ask: BTreeSet<String> = known.chain(given).collect();
    let mut asked = BTreeSet::from([node.advertised_address.clone()]);
    while let Some(address) = to_ask.pop_first() {
        if !asked.insert(address.clone()) {
            continue;
        }
        match observe(&node.host, &address, node.cluster_id, node.id, &node.advertised_address, ANSWER_LIMIT)
            .await
        {
            Ok(Asked::Accepted) => return,
            Ok(Asked::Elsewhere(leader)) => to_ask.extend(leader),
            Err(error) => tracing::debug!(%address, %error, "the log will not come from there"),
        }
    }
}

/// A voter that moved tells so; an observer that is to join by itself asks to vote. Whether anything was asked for.
async fn tell_of_itself(node: &Node, metrics: &Metrics) -> bool {
    let membership = metrics.membership_config.membership();
    let Some(leader) = metrics.current_leader.and_then(|id| membership.get_node(&id).cloned()) else {
        return false;
    };
    let is_dynamic = node.publisher.committed().image.features.level(KRAFT_VERSION) > 0;
    if !is_dynamic || metrics.current_leader == Some(node.id) {
        return false;
    }
    let voters = voters_of(membership);
    let asked = if voters.contains(&node.id) {
        let has_moved =
            membership.get_node(&node.id).is_some_and(|own| own.address != node.advertised_address);
        if !has_moved {
            return false;
        }
        crate::joining::update_voter(node, &leader.address).await
    } else if node.auto_join {
        // Who had this node id before is gone: its directory was another one.
        match voters.iter().find(|voter| voter.node == node.id.node) {
            Some(former) => crate::joining::remove_voter(node, &leader.address, *former).await,
            None => crate::joining::add_voter(node, &leader.address).await,
        }
    } else {
        return false;
    };
    if let Err(error) = asked {
        tracing::info!(%error, "the quorum does not have this controller as it is yet");
    }
    true
}
