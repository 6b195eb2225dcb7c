//! `weir produce`: lines of standard input become records.
//!
//! Lines gather into one batch per partition until the input pauses or a batch is large enough; a batch that is refused ends
//! the command, since what follows it would be out of order.

use std::collections::BTreeMap;
use std::io::BufRead;

use protocol::batch::{BatchBuilder, BatchOptions, Compression, RecordHeader};
use protocol::messages::ProduceRequest;
use protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use protocol::{Records, Str};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::cli::ProduceArgs;
use crate::cluster::{Cluster, Leaders, told};
use crate::output::Output;

/// Lines read ahead of what is sent.
const LINES_AHEAD: usize = 10_000;
/// A batch is sent when it has so many bytes.
const BATCH_BYTES: usize = 256 << 10;

struct Line {
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

/// Sends everything and shows, per partition, what went where.
pub async fn run(cluster: Cluster, args: ProduceArgs) -> Result<Output, String> {
    let compression = Compression::from_name(&args.compression).ok_or_else(|| {
        format!("{:?} is no compression; none, gzip, snappy, lz4 and zstd are", args.compression)
    })?;
    let acks = match args.acks.as_str() {
        "all" | "-1" => -1,
        "1" => 1,
        "0" => 0,
        other => return Err(format!("{other:?} is no acks; all, 1 and 0 are")),
    };
    let headers = args.headers.iter().map(|h| header(h)).collect::<Result<Vec<_>, _>>()?;
    let leaders = cluster.topic(&args.topic).await?;
    let partitions = leaders.partitions();
    if let Some(partition) = args.partition {
        leaders.leader(partition)?;
    }
    let mut lines = read_lines(args.key_separator.clone());
    let mut sender = Sender { cluster, leaders, topic: args.topic.clone(), acks, sent: BTreeMap::new() };
    let mut turn = 0;
    while let Some(first) = lines.recv().await {
        let mut batches: BTreeMap<i32, BatchBuilder> = BTreeMap::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(line) = next {
            bytes += line.value.len() + line.key.as_ref().map_or(0, Vec::len);
            let partition = args.partition.unwrap_or_else(|| match &line.key {
                Some(key) => partitions[(murmur2(key) & 0x7fff_ffff) as usize % partitions.len()],
                None => partitions[turn % partitions.len()],
            });
            let new = || BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
            let now_ms = sender.cluster.host.clock().wall_ms();
            batches.entry(partition).or_insert_with(new).append(
                now_ms,
                line.key.as_deref(),
                Some(&line.value),
                &headers,
            );
            next = if bytes < BATCH_BYTES { lines.try_recv().ok() } else { None };
        }
        turn += 1;
        for (partition, batch) in batches {
            sender.send(partition, batch).await?;
        }
    }
    Ok(sender.output())
}

struct Sender {
    cluster: Cluster,
    leaders: Leaders,
    topic: String,
    acks: i16,
    /// Records and the last offset, by partition.
    sent: BTreeMap<i32, (u64, i64)>,
}

impl Sender {
    async fn send(&mut self, partition: i32, batch: BatchBuilder) -> Result<(), String> {
        let count = batch.record_count();
        let data = PartitionProduceData {
            index: partition,
            records: Some(Records::from(batch.finish().to_bytes())),
            ..Default::default()
        };
        let name = Str::from(self.topic.as_str());
        let topic = TopicProduceData {
            name,
            topic_id: self.leaders.topic.topic_id,
            partition_data: vec![data],
            ..Default::default()
        };
        let request = ProduceRequest {
            acks: self.acks,
            timeout_ms: self.cluster.timeout.as_millis().min(i32::MAX as u128) as i32,
            topic_data: vec![topic],
            ..Default::default()
        };
        let node = self.leaders.leader(partition)?;
        if self.acks == 0 {
            let session = node.session().await.map_err(|e| e.to_string())?;
            let version = session.version(protocol::ApiKey::Produce).map_err(|e| e.to_string())?;
            session.connection().send_one_way(version, &request).map_err(|e| e.to_string())?;
            self.sent.entry(partition).or_insert((0, -1)).0 += count as u64;
            return Ok(());
        }
        let response = node.call(&request).await.map_err(|e| e.to_string())?;
        let answer = response.responses.first().and_then(|t| t.partition_responses.first());
        let answer = answer.ok_or("the broker did not answer for the partition")?;
        told(&format!("{}-{partition}", self.topic), answer.error_code, answer.error_message.as_ref())?;
        let sent = self.sent.entry(partition).or_insert((0, -1));
        *sent = (sent.0 + count as u64, answer.base_offset + i64::from(count) - 1);
        Ok(())
    }

    fn output(&self) -> Output {
        let mut output = Output::new(&["topic", "partition", "records", "last_offset"]);
        for (partition, (records, last)) in &self.sent {
            let last = if *last < 0 { Value::Null } else { (*last).into() };
            output.row(vec![self.topic.as_str().into(), (*partition).into(), (*records).into(), last]);
        }
        output
    }
}

fn header(text: &str) -> Result<RecordHeader, String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("--header wants name=value, not {text:?}"))?;
    Ok(RecordHeader { key: key.to_owned().into(), value: Some(value.to_owned().into()) })
}

/// Reads standard input on a thread of its own: a terminal may keep it waiting for ever.
#[allow(clippy::disallowed_methods)]
fn read_lines(separator: Option<String>) -> mpsc::Receiver<Line> {
    let (sender, lines) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            let Ok(line) = line else { break };
            if sender.blocking_send(split(line, separator.as_deref())).is_err() {
                break;
            }
        }
    });
    lines
}

fn split(line: Vec<u8>, separator: Option<&str>) -> Line {
    let Some(separator) = separator.filter(|s| !s.is_empty()) else { return Line { key: None, value: line } };
    match line.windows(separator.len()).position(|w| w == separator.as_bytes()) {
        Some(at) => Line { key: Some(line[..at].to_vec()), value: line[at + separator.len()..].to_vec() },
        None => Line { key: None, value: line },
    }
}

/// The hash by which Kafka's clients choose a partition for a key (Kafka's `Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut h = 0x9747_b28c ^ data.len() as u32;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes([word[0], word[1], word[2], word[3]]).wrapping_mul(M);
        k ^= k >> 24;
        h = h.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * i);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ h >> 15
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_go_where_javas_clients_send_them() {
        // From Kafka's Utils.murmur2, as in its own tests.
        for (key, hash) in
            [("21", -973_932_308i32), ("foobar", -790_332_482), ("a-little-bit-long-string", -985_981_536)]
        {
            assert_eq!(murmur2(key.as_bytes()) as i32, hash, "{key}");
        }
    }

    #[test]
    fn a_line_is_split_at_the_first_separator() {
        let line = split(b"k:v:w".to_vec(), Some(":"));
        assert_eq!((line.key, line.value), (Some(b"k".to_vec()), b"v:w".to_vec()));
        assert_eq!(split(b"k:v".to_vec(), None).key, None);
        assert_eq!(split(b"kv".to_vec(), Some(":")).value, b"kv".to_vec());
    }
}
