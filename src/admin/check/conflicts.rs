//! R1: no two active appointments of one calendar overlap, except the seats of one session.
//!
//! This file checks the rows, which are the state at the end of the log; `claimed` checks every
//! revision.

use std::path::Path;

use super::Checked;
use super::records::{RecordReader, RecordWriter, fingerprint};
use super::sorter::{MEMORY_BYTES_MAX, Sorter};
use crate::store::{Store, StoreError};
use bookd_core::appointment::{Appointment, AppointmentState, Image};
use bookd_core::calendar::Calendar;
use bookd_core::change::AppointmentEvent;
use bookd_core::ids::{AppointmentId, CalendarId, Revision, TypeNumber};
use bookd_core::log::LoggedAppointment;
use bookd_core::time::Instant;

/// Whether an event claims time; all other events keep time or give it back. An approval claims
/// time only if the request did not take it while it waited. The log of before schema 4 does not
/// say so, and such an approval is not checked.
pub(super) fn is_claiming(event: &LoggedAppointment) -> bool {
    use AppointmentEvent as E;
    match event.kind {
        E::Booked | E::Held | E::Moved | E::Imported => true,
        E::Approved => event.before.as_ref().is_some_and(|before| !before.blocks),
        _ => false,
    }
}

/// The fingerprint of what the seats of a session have in common besides type, start and length on
/// one calendar: the first seat of the session, and the calendars that they take.
pub(super) fn set_of(image: &Image) -> u64 {
    let mut places: Vec<_> = image
        .places
        .iter()
        .map(|place| (&place.calendar, place.start, place.duration))
        .collect();
    places.sort_unstable();
    places.dedup();
    fingerprint(&(image.session, places))
}

/// A calendar with its types and without claims; none if it was deleted, or if its zone is not in
/// the release in use.
pub(super) fn load(store: &mut dyn Store, id: &CalendarId) -> Result<Option<Calendar>, StoreError> {
    match store.load_calendars(std::slice::from_ref(id), Instant::MAX) {
        Ok(mut found) => Ok(found.pop().flatten()),
        Err(StoreError::UnknownZone(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One claim of a calendar's time.
#[derive(Clone, PartialEq, Eq)]
struct ClaimRecord {
    /// The time that it takes, buffers included: [from, to).
    from: Instant,
    to: Instant,
    /// Its type, its start, and its length in minutes.
    alike: (TypeNumber, Instant, u64),
    /// See `set_of`.
    set: u64,
    /// The revision at which it was made, if that change is still in the log.
    claimed: Option<Revision>,
    appointment: AppointmentId,
}

impl ClaimRecord {
    /// Whether the two are seats of one session.
    fn is_seat_of(&self, other: &Self) -> bool {
        (self.alike, self.from, self.to, self.set) == (other.alike, other.from, other.to, other.set)
    }
}

/// The claims of the rows, sorted by calendar and time.
pub(super) struct ClaimRecords {
    /// See `Boot::sessions_from`.
    sessions_from: Revision,
    sorter: Sorter,
    record: RecordWriter,
}

impl ClaimRecords {
    pub(super) fn new(folder: &Path, sessions_from: Revision) -> Self {
        Self {
            sessions_from,
            sorter: Sorter::new(folder, MEMORY_BYTES_MAX),
            record: RecordWriter::default(),
        }
    }

    /// Takes the claims of the next row, unless it takes no time at `last_time`.
    pub(super) fn take(
        &mut self,
        row: &Appointment,
        claimed: Option<Revision>,
        last_time: Instant,
    ) -> Result<(), StoreError> {
        use AppointmentState as S;
        let is_active = match row.state_at(last_time) {
            S::Held | S::Confirmed | S::NoShow | S::Completed => true,
            S::Pending => row.blocks,
            S::Cancelled | S::Declined | S::Expired => false,
        };
        if !is_active {
            return Ok(());
        }
        let set = set_of(&row.image);
        for place in &row.places {
            let (padded, type_number) = (place.padded(), u64::from(place.type_number.0));
            let record = self.record.begin();
            record
                .text(place.calendar.as_str())
                .revision(place.since)
                .instant(padded.start)
                .instant(padded.end);
            record
                .number(type_number)
                .instant(place.start)
                .number(place.duration.minutes().into())
                .number(set);
            record.id(row.id).revision(claimed.unwrap_or_default());
            self.sorter.push(self.record.bytes())?;
        }
        Ok(())
    }

    /// Reports overlapping claims in `checked`. Two sessions of before schema 4 that share a
    /// calendar at one time are possible, and reported in `shared`.
    pub(super) fn check(
        self,
        store: &mut dyn Store,
        checked: &mut Checked,
        shared: &mut Checked,
    ) -> Result<(), StoreError> {
        let mut sorted = self.sorter.finish()?;
        let mut current: Option<CalendarWalk> = None;
        while let Some(record) = sorted.next()? {
            let mut record = RecordReader(record);
            let (id, since) = (record.text()?, record.revision()?);
            let walk = match current.take() {
                Some(walk) if (walk.id.as_str(), walk.since) == (id, since) => walk,
                before => {
                    before.map_or(Ok(()), |walk| walk.end(store, checked))?;
                    CalendarWalk::new(id, since, self.sessions_from)?
                }
            };
            current = Some(walk.take(read(&mut record)?, store, checked, shared)?);
        }
        current.map_or(Ok(()), |walk| walk.end(store, checked))
    }
}

/// Reads a record after its calendar.
fn read(record: &mut RecordReader<'_>) -> Result<ClaimRecord, StoreError> {
    let (from, to) = (record.instant()?, record.instant()?);
    let type_number = TypeNumber(u16::try_from(record.number()?).unwrap_or(u16::MAX));
    let alike = (type_number, record.instant()?, record.number()?);
    let (set, appointment, claimed) = (record.number()?, record.id()?, record.revision()?);
    let claimed = Some(claimed).filter(|revision| *revision != Revision::default());
    Ok(ClaimRecord {
        from,
        to,
        alike,
        set,
        claimed,
        appointment,
    })
}

/// The seats of one session so far; in the sorted order they follow each other.
struct Seats {
    first: ClaimRecord,
    second: Option<AppointmentId>,
    count: usize,
    /// The latest revision at which one of them was claimed.
    newest: Option<Revision>,
}

/// The walk of the claims of one calendar, the earliest first.
struct CalendarWalk {
    id: CalendarId,
    /// The revision at which the calendar was made: a deleted one of the same id is another
    /// calendar.
    since: Revision,
    sessions_from: Revision,
    /// The claim so far that ends last.
    longest: Option<ClaimRecord>,
    seats: Option<Seats>,
    /// The calendar with its types, read when the first session is met; its inner value is none if
    /// the calendar was deleted, so that the number of seats is unknown.
    types: Option<Option<Calendar>>,
}

impl CalendarWalk {
    fn new(id: &str, since: Revision, sessions_from: Revision) -> Result<Self, StoreError> {
        let id = calendar_id(id)?;
        Ok(Self {
            id,
            since,
            sessions_from,
            longest: None,
            seats: None,
            types: None,
        })
    }

    /// Takes the next claim.
    fn take(
        mut self,
        claim: ClaimRecord,
        store: &mut dyn Store,
        checked: &mut Checked,
        shared: &mut Checked,
    ) -> Result<Self, StoreError> {
        checked.examined += 1;
        shared.examined += 1;
        let calendar = &self.id;
        // A claim whose change is no longer kept counts as one of before schema 4, if the store has
        // such changes.
        let is_early =
            |claim: &ClaimRecord| claim.claimed.unwrap_or(Revision(1)) < self.sessions_from;
        if let Some(other) = self
            .longest
            .as_ref()
            .filter(|other| claim.from < other.to && !claim.is_seat_of(other))
        {
            let (one, two) = (other.appointment, claim.appointment);
            let is_alike =
                (claim.alike, claim.from, claim.to) == (other.alike, other.from, other.to);
            if is_alike && is_early(&claim) && is_early(other) {
                shared.find(format!(
                    "appointments {one} and {two} have one time of calendar {calendar} as two sessions; \
                     move one of them"
                ));
            } else {
                checked.find(format!(
                    "appointments {one} and {two} take the same time of calendar {calendar}"
                ));
            }
        }
        match &mut self.seats {
            Some(seats) if seats.first.is_seat_of(&claim) => {
                seats.count += 1;
                seats.second.get_or_insert(claim.appointment);
                seats.newest = seats.newest.max(claim.claimed);
            }
            _ => {
                self.judge_seats(store, checked)?;
                let newest = claim.claimed;
                self.seats = Some(Seats {
                    first: claim.clone(),
                    second: None,
                    count: 1,
                    newest,
                });
            }
        }
        self.longest = self
            .longest
            .filter(|other| other.to > claim.to)
            .or(Some(claim));
        Ok(self)
    }

    /// Ends the walk.
    fn end(mut self, store: &mut dyn Store, checked: &mut Checked) -> Result<(), StoreError> {
        self.judge_seats(store, checked)
    }

    /// Reports a session with more seats than its type has.
    fn judge_seats(
        &mut self,
        store: &mut dyn Store,
        checked: &mut Checked,
    ) -> Result<(), StoreError> {
        let Some(Seats {
            first,
            second: Some(two),
            count,
            newest,
        }) = self.seats.take()
        else {
            return Ok(());
        };
        let types = match self.types.take() {
            Some(types) => types,
            // The types of a deleted calendar are lost.
            None => load(store, &self.id)?.filter(|calendar| calendar.since == self.since),
        };
        if let Some(of_type) = types
            .as_ref()
            .and_then(|calendar| calendar.types.numbered(first.alike.0))
        {
            // A session may have more seats than a capacity that was lowered after it was booked.
            let is_by_this_capacity = newest.is_some_and(|newest| newest > of_type.stamps.revision);
            if is_by_this_capacity && count > of_type.capacity as usize {
                let (one, calendar, capacity) = (first.appointment, &self.id, of_type.capacity);
                let seats =
                    format!("{count} appointments, {one} and {two} among them, have one time");
                checked.find(format!(
                    "{seats} of calendar {calendar}, where {capacity} may"
                ));
            }
        }
        self.types = Some(types);
        Ok(())
    }
}

/// Parses the id of a calendar from a record.
pub(super) fn calendar_id(id: &str) -> Result<CalendarId, StoreError> {
    CalendarId::parse(id).map_err(|_| StoreError::Damaged(format!("{id} is no id of a calendar")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seats_of_a_session_have_one_set_whatever_the_order_of_their_calendars() {
        let one = crate::sample::appointment_on(100).image;
        let reversed = Image {
            places: one.places.iter().rev().cloned().collect(),
            ..one.clone()
        };
        assert_eq!(set_of(&one), set_of(&reversed));
        let fewer = Image {
            places: one.places[1..].to_vec(),
            ..one.clone()
        };
        assert_ne!(set_of(&one), set_of(&fewer));
    }
}
