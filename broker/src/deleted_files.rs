//! Deleted segments and logs, which lie on the disk under another name for `file.delete.delay.ms` until they are removed.
//!
//! **Invariant:** what waits here is out of the logs already. What a stop leaves is removed by the next start.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use host::Host;

use crate::log_dirs::{Dir, LogDirs};
use crate::partition::Partition;

/// Removes the deleted segments of a partition after a while.
pub(crate) fn remove_later(host: &Host, log_dirs: &LogDirs, partition: &Partition, delay: Duration) {
    let files = partition.take_deleted();
    let Some(dir) = log_dirs.dir(&partition.log_dir).filter(|_| !files.is_empty()) else { return };
    // The dir must be free for the next start as soon as this life ends.
    host.spawn("remove segments", remove(host.clone(), Arc::downgrade(dir), files, delay));
}

/// Removes the directory of a deleted log after a while.
pub(crate) fn remove_log_later(host: &Host, dir: &Arc<Dir>, log: PathBuf, delay: Duration) {
    host.spawn("remove log", remove(host.clone(), Arc::downgrade(dir), vec![log], delay));
}

/// A dir that is nearly full waits for nothing.
async fn remove(host: Host, dir: Weak<Dir>, paths: Vec<PathBuf>, delay: Duration) {
    let Some(room) = dir.upgrade().map(|dir| Arc::clone(&dir.room)) else { return };
    if !room.is_short() {
        // Cancellation is safe: it is only waited for.
        let _ = host.clock().timeout(delay, room.until_short()).await;
    }
    let Some(disk) = dir.upgrade().map(|dir| dir.disk.clone()) else { return };
    let removed = disk.run_slow(move |fs| {
        // A segment's log may have been deleted as a whole meanwhile.
        paths
            .iter()
            .filter(|path| fs.exists(path))
            .try_for_each(|path| if fs.is_dir(path) { fs.remove_dir_all(path) } else { fs.remove_file(path) })
    });
    if let Ok(Err(error)) = removed.await {
        tracing::warn!(%error, "deleted files are still on the disk");
    }
}
