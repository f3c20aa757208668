//! Whether the workers respond: each is asked for a sign of life, and gives it when it runs next.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::worker_queue::WorkerQueue;

/// Asks the workers of a server for signs of life, from any thread.
#[derive(Clone)]
pub struct Liveness {
    workers: Vec<Arc<WorkerQueue>>,
}

impl Liveness {
    pub(crate) fn of(workers: &[Arc<WorkerQueue>]) -> Self {
        Self {
            workers: workers.to_vec(),
        }
    }

    /// Asks every worker that has answered the last question. Costs each a wake-up.
    pub fn ask(&self, now: Instant) {
        self.workers.iter().for_each(|worker| worker.ask(now));
    }

    /// The worker that owes an answer for longest, by its number, and for how long; none when no
    /// worker owes one. A worker that takes no connections any more, because the server drains, is
    /// not asked.
    pub fn silent(&self, now: Instant) -> Option<(usize, Duration)> {
        let workers = self.workers.iter().enumerate();
        workers
            .filter_map(|(number, worker)| {
                let since = worker.asked_since()?;
                Some((number, now.saturating_duration_since(since)))
            })
            .max_by_key(|(_, silence)| *silence)
    }
}

impl fmt::Debug for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Liveness")
            .field("workers", &self.workers.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_run_is_silent_until_it_runs_again() {
        let taken = Arc::new(Notify::new());
        let queues: Vec<_> = (0..2)
            .map(|_| Arc::new(WorkerQueue::new(Arc::clone(&taken))))
            .collect();
        let liveness = Liveness::of(&queues);
        assert_eq!(liveness.silent(Instant::now()), None, "nobody was asked");
        let running = Arc::clone(&queues[0]);
        let runs = tokio::spawn(async move { running.next().await.is_none() });
        let asked = Instant::now();
        liveness.ask(asked);
        tokio::time::sleep(Duration::from_secs(3)).await;
        liveness.ask(Instant::now());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(
            liveness.silent(Instant::now()),
            Some((1, Duration::from_secs(4))),
            "a second question does not forget the first"
        );
        let late = Arc::clone(&queues[1]);
        let late = tokio::spawn(async move { late.next().await.is_none() });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(liveness.silent(Instant::now()), None);
        queues.iter().for_each(|queue| queue.close());
        assert!(runs.await.expect("no panic") && late.await.expect("no panic"));
        liveness.ask(Instant::now());
        assert_eq!(liveness.silent(Instant::now()), None, "they have ended");
    }
}
