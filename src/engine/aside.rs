//! Work of many milliseconds that needs no store: a search over hundreds of calendars and days. It is done on threads of its
//! own, a few at a time, so that the thread which took the call goes on serving others.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::time::{Instant as Deadline, timeout_at};

use super::{Failure, Layout};

/// How much of it is done at a time; more waits for its turn until its deadline.
const ASIDE_MAX: usize = 2;

#[derive(Clone)]
pub(super) struct Aside {
    permits: Arc<Semaphore>,
    layout: Layout,
}

impl Aside {
    pub(super) fn new(layout: Layout) -> Self {
        Self { permits: Arc::new(Semaphore::new(ASIDE_MAX)), layout }
    }

    pub(super) async fn compute<T: Send + 'static>(
        &self,
        deadline: Deadline,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        if self.layout == Layout::Inline {
            return Ok(work());
        }
        let permit = match timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| Failure::ShuttingDown)?,
            Err(_) => return Err(Failure::ExpiredInQueue),
        };
        let work = move || {
            let done = work();
            drop(permit);
            done
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Failure::ShuttingDown)
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
            let thread = Aside::new(layout).compute(later, || std::thread::current().id()).await;
            thread.is_ok_and(|it| it != here)
        };
        assert!(there(Layout::Threads).await && !there(Layout::Inline).await);
        let aside = Aside::new(Layout::Threads);
        let held: Vec<_> = (0..ASIDE_MAX).map(|_| Arc::clone(&aside.permits).try_acquire_owned()).collect();
        assert_eq!(aside.compute(Deadline::now(), || ()).await, Err(Failure::ExpiredInQueue), "more waits its turn");
        drop(held);
        assert_eq!(aside.compute(later, || ()).await, Ok(()));
    }
}
