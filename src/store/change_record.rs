//! The change log as it is stored: a translation of `domain::log` into messages by tag, and back.
//!
//! Nothing personal is in it. Every event names the revision that last touched its appointment and its calendars, so
//! that the log is read back along these chains without an index. What was written before schema 4 lacks some of an
//! image; the appointment's row, as it is now, fills that in.

use prost::Message;
use uuid::Uuid;

use super::StoreError;
use super::numbers::{self, calendar_event as kind};
use super::place_record::{PlaceRecord, expect_once};
use super::record::{self, buffer, calendar_id, damaged, ignored_bits, ignored_rules, type_id};
use crate::domain::appointment::{Appointment, Image, Place};
use crate::domain::ids::{AppointmentId, AppointmentKey, Caller, Revision, TypeNumber};
use crate::domain::log::{CalendarEvent, LogEntry, LogEvent, LoggedAppointment, Touched, What};
use crate::domain::time::{Instant, Minutes};

/// A committed change. Its revision, time and caller are columns of its row.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChangeRecord {
    /// A `Cause` by number.
    #[prost(uint32, tag = "3")]
    cause: u32,
    /// One per touched appointment or calendar.
    #[prost(message, repeated, tag = "5")]
    events: Vec<EventRecord>,
}

/// What happened to one appointment or calendar.
#[derive(Clone, PartialEq, Message)]
struct EventRecord {
    /// An `AppointmentEvent` by number, or 100 and more for calendars.
    #[prost(uint32, tag = "1")]
    kind: u32,
    /// The appointment's id; empty for calendars.
    #[prost(bytes = "vec", tag = "2")]
    appointment: Vec<u8>,
    /// The appointment's key.
    #[prost(uint64, tag = "3")]
    key: u64,
    /// The revision that last touched this appointment before; 0 = none.
    #[prost(uint64, tag = "4")]
    previous: u64,
    /// As it was; none when it is new.
    #[prost(message, optional, tag = "5")]
    before: Option<ImageRecord>,
    /// As it is.
    #[prost(message, optional, tag = "6")]
    after: Option<ImageRecord>,
    /// Every calendar touched, with the revision that last touched it before.
    #[prost(message, repeated, tag = "7")]
    calendars: Vec<TouchedRecord>,
    /// The type or source that a calendar event is about.
    #[prost(string, tag = "8")]
    detail: String,
}

/// A calendar that an event touched.
#[derive(Clone, PartialEq, Message)]
struct TouchedRecord {
    #[prost(string, tag = "1")]
    calendar: String,
    #[prost(uint64, tag = "2")]
    previous: u64,
}

/// An appointment at a revision, without anything personal.
#[derive(Clone, PartialEq, Message)]
struct ImageRecord {
    /// Before schema 4: its calendars, by id.
    #[prost(string, repeated, tag = "1")]
    calendars: Vec<String>,
    #[prost(string, tag = "2")]
    type_id: String,
    /// Seconds UTC.
    #[prost(sint64, tag = "3")]
    start: i64,
    /// Minutes.
    #[prost(uint32, tag = "4")]
    duration: u32,
    /// An `AppointmentState` by number.
    #[prost(uint32, tag = "5")]
    state: u32,
    /// Seconds UTC.
    #[prost(sint64, optional, tag = "6")]
    expire_time: Option<i64>,
    #[prost(uint32, tag = "7")]
    sequence: u32,
    /// Bits.
    #[prost(uint32, tag = "8")]
    ignored_rules: u32,
    /// The revision that made it so.
    #[prost(uint64, tag = "9")]
    revision: u64,
    /// Before schema 4: minutes kept free before and after, of each calendar in turn; empty when there are none.
    #[prost(uint32, repeated, tag = "10")]
    buffers: Vec<u32>,
    /// What a clock showed at the start, in seconds after the start; so it is not worked out by later rules. It was of
    /// 32 bits once, which are the same bytes.
    #[prost(sint64, tag = "11")]
    offset: i64,
    /// From schema 4 on, as everything below.
    #[prost(message, repeated, tag = "12")]
    places: Vec<PlaceRecord>,
    #[prost(string, tag = "13")]
    time_zone: String,
    /// The key of the session's first seat; 0 = its own.
    #[prost(uint64, tag = "14")]
    session: u64,
    /// Whether it waits without taking time.
    #[prost(bool, tag = "15")]
    waits: bool,
    /// Seconds UTC; none = the time of the change.
    #[prost(sint64, optional, tag = "16")]
    update_time: Option<i64>,
}

/// What the rest of the store tells about what a record of before schema 4 lacks.
pub(super) trait Rows {
    /// An appointment as its row is now.
    fn appointment(&self, key: AppointmentKey) -> Result<Option<Appointment>, StoreError>;
    /// When a change was made; none when it is no longer kept.
    fn time_of(&self, revision: Revision) -> Result<Option<Instant>, StoreError>;
}

impl ImageRecord {
    /// The image of the appointment with this key, in a change of this time.
    fn new(image: &Image, key: AppointmentKey, time: Instant) -> Self {
        let Image {
            places: _,
            type_id,
            start,
            duration,
            time_zone,
            local_start,
            state,
            blocks,
            expire_time,
            session,
            sequence,
            ignored_rules,
            update_time,
            revision,
        } = image;
        Self {
            calendars: Vec::new(),
            type_id: type_id.as_str().to_owned(),
            start: start.seconds(),
            duration: duration.minutes(),
            state: u32::from(numbers::of_state(*state)),
            expire_time: expire_time.map(Instant::seconds),
            sequence: *sequence,
            ignored_rules: ignored_bits(*ignored_rules),
            revision: revision.0,
            buffers: Vec::new(),
            offset: local_start.seconds().saturating_sub(start.seconds()),
            places: PlaceRecord::all(image),
            time_zone: time_zone.to_string(),
            session: if *session == key { 0 } else { session.0 },
            waits: !*blocks,
            update_time: (*update_time != time).then(|| update_time.seconds()),
        }
    }

    /// Whether all of an image is in it.
    fn is_whole(&self) -> bool {
        self.calendars.is_empty()
    }

    /// The image, as of a change of this time. `now` is the appointment as its row is, for records that are not whole.
    fn read(&self, key: AppointmentKey, time: Instant, now: Option<&Appointment>) -> Result<Image, StoreError> {
        let (start, duration) = (record::instant(self.start)?, record::duration(self.duration)?);
        let image = Image {
            places: PlaceRecord::read_all(&self.places, start, duration)?,
            type_id: type_id(&self.type_id)?,
            start,
            duration,
            time_zone: self.time_zone.as_str().into(),
            local_start: record::wall(self.start.saturating_add(self.offset))?,
            state: numbers::state(self.state)?,
            blocks: !self.waits,
            expire_time: self.expire_time.map(record::instant).transpose()?,
            session: if self.session == 0 { key } else { record::key(self.session)? },
            sequence: self.sequence,
            ignored_rules: ignored_rules(self.ignored_rules)?,
            update_time: self.update_time.map_or(Ok(time), record::instant)?,
            revision: record::revision(self.revision)?,
        };
        match now {
            None if self.is_whole() => Ok(image),
            None => Err(damaged("the appointment of an event")),
            Some(now) => self.filled_in(image, now),
        }
    }

    /// The image with what records of before schema 4 lack. The zone is known where the appointment begins when it did
    /// then, by the same clock and on the same calendar; of others it was never written down, and is told by nobody: the
    /// calendar may have been in another zone.
    fn filled_in(&self, image: Image, now: &Appointment) -> Result<Image, StoreError> {
        let place = |(index, id): (usize, &String)| -> Result<Place, StoreError> {
            let calendar = calendar_id(id)?;
            let known = now.places.iter().find(|it| it.calendar == calendar);
            let kept_free = |at: usize| match self.buffers.as_slice() {
                [] => Ok(Minutes::ZERO),
                buffers => buffers.get(at).copied().ok_or_else(|| damaged("a buffer")).and_then(buffer),
            };
            Ok(Place {
                since: known.map_or(Revision(0), |it| it.since),
                type_number: known.map_or(TypeNumber(0), |it| it.type_number),
                need: u16::try_from(index).map_err(|_| damaged("the calendars of an appointment"))?,
                start: image.start,
                duration: image.duration,
                before: kept_free(2 * index)?,
                after: kept_free(2 * index + 1)?,
                units: 1,
                calendar,
            })
        };
        let places: Vec<Place> = self.calendars.iter().enumerate().map(place).collect::<Result<_, _>>()?;
        let first = |places: &[Place]| places.first().map(|it| it.calendar.clone());
        let is_there = (image.start, image.local_start) == (now.start, now.local_start);
        let is_there = is_there && first(&places) == first(&now.places);
        Ok(Image {
            time_zone: if is_there { now.time_zone.clone() } else { "".into() },
            places: expect_once(places)?,
            blocks: now.blocks,
            session: now.session,
            ..image
        })
    }
}

impl ChangeRecord {
    pub(super) fn new(entry: &LogEntry) -> Self {
        let LogEntry { revision: _, time, cause, caller: _, events } = entry;
        let event = |it: &LogEvent| EventRecord::new(it, *time);
        Self { cause: numbers::of_cause(*cause), events: events.iter().map(event).collect() }
    }

    /// The entry; `rows` is asked only about what was written before schema 4.
    pub(super) fn read(
        &self,
        (revision, time, caller): (Revision, Instant, Caller),
        rows: &impl Rows,
    ) -> Result<LogEntry, StoreError> {
        let events = self.events.iter().map(|it| it.read(time, rows)).collect::<Result<_, _>>()?;
        Ok(LogEntry { revision, time, cause: numbers::cause(self.cause)?, caller, events })
    }
}

impl ChangeRecord {
    /// Whether all of its images are in it; those of before schema 4 are not.
    pub(super) fn is_whole(&self) -> bool {
        let mut images = self.events.iter().flat_map(|it| it.before.iter().chain(&it.after));
        images.all(ImageRecord::is_whole)
    }

    /// The ids of the calendars that it touched; one may come several times.
    pub(super) fn touched(&self) -> impl Iterator<Item = &str> {
        self.events.iter().flat_map(|event| &event.calendars).map(|it| it.calendar.as_str())
    }

    /// When the appointment with this key began before the change, or after the one that made it; and the revision that
    /// touched it before. None when the change is of others.
    pub(super) fn start_of(&self, key: AppointmentKey) -> Result<Option<(Instant, u64)>, StoreError> {
        let event = self.events.iter().find(|it| it.key == key.0);
        let image = event.and_then(|it| it.before.as_ref().or(it.after.as_ref()));
        let found = event.zip(image).map(|(event, image)| Ok((record::instant(image.start)?, event.previous)));
        found.transpose()
    }
}

impl EventRecord {
    fn new(event: &LogEvent, time: Instant) -> Self {
        let touched =
            |it: &Touched| TouchedRecord { calendar: it.calendar.as_str().to_owned(), previous: it.previous.0 };
        let of = Self { calendars: event.calendars.iter().map(touched).collect(), ..Self::default() };
        let of_calendar = |kind: u32, detail: &str| Self { kind, detail: detail.to_owned(), ..of.clone() };
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
                let LoggedAppointment { kind, id, key, previous, before, after } = &**it;
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

    fn read(&self, time: Instant, rows: &impl Rows) -> Result<LogEvent, StoreError> {
        let touched = |it: &TouchedRecord| {
            Ok(Touched { calendar: calendar_id(&it.calendar)?, previous: record::revision(it.previous)? })
        };
        let calendars = self.calendars.iter().map(touched).collect::<Result<_, StoreError>>()?;
        if self.after.is_none() && !self.appointment.is_empty() {
            return Err(damaged("an event of an appointment"));
        }
        let what = match &self.after {
            Some(after) => What::Appointment(Box::new(self.read_appointment(after, time, rows)?)),
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
        time: Instant,
        rows: &impl Rows,
    ) -> Result<LoggedAppointment, StoreError> {
        let (key, previous) = (record::key(self.key)?, record::revision(self.previous)?);
        let is_whole = after.is_whole() && self.before.as_ref().is_none_or(ImageRecord::is_whole);
        let now = if is_whole { None } else { rows.appointment(key)? };
        let then = match &now {
            None => time,
            // When it came to be so stands in the change that made it so, as long as that is kept.
            Some(now) => rows.time_of(previous)?.unwrap_or(now.update_time),
        };
        let before = self.before.as_ref().map(|it| it.read(key, then, now.as_ref()));
        Ok(LoggedAppointment {
            kind: numbers::appointment_event(self.kind)?,
            id: Uuid::from_slice(&self.appointment).map(AppointmentId).map_err(|_| damaged("an event"))?,
            key,
            previous,
            before: before.transpose()?,
            after: after.read(key, time, now.as_ref())?,
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    struct NoRows;

    impl Rows for NoRows {
        fn appointment(&self, _: AppointmentKey) -> Result<Option<Appointment>, StoreError> {
            Ok(None)
        }

        fn time_of(&self, _: Revision) -> Result<Option<Instant>, StoreError> {
            Ok(None)
        }
    }

    fn record() -> ChangeRecord {
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
        let event = EventRecord {
            kind: 8,
            appointment: vec![1; 16],
            key: 5,
            previous: 6,
            before: Some(ImageRecord { revision: 6, ..image.clone() }),
            after: Some(image),
            calendars: vec![TouchedRecord { calendar: "ada".to_owned(), previous: 6 }],
            detail: String::new(),
        };
        ChangeRecord { cause: 16, events: vec![event] }
    }

    fn read(record: &ChangeRecord) -> Result<LogEntry, StoreError> {
        record.read((Revision(7), Instant::from_seconds(0), Caller::default()), &NoRows)
    }

    /// An appointment whose row is this now.
    struct Row(Appointment);

    impl Rows for Row {
        fn appointment(&self, _: AppointmentKey) -> Result<Option<Appointment>, StoreError> {
            Ok(Some(self.0.clone()))
        }

        fn time_of(&self, _: Revision) -> Result<Option<Instant>, StoreError> {
            Ok(None)
        }
    }

    #[test]
    fn the_zone_of_an_older_record_is_told_where_the_appointment_has_not_moved_since() {
        let mut now = Appointment::on_calendars(1);
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
        let told = |image: ImageRecord| {
            let mut record = record();
            (record.events[0].before, record.events[0].after) = (None, Some(image));
            let read = record.read((Revision(7), Instant::from_seconds(0), Caller::default()), &Row(now.clone()));
            let What::Appointment(it) = read.unwrap().events.remove(0).what else { panic!("of an appointment") };
            it.after.time_zone.to_string()
        };
        assert_eq!(told(old(0, 0, &calendar)), "America/New_York");
        assert_eq!(told(old(3_600, 0, &calendar)), "", "it was moved, and the calendar may have been in another zone");
        assert_eq!(told(old(0, 3_600, &calendar)), "", "the clock showed something else");
        assert_eq!(told(old(0, 0, "other")), "");
    }

    #[test]
    fn an_entry_is_written_as_it_was_read() {
        let entry = read(&record()).unwrap();
        assert_eq!(read(&ChangeRecord::new(&entry)).unwrap(), entry);
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
            |event| event.after.as_mut().unwrap().places.push(PlaceRecord::of("ada", 1)),
            |event| event.after.as_mut().unwrap().duration = 0,
            |event| event.after.as_mut().unwrap().start = i64::MAX,
            |event| event.after.as_mut().unwrap().start = i64::MIN,
            |event| event.after.as_mut().unwrap().offset = i64::MAX,
            |event| event.after.as_mut().unwrap().offset = i64::MIN,
            |event| event.after.as_mut().unwrap().expire_time = Some(i64::MAX),
            |event| event.after.as_mut().unwrap().update_time = Some(i64::MIN),
            |event| event.after.as_mut().unwrap().ignored_rules = 32,
            |event| event.key = 0,
            // Of before schema 4, and the appointment is gone.
            |event| event.after.as_mut().unwrap().calendars = vec!["ada".to_owned()],
            |event| *event = EventRecord { kind: 200, ..EventRecord::default() },
        ];
        for (number, damage) in damages.into_iter().enumerate() {
            let mut record = record();
            damage(&mut record.events[0]);
            assert!(matches!(read(&record), Err(StoreError::Damaged(_))), "damage {number}");
        }
        let mut record = record();
        record.cause = 99;
        assert!(matches!(read(&record), Err(StoreError::Damaged(_))));
    }
}
