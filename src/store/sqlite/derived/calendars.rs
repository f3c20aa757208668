//! The rows of calendars and types, compared with the history that the log has of each.
//!
//! Each row must be as the last change that touched it left it, and no history is without a row.

use rusqlite::Row;

use super::{Comparison, instant_or_null};
use crate::store::StoreError;
use crate::store::codec::calendar::TypeRecord;
use crate::store::codec::record::{self, decode, in_row};
use crate::store::sqlite::history::{Histories, History, TypeChange};
use crate::store::sqlite::read::of_calendar;
use crate::store::sqlite::rows;
use bookd_core::ids::{CalendarId, Revision, TypeNumber};
use bookd_core::time::Instant;

const SELECT_CALENDARS: &str = "select c.key, c.id, c.since, c.revision, c.delete_time, v.version from calendars c \
     left join versions v on v.calendar = c.key order by c.key";
pub(super) const SELECT_TYPES: &str =
    "select number, id, body, delete_time from types where calendar = ?1 order by number";

/// The row of a calendar.
struct CalendarOfRow {
    key: i64,
    id: CalendarId,
    since: Revision,
    revision: Revision,
    delete_time: Option<Instant>,
    version: Option<Revision>,
}

impl CalendarOfRow {
    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Self::of(row)
            .map_err(|error| rows::by_key("calendars, or its row of table versions", row, error))
    }

    fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            key: row.get(0)?,
            id: record::calendar_id(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
            since: rows::revision(row, 2)?,
            revision: rows::revision(row, 3)?,
            delete_time: instant_or_null(row, 4)?,
            version: row
                .get::<_, Option<i64>>(5)?
                .map(record::revision)
                .transpose()?,
        })
    }
}

impl Comparison<'_> {
    /// Checks all calendars and their types against the histories of the log.
    pub(super) fn calendars(&mut self, mut histories: Histories) -> Result<(), StoreError> {
        let connection = self.connection;
        let is_whole = histories.oldest.is_none_or(|it| it == Revision(1));
        let mut statement = connection.prepare(SELECT_CALENDARS)?;
        let mut calendars = statement.query([])?;
        while let Some(row) = calendars.next()? {
            self.examined += 1;
            let row = CalendarOfRow::read(row)?;
            let history = histories.remove(connection, &row.id, row.since)?;
            let id = &row.id;
            match &history {
                Some(history) => self.calendar(&row, history),
                None if is_whole => self.differs(format!("calendar {id} is in no change")),
                None if row.version.is_none_or(|it| Some(it) >= histories.oldest) => {
                    self.differs(format!(
                        "the version of calendar {id} is not the last change that touched it"
                    ));
                }
                None => {}
            }
            self.types(&row, history.unwrap_or_default())?;
        }
        for (id, missing) in histories
            .of_id
            .iter()
            .filter(|(_, histories)| !histories.is_empty())
        {
            let version = missing[0].version;
            (self.found)(format!(
                "calendar {id}, which revision {version} touched, is not there"
            ));
        }
        Ok(())
    }

    /// Checks the version, the last change and the deletion of a calendar.
    fn calendar(&mut self, row: &CalendarOfRow, history: &History) {
        let id = &row.id;
        if row.version != Some(history.version) {
            let last = history.version;
            self.differs(format!(
                "the version of calendar {id} is not {last}, the last change that touched it"
            ));
        }
        if let Some(changed) = history.changed.filter(|it| *it != row.revision) {
            self.differs(format!(
                "calendar {id} was not last changed by revision {}, but {changed}",
                row.revision
            ));
        }
        let is_deleted = row.delete_time.is_some();
        let is_consistent = match history.deleted {
            Some(time) => row.delete_time == Some(time),
            None => !is_deleted || history.since.is_none(),
        };
        if !is_consistent {
            self.differs(format!(
                "calendar {id} is deleted in its row or in the log, and not alike in both"
            ));
        }
    }

    /// Checks the types of a calendar: each has a body, and a time of deletion if the log deleted
    /// it. A type that was deleted before schema 4 has neither.
    fn types(&mut self, calendar: &CalendarOfRow, mut history: History) -> Result<(), StoreError> {
        let of = &calendar.id;
        let mut select = self.connection.prepare_cached(SELECT_TYPES)?;
        let mut types = select.query([calendar.key])?;
        let read = |row: &Row<'_>| {
            let (number, id): (u16, String) = (row.get(0)?, row.get(1)?);
            let (body, deleted) = (row.get::<_, Option<Vec<u8>>>(2)?, instant_or_null(row, 3)?);
            if let Some(body) = &body {
                decode::<TypeRecord>(body, "an appointment type")?.read(&id, TypeNumber(number))?;
            }
            Ok::<_, StoreError>((id, body, deleted))
        };
        while let Some(row) = types.next()? {
            self.examined += 1;
            let (id, body, deleted) = read(row)
                .map_err(|error| in_row("types", of_calendar(row, calendar.key), error))?;
            let is_of_before = body.is_none() && deleted.is_none();
            let is_consistent = match history.types.remove(&record::type_id(&id)?) {
                Some(last) if last.deleted.is_some() && last.revision < self.sessions_from => {
                    is_of_before
                }
                Some(last) => {
                    let is_defined = body.is_some() || (last.is_imported && last.deleted.is_some());
                    is_defined && deleted == last.deleted
                }
                None if history.since.is_some() => body.is_some() && deleted.is_none(),
                None => !is_of_before || self.sessions_from > Revision(1),
            };
            if !is_consistent {
                (self.found)(format!(
                    "type {id} of calendar {of} is not as the log left it, deleted or not"
                ));
            }
        }
        for (id, TypeChange { revision, .. }) in history.types {
            (self.found)(format!(
                "type {id} of calendar {of}, which revision {revision} changed, is not there"
            ));
        }
        Ok(())
    }
}
