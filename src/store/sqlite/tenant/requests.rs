//! The remembered requests when a tenant is deleted: those of it alone go, and those of several
//! tenants lose what is its own.
//!
//! A request of another tenant that was forgotten would be carried out again when it is repeated. So
//! a request goes only if nothing of another tenant is in it.

use prost::Message;
use rusqlite::{Connection, OptionalExtension, params};

use super::{TenantContent, stays};
use crate::store::StoreError;
use crate::store::codec::record::{self, decode};
use crate::store::codec::row::SubjectRecord;
use crate::store::sqlite::log;
use crate::store::sqlite::rows::signed;

/// How many rows are in memory at a time.
const PAGE: i64 = 1_000;
/// In place of the id of a removed appointment, so that the others keep their index: a repeated
/// series finds its occurrences by it.
const NO_APPOINTMENT: [u8; 16] = [0; 16];

const SELECT_REQUESTS: &str =
    "select hash, revision, subject from requests where hash > ?1 order by hash limit ?2";
const SELECT_KEY: &str = "select key from appointments where id = ?1";
const UPDATE_REQUEST: &str = "update requests set subject = ?2 where hash = ?1";
const DELETE_REQUEST: &str = "delete from requests where hash = ?1";

/// A remembered request, as its row has it.
struct RequestRow {
    hash: Vec<u8>,
    revision: i64,
    subject: Vec<u8>,
}

/// What becomes of a remembered request.
enum Fate {
    Stays,
    Changes(SubjectRecord),
    Goes,
}

/// Removes the remembered requests that name something of the tenant alone, and takes what is its
/// own out of the others.
pub(super) fn forget_requests(
    connection: &Connection,
    tenant: &TenantContent,
) -> Result<(), StoreError> {
    let oldest = log::oldest(connection)?.map_or(0, |it| signed(it.revision.0));
    let mut after: Vec<u8> = Vec::new();
    loop {
        let page: Vec<RequestRow> = {
            let mut select = connection.prepare_cached(SELECT_REQUESTS)?;
            let rows = select.query_map(params![after, PAGE], |row| {
                Ok(RequestRow {
                    hash: row.get(0)?,
                    revision: row.get(1)?,
                    subject: row.get(2)?,
                })
            });
            rows?.collect::<rusqlite::Result<_>>()?
        };
        let Some(last) = page.last() else {
            return Ok(());
        };
        after.clone_from(&last.hash);
        for row in &page {
            let subject = decode(&row.subject, "a request")?;
            match fate(connection, tenant, subject, row.revision >= oldest)? {
                Fate::Stays => {}
                Fate::Changes(subject) => {
                    let subject = subject.encode_to_vec();
                    connection
                        .prepare_cached(UPDATE_REQUEST)?
                        .execute(params![row.hash, subject])?;
                }
                Fate::Goes => {
                    connection
                        .prepare_cached(DELETE_REQUEST)?
                        .execute([&row.hash])?;
                }
            }
        }
    }
}

/// What becomes of a request. `is_in_log` says that the log has its change: of an earlier one nobody
/// knows whose the appointments were then, so it is kept, and its repeat finds nothing.
fn fate(
    connection: &Connection,
    tenant: &TenantContent,
    mut subject: SubjectRecord,
    is_in_log: bool,
) -> Result<Fate, StoreError> {
    let is_theirs = |id: &String| tenant.prefixes.has(id);
    let is_their_token = |id: &String| tenant.tokens.contains(id);
    if subject.calendar.as_ref().is_some_and(is_theirs)
        || subject.token.as_ref().is_some_and(is_their_token)
    {
        return Ok(Fate::Goes);
    }
    if !is_in_log {
        return Ok(Fate::Stays);
    }
    let (mut has_own, mut has_other) = (false, subject.calendar.is_some());
    for id in &mut subject.appointments {
        let key: Option<i64> = connection
            .prepare_cached(SELECT_KEY)?
            .query_row([&*id], |row| row.get(0))
            .optional()?;
        // An occurrence of a series that was not booked has an id, and no row.
        let Some(key) = key else { continue };
        if stays(connection, record::key(key)?.0)? == Some(false) {
            has_own = true;
            *id = NO_APPOINTMENT.to_vec();
        } else {
            has_other = true;
        }
    }
    Ok(match (has_own, has_other) {
        (false, _) => Fate::Stays,
        (true, true) => Fate::Changes(subject),
        (true, false) => Fate::Goes,
    })
}
