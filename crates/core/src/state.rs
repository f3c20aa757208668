//! Everything the writer knows: the calendars in memory, and the appointments that the commands at hand name.
//!
//! Whatever a command may look at was loaded before it is decided; a calendar that is not here does not exist.

use std::collections::HashMap;
use std::sync::Arc;

use crate::appointment::{Appointment, AppointmentState, Place};
use crate::calendar::Calendar;
use crate::calendar::claims::{Claim, Session};
use crate::change::{Change, Event, new_calendar};
use crate::ids::{AppointmentId, AppointmentKey, CalendarId, Revision};
use crate::time::Instant;

/// The writer's state, or the part of it that a decision needs.
#[derive(Clone, Default, Debug)]
pub struct State {
    /// The revision of the last change.
    pub revision: Revision,
    /// The `now` of the last change.
    pub last_time: Instant,
    /// The key that the next new appointment gets.
    pub next_key: AppointmentKey,
    /// By id.
    pub calendars: HashMap<CalendarId, Arc<Calendar>>,
    /// The appointments that were loaded for the commands at hand.
    pub appointments: HashMap<AppointmentId, Arc<Appointment>>,
}

impl State {
    /// Makes a change state.
    pub fn apply(&mut self, change: &Change) {
        assert_eq!(change.revision, self.revision.next(), "revisions have no gaps");
        self.revision = change.revision;
        self.last_time = change.time;
        for event in &change.events {
            self.apply_event(event, change.revision);
        }
    }

    /// Makes one event state. A change of several events is applied whole, or not at all.
    pub(crate) fn apply_event(&mut self, event: &Event, revision: Revision) {
        match event {
            Event::CalendarCreated { calendar, profile, stamps, types } => {
                self.calendars.insert(calendar.clone(), Arc::new(new_calendar(calendar, profile, *stamps, types)));
            }
            Event::CalendarDeleted { calendar, .. } => {
                self.calendars.remove(calendar);
            }
            Event::ProfileChanged { calendar, profile, stamps, .. } => {
                let calendar = self.touched(calendar, revision);
                calendar.profile = Arc::clone(profile);
                calendar.stamps = *stamps;
            }
            Event::TypePut { calendar, appointment_type, .. } => {
                Arc::make_mut(&mut self.touched(calendar, revision).types).put(Arc::clone(appointment_type));
            }
            Event::TypeDeleted { calendar, type_id, last } => {
                Arc::make_mut(&mut self.touched(calendar, revision).types).remove(type_id, last.clone());
            }
            Event::BusyPut { calendar, busy, .. } => self.touched(calendar, revision).busy = Arc::clone(busy),
            Event::Appointment { before, after, .. } => self.apply_appointment(before.as_deref(), after, revision),
        }
    }

    fn apply_appointment(&mut self, before: Option<&Appointment>, after: &Arc<Appointment>, revision: Revision) {
        let mut had = Vec::new();
        for place in before.iter().flat_map(|appointment| &appointment.places) {
            if self.calendars.contains_key(&place.calendar) {
                let calendar = self.touched(&place.calendar, revision);
                let claim = take_out(calendar, before.expect("the place is of it"));
                had.extend(claim.map(|claim| (&place.calendar, claim)));
            }
        }
        for place in &after.places {
            if self.calendars.contains_key(&place.calendar) {
                put_in(self.touched(&place.calendar, revision), after, &had);
            }
        }
        self.next_key = self.next_key.max(after.key.next());
        self.appointments.insert(after.id, Arc::clone(after));
    }

    fn touched(&mut self, id: &CalendarId, revision: Revision) -> &mut Calendar {
        let calendar = self.calendars.get_mut(id).expect("a change touches only calendars that are loaded");
        let calendar = Arc::make_mut(calendar);
        calendar.version = revision;
        calendar
    }

    /// A state that knows only these calendars, for deciding several steps of which all or none happen.
    pub fn scratch<'a>(&self, calendars: impl IntoIterator<Item = &'a CalendarId>) -> Self {
        let calendars = calendars
            .into_iter()
            .filter_map(|id| self.calendars.get(id).map(|calendar| (id.clone(), Arc::clone(calendar))))
            .collect();
        Self { calendars, appointments: self.appointments.clone(), ..*self }
    }
}

/// The claim of an appointment on one of its calendars; none when it takes no time and waits for nothing.
pub fn claim_on(calendar: &Calendar, appointment: &Appointment) -> Option<Claim> {
    use AppointmentState as S;
    let is_of = |place: &&Place| place.calendar == calendar.id && place.since == calendar.since;
    let place = appointment.places.iter().find(is_of)?;
    let is_kept = matches!(appointment.state, S::Held | S::Pending | S::Confirmed | S::NoShow | S::Completed);
    is_kept.then(|| {
        let Place { type_number, start, duration, before, after, .. } = *place;
        let (state, expire_time) = (appointment.state, appointment.expire_time);
        Claim::new(appointment.key, type_number, start, duration, before, after, state, expire_time)
            .in_session(Session::own(appointment.session, appointment.places.len()))
    })
}

/// Gives the time back that an appointment took; answers its claim, if it took any.
fn take_out(calendar: &mut Calendar, before: &Appointment) -> Option<Claim> {
    let claim = claim_on(calendar, before)?;
    if !before.blocks {
        Arc::make_mut(&mut calendar.requests).remove(&before.key);
        return None;
    }
    let was_there = calendar.claims.remove(&claim);
    assert!(was_there || claim.padded().end <= calendar.kept_from, "memory knows every claim that it must");
    Some(claim)
}

/// Takes the time of an appointment. `had` are the claims that it had until now, by calendar.
fn put_in(calendar: &mut Calendar, after: &Appointment, had: &[(&CalendarId, Claim)]) {
    let Some(claim) = claim_on(calendar, after) else { return };
    if !after.blocks {
        Arc::make_mut(&mut calendar.requests).insert(after.key, claim);
    } else if claim.padded().end > calendar.kept_from {
        // The last line of defence, on in release builds: two claims of one time must never become state. What stays
        // where it was is not asked: files of before schema 4 may have two sessions at one time of one calendar.
        let is_where_it_was = had
            .iter()
            .any(|(of, it)| **of == calendar.id && it.padded() == claim.padded() && it.session() == claim.session());
        let is_in_the_way = |other: &&Claim| !other.shares_session(&claim) || other.padded() != claim.padded();
        let is_free = calendar.claims.overlapping(claim.padded()).find(is_in_the_way).is_none();
        assert!(is_free || is_where_it_was, "two appointments of calendar {} at one time", calendar.id);
        calendar.claims.insert(claim);
    }
}
