//! Decisions about calendars: settings, types, availability, overrides, busy time.
//!
//! None of them moves an appointment. Only the deletion of a calendar with `force` cancels
//! appointments, in the same change.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{At, Decision, expect_etag};
use crate::appointment::Appointment;
use crate::calendar::appointment_type::{AppointmentType, TYPES_MAX};
use crate::calendar::availability::{Availability, OVERRIDES_MAX, Override, Rule};
use crate::calendar::{BUSY_PERIODS_CALENDAR_MAX, BUSY_SOURCES_MAX, Calendar, Profile};
use crate::change::{AppointmentEvent, Cause, Event};
use crate::command::{Beforehand, Command, ProfilePatch};
use crate::deletion::{cancelled_with_calendar, is_cancelled_with_calendar};
use crate::field_violation::FieldViolation;
use crate::ids::{AppointmentKey, CalendarId, Etag, TypeId};
use crate::refusal::Refusal;
use crate::time::LocalDate;
use crate::time::interval::{Interval, subtract};
use crate::time::zone::Zone;

impl<'a> At<'a> {
    /// Decides a command about a calendar and its settings.
    pub(super) fn change_calendar(self, command: &Command) -> Result<Decision, Refusal> {
        match command {
            Command::CreateCalendar { calendar, profile } => {
                self.create_calendar(calendar, profile)
            }
            Command::UpdateCalendar {
                calendar,
                patch,
                etag,
            } => self.update_calendar(calendar, patch, *etag),
            Command::DeleteCalendar {
                calendar,
                force,
                etag,
                beforehand,
            } => self.delete_calendar(calendar, *force, *etag, beforehand.as_deref()),
            Command::PutAppointmentType {
                calendar,
                appointment_type,
                etag,
            } => self.put_type(calendar, appointment_type, *etag),
            Command::DeleteAppointmentType {
                calendar,
                type_id,
                etag,
            } => self.delete_type(calendar, type_id, *etag),
            Command::SetAvailability {
                calendar,
                zone,
                utc,
                rules,
                etag,
            } => self.set_availability(calendar, zone.as_ref(), utc, rules, *etag),
            Command::PutOverrides {
                calendar,
                overrides,
                etag,
            } => self.put_overrides(calendar, overrides, *etag),
            Command::DeleteOverrides {
                calendar,
                dates,
                etag,
            } => self.delete_overrides(calendar, dates, *etag),
            Command::PutBusy {
                calendar,
                source,
                range,
                periods,
            } => self.put_busy(calendar, source, *range, periods),
            _ => unreachable!("`decide` passes commands about calendars alone"),
        }
    }

    fn create_calendar(self, id: &CalendarId, profile: &Profile) -> Result<Decision, Refusal> {
        if self.state.calendars.contains_key(id) {
            return Err(Refusal::CalendarExists(id.clone()));
        }
        Ok(Decision::of_calendar(
            Cause::CreateCalendar,
            Some(self.created(id, profile.clone())),
            id,
        ))
    }

    /// The event that creates a calendar, with the default type.
    fn created(self, id: &CalendarId, profile: Profile) -> Event {
        let stamps = self.stamps();
        let types = vec![Arc::new(AppointmentType::default_type(stamps))];
        Event::CalendarCreated {
            calendar: id.clone(),
            profile: Arc::new(profile),
            stamps,
            types,
        }
    }

    /// The event that gives the calendar this profile; none when the calendar has it already.
    fn profile_changed(self, calendar: &Calendar, profile: Profile) -> Option<Event> {
        let stamps = calendar.stamps.updated(self.now, self.revision());
        (*calendar.profile != profile).then(|| Event::ProfileChanged {
            calendar: calendar.id.clone(),
            before: Arc::clone(&calendar.profile),
            profile: Arc::new(profile),
            stamps,
        })
    }

    /// The calendar; refused unless it has the expected etag.
    fn calendar_at(
        self,
        id: &CalendarId,
        etag: Option<Etag>,
    ) -> Result<&'a Arc<Calendar>, Refusal> {
        let calendar = self.calendar(id)?;
        expect_etag(etag, calendar.etag(), || format!("calendar {id}"))?;
        Ok(calendar)
    }

    fn update_calendar(
        self,
        id: &CalendarId,
        patch: &ProfilePatch,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let calendar = self.calendar_at(id, etag)?;
        let mut profile = Profile::clone(&calendar.profile);
        let ProfilePatch {
            display_name,
            owner,
            zone,
            paused,
            limits,
            metadata,
        } = patch.clone();
        profile.display_name = display_name.unwrap_or(profile.display_name);
        profile.owner = owner.unwrap_or(profile.owner);
        profile.zone = zone.unwrap_or(profile.zone);
        profile.paused = paused.unwrap_or(profile.paused);
        profile.limits = limits.unwrap_or(profile.limits);
        profile.metadata = metadata.unwrap_or(profile.metadata);
        Ok(Decision::of_calendar(
            Cause::UpdateCalendar,
            self.profile_changed(calendar, profile),
            id,
        ))
    }

    fn delete_calendar(
        self,
        id: &CalendarId,
        force: bool,
        etag: Option<Etag>,
        beforehand: Option<&Beforehand>,
    ) -> Result<Decision, Refusal> {
        let calendar = self.calendar_at(id, etag)?;
        let cancelled = match beforehand {
            Some(Beforehand { others, .. }) => {
                let others = others
                    .iter()
                    .filter_map(|id| self.state.appointments.get(id));
                others
                    .filter(|it| it.end() > self.now && it.state_at(self.now) == it.state)
                    .collect()
            }
            None => self.upcoming(calendar, force)?,
        };
        let mut events = Vec::with_capacity(cancelled.len() + 1);
        for appointment in cancelled {
            if let Some(event) = self.cancelled_with_calendar(appointment) {
                self.expect_all_of(appointment)?;
                events.push(event);
            }
        }
        let deleted = Event::CalendarDeleted {
            calendar: id.clone(),
            staged: beforehand.map(|it| it.staged),
        };
        events.push(deleted);
        Ok(Decision {
            events,
            ..Decision::of_calendar(Cause::DeleteCalendar, None, id)
        })
    }

    /// The appointments of a calendar that are not over, by key; without `force` refused where
    /// there are any.
    fn upcoming(
        self,
        calendar: &Calendar,
        force: bool,
    ) -> Result<Vec<&'a Arc<Appointment>>, Refusal> {
        // An appointment has one claim of a calendar.
        match calendar.upcoming(self.now).count() {
            0 => return Ok(Vec::new()),
            upcoming if !force => return Err(Refusal::CalendarNotEmpty { upcoming }),
            _ => {}
        }
        let upcoming: BTreeSet<AppointmentKey> = calendar.upcoming(self.now).collect();
        let mut cancelled: Vec<_> = self
            .state
            .appointments
            .values()
            .filter(|appointment| upcoming.contains(&appointment.key))
            .collect();
        cancelled.sort_unstable_by_key(|appointment| appointment.key);
        assert_eq!(
            cancelled.len(),
            upcoming.len(),
            "all appointments that a forced deletion cancels were loaded"
        );
        Ok(cancelled)
    }

    /// The cancellation of an appointment with its calendar; none for NO_SHOW and COMPLETED
    /// appointments that are not over yet, which keep their state.
    fn cancelled_with_calendar(self, before: &Arc<Appointment>) -> Option<Event> {
        is_cancelled_with_calendar(before.state).then(|| {
            let after = Arc::new(cancelled_with_calendar(before, (self.now, self.revision())));
            Event::Appointment {
                kind: AppointmentEvent::Cancelled,
                before: Some(Arc::clone(before)),
                after,
            }
        })
    }

    fn put_type(
        self,
        id: &CalendarId,
        wanted: &AppointmentType,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let calendar = self.calendar(id)?;
        let current = calendar.types.find(&wanted.id);
        let resource = || format!("appointment type {} of calendar {id}", wanted.id);
        match current {
            Some(current) => expect_etag(etag, current.etag(), resource)?,
            None if etag.is_some() => {
                return Err(Refusal::EtagMismatch {
                    resource: resource(),
                });
            }
            None => {}
        }
        let number = calendar.types.number_for(&wanted.id);
        if usize::from(number.0) >= TYPES_MAX {
            let description = format!(
                "a calendar has at most {TYPES_MAX} appointment types, deleted ones included"
            );
            return Err(invalid("appointment_type.appointment_type_id", description));
        }
        let stamps = current.map_or(self.stamps(), |current| current.stamps);
        let mut after = AppointmentType {
            number,
            stamps,
            ..wanted.clone()
        };
        let is_changed = current.is_none_or(|current| **current != after);
        after.stamps = stamps.updated(self.now, self.revision());
        let event = is_changed.then(|| Event::TypePut {
            calendar: id.clone(),
            before: current.or_else(|| calendar.types.last_of(number)).cloned(),
            appointment_type: Arc::new(after),
        });
        let mut decision = Decision::of_calendar(Cause::PutAppointmentType, event, id);
        decision.outcome.type_id = Some(wanted.id.clone());
        Ok(decision)
    }

    fn delete_type(
        self,
        id: &CalendarId,
        type_id: &TypeId,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let not_found = || Refusal::AppointmentTypeNotFound(id.clone(), type_id.clone());
        let last = self
            .calendar(id)?
            .types
            .find(type_id)
            .ok_or_else(not_found)?;
        expect_etag(etag, last.etag(), || {
            format!("appointment type {type_id} of calendar {id}")
        })?;
        let (calendar, type_id, last) = (id.clone(), type_id.clone(), Some(Arc::clone(last)));
        let event = Event::TypeDeleted {
            calendar,
            type_id,
            last,
        };
        Ok(Decision::of_calendar(
            Cause::DeleteAppointmentType,
            Some(event),
            id,
        ))
    }

    fn set_availability(
        self,
        id: &CalendarId,
        zone: Option<&Arc<Zone>>,
        utc: &Arc<Zone>,
        rules: &[Rule],
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let Some(calendar) = self.state.calendars.get(id) else {
            if etag.is_some() {
                return Err(Refusal::EtagMismatch {
                    resource: format!("calendar {id}"),
                });
            }
            let availability = Availability {
                rules: rules.to_vec(),
                overrides: BTreeMap::new(),
            };
            let profile = Profile::open(Arc::clone(zone.unwrap_or(utc)), availability);
            return Ok(Decision::of_calendar(
                Cause::SetAvailability,
                Some(self.created(id, profile)),
                id,
            ));
        };
        expect_etag(etag, calendar.etag(), || format!("calendar {id}"))?;
        let mut profile = Profile::clone(&calendar.profile);
        profile.zone = zone.map_or(profile.zone, Arc::clone);
        profile.availability.rules = rules.to_vec();
        Ok(Decision::of_calendar(
            Cause::SetAvailability,
            self.profile_changed(calendar, profile),
            id,
        ))
    }

    fn put_overrides(
        self,
        id: &CalendarId,
        overrides: &BTreeMap<LocalDate, Override>,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let calendar = self.calendar_at(id, etag)?;
        let mut profile = Profile::clone(&calendar.profile);
        profile
            .availability
            .overrides
            .extend(overrides.iter().map(|(date, hours)| (*date, hours.clone())));
        let count = profile.availability.overrides.len();
        if count > OVERRIDES_MAX {
            let description = format!(
                "a calendar has at most {OVERRIDES_MAX} dates with overrides, and this would make {count}; \
                 DeleteOverrides removes those no longer needed"
            );
            return Err(invalid("overrides", description));
        }
        Ok(Decision::of_calendar(
            Cause::PutOverrides,
            self.profile_changed(calendar, profile),
            id,
        ))
    }

    fn delete_overrides(
        self,
        id: &CalendarId,
        dates: &BTreeSet<LocalDate>,
        etag: Option<Etag>,
    ) -> Result<Decision, Refusal> {
        let calendar = self.calendar_at(id, etag)?;
        let mut profile = Profile::clone(&calendar.profile);
        profile
            .availability
            .overrides
            .retain(|date, _| !dates.contains(date));
        Ok(Decision::of_calendar(
            Cause::DeleteOverrides,
            self.profile_changed(calendar, profile),
            id,
        ))
    }

    fn put_busy(
        self,
        id: &CalendarId,
        source: &str,
        range: Interval,
        periods: &[Interval],
    ) -> Result<Decision, Refusal> {
        let calendar = self.calendar(id)?;
        let kept = calendar
            .busy
            .of_source(source)
            .iter()
            .flat_map(|period| subtract(*period, range));
        let reported = periods.iter().map(|period| period.intersection(range));
        let busy = calendar
            .busy
            .with_source(source, kept.chain(reported).collect());
        if busy.sources().count() > BUSY_SOURCES_MAX {
            return Err(invalid(
                "source",
                format!("a calendar has at most {BUSY_SOURCES_MAX} sources of busy time"),
            ));
        }
        let count: usize = busy.sources().map(|(_, periods)| periods.len()).sum();
        if count > BUSY_PERIODS_CALENDAR_MAX {
            let description = format!(
                "a calendar has at most {BUSY_PERIODS_CALENDAR_MAX} busy periods, and this would make {count}; \
                 an empty PutBusy about the past removes those no longer needed"
            );
            return Err(invalid("periods", description));
        }
        let event = (busy != *calendar.busy).then(|| Event::BusyPut {
            calendar: id.clone(),
            source: source.to_owned(),
            busy: Arc::new(busy),
        });
        Ok(Decision::of_calendar(Cause::PutBusy, event, id))
    }
}

/// The refusal of one field.
pub(super) fn invalid(field: &str, description: impl Into<String>) -> Refusal {
    Refusal::FieldInvalid(vec![FieldViolation::new(field, description)])
}
