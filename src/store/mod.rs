//! The seam to durability: what the writer and readers ask of a store, batch by batch.
//!
//! `commit` returns only after the batch is on disk, and an error of it says whether anything may have happened.

mod change_record;
pub mod history;
mod image_record;
mod list_query;
pub mod memory;
mod numbers;
mod place_record;
mod record;
mod replaced_record;
pub mod sqlite;
pub mod told;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::appointment_type::Stamps;
use bookd_core::calendar::{Calendar, LoadedClaims, Profile};
use bookd_core::change::Change;
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId, TypeId};
use bookd_core::log::{LogEvent, LogPosition, Replaced};
use bookd_core::time::Instant;
use bookd_core::time::zone::Zone;

pub use history::{HistoryPage, HistoryQuery, HistorySubject};
pub use list_query::{ListPage, ListQuery};
pub use told::{CalendarFilter, Told, ToldPage};

use list_query::Outline;

/// Finds the zone of a name; none when the release in use does not have it.
pub type ZoneLookup = Arc<dyn Fn(&str) -> Option<Arc<Zone>> + Send + Sync>;

/// How many changes a later page of a list may have to undo before it is refused as compacted.
pub const UNDONE_CHANGES_MAX: usize = 100_000;
/// How many appointments a later page of a list may have to put back as they were: each is in memory meanwhile.
pub const UNDONE_APPOINTMENTS_MAX: usize = 100_000;

/// What a store knows when it is opened.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// Of the last change.
    pub revision: Revision,
    /// The `now` of the last change.
    pub last_time: Instant,
    /// The key that the next new appointment gets.
    pub next_key: AppointmentKey,
    /// Every HELD and PENDING appointment, with when it expires.
    pub expiring: Vec<Expiring>,
    /// The store's secret behind confirmation codes.
    pub code_key: u64,
    /// The first revision at which a session was the same set of places: before, seats of one time had to have one of their
    /// calendars in common.
    pub sessions_from: Revision,
}

/// An appointment that expires by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// When.
    pub expire_time: Instant,
    /// Which.
    pub appointment: AppointmentId,
}

/// A request that was answered with OK and changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Of caller and `request_id`.
    pub hash: [u8; 16],
    /// Of RPC and canonical request.
    pub fingerprint: [u8; 16],
    /// The change's.
    pub revision: Revision,
    /// When.
    pub time: Instant,
    /// What it was about.
    pub appointments: Vec<AppointmentId>,
    /// What it was about.
    pub calendar: Option<CalendarId>,
    /// What it was about.
    pub type_id: Option<TypeId>,
}

/// What one transaction makes durable.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// In order of revision, without gaps.
    pub changes: &'a [Change],
    /// To be remembered.
    pub requests: &'a [RequestRecord],
    /// The version that each calendar had when the batch was decided.
    pub expected: &'a [(CalendarId, Revision)],
}

/// What went wrong with the disk or the file, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room.
    #[error("the disk is full; free some room, reads go on meanwhile")]
    Full,
    /// No right to write.
    #[error("the database cannot be written; check the permissions of file and folder, reads go on meanwhile")]
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
    #[error("{file} is in use by another bookd, by this path or another one; stop it first, or serve another file")]
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
    #[error("{file} was left in the middle of a write, which the next start undoes; start `bookd serve` on it once")]
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
    #[error("{file} was written by a newer bookd (schema {found}, this one knows {known}); it was left as it is")]
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

/// The writer's side. One actor has it, and nobody else.
pub trait Store: Send {
    /// Where the store stands.
    fn boot(&mut self) -> Result<Boot, StoreError>;
    /// These calendars, each with every claim that must be in memory at `now`; none where there is no such calendar.
    fn load_calendars(&mut self, ids: &[CalendarId], now: Instant) -> Result<Vec<Option<Calendar>>, StoreError>;
    /// What a calendar that is in memory lacks of the time from `from` on, which is before its `kept_from`.
    fn load_past(&mut self, calendar: &Calendar, from: Instant) -> Result<LoadedClaims, StoreError>;
    /// The writer no longer has these calendars in memory: nothing need be known of them until they are loaded again,
    /// and before that no batch touches them.
    fn let_go(&mut self, ids: &[CalendarId]);
    /// Those of these appointments that there are.
    fn load_appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these appointments that there are.
    fn load_by_key(&mut self, keys: &[AppointmentKey]) -> Result<Vec<Appointment>, StoreError>;
    /// The appointments with this address, at most so many of them, the earliest first.
    fn keys_of_email(&mut self, email: &EmailKey, limit: usize) -> Result<Vec<AppointmentKey>, StoreError>;
    /// The appointments of a series, by start and id.
    fn load_series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these requests that were remembered.
    fn seen_requests(&mut self, hashes: &[[u8; 16]]) -> Result<Vec<RequestRecord>, StoreError>;
    /// Takes it that the writer has this calendar in memory, as a reader loaded it. False where it has changed since, or
    /// is gone: then it must be loaded.
    fn adopt(&mut self, calendar: &Calendar) -> Result<bool, StoreError>;
    /// Makes a batch durable, all of it or nothing.
    fn commit(&mut self, batch: &Batch<'_>) -> Result<(), CommitError>;
    /// Forgets at most `limit` requests older than this; answers how many.
    fn forget_requests(&mut self, before: Instant, limit: usize) -> Result<usize, CommitError>;
    /// Forgets at most `limit` of the oldest changes, those made before this, and never the last one. Answers the oldest
    /// that is left.
    fn compact_changes(&mut self, before: Instant, limit: usize) -> Result<Option<Oldest>, CommitError>;
    /// Works out anew what the store keeps beside the rows and changes that it follows from, and tells each difference in
    /// words; answers how many facts it compared. It reads everything.
    fn compare_derived(&mut self, _found: &mut dyn FnMut(String)) -> Result<u64, StoreError> {
        Ok(0)
    }
    /// Begins to write what a deletion of this calendar cancels before the deletion itself, see `domain::deletion`; `now` is
    /// when it begins. Answers the number of it; none where the store writes any change at once.
    fn begin_deletion(&mut self, _calendar: &CalendarId, _now: Instant) -> Result<Option<u64>, CommitError> {
        Ok(None)
    }
    /// Makes further cancellations of this deletion durable, behind so many that are: each as the change will tell it, but
    /// for `deletion::STAMPS`. Nobody sees them before the change.
    fn stage(&mut self, _deletion: u64, _before: u64, _events: &[LogEvent]) -> Result<(), CommitError> {
        Err(CommitError::Refused(StoreError::Other("no deletion was begun".to_owned())))
    }
    /// Goes on, for at most so many rows, with what deletions have left behind: rows that say otherwise than what is shown,
    /// and cancellations of deletions that did not come to be, unless it is the one under way. False when nothing is left.
    fn settle(&mut self, _limit: usize, _under_way: Option<u64>) -> Result<bool, CommitError> {
        Ok(false)
    }
    /// Does what comes with a commit, and is nothing that those who made it must wait for. An error is damage, or one
    /// after which nobody knows what is on disk.
    fn after_commit(&mut self) -> Result<(), CommitError> {
        Ok(())
    }
    /// Looks after what is beside what is stored. Asked about once a minute.
    fn tend(&mut self) {}
    /// Whether what is written still lands where the store was opened. Asked after each commit before anybody is told of
    /// it, once every `look_period`, and at the end. An error is fatal.
    fn still_there(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    /// How long the writer goes at most without asking that; none when it need not ask.
    fn look_period(&self) -> Option<Duration> {
        None
    }
    /// Another view of the store, for reads beside the writer.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// A calendar as a list shows it.
#[derive(Clone, Debug)]
pub struct CalendarRow {
    /// Its name.
    pub id: CalendarId,
    /// What it is.
    pub profile: Profile,
    /// When it changed.
    pub stamps: Stamps,
}

/// The oldest change that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// Its number.
    pub revision: Revision,
    /// When it was made.
    pub time: Instant,
    /// Whether there is a later one.
    pub is_followed: bool,
}

/// Where a store stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Of the last change.
    pub revision: Revision,
    /// The `now` of the last change.
    pub time: Instant,
    /// The key that the next new appointment gets.
    pub next_key: AppointmentKey,
}

/// One moment of a store: whatever a decision looks at, all of it as of the same revision.
pub trait Moment {
    /// Where the store stands.
    fn last(&mut self) -> Result<Last, StoreError>;
    /// The revision that last touched the calendar which has this id; none when there is none.
    fn version(&mut self, id: &CalendarId) -> Result<Option<Revision>, StoreError>;
    /// The calendar, with every claim that must be in memory at `now`; none when there is none.
    fn calendar(&mut self, id: &CalendarId, now: Instant) -> Result<Option<Calendar>, StoreError>;
    /// Those of these appointments that there are.
    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these appointments that there are.
    fn appointments_by_key(&mut self, keys: &[AppointmentKey]) -> Result<Vec<Appointment>, StoreError>;
    /// See `Store::keys_of_email`.
    fn keys_of_email(&mut self, email: &EmailKey, limit: usize) -> Result<Vec<AppointmentKey>, StoreError>;
    /// See `Store::load_series`.
    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError>;
}

/// What looks at one moment of a store.
pub type Look<'a> = &'a mut dyn FnMut(&mut dyn Moment) -> Result<(), StoreError>;

/// A reader's side. Every call sees one moment of the store.
pub trait Reader: Send {
    /// Shows one moment of the store, which is the same for as long as it is looked at.
    fn at_once(&mut self, look: Look<'_>) -> Result<(), StoreError>;
    /// Those of these appointments that there are, and the revision.
    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<(Vec<Appointment>, Revision), StoreError>;
    /// Those of these appointments that there are, and the revision.
    fn appointments_by_key(&mut self, keys: &[AppointmentKey]) -> Result<(Vec<Appointment>, Revision), StoreError>;
    /// Appointments by key, whatever their state, and the revision: a walk over all there are.
    fn appointments_after(
        &mut self,
        after: AppointmentKey,
        limit: usize,
    ) -> Result<(Vec<Appointment>, Revision), StoreError>;
    /// A page of a list.
    fn list_appointments(&mut self, query: &ListQuery) -> Result<ListPage, StoreError>;
    /// Whether there is a calendar with this id.
    fn has_calendar(&mut self, id: &CalendarId) -> Result<bool, StoreError>;
    /// Whether there is or ever was a calendar with this id: what was booked of it is listed under it.
    fn ever_had(&mut self, id: &CalendarId) -> Result<bool, StoreError>;
    /// Calendars by id, and the revision.
    fn list_calendars(
        &mut self,
        prefix: &str,
        after: Option<&CalendarId>,
        limit: usize,
    ) -> Result<(Vec<CalendarRow>, Revision), StoreError>;
    /// A page of what happened to an appointment or a calendar; none when there never was one.
    fn history(&mut self, query: &HistoryQuery) -> Result<Option<HistoryPage>, StoreError>;
    /// What a change replaced of profiles, overrides and types; nothing of one that is no longer kept.
    fn replaced(&mut self, revision: Revision) -> Result<Vec<Replaced>, StoreError>;
    /// The oldest change that is kept; none when there is no change at all.
    fn oldest_change(&mut self) -> Result<Option<Oldest>, StoreError>;
    /// What happened from a position on, in order, as watchers are told it: a page of at most `told::TOLD_CHANGES_MAX`
    /// changes, each in parts of at most so many events. Refused as compacted when the change before that position is no
    /// longer kept, unless it is the first that is.
    fn changes_from(
        &mut self,
        from: LogPosition,
        filter: &CalendarFilter,
        part_events_max: usize,
    ) -> Result<ToldPage, StoreError>;
}
