//! The deleted calendars of a tenant, as they were when they were deleted.

use std::sync::Arc;

use rusqlite::{Connection, Row, params};

use crate::store::codec::calendar::ProfileRecord;
use crate::store::codec::record::{calendar_id, decode, in_row};
use crate::store::sqlite::read::{known, load_busy, load_types, stamps};
use crate::store::sqlite::{Sqlite, rows};
use crate::store::{StoreError, ZoneLookup};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::claims::Claims;
use bookd_core::prefixes::Prefixes;
use bookd_core::time::Instant;

const SELECT_DELETED: &str = "select c.key, c.since, v.version, v.reach, c.create_time, c.update_time, c.revision, \
     c.profile, c.id, c.delete_time from calendars c left join versions v on v.calendar = c.key \
     where substr(c.id, 1, length(?1)) = ?1 and c.delete_time is not null order by c.id, c.since";

/// A calendar that was deleted.
pub struct DeletedCalendar {
    /// Its settings, types and busy time; its claims are left out.
    pub calendar: Calendar,
    /// When it was deleted.
    pub delete_time: Instant,
}

impl Sqlite {
    /// The deleted calendars of a tenant, by id and then in their order.
    pub fn deleted_calendars(
        &self,
        prefixes: &Prefixes,
    ) -> Result<Vec<DeletedCalendar>, StoreError> {
        let mut statement = self.connection.prepare(SELECT_DELETED)?;
        let mut found = Vec::new();
        for prefix in prefixes.iter() {
            let mut rows = statement.query(params![prefix])?;
            while let Some(row) = rows.next()? {
                let deleted = read(&self.connection, &self.zones, row);
                let key = || row.get::<_, i64>(0).unwrap_or_default();
                found.push(deleted.map_err(|error| in_row("calendars", key(), error))?);
            }
        }
        Ok(found)
    }
}

fn read(
    connection: &Connection,
    zones: &ZoneLookup,
    row: &Row<'_>,
) -> Result<DeletedCalendar, StoreError> {
    let known = known(row)?;
    let profile: ProfileRecord = decode(&row.get::<_, Vec<u8>>(7)?, "a calendar")?;
    let calendar = Calendar {
        id: calendar_id(&row.get::<_, String>(8)?)?,
        since: known.since,
        profile: Arc::new(profile.read(zones)?),
        stamps: stamps(row, 4)?,
        types: Arc::new(load_types(connection, known.key)?),
        busy: Arc::new(load_busy(connection, known.key)?),
        claims: Claims::default(),
        requests: Arc::default(),
        kept_from: Instant::MAX,
        version: known.version,
    };
    Ok(DeletedCalendar {
        calendar,
        delete_time: rows::instant(row, 9)?,
    })
}
