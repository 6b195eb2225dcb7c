//! What a simulation breaks on purpose, to show that it would notice. Nothing else sets any of it.

/// Promises that this broker does not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Broken {
    /// Records are committed once they are in the leader's log.
    pub commits_alone: bool,
    /// A follower goes on at its own end, whatever the leader's log says.
    pub never_truncates: bool,
    /// Leaders, followers and roles take what is of another leader epoch.
    pub ignores_epochs: bool,
    /// Readers are given what is not committed yet.
    pub reads_ahead: bool,
}
