//! `docs/conformance.md`: every request of Kafka's broker listener in every version, and what the suite says of it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use protocol::ApiKey;

use crate::compare::{Accepted, Difference};
use crate::recorded::Recording;

const HEAD: &str = "# Conformance: Weir and Apache Kafka 4.3.1, request by request

Written by the differential suite ([tests/differential](../tests/differential/README.md)); do not edit. Each step is a request that was
sent to both; *same* says that all answers were equal in every field that is not volatile (times, ids, hosts, words of error messages).

| request | versions | steps | scenarios | verdict |
|---|---|---|---|---|
";

/// What was seen of one request in one version.
#[derive(Default)]
struct Seen<'a> {
    steps: usize,
    scenarios: BTreeSet<&'a str>,
    differences: BTreeSet<String>,
}

/// The page, from what Weir answered and where that differs.
pub fn text(weir: &Recording, differences: &[Difference], accepted: &Accepted) -> String {
    let mut seen: BTreeMap<&str, Seen> = BTreeMap::new();
    for (scenario, outcomes) in weir {
        for outcome in outcomes {
            let seen = seen.entry(outcome.what.as_str()).or_default();
            seen.steps += 1;
            seen.scenarios.insert(scenario);
        }
    }
    for difference in differences {
        let reason = accepted.reason(difference).unwrap_or("an unexplained difference");
        let seen = seen.entry(difference.what.as_str()).or_default();
        seen.differences.insert(reason.to_owned());
    }
    let served = served(weir);
    let mut reasons: Vec<String> = Vec::new();
    let mut page = HEAD.to_owned();
    for key in ApiKey::all().filter(|key| key.is_on_broker_listener()) {
        let mut rows: Vec<(i16, i16, usize, BTreeSet<&str>, String)> = Vec::new();
        for version in key.stable_versions() {
            let what = format!("{} {version}", key.name());
            let none = Seen::default();
            let seen = seen.get(what.as_str()).unwrap_or(&none);
            let verdict = if served.contains(&i64::from(key.code())) {
                verdict(seen, &mut reasons)
            } else {
                "not served".to_owned()
            };
            match rows.last_mut() {
                Some((_, last, steps, scenarios, same)) if *same == verdict => {
                    *last = version;
                    *steps += seen.steps;
                    scenarios.extend(&seen.scenarios);
                }
                _ => rows.push((version, version, seen.steps, seen.scenarios.clone(), verdict)),
            }
        }
        for (first, last, steps, scenarios, verdict) in rows {
            let versions = if first == last { first.to_string() } else { format!("{first}-{last}") };
            let name = key.name();
            writeln!(page, "| {name} | {versions} | {steps} | {} | {verdict} |", scenarios.len())
                .expect("into a string");
        }
    }
    for (at, reason) in reasons.iter().enumerate() {
        write!(page, "\n{}. {reason}", at + 1).expect("into a string");
    }
    page + "\n"
}

/// The keys that Weir offers.
pub fn served(weir: &Recording) -> BTreeSet<i64> {
    let outcomes = weir.values().flatten();
    let offers = outcomes.filter(|o| o.what == "ApiVersions 4").find_map(|o| o.answer["apiKeys"].as_array());
    offers.into_iter().flatten().filter_map(|row| row["apiKey"].as_i64()).collect()
}

fn verdict(seen: &Seen, reasons: &mut Vec<String>) -> String {
    if seen.steps == 0 {
        return "not asked".to_owned();
    }
    if seen.differences.is_empty() {
        return "same".to_owned();
    }
    let mut numbers: Vec<usize> = Vec::new();
    for reason in &seen.differences {
        let at = reasons.iter().position(|r| r == reason).unwrap_or_else(|| {
            reasons.push(reason.clone());
            reasons.len() - 1
        });
        numbers.push(at + 1);
    }
    numbers.sort_unstable();
    let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
    format!("same but for {}", numbers.join(", "))
}
