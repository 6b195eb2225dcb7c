//! `weir produce`: lines of standard input become records.
//!
//! Lines gather into one batch per partition until the input pauses or a batch is large enough; a batch that is refused ends
//! the command, since what follows it would be out of order. With acks=all a batch that is sent again is written once.

use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal};

use protocol::batch::{BatchBuilder, BatchOptions, Compression, RecordHeader, add_sequence};
use protocol::ids::ProducerId;
use protocol::{Records, Str};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::cli::ProduceArgs;
use crate::client::{Client, in_words};
use crate::output::Output;
use crate::progress::Progress;

/// Lines read ahead of what is sent.
const LINES_AHEAD: usize = 10_000;
/// A batch is sent when it has so many bytes.
const BATCH_BYTES: usize = 256 << 10;

struct Line {
    key: Option<Vec<u8>>,
    value: Vec<u8>,
}

/// Sends everything and shows, per partition, what went where.
pub async fn run(client: Client, args: ProduceArgs) -> Result<Output, String> {
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
    let mut partitions: Vec<i32> =
        client.topic(&args.topic).await?.partitions.iter().map(|p| p.partition_index).collect();
    partitions.sort_unstable();
    if let Some(partition) = args.partition.filter(|p| !partitions.contains(p)) {
        let topic = &args.topic;
        return Err(format!(
            "topic {topic} has no partition {partition}; `weir topic describe {topic}` shows them"
        ));
    }
    let mut lines = read_lines(args.key_separator.clone());
    let mut sender = Sender::new(client, &args.topic, acks, compression).await?;
    let mut progress = sender.progress();
    let mut turn = 0;
    while let Some(first) = lines.recv().await {
        let mut batches: BTreeMap<i32, BatchBuilder> = BTreeMap::new();
        let (mut bytes, mut count) = (0, 0);
        let mut next = Some(first);
        while let Some(line) = next {
            bytes += line.value.len() + line.key.as_ref().map_or(0, Vec::len);
            count += 1;
            let partition = args.partition.unwrap_or_else(|| match &line.key {
                Some(key) => partitions[(murmur2(key) & 0x7fff_ffff) as usize % partitions.len()],
                None => partitions[turn % partitions.len()],
            });
            let batch = batches.entry(partition).or_insert_with(|| sender.batch(partition));
            let now_ms = sender.client.host.clock().wall_ms();
            batch.append(now_ms, line.key.as_deref(), Some(&line.value), &headers);
            next = if bytes < BATCH_BYTES { lines.try_recv().ok() } else { None };
        }
        turn += 1;
        for (partition, batch) in batches {
            sender.send(partition, batch).await?;
        }
        progress.add(count);
    }
    drop(progress);
    Ok(sender.output())
}

struct Sender {
    client: Client,
    topic: Str,
    acks: i16,
    /// With the producer id and epoch, if there is one.
    options: BatchOptions,
    sent: BTreeMap<i32, Sent>,
}

#[derive(Default)]
struct Sent {
    records: u64,
    last_offset: Option<i64>,
    next_sequence: i32,
}

impl Sender {
    async fn new(client: Client, topic: &str, acks: i16, compression: Compression) -> Result<Sender, String> {
        let mut options = BatchOptions { compression, ..BatchOptions::default() };
        if acks == -1 {
            let (id, epoch) = client.cluster.producer_id().await.map_err(in_words)?;
            (options.producer_id, options.producer_epoch) = (ProducerId(id), epoch);
        }
        Ok(Sender { client, topic: Str::from(topic), acks, options, sent: BTreeMap::new() })
    }

    fn progress(&self) -> Progress {
        let mut progress = Progress::new(self.client.host.clock(), "records sent", None);
        // Who types the lines knows how many they are.
        if std::io::stdin().is_terminal() {
            progress.hide();
        }
        progress
    }

    /// An empty batch, the next one of its partition.
    fn batch(&self, partition: i32) -> BatchBuilder {
        let mut options = self.options;
        if options.producer_id != ProducerId::NONE {
            options.base_sequence = self.sent.get(&partition).map_or(0, |sent| sent.next_sequence);
        }
        BatchBuilder::new(options)
    }

    async fn send(&mut self, partition: i32, batch: BatchBuilder) -> Result<(), String> {
        let count = batch.record_count();
        let records = Records::from(batch.finish().to_bytes());
        let written = self.client.cluster.produce_batch(&self.topic, partition, records, self.acks).await;
        let written = written.map_err(in_words)?;
        let sent = self.sent.entry(partition).or_default();
        sent.records += count as u64;
        sent.last_offset = written.map(|at| at.base_offset + i64::from(count) - 1);
        sent.next_sequence = add_sequence(sent.next_sequence, count);
        Ok(())
    }

    fn output(&self) -> Output {
        let mut output = Output::new(&["topic", "partition", "records", "last_offset"]);
        for (partition, sent) in &self.sent {
            let row: [Value; 4] = [
                self.topic.as_str().into(),
                (*partition).into(),
                sent.records.into(),
                sent.last_offset.into(),
            ];
            output.row(row.to_vec());
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
