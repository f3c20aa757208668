//! The image of an appointment at a revision, as the log stores it.
//!
//! Images from before schema 4 lack some fields, which are filled in from the appointment's current
//! row.

use prost::Message;

use super::numbers;
use super::place::{PlaceRecord, expect_once};
use super::record::{self, buffer, calendar_id, damaged, ignored_bits, ignored_rules, type_id};
use crate::store::StoreError;
use bookd_core::appointment::{Appointment, Image, Place};
use bookd_core::ids::{AppointmentKey, Revision, TypeNumber};
use bookd_core::time::{Instant, Minutes};

/// An appointment at a revision, without personal data.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ImageRecord {
    /// Before schema 4: the ids of its calendars. Empty from then on.
    #[prost(string, repeated, tag = "1")]
    pub(crate) calendars: Vec<String>,
    #[prost(string, tag = "2")]
    pub(crate) type_id: String,
    /// The start, in seconds UTC.
    #[prost(sint64, tag = "3")]
    pub(crate) start: i64,
    /// The duration, in minutes.
    #[prost(uint32, tag = "4")]
    pub(crate) duration: u32,
    /// An `AppointmentState` by number.
    #[prost(uint32, tag = "5")]
    pub(crate) state: u32,
    /// The expiry time, in seconds UTC.
    #[prost(sint64, optional, tag = "6")]
    pub(crate) expire_time: Option<i64>,
    #[prost(uint32, tag = "7")]
    pub(crate) sequence: u32,
    /// The rules that were ignored, as bits (`ignored_bits`).
    #[prost(uint32, tag = "8")]
    pub(crate) ignored_rules: u32,
    /// The revision of the change that made the image.
    #[prost(uint64, tag = "9")]
    pub(crate) revision: u64,
    /// Before schema 4: the buffers before and after, in minutes, of each calendar in turn; empty
    /// when there are none.
    #[prost(uint32, repeated, tag = "10")]
    pub(crate) buffers: Vec<u32>,
    /// The wall time of the start less the start, in seconds, so that it is not derived by later
    /// zone rules. The field had 32 bits once, which have the same encoding.
    #[prost(sint64, tag = "11")]
    pub(crate) offset: i64,
    /// The places. This field and those below exist from schema 4 on.
    #[prost(message, repeated, tag = "12")]
    pub(crate) places: Vec<PlaceRecord>,
    #[prost(string, tag = "13")]
    pub(crate) time_zone: String,
    /// The key of the first seat of the session; 0 = the key of the appointment itself.
    #[prost(uint64, tag = "14")]
    pub(crate) session: u64,
    /// Whether the appointment waits for approval without taking time.
    #[prost(bool, tag = "15")]
    pub(crate) waits: bool,
    /// The update time, in seconds UTC; none = the time of the change.
    #[prost(sint64, optional, tag = "16")]
    pub(crate) update_time: Option<i64>,
}

impl ImageRecord {
    /// Encodes the image of the appointment with this key, in a change at this time.
    pub(crate) fn new(image: &Image, key: AppointmentKey, time: Instant) -> Self {
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

    /// Whether the record has all fields of an image.
    pub(crate) fn is_whole(&self) -> bool {
        self.calendars.is_empty()
    }

    /// Decodes the image of a change at this time. `now` is the current row of the appointment, for
    /// records that are not whole.
    pub(crate) fn read(
        &self,
        key: AppointmentKey,
        time: Instant,
        now: Option<&Appointment>,
    ) -> Result<Image, StoreError> {
        let (start, duration) = (
            record::instant(self.start)?,
            record::duration(self.duration)?,
        );
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
            session: if self.session == 0 {
                key
            } else {
                record::key(self.session)?
            },
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

    /// The image with the fields that records from before schema 4 lack. The zone is that of the
    /// row if the appointment still has the same start, wall time and first calendar. Otherwise it
    /// was never recorded and stays empty, for the calendar may have been in another zone.
    fn filled_in(&self, image: Image, now: &Appointment) -> Result<Image, StoreError> {
        let place = |(index, id): (usize, &String)| -> Result<Place, StoreError> {
            let calendar = calendar_id(id)?;
            let known = now.places.iter().find(|it| it.calendar == calendar);
            let kept_free = |at: usize| match self.buffers.as_slice() {
                [] => Ok(Minutes::ZERO),
                buffers => buffers
                    .get(at)
                    .copied()
                    .ok_or_else(|| damaged("a buffer"))
                    .and_then(buffer),
            };
            Ok(Place {
                since: known.map_or(Revision(0), |it| it.since),
                type_number: known.map_or(TypeNumber(0), |it| it.type_number),
                need: u16::try_from(index)
                    .map_err(|_| damaged("the calendars of an appointment"))?,
                start: image.start,
                duration: image.duration,
                before: kept_free(2 * index)?,
                after: kept_free(2 * index + 1)?,
                units: 1,
                calendar,
            })
        };
        let places: Vec<Place> = self
            .calendars
            .iter()
            .enumerate()
            .map(place)
            .collect::<Result<_, _>>()?;
        let first = |places: &[Place]| places.first().map(|it| it.calendar.clone());
        let is_there = (image.start, image.local_start) == (now.start, now.local_start);
        let is_there = is_there && first(&places) == first(&now.places);
        Ok(Image {
            time_zone: if is_there {
                now.time_zone.clone()
            } else {
                "".into()
            },
            places: expect_once(places)?,
            blocks: now.blocks,
            session: now.session,
            ..image
        })
    }
}
