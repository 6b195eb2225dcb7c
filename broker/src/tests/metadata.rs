//! ApiVersions, Metadata, DescribeCluster and forwarded requests.

use protocol::messages::create_topics_request::CreatableTopic;
use protocol::messages::delete_topics_request::DeleteTopicState;
use protocol::messages::metadata_request::MetadataRequestTopic;
use protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, MetadataRequest,
    MetadataResponse,
};
use protocol::{ApiKey, ErrorCode};

use super::*;

fn named(names: &[&str]) -> Option<Vec<MetadataRequestTopic>> {
    let topic = |name: &&str| MetadataRequestTopic { name: Some(Str::from(*name)), ..Default::default() };
    Some(names.iter().map(topic).collect())
}

fn codes(response: &MetadataResponse) -> Vec<ErrorCode> {
    response.topics.iter().map(|topic| code(topic.error_code)).collect()
}

#[test]
fn what_is_advertised_is_what_is_served() {
    with_broker(&[], async |rig: Rig| {
        for version in 0..=4 {
            let (name, software) = (Str::from_static("test"), Str::from_static("1"));
            let request = ApiVersionsRequest {
                client_software_name: name,
                client_software_version: software,
                ..Default::default()
            };
            let answer = rig.call(version, &request).await;
            let told: Vec<_> =
                answer.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
            let served: Vec<_> = told
                .iter()
                .map(|(code, ..)| {
                    let versions = ApiKey::from_code(*code).unwrap().advertised_versions();
                    (*code, *versions.start(), *versions.end())
                })
                .collect();
            assert!(
                told.is_sorted() && told.iter().any(|(code, ..)| *code == ApiKey::DescribeConfigs.code())
            );
            assert_eq!(told, served);
            assert_eq!(answer.api_keys[0].min_version, 0, "librdkafka turns compression off otherwise");
            if version >= 3 {
                let level = answer.finalized_features.iter().find(|f| f.name == *"metadata.version").unwrap();
                assert_eq!(level.max_version_level, 30);
                assert!(answer.finalized_features_epoch > 0);
            }
        }
    });
}

#[test]
fn topics_that_are_missing_are_created_if_that_is_allowed() {
    with_broker(&[], async |rig: Rig| {
        let forbid = MetadataRequest {
            topics: named(&["no"]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        assert_eq!(codes(&rig.call(4, &forbid).await), [ErrorCode::UnknownTopicOrPartition]);
        let bad = MetadataRequest { topics: named(&["", "..", "a b"]), ..Default::default() };
        assert_eq!(codes(&rig.call(9, &bad).await), [ErrorCode::InvalidTopicException; 3]);
        let ask = MetadataRequest { topics: named(&["yes"]), ..Default::default() };
        assert_eq!(
            codes(&rig.call(12, &ask).await),
            [ErrorCode::UnknownTopicOrPartition],
            "as Kafka: not yet"
        );
        rig.broker.host.clock().sleep(Duration::from_secs(1)).await;
        let there = rig.call(12, &ask).await;
        assert_eq!(codes(&there), [ErrorCode::None]);
        assert_eq!(there.topics[0].partitions[0].leader_id, 1);
        assert!(rig.controller.image().topics.by_name("no").is_none());
    });
}

#[test]
fn topics_are_told_in_every_version_by_name_and_by_id() {
    with_broker(&[], async |rig: Rig| {
        let id = rig.topic("t", &[1], &[]).await;
        for version in 0..=13 {
            let answer =
                rig.call(version, &MetadataRequest { topics: named(&["t"]), ..Default::default() }).await;
            assert_eq!(codes(&answer), [ErrorCode::None], "v{version}");
            assert_eq!(answer.topics[0].partitions[0].leader_id, 1);
            assert_eq!(answer.brokers[0].node_id, 1);
            let all = if version == 0 { Some(Vec::new()) } else { None };
            let answer = rig.call(version, &MetadataRequest { topics: all, ..Default::default() }).await;
            assert_eq!(answer.topics.len(), 1, "v{version}");
            if version > 0 {
                let none = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
                assert_eq!(rig.call(version, &none).await.topics.len(), 0);
            }
        }
        let by_id = |id: Uuid| MetadataRequest {
            topics: Some(vec![MetadataRequestTopic { topic_id: id, name: None, ..Default::default() }]),
            ..Default::default()
        };
        let found = rig.call(12, &by_id(id)).await;
        assert_eq!(found.topics[0].name, Some(Str::from_static("t")));
        assert_eq!(codes(&rig.call(12, &by_id(Uuid(5))).await), [ErrorCode::UnknownTopicId]);
        assert_eq!(
            codes(&rig.call(10, &by_id(id)).await),
            [ErrorCode::InvalidRequest],
            "ids are for 12 and later"
        );
    });
}

#[test]
fn a_topic_can_be_used_as_soon_as_its_creation_is_answered() {
    with_broker(&[], async |rig: Rig| {
        for version in 2..=7 {
            let name = Str::from(format!("new{version}"));
            let topic = CreatableTopic {
                name: name.clone(),
                num_partitions: 1,
                replication_factor: 1,
                ..Default::default()
            };
            let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
            let answer = rig.call(version, &request).await;
            assert_eq!(answer.topics[0].error_code, 0);
            assert_eq!(
                rig.produce(&name, -1, batch(&["a"]).to_bytes()).await.error_code,
                0,
                "create, then use"
            );
            let again = rig.call(version, &request).await;
            assert_eq!(code(again.topics[0].error_code), ErrorCode::TopicAlreadyExists);
        }
    });
}

#[test]
fn a_topic_that_is_deleted_and_made_anew_is_another_one() {
    with_broker(&[], async |rig: Rig| {
        let former = rig.topic("t", &[1], &[]).await;
        assert_eq!(rig.produce("t", 1, batch(&["old"]).to_bytes()).await.error_code, 0);
        let topic = DeleteTopicState { name: Some(Str::from_static("t")), ..Default::default() };
        let request = DeleteTopicsRequest { topics: vec![topic], timeout_ms: 1000, ..Default::default() };
        assert_eq!(rig.call(6, &request).await.responses[0].error_code, 0);
        let gone = rig.produce("t", 1, batch(&["x"]).to_bytes()).await;
        assert_eq!(code(gone.error_code), ErrorCode::UnknownTopicOrPartition);
        rig.topic("t", &[1], &[]).await;
        let fresh = rig.produce("t", 1, batch(&["new"]).to_bytes()).await;
        assert_eq!((fresh.error_code, fresh.base_offset), (0, 0), "nothing of the old one");
        assert_eq!(records(&rig.fetch(&fetch_request("t", 0)).await), [(0, "new".to_owned())]);
        let mut by_old_id = fetch_request("", 0);
        by_old_id.topics[0].topic_id = former;
        let answer = rig.call(13, &by_old_id).await;
        assert_eq!(code(answer.responses[0].partitions[0].error_code), ErrorCode::UnknownTopicId);
    });
}

#[test]
fn the_cluster_is_described() {
    with_broker(&[("advertised.listeners", "PLAINTEXT://elsewhere:1234")], async |rig: Rig| {
        let answer = rig.call(2, &DescribeClusterRequest { endpoint_type: 1, ..Default::default() }).await;
        assert_eq!((answer.brokers[0].host.as_str(), answer.brokers[0].port), ("elsewhere", 1234));
        assert_eq!((answer.cluster_id.as_str(), answer.controller_id), (Uuid(77).to_string().as_str(), 1));
        for (endpoint_type, error) in
            [(2, ErrorCode::MismatchedEndpointType), (7, ErrorCode::UnsupportedEndpointType)]
        {
            let answer = rig.call(1, &DescribeClusterRequest { endpoint_type, ..Default::default() }).await;
            assert_eq!(code(answer.error_code), error);
        }
        let request = DescribeClusterRequest {
            endpoint_type: 1,
            include_cluster_authorized_operations: true,
            ..Default::default()
        };
        assert_eq!(rig.call(0, &request).await.cluster_authorized_operations, 8096, "Kafka's bits");
    });
}
