//! Fetch sessions over the wire, against what a Kafka 4.3.1 answers to the same requests.

use protocol::messages::FetchResponse;
use protocol::messages::fetch_request::ForgottenTopic;

use super::*;

/// A topic of a request: its name or its id, and partitions with their offsets.
fn topic(name: &str, id: Uuid, partitions: &[(i32, i64)]) -> FetchTopic {
    let partition = |(partition, fetch_offset): &(i32, i64)| FetchPartition {
        partition: *partition,
        fetch_offset: *fetch_offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    };
    FetchTopic {
        topic: Str::from(name),
        topic_id: id,
        partitions: partitions.iter().map(partition).collect(),
        ..Default::default()
    }
}

fn request(session_id: i32, session_epoch: i32, topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest {
        session_id,
        session_epoch,
        max_wait_ms: 50,
        min_bytes: 1,
        max_bytes: 1 << 20,
        topics,
        ..Default::default()
    }
}

/// Partition, error, high watermark and number of records of each answer, topic by topic.
fn shown(answer: &FetchResponse) -> Vec<Vec<(i32, i16, i64, usize)>> {
    let partition = |data: &PartitionData| {
        (data.partition_index, data.error_code, data.high_watermark, records(data).len())
    };
    answer.responses.iter().map(|topic| topic.partitions.iter().map(partition).collect()).collect()
}

impl Rig {
    async fn topic_of(&self, name: &str, partitions: i32) -> Uuid {
        let id = self.controller.create_topic(name, partitions, &[1], &[]);
        self.until(|rig| {
            let last = protocol::ids::PartitionId { topic_id: id, partition: partitions - 1 };
            rig.broker.replicas.find(last).is_some()
                && rig.broker.metadata.current().topics.by_id(id).is_some()
        })
        .await;
        id
    }

    pub(super) async fn delete(&self, id: Uuid) {
        self.controller.append(vec![::metadata::Record::from(protocol::messages::RemoveTopicRecord {
            topic_id: id,
            ..Default::default()
        })]);
        let first = protocol::ids::PartitionId { topic_id: id, partition: 0 };
        self.until(|rig| {
            rig.broker.replicas.find(first).is_none()
                && rig.broker.metadata.current().topics.by_id(id).is_none()
        })
        .await;
    }

    pub(super) async fn until(&self, is_so: impl Fn(&Rig) -> bool) {
        let clock = self.broker.host.clock();
        for _ in 0..1000 {
            if is_so(self) {
                return;
            }
            clock.sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not come about in time");
    }

    pub(super) async fn put(&self, topic: &str, partition: i32) {
        let mut request = produce_request(topic, 1, batch(&["x"]).to_bytes());
        request.topic_data[0].partition_data[0].index = partition;
        let answer = self.call(9, &request).await;
        assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
    }
}

#[test]
fn a_session_tells_what_is_new_and_nothing_else() {
    with_broker(&[], async |rig: Rig| {
        rig.topic_of("a", 4).await;
        let all = vec![
            topic("a", Uuid::ZERO, &[(0, 0), (1, 0)]),
            topic("nope", Uuid::ZERO, &[(0, 0)]),
            topic("a", Uuid::ZERO, &[(2, 0)]),
        ];
        let answer = rig.call(12, &request(0, 0, all)).await;
        let id = answer.session_id;
        assert!(id > 0);
        let first = vec![vec![(0, 0, 0, 0), (1, 0, 0, 0), (2, 0, 0, 0)], vec![(0, 3, -1, 0)]];
        assert_eq!(shown(&answer), first, "what is refused comes last");
        let ask = async |epoch: i32, topics: Vec<FetchTopic>| {
            let answer = rig.call(12, &request(id, epoch, topics)).await;
            assert_eq!((answer.error_code, answer.session_id), (0, id));
            shown(&answer)
        };
        assert_eq!(ask(1, vec![]).await, [[(0, 3, -1, 0)]], "an error is told each time");
        rig.put("a", 1).await;
        let mut forgetting = request(id, 2, vec![]);
        forgetting.forgotten_topics_data =
            vec![ForgottenTopic { topic: Str::from("nope"), partitions: vec![0], ..Default::default() }];
        assert_eq!(shown(&rig.call(12, &forgetting).await), [[(1, 0, 1, 1)]]);
        rig.put("a", 0).await;
        rig.put("a", 2).await;
        let third = ask(3, vec![]).await;
        assert_eq!(third, [[(0, 0, 1, 1), (2, 0, 1, 1), (1, 0, 1, 1)]], "who had records is read last");
        assert_eq!(
            ask(4, vec![topic("a", Uuid::ZERO, &[(0, 1), (1, 1), (2, 1)])]).await,
            Vec::<Vec<_>>::new()
        );
        assert_eq!(ask(5, vec![topic("a", Uuid::ZERO, &[(0, 9)])]).await, [[(0, 1, -1, 0)]]);
        assert_eq!(
            ask(6, vec![topic("a", Uuid::ZERO, &[(0, 1)])]).await,
            [[(0, 0, 1, 0)]],
            "the error is over"
        );
        for (session, epoch, version, error) in [(id, 6, 12, 71), (id, 7, 13, 106), (id + 1, 7, 12, 70)] {
            let answer = rig.call(version, &request(session, epoch, vec![])).await;
            assert_eq!((answer.error_code, answer.session_id, answer.responses.len()), (error, 0, 0));
        }
        assert_eq!(ask(7, vec![]).await, Vec::<Vec<_>>::new());
    });
}

#[test]
fn a_topic_id_means_the_topic_that_had_it() {
    with_broker(&[], async |rig: Rig| {
        let id = rig.topic_of("a", 1).await;
        let by_id = vec![topic("", id, &[(0, 0)]), topic("", Uuid(5), &[(0, 0)])];
        let answer = rig.call(13, &request(0, 0, by_id)).await;
        assert_eq!(shown(&answer), [[(0, 0, 0, 0)], [(0, 100, -1, 0)]]);
        let session = answer.session_id;
        let ask = async |epoch: i32| shown(&rig.call(13, &request(session, epoch, vec![])).await);
        rig.delete(id).await;
        assert_eq!(ask(1).await, [[(0, 100, -1, 0)], [(0, 3, -1, 0)]], "ids that nobody knows come first");
        rig.topic_of("a", 1).await;
        rig.put("a", 0).await;
        assert_eq!(ask(2).await, [[(0, 103, -1, 0)], [(0, 100, -1, 0)]], "INCONSISTENT_TOPIC_ID");
    });
}

#[test]
fn a_topic_name_means_the_topic_that_has_it() {
    with_broker(&[], async |rig: Rig| {
        let id = rig.topic_of("a", 1).await;
        let answer = rig.call(12, &request(0, 0, vec![topic("a", Uuid::ZERO, &[(0, 0)])])).await;
        let session = answer.session_id;
        let ask = async |epoch: i32| shown(&rig.call(12, &request(session, epoch, vec![])).await);
        rig.delete(id).await;
        assert_eq!(ask(1).await, [[(0, 3, -1, 0)]]);
        rig.topic_of("a", 1).await;
        rig.put("a", 0).await;
        assert_eq!(ask(2).await, [[(0, 0, 1, 1)]]);
    });
}

#[test]
fn no_partition_starves_in_small_answers() {
    with_broker(&[], async |rig: Rig| {
        rig.topic_of("a", 3).await;
        for partition in 0..3 {
            rig.put("a", partition).await;
        }
        let mut first = request(0, 0, vec![topic("a", Uuid::ZERO, &[(0, 0), (1, 0), (2, 0)])]);
        first.max_bytes = 1;
        let answer = rig.call(12, &first).await;
        assert_eq!(shown(&answer), [[(0, 0, 1, 1), (1, 0, 1, 0), (2, 0, 1, 0)]]);
        for (epoch, partition) in [(1, 0), (2, 1), (3, 2), (4, 0)] {
            let mut next = request(answer.session_id, epoch, vec![]);
            next.max_bytes = 1;
            assert_eq!(shown(&rig.call(12, &next).await), [[(partition, 0, 1, 1)]], "epoch {epoch}");
        }
    });
}

#[test]
fn a_partition_that_is_named_twice_is_read_once() {
    with_broker(&[], async |rig: Rig| {
        rig.topic_of("a", 2).await;
        rig.put("a", 0).await;
        let topics = vec![topic("a", Uuid::ZERO, &[(0, 7), (1, 0), (0, 0)])];
        for epoch in [-1, 0] {
            let answer = rig.call(12, &request(0, epoch, topics.clone())).await;
            assert_eq!(shown(&answer), [[(0, 0, 1, 1), (1, 0, 0, 0)]]);
        }
    });
}

#[test]
fn there_are_as_many_sessions_as_the_config_says() {
    with_broker(&[("max.incremental.fetch.session.cache.slots", "2")], async |rig: Rig| {
        rig.topic_of("a", 1).await;
        let full = request(0, 0, vec![topic("a", Uuid::ZERO, &[(0, 0)])]);
        let ids = [rig.call(12, &full).await.session_id, rig.call(12, &full).await.session_id];
        assert!(ids[0] > 0 && ids[1] > 0);
        assert_eq!(rig.call(12, &full).await.session_id, 0);
        let mut of_follower = full.clone();
        of_follower.replica_id = 2;
        assert!(rig.call(12, &of_follower).await.session_id > 0, "a follower's session is worth more");
        assert_eq!(rig.broker.fetch_sessions.len(), 2);
    });
}
