//! Subscriptions to clients' metrics (KIP-714): what a `client-metrics` resource says, and which clients it is about.
//!
//! The controller checks a subscription before it is kept; brokers match clients against all of them.

use regex::{Regex, RegexBuilder};

use protocol::Str;
use protocol::config;

use crate::configs::Values;

/// Subscribes to every metric.
pub const ALL_METRICS: &str = "*";
/// Kafka's `ClientMetricsConfigs`: pushes come at least this often (ms) unless a subscription wants them sooner.
pub const INTERVAL_MS_DEFAULT: i32 = 5 * 60 * 1000;
const INTERVALS_MS: std::ops::RangeInclusive<i32> = 100..=3_600_000;
/// What the automaton of one pattern may take.
const PATTERN_BYTES_MAX: usize = 256 * 1024;

/// Why a subscription cannot be kept. The texts are what `client-metrics` and its like show.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubscriptionError {
    #[error("Subscription name can't be empty")]
    NoName,
    #[error("Unknown client metrics configuration: {0}")]
    UnknownConfig(Str),
    #[error("{0}")]
    Value(String),
    #[error("Invalid value {0} for interval.ms, interval must be between 100 and 3600000 (1 hour)")]
    Interval(i32),
    #[error("Illegal client matching pattern: {0}")]
    Pattern(String),
}

/// What is known of a client. None where it has not told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Attribute {
    InstanceId,
    ClientId,
    SoftwareName,
    SoftwareVersion,
    SourceAddress,
    SourcePort,
}

impl Attribute {
    pub const COUNT: usize = 6;

    fn from_name(name: &str) -> Option<Attribute> {
        Some(match name {
            "client_instance_id" => Attribute::InstanceId,
            "client_id" => Attribute::ClientId,
            "client_software_name" => Attribute::SoftwareName,
            "client_software_version" => Attribute::SoftwareVersion,
            "client_source_address" => Attribute::SourceAddress,
            "client_source_port" => Attribute::SourcePort,
            _ => return None,
        })
    }
}

/// A client's attributes, in the order of `Attribute`.
pub type Attributes = [Option<String>; Attribute::COUNT];

/// See the module.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// Prefixes of names, or `*`.
    pub metrics: Vec<String>,
    pub interval_ms: i32,
    matches: Vec<(Attribute, Regex)>,
}

impl Subscription {
    /// Reads the configs of a subscription.
    ///
    /// # Errors
    /// Whatever Kafka's `ClientMetricsConfigs.validate` refuses.
    pub fn parse(name: &str, values: &Values) -> Result<Subscription, SubscriptionError> {
        if name.is_empty() {
            return Err(SubscriptionError::NoName);
        }
        let mut subscription =
            Subscription { metrics: Vec::new(), interval_ms: INTERVAL_MS_DEFAULT, matches: Vec::new() };
        // All names before any value, as Kafka looks.
        if let Some(unknown) = values.keys().find(|name| config::client_metrics().get(name).is_none()) {
            return Err(SubscriptionError::UnknownConfig(unknown.clone()));
        }
        for (name, value) in values {
            let definition = config::client_metrics().get(name).expect("names were looked at above");
            let value = definition.parse(value);
            let value = value.map_err(|error| SubscriptionError::Value(error.to_string()))?;
            match (definition.name, value) {
                ("metrics", config::Value::List(items)) => subscription.metrics = items,
                ("match", config::Value::List(items)) => subscription.matches = patterns(&items)?,
                ("interval.ms", config::Value::Int(interval_ms)) => {
                    if !INTERVALS_MS.contains(&interval_ms) {
                        return Err(SubscriptionError::Interval(interval_ms));
                    }
                    subscription.interval_ms = interval_ms;
                }
                (name, value) => unreachable!("{name} is no {value}"),
            }
        }
        Ok(subscription)
    }

    /// Whether it is about this client: every pattern matches, and what a pattern asks for is known.
    pub fn is_about(&self, client: &Attributes) -> bool {
        let matches = |(attribute, pattern): &(Attribute, Regex)| {
            client[*attribute as usize].as_ref().is_some_and(|value| pattern.is_match(value))
        };
        self.matches.iter().all(matches)
    }
}

/// `attribute=pattern` each; of two about the same attribute the later one counts.
fn patterns(items: &[String]) -> Result<Vec<(Attribute, Regex)>, SubscriptionError> {
    let mut all: Vec<(Attribute, Regex)> = Vec::new();
    for item in items {
        let illegal = || SubscriptionError::Pattern(item.clone());
        // As Java splits: nothing behind the last separator is no part.
        let parts: Vec<&str> = item.trim_end_matches('=').split('=').collect();
        let [name, pattern] = parts[..] else { return Err(illegal()) };
        let attribute = Attribute::from_name(name.trim()).ok_or_else(illegal)?;
        // The whole value has to match.
        let whole = format!("^(?:{})$", pattern.trim());
        let pattern =
            RegexBuilder::new(&whole).size_limit(PATTERN_BYTES_MAX).build().map_err(|_| illegal())?;
        all.retain(|(other, _)| *other != attribute);
        all.push((attribute, pattern));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parse(values: &[(&str, &str)]) -> Result<Subscription, SubscriptionError> {
        let values = values.iter().map(|(name, value)| (Str::from(*name), Str::from(*value))).collect();
        Subscription::parse("s", &values)
    }

    fn client(software: &str, version: &str) -> Attributes {
        let known = |text: &str| Some(text.to_owned());
        [known("id"), None, known(software), known(version), known("127.0.0.1"), known("80")]
    }

    #[test]
    fn every_pattern_must_match_the_whole_value() {
        let both = "client_software_name = apache-kafka-java, client_software_version=4\\..*";
        let subscription = parse(&[("match", both), ("metrics", "a.,b."), ("interval.ms", "100")]).unwrap();
        assert_eq!(
            (subscription.metrics.as_slice(), subscription.interval_ms),
            (&["a.".into(), "b.".into()][..], 100)
        );
        assert!(subscription.is_about(&client("apache-kafka-java", "4.3.1")));
        assert!(!subscription.is_about(&client("apache-kafka-java", "3.9.0")));
        assert!(!subscription.is_about(&client("apache-kafka-java-fork", "4.3.1")));
        assert!(!parse(&[("match", "client_id=.*")]).unwrap().is_about(&client("", "")), "it has told none");
        assert!(parse(&[]).unwrap().is_about(&client("", "")), "no pattern is about everybody");
    }

    #[test]
    fn nothing_behind_the_last_separator_is_ignored() {
        assert!(parse(&[("match", "client_software_name=a=")]).unwrap().is_about(&client("a", "")));
    }

    #[test]
    fn what_kafka_refuses_is_refused() {
        let refused = |name, value| parse(&[(name, value)]).unwrap_err();
        assert_eq!(refused("interval.ms", "99"), SubscriptionError::Interval(99));
        assert_eq!(refused("interval.ms", "3600001"), SubscriptionError::Interval(3_600_001));
        assert_eq!(refused("interval", "1"), SubscriptionError::UnknownConfig("interval".into()));
        assert!(matches!(refused("interval.ms", "soon"), SubscriptionError::Value(_)));
        for pattern in ["client_id", "client_id=", "client_id=a=b", "rack=a", "client_id=(", "=a"] {
            assert_eq!(refused("match", pattern), SubscriptionError::Pattern(pattern.to_owned()));
        }
        assert_eq!(Subscription::parse("", &Values::new()).unwrap_err(), SubscriptionError::NoName);
    }
}
