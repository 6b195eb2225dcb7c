//! Committed metadata is never undone: every topic whose creation was acknowledged is there, under its id.

use super::super::client::Client;

/// None: the cluster did not answer.
pub async fn check(client: &Client) -> Option<Vec<String>> {
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
