//! The reference store: everything in the process's memory, by code that is too plain to be wrong.
//!
//! All handles share one state. A batch is judged before anything of it is applied, so it happens whole or not at all.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bookd_core::appointment::recurrence::OCCURRENCES_MAX;
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::claims::{Claim, Claims};
use bookd_core::calendar::{Calendar, LoadedClaims, Profile};
use bookd_core::change::{Cause, Change, Event};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId};
use bookd_core::log::{LogEntry, LogEvent, LogPosition, Replaced};
use bookd_core::state::State;
use bookd_core::time::Instant;

use super::history::HistoryBuilder;
use super::log_reader::{PAGE_CHANGES_MAX, PAGE_EVENTS_MAX, PartBuilder};
use super::{
    Boot, CalendarFilter, CalendarRow, ChangePage, CommitBatch, CommitError, Expiring, HistoryPage,
    HistoryQuery, HistorySubject, Last, ListPage, ListQuery, LogReader, Look, Moment, Oldest,
    Queries, Reader, RequestRecord, Store, StoreError, UNDONE_APPOINTMENTS_MAX, UNDONE_CHANGES_MAX,
};

/// See the header. A clone is another handle of the same store.
#[derive(Clone)]
pub struct Memory {
    kept: Arc<Mutex<Kept>>,
}

/// What a file would hold.
struct Kept {
    code_key: u64,
    /// Every calendar with all its claims, and every appointment that there ever was.
    state: State,
    /// Without gaps; what is compacted is missing at the front.
    changes: Vec<LogEntry>,
    /// What changes replaced, by revision.
    replaced: BTreeMap<Revision, Vec<Replaced>>,
    /// Of every id that a calendar ever had the revision that touched it last.
    versions: BTreeMap<CalendarId, Revision>,
    requests: BTreeMap<[u8; 16], RequestRecord>,
    /// The calendars that a writer has in memory.
    known: HashSet<CalendarId>,
    faults: VecDeque<ScriptedFault>,
    /// What the next forgetting of requests says.
    forgetting_fault: Option<CommitError>,
}

/// What the next commit says, whatever the batch.
struct ScriptedFault {
    error: CommitError,
    /// The batch is made durable, and its caller is not told so.
    is_late: bool,
}

impl Memory {
    /// An empty store. `code_key` is the secret behind its confirmation codes.
    pub fn new(code_key: u64) -> Self {
        let state = State {
            next_key: AppointmentKey::default().next(),
            ..State::default()
        };
        let (changes, replaced, versions) = Default::default();
        let (requests, known, faults, forgetting_fault) = Default::default();
        let kept = Kept {
            code_key,
            state,
            changes,
            replaced,
            versions,
            requests,
            known,
            faults,
            forgetting_fault,
        };
        Self {
            kept: Arc::new(Mutex::new(kept)),
        }
    }

    /// Makes the next commit, or the one after those that fail already, fail with nothing done.
    pub fn fail_next_commit(&self, error: CommitError) {
        self.kept().faults.push_back(ScriptedFault {
            error,
            is_late: false,
        });
    }

    /// Makes a commit fail with an unknown outcome after everything was done.
    pub fn lose_next_commit(&self, error: StoreError) {
        self.kept().faults.push_back(ScriptedFault {
            error: CommitError::Unknown(error),
            is_late: true,
        });
    }

    /// Makes the next forgetting of old requests fail so.
    pub fn fail_next_forgetting(&self, error: CommitError) {
        self.kept().forgetting_fault = Some(error);
    }

    /// How many calendars a writer has in memory, as far as the store was told.
    pub fn calendars_known(&self) -> usize {
        self.kept().known.len()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // A batch that broke an invariant has panicked in its writer; the readers' part is not to panic as well.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn judge(&self, batch: &CommitBatch<'_>) -> Result<(), StoreError> {
        for (id, version) in batch.expected {
            let is_stale =
                |calendar: &Arc<Calendar>| calendar.version != *version || !self.known.contains(id);
            if self.state.calendars.get(id).is_none_or(is_stale) {
                return Err(StoreError::Stale(id.clone()));
            }
        }
        match batch
            .requests
            .iter()
            .any(|request| self.requests.contains_key(&request.hash))
        {
            true => Err(StoreError::Other(
                "the request was remembered before".to_owned(),
            )),
            false => Ok(()),
        }
    }

    fn apply(&mut self, change: &Change) {
        for event in &change.events {
            // Whatever had the id before, this one's history begins.
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

    fn of_ids(&self, ids: &[AppointmentId]) -> Vec<Appointment> {
        ids.iter()
            .filter_map(|id| self.state.appointments.get(id))
            .map(|it| Appointment::clone(it))
            .collect()
    }

    fn of_keys(&self, keys: &[AppointmentKey]) -> Vec<Appointment> {
        let all = || self.state.appointments.values();
        keys.iter()
            .filter_map(|key| all().find(|it| it.key == *key))
            .map(|it| Appointment::clone(it))
            .collect()
    }

    fn of_email(&self, email: &EmailKey, limit: usize) -> Vec<AppointmentKey> {
        let theirs = self
            .state
            .appointments
            .values()
            .filter(|it| it.person.invitee.email.key == *email);
        let mut theirs: Vec<(Instant, AppointmentKey)> =
            theirs.map(|it| (it.start, it.key)).collect();
        theirs.sort_unstable();
        theirs.into_iter().take(limit).map(|(_, key)| key).collect()
    }

    fn of_series(&self, series: SeriesId) -> Vec<Appointment> {
        let of_series = self
            .state
            .appointments
            .values()
            .filter(|it| it.series() == Some(series));
        let mut found: Vec<_> = of_series.map(|it| Appointment::clone(it)).collect();
        found.sort_by_key(|it| (it.start, it.id));
        found.truncate(OCCURRENCES_MAX);
        found
    }

    fn of_hashes(&self, hashes: &[[u8; 16]]) -> Vec<RequestRecord> {
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

    /// How old a change counts: what was made before a clock reset was made no later than that.
    fn age(&self, entry: &LogEntry) -> Instant {
        let is_reset =
            |it: &&LogEntry| it.cause == Cause::ClockReset && it.revision > entry.revision;
        self.changes
            .iter()
            .rfind(is_reset)
            .map_or(entry.time, |reset| entry.time.min(reset.time))
    }

    /// The appointment as it was at a revision; none when it was not there.
    fn at(&self, it: &Appointment, at: Revision) -> Option<Appointment> {
        let later = self.changes.iter().filter(|entry| entry.revision > at);
        match later
            .flat_map(LogEntry::appointments)
            .find(|logged| logged.id == it.id)
        {
            None => Some(it.clone()),
            Some(logged) => logged
                .before
                .as_ref()
                .map(|image| it.with_image(image.clone())),
        }
    }
}

/// The calendar as it is loaded at `now`: without what is over.
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

impl Store for Memory {
    fn boot(&mut self) -> Result<Boot, StoreError> {
        let kept = self.kept();
        let waiting = kept
            .state
            .appointments
            .values()
            .filter(|it| it.is_waiting());
        let expiring = waiting.filter_map(|it| {
            it.expire_time.map(|expire_time| Expiring {
                expire_time,
                appointment: it.id,
            })
        });
        let mut expiring: Vec<_> = expiring.collect();
        expiring.sort_by_key(|it| it.expire_time);
        let State {
            revision,
            last_time,
            next_key,
            ..
        } = kept.state;
        let (code_key, sessions_from) = (kept.code_key, Revision(1));
        Ok(Boot {
            revision,
            last_time,
            next_key,
            expiring,
            code_key,
            sessions_from,
        })
    }

    fn load_calendars(
        &mut self,
        ids: &[CalendarId],
        now: Instant,
    ) -> Result<Vec<Option<Calendar>>, StoreError> {
        let mut kept = self.kept();
        let load = |id: &CalendarId| {
            let calendar = loaded(kept.state.calendars.get(id)?, now);
            kept.known.insert(id.clone());
            Some(calendar)
        };
        Ok(ids.iter().map(load).collect())
    }

    fn load_past(
        &mut self,
        calendar: &Calendar,
        from: Instant,
    ) -> Result<LoadedClaims, StoreError> {
        let kept = self.kept();
        let is_past =
            |claim: &&Claim| claim.padded().end > from && claim.padded().end <= calendar.kept_from;
        let claims = kept
            .state
            .calendars
            .get(&calendar.id)
            .map(|it| it.claims.iter().filter(is_past).copied().collect());
        // A request never leaves memory.
        Ok(LoadedClaims {
            claims: claims.unwrap_or_default(),
            requests: Default::default(),
        })
    }

    fn let_go(&mut self, ids: &[CalendarId]) {
        let mut kept = self.kept();
        for id in ids {
            kept.known.remove(id);
        }
    }

    fn load_appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.kept().of_ids(ids))
    }

    fn load_by_key(&mut self, keys: &[AppointmentKey]) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.kept().of_keys(keys))
    }

    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError> {
        Ok(self.kept().of_email(email, limit))
    }

    fn load_series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.kept().of_series(series))
    }

    fn seen_requests(&mut self, hashes: &[[u8; 16]]) -> Result<Vec<RequestRecord>, StoreError> {
        Ok(self.kept().of_hashes(hashes))
    }

    fn adopt(&mut self, calendar: &Calendar) -> Result<bool, StoreError> {
        let mut kept = self.kept();
        let is_as_it_is =
            |it: &Arc<Calendar>| (it.since, it.version) == (calendar.since, calendar.version);
        let is_known = kept
            .state
            .calendars
            .get(&calendar.id)
            .is_some_and(is_as_it_is);
        kept.known.extend(is_known.then(|| calendar.id.clone()));
        Ok(is_known)
    }

    fn commit(&mut self, batch: &CommitBatch<'_>) -> Result<(), CommitError> {
        let mut kept = self.kept();
        let fault = kept.faults.pop_front();
        if let Some(ScriptedFault {
            error,
            is_late: false,
        }) = fault
        {
            return Err(error);
        }
        kept.judge(batch)?;
        batch.changes.iter().for_each(|change| kept.apply(change));
        kept.requests.extend(
            batch
                .requests
                .iter()
                .map(|request| (request.hash, request.clone())),
        );
        fault.map_or(Ok(()), |fault| Err(fault.error))
    }

    fn forget_requests(&mut self, before: Instant, limit: usize) -> Result<usize, CommitError> {
        let mut kept = self.kept();
        if let Some(error) = kept.forgetting_fault.take() {
            return Err(error);
        }
        let mut old: Vec<_> = kept
            .requests
            .values()
            .filter(|it| it.time < before)
            .map(|it| (it.time, it.hash))
            .collect();
        old.sort_unstable();
        old.truncate(limit);
        old.iter()
            .for_each(|(_, hash)| drop(kept.requests.remove(hash)));
        Ok(old.len())
    }

    fn compact_changes(
        &mut self,
        before: Instant,
        limit: usize,
    ) -> Result<Option<Oldest>, CommitError> {
        let mut kept = self.kept();
        let but_last = kept.changes.len().saturating_sub(1);
        let old = kept.changes[..but_last]
            .iter()
            .take(limit)
            .take_while(|it| kept.age(it) < before)
            .count();
        let gone: Vec<Revision> = kept.changes.drain(..old).map(|it| it.revision).collect();
        gone.iter()
            .for_each(|revision| drop(kept.replaced.remove(revision)));
        Ok(kept.oldest())
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

/// What is kept, for as long as it is looked at.
struct LockedView<'a>(MutexGuard<'a, Kept>);

impl Moment for LockedView<'_> {
    fn last(&mut self) -> Result<Last, StoreError> {
        let State {
            revision,
            last_time,
            next_key,
            ..
        } = self.0.state;
        Ok(Last {
            revision,
            time: last_time,
            next_key,
        })
    }

    fn version(&mut self, id: &CalendarId) -> Result<Option<Revision>, StoreError> {
        Ok(self.0.state.calendars.get(id).map(|it| it.version))
    }

    fn calendar(&mut self, id: &CalendarId, now: Instant) -> Result<Option<Calendar>, StoreError> {
        Ok(self.0.state.calendars.get(id).map(|it| loaded(it, now)))
    }

    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.0.of_ids(ids))
    }

    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.0.of_keys(keys))
    }

    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError> {
        Ok(self.0.of_email(email, limit))
    }

    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.0.of_series(series))
    }
}

impl Reader for Memory {
    fn at_once(&mut self, look: Look<'_>) -> Result<(), StoreError> {
        look(&mut LockedView(self.kept()))
    }
}

impl Queries for Memory {
    fn appointments(
        &mut self,
        ids: &[AppointmentId],
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let kept = self.kept();
        Ok((kept.of_ids(ids), kept.state.revision))
    }

    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let kept = self.kept();
        Ok((kept.of_keys(keys), kept.state.revision))
    }

    fn appointments_after(
        &mut self,
        after: AppointmentKey,
        limit: usize,
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let kept = self.kept();
        let mut found: Vec<Appointment> = kept
            .state
            .appointments
            .values()
            .filter(|it| it.key > after)
            .map(|it| Appointment::clone(it))
            .collect();
        found.sort_unstable_by_key(|it| it.key);
        found.truncate(limit);
        Ok((found, kept.state.revision))
    }

    fn list_appointments(&mut self, query: &ListQuery) -> Result<ListPage, StoreError> {
        let kept = self.kept();
        let current = kept.state.revision;
        let revision = query.at.unwrap_or(current);
        let reach = current.0.saturating_sub(UNDONE_CHANGES_MAX as u64);
        let oldest = kept.oldest().map_or(0, |it| it.revision.0);
        if revision < current && (revision.0 < reach || revision.0 + 1 < oldest) {
            return Err(StoreError::Compacted {
                oldest: Revision(oldest.max(reach)),
            });
        }
        let mut undone = HashSet::new();
        for entry in kept.changes.iter().filter(|it| it.revision > revision) {
            undone.extend(entry.appointments().map(|it| it.key));
            if undone.len() > UNDONE_APPOINTMENTS_MAX {
                return Err(StoreError::Compacted {
                    oldest: entry.revision,
                });
            }
        }
        let then = kept
            .state
            .appointments
            .values()
            .filter_map(|now| kept.at(now, revision));
        let mut appointments: Vec<Appointment> = then.filter(|it| query.matches(it)).collect();
        let order = |it: &Appointment| (it.start, it.id);
        appointments.sort_by_key(order);
        if query.is_descending {
            appointments.reverse();
        }
        let is_cut = appointments.len() > query.limit;
        appointments.truncate(query.limit);
        let next = appointments.last().map(order).filter(|_| is_cut);
        Ok(ListPage {
            appointments,
            next,
            revision,
        })
    }

    fn has_calendar(&mut self, id: &CalendarId) -> Result<bool, StoreError> {
        Ok(self.kept().state.calendars.contains_key(id))
    }

    fn ever_had(&mut self, id: &CalendarId) -> Result<bool, StoreError> {
        Ok(self.kept().versions.contains_key(id))
    }

    fn list_calendars(
        &mut self,
        prefix: &str,
        after: Option<&CalendarId>,
        limit: usize,
    ) -> Result<(Vec<CalendarRow>, Revision), StoreError> {
        let kept = self.kept();
        let is_asked = |id: &CalendarId| {
            id.as_str().starts_with(prefix) && after.is_none_or(|after| id > after)
        };
        let calendars = kept.state.calendars.values().filter(|it| is_asked(&it.id));
        let row = |it: &Arc<Calendar>| CalendarRow {
            id: it.id.clone(),
            profile: Profile::clone(&it.profile),
            stamps: it.stamps,
        };
        let mut rows: Vec<_> = calendars.map(row).collect();
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        rows.truncate(limit);
        Ok((rows, kept.state.revision))
    }
}

impl LogReader for Memory {
    fn history(&mut self, query: &HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        let kept = self.kept();
        let is_known = match &query.subject {
            HistorySubject::Appointment(id) => kept.state.appointments.contains_key(id),
            HistorySubject::Calendar(id) => kept.versions.contains_key(id),
        };
        if !is_known {
            return Ok(None);
        }
        let is_about = |event: &LogEvent| match &query.subject {
            HistorySubject::Appointment(id) => event.appointment().is_some_and(|it| it.id == *id),
            HistorySubject::Calendar(id) => event.calendars.iter().any(|it| it.calendar == *id),
        };
        let mut page = HistoryBuilder::new(query.changes_max);
        for entry in kept.changes.iter().rev() {
            let revision = entry.revision;
            for (number, event) in (0..)
                .zip(&entry.events)
                .filter(|(_, event)| is_about(event))
            {
                let at = LogPosition {
                    revision,
                    event: number,
                };
                let is_told = query.from.is_some_and(|from| {
                    revision > from.revision || (revision == from.revision && at < from)
                });
                if is_told {
                    continue;
                }
                if !page.has_room(revision) {
                    return Ok(Some(page.finish(Some(at))));
                }
                page.add(entry, event.clone());
            }
        }
        Ok(Some(page.finish(None)))
    }

    fn replaced(&mut self, revision: Revision) -> Result<Vec<Replaced>, StoreError> {
        Ok(self
            .kept()
            .replaced
            .get(&revision)
            .cloned()
            .unwrap_or_default())
    }

    fn oldest_change(&mut self) -> Result<Option<Oldest>, StoreError> {
        Ok(self.kept().oldest())
    }

    fn changes_from(
        &mut self,
        from: LogPosition,
        filter: &CalendarFilter,
        part_events_max: usize,
    ) -> Result<ChangePage, StoreError> {
        let kept = self.kept();
        let oldest = kept.oldest().map_or(Revision(0), |it| it.revision);
        if from.revision < oldest {
            return Err(StoreError::Compacted { oldest });
        }
        let mut page = ChangePage {
            changes: Vec::new(),
            next: from,
            marks: Vec::new(),
        };
        let mut events = 0;
        for entry in kept
            .changes
            .iter()
            .filter(|it| it.revision >= from.revision)
            .take(PAGE_CHANGES_MAX)
        {
            page.marks.extend(entry.mark());
            let (mut part, mut cut) = (PartBuilder::new(part_events_max), None);
            for (number, event) in (0..)
                .zip(&entry.events)
                .filter(|(_, event)| filter.passes(event))
            {
                if (LogPosition {
                    revision: entry.revision,
                    event: number,
                }) < from
                {
                    continue;
                }
                if part.is_full() {
                    cut = Some(number);
                    break;
                }
                part.add(
                    event.clone(),
                    event
                        .appointment()
                        .and_then(|it| kept.of_keys(&[it.key]).pop()),
                );
            }
            let told = part.finish(
                LogEntry {
                    events: Vec::new(),
                    caller: entry.caller.clone(),
                    ..*entry
                },
                cut,
            );
            events += told.as_ref().map_or(0, |it| it.appointments.len());
            page.next = told
                .as_ref()
                .map_or(LogPosition::after(entry.revision), |it| it.next);
            page.changes.extend(told);
            if events >= PAGE_EVENTS_MAX || page.next.is_within_change() {
                break;
            }
        }
        Ok(page)
    }
}
