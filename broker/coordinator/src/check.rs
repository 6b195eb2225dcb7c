//! What is wrong with a request itself, whatever the group is and wherever it lives.
//!
//! Kafka looks at this first: a request that cannot be right anywhere is not sent on to another coordinator.

use protocol::ErrorCode;

use crate::config::GroupConfig;
use crate::consumer::{Refusal, check_heartbeat};
use crate::operation::Operation;

/// See the module.
///
/// # Errors
/// `INVALID_GROUP_ID` of an empty name, `INVALID_SESSION_TIMEOUT`, and what a heartbeat of a consumer group lacks.
pub fn check(operation: &Operation, config: &GroupConfig) -> Result<(), Refusal> {
    let group = match operation {
        Operation::Join(join) => {
            let timeout = join.request.session_timeout_ms;
            let is_valid = (config.session_timeout_ms_min..=config.session_timeout_ms_max).contains(&timeout);
            if !is_valid && !join.request.group_id.is_empty() {
                return Err(Refusal::new(ErrorCode::InvalidSessionTimeout, ""));
            }
            &join.request.group_id
        }
        Operation::Sync(request) => &request.group_id,
        Operation::Heartbeat(request) => &request.group_id,
        Operation::Leave(request) => &request.group_id,
        Operation::ConsumerDescribe(group) | Operation::DeleteOffsets { group, .. } => group,
        Operation::ConsumerHeartbeat(beat) => {
            return check_heartbeat(&beat.request, beat.version, &config.consumer_assignors);
        }
        // A group without a name commits, and is described and deleted, like any other.
        Operation::Commit(_)
        | Operation::Fetch(_)
        | Operation::Describe(_)
        | Operation::List { .. }
        | Operation::DeleteGroup(_)
        | Operation::Measure { .. }
        | Operation::TopicsDeleted(_) => return Ok(()),
    };
    if group.is_empty() { Err(Refusal::new(ErrorCode::InvalidGroupId, "")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use protocol::config::Configs;
    use protocol::messages::{HeartbeatRequest, JoinGroupRequest};
    use protocol::{Str, Uuid};

    use super::*;
    use crate::operation::Join;

    fn code(operation: &Operation) -> Result<(), ErrorCode> {
        let server = Configs::parse(protocol::config::server(), [("node.id", "1")]).expect("valid");
        let config = GroupConfig::new(&server, 0);
        check(operation, &config).map_err(|refusal| refusal.code)
    }

    fn join(group: &str, session_timeout_ms: i32) -> Operation {
        let request = JoinGroupRequest { group_id: group.into(), session_timeout_ms, ..Default::default() };
        let (client_id, client_host) = (Str::default(), Str::default());
        Operation::Join(Join { request, version: 9, client_id, client_host, unique: Uuid::ZERO })
    }

    #[test]
    fn session_time_outs_out_of_bounds_are_refused_and_names_before_them() {
        for timeout in [0, 5_999, 1_800_001, -1] {
            assert_eq!(code(&join("g", timeout)), Err(ErrorCode::InvalidSessionTimeout));
            assert_eq!(code(&join("", timeout)), Err(ErrorCode::InvalidGroupId));
        }
        assert_eq!(code(&join("g", 6_000)), Ok(()));
    }

    #[test]
    fn empty_names_are_refused_to_members_and_not_to_administrators() {
        let invalid = Err(ErrorCode::InvalidGroupId);
        assert_eq!(code(&Operation::Heartbeat(HeartbeatRequest::default())), invalid);
        assert_eq!(code(&Operation::ConsumerDescribe("".into())), invalid);
        assert_eq!(code(&Operation::DeleteGroup("".into())), Ok(()));
        assert_eq!(code(&Operation::Describe("".into())), Ok(()));
    }
}
