//! Looks after leaders while this node is the active controller: back to the preferred ones, and somebody for partitions
//! that have none.
//!
//! ```text
//!   leader.imbalance.check.interval.seconds --> preferred leaders   (auto.leader.rebalance.enable)
//!   unclean.leader.election.interval.ms ------> missing leaders     (uncleanly where the topic allows it)
//! ```
//! A turn decides a bounded number of elections; when there may be more to do, the next one follows at once.

use std::sync::Arc;
use std::time::Duration;

use host::Instant;

use crate::decide::{self, Context, Decision, Settings};
use crate::node::Node;

/// When leaders are looked after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Intervals {
    /// None: `auto.leader.rebalance.enable` is false.
    pub(crate) preferred: Option<Duration>,
    pub(crate) missing: Duration,
}

impl Intervals {
    /// As `server.properties` says, else Kafka's defaults; a value that is none was refused when it was read.
    pub(crate) fn of(settings: &Settings) -> Intervals {
        let number = |name| settings.static_value(name).trim().parse().unwrap_or(1).max(1);
        let is_balanced = settings.static_value("auto.leader.rebalance.enable").trim() != "false";
        let preferred = Duration::from_secs(number("leader.imbalance.check.interval.seconds"));
        Intervals {
            preferred: is_balanced.then_some(preferred),
            missing: Duration::from_millis(number("unclean.leader.election.interval.ms")),
        }
    }
}

/// A kind of work, and when it is due.
struct Work {
    decide: fn(&Context<'_>) -> Decision<bool>,
    every: Duration,
    due: Instant,
}

/// Runs for as long as the node does.
pub(crate) async fn run(node: Arc<Node>, intervals: Intervals) {
    let mut active = node.active.clone();
    let clock = node.host.clock().clone();
    loop {
        // The writer has ended, and so does this controller.
        let Ok(epoch) = active.wait_for(|active| active.here).await.map(|active| active.epoch) else {
            return;
        };
        let work = |decide, every| Work { decide, every, due: clock.now() + every };
        let mut all: Vec<Work> =
            intervals.preferred.map(|every| work(decide::balance_leaders as _, every)).into_iter().collect();
        all.push(work(decide::elect_missing_leaders, intervals.missing));
        while node.active().here && node.active().epoch == epoch {
            let next = all.iter_mut().min_by_key(|work| work.due).expect("there is some work");
            // Cancellation is safe: neither takes anything.
            tokio::select! {
                biased;
                _ = active.changed() => continue,
                () = clock.sleep_until(next.due) => {}
            }
            let decide = next.decide;
            let has_more = match node.perform(move |context, _| Ok(decide(context))).await {
                Ok(has_more) => has_more,
                Err(error) => {
                    tracing::info!(%error, "leaders were not looked after this time");
                    false
                }
            };
            next.due = if has_more { clock.now() } else { clock.now() + next.every };
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::Str;

    use super::*;

    #[test]
    fn the_intervals_are_those_of_the_properties() {
        let of = |pairs: &[(&str, &str)]| {
            let properties = pairs.iter().map(|(n, v)| (Str::from(*n), Str::from(*v))).collect();
            Intervals::of(&Settings { properties, ..Settings::default() })
        };
        assert_eq!(of(&[]).preferred, Some(Duration::from_secs(300)));
        assert_eq!(of(&[("auto.leader.rebalance.enable", "false")]).preferred, None);
        let often = of(&[
            ("leader.imbalance.check.interval.seconds", "7"),
            ("unclean.leader.election.interval.ms", "250"),
        ]);
        assert_eq!(
            (often.preferred, often.missing),
            (Some(Duration::from_secs(7)), Duration::from_millis(250))
        );
    }
}
