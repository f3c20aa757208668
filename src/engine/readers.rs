//! Reads of the store beside the writer: a few connections, each used by one call at a time.
//!
//! A call waits for a connection no longer than its deadline, and never on a thread that serves others.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;
use tokio::time::{Instant as Deadline, timeout_at};

use super::{Failure, Layout, damaged};
use crate::store::{Reader, StoreError};

pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Box<dyn Reader>>>>,
    permits: Arc<Semaphore>,
    layout: Layout,
}

/// A reader that goes back to the others however its use ends.
struct Borrowed {
    idle: Arc<Mutex<Vec<Box<dyn Reader>>>>,
    reader: Option<Box<dyn Reader>>,
}

impl Borrowed {
    fn new(idle: Arc<Mutex<Vec<Box<dyn Reader>>>>) -> Self {
        let reader = idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self { idle, reader }
    }

    fn reader(&mut self) -> &mut dyn Reader {
        self.reader.as_mut().expect("there are as many readers as permits").as_mut()
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).extend(self.reader.take());
    }
}

impl Readers {
    pub(super) fn new(readers: Vec<Box<dyn Reader>>, layout: Layout) -> Self {
        let permits = Arc::new(Semaphore::new(readers.len()));
        Self { idle: Arc::new(Mutex::new(readers)), permits, layout }
    }

    /// Whether a read would begin at once.
    pub(super) fn is_free(&self) -> bool {
        self.permits.available_permits() > 0
    }

    pub(super) async fn read<T, F>(&self, deadline: Deadline, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    {
        let permit = match timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await {
            Ok(permit) => permit.map_err(|_| Failure::ShuttingDown)?,
            Err(_) => return Err(Failure::ExpiredInQueue),
        };
        let idle = Arc::clone(&self.idle);
        let work = move || {
            let mut borrowed = Borrowed::new(idle);
            let answer = ask(borrowed.reader());
            drop(borrowed);
            drop(permit);
            answer
        };
        let answer = match self.layout {
            Layout::Inline => work(),
            Layout::Threads => tokio::task::spawn_blocking(work).await.map_err(|_| Failure::ShuttingDown)?,
        };
        answer.map_err(|error| {
            if error.is_damage() {
                damaged::tell(None, &error);
            }
            Failure::from(error)
        })
    }
}
