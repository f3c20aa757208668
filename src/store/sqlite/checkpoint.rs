//! When the WAL is copied into the database and begun anew, and for how long anybody waits for that.
//!
//! SQLite's own way waits for nobody, and so never begins a WAL anew while reads overlap: it grows without end, and is
//! copied again at every commit. Here the second time waits for those who read, for a moment: who begins meanwhile
//! reads the database. Somebody outside who reads for minutes, as a backup or a replication does, is asked again when
//! the WAL is twice as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::hooks::Wal;

use super::open::BUSY_WAIT;
use crate::sabotage::Moment;
use crate::store::StoreError;

/// How long the writer waits for those who read, at most: longer than any read of this process takes by far.
const READERS_WAIT: Duration = Duration::from_millis(50);

/// Knows how long the WAL is, and when to copy it next.
pub(super) struct Checkpoints {
    /// Pages in the WAL after the last commit.
    pages: Arc<AtomicU32>,
    first: u32,
    next: u32,
}

impl Checkpoints {
    /// Takes the place of SQLite's own checkpoints; the first is due at so many pages.
    pub(super) fn of(connection: &mut Connection, first: u32) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let seen = Arc::clone(&pages);
        connection.wal_hook(Some(move |_: &mut Wal, pages: i32| {
            seen.store(pages.unsigned_abs(), Ordering::Relaxed);
            Ok(())
        }))?;
        Ok(Self { pages, first, next: first })
    }

    /// Copies the WAL if it is time to. What was committed is safe however that ends, and whatever fails is tried again:
    /// an error is damage, with which nobody may go on.
    pub(super) fn after_commit(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.next / 2 {
            self.next = self.first;
        }
        if pages < self.next {
            return Ok(());
        }
        Moment::Checkpoint.reached();
        let copied = copy(connection, pages >= 2 * self.first);
        Moment::Checkpoint.reached();
        // That somebody reads is no error here: as much as could be was copied.
        self.next = pages.saturating_mul(2);
        match copied.map_err(StoreError::from) {
            Ok(()) => Ok(()),
            Err(error) if error.is_damage() => Err(error),
            Err(error) => {
                tracing::warn!(%error, pages, "the WAL could not be copied; it grows until it can be");
                self.next = pages.saturating_add(self.first);
                Ok(())
            }
        }
    }
}

fn copy(connection: &Connection, is_waiting: bool) -> rusqlite::Result<()> {
    if !is_waiting {
        return connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()));
    }
    connection.busy_timeout(READERS_WAIT)?;
    let copied = connection.query_row("pragma wal_checkpoint(restart)", [], |_| Ok(()));
    connection.busy_timeout(BUSY_WAIT)?;
    copied
}
