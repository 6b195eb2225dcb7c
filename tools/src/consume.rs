//! `weir consume`: records to standard output, of one partition or of all.
//!
//! Each partition is read by a task of its own; records of one partition come in order, those of several as they come.

use std::io::Write;

use protocol::batch::{Record, batches};
use protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use protocol::messages::fetch_response::PartitionData;
use protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use protocol::messages::{FetchRequest, ListOffsetsRequest};
use protocol::{ErrorCode, Str, bounds};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use wire::client::Node;

use crate::cli::ConsumeArgs;
use crate::cluster::{Cluster, Leaders, told};
use crate::output::Format;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// Batches of records on their way to standard output.
const BATCHES_AHEAD: usize = 16;

/// Records of one partition, decoded.
struct Fetched {
    partition: i32,
    records: Vec<Record>,
}

/// One partition's reading.
struct Reader {
    node: Node,
    topic: Str,
    topic_id: protocol::Uuid,
    partition: i32,
    read_committed: bool,
}

/// Reads until it is told to stop, or until the end if that was asked.
pub async fn run(cluster: Cluster, args: ConsumeArgs) -> Result<(), String> {
    let leaders = cluster.topic(&args.topic).await?;
    let partitions = args.partition.map_or_else(|| leaders.partitions(), |p| vec![p]);
    let (sender, mut fetched) = mpsc::channel(BATCHES_AHEAD);
    let mut tasks = Vec::new();
    for partition in partitions {
        let reader = reader(&leaders, partition, args.read_committed)?;
        let from = start(&reader, &args.from).await?;
        let until = if args.exit_at_end { Some(reader.offset_at(LATEST).await?) } else { None };
        let sender = sender.clone();
        tasks.push(cluster.host.spawn("consume", async move { reader.read(from, until, sender).await }));
    }
    drop(sender);
    let mut left = args.max.unwrap_or(u64::MAX);
    // Cancellation is not in play: this loop ends only by its own returns.
    while let Some(batch) = fetched.recv().await {
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
    }
    for task in tasks {
        task.await.unwrap_or_else(|_| Err("a reader panicked".to_owned()))?;
    }
    Ok(())
}

fn reader(leaders: &Leaders, partition: i32, read_committed: bool) -> Result<Reader, String> {
    Ok(Reader {
        node: leaders.leader(partition)?.clone(),
        topic: leaders.topic.name.clone().unwrap_or_default(),
        topic_id: leaders.topic.topic_id,
        partition,
        read_committed,
    })
}

async fn start(reader: &Reader, from: &str) -> Result<i64, String> {
    match from {
        "earliest" | "beginning" => reader.offset_at(EARLIEST).await,
        "latest" | "end" => reader.offset_at(LATEST).await,
        text => match (text.strip_prefix('@').map(str::parse), text.parse()) {
            (Some(Ok(timestamp)), _) => match reader.offset_at(timestamp).await? {
                -1 => reader.offset_at(LATEST).await,
                offset => Ok(offset),
            },
            (None, Ok(offset)) => Ok(offset),
            _ => Err(format!("--from {text:?} is not earliest, latest, an offset or @milliseconds")),
        },
    }
}

impl Reader {
    async fn offset_at(&self, timestamp: i64) -> Result<i64, String> {
        let partition =
            ListOffsetsPartition { partition_index: self.partition, timestamp, ..Default::default() };
        let topic =
            ListOffsetsTopic { name: self.topic.clone(), partitions: vec![partition], ..Default::default() };
        let request = ListOffsetsRequest {
            replica_id: -1,
            isolation_level: i8::from(self.read_committed),
            topics: vec![topic],
            ..Default::default()
        };
        let response = self.node.call(&request).await.map_err(|e| e.to_string())?;
        let answer = response.topics.first().and_then(|t| t.partitions.first());
        let answer = answer.ok_or("the broker did not answer for the partition")?;
        told(&format!("{}-{}", self.topic, self.partition), answer.error_code, None)?;
        Ok(answer.offset)
    }

    async fn read(
        self,
        mut from: i64,
        until: Option<i64>,
        sender: mpsc::Sender<Fetched>,
    ) -> Result<(), String> {
        while until.is_none_or(|until| from < until) {
            let data = self.fetch(from).await?;
            let name = format!("{}-{}", self.topic, self.partition);
            if ErrorCode::from_code(data.error_code) == ErrorCode::OffsetOutOfRange {
                return Err(format!("{name} has no offset {from}; `--from earliest` begins where it begins"));
            }
            told(&name, data.error_code, None)?;
            let (records, next) = self.decode(&data, from)?;
            if next == from && until.is_some_and(|until| data.high_watermark >= until && self.read_committed)
            {
                return Ok(()); // What is left is not committed.
            }
            from = next;
            let batch = Fetched { partition: self.partition, records };
            if !batch.records.is_empty() && sender.send(batch).await.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn fetch(&self, from: i64) -> Result<PartitionData, String> {
        let partition = FetchPartition {
            partition: self.partition,
            fetch_offset: from,
            partition_max_bytes: 4 << 20,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: self.topic.clone(),
            topic_id: self.topic_id,
            partitions: vec![partition],
            ..Default::default()
        };
        let request = FetchRequest {
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 16 << 20,
            isolation_level: i8::from(self.read_committed),
            topics: vec![topic],
            ..Default::default()
        };
        let response = self.node.call(&request).await.map_err(|e| e.to_string())?;
        told("fetch", response.error_code, None)?;
        let answer = response.responses.into_iter().next().and_then(|t| t.partitions.into_iter().next());
        answer.ok_or_else(|| "the broker did not answer for the partition".to_owned())
    }

    /// The data records at or after `from`, and the next offset.
    fn decode(&self, data: &PartitionData, from: i64) -> Result<(Vec<Record>, i64), String> {
        let wrong =
            |e: protocol::batch::BatchError| format!("{}-{} at {from}: {e}", self.topic, self.partition);
        let bytes = data.records.as_ref().and_then(protocol::Records::to_bytes).unwrap_or_default();
        let mut aborted = Vec::new();
        if self.read_committed {
            aborted = data.aborted_transactions.clone().unwrap_or_default();
        }
        let (mut records, mut next) = (Vec::new(), from);
        for batch in batches(bytes) {
            let batch = batch.map_err(wrong)?;
            batch.check_crc().map_err(wrong)?;
            next = next.max(batch.header.next_offset().0);
            let (producer, first) = (batch.header.producer_id.0, batch.header.base_offset.0);
            if batch.header.is_control() {
                // A marker ends the transaction that began before it.
                if let Some(at) =
                    aborted.iter().position(|t| t.producer_id == producer && t.first_offset <= first)
                {
                    aborted.remove(at);
                }
                continue;
            }
            let is_aborted = aborted.iter().any(|t| t.producer_id == producer && t.first_offset <= first);
            if batch.header.is_transactional() && is_aborted {
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
