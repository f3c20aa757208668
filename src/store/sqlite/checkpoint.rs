//! When the WAL is copied into the database and begun anew, and for how long anybody waits for that.
//!
//! SQLite's own way waits for nobody, and so never begins a WAL anew while reads overlap: it grows without end, and is
//! copied again at every commit. Here the second time waits for those who read, for a moment: who begins meanwhile
//! reads the database. Somebody outside who reads for minutes, as a backup or a replication does, is asked again when
//! the WAL is twice as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ffi};

use super::location::BUSY_WAIT;
use crate::failpoints::Failpoint;
use crate::store::{CommitError, StoreError};

/// How long the writer waits for those who read, at most: longer than any read of this process takes by far.
const READERS_WAIT: Duration = Duration::from_millis(50);

/// Pages in the WAL at which it is copied while the disk is short of room: what it takes, the database cannot have.
const SHORT_PAGES: u32 = 16;

/// How far the WAL was copied that was to be cut to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Copied {
    /// All of it; it has no room any more.
    Whole,
    /// Somebody reads it for longer than is waited.
    InUse,
    /// There was no room for it in the database, or another failure that may pass.
    InPart,
}

/// Knows how long the WAL is, and when to copy it next.
pub(super) struct Checkpoints {
    /// Pages in the WAL after the last commit.
    pages: Arc<AtomicU32>,
    /// What `first` is when there is room enough.
    usual: u32,
    first: u32,
    next: u32,
    /// The log says already that there is no room to copy it.
    is_told: bool,
    wal_kept: WalKept,
}

/// Whether the WAL is to be left as it is: from then on nobody of this process copies it any more, not even who closes the
/// file last.
///
/// So after a sync of the database has failed: what earlier copies wrote and did not sync may be lost by then, and neither
/// a second sync nor SQLite knows; but all of it is in the WAL still, and whoever opens the file next copies that from its
/// beginning. And so after the database was taken away: a copy would go where nobody finds it.
#[derive(Clone, Debug, Default)]
pub(super) struct WalKept(Arc<AtomicBool>);

impl WalKept {
    /// Before a connection is closed: the last one would copy the WAL and remove it.
    pub(super) fn before_close(&self, connection: &Connection) {
        if self.0.load(Ordering::Relaxed) {
            let _no_such_option =
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
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
        Ok(Self {
            pages,
            usual: first,
            first,
            next: first,
            is_told: false,
            wal_kept: WalKept::default(),
        })
    }

    /// For readers, which close the file as well.
    pub(super) fn wal_kept(&self) -> WalKept {
        self.wal_kept.clone()
    }

    /// From now on the WAL is left as it is.
    pub(super) fn keep_wal(&self, connection: &Connection) {
        self.wal_kept.0.store(true, Ordering::Relaxed);
        self.wal_kept.before_close(connection);
    }

    /// Copies the WAL if it is time to. What was committed is safe however that ends, and most that fails is tried
    /// again: with what is an error here nobody may go on.
    pub(super) fn after_commit(&mut self, connection: &Connection) -> Result<(), CommitError> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.next / 2 {
            self.next = self.first;
        }
        if pages < self.next {
            return Ok(());
        }
        Failpoint::Checkpoint.reached();
        let copied = copy(connection, pages >= 2 * self.first || self.is_short());
        Failpoint::Checkpoint.reached();
        // That somebody reads is no error here: as much as could be was copied.
        self.next = pages.saturating_mul(2);
        let Err(error) = copied else {
            self.is_told = false;
            return Ok(());
        };
        let error = self.judged(connection, error)?;
        if !self.is_told {
            tracing::warn!(%error, pages, "the WAL could not be copied; it grows until it can be");
        }
        self.is_told = error == StoreError::Full;
        // Whenever there was room for a commit there may be room for a copy, and what the WAL takes the copy cannot have.
        self.next = pages.saturating_add(if self.is_told { 1 } else { self.first });
        Ok(())
    }

    /// There was no room for a commit, of which nothing is left: copies the WAL, and gives back the room that it has.
    /// An error is one after which nobody may go on.
    pub(super) fn give_back_room(
        &mut self,
        connection: &Connection,
    ) -> Result<Copied, CommitError> {
        self.keep_short();
        match copy_whole(connection) {
            Ok(copied) => Ok(copied),
            Err(error) => self.judged(connection, error).map(|_| Copied::InPart),
        }
    }

    /// From now on the WAL is kept short: the disk is full.
    pub(super) fn keep_short(&mut self) {
        self.first = self.usual.min(SHORT_PAGES);
        self.next = self.first;
    }

    /// Whether the WAL is kept short, since the disk was full.
    fn is_short(&self) -> bool {
        self.first < self.usual
    }

    /// The disk has room enough again.
    pub(super) fn at_ease(&mut self) {
        self.first = self.usual;
    }

    /// Why the WAL could not be copied, if that may be tried again; else the error that ends all.
    fn judged(
        &self,
        connection: &Connection,
        error: rusqlite::Error,
    ) -> Result<StoreError, CommitError> {
        let is_of_sync = is_of_sync(&error);
        match StoreError::from(error) {
            error if is_of_sync => {
                self.keep_wal(connection);
                Err(CommitError::Unknown(error))
            }
            error if error.is_damage() => Err(CommitError::Refused(error)),
            error => Ok(error),
        }
    }
}

/// A sync that fails tells so once: what it should have made safe may be gone, and the next one says that all is well.
fn is_of_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|it| it.extended_code);
    code.is_some_and(|it| [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC].contains(&it))
}

/// Copies the WAL and cuts it to nothing.
fn copy_whole(connection: &Connection) -> rusqlite::Result<Copied> {
    connection.busy_timeout(READERS_WAIT)?;
    let is_busy = connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0));
    connection.busy_timeout(BUSY_WAIT)?;
    Ok(if is_busy? {
        Copied::InUse
    } else {
        Copied::Whole
    })
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
