//! What must hold of groups, whatever happens to their coordinator. An invariant is a file: what members call as things happen, and
//! what is looked at in the end.

pub mod every_group_settles;
pub mod offsets_never_regress;
pub mod one_owner;
