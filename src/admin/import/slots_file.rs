//! Reads a file of slots, `{"2027-03-01": {"consultation": ["09:00-09:30", ...]}}`, as one calendar.
//!
//! Each type becomes an appointment type whose rules are its slots, date by date: what the file lists is what is
//! offered. Slots that touch become one window, and a window on consecutive dates becomes one rule.

use std::collections::BTreeMap;

use prost_types::Duration;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::text::{Members, Text};
use crate::api::convert::file::{CalendarFile, clock, imported_calendar};
use crate::proto::v1 as pb;
use crate::zones::Zones;
use bookd_core::command::ImportedCalendar;
use bookd_core::time::LocalDate;

/// What a file of slots does not say.
#[derive(Clone, Debug, Default)]
pub(super) struct Unsaid {
    /// The calendar that it becomes.
    pub calendar: String,
    /// Where its clocks hang; empty = UTC.
    pub zone: String,
    /// Minutes of types; of all other types by the empty name.
    pub durations: BTreeMap<String, u16>,
}

/// A slot as such a file may write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum SlotsFile {
    Text(String),
    Object(Object),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    #[serde(alias = "start", alias = "time")]
    start_time: String,
    #[serde(alias = "end")]
    end_time: Option<String>,
    #[serde(alias = "is_available")]
    available: Option<bool>,
    #[serde(alias = "is_booked")]
    booked: Option<bool>,
}

/// A type as it is gathered.
#[derive(Default)]
struct GatheredType {
    minutes: Option<u16>,
    /// The dates of each window, in order.
    windows: BTreeMap<(u16, u16), Vec<LocalDate>>,
}

/// Whether this is the first key of a file of slots.
pub(super) fn is_date_like(key: &str) -> bool {
    key.len() == 10 && key.as_bytes()[4] == b'-' && key.as_bytes()[7] == b'-'
}

/// Reads the file, whose members these are.
pub(super) fn calendar<'a>(
    text: &mut Text<'a>,
    members: &Members<'a>,
    unsaid: &Unsaid,
    zones: &Zones,
) -> Vec<ImportedCalendar> {
    let mut types: BTreeMap<String, GatheredType> = BTreeMap::new();
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
            let type_ = types.entry(name.clone()).or_default();
            type_.minutes = type_.minutes.or_else(|| unsaid.minutes(&name));
            let mut read: Vec<(u16, u16, usize)> = Vec::new();
            for (n, raw) in slots.iter().enumerate() {
                read.extend(
                    slot(text, raw.get(), &format!("{path}[{n}]"), type_)
                        .map(|(start, end)| (start, end, n)),
                );
            }
            read.sort_unstable();
            for window in windows(text, (&slots, &path), &read) {
                type_.windows.entry(window).or_default().push(date);
            }
        }
    }
    let file = CalendarFile {
        calendar: pb::Calendar {
            calendar_id: unsaid.calendar.clone(),
            time_zone: unsaid.zone.clone(),
            ..Default::default()
        },
        appointment_types: types
            .into_iter()
            .map(|(name, it)| it.message(name))
            .collect(),
        ..CalendarFile::default()
    };
    match imported_calendar(zones, &file, "") {
        Ok(calendar) => vec![calendar],
        Err(found) => {
            let whole = text.whole;
            found
                .into_iter()
                .for_each(|it| text.wrong_at((whole, 0), said(&file, &it.field), it.description));
            Vec::new()
        }
    }
}

/// What a field of the calendar is called by who wrote a file of slots.
fn said(file: &CalendarFile, field: &str) -> String {
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

impl Unsaid {
    fn minutes(&self, name: &str) -> Option<u16> {
        self.durations
            .get(name)
            .or_else(|| self.durations.get(""))
            .copied()
    }
}

/// Start and end of a slot that is open; the first one of a type says how long they all are.
fn slot<'a>(
    text: &mut Text<'a>,
    piece: &'a str,
    path: &str,
    type_: &mut GatheredType,
) -> Option<(u16, u16)> {
    let Ok(written) = serde_json::from_str::<SlotsFile>(piece) else {
        let why =
            "must be \"09:00\", \"09:00-09:30\" or {\"start_time\", \"end_time\", \"available\"}";
        text.wrong(piece, path, "", why);
        return None;
    };
    let (start, end, is_open) = match written {
        SlotsFile::Text(it) => match it.split_once('-') {
            Some((start, end)) => (start.trim().to_owned(), Some(end.trim().to_owned()), true),
            None => (it, None, true),
        },
        SlotsFile::Object(it) => (
            it.start_time,
            it.end_time,
            it.available.unwrap_or(true) && !it.booked.unwrap_or(false),
        ),
    };
    let minutes = |text: &mut Text<'a>, field: &str, written: &str| {
        let read = clock(written);
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
        None => match type_.minutes {
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
    let length = *type_.minutes.get_or_insert(end - start);
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

/// The windows that the slots of a date and type make, in order.
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

impl GatheredType {
    fn message(self, name: String) -> pb::AppointmentType {
        let rules = self.windows.into_iter().flat_map(|(window, dates)| {
            // Runs of consecutive dates.
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
            duration: self.minutes.map(|it| Duration {
                seconds: i64::from(it) * 60,
                nanos: 0,
            }),
            rules: rules.collect(),
            ..Default::default()
        }
    }
}

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
