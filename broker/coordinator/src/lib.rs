//! Replicated state machines on internal topics: classic, consumer, share and streams groups, offsets, transactions.
//!
//! Nothing of it exists yet; the README says what comes, and where its seams are.
//!
//! **Invariant:** knows no sockets and no clocks: time comes in as an argument, records go out to whoever appends them.
