//! Remnants: what the deletion of a tenant leaves of its calendars, for the appointments that it
//! shared with others.
//!
//! A remnant is a deleted calendar called `deleted-1`, `deleted-2`, … of which nothing but times is
//! left. It is nobody's: an appointment on remnants and on calendars of one tenant is that tenant's
//! own. It goes with the last appointment that names it.

use std::collections::BTreeMap;

use rusqlite::Connection;

use super::TenantContent;
use crate::store::StoreError;
use crate::store::codec::calendar::ProfileRecord;
use crate::store::codec::erasure::NewIds;
use crate::store::codec::record::{calendar_id, decode, in_row};
use crate::store::sqlite::read::bearers;

/// How the ids of remnants begin. They have no `/`, so that no grant but one on all calendars
/// reaches them.
pub(super) const ID_BEGINS: &str = "deleted-";

/// All calendars whose ids begin so: `.` comes after `-`.
const SELECT_ALIKE: &str =
    "select id, profile, key from calendars where id >= 'deleted-' and id < 'deleted.' order by id";
const DELETE_CLAIMS: &str = "delete from claims where calendar in \
     (select key from calendars where id = ?1) \
     and key in (select key from temp.tenant_appointments where stays = 0)";
const DELETE_VERSIONS: &str =
    "delete from versions where calendar in (select key from calendars where id = ?1)";
const DELETE_CALENDARS: &str = "delete from calendars where id = ?1";

/// The ids of all remnants, each with `false`. An id that a calendar of a user bore as well is none.
pub(super) fn find(connection: &Connection) -> Result<BTreeMap<String, bool>, StoreError> {
    let mut statement = connection.prepare(SELECT_ALIKE)?;
    let mut rows = statement.query([])?;
    let mut are_remnants: BTreeMap<String, bool> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let key = || row.get::<_, i64>(2).unwrap_or_default();
        let profile: ProfileRecord = decode(&row.get::<_, Vec<u8>>(1)?, "a calendar")
            .map_err(|error| in_row("calendars", key(), error))?;
        let is_remnant = profile.is_remnant();
        let of_id = are_remnants.entry(row.get(0)?).or_insert(true);
        *of_id &= is_remnant;
    }
    are_remnants.retain(|_, is_remnant| *is_remnant);
    let ids = are_remnants.into_keys().map(|id| (id, false));
    Ok(ids.collect())
}

/// The ids of the calendars that stay: new ones for those of the tenant, and their own for
/// remnants.
pub(super) fn ids_that_stay(
    connection: &Connection,
    tenant: &TenantContent,
) -> Result<NewIds, StoreError> {
    let mut numbers = 1_u64..;
    let kept = tenant.remnants.iter().filter(|(_, stays)| **stays);
    let mut ids: NewIds = kept.map(|(id, _)| (id.clone(), id.clone())).collect();
    for id in tenant.shared_calendars.keys() {
        let new = loop {
            let new = format!("{ID_BEGINS}{}", numbers.next().unwrap_or_default());
            if bearers(connection, &calendar_id(&new)?, 1)?.is_empty() {
                break new;
            }
        };
        ids.insert(id.clone(), new);
    }
    Ok(ids)
}

/// Removes the claims of removed appointments on remnants, and the remnants that no appointment
/// names any more.
pub(super) fn remove_unnamed(
    connection: &Connection,
    tenant: &TenantContent,
) -> Result<(), StoreError> {
    for (id, stays) in &tenant.remnants {
        connection.prepare_cached(DELETE_CLAIMS)?.execute([id])?;
        if !stays {
            connection.prepare_cached(DELETE_VERSIONS)?.execute([id])?;
            connection.prepare_cached(DELETE_CALENDARS)?.execute([id])?;
        }
    }
    Ok(())
}
