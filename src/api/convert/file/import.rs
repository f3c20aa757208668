//! Calendars and appointments read from files.
//!
//! Violations name fields relative to the calendar or the appointment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::CalendarFile;
use crate::proto::v1 as pb;
use crate::zones::Zones;
use bookd_core::appointment::person::NOTE_CHARACTERS_MAX;
use bookd_core::appointment::{AppointmentState, Assignment, Person};
use bookd_core::calendar::appointment_type::{AppointmentType, TYPES_MAX};
use bookd_core::calendar::availability::{Availability, CALENDAR_RULES_MAX};
use bookd_core::calendar::{BUSY_PERIODS_CALENDAR_MAX, BUSY_SOURCES_MAX, Profile};
use bookd_core::command::{ImportedAppointment, ImportedCalendar, NewId, Start};
use bookd_core::decide::resolve;
use bookd_core::field_violation::FieldViolation;
use bookd_core::ids::{AppointmentId, CalendarId, SeriesId, TypeId};
use bookd_core::refusal::Refusal;
use bookd_core::time::interval::Interval;
use bookd_core::time::zone::Zone;
use bookd_core::time::{Instant, MINUTE, Minutes, Wall};

use crate::api::convert::parse::Fields;
use crate::api::convert::parse_calendar::{appointment_type, patch_of, put_override};
use crate::api::convert::parse_person::carried;
use crate::api::convert::render;

type FileViolations = Vec<FieldViolation>;

/// Reads a calendar; `origin` is its position in the file. Violations name fields relative to the
/// calendar, such as `rules[2].start_time`.
pub fn imported_calendar(
    zones: &Zones,
    file: &CalendarFile,
    origin: &str,
) -> Result<ImportedCalendar, FileViolations> {
    let mut fields = Fields::default();
    let calendar = calendar(zones, file, origin, &mut fields);
    fields.finish_with(calendar)
}

fn calendar(
    zones: &Zones,
    file: &CalendarFile,
    origin: &str,
    fields: &mut Fields,
) -> Option<ImportedCalendar> {
    let id = fields.calendar_id("calendar_id", &file.calendar.calendar_id);
    let profile = profile(zones, file, fields);
    let types = types(file, fields);
    let busy = busy(file, fields);
    let (types, deleted_types) = types?;
    Some(ImportedCalendar {
        calendar: id?,
        profile: profile?,
        types,
        deleted_types,
        busy: busy?,
        appointments: Vec::new(),
        origin: origin.to_owned(),
    })
}

fn profile(zones: &Zones, file: &CalendarFile, fields: &mut Fields) -> Option<Profile> {
    let mut inner = Fields::default();
    let patch = patch_of(zones, &Arc::new(Zone::utc()), &file.calendar, &mut inner);
    fields.take_over(inner, "calendar.", "");
    let rules = fields.rules("rules", &file.rules, CALENDAR_RULES_MAX);
    let mut overrides = BTreeMap::new();
    let mut is_valid = true;
    for (n, hours) in file.overrides.iter().enumerate() {
        let path = format!("overrides[{n}]");
        is_valid &= put_override(&path, hours, &mut overrides, fields).is_some();
    }
    let (patch, rules) = (patch?, rules?);
    is_valid.then_some(())?;
    Some(Profile {
        display_name: patch.display_name.unwrap_or_default(),
        owner: patch.owner.unwrap_or_default(),
        zone: patch.zone?,
        paused: patch.paused.unwrap_or_default(),
        limits: patch.limits.unwrap_or_default(),
        metadata: patch.metadata.unwrap_or_default(),
        availability: Availability { rules, overrides },
    })
}

type TypesRead = (Vec<AppointmentType>, Vec<(TypeId, Option<AppointmentType>)>);

/// The last definitions of deleted types, by their ids.
fn last_definitions(
    file: &CalendarFile,
    fields: &mut Fields,
) -> Option<BTreeMap<String, AppointmentType>> {
    let mut known = Some(BTreeMap::new());
    for (n, definition) in file.last_definitions.iter().enumerate() {
        let (mut inner, path) = (Fields::default(), format!("last_definitions[{n}]"));
        let read = appointment_type(definition, &mut inner);
        fields.take_over(inner, "appointment_type.", &format!("{path}."));
        let is_of_one = file
            .deleted_appointment_types
            .contains(&definition.appointment_type_id);
        let read = match read {
            Some(read) if is_of_one => Some(read),
            Some(read) => fields.wrong(
                &format!("{path}.appointment_type_id"),
                format!("{} is not among deleted_appointment_types", read.id),
            ),
            None => None,
        };
        known = known.zip(read).map(|(known, read)| {
            let mut known: BTreeMap<String, AppointmentType> = known;
            known.insert(read.id.as_str().to_owned(), read);
            known
        });
    }
    known
}

fn types(file: &CalendarFile, fields: &mut Fields) -> Option<TypesRead> {
    // One more counts for `default`, which is added where it is missing.
    if file.appointment_types.len() + file.deleted_appointment_types.len() + 1 > TYPES_MAX {
        return fields.wrong(
            "appointment_types",
            format!("at most {TYPES_MAX} types, deleted ones and `default` counted"),
        );
    }
    let mut seen = BTreeSet::new();
    let mut once = |path: &str, id: TypeId, fields: &mut Fields| {
        if seen.insert(id.as_str().to_owned()) {
            Some(id)
        } else {
            fields.wrong(path, format!("{id} is named twice"))
        }
    };
    let mut types = Vec::new();
    for (n, message) in file.appointment_types.iter().enumerate() {
        let mut inner = Fields::default();
        let read = appointment_type(message, &mut inner);
        let path = format!("appointment_types[{n}]");
        fields.take_over(inner, "appointment_type.", &format!("{path}."));
        types.push(read.and_then(|read| {
            once(
                &format!("{path}.appointment_type_id"),
                read.id.clone(),
                fields,
            )
            .map(|_| read)
        }));
    }
    let mut deleted = Vec::new();
    for (n, id) in file.deleted_appointment_types.iter().enumerate() {
        let path = format!("deleted_appointment_types[{n}]");
        let id = fields.type_id(&path, id);
        deleted.push(id.and_then(|id| once(&path, id, fields)));
    }
    let mut last = last_definitions(file, fields)?;
    let deleted = deleted.into_iter().collect::<Option<Vec<TypeId>>>()?;
    let deleted = deleted
        .into_iter()
        .map(|id| (last.remove(id.as_str()), id))
        .map(|(last, id)| (id, last));
    Some((types.into_iter().collect::<Option<_>>()?, deleted.collect()))
}

fn busy(file: &CalendarFile, fields: &mut Fields) -> Option<Vec<(String, Vec<Interval>)>> {
    let count: usize = file.busy.iter().map(|(_, periods)| periods.len()).sum();
    if file.busy.len() > BUSY_SOURCES_MAX || count > BUSY_PERIODS_CALENDAR_MAX {
        let most = format!(
            "at most {BUSY_SOURCES_MAX} sources with {BUSY_PERIODS_CALENDAR_MAX} periods together"
        );
        return fields.wrong("busy", most);
    }
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for (n, (source, periods)) in file.busy.iter().enumerate() {
        let path = format!("busy[{n}]");
        let name = match fields.calendar_id(format_args!("{path}.source"), source) {
            Some(id) if !seen.insert(source.clone()) => {
                fields.wrong(&format!("{path}.source"), format!("{id} is named twice"))
            }
            name => name,
        };
        let period =
            |(m, it): (usize, &pb::Period)| fields.period(&format!("{path}.periods[{m}]"), it);
        let periods: Vec<Option<Interval>> = periods.iter().enumerate().map(period).collect();
        sources.push(name.zip(periods.into_iter().collect::<Option<Vec<_>>>()));
    }
    let sources: Option<Vec<_>> = sources.into_iter().collect();
    Some(
        sources?
            .into_iter()
            .map(|(name, periods)| (name.to_string(), periods))
            .collect(),
    )
}

/// Reads an appointment of this calendar; `made` is its id where the file has none, and `origin`
/// its position in the file.
pub fn imported_appointment(
    zones: &Zones,
    calendar: (&CalendarId, &Arc<Zone>),
    message: &pb::Appointment,
    (made, origin): (AppointmentId, &str),
) -> Result<ImportedAppointment, FileViolations> {
    let mut fields = Fields::default();
    let appointment = appointment(zones, calendar, message, (made, origin), &mut fields);
    fields.finish_with(appointment)
}

fn appointment(
    zones: &Zones,
    (calendar, zone): (&CalendarId, &Arc<Zone>),
    message: &pb::Appointment,
    (made, origin): (AppointmentId, &str),
    fields: &mut Fields,
) -> Option<ImportedAppointment> {
    let id = fields.optional_appointment_id("appointment_id", &message.appointment_id);
    let further = further_calendars(calendar, &message.calendar_ids, fields);
    let type_id = match message.appointment_type_id.as_str() {
        "" => Some(TypeId::default_type()),
        id => fields.type_id("appointment_type_id", id),
    };
    let time = time(zones, zone, message, fields);
    let state = state(message.state, fields);
    let person = imported_person(zones, message, fields);
    let original_start = fields.optional_bound("original_start", message.original_start.as_ref());
    let series = fields.optional_appointment_id("series_id", &message.series_id);
    let sequence = u32::try_from(message.sequence)
        .ok()
        .or_else(|| fields.wrong("sequence", "must not be negative"));
    let before = fields.minutes("buffer_before", message.buffer_before.as_ref(), 0);
    let after = fields.minutes("buffer_after", message.buffer_after.as_ref(), 0);
    let ignored_rules = fields.ignored_rules(&message.ignored_rules);
    let (start, duration, recorded) = time?;
    Some(ImportedAppointment {
        id: id?.map_or(NewId::Made(made), NewId::Brought),
        further_calendars: further?,
        type_id: type_id?,
        start: Start::At(start),
        duration,
        buffers: (before?, after?),
        recorded,
        state: state?,
        person: person?,
        series: series?.map(|id| SeriesId(id.0)),
        original_start: original_start?,
        sequence: sequence?,
        ignored_rules: ignored_rules?,
        origin: origin.to_owned(),
    })
}

/// Confirmed where the file names no state.
fn state(number: i32, fields: &mut Fields) -> Option<AppointmentState> {
    if number == 0 {
        return Some(AppointmentState::Confirmed);
    }
    match render::read_state(number) {
        Some(AppointmentState::Held) => {
            fields.wrong("state", "a hold lives for minutes and is not imported")
        }
        Some(state) => Some(state),
        None => fields.wrong("state", "is not a state"),
    }
}

fn imported_person(
    zones: &Zones,
    message: &pb::Appointment,
    fields: &mut Fields,
) -> Option<Person> {
    let invitee = fields.invitee(
        zones,
        message.invitee.as_ref().unwrap_or(&pb::Invitee::default()),
        false,
    );
    let carried = carried!(message, fields);
    let cancel_reason = fields.note("cancel_reason", &message.cancel_reason, NOTE_CHARACTERS_MAX);
    Some(Person {
        invitee: invitee?,
        carried: carried?,
        cancel_reason: cancel_reason?,
    })
}

/// The calendars of an appointment besides the one under which the file has it, which must be named
/// first if any is named.
fn further_calendars(
    calendar: &CalendarId,
    ids: &[String],
    fields: &mut Fields,
) -> Option<Vec<CalendarId>> {
    if ids.is_empty() {
        return Some(Vec::new());
    }
    let all: i32 = pb::Assignment::All.into();
    let (mut ids, _): (Vec<CalendarId>, Assignment) = fields.several("calendar_ids", ids, all)?;
    if ids.first() != Some(calendar) {
        return fields.wrong(
            "calendar_ids[0]",
            format!("must be {calendar}, the calendar that it stands under"),
        );
    }
    ids.remove(0);
    Some(ids)
}

type Recorded = Option<(Arc<str>, Wall)>;

/// The start, the duration, and the wall time that was recorded at the booking, if the file has
/// both a start time and a local start.
fn time(
    zones: &Zones,
    zone: &Arc<Zone>,
    message: &pb::Appointment,
    fields: &mut Fields,
) -> Option<(Instant, Option<Minutes>, Recorded)> {
    let is_recorded = message.start_time.is_some() && !message.local_start.is_empty();
    let local_start = if is_recorded {
        ""
    } else {
        message.local_start.as_str()
    };
    let start = fields.start(
        zones,
        message.start_time.as_ref(),
        local_start,
        &message.time_zone,
    );
    let name = if message.time_zone.is_empty() {
        zone.name()
    } else {
        message.time_zone.as_str()
    };
    let recorded = if is_recorded {
        fields
            .wall("local_start", &message.local_start)
            .map(|wall| Some((Arc::from(name), wall)))
    } else {
        Some(None)
    };
    let end = fields.optional_bound("end_time", message.end_time.as_ref());
    let start = match resolve(&start?, zone) {
        Ok(start) => start,
        Err(Refusal::FieldInvalid(found)) => {
            let why: Vec<String> = found
                .into_iter()
                .map(|violation| violation.description)
                .collect();
            return fields.wrong("local_start", why.join("; "));
        }
        Err(other) => return fields.wrong("local_start", format!("{other:?}")),
    };
    let duration = match end? {
        None => None,
        Some(end) => Some(duration(start, end, fields)?),
    };
    let recorded = recorded?;
    if recorded
        .as_ref()
        .is_some_and(|(_, wall)| !Zone::is_shown_somewhere(*wall, start))
    {
        return fields.wrong("local_start", format!("is shown by no clock at {start}"));
    }
    Some((start, duration, recorded))
}

fn duration(start: Instant, end: Instant, fields: &mut Fields) -> Option<Minutes> {
    let seconds = end.since(start);
    let minutes = u32::try_from(seconds / MINUTE).ok().and_then(Minutes::new);
    let is_duration = |minutes: &Minutes| {
        minutes.minutes() > 0 && *minutes <= Minutes::ASKED_MAX && seconds % MINUTE == 0
    };
    minutes.filter(is_duration).or_else(|| {
        fields.wrong(
            "end_time",
            "must be whole minutes after the start, 1 minute to 7 days",
        )
    })
}
