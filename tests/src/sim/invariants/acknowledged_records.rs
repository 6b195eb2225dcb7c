//! No acknowledged record is lost, and none that a reader has seen: each is where it was.

use super::super::client::Client;

/// None: a leader did not answer.
pub async fn check(client: &Client) -> Option<Vec<String>> {
    let (acknowledged, seen) = {
        let promises = client.promises();
        (promises.records.clone(), promises.seen.clone())
    };
    let mut partitions: Vec<(String, i32)> = acknowledged.keys().map(|(t, p, _)| (t.clone(), *p)).collect();
    partitions.dedup();
    let mut broken = Vec::new();
    for (topic, partition) in partitions {
        let found = client.read_all(&topic, partition).await?;
        for (what, records) in [("acknowledged", &acknowledged), ("read by somebody", &seen)] {
            let here = records.iter().filter(|((t, p, _), _)| (t, *p) == (&topic, partition));
            for ((t, p, offset), value) in here {
                let now = found.get(offset);
                if now != Some(value) {
                    broken.push(format!("{t}-{p} at {offset}: {value:?} was {what}, {now:?} is there"));
                }
            }
        }
    }
    Some(broken)
}
