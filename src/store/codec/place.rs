//! The places of an appointment as they are stored in its row and in the log.
//!
//! A field that is left out has the value of every place before schema 4, so that older bytes keep
//! their meaning.

use prost::Message;

use super::record::{self, buffer, damaged};
use crate::store::StoreError;
use bookd_core::appointment::{CALENDARS_MAX, Image, Place};
use bookd_core::calendar::claims::Claim;
use bookd_core::ids::TypeNumber;
use bookd_core::time::{Instant, MINUTE, Minutes};

/// The places of an appointment.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlacesRecord {
    #[prost(message, repeated, tag = "1")]
    places: Vec<PlaceRecord>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct PlaceRecord {
    #[prost(string, tag = "1")]
    pub(super) calendar: String,
    #[prost(uint32, tag = "2")]
    type_number: u32,
    #[prost(uint32, tag = "3")]
    before: u32,
    #[prost(uint32, tag = "4")]
    after: u32,
    #[prost(uint64, tag = "5")]
    since: u64,
    /// The index of the need that the place is for, less the index of the place. This field and
    /// those below exist from schema 4 on; a field that is left out has the value of every place
    /// before.
    #[prost(sint32, tag = "6")]
    need: i32,
    /// Minutes from the start of the appointment to the start of the place.
    #[prost(sint32, tag = "7")]
    offset: i32,
    /// Minutes; 0 = the duration of the appointment.
    #[prost(uint32, tag = "8")]
    duration: u32,
    /// The units that the place takes; 0 = 1.
    #[prost(uint32, tag = "9")]
    units: u32,
}

impl PlacesRecord {
    /// The ids of the calendars, in order.
    pub(crate) fn calendars(&self) -> impl Iterator<Item = &str> + Clone {
        self.places.iter().map(|it| it.calendar.as_str())
    }
}

impl PlaceRecord {
    /// The places of an image.
    pub(crate) fn all(image: &Image) -> Vec<Self> {
        image
            .places
            .iter()
            .zip(0..)
            .map(|(it, index)| Self::new(it, index, image.start, image.duration))
            .collect()
    }

    /// Reads what `all` wrote of an image with this start and duration.
    pub(crate) fn read_all(
        records: &[Self],
        start: Instant,
        duration: Minutes,
    ) -> Result<Vec<Place>, StoreError> {
        if records.len() > CALENDARS_MAX || !is_start(start) {
            return Err(damaged("the calendars of an appointment"));
        }
        let places = records
            .iter()
            .zip(0..)
            .map(|(it, index)| it.read(index, start, duration));
        expect_once(places.collect::<Result<_, _>>()?)
    }

    fn new(place: &Place, index: i32, start: Instant, duration: Minutes) -> Self {
        let Place {
            calendar,
            since,
            type_number,
            need,
            start: from,
            duration: length,
            before,
            after,
            units,
        } = place;
        let offset = i32::try_from(from.since(start) / MINUTE)
            .expect("a place begins within its appointment");
        Self {
            calendar: calendar.as_str().to_owned(),
            type_number: u32::from(type_number.0),
            before: before.minutes(),
            after: after.minutes(),
            since: since.0,
            need: i32::from(*need) - index,
            offset,
            duration: if *length == duration {
                0
            } else {
                length.minutes()
            },
            units: if *units == 1 { 0 } else { *units },
        }
    }

    fn read(&self, index: i32, start: Instant, duration: Minutes) -> Result<Place, StoreError> {
        let Self {
            calendar,
            type_number,
            before,
            after,
            since,
            need,
            offset,
            duration: length,
            units,
        } = self;
        let from = start.plus(i64::from(*offset) * MINUTE);
        Ok(Place {
            calendar: record::calendar_id(calendar)?,
            since: record::revision(*since)?,
            type_number: TypeNumber(
                u16::try_from(*type_number).map_err(|_| damaged("a type's number"))?,
            ),
            need: need
                .checked_add(index)
                .and_then(|it| u16::try_from(it).ok())
                .ok_or_else(|| damaged("a need"))?,
            start: if is_start(from) {
                from
            } else {
                return Err(damaged("the start of a place"));
            },
            duration: if *length == 0 {
                duration
            } else {
                record::duration(*length)?
            },
            before: buffer(*before)?,
            after: buffer(*after)?,
            units: if *units == 0 { 1 } else { *units },
        })
    }
}

#[cfg(test)]
impl PlaceRecord {
    /// A place of a calendar that was created at this revision.
    pub(crate) fn of(calendar: &str, since: u64) -> Self {
        Self {
            calendar: calendar.to_owned(),
            since,
            ..Self::default()
        }
    }
}

/// Whether a place may begin at this time: claims exist for no other starts.
fn is_start(it: Instant) -> bool {
    it.is_whole_minute() && it >= Claim::START_MIN && it < Claim::START_END
}

/// Checks that no two places are of one calendar.
pub(crate) fn expect_once(places: Vec<Place>) -> Result<Vec<Place>, StoreError> {
    let is_again = |(index, it): (usize, &Place)| {
        places[..index]
            .iter()
            .any(|other| other.calendar == it.calendar)
    };
    let is_twice = places.iter().enumerate().any(is_again);
    if is_twice {
        Err(damaged("the calendars of an appointment"))
    } else {
        Ok(places)
    }
}

impl PlacesRecord {
    pub(crate) fn new(image: &Image) -> Self {
        Self {
            places: PlaceRecord::all(image),
        }
    }

    pub(crate) fn read(&self, start: Instant, duration: Minutes) -> Result<Vec<Place>, StoreError> {
        if self.places.is_empty() {
            return Err(damaged("the calendars of an appointment"));
        }
        PlaceRecord::read_all(&self.places, start, duration)
    }
}
