//! What thousands of silent connections cost in resident memory. Alone in its process: others would be measured too.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types)] // The clients are not ours.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use protocol::{ApiKey, Decoder};
use wire::{Api, Body, Context, Reply, Server, ServerConfig, ServerHandle, Table};

/// Answers with the bytes of the request's body.
async fn echo(_: Arc<()>, _: Context, body: Decoder) -> Reply<Body> {
    Body::from(body.into_rest()).into()
}

/// DescribeCluster v1: a header with client id "a" and no tags, a body of nothing but tags.
const REQUEST: [u8; 17] = [0, 0, 0, 13, 0, 60, 0, 1, 0, 0, 0, 9, 0, 1, b'a', 0, 0];

fn is_answered(stream: &mut TcpStream) -> bool {
    stream.write_all(&REQUEST).unwrap();
    let mut answer = [0; 10];
    stream.read_exact(&mut answer).unwrap();
    answer == [0, 0, 0, 6, 0, 0, 0, 9, 0, 0]
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
}

fn wait_for(server: &ServerHandle, count: usize) {
    while server.connection_count() != count {
        std::thread::yield_now();
    }
}

#[test]
fn thousands_of_silent_connections_cost_little() {
    assert!(host::real::raise_open_files() > 5000, "the limit on open files is too low to test this");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = runtime.block_on(async {
        let table = Arc::new(Table::new([Api::raw(ApiKey::DescribeCluster, echo)]));
        let config = ServerConfig::new("PLAINTEXT", "127.0.0.1:0");
        Server::start(&host::real::host(), config, table.with(Arc::new(()))).await.unwrap()
    });
    let connect = || TcpStream::connect(server.local_addr()).unwrap();
    let mut streams: Vec<TcpStream> = Vec::new();
    let mut connect_many = |count: usize| {
        for _ in 0..count / 100 {
            // Not more at once than wait in the kernel: it would let the others try again after a second.
            streams.extend((0..100).map(|_| connect()));
            wait_for(&server, streams.len());
        }
    };
    // What the first ones make the allocator and the runtime take is not a connection's.
    connect_many(200);
    let before = resident_bytes();
    let per_connection = || resident_bytes().saturating_sub(before) / 2000;

    connect_many(2000);
    let never_used = per_connection();
    assert!(streams.iter_mut().all(is_answered));
    let used = per_connection();
    // A length and no body.
    for stream in &mut streams {
        stream.write_all(&[5, 0, 0, 0]).unwrap();
    }
    assert!(is_answered(&mut connect()), "others are served");
    let half_sent = per_connection();

    let text = format!(
        "bytes per connection: {never_used} never used, {used} after a request, {half_sent} with a length"
    );
    println!("{text}");
    assert!(never_used.max(used) <= 8 << 10, "{text}");
    assert!(half_sent <= 8 << 10, "{text}");
    drop(streams);
    wait_for(&server, 0);
}
