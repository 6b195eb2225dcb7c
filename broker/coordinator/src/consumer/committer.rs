//! Who may commit offsets, and ask for them, in the name of a member.

use std::cmp::Ordering;

use protocol::{ErrorCode, Str};

use super::{ConsumerGroup, Member};
use crate::operation::Commit;

/// The first version of OffsetCommit that knows epochs of members.
const EPOCH_VERSION: i16 = 9;

impl ConsumerGroup {
    /// A member commits in its epoch, or in an older one what it has held since then (KIP-1251): an answer that is on its
    /// way must not cost it what it has read. Who is no member may commit while there are none.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `UNSUPPORTED_VERSION`, and for another epoch `STALE_MEMBER_EPOCH`, or `ILLEGAL_GENERATION` to
    /// who speaks the classic protocol.
    pub(crate) fn check_commit(&self, commit: &Commit) -> Result<(), ErrorCode> {
        if commit.generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        let member = self.members.get(&commit.member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if member.classic.is_none() && commit.version < EPOCH_VERSION {
            return Err(ErrorCode::UnsupportedVersion);
        }
        let is_covered = match commit.generation.cmp(&member.epoch) {
            Ordering::Equal => true,
            Ordering::Greater => false,
            Ordering::Less => commit.offsets.iter().all(|((_, partition), value)| {
                held_since(member, value.topic_id, *partition).is_some_and(|epoch| epoch <= commit.generation)
            }),
        };
        if is_covered { Ok(()) } else { Err(member.stale()) }
    }

    /// # Errors
    /// `UNKNOWN_MEMBER_ID`, `STALE_MEMBER_EPOCH`, `ILLEGAL_GENERATION`
    pub(crate) fn check_fetch(&self, member_id: &Str, epoch: i32) -> Result<(), ErrorCode> {
        let member = self.members.get(member_id).ok_or(ErrorCode::UnknownMemberId)?;
        if member.epoch == epoch { Ok(()) } else { Err(member.stale()) }
    }
}

/// The epoch at which a member was given a partition that it holds, or is to give back.
fn held_since(member: &Member, topic: protocol::Uuid, partition: i32) -> Option<i32> {
    let of = |held: &super::member::Held| held.get(&topic).and_then(|topic| topic.get(&partition)).copied();
    of(&member.assigned).or_else(|| of(&member.pending_revocation))
}
