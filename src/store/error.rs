//! The errors of a store: of opening it, of reading, and of writing.
//!
//! The error of a commit says whether anything may have happened.

use std::path::PathBuf;

use bookd_core::ids::{CalendarId, Revision};

/// A failure of the disk or the file; its message says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No space is left on the disk.
    #[error("the disk is full; free some room, reads go on meanwhile")]
    Full,
    /// The process may not write the file.
    #[error(
        "the database cannot be written; check the permissions of file and folder, reads go on meanwhile"
    )]
    ReadOnly,
    /// The process has no free file descriptor.
    #[error("{}", crate::descriptors::RAN_OUT)]
    Descriptors,
    /// The file, its WAL or its index is no longer where it was opened; carries the whole message.
    #[error("{0}")]
    Gone(String),
    /// Another program wrote a change, or removed one.
    #[error(
        "another program writes to the database: its last change is revision {last}, and not the one before {next}; \
         find and stop that program, look at the file with `bookd check`, and start again"
    )]
    Overtaken {
        /// The last change in the store.
        last: Revision,
        /// The change that this process was about to write.
        next: Revision,
    },
    /// Another program has locked the database.
    #[error("another program has locked the database; retry")]
    Busy,
    /// A read or a write of the disk failed.
    #[error("the disk failed: {0}")]
    Io(String),
    /// The file holds data that cannot have been written.
    #[error("the database is damaged: {0}; stop, and restore a backup")]
    Damaged(String),
    /// A calendar's zone is not in the release in use.
    #[error("time zone {0} is not in the release in use; start with a newer --zones")]
    UnknownZone(String),
    /// The calendar changed since it was loaded.
    #[error("calendar {0} was changed by another process")]
    Stale(CalendarId),
    /// The needed history is no longer kept.
    #[error("history before revision {oldest} is compacted")]
    Compacted {
        /// The oldest revision that is kept.
        oldest: Revision,
    },
    /// Any other error of the store.
    #[error("the database refused: {0}")]
    Other(String),
}

impl StoreError {
    /// Whether the error is damage of the stored data.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }

    /// Whether the writer must stop: the file differs from the state in memory, or is not the one
    /// at its path. Damage is not fatal: commands that meet it are refused, and the rest is served.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Overtaken { .. })
    }
}

/// Why a batch was not committed, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing of the batch happened.
    #[error("nothing happened: {0}")]
    Refused(StoreError),
    /// The batch may or may not be durable.
    #[error("the outcome is not known: {0}")]
    Unknown(StoreError),
}

impl CommitError {
    /// The underlying error of the store.
    pub fn into_store_error(self) -> StoreError {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error,
        }
    }
}

impl From<StoreError> for CommitError {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

/// Why a store cannot be opened. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the database open.
    #[error(
        "{file} is in use by another bookd, by this path or another one; stop it first, or serve another file"
    )]
    InUse {
        /// The path of the database.
        file: PathBuf,
    },
    /// The file has several names, each of which would have a WAL of its own.
    #[error(
        "{file} has {names} names (hard links), and changes made under one are not seen under another; remove the \
         others (`find DIRECTORY -inum {inode}` shows them), or copy it with `bookd backup`"
    )]
    Linked {
        /// The path of the database.
        file: PathBuf,
        /// How many names it has.
        names: u64,
        /// Its inode number.
        inode: u64,
    },
    /// The database is missing, but its WAL with changes is there.
    #[error(
        "{wal} holds changes of a database that is no longer in {file}; put that back if it was moved, or restore a \
         backup. To begin anew with nothing, move {wal} away first"
    )]
    Orphaned {
        /// Where the database should be.
        file: PathBuf,
        /// The WAL that is left of it.
        wal: PathBuf,
    },
    /// The last writer was interrupted, and its journal must be rolled back before the file can be
    /// read.
    #[error(
        "{file} was left in the middle of a write, which the next start undoes; start `bookd serve` on it once"
    )]
    Unfinished {
        /// The path of the file.
        file: PathBuf,
    },
    /// The file is something else than a bookd database.
    #[error("{file} is not a bookd database ({why}); it was left as it is")]
    Foreign {
        /// The path of the file.
        file: PathBuf,
        /// The reason for this judgement.
        why: String,
    },
    /// A newer bookd wrote the file.
    #[error(
        "{file} was written by a newer bookd (schema {found}, this one knows {known}); it was left as it is"
    )]
    Newer {
        /// The path of the file.
        file: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this binary knows.
        known: i64,
    },
    /// The content of the file or of its WAL is not what was written.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// The path of the file.
        file: PathBuf,
        /// The damage that was found, and what to do.
        what: String,
    },
    /// The file cannot be opened.
    #[error("{file} cannot be opened: {why}")]
    Unreadable {
        /// The path of the file.
        file: PathBuf,
        /// The error of the system or of SQLite.
        why: String,
    },
}
