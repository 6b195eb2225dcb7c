//! HTTP for operators: `/metrics` for Prometheus, `/healthz` (the process answers), `/readyz` (clients are served).
//!
//! On the real machine only: a simulation has no HTTP, and `weir.http.address` is not set there.
#![allow(clippy::disallowed_types)] // axum serves tokio's listener.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::stream;
use host::{Host, Task};
use protocol::bounds;
use protocol::config::Configs;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::broker::StartError;
use crate::metrics::collect::{self, QuorumSource, Sources};
use crate::metrics::exposition::Pages;

const NAME: &str = "weir.http.address";

/// A port that was taken and is not served yet.
pub(crate) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

pub(crate) async fn bind(wanted: Option<&HttpAddress>) -> Result<Option<Bound>, StartError> {
    let Some(HttpAddress { address, is_chosen }) = wanted else { return Ok(None) };
    let failed = |source| StartError::Http { address: address.clone(), source };
    let listener = match TcpListener::bind(address).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && !is_chosen => {
            tracing::warn!(%address, "the default weir.http.address is taken: this node serves no HTTP");
            return Ok(None);
        }
        listener => listener.map_err(failed)?,
    };
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some(Bound { listener, address }))
}

/// `weir.http.address`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAddress {
    pub address: String,
    /// Somebody has set it. The default may be taken: by another node of this machine.
    pub is_chosen: bool,
}

impl HttpAddress {
    /// None where it is empty: no HTTP.
    pub fn of(server: &Configs) -> Option<HttpAddress> {
        let address = server.opt_string(NAME).filter(|address| !address.is_empty())?;
        Some(HttpAddress { address, is_chosen: server.is_set(NAME) })
    }
}

/// HTTP of a node without a broker; a broker serves its own.
///
/// # Errors
/// When `address` cannot be listened on.
pub async fn serve_controller(
    host: &Host,
    address: &HttpAddress,
    quorum: QuorumSource,
) -> Result<Option<Task<()>>, StartError> {
    let Some(bound) = bind(Some(address)).await? else { return Ok(None) };
    let sources = Sources { broker: None, quorum: Some(quorum) };
    Ok(Some(host.spawn("http", bound.serve(host.clone(), sources))))
}

/// What requests share.
#[derive(Clone)]
struct Site {
    host: Host,
    sources: Sources,
    /// Answers to `/metrics` that are being made.
    scrapes: Arc<Semaphore>,
}

impl Bound {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn serve(self, host: Host, sources: Sources) {
        let scrapes = Arc::new(Semaphore::new(bounds::METRICS_SCRAPES_MAX));
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .with_state(Site { host, sources, scrapes });
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::warn!(%error, "HTTP has ended");
        }
    }
}

/// The text leaves while it is made. Who does not read it in time, or comes in a crowd, gets no (or no whole) answer.
async fn metrics(State(site): State<Site>) -> Response {
    let Ok(permit) = Arc::clone(&site.scrapes).try_acquire_owned() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many ask for metrics at once\n").into_response();
    };
    let (sender, pages) = mpsc::channel(bounds::METRICS_PAGES_MAX);
    let Site { host, sources, .. } = site;
    let task_host = host.clone();
    task_host.spawn("metrics answer", async move {
        let _permit = permit;
        let written = Box::pin(collect::write(&host, &sources, Pages::new(sender)));
        match host.clock().timeout(bounds::METRICS_SCRAPE_TIMEOUT, written).await {
            Ok(Ok(())) => {}
            Ok(Err(gone)) => tracing::debug!(?gone, "metrics were not read to their end"),
            Err(_) => tracing::warn!("metrics were not read within {:?}", bounds::METRICS_SCRAPE_TIMEOUT),
        }
    });
    let pages = stream::unfold(pages, |mut pages| async move {
        let page = pages.recv().await?;
        Some((Ok::<_, std::convert::Infallible>(page), pages))
    });
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], Body::from_stream(pages)).into_response()
}

async fn readyz(State(site): State<Site>) -> impl IntoResponse {
    match site.sources.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_default_address_may_be_taken_and_a_chosen_one_may_not() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = taken.local_addr().expect("it is bound").to_string();
        let default = HttpAddress { address, is_chosen: false };
        assert!(matches!(bind(Some(&default)).await, Ok(None)));
        let chosen = HttpAddress { is_chosen: true, ..default };
        assert!(matches!(bind(Some(&chosen)).await, Err(StartError::Http { .. })));
    }
}
