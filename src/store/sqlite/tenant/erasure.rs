//! The deletion of a tenant: everything that only it had goes, in one transaction.
//!
//! ```text
//! log                own events become empty, so that the others keep their numbers; a change that is
//!                    left without any becomes a mark without a caller, so that no revision is missing
//! own                appointments, claims, calendars, types, busy time, tokens, remembered requests
//! shared             appointments stay without a person; their calendars of the tenant stay as
//!                    remnants: deleted ones that are called `deleted-1`, `deleted-2`, …
//! remnants           of other tenants, those that no appointment names any more
//! principals         names that no change and no token has any more, but for changes of tokens that
//!                    are gone: nobody knows whose those were, and no reader shows their callers
//! ```
//!
//! What was overwritten is still in free pages and in the WAL: only a copy of the file by VACUUM is
//! without the bytes.

use std::collections::HashMap;

use prost::Message;
use rusqlite::{Connection, params};

use super::remnants::{ids_that_stay, remove_unnamed};
use super::requests::forget_requests;
use super::rewritten_log::{BearerVersions, LogErasure};
use super::{TenantContent, TenantSize};
use crate::store::codec::calendar::ProfileRecord;
use crate::store::codec::change::ChangeRecord;
use crate::store::codec::erasure::NewIds;
use crate::store::codec::record::calendar_id;
use crate::store::sqlite::copy::{PUT_FIRST_KEY, count, put_mark};
use crate::store::sqlite::read::raw_appointments_by_key;
use crate::store::sqlite::rows::{UPDATE_APPOINTMENT, key, signed, write};
use crate::store::sqlite::{Sqlite, last};
use crate::store::{CommitError, StoreError};
use bookd_core::appointment::Person;
use bookd_core::change::Cause;
use bookd_core::ids::{AppointmentKey, CalendarId};
use bookd_core::prefixes::Prefixes;

/// How many rows are in memory at a time.
const PAGE: i64 = 1_000;

const UPDATE_CALENDAR: &str = "update calendars set id = ?2, profile = ?3, update_time = create_time, revision = since \
     where key = ?1";
const UPDATE_VERSION: &str = "update versions set version = ?2 where calendar = ?1";
const SELECT_SHARED: &str = "select key from temp.tenant_appointments where stays = 1 and key > ?1 \
     order by key limit ?2";
const DELETE_TOKEN: &str = "delete from tokens where id = ?1";
const COUNT_DELETIONS: &str = "select count(*) from deletions";
/// Own rows, by the prefix of their calendars.
const DELETE_CLAIMS: &str = "delete from claims where calendar in \
     (select key from calendars where substr(id, 1, length(?1)) = ?1) \
     and key in (select key from temp.tenant_appointments where stays = 0)";
const DELETE_TYPES: &str = "delete from types where calendar in \
     (select key from calendars where substr(id, 1, length(?1)) = ?1)";
const DELETE_BUSY: &str = "delete from busy where calendar in \
     (select key from calendars where substr(id, 1, length(?1)) = ?1)";
const DELETE_VERSIONS: &str = "delete from versions where calendar in \
     (select key from calendars where substr(id, 1, length(?1)) = ?1)";
const DELETE_CALENDARS: &str = "delete from calendars where substr(id, 1, length(?1)) = ?1";
const DELETE_APPOINTMENTS: &str = "delete from appointments where key in \
     (select key from temp.tenant_appointments where stays = 0)";
/// The tables of this work, and samples of ids that an ANALYZE by hand may have made.
const DROP_TABLES: &str = "drop table temp.tenant_appointments; drop table temp.gone_token_changes; \
     drop table if exists main.sqlite_stat1; drop table if exists main.sqlite_stat4";
/// The callers of changes of tokens that are gone, where nothing else has their names.
const FORGET_CALLERS: &str = "update changes set caller = null \
     where revision in (select revision from temp.gone_token_changes) and caller not in \
     (select caller from changes where caller is not null \
     and revision not in (select revision from temp.gone_token_changes) \
     union select creator from tokens where creator is not null)";
const DELETE_PRINCIPALS: &str = "delete from principals where number not in \
     (select caller from changes where caller is not null \
     union select creator from tokens where creator is not null)";

impl Sqlite {
    /// Removes the tenant with these calendars, in one transaction: see the header. Those of its
    /// calendars that shared appointments name must be deleted, and no deletion may be unsettled.
    /// `progress` is called with the number of rows and changes that were looked at.
    pub fn erase_tenant(
        &mut self,
        prefixes: &Prefixes,
        progress: &dyn Fn(u64),
    ) -> Result<TenantSize, CommitError> {
        let segment_bytes_max = self.segment_bytes_max;
        self.known.clear();
        self.transaction(|connection, _| {
            if count(connection, COUNT_DELETIONS)? > 0 {
                return Err(StoreError::Other(
                    "the deletion of a calendar is not settled".to_owned(),
                ));
            }
            let tenant = TenantContent::find(connection, prefixes, progress)?;
            let next_key = last(connection)?.next_key;
            let new_ids = ids_that_stay(connection, &tenant)?;
            let mut erasure = LogErasure::new(connection, &tenant, &new_ids, segment_bytes_max)?;
            erasure.rewrite()?;
            let bearers = erasure.bearers;
            forget_requests(connection, &tenant)?;
            keep_shared(connection, &tenant, &new_ids)?;
            delete_own(connection, &tenant, &new_ids, bearers)?;
            connection.execute(PUT_FIRST_KEY, [signed(next_key.0)])?;
            let mark = ChangeRecord::new(Cause::TenantDeletion, Vec::new());
            put_mark(connection, last(connection)?.revision.next(), &mark)?;
            connection.execute_batch(DROP_TABLES)?;
            Ok(tenant.size)
        })
    }
}

/// Gives shared appointments the new ids, and removes the persons of those that are on calendars of
/// the tenant now: only who reads both tenants could see them.
fn keep_shared(
    connection: &Connection,
    tenant: &TenantContent,
    new_ids: &NewIds,
) -> Result<(), StoreError> {
    let mut after = AppointmentKey::default();
    loop {
        let page: Vec<AppointmentKey> = {
            let mut select = connection.prepare_cached(SELECT_SHARED)?;
            let rows = select.query_map(params![signed(after.0), PAGE], |row| Ok(key(row, 0)));
            rows?.map(|key| key?).collect::<Result<_, _>>()?
        };
        let Some(last) = page.last() else {
            return Ok(());
        };
        after = *last;
        let is_theirs = |it: &CalendarId| tenant.prefixes.has(it.as_str());
        for it in raw_appointments_by_key(connection, &page)? {
            if it.calendars().any(is_theirs) {
                let mut image = it.image.clone();
                for place in &mut image.places {
                    if let Some(new) = new_ids.get(place.calendar.as_str()) {
                        place.calendar = calendar_id(new)?;
                    }
                }
                let mut update = connection.prepare_cached(&UPDATE_APPOINTMENT)?;
                write(&mut update, &it.with(Person::default(), image))?;
            }
        }
    }
}

/// Removes all rows that are the tenant's alone, and leaves nothing but times of its other
/// calendars.
fn delete_own(
    connection: &Connection,
    tenant: &TenantContent,
    new_ids: &NewIds,
    of_ids: HashMap<String, BearerVersions>,
) -> Result<(), StoreError> {
    let prefix = tenant.prefix();
    for statement in [DELETE_CLAIMS, DELETE_TYPES, DELETE_BUSY] {
        connection.execute(statement, [prefix])?;
    }
    remove_unnamed(connection, tenant)?;
    connection.execute(DELETE_APPOINTMENTS, [])?;
    let profile = ProfileRecord::remnant().encode_to_vec();
    for new in new_ids.values() {
        for (since, (key, version)) in of_ids.get(new).into_iter().flatten() {
            connection.execute(UPDATE_CALENDAR, params![key, new, profile])?;
            let version = version.map_or(*since, signed);
            connection.execute(UPDATE_VERSION, [*key, version])?;
        }
    }
    for statement in [DELETE_VERSIONS, DELETE_CALENDARS] {
        connection.execute(statement, [prefix])?;
    }
    for id in &tenant.tokens {
        connection.execute(DELETE_TOKEN, [id])?;
    }
    connection.execute(FORGET_CALLERS, [])?;
    connection.execute(DELETE_PRINCIPALS, [])?;
    Ok(())
}
