//! Each kind of anomaly is found in a small history, and alone; a good history passes.
#![allow(clippy::unwrap_used)]

use super::*;

/// A history in the words of the clients' lines.
fn history(lines: &[&str]) -> Vec<Event> {
    lines.iter().flat_map(|line| line.split(';')).map(|line| event(line.trim())).collect()
}

/// `sent a 0 a1`, `acked a 0 a1 7`, `failed a 0 a1`, `assigned c 0 1`, `revoked c 0`, `polled c 0 7 a1`, `committed 0 8`.
fn event(line: &str) -> Event {
    let words: Vec<&str> = line.split(' ').collect();
    let text = |at: usize| words[at].to_owned();
    let number = |at: usize| words[at].parse::<i32>().unwrap();
    let partitions = || words[2..].iter().map(|word| word.parse().unwrap()).collect();
    match words[0] {
        "sent" => Event::Sent { producer: text(1), partition: number(2), value: text(3) },
        "acked" => {
            let offset = words.get(4).map(|word| word.parse().unwrap());
            Event::Acknowledged { producer: text(1), partition: number(2), value: text(3), offset }
        }
        "failed" => Event::Failed { producer: text(1), partition: number(2), value: text(3) },
        "assigned" => Event::Assigned { consumer: text(1), partitions: partitions() },
        "revoked" => Event::Revoked { consumer: text(1), partitions: partitions() },
        "polled" => Event::Polled {
            consumer: text(1),
            partition: number(2),
            offset: number(3).into(),
            value: text(4),
        },
        "committed" => Event::Committed { partition: number(1), offset: number(2).into() },
        other => panic!("{other}"),
    }
}

fn logs(of: &[(i32, &[(i64, &str)])]) -> BTreeMap<i32, Log> {
    let log = |records: &[(i64, &str)]| records.iter().map(|(o, v)| (*o, (*v).to_owned())).collect();
    of.iter().map(|(partition, records)| (*partition, log(records))).collect()
}

/// Two producers, two members, an unknown outcome on each side, a refused record, a gap of offsets, and a rebalance after which
/// what was not committed comes again.
const GOOD: &[&str] = &[
    "assigned c 0 1",
    "sent a 0 a1; sent b 1 b1; acked a 0 a1 0; acked b 1 b1 0",
    "sent a 0 a2; sent a 0 a3; acked a 0 a2; acked a 0 a3 3",
    "sent b 0 there; sent b 0 away; sent b 1 b2; failed b 1 b2",
    "polled c 0 0 a1; committed 0 1; polled c 0 1 a2; polled c 1 0 b1",
    "revoked c 0; assigned d 0",
    "polled d 0 1 a2; polled d 0 3 a3; polled d 0 4 there",
];

fn good_logs() -> BTreeMap<i32, Log> {
    logs(&[(0, &[(0, "a1"), (1, "a2"), (3, "a3"), (4, "there")]), (1, &[(0, "b1")])])
}

#[test]
fn a_good_history_passes() {
    assert_eq!(check(&history(GOOD), &good_logs()), []);
}

#[test]
fn a_lost_write_is_found_whether_it_was_acknowledged_or_read() {
    let acknowledged = history(&["sent a 0 a1; acked a 0 a1"]);
    let lost = |was| Anomaly::LostWrite { partition: 0, value: "a1".to_owned(), was };
    assert_eq!(check(&acknowledged, &logs(&[(0, &[])])), [lost("acknowledged")]);
    let read = history(&["sent a 0 a1; assigned c 0; polled c 0 0 a1"]);
    assert_eq!(check(&read, &logs(&[(0, &[])])), [lost("read")]);
}

#[test]
fn a_duplicate_is_found() {
    let events = history(&["assigned c 0; sent a 0 a1; acked a 0 a1 0; polled c 0 0 a1; polled c 0 1 a1"]);
    let twice = Anomaly::Duplicate { partition: 0, value: "a1".to_owned(), offsets: vec![0, 1] };
    assert_eq!(check(&events, &logs(&[(0, &[(0, "a1"), (1, "a1")])])), [twice]);
}

#[test]
fn two_values_at_one_offset_are_found() {
    let events = history(&[
        "assigned c 0; sent a 0 a1; sent b 0 b1; acked a 0 a1 0; acked b 0 b1 0; polled c 0 0 a1; polled c 0 1 b1",
    ]);
    let found = check(&events, &logs(&[(0, &[(0, "a1"), (1, "b1")])]));
    let values = vec!["a1".to_owned(), "b1".to_owned()];
    assert!(found.contains(&Anomaly::InconsistentOffsets { partition: 0, offset: 0, values }), "{found:?}");
}

#[test]
fn a_refused_record_that_is_read_is_found() {
    let events = history(&["assigned c 0; sent a 0 a1; failed a 0 a1; polled c 0 0 a1"]);
    let refused = Anomaly::RefusedRead { partition: 0, value: "a1".to_owned() };
    assert_eq!(check(&events, &logs(&[(0, &[(0, "a1")])])), [refused]);
}

#[test]
fn a_record_that_nobody_sent_there_is_found() {
    let events = history(&["assigned c 0 1; sent a 0 a1; acked a 0 a1 0; polled c 0 0 a1; polled c 1 0 a1"]);
    let foreign = Anomaly::ForeignRead { partition: 1, value: "a1".to_owned() };
    assert_eq!(check(&events, &logs(&[(0, &[(0, "a1")]), (1, &[(0, "a1")])])), [foreign]);
}

/// Three records that were acknowledged, and how they were polled.
fn polled(lines: &str) -> Vec<Anomaly> {
    let sent = "sent a 0 a1; sent a 0 a2; sent a 0 a3; acked a 0 a1 0; acked a 0 a2 1; acked a 0 a3 2";
    check(&history(&["assigned c 0", sent, lines]), &logs(&[(0, &[(0, "a1"), (1, "a2"), (2, "a3")])]))
}

#[test]
fn a_poll_that_goes_back_is_found() {
    let back = Anomaly::NonmonotonicPoll { consumer: "c".to_owned(), partition: 0, before: 1, after: 0 };
    assert_eq!(
        polled("polled c 0 0 a1; polled c 0 1 a2; polled c 0 0 a1; polled c 0 1 a2; polled c 0 2 a3"),
        [back]
    );
    let again = Anomaly::NonmonotonicPoll { consumer: "c".to_owned(), partition: 0, before: 1, after: 1 };
    assert_eq!(polled("polled c 0 0 a1; polled c 0 1 a2; polled c 0 1 a2; polled c 0 2 a3"), [again]);
    let rebalanced =
        "polled c 0 0 a1; polled c 0 1 a2; revoked c 0; assigned c 0; polled c 0 1 a2; polled c 0 2 a3";
    assert_eq!(polled(rebalanced), []);
}

#[test]
fn a_poll_that_skips_is_found_though_others_read_it() {
    let skipped = Anomaly::SkippedPoll { consumer: "c".to_owned(), partition: 0, before: 0, after: 2 };
    assert_eq!(polled("polled c 0 0 a1; polled c 0 2 a3; assigned d 0; polled d 0 1 a2"), [skipped]);
}

#[test]
fn a_record_that_nobody_was_given_is_found() {
    let unseen = Anomaly::Unseen { partition: 0, offset: 2, value: "a3".to_owned() };
    assert_eq!(polled("polled c 0 0 a1; polled c 0 1 a2"), [unseen]);
}

#[test]
fn a_group_that_goes_back_behind_its_commit_is_found() {
    let all = "polled c 0 0 a1; polled c 0 1 a2; polled c 0 2 a3; committed 0 2; revoked c 0; assigned d 0";
    let rewound = Anomaly::RewoundGroup { consumer: "d".to_owned(), partition: 0, committed: 2, polled: 0 };
    assert_eq!(polled(&format!("{all}; polled d 0 0 a1")), [rewound]);
    assert_eq!(polled(&format!("{all}; polled d 0 2 a3")), []);
}

#[test]
fn sends_in_another_order_are_found_though_the_first_was_never_acknowledged() {
    let events = history(&[
        "assigned c 0; sent a 0 a1; sent a 0 a2; acked a 0 a2 0; polled c 0 0 a2; polled c 0 1 a1",
    ]);
    let reordered = Anomaly::ReorderedSend {
        producer: "a".to_owned(),
        partition: 0,
        first: "a1".to_owned(),
        second: "a2".to_owned(),
    };
    assert_eq!(check(&events, &logs(&[(0, &[(0, "a2"), (1, "a1")])])), [reordered]);
}

#[test]
fn a_cycle_of_writes_over_partitions_is_found() {
    // Each producer waits for its first record before it sends the second; the logs have them the other way about.
    let waiting = "sent a 0 a1; acked a 0 a1 1; sent a 1 a2; acked a 1 a2 0; sent b 1 b1; acked b 1 b1 1; sent b 0 b2; acked b 0 b2 0";
    let read = "assigned c 0 1; polled c 0 0 b2; polled c 0 1 a1; polled c 1 0 a2; polled c 1 1 b1";
    let ends = logs(&[(0, &[(0, "b2"), (1, "a1")]), (1, &[(0, "a2"), (1, "b1")])]);
    let found = check(&history(&[waiting, read]), &ends);
    assert!(matches!(&found[..], [Anomaly::WriteCycle { values }] if values.len() == 4), "{found:?}");
    // Who does not wait may see any order of different partitions.
    let pipelined = "sent a 0 a1; sent a 1 a2; acked a 0 a1 1; acked a 1 a2 0; sent b 1 b1; sent b 0 b2; acked b 1 b1 1; acked b 0 b2 0";
    assert_eq!(check(&history(&[pipelined, read]), &ends), []);
}
