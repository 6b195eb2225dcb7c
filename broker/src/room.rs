//! How much room is left in a log dir, and whether it is so little that producers must wait (`weir.log.dir.reserve.bytes`).
//!
//! ```text
//!   |------------- used -------------|------ free ------|--- reserve ---|
//!                                                       '- below: short, until a quarter more than the reserve is free
//! ```
//! While room is short, producers get a retriable error; reads, deletions, offsets of groups and administration go on, and
//! have the reserve for it. What retention deletes, or an administrator, ends it. It is asked the more often the less there
//! is: nobody writes through the reserve between two looks.
//!
//! **Invariant:** a disk that is short is never written by producers; one that is full all the same goes offline, as any
//! disk that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use protocol::bounds;
use tokio::sync::Notify;

use crate::broker::Broker;
use crate::config_layers::ConfigLayers;
use crate::log_dirs::Dir;

/// See the module.
#[derive(Debug, Default)]
pub struct Room {
    is_short: AtomicBool,
    free_bytes: AtomicU64,
    became_short: Notify,
}

impl Room {
    pub fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Acquire)
    }

    /// As it was at the last look.
    pub fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// Waits until room becomes short.
    pub async fn until_short(&self) {
        self.became_short.notified().await;
    }

    /// Takes over what a look has found; tells how much may be written before room is short.
    fn see(&self, (size_bytes, free_bytes): (u64, u64), reserve_bytes: u64) -> u64 {
        // On a small disk the reserve must not be all there is.
        let reserve = reserve_bytes.min(size_bytes / bounds::LOG_DIR_RESERVE_SHARE);
        let was_short = self.is_short();
        let is_short = free_bytes < if was_short { reserve.saturating_add(reserve / 4) } else { reserve };
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        self.is_short.store(is_short, Ordering::Release);
        if is_short && !was_short {
            self.became_short.notify_waiters();
        }
        free_bytes.saturating_sub(reserve)
    }
}

/// Looks at all log dirs, as long as the broker runs. Who becomes short has old segments deleted at once.
pub(crate) async fn watch(broker: Arc<Broker>) {
    loop {
        let mut wait = bounds::LOG_DIR_LOOK_WAIT_MAX;
        for dir in broker.log_dirs.all().filter(|dir| !dir.is_offline()) {
            let was_short = dir.room.is_short();
            let Some(margin) = look(&broker, dir).await else { continue };
            let path = dir.files.path().display();
            match (was_short, dir.room.is_short()) {
                (false, true) => {
                    tracing::error!(dir = %path, free_bytes = dir.room.free_bytes(), "room is short: producers wait");
                    broker.log_dirs.became_short.notify_one();
                }
                (true, false) => tracing::info!(dir = %path, "there is room again"),
                _ => {}
            }
            let millis = margin / bounds::LOG_DIR_BYTES_PER_MS_MAX;
            wait = wait.min(Duration::from_millis(millis));
        }
        broker.host.clock().sleep(wait.max(bounds::LOG_DIR_LOOK_WAIT_MIN)).await;
    }
}

async fn look(broker: &Broker, dir: &Arc<Dir>) -> Option<u64> {
    let image = broker.metadata.current();
    let configs = ConfigLayers::new(&image, &broker.config.server, broker.config.node_id);
    let reserve_bytes = match configs.value("weir.log.dir.reserve.bytes") {
        protocol::config::Value::Long(bytes) => u64::try_from(bytes).unwrap_or(0),
        _ => 0,
    };
    let path = dir.files.path().to_owned();
    // A file system that does not tell is taken for one with room.
    let found = dir.disk.read(move |fs| fs.room_bytes(&path)).await.ok()?.ok()?;
    Some(dir.room.see(found, reserve_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_short_below_the_reserve_and_until_there_is_a_quarter_more() {
        let room = Room::default();
        let see = |free| (room.see((1 << 40, free), 1000), room.is_short());
        assert_eq!(see(5000), (4000, false));
        assert_eq!(see(1000), (0, false));
        assert_eq!(see(999), (0, true));
        assert_eq!(see(1249), (249, true), "it does not flap");
        assert_eq!(see(1250), (250, false));
        assert_eq!((room.see((100, 10), 1000), room.is_short()), (5, false), "a small disk");
        assert_eq!((room.see((100, 4), 1000), room.is_short()), (0, true));
        assert_eq!((room.see((100, 4), 0), room.is_short()), (4, false), "no reserve is wanted");
    }
}
