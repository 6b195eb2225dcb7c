//! What is asked of both clusters, step by step, and how the answers are compared.

use crate::kcat;

/// How what two clusters say is compared. By default: whole, but for the number of spaces.
#[derive(Clone, Copy, Default)]
pub(crate) struct Compared {
    /// The order of lines is nobody's promise.
    is_unordered: bool,
    /// Every number is like every other: offsets and epochs of a cluster's own life.
    is_shape: bool,
    /// Each line of Weir's is one of Kafka's, which may say more.
    is_part: bool,
    /// Only by what must be in it: speeds, mostly.
    is_by_contents: bool,
    /// Lines with one of these in them are meant to differ.
    but: &'static [&'static str],
}

impl Compared {
    /// Whether what Weir says is what Kafka says.
    pub(crate) fn holds(&self, ours: &str, theirs: &str) -> bool {
        let (ours, theirs) = (self.lines(ours), self.lines(theirs));
        self.is_by_contents || ours == theirs || self.is_part && ours.iter().all(|line| theirs.contains(line))
    }

    fn lines(&self, text: &str) -> Vec<String> {
        let kept = text.lines().filter(|line| !self.but.iter().any(|word| line.contains(word)));
        let spaced = kept.map(|line| line.split(' ').filter(|w| !w.is_empty()).collect::<Vec<_>>().join(" "));
        let mut lines: Vec<String> =
            spaced.map(|line| if self.is_shape { shape(&line) } else { line }).collect();
        if self.is_unordered {
            lines.sort();
        }
        lines
    }
}

/// One command.
pub(crate) struct Step {
    /// One of Kafka's by its name in `classes.txt`, or kcat.
    pub(crate) tool: &'static str,
    /// `{at}`, `{at-controller}` and `{files}` are filled in; kcat is told where by itself.
    pub(crate) args: &'static str,
    pub(crate) input: &'static str,
    /// Written before it, into `{files}`.
    pub(crate) files: &'static [(&'static str, &'static str)],
    pub(crate) is_refused: bool,
    pub(crate) contains: &'static [&'static str],
    pub(crate) compared: Compared,
}

pub(crate) fn step(tool: &'static str, args: &'static str) -> Step {
    let (input, files, contains): (_, &[_], &[_]) = ("", &[], &[]);
    Step { tool, args, input, files, is_refused: false, contains, compared: Compared::default() }
}

impl Step {
    pub(crate) fn input(self, input: &'static str) -> Step {
        Step { input, ..self }
    }

    pub(crate) fn file(self, files: &'static [(&'static str, &'static str)]) -> Step {
        Step { files, ..self }
    }

    pub(crate) fn refused(self) -> Step {
        Step { is_refused: true, ..self }
    }

    pub(crate) fn contains(self, contains: &'static [&'static str]) -> Step {
        Step { contains, ..self }
    }

    pub(crate) fn unordered(self) -> Step {
        Step { compared: Compared { is_unordered: true, ..self.compared }, ..self }
    }

    pub(crate) fn shape(self) -> Step {
        Step { compared: Compared { is_shape: true, ..self.compared }, ..self }
    }

    pub(crate) fn part(self) -> Step {
        Step { compared: Compared { is_part: true, ..self.compared }, ..self }
    }

    pub(crate) fn by_contents(self) -> Step {
        Step { compared: Compared { is_by_contents: true, ..self.compared }, ..self }
    }

    /// `words` mark the lines that are meant to differ.
    pub(crate) fn but(self, words: &'static [&'static str]) -> Step {
        Step { compared: Compared { but: words, ..self.compared }, ..self }
    }
}

pub(crate) fn steps() -> Vec<Step> {
    let mut all = topics();
    all.extend(records());
    all.extend(groups());
    all.extend(live_group());
    all.extend(configs());
    all.extend(cluster());
    all.extend(placement());
    all.extend(load());
    all.extend(consoles());
    all.extend(kcat::steps());
    all
}

fn topics() -> Vec<Step> {
    let at = |args| step("topics", args);
    vec![
        at("{at} --create --topic t --partitions 3 --config segment.ms=1000000"),
        at("{at} --create --topic t").refused(),
        at("{at} --create --if-not-exists --topic t"),
        at("{at} --create --topic b@d").refused(),
        at("{at} --create --topic u --replication-factor 3").refused(),
        at("{at} --create --topic u --config no.such=1").refused(),
        at("{at} --create --topic assigned --replica-assignment 1,1"),
        at("{at} --list"),
        at("{at} --describe --topic t").contains(&["PartitionCount: 3"]),
        at("{at} --describe"),
        at("{at} --describe --topics-with-overrides"),
        at("{at} --describe --under-replicated-partitions"),
        at("{at} --describe --unavailable-partitions"),
        at("{at} --describe --under-min-isr-partitions"),
        at("{at} --describe --at-min-isr-partitions"),
        at("{at} --describe --topic absent").refused(),
        at("{at} --describe --if-exists --topic absent"),
        at("{at} --alter --topic t --partitions 5"),
        at("{at} --alter --topic t --partitions 2").refused(),
        at("{at} --delete --topic assigned"),
        at("{at} --delete --topic assigned").refused(),
        at("{at} --list").contains(&["t\n"]),
    ]
}

const LINES: &str = "h:1,i:2\tk1\tv1\nh:\tk2\tv2\nh:3\tk3\tNULL\nh:4\tk1\tv4\n";

fn records() -> Vec<Step> {
    let offsets = |args| step("get-offsets", args);
    vec![
        step(
            "console-producer",
            "{at} --topic t --reader-property parse.key=true \
             --reader-property parse.headers=true --reader-property null.marker=NULL",
        )
        .input(LINES),
        step(
            "console-consumer",
            "{at} --topic t --from-beginning --max-messages 4 --group classic \
             --formatter-property print.key=true --formatter-property print.headers=true \
             --formatter-property print.partition=true --formatter-property print.offset=true",
        ).unordered()
        .contains(&["h:1,i:2\tk1\tv1", "k3\tnull"]),
        step(
            "console-consumer",
            "{at} --topic t --from-beginning --max-messages 4 --group modern \
             --command-property group.protocol=consumer --formatter-property print.key=true",
        ).unordered()
        .contains(&["k2\tv2"]),
        offsets("{at} --topic t"),
        offsets("{at} --topic t --time earliest"),
        // Records of the same millisecond or not: that is not the cluster's doing.
        offsets("{at} --topic t --time max-timestamp").shape().contains(&["t:2:"]),
        offsets("{at} --topic t --time earliest-local"),
        offsets("{at} --topic t --time latest-tiered"),
        offsets("{at} --topic t --time 1"),
        offsets("{at} --topic-partitions t:1-3"),
        offsets("{at} --exclude-internal-topics"),
        offsets("{at} --topic absent").refused(),
        step("delete-records", "{at} --offset-json-file {files}/delete.json").file(&[(
            "delete.json",
            r#"{"version":1,"partitions":[{"topic":"t","partition":0,"offset":-1},{"topic":"t","partition":1,"offset":99}]}"#,
        )]),
        offsets("{at} --topic t --time earliest"),
        step("transactions", "{at} describe-producers --topic t --partition 0"),
    ]
}

/// What else the console's producer and consumer take.
fn consoles() -> Vec<Step> {
    let producer = |args| step("console-producer", args);
    let consumer = |args| step("console-consumer", args);
    vec![
        step("topics", "{at} --create --topic console --partitions 2"),
        producer("{at} --topic console --sync --compression-codec zstd --request-required-acks 1").input("a\n"),
        producer(
            "{at} --topic console --batch-size 100 --command-property enable.idempotence=true \
             --reader-property parse.key=true --reader-property key.separator=: --reader-property ignore.error=true",
        )
        .input("k:c\nno key\n"),
        producer("{at} --topic console --reader-property parse.key=true").input("no key\n").refused(),
        consumer("{at} --topic console --from-beginning --max-messages 3 --isolation-level read_committed")
            .unordered()
            .contains(&["no key"]),
        consumer(
            "{at} --include con.* --from-beginning --max-messages 3 --formatter-property print.timestamp=true \
             --formatter-property print.epoch=true --formatter-property key.separator=| \
             --formatter-property print.value=false --formatter-property print.key=true",
        )
        .unordered()
        .contains(&["CreateTime:"]),
        consumer("{at} --topic t --partition 2 --offset 1 --max-messages 1"),
        consumer("{at} --topic t --partition 2 --offset earliest --max-messages 1"),
        consumer("{at} --topic t --partition 2 --offset latest --timeout-ms 500"),
        consumer("{at} --topic console --group console --from-beginning --max-messages 3").unordered(),
        consumer(
            "{at} --topic __consumer_offsets --from-beginning --timeout-ms 1500 \
             --formatter org.apache.kafka.tools.consumer.OffsetsMessageFormatter",
        )
        .by_contents()
        .contains(&["\"group\":\"console\"", "\"topic\":\"console\""]),
    ]
}

fn groups() -> Vec<Step> {
    let at = |args| step("consumer-groups", args);
    vec![
        at("{at} --list").unordered(),
        at("{at} --list --state").unordered(),
        at("{at} --list --state Empty --type classic"),
        at("{at} --list --type consumer"),
        at("{at} --describe --group classic").unordered(),
        at("{at} --describe --group modern").unordered(),
        at("{at} --describe --group classic --state"),
        at("{at} --describe --group modern --state --verbose").shape(),
        at("{at} --describe --group classic --members --verbose"),
        at("{at} --describe --group absent"),
        at("{at} --validate-regex t.*"),
        step("groups", "{at} --list").unordered(),
        step("groups", "{at} --list --group-type consumer"),
        step("groups", "{at} --list --consumer").unordered(),
        step("share-groups", "{at} --list"),
        step("streams-groups", "{at} --list"),
        step("streams-application-reset", "{at} --application-id nobody --input-topics t --dry-run")
            .unordered(),
        at("{at} --reset-offsets --group classic --topic t --to-earliest --dry-run").unordered(),
        at("{at} --reset-offsets --group classic --topic t --to-earliest --execute").unordered(),
        at("{at} --reset-offsets --group classic --topic t:0,1 --to-latest --execute").unordered(),
        at("{at} --reset-offsets --group classic --topic t --shift-by -1 --execute").unordered(),
        at("{at} --reset-offsets --group classic --topic t --to-offset 1 --execute").unordered(),
        at("{at} --reset-offsets --group classic --topic t --to-datetime 2001-01-01T00:00:00.000 --execute")
            .unordered(),
        at("{at} --reset-offsets --group modern --all-topics --by-duration PT0S --execute").unordered(),
        at("{at} --reset-offsets --group modern --all-topics --to-current --export --dry-run").unordered(),
        at("{at} --reset-offsets --group modern --from-file {files}/offsets.csv --execute")
            .file(&[("offsets.csv", "t,0,0\nt,1,0\n")])
            .unordered(),
        at("{at} --describe --all-groups").unordered(),
        at("{at} --delete-offsets --group classic --topic t:0 --topic absent"),
        at("{at} --describe --offsets --group classic").unordered(),
        at("{at} --delete --group classic --group absent"),
        at("{at} --delete --group modern"),
        at("{at} --list"),
    ]
}

/// Group `live` has a member all the while, see `Side::join`.
fn live_group() -> Vec<Step> {
    let at = |args| step("consumer-groups", args);
    vec![
        at("{at} --describe --group live").contains(&["CONSUMER-ID"]),
        at("{at} --describe --group live --members"),
        // Kafka's epoch of a group of one is 2 when ours is 1.
        at("{at} --describe --group live --members --verbose").shape().contains(&["t:0,1,2,3,4"]),
        at("{at} --describe --group live --state"),
        at("{at} --describe --group live --state --verbose").shape(),
        at("{at} --reset-offsets --group live --topic t --to-earliest --execute"),
        at("{at} --delete-offsets --group live --topic t"),
        at("{at} --delete --group live"),
    ]
}

fn configs() -> Vec<Step> {
    let at = |args| step("configs", args);
    vec![
        at(
            "{at} --entity-type topics --entity-name t --alter --add-config cleanup.policy=[compact,delete],retention.ms=60000",
        ),
        at("{at} --entity-type topics --entity-name t --describe"),
        at("{at} --entity-type topics --entity-name t --describe --all").but(&["weir."]),
        at("{at} --entity-type topics --entity-name t --alter --delete-config retention.ms"),
        at("{at} --entity-type topics --entity-name t --alter --delete-config retention.ms"),
        // Set by its synonym in hours: the value is told, and Kafka tells no source of it either.
        at("{at} --entity-type topics --entity-name t --describe --all")
            .but(&["weir."])
            .contains(&["retention.ms=18000000 sensitive=false synonyms={}"]),
        at("{at} --entity-type topics --entity-name t --alter --add-config no.such=1").refused(),
        at("{at} --entity-type topics --entity-name t --alter --add-config retention.ms=x").refused(),
        at("{at} --entity-type topics --entity-name absent --describe"),
        at("{at} --entity-type brokers --entity-default --alter --add-config message.max.bytes=2000000"),
        at("{at} --entity-type brokers --entity-name 1 --alter --add-config message.max.bytes=3000000"),
        at("{at} --entity-type brokers --entity-default --describe"),
        at("{at} --entity-type brokers --entity-name 1 --describe"),
        at("{at} --entity-type brokers --entity-name 1 --alter --add-config node.id=5").refused(),
        at("{at} --entity-type brokers --entity-name 1 --describe --all").but(&["weir."]),
        at(
            "{at} --entity-type groups --entity-name g --alter --add-config consumer.session.timeout.ms=50000",
        ),
        at("{at} --entity-type groups --entity-name g --describe"),
        at("{at} --entity-type groups --entity-name g --describe --all"),
        at(
            "{at} --entity-type client-metrics --entity-name m --alter --add-config interval.ms=5000,metrics=[a.,b.]",
        ),
        at("{at} --entity-type client-metrics --entity-name m --describe"),
        at("{at} --entity-type client-metrics --entity-name m --alter --delete-config metrics"),
        at("{at} --entity-type client-metrics --describe"),
    ]
}

fn cluster() -> Vec<Step> {
    const DISABLED: &str = "SecurityDisabledException";
    let quorum = |args| step("metadata-quorum", args);
    vec![
        step("cluster-tool", "cluster-id {at}"),
        step("cluster-tool", "list-endpoints {at}"),
        step("cluster-tool", "list-endpoints {at-controller}"),
        quorum("{at} describe --status")
            .shape()
            // Our voters have directory ids, also those of a static quorum.
            .but(&["CurrentVoters"])
            .contains(&["CONTROLLER://CONTROLLER", "MaxFollowerLag: "]),
        quorum("{at} describe --replication").shape(),
        quorum("{at-controller} describe --status")
            .shape()
            // Our voters have directory ids, also those of a static quorum.
            .but(&["CurrentVoters"])
            .contains(&["CONTROLLER://CONTROLLER", "MaxFollowerLag: "]),
        step("acls", "{at} --list").refused().by_contents().contains(&[DISABLED]),
        step("acls", "{at} --add --allow-principal User:u --operation Read --topic t --force")
            .refused()
            .by_contents()
            .contains(&[DISABLED]),
        step("features", "{at} describe").shape().but(&["weir.version"]),
        step("features", "{at} upgrade --feature group.version=1 --dry-run"),
        step("features", "{at} downgrade --feature share.version=0"),
        step("features", "{at} upgrade --metadata 4.3-IV0"),
        step("features", "{at} upgrade --feature share.version=9")
            .refused()
            .by_contents()
            .contains(&["Could not upgrade share.version to 9.", "only supports versions 0-1"]),
        step("broker-api-versions", "{at}").part().but(&["UNSUPPORTED", "Telemetry", "weir"]),
        step("log-dirs", "{at} --describe --topic-list t --broker-list 1").shape(),
    ]
}

fn placement() -> Vec<Step> {
    let election = |args| step("leader-election", args);
    let reassign = |args| step("reassign-partitions", args);
    const MOVE: &str =
        r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1],"log_dirs":["any"]}]}"#;
    vec![
        election("{at} --election-type preferred --topic t --partition 0"),
        election("{at} --election-type unclean --topic t --partition 0"),
        election("{at} --election-type preferred --all-topic-partitions").unordered(),
        election("{at} --election-type preferred --topic absent --partition 0").refused(),
        reassign("{at} --generate --topics-to-move-json-file {files}/topics.json --broker-list 1")
            .file(&[("topics.json", r#"{"version":1,"topics":[{"topic":"t"}]}"#), ("move.json", MOVE)]),
        reassign("{at} --execute --reassignment-json-file {files}/move.json"),
        reassign("{at} --verify --reassignment-json-file {files}/move.json"),
        reassign("{at} --list"),
        reassign("{at} --cancel --reassignment-json-file {files}/move.json"),
    ]
}

fn load() -> Vec<Step> {
    vec![
        step("producer-perf-test", "{at} --topic perf --num-records 5000 --record-size 100 --throughput -1")
            .by_contents()
            .contains(&["5000 records sent"]),
        step("consumer-perf-test", "{at} --topic perf --num-records 5000")
            .by_contents()
            .contains(&[", 0.4768, ", ", 5000, "]),
        step("e2e-latency", "{at} --topic e2e --num-records 30 --producer-acks all --record-size 50")
            .by_contents()
            .contains(&["Avg latency: ", "50th = "]),
    ]
}

/// The text with what differs between any two clusters and runs made alike: ids, times.
pub(crate) fn mask_words(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let is_of_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let mut rest = text;
    while let Some(start) = rest.find(is_of_word) {
        masked.push_str(&rest[..start]);
        let end = rest[start..].find(|c| !is_of_word(c)).map_or(rest.len(), |len| start + len);
        masked.push_str(&mask(&rest[start..end]));
        rest = &rest[end..];
    }
    masked + rest
}

fn mask(word: &str) -> String {
    let has = |of: fn(&u8) -> bool| word.bytes().any(|b| of(&b));
    if word.len() == 22 && has(u8::is_ascii_uppercase) {
        return "ID".to_owned(); // A topic, a directory, a cluster.
    }
    if word.len() >= 12 && word.bytes().all(|b| b.is_ascii_digit()) {
        return "MS".to_owned();
    }
    match word.len().checked_sub(36).map(|at| word.split_at(at)) {
        Some((before, uuid)) if uuid.matches('-').count() == 4 => format!("{before}UUID"),
        _ => word.to_owned(),
    }
}

/// Every number replaced.
fn shape(text: &str) -> String {
    let mut shape = String::with_capacity(text.len());
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '0' } else { c };
        if c != '0' || !shape.ends_with(c) {
            shape.push(c);
        }
    }
    shape
}
