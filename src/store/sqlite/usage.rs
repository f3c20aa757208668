//! What each tenant has, counted over the whole file.

use std::sync::LazyLock;

use rusqlite::Connection;

use super::rows::{SELECTED, read};
use super::unsettled::Deletions;
use crate::store::StoreError;
use crate::store::codec::record;
use bookd_core::quota::{QuotaStep, Usage};
use bookd_core::time::Instant;

const SELECT_IDS: &str = "select id from calendars where delete_time is null";
/// HELD is 1, PENDING 2, CONFIRMED 3. No index has the ends of appointments: it is read once, at a
/// start with quotas.
static SELECT_UPCOMING: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {} from appointments a where a.state in (1, 2, 3) and a.start + a.duration * 60 > ?1",
        &*SELECTED
    )
});

/// What each tenant has, with the appointments that end after `now`.
pub(super) fn usage(connection: &Connection, now: Instant) -> Result<Usage, StoreError> {
    let mut usage = Usage::default();
    let mut statement = connection.prepare(SELECT_IDS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id = record::calendar_id(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?)?;
        usage.take(&QuotaStep::calendar(&id), now);
    }
    let deletions = Deletions::unsettled(connection)?;
    let mut statement = connection.prepare(&SELECT_UPCOMING)?;
    let mut rows = statement.query([now.seconds()])?;
    while let Some(row) = rows.next()? {
        for step in QuotaStep::appointment(&deletions.show(read(row)?)) {
            usage.take(&step, now);
        }
    }
    Ok(usage)
}
