//! How much memory a connection and a frame take.

use std::sync::Arc;

use bytes::BytesMut;

use crate::budget::FrameBudget;
use crate::frame::{FrameReader, Progress};
use crate::server::connection;
use crate::testing::{Raw, Site, framed, is_waiting, metadata_request};

struct Unwatched;

impl Progress for Unwatched {
    fn received(&self, _: usize) {}
    fn waits_for_memory(&self) {}
}

#[test]
fn the_future_of_a_connection_is_small() {
    let site = Site::new(1, |_| {});
    let (near, _far) = site.world.host().net().pair();
    let raw = site.raw();
    let _raw = site.run(async move {
        let mut raw = raw.await;
        raw.send(metadata_request(1)).await;
        assert_eq!(raw.id().await, Some(1));
        raw
    });
    let shared = Arc::clone(site.server.all().first().unwrap());
    let future = connection::run(shared, near);
    let bytes = size_of_val(&future);
    assert!(bytes <= 3 << 10, "a connection's future takes {bytes} bytes");
}

#[test]
fn a_length_reserves_no_memory() {
    let site = Site::new(1, |_| {});
    let (near, far) = site.world.host().net().pair();
    site.run(async move {
        let budget = FrameBudget::new(usize::MAX);
        let mut raw = Raw::new(far);
        let mut frames = FrameReader::new(near.split().0, 100 << 20);
        let mut sent = 4;
        raw.send((100i32 << 20).to_be_bytes().to_vec()).await;
        for _ in 0..8 {
            {
                let next = std::pin::pin!(frames.next(&budget, &Unwatched));
                assert!(is_waiting(next).await);
            }
            let held = frames.buffer_capacity();
            assert!(held <= 2 * sent + (4 << 10), "{held} bytes are held after {sent} came");
            raw.send(vec![0; 10_000]).await;
            sent += 10_000;
        }
    });
}

#[test]
fn between_frames_nothing_is_held() {
    let site = Site::new(1, |_| {});
    let (near, far) = site.world.host().net().pair();
    site.run(async move {
        let budget = FrameBudget::new(usize::MAX);
        let mut raw = Raw::new(far);
        let mut frames = FrameReader::new(near.split().0, 100 << 20);
        raw.send([framed(&[1; 100_000]), framed(b"two"), framed(b"")].concat()).await;
        let mut lengths = BytesMut::new();
        for _ in 0..3 {
            let frame = frames.next(&budget, &Unwatched).await.unwrap().unwrap();
            lengths.extend_from_slice(&(frame.payload.len() as u32).to_be_bytes());
        }
        assert_eq!(lengths, [0, 1, 0x86, 0xa0, 0, 0, 0, 3, 0, 0, 0, 0][..]);
        {
            let next = std::pin::pin!(frames.next(&budget, &Unwatched));
            assert!(is_waiting(next).await);
        }
        assert_eq!(budget.held_bytes(), 0);
        assert_eq!(frames.buffer_capacity(), 0);
    });
}
