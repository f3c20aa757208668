//! The stored change log: a translation of `bookd_core::log` into messages by tag, and back.
//!
//! Nothing personal is in the log. Each event names the revision that last touched its appointment
//! and its calendars, so that the log is read back along these chains without an index. Images from
//! before schema 4 lack some fields, which are filled in from the appointment's current row.

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use super::image::ImageRecord;
use super::numbers::{self, calendar_event as kind};
use super::record::{self, calendar_id, damaged, decode, type_id};
use crate::store::StoreError;
use bookd_core::appointment::Appointment;
use bookd_core::change::Cause;
use bookd_core::deletion::STAMPS;
use bookd_core::ids::{AppointmentId, AppointmentKey, Revision};
use bookd_core::log::{CalendarEvent, LogEvent, LoggedAppointment, Touched, What};
use bookd_core::time::Instant;

const EVENT: &str = "an event";

/// A committed change, or a further segment of one, which has no cause of its own. Its revision,
/// time and caller are columns of its row.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ChangeRecord {
    /// A `Cause` by number.
    #[prost(uint32, tag = "3")]
    cause: u32,
    /// One `EventRecord` per touched appointment or calendar, each decoded when it is needed. Empty
    /// where an event was erased with its tenant: the others keep their numbers.
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub(crate) events: Vec<Bytes>,
    /// For the events that were staged before the change, which have 0 instead: the revision that
    /// last touched their calendar before the change. 0 = no events were staged.
    #[prost(uint64, tag = "6")]
    pub(crate) previous: u64,
    /// The ids of the tokens that were created or revoked; of a restore, those that it dropped.
    #[prost(string, repeated, tag = "7")]
    pub(crate) tokens: Vec<String>,
}

/// The fields of an `EventRecord` by which it is selected.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EventHead {
    #[prost(uint64, tag = "3")]
    pub(crate) key: u64,
    #[prost(uint64, tag = "4")]
    pub(crate) previous: u64,
    #[prost(message, repeated, tag = "7")]
    pub(crate) calendars: Vec<TouchedRecord>,
}

/// An event of one appointment or calendar.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct EventRecord {
    /// An `AppointmentEvent` by number, or 100 and more for calendars.
    #[prost(uint32, tag = "1")]
    pub(super) kind: u32,
    /// The appointment's id; empty for calendars.
    #[prost(bytes = "vec", tag = "2")]
    appointment: Vec<u8>,
    /// The appointment's key; 0 for calendars.
    #[prost(uint64, tag = "3")]
    key: u64,
    /// The revision that last touched this appointment before; 0 = none.
    #[prost(uint64, tag = "4")]
    previous: u64,
    /// The image before the change; none for a new appointment.
    #[prost(message, optional, tag = "5")]
    pub(super) before: Option<ImageRecord>,
    /// The image after the change; none for calendars.
    #[prost(message, optional, tag = "6")]
    pub(super) after: Option<ImageRecord>,
    /// Every touched calendar, with the revision that last touched it before.
    #[prost(message, repeated, tag = "7")]
    pub(super) calendars: Vec<TouchedRecord>,
    /// The type or source that a calendar event is about.
    #[prost(string, tag = "8")]
    detail: String,
}

/// A calendar that an event touched.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TouchedRecord {
    #[prost(string, tag = "1")]
    pub(crate) calendar: String,
    #[prost(uint64, tag = "2")]
    pub(crate) previous: u64,
}

/// The rows of the store from which records from before schema 4 are filled in.
pub(crate) trait KnownRows {
    /// The appointment as its row is now.
    fn appointment(&self, key: AppointmentKey) -> Result<Option<Appointment>, StoreError>;
    /// The time of a change; none when the change is no longer kept.
    fn time_of(&self, revision: Revision) -> Result<Option<Instant>, StoreError>;
}

impl ChangeRecord {
    pub(crate) fn new(cause: Cause, events: Vec<Bytes>) -> Self {
        Self {
            cause: numbers::of_cause(cause),
            events,
            ..Self::default()
        }
    }

    /// A segment after the first one.
    pub(crate) fn segment(events: Vec<Bytes>) -> Self {
        Self {
            events,
            ..Self::default()
        }
    }

    pub(crate) fn cause(&self) -> Result<Cause, StoreError> {
        numbers::cause(self.cause)
    }

    /// The start of the appointment with this key before the change, or after it for a new
    /// appointment, and the revision that touched the appointment before. None when the change does
    /// not touch it.
    pub(crate) fn start_of(
        &self,
        key: AppointmentKey,
    ) -> Result<Option<(Instant, u64)>, StoreError> {
        for bytes in &self.events {
            let event: EventRecord = decode(bytes, EVENT)?;
            if let Some(image) = event
                .before
                .as_ref()
                .or(event.after.as_ref())
                .filter(|_| event.key == key.0)
            {
                return Ok(Some((record::instant(image.start)?, event.previous)));
            }
        }
        Ok(None)
    }
}

/// Encodes an event of a change at this time.
pub(crate) fn write_event(event: &LogEvent, time: Instant) -> Bytes {
    EventRecord::new(event, time).encode_to_vec().into()
}

/// Decodes an event of a change with these stamps; `rows` is used only for records from before
/// schema 4.
pub(crate) fn read_event(
    bytes: &[u8],
    stamps: (Instant, Revision),
    rows: &impl KnownRows,
) -> Result<LogEvent, StoreError> {
    decode::<EventRecord>(bytes, EVENT)?.read(stamps, rows)
}

/// Whether the images of an event have all fields; those from before schema 4 do not.
pub(crate) fn is_whole(bytes: &[u8]) -> Result<bool, StoreError> {
    let event: EventRecord = decode(bytes, EVENT)?;
    Ok(event
        .before
        .iter()
        .chain(&event.after)
        .all(ImageRecord::is_whole))
}

/// Decodes the fields of an event by which it is selected.
pub(crate) fn read_head(bytes: &[u8]) -> Result<EventHead, StoreError> {
    decode(bytes, EVENT)
}

impl EventRecord {
    fn new(event: &LogEvent, time: Instant) -> Self {
        let touched = |it: &Touched| TouchedRecord {
            calendar: it.calendar.as_str().to_owned(),
            previous: it.previous.0,
        };
        let of = Self {
            calendars: event.calendars.iter().map(touched).collect(),
            ..Self::default()
        };
        let of_calendar = |kind: u32, detail: &str| Self {
            kind,
            detail: detail.to_owned(),
            ..of.clone()
        };
        match &event.what {
            What::Calendar(it) => match it {
                CalendarEvent::Created => of_calendar(kind::CREATED, ""),
                CalendarEvent::ProfileChanged => of_calendar(kind::PROFILE_CHANGED, ""),
                CalendarEvent::Deleted => of_calendar(kind::DELETED, ""),
                CalendarEvent::TypePut(id) => of_calendar(kind::TYPE_PUT, id.as_str()),
                CalendarEvent::TypeDeleted(id) => of_calendar(kind::TYPE_DELETED, id.as_str()),
                CalendarEvent::BusyPut(source) => of_calendar(kind::BUSY_PUT, source),
            },
            What::Appointment(it) => {
                let LoggedAppointment {
                    kind,
                    id,
                    key,
                    previous,
                    before,
                    after,
                } = &**it;
                Self {
                    kind: numbers::of_appointment_event(*kind),
                    appointment: id.0.as_bytes().to_vec(),
                    key: key.0,
                    previous: previous.0,
                    before: before.as_ref().map(|it| ImageRecord::new(it, *key, time)),
                    after: Some(ImageRecord::new(after, *key, time)),
                    ..of
                }
            }
        }
    }

    fn read(
        &self,
        stamps: (Instant, Revision),
        rows: &impl KnownRows,
    ) -> Result<LogEvent, StoreError> {
        let touched = |it: &TouchedRecord| {
            Ok(Touched {
                calendar: calendar_id(&it.calendar)?,
                previous: record::revision(it.previous)?,
            })
        };
        let calendars = self
            .calendars
            .iter()
            .map(touched)
            .collect::<Result<_, StoreError>>()?;
        if self.after.is_none() && !self.appointment.is_empty() {
            return Err(damaged("an event of an appointment"));
        }
        let what = match &self.after {
            Some(after) => What::Appointment(Box::new(self.read_appointment(after, stamps, rows)?)),
            None => What::Calendar(self.read_calendar()?),
        };
        Ok(LogEvent { calendars, what })
    }

    fn read_calendar(&self) -> Result<CalendarEvent, StoreError> {
        Ok(match self.kind {
            kind::CREATED => CalendarEvent::Created,
            kind::PROFILE_CHANGED => CalendarEvent::ProfileChanged,
            kind::DELETED => CalendarEvent::Deleted,
            kind::TYPE_PUT => CalendarEvent::TypePut(type_id(&self.detail)?),
            kind::TYPE_DELETED => CalendarEvent::TypeDeleted(type_id(&self.detail)?),
            kind::BUSY_PUT => CalendarEvent::BusyPut(self.detail.clone()),
            _ => return Err(damaged("an event")),
        })
    }

    fn read_appointment(
        &self,
        after: &ImageRecord,
        (time, revision): (Instant, Revision),
        rows: &impl KnownRows,
    ) -> Result<LoggedAppointment, StoreError> {
        let (key, previous) = (record::key(self.key)?, record::revision(self.previous)?);
        let is_whole = after.is_whole() && self.before.as_ref().is_none_or(ImageRecord::is_whole);
        let now = if is_whole {
            None
        } else {
            rows.appointment(key)?
        };
        let then = match &now {
            None => time,
            // The update time of the image before is the time of the previous change, as long as
            // that is kept.
            Some(now) => rows.time_of(previous)?.unwrap_or(now.update_time),
        };
        let before = self
            .before
            .as_ref()
            .map(|it| it.read(key, then, now.as_ref()));
        let mut after = after.read(key, time, now.as_ref())?;
        // The event was staged before its change had a revision.
        if after.revision == STAMPS.1 {
            after.revision = revision;
        }
        Ok(LoggedAppointment {
            kind: numbers::appointment_event(self.kind)?,
            id: Uuid::from_slice(&self.appointment)
                .map(AppointmentId)
                .map_err(|_| damaged("an event"))?,
            key,
            previous,
            before: before.transpose()?,
            after,
        })
    }
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
mod tests {
    use super::super::place::PlaceRecord;
    use super::*;

    struct NoRows;

    impl KnownRows for NoRows {
        fn appointment(&self, _: AppointmentKey) -> Result<Option<Appointment>, StoreError> {
            Ok(None)
        }

        fn time_of(&self, _: Revision) -> Result<Option<Instant>, StoreError> {
            Ok(None)
        }
    }

    fn record() -> EventRecord {
        let place = PlaceRecord::of("ada", 1);
        let image = ImageRecord {
            type_id: "default".to_owned(),
            duration: 60,
            state: 3,
            revision: 7,
            places: vec![place],
            time_zone: "Europe/Paris".to_owned(),
            ..ImageRecord::default()
        };
        EventRecord {
            kind: 8,
            appointment: vec![1; 16],
            key: 5,
            previous: 6,
            before: Some(ImageRecord {
                revision: 6,
                ..image.clone()
            }),
            after: Some(image),
            calendars: vec![TouchedRecord {
                calendar: "ada".to_owned(),
                previous: 6,
            }],
            detail: String::new(),
        }
    }

    fn read(record: &EventRecord) -> Result<LogEvent, StoreError> {
        read_event(
            &record.encode_to_vec(),
            (Instant::from_seconds(0), Revision(7)),
            &NoRows,
        )
    }

    /// The current row of an appointment.
    struct Row(Appointment);

    impl KnownRows for Row {
        fn appointment(&self, _: AppointmentKey) -> Result<Option<Appointment>, StoreError> {
            Ok(Some(self.0.clone()))
        }

        fn time_of(&self, _: Revision) -> Result<Option<Instant>, StoreError> {
            Ok(None)
        }
    }

    #[test]
    fn the_zone_of_an_older_record_is_told_where_the_appointment_has_not_moved_since() {
        let mut now = crate::sample::appointment_on(1);
        now.image.time_zone = "America/New_York".into();
        let calendar = now.places[0].calendar.as_str().to_owned();
        let old = |start: i64, offset: i64, calendar: &str| ImageRecord {
            calendars: vec![calendar.to_owned()],
            type_id: "default".to_owned(),
            start,
            offset,
            duration: 60,
            state: 3,
            ..ImageRecord::default()
        };
        let zone_of = |image: ImageRecord| {
            let record = EventRecord {
                before: None,
                after: Some(image),
                ..record()
            };
            let read = read_event(
                &record.encode_to_vec(),
                (Instant::from_seconds(0), Revision(7)),
                &Row(now.clone()),
            );
            let What::Appointment(it) = read.unwrap().what else {
                panic!("of an appointment")
            };
            it.after.time_zone.to_string()
        };
        assert_eq!(zone_of(old(0, 0, &calendar)), "America/New_York");
        assert_eq!(
            zone_of(old(3_600, 0, &calendar)),
            "",
            "it was moved, and the calendar may have been in another zone"
        );
        assert_eq!(
            zone_of(old(0, 3_600, &calendar)),
            "",
            "the clock showed something else"
        );
        assert_eq!(zone_of(old(0, 0, "other")), "");
    }

    #[test]
    fn an_event_is_written_as_it_was_read() {
        let event = read(&record()).unwrap();
        let stamps = (Instant::from_seconds(0), Revision(7));
        let written = write_event(&event, stamps.0);
        assert_eq!(read_event(&written, stamps, &NoRows).unwrap(), event);
        let head = read_head(&written).unwrap();
        assert_eq!(
            (head.key, head.previous, head.calendars),
            (5, 6, record().calendars)
        );
    }

    #[test]
    fn what_can_be_no_change_is_damage() {
        const TOO_LARGE: u64 = 1 << 63;
        type Damage = fn(&mut EventRecord);
        let damages: [Damage; 26] = [
            |event| event.kind = 99,
            |event| event.appointment = vec![1, 2, 3],
            |event| event.after = None,
            |event| event.key = TOO_LARGE,
            |event| event.previous = TOO_LARGE,
            |event| event.calendars[0].calendar = " ".to_owned(),
            |event| event.calendars[0].previous = TOO_LARGE,
            |event| event.before.as_mut().unwrap().state = 9,
            |event| event.after.as_mut().unwrap().revision = TOO_LARGE,
            |event| event.after.as_mut().unwrap().session = TOO_LARGE,
            |event| event.after.as_mut().unwrap().duration = u32::MAX,
            |event| event.after.as_mut().unwrap().state = 0,
            |event| event.after.as_mut().unwrap().type_id = String::new(),
            |event| event.after.as_mut().unwrap().places[0] = PlaceRecord::default(),
            |event| {
                event
                    .after
                    .as_mut()
                    .unwrap()
                    .places
                    .push(PlaceRecord::of("ada", 1))
            },
            |event| event.after.as_mut().unwrap().duration = 0,
            |event| event.after.as_mut().unwrap().start = i64::MAX,
            |event| event.after.as_mut().unwrap().start = i64::MIN,
            |event| event.after.as_mut().unwrap().offset = i64::MAX,
            |event| event.after.as_mut().unwrap().offset = i64::MIN,
            |event| event.after.as_mut().unwrap().expire_time = Some(i64::MAX),
            |event| event.after.as_mut().unwrap().update_time = Some(i64::MIN),
            |event| event.after.as_mut().unwrap().ignored_rules = 32,
            |event| event.key = 0,
            // A record from before schema 4, whose appointment does not exist any more.
            |event| event.after.as_mut().unwrap().calendars = vec!["ada".to_owned()],
            |event| {
                *event = EventRecord {
                    kind: 200,
                    ..EventRecord::default()
                }
            },
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            let mut record = record();
            damage(&mut record);
            assert!(
                matches!(read(&record), Err(StoreError::Damaged(_))),
                "damage {number}"
            );
        }
        let record = ChangeRecord {
            cause: 99,
            ..ChangeRecord::default()
        };
        assert!(matches!(record.cause(), Err(StoreError::Damaged(_))));
    }
}
