//! Reads a file of slots, `{"2027-03-01": {"consultation": ["09:00-09:30", ...]}}`, as one
//! calendar.
//!
//! Each type becomes an appointment type whose rules are its slots, date by date, so the calendar
//! offers exactly the slots that the file lists. Slots that touch become one window, and a window
//! on consecutive dates becomes one rule.

use std::collections::BTreeMap;

use prost_types::Duration;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::{Members, Text};
use crate::api::convert::file::{CalendarFile, imported_calendar};
use crate::api::convert::parse_time::clock_minutes;
use crate::proto::v1 as pb;
use crate::zones::Zones;
use bookd_core::command::ImportedCalendar;
use bookd_core::time::LocalDate;

/// Settings that a file of slots does not contain.
#[derive(Clone, Debug, Default)]
pub(super) struct SlotDefaults {
    /// The id of the calendar that the file becomes.
    pub calendar: String,
    /// The time zone of its clock times; UTC if it is empty.
    pub zone: String,
    /// The minutes of each type by its name, and of all other types by the empty name.
    pub durations: BTreeMap<String, u16>,
}

/// A slot: `"09:00"`, `"09:00-09:30"`, or an object.
#[derive(Deserialize)]
#[serde(untagged)]
enum WrittenSlot {
    Text(String),
    Object(SlotObject),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotObject {
    #[serde(alias = "start", alias = "time")]
    start_time: String,
    #[serde(alias = "end")]
    end_time: Option<String>,
    #[serde(alias = "is_available")]
    available: Option<bool>,
    #[serde(alias = "is_booked")]
    booked: Option<bool>,
}

/// A type while the file is read.
#[derive(Default)]
struct TypeSlots {
    /// The length of its slots, known from the first slot or from the defaults.
    minutes: Option<u16>,
    /// The dates of each window, in order; a window is two minutes after midnight.
    windows: BTreeMap<(u16, u16), Vec<LocalDate>>,
}

/// Whether a key looks like a date, which makes the file one of slots.
pub(super) fn is_date_like(key: &str) -> bool {
    key.len() == 10 && key.as_bytes()[4] == b'-' && key.as_bytes()[7] == b'-'
}

/// Reads the members of the file; answers the calendar, or none if there are complaints.
pub(super) fn calendar<'a>(
    text: &mut Text<'a>,
    members: &Members<'a>,
    defaults: &SlotDefaults,
    zones: &Zones,
) -> Vec<ImportedCalendar> {
    let mut types: BTreeMap<String, TypeSlots> = BTreeMap::new();
    let mut dates: Vec<(Option<LocalDate>, &String, &'a RawValue)> = members
        .0
        .iter()
        .map(|(key, raw)| (key.parse().ok(), key, *raw))
        .collect();
    dates.sort_by_key(|(date, ..)| *date);
    for (date, key, raw) in dates {
        let Some(date) = date else {
            text.wrong_at(
                (raw.get(), 0),
                key.clone(),
                "must be a date YYYY-MM-DD, such as 2027-03-14",
            );
            continue;
        };
        let Some(of_types) = text.read::<Members<'a>>(raw.get(), key) else {
            continue;
        };
        for (name, raw) in of_types.0 {
            let path = format!("{key}.{name}");
            let Some(slots) = text.read::<Vec<&'a RawValue>>(raw.get(), &path) else {
                continue;
            };
            let of_type = types.entry(name.clone()).or_default();
            of_type.minutes = of_type.minutes.or_else(|| defaults.minutes(&name));
            let mut read: Vec<(u16, u16, usize)> = Vec::new();
            for (n, raw) in slots.iter().enumerate() {
                read.extend(
                    slot(text, raw.get(), &format!("{path}[{n}]"), of_type)
                        .map(|(start, end)| (start, end, n)),
                );
            }
            read.sort_unstable();
            for window in windows(text, (&slots, &path), &read) {
                of_type.windows.entry(window).or_default().push(date);
            }
        }
    }
    let file = CalendarFile {
        calendar: pb::Calendar {
            calendar_id: defaults.calendar.clone(),
            time_zone: defaults.zone.clone(),
            ..Default::default()
        },
        appointment_types: types
            .into_iter()
            .map(|(name, slots)| slots.message(name))
            .collect(),
        ..CalendarFile::default()
    };
    match imported_calendar(zones, &file, "") {
        Ok(calendar) => vec![calendar],
        Err(found) => {
            let whole = text.whole;
            found.into_iter().for_each(|violation| {
                let name = name_in_file(&file, &violation.field);
                text.wrong_at((whole, 0), name, violation.description);
            });
            Vec::new()
        }
    }
}

/// The name of a field of the calendar for the author of a file of slots: a flag, or a type of the
/// file.
fn name_in_file(file: &CalendarFile, field: &str) -> String {
    match field {
        "calendar_id" => "--calendar".to_owned(),
        "time_zone" => "--zone".to_owned(),
        field => {
            let number = field
                .strip_prefix("appointment_types[")
                .and_then(|it| it.split(']').next()?.parse().ok());
            let named = number.and_then(|number: usize| file.appointment_types.get(number));
            named.map_or_else(|| field.to_owned(), |it| it.appointment_type_id.clone())
        }
    }
}

impl SlotDefaults {
    /// The minutes of a type.
    fn minutes(&self, name: &str) -> Option<u16> {
        self.durations
            .get(name)
            .or_else(|| self.durations.get(""))
            .copied()
    }
}

/// The start and the end of a slot, in minutes after midnight; none if it is not available or
/// wrong. The first slot of a type sets the length of all of them.
fn slot<'a>(
    text: &mut Text<'a>,
    piece: &'a str,
    path: &str,
    of_type: &mut TypeSlots,
) -> Option<(u16, u16)> {
    let Ok(written) = serde_json::from_str::<WrittenSlot>(piece) else {
        let why =
            "must be \"09:00\", \"09:00-09:30\" or {\"start_time\", \"end_time\", \"available\"}";
        text.wrong(piece, path, "", why);
        return None;
    };
    let (start, end, is_open) = match written {
        WrittenSlot::Text(text) => match text.split_once('-') {
            Some((start, end)) => (start.trim().to_owned(), Some(end.trim().to_owned()), true),
            None => (text, None, true),
        },
        WrittenSlot::Object(slot) => (
            slot.start_time,
            slot.end_time,
            slot.available.unwrap_or(true) && !slot.booked.unwrap_or(false),
        ),
    };
    let minutes = |text: &mut Text<'a>, field: &str, written: &str| {
        let read = clock_minutes(written);
        if read.is_none() {
            text.wrong(
                piece,
                path,
                field,
                format!("{written:?} must be a clock time HH:MM, such as 09:00"),
            );
        }
        read
    };
    let start = minutes(text, "start_time", &start)?;
    let end = match end {
        Some(end) => minutes(text, "end_time", &end)?,
        None => match of_type.minutes {
            Some(length) => start + length,
            None => {
                text.wrong(piece, path, "", "says no end: add --duration TYPE=30m");
                return None;
            }
        },
    };
    if end <= start {
        text.wrong(piece, path, "end_time", "must be after the start");
        return None;
    }
    let length = *of_type.minutes.get_or_insert(end - start);
    if length != end - start {
        let why = format!(
            "lasts {} minutes, and others of its type {length}",
            end - start
        );
        text.wrong(piece, path, "end_time", why);
        return None;
    }
    is_open.then_some((start, end))
}

/// The windows of the slots of one date and type, in order.
fn windows<'a>(
    text: &mut Text<'a>,
    (slots, path): (&[&'a RawValue], &str),
    read: &[(u16, u16, usize)],
) -> Vec<(u16, u16)> {
    let mut windows: Vec<(u16, u16)> = Vec::new();
    for (start, end, n) in read {
        match windows.last_mut() {
            Some(last) if last.1 == *start => last.1 = *end,
            Some(last) if last.1 > *start => {
                let piece = slots.get(*n).map_or("", |it| it.get());
                text.wrong(
                    piece,
                    &format!("{path}[{n}]"),
                    "",
                    "overlaps another slot of its date and type",
                );
            }
            _ => windows.push((*start, *end)),
        }
    }
    windows
}

impl TypeSlots {
    /// The appointment type as a message of the contract.
    fn message(self, name: String) -> pb::AppointmentType {
        let rules = self.windows.into_iter().flat_map(|(window, dates)| {
            // The first and the last date of each run of consecutive dates.
            let mut runs: Vec<(LocalDate, LocalDate)> = Vec::new();
            for date in dates {
                match runs.last_mut() {
                    Some(run) if run.1.plus(1) == date => run.1 = date,
                    _ => runs.push((date, date)),
                }
            }
            runs.into_iter()
                .map(move |(first, last)| rule(window, first, last))
        });
        pb::AppointmentType {
            appointment_type_id: name,
            duration: self.minutes.map(|minutes| Duration {
                seconds: i64::from(minutes) * 60,
                nanos: 0,
            }),
            rules: rules.collect(),
            ..Default::default()
        }
    }
}

/// The rule of a window, in minutes after midnight, on the dates from `first` to `last`.
fn rule((start, end): (u16, u16), first: LocalDate, last: LocalDate) -> pb::AvailabilityRule {
    let clock = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
    pb::AvailabilityRule {
        days_of_week: Vec::new(),
        start_time: clock(start),
        end_time: clock(end),
        from_date: first.to_string(),
        to_date: last.to_string(),
    }
}
