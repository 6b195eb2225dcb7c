//! `/metrics` of a real node: the names that dashboards ask for, and what clients push.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tests::process::{Node, Server as _, runtimes};

const WITHIN: Duration = Duration::from_secs(60);

fn scrape(node: &Node) -> String {
    let (status, text) = node.http("/metrics").expect("it answers");
    assert_eq!(status, 200);
    text
}

/// The value of a series; its labels in the order in which they are told.
fn value(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    line.parse().ok()
}

/// Waits until a scrape shows it.
fn until(node: &Node, what: &str, is_there: impl Fn(&str) -> bool) -> String {
    let deadline = Instant::now() + WITHIN;
    loop {
        let text = scrape(node);
        if is_there(&text) {
            return text;
        }
        assert!(Instant::now() < deadline, "{what} does not appear in\n{text}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What Strimzi's and the JMX exporter's dashboards and alerts ask of a broker and a controller, and kafka_exporter's of
/// topics.
const ASKED_FOR: &[&str] = &[
    "kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"}",
    "kafka_server_brokertopicmetrics_bytesin_total{topic=\"t\"}",
    "kafka_server_brokertopicmetrics_bytesout_total",
    "kafka_server_brokertopicmetrics_totalproducerequests_total{topic=\"t\"}",
    "kafka_server_brokertopicmetrics_failedproducerequests_total",
    "kafka_server_brokertopicmetrics_totalfetchrequests_total",
    "kafka_server_brokertopicmetrics_failedfetchrequests_total",
    "kafka_server_replicamanager_leadercount",
    "kafka_server_replicamanager_partitioncount",
    "kafka_server_replicamanager_underreplicatedpartitions",
    "kafka_server_replicamanager_underminisrpartitioncount",
    "kafka_server_replicamanager_offlinereplicacount",
    "kafka_server_replicamanager_isrshrinks_total",
    "kafka_server_replicamanager_isrexpands_total",
    "kafka_server_replicafetchermanager_maxlag{clientId=\"Replica\"}",
    "kafka_server_kafkaserver_brokerstate",
    "kafka_server_kafkaserver_linux_disk_read_bytes",
    "kafka_server_kafkaserver_linux_disk_write_bytes",
    "kafka_server_socket_server_metrics_connection_count{listener=\"PLAINTEXT\",networkProcessor=\"0\"}",
    "kafka_server_socketservermetrics_connection_count{listener=\"PLAINTEXT\",networkProcessor=\"0\"}",
    "kafka_server_kafkarequesthandlerpool_requesthandleravgidle_percent",
    "kafka_network_socketserver_networkprocessoravgidle_percent",
    "kafka_network_requestmetrics_requestbytes_count{request=\"Metadata\"}",
    "kafka_network_requestmetrics_errors_total{error=\"NONE\",request=\"Metadata\"}",
    "kafka_network_requestmetrics_totaltimems{quantile=\"0.99\",request=\"Metadata\"}",
    "kafka_network_requestmetrics_localtimems{quantile=\"0.50\",request=\"Metadata\"}",
    "kafka_network_requestmetrics_remotetimems{quantile=\"0.999\",request=\"Metadata\"}",
    "kafka_network_requestmetrics_requestqueuetimems{quantile=\"0.99\",request=\"Metadata\"}",
    "kafka_network_requestmetrics_responsequeuetimems{quantile=\"0.99\",request=\"Metadata\"}",
    "kafka_network_requestmetrics_responsesendtimems{quantile=\"0.99\",request=\"Metadata\"}",
    "kafka_network_requestmetrics_totaltimems_count{request=\"Metadata\"}",
    "kafka_log_log_size{partition=\"0\",topic=\"t\"}",
    "kafka_log_log_logstartoffset{partition=\"0\",topic=\"t\"}",
    "kafka_log_log_logendoffset{partition=\"0\",topic=\"t\"}",
    "kafka_log_log_numlogsegments{partition=\"0\",topic=\"t\"}",
    "kafka_log_logflushstats_logflushrateandtimems_count",
    "kafka_log_logmanager_offlinelogdirectorycount",
    "kafka_cluster_partition_underminisr{partition=\"0\",topic=\"t\"}",
    "kafka_cluster_partition_atminisr{partition=\"0\",topic=\"t\"}",
    "kafka_cluster_partition_replicascount{partition=\"0\",topic=\"t\"}",
    "kafka_server_delayedoperationpurgatory_purgatorysize{delayedOperation=\"Produce\"}",
    "kafka_server_fetchsessioncache_numincrementalfetchsessions",
    "kafka_controller_kafkacontroller_activecontrollercount",
    "kafka_controller_kafkacontroller_offlinepartitionscount",
    "kafka_controller_kafkacontroller_globaltopiccount",
    "kafka_controller_kafkacontroller_globalpartitioncount",
    "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
    "kafka_controller_kafkacontroller_fencedbrokercount",
    "kafka_controller_kafkacontroller_activebrokercount",
    "kafka_server_raft_metrics_current_leader",
    "kafka_server_raft_metrics_current_epoch",
    "kafka_server_raft_metrics_high_watermark",
    "kafka_server_raftmetrics_current_state{state=\"leader\"}",
    "kafka_brokers",
    "kafka_topic_partitions{topic=\"t\"}",
    "kafka_topic_partition_current_offset{partition=\"0\",topic=\"t\"}",
    "kafka_topic_partition_oldest_offset{partition=\"0\",topic=\"t\"}",
    "kafka_topic_partition_in_sync_replica{partition=\"0\",topic=\"t\"}",
    "kafka_topic_partition_leader{partition=\"0\",topic=\"t\"}",
    "kafka_topic_partition_leader_is_preferred{partition=\"0\",topic=\"t\"}",
    "kafka_topic_partition_replicas{partition=\"0\",topic=\"t\"}",
    "kafka_topic_partition_under_replicated_partition{partition=\"0\",topic=\"t\"}",
    "kafka_coordinator_group_groupmetadatamanager_numgroups",
    "kafka_server_group_coordinator_metrics_protocol_consumer_group_count",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_start_time_seconds",
];

#[test]
fn dashboards_find_every_name_that_they_ask_for() {
    let node = Node::start(&[]);
    for args in [&["topic", "create", "t"][..], &["topic", "list"]] {
        assert!(node.weir(args).status.success());
    }
    let mut produce = std::process::Command::new(tests::process::weir_binary());
    produce.env("WEIR_BOOTSTRAP", node.bootstrap()).args(["produce", "t"]);
    runtimes::run(produce, b"a\nb\n");
    let text = scrape(&node);
    for series in ASKED_FOR {
        assert!(value(&text, series).is_some(), "{series} is missing in\n{text}");
    }
    assert_eq!(value(&text, "kafka_server_brokertopicmetrics_messagesin_total{topic=\"t\"}"), Some(2.0));
    assert_eq!(value(&text, "kafka_server_kafkaserver_brokerstate"), Some(3.0));
    assert_eq!(value(&text, "kafka_controller_kafkacontroller_activecontrollercount"), Some(1.0));
    assert!(value(&text, "process_resident_memory_bytes").is_some_and(|bytes| bytes > 1e6));
}

#[test]
fn a_java_client_pushes_its_metrics_and_they_appear() {
    if !runtimes::have("kafka") {
        return;
    }
    let node = Node::start(&[]);
    let b = node.bootstrap();
    let tool = |args: &[&str]| {
        runtimes::kafka("client-metrics", &[&["--bootstrap-server", b.as_str()], args].concat(), b"")
    };
    let wanted = ["--metrics", "org.apache.kafka.producer.", "--interval", "200"];
    tool(
        &[&["--alter", "--name", "java", "--match", "client_software_name=apache-kafka-java"], &wanted[..]]
            .concat(),
    );
    assert_eq!(tool(&["--list"]).trim(), "java");
    let described = tool(&["--describe", "--name", "java"]);
    assert!(
        described.contains("interval.ms=200") && described.contains("metrics=org.apache.kafka.producer.")
    );
    // The producer pushes at its end at the latest; its connection then ends, and what it told stays for a minute.
    runtimes::kafka("console-producer", &["--bootstrap-server", &b, "--topic", "t"], b"a\nb\nc\n");
    let text = until(&node, "the producer's count of records", |text| {
        text.lines().any(|line| line.starts_with("org_apache_kafka_producer_record_send_total{"))
    });
    let line = text.lines().find(|line| line.starts_with("org_apache_kafka_producer_record_send_total{"));
    let line = line.expect("it was just there");
    for label in [
        "client_id=\"console-producer\"",
        "client_software_name=\"apache-kafka-java\"",
        "client_instance_id=",
    ] {
        assert!(line.contains(label), "{line}");
    }
    assert!(line.ends_with(" 3"), "{line}");
    assert!(!text.contains("org_apache_kafka_consumer"), "nobody has asked for those");
    tool(&["--delete", "--name", "java"]);
    assert_eq!(tool(&["--list"]).trim(), "");
}

#[test]
fn a_controller_alone_tells_of_its_quorum() {
    let (port, http_port) = (tests::process::free_port(), tests::process::free_port());
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(tests::process::weir_binary());
    command.arg("server").stderr(std::process::Stdio::null());
    for setting in [
        "node.id=1".to_owned(),
        "process.roles=controller".to_owned(),
        format!("controller.quorum.voters=1@127.0.0.1:{port}"),
        format!("listeners=CONTROLLER://127.0.0.1:{port}"),
        "controller.listener.names=CONTROLLER".to_owned(),
        format!("log.dirs={}", dir.path().display()),
        format!("weir.http.address=127.0.0.1:{http_port}"),
    ] {
        command.args(["--set", &setting]);
    }
    let mut child = command.spawn().unwrap();
    let deadline = Instant::now() + WITHIN;
    let seen = loop {
        let text = tests::process::http(http_port, "/metrics").map_or_else(String::new, |(_, text)| text);
        let active = value(&text, "kafka_controller_kafkacontroller_activecontrollercount");
        if active == Some(1.0) || Instant::now() > deadline {
            break text;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(value(&seen, "kafka_controller_kafkacontroller_activecontrollercount"), Some(1.0), "{seen}");
    assert_eq!(value(&seen, "kafka_server_raft_metrics_number_of_voters"), Some(1.0));
    assert!(!seen.contains("kafka_server_replicamanager"), "it has no replicas");
}

/// Figures, not a test: `cargo test --release -p tests --test metrics -- --ignored --nocapture`.
#[test]
#[ignore = "takes a minute and prints figures"]
fn figures_of_an_answer_with_ten_thousand_partitions_and_a_thousand_groups() {
    let node = Node::start(&["offsets.topic.num.partitions=50"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fill(&node.bootstrap(), 100, 100, 1000));
    let quiet = slowest(&node, Duration::from_secs(3), false);
    let busy = slowest(&node, Duration::from_secs(6), true);
    let rss = node.rss_kib();
    let mut told =
        format!("slowest request beside no scrape {quiet:?}, beside scrapes {busy:?}; rss {rss} KiB\n");
    for _ in 0..3 {
        let began = Instant::now();
        let text = scrape(&node);
        let (took, lines, bytes) = (began.elapsed(), text.lines().count(), text.len());
        let write = std::fmt::Write::write_fmt;
        write(
            &mut told,
            format_args!("{lines} lines, {bytes} bytes, {took:?}, rss {} KiB\n", node.rss_kib()),
        )
        .unwrap();
    }
    std::io::Write::write_all(&mut std::io::stderr(), told.as_bytes()).unwrap();
}

/// The slowest of many small requests, one at a time, while metrics are asked for or not.
fn slowest(node: &Node, during: Duration, with_scrapes: bool) -> Duration {
    use protocol::{Encoder, Message, messages::ApiVersionsRequest};
    use std::io::{Read, Write};
    let mut body = Encoder::new();
    body.i16(18);
    body.i16(0);
    body.i32(1);
    body.i16(-1);
    ApiVersionsRequest::default().encode(&mut body, 0).unwrap();
    let body = body.into_bytes().unwrap();
    let frame = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
    let mut stream = node.connect();
    stream.set_nodelay(true).unwrap();
    let end = Instant::now() + during;
    std::thread::scope(|scope| {
        if with_scrapes {
            scope.spawn(|| {
                while Instant::now() < end {
                    scrape(node);
                }
            });
        }
        let mut slowest = Duration::ZERO;
        while Instant::now() < end {
            let began = Instant::now();
            stream.write_all(&frame).unwrap();
            let mut length = [0; 4];
            stream.read_exact(&mut length).unwrap();
            let mut answer = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut answer).unwrap();
            slowest = slowest.max(began.elapsed());
        }
        slowest
    })
}

/// Makes topics, and groups with an offset in ten partitions each.
async fn fill(bootstrap: &str, topics: usize, partitions: i32, groups: usize) {
    use protocol::messages::create_topics_request::CreatableTopic;
    use protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    use protocol::messages::{CreateTopicsRequest, FindCoordinatorRequest, OffsetCommitRequest};
    use wire::client::{Node, NodeOptions, Target};
    let host = host::real::host();
    let node = Node::new(&host, Target::address(bootstrap), NodeOptions::default());
    for topic in 0..topics {
        let topic = CreatableTopic {
            name: format!("topic-{topic}").as_str().into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 60_000, ..Default::default() };
        assert_eq!(node.call(&request).await.unwrap().topics[0].error_code, 0);
    }
    let asked = FindCoordinatorRequest { coordinator_keys: vec!["group-0".into()], ..Default::default() };
    while node.call(&asked).await.unwrap().coordinators[0].error_code != 0 {
        host.clock().sleep(Duration::from_millis(100)).await;
    }
    for group in 0..groups {
        let partition =
            |partition_index| OffsetCommitRequestPartition { partition_index, ..Default::default() };
        let topic = OffsetCommitRequestTopic {
            name: format!("topic-{}", group % topics).as_str().into(),
            partitions: (0..10).map(partition).collect(),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: format!("group-{group}").as_str().into(),
            generation_id_or_member_epoch: -1,
            topics: vec![topic],
            ..Default::default()
        };
        let connection = node.session().await.unwrap();
        let version = 8;
        while connection.connection().call(version, &request).await.unwrap().topics[0].partitions[0]
            .error_code
            != 0
        {
            host.clock().sleep(Duration::from_millis(50)).await;
        }
    }
}
