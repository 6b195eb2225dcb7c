//! What a peer gets for good and bad input, against a server in the simulated world.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use protocol::messages::{ApiVersionsRequest, MetadataRequest, ProduceRequest};
use protocol::{ErrorCode, Records};

use crate::testing::{
    Raw, Site, describe_cluster_request, fetch_request, framed, metadata_request, produce_request, request,
};
use crate::{ConnectionLimits, ConnectionQuotas, FrameBudget};

mod memory;
mod observing;
mod real;

/// No answer came.
const NONE: [i32; 0] = [];
const IDLE: Duration = Duration::from_secs(600);

#[test]
fn answers_leave_in_the_order_of_the_requests() {
    for seed in 0..20 {
        let site = Site::new(seed, |_| {});
        let (raw, desk) = (site.raw(), Arc::clone(&site.desk));
        site.run(async move {
            let mut raw = raw.await;
            for id in 0..5 {
                raw.send(if id % 2 == 0 { produce_request(id, -1) } else { metadata_request(id) }).await;
            }
            // All are dispatched although the first one waits.
            while desk.seen_ids().len() < 5 {
                desk.host.clock().sleep(Duration::from_millis(1)).await;
            }
            desk.commits.add_permits(3);
            for id in 0..5 {
                assert_eq!(raw.id().await, Some(id));
            }
            assert_eq!(desk.seen_ids(), [0, 1, 2, 3, 4]);
        });
    }
}

#[test]
fn the_next_request_waits_for_the_ordered_part_only() {
    let site = Site::new(1, |_| {});
    *site.desk.ordered_part.lock().unwrap() = Duration::from_secs(1);
    let (raw, desk) = (site.raw(), Arc::clone(&site.desk));
    site.run(async move {
        let mut raw = raw.await;
        // The desk asserts that nothing is dispatched while the ordered part of Metadata runs.
        raw.send([metadata_request(0), produce_request(1, -1), produce_request(2, 1)].concat()).await;
        assert_eq!(raw.id().await, Some(0));
        desk.commits.add_permits(1);
        assert_eq!((raw.id().await, raw.id().await), (Some(1), Some(2)));
        let seen = desk.seen.lock().unwrap().clone();
        assert!(seen[1].1 - seen[0].1 >= Duration::from_secs(1));
        assert!(seen[2].1 - seen[1].1 < Duration::from_millis(100), "Later does not hold up the next one");
    });
}

#[test]
fn acks_0_is_not_answered_and_holds_nothing_up() {
    let site = Site::new(1, |_| {});
    let raw = site.raw();
    site.run(async move {
        let mut raw = raw.await;
        raw.send([produce_request(0, 0), produce_request(1, 0), produce_request(2, 1)].concat()).await;
        assert_eq!(raw.id().await, Some(2));
    });
}

#[test]
fn a_raw_row_gets_and_gives_bodies() {
    let site = Site::new(1, |_| {});
    let raw = site.raw();
    site.run(async move {
        let mut raw = raw.await;
        raw.send(describe_cluster_request(7)).await;
        // Correlation id, tags of header 1, then the body of the request: two fields and tags.
        assert_eq!(&raw.frame().await.unwrap()[..], [0, 0, 0, 7, 0, 0, 1, 0]);
    });
}

#[test]
fn a_large_frame_arrives_whole() {
    let site = Site::new(1, |_| {});
    let raw = site.raw();
    site.run(async move {
        let mut raw = raw.await;
        let body = [&describe_cluster_request(3)[4..], &[0xab; 3_000_000]].concat();
        for _ in 0..3 {
            raw.send([framed(&body), metadata_request(4)].concat()).await;
            let echoed = raw.frame().await.unwrap();
            assert_eq!(echoed[5..], body[15..], "what follows the header comes back");
            assert_eq!(raw.id().await, Some(4));
        }
    });
}

/// Sends bytes, and returns the correlation ids of the answers that came before the server closed the connection.
fn closed_after(bytes: impl Into<Bytes>) -> Vec<i32> {
    let site = Site::new(1, |_| {});
    let (raw, other) = (site.raw(), site.raw());
    let bytes = bytes.into();
    let ids = site.run(async move {
        let mut raw = raw.await;
        raw.send(bytes).await;
        raw.ids_until_end().await
    });
    assert!(site.world.now() < Duration::from_secs(10), "closed at once, not by a time-out");
    // Others are not concerned.
    let id = site.run(async move {
        let mut other = other.await;
        other.send(metadata_request(1)).await;
        other.id().await
    });
    assert_eq!(id, Some(1));
    ids
}

#[test]
fn bad_frames_close_the_connection_and_no_other() {
    let oversized = (protocol::bounds::REQUEST_BYTES_MAX as i32 + 1).to_be_bytes();
    for bad in [&(-1i32).to_be_bytes()[..], &i32::MIN.to_be_bytes(), &oversized, &i32::MAX.to_be_bytes()] {
        assert_eq!(closed_after(bad.to_vec()), NONE);
    }
    assert_eq!(closed_after(&b"GET / HTTP/1.1\r\n\r\n"[..]), NONE);
    for short in 0..8 {
        assert_eq!(closed_after(framed(&[0; 8][..short])), NONE, "a request of {short} bytes");
    }
}

#[test]
fn unknown_keys_and_versions_close_the_connection() {
    let with_prefix = |key: i16, version: i16| {
        let mut body = BytesMut::from(&metadata_request(1)[4..]);
        body[..2].copy_from_slice(&key.to_be_bytes());
        body[2..4].copy_from_slice(&version.to_be_bytes());
        framed(&body)
    };
    for (key, version) in [(999, 0), (-1, 0), (i16::MAX, 0), (3, 99), (3, -1), (3, i16::MIN), (11, 5)] {
        assert_eq!(closed_after(with_prefix(key, version)), NONE, "key {key} version {version}");
    }
    // Produce is advertised from version 0 and served from 3, as Kafka does.
    for version in 0..3 {
        assert_eq!(closed_after(with_prefix(0, version)), NONE, "Produce {version}");
    }
}

#[test]
fn what_was_asked_before_a_bad_request_is_answered() {
    let good_and_bad =
        [metadata_request(1), metadata_request(2), framed(&[0xff; 20]), metadata_request(3)].concat();
    assert_eq!(closed_after(good_and_bad), [1, 2]);
    let refused = [metadata_request(1), produce_request(2, 77), metadata_request(3)].concat();
    assert_eq!(closed_after(refused), [1]);
}

#[test]
fn a_truncated_body_closes_and_a_longer_one_is_taken() {
    let whole = request(5, 9, &ProduceRequest { acks: 1, ..ProduceRequest::default() });
    for cut in 8..whole.len() - 4 {
        assert_eq!(closed_after(framed(&whole[4..4 + cut])), NONE, "cut after {cut}");
    }
    let longer = [framed(&[&whole[4..], b"more"].concat()), framed(b"end")].concat();
    assert_eq!(closed_after(longer), [5], "Kafka ignores what follows");
}

#[test]
fn random_bytes_never_harm_the_server() {
    let site = Site::new(99, |_| {});
    for round in 0..300u64 {
        let mut bytes: Vec<u8> = (0..site.world.random() % 200).map(|_| site.world.random() as u8).collect();
        if round % 2 == 0 && bytes.len() >= 8 {
            // A plausible frame: what is random is the request.
            bytes.truncate(124);
            bytes.insert(0, 0);
            bytes[1] = 0;
            let key = [0u8, 1, 3, 18, 60][(site.world.random() % 5) as usize];
            bytes[4..8].copy_from_slice(&[0, key, 0, (site.world.random() % 14) as u8]);
            let payload = bytes.split_off(4);
            bytes = framed(&payload).to_vec();
        }
        let raw = site.raw();
        site.run(async move { raw.await.send(bytes).await });
    }
    let raw = site.raw();
    let id = site.run(async move {
        let mut raw = raw.await;
        raw.send(metadata_request(1)).await;
        raw.id().await
    });
    assert_eq!(id, Some(1));
    site.world.run_for(IDLE * 2);
    assert_eq!(site.server.connection_count(), 0);
}

#[test]
fn api_versions_of_an_unknown_version_tells_the_range() {
    let site = Site::new(1, |_| {});
    let raw = site.raw();
    site.run(async move {
        let mut raw = raw.await;
        let known =
            request(7, 3, &ApiVersionsRequest { client_software_name: "a".into(), ..Default::default() });
        for version in [5i16, 99, i16::MAX] {
            let mut payload = BytesMut::from(&known[4..]);
            payload[2..4].copy_from_slice(&version.to_be_bytes());
            raw.send(framed(&payload)).await;
            assert_eq!(&raw.frame().await.unwrap()[..], [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]);
        }
        // The connection goes on.
        raw.send(metadata_request(8)).await;
        assert_eq!(raw.id().await, Some(8));
    });
    // Behind a header that cannot be read, Kafka closes.
    assert_eq!(closed_after(framed(&[0, 18, 0, 99, 0, 0, 0, 7])), NONE);
}

#[test]
fn api_versions_tells_the_table_and_remembers_the_software() {
    use protocol::messages::ApiVersionsResponse;
    use protocol::{ApiKey, Decoder, Message};
    let site = Site::new(1, |_| {});
    let (raw, desk) = (site.raw(), Arc::clone(&site.desk));
    site.run(async move {
        let mut raw = raw.await;
        let ask = |name: &str| ApiVersionsRequest {
            client_software_name: name.into(),
            client_software_version: "4.3.1".into(),
        };
        raw.send(request(1, 4, &ask("apache-kafka-java"))).await;
        let frame = raw.frame().await.unwrap();
        let answer = ApiVersionsResponse::decode(&mut Decoder::new(frame.slice(4..)), 4).unwrap();
        let told: Vec<_> =
            answer.api_keys.iter().map(|k| (k.api_key, k.min_version, k.max_version)).collect();
        let newest = |key: ApiKey| *key.stable_versions().end();
        let produce = (0, 0, newest(ApiKey::Produce));
        let metadata = (3, 0, newest(ApiKey::Metadata));
        assert_eq!(
            told,
            [
                produce,
                (1, 4, 12),
                metadata,
                (18, 0, newest(ApiKey::ApiVersions)),
                (60, 0, newest(ApiKey::DescribeCluster))
            ]
        );
        raw.send(request(2, 4, &ask("no words"))).await;
        let frame = raw.frame().await.unwrap();
        let answer = ApiVersionsResponse::decode(&mut Decoder::new(frame.slice(4..)), 4).unwrap();
        assert_eq!((answer.error_code, answer.api_keys.len()), (ErrorCode::InvalidRequest.code(), 0));
        let context = desk.contexts.lock().unwrap()[0].clone();
        assert_eq!(context.software().unwrap().name, "apache-kafka-java");
        assert_eq!(context.client_id.as_deref(), Some("test"));
        assert_eq!(context.principal.to_string(), "User:ANONYMOUS");
        assert_eq!(context.listener().name, "PLAINTEXT");
        desk.contexts.lock().unwrap().clear();
        drop(raw);
        context.closed().await;
    });
}

#[test]
fn a_half_closed_peer_gets_what_is_ready() {
    let site = Site::new(1, |_| {});
    let (raw, desk) = (site.raw(), Arc::clone(&site.desk));
    site.run(async move {
        let mut raw = raw.await;
        raw.send(
            [metadata_request(1), produce_request(2, 1), produce_request(3, -1), metadata_request(4)]
                .concat(),
        )
        .await;
        raw.write.shutdown().await.unwrap();
        assert_eq!(raw.ids_until_end().await, [1, 2], "what waits is not waited for");
        assert_eq!(desk.dropped.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn pending_answers_are_bounded_and_then_nothing_is_read() {
    let site = Site::new(1, |config| config.pending_answers_max = 4);
    let (raw, desk) = (site.raw(), Arc::clone(&site.desk));
    site.run(async move {
        let mut raw = raw.await;
        for id in 0..10 {
            raw.send(produce_request(id, -1)).await;
        }
        desk.host.clock().sleep(Duration::from_secs(60)).await;
        assert_eq!(desk.seen_ids(), [0, 1, 2, 3]);
        desk.commits.add_permits(1);
        assert_eq!(raw.id().await, Some(0));
        desk.host.clock().sleep(Duration::from_secs(1)).await;
        assert_eq!(desk.seen_ids(), [0, 1, 2, 3, 4]);
        desk.commits.add_permits(9);
        for id in 1..10 {
            assert_eq!(raw.id().await, Some(id));
        }
    });
}

#[test]
fn a_client_that_never_reads_is_bounded_and_closed() {
    let site = Site::new(1, |_| {});
    *site.desk.records.lock().unwrap() = Records::from(Bytes::from(vec![1; 1 << 20]));
    let (raw, desk) = (site.raw(), Arc::clone(&site.desk));
    let answered_bytes_max =
        protocol::bounds::PENDING_ANSWER_BYTES_MAX + protocol::bounds::WRITE_BYTES_MAX + (4 << 20);
    let began = site.world.now();
    site.run(async move {
        let mut raw = raw.await;
        for id in 0..1000 {
            raw.send(fetch_request(id)).await;
        }
        desk.host.clock().sleep(Duration::from_secs(60)).await;
        let dispatched = desk.seen_ids().len();
        assert!(dispatched << 20 <= answered_bytes_max, "{dispatched} answers of 1 MiB were made");
        // Half an answer may have arrived; then the connection ends by itself.
        while raw.write.write_chunks(&mut [host::Chunk::Bytes(fetch_request(1))].into()).await.is_ok() {
            desk.host.clock().sleep(Duration::from_secs(1)).await;
        }
    });
    let took = site.world.now() - began;
    assert!((IDLE..IDLE + Duration::from_secs(130)).contains(&took), "closed after {took:?}");
    assert_eq!(site.server.connection_count(), 0);
}

#[test]
fn idle_and_half_sent_connections_are_closed_and_waiting_ones_are_not() {
    let site = Site::new(1, |_| {});
    let (idle, half, long, waiting) = (site.raw(), site.raw(), site.raw(), site.raw());
    let desk = Arc::clone(&site.desk);
    site.run(async move {
        let (mut idle, mut half, mut long, mut waiting) = (idle.await, half.await, long.await, waiting.await);
        half.send(metadata_request(1).slice(..3)).await;
        long.send(produce_request(1, 1).slice(..20)).await;
        waiting.send(produce_request(5, -1)).await;
        assert_eq!((idle.id().await, half.id().await, long.id().await), (None, None, None));
        let clock = desk.host.clock();
        clock.sleep(IDLE * 3).await;
        desk.commits.add_permits(1);
        assert_eq!(waiting.id().await, Some(5), "we let it wait, not it us");
    });
}

#[test]
fn a_frame_that_trickles_is_given_up() {
    let site = Site::new(1, |_| {});
    let (raw, host) = (site.raw(), site.world.host());
    let took = site.run(async move {
        let mut raw = raw.await;
        let began = host.clock().now();
        let frame = framed(&[0; 10_000]);
        for byte in 0.. {
            let piece = host::Chunk::Bytes(frame.slice(byte..=byte));
            if raw.write.write_chunks(&mut [piece].into()).await.is_err() {
                break;
            }
            host.clock().sleep(Duration::from_secs(1)).await;
        }
        host.clock().now() - began
    });
    let limit = protocol::bounds::FRAME_RECEIVE_TIMEOUT;
    assert!((limit..limit + Duration::from_secs(10)).contains(&took), "closed after {took:?}");
}

#[test]
fn a_throttled_connection_is_answered_at_once_and_read_later() {
    let site = Site::new(1, |_| {});
    *site.desk.throttle.lock().unwrap() = Duration::from_secs(2);
    let (raw, desk) = (site.raw(), Arc::clone(&site.desk));
    site.run(async move {
        let mut raw = raw.await;
        let clock = desk.host.clock();
        let began = clock.now();
        raw.send([metadata_request(1), metadata_request(2)].concat()).await;
        assert_eq!(raw.id().await, Some(1));
        assert!(clock.now() - began < Duration::from_millis(100));
        assert_eq!(raw.id().await, Some(2));
        let took = clock.now() - began;
        assert!((Duration::from_secs(2)..Duration::from_millis(2100)).contains(&took), "{took:?}");
    });
}

#[test]
fn stop_answers_what_was_asked_and_takes_no_more() {
    let site = Site::new(1, |_| {});
    let (raw, idle, desk, server) = (site.raw(), site.raw(), Arc::clone(&site.desk), site.server.clone());
    let host = site.world.host();
    site.run(async move {
        let (mut raw, mut idle) = (raw.await, idle.await);
        raw.send([produce_request(1, -1), produce_request(2, -1), metadata_request(3)].concat()).await;
        while desk.seen_ids().len() < 3 {
            host.clock().sleep(Duration::from_millis(1)).await;
        }
        let stopping = server.clone();
        let stop = desk.host.spawn("stop", async move { stopping.stop(Duration::from_secs(60)).await });
        assert_eq!(idle.id().await, None);
        raw.send(metadata_request(4)).await;
        desk.commits.add_permits(2);
        assert_eq!(raw.ids_until_end().await, [1, 2, 3]);
        stop.await.unwrap();
        assert_eq!(server.connection_count(), 0);
        assert!(host.net().connect(crate::testing::ADDRESS).await.is_err());
    });
}

#[test]
fn stop_does_not_wait_for_ever() {
    let site = Site::new(1, |_| {});
    let (raw, desk, server) = (site.raw(), Arc::clone(&site.desk), site.server.clone());
    site.run(async move {
        let mut raw = raw.await;
        raw.send(produce_request(1, -1)).await;
        while desk.seen_ids().is_empty() {
            desk.host.clock().sleep(Duration::from_millis(1)).await;
        }
        let began = desk.host.clock().now();
        server.stop(Duration::from_secs(5)).await;
        let took = desk.host.clock().now() - began;
        assert!((Duration::from_secs(5)..Duration::from_secs(6)).contains(&took), "{took:?}");
        assert_eq!(raw.id().await, None);
        assert_eq!(server.connection_count(), 0);
        assert_eq!(desk.dropped.load(Ordering::SeqCst), 1, "what waited was given up");
    });
}

fn limited(change: impl FnOnce(&mut ConnectionLimits)) -> Arc<ConnectionQuotas> {
    let mut limits = ConnectionLimits::default();
    change(&mut limits);
    ConnectionQuotas::new(limits)
}

#[test]
fn a_higher_limit_lets_in_who_waits() {
    let quotas = limited(|limits| limits.connections_max = 1);
    let shared = Arc::clone(&quotas);
    let site = Site::new(1, |config| config.quotas = shared);
    let raws = [site.raw(), site.raw()];
    let host = site.world.host();
    site.run(async move {
        let [a, b] = raws;
        let (_a, mut b) = (a.await, b.await);
        b.send(metadata_request(1)).await;
        assert!(host.clock().timeout(Duration::from_secs(60), b.id()).await.is_err(), "not accepted yet");
        quotas.set_limits(ConnectionLimits::default());
        assert_eq!(b.id().await, Some(1));
    });
}

#[test]
fn a_protected_listener_takes_connections_at_the_limit() {
    let quotas = limited(|limits| limits.connections_max = 1);
    let site = Site::new(1, |config| (config.quotas, config.is_protected) = (quotas, true));
    let raws = [site.raw(), site.raw()];
    site.run(async move {
        let [a, b] = raws;
        let (_a, mut b) = (a.await, b.await);
        b.send(metadata_request(1)).await;
        assert_eq!(b.id().await, Some(1));
    });
}

#[test]
fn connections_that_come_too_fast_are_served_later() {
    let quotas = limited(|limits| limits.created_per_second_max = Some(2));
    let site = Site::new(1, |config| config.quotas = quotas);
    let raws = [site.raw(), site.raw(), site.raw(), site.raw(), site.raw()];
    let host = site.world.host();
    site.run(async move {
        let began = host.clock().now();
        for raw in raws {
            let mut raw = raw.await;
            raw.send(metadata_request(1)).await;
            assert_eq!(raw.id().await, Some(1));
        }
        let took = host.clock().now() - began;
        assert!((1000..1700).contains(&took.as_millis()), "two at once, two a second: {took:?}");
    });
}

#[test]
fn too_many_connections_of_one_address_are_closed() {
    let quotas = limited(|limits| limits.per_ip_max = 2);
    let site = Site::new(1, |config| config.quotas = quotas);
    let raws = [site.raw(), site.raw(), site.raw(), site.raw()];
    let server = site.server.clone();
    site.run(async move {
        let [a, b, c, d] = raws;
        let (mut a, b, mut c) = (a.await, b.await, c.await);
        assert_eq!(c.id().await, None);
        assert_eq!(server.traffic().refused.load(Ordering::Relaxed), 1);
        drop(b);
        a.send(metadata_request(1)).await;
        assert_eq!(a.id().await, Some(1));
        let mut d = d.await;
        d.send(metadata_request(2)).await;
        assert_eq!(d.id().await, Some(2), "the place of the closed one is free");
    });
}

#[test]
fn at_max_connections_further_ones_wait() {
    let quotas = limited(|limits| limits.connections_max = 2);
    let site = Site::new(1, |config| config.quotas = quotas);
    let raws = [site.raw(), site.raw(), site.raw()];
    let host = site.world.host();
    site.run(async move {
        let [a, b, c] = raws;
        let (a, _b, mut c) = (a.await, b.await, c.await);
        c.send(metadata_request(1)).await;
        assert!(host.clock().timeout(Duration::from_secs(60), c.id()).await.is_err(), "not accepted yet");
        drop(a);
        assert_eq!(c.id().await, Some(1));
    });
}

#[test]
fn frames_in_flight_wait_for_memory_and_all_get_through() {
    // Ten peers send 1 MB each, slowly; the budget holds three of them.
    let budget = FrameBudget::new(3 << 20);
    let site = Site::new(1, |config| config.budget = Arc::clone(&budget));
    let raws: Vec<_> = (0..10).map(|_| site.raw()).collect();
    let host = site.world.host();
    site.run(async move {
        let mut tasks = Vec::new();
        for raw in raws {
            let clock = host.clock().clone();
            tasks.push(host.spawn("peer", async move {
                let mut raw = raw.await;
                let frame = framed(&[&describe_cluster_request(3)[4..], &[7; 1_000_000]].concat());
                for piece in 0..frame.len().div_ceil(50_000) {
                    raw.send(frame.slice(piece * 50_000..frame.len().min((piece + 1) * 50_000))).await;
                    clock.sleep(Duration::from_millis(10)).await;
                }
                raw.id().await
            }));
        }
        for task in tasks {
            assert_eq!(task.await.unwrap(), Some(3));
        }
    });
    assert_eq!(budget.held_bytes(), 0);
}

#[test]
fn a_stream_in_memory_is_served_like_any_other_and_never_idle() {
    let site = Site::new(1, |_| {});
    let mut raw = Raw::new(site.server.connect_in_memory());
    let host = site.world.host();
    site.run(async move {
        raw.send(request(1, 1, &MetadataRequest { topics: Some(vec![]), ..MetadataRequest::default() }))
            .await;
        assert_eq!(raw.id().await, Some(1));
        host.clock().sleep(IDLE * 3).await;
        raw.send(metadata_request(2)).await;
        assert_eq!(raw.id().await, Some(2));
    });
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = || {
        let site = Site::new(5, |_| {});
        let raw = site.raw();
        site.run(async move {
            let mut raw = raw.await;
            for id in 0..50 {
                raw.send(metadata_request(id)).await;
                assert_eq!(raw.id().await, Some(id));
            }
        });
        site.world.trace_hash()
    };
    assert_eq!(run(), run());
}
