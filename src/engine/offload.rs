//! Work of many milliseconds off the worker threads: reads of the store, and searches over hundreds
//! of calendars and days.
//!
//! A few pieces of work run at a time, on blocking threads, so that the worker that took the call
//! goes on serving others.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Instant as Deadline, timeout_at};

use super::Failure;
use crate::layout::Layout;

/// The number of searches that run at a time; further ones wait until their deadline.
pub(super) const SEARCHES_MAX: usize = 2;

/// Blocking threads for one kind of work, of which a bounded number runs at a time.
#[derive(Clone)]
pub(super) struct Offload {
    permits: Arc<Semaphore>,
    layout: Layout,
}

impl Offload {
    pub(super) fn new(layout: Layout, at_a_time: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(at_a_time)),
            layout,
        }
    }

    /// Whether work would begin at once.
    pub(super) fn is_free(&self) -> bool {
        self.permits.available_permits() > 0
    }

    /// Runs `work` when there is a free permit. Fails with `ExpiredInQueue` when there is none by
    /// the deadline.
    pub(super) async fn compute<T: Send + 'static>(
        &self,
        deadline: Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = match timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| Failure::ShuttingDown)?,
            Err(_) => return Err(Failure::ExpiredInQueue),
        };
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        match self.layout {
            Layout::Inline => Ok(work()),
            Layout::Threads => tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| Failure::ShuttingDown),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn what_takes_long_is_not_done_on_the_thread_that_takes_calls() {
        let here = std::thread::current().id();
        let later = Deadline::now() + Duration::from_secs(5);
        let there = |layout| async move {
            let thread = Offload::new(layout, 1)
                .compute(later, || std::thread::current().id())
                .await;
            thread.is_ok_and(|it| it != here)
        };
        assert!(there(Layout::Threads).await && !there(Layout::Inline).await);
        let offload = Offload::new(Layout::Threads, SEARCHES_MAX);
        let held: Vec<_> = (0..SEARCHES_MAX)
            .map(|_| Arc::clone(&offload.permits).try_acquire_owned())
            .collect();
        assert_eq!(
            offload.compute(Deadline::now(), || ()).await,
            Err(Failure::ExpiredInQueue),
            "a further search waits"
        );
        drop(held);
        assert_eq!(offload.compute(later, || ()).await, Ok(()));
    }
}
