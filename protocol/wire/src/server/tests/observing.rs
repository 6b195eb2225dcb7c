//! What an observer is told: each answer once, and where its time went.

use std::sync::Mutex;

use protocol::ApiKey;

use super::*;
use crate::{Answered, Observer, Peer};

#[derive(Default)]
struct Notes {
    answered: Mutex<Vec<Note>>,
    closed: Mutex<usize>,
}

#[derive(Clone, Debug, PartialEq)]
struct Note {
    key: ApiKey,
    version: i16,
    bytes: (u64, u64),
    local: Duration,
    remote: Duration,
    queued: Duration,
    no_errors: u32,
    errors: Vec<(i16, u32)>,
}

impl Observer for Notes {
    fn closed(&self, _: &Peer) {
        *self.closed.lock().unwrap() += 1;
    }

    fn answered(&self, answered: &Answered<'_>) {
        let Answered { key, version, local, remote, queued, .. } = *answered;
        let bytes = (answered.request_bytes, answered.response_bytes);
        let (no_errors, errors) = (answered.errors.none, answered.errors.others.clone());
        self.answered.lock().unwrap().push(Note {
            key,
            version,
            bytes,
            local,
            remote,
            queued,
            no_errors,
            errors,
        });
    }
}

fn watched() -> (Arc<Notes>, Site) {
    let notes = Arc::new(Notes::default());
    let observer = Arc::clone(&notes);
    let site = Site::new(1, |config| config.observer = observer);
    (notes, site)
}

#[test]
fn the_time_of_an_answer_is_told_by_where_it_went() {
    let (notes, site) = watched();
    *site.desk.ordered_part.lock().unwrap() = Duration::from_secs(2);
    let (raw, desk) = (site.raw(), Arc::clone(&site.desk));
    let (produce, metadata) = (produce_request(0, -1), metadata_request(1));
    let lengths = (produce.len() as u64, metadata.len() as u64);
    site.run(async move {
        let mut raw = raw.await;
        raw.send([produce, metadata].concat()).await;
        // The ordered part of Metadata takes two seconds; its answer then waits behind that of Produce, which takes five.
        desk.host.clock().sleep(Duration::from_secs(5)).await;
        desk.commits.add_permits(1);
        assert_eq!((raw.id().await, raw.id().await), (Some(0), Some(1)));
        drop(raw);
        // The server sees the end a little later.
        desk.host.clock().sleep(Duration::from_secs(1)).await;
    });
    let told = notes.answered.lock().unwrap().clone();
    let [produce, metadata] = &told[..] else { panic!("two answers: {told:?}") };
    let is_about = |duration: Duration, s: u64| (duration.as_secs_f64() - s as f64).abs() < 0.5;
    assert_eq!((produce.key, produce.version, produce.bytes.0), (ApiKey::Produce, 9, lengths.0));
    assert!(
        is_about(produce.local, 0) && is_about(produce.remote, 5) && is_about(produce.queued, 0),
        "{told:?}"
    );
    assert_eq!((metadata.key, metadata.bytes.0), (ApiKey::Metadata, lengths.1));
    assert!(
        is_about(metadata.local, 2) && metadata.remote.is_zero() && is_about(metadata.queued, 3),
        "{told:?}"
    );
    assert!(told.iter().all(|note| note.bytes.1 > 0));
    assert_eq!(*notes.closed.lock().unwrap(), 1);
}

#[test]
fn a_request_without_an_answer_is_told_too() {
    let (notes, site) = watched();
    let raw = site.raw();
    site.run(async move {
        let mut raw = raw.await;
        raw.send([produce_request(0, 0), produce_request(1, 1)].concat()).await;
        assert_eq!(raw.id().await, Some(1));
    });
    let told = notes.answered.lock().unwrap().clone();
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].bytes.1, 0);
}

#[test]
fn the_error_codes_of_an_answer_are_counted() {
    let (notes, site) = watched();
    let raw = site.raw();
    site.run(async move {
        let mut raw = raw.await;
        let versions = ApiVersionsRequest::default();
        // Fetch answers with an error code of its own and one for its partition.
        raw.send([fetch_request(0), crate::testing::request(1, 3, &versions)].concat()).await;
        assert_eq!((raw.id().await, raw.id().await), (Some(0), Some(1)));
    });
    let told = notes.answered.lock().unwrap().clone();
    assert_eq!((told[0].key, told[0].no_errors, told[0].errors.as_slice()), (ApiKey::Fetch, 2, &[][..]));
    // A client that does not say what it is.
    let invalid = ErrorCode::InvalidRequest.code();
    assert_eq!(
        (told[1].key, told[1].no_errors, told[1].errors.as_slice()),
        (ApiKey::ApiVersions, 0, &[(invalid, 1)][..])
    );
}
