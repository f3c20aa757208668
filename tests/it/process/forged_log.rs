//! A store with a log that a test makes up, as a writer with a bug might write it, and the findings
//! of `bookd check` in it.

use std::sync::Arc;

use bookd::store::CommitBatch;
use bookd_core::appointment::{Appointment, AppointmentState as S, Image, OccurrenceOf, Place};
use bookd_core::change::{AppointmentEvent as E, Cause, Change, Event};
use bookd_core::command::Command;
use bookd_core::decide::decide;
use bookd_core::ids::Caller;
use bookd_core::time::{Instant, MINUTE};

use crate::stored::{World, at_hour, booking, open, zones};

/// The hour at which most appointments of these tests begin.
pub const BEGINNING: i64 = 9;

/// A store whose log gets any event, as from a writer with a bug.
pub struct Forged(pub World);

/// The appointment at another time.
pub fn start_at(it: &Appointment, start: Instant) -> Appointment {
    let places = it
        .places
        .iter()
        .map(|place| Place {
            start,
            ..place.clone()
        })
        .collect();
    let local_start = zones()("UTC").unwrap().wall(start);
    it.with_image(Image {
        start,
        local_start,
        places,
        ..it.image.clone()
    })
}

pub fn called_off(it: &Appointment) -> Appointment {
    it.with_image(Image {
        state: S::Cancelled,
        expire_time: None,
        ..it.image.clone()
    })
}

impl Forged {
    /// A forged log in memory. The store's own state refuses two appointments at one time.
    pub fn new() -> Self {
        Self::on(World::memory())
    }

    /// A forged log in a file, which takes any rows.
    pub fn in_a_file() -> Self {
        Self::on(World::sqlite())
    }

    fn on(mut world: World) -> Self {
        open(&mut world, "ada", "UTC");
        Self(world)
    }

    /// An appointment of an hour in this state, as if it had just been booked.
    pub fn appointment(&self, number: u128, start: Instant, state: S) -> Appointment {
        let booked = decide(
            &self.0.state,
            &Command::Book(booking(number, "ada", at_hour(100))),
            self.0.now,
        )
        .unwrap();
        let Event::Appointment { after, .. } = &booked.events[0] else {
            unreachable!("a booking")
        };
        let expire_time = match state {
            S::Held => Some(self.0.now.plus(10 * MINUTE)),
            S::Pending => Some(start),
            _ => None,
        };
        let begun = start_at(after, start);
        let occurrence = begun.occurrence.map(|it| OccurrenceOf {
            original_start: start,
            ..it
        });
        let image = Image {
            state,
            expire_time,
            ..begun.image
        };
        Appointment {
            occurrence,
            image,
            ..begun
        }
    }

    /// Commits a change with this event, possible or not.
    pub fn commit_event(
        &mut self,
        kind: E,
        before: Option<&Arc<Appointment>>,
        after: Appointment,
    ) -> Arc<Appointment> {
        let (now, revision) = (self.0.now, self.0.state.revision.next());
        let create_time = before.map_or(now, |before| before.create_time);
        let image = Image {
            update_time: now,
            revision,
            ..after.image
        };
        let after = Arc::new(Appointment {
            create_time,
            image,
            ..after
        });
        let event = Event::Appointment {
            kind,
            before: before.cloned(),
            after: Arc::clone(&after),
        };
        let (cause, caller) = (Cause::BookAppointment, Caller::default());
        let change = Change {
            revision,
            time: now,
            cause,
            caller,
            events: vec![event],
        };
        let batch = CommitBatch {
            changes: &[change],
            requests: &[],
            expected: &[],
        };
        self.0.store().commit(&batch).unwrap();
        self.0.state.revision = revision;
        self.0.state.last_time = now;
        self.0.state.next_key = self.0.state.next_key.max(after.key.next());
        for place in &after.places {
            Arc::make_mut(self.0.state.calendars.get_mut(&place.calendar).unwrap()).version =
                revision;
        }
        after
    }

    /// Commits a new appointment in this state, by an event that makes such a one.
    pub fn make(&mut self, number: u128, start: Instant, state: S) -> Arc<Appointment> {
        let kind = match state {
            S::Held => E::Held,
            S::Pending | S::Confirmed => E::Booked,
            _ => E::Imported,
        };
        let new = self.appointment(number, start, state);
        self.commit_event(kind, None, new)
    }

    /// The promises whose checks have findings, each with its findings.
    pub fn found(&mut self) -> Vec<(&'static str, Vec<String>)> {
        let now = self.0.now;
        let store = self.0.store();
        let oldest = store.reader().unwrap().oldest_change().unwrap();
        let report = bookd::admin::check::check(store, oldest, &zones(), now, |_| ()).unwrap();
        let found = report.invariants.into_iter().filter(|it| it.found > 0);
        found.map(|it| (it.promise, it.findings)).collect()
    }

    pub fn promises(&mut self) -> Vec<&'static str> {
        self.found()
            .into_iter()
            .map(|(promise, _)| promise)
            .collect()
    }
}
