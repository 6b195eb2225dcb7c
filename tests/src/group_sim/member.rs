//! A member of the group: it joins, commits what it owns further and further, and becomes somebody new when it is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use host::{Host, Instant};
use protocol::messages::leave_group_request::MemberIdentity;
use protocol::messages::{JoinGroupResponse, LeaveGroupRequest};
use protocol::{ErrorCode, Request, Str, Uuid};
use wire::client::{NodeOptions, Pool};

use super::invariants::{offsets_never_regress, one_owner};
use super::ledger::Ledger;
use super::{BROKER, GROUP, REBALANCE, SESSION, requests};

const HEARTBEAT: Duration = Duration::from_millis(500);
const ANSWER: Duration = Duration::from_secs(2);
/// A member gives up so much earlier than the coordinator would: its clock and the broker's may drift apart.
const PATIENCE: Duration = Duration::from_millis(SESSION.as_millis() as u64 * 9 / 10);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Classic,
    Newer,
}

/// It does not know any more what is its own.
struct Lost;

#[derive(PartialEq)]
enum Next {
    Stay,
    Rejoin,
}

/// A member that runs until it is told to stop.
pub struct Running {
    stop: Arc<AtomicBool>,
    pub protocol: Protocol,
}

impl Running {
    /// It leaves the group by its own word, in a moment.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// See the module.
struct Member {
    name: String,
    protocol: Protocol,
    host: Host,
    pool: Pool,
    ledger: Ledger,
    topic_id: Uuid,
    /// Generations are never given again in this run.
    counts_generations: bool,
    stop: Arc<AtomicBool>,
    lives: u32,
    id: Str,
    generation: i32,
    /// The next offset to commit, by partition.
    owned: BTreeMap<i32, i64>,
    heard: Instant,
}

/// Starts a member on a host that nothing happens to.
pub fn start(
    name: &str,
    protocol: Protocol,
    host: &Host,
    ledger: &Ledger,
    topic_id: Uuid,
    counts_generations: bool,
) -> Running {
    let stop = Arc::new(AtomicBool::new(false));
    let member = Member {
        name: name.to_owned(),
        protocol,
        host: host.clone(),
        pool: pool(host),
        ledger: ledger.clone(),
        topic_id,
        counts_generations,
        stop: Arc::clone(&stop),
        lives: 0,
        id: Str::default(),
        generation: 0,
        owned: BTreeMap::new(),
        heard: host.clock().now(),
    };
    drop(host.spawn("member", member.run()));
    Running { stop, protocol }
}

/// Its own connections: what is on its way on them ends with them.
fn pool(host: &Host) -> Pool {
    let options = NodeOptions {
        request_timeout: REBALANCE + ANSWER,
        connect_timeout: ANSWER,
        ..NodeOptions::default()
    };
    Pool::new(host, options)
}

/// The coordinator is on its way back: the same is asked again.
fn is_passing(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::CoordinatorLoadInProgress | ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable
    )
}

impl Member {
    async fn run(mut self) {
        while !self.is_stopped() {
            self.lives += 1;
            self.id = match self.protocol {
                Protocol::Classic => Str::default(),
                Protocol::Newer => Str::from(format!("{}-{}", self.name, self.lives)),
            };
            self.generation = 0;
            let _ = match self.protocol {
                Protocol::Classic => self.live_classic().await,
                Protocol::Newer => self.live_newer().await,
            };
            self.release_all();
            self.pool = pool(&self.host);
            let wait_ms = 50 + self.host.entropy().below(300);
            self.host.clock().sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn me(&self) -> Arc<str> {
        Arc::from(format!("{}/{}", self.name, self.lives))
    }

    fn until(&self) -> Instant {
        self.heard + PATIENCE
    }

    fn has_given_up(&self) -> bool {
        self.host.clock().now() >= self.until()
    }

    fn hear(&mut self, sent: Instant) {
        self.heard = sent;
        one_owner::heard(&self.ledger, &self.me(), self.until());
    }

    fn release_all(&mut self) {
        for partition in std::mem::take(&mut self.owned).into_keys() {
            one_owner::released(&self.ledger, &self.me(), partition);
        }
    }

    /// None: nobody knows what became of it.
    async fn ask<R: Request>(&self, request: &R, within: Duration) -> Option<R::Response> {
        let node = self.pool.node(BROKER);
        self.host.clock().timeout(within, node.call(request)).await.ok()?.ok()
    }

    async fn live_classic(&mut self) -> Result<(), Lost> {
        loop {
            // An eager member: it gives everything back before it joins.
            self.release_all();
            let told = self.join().await?;
            if self.sync(&told).await? == Next::Rejoin {
                continue;
            }
            loop {
                if self.is_stopped() {
                    self.release_all();
                    let member = MemberIdentity { member_id: self.id.clone(), ..Default::default() };
                    let members = vec![member];
                    let leave = LeaveGroupRequest { group_id: GROUP.into(), members, ..Default::default() };
                    let _ = self.ask(&leave, ANSWER).await;
                    return Ok(());
                }
                if self.commit_all().await? == Next::Rejoin {
                    break;
                }
                self.host.clock().sleep(HEARTBEAT).await;
                if self.heartbeat().await? == Next::Rejoin {
                    break;
                }
            }
        }
    }

    async fn join(&mut self) -> Result<JoinGroupResponse, Lost> {
        loop {
            let told = self.ask(&requests::join(&self.id), REBALANCE + ANSWER).await.ok_or(Lost)?;
            match ErrorCode::from_code(told.error_code) {
                ErrorCode::None => {
                    (self.id, self.generation) = (told.member_id.clone(), told.generation_id);
                    return Ok(told);
                }
                ErrorCode::MemberIdRequired => self.id = told.member_id,
                code if is_passing(code) || code == ErrorCode::RebalanceInProgress => {
                    self.host.clock().sleep(Duration::from_millis(100)).await;
                }
                _ => return Err(Lost),
            }
            if self.is_stopped() {
                return Err(Lost);
            }
        }
    }

    async fn sync(&mut self, told: &JoinGroupResponse) -> Result<Next, Lost> {
        let sent = self.host.clock().now();
        let answer = self.ask(&requests::sync(told), REBALANCE + ANSWER).await.ok_or(Lost)?;
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                self.heard = sent;
                self.take(requests::assigned(&answer.assignment)).await?;
                Ok(Next::Stay)
            }
            code if is_passing(code) || code == ErrorCode::RebalanceInProgress => Ok(Next::Rejoin),
            _ => Err(Lost),
        }
    }

    /// From now on it owns these, in addition to what it has.
    async fn take(&mut self, partitions: Vec<i32>) -> Result<(), Lost> {
        let now = self.host.clock().now();
        if self.has_given_up() {
            return Err(Lost);
        }
        let generation = self.counts_generations.then_some(self.generation);
        for partition in &partitions {
            one_owner::given(&self.ledger, &self.me(), generation, *partition, now, self.until());
            self.owned.insert(*partition, 0);
        }
        for partition in partitions {
            let next = self.committed(partition).await? + 1;
            self.owned.insert(partition, next);
        }
        Ok(())
    }

    async fn committed(&self, partition: i32) -> Result<i64, Lost> {
        while !self.has_given_up() {
            let fetched =
                fetch_committed(&self.pool, &self.host, &self.ledger, self.topic_id, partition).await;
            if let Some(offset) = fetched {
                return Ok(offset);
            }
            self.host.clock().sleep(Duration::from_millis(100)).await;
        }
        Err(Lost)
    }

    async fn heartbeat(&mut self) -> Result<Next, Lost> {
        let sent = self.host.clock().now();
        let answer = self.ask(&requests::heartbeat(&self.id, self.generation), ANSWER).await;
        match answer.map(|answer| ErrorCode::from_code(answer.error_code)) {
            Some(ErrorCode::None) => {
                self.hear(sent);
                Ok(Next::Stay)
            }
            Some(ErrorCode::RebalanceInProgress) => Ok(Next::Rejoin),
            Some(code) if !is_passing(code) => Err(Lost),
            _ if self.has_given_up() => Err(Lost),
            _ => Ok(Next::Stay),
        }
    }

    async fn commit_all(&mut self) -> Result<Next, Lost> {
        for (partition, offset) in self.owned.clone() {
            if self.has_given_up() {
                return Err(Lost);
            }
            let request = requests::commit(&self.id, self.generation, self.topic_id, partition, offset);
            let answer = self.ask(&request, ANSWER).await.ok_or(Lost)?;
            let told = answer.topics.first().and_then(|topic| topic.partitions.first()).ok_or(Lost)?;
            match ErrorCode::from_code(told.error_code) {
                ErrorCode::None => {
                    offsets_never_regress::committed(&self.ledger, partition, offset);
                    self.owned.insert(partition, offset + 1);
                }
                ErrorCode::RebalanceInProgress => return Ok(Next::Rejoin),
                // Its next heartbeat tells it the epoch.
                ErrorCode::StaleMemberEpoch => {}
                code if is_passing(code) => {}
                _ => return Err(Lost),
            }
        }
        Ok(Next::Stay)
    }

    async fn live_newer(&mut self) -> Result<(), Lost> {
        loop {
            if self.is_stopped() {
                self.release_all();
                let beat = requests::beat(&self.id, -1, self.topic_id, Vec::new());
                let _ = self.ask(&beat, ANSWER).await;
                return Ok(());
            }
            self.beat().await?;
            self.commit_all().await?;
            self.host.clock().sleep(HEARTBEAT).await;
        }
    }

    async fn beat(&mut self) -> Result<(), Lost> {
        let sent = self.host.clock().now();
        let owned = self.owned.keys().copied().collect();
        let request = requests::beat(&self.id, self.generation, self.topic_id, owned);
        let Some(answer) = self.ask(&request, ANSWER).await else {
            return if self.has_given_up() && self.generation > 0 { Err(Lost) } else { Ok(()) };
        };
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {}
            code if is_passing(code) && !(self.has_given_up() && self.generation > 0) => return Ok(()),
            _ => return Err(Lost),
        }
        self.hear(sent);
        self.generation = answer.member_epoch;
        let Some(assignment) = answer.assignment else { return Ok(()) };
        let told: Vec<i32> =
            assignment.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect();
        let gone: Vec<i32> =
            self.owned.keys().filter(|partition| !told.contains(partition)).copied().collect();
        for partition in gone {
            self.owned.remove(&partition);
            one_owner::released(&self.ledger, &self.me(), partition);
        }
        self.take(told.into_iter().filter(|partition| !self.owned.contains_key(partition)).collect()).await
    }
}

/// What is committed for a partition, held against what was acknowledged before; None if nobody answers.
pub async fn fetch_committed(
    pool: &Pool,
    host: &Host,
    ledger: &Ledger,
    topic_id: Uuid,
    partition: i32,
) -> Option<i64> {
    let before = offsets_never_regress::before_fetch(ledger, partition);
    let request = requests::fetch(topic_id, partition);
    let answer = host.clock().timeout(ANSWER, pool.node(BROKER).call(&request)).await.ok()?.ok()?;
    let group = answer.groups.into_iter().next().filter(|group| group.error_code == 0)?;
    let told = group.topics.into_iter().next()?.partitions.into_iter().next()?;
    if told.error_code != 0 {
        return None;
    }
    offsets_never_regress::fetched(ledger, partition, before, told.committed_offset);
    Some(told.committed_offset)
}
