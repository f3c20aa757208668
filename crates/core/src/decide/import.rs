//! The decision about an import: whole calendars with their appointments, all or none.
//!
//! The rules of a slot are not checked, because past appointments were booked under other rules,
//! and neither is busy time, because external calendars may repeat the appointments. Conflicts are
//! checked: no path may book one time twice. All violations are reported at once, up to
//! `IMPORT_VIOLATIONS_MAX`.

use std::collections::HashSet;
use std::sync::Arc;

use super::assignment::places;
use super::start_time::resolve;
use super::{At, Decision, Outcome};
use crate::appointment::{Appointment, AppointmentState, IgnoredRules, Image, OccurrenceOf};
use crate::calendar::appointment_type::{AppointmentType, CAPACITY_MAX, Stamps};
use crate::calendar::{Busy, Calendar};
use crate::change::{AppointmentEvent, Cause, Event};
use crate::command::{ImportedAppointment, ImportedCalendar};
use crate::field_violation::FieldViolation;
use crate::ids::{CalendarId, TypeId, TypeNumber};
use crate::refusal::Refusal;
use crate::slots::rules::{Ask, join, race_violations};
use crate::slots::violation::ViolationCode;
use crate::state::State;
use crate::time::zone::Zone;
use crate::time::{Instant, Minutes};

/// The most violations that the refusal of an import reports; the rest of the import is then not
/// checked.
pub const IMPORT_VIOLATIONS_MAX: usize = 100;

type Violations = Vec<FieldViolation>;

impl At<'_> {
    pub(super) fn import(self, calendars: &[ImportedCalendar]) -> Result<Decision, Refusal> {
        if let Some(taken) = calendars
            .iter()
            .find(|it| self.state.calendars.contains_key(&it.calendar))
        {
            return Err(Refusal::CalendarExists(taken.calendar.clone()));
        }
        let mut violations = named_twice(calendars);
        if !violations.is_empty() {
            return Err(Refusal::FieldInvalid(violations));
        }
        let mut scratch = self.state.scratch([]);
        let mut events = Vec::new();
        for imported in calendars {
            events.extend(self.imported_calendar(imported));
        }
        events
            .iter()
            .for_each(|event| scratch.apply_event(event, self.revision()));
        let mut appointments = Vec::new();
        for (calendar, imported) in calendars
            .iter()
            .flat_map(|it| it.appointments.iter().map(move |a| (&it.calendar, a)))
        {
            match self.imported_appointment(&scratch, calendar, imported) {
                Ok(appointment) => {
                    let appointment = Arc::new(appointment);
                    let kind = AppointmentEvent::Imported;
                    let event = Event::Appointment {
                        kind,
                        before: None,
                        after: Arc::clone(&appointment),
                    };
                    scratch.apply_event(&event, self.revision());
                    events.push(event);
                    appointments.push(appointment);
                }
                Err(found) => violations.extend(found),
            }
            if violations.len() >= IMPORT_VIOLATIONS_MAX {
                break;
            }
        }
        if !violations.is_empty() {
            return Err(Refusal::FieldInvalid(violations));
        }
        let outcome = Outcome {
            appointments,
            ..Outcome::default()
        };
        Ok(Decision {
            cause: Cause::Import,
            events,
            outcome,
        })
    }

    /// The events that make a calendar as the import describes it.
    fn imported_calendar(self, imported: &ImportedCalendar) -> Vec<Event> {
        let stamps = self.stamps();
        let calendar = imported.calendar.clone();
        let (types, deleted) = imported_types(imported, stamps);
        let created = Event::CalendarCreated {
            calendar: calendar.clone(),
            profile: Arc::new(imported.profile.clone()),
            stamps,
            types,
        };
        let busy = Arc::new(Busy::new(imported.busy.iter().cloned()));
        let sources: Vec<String> = busy
            .sources()
            .map(|(source, _)| source.to_owned())
            .collect();
        let put = |source| Event::BusyPut {
            calendar: calendar.clone(),
            source,
            busy: Arc::clone(&busy),
        };
        [created]
            .into_iter()
            .chain(deleted)
            .chain(sources.into_iter().map(put))
            .collect()
    }

    fn imported_appointment(
        self,
        scratch: &State,
        calendar: &CalendarId,
        imported: &ImportedAppointment,
    ) -> Result<Appointment, Violations> {
        if scratch.appointments.contains_key(&imported.id.id()) {
            return Err(wrong(
                imported,
                ".appointment_id",
                format!("{} is there already", imported.id.id()),
            ));
        }
        let found = found(scratch, calendar, imported)?;
        let (first, first_type) = found
            .first()
            .expect("the calendar in which the file lists it");
        let start = imported_start(imported, first.zone())?;
        let duration = imported.duration.unwrap_or(first_type.duration);
        let is_pending = imported.state == AppointmentState::Pending && start > self.now;
        // A request whose start has passed without an answer has expired.
        let is_over = imported.state == AppointmentState::Pending && !is_pending;
        let state = if is_over {
            AppointmentState::Expired
        } else {
            imported.state
        };
        let blocks = !is_pending || first_type.pending_blocks;
        let takes_time = blocks && takes_time(state);
        let asks = self.imported_asks(&found, start, duration);
        if let Some(why) = asks.iter().filter(|_| takes_time).find_map(conflict) {
            return Err(wrong(imported, ".start_time", why));
        }
        let session = asks
            .first()
            .and_then(|ask| ask.session)
            .filter(|_| takes_time);
        let recorded = imported.recorded.clone();
        let (time_zone, local_start) =
            recorded.unwrap_or_else(|| (first.zone().shared_name(), first.zone().wall(start)));
        let original_start = imported.original_start.unwrap_or(start);
        Ok(Appointment {
            id: imported.id.id(),
            key: scratch.next_key,
            create_time: self.now,
            occurrence: imported.series.map(|series| OccurrenceOf {
                series,
                original_start,
            }),
            person: imported.person.clone(),
            image: Image {
                places: places(&asks),
                type_id: imported.type_id.clone(),
                start,
                duration,
                time_zone,
                local_start,
                state,
                blocks,
                expire_time: is_pending.then_some(start),
                session: session.map_or(scratch.next_key, |session| session.key),
                sequence: imported.sequence,
                ignored_rules: imported.ignored_rules,
                update_time: self.now,
                revision: self.revision(),
            },
        })
    }

    /// The questions that an imported appointment asks, one for each of its calendars.
    fn imported_asks<'f>(
        self,
        found: &'f [(&Arc<Calendar>, AppointmentType)],
        start: Instant,
        duration: Minutes,
    ) -> Vec<Ask<'f>> {
        let ask = |(calendar, appointment_type): &'f (&Arc<Calendar>, AppointmentType)| Ask {
            calendar,
            appointment_type,
            start,
            duration,
            now: self.now,
            ignore: None,
            present_duration: Some(duration),
            ignored_rules: IgnoredRules {
                limit: true,
                ..IgnoredRules::default()
            },
            is_grid_judged: false,
            session: None,
        };
        let mut asks: Vec<Ask<'f>> = found.iter().map(ask).collect();
        join(&mut asks);
        asks
    }
}

/// The types of a calendar, numbered, and the events that delete some of them again. A deleted type
/// is created as well, so that its appointments keep its number; where its last definition is not
/// known, it is one of its name alone.
fn imported_types(
    imported: &ImportedCalendar,
    stamps: Stamps,
) -> (Vec<Arc<AppointmentType>>, Vec<Event>) {
    let mut types = imported.types.clone();
    let is_default = |id: &TypeId| *id == TypeId::default_type();
    if !types.iter().any(|it| is_default(&it.id))
        && !imported.deleted_types.iter().any(|(id, _)| is_default(id))
    {
        types.push(AppointmentType::default_type(stamps));
    }
    let first_deleted = types.len();
    types.extend(imported.deleted_types.iter().map(|(id, last)| {
        let unknown = || AppointmentType {
            id: id.clone(),
            ..AppointmentType::default_type(stamps)
        };
        last.clone().unwrap_or_else(unknown)
    }));
    let numbered = types
        .into_iter()
        .enumerate()
        .map(|(index, appointment_type)| {
            let number = TypeNumber(
                u16::try_from(index).expect("an import has at most TYPES_MAX types a calendar"),
            );
            Arc::new(AppointmentType {
                number,
                stamps,
                ..appointment_type
            })
        });
    let numbered: Vec<_> = numbered.collect();
    let deleted = numbered[first_deleted..]
        .iter()
        .zip(&imported.deleted_types)
        .map(|(numbered, (type_id, last))| Event::TypeDeleted {
            calendar: imported.calendar.clone(),
            type_id: type_id.clone(),
            last: last.as_ref().map(|_| Arc::clone(numbered)),
        })
        .collect();
    (numbered, deleted)
}

/// The instant at which an imported appointment starts, by the zone of its first calendar.
fn imported_start(imported: &ImportedAppointment, zone: &Zone) -> Result<Instant, Violations> {
    resolve(&imported.start, zone).map_err(|refusal| match refusal {
        Refusal::FieldInvalid(found) => found
            .into_iter()
            .flat_map(|it| wrong(imported, &format!(".{}", it.field), it.description))
            .collect(),
        other => wrong(imported, ".start_time", format!("{other:?}")),
    })
}

/// Why one of its calendars cannot give an imported appointment its time, as text for people; none
/// where it can.
fn conflict(ask: &Ask<'_>) -> Option<String> {
    let conflict = race_violations(ask)
        .into_iter()
        .find(|it| it.code != ViolationCode::BusyExternal)?;
    let (start, id) = (ask.start, &ask.calendar.id);
    Some(format!(
        "{start} on calendar {id} cannot be had: {} ({})",
        conflict.code, conflict.rule
    ))
}

/// A violation of a field of an imported appointment.
fn wrong(imported: &ImportedAppointment, field: &str, why: String) -> Violations {
    vec![FieldViolation::new(
        format!("{}{field}", imported.origin),
        why,
    )]
}

fn takes_time(state: AppointmentState) -> bool {
    use AppointmentState as S;
    !matches!(state, S::Cancelled | S::Declined | S::Expired)
}

/// A violation for each calendar that the import names a second time.
fn named_twice(calendars: &[ImportedCalendar]) -> Violations {
    let mut seen = HashSet::new();
    let again = calendars
        .iter()
        .filter(|imported| !seen.insert(&imported.calendar));
    let violations = again.map(|imported| {
        FieldViolation::new(
            format!("{}.calendar_id", imported.origin),
            format!("{} is named twice", imported.calendar),
        )
    });
    violations.take(IMPORT_VIOLATIONS_MAX).collect()
}

/// The calendars of an imported appointment, each with its type; the first has the buffers that the
/// import gives.
fn found<'a>(
    scratch: &'a State,
    calendar: &CalendarId,
    imported: &ImportedAppointment,
) -> Result<Vec<(&'a Arc<Calendar>, AppointmentType)>, Violations> {
    let mut found: Vec<(&Arc<Calendar>, AppointmentType)> = Vec::new();
    for id in [calendar].into_iter().chain(&imported.further_calendars) {
        let no_calendar = || {
            wrong(
                imported,
                ".calendar_ids",
                format!("calendar {id} is not in the file"),
            )
        };
        let calendar = scratch.calendars.get(id).ok_or_else(no_calendar)?;
        let no_type = || {
            let why = format!("calendar {id} has no appointment type {}", imported.type_id);
            wrong(imported, ".appointment_type_id", why)
        };
        let mut its_type = its_type(calendar, &imported.type_id).ok_or_else(no_type)?;
        if found.is_empty() {
            its_type.buffer_before = imported.buffers.0.unwrap_or(its_type.buffer_before);
            its_type.buffer_after = imported.buffers.1.unwrap_or(its_type.buffer_after);
        }
        found.push((calendar, its_type));
    }
    Ok(found)
}

/// The calendar's type of that id, which may be deleted. Appointments of a deleted type may share
/// sessions with any number of seats, whatever its last capacity; a type of which only the name is
/// known has the default settings.
fn its_type(calendar: &Calendar, id: &TypeId) -> Option<AppointmentType> {
    if let Some(known) = calendar.types.find(id) {
        return Some(AppointmentType::clone(known));
    }
    let number = calendar.types.number_of(id)?;
    let last = match calendar.types.last_of(number) {
        Some(last) => AppointmentType::clone(last),
        None => AppointmentType {
            id: id.clone(),
            number,
            ..AppointmentType::default_type(calendar.stamps)
        },
    };
    Some(AppointmentType {
        capacity: CAPACITY_MAX,
        ..last
    })
}
