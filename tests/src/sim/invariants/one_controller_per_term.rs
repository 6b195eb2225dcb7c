//! No term has two active controllers.

use super::super::ActiveLog;

pub fn check(log: &ActiveLog) -> Vec<String> {
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
