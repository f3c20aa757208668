//! One transaction of the writer: everything in it happens or nothing does, and its errors say
//! which.
//!
//! Until COMMIT every error is undone for certain. COMMIT itself may fail after its frame is in the
//! WAL: then nobody knows the outcome, unless SQLite says that it refused and rolls back.

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode};

use super::checkpoint::Copied;
use super::{KnownCalendar, Sqlite, store_error};
use crate::store::{CommitError, StoreError};
use bookd_core::ids::CalendarId;

impl Sqlite {
    /// Writes, and tries again on a full disk once there is space: first the space of the WAL,
    /// which is copied and restarted, and then that of the reserve.
    pub(super) fn retry_when_full<T: PartialEq>(
        &mut self,
        mut write: impl FnMut(&mut Self) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        const FULL: CommitError = CommitError::Refused(StoreError::Full);
        let mut written = write(self);
        if written == Err(FULL) && self.reserve.note_full() {
            let copied = self
                .checkpoints
                .free_space(&self.connection)
                .map_err(must_stop)?;
            if copied == Copied::Whole {
                written = write(self);
            }
            if written == Err(FULL) && self.reserve.give_up() {
                self.checkpoints
                    .free_space(&self.connection)
                    .map_err(must_stop)?;
                written = write(self);
            }
            // Not hopeless while a read keeps the WAL in use: the read ends.
            self.reserve
                .note_hopeless(written == Err(FULL) && copied != Copied::InUse);
        } else if written.is_ok() {
            self.reserve.note_hopeless(false);
            return written;
        }
        self.note_space();
        written
    }

    /// Does work in one transaction, which happens whole or not at all.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &HashMap<CalendarId, KnownCalendar>) -> Result<T, StoreError>,
    ) -> Result<T, CommitError> {
        run(&self.connection, "begin immediate").map_err(|error| store_error(&error))?;
        let done = work(&self.connection, &self.known).map_err(|error| self.roll_back(error))?;
        run(&self.connection, "commit").map_err(|error| self.commit_failed(&error))?;
        Ok(done)
    }

    /// Undoes what happened before COMMIT. The outcome is known unless the rollback itself fails.
    fn roll_back(&self, error: StoreError) -> CommitError {
        match run(&self.connection, "rollback") {
            Ok(()) => CommitError::Refused(error),
            // SQLite rolled back by itself, as it does when the disk is full.
            Err(_) if self.connection.is_autocommit() => CommitError::Refused(error),
            Err(_) => CommitError::Unknown(error),
        }
    }

    /// The outcome of a COMMIT that failed: known where SQLite refused it, because it rolls back
    /// then.
    fn commit_failed(&self, error: &rusqlite::Error) -> CommitError {
        let store_error = store_error(error);
        let is_refusal = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
            )
        );
        if is_refusal {
            self.roll_back(store_error)
        } else {
            CommitError::Unknown(store_error)
        }
    }
}

/// Runs a statement without parameters, which is prepared once and not for each commit.
fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// Stops the writer, even if the batch has nothing to do with it: a WAL that cannot be copied
/// because it is damaged holds changes that are nowhere else.
fn must_stop(error: CommitError) -> CommitError {
    CommitError::Unknown(error.into_store_error())
}
