//! Reads of the store beside the writer: a few connections, each used by one call at a time.
//!
//! A call waits for a connection no longer than its deadline, and never on a thread that serves others.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant as Deadline;

use super::offload::Offload;
use super::{Failure, damage};
use crate::layout::Layout;
use crate::store::{Reader, StoreError};

pub(super) struct ReaderPool {
    idle: Arc<Mutex<Vec<Box<dyn Reader>>>>,
    /// As much at a time as there are readers.
    aside: Offload,
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
        let aside = Offload::new(layout, readers.len());
        Self {
            idle: Arc::new(Mutex::new(readers)),
            aside,
        }
    }

    /// Whether a read would begin at once.
    pub(super) fn is_free(&self) -> bool {
        self.aside.is_free()
    }

    pub(super) async fn read<T, F>(&self, deadline: Deadline, ask: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn Reader) -> Result<T, StoreError> + Send + 'static,
    {
        let idle = Arc::clone(&self.idle);
        // The reader is back before its turn is over.
        let read = move || ask(Borrowed::new(idle).reader());
        self.aside.compute(deadline, read).await?.map_err(|error| {
            if error.is_damage() {
                damage::tell(None, &error);
            }
            Failure::from(error)
        })
    }
}
