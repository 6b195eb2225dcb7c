//! Producers and transactions of a log: taking batches in, and telling what was aborted.

use std::io;

use host::Fs;
use protocol::batch::BatchHeader;
use protocol::ids::Offset;

use super::Log;
use crate::producer_state::Marker;
use crate::txn_index::AbortedTransaction;

impl Log {
    /// Takes a batch that is in the log into the state of its producer, and an aborted transaction into the index.
    pub(super) fn apply_to_producers(
        &mut self,
        fs: &Fs,
        header: &BatchHeader,
        marker: Option<Marker>,
    ) -> io::Result<()> {
        match marker {
            None => self.producers.apply(header),
            Some(marker) => {
                if let Some(aborted) = self.producers.apply_marker(header, marker) {
                    let is_new = self.active().txn_index.append(fs, aborted)?;
                    self.names_changed += u64::from(is_new);
                }
            }
        }
        Ok(())
    }

    /// The aborted transactions that overlap `from..to`, for a fetch at read_committed.
    ///
    /// # Errors
    /// When an index cannot be read.
    pub fn aborted_transactions(
        &self,
        fs: &Fs,
        from: Offset,
        to: Offset,
    ) -> io::Result<Vec<AbortedTransaction>> {
        let mut found = Vec::new();
        for segment in &self.segments[self.segment_of(from.0)..] {
            for aborted in segment.txn_index.entries(fs)? {
                if aborted.last_offset >= from.0 && aborted.first_offset < to.0 {
                    found.push(aborted);
                }
                // Everything that ends later than this begins beyond it.
                if aborted.last_stable_offset >= to.0 {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }
}
