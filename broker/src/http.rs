//! HTTP for operators: `/metrics` for Prometheus, `/healthz` (the process answers), `/readyz` (clients are served).
//!
//! On the real machine only: a simulation has no HTTP, and `weir.http.address` is not set there.
#![allow(clippy::disallowed_types)] // axum serves tokio's listener.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::broker::{Broker, StartError};

/// A port that was taken and is not served yet.
pub(crate) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

pub(crate) async fn bind(address: Option<&str>) -> Result<Option<Bound>, StartError> {
    let Some(address) = address else { return Ok(None) };
    let failed = |source| StartError::Http { address: address.to_owned(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok(Some(Bound { listener, address }))
}

impl Bound {
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn serve(self, broker: Arc<Broker>) {
        let router = Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .with_state(broker);
        if let Err(error) = axum::serve(self.listener, router).await {
            tracing::warn!(%error, "HTTP has ended");
        }
    }
}

async fn metrics(State(broker): State<Arc<Broker>>) -> impl IntoResponse {
    let text = broker.metrics.text(&broker.replicas.all());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

async fn readyz(State(broker): State<Arc<Broker>>) -> impl IntoResponse {
    match broker.is_ready() {
        true => (StatusCode::OK, "ready\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
    }
}
