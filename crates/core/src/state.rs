//! The writer's state: the calendars in memory, and the appointments of the current commands.
//!
//! Everything that a command may read is loaded before its decision: a calendar that is not in the
//! state does not exist.

use std::collections::HashMap;
use std::sync::Arc;

use crate::appointment::{Appointment, AppointmentState, Place};
use crate::calendar::Calendar;
use crate::calendar::claims::{Claim, Session};
use crate::change::{Change, Event, new_calendar};
use crate::ids::{AppointmentId, AppointmentKey, CalendarId, Revision};
use crate::time::Instant;
use crate::token::Tokens;

/// The writer's state, or as much of it as a decision needs.
#[derive(Clone, Default, Debug)]
pub struct State {
    /// The revision of the last change.
    pub revision: Revision,
    /// The `now` of the last change.
    pub last_time: Instant,
    /// The key that the next new appointment gets.
    pub next_key: AppointmentKey,
    /// The calendars in memory, by id.
    pub calendars: HashMap<CalendarId, Arc<Calendar>>,
    /// The appointments that were loaded for the current commands, by id.
    pub appointments: HashMap<AppointmentId, Arc<Appointment>>,
    /// All tokens.
    pub tokens: Tokens,
}

impl State {
    /// Applies a change. Panics when the change breaks an invariant of the state.
    pub fn apply(&mut self, change: &Change) {
        assert_eq!(
            change.revision,
            self.revision.next(),
            "revisions have no gaps"
        );
        self.revision = change.revision;
        self.last_time = change.time;
        for event in &change.events {
            self.apply_event(event, change.revision);
        }
    }

    /// Applies one event. A change of several events must be applied completely.
    pub(crate) fn apply_event(&mut self, event: &Event, revision: Revision) {
        match event {
            Event::CalendarCreated {
                calendar,
                profile,
                stamps,
                types,
            } => {
                self.calendars.insert(
                    calendar.clone(),
                    Arc::new(new_calendar(calendar, profile, *stamps, types)),
                );
            }
            Event::CalendarDeleted { calendar, .. } => {
                self.calendars.remove(calendar);
            }
            Event::ProfileChanged {
                calendar,
                profile,
                stamps,
                ..
            } => {
                let calendar = self.changed(calendar, revision);
                calendar.profile = Arc::clone(profile);
                calendar.stamps = *stamps;
            }
            Event::TypePut {
                calendar,
                appointment_type,
                ..
            } => {
                Arc::make_mut(&mut self.changed(calendar, revision).types)
                    .put(Arc::clone(appointment_type));
            }
            Event::TypeDeleted {
                calendar,
                type_id,
                last,
            } => {
                Arc::make_mut(&mut self.changed(calendar, revision).types)
                    .remove(type_id, last.clone());
            }
            Event::BusyPut { calendar, busy, .. } => {
                self.changed(calendar, revision).busy = Arc::clone(busy)
            }
            Event::Appointment { before, after, .. } => {
                self.apply_appointment(before.as_deref(), after, revision)
            }
            Event::TokenCreated { token } => self.tokens.add(Arc::clone(token)),
            Event::TokenRevoked { id } => self.tokens.remove(id),
        }
    }

    fn apply_appointment(
        &mut self,
        before: Option<&Appointment>,
        after: &Arc<Appointment>,
        revision: Revision,
    ) {
        let mut had = Vec::new();
        for (before, place) in before
            .iter()
            .flat_map(|before| before.places.iter().map(move |place| (before, place)))
        {
            if let Some(calendar) = self.touched(&place.calendar, revision) {
                had.extend(
                    free_place(calendar, before, place).map(|claim| (&place.calendar, claim)),
                );
            }
        }
        for place in &after.places {
            if let Some(calendar) = self.touched(&place.calendar, revision) {
                claim_place(calendar, after, place, &had);
            }
        }
        self.next_key = self.next_key.max(after.key.next());
        self.appointments.insert(after.id, Arc::clone(after));
    }

    /// A calendar that a change touches, with its version set; none where it was deleted.
    fn touched(&mut self, id: &CalendarId, revision: Revision) -> Option<&mut Calendar> {
        let calendar = Arc::make_mut(self.calendars.get_mut(id)?);
        calendar.version = revision;
        Some(calendar)
    }

    /// The calendar that a change is about, with its version set.
    fn changed(&mut self, id: &CalendarId, revision: Revision) -> &mut Calendar {
        self.touched(id, revision)
            .expect("a change is only of calendars that are loaded")
    }

    /// A copy with only these calendars, on which a decision of several steps tries its events.
    pub fn scratch<'a>(&self, calendars: impl IntoIterator<Item = &'a CalendarId>) -> Self {
        let calendars = calendars
            .into_iter()
            .filter_map(|id| {
                self.calendars
                    .get(id)
                    .map(|calendar| (id.clone(), Arc::clone(calendar)))
            })
            .collect();
        Self {
            calendars,
            appointments: self.appointments.clone(),
            tokens: self.tokens.clone(),
            ..*self
        }
    }
}

/// The claim of an appointment on one of its calendars; none for an appointment that takes no time
/// and is no open request.
pub fn claim_on(calendar: &Calendar, appointment: &Appointment) -> Option<Claim> {
    appointment
        .places
        .iter()
        .find(|place| is_of(calendar, place))
        .and_then(|place| claim_of(appointment, place))
}

fn is_of(calendar: &Calendar, place: &Place) -> bool {
    place.since == calendar.since && place.calendar == calendar.id
}

/// The claim of one of an appointment's places; none for an appointment that takes no time and is
/// no open request.
fn claim_of(appointment: &Appointment, place: &Place) -> Option<Claim> {
    use AppointmentState as S;
    let is_kept = matches!(
        appointment.state,
        S::Held | S::Pending | S::Confirmed | S::NoShow | S::Completed
    );
    is_kept.then(|| {
        let Place {
            type_number,
            start,
            duration,
            before,
            after,
            ..
        } = *place;
        let (state, expire_time) = (appointment.state, appointment.expire_time);
        Claim::new(
            appointment.key,
            type_number,
            start,
            duration,
            before,
            after,
            state,
            expire_time,
        )
        .in_session(Session::own(appointment.session, appointment.places.len()))
    })
}

/// Frees the time that an appointment took at one of its places, and returns its claim if it had
/// one.
fn free_place(calendar: &mut Calendar, before: &Appointment, place: &Place) -> Option<Claim> {
    let claim = claim_of(before, place).filter(|_| is_of(calendar, place))?;
    if !before.blocks {
        Arc::make_mut(&mut calendar.requests).remove(&before.key);
        return None;
    }
    let was_there = calendar.claims.remove(&claim);
    assert!(
        was_there || claim.padded().end <= calendar.kept_from,
        "every claim that ends after `kept_from` is in memory"
    );
    Some(claim)
}

/// Takes the time of an appointment at one of its places. `had` has its claims before the change,
/// with their calendars.
fn claim_place(
    calendar: &mut Calendar,
    after: &Appointment,
    place: &Place,
    had: &[(&CalendarId, Claim)],
) {
    let Some(claim) = claim_of(after, place).filter(|_| is_of(calendar, place)) else {
        return;
    };
    if !after.blocks {
        Arc::make_mut(&mut calendar.requests).insert(after.key, claim);
    } else if claim.padded().end > calendar.kept_from {
        // The last line of defence, also in release builds: two claims of one time must never
        // become state. A claim that stays where it was is not checked, because files from before
        // schema 4 may have two sessions at one time.
        let is_it = |it: &Claim| it.padded() == claim.padded() && it.session() == claim.session();
        let is_where_it_was = || had.iter().any(|(of, it)| **of == calendar.id && is_it(it));
        let is_in_the_way =
            |other: &&Claim| !other.shares_session(&claim) || other.padded() != claim.padded();
        let is_free = calendar
            .claims
            .overlapping(claim.padded())
            .find(is_in_the_way)
            .is_none();
        assert!(
            is_free || is_where_it_was(),
            "two appointments of calendar {} at one time",
            calendar.id
        );
        calendar.claims.insert(claim);
    }
}
