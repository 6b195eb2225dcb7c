//! InitProducerId (key 22): an id for a producer that wants its records written once.

use std::sync::Arc;

use protocol::ErrorCode;
use protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};
use wire::{Context, Operation, Reply, Resource};

use crate::broker::Broker;
use crate::errors::Coded;

pub async fn handle(
    broker: Arc<Broker>,
    cx: Context,
    request: InitProducerIdRequest,
) -> Reply<InitProducerIdResponse> {
    let refused = |error: ErrorCode| InitProducerIdResponse {
        error_code: error.code(),
        producer_id: -1,
        producer_epoch: -1,
        ..Default::default()
    };
    if let Some(id) = &request.transactional_id
        && !cx.allowed(Operation::Write, Resource::transactional_id(id))
    {
        return Reply::Now(refused(ErrorCode::TransactionalIdAuthorizationFailed));
    }
    if request.transactional_id.is_none() && !cx.allowed(Operation::IdempotentWrite, Resource::CLUSTER) {
        return Reply::Now(refused(ErrorCode::ClusterAuthorizationFailed));
    }
    // Id and epoch are told together or not at all.
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Reply::Now(refused(ErrorCode::InvalidRequest));
    }
    let timeout_ms_max = broker.config.server.int("transaction.max.timeout.ms");
    match request.transactional_id.as_deref() {
        Some("") => return Reply::Now(refused(ErrorCode::InvalidRequest)),
        Some(_) if request.enable2_pc => {
            return Reply::Now(refused(ErrorCode::TransactionalIdAuthorizationFailed));
        }
        Some(_) if request.keep_prepared_txn => return Reply::Now(refused(ErrorCode::UnsupportedVersion)),
        Some(_) if !(1..=timeout_ms_max).contains(&request.transaction_timeout_ms) => {
            return Reply::Now(refused(ErrorCode::InvalidTransactionTimeout));
        }
        // No broker coordinates transactions yet, and this is what Kafka's answer from one that does not is.
        Some(_) => return Reply::Now(refused(ErrorCode::NotCoordinator)),
        None => {}
    }
    Reply::later(async move {
        match broker.producer_ids.next().await {
            Ok(id) => InitProducerIdResponse { producer_id: id.0, producer_epoch: 0, ..Default::default() },
            Err(error) => InitProducerIdResponse {
                error_code: error.code().code(),
                producer_id: -1,
                producer_epoch: -1,
                ..Default::default()
            },
        }
    })
}
