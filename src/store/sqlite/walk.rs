//! Walks over all appointments in the file, in the order of keys, page by page.
//!
//! A walk that continues after the last key of a page misses no row that stays in the file.

use rusqlite::{Connection, params};

use super::rows::{SELECTED, read, signed};
use super::unsettled::Deletions;
use crate::store::StoreError;
use bookd_core::appointment::Appointment;
use bookd_core::ids::AppointmentKey;

pub(super) fn select_appointments() -> String {
    format!(
        "select {} from appointments a where a.key >= ?1 order by a.key limit ?2",
        &*SELECTED
    )
}

/// The next appointments after a key, at most so many.
pub(super) fn appointments(
    connection: &Connection,
    after: AppointmentKey,
    limit: usize,
) -> Result<Vec<Appointment>, StoreError> {
    let mut statement = connection.prepare_cached(&select_appointments())?;
    // No valid key is below 1, but damaged rows must not be passed over.
    let first = if after == AppointmentKey::default() {
        i64::MIN
    } else {
        signed(after.next().0)
    };
    let mut rows = statement.query(params![first, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let (deletions, mut found) = (Deletions::unsettled(connection)?, Vec::new());
    while let Some(row) = rows.next()? {
        found.push(deletions.show(read(row)?));
    }
    Ok(found)
}
