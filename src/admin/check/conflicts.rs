//! R1: no two active appointments of one calendar overlap, but for the seats of one session: here as the rows say in the
//! end, in `claimed` at every revision of the log.

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

/// Whether an event claims time; all else leaves it or gives it back. What is approved claims only the time that it did
/// not take while it waited: of before schema 4 nothing says so, and nothing is asked of it.
pub(super) fn is_claiming(it: &LoggedAppointment) -> bool {
    use AppointmentEvent as E;
    match it.kind {
        E::Booked | E::Held | E::Moved | E::Imported => true,
        E::Approved => it.before.as_ref().is_some_and(|before| !before.blocks),
        _ => false,
    }
}

/// What the seats of a session have in common besides type, start and length on one calendar: their session's first seat,
/// and the calendars that they take. As a fingerprint.
pub(super) fn set_of(image: &Image) -> u64 {
    let mut places: Vec<_> = image
        .places
        .iter()
        .map(|it| (&it.calendar, it.start, it.duration))
        .collect();
    places.sort_unstable();
    places.dedup();
    fingerprint(&(image.session, places))
}

/// A calendar, for its types, without its claims; none when it is gone, or when the zone that it is in is not in the
/// release in use.
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
    from: Instant,
    to: Instant,
    /// Its type, its start, and how many minutes it takes.
    alike: (TypeNumber, Instant, u64),
    set: u64,
    /// The revision at which it was made, if that is still in the log.
    claimed: Option<Revision>,
    appointment: AppointmentId,
}

impl ClaimRecord {
    fn is_seat_of(&self, other: &Self) -> bool {
        (self.alike, self.from, self.to, self.set) == (other.alike, other.from, other.to, other.set)
    }
}

/// The claims of the rows, as they are in the end: sorted by calendar and time.
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

    /// The next row.
    pub(super) fn take(
        &mut self,
        it: &Appointment,
        claimed: Option<Revision>,
        last_time: Instant,
    ) -> Result<(), StoreError> {
        use AppointmentState as S;
        let is_active = match it.state_at(last_time) {
            S::Held | S::Confirmed | S::NoShow | S::Completed => true,
            S::Pending => it.blocks,
            S::Cancelled | S::Declined | S::Expired => false,
        };
        if !is_active {
            return Ok(());
        }
        let set = set_of(&it.image);
        for place in &it.places {
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
            record.id(it.id).revision(claimed.unwrap_or_default());
            self.sorter.push(self.record.bytes())?;
        }
        Ok(())
    }

    /// What of all of them cannot be; and which sessions of before schema 4 have a calendar in common, which could.
    pub(super) fn check(
        self,
        store: &mut dyn Store,
        checked: &mut Checked,
        shared: &mut Checked,
    ) -> Result<(), StoreError> {
        let mut sorted = self.sorter.finish()?;
        let mut calendar: Option<OfCalendar> = None;
        while let Some(record) = sorted.next()? {
            let mut record = RecordReader(record);
            let (id, since) = (record.text()?, record.revision()?);
            let of = match calendar.take() {
                Some(of) if (of.id.as_str(), of.since) == (id, since) => of,
                before => {
                    before.map_or(Ok(()), |of| of.end(store, checked))?;
                    OfCalendar::new(id, since, self.sessions_from)?
                }
            };
            calendar = Some(of.take(read(&mut record)?, store, checked, shared)?);
        }
        calendar.map_or(Ok(()), |of| of.end(store, checked))
    }
}

fn read(record: &mut RecordReader<'_>) -> Result<ClaimRecord, StoreError> {
    let (from, to) = (record.instant()?, record.instant()?);
    let type_number = TypeNumber(u16::try_from(record.number()?).unwrap_or(u16::MAX));
    let alike = (type_number, record.instant()?, record.number()?);
    let (set, appointment, claimed) = (record.number()?, record.id()?, record.revision()?);
    let claimed = Some(claimed).filter(|it| *it != Revision::default());
    Ok(ClaimRecord {
        from,
        to,
        alike,
        set,
        claimed,
        appointment,
    })
}

/// The seats of one session that have come so far, which follow each other.
struct Seats {
    first: ClaimRecord,
    second: Option<AppointmentId>,
    count: usize,
    /// When the last of them was claimed.
    newest: Option<Revision>,
}

/// One calendar whose claims come, the earliest first.
struct OfCalendar {
    id: CalendarId,
    since: Revision,
    sessions_from: Revision,
    /// Of those that came, that which ends last.
    longest: Option<ClaimRecord>,
    seats: Option<Seats>,
    /// Itself; none while no session was met, and then none when nobody knows any more how many seats there were.
    types: Option<Option<Calendar>>,
}

impl OfCalendar {
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

    /// The next claim.
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
        // A change that is no longer kept may be of any revision: of before schema 4 only where there is such a time.
        let is_early = |it: &ClaimRecord| it.claimed.unwrap_or(Revision(1)) < self.sessions_from;
        if let Some(other) = self
            .longest
            .as_ref()
            .filter(|it| claim.from < it.to && !claim.is_seat_of(it))
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

    /// There are no further claims.
    fn end(mut self, store: &mut dyn Store, checked: &mut Checked) -> Result<(), StoreError> {
        self.judge_seats(store, checked)
    }

    /// No session has more seats than its type.
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
            // Of a calendar that was deleted nobody knows any more how many seats there were.
            None => load(store, &self.id)?.filter(|it| it.since == self.since),
        };
        if let Some(of_type) = types
            .as_ref()
            .and_then(|it| it.types.numbered(first.alike.0))
        {
            // A session above a capacity that was lowered later is as it should be.
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

/// An id as it was written into a record.
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
