//! `weir consume`: records to standard output, of one partition or of all.
//!
//! Each partition is read by a task of its own; records of one partition come in order, those of several as they come.

use std::io::Write;

use protocol::batch::{Record, batches};
use protocol::{ErrorCode, Str, bounds};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wire::client::{Cluster, FetchOptions, Fetched};

use crate::cli::ConsumeArgs;
use crate::client::{Client, in_words};
use crate::commands::topic;
use crate::output::Format;
use crate::progress::Progress;

/// Batches of records on their way to standard output.
const BATCHES_AHEAD: usize = 16;
/// What is fetched of a partition at a time.
const FETCH_BYTES_MAX: i32 = 4 << 20;

/// Records of one partition, decoded.
struct Decoded {
    partition: i32,
    records: Vec<Record>,
}

/// One partition's reading.
struct Reader {
    cluster: Cluster,
    topic: Str,
    partition: i32,
    read_committed: bool,
}

/// Reads until it is told to stop, or until the end if that was asked.
pub async fn run(client: Client, args: ConsumeArgs) -> Result<(), String> {
    let described = client.topic(&args.topic).await?;
    let mut partitions: Vec<i32> = described.partitions.iter().map(|p| p.partition_index).collect();
    partitions.sort_unstable();
    if let Some(one) = args.partition {
        if !partitions.contains(&one) {
            return Err(format!(
                "topic {0} has no partition {one}; `weir topic describe {0}` shows them",
                args.topic
            ));
        }
        partitions = vec![one];
    }
    let (sender, mut decoded) = mpsc::channel(BATCHES_AHEAD);
    let mut tasks = Vec::new();
    let mut until_end = args.exit_at_end.then_some(0);
    for partition in partitions {
        let reader = Reader {
            cluster: client.cluster.clone(),
            topic: Str::from(args.topic.as_str()),
            partition,
            read_committed: args.read_committed,
        };
        let from = reader.start(&args.from).await?;
        let until = if args.exit_at_end { Some(reader.offset_at(topic::LATEST).await?) } else { None };
        until_end = until_end.zip(until).map(|(sum, until)| sum + (until - from).max(0) as u64);
        let sender = sender.clone();
        tasks.push(client.host.spawn("consume", async move { reader.read(from, until, sender).await }));
    }
    drop(sender);
    let total = args.max.into_iter().chain(until_end).min();
    let mut progress = Progress::beside_stdout(client.host.clock(), "records", total);
    let mut left = args.max.unwrap_or(u64::MAX);
    // Cancellation is not in play: this loop ends only by its own returns.
    while let Some(batch) = decoded.recv().await {
        let mut out = std::io::stdout().lock();
        for record in &batch.records {
            if left == 0 {
                return Ok(());
            }
            let written = write(&mut out, &args, batch.partition, record);
            if written.is_err() {
                return Ok(()); // Whoever read our output has gone.
            }
            left -= 1;
        }
        if out.flush().is_err() || left == 0 {
            return Ok(());
        }
        progress.add(batch.records.len() as u64);
    }
    for task in tasks {
        task.await.unwrap_or_else(|_| Err("a reader panicked".to_owned()))?;
    }
    Ok(())
}

impl Reader {
    async fn start(&self, from: &str) -> Result<i64, String> {
        if let Ok(offset) = from.parse() {
            return Ok(offset);
        }
        let timestamp = topic::timestamp(from)
            .map_err(|why| format!("--from is earliest, latest, an offset or a time: {why}"))?;
        match self.offset_at(timestamp).await? {
            // No record is that late.
            -1 => self.offset_at(topic::LATEST).await,
            offset => Ok(offset),
        }
    }

    async fn offset_at(&self, timestamp: i64) -> Result<i64, String> {
        self.cluster.offset_for(&self.topic, self.partition, timestamp).await.map_err(in_words)
    }

    async fn read(
        self,
        mut from: i64,
        until: Option<i64>,
        sender: mpsc::Sender<Decoded>,
    ) -> Result<(), String> {
        let options = FetchOptions {
            max_bytes: FETCH_BYTES_MAX,
            read_committed: self.read_committed,
            ..FetchOptions::default()
        };
        while until.is_none_or(|until| from < until) {
            let fetched = self.cluster.fetch(&self.topic, self.partition, from, options).await;
            let fetched = fetched.map_err(|error| match error.code() {
                Some(ErrorCode::OffsetOutOfRange) => format!(
                    "{}-{} has no offset {from}; `--from earliest` begins where it begins",
                    self.topic, self.partition
                ),
                _ => in_words(error),
            })?;
            let (records, next) = self.decode(&fetched, from)?;
            let is_at_end = until.is_some_and(|until| fetched.high_watermark >= until);
            if next == from && is_at_end && self.read_committed {
                return Ok(()); // What is left is not committed.
            }
            from = next;
            let batch = Decoded { partition: self.partition, records };
            if !batch.records.is_empty() && sender.send(batch).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The data records at or after `from`, and the next offset.
    fn decode(&self, fetched: &Fetched, from: i64) -> Result<(Vec<Record>, i64), String> {
        let wrong =
            |e: protocol::batch::BatchError| format!("{}-{} at {from}: {e}", self.topic, self.partition);
        let bytes = fetched.records.to_bytes().unwrap_or_default();
        let mut aborted = if self.read_committed { fetched.aborted.clone() } else { Vec::new() };
        let (mut records, mut next) = (Vec::new(), from);
        for batch in batches(bytes) {
            let batch = batch.map_err(wrong)?;
            batch.check_crc().map_err(wrong)?;
            next = next.max(batch.header.next_offset().0);
            let (producer, first) = (batch.header.producer_id.0, batch.header.base_offset.0);
            let aborted_at = aborted.iter().position(|(id, from)| *id == producer && *from <= first);
            if batch.header.is_control() {
                // A marker ends the transaction that began before it.
                aborted_at.map(|at| aborted.remove(at));
                continue;
            }
            if batch.header.is_transactional() && aborted_at.is_some() {
                continue;
            }
            for record in batch.records(bounds::DECOMPRESSED_BATCH_BYTES_MAX).map_err(wrong)? {
                let record = record.map_err(wrong)?;
                if record.offset.0 >= from {
                    records.push(record);
                }
            }
        }
        Ok((records, next))
    }
}

fn write(out: &mut impl Write, args: &ConsumeArgs, partition: i32, record: &Record) -> std::io::Result<()> {
    if args.target.format == Format::Table {
        out.write_all(record.value.as_deref().unwrap_or_default())?;
        return out.write_all(b"\n");
    }
    let headers: Vec<Value> =
        record.headers.iter().map(|h| json!([text(Some(&h.key)), text(h.value.as_ref())])).collect();
    let line = json!({
        "topic": args.topic,
        "partition": partition,
        "offset": record.offset.0,
        "timestamp": record.timestamp,
        "key": text(record.key.as_ref()),
        "value": text(record.value.as_ref()),
        "headers": headers,
    });
    writeln!(out, "{line}")
}

/// Text if it is text; otherwise base64 in an object, so that the two cannot be confused.
fn text(bytes: Option<&bytes::Bytes>) -> Value {
    match bytes {
        None => Value::Null,
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => json!({ "base64": protocol::value::base64(bytes) }),
        },
    }
}
