//! The reference store: all data in the process's memory, by code that is too plain to be wrong.
//!
//! All handles share one state. A batch is checked before anything of it is applied, so that it
//! happens whole or not at all.

mod reader;
mod writer;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bookd_core::appointment::recurrence::OCCURRENCES_MAX;
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::claims::Claims;
use bookd_core::change::{Cause, Change, Event};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId};
use bookd_core::log::{LogEntry, Replaced};
use bookd_core::reach::Reach;
use bookd_core::state::State;
use bookd_core::time::Instant;

use super::{CommitBatch, CommitError, ListQuery, Oldest, RequestRecord, StoreError};

/// A store in memory. A clone is another handle of the same store.
#[derive(Clone)]
pub struct Memory {
    data: Arc<Mutex<MemoryData>>,
}

/// The data that a file would hold, the calendars that the writer has loaded, and faults for tests.
struct MemoryData {
    code_key: u64,
    /// Every calendar with all its claims, and every appointment that ever existed.
    state: State,
    /// The changes by revision without gaps; compaction removes from the front.
    changes: Vec<LogEntry>,
    /// The profiles, overrides and types that changes replaced, by revision.
    replaced: BTreeMap<Revision, Vec<Replaced>>,
    /// The revision that last touched each calendar id that was ever used.
    versions: BTreeMap<CalendarId, Revision>,
    requests: BTreeMap<[u8; 16], RequestRecord>,
    /// The calendars that a writer has in memory.
    known: HashSet<CalendarId>,
    faults: VecDeque<ScriptedFault>,
    /// The error of the next removal of old requests.
    forgetting_fault: Option<CommitError>,
    /// What the next commit waits for before it does anything.
    held: Option<Receiver<()>>,
}

/// The error of the next commit, whatever the batch.
struct ScriptedFault {
    error: CommitError,
    /// The batch is made durable before the error is returned.
    is_late: bool,
}

impl Memory {
    /// An empty store. `code_key` is the secret from which its confirmation codes are derived.
    pub fn new(code_key: u64) -> Self {
        let state = State {
            next_key: AppointmentKey::default().next(),
            ..State::default()
        };
        let (changes, replaced, versions) = Default::default();
        let (requests, known, faults, forgetting_fault, held) = Default::default();
        let data = MemoryData {
            code_key,
            state,
            changes,
            replaced,
            versions,
            requests,
            known,
            faults,
            forgetting_fault,
            held,
        };
        Self {
            data: Arc::new(Mutex::new(data)),
        }
    }

    /// Makes a commit fail before anything is done: the next one, or the one after those that are
    /// to fail already.
    pub fn fail_next_commit(&self, error: CommitError) {
        self.lock().faults.push_back(ScriptedFault {
            error,
            is_late: false,
        });
    }

    /// Makes a commit fail with an unknown outcome after everything was done.
    pub fn lose_next_commit(&self, error: StoreError) {
        self.lock().faults.push_back(ScriptedFault {
            error: CommitError::Unknown(error),
            is_late: true,
        });
    }

    /// Makes the next commit wait, as on a disk that does not answer, until something is sent or
    /// the sender is dropped.
    pub fn hold_next_commit(&self, released: Receiver<()>) {
        self.lock().held = Some(released);
    }

    /// Makes the next removal of old requests fail with this error.
    pub fn fail_next_forgetting(&self, error: CommitError) {
        self.lock().forgetting_fault = Some(error);
    }

    /// The number of calendars that the writer has in memory, as far as the store knows.
    pub fn calendars_known(&self) -> usize {
        self.lock().known.len()
    }

    fn lock(&self) -> MutexGuard<'_, MemoryData> {
        // A batch that broke an invariant has panicked in the writer, and the readers must not
        // panic as well.
        self.data.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryData {
    /// Whether the batch may be applied: its calendars are as expected, and its requests are new.
    fn check(&self, batch: &CommitBatch<'_>) -> Result<(), StoreError> {
        for (id, version) in batch.expected {
            let is_stale =
                |calendar: &Arc<Calendar>| calendar.version != *version || !self.known.contains(id);
            if self.state.calendars.get(id).is_none_or(is_stale) {
                return Err(StoreError::Stale(id.clone()));
            }
        }
        let is_remembered = batch
            .requests
            .iter()
            .any(|request| self.requests.contains_key(&request.hash));
        if is_remembered {
            let why = "the request was remembered before";
            return Err(StoreError::Other(why.to_owned()));
        }
        Ok(())
    }

    fn apply(&mut self, change: &Change) {
        for event in &change.events {
            // The history of a new calendar begins, even if another one had the id before.
            if let Event::CalendarCreated { calendar, .. } = event {
                self.versions.remove(calendar);
            }
        }
        let versions = &mut self.versions;
        let entry = LogEntry::new(change, |id| {
            versions
                .insert(id.clone(), change.revision)
                .unwrap_or(Revision(0))
        });
        self.changes.push(entry);
        self.replaced.insert(change.revision, Replaced::by(change));
        if change.cause == Cause::ClockReset {
            self.requests
                .values_mut()
                .for_each(|it| it.time = it.time.min(change.time));
        }
        self.state.apply(change);
        for event in &change.events {
            match event {
                Event::CalendarCreated { calendar, .. } => self.known.insert(calendar.clone()),
                Event::CalendarDeleted { calendar, .. } => self.known.remove(calendar),
                _ => false,
            };
        }
    }

    fn by_ids(&self, ids: &[AppointmentId]) -> Vec<Appointment> {
        ids.iter()
            .filter_map(|id| self.state.appointments.get(id))
            .map(|it| Appointment::clone(it))
            .collect()
    }

    fn by_keys(&self, keys: &[AppointmentKey]) -> Vec<Appointment> {
        let all = || self.state.appointments.values();
        keys.iter()
            .filter_map(|key| all().find(|it| it.key == *key))
            .map(|it| Appointment::clone(it))
            .collect()
    }

    fn keys_by_email(&self, email: &EmailKey, reach: &Reach, limit: usize) -> Vec<AppointmentKey> {
        let theirs = self
            .state
            .appointments
            .values()
            .filter(|it| it.person.invitee.email.key == *email && reach.has_all_of(it));
        let mut theirs: Vec<(Instant, AppointmentKey)> =
            theirs.map(|it| (it.start, it.key)).collect();
        theirs.sort_unstable();
        theirs.into_iter().take(limit).map(|(_, key)| key).collect()
    }

    fn by_series(&self, series: SeriesId) -> Vec<Appointment> {
        let members = self
            .state
            .appointments
            .values()
            .filter(|it| it.series() == Some(series));
        let mut found: Vec<_> = members.map(|it| Appointment::clone(it)).collect();
        found.sort_by_key(|it| (it.start, it.id));
        found.truncate(OCCURRENCES_MAX);
        found
    }

    fn requests_by_hash(&self, hashes: &[[u8; 16]]) -> Vec<RequestRecord> {
        hashes
            .iter()
            .filter_map(|hash| self.requests.get(hash).cloned())
            .collect()
    }

    fn oldest(&self) -> Option<Oldest> {
        let first = self.changes.first()?;
        let (revision, time) = (first.revision, self.age(first));
        Some(Oldest {
            revision,
            time,
            is_followed: self.changes.len() > 1,
        })
    }

    /// The time by which a change counts as old: a change before a clock reset was made no later
    /// than the reset.
    fn age(&self, entry: &LogEntry) -> Instant {
        let is_reset =
            |it: &&LogEntry| it.cause == Cause::ClockReset && it.revision > entry.revision;
        self.changes
            .iter()
            .rfind(is_reset)
            .map_or(entry.time, |reset| entry.time.min(reset.time))
    }

    /// The appointment as it was at the revision of a list; none when it did not exist.
    fn at(&self, it: &Appointment, at: Revision, query: &ListQuery) -> Option<Appointment> {
        let later = self.changes.iter().filter(|entry| entry.revision > at);
        match later
            .flat_map(LogEntry::appointments)
            .find(|logged| logged.id == it.id)
        {
            None => Some(it.clone()),
            Some(logged) => logged
                .before
                .as_ref()
                .map(|image| query.then(it.clone(), image)),
        }
    }
}

/// The calendar as it is loaded at `now`: without the claims that are over.
fn loaded(calendar: &Calendar, now: Instant) -> Calendar {
    let kept_from = calendar.keep_from(now);
    let claims = calendar
        .claims
        .iter()
        .filter(|claim| claim.padded().end > kept_from)
        .copied();
    Calendar {
        claims: Claims::from_unordered(claims.collect()),
        kept_from,
        ..calendar.clone()
    }
}
