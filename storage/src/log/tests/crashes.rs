//! Random histories with crashes, by seed, against a model.
//!
//! Operations run until the node dies: between two of them, or in the middle of one, by a crash of the process, by a loss of
//! power, or after a disk that returns errors. Then the log is opened again, and
//!
//!     process   every batch that was appended is there
//!     power     every batch below the flushed end is there
//!     both      what is there is, byte for byte, the first batches of the model: no hole, nothing torn, nothing that was cut;
//!               indexes, timestamps, epochs, producers and aborted transactions agree with the batches
//!
//! `WEIR_SIM_SEED` replays one seed; `WEIR_SIM_SEEDS` says how many are tried.

use host::sim::{CrashKind, DiskFaults, Node};
use protocol::batch::Batch;

use super::checks::{check, read_all};
use super::model::{InFlight, Model, Stored};
use super::*;

const FAULT: &str = "the fault is not noticed";

/// What the suite must notice; see the tests at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sabotage {
    None,
    /// A flush says that it is done and does nothing.
    NoFlush,
    /// A torn batch passes the CRC check.
    NoCrc,
}

/// What a life is started with, apart from the disk.
struct Boot {
    recovery_point: i64,
    kind: Option<CrashKind>,
    dice: Dice,
    sabotage: Sabotage,
}

/// Numbers for a job's decisions, drawn from the world's seed.
#[derive(Clone)]
pub(super) struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1500,
        index_interval_bytes: 150,
        segment_index_bytes: 200,
        ..LogConfig::default()
    }
}

type Shared = Arc<Mutex<Model>>;

struct Life<'a> {
    fs: &'a Fs,
    log: Log,
    model: Shared,
    dice: Dice,
    sabotage: Sabotage,
}

type Failed = Box<dyn std::error::Error>;
type Done = Result<(), Failed>;

impl Life<'_> {
    fn model(&self) -> std::sync::MutexGuard<'_, Model> {
        self.model.lock().expect("unpoisoned")
    }

    /// A batch of the next tag; of a producer with a sequence if `producer` is one.
    fn batch(&mut self, producer: Option<i64>, transactional: bool) -> Batch {
        let count = 1 + self.dice.below(4) as i32;
        let size = self.dice.below(120) as usize;
        let mut model = self.model();
        let tag = model.operations_done;
        let mut options = BatchOptions { transactional, ..BatchOptions::default() };
        if let Some(id) = producer {
            let sequence = model.sequences.entry(id).or_insert(0);
            (options.producer_id, options.producer_epoch, options.base_sequence) =
                (ProducerId(id), 0, *sequence);
            *sequence += count;
        }
        let mut builder = BatchBuilder::new(options);
        for n in 0..count {
            let value = format!("{tag}-{n}-{}", "x".repeat(size));
            builder.append(1000 + tag as i64 * 10 + i64::from(n), None, Some(value.as_bytes()), &[]);
        }
        builder.finish()
    }

    fn append(&mut self, batch: Batch) -> Done {
        let (end, epoch) = self.model().end_and_epoch();
        let stored = Stored::new(batch.clone(), end, epoch);
        self.model().in_flight = InFlight { appended: vec![stored.clone()], cut_to: None };
        let appended = self.log.append_own(self.fs, batch, LeaderEpoch(epoch), 0, &config())?;
        assert_eq!((appended.first_offset.0, appended.duplicate), (end, false));
        let mut model = self.model();
        model.batches.push(stored);
        model.in_flight = InFlight::default();
        Ok(())
    }

    /// Several batches of a leader at once, with a gap before them.
    fn follow(&mut self) -> Done {
        let gap = self.dice.below(4) as i64;
        let mut base = self.model().end() + gap;
        let mut appended = Vec::new();
        for _ in 0..=self.dice.below(6) {
            let batch = self.batch(None, false);
            let (_, epoch) = self.model().end_and_epoch();
            let stored = Stored::new(batch, base, epoch);
            base = stored.next() + self.dice.below(2) as i64;
            appended.push(stored);
        }
        let records: Vec<u8> = appended.iter().flat_map(|s| s.bytes.to_vec()).collect();
        self.model().in_flight = InFlight { appended: appended.clone(), cut_to: None };
        self.log.append_as_follower(self.fs, Bytes::from(records), 0, &config())?.expect("whole batches");
        self.model().batches.extend(appended);
        Ok(())
    }

    fn flush(&mut self) -> Done {
        if self.sabotage == Sabotage::NoFlush {
            let end = self.model().end();
            self.model().flushed_end = end;
            return Ok(());
        }
        let flush = self.log.prepare_flush(self.fs)?;
        if self.dice.below(3) == 0 {
            // Others go on while the disk is busy.
            let batch = self.batch(None, false);
            self.append(batch)?;
        }
        let result = flush.run(self.fs);
        self.log.finish_flush(&flush, result)?;
        assert_eq!(self.log.recovery_point(), flush.end());
        let flushed = flush.end().0;
        self.model().flushed_end = flushed;
        Ok(())
    }

    fn cut(&mut self) -> Done {
        let (start, end) = self.model().bounds();
        let to = start + (end - start) * (40 + self.dice.below(60) as i64) / 100;
        self.model().in_flight = InFlight { appended: Vec::new(), cut_to: Some(to) };
        self.log.truncate_to(self.fs, Offset(to))?;
        self.model().cut(to);
        let end = self.model().end();
        assert_eq!(self.log.log_end_offset().0, end);
        Ok(())
    }

    fn advance_start(&mut self) -> Done {
        let (start, end) = self.model().bounds();
        let to = start + (end - start) * self.dice.below(50) as i64 / 100;
        self.log.advance_log_start(self.fs, Offset(to))?;
        self.model().log_start = to.max(start);
        Ok(())
    }

    fn reopen(&mut self) -> Done {
        self.log.close(self.fs)?;
        let (log_start_offset, end) = self.model().bounds();
        let files = LogFiles { log_start_offset, recovery_point: end, ..files(true) };
        self.log = Log::open(self.fs, &files, &config(), 0)?;
        assert_eq!(self.log.recovered_bytes(), 0, "after a stop in order nothing is read again");
        self.model().flushed_end = end;
        Ok(())
    }

    fn step(&mut self) -> Done {
        self.model().operations_done += 1;
        match self.dice.below(24) {
            0 | 1 => self.flush()?,
            2 => self.log.roll(self.fs)?,
            3 => self.cut()?,
            4 => self.advance_start()?,
            5 => self.reopen()?,
            6 => self.model().epoch += 1,
            7 | 8 => self.follow()?,
            9 => check(self.fs, &mut self.log, &self.model.lock().expect("unpoisoned"))?,
            10 | 11 => {
                let (commit, id) = (self.dice.below(2) == 0, 5 + self.dice.below(2) as i64);
                self.append(end_transaction_batch(commit, ProducerId(id), 0, 1, 1))?;
            }
            n @ 12..=17 => {
                let (id, transactional) =
                    if n < 15 { (5 + self.dice.below(2) as i64, true) } else { (7, false) };
                let batch = self.batch(Some(id), transactional);
                self.append(batch)?;
            }
            _ => {
                let batch = self.batch(None, false);
                self.append(batch)?;
            }
        }
        self.model().in_flight = InFlight::default();
        Ok(())
    }
}

/// Opens the log after a crash and brings the model to what must be there.
fn reopen_after_crash<'a>(fs: &'a Fs, model: Shared, boot: &Boot) -> Result<Life<'a>, Failed> {
    if boot.sabotage == Sabotage::NoCrc {
        forge_checksums(fs)?;
    }
    // The log dir itself is made durable by `LogDir::open`.
    fs.create_dir_all(Path::new("/d"))?;
    fs.sync_dir(Path::new("/"))?;
    let log_start_offset = model.lock().expect("unpoisoned").log_start;
    let files = LogFiles { log_start_offset, recovery_point: boot.recovery_point, ..files(false) };
    let mut log = Log::open(fs, &files, &config(), 0)?;
    let found = read_all(fs, &mut log)?;
    {
        let mut model = model.lock().expect("unpoisoned");
        let in_flight = std::mem::take(&mut model.in_flight);
        let certain = match boot.kind {
            Some(CrashKind::Power) => model.flushed_end,
            _ => model.end(),
        };
        let end = log.log_end_offset().0;
        let least = certain.min(in_flight.cut_to.map_or(i64::MAX, |to| {
            let mut cut = model.clone();
            cut.cut(to);
            cut.end()
        }));
        assert!(end >= least, "the log ends at {end}, and up to {least} it was promised");
        let log_start = model.log_start.max(log.log_start_offset().0);
        model.batches.extend(in_flight.appended);
        model.batches.retain(|b| b.next() <= end);
        model.log_start = log_start;
        let expected: Vec<Bytes> = model.visible().map(|b| b.bytes.clone()).collect();
        let told = || format!("found {:?}, expected {:?}", offsets(&found), offsets(&expected));
        assert!(found == expected, "the log holds the first batches of the model: {}", told());
        assert!(model.end() == end || found.is_empty(), "the log ends with its last batch");
        model.flushed_end = model.flushed_end.min(end);
        model.learn_sequences();
        check(fs, &mut log, &model)?;
    }
    Ok(Life { fs, log, model, dice: boot.dice.clone(), sabotage: boot.sabotage })
}

fn offsets(batches: &[Bytes]) -> Vec<(i64, i64)> {
    let ends = |b: &Bytes| Batch::read(b).map(|b| (b.header.base_offset.0, b.header.last_offset().0));
    batches.iter().map(|b| ends(b).expect("a batch")).collect()
}

/// Makes the checksum of every torn batch fit, as if recovery did not look.
fn forge_checksums(fs: &Fs) -> Done {
    let dir = files(false).dir;
    if !fs.is_dir(&dir) {
        return Ok(());
    }
    for name in fs.list(&dir)?.iter().filter(|n| n.ends_with(".log")) {
        let file = fs.open(&dir.join(name), host::OpenMode::ReadWrite)?;
        let bytes = Bytes::from(fs.read_to_end(&dir.join(name))?);
        let mut at = 0;
        while let Ok(batch) = Batch::read(&bytes.slice(at..)) {
            let crc = protocol::batch::crc_of(&batch.header, &batch.payload);
            file.write_all_at(&crc.to_be_bytes(), at as u64 + 17)?;
            at += batch.size_bytes();
        }
    }
    Ok(())
}

/// A disk that fails, or a node that dies, is no finding.
fn expect_injected(error: &Failed) {
    let text = error.to_string();
    assert!(text.contains("crashed") || text.contains("os error 5"), "{text}");
}

/// One life, up to its crash or the end of its operations. Returns a recovery point that a checkpoint may hold, and
/// whether the log was opened.
fn live(world: &World, node: &Node, model: &Shared, boot: Boot) -> (i64, bool) {
    let disk = node.host().disk(Path::new("/d"));
    let point = Arc::new(Mutex::new((boot.recovery_point, false)));
    let (shared, known) = (Arc::clone(model), Arc::clone(&point));
    let operations = 5 + world.random() % 40;
    let opened = disk;
    let life_in_job = move |fs: &Fs| {
        let mut life = match reopen_after_crash(fs, shared, &boot) {
            Ok(life) => life,
            Err(error) => return expect_injected(&error),
        };
        known.lock().expect("unpoisoned").1 = true;
        for _ in 0..operations {
            let done = life.step();
            // A cut may have moved it back; a checkpoint is written after that, and may be older otherwise.
            let (now, mut known) = (life.log.recovery_point().0, known.lock().expect("unpoisoned"));
            let is_cut = life.model().in_flight.cut_to.is_some();
            let is_written = life.dice.below(2) == 0 || now < known.0 || is_cut;
            if is_written {
                known.0 = now;
            }
            if let Err(error) = done {
                return expect_injected(&error);
            }
        }
    };
    // The job of a node that dies in it gives no answer.
    let ended = world.block_on(Duration::from_secs(3600), async move { opened.run(life_in_job).await });
    assert!(ended.is_ok(), "{ended:?}");
    *point.lock().expect("unpoisoned")
}

/// Several lives of one log.
fn run_seed(seed: u64, sabotage: Sabotage) {
    let world = World::new(seed);
    let node = world.node("a");
    let model = Shared::default();
    let (mut kind, mut recovery_point) = (None, 0);
    for _ in 0..5 {
        let is_failing = world.random() % 4 == 1;
        match world.random() % 3 {
            _ if is_failing => {
                let write_errors_per_million = 2_000;
                node.set_disk_faults(DiskFaults { write_errors_per_million, ..DiskFaults::default() });
            }
            0 => node.crash_after_operations(20 + world.random() % 400),
            _ => {}
        }
        let boot = Boot { recovery_point, kind, dice: Dice(world.random()), sabotage };
        let (point, opened) = live(&world, &node, &model, boot);
        recovery_point = point;
        // What a failed sync has lost is still in the page cache, and marked clean: only a new boot shows the truth.
        let crash = if world.random().is_multiple_of(2) && !is_failing {
            CrashKind::Process
        } else {
            CrashKind::Power
        };
        node.crash(crash);
        node.set_disk_faults(DiskFaults::default());
        node.restart();
        // A log that could not be opened in between has seen both crashes.
        let stays = !opened && kind == Some(CrashKind::Power);
        kind = Some(if stays { CrashKind::Power } else { crash });
    }
    let boot = Boot { recovery_point, kind, dice: Dice(0), sabotage };
    assert!(live(&world, &node, &model, boot).1, "it opens on a healthy disk");
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|s| s.parse::<u64>().ok());
    match number("WEIR_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("WEIR_SIM_SEEDS").unwrap_or(200),
    }
}

fn fails(seed: u64, sabotage: Sabotage) -> bool {
    std::panic::catch_unwind(|| run_seed(seed, sabotage)).is_err()
}

#[test]
fn sim_crashes_lose_nothing_that_was_promised() {
    for seed in seeds() {
        assert!(!fails(seed, Sabotage::None), "seed {seed} fails: WEIR_SIM_SEED={seed} replays it");
    }
}

/// A process died in a cut, the next one as well, and a loss of power brought back what was cut.
#[test]
fn sim_crash_in_a_cut_and_a_loss_of_power_bring_nothing_back() {
    run_seed(1179, Sabotage::None);
}

/// What recovery wrote again of an aborted transaction below the recovery point was lost with the power after the next crash.
#[test]
fn sim_index_entries_that_recovery_made_again_outlive_two_crashes() {
    run_seed(3911, Sabotage::None);
}

/// Recovery dropped an aborted transaction that was durable, and died before what it wrote in its place was.
#[test]
fn sim_recovery_keeps_what_the_recovery_point_covers() {
    run_seed(7628, Sabotage::None);
}

/// A segment that was rolled right after a flush kept an index that no flush had made durable.
#[test]
fn sim_the_index_of_a_rolled_segment_is_durable_with_the_next_flush() {
    run_seed(8184, Sabotage::None);
}

/// A segment that was half deleted came back without its aborted transactions.
#[test]
fn sim_a_deletion_that_is_cut_short_shows_nothing_that_was_aborted() {
    run_seed(2011, Sabotage::None);
}

/// A cut that was cut short left an aborted transaction in the index that had been cut from the log.
#[test]
fn sim_a_cut_that_is_cut_short_leaves_no_aborted_transaction_behind() {
    run_seed(1983, Sabotage::None);
}

/// A segment that was rolled during a flush was taken for durable, its index as well.
#[test]
fn sim_the_index_of_a_segment_rolled_during_a_flush_is_not_taken_for_durable() {
    run_seed(75_585, Sabotage::None);
}

#[test]
fn sim_notices_a_flush_that_does_nothing() {
    assert!((0..40).any(|seed| fails(seed, Sabotage::NoFlush)), "{FAULT}");
}

#[test]
fn sim_notices_a_recovery_that_skips_the_checksums() {
    assert!((0..100).any(|seed| fails(seed, Sabotage::NoCrc)), "{FAULT}");
}
