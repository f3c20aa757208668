//! A committed change in memory, for watchers, with its message encoded once for all whose filter
//! passes the whole of it.
//!
//! A message shows persons as they are now. Once a person in it changes, or is erased, the message
//! is not sent any more, and whoever took the change before takes it anew.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::store::log_reader::message_bytes;
use crate::store::{ChangePart, WatchFilter};
use bookd_core::appointment::{Appointment, Place};
use bookd_core::change::{Change, Event};
use bookd_core::ids::Revision;
use bookd_core::log::{LogEntry, LogEvent, LogPosition, Touched, What};
use bookd_core::prefixes::Prefixes;

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

/// The appointment of each event of a change; none for events of calendars.
pub(super) type Appointments = Vec<Option<Arc<Appointment>>>;

/// A committed change with the appointments of its events.
pub(crate) struct Committed {
    pub(super) entry: LogEntry,
    /// The appointments as of the change.
    pub(super) appointments: Appointments,
    /// The size in bytes, with a message of the whole change, by estimate.
    pub(super) bytes: usize,
    /// The size in bytes of a message of the whole change, by estimate.
    pub(super) message_bytes: usize,
    /// For each appointment of the change a count of the changes of its person, which all changes
    /// of the appointment share; and one of its own, for its leaving the tail.
    versions: Vec<Arc<AtomicU64>>,
    left: AtomicU64,
    /// The message of the whole change, once it was made, and the version that it shows.
    message: Mutex<Option<(u64, Bytes)>>,
}

impl Committed {
    pub(super) fn new(change: &Change) -> Self {
        let appointment = |event: &Event| match event {
            Event::Appointment { after, .. } => Some(Arc::clone(after)),
            _ => None,
        };
        // The log has no events of tokens.
        let logged = change.events.iter().filter(|it| it.token().is_none());
        let appointments: Vec<_> = logged.map(appointment).collect();
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
            bytes: appointments.len() * EVENT_BYTES + texts + places + message_bytes,
            message_bytes,
            appointments,
            versions: Vec::new(),
            left: AtomicU64::new(0),
            message: Mutex::default(),
        }
    }

    /// Follows the person of one more appointment of the change by this count.
    pub(super) fn follow(&mut self, version: Arc<AtomicU64>) {
        self.versions.push(version);
    }

    /// Goes up with each change of a person in it. Sums of counts that only go up are equal only
    /// where each count is.
    fn version(&self) -> u64 {
        let counts = self.versions.iter().map(|it| it.load(Ordering::SeqCst));
        self.left.load(Ordering::SeqCst) + counts.sum::<u64>()
    }

    /// The message that was made last, with its version.
    fn message(&self) -> MutexGuard<'_, Option<(u64, Bytes)>> {
        // Each change of it is one assignment.
        self.message.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the message, because the tail does not follow the change any more. Whoever has taken
    /// the change must take it anew.
    pub(super) fn leave(&self) {
        self.left.fetch_add(1, Ordering::SeqCst);
        *self.message() = None;
    }

    /// The change for a watcher whose filter passes all of it; `latest` gives its appointments as
    /// they are now, and is asked only where there is no message yet.
    pub(super) fn take_whole(
        self: &Arc<Self>,
        latest: impl FnOnce() -> Appointments,
    ) -> WholeChange {
        let version = self.version();
        let made = self.message().clone().filter(|made| made.0 == version);
        WholeChange {
            version,
            committed: Arc::clone(self),
            shown: made.map_or_else(|| Shown::Latest(latest()), |made| Shown::Message(made.1)),
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

    /// Whether it touches these calendars alone.
    pub(super) fn is_within(&self, prefixes: &Prefixes) -> bool {
        prefixes.is_all() || self.calendars().all(|calendar| prefixes.has(calendar))
    }

    /// The events that a watcher sees, with their indices.
    fn shown(
        &self,
        filter: &WatchFilter,
        latest: &Appointments,
    ) -> impl Iterator<Item = (usize, &LogEvent)> {
        let events = self.entry.events.iter().enumerate();
        events.filter(|(index, event)| filter.shows(event, latest[*index].as_deref()))
    }

    /// Whether a watcher sees an event of it; `latest` has its appointments as they are now.
    pub(super) fn shows_any(&self, filter: &WatchFilter, latest: &Appointments) -> bool {
        self.shown(filter, latest).next().is_some()
    }

    /// The change as a watcher receives it: the events that pass, with appointments as of the
    /// change but for the personal data, which is as in `latest`.
    pub(crate) fn to_part(&self, filter: &WatchFilter, latest: &Appointments) -> ChangePart {
        let passing = || self.shown(filter, latest);
        let appointment = |(index, _): (usize, _)| {
            let then = self.appointments[index].as_ref()?;
            Some(then.with_person(filter.reach.person_of(latest[index].as_ref()?)))
        };
        let events = passing().map(|(_, event)| event.clone()).collect();
        ChangePart {
            appointments: passing().map(appointment).collect(),
            next: LogPosition::after(self.entry.revision),
            entry: LogEntry {
                events,
                caller: self.entry.caller.clone(),
                ..self.entry
            },
        }
    }
}

/// A change for a watcher.
pub(crate) enum TailChange {
    /// All of its events pass the filter.
    Whole(WholeChange),
    /// Some of its events pass the filter; with its appointments as they are now.
    InPart(Arc<Committed>, Appointments),
}

/// A whole change, whose message is made once for all watchers.
pub struct WholeChange {
    committed: Arc<Committed>,
    version: u64,
    shown: Shown,
}

/// What a watcher is shown of a change.
enum Shown {
    Message(Bytes),
    /// There was no message yet: the appointments as they are now, to make one of.
    Latest(Appointments),
}

impl WholeChange {
    /// The revision of the change.
    pub(crate) fn revision(&self) -> Revision {
        self.committed.revision()
    }

    /// Whether it still shows persons as they are now. Asked when the tail has every change.
    pub(crate) fn is_current(&self) -> bool {
        self.committed.version() == self.version
    }

    /// The message of the change, made by `make` for the first watcher that asks.
    pub(crate) fn message(&self, make: impl FnOnce(&ChangePart) -> Bytes) -> Bytes {
        let latest = match &self.shown {
            Shown::Message(message) => return message.clone(),
            Shown::Latest(latest) => latest,
        };
        let made = self.committed.message().clone();
        if let Some((_, message)) = made.filter(|made| made.0 == self.version) {
            return message;
        }
        let message = make(&self.committed.to_part(&WatchFilter::ALL, latest));
        let mut kept = self.committed.message();
        // Whoever took the change later has a message of a later version.
        if kept.as_ref().is_none_or(|kept| kept.0 < self.version) {
            *kept = Some((self.version, message.clone()));
        }
        message
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use std::cell::Cell;

    use super::super::tail::Tail;
    use super::*;
    use crate::sample::appointment_on;
    use bookd_core::change::{AppointmentEvent, Cause};
    use bookd_core::ids::Caller;
    use bookd_core::time::Instant;

    /// A change of the one appointment, whose invitee has this name from then on.
    fn named(revision: u64, name: &str) -> Change {
        let mut after = appointment_on(1);
        after.person.invitee.name = name.to_owned();
        Change {
            revision: Revision(revision),
            time: Instant::from_seconds(0),
            cause: Cause::UpdateAppointment,
            caller: Caller::default(),
            events: vec![Event::Appointment {
                kind: AppointmentEvent::Updated,
                before: Some(Arc::new(appointment_on(1))),
                after: Arc::new(after),
            }],
        }
    }

    /// The first change of the tail after a revision, for a watcher of everything.
    fn taken(tail: &Tail, after: u64) -> WholeChange {
        let newest = tail.end().unwrap();
        let page = tail
            .page(Revision(after), newest, &WatchFilter::ALL)
            .unwrap();
        let Some(TailChange::Whole(whole)) = page.changes.into_iter().next() else {
            unreachable!("everything passes")
        };
        whole
    }

    /// The name that the message shows, and whether it was made for it.
    fn shown(change: &WholeChange) -> (Bytes, bool) {
        let is_made = Cell::new(false);
        let message = change.message(|part| {
            is_made.set(true);
            let appointment = part.appointments[0].as_ref().unwrap();
            Bytes::from(appointment.person.invitee.name.clone())
        });
        (message, is_made.get())
    }

    #[test]
    fn a_message_is_made_once_for_all_watchers() {
        let mut tail = Tail::new(10, 10);
        tail.absorb(&[named(1, "Eve")]);
        let (first, second) = (taken(&tail, 0), taken(&tail, 0));
        assert_eq!(shown(&first), (Bytes::from("Eve"), true));
        assert_eq!(shown(&second), (Bytes::from("Eve"), false));
        assert_eq!(shown(&taken(&tail, 0)), (Bytes::from("Eve"), false));
    }

    #[test]
    fn nobody_is_shown_a_person_as_before_an_erasure() {
        let mut tail = Tail::new(10, 10);
        tail.absorb(&[named(1, "Eve")]);
        let (made, not_made) = (taken(&tail, 0), taken(&tail, 0));
        shown(&made);
        tail.absorb(&[named(2, "Eve")]);
        assert!(made.is_current(), "the person is the same");
        tail.absorb(&[named(3, "")]);
        for (revision, change) in [(1, &made), (1, &not_made)] {
            assert_eq!(change.revision().0, revision);
            assert!(!change.is_current());
        }
        // A message that is made late is for nobody else.
        shown(&not_made);
        for after in 0..3 {
            let change = taken(&tail, after);
            assert_eq!(shown(&change), (Bytes::new(), true));
            assert!(change.is_current());
        }
    }

    #[test]
    fn a_change_that_left_the_tail_is_taken_from_the_store() {
        let mut tail = Tail::new(2, 10);
        tail.absorb(&[named(1, "Eve")]);
        let first = taken(&tail, 0);
        tail.absorb(&[named(2, "Eve"), named(3, "Eve")]);
        assert!(!first.is_current(), "the tail does not follow it");
        let second = taken(&tail, 1);
        assert!(second.is_current());
        // Revision 4 is missing, so that the tail begins anew.
        tail.absorb(&[named(5, "Eve")]);
        assert!(!second.is_current());
    }

    #[test]
    fn a_person_that_changes_ten_thousand_times_is_followed_without_a_walk_over_the_tail() {
        let mut tail = Tail::new(1_000, 10);
        let names = ["Eve", ""].into_iter().cycle();
        let changes: Vec<_> = (1..=10_000)
            .zip(names)
            .map(|(n, name)| named(n, name))
            .collect();
        tail.absorb(&changes);
        let change = taken(&tail, 9_000);
        assert_eq!(shown(&change), (Bytes::new(), true));
        tail.absorb(&[named(10_001, "Eve")]);
        assert!(!change.is_current());
        assert_eq!(shown(&taken(&tail, 9_001)), (Bytes::from("Eve"), true));
    }
}
