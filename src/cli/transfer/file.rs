//! Reads the file of an import: `{"calendars": [...]}` with the contract's messages, every piece with its line.
//!
//! Pieces are read one by one where they stand in the text, so that one that is wrong hides no other.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use indicatif::ProgressBar;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{APPOINTMENTS_MAX, CALENDARS_MAX, COMPLAINTS_MAX, places, progress};
use crate::api::convert::file::{CalendarFile, imported_appointment, imported_calendar};
use crate::ids::Ids;
use crate::proto::FILE_DESCRIPTOR_SET;
use crate::proto::v1 as pb;
use crate::zones::Zones;
use bookd_core::command::ImportedCalendar;
use bookd_core::field_violation::FieldViolation;
use bookd_core::ids::CalendarId;
use bookd_core::time::zone::Zone;

/// Something that is wrong with the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// From 1.
    pub line: usize,
    /// Its path; empty for the whole.
    pub field: String,
    /// What must be.
    pub why: String,
}

/// The members of a JSON object in their order, as they stand in the text.
pub(super) struct Members<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reading;

        impl<'de> Visitor<'de> for Reading {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Vec<(String, &'de RawValue)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some(key) = map.next_key::<Cow<'de, str>>()? {
                    if !seen.insert(key.to_string()) {
                        return Err(A::Error::custom(format!("{key} stands there twice")));
                    }
                    members.push((key.into_owned(), map.next_value()?));
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Reading).map(Members)
    }
}

/// A text that is read, and what is found wrong with it.
pub(super) struct Text<'a> {
    pub whole: &'a str,
    pub complaints: Vec<Complaint>,
    /// How many more there were than are told.
    pub untold: usize,
    /// Where the calendars and appointments begin, for what the engine finds wrong with them.
    origins: HashMap<String, &'a str>,
}

impl<'a> Text<'a> {
    pub(super) fn new(whole: &'a str) -> Self {
        Self { whole, complaints: Vec::new(), untold: 0, origins: HashMap::new() }
    }

    fn offset(&self, piece: &str) -> usize {
        // Every piece is borrowed from the whole.
        (piece.as_ptr() as usize).saturating_sub(self.whole.as_ptr() as usize)
    }

    /// Notes what is wrong at an offset of a piece.
    pub(super) fn wrong_at(&mut self, (piece, offset): (&str, usize), field: String, why: impl Into<String>) {
        if self.complaints.len() < COMPLAINTS_MAX {
            let line = places::line(self.whole, self.offset(piece) + offset);
            self.complaints.push(Complaint { line, field, why: why.into() });
        } else {
            self.untold += 1;
        }
    }

    /// Notes what is wrong with a field of a piece that stands at `origin`.
    pub(super) fn wrong(&mut self, piece: &str, origin: &str, field: &str, why: impl Into<String>) {
        let is_told = self.complaints.len() < COMPLAINTS_MAX;
        let offset = if is_told { places::find(piece, field) } else { 0 };
        self.wrong_at((piece, offset), joined(origin, field), why);
    }

    fn all_wrong(&mut self, piece: &str, origin: &str, found: Vec<FieldViolation>) {
        found.into_iter().for_each(|it| self.wrong(piece, origin, &it.field, it.description));
    }

    /// Notes what a reader of JSON said of a piece.
    fn unreadable(&mut self, piece: &str, origin: &str, error: &serde_json::Error) {
        let offset = places::offset_of(piece, error.line().max(1), error.column());
        let said = error.to_string();
        let why = said.split(" at line ").next().unwrap_or(&said).to_owned();
        let path = if self.complaints.len() < COMPLAINTS_MAX { places::path_at(piece, offset) } else { String::new() };
        self.wrong_at((piece, offset), joined(origin, &path), why);
    }

    /// Reads a piece, or notes why it cannot be.
    pub(super) fn read<T: Deserialize<'a>>(&mut self, piece: &'a str, origin: &str) -> Option<T> {
        serde_json::from_str(piece).map_err(|error| self.unreadable(piece, origin, &error)).ok()
    }

    /// Notes what the engine found wrong, by the paths that it was given.
    pub(super) fn refused(&mut self, found: Vec<FieldViolation>) {
        for it in found {
            let known = self.origins.iter().filter(|(origin, _)| it.field.starts_with(origin.as_str()));
            let Some((origin, piece)) = known.max_by_key(|(origin, _)| origin.len()) else {
                self.wrong(self.whole, "", &it.field, it.description);
                continue;
            };
            let (origin, piece) = (origin.clone(), *piece);
            let field = it.field[origin.len()..].trim_start_matches('.').to_owned();
            self.wrong(piece, &origin, &field, it.description);
        }
    }

    /// Where something stands that the engine may find wrong.
    pub(super) fn stands(&mut self, origin: String, piece: &'a str) {
        self.origins.insert(origin, piece);
    }
}

fn joined(origin: &str, field: &str) -> String {
    match (origin, field) {
        ("", field) => field.to_owned(),
        (origin, "") => origin.to_owned(),
        (origin, field) if field.starts_with('[') => format!("{origin}{field}"),
        (origin, field) => format!("{origin}.{field}"),
    }
}

/// Reads messages of the contract.
struct Messages {
    pool: DescriptorPool,
}

impl Messages {
    fn descriptor(&self, name: &str) -> MessageDescriptor {
        let found = self.pool.get_message_by_name(&format!("bookd.v1.{name}"));
        found.expect("the messages of the contract are in its descriptors")
    }

    fn read<T: Message + Default>(descriptor: &MessageDescriptor, json: &str) -> Result<T, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let message = DynamicMessage::deserialize(descriptor.clone(), &mut reader)?;
        reader.end()?;
        message.transcode_to().map_err(serde_json::Error::custom)
    }
}

/// One reading of a file.
struct Reading<'z> {
    zones: &'z Zones,
    messages: Messages,
    appointment: MessageDescriptor,
    count: usize,
    bar: ProgressBar,
}

/// Reads `{"calendars": [...]}`, whose members these are.
pub(super) fn calendars<'a>(text: &mut Text<'a>, members: &Members<'a>, zones: &Zones) -> Vec<ImportedCalendar> {
    let messages = Messages {
        pool: DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("the descriptors were made by this build"),
    };
    let appointment = messages.descriptor("Appointment");
    let bar = progress("reading", None);
    let mut reading = Reading { zones, messages, appointment, count: 0, bar };
    let mut read = Vec::new();
    for (key, raw) in &members.0 {
        if key != "calendars" {
            text.wrong_at((raw.get(), 0), key.clone(), "is not known; the file is {\"calendars\": [...]}");
            continue;
        }
        let Some(raws) = text.read::<Vec<&'a RawValue>>(raw.get(), key) else { continue };
        if raws.len() > CALENDARS_MAX {
            text.wrong_at((raw.get(), 0), key.clone(), format!("at most {CALENDARS_MAX} calendars"));
            continue;
        }
        for (n, raw) in raws.into_iter().enumerate() {
            read.extend(reading.calendar(text, raw.get(), &format!("calendars[{n}]")));
        }
    }
    reading.bar.finish_and_clear();
    read
}

impl Reading<'_> {
    fn calendar<'a>(&mut self, text: &mut Text<'a>, piece: &'a str, origin: &str) -> Option<ImportedCalendar> {
        let members: Members<'a> = text.read(piece, origin)?;
        let mut file = CalendarFile::default();
        let mut appointments: Vec<&'a RawValue> = Vec::new();
        let mut broken: Vec<String> = Vec::new();
        for (key, raw) in members.0 {
            let path = format!("{origin}.{key}");
            let raw = raw.get();
            match key.as_str() {
                "rules" => broken.extend(self.all(text, raw, (&path, "AvailabilityRule"), &mut file.rules)),
                "overrides" => {
                    broken.extend(self.all(text, raw, (&path, "AvailabilityOverride"), &mut file.overrides));
                }
                "appointment_types" | "appointmentTypes" => {
                    broken.extend(self.all(text, raw, (&path, "AppointmentType"), &mut file.appointment_types));
                }
                "last_definitions" => {
                    broken.extend(self.all(text, raw, (&path, "AppointmentType"), &mut file.last_definitions));
                }
                "deleted_appointment_types" => {
                    let read = text.read(raw, &path).map(|read| file.deleted_appointment_types = read);
                    broken.extend(read.is_none().then_some(path));
                }
                "busy" => broken.extend(self.busy(text, raw, &path, &mut file)),
                "appointments" => {
                    let read = text.read(raw, &path).map(|read| appointments = read);
                    broken.extend(read.is_none().then_some(path));
                }
                _ => broken.extend(self.setting(text, (&key, raw), origin, &mut file.calendar)),
            }
        }
        text.stands(origin.to_owned(), piece);
        let read = imported_calendar(self.zones, &file, origin);
        let mut calendar = match read {
            Ok(calendar) => broken.is_empty().then_some(calendar),
            Err(mut found) => {
                // A piece that could not be read stands there empty, which needs no second complaint.
                // A piece without a path of its own is the whole calendar.
                let names = |path: &String| path.strip_prefix(origin).map(|it| it.trim_start_matches('.').to_owned());
                let empty: Vec<String> = broken.iter().filter_map(names).collect();
                found.retain(|it| !empty.iter().any(|path| it.field.starts_with(path)));
                text.all_wrong(piece, origin, found);
                None
            }
        };
        // What is wrong with the appointments is told even if the calendar is.
        let zone = self.zones.zone(&file.calendar.time_zone).unwrap_or_else(|_| Arc::new(Zone::utc()));
        let id = CalendarId::parse(&file.calendar.calendar_id).or_else(|_| CalendarId::parse("unnamed")).ok()?;
        for (n, raw) in appointments.into_iter().enumerate() {
            let read = self.appointment(text, raw.get(), (&id, &zone), format!("{origin}.appointments[{n}]"));
            match (&mut calendar, read) {
                (Some(calendar), Some(read)) => calendar.appointments.push(read),
                _ => calendar = None,
            }
            if self.count > APPOINTMENTS_MAX {
                return None;
            }
        }
        calendar
    }

    fn appointment<'a>(
        &mut self,
        text: &mut Text<'a>,
        piece: &'a str,
        calendar: (&CalendarId, &Arc<Zone>),
        origin: String,
    ) -> Option<bookd_core::command::ImportedAppointment> {
        self.count += 1;
        self.bar.inc(1);
        if self.count > APPOINTMENTS_MAX {
            text.wrong_at((piece, 0), origin, format!("at most {APPOINTMENTS_MAX} appointments in one file"));
            return None;
        }
        let message = Messages::read::<pb::Appointment>(&self.appointment, piece);
        let message = message.map_err(|error| text.unreadable(piece, &origin, &error)).ok()?;
        let read = imported_appointment(self.zones, calendar, &message, (Ids::Random.appointment_id(), &origin));
        match read {
            Ok(read) => {
                text.stands(origin, piece);
                Some(read)
            }
            Err(found) => {
                text.all_wrong(piece, &origin, found);
                None
            }
        }
    }

    /// Reads a list of messages; answers the paths that could not be read, in whose place there are empty messages.
    fn all<'a, T: Message + Default>(
        &self,
        text: &mut Text<'a>,
        piece: &'a str,
        (path, name): (&str, &str),
        into: &mut Vec<T>,
    ) -> Vec<String> {
        let descriptor = self.messages.descriptor(name);
        let Some(raws) = text.read::<Vec<&'a RawValue>>(piece, path) else { return vec![path.to_owned()] };
        let mut broken = Vec::new();
        for (n, raw) in raws.into_iter().enumerate() {
            let read = Messages::read(&descriptor, raw.get());
            if let Err(error) = &read {
                text.unreadable(raw.get(), &format!("{path}[{n}]"), error);
                broken.push(format!("{path}[{n}]"));
            }
            into.push(read.unwrap_or_default());
        }
        broken
    }

    /// Reads `[{"source": ..., "periods": [...]}]`; answers the paths that could not be read.
    fn busy<'a>(&self, text: &mut Text<'a>, piece: &'a str, path: &str, file: &mut CalendarFile) -> Vec<String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Source<'a> {
            source: String,
            #[serde(borrow)]
            periods: &'a RawValue,
        }
        let Some(raws) = text.read::<Vec<&'a RawValue>>(piece, path) else { return vec![path.to_owned()] };
        let mut broken = Vec::new();
        for (n, raw) in raws.into_iter().enumerate() {
            let path = format!("{path}[{n}]");
            let Some(it) = text.read::<Source<'a>>(raw.get(), &path) else {
                broken.push(path);
                file.busy.push(Default::default());
                continue;
            };
            let mut periods = Vec::new();
            broken.extend(self.all(text, it.periods.get(), (&format!("{path}.periods"), "Period"), &mut periods));
            file.busy.push((it.source, periods));
        }
        broken
    }

    /// Reads one setting of a calendar; answers its path if it cannot be read.
    fn setting<'a>(
        &self,
        text: &mut Text<'a>,
        (key, piece): (&str, &'a str),
        origin: &str,
        calendar: &mut pb::Calendar,
    ) -> Option<String> {
        let json = format!("{{{}:{piece}}}", serde_json::Value::from(key));
        let read = Messages::read::<pb::Calendar>(&self.messages.descriptor("Calendar"), &json);
        let merged =
            read.and_then(|read| calendar.merge(read.encode_to_vec().as_slice()).map_err(serde_json::Error::custom));
        let error = merged.err()?;
        let said = error.to_string();
        let why = said.split(" at line ").next().unwrap_or(&said).to_owned();
        let offset = places::offset_of(&json, error.line().max(1), error.column());
        let before = json.len() - piece.len() - 1;
        text.wrong_at((piece, offset.saturating_sub(before)), joined(origin, &places::path_at(&json, offset)), why);
        Some(joined(origin, key))
    }
}
