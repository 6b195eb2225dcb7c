//! What hostile or broken peers send to a real node: Kafka's error or a closed connection, bounded memory, never a panic,
//! and the node goes on serving everybody else.
#![allow(clippy::disallowed_methods, clippy::disallowed_types, clippy::unwrap_used)]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tests::process::{Node, Server as _};

/// The node still answers an ApiVersions v0 request, and did not panic on the way.
fn still_well(node: &mut Node) {
    assert!(node.is_running(), "the node died:\n{}", node.log());
    let mut peer = node.connect();
    peer.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]).unwrap();
    let mut head = [0u8; 10];
    peer.read_exact(&mut head).expect("ApiVersions is answered");
    assert_eq!(&head[4..8], &[0, 0, 0, 7], "the correlation id comes back");
    assert_eq!(&head[8..10], &[0, 0], "no error");
    assert!(!node.log().contains("panicked"), "{}", node.log());
}

/// Sends bytes and waits for the answer or the end of the connection; true when the node closed it.
fn closes(node: &Node, bytes: &[u8]) -> bool {
    let mut peer = node.connect();
    if peer.write_all(bytes).is_err() {
        return true;
    }
    let mut answer = [0u8; 4096];
    matches!(peer.read(&mut answer), Ok(0) | Err(_))
}

fn frame(body: &[u8]) -> Vec<u8> {
    let mut all = (body.len() as u32).to_be_bytes().to_vec();
    all.extend_from_slice(body);
    all
}

#[test]
fn lengths_that_lie_close_the_connection() {
    let mut node = Node::start(&[]);
    for length in [-1i32, i32::MIN, i32::MAX, 0, 1, 200 << 20] {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0u8; 1]);
        if (2..=100 << 20).contains(&length) {
            continue;
        }
        assert!(closes(&node, &bytes), "length {length}");
    }
    still_well(&mut node);
}

#[test]
fn unknown_keys_and_versions_get_kafkas_answer() {
    let mut node = Node::start(&[]);
    assert!(closes(&node, &frame(&[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff])), "an unknown key");
    assert!(
        closes(&node, &frame(&[0, 3, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff])),
        "an unknown version of Metadata"
    );
    assert!(closes(&node, &frame(&[0, 3, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff])), "a negative version");
    // ApiVersions in a version of the future is answered in version 0 with UNSUPPORTED_VERSION.
    let mut peer = node.connect();
    peer.write_all(&frame(&[0, 18, 0x7f, 0xff, 0, 0, 0, 9, 0xff, 0xff, 0])).unwrap();
    let mut head = [0u8; 10];
    peer.read_exact(&mut head).unwrap();
    assert_eq!(&head[4..], &[0, 0, 0, 9, 0, 35]);
    still_well(&mut node);
}

/// xorshift, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[test]
fn random_frames_and_half_frames_break_nothing() {
    let mut node = Node::start(&[]);
    let mut random = Random(0x5eed);
    for round in 0..400 {
        let mut body: Vec<u8> = (0..random.next() % 300).map(|_| random.next() as u8).collect();
        if body.len() > 4 && round % 2 == 0 {
            body[0] = 0;
            body[1] = (random.next() % 93) as u8;
            body[2] = 0;
            body[3] = (random.next() % 18) as u8;
        }
        let bytes = frame(&body);
        let sent = if round % 3 == 0 { bytes.len() / 2 } else { bytes.len() };
        let mut peer = node.connect();
        peer.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
        peer.write_all(&bytes[..sent]).ok();
        // Whatever comes, or nothing, is fine here: the node must not mind.
        let _answer = peer.read(&mut [0u8; 64]);
    }
    still_well(&mut node);
}

#[test]
fn thousands_of_silent_connections_cost_little() {
    let mut node = Node::start(&[]);
    let before = node.rss_kib();
    let open = 2000;
    let connect = |bytes: &[u8]| -> Vec<TcpStream> {
        (0..open / 2)
            .map(|_| {
                let mut peer = node.connect();
                peer.write_all(bytes).unwrap();
                peer
            })
            .collect()
    };
    let silent = connect(&[]);
    // A length of 99 MiB and no body: nothing may be reserved for it.
    let promising = connect(&(99u32 << 20).to_be_bytes());
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut grown = 0;
    while Instant::now() < deadline {
        grown = grown.max(node.rss_kib().saturating_sub(before));
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(grown / open < 16, "{grown} KiB for {open} connections");
    still_well(&mut node);
    drop((silent, promising));
}

#[test]
fn a_client_that_never_reads_is_bounded() {
    let mut node = Node::start(&[]);
    let before = node.rss_kib();
    let mut peer = node.connect();
    peer.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let ask = frame(&[0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]);
    let many: Vec<u8> = ask.iter().copied().cycle().take(ask.len() * 4096).collect();
    let mut sent = 0;
    // ~1 KB of answer per 14 bytes asked: unbounded, this would be gigabytes.
    while sent < 64 << 20 {
        match peer.write(&many) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "the node stops reading from a peer that does not read");
    let grown = node.rss_kib().saturating_sub(before);
    assert!(grown < 32 << 10, "{grown} KiB");
    still_well(&mut node);
}
