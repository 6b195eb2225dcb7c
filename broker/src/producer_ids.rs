//! Producer ids: handed out one by one from blocks that the controller gives.
//!
//! **Invariant:** an id is handed out once in the life of the cluster. What is left of a block when this broker stops is
//! lost; there are 2^63.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use protocol::ErrorCode;
use protocol::ids::ProducerId;
use protocol::messages::AllocateProducerIdsRequest;

use crate::controller_link::ControllerLink;

/// There is no id to give at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProducerId {
    #[error("no block of producer ids could be had from the controller yet")]
    NotYet,
}

/// See the module.
#[derive(Debug)]
pub struct ProducerIds {
    link: Arc<ControllerLink>,
    block: Mutex<Range<i64>>,
    /// Held while a block is asked for, so that one is asked for at a time.
    asking: tokio::sync::Mutex<()>,
}

impl ProducerIds {
    pub fn new(link: Arc<ControllerLink>) -> ProducerIds {
        ProducerIds { link, block: Mutex::new(0..0), asking: tokio::sync::Mutex::default() }
    }

    fn take(&self) -> Option<ProducerId> {
        self.block.lock().expect("no code that holds this lock panics").next().map(ProducerId)
    }

    /// The next id; asks the controller for a block if there is none left.
    ///
    /// Cancellation is safe: a block that is asked for and not waited for is lost, nothing else.
    pub async fn next(&self) -> Result<ProducerId, NoProducerId> {
        if let Some(id) = self.take() {
            return Ok(id);
        }
        let _asking = self.asking.lock().await;
        if let Some(id) = self.take() {
            return Ok(id);
        }
        let (broker_id, broker_epoch) = self.link.registration();
        let request = AllocateProducerIdsRequest { broker_id, broker_epoch, ..Default::default() };
        let block = match self.link.call(&request).await {
            Ok(answer) if answer.error_code == ErrorCode::None.code() => {
                answer.producer_id_start..answer.producer_id_start + i64::from(answer.producer_id_len)
            }
            Ok(answer) => {
                let error = ErrorCode::from_code(answer.error_code);
                tracing::warn!(%error, "the controller gives no producer ids");
                return Err(NoProducerId::NotYet);
            }
            Err(error) => {
                tracing::warn!(%error, "no producer ids from the controller");
                return Err(NoProducerId::NotYet);
            }
        };
        *self.block.lock().expect("no code that holds this lock panics") = block;
        self.take().ok_or(NoProducerId::NotYet)
    }
}
