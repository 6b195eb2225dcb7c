//! Each rule of the cache and of a session, in virtual time; and threads that share them.
#![allow(clippy::disallowed_methods)]

use std::time::Duration;

use bytes::Bytes;
use host::sim::World;
use protocol::Records;

use super::*;

const OLD: Duration = Duration::from_secs(121);

fn named(topic: &str, partition: i32) -> Asked {
    asked(TopicRef::Name(Str::from(topic)), partition)
}

fn asked(topic: TopicRef, partition: i32) -> Asked {
    Asked {
        topic,
        partition,
        fetch_offset: 0,
        current_leader_epoch: -1,
        last_fetched_epoch: -1,
        log_start_offset: -1,
        partition_bytes_max: 1,
    }
}

fn request(session_id: i32, epoch: i32, asked: Vec<Asked>) -> SessionRequest {
    SessionRequest {
        session_id,
        epoch,
        uses_topic_ids: false,
        is_follower: false,
        asked,
        forgotten: Vec::new(),
    }
}

/// The partitions a..b of a topic.
fn many(partitions: std::ops::Range<i32>) -> Vec<Asked> {
    partitions.map(|partition| named("t", partition)).collect()
}

/// An answer with a high watermark, and records if it has some.
fn told(high_watermark: i64, records: &'static [u8]) -> PartitionData {
    PartitionData {
        high_watermark,
        log_start_offset: 0,
        records: Some(Records::from(Bytes::from_static(records))),
        ..Default::default()
    }
}

fn failed(error: ErrorCode) -> PartitionData {
    PartitionData { high_watermark: -1, error_code: error.code(), ..Default::default() }
}

fn no_names(_: Uuid) -> Option<Str> {
    None
}

impl FetchSessions {
    /// A whole fetch whose partitions are all answered by `answer`: error, session, and the partitions of the answer.
    fn fetch(
        &self,
        request: SessionRequest,
        answer: impl Fn(i32) -> PartitionData,
    ) -> (ErrorCode, i32, Vec<i32>) {
        let (context, asked) = match self.begin(request, no_names) {
            Ok(begun) => begun,
            Err(error) => return (error, 0, Vec::new()),
        };
        let answers = asked.into_iter().map(|asked| Answered { data: answer(asked.partition), asked });
        let answer = self.finish(&context, answers.collect());
        let partitions = answer.answers.iter().map(|a| a.asked.partition).collect();
        (answer.error, answer.session_id, partitions)
    }

    fn create_of(&self, partitions: i32, is_follower: bool) -> i32 {
        let request = SessionRequest { is_follower, ..request(0, 0, many(0..partitions)) };
        self.fetch(request, |_| told(0, b"")).1
    }

    fn has(&self, id: i32) -> bool {
        self.cache().sessions.contains_key(&id)
    }

    /// What must hold whenever nobody is at work.
    fn check(&self) {
        let cache = self.cache();
        assert!(cache.sessions.len() <= self.slots);
        assert_eq!(cache.by_use.len(), cache.sessions.len());
        assert!(cache.evictable_by_all.is_subset(&cache.evictable_by_followers));
        assert_eq!(cache.partitions, cache.sessions.values().map(|s| s.partitions).sum::<usize>());
        assert_eq!(cache.bytes, cache.sessions.values().map(|s| s.bytes).sum::<usize>());
        assert!(cache.bytes <= self.bytes_max);
        for (id, slot) in &cache.sessions {
            assert!(cache.by_use.contains(&(slot.used, *id)));
        }
    }
}

/// Runs a test in virtual time.
fn with<F: Future<Output = ()> + Send + 'static>(
    slots: usize,
    test: impl FnOnce(FetchSessions, Host) -> F + Send + 'static,
) {
    let world = World::new(5);
    let host = world.host();
    let test = async move { test(FetchSessions::new(&host, slots), host.clone()).await };
    world.block_on(Duration::from_secs(3600), test).expect("it ends");
}

#[test]
fn only_a_full_fetch_of_epoch_0_gets_a_session() {
    with(9, async |sessions: FetchSessions, _| {
        assert_eq!(
            sessions.fetch(request(0, -1, many(0..2)), |_| told(0, b"")),
            (ErrorCode::None, 0, vec![0, 1])
        );
        let (error, id, partitions) = sessions.fetch(request(0, 0, many(0..2)), |_| told(0, b""));
        assert_eq!((error, partitions), (ErrorCode::None, vec![0, 1]));
        assert!(id > 0);
        assert_eq!((sessions.len(), sessions.partitions()), (1, 2));
        // An empty one is a session too, and its first incremental fetch without news ends it.
        let (_, empty, _) = sessions.fetch(request(0, 0, Vec::new()), |_| told(0, b""));
        assert!(empty > 0 && empty != id);
        assert_eq!(
            sessions.fetch(request(empty, 1, Vec::new()), |_| told(0, b"")),
            (ErrorCode::None, 0, vec![])
        );
        assert!(!sessions.has(empty));
    });
}

#[test]
fn a_session_takes_its_next_epoch_alone() {
    with(9, async |sessions: FetchSessions, _| {
        let id = sessions.create_of(2, false);
        let ask = |id, epoch| sessions.fetch(request(id, epoch, Vec::new()), |_| told(0, b""));
        assert_eq!(ask(id, 1), (ErrorCode::None, id, vec![]));
        for (id, epoch, error) in [
            (id, 1, ErrorCode::InvalidFetchSessionEpoch),
            (id, 3, ErrorCode::InvalidFetchSessionEpoch),
            (id, -2, ErrorCode::InvalidFetchSessionEpoch),
            (0, 1, ErrorCode::FetchSessionIdNotFound),
            (-5, 1, ErrorCode::FetchSessionIdNotFound),
            (i32::MAX, 1, ErrorCode::FetchSessionIdNotFound),
        ] {
            assert_eq!(ask(id, epoch), (error, 0, vec![]), "{id} {epoch}");
        }
        let by_id = SessionRequest { uses_topic_ids: true, ..request(id, 2, Vec::new()) };
        assert_eq!(sessions.fetch(by_id, |_| told(0, b"")).0, ErrorCode::FetchSessionTopicIdError);
        assert_eq!(ask(id, 2), (ErrorCode::None, id, vec![]), "errors change nothing");
        assert_eq!((next_epoch(1), next_epoch(i32::MAX)), (2, 1));
    });
}

#[test]
fn an_incremental_answer_names_what_has_changed() {
    with(9, async |sessions: FetchSessions, _| {
        let id = sessions.create_of(6, false);
        let mut epoch = 0;
        let mut ask = |answer: &dyn Fn(i32) -> PartitionData| {
            epoch += 1;
            let (error, of, partitions) = sessions.fetch(request(id, epoch, Vec::new()), answer);
            assert_eq!((error, of), (ErrorCode::None, id));
            partitions
        };
        let news = |partition: i32| match partition {
            1 => PartitionData { log_start_offset: 1, ..told(1, b"") },
            2 => told(1, b""),
            3 => PartitionData { preferred_read_replica: 4, ..told(0, b"") },
            4 => {
                let mut diverging = told(0, b"");
                (diverging.diverging_epoch.epoch, diverging.diverging_epoch.end_offset) = (0, 0);
                diverging
            }
            5 => failed(ErrorCode::OffsetOutOfRange),
            _ => told(0, b""),
        };
        assert_eq!(ask(&news), [1, 2, 3, 4, 5]);
        assert_eq!(ask(&news), [3, 4, 5], "offsets are told once, the rest until it ends");
        let back = |partition: i32| if partition == 5 { told(0, b"") } else { news(partition) };
        assert_eq!(ask(&back), [3, 4, 5], "the end of an error is told");
        assert_eq!(ask(&back), [3, 4]);
        let cut = |partition: i32| if partition >= 4 { told(0, b"") } else { news(partition) };
        assert_eq!(ask(&cut), [3, 4], "who had to cut its log took nothing else of the answer");
        assert_eq!(ask(&cut), [3]);
    });
}

#[test]
fn who_got_records_goes_to_the_end() {
    with(9, async |sessions: FetchSessions, _| {
        let id = sessions.create_of(4, false);
        let records_of = |lucky: &'static [i32]| {
            move |partition| told(0, if lucky.contains(&partition) { b"records" } else { b"" })
        };
        let order = |epoch| {
            let (context, asked) = sessions.begin(request(id, epoch, Vec::new()), no_names).expect("begun");
            sessions.finish(&context, Vec::new());
            asked.iter().map(|asked| asked.partition).collect::<Vec<_>>()
        };
        assert_eq!(sessions.fetch(request(id, 1, Vec::new()), records_of(&[1])).2, [1]);
        assert_eq!(order(2), [0, 2, 3, 1]);
        assert_eq!(sessions.fetch(request(id, 3, Vec::new()), records_of(&[0, 3])).2, [0, 3]);
        assert_eq!(order(4), [2, 1, 0, 3]);
        let mut update = named("t", 2);
        update.fetch_offset = 77;
        let (_, asked) = sessions.begin(request(id, 5, vec![update]), no_names).expect("begun");
        assert_eq!((asked[0].partition, asked[0].fetch_offset), (2, 77), "who is updated stays in place");
    });
}

#[test]
fn partitions_come_and_go() {
    with(9, async |sessions: FetchSessions, _| {
        let id = sessions.create_of(2, false);
        let forget = |epoch, asked, partitions: &[i32]| {
            let topic = || TopicRef::Name(Str::from("t"));
            let forgotten = partitions.iter().map(|partition| (topic(), *partition)).collect();
            SessionRequest { forgotten, ..request(id, epoch, asked) }
        };
        assert_eq!(sessions.fetch(forget(1, many(2..4), &[0]), |_| told(5, b"")).2, [1, 2, 3]);
        assert_eq!(sessions.partitions(), 3);
        let passing = sessions.fetch(forget(2, many(7..8), &[7, 9]), |_| told(5, b"")).2;
        assert!(passing.is_empty(), "added and forgotten");
        // Named twice: the last one counts, where the first one stood.
        let mut again = named("t", 8);
        again.fetch_offset = 5;
        let (_, all) =
            sessions.begin(forget(3, vec![named("t", 8), again.clone()], &[]), no_names).expect("begun");
        assert_eq!(all[3], again);
        assert_eq!(last_of_each(vec![named("t", 8), named("t", 1), again.clone()]), [again, named("t", 1)]);
        assert_eq!(
            sessions.fetch(forget(4, Vec::new(), &[1, 2, 3, 8]), |_| told(5, b"")),
            (ErrorCode::None, 0, vec![])
        );
        assert!(!sessions.has(id), "nothing is left of it");
        sessions.check();
    });
}

#[test]
fn a_full_fetch_ends_the_session_that_it_names() {
    with(9, async |sessions: FetchSessions, _| {
        for epoch in [0, -1] {
            let id = sessions.create_of(2, false);
            let (_, next, _) = sessions.fetch(request(id, epoch, many(0..1)), |_| told(0, b""));
            assert!(!sessions.has(id) && next != id);
            assert_eq!(next == 0, epoch == -1);
        }
    });
}

#[test]
fn of_two_fetches_at_the_same_time_the_newer_one_is_answered() {
    with(9, async |sessions: FetchSessions, _| {
        let id = sessions.create_of(2, false);
        let (older, _) = sessions.begin(request(id, 1, Vec::new()), no_names).expect("begun");
        let (newer, _) = sessions.begin(request(id, 2, Vec::new()), no_names).expect("begun");
        let answers = || vec![Answered { asked: named("t", 0), data: told(9, b"x") }];
        let answer = sessions.finish(&older, answers());
        assert_eq!((answer.error, answer.session_id), (ErrorCode::InvalidFetchSessionEpoch, id));
        assert!(answer.answers.is_empty());
        let answer = sessions.finish(&newer, answers());
        assert_eq!((answer.error, answer.answers.len()), (ErrorCode::None, 1));
    });
}

#[test]
fn a_topic_id_that_is_not_known_yet_gets_its_name_later_and_keeps_it() {
    with(9, async |sessions: FetchSessions, _| {
        let topic = TopicRef::Id(Uuid(7), None);
        let ask = |id, epoch, asked| SessionRequest { uses_topic_ids: true, ..request(id, epoch, asked) };
        let first = vec![asked(topic.clone(), 0)];
        let (_, id, _) = sessions.fetch(ask(0, 0, first), |_| failed(ErrorCode::UnknownTopicId));
        let name = |known: bool, epoch| {
            let name_of = |id: Uuid| (known && id == Uuid(7)).then(|| Str::from("t"));
            let (_, all) = sessions.begin(ask(id, epoch, Vec::new()), name_of).expect("begun");
            all[0].topic.name().cloned()
        };
        assert_eq!(name(false, 1), None);
        assert_eq!(name(true, 2), Some(Str::from("t")));
        assert_eq!(name(false, 3), Some(Str::from("t")), "the topic was deleted");
        let update = vec![asked(topic, 0)];
        let (_, all) = sessions.begin(ask(id, 4, update), no_names).expect("begun");
        assert_eq!((all.len(), all[0].topic.name()), (1, Some(&Str::from("t"))));
        assert_eq!(sessions.fetch(ask(id, 5, Vec::new()), |_| told(0, b"")).0, ErrorCode::None);
        sessions.check();
    });
}

#[test]
fn a_young_session_of_a_consumer_yields_to_followers_only() {
    with(2, async |sessions: FetchSessions, _| {
        let (small, large) = (sessions.create_of(1, false), sessions.create_of(5, false));
        assert_eq!(sessions.create_of(9, false), 0, "no slot for a consumer");
        let follower = sessions.create_of(1, true);
        assert!(follower > 0 && !sessions.has(small) && sessions.has(large), "the smaller one goes");
        let second = sessions.create_of(1, true);
        assert!(second > 0 && !sessions.has(large));
        assert_eq!(sessions.create_of(9, true), 0, "young followers stay");
        assert_eq!(sessions.evictions.load(Ordering::Relaxed), 2);
        sessions.check();
    });
}

#[test]
fn an_old_session_yields_to_one_that_is_worth_more() {
    with(3, async |sessions: FetchSessions, host| {
        let ids = [sessions.create_of(2, false), sessions.create_of(4, false), sessions.create_of(3, true)];
        let use_all = |epoch| {
            for id in ids {
                sessions.fetch(request(id, epoch, Vec::new()), |_| told(0, b""));
            }
        };
        host.clock().sleep(OLD / 2).await;
        use_all(1);
        host.clock().sleep(OLD / 2).await;
        use_all(2);
        assert_eq!(sessions.create_of(1, false), 0);
        assert_eq!(sessions.create_of(2, false), 0, "not larger");
        let third = sessions.create_of(3, false);
        assert!(third > 0 && !sessions.has(ids[0]) && sessions.has(ids[1]));
        let fourth = sessions.create_of(9, false);
        assert!(fourth > 0 && !sessions.has(ids[1]), "the new one is young, the old one of four is next");
        assert_eq!(sessions.create_of(99, false), 0, "a follower's is worth more than any consumer's");
        let of_follower = sessions.create_of(4, true);
        assert!(of_follower > 0 && !sessions.has(third), "though an old follower's would be there too");
        sessions.check();
    });
}

#[test]
fn who_is_not_used_for_two_minutes_yields_to_anyone() {
    with(2, async |sessions: FetchSessions, host| {
        let (idle, busy) = (sessions.create_of(9, true), sessions.create_of(9, false));
        host.clock().sleep(OLD / 2).await;
        sessions.fetch(request(busy, 1, Vec::new()), |_| told(0, b""));
        host.clock().sleep(OLD / 2).await;
        let new = sessions.create_of(1, false);
        assert!(new > 0 && !sessions.has(idle) && sessions.has(busy));
        sessions.check();
    });
}

#[test]
fn sessions_are_bounded_in_bytes_and_none_are_kept_without_slots() {
    with(0, async |sessions: FetchSessions, _| assert_eq!(sessions.create_of(1, true), 0));
    with(9, async |mut sessions: FetchSessions, _| {
        sessions.bytes_max = 10 * Session::size_bytes_of(&named("t", 0));
        let id = sessions.create_of(8, false);
        assert!(id > 0);
        assert_eq!(sessions.create_of(3, false), 0);
        sessions.check();
        // One that grows beyond the bound is given up; its reader begins again, and gets none.
        let (error, ..) = sessions.fetch(request(id, 1, many(8..11)), |_| told(0, b""));
        assert_eq!((error, sessions.len()), (ErrorCode::FetchSessionIdNotFound, 0));
        assert_eq!(sessions.create_of(11, false), 0);
        assert!(sessions.create_of(10, false) > 0);
        sessions.check();
    });
}

/// Threads share the cache, its slots, and now and then a session: nothing is lost, and nothing is counted twice.
#[test]
fn many_threads_leave_the_cache_in_order() {
    let world = World::new(5);
    let sessions = FetchSessions::new(&world.host(), 6);
    let shared: Mutex<Vec<(i32, i32)>> = Mutex::default();
    let work = |seed: u64| {
        let mut random = seed;
        let mut roll = |sides: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % sides
        };
        for _ in 0..3000 {
            let known = shared.lock().expect("unpoisoned").last().copied();
            let (id, epoch) = known.filter(|_| roll(3) > 0).unwrap_or((0, 0));
            let first = roll(5) as i32;
            let mut request = request(id, epoch, many(first..first + roll(5) as i32));
            request.is_follower = roll(2) == 0;
            request.forgotten = many(0..roll(4) as i32).into_iter().map(|a| (a.topic, a.partition)).collect();
            let (error, id, _) = sessions.fetch(request, |_| told(first.into(), b"x"));
            if error == ErrorCode::None && id != 0 {
                shared.lock().expect("unpoisoned").push((id, next_epoch(epoch)));
            } else {
                shared.lock().expect("unpoisoned").pop();
            }
        }
    };
    std::thread::scope(|scope| (0..4).for_each(|seed| drop(scope.spawn(move || work(seed)))));
    sessions.check();
    assert!(sessions.evictions.load(Ordering::Relaxed) > 0);
}
