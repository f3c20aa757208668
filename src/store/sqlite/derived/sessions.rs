//! The sessions of rows from before schema 4, compared with those that the upgrade gave them.
//!
//! The first seat of a session names it, unless the row of that seat has changed since.

use std::collections::HashMap;

use rusqlite::{OptionalExtension, Row};

use super::Comparison;
use crate::store::StoreError;
use crate::store::codec::record::in_row;
use crate::store::sqlite::rows::{self, signed};
use crate::store::sqlite::upgrade::places;

const SELECT_LAST_TIME: &str =
    "select time from changes where revision < ?1 order by revision desc limit 1";
/// The appointments that the upgrade to schema 4 gave a session, unless they changed later.
const SELECT_SESSIONS: &str = "select start, type_id, duration, places, key, coalesce(session, key) from appointments \
     where revision < ?1 and state in (1, 2, 3, 7, 8) and blocks and (expire_time is null or expire_time > ?2) \
     order by start, key";

impl Comparison<'_> {
    /// Checks the sessions of rows that have not changed since the upgrade: the first seat names
    /// the session, unless that seat has changed.
    pub(super) fn sessions(&mut self) -> Result<(), StoreError> {
        let connection = self.connection;
        let (from, mut at) = (signed(self.sessions_from.0), i64::MIN);
        let last: Option<i64> = connection
            .query_row(SELECT_LAST_TIME, [from], |row| row.get(0))
            .optional()?;
        let mut sessions = HashMap::new();
        let mut statement = connection.prepare(SELECT_SESSIONS)?;
        // The time of the upgrade is unknown once the log from before it is removed: appointments
        // that expire are not checked then.
        let mut rows = statement.query([from, last.unwrap_or(i64::MAX)])?;
        let read = |row: &Row<'_>| {
            let (start, type_id, minutes): (i64, String, u32) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let mut set: Vec<_> = places(row, 3, start, minutes)?
                .into_iter()
                .map(|it| (it.calendar, it.since))
                .collect();
            set.sort_unstable();
            Ok((
                start,
                type_id,
                minutes,
                set,
                rows::key(row, 4)?,
                rows::key(row, 5)?,
            ))
        };
        while let Some(row) = rows.next()? {
            self.examined += 1;
            let of_row = |error| {
                in_row(
                    "appointments",
                    row.get::<_, i64>(4).unwrap_or_default(),
                    error,
                )
            };
            let (start, type_id, minutes, set, key, session) = read(row).map_err(of_row)?;
            if start != at {
                sessions.clear();
                at = start;
            }
            let named = match sessions.get(&(type_id.clone(), minutes, set.clone())) {
                Some(named) => *named,
                None if session < key && self.revision_of(session)? >= Some(self.sessions_from) => {
                    session
                }
                None => key,
            };
            sessions.insert((type_id, minutes, set), named);
            if session != named {
                let (key, named) = (key.0, named.0);
                self.differs(format!(
                    "the appointment with key {key} is not in the session of the one with key {named}"
                ));
            }
        }
        Ok(())
    }
}
