//! The client against our server, against servers that misbehave, and against a cluster that moves.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use host::sim::{CrashKind, World};
use protocol::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use protocol::{ApiKey, Request};

use super::{CallError, Connection, ConnectionOptions, Node, NodeOptions, Target};
use crate::testing::{ADDRESS, Desk, Raw, Site, framed, serve};
use crate::{Server, ServerConfig};

mod cluster;

fn produce(acks: i16) -> ProduceRequest {
    ProduceRequest { acks, ..ProduceRequest::default() }
}

/// A connection to the site's server.
fn connection(site: &Site, options: ConnectionOptions) -> impl Future<Output = Connection> + Send + 'static {
    let host = site.world.host();
    async move { Connection::start(&host, host.net().connect(ADDRESS).await.unwrap(), "server", options) }
}

fn node(site: &Site, options: NodeOptions) -> Node {
    Node::new(&site.world.host(), Target::address(ADDRESS), options)
}

#[test]
fn requests_are_pipelined_and_each_gets_its_answer() {
    let site = Site::new(1, |_| {});
    let (connection, desk) = (connection(&site, ConnectionOptions::default()), Arc::clone(&site.desk));
    site.run(async move {
        let connection = connection.await;
        let late = connection.submit(9, &produce(-1)).await.unwrap();
        let next = connection.submit(9, &produce(1)).await.unwrap();
        connection.send_one_way(9, &produce(0)).unwrap();
        let last = connection.submit(12, &MetadataRequest::default()).await.unwrap();
        while desk.seen_ids().len() < 4 {
            desk.host.clock().sleep(Duration::from_millis(1)).await;
        }
        desk.commits.add_permits(1);
        let decode = super::connection::decode_body::<ProduceRequest>;
        assert_eq!(decode(9, late.await.unwrap()).unwrap().throttle_time_ms, 1);
        assert_eq!(decode(9, next.await.unwrap()).unwrap().throttle_time_ms, 0);
        assert!(!last.await.unwrap().is_empty());
        assert_eq!(connection.call(12, &MetadataRequest::default()).await.unwrap().cluster_id.unwrap(), "c");
    });
}

#[test]
fn at_most_so_many_are_in_flight() {
    let site = Site::new(1, |_| {});
    let options = ConnectionOptions { in_flight_max: 3, ..ConnectionOptions::default() };
    let (connection, desk) = (connection(&site, options), Arc::clone(&site.desk));
    site.run(async move {
        let connection = connection.await;
        let mut pending = Vec::new();
        for _ in 0..3 {
            pending.push(connection.submit(9, &produce(-1)).await.unwrap());
        }
        let (more, clock) = (connection.clone(), desk.host.clock().clone());
        let fourth = desk.host.spawn("fourth", async move { more.call(9, &produce(1)).await });
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(desk.seen_ids().len(), 3);
        desk.commits.add_permits(3);
        assert!(fourth.await.unwrap().is_ok());
    });
}

#[test]
fn whoever_waits_is_told_when_the_connection_ends() {
    let site = Site::new(1, |_| {});
    let (connection, server) = (connection(&site, ConnectionOptions::default()), site.server.clone());
    site.run(async move {
        let connection = connection.await;
        let closed = connection.closed();
        let first = connection.submit(9, &produce(-1)).await.unwrap();
        let second = connection.submit(9, &produce(-1)).await.unwrap();
        server.stop(Duration::from_secs(1)).await;
        assert!(matches!(first.await, Err(CallError::Closed { .. })));
        assert!(matches!(second.await, Err(CallError::Closed { .. })));
        closed.await;
        assert!(matches!(connection.call(9, &produce(1)).await, Err(CallError::Closed { .. })));
    });
}

#[test]
fn dropping_the_last_clone_ends_the_connection() {
    let site = Site::new(1, |_| {});
    let (connection, server) = (connection(&site, ConnectionOptions::default()), site.server.clone());
    let host = site.world.host();
    site.run(async move {
        let connection = connection.await;
        connection.call(9, &produce(1)).await.unwrap();
        assert_eq!(server.connection_count(), 1);
        drop(connection);
        while server.connection_count() > 0 {
            host.clock().sleep(Duration::from_millis(1)).await;
        }
    });
}

/// A connection whose other side answers the first request with these bytes.
fn answered_with(bytes: impl Into<Bytes>) -> Result<ApiVersionsRequestAnswer, CallError> {
    let (world, bytes) = (World::new(1), bytes.into());
    let host = world.host();
    let (near, far) = host.net().pair();
    let call = async move {
        let connection = Connection::start(&host, near, "liar", ConnectionOptions::default());
        let mut raw = Raw::new(far);
        let pending = connection.submit(3, &ApiVersionsRequest::default()).await.unwrap();
        raw.frame().await.unwrap();
        raw.send(bytes).await;
        let answer = pending.await;
        assert!(answer.is_ok() || connection.is_closed());
        super::connection::decode_body::<ApiVersionsRequest>(3, answer?)
    };
    world.block_on(Duration::from_secs(10), call).unwrap()
}

type ApiVersionsRequestAnswer = <ApiVersionsRequest as Request>::Response;

#[test]
fn a_server_that_lies_is_not_believed() {
    let good = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
    assert!(answered_with(framed(&good)).is_ok());
    let other_id = [0, 0, 0, 9, 0, 0, 1, 0, 0, 0, 0, 0];
    assert!(matches!(answered_with(framed(&other_id)), Err(CallError::Closed { .. })));
    assert!(matches!(answered_with(framed(&good[..3])), Err(CallError::Closed { .. })));
    assert!(matches!(answered_with(i32::MAX.to_be_bytes().to_vec()), Err(CallError::Closed { .. })));
    assert!(matches!(answered_with((-1i32).to_be_bytes().to_vec()), Err(CallError::Closed { .. })));
    for cut in 4..good.len() {
        assert!(
            matches!(answered_with(framed(&good[..cut])), Err(CallError::Decode { .. })),
            "cut after {cut}"
        );
    }
}

#[test]
fn a_node_speaks_the_newest_common_version() {
    let site = Site::new(1, |_| {});
    let node = node(&site, NodeOptions::default());
    let desk = Arc::clone(&site.desk);
    site.run(async move {
        let session = node.session().await.unwrap();
        assert_eq!(session.version(FetchRequest::KEY).unwrap(), 12, "the table says 4 to 12");
        assert_eq!(
            session.version(MetadataRequest::KEY).unwrap(),
            *MetadataRequest::KEY.stable_versions().end()
        );
        assert!(matches!(session.version(ApiKey::JoinGroup), Err(CallError::NoVersion { .. })));
        node.call(&MetadataRequest::default()).await.unwrap();
        assert_eq!(desk.contexts.lock().unwrap()[0].software().unwrap().name, "weir");
    });
}

#[test]
fn an_older_servers_api_versions_is_asked_again_in_its_version() {
    let world = World::new(1);
    let host = world.host();
    let asked = async move {
        let (near, far) = host.net().pair();
        let near = std::sync::Mutex::new(Some(near));
        let connect: super::Connect = Arc::new(move || {
            let stream =
                near.lock().unwrap().take().ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into());
            Box::pin(async move { stream })
        });
        let node = Node::new(&host, Target::Through("old".into(), connect), NodeOptions::default());
        let session = host.spawn("session", async move { node.session().await });
        let mut raw = Raw::new(far);
        let first = raw.frame().await.unwrap();
        raw.send(framed(&[0, 0, 0, 0, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 1])).await;
        let second = raw.frame().await.unwrap();
        raw.send(framed(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 5, 0, 0, 0, 0])).await;
        let session = session.await.unwrap().unwrap();
        (first[3], second[3], session.version(ApiKey::Metadata).unwrap())
    };
    assert_eq!(world.block_on(Duration::from_secs(10), asked).unwrap(), (4, 1, 5));
}

#[test]
fn a_node_reconnects_when_its_server_is_back() {
    let world = World::new(3);
    let machine = world.node("server");
    let start = |host: host::Host| async move {
        let desk = Desk::new(&host);
        serve(&desk, Server::bind(&host, ServerConfig::new("PLAINTEXT", ADDRESS)).await.unwrap());
    };
    let host = world.host();
    let node = Node::new(&host, Target::address(ADDRESS), NodeOptions::default());
    let run = |future| world.block_on(Duration::from_secs(600), future).unwrap();
    let call = |node: Node| Box::pin(async move { node.call(&MetadataRequest::default()).await.map(drop) });
    assert!(matches!(run(call(node.clone())), Err(CallError::Connect { .. })), "nobody is there yet");
    world.block_on(Duration::from_secs(1), start(machine.host())).unwrap();
    run(call(node.clone())).unwrap();
    machine.crash(CrashKind::Process);
    world.run_for(Duration::from_millis(50));
    let began = world.now();
    for _ in 0..8 {
        assert!(run(call(node.clone())).is_err());
    }
    let waited = world.now() - began;
    assert!(waited > Duration::from_millis(500), "the waits grow: {waited:?} for eight attempts");
    machine.restart();
    world.block_on(Duration::from_secs(1), start(machine.host())).unwrap();
    run(call(node)).unwrap();
}

#[test]
fn a_call_that_times_out_ends_its_connection() {
    let site = Site::new(1, |_| {});
    let options = NodeOptions { request_timeout: Duration::from_secs(2), ..NodeOptions::default() };
    let (node, desk) = (node(&site, options), Arc::clone(&site.desk));
    site.run(async move {
        let first = node.session().await.unwrap();
        assert!(matches!(first.call(&produce(-1)).await, Err(CallError::TimedOut { .. })));
        assert!(first.connection().is_closed());
        desk.commits.add_permits(1);
        assert_eq!(node.call(&produce(1)).await.unwrap().throttle_time_ms, 0, "on a new connection");
        desk.host.clock().sleep(Duration::from_secs(1)).await;
        assert_eq!(desk.dropped.load(Ordering::SeqCst), 1, "the server gave up what nobody waits for");
    });
}

#[test]
fn a_node_in_memory_is_a_node() {
    let site = Site::new(1, |_| {});
    let node = Node::new(&site.world.host(), Target::in_memory(&site.server), NodeOptions::default());
    site.run(async move {
        for _ in 0..3 {
            assert_eq!(node.call(&MetadataRequest::default()).await.unwrap().cluster_id.unwrap(), "c");
        }
        node.disconnect().await;
        node.call(&MetadataRequest::default()).await.unwrap();
    });
}

#[test]
fn a_failure_to_connect_is_told_to_all_who_waited() {
    let world = World::new(1);
    let host = world.host();
    let node = Node::new(&host, Target::address(ADDRESS), NodeOptions::default());
    let took = world.block_on(Duration::from_secs(60), async move {
        for _ in 0..8 {
            assert!(node.session().await.is_err());
        }
        let began = host.clock().now();
        let call = |node: Node| host.spawn("call", async move { node.session().await.is_err() });
        let calls: Vec<_> = (0..100).map(|_| call(node.clone())).collect();
        for call in calls {
            assert!(call.await.unwrap());
        }
        host.clock().now() - began
    });
    let took = took.unwrap();
    assert!(took < Duration::from_secs(2), "{took:?}: not a hundred attempts in a row");
}
