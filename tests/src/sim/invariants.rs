//! What must hold in a simulated cluster, whatever happened to it.

use super::ActiveLog;
use super::client::Client;

/// No term has two active controllers.
pub fn one_active_controller_per_term(log: &ActiveLog) -> Vec<String> {
    let log = log.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut broken = Vec::new();
    for (term, nodes) in log.iter() {
        let mut distinct = nodes.clone();
        distinct.sort_unstable();
        distinct.dedup();
        if distinct.len() > 1 {
            broken.push(format!("term {term} has active controllers {distinct:?}"));
        }
    }
    broken
}

/// Every topic whose creation was acknowledged is there, under its id. None: the cluster did not answer.
pub async fn acknowledged_metadata_is_never_undone(client: &Client) -> Option<Vec<String>> {
    let promised = client.promises().topics.clone();
    let mut broken = Vec::new();
    for (name, id) in promised {
        let topic = client.topic(&name).await?;
        if topic.error_code != 0 || topic.topic_id != id {
            broken.push(format!(
                "topic {name} was created as {id} and is {:?} (error {})",
                topic.topic_id, topic.error_code
            ));
        }
    }
    Some(broken)
}

/// Every acknowledged record can be read where it was acknowledged. None: a leader did not answer.
pub async fn acknowledged_records_are_readable(client: &Client) -> Option<Vec<String>> {
    let promised = client.promises().records.clone();
    let mut broken = Vec::new();
    let mut partitions: Vec<(String, i32)> = promised.keys().map(|(t, p, _)| (t.clone(), *p)).collect();
    partitions.dedup();
    for (topic, partition) in partitions {
        let found = client.read_all(&topic, partition).await?;
        for ((t, p, offset), value) in promised.iter().filter(|((t, p, _), _)| (t, *p) == (&topic, partition))
        {
            if found.get(offset) != Some(value) {
                broken.push(format!(
                    "{t}-{p} at {offset}: {value:?} was acknowledged, {:?} is there",
                    found.get(offset)
                ));
            }
        }
    }
    Some(broken)
}
