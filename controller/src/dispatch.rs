//! The table of the controller listener: key, versions, handler. ApiVersions is derived from it.
//!
//! Every handler's answer is `Later`: the next request of the connection goes on while this one waits for the quorum, or
//! for new metadata. Answers leave in the order of the requests all the same.

use std::future::{Future, ready};
use std::sync::Arc;

use bytes::Bytes;
use protocol::header::{RequestHeader, encode_response_header};
use protocol::messages::{
    AddRaftVoterRequest, AllocateProducerIdsRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest,
    AlterPartitionRequest, ApiVersionsRequest, AssignReplicasToDirsRequest, BrokerHeartbeatRequest,
    BrokerRegistrationRequest, ControllerRegistrationRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteTopicsRequest, DescribeClusterRequest, DescribeQuorumRequest, ElectLeadersRequest, EnvelopeRequest,
    FetchRequest, FetchSnapshotRequest, IncrementalAlterConfigsRequest, ListPartitionReassignmentsRequest,
    RemoveRaftVoterRequest, UnregisterBrokerRequest, UpdateFeaturesRequest, UpdateRaftVoterRequest,
};
use protocol::{ApiKey, DecodeError, Decoder, Encoder, Message, Request};
use wire::{Api, Context, Reply, Table};

use crate::handlers::{
    add_raft_voter, allocate_producer_ids, alter_configs, alter_partition, alter_partition_reassignments,
    api_versions, assign_replicas_to_dirs, broker_heartbeat, broker_registration, controller_registration,
    create_partitions, create_topics, delete_topics, describe_cluster, describe_quorum, elect_leaders,
    envelope, fetch, fetch_snapshot, incremental_alter_configs, list_partition_reassignments,
    remove_raft_voter, unregister_broker, update_features, update_raft_voter,
};
use crate::node::Node;

/// All rows of the controller listener.
pub fn table() -> Table<Node> {
    Table::new([
        row::<FetchRequest, _, _>(fetch::handle),
        row::<ApiVersionsRequest, _, _>(api_versions::handle),
        row::<CreateTopicsRequest, _, _>(create_topics::handle),
        row::<DeleteTopicsRequest, _, _>(delete_topics::handle),
        row::<AlterConfigsRequest, _, _>(alter_configs::handle),
        row::<CreatePartitionsRequest, _, _>(create_partitions::handle),
        row::<ElectLeadersRequest, _, _>(elect_leaders::handle),
        row::<IncrementalAlterConfigsRequest, _, _>(incremental_alter_configs::handle),
        row::<AlterPartitionReassignmentsRequest, _, _>(alter_partition_reassignments::handle),
        row::<ListPartitionReassignmentsRequest, _, _>(list_partition_reassignments::handle),
        row::<DescribeQuorumRequest, _, _>(describe_quorum::handle),
        row::<AlterPartitionRequest, _, _>(alter_partition::handle),
        row::<UpdateFeaturesRequest, _, _>(update_features::handle),
        row::<EnvelopeRequest, _, _>(envelope::handle),
        row::<FetchSnapshotRequest, _, _>(fetch_snapshot::handle),
        row::<DescribeClusterRequest, _, _>(describe_cluster::handle),
        row::<BrokerRegistrationRequest, _, _>(broker_registration::handle),
        row::<BrokerHeartbeatRequest, _, _>(broker_heartbeat::handle),
        row::<UnregisterBrokerRequest, _, _>(unregister_broker::handle),
        row::<AllocateProducerIdsRequest, _, _>(allocate_producer_ids::handle),
        row::<ControllerRegistrationRequest, _, _>(controller_registration::handle),
        row::<AssignReplicasToDirsRequest, _, _>(assign_replicas_to_dirs::handle),
        row::<AddRaftVoterRequest, _, _>(add_raft_voter::handle),
        row::<RemoveRaftVoterRequest, _, _>(remove_raft_voter::handle),
        row::<UpdateRaftVoterRequest, _, _>(update_raft_voter::handle),
    ])
}

fn row<R, F, Fut>(handle: F) -> Api<Node>
where
    R: Request,
    F: Fn(Arc<Node>, Context, R) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = R::Response> + Send + 'static,
{
    Api::new(move |node, cx, request| ready(Reply::later(handle(node, cx, request))))
}

/// Handles a request that came in an envelope: body in, answer with its header out. None if it may not be forwarded.
pub async fn forwarded(
    node: Arc<Node>,
    cx: Context,
    header: &RequestHeader,
    body: Bytes,
) -> Option<Result<Bytes, DecodeError>> {
    let correlation_id = header.correlation_id;
    Some(match header.key {
        ApiKey::CreateTopics => run(create_topics::handle, node, cx, correlation_id, body).await,
        ApiKey::DeleteTopics => run(delete_topics::handle, node, cx, correlation_id, body).await,
        ApiKey::AlterConfigs => run(alter_configs::handle, node, cx, correlation_id, body).await,
        ApiKey::CreatePartitions => run(create_partitions::handle, node, cx, correlation_id, body).await,
        ApiKey::ElectLeaders => run(elect_leaders::handle, node, cx, correlation_id, body).await,
        ApiKey::IncrementalAlterConfigs => {
            run(incremental_alter_configs::handle, node, cx, correlation_id, body).await
        }
        ApiKey::AlterPartitionReassignments => {
            run(alter_partition_reassignments::handle, node, cx, correlation_id, body).await
        }
        ApiKey::ListPartitionReassignments => {
            run(list_partition_reassignments::handle, node, cx, correlation_id, body).await
        }
        ApiKey::DescribeQuorum => run(describe_quorum::handle, node, cx, correlation_id, body).await,
        ApiKey::UpdateFeatures => run(update_features::handle, node, cx, correlation_id, body).await,
        ApiKey::AddRaftVoter => run(add_raft_voter::handle, node, cx, correlation_id, body).await,
        ApiKey::RemoveRaftVoter => run(remove_raft_voter::handle, node, cx, correlation_id, body).await,
        ApiKey::UnregisterBroker => run(unregister_broker::handle, node, cx, correlation_id, body).await,
        _ => return None,
    })
}

async fn run<R, F, Fut>(
    handle: F,
    node: Arc<Node>,
    cx: Context,
    correlation_id: i32,
    body: Bytes,
) -> Result<Bytes, DecodeError>
where
    R: Request,
    F: FnOnce(Arc<Node>, Context, R) -> Fut,
    Fut: Future<Output = R::Response>,
{
    let version = cx.version;
    let mut input = Decoder::new(body);
    let request = R::decode(&mut input, version)?;
    input.finish()?;
    let response = handle(node, cx, request).await;
    let mut out = Encoder::new();
    encode_response_header(&mut out, R::KEY, version, correlation_id);
    response.encode(&mut out, version).expect("a handler fills in what the version of the request can carry");
    Ok(out.into_bytes().expect("a forwarded request has no file regions in its answer"))
}
