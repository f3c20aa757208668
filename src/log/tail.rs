//! The log tail: the last changes in memory, for watchers that keep up and so need no store.
//!
//! The tail is bounded by changes, events and bytes. A watcher that is behind it reads from the
//! store, without gap or repeat. A change that is delivered in parts is never in the tail: only the
//! store reads a change part by part.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::store::log_reader::{PAGE_CHANGES_MAX, PAGE_EVENTS_MAX, PART_BYTES_MAX, message_bytes};
use crate::store::{CalendarFilter, ChangePart};
use bookd_core::appointment::{Appointment, Place};
use bookd_core::change::{Change, Event};
use bookd_core::ids::{AppointmentId, Revision};
use bookd_core::log::{LogEntry, LogEvent, LogPosition, Touched, What};

/// The largest number of changes in the tail: some seconds of a busy server.
pub(crate) const TAIL_CHANGES_MAX: usize = 8_192;
/// The largest number of events in the tail.
const TAIL_EVENTS_MAX: usize = 16_384;
/// The largest size of the tail in bytes, by estimate.
const TAIL_BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// The size of an event in bytes without its texts, places and calendars, by estimate.
const EVENT_BYTES: usize = 1_024;

/// The size in bytes of an event's places, in both images of the log and in the appointment, and of
/// its calendars.
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

/// A committed change with the appointments of its events.
pub(crate) struct Committed {
    entry: LogEntry,
    /// For each event its appointment as of the change.
    appointments: Vec<Option<Arc<Appointment>>>,
    bytes: usize,
    /// The size in bytes of a message with the whole change, by estimate.
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

    /// The calendars that the change touches; one may come several times.
    pub(crate) fn calendars(&self) -> impl Iterator<Item = &str> {
        self.entry
            .touched()
            .map(|touched| touched.calendar.as_str())
    }
}

/// A change that passes a filter, with the appointments of its events as they are now.
pub(crate) struct TailChange {
    committed: Arc<Committed>,
    latest: Vec<Option<Arc<Appointment>>>,
}

impl TailChange {
    /// The change as a watcher receives it: the events that pass, with appointments as of the
    /// change but for the personal data, which is as of now.
    pub(crate) fn to_part(&self, filter: &CalendarFilter) -> ChangePart {
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
                    .with_person(self.latest[index].as_ref()?.person.clone()),
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

/// A page of the tail, and the position after it.
pub(crate) struct TailPage {
    pub(crate) changes: Vec<TailChange>,
    pub(crate) next: LogPosition,
}

/// The last committed changes.
pub(crate) struct Tail {
    /// The largest number of changes; [`TAIL_CHANGES_MAX`] by default.
    changes_max: usize,
    /// A change with more events is delivered in parts, and left to the store.
    part_events_max: usize,
    changes: VecDeque<Arc<Committed>>,
    /// Every appointment of these changes as of the last of them.
    latest: HashMap<AppointmentId, Arc<Appointment>>,
    events: usize,
    bytes: usize,
}

impl Tail {
    /// An empty tail with these limits.
    pub(crate) fn new(changes_max: usize, part_events_max: usize) -> Self {
        Self {
            changes_max,
            part_events_max,
            changes: VecDeque::new(),
            latest: HashMap::new(),
            events: 0,
            bytes: 0,
        }
    }

    /// Drops all changes, so that the next one begins the tail anew.
    fn clear(&mut self) {
        *self = Self::new(self.changes_max, self.part_events_max);
    }

    /// Adds committed changes. A change that does not follow the last one begins the tail anew.
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
            self.latest.extend(
                committed
                    .appointments
                    .iter()
                    .flatten()
                    .map(|it| (it.id, Arc::clone(it))),
            );
            self.changes.push_back(Arc::new(committed));
            while self.is_over_limits() {
                self.drop_first();
            }
        }
    }

    fn is_over_limits(&self) -> bool {
        self.changes.len() > self.changes_max
            || self.events > TAIL_EVENTS_MAX
            || self.bytes > TAIL_BYTES_MAX
    }

    fn drop_first(&mut self) {
        let Some(first) = self.changes.pop_front() else {
            return;
        };
        self.events -= first.appointments.len();
        self.bytes -= first.bytes;
        for appointment in first.appointments.iter().flatten() {
            if self
                .latest
                .get(&appointment.id)
                .is_some_and(|latest| Arc::ptr_eq(latest, appointment))
            {
                self.latest.remove(&appointment.id);
            }
        }
    }

    /// The revision of the last change in the tail.
    pub(crate) fn end(&self) -> Option<Revision> {
        self.changes.back().map(|it| it.revision())
    }

    /// All changes after a revision; none when some of them are no longer in the tail.
    pub(crate) fn after(&self, after: Revision) -> Option<impl Iterator<Item = &Arc<Committed>>> {
        let first = self.changes.front()?.revision();
        let skipped = after.next().0.checked_sub(first.0)?;
        Some(
            self.changes
                .iter()
                .skip(usize::try_from(skipped).unwrap_or(usize::MAX)),
        )
    }

    /// A page of the changes after a revision; none when some of them are not in the tail and must
    /// be read from the store.
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
                let latest = |appointment: &Option<Arc<Appointment>>| {
                    let id = appointment.as_ref()?.id;
                    self.latest.get(&id).cloned()
                };
                let latest = committed.appointments.iter().map(latest).collect();
                page.changes.push(TailChange {
                    committed: Arc::clone(committed),
                    latest,
                });
            }
            if events >= PAGE_EVENTS_MAX {
                break;
            }
        }
        Some(page)
    }

    /// Brings the personal data of a part that was read at `read_at` up to date. Returns false when
    /// the tail does not have all changes since then.
    pub(crate) fn refresh(
        &self,
        part: &mut ChangePart,
        read_at: Revision,
        newest: Revision,
    ) -> bool {
        let is_known = self.end().is_some_and(|end| end >= newest) && self.after(read_at).is_some();
        for then in part.appointments.iter_mut().flatten().filter(|_| is_known) {
            if let Some(latest) = self.latest.get(&then.id) {
                then.person = latest.person.clone();
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
                .map(|it| it.to_part(filter).entry.revision.0)
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
