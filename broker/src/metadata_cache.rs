//! The metadata that this broker knows: the current Image behind one swap.
//!
//! ```text
//!   follower --> published image --> replicas take it over --> applied image --> answers that waited for it
//! ```
//! **Invariant:** images only get newer. A request reads one image from start to end.

use std::sync::Arc;

use host::{Clock, Instant};
use metadata::Image;
use protocol::bounds;
use tokio::sync::watch;

/// See the module.
#[derive(Debug)]
pub struct MetadataCache {
    published: watch::Sender<Arc<Image>>,
    /// The newest image that the replicas have taken over.
    applied: watch::Sender<Arc<Image>>,
}

impl Default for MetadataCache {
    fn default() -> MetadataCache {
        let nothing = Arc::new(Image::default());
        MetadataCache {
            published: watch::Sender::new(Arc::clone(&nothing)),
            applied: watch::Sender::new(nothing),
        }
    }
}

impl MetadataCache {
    pub fn current(&self) -> Arc<Image> {
        Arc::clone(&self.published.borrow())
    }

    /// The image that the replicas have taken over: partitions that it gives to this broker are open.
    pub fn applied(&self) -> Arc<Image> {
        Arc::clone(&self.applied.borrow())
    }

    pub fn publish(&self, image: Arc<Image>) {
        assert!(image.end_offset >= self.current().end_offset, "metadata only gets newer");
        self.published.send_replace(image);
    }

    pub fn set_applied(&self, image: Arc<Image>) {
        self.applied.send_replace(image);
    }

    /// Gives `take` the image, and again whenever the configs are other ones. Never ends; cancellation is safe.
    pub(crate) async fn follow_configs(&self, clock: &Clock, take: impl Fn(&Image)) {
        let mut image = self.applied();
        loop {
            take(&image);
            let again = clock.now() + bounds::CLIENT_WAIT_MAX;
            let is_new = |other: &Arc<Image>| !Arc::ptr_eq(&other.configs, &image.configs);
            self.wait_for(clock, again, is_new).await;
            image = self.applied();
        }
    }

    /// Waits until the replicas have taken over an image of which `is_there` is true. False when the time was up.
    pub async fn wait_for(
        &self,
        clock: &Clock,
        deadline: Instant,
        is_there: impl FnMut(&Arc<Image>) -> bool,
    ) -> bool {
        let mut applied = self.applied.subscribe();
        // Cancellation is safe: waiting takes nothing.
        let found = clock.timeout_at(deadline, applied.wait_for(is_there)).await;
        matches!(found, Ok(Ok(_)))
    }
}
