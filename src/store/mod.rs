//! The traits of a store: what the writer and readers need of durable storage, batch by batch.
//!
//! `commit` returns only after the batch is on disk, and its error says whether anything may have
//! happened.

mod codec;
mod error;
pub mod history;
mod list_query;
pub mod log_reader;
pub mod memory;
mod metrics;
mod queries;
pub mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::{Calendar, LoadedClaims};
use bookd_core::change::Change;
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId, TypeId};
use bookd_core::log::LogEvent;
use bookd_core::quota::Usage;
use bookd_core::reach::Reach;
use bookd_core::time::Instant;
use bookd_core::time::zone::Zone;
use bookd_core::token::{TokenId, Tokens};

pub use error::{CommitError, OpenError, StoreError};
pub use history::{HistoryPage, HistoryQuery, HistorySubject};
pub use list_query::{ListPage, ListQuery};
pub use log_reader::{CalendarFilter, ChangePage, ChangePart, LogReader, Oldest, WatchFilter};
pub use metrics::StoreMetrics;
pub use queries::{CalendarRow, Last, Look, Moment, Queries};

use list_query::Outline;

/// Finds a zone by its name; none when the zone release in use does not have it.
pub type ZoneLookup = Arc<dyn Fn(&str) -> Option<Arc<Zone>> + Send + Sync>;

/// The largest number of changes that a later page of a list undoes; beyond it the page is refused
/// as compacted.
pub const UNDONE_CHANGES_MAX: usize = 100_000;
/// The largest number of appointments that a later page of a list shows as they were: each is in
/// memory meanwhile.
pub const UNDONE_APPOINTMENTS_MAX: usize = 100_000;

/// The state of a store when it is opened.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    /// The revision of the last change.
    pub revision: Revision,
    /// The `now` of the last change.
    pub last_time: Instant,
    /// The key that the next new appointment gets.
    pub next_key: AppointmentKey,
    /// Every HELD and PENDING appointment that expires.
    pub expiring: Vec<Expiring>,
    /// The secret of the store from which confirmation codes are derived.
    pub code_key: u64,
    /// The first revision at which the seats of a session have the same set of places. Before it,
    /// seats of one time had at least one calendar in common.
    pub sessions_from: Revision,
    /// All tokens.
    pub tokens: Tokens,
}

/// An appointment that expires by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiring {
    /// The time of the expiry.
    pub expire_time: Instant,
    /// The appointment that expires.
    pub appointment: AppointmentId,
}

/// A request that was answered with OK and changed something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRecord {
    /// Hash of caller and `request_id`.
    pub hash: [u8; 16],
    /// Hash of RPC method and canonical request.
    pub fingerprint: [u8; 16],
    /// The revision of the change.
    pub revision: Revision,
    /// The time of the change.
    pub time: Instant,
    /// The appointments that the request was about.
    pub appointments: Vec<AppointmentId>,
    /// The calendar that the request was about.
    pub calendar: Option<CalendarId>,
    /// The appointment type that the request was about.
    pub type_id: Option<TypeId>,
    /// The token that the request was about.
    pub token: Option<TokenId>,
}

/// The batch that one transaction makes durable.
#[derive(Clone, Copy, Debug)]
pub struct CommitBatch<'a> {
    /// The changes by revision, without gaps.
    pub changes: &'a [Change],
    /// The requests whose answers are to be stored.
    pub requests: &'a [RequestRecord],
    /// The version of each touched calendar when the batch was decided.
    pub expected: &'a [(CalendarId, Revision)],
}

/// The writer's side of a store. Only the actor has it.
pub trait Store: Send {
    /// The state from which the engine starts.
    fn boot(&mut self) -> Result<Boot, StoreError>;
    /// What each tenant has, with the appointments that end after `now`. It reads the whole store.
    fn usage(&mut self, now: Instant) -> Result<Usage, StoreError>;
    /// Loads calendars, each with every claim that must be in memory at `now`; none for one that
    /// does not exist.
    fn load_calendars(
        &mut self,
        ids: &[CalendarId],
        now: Instant,
    ) -> Result<Vec<Option<Calendar>>, StoreError>;
    /// Loads the claims that a calendar in memory lacks of the time from `from` on, which is before
    /// its `kept_from`.
    fn load_past(&mut self, calendar: &Calendar, from: Instant)
    -> Result<LoadedClaims, StoreError>;
    /// Notes that the writer has dropped these calendars from memory. The store need not remember
    /// anything of them: no batch touches them before they are loaded again.
    fn let_go(&mut self, ids: &[CalendarId]);
    /// Those of these appointments that exist.
    fn load_appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these appointments that exist.
    fn load_by_key(&mut self, keys: &[AppointmentKey]) -> Result<Vec<Appointment>, StoreError>;
    /// The keys of at most `limit` appointments with this address and all calendars within reach,
    /// the earliest first.
    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        reach: &Reach,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError>;
    /// The appointments of a series, by start and id.
    fn load_series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these requests that were answered before.
    fn seen_requests(&mut self, hashes: &[[u8; 16]]) -> Result<Vec<RequestRecord>, StoreError>;
    /// Notes that the writer has taken a calendar into memory as a reader loaded it. Returns false
    /// when the calendar has changed since or is gone: then the writer must load it.
    fn adopt(&mut self, calendar: &Calendar) -> Result<bool, StoreError>;
    /// Makes a batch durable, all of it or nothing.
    fn commit(&mut self, batch: &CommitBatch<'_>) -> Result<(), CommitError>;
    /// Removes at most `limit` requests older than `before`, and returns how many.
    fn forget_requests(&mut self, before: Instant, limit: usize) -> Result<usize, CommitError>;
    /// Removes at most `limit` of the oldest changes, if they were made before `before`, but never
    /// the last change. Returns the oldest one that is left.
    fn compact_changes(
        &mut self,
        before: Instant,
        limit: usize,
    ) -> Result<Option<Oldest>, CommitError>;
    /// Derives anew all data that follows from rows and changes, and reports each difference to the
    /// stored data in words. Returns the number of compared facts. It reads the whole store.
    fn compare_derived(&mut self, _found: &mut dyn FnMut(String)) -> Result<u64, StoreError> {
        Ok(0)
    }
    /// Begins to stage the cancellations of a deletion of this calendar before the deletion itself,
    /// see `bookd_core::deletion`; `now` is the time of the beginning. Returns the number of the
    /// deletion; none when the store writes any change at once.
    fn begin_deletion(
        &mut self,
        _calendar: &CalendarId,
        _now: Instant,
    ) -> Result<Option<u64>, CommitError> {
        Ok(None)
    }
    /// Makes further cancellations of a deletion durable, after the `before` ones that are staged
    /// already: each as the change will have it, but for `bookd_core::deletion::STAMPS`. They are
    /// visible only with the change.
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
    /// Settles deletions, at most `limit` rows at a time: writes the rows of appointments that a
    /// deletion cancelled, and removes staged cancellations of deletions that were not made, except
    /// of the one under way. Returns false when nothing is left.
    fn settle(&mut self, _limit: usize, _under_way: Option<u64>) -> Result<bool, CommitError> {
        Ok(false)
    }
    /// Does the work after a commit for which its callers need not wait, such as the checkpoint. An
    /// error is damage, or leaves the outcome on disk unknown.
    fn after_commit(&mut self) -> Result<(), CommitError> {
        Ok(())
    }
    /// Maintains files around the store. Called about once a minute.
    fn tend(&mut self) {}
    /// Checks that writes still go to the file that was opened. Called after each commit before its
    /// answers, once every `look_period`, and at the end. An error is fatal.
    fn still_there(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
    /// The longest time between two calls of `still_there`; none when no calls are needed.
    fn look_period(&self) -> Option<Duration> {
        None
    }
    /// The figures of the store, which it goes on to count.
    fn metrics(&self) -> Arc<StoreMetrics> {
        Arc::default()
    }
    /// The path of the database; none for a store that is no file of the system.
    fn file(&self) -> Option<&Path> {
        None
    }
    /// Opens another connection to the store, for reads off the writer's thread.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;
}

/// A connection for reads, which needs no writer.
pub trait Reader: Queries + LogReader + Send {
    /// Calls `look` with one moment of the store, which does not change meanwhile.
    fn at_once(&mut self, look: Look<'_>) -> Result<(), StoreError>;
}
