//! Clients' own metrics, as they have pushed them (KIP-714).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metrics::exposition::{Pages, ReaderGone};
use crate::metrics::names;
use crate::telemetry::{Client, Family, Telemetry};

/// Who has pushed series of a family.
type Members<'a> = Vec<(&'a Arc<Client>, &'a Family)>;

pub(super) async fn write(telemetry: &Telemetry, pages: &mut Pages) -> Result<(), ReaderGone> {
    let (instances, clients) = telemetry.clients();
    pages.single(&names::TELEMETRY_INSTANCES, instances as f64);
    pages.single(&names::TELEMETRY_UNKNOWN, telemetry.unknown_subscriptions.get() as f64);
    pages.single(&names::TELEMETRY_THROTTLED, telemetry.throttled.get() as f64);
    pages.single(&names::TELEMETRY_PUSHES, telemetry.pushes.get() as f64);
    pages.single(&names::TELEMETRY_FAILED, telemetry.failed_pushes.get() as f64);
    pages.single(&names::TELEMETRY_DROPPED, telemetry.dropped_series.get() as f64);
    // A family's series stand together, whoever they are of; a name is of one kind.
    let mut families: BTreeMap<&str, (bool, Members<'_>)> = BTreeMap::new();
    for client in &clients {
        for family in client.families.keys() {
            let (is_counter, of) = families.entry(&family.0).or_insert((family.1, Vec::new()));
            if *is_counter == family.1 {
                of.push((client, family));
            }
        }
        pages.pause().await;
    }
    for (name, (is_counter, of)) in &families {
        pages.named_family(name, if *is_counter { "counter" } else { "gauge" }, "Pushed by clients.");
        for (client, family) in of {
            for (labels, value) in &client.families[*family] {
                let all = client.labels.iter().chain(labels);
                let all: Vec<(&str, &str)> = all.map(|(key, value)| (key.as_str(), value.as_str())).collect();
                pages.sample(&all, *value);
                pages.turn().await?;
            }
        }
    }
    Ok(())
}
