//! What can go wrong with a store: when it is opened, read, and written.
//!
//! An error of a commit says whether anything may have happened.

use std::path::PathBuf;

use bookd_core::ids::{CalendarId, Revision};

/// What went wrong with the disk or the file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room.
    #[error("the disk is full; free some room, reads go on meanwhile")]
    Full,
    /// No right to write.
    #[error(
        "the database cannot be written; check the permissions of file and folder, reads go on meanwhile"
    )]
    ReadOnly,
    /// No descriptor to open it with.
    #[error("{}", crate::descriptors::RAN_OUT)]
    Descriptors,
    /// The file, or what SQLite keeps beside it, is no longer where it was opened: which, how, and what to do.
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
    /// Another program has it locked.
    #[error("another program has locked the database; retry")]
    Busy,
    /// The disk failed.
    #[error("the disk failed: {0}")]
    Io(String),
    /// What is in the file cannot be.
    #[error("the database is damaged: {0}; stop, and restore a backup")]
    Damaged(String),
    /// A calendar's zone is not in the release in use.
    #[error("time zone {0} is not in the release in use; start with a newer --zones")]
    UnknownZone(String),
    /// The calendar changed since it was loaded.
    #[error("calendar {0} was changed by another process")]
    Stale(CalendarId),
    /// The history that is needed is gone.
    #[error("history before revision {oldest} is compacted")]
    Compacted {
        /// The oldest revision still to be had.
        oldest: Revision,
    },
    /// Anything else.
    #[error("the database refused: {0}")]
    Other(String),
}

impl StoreError {
    /// Whether something is in the file that cannot be.
    pub const fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_))
    }

    /// Whether the writer must not go on: the file is not what it has in memory, or not where it writes. Damage is none of
    /// that: what is damaged is refused, and the rest is served.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Gone(_) | Self::Overtaken { .. })
    }
}

/// Why a batch was not committed, or may not have been.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Certainly nothing happened.
    #[error("nothing happened: {0}")]
    Refused(StoreError),
    /// It happened, or it did not.
    #[error("the outcome is not known: {0}")]
    Unknown(StoreError),
}

impl CommitError {
    /// What the store said.
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
    /// Another process has it.
    #[error(
        "{file} is in use by another bookd, by this path or another one; stop it first, or serve another file"
    )]
    InUse {
        /// The database.
        file: PathBuf,
    },
    /// It has several names, each of which would have a WAL of its own.
    #[error(
        "{file} has {names} names (hard links), and changes made under one are not seen under another; remove the \
         others (`find DIRECTORY -inum {inode}` shows them), or copy it with `bookd backup`"
    )]
    Linked {
        /// The database.
        file: PathBuf,
        /// How many names it has.
        names: u64,
        /// Its number in its file system.
        inode: u64,
    },
    /// There is no database, and there are changes of one.
    #[error(
        "{wal} holds changes of a database that is no longer in {file}; put that back if it was moved, or restore a \
         backup. To begin anew with nothing, move {wal} away first"
    )]
    Orphaned {
        /// Where the database should be.
        file: PathBuf,
        /// What was left of it.
        wal: PathBuf,
    },
    /// The last who wrote it was cut short, and its journal has to be undone before it can be read.
    #[error(
        "{file} was left in the middle of a write, which the next start undoes; start `bookd serve` on it once"
    )]
    Unfinished {
        /// The file.
        file: PathBuf,
    },
    /// It is something else.
    #[error("{file} is not a bookd database ({why}); it was left as it is")]
    Foreign {
        /// The file.
        file: PathBuf,
        /// How that shows.
        why: String,
    },
    /// A newer bookd made it.
    #[error(
        "{file} was written by a newer bookd (schema {found}, this one knows {known}); it was left as it is"
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest that this binary knows.
        known: i64,
    },
    /// What is in it or its WAL is not what was written.
    #[error("{file} is damaged: {what}")]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What shows it, and what to do.
        what: String,
    },
    /// It cannot be opened.
    #[error("{file} cannot be opened: {why}")]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        why: String,
    },
}
