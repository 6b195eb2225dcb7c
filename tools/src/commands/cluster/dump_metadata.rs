//! `weir cluster dump-metadata`: the metadata log, as the files that a Kafka controller would have.
//!
//!     00000000000000000512-0000000003.checkpoint   the state up to offset 512, if the log does not begin at 0 any more
//!     00000000000000000512.log                     every batch from there to the high watermark
//!
//! Kafka's `dump-log --cluster-metadata-decoder` reads both. Our own metadata log lies in RocksDB, where it cannot look.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use host::{Fs, OpenMode};
use protocol::batch::batches;
use wire::client::{MetadataFetched, MetadataLog, MetadataLogError};

use super::ask_quorum;
use crate::client::{Client, in_words};
use crate::output::Output;

/// Reads the log from the active controller, and writes the files into `directory`.
pub(super) async fn run(
    client: &Client,
    directory: PathBuf,
    controller: Option<String>,
) -> Result<Output, String> {
    let (active, leader_epoch) = active_controller(client).await?;
    let address = controller.or(active);
    let address =
        address.ok_or("the brokers do not tell where the controller is; --controller host:port does")?;
    let session = client.node(&address).session().await.map_err(|e| in_words(e.into()))?;
    let log = MetadataLog::new(session, None).in_epoch(leader_epoch);
    let read = read(&log).await.map_err(|error| explain(&address, error))?;
    let mut output = Output::new(&["file", "bytes", "first_offset", "next_offset"]);
    let mut files = Vec::new();
    if let Some((end_offset, epoch, bytes)) = read.checkpoint {
        files.push((format!("{end_offset:020}-{epoch:010}.checkpoint"), bytes, 0, end_offset));
    }
    files.push((format!("{:020}.log", read.first), read.records.into(), read.first, read.next));
    for (name, bytes, first, next) in files {
        let path = directory.join(&name);
        let size = bytes.len();
        write(client, &directory, &path, bytes).await?;
        output.row(vec![path.display().to_string().into(), size.into(), first.into(), next.into()]);
    }
    Ok(output)
}

/// Its address, if that is known, and its epoch.
async fn active_controller(client: &Client) -> Result<(Option<String>, i32), String> {
    let answer = ask_quorum(client).await?;
    let partition = answer.topics.iter().flat_map(|t| &t.partitions).next();
    let (leader, epoch) = partition.map_or((-1, -1), |p| (p.leader_id, p.leader_epoch));
    let node = answer.nodes.iter().find(|n| n.node_id == leader);
    let listener = node.and_then(|n| n.listeners.first());
    Ok((listener.map(|l| format!("{}:{}", l.host, l.port)), epoch))
}

/// What was read.
struct Read {
    /// End offset, epoch, and the file as it is.
    checkpoint: Option<(i64, i32, Bytes)>,
    records: Vec<u8>,
    first: i64,
    next: i64,
}

async fn read(log: &MetadataLog) -> Result<Read, MetadataLogError> {
    let mut all = Read { checkpoint: None, records: Vec::new(), first: 0, next: 0 };
    // Of the record before the first one; Kafka's controllers want it to be 0.
    let mut epoch = 0;
    loop {
        // At the end there is nothing to wait for.
        match log.fetch(all.next, epoch, Duration::ZERO).await? {
            // Also in between, when the controller drops what a newer checkpoint covers: then begin there.
            MetadataFetched::Snapshot { end_offset, epoch: of } => {
                let bytes = log.fetch_snapshot(end_offset, of).await?;
                all = Read {
                    checkpoint: Some((end_offset, of, bytes)),
                    records: Vec::new(),
                    first: end_offset,
                    next: end_offset,
                };
                epoch = of;
            }
            MetadataFetched::Batches { records, high_watermark } => {
                let before = all.next;
                for batch in batches(records) {
                    let batch = batch.map_err(|_| MetadataLogError::Malformed("a batch cannot be read"))?;
                    let (first, next) = (batch.header.base_offset.0, batch.header.next_offset().0);
                    if first >= all.next {
                        all.records.extend_from_slice(&batch.to_bytes());
                        (all.next, epoch) = (next, batch.header.leader_epoch.0);
                    }
                }
                if all.next >= high_watermark || all.next == before {
                    return Ok(all);
                }
            }
        }
    }
}

fn explain(address: &str, error: MetadataLogError) -> String {
    match error {
        MetadataLogError::NotActive { .. } => {
            format!("the controller {address} is not the active one; `weir cluster quorum` shows who is")
        }
        MetadataLogError::Call(error) => in_words(error.into()),
        error => format!("{address}: {error}; is it a controller's listener?"),
    }
}

async fn write(client: &Client, directory: &Path, path: &Path, bytes: Bytes) -> Result<(), String> {
    let (dir, file) = (directory.to_owned(), path.to_owned());
    let job = move |fs: &Fs| {
        fs.create_dir_all(&dir)?;
        let file = fs.open(&file, OpenMode::Create)?;
        file.set_len(0)?;
        file.write_all_at(&bytes, 0)
    };
    let done = client.host.disk(directory).run(job).await;
    let done = done.map_err(|_| format!("{}: the disk is gone", directory.display()))?;
    done.map_err(|e| format!("{} cannot be written: {e}", path.display()))
}
