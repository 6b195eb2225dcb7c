//! The same server on the machine's own network.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // The clients are deliberately not ours.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use host::OpenMode;
use protocol::{Chunk, Records, Region};
use tokio::runtime::Runtime;

use crate::testing::{Desk, fetch_request, metadata_request, serve};
use crate::{Server, ServerConfig, ServerHandle};

/// Runs a test beside a server on a free port of 127.0.0.1.
fn with_server(test: impl FnOnce(&Runtime, &Arc<Desk>, &ServerHandle)) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (desk, server) = runtime.block_on(async {
        let host = host::real::host();
        let desk = Desk::new(&host);
        let bound = Server::bind(&host, ServerConfig::new("PLAINTEXT", "127.0.0.1:0")).await.unwrap();
        let server = serve(&desk, bound);
        (desk, server)
    });
    test(&runtime, &desk, &server);
    runtime.block_on(server.stop(Duration::from_secs(5)));
    assert_eq!(server.connection_count(), 0);
}

fn connect(server: &ServerHandle) -> TcpStream {
    let stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

fn read_frame(stream: &mut TcpStream) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut payload = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut payload).unwrap();
    payload
}

#[test]
fn pipelined_requests_are_answered_in_order_over_tcp() {
    with_server(|_, _, server| {
        let mut stream = connect(server);
        let all: Vec<u8> = (0..1000).flat_map(metadata_request).collect();
        let mut sender = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || sender.write_all(&all).unwrap());
        for id in 0..1000 {
            assert_eq!(read_frame(&mut stream)[..4], i32::to_be_bytes(id));
        }
        sending.join().unwrap();
    });
}

#[test]
fn a_file_region_goes_to_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    with_server(|runtime, desk, server| {
        let content: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let (path, bytes) = (dir.path().join("segment"), content.clone());
        let job = move |fs: &host::Fs| {
            let file = fs.open(&path, OpenMode::CreateNew).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            file
        };
        let file = runtime.block_on(desk.host.disk(dir.path()).run(job)).unwrap();
        let region = Region { source: Arc::new(file), position: 10, length: 2_500_000 };
        let chunks = vec![Chunk::Region(region), Chunk::Bytes(Bytes::from_static(b"end"))];
        *desk.records.lock().unwrap() = Records::from(chunks);
        let mut stream = connect(server);
        for id in 0..3 {
            stream.write_all(&fetch_request(id)).unwrap();
            let frame = read_frame(&mut stream);
            let expected = [&content[10..2_500_010], b"end"].concat();
            let at = frame.windows(100).position(|w| w == &expected[..100]).unwrap();
            assert_eq!(frame[at..at + expected.len()], expected);
        }
    });
}
