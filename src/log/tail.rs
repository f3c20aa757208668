//! The tail of the log in memory, for watchers that keep up: they need no store.
//!
//! Bounded by changes, events and bytes; whoever falls out of it goes on from the store, without gap or repeat. A change
//! that is told in parts is never in it: only the store reads one part by part.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::store::log_reader::{PAGE_CHANGES_MAX, PAGE_EVENTS_MAX, PART_BYTES_MAX, message_bytes};
use crate::store::{CalendarFilter, ChangePart};
use bookd_core::appointment::{Appointment, Place};
use bookd_core::change::{Change, Event};
use bookd_core::ids::{AppointmentId, Revision};
use bookd_core::log::{LogEntry, LogEvent, LogPosition, Touched, What};

/// Changes that are kept in memory at most: some seconds of a busy server.
pub(crate) const TAIL_CHANGES_MAX: usize = 8_192;
/// Events of them at most.
const TAIL_EVENTS_MAX: usize = 16_384;
/// What they weigh at most, in bytes, by estimate.
const TAIL_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// What one event weighs without its texts, places and calendars.
const EVENT_BYTES: usize = 1_024;

/// What an event weighs by its places, in both images of the log and in the appointment, and by its calendars.
fn places_bytes(event: &LogEvent, appointment: Option<&Appointment>) -> usize {
    let of_log = match &event.what {
        What::Appointment(it) => {
            it.after.places.len() + it.before.as_ref().map_or(0, |before| before.places.len())
        }
        What::Calendar(_) => 0,
    };
    let places = of_log + appointment.map_or(0, |it| it.places.len());
    places * size_of::<Place>() + event.calendars.len() * size_of::<Touched>()
}

/// A committed change with what watchers are told of it.
pub(crate) struct Committed {
    entry: LogEntry,
    /// For each event its appointment as the change left it.
    appointments: Vec<Option<Arc<Appointment>>>,
    bytes: usize,
    /// What a message with all of it takes, by estimate.
    message_bytes: usize,
}

impl Committed {
    fn new(change: &Change) -> Self {
        let appointment = |event: &Event| match event {
            Event::Appointment { after, .. } => Some(Arc::clone(after)),
            _ => None,
        };
        let appointments: Vec<_> = change.events.iter().map(appointment).collect();
        let texts: usize = appointments
            .iter()
            .flatten()
            .map(|it| it.person.text_bytes())
            .sum();
        let entry = LogEntry::of(change);
        let events = || entry.events.iter().zip(&appointments);
        let places: usize = events()
            .map(|(event, it)| places_bytes(event, it.as_deref()))
            .sum();
        let message_bytes = events()
            .map(|(event, it)| message_bytes(event, it.as_deref()))
            .sum();
        Self {
            entry,
            bytes: appointments.len() * EVENT_BYTES + texts + places,
            message_bytes,
            appointments,
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.entry.revision
    }

    /// The calendars that it touches; one may come several times.
    pub(crate) fn calendars(&self) -> impl Iterator<Item = &str> {
        self.entry
            .touched()
            .map(|touched| touched.calendar.as_str())
    }
}

/// A change that passed, with the appointments of its events as they are now.
pub(crate) struct TailChange {
    committed: Arc<Committed>,
    now: Vec<Option<Arc<Appointment>>>,
}

impl TailChange {
    /// As a watcher is told it: as of the change, but for what is personal.
    pub(crate) fn tell(&self, filter: &CalendarFilter) -> ChangePart {
        let Committed {
            entry,
            appointments,
            ..
        } = &*self.committed;
        let passing = || {
            entry
                .events
                .iter()
                .enumerate()
                .filter(|(_, event)| filter.passes(event))
        };
        let appointment = |(index, _): (usize, _)| {
            Some(
                appointments[index]
                    .as_ref()?
                    .with_person(self.now[index].as_ref()?.person.clone()),
            )
        };
        let events = passing().map(|(_, event)| event.clone()).collect();
        ChangePart {
            appointments: passing().map(appointment).collect(),
            next: LogPosition::after(entry.revision),
            entry: LogEntry {
                events,
                caller: entry.caller.clone(),
                ..*entry
            },
        }
    }
}

/// A page of the tail.
pub(crate) struct TailPage {
    pub(crate) changes: Vec<TailChange>,
    pub(crate) next: LogPosition,
}

/// See the header.
pub(crate) struct Tail {
    /// See `TAIL_CHANGES_MAX`.
    most: usize,
    /// See `PART_EVENTS_MAX`.
    part_events_max: usize,
    changes: VecDeque<Arc<Committed>>,
    /// Every appointment of these changes as the last of them left it.
    now: HashMap<AppointmentId, Arc<Appointment>>,
    events: usize,
    bytes: usize,
}

impl Tail {
    /// Of so many changes at most, each of at most so many events.
    pub(crate) fn new(most: usize, part_events_max: usize) -> Self {
        Self {
            most,
            part_events_max,
            changes: VecDeque::new(),
            now: HashMap::new(),
            events: 0,
            bytes: 0,
        }
    }

    /// Lets go of everything: what comes next begins it anew.
    fn clear(&mut self) {
        *self = Self::new(self.most, self.part_events_max);
    }

    /// Takes in what was committed. What does not follow on the last change that it has begins it anew.
    pub(crate) fn absorb(&mut self, changes: &[Change]) {
        for change in changes {
            if self.end().is_some_and(|end| end.next() != change.revision) {
                self.clear();
            }
            let committed = Some(change)
                .filter(|it| it.events.len() <= self.part_events_max && it.staged().is_none())
                .map(Committed::new);
            let Some(committed) = committed.filter(|it| it.message_bytes < PART_BYTES_MAX) else {
                self.clear();
                continue;
            };
            self.events += committed.appointments.len();
            self.bytes += committed.bytes;
            self.now.extend(
                committed
                    .appointments
                    .iter()
                    .flatten()
                    .map(|it| (it.id, Arc::clone(it))),
            );
            self.changes.push_back(Arc::new(committed));
            let is_full = |it: &Self| {
                it.changes.len() > it.most
                    || it.events > TAIL_EVENTS_MAX
                    || it.bytes > TAIL_BYTES_MAX
            };
            while is_full(self) {
                self.drop_first();
            }
        }
    }

    fn drop_first(&mut self) {
        let Some(first) = self.changes.pop_front() else {
            return;
        };
        self.events -= first.appointments.len();
        self.bytes -= first.bytes;
        for appointment in first.appointments.iter().flatten() {
            if self
                .now
                .get(&appointment.id)
                .is_some_and(|now| Arc::ptr_eq(now, appointment))
            {
                self.now.remove(&appointment.id);
            }
        }
    }

    /// The last change that it has.
    pub(crate) fn end(&self) -> Option<Revision> {
        self.changes.back().map(|it| it.revision())
    }

    /// Everything after a revision; none when something of that is no longer here.
    pub(crate) fn after(&self, after: Revision) -> Option<impl Iterator<Item = &Arc<Committed>>> {
        let first = self.changes.front()?.revision();
        let skipped = after.next().0.checked_sub(first.0)?;
        Some(
            self.changes
                .iter()
                .skip(usize::try_from(skipped).unwrap_or(usize::MAX)),
        )
    }

    /// A page of what came after a revision; none when the store must be asked, because something is missing here.
    pub(crate) fn page(
        &self,
        after: Revision,
        newest: Revision,
        filter: &CalendarFilter,
    ) -> Option<TailPage> {
        if self.end()? < newest {
            return None;
        }
        let mut page = TailPage {
            changes: Vec::new(),
            next: LogPosition::after(after),
        };
        let mut events = 0;
        for committed in self.after(after)?.take(PAGE_CHANGES_MAX) {
            let revision = committed.revision();
            page.next = LogPosition::after(revision);
            if committed
                .entry
                .events
                .iter()
                .any(|event| filter.passes(event))
            {
                events += committed.appointments.len();
                let now = |it: &Option<Arc<Appointment>>| {
                    it.as_ref().and_then(|it| self.now.get(&it.id)).cloned()
                };
                let now = committed.appointments.iter().map(now).collect();
                page.changes.push(TailChange {
                    committed: Arc::clone(committed),
                    now,
                });
            }
            if events >= PAGE_EVENTS_MAX {
                break;
            }
        }
        Some(page)
    }

    /// Brings what was read at a revision up to date in what is personal. False when that cannot be told from here.
    pub(crate) fn refresh(
        &self,
        told: &mut ChangePart,
        read_at: Revision,
        newest: Revision,
    ) -> bool {
        let is_known = self.end().is_some_and(|end| end >= newest) && self.after(read_at).is_some();
        for then in told.appointments.iter_mut().flatten().filter(|_| is_known) {
            if let Some(now) = self.now.get(&then.id) {
                then.person = now.person.clone();
            }
        }
        is_known
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use crate::store::log_reader::PART_EVENTS_MAX;
    use bookd_core::change::{AppointmentEvent, Cause};
    use bookd_core::ids::{CalendarId, Caller};
    use bookd_core::time::Instant;

    fn change(revision: u64, calendar: &str) -> Change {
        let calendar = CalendarId::parse(calendar).unwrap();
        let events = vec![Event::CalendarDeleted {
            calendar,
            staged: None,
        }];
        let (cause, caller, time) = (
            Cause::DeleteCalendar,
            Caller::default(),
            Instant::from_seconds(0),
        );
        Change {
            revision: Revision(revision),
            time,
            cause,
            caller,
            events,
        }
    }

    fn page(
        tail: &Tail,
        after: u64,
        newest: u64,
        filter: &CalendarFilter,
    ) -> Option<(Vec<u64>, u64)> {
        let page = tail.page(Revision(after), Revision(newest), filter)?;
        Some((
            page.changes
                .iter()
                .map(|it| it.tell(filter).entry.revision.0)
                .collect(),
            page.next.revision.0 - 1,
        ))
    }

    #[test]
    fn a_ring_weighs_every_place_of_an_image() {
        let before = Arc::new(crate::sample::appointment_on(100));
        let moved = |revision: u64| {
            let (kind, before, after) = (
                AppointmentEvent::Moved,
                Some(Arc::clone(&before)),
                Arc::clone(&before),
            );
            let events = vec![Event::Appointment {
                kind,
                before,
                after,
            }];
            Change {
                events,
                ..change(revision, "x")
            }
        };
        let mut tail = Tail::new(TAIL_CHANGES_MAX, PART_EVENTS_MAX);
        tail.absorb(&(1..=4_000).map(moved).collect::<Vec<_>>());
        let kept: usize = tail.changes.iter().map(|it| it.appointments.len()).sum();
        let least = 100 * (3 * size_of::<Place>() + size_of::<Touched>());
        assert!(
            kept > 0 && kept * least <= TAIL_BYTES_MAX,
            "{kept} of {least} bytes and more"
        );
    }

    #[test]
    fn a_ring_answers_only_when_nothing_is_missing() {
        let mut tail = Tail::new(3, 2);
        let all = &CalendarFilter::All;
        assert_eq!(page(&tail, 0, 0, all), None);
        let changes: Vec<Change> = (5..=9)
            .map(|it| change(it, if it % 2 == 0 { "even" } else { "odd" }))
            .collect();
        tail.absorb(&changes);
        assert_eq!(page(&tail, 5, 9, all), None, "6 has fallen out");
        assert_eq!(page(&tail, 6, 9, all), Some((vec![7, 8, 9], 9)));
        assert_eq!(page(&tail, 6, 10, all), None, "10 is not here yet");
        assert_eq!(page(&tail, 9, 9, all), Some((vec![], 9)));
        let even = CalendarFilter::Among(vec![CalendarId::parse("even").unwrap()]);
        assert_eq!(page(&tail, 6, 9, &even), Some((vec![8], 9)));
        assert_eq!(
            page(&tail, 6, 9, &CalendarFilter::Prefix("x".to_owned())),
            Some((vec![], 9))
        );
        tail.absorb(&[change(11, "odd")]);
        assert_eq!(
            page(&tail, 8, 11, all),
            None,
            "what does not follow begins it anew"
        );
        assert_eq!(page(&tail, 10, 11, all), Some((vec![11], 11)));
        let large = change(12, "odd");
        let events = large.events.iter().cycle().take(3).cloned().collect();
        tail.absorb(&[Change { events, ..large }]);
        assert_eq!(
            page(&tail, 11, 12, all),
            None,
            "what comes in parts is left to the store"
        );
        tail.absorb(&[change(13, "odd")]);
        assert_eq!(page(&tail, 11, 13, all), None);
        assert_eq!(page(&tail, 12, 13, all), Some((vec![13], 13)));
    }
}
