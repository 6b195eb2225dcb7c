//! One answer to `/metrics`, page by page, of what there is now.
//!
//! Nothing is kept for it between two answers. Whoever asks pays for memory that grows with what is told: one small row for
//! each partition and each committed offset, both bounded, and a few pages of text.

mod clients;
mod cluster;
mod groups;
mod node;
mod partitions;
mod quorum;
mod topics;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use host::Host;
use metadata::QuorumStatus;

use super::exposition::{Pages, ReaderGone};
use super::histogram::QUANTILES;
use super::names;
use super::{Metrics, Shared};
use crate::broker::Broker;
use crate::fetch_sessions::FetchSessions;

/// What a node consists of.
#[derive(Clone, Default)]
pub(crate) struct Sources {
    pub(crate) broker: Option<Arc<Broker>>,
    /// Of a node without a broker; a broker has its own.
    pub(crate) quorum: Option<QuorumSource>,
}

/// Tells what the controller of this process knows; a broker knows it by the wire only.
pub type QuorumSource = Arc<dyn Fn() -> QuorumStatus + Send + Sync>;

impl Sources {
    /// Clients are served, where there is a broker.
    pub(crate) fn is_ready(&self) -> bool {
        self.broker.as_ref().is_none_or(|broker| broker.is_ready())
    }
}

/// Tells everything; ends early when the reader has gone away.
pub(crate) async fn write(host: &Host, sources: &Sources, mut pages: Pages) -> Result<(), ReaderGone> {
    node::write_process(host, &mut pages);
    let of_broker = sources.broker.as_ref().and_then(|broker| broker.quorum());
    if let Some(quorum) = of_broker.or(sources.quorum.as_ref()) {
        quorum::write(&quorum(), &mut pages).await?;
    }
    if let Some(broker) = &sources.broker {
        let pages = &mut pages;
        node::write(broker, pages);
        broker.metrics.requests.write(pages).await?;
        broker.metrics.write_own(pages);
        write_fetch_sessions(&broker.fetch_sessions, pages);
        topics::write(&broker.metrics, pages).await?;
        partitions::write(broker, pages).await?;
        cluster::write(broker, pages).await?;
        groups::write(broker, pages).await?;
        clients::write(&broker.telemetry, pages).await?;
    }
    pages.end().await
}

fn write_fetch_sessions(sessions: &FetchSessions, pages: &mut Pages) {
    pages.single(&names::FETCH_SESSIONS, sessions.len() as f64);
    pages.single(&names::FETCH_SESSION_PARTITIONS, sessions.partitions() as f64);
    pages.single(&names::FETCH_SESSION_EVICTIONS, sessions.evictions.load(Ordering::Relaxed) as f64);
}

impl Metrics {
    /// What is neither of a topic nor of a partition.
    fn write_own(&self, pages: &mut Pages) {
        self.shared.write_flushes(pages);
        let waiting = [("Fetch", &self.waiting.fetch), ("Produce", &self.waiting.produce)];
        for name in [&names::PURGATORY_SIZE, &names::PURGATORY_DELAYED] {
            pages.family(name);
            for (operation, gauge) in &waiting {
                pages.sample(&[("delayedOperation", operation)], gauge.get() as f64);
            }
        }
        pages.single(&names::PRODUCE_EXPIRES, self.waiting.produce_expires.get() as f64);
        pages.single(&names::ISR_SHRINKS, self.replication.isr_shrinks.get() as f64);
        pages.single(&names::ISR_EXPANDS, self.replication.isr_expands.get() as f64);
        pages.single(&names::FAILED_ISR_UPDATES, self.replication.failed_isr_updates.get() as f64);
    }
}

impl Shared {
    fn write_flushes(&self, pages: &mut Pages) {
        pages.family(&names::LOG_FLUSH.quantiles);
        let told = self.flushes.quantiles(self.flushes.recorded());
        for ((quantile, _), value) in QUANTILES.iter().zip(told) {
            pages.sample(&[("quantile", quantile)], value * 1e-3);
        }
        pages.single(&names::LOG_FLUSH.count, self.flush_count.get() as f64);
    }
}
