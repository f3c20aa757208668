//! What each tenant has, counted over the whole file.
//!
//! What is damaged is passed over and logged, for a start must not fail for it: then a tenant may
//! have more than is counted.

use std::sync::LazyLock;

use rusqlite::{Connection, Row, params};

use super::rows::{SELECTED, read};
use super::unsettled::Deletions;
use crate::store::StoreError;
use crate::store::codec::record;
use bookd_core::quota::{QuotaStep, Usage};
use bookd_core::time::Instant;

const SELECT_IDS: &str = "select id from calendars where delete_time is null";

/// What is active and may end after an instant, from one key up to another, ascending or descending.
/// CANCELLED is 4, DECLINED 5, EXPIRED 6. No index has the ends of appointments: this reads all of
/// them, once, at a start with quotas.
fn select_upcoming(order: &str) -> String {
    format!(
        "select {} from appointments a where a.key > ?2 and a.state not in (4, 5, 6) \
         and a.start + a.duration * 60 > ?1 order by a.key {order}",
        &*SELECTED
    )
}

static SELECT_UPWARDS: LazyLock<String> = LazyLock::new(|| select_upcoming("asc"));
static SELECT_DOWNWARDS: LazyLock<String> = LazyLock::new(|| select_upcoming("desc"));

/// What each tenant has, with the appointments that end after `now`.
pub(super) fn usage(connection: &Connection, now: Instant) -> Result<Usage, StoreError> {
    let mut count = Count {
        usage: Usage::default(),
        deletions: Deletions::default(),
        now,
    };
    match Deletions::unsettled(connection) {
        Ok(unsettled) => count.deletions = unsettled,
        Err(damage) => passed_over(damage)?,
    }
    count.calendars(connection).or_else(passed_over)?;
    let mut last = 0;
    // Behind a damaged page are further appointments, which are read from the other end.
    if let Err(damage) = count.appointments(connection, &SELECT_UPWARDS, &mut last) {
        passed_over(damage)?;
        let downwards = count.appointments(connection, &SELECT_DOWNWARDS, &mut last);
        downwards.or_else(passed_over)?;
    }
    Ok(count.usage)
}

/// Logs damage, which is passed over; any other error stays one.
fn passed_over(error: StoreError) -> Result<(), StoreError> {
    if error.is_damage() {
        tracing::error!(%error, "not all that tenants have is counted: they may come to have more than their quotas");
        Ok(())
    } else {
        Err(error)
    }
}

struct Count {
    usage: Usage,
    deletions: Deletions,
    now: Instant,
}

impl Count {
    fn calendars(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let mut statement = connection.prepare(SELECT_IDS)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let id = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            let id = record::calendar_id(id);
            match id {
                Ok(id) => self.usage.take(&QuotaStep::calendar(&id), self.now),
                Err(damage) => passed_over(damage)?,
            }
        }
        Ok(())
    }

    /// Counts the appointments of a statement with keys above `last`, which becomes the last one that
    /// was read.
    fn appointments(
        &mut self,
        connection: &Connection,
        statement: &str,
        last: &mut i64,
    ) -> Result<(), StoreError> {
        let mut statement = connection.prepare(statement)?;
        let mut rows = statement.query(params![self.now.seconds(), *last])?;
        while let Some(row) = rows.next()? {
            *last = row.get(0)?;
            self.appointment(row).or_else(passed_over)?;
        }
        Ok(())
    }

    fn appointment(&mut self, row: &Row<'_>) -> Result<(), StoreError> {
        let appointment = self.deletions.show(read(row)?);
        for step in QuotaStep::appointment(&appointment) {
            self.usage.take(&step, self.now);
        }
        Ok(())
    }
}
