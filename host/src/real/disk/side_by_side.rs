//! A job for each of many items, on several threads; over when the last has run.

use std::sync::Mutex;

/// Runs `job` for each item on up to `threads` threads, the caller's among them. The results stand in the items' order.
/// A job that panics does so in the caller, once all threads have ended.
pub(super) fn run<I: Send, T: Send>(
    threads: usize,
    items: Vec<I>,
    job: impl Fn(I) -> T + Send + Sync,
) -> Vec<T> {
    let threads = threads.min(items.len());
    if threads <= 1 {
        return items.into_iter().map(job).collect();
    }
    let waiting = Mutex::new(items.into_iter().enumerate());
    let next = || waiting.lock().expect("nobody panics while holding it").next();
    let work = || {
        let mut done = Vec::new();
        while let Some((at, item)) = next() {
            done.push((at, job(item)));
        }
        done
    };
    let mut done = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut done = work();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
