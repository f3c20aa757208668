//! Deletions of calendars that were made while rows of what they cancelled say otherwise: such a row is read as cancelled.

use rusqlite::{Connection, params};

use super::rows::{self, instant, revision_of_change, signed};
use crate::store::StoreError;
use crate::store::codec::record;
use bookd_core::appointment::{Appointment, Place};
use bookd_core::change::Change;
use bookd_core::deletion::{Staged, cancelled_with_calendar, is_staged};
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::time::Instant;

const SELECT_UNSETTLED: &str = "select c.id, c.since, d.began, d.revision, d.time \
     from deletions d join calendars c on c.key = d.calendar where d.revision is not null";
const MAKE_SO: &str =
    "update deletions set revision = ?2, time = ?3 where number = ?1 and revision is null";

/// The number under which the segments of a deletion lie.
pub(super) fn number_of(staged: Staged) -> i64 {
    -signed(staged.number)
}

/// A deletion that was made, while rows of what it cancelled say otherwise.
struct Unsettled {
    calendar: CalendarId,
    since: Revision,
    began: Instant,
    stamps: (Instant, Revision),
}

/// Those there are: none, nearly always.
pub(super) struct Deletions(Vec<Unsettled>);

impl Deletions {
    /// As of the transaction that is open.
    pub(super) fn unsettled(connection: &Connection) -> Result<Self, StoreError> {
        let mut statement = connection.prepare_cached(SELECT_UNSETTLED)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(Unsettled {
                calendar: record::calendar_id(
                    row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?,
                )?,
                since: rows::revision(row, 1)?,
                began: instant(row, 2)?,
                stamps: (instant(row, 4)?, revision_of_change(row, 3)?),
            });
        }
        Ok(Self(found))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether claims on this calendar may not be apart yet though they are of what is over.
    pub(super) fn is_of(&self, place: &Place) -> bool {
        self.0
            .iter()
            .any(|it| it.calendar == place.calendar && it.since == place.since)
    }

    /// The appointment as it is shown, of which this is the row.
    pub(super) fn show(&self, it: Appointment) -> Appointment {
        match self.0.iter().find(|deletion| deletion.cancels(&it)) {
            Some(deletion) => cancelled_with_calendar(&it, deletion.stamps),
            None => it,
        }
    }
}

impl Unsettled {
    /// Whether the row is of before the deletion, and cancelled by it.
    fn cancels(&self, row: &Appointment) -> bool {
        row.places[0].calendar == self.calendar
            && row.places[0].since == self.since
            && row.revision < self.stamps.1
            && is_staged(row, self.began)
    }
}

/// The change that staged events wait for is made, by the transaction that is open.
pub(super) fn make_so(
    connection: &Connection,
    staged: Staged,
    change: &Change,
) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached(MAKE_SO)?;
    match update.execute(params![
        number_of(staged),
        signed(change.revision.0),
        change.time.seconds()
    ])? {
        1 => Ok(()),
        _ => Err(StoreError::Other(
            "what the deletion cancels is not staged".to_owned(),
        )),
    }
}
