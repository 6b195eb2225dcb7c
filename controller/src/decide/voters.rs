//! Who votes in the quorum (KIP-853): one voter more, one less, or one that moves.
//!
//! Decided against the voters that are committed, and the level of the quorum's protocol; Kafka's codes, in Kafka's order.

use std::collections::BTreeSet;
use std::fmt;

use metadata::Image;
use metadata::features::KRAFT_VERSION;
use protocol::{ErrorCode, Uuid};

use super::Refusal;
use crate::raft::batches::DYNAMIC_VOTERS;
use crate::raft::types::RaftId;

/// A voter as requests name it: Kafka's replica key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seat {
    pub node: i32,
    pub directory: Uuid,
}

impl Seat {
    /// Its id, if it is one: without a directory id nobody can be told from who had the node id before.
    pub fn id(self) -> Option<RaftId> {
        let (node, directory) = (self.node, self.directory);
        (node >= 0 && directory != Uuid::ZERO).then_some(RaftId { node, directory })
    }
}

/// As Kafka's messages name a voter.
struct Key(RaftId);

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicaKey(id={}, directoryId={})", self.0.node, self.0.directory)
    }
}

fn keys(voters: &BTreeSet<RaftId>) -> String {
    let keys: Vec<String> = voters.iter().map(|id| Key(*id).to_string()).collect();
    format!("[{}]", keys.join(", "))
}

fn check_level(image: &Image, doing: &str) -> Result<(), Refusal> {
    let level = image.features.level(KRAFT_VERSION);
    if level >= DYNAMIC_VOTERS {
        return Ok(());
    }
    let message =
        format!("Cluster doesn't support {doing} voter because the {KRAFT_VERSION} feature is {level}");
    Err(Refusal::new(ErrorCode::UnsupportedVersion, message))
}

/// The voters with one more.
pub fn add_voter(image: &Image, voters: &BTreeSet<RaftId>, new: RaftId) -> Result<BTreeSet<RaftId>, Refusal> {
    check_level(image, "adding")?;
    // Also under another directory id: who lost its disk is removed first.
    if voters.iter().any(|voter| voter.node == new.node) {
        let message =
            format!("The voter id for {} is already part of the set of voters {}.", Key(new), keys(voters));
        return Err(Refusal::new(ErrorCode::DuplicateVoter, message));
    }
    Ok(voters.iter().copied().chain([new]).collect())
}

/// The voters without one of them. The last one stays: nobody could add another.
pub fn remove_voter(
    image: &Image,
    voters: &BTreeSet<RaftId>,
    old: RaftId,
) -> Result<BTreeSet<RaftId>, Refusal> {
    check_level(image, "removing")?;
    if !voters.contains(&old) || voters.len() == 1 {
        let message = format!("Cannot remove voter {} from the set of voters {}", Key(old), keys(voters));
        return Err(Refusal::new(ErrorCode::VoterNotFound, message));
    }
    Ok(voters.iter().copied().filter(|voter| *voter != old).collect())
}

/// Whether a voter may tell that it listens elsewhere, and which levels it supports.
pub fn update_voter(
    image: &Image,
    voters: &BTreeSet<RaftId>,
    voter: RaftId,
    supported: std::ops::RangeInclusive<i16>,
) -> Result<(), Refusal> {
    check_level(image, "updating")?;
    if !supported.contains(&image.features.level(KRAFT_VERSION)) {
        return Err(Refusal::new(ErrorCode::InvalidRequest, ""));
    }
    if !voters.contains(&voter) {
        return Err(Refusal::new(ErrorCode::VoterNotFound, ""));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn id(node: i32, directory: u128) -> RaftId {
        RaftId { node, directory: Uuid(directory) }
    }

    fn three() -> BTreeSet<RaftId> {
        (1..=3).map(|n| id(n, 10 + n as u128)).collect()
    }

    fn dynamic() -> Image {
        Image::default().with_kraft_version(DYNAMIC_VOTERS)
    }

    fn code<T: std::fmt::Debug>(result: Result<T, Refusal>) -> ErrorCode {
        result.unwrap_err().code
    }

    #[test]
    fn a_node_votes_once_whatever_its_directory() {
        let with_four = add_voter(&dynamic(), &three(), id(4, 14)).unwrap();
        assert_eq!(with_four.len(), 4);
        assert!(with_four.contains(&id(4, 14)));
        assert_eq!(code(add_voter(&dynamic(), &three(), id(3, 13))), ErrorCode::DuplicateVoter);
        assert_eq!(code(add_voter(&dynamic(), &three(), id(3, 99))), ErrorCode::DuplicateVoter);
    }

    #[test]
    fn who_is_removed_is_named_by_its_directory_and_the_last_one_stays() {
        let two = remove_voter(&dynamic(), &three(), id(3, 13)).unwrap();
        assert_eq!(two, BTreeSet::from([id(1, 11), id(2, 12)]));
        assert_eq!(code(remove_voter(&dynamic(), &three(), id(3, 99))), ErrorCode::VoterNotFound);
        assert_eq!(code(remove_voter(&dynamic(), &three(), id(4, 14))), ErrorCode::VoterNotFound);
        let one = BTreeSet::from([id(1, 11)]);
        assert_eq!(code(remove_voter(&dynamic(), &one, id(1, 11))), ErrorCode::VoterNotFound);
    }

    #[test]
    fn a_static_quorum_is_not_changed() {
        let image = Image::default();
        assert_eq!(code(add_voter(&image, &three(), id(4, 14))), ErrorCode::UnsupportedVersion);
        assert_eq!(code(remove_voter(&image, &three(), id(3, 13))), ErrorCode::UnsupportedVersion);
        assert_eq!(code(update_voter(&image, &three(), id(3, 13), 0..=1)), ErrorCode::UnsupportedVersion);
        let refused = add_voter(&image, &three(), id(4, 14)).unwrap_err();
        assert_eq!(
            refused.message,
            "Cluster doesn't support adding voter because the kraft.version feature is 0"
        );
    }

    #[test]
    fn a_voter_that_moves_must_be_one_and_support_the_level() {
        assert_eq!(update_voter(&dynamic(), &three(), id(3, 13), 0..=1), Ok(()));
        assert_eq!(code(update_voter(&dynamic(), &three(), id(3, 99), 0..=1)), ErrorCode::VoterNotFound);
        assert_eq!(code(update_voter(&dynamic(), &three(), id(3, 13), 0..=0)), ErrorCode::InvalidRequest);
    }

    #[test]
    fn a_seat_needs_a_directory() {
        assert_eq!(Seat { node: 3, directory: Uuid(13) }.id(), Some(id(3, 13)));
        assert_eq!(Seat { node: 3, directory: Uuid::ZERO }.id(), None);
        assert_eq!(Seat { node: -1, directory: Uuid(13) }.id(), None);
    }
}
