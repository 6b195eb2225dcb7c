//! The coordinator of a group: found, asked, and found again when the group has moved.

use protocol::messages::FindCoordinatorRequest;
use protocol::{ErrorCode, Request, Str};

use super::cluster::{Cluster, ClusterError};
use super::node::Node;

/// `CoordinatorType.GROUP`
const KEY_TYPE_GROUP: i8 = 0;

impl Cluster {
    /// The broker that coordinates a group, and its id. Waits while there is none yet.
    pub async fn coordinator(&self, group: &Str) -> Result<(i32, Node), ClusterError> {
        let mut retry = self.retry();
        loop {
            match self.coordinator_once(group).await {
                Err(error) if retry.wait(&error).await => {}
                result => return result,
            }
        }
    }

    async fn coordinator_once(&self, group: &Str) -> Result<(i32, Node), ClusterError> {
        let request = FindCoordinatorRequest {
            key_type: KEY_TYPE_GROUP,
            coordinator_keys: vec![group.clone()],
            ..FindCoordinatorRequest::default()
        };
        let answer = self.call_any(&request, true).await?;
        let found = answer.coordinators.into_iter().find(|c| c.key == *group);
        let found = found.ok_or_else(|| ClusterError::Incomplete("a broker".to_owned()))?;
        let what = || format!("the coordinator of group {group}");
        ClusterError::check(what, found.error_code, found.error_message.as_ref())?;
        Ok((found.node_id, self.node_at(&format!("{}:{}", found.host, found.port))))
    }

    /// Asks the coordinator of a group, again where the code that `code_of` finds in the answer says that it moved or is
    /// not ready. Other codes are the caller's. The request may be handled twice.
    pub async fn call_coordinator<R: Request>(
        &self,
        group: &Str,
        request: &R,
        code_of: impl Fn(&R::Response) -> i16,
    ) -> Result<R::Response, ClusterError> {
        let mut retry = self.retry();
        loop {
            let (_, node) = self.coordinator(group).await?;
            let error = match node.call(request).await {
                Ok(answer) => {
                    let code = ErrorCode::from_code(code_of(&answer));
                    if !is_of_coordinator(code) {
                        return Ok(answer);
                    }
                    ClusterError::Refused { what: format!("group {group}"), code, message: String::new() }
                }
                Err(error) => ClusterError::from(error),
            };
            if !retry.wait(&error).await {
                return Err(error);
            }
        }
    }
}

/// It moved, or has not read its log yet.
fn is_of_coordinator(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotCoordinator | ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable
    )
}
