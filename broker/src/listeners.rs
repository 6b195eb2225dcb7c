//! Takes the ports of a broker's listeners, under the bounds that the configs set; some of these may change at any time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use host::{Host, SocketOptions};
use metadata::Image;
use protocol::bounds;
use protocol::config::{Configs, Value};
use wire::{Bound, ConnectionLimits, ConnectionQuotas, FrameBudget, Server, ServerConfig};

use crate::broker::{Broker, StartError};
use crate::config::BrokerConfig;
use crate::config_layers::ConfigLayers;
use crate::metrics::Watcher;

/// Listens on every listener; nothing is accepted yet.
pub(crate) async fn bind(
    host: &Host,
    config: &BrokerConfig,
    quotas: &Arc<ConnectionQuotas>,
    watcher: Arc<Watcher>,
) -> Result<Vec<Bound>, StartError> {
    let server = &config.server;
    let size = |name: &str| usize::try_from(server.long(name)).ok();
    let in_flight_max = size("queued.max.request.bytes").unwrap_or(bounds::REQUEST_BYTES_IN_FLIGHT_MAX);
    let budget = FrameBudget::new(in_flight_max);
    let mut bound = Vec::new();
    for listener in &config.listeners {
        let of_listener = ServerConfig {
            protocol: listener.protocol,
            request_bytes_max: size("socket.request.max.bytes").unwrap_or(0),
            idle_time_max: Duration::from_millis(size("connections.max.idle.ms").unwrap_or(usize::MAX) as u64),
            quotas: Arc::clone(quotas),
            is_protected: config.listeners.len() > 1 && listener.name == config.inter_broker_listener,
            socket: socket_options(server),
            budget: Arc::clone(&budget),
            observer: Arc::clone(&watcher) as Arc<dyn wire::Observer>,
            ..ServerConfig::new(listener.name.clone(), listener.address.clone())
        };
        let taken = Server::bind(host, of_listener).await.map_err(|source| StartError::Listen {
            listener: listener.name.clone(),
            address: listener.address.clone(),
            source,
        });
        bound.push(taken?);
    }
    Ok(bound)
}

/// Kafka's defaults (100 KiB buffers, a backlog of 50) are not ours: the kernel does better by itself.
fn socket_options(server: &Configs) -> SocketOptions {
    let set = |name: &str| u32::try_from(server.int(name)).ok().filter(|_| server.is_set(name));
    SocketOptions {
        backlog: set("socket.listen.backlog.size"),
        send_buffer_bytes: set("socket.send.buffer.bytes"),
        receive_buffer_bytes: set("socket.receive.buffer.bytes"),
    }
}

/// The limits on connections that hold under an image.
pub(crate) fn limits(image: &Image, server: &Configs, node_id: i32) -> ConnectionLimits {
    let configs = ConfigLayers::new(image, server, node_id);
    let number = |name: &str| match configs.value(name) {
        Value::Int(value) => usize::try_from(value).unwrap_or(0),
        _ => usize::MAX,
    };
    let created = number("max.connection.creation.rate");
    ConnectionLimits {
        connections_max: number("max.connections").min(bounds::CONNECTIONS_MAX),
        per_ip_max: number("max.connections.per.ip"),
        overrides: overrides(&configs.value("max.connections.per.ip.overrides").to_string()),
        created_per_second_max: u32::try_from(created).ok().filter(|rate| *rate < i32::MAX as u32),
    }
}

/// `10.0.0.1:5,localhost:100`. Other names than localhost are not looked up: they are told, and left out.
fn overrides(text: &str) -> BTreeMap<IpAddr, usize> {
    let mut overrides = BTreeMap::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let (name, count) = item.rsplit_once(':').unwrap_or((item, ""));
        let name = name.trim().trim_matches(['[', ']']);
        let addresses: Vec<IpAddr> = match name {
            "localhost" => vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()],
            name => name.parse().into_iter().collect(),
        };
        match count.trim().parse() {
            Ok(count) if !addresses.is_empty() => {
                overrides.extend(addresses.into_iter().map(|ip| (ip, count)))
            }
            _ => tracing::warn!(
                item,
                "max.connections.per.ip.overrides: no address and number; it is left out"
            ),
        }
    }
    overrides
}

/// Takes over changes of the limits, as long as the broker runs.
pub(crate) async fn follow_limits(broker: Arc<Broker>, quotas: Arc<ConnectionQuotas>) {
    let set = |image: &Image| {
        quotas.set_limits(limits(image, &broker.config.server, broker.config.node_id));
    };
    broker.metadata.follow_configs(broker.host.clock(), set).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_name_addresses_and_numbers() {
        let read = overrides("10.0.0.1:5, [::1]:7,localhost:9,host.example.org:3,10.0.0.2,10.0.0.3:x");
        let expected = [("10.0.0.1", 5), ("127.0.0.1", 9), ("::1", 9)];
        let expected = expected.map(|(ip, count)| (ip.parse().expect("an address"), count));
        assert_eq!(read.into_iter().collect::<Vec<(IpAddr, usize)>>(), expected);
        assert_eq!(overrides(""), BTreeMap::new());
    }
}
