//! A length from the wire never reserves more memory than the frame can hold: an allocator that remembers watches it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use bytes::{Bytes, BytesMut};
use protocol::messages::{DescribeGroupsRequest, MetadataRequest, ProduceRequest};
use protocol::{DecodeError, Decoder, Message};

use crate::all;

struct Remembering;

thread_local! {
    /// The largest piece of memory that this thread has asked for since it was last set to 0.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system's allocator unchanged; noting the size neither allocates nor unwinds.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Remembering {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `System` through this allocator.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: `memory` came from `System` through this allocator.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Remembering = Remembering;

fn note(size: usize) {
    // The thread may be ending: then there is nobody to tell.
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

/// The largest single allocation that `job` makes.
fn largest_allocation<T>(job: impl FnOnce() -> T) -> (T, usize) {
    LARGEST.with(|largest| largest.set(0));
    let result = job();
    (result, LARGEST.with(Cell::get))
}

#[test]
fn the_allocator_remembers() {
    assert!(
        largest_allocation(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(123_456)))).1 >= 123_456
    );
    assert_eq!(largest_allocation(|| ()).1, 0);
}

/// Five bytes made another codec reserve 309 GB and abort the process.
#[test]
fn five_bytes_of_metadata_request_reserve_nothing() {
    for version in [9, 12, 13] {
        let frame = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        let (read, bytes) = largest_allocation(|| MetadataRequest::decode(&mut Decoder::new(frame), version));
        assert!(matches!(read, Err(DecodeError::TooShort { .. })), "{read:?}");
        assert!(bytes < 1 << 10, "{bytes} bytes");
    }
}

#[test]
fn a_count_that_lies_reserves_at_most_one_step() {
    for (typed, m) in all() {
        for version in m.versions.range() {
            for lie in [
                &[0xff, 0xff, 0xff, 0xff, 0x07][..],
                &[0x7f, 0xff, 0xff, 0xff],
                &[0xff, 0xff, 0x03],
                &[0, 0, 0xff, 0xff],
            ] {
                for (before, after) in
                    [(0, 0), (1, 70_000), (2, 40), (7, 70_000), (12, 0), (17, 70_000), (40, 40)]
                {
                    let mut frame = BytesMut::zeroed(before);
                    frame.extend_from_slice(lie);
                    frame.extend_from_slice(&[0xff; 70_000][..after]);
                    let frame = frame.freeze();
                    let (_, bytes) = largest_allocation(|| (typed.convert)(frame, version, version));
                    assert!(
                        bytes <= 256 << 10,
                        "{} v{version}: {bytes} bytes for a frame of {after}",
                        m.name
                    );
                }
            }
        }
    }
}

/// An empty string is one byte on the wire and 32 in memory.
#[test]
fn a_frame_of_empty_strings_is_refused_before_it_fills_the_memory() {
    let count = 40 << 20;
    let mut out = protocol::Encoder::new();
    out.uvarint(count + 1);
    let mut frame = BytesMut::from(&out.into_bytes().expect("in memory")[..]);
    frame.resize(frame.len() + count as usize, 1);
    frame.extend_from_slice(&[0, 0]);
    let frame = frame.freeze();
    let (read, bytes) = largest_allocation(|| DescribeGroupsRequest::decode(&mut Decoder::new(frame), 5));
    assert_eq!(read, Err(DecodeError::TooMuchMemory));
    assert!(bytes <= 256 << 10, "{bytes} bytes");
}

/// Batches are opaque on their way: slices of the frame going in, chunks of their own going out.
#[test]
fn records_are_copied_neither_in_nor_out() {
    use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    let batch = Bytes::from(vec![7u8; 4 << 20]);
    let partition = PartitionProduceData { index: 3, records: Some(batch.into()) };
    let topic = TopicProduceData { name: "t".into(), partition_data: vec![partition], ..Default::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 1, topic_data: vec![topic], ..Default::default() };
    let (chunks, bytes) = largest_allocation(|| {
        let mut out = protocol::Encoder::new();
        request.encode(&mut out, 9).expect("fits");
        out.into_chunks()
    });
    assert!(bytes < 64 << 10, "{bytes} bytes");
    let frame = protocol::Records::from(chunks).to_bytes().expect("in memory");
    let (read, bytes) =
        largest_allocation(|| ProduceRequest::decode(&mut Decoder::new(frame), 9).expect("just written"));
    assert!(bytes < 64 << 10, "{bytes} bytes");
    assert_eq!(read, request);
}
