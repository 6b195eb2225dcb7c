//! What to do next about an error, where that can be said without knowing more.

use protocol::ErrorCode;

/// Half a sentence, to stand behind the error.
pub fn next_step(code: ErrorCode) -> Option<&'static str> {
    Some(match code {
        ErrorCode::UnknownTopicOrPartition => "`weir topic list` shows the topics that exist",
        ErrorCode::TopicAlreadyExists => "`weir topic describe` shows it",
        ErrorCode::InvalidConfig => "`weir config describe --all` shows names and values as they are",
        ErrorCode::GroupIdNotFound => "`weir group list` shows the groups that exist",
        ErrorCode::NonEmptyGroup | ErrorCode::UnknownMemberId | ErrorCode::GroupSubscribedToTopic => {
            "stop the group's members first; `weir group describe --members` shows them"
        }
        ErrorCode::InvalidReplicationFactor => "`weir cluster describe` shows how many brokers there are",
        ErrorCode::InvalidPartitions => {
            "`weir topic describe` shows how many there are; they only become more"
        }
        ErrorCode::OffsetOutOfRange => "`weir topic offsets` shows where the partitions begin and end",
        ErrorCode::RequestTimedOut => "it may still happen; look, or give it longer with --timeout",
        ErrorCode::CoordinatorNotAvailable
        | ErrorCode::CoordinatorLoadInProgress
        | ErrorCode::NotController
        | ErrorCode::BrokerNotAvailable => "try again in a moment; `weir cluster quorum` shows who decides",
        ErrorCode::LeaderNotAvailable | ErrorCode::NotLeaderOrFollower => {
            "`weir topic describe --unavailable` shows the partitions without a leader"
        }
        ErrorCode::NotEnoughReplicas | ErrorCode::NotEnoughReplicasAfterAppend => {
            "`weir topic describe --under-replicated` shows what is missing"
        }
        ErrorCode::PreferredLeaderNotAvailable => {
            "its first replica is not in sync; `weir partition list --under-replicated` shows which are not"
        }
        ErrorCode::EligibleLeadersNotAvailable => {
            "start a broker that has a replica of it; `weir partition elect unclean` may lose records"
        }
        ErrorCode::InvalidReplicaAssignment | ErrorCode::BrokerIdNotRegistered => {
            "`weir broker list` shows the brokers that there are"
        }
        ErrorCode::MessageTooLarge => "`weir config set topic NAME max.message.bytes=N` raises the limit",
        ErrorCode::KafkaStorageError => "`weir cluster log-dirs` shows the directories that failed",
        _ => return None,
    })
}

/// `what`, the code, what the broker said, and what to do next.
pub fn sentence(what: &str, code: ErrorCode, message: Option<&str>) -> String {
    let mut text = format!("{what}: {code}");
    for part in [message.filter(|m| !m.is_empty()), next_step(code)].into_iter().flatten() {
        text.push_str(if text.ends_with(['.', ':']) { " " } else { ": " });
        text.push_str(part.trim_end_matches('.'));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_says_what_why_and_what_next() {
        let said = sentence("group g", ErrorCode::NonEmptyGroup, Some("The group is not empty."));
        let expected = "group g: NON_EMPTY_GROUP: The group is not empty: stop the group's members first; \
                        `weir group describe --members` shows them";
        assert_eq!(said, expected);
        assert_eq!(sentence("t", ErrorCode::CorruptMessage, None), "t: CORRUPT_MESSAGE");
    }
}
