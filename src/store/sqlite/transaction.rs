//! One transaction of the writer: everything in it happens or nothing does, and its errors say
//! which.
//!
//! Until COMMIT every error is undone for certain. COMMIT itself may fail after its frame is in the
//! WAL: then nobody knows the outcome, unless SQLite says that it refused and rolls back.

use std::collections::HashMap;

use rusqlite::{Connection, ErrorCode};

use super::checkpoint::Copied;
use super::{Known, Sqlite, store_error};
use crate::store::{CommitError, StoreError};
use bookd_core::ids::CalendarId;

impl Sqlite {
    /// Writes. On a full disk room is made once: by the WAL, which is copied and begins anew, and
    /// then by the reserve, where that is not enough.
    pub(super) fn with_room<T: PartialEq>(
        &mut self,
        mut write: impl FnMut(&mut Self) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        const FULL: CommitError = CommitError::Refused(StoreError::Full);
        let mut written = write(self);
        if written == Err(FULL) && self.reserve.note_full() {
            let copied = self
                .checkpoints
                .give_back_room(&self.connection)
                .map_err(must_stop)?;
            if copied == Copied::Whole {
                written = write(self);
            }
            if written == Err(FULL) && self.reserve.give_up() {
                self.checkpoints
                    .give_back_room(&self.connection)
                    .map_err(must_stop)?;
                written = write(self);
            }
            // Who reads now does not read for ever.
            self.reserve
                .note_hopeless(written == Err(FULL) && copied != Copied::InUse);
        } else if written.is_ok() {
            self.reserve.note_hopeless(false);
        }
        written
    }

    /// Does some work that happens whole or not at all.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &HashMap<CalendarId, Known>) -> Result<T, StoreError>,
    ) -> Result<T, CommitError> {
        run(&self.connection, "begin immediate").map_err(|error| store_error(&error))?;
        let done = work(&self.connection, &self.known).map_err(|error| self.roll_back(error))?;
        run(&self.connection, "commit").map_err(|error| self.commit_failed(&error))?;
        Ok(done)
    }

    /// What happened before COMMIT is undone for certain.
    fn roll_back(&self, error: StoreError) -> CommitError {
        match run(&self.connection, "rollback") {
            Ok(()) => CommitError::Refused(error),
            // SQLite has rolled back by itself, as it does when the disk is full.
            Err(_) if self.connection.is_autocommit() => CommitError::Refused(error),
            Err(_) => CommitError::Unknown(error),
        }
    }

    fn commit_failed(&self, error: &rusqlite::Error) -> CommitError {
        let said = store_error(error);
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
            self.roll_back(said)
        } else {
            CommitError::Unknown(said)
        }
    }
}

/// Runs a statement without parameters, which is parsed once and not at each commit.
fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// A WAL that cannot be copied because it is damaged has what is nowhere else: whatever a batch has
/// to do with that, the writer must not go on.
fn must_stop(error: CommitError) -> CommitError {
    CommitError::Unknown(error.into_store_error())
}
