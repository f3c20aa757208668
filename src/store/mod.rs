//! The seam to durability: what the writer and readers ask of a store, batch by batch.
//!
//! `commit` returns only after the batch is on disk, and an error of it says whether anything may have happened.

mod codec;
mod error;
pub mod history;
mod list_query;
pub mod log_reader;
pub mod memory;
mod queries;
pub mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::{Calendar, LoadedClaims};
use bookd_core::change::Change;
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId, TypeId};
use bookd_core::log::LogEvent;
use bookd_core::time::Instant;
use bookd_core::time::zone::Zone;

pub use error::{CommitError, OpenError, StoreError};
pub use history::{HistoryPage, HistoryQuery, HistorySubject};
pub use list_query::{ListPage, ListQuery};
pub use log_reader::{CalendarFilter, ChangePage, ChangePart, LogReader, Oldest};
pub use queries::{CalendarRow, Last, Look, Moment, Queries};

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
pub struct CommitBatch<'a> {
    /// In order of revision, without gaps.
    pub changes: &'a [Change],
    /// To be remembered.
    pub requests: &'a [RequestRecord],
    /// The version that each calendar had when the batch was decided.
    pub expected: &'a [(CalendarId, Revision)],
}

/// The writer's side. One actor has it, and nobody else.
pub trait Store: Send {
    /// Where the store stands.
    fn boot(&mut self) -> Result<Boot, StoreError>;
    /// These calendars, each with every claim that must be in memory at `now`; none where there is no such calendar.
    fn load_calendars(
        &mut self,
        ids: &[CalendarId],
        now: Instant,
    ) -> Result<Vec<Option<Calendar>>, StoreError>;
    /// What a calendar that is in memory lacks of the time from `from` on, which is before its `kept_from`.
    fn load_past(&mut self, calendar: &Calendar, from: Instant)
    -> Result<LoadedClaims, StoreError>;
    /// The writer no longer has these calendars in memory: nothing need be known of them until they are loaded again,
    /// and before that no batch touches them.
    fn let_go(&mut self, ids: &[CalendarId]);
    /// Those of these appointments that there are.
    fn load_appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these appointments that there are.
    fn load_by_key(&mut self, keys: &[AppointmentKey]) -> Result<Vec<Appointment>, StoreError>;
    /// The appointments with this address, at most so many of them, the earliest first.
    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError>;
    /// The appointments of a series, by start and id.
    fn load_series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these requests that were remembered.
    fn seen_requests(&mut self, hashes: &[[u8; 16]]) -> Result<Vec<RequestRecord>, StoreError>;
    /// Takes it that the writer has this calendar in memory, as a reader loaded it. False where it has changed since, or
    /// is gone: then it must be loaded.
    fn adopt(&mut self, calendar: &Calendar) -> Result<bool, StoreError>;
    /// Makes a batch durable, all of it or nothing.
    fn commit(&mut self, batch: &CommitBatch<'_>) -> Result<(), CommitError>;
    /// Forgets at most `limit` requests older than this; answers how many.
    fn forget_requests(&mut self, before: Instant, limit: usize) -> Result<usize, CommitError>;
    /// Forgets at most `limit` of the oldest changes, those made before this, and never the last one. Answers the oldest
    /// that is left.
    fn compact_changes(
        &mut self,
        before: Instant,
        limit: usize,
    ) -> Result<Option<Oldest>, CommitError>;
    /// Works out anew what the store keeps beside the rows and changes that it follows from, and tells each difference in
    /// words; answers how many facts it compared. It reads everything.
    fn compare_derived(&mut self, _found: &mut dyn FnMut(String)) -> Result<u64, StoreError> {
        Ok(0)
    }
    /// Begins to write what a deletion of this calendar cancels before the deletion itself, see `domain::deletion`; `now` is
    /// when it begins. Answers the number of it; none where the store writes any change at once.
    fn begin_deletion(
        &mut self,
        _calendar: &CalendarId,
        _now: Instant,
    ) -> Result<Option<u64>, CommitError> {
        Ok(None)
    }
    /// Makes further cancellations of this deletion durable, behind so many that are: each as the change will tell it, but
    /// for `deletion::STAMPS`. Nobody sees them before the change.
    fn stage(
        &mut self,
        _deletion: u64,
        _before: u64,
        _events: &[LogEvent],
    ) -> Result<(), CommitError> {
        Err(CommitError::Refused(StoreError::Other(
            "no deletion was begun".to_owned(),
        )))
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

/// A reader's side: what anybody may ask beside the writer.
pub trait Reader: Queries + LogReader + Send {
    /// Shows one moment of the store, which is the same for as long as it is looked at.
    fn at_once(&mut self, look: Look<'_>) -> Result<(), StoreError>;
}
