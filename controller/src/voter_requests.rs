//! What requests about voters have in common.

use protocol::{ErrorCode, Str, Uuid};

use crate::decide::{Refusal, Seat};
use crate::node::Node;
use crate::raft::batches;
use crate::raft::types::RaftId;
use crate::writer::Error;

fn refused(code: ErrorCode, message: impl Into<String>) -> Error {
    Refusal::new(code, message).into()
}

/// Who names a cluster must mean this one.
pub(crate) fn check_cluster(node: &Node, cluster_id: Option<&Str>) -> Result<(), Error> {
    let own = node.cluster_id.to_string();
    match cluster_id {
        Some(given) if **given != *own => {
            let message = format!("The given id \"{given}\" doesn't match the cluster id \"{own}\"");
            Err(refused(ErrorCode::InconsistentClusterId, message))
        }
        _ => Ok(()),
    }
}

pub(crate) fn seat(node: i32, directory: Uuid, invalid: &str) -> Result<RaftId, Error> {
    Seat { node, directory }.id().ok_or_else(|| refused(ErrorCode::InvalidRequest, invalid))
}

/// Where a voter listens for other controllers: of its listeners (name, host, port) the one named as ours.
pub(crate) fn address_of(
    node: &Node,
    listeners: &[(&Str, &Str, u16)],
    missing: &str,
) -> Result<String, Error> {
    let own = &node.listener_name;
    let found = listeners.iter().find(|(name, _, _)| name.eq_ignore_ascii_case(own));
    let (_, host, port) = found.ok_or_else(|| {
        let words = match missing {
            "" => String::new(),
            missing => format!("{missing} for the default listener {own}"),
        };
        refused(ErrorCode::InvalidRequest, words)
    })?;
    Ok(batches::address_of(host, *port))
}

/// Code and message of a failed change. Who does not lead the quorum says it in the quorum's words.
pub(crate) fn told(error: &Error) -> (i16, Option<Str>) {
    match error {
        Error::NotController => (ErrorCode::NotLeaderOrFollower.code(), None),
        other => crate::node::told(other),
    }
}
