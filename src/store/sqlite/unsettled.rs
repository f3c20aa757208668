//! Unsettled deletions of calendars: the change is made, and not all rows of the cancelled
//! appointments are written yet.
//!
//! Such a row is read as cancelled, whatever it contains.

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
const MARK_MADE: &str =
    "update deletions set revision = ?2, time = ?3 where number = ?1 and revision is null";

/// The number under which the segments of a deletion lie.
pub(super) fn number_of(staged: Staged) -> i64 {
    -signed(staged.number)
}

/// A deletion of which rows are not written yet.
struct UnsettledDeletion {
    calendar: CalendarId,
    /// The revision that created the calendar.
    since: Revision,
    /// When the deletion began: appointments that end later are cancelled.
    began: Instant,
    /// Time and revision of the change.
    stamps: (Instant, Revision),
}

/// The unsettled deletions; nearly always none.
#[derive(Default)]
pub(super) struct Deletions(Vec<UnsettledDeletion>);

impl Deletions {
    /// Reads them within the open transaction.
    pub(super) fn unsettled(connection: &Connection) -> Result<Self, StoreError> {
        let mut statement = connection.prepare_cached(SELECT_UNSETTLED)?;
        let mut rows = statement.query([])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(UnsettledDeletion {
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

    /// Whether the calendar of this place has an unsettled deletion: claims of its cancelled
    /// appointments may still lie with those of the future.
    pub(super) fn covers(&self, place: &Place) -> bool {
        self.0
            .iter()
            .any(|it| it.calendar == place.calendar && it.since == place.since)
    }

    /// The appointment of a row: cancelled, if an unsettled deletion cancels it.
    pub(super) fn show(&self, row: Appointment) -> Appointment {
        match self.0.iter().find(|deletion| deletion.cancels(&row)) {
            Some(deletion) => cancelled_with_calendar(&row, deletion.stamps),
            None => row,
        }
    }
}

impl UnsettledDeletion {
    /// Whether the row is older than the deletion and the deletion cancels it.
    fn cancels(&self, row: &Appointment) -> bool {
        row.places[0].calendar == self.calendar
            && row.places[0].since == self.since
            && row.revision < self.stamps.1
            && is_staged(row, self.began)
    }
}

/// Notes, in the open transaction, that the change for which events were staged is made.
pub(super) fn mark_made(
    connection: &Connection,
    staged: Staged,
    change: &Change,
) -> Result<(), StoreError> {
    let mut update = connection.prepare_cached(MARK_MADE)?;
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
