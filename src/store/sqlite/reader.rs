//! The store as readers have it: each query runs in one transaction, and so sees one moment of the
//! file.

use std::sync::Arc;

use rusqlite::{Connection, params};

use super::checkpoint::WalKept;
use super::file::Locked;
use super::list::scan;
use super::log::{chain, oldest, page_from, replaced, revision, undone};
use super::moment::SqliteMoment;
use super::read::{
    BEARERS_MAX, SELECT_CALENDARS, appointments, appointments_by_key, bearers, known_calendar,
    stamps,
};
use super::segments::WantedEvents;
use super::walk;
use crate::store::codec::calendar::ProfileRecord;
use crate::store::codec::record::{self, decode};
use crate::store::history::HistoryBuilder;
use crate::store::{
    CalendarFilter, CalendarRow, ChangePage, HistoryPage, HistoryQuery, HistorySubject, ListPage,
    ListQuery, LogReader, Look, Oldest, Queries, Reader, StoreError, WatchFilter, ZoneLookup,
};
use bookd_core::appointment::Appointment;
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Revision};
use bookd_core::log::{LogPosition, Replaced};
use bookd_core::prefixes::Prefixes;

/// A store connection that only reads.
pub(super) struct SqliteReader {
    connection: Connection,
    zones: ZoneLookup,
    wal_kept: WalKept,
    /// The lock on the file, dropped after the connection: see `Locked`.
    _locked: Option<Arc<Locked>>,
}

impl SqliteReader {
    pub(super) fn new(
        connection: Connection,
        zones: ZoneLookup,
        wal_kept: WalKept,
        locked: Option<Arc<Locked>>,
    ) -> Self {
        Self {
            connection,
            zones,
            wal_kept,
            _locked: locked,
        }
    }
}

impl Drop for SqliteReader {
    fn drop(&mut self) {
        self.wal_kept.before_close(&self.connection);
    }
}

impl Reader for SqliteReader {
    fn at_once(&mut self, look: Look<'_>) -> Result<(), StoreError> {
        let transaction = self.connection.transaction()?;
        look(&mut SqliteMoment {
            connection: &transaction,
            zones: &self.zones,
        })
    }
}

impl Queries for SqliteReader {
    fn appointments(
        &mut self,
        ids: &[AppointmentId],
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let transaction = self.connection.transaction()?;
        Ok((appointments(&transaction, ids)?, revision(&transaction)?))
    }

    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let transaction = self.connection.transaction()?;
        Ok((
            appointments_by_key(&transaction, keys)?,
            revision(&transaction)?,
        ))
    }

    fn appointments_after(
        &mut self,
        after: AppointmentKey,
        limit: usize,
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let transaction = self.connection.transaction()?;
        Ok((
            walk::appointments(&transaction, after, limit)?,
            revision(&transaction)?,
        ))
    }

    fn list_appointments(&mut self, query: &ListQuery) -> Result<ListPage, StoreError> {
        let transaction = self.connection.transaction()?;
        let current = revision(&transaction)?;
        let at = query.at.unwrap_or(current);
        let undone = undone(&transaction, at, current)?;
        let mut page = scan(&transaction, query, &undone.keys().copied().collect())?;
        for (key, image) in undone {
            let Some(image) = image else { continue };
            let now = appointments_by_key(&transaction, &[key])?;
            let then = now.into_iter().map(|now| query.then(now, &image));
            page.appointments
                .extend(then.filter(|it| query.matches(it)));
        }
        Ok(page.finish(query, at))
    }

    fn has_calendar(&mut self, id: &CalendarId) -> Result<bool, StoreError> {
        Ok(known_calendar(&self.connection, id)?.is_some())
    }

    fn ever_had(&mut self, id: &CalendarId) -> Result<bool, StoreError> {
        Ok(!bearers(&self.connection, id, 1)?.is_empty())
    }

    fn list_calendars(
        &mut self,
        prefixes: &Prefixes,
        after: Option<&CalendarId>,
        limit: usize,
    ) -> Result<(Vec<CalendarRow>, Revision), StoreError> {
        let transaction = self.connection.transaction()?;
        let mut found = Vec::new();
        for prefix in prefixes.iter() {
            let mut statement = transaction.prepare_cached(SELECT_CALENDARS)?;
            let left = i64::try_from(limit - found.len()).unwrap_or(i64::MAX);
            let after = after.map_or("", |it| it.as_str());
            let mut rows = statement.query(params![prefix, after, left])?;
            while let Some(row) = rows.next()? {
                let id: String = row.get(0)?;
                if !id.starts_with(prefix) {
                    break;
                }
                let profile = row.get::<_, Vec<u8>>(4)?;
                found.push(CalendarRow {
                    id: record::calendar_id(&id)?,
                    profile: decode::<ProfileRecord>(&profile, "a calendar")?.read(&self.zones)?,
                    stamps: stamps(row, 1)?,
                });
            }
        }
        Ok((found, revision(&transaction)?))
    }
}

impl LogReader for SqliteReader {
    fn history(&mut self, query: &HistoryQuery) -> Result<Option<HistoryPage>, StoreError> {
        let transaction = self.connection.transaction()?;
        let HistoryQuery { subject, from, .. } = query;
        let mut page = HistoryBuilder::new(query);
        let mut next = None;
        match subject {
            HistorySubject::Appointment(id) => {
                let Some(it) = appointments(&transaction, &[*id])?.pop() else {
                    return Ok(None);
                };
                let newest = from.map_or(it.revision, |from| from.revision);
                next = chain(
                    &transaction,
                    (newest, Revision(0)),
                    *from,
                    &WantedEvents::Appointment(it.key),
                    &mut page,
                )?;
            }
            HistorySubject::Calendar(id) => {
                let bearers = bearers(&transaction, id, BEARERS_MAX)?;
                if bearers.is_empty() {
                    return Ok(None);
                }
                let filter = CalendarFilter::Among(vec![id.clone()]);
                for known in &bearers {
                    // A later page begins with the calendar that its revision belongs to.
                    let newest =
                        from.map_or(known.version, |from| from.revision.min(known.version));
                    let wanted = WantedEvents::Calendars(&filter);
                    next = chain(
                        &transaction,
                        (newest, known.since),
                        *from,
                        &wanted,
                        &mut page,
                    )?;
                    if next.is_some() {
                        break;
                    }
                }
            }
        }
        Ok(Some(page.finish(next)))
    }

    fn replaced(&mut self, revision: Revision) -> Result<Vec<Replaced>, StoreError> {
        replaced(&self.connection, revision)
    }

    fn oldest_change(&mut self) -> Result<Option<Oldest>, StoreError> {
        oldest(&self.connection)
    }

    fn changes_from(
        &mut self,
        from: LogPosition,
        filter: &WatchFilter,
        part_events_max: usize,
    ) -> Result<ChangePage, StoreError> {
        page_from(
            &self.connection.transaction()?,
            from,
            filter,
            part_events_max,
        )
    }
}
