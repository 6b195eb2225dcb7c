//! A follower's side of an incremental fetch session (KIP-227): what the leader has been told, and what it must be told next.
//!
//! ```text
//!   session 0, epoch 0:  all partitions, what stands first rotates      -> session 7, or still 0: no slot for it
//!   session 7, epoch 1:  partitions that are new, moved, or left        -> answers of those with news
//!   no answer:           session 7, epoch 0: all partitions again; the leader ends the session that it is told
//! ```
//! **Invariant:** what stands in `told` is what the leader's session has, or the next request is a full one. That holds whenever
//! a request is cut short: the epoch of the next one is known by its answer only.

use std::collections::BTreeMap;

use protocol::ids::PartitionId;
use protocol::messages::FetchResponse;
use protocol::{ErrorCode, Uuid};

use crate::fetch_sessions::{INITIAL_EPOCH, next_epoch};

/// What is asked of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) leader_epoch: i32,
    pub(super) offset: i64,
    pub(super) last_epoch: i32,
    pub(super) log_start: i64,
}

/// See the module. Of one fetcher and one leader.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// 0: none.
    id: i32,
    epoch: i32,
    told: BTreeMap<PartitionId, Wanted>,
    /// Where a full request begins: what stands first is served first when an answer is full.
    first: usize,
}

/// What a request says.
#[derive(Debug)]
pub(super) struct Saying {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    /// Places in what is wanted, in the order in which they are named.
    pub(super) named: Vec<usize>,
    pub(super) forgotten: BTreeMap<Uuid, Vec<i32>>,
}

impl FetchSession {
    /// What the next request must say so that the leader reads what is wanted. That is sorted by id.
    pub(super) fn next(&mut self, wanted: &[(PartitionId, Wanted)]) -> Saying {
        let session_epoch = std::mem::replace(&mut self.epoch, INITIAL_EPOCH);
        let (session_id, mut named, mut forgotten) = (self.id, Vec::new(), BTreeMap::new());
        if session_epoch == INITIAL_EPOCH {
            self.told = wanted.iter().copied().collect();
            let first = self.first % wanted.len().max(1);
            named.extend((first..wanted.len()).chain(0..first));
            return Saying { session_id, session_epoch, named, forgotten };
        }
        for (place, (id, one)) in wanted.iter().enumerate() {
            if self.told.insert(*id, *one).as_ref() != Some(one) {
                named.push(place);
            }
        }
        if self.told.len() > wanted.len() {
            self.told.retain(|id, _| {
                let stays = wanted.binary_search_by_key(id, |(id, _)| *id).is_ok();
                if !stays {
                    forgotten.entry(id.topic_id).or_insert_with(Vec::new).push(id.partition);
                }
                stays
            });
        }
        Saying { session_id, session_epoch, named, forgotten }
    }

    /// Takes over the answer to the request of `session_epoch`. `is_full`: it may have held back records of others.
    pub(super) fn answered(&mut self, session_epoch: i32, answer: &FetchResponse, is_full: bool) {
        self.first = if is_full { self.first.wrapping_add(1) } else { 0 };
        match ErrorCode::from_code(answer.error_code) {
            ErrorCode::None => {
                self.id = answer.session_id;
                self.epoch = if self.id == 0 { INITIAL_EPOCH } else { next_epoch(session_epoch) };
            }
            ErrorCode::FetchSessionIdNotFound => self.id = 0,
            _ => {}
        }
    }

    /// An answer was not taken over: the leader must not believe that this follower knows what it told.
    pub(super) fn restart(&mut self) {
        self.epoch = INITIAL_EPOCH;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fetch_sessions::{Answered, Asked, FetchSessions, SessionRequest, TopicRef};
    use host::sim::World;
    use protocol::messages::fetch_response::PartitionData;

    const TOPIC: Uuid = Uuid(7);

    fn id(partition: i32) -> PartitionId {
        PartitionId { topic_id: TOPIC, partition }
    }

    fn at(offset: i64) -> Wanted {
        Wanted { leader_epoch: 1, offset, last_epoch: 1, log_start: 0 }
    }

    fn answer(session_id: i32, error: ErrorCode) -> FetchResponse {
        FetchResponse { session_id, error_code: error.code(), ..Default::default() }
    }

    #[test]
    fn only_what_is_new_moved_or_left_is_said_again() {
        let mut session = FetchSession::default();
        let all = session.next(&[(id(0), at(5)), (id(1), at(5)), (id(2), at(5))]);
        assert_eq!((all.session_id, all.session_epoch, all.named), (0, 0, vec![0, 1, 2]));
        session.answered(0, &answer(77, ErrorCode::None), false);
        let moved = session.next(&[(id(0), at(5)), (id(1), at(9)), (id(3), at(0))]);
        assert_eq!((moved.session_id, moved.session_epoch, moved.named), (77, 1, vec![1, 2]));
        assert_eq!(moved.forgotten, BTreeMap::from([(TOPIC, vec![2])]));
        session.answered(1, &answer(77, ErrorCode::None), false);
        let nothing = session.next(&[(id(0), at(5)), (id(1), at(9)), (id(3), at(0))]);
        assert_eq!((nothing.session_epoch, nothing.named.len(), nothing.forgotten.len()), (2, 0, 0));
    }

    #[test]
    fn without_a_session_what_stands_first_rotates_while_answers_are_full() {
        let (mut session, wanted) =
            (FetchSession::default(), [(id(0), at(5)), (id(1), at(5)), (id(2), at(5))]);
        for first in [0, 1, 2, 0] {
            assert_eq!(session.next(&wanted).named[0], first);
            session.answered(0, &answer(0, ErrorCode::None), true);
        }
        session.answered(0, &answer(0, ErrorCode::None), false);
        assert_eq!(session.next(&wanted).named[0], 0);
    }

    /// A leader's sessions and a follower's, with answers that are lost, sessions that are, and answers not taken over.
    #[test]
    fn the_leader_reads_exactly_what_is_wanted_whatever_is_lost() {
        let world = World::new(1);
        let host = world.node("leader").host();
        let mut leader = FetchSessions::new(&host, 2);
        let (mut session, mut seed, mut incremental) = (FetchSession::default(), 1u64, 0);
        let mut dice = |sides: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % sides
        };
        for _ in 0..5000 {
            let one = |partition| (dice(4) > 0).then(|| (id(partition), at(dice(3) as i64)));
            let wanted: Vec<_> = (0..4).filter_map(one).collect();
            if wanted.is_empty() {
                continue;
            }
            let saying = session.next(&wanted);
            if dice(10) == 0 {
                continue; // The request is lost.
            }
            let asked = |place: &usize| {
                let (id, wanted) = wanted[*place];
                Asked {
                    topic: TopicRef::Id(id.topic_id, None),
                    partition: id.partition,
                    fetch_offset: wanted.offset,
                    current_leader_epoch: wanted.leader_epoch,
                    last_fetched_epoch: wanted.last_epoch,
                    log_start_offset: wanted.log_start,
                    partition_bytes_max: 1,
                }
            };
            let forgotten = saying.forgotten.iter().flat_map(|(topic, partitions)| {
                partitions.iter().map(|partition| (TopicRef::Id(*topic, None), *partition))
            });
            let begun = leader.begin(
                SessionRequest {
                    session_id: saying.session_id,
                    epoch: saying.session_epoch,
                    uses_topic_ids: true,
                    is_follower: true,
                    asked: saying.named.iter().map(asked).collect(),
                    forgotten: forgotten.collect(),
                },
                |_| None,
            );
            let told = match begun {
                Ok((context, all)) => {
                    let mut read: Vec<_> = all.iter().map(|a| (a.partition, a.fetch_offset)).collect();
                    read.sort_unstable();
                    let expected: Vec<_> = wanted.iter().map(|(id, w)| (id.partition, w.offset)).collect();
                    assert_eq!(read, expected, "what the leader reads");
                    incremental += u32::from(saying.session_epoch != INITIAL_EPOCH);
                    let data = |asked: Asked| {
                        let data = PartitionData { partition_index: asked.partition, ..Default::default() };
                        Answered { asked, data }
                    };
                    let told = leader.finish(&context, all.into_iter().map(data).collect());
                    answer(told.session_id, told.error)
                }
                Err(error) => {
                    assert_ne!(
                        saying.session_epoch, INITIAL_EPOCH,
                        "a full request is always answered: {error}"
                    );
                    answer(saying.session_id, error)
                }
            };
            match dice(10) {
                0 => continue, // The answer is lost.
                1 => session.restart(),
                _ => session.answered(saying.session_epoch, &told, false),
            }
            if dice(50) == 0 {
                leader = FetchSessions::new(&host, 2); // It lives again, and has lost all sessions.
            }
        }
        assert!(incremental > 500, "sessions are used: {incremental}");
    }
}
