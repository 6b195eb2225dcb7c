//! A member of a group that does nothing but be one, for tests of those who look at groups.

use protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use protocol::{ErrorCode, Str};
use wire::client::{Cluster, ClusterOptions};

/// Joins a KIP-848 group for a topic and leaves it at that; returns the member's id. It stays until its session ends.
pub fn join(bootstrap: &str, group: &str, topic: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it starts");
    runtime.block_on(async {
        let host = host::real::host();
        let cluster = Cluster::new(&host, [bootstrap.to_owned()], ClusterOptions::default());
        let request = ConsumerGroupHeartbeatRequest {
            group_id: Str::from(group),
            member_id: Str::from_static("0000000000000000000001"),
            rebalance_timeout_ms: 60_000,
            subscribed_topic_names: Some(vec![Str::from(topic)]),
            topic_partitions: Some(Vec::new()),
            ..Default::default()
        };
        let code = |answer: &ConsumerGroupHeartbeatResponse| answer.error_code;
        let answer = cluster.call_coordinator(&request.group_id, &request, code).await.expect("an answer");
        assert_eq!(answer.error_code, ErrorCode::None.code(), "{answer:?}");
        answer.member_id.expect("it is told its id").to_string()
    })
}
