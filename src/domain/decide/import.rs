//! The decision about an import: whole calendars with what is booked of them, all or none.
//!
//! Rules are not asked, for the past was booked under others; conflicts are, for no path may make two of one time.

use std::sync::Arc;

use super::super::appointment::{Appointment, AppointmentState, IgnoredRules, Place};
use super::super::appointment_type::AppointmentType;
use super::super::calendar::{Busy, Calendar};
use super::super::change::{AppointmentEvent, Cause, Event};
use super::super::command::{ImportedAppointment, ImportedCalendar};
use super::super::feasible::{Ask, buffers, race_violations};
use super::super::ids::{CalendarId, TypeId, TypeNumber};
use super::super::refusal::Refusal;
use super::super::state::State;
use super::super::time::{Instant, Minutes};
use super::calendars::invalid;
use super::claiming::resolve;
use super::{At, Decision, Outcome};

impl At<'_> {
    pub(super) fn import(self, calendars: &[ImportedCalendar]) -> Result<Decision, Refusal> {
        if let Some(taken) = calendars.iter().find(|it| self.state.calendars.contains_key(&it.calendar)) {
            return Err(Refusal::CalendarExists(taken.calendar.clone()));
        }
        let mut scratch = self.state.scratch([]);
        let mut events = Vec::new();
        for imported in calendars {
            events.extend(self.imported_calendar(imported));
        }
        events.iter().for_each(|event| scratch.apply_event(event, self.revision()));
        let mut appointments = Vec::new();
        for (calendar, imported) in
            calendars.iter().flat_map(|it| it.appointments.iter().map(move |a| (&it.calendar, a)))
        {
            let appointment = Arc::new(self.imported_appointment(&scratch, calendar, imported)?);
            let kind = AppointmentEvent::Imported;
            let event = Event::Appointment { kind, before: None, after: Arc::clone(&appointment) };
            scratch.apply_event(&event, self.revision());
            events.push(event);
            appointments.push(appointment);
        }
        let outcome = Outcome { appointments, ..Outcome::default() };
        Ok(Decision { cause: Cause::Import, events, outcome })
    }

    fn imported_calendar(self, imported: &ImportedCalendar) -> Vec<Event> {
        let stamps = self.stamps();
        let mut types = imported.types.clone();
        if types.iter().all(|it| it.id != TypeId::default_type()) {
            types.push(AppointmentType::default_type(stamps));
        }
        let numbered = types.into_iter().enumerate().map(|(index, appointment_type)| {
            let number = TypeNumber(u16::try_from(index).expect("an import has at most TYPES_MAX types a calendar"));
            Arc::new(AppointmentType { number, stamps, ..appointment_type })
        });
        let calendar = imported.calendar.clone();
        let profile = Arc::new(imported.profile.clone());
        let created = Event::CalendarCreated { calendar: calendar.clone(), profile, stamps, types: numbered.collect() };
        let busy = Arc::new(Busy::new(imported.busy.iter().cloned()));
        let sources: Vec<String> = busy.sources().map(|(source, _)| source.to_owned()).collect();
        let put = |source| Event::BusyPut { calendar: calendar.clone(), source, busy: Arc::clone(&busy) };
        [created].into_iter().chain(sources.into_iter().map(put)).collect()
    }

    fn imported_appointment(
        self,
        scratch: &State,
        calendar: &CalendarId,
        imported: &ImportedAppointment,
    ) -> Result<Appointment, Refusal> {
        let at_origin = |refusal| match refusal {
            Refusal::FieldInvalid(mut violations) => {
                violations.iter_mut().for_each(|it| it.field = format!("{}.{}", imported.origin, it.field));
                Refusal::FieldInvalid(violations)
            }
            other => other,
        };
        let invalid = |field: &str, why: String| invalid(&format!("{}{field}", imported.origin), why);
        if scratch.appointments.contains_key(&imported.id.id()) {
            return Err(Refusal::AppointmentExists(imported.id.id()));
        }
        let mut found: Vec<(&Arc<Calendar>, &Arc<AppointmentType>)> = Vec::new();
        for id in [calendar].into_iter().chain(&imported.further_calendars) {
            let calendar = scratch.calendars.get(id).ok_or_else(|| Refusal::CalendarNotFound(id.clone()))?;
            let appointment_type = calendar.types.find(&imported.type_id);
            let not_found = || invalid(".type", format!("calendar {id} has no appointment type {}", imported.type_id));
            found.push((calendar, appointment_type.ok_or_else(not_found)?));
        }
        let (first, first_type) = *found.first().expect("the calendar it stands under");
        let start = resolve(&imported.start, first.zone()).map_err(at_origin)?;
        let duration = imported.duration.unwrap_or(first_type.duration);
        let is_pending = imported.state == AppointmentState::Pending && start > self.now;
        let is_over = imported.state == AppointmentState::Pending && !is_pending;
        let state = if is_over { AppointmentState::Expired } else { imported.state };
        let places = self.imported_places((imported, state), &found, start, duration)?;
        Ok(Appointment {
            id: imported.id.id(),
            key: scratch.next_key,
            places,
            type_id: imported.type_id.clone(),
            start,
            duration,
            time_zone: first.zone().name().into(),
            local_start: first.zone().wall(start),
            state,
            blocks: true,
            expire_time: is_pending.then_some(start),
            invitee: imported.invitee.clone(),
            note: imported.note.clone(),
            metadata: imported.metadata.clone(),
            cancel_reason: imported.cancel_reason.clone(),
            series: None,
            sequence: 0,
            ignored_rules: IgnoredRules::default(),
            stamps: self.stamps(),
        })
    }

    /// The calendars that an imported appointment claims, seen that none of them is taken.
    fn imported_places(
        self,
        (imported, state): (&ImportedAppointment, AppointmentState),
        found: &[(&Arc<Calendar>, &Arc<AppointmentType>)],
        start: Instant,
        duration: Minutes,
    ) -> Result<Vec<Place>, Refusal> {
        use AppointmentState as S;
        let takes_time = !matches!(state, S::Cancelled | S::Declined | S::Expired);
        let place = |(calendar, appointment_type): &(&Arc<Calendar>, &Arc<AppointmentType>)| {
            let ask = Ask {
                calendar,
                appointment_type,
                start,
                duration,
                now: self.now,
                ignore: None,
                present_duration: Some(duration),
                ignored_rules: IgnoredRules { limit: true, ..IgnoredRules::default() },
                is_grid_judged: false,
            };
            let id = &calendar.id;
            if let Some(conflict) = race_violations(&ask).first().filter(|_| takes_time) {
                let why = format!("{start} on calendar {id} cannot be had: {} ({})", conflict.code, conflict.rule);
                return Err(invalid(&imported.origin, why));
            }
            let (before, after) = buffers(&ask);
            let (type_number, since) = (appointment_type.number, calendar.since);
            Ok(Place { calendar: id.clone(), since, type_number, before, after })
        };
        found.iter().map(place).collect()
    }
}
