//! Work of many milliseconds: reads of the store, and searches over hundreds of calendars and days. It is done on threads of
//! its own, a few at a time, so that the thread which took the call goes on serving others.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Instant as Deadline, timeout_at};

use super::Failure;
use crate::layout::Layout;

/// How many searches are made at a time; more wait for their turn until their deadline.
pub(super) const SEARCHES_MAX: usize = 2;

/// Where some work is done, so much of it at a time.
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

    /// Whether some work would begin at once.
    pub(super) fn is_free(&self) -> bool {
        self.permits.available_permits() > 0
    }

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
        let aside = Offload::new(Layout::Threads, SEARCHES_MAX);
        let held: Vec<_> = (0..SEARCHES_MAX)
            .map(|_| Arc::clone(&aside.permits).try_acquire_owned())
            .collect();
        assert_eq!(
            aside.compute(Deadline::now(), || ()).await,
            Err(Failure::ExpiredInQueue),
            "more waits its turn"
        );
        drop(held);
        assert_eq!(aside.compute(later, || ()).await, Ok(()));
    }
}
