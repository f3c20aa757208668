//! Reads a file of calendars: `{"calendars": [...]}` with the contract's messages.
//!
//! Each piece of the text is read by itself, so that one error hides no other.

use std::sync::Arc;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::Deserialize;
use serde::de::Error;
use serde_json::value::RawValue;

use super::text::{Members, Text, joined};
use super::{APPOINTMENTS_MAX, CALENDARS_MAX, json_positions};
use crate::admin::export::tenant::MEMBERS as TENANT_MEMBERS;
use crate::admin::{Position, Progress, Step};
use crate::api::convert::file::{CalendarFile, imported_appointment, imported_calendar};
use crate::ids::Ids;
use crate::proto::v1 as pb;
use crate::proto_json;
use crate::zones::Zones;
use bookd_core::command::{ImportedAppointment, ImportedCalendar};
use bookd_core::ids::CalendarId;
use bookd_core::time::zone::Zone;

/// Reads messages of the contract from JSON.
struct MessageReader {
    pool: DescriptorPool,
}

impl MessageReader {
    fn descriptor(&self, name: &str) -> MessageDescriptor {
        proto_json::message(&self.pool, name)
    }

    fn read<T: Message + Default>(
        descriptor: &MessageDescriptor,
        json: &str,
    ) -> Result<T, serde_json::Error> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let message = DynamicMessage::deserialize(descriptor.clone(), &mut reader)?;
        reader.end()?;
        message.transcode_to().map_err(serde_json::Error::custom)
    }
}

/// The state of reading a file.
struct FileReading<'z> {
    zones: &'z Zones,
    messages: MessageReader,
    appointment: MessageDescriptor,
    /// The number of appointments that were read.
    count: usize,
    position: Position,
}

/// The members of one calendar of the file.
struct CalendarMembers<'a> {
    /// All of them but the appointments.
    file: CalendarFile,
    /// The appointments, not read yet.
    appointments: Vec<&'a RawValue>,
    /// The paths of the members, and of the items in them, that could not be read.
    broken: Vec<String>,
}

/// Reads the members of the file; answers the calendars that could be read.
pub(super) fn calendars<'a>(
    text: &mut Text<'a>,
    members: &Members<'a>,
    zones: &Zones,
    progress: Progress,
) -> Vec<ImportedCalendar> {
    let messages = MessageReader {
        pool: proto_json::descriptors(),
    };
    let appointment = messages.descriptor("Appointment");
    let mut reading = FileReading {
        zones,
        messages,
        appointment,
        count: 0,
        position: progress(Step::Reading),
    };
    let mut read = Vec::new();
    for (key, raw) in &members.0 {
        // The export of a tenant has more than can be imported.
        if TENANT_MEMBERS.contains(&key.as_ref()) {
            if raw.get() != "[]" {
                text.passed_over.push(key.clone());
            }
            continue;
        }
        if key != "calendars" {
            text.wrong_at(
                (raw.get(), 0),
                key.clone(),
                "is not known; the file is {\"calendars\": [...]}",
            );
            continue;
        }
        let Some(raws) = text.read::<Vec<&'a RawValue>>(raw.get(), key) else {
            continue;
        };
        if raws.len() > CALENDARS_MAX {
            text.wrong_at(
                (raw.get(), 0),
                key.clone(),
                format!("at most {CALENDARS_MAX} calendars"),
            );
            continue;
        }
        for (n, raw) in raws.into_iter().enumerate() {
            read.extend(reading.calendar(text, raw.get(), &format!("calendars[{n}]")));
        }
    }
    read
}

impl FileReading<'_> {
    /// Reads one calendar; answers none if anything in it is wrong.
    fn calendar<'a>(
        &mut self,
        text: &mut Text<'a>,
        piece: &'a str,
        origin: &str,
    ) -> Option<ImportedCalendar> {
        let members: Members<'a> = text.read(piece, origin)?;
        let read = self.members(text, members, origin);
        text.remember(origin.to_owned(), piece);
        let mut calendar = match imported_calendar(self.zones, &read.file, origin) {
            Ok(calendar) => read.broken.is_empty().then_some(calendar),
            Err(mut found) => {
                // A piece that could not be read was replaced by an empty one, and has its
                // complaint already. A broken path that is the calendar's own hides all violations
                // of the calendar.
                let names = |path: &String| {
                    path.strip_prefix(origin)
                        .map(|name| name.trim_start_matches('.').to_owned())
                };
                let empty: Vec<String> = read.broken.iter().filter_map(names).collect();
                found.retain(|violation| {
                    !empty.iter().any(|path| violation.field.starts_with(path))
                });
                text.all_wrong(piece, origin, found);
                None
            }
        };
        // The appointments are checked even if the calendar is wrong, so that their errors are
        // reported.
        let settings = &read.file.calendar;
        let zone = self
            .zones
            .zone(&settings.time_zone)
            .unwrap_or_else(|_| Arc::new(Zone::utc()));
        let id = CalendarId::parse(&settings.calendar_id)
            .or_else(|_| CalendarId::parse("unnamed"))
            .ok()?;
        for (n, raw) in read.appointments.into_iter().enumerate() {
            let read = self.appointment(
                text,
                raw.get(),
                (&id, &zone),
                format!("{origin}.appointments[{n}]"),
            );
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

    /// Reads all members of a calendar but its appointments, which need its zone and its id.
    fn members<'a>(
        &self,
        text: &mut Text<'a>,
        members: Members<'a>,
        origin: &str,
    ) -> CalendarMembers<'a> {
        let mut file = CalendarFile::default();
        let mut appointments: Vec<&'a RawValue> = Vec::new();
        let mut broken: Vec<String> = Vec::new();
        for (key, raw) in members.0 {
            let path = format!("{origin}.{key}");
            let raw = raw.get();
            broken.extend(match key.as_str() {
                "rules" => self.all(text, raw, (&path, "AvailabilityRule"), &mut file.rules),
                "overrides" => {
                    let name = (path.as_str(), "AvailabilityOverride");
                    self.all(text, raw, name, &mut file.overrides)
                }
                "appointment_types" | "appointmentTypes" => {
                    let name = (path.as_str(), "AppointmentType");
                    self.all(text, raw, name, &mut file.appointment_types)
                }
                "last_definitions" => {
                    let name = (path.as_str(), "AppointmentType");
                    self.all(text, raw, name, &mut file.last_definitions)
                }
                "deleted_appointment_types" => {
                    plain(text, raw, path, &mut file.deleted_appointment_types)
                }
                "busy" => self.busy(text, raw, &path, &mut file),
                "appointments" => plain(text, raw, path, &mut appointments),
                _ => Vec::from_iter(self.setting(text, (&key, raw), origin, &mut file.calendar)),
            });
        }
        CalendarMembers {
            file,
            appointments,
            broken,
        }
    }

    /// Reads one appointment, and reports the position.
    fn appointment<'a>(
        &mut self,
        text: &mut Text<'a>,
        piece: &'a str,
        calendar: (&CalendarId, &Arc<Zone>),
        origin: String,
    ) -> Option<ImportedAppointment> {
        self.count += 1;
        (self.position)(self.count as u64);
        if self.count > APPOINTMENTS_MAX {
            text.wrong_at(
                (piece, 0),
                origin,
                format!("at most {APPOINTMENTS_MAX} appointments in one file"),
            );
            return None;
        }
        let message = MessageReader::read::<pb::Appointment>(&self.appointment, piece);
        let message = message
            .map_err(|error| text.unreadable(piece, &origin, &error))
            .ok()?;
        let read = imported_appointment(
            self.zones,
            calendar,
            &message,
            (Ids::Random.appointment_id(), &origin),
        );
        match read {
            Ok(read) => {
                text.remember(origin, piece);
                Some(read)
            }
            Err(found) => {
                text.all_wrong(piece, &origin, found);
                None
            }
        }
    }

    /// Reads a list of messages; answers the paths that could not be read, which are replaced by
    /// empty messages.
    fn all<'a, T: Message + Default>(
        &self,
        text: &mut Text<'a>,
        piece: &'a str,
        (path, name): (&str, &str),
        into: &mut Vec<T>,
    ) -> Vec<String> {
        let descriptor = self.messages.descriptor(name);
        let Some(raws) = text.read::<Vec<&'a RawValue>>(piece, path) else {
            return vec![path.to_owned()];
        };
        let mut broken = Vec::new();
        for (n, raw) in raws.into_iter().enumerate() {
            let read = MessageReader::read(&descriptor, raw.get());
            if let Err(error) = &read {
                text.unreadable(raw.get(), &format!("{path}[{n}]"), error);
                broken.push(format!("{path}[{n}]"));
            }
            into.push(read.unwrap_or_default());
        }
        broken
    }

    /// Reads `[{"source": ..., "periods": [...]}]`; answers the paths that could not be read.
    fn busy<'a>(
        &self,
        text: &mut Text<'a>,
        piece: &'a str,
        path: &str,
        file: &mut CalendarFile,
    ) -> Vec<String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, expecting = "an object with source and periods")]
        struct BusySource<'a> {
            source: String,
            #[serde(borrow)]
            periods: &'a RawValue,
        }
        let Some(raws) = text.read::<Vec<&'a RawValue>>(piece, path) else {
            return vec![path.to_owned()];
        };
        let mut broken = Vec::new();
        for (n, raw) in raws.into_iter().enumerate() {
            let path = format!("{path}[{n}]");
            let Some(busy) = text.read::<BusySource<'a>>(raw.get(), &path) else {
                broken.push(path);
                file.busy.push(Default::default());
                continue;
            };
            let mut periods = Vec::new();
            broken.extend(self.all(
                text,
                busy.periods.get(),
                (&format!("{path}.periods"), "Period"),
                &mut periods,
            ));
            file.busy.push((busy.source, periods));
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
        let read =
            MessageReader::read::<pb::Calendar>(&self.messages.descriptor("Calendar"), &json);
        let merged = read.and_then(|read| {
            calendar
                .merge(read.encode_to_vec().as_slice())
                .map_err(serde_json::Error::custom)
        });
        let error = merged.err()?;
        let message = error.to_string();
        let why = message
            .split(" at line ")
            .next()
            .unwrap_or(&message)
            .to_owned();
        let offset = json_positions::offset_of(&json, error.line().max(1), error.column());
        let before = json.len() - piece.len() - 1;
        text.wrong_at(
            (piece, offset.saturating_sub(before)),
            joined(origin, &json_positions::path_at(&json, offset)),
            why,
        );
        Some(joined(origin, key))
    }
}

/// Reads a member that is no message; answers its path if it could not be read.
fn plain<'a, T: Deserialize<'a>>(
    text: &mut Text<'a>,
    piece: &'a str,
    path: String,
    into: &mut T,
) -> Vec<String> {
    match text.read(piece, &path) {
        Some(read) => {
            *into = read;
            Vec::new()
        }
        None => vec![path],
    }
}
