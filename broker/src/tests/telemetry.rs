//! Client telemetry, case by case, by the rules of Kafka 4.3.1's `ClientMetricsManager`.

use ::metadata::Record;
use protocol::batch::{Compression, compress};
use protocol::messages::{
    ApiVersionsRequest, ConfigRecord, GetTelemetrySubscriptionsRequest, GetTelemetrySubscriptionsResponse,
    PushTelemetryRequest,
};

use super::metrics::{scrape, value};
use super::*;
use crate::telemetry::otlp::tests::{delta, gauge, payload};

impl Rig {
    /// Sets a config of a subscription, or takes it back, and waits until the broker knows.
    async fn subscribe(&self, name: &str, config: &str, value: Option<&str>) {
        let end = self.controller.append(vec![Record::from(ConfigRecord {
            resource_type: 16,
            resource_name: name.into(),
            name: config.into(),
            value: value.map(Str::from),
            ..Default::default()
        })]);
        let clock = self.broker.host.clock();
        let deadline = clock.now() + Duration::from_secs(10);
        assert!(self.broker.metadata.wait_for(clock, deadline, |image| image.end_offset > end).await);
    }

    async fn pause(&self, ms: u64) {
        self.broker.host.clock().sleep(Duration::from_millis(ms)).await;
    }
}

/// A client with its connection.
struct Client<'a> {
    rig: &'a Rig,
    connection: Connection,
    id: Uuid,
    subscription_id: i32,
}

impl Client<'_> {
    async fn new<'a>(rig: &'a Rig, software: &str) -> Client<'a> {
        let connection = rig.connect().await;
        let who = ApiVersionsRequest {
            client_software_name: software.into(),
            client_software_version: "1.0".into(),
            ..Default::default()
        };
        connection.call(3, &who).await.unwrap();
        Client { rig, connection, id: Uuid::ZERO, subscription_id: 0 }
    }

    async fn get(&mut self) -> GetTelemetrySubscriptionsResponse {
        let request = GetTelemetrySubscriptionsRequest { client_instance_id: self.id, ..Default::default() };
        let answer = self.connection.call(0, &request).await.unwrap();
        if answer.error_code == 0 {
            (self.id, self.subscription_id) = (answer.client_instance_id, answer.subscription_id);
        }
        answer
    }

    fn request(&self, metrics: &[Vec<u8>], compression: Compression) -> PushTelemetryRequest {
        PushTelemetryRequest {
            client_instance_id: self.id,
            subscription_id: self.subscription_id,
            compression_type: compression.id(),
            metrics: Bytes::from(compress(compression, None, &payload(metrics))),
            ..Default::default()
        }
    }

    async fn send(&self, request: &PushTelemetryRequest) -> ErrorCode {
        code(self.connection.call(0, request).await.unwrap().error_code)
    }

    async fn push(&self, metrics: &[Vec<u8>]) -> ErrorCode {
        self.send(&self.request(metrics, Compression::Zstd)).await
    }

    /// A series that this client has pushed.
    async fn value(&self, name: &str) -> Option<f64> {
        let (text, _) = scrape(&self.rig.broker).await;
        let is_own = |line: &&str| line.starts_with(name) && line.contains(&self.id.to_string());
        text.lines().find(is_own).map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }
}

#[test]
fn a_client_is_told_what_all_its_subscriptions_together_want() {
    with_broker(&[], async |rig: Rig| {
        rig.subscribe("one", "metrics", Some("a.,b.")).await;
        rig.subscribe("one", "interval.ms", Some("2000")).await;
        rig.subscribe("two", "metrics", Some("b.,c.")).await;
        rig.subscribe("two", "match", Some("client_software_name=mine,client_id=we.*")).await;
        rig.subscribe("other", "match", Some("client_software_version=2.*")).await;
        rig.subscribe("other", "interval.ms", Some("100")).await;
        let answer = Client::new(&rig, "mine").await.get().await;
        let wanted: Vec<&str> = answer.requested_metrics.iter().map(Str::as_str).collect();
        assert_eq!((answer.error_code, wanted), (0, vec!["a.", "b.", "c."]));
        assert_eq!((answer.push_interval_ms, answer.telemetry_max_bytes), (2000, 1 << 20));
        assert_eq!((answer.accepted_compression_types, answer.delta_temporality), (vec![4, 3, 1, 2], true));
        assert!(!answer.client_instance_id.is_zero());
        let answer = Client::new(&rig, "theirs").await.get().await;
        assert_eq!(answer.requested_metrics.len(), 2);
        // A star is everything.
        rig.subscribe("two", "metrics", Some("c.,*")).await;
        let answer = Client::new(&rig, "mine").await.get().await;
        assert_eq!(answer.requested_metrics, ["*"]);
    });
}

#[test]
fn without_subscriptions_a_client_is_told_to_ask_again_in_five_minutes() {
    with_broker(&[], async |rig: Rig| {
        let answer = Client::new(&rig, "mine").await.get().await;
        assert_eq!((answer.error_code, answer.push_interval_ms), (0, 300_000));
        assert!(answer.requested_metrics.is_empty());
    });
}

#[test]
fn pushed_metrics_appear_with_every_compression() {
    with_broker(&[], async |rig: Rig| {
        rig.subscribe("all", "metrics", Some("*")).await;
        rig.subscribe("all", "interval.ms", Some("100")).await;
        let mut client = Client::new(&rig, "mine").await;
        client.get().await;
        for compression in Compression::ALL {
            let metrics = [delta("org.apache.kafka.sent", 2.0), gauge("lag", ("topic", "t\"1"), 7.0)];
            assert_eq!(client.send(&client.request(&metrics, compression)).await, ErrorCode::None);
            rig.pause(100).await;
        }
        assert_eq!(client.value("org_apache_kafka_sent_total{").await, Some(10.0));
        let (text, _) = scrape(&rig.broker).await;
        let line = text.lines().find(|line| line.starts_with("client_lag{")).unwrap();
        for label in
            ["client_id=\"weir\"", "client_software_name=\"mine\"", "client_rack=\"r1\"", "topic=\"t\\\"1\""]
        {
            assert!(line.contains(label), "{line}");
        }
        assert_eq!(value(&rig.broker, "weir_client_metrics_pushes_total").await, Some(5.0));
    });
}

#[test]
fn who_asks_or_pushes_too_often_is_throttled() {
    with_broker(&[], async |rig: Rig| {
        rig.subscribe("all", "interval.ms", Some("1000")).await;
        let mut client = Client::new(&rig, "mine").await;
        assert_eq!(client.get().await.error_code, 0);
        assert_eq!(code(client.get().await.error_code), ErrorCode::ThrottlingQuotaExceeded);
        assert_eq!(client.push(&[]).await, ErrorCode::None, "the first push after a get may come early");
        assert_eq!(client.push(&[]).await, ErrorCode::ThrottlingQuotaExceeded);
        rig.pause(1000).await;
        assert_eq!(client.push(&[]).await, ErrorCode::None);
        // A change of the subscriptions makes a new instance, which may ask at once.
        rig.subscribe("all", "metrics", Some("a.")).await;
        assert_eq!(client.push(&[]).await, ErrorCode::UnknownSubscriptionId);
        assert_eq!(client.get().await.error_code, 0);
        // But the refused push counts: the next one waits for the interval.
        assert_eq!(client.push(&[]).await, ErrorCode::ThrottlingQuotaExceeded);
        rig.pause(1000).await;
        assert_eq!(client.push(&[]).await, ErrorCode::None);
    });
}

#[test]
fn what_cannot_be_taken_gets_kafkas_code() {
    with_broker(&[("telemetry.max.bytes", "2000")], async |rig: Rig| {
        rig.subscribe("all", "interval.ms", Some("100")).await;
        let mut client = Client::new(&rig, "mine").await;
        client.get().await;
        let good = client.request(&[delta("a", 1.0)], Compression::None);
        let bomb = Bytes::from(compress(Compression::Zstd, None, &vec![0; 1 << 20]));
        let cases = [
            (
                PushTelemetryRequest { client_instance_id: Uuid::ZERO, ..good.clone() },
                ErrorCode::InvalidRequest,
            ),
            (PushTelemetryRequest { client_instance_id: Uuid(1), ..good.clone() }, ErrorCode::InvalidRequest),
            (PushTelemetryRequest { subscription_id: 1, ..good.clone() }, ErrorCode::UnknownSubscriptionId),
            (
                PushTelemetryRequest { compression_type: 5, ..good.clone() },
                ErrorCode::UnsupportedCompressionType,
            ),
            (
                PushTelemetryRequest { metrics: vec![0; 2001].into(), ..good.clone() },
                ErrorCode::TelemetryTooLarge,
            ),
            (
                PushTelemetryRequest { metrics: vec![0xff; 20].into(), ..good.clone() },
                ErrorCode::InvalidRecord,
            ),
            (PushTelemetryRequest { compression_type: 1, ..good.clone() }, ErrorCode::InvalidRecord),
            (
                PushTelemetryRequest { compression_type: 4, metrics: bomb, ..good.clone() },
                ErrorCode::InvalidRecord,
            ),
            (good.clone(), ErrorCode::None),
        ];
        for (request, expected) in cases {
            assert_eq!(client.send(&request).await, expected, "{request:?}");
            rig.pause(100).await;
        }
        assert_eq!(client.value("client_a_total").await, Some(1.0));
    });
}

#[test]
fn nothing_comes_after_a_terminating_push() {
    with_broker(&[], async |rig: Rig| {
        rig.subscribe("all", "interval.ms", Some("1000")).await;
        let mut client = Client::new(&rig, "mine").await;
        client.get().await;
        assert_eq!(client.push(&[delta("a", 1.0)]).await, ErrorCode::None);
        // The last one comes before its time.
        let last = PushTelemetryRequest {
            terminating: true,
            ..client.request(&[delta("a", 1.0)], Compression::Lz4)
        };
        assert_eq!(client.send(&last).await, ErrorCode::None);
        assert_eq!(client.value("client_a_total").await, Some(2.0));
        rig.pause(1000).await;
        assert_eq!(client.send(&last).await, ErrorCode::InvalidRequest);
    });
}

#[test]
fn a_client_is_forgotten_with_its_connection_and_its_series_after_their_time() {
    with_broker(&[], async |rig: Rig| {
        rig.subscribe("all", "interval.ms", Some("1000")).await;
        let mut client = Client::new(&rig, "mine").await;
        client.get().await;
        client.push(&[delta("a", 1.0)]).await;
        assert_eq!(value(&rig.broker, "kafka_server_client_metrics_instance_count").await, Some(1.0));
        client.connection = rig.connect().await;
        rig.pause(1000).await;
        assert_eq!(value(&rig.broker, "kafka_server_client_metrics_instance_count").await, Some(0.0));
        assert_eq!(client.value("client_a_total").await, Some(1.0), "what it told last is still to be seen");
        // The same client through another connection, or at another broker, has the same subscription.
        assert_eq!(client.push(&[delta("a", 1.0)]).await, ErrorCode::None);
        rig.pause(61_000).await;
        assert_eq!(client.value("client_a_total").await, None);
        assert_eq!(value(&rig.broker, "kafka_server_client_metrics_instance_count").await, Some(0.0));
    });
}
