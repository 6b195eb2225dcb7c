//! Blocks of producer ids: each broker hands out its own without asking again.

use metadata::Record;
use protocol::messages::{AllocateProducerIdsRequest, AllocateProducerIdsResponse, ProducerIdsRecord};
use protocol::{ErrorCode, bounds};

use super::{Context, Decision, Refusal};

/// AllocateProducerIds: the next block. A block that is given to a broker which dies is lost; ids are never given twice.
pub fn allocate_producer_ids(
    context: &Context<'_>,
    request: &AllocateProducerIdsRequest,
) -> Result<Decision<AllocateProducerIdsResponse>, Refusal> {
    context.check_broker_epoch(request.broker_id, request.broker_epoch)?;
    let first = context.image.next_producer_id;
    let next = first.checked_add(i64::from(bounds::PRODUCER_IDS_PER_BLOCK)).ok_or_else(|| {
        let message =
            "Exhausted all producerIds as the next block's end producerId has exceeded the int64 type limit";
        Refusal::new(ErrorCode::UnknownServerError, message)
    })?;
    let record = ProducerIdsRecord {
        broker_id: request.broker_id,
        broker_epoch: request.broker_epoch,
        next_producer_id: next,
        ..Default::default()
    };
    let answer = AllocateProducerIdsResponse {
        producer_id_start: first,
        producer_id_len: bounds::PRODUCER_IDS_PER_BLOCK,
        ..Default::default()
    };
    Ok(Decision { records: vec![Record::from(record)], answer })
}
