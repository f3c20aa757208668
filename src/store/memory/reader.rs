//! The readers' side of the store in memory: moments, queries and the log.
//!
//! Each answer is taken while the one state is locked, so that it shows one revision.

use std::collections::HashSet;
use std::sync::{Arc, MutexGuard};

use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::calendar::{Calendar, Profile};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId};
use bookd_core::log::{LogEntry, LogEvent, LogPosition, Replaced};
use bookd_core::prefixes::Prefixes;
use bookd_core::reach::Reach;
use bookd_core::state::State;
use bookd_core::time::Instant;

use super::{Memory, MemoryData, loaded};
use crate::store::history::HistoryBuilder;
use crate::store::log_reader::{PAGE_CHANGES_MAX, PAGE_EVENTS_MAX, PartBuilder};
use crate::store::{
    CalendarRow, ChangePage, HistoryPage, HistoryQuery, HistorySubject, Last, ListPage, ListQuery,
    LogReader, Look, Moment, Oldest, Queries, Reader, StoreError, UNDONE_APPOINTMENTS_MAX,
    UNDONE_CHANGES_MAX, WatchFilter,
};

/// The locked state, as one moment.
struct LockedView<'a>(MutexGuard<'a, MemoryData>);

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
        Ok(self.0.by_ids(ids))
    }

    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.0.by_keys(keys))
    }

    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        reach: &Reach,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError> {
        Ok(self.0.keys_by_email(email, reach, limit))
    }

    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError> {
        Ok(self.0.by_series(series))
    }
}

impl Reader for Memory {
    fn at_once(&mut self, look: Look<'_>) -> Result<(), StoreError> {
        look(&mut LockedView(self.lock()))
    }
}

impl Queries for Memory {
    fn appointments(
        &mut self,
        ids: &[AppointmentId],
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let data = self.lock();
        Ok((data.by_ids(ids), data.state.revision))
    }

    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let data = self.lock();
        Ok((data.by_keys(keys), data.state.revision))
    }

    fn appointments_after(
        &mut self,
        after: AppointmentKey,
        limit: usize,
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let data = self.lock();
        let mut found: Vec<Appointment> = data
            .state
            .appointments
            .values()
            .filter(|it| it.key > after)
            .map(|it| Appointment::clone(it))
            .collect();
        found.sort_unstable_by_key(|it| it.key);
        found.truncate(limit);
        Ok((found, data.state.revision))
    }

    fn list_appointments(&mut self, query: &ListQuery) -> Result<ListPage, StoreError> {
        let data = self.lock();
        let current = data.state.revision;
        let revision = query.at.unwrap_or(current);
        let reach = current.0.saturating_sub(UNDONE_CHANGES_MAX as u64);
        let oldest = data.oldest().map_or(0, |it| it.revision.0);
        if revision < current && (revision.0 < reach || revision.0 + 1 < oldest) {
            return Err(StoreError::Compacted {
                oldest: Revision(oldest.max(reach)),
            });
        }
        let mut undone = HashSet::new();
        for entry in data.changes.iter().filter(|it| it.revision > revision) {
            undone.extend(entry.appointments().map(|it| it.key));
            if undone.len() > UNDONE_APPOINTMENTS_MAX {
                return Err(StoreError::Compacted {
                    oldest: entry.revision,
                });
            }
        }
        let then = data
            .state
            .appointments
            .values()
            .filter_map(|now| data.at(now, revision, query));
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
        Ok(self.lock().state.calendars.contains_key(id))
    }

    fn ever_had(&mut self, id: &CalendarId) -> Result<bool, StoreError> {
        Ok(self.lock().versions.contains_key(id))
    }

    fn list_calendars(
        &mut self,
        prefixes: &Prefixes,
        after: Option<&CalendarId>,
        limit: usize,
    ) -> Result<(Vec<CalendarRow>, Revision), StoreError> {
        let data = self.lock();
        let is_asked =
            |id: &CalendarId| prefixes.has(id.as_str()) && after.is_none_or(|after| id > after);
        let calendars = data.state.calendars.values().filter(|it| is_asked(&it.id));
        let row = |it: &Arc<Calendar>| CalendarRow {
            id: it.id.clone(),
            profile: Profile::clone(&it.profile),
            stamps: it.stamps,
        };
        let mut rows: Vec<_> = calendars.map(row).collect();
        rows.sort_by(|one, other| one.id.cmp(&other.id));
        rows.truncate(limit);
        Ok((rows, data.state.revision))
    }
}

impl LogReader for Memory {
    fn history(&mut self, query: &HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        let data = self.lock();
        let is_known = match &query.subject {
            HistorySubject::Appointment(id) => data.state.appointments.contains_key(id),
            HistorySubject::Calendar(id) => data.versions.contains_key(id),
        };
        if !is_known {
            return Ok(None);
        }
        let is_about = |event: &LogEvent| match &query.subject {
            HistorySubject::Appointment(id) => event.appointment().is_some_and(|it| it.id == *id),
            HistorySubject::Calendar(id) => event.calendars.iter().any(|it| it.calendar == *id),
        };
        let mut page = HistoryBuilder::new(query);
        for entry in data.changes.iter().rev() {
            let revision = entry.revision;
            for (number, event) in (0..).zip(&entry.events) {
                if !is_about(event) || !page.shows(event) {
                    continue;
                }
                let at = LogPosition {
                    revision,
                    event: number,
                };
                let is_listed = query.from.is_some_and(|from| {
                    revision > from.revision || (revision == from.revision && at < from)
                });
                if is_listed {
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
            .lock()
            .replaced
            .get(&revision)
            .cloned()
            .unwrap_or_default())
    }

    fn oldest_change(&mut self) -> Result<Option<Oldest>, StoreError> {
        Ok(self.lock().oldest())
    }

    fn changes_from(
        &mut self,
        from: LogPosition,
        filter: &WatchFilter,
        part_events_max: usize,
    ) -> Result<ChangePage, StoreError> {
        let data = self.lock();
        let oldest = data.oldest().map_or(Revision(0), |it| it.revision);
        if from.revision < oldest {
            return Err(StoreError::Compacted { oldest });
        }
        let mut page = ChangePage {
            changes: Vec::new(),
            next: from,
            marks: Vec::new(),
        };
        let mut events = 0;
        for entry in data
            .changes
            .iter()
            .filter(|it| it.revision >= from.revision)
            .take(PAGE_CHANGES_MAX)
        {
            page.marks.extend(entry.mark());
            let (mut part, mut cut) = (PartBuilder::new(part_events_max), None);
            for (number, event) in (0..).zip(&entry.events) {
                let at = LogPosition {
                    revision: entry.revision,
                    event: number,
                };
                let logged = event.appointment();
                let now = logged.and_then(|it| data.by_keys(&[it.key]).pop());
                if at < from || !filter.shows(event, now.as_ref()) {
                    continue;
                }
                if part.is_full() {
                    cut = Some(number);
                    break;
                }
                part.add(event.clone(), now, &filter.reach);
            }
            let part = part.finish(
                LogEntry {
                    events: Vec::new(),
                    caller: entry.caller.clone(),
                    ..*entry
                },
                cut,
            );
            events += part.as_ref().map_or(0, |it| it.appointments.len());
            page.next = part
                .as_ref()
                .map_or(LogPosition::after(entry.revision), |it| it.next);
            page.changes.extend(part);
            if events >= PAGE_EVENTS_MAX || page.next.is_within_change() {
                break;
            }
        }
        Ok(page)
    }
}
