//! Checkpoints: when the WAL is copied into the database and restarted, and how long the writer
//! waits for readers then.
//!
//! SQLite's automatic checkpoint waits for no reader, and so never restarts a WAL while reads
//! overlap: the WAL grows without end, and is copied again at every commit. Here the second
//! checkpoint waits for readers for a moment; a read that begins meanwhile reads the database. When
//! another program reads for minutes, as a backup or a replication does, the next attempt is made
//! when the WAL is twice as long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, ffi};

use super::location::BUSY_WAIT;
use crate::failpoints::Failpoint;
use crate::store::{CommitError, StoreError, StoreMetrics};

/// How long the writer waits for readers at most: far longer than any read of this process takes.
const READERS_WAIT: Duration = Duration::from_millis(50);

/// Pages in the WAL at which it is copied while the disk is short of space: the database cannot
/// have what the WAL takes.
const SHORT_PAGES: u32 = 16;

/// How far a checkpoint that was to empty the WAL came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Copied {
    /// The whole WAL was copied, and takes no space any more.
    Whole,
    /// A reader kept the WAL in use for longer than the writer waits.
    InUse,
    /// The database had no space for it, or another failure that may pass.
    InPart,
}

/// The length of the WAL, and when to copy it next.
pub(super) struct Checkpoints {
    /// Pages in the WAL after the last commit.
    pages: Arc<AtomicU32>,
    /// `first` while the disk has enough space.
    usual: u32,
    /// Pages at which a restarted WAL is copied.
    first: u32,
    /// Pages at which the WAL is copied next.
    next: u32,
    /// Whether it is logged already that the disk has no space for a copy.
    is_full_logged: bool,
    wal_kept: WalKept,
    /// The figures of the store.
    pub(super) metrics: Arc<StoreMetrics>,
}

/// Whether the WAL is left as it is: if so, no connection of this process copies it any more, not
/// even the one that closes the file last.
///
/// This is set after a sync of the database failed: content that earlier copies wrote and did not
/// sync may be lost by then, and neither a second sync nor SQLite reports it; but all of it is
/// still in the WAL, and the next process that opens the file copies the WAL from its beginning. It
/// is also set after the database was moved away: a copy would go where nobody finds it.
#[derive(Clone, Debug, Default)]
pub(super) struct WalKept(Arc<AtomicBool>);

impl WalKept {
    /// Keeps a connection that is about to close from copying and removing the WAL, which the last
    /// one would do.
    pub(super) fn before_close(&self, connection: &Connection) {
        if self.0.load(Ordering::Relaxed) {
            let _no_such_option =
                connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
        }
    }
}

impl Checkpoints {
    /// Replaces the automatic checkpoints of a connection. The first one is due at `first` pages.
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
            is_full_logged: false,
            wal_kept: WalKept::default(),
            metrics: Arc::default(),
        })
    }

    /// The flag for readers, which close the file as well.
    pub(super) fn wal_kept(&self) -> WalKept {
        self.wal_kept.clone()
    }

    /// Leaves the WAL as it is from now on.
    pub(super) fn keep_wal(&self, connection: &Connection) {
        self.wal_kept.0.store(true, Ordering::Relaxed);
        self.wal_kept.before_close(connection);
    }

    /// Copies the WAL if that is due. Commits are safe however the copy ends, and most failures are
    /// tried again later. After an error of this function the writer must stop.
    pub(super) fn after_commit(&mut self, connection: &Connection) -> Result<(), CommitError> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.next / 2 {
            self.next = self.first;
        }
        if pages < self.next {
            return Ok(());
        }
        Failpoint::Checkpoint.reached();
        let is_waiting = pages >= 2 * self.first || self.is_short();
        let copied = self.timed(|| copy(connection, is_waiting));
        Failpoint::Checkpoint.reached();
        // A reader in the way is no error here: the copy went as far as it could.
        self.next = pages.saturating_mul(2);
        let Err(error) = copied else {
            self.is_full_logged = false;
            return Ok(());
        };
        let error = self.unless_fatal(connection, error)?;
        if !self.is_full_logged {
            tracing::warn!(%error, pages, "the WAL could not be copied; it grows until it can be");
        }
        self.is_full_logged = error == StoreError::Full;
        // After each commit that found space a copy may find some too, and the copy cannot have
        // what the WAL takes.
        self.next = pages.saturating_add(if self.is_full_logged { 1 } else { self.first });
        Ok(())
    }

    /// Copies the WAL and frees its space, after a commit that did not fit and was undone. After an
    /// error of this function the writer must stop.
    pub(super) fn free_space(&mut self, connection: &Connection) -> Result<Copied, CommitError> {
        self.keep_short();
        match self.timed(|| copy_whole(connection)) {
            Ok(copied) => Ok(copied),
            Err(error) => self.unless_fatal(connection, error).map(|_| Copied::InPart),
        }
    }

    /// Makes a copy, and notes how long it took and whether it failed.
    fn timed<T>(&self, copy: impl FnOnce() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let began = Instant::now();
        let copied = copy();
        self.metrics.checkpoints.observe_duration(began.elapsed());
        if copied.is_err() {
            self.metrics.checkpoints_failed.increment();
        }
        copied
    }

    /// Keeps the WAL short from now on, because the disk is full.
    pub(super) fn keep_short(&mut self) {
        self.first = self.usual.min(SHORT_PAGES);
        self.next = self.first;
    }

    /// Whether the WAL is kept short.
    fn is_short(&self) -> bool {
        self.first < self.usual
    }

    /// Lets the WAL grow to its usual length again, because the disk has enough space.
    pub(super) fn lengthen(&mut self) {
        self.first = self.usual;
    }

    /// The error of a copy that may be tried again; else the error after which the writer must
    /// stop.
    fn unless_fatal(
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

/// Whether a sync failed. The failure is reported once: what the sync should have made safe may be
/// lost, and the next sync reports success.
fn is_of_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|it| it.extended_code);
    code.is_some_and(|it| [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_DIR_FSYNC].contains(&it))
}

/// Copies the WAL and truncates it to nothing.
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

/// Copies the WAL; with `is_waiting` waits for readers, so that the WAL can be restarted.
fn copy(connection: &Connection, is_waiting: bool) -> rusqlite::Result<()> {
    if !is_waiting {
        return connection.query_row("pragma wal_checkpoint(passive)", [], |_| Ok(()));
    }
    connection.busy_timeout(READERS_WAIT)?;
    let copied = connection.query_row("pragma wal_checkpoint(restart)", [], |_| Ok(()));
    connection.busy_timeout(BUSY_WAIT)?;
    copied
}
