//! A pool of store connections for reads, each used by one call at a time.
//!
//! A call waits for a connection no longer than until its deadline, and never on a worker thread.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant as Deadline;

use super::offload::Offload;
use super::{Failure, damage};
use crate::layout::Layout;
use crate::store::{Reader, StoreError};

/// A fixed number of store connections.
pub(super) struct ReaderPool {
    idle: Arc<Mutex<Vec<Box<dyn Reader>>>>,
    /// Has as many permits as there are connections.
    offload: Offload,
}

/// A connection that goes back to the pool however its use ends.
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
        self.reader
            .as_mut()
            .expect("there are as many readers as permits")
            .as_mut()
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        self.idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(self.reader.take());
    }
}

impl ReaderPool {
    pub(super) fn new(readers: Vec<Box<dyn Reader>>, layout: Layout) -> Self {
        let offload = Offload::new(layout, readers.len());
        Self {
            idle: Arc::new(Mutex::new(readers)),
            offload,
        }
    }

    /// Whether a read would begin at once.
    pub(super) fn is_free(&self) -> bool {
        self.offload.is_free()
    }

    /// Reads by a free connection. Fails with `ExpiredInQueue` when there is none by the deadline.
    pub(super) async fn read<T, F>(&self, deadline: Deadline, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    {
        let idle = Arc::clone(&self.idle);
        // The connection is back in the pool before the permit is released.
        let read = move || ask(Borrowed::new(idle).reader());
        self.offload
            .compute(deadline, read)
            .await?
            .map_err(|error| {
                if error.is_damage() {
                    damage::log_damage(None, &error);
                }
                Failure::from(error)
            })
    }
}
