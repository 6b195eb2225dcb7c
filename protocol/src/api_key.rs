//! The keys of the requests, and which versions of each exist.

use std::ops::RangeInclusive;

include!(concat!(env!("OUT_DIR"), "/api_keys.rs"));

struct Row {
    key: ApiKey,
    name: &'static str,
    versions: RangeInclusive<i16>,
    unstable: bool,
    flexible_from: Option<i16>,
    broker: bool,
    controller: bool,
}

impl ApiKey {
    pub fn from_code(code: i16) -> Option<ApiKey> {
        let at = ROWS.binary_search_by_key(&code, |row| row.key.code());
        at.ok().map(|at| ROWS[at].key)
    }

    pub fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name without the word Request, e.g. `CreateTopics`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The versions that the schema knows, an unfinished newest one included. Empty for requests that were removed.
    pub fn known_versions(self) -> RangeInclusive<i16> {
        self.row().versions.clone()
    }

    /// The versions that Kafka 4.3.1 serves by default: without an unfinished newest one (InitProducerId 6).
    pub fn stable_versions(self) -> RangeInclusive<i16> {
        let row = self.row();
        let (first, last) = (*row.versions.start(), *row.versions.end());
        if row.unstable { first..=last - 1 } else { first..=last }
    }

    /// The versions that ApiVersions tells, for requests that are served in all their stable versions.
    ///
    /// Produce is told from 0 although 0-2 are not served: librdkafka takes a broker without Produce 0-2 for one that
    /// cannot compress (Kafka's `PRODUCE_API_VERSIONS_RESPONSE_MIN_VERSION`).
    pub fn advertised_versions(self) -> RangeInclusive<i16> {
        let stable = self.stable_versions();
        if self == ApiKey::Produce { 0..=*stable.end() } else { stable }
    }

    /// The first version with compact encodings; None if there is none yet.
    pub fn flexible_from(self) -> Option<i16> {
        self.row().flexible_from
    }

    pub fn is_on_broker_listener(self) -> bool {
        self.row().broker
    }

    pub fn is_on_controller_listener(self) -> bool {
        self.row().controller
    }

    /// Every key, in order.
    pub fn all() -> impl Iterator<Item = ApiKey> {
        ROWS.iter().map(|row| row.key)
    }

    fn row(self) -> &'static Row {
        let at = ROWS.binary_search_by_key(&self.code(), |row| row.key.code());
        &ROWS[at.expect("every key has a row, and rows are in the order of their keys")]
    }
}

impl std::fmt::Display for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
