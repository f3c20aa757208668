//! The upgrade of an older file: content that its rows lack is computed from the rest.
//!
//! Older rows lack sessions, original starts, claims and versions of calendars whose ids were used
//! again, keys of addresses, and the segments of large changes. The upgrade happens once, in one
//! transaction, before anything is read; the note that it happened is in the same transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use super::log::first_start;
use super::rows::signed;
use super::segments::cut_changes;
use crate::fold::{self, email_key};
use crate::store::StoreError;
use crate::store::codec::change::{ChangeRecord, read_head};
use crate::store::codec::place::PlacesRecord;
use crate::store::codec::record::{self, decode};
use bookd_core::appointment::Place;
use bookd_core::time::Instant;

const SELECT_META: &str = "select value from meta where name = ?1";
const PUT_META: &str = "insert into meta (name, value) values (?1, ?2) on conflict (name) do update set value = excluded.value";
/// The version of the rows, in `meta`.
const ROWS: &str = "rows";
const ROWS_WHOLE: i64 = 5;
/// The version from which on rows have sessions, original starts, and claims on the right calendar.
const ROWS_WITH_SESSIONS: i64 = 4;
/// The release of Unicode by which the keys of addresses were folded, in `meta`.
const UNICODE: &str = "unicode";

/// The first revision at which a session was the same set of places.
pub(super) const SESSIONS_FROM: &str = "sessions_from";
const SELECT_LAST: &str = "select coalesce(max(revision), 0) from changes";

const SELECT_ADDRESSES: &str = "select key, invitee_email, email_key from appointments where invitee_email is not null and key > ?1 order by key limit ?2";
const UPDATE_EMAIL_KEY: &str = "update appointments set email_key = ?2 where key = ?1";
/// The appointments that take time: HELD, PENDING, CONFIRMED, NO_SHOW and COMPLETED, except
/// requests that do not block and holds and requests that have expired.
const SELECT_ACTIVE: &str = "select start, type_id, duration, places, key from appointments \
     where state in (1, 2, 3, 7, 8) and blocks \
     and (expire_time is null or expire_time > coalesce((select time from changes order by revision desc limit 1), 0)) order by start, key";
const UPDATE_SESSION: &str = "update appointments set session = ?2 where key = ?1";
const SELECT_OCCURRENCES: &str = "select key, start, sequence, revision from appointments where series is not null and key > ?1 order by key limit ?2";
/// The calendars whose id another calendar had, too.
const SELECT_BEARERS: &str = "select id, since, key from calendars \
     where id in (select id from calendars group by id having count(*) > 1)";
const SELECT_CLAIMS: &str = "select distinct a.key, a.id, a.start, a.state in (4, 5, 6), a.duration, a.places \
     from claims c join appointments a on a.key = c.key where c.calendar = ?1";
/// The calendars that bear or bore the id of one that was deleted.
const SELECT_OF_DELETED: &str = "select id, since, key from calendars \
     where id in (select id from calendars where delete_time is not null)";
const SELECT_CHANGES: &str = "select revision, record from changes order by revision";
const UPDATE_VERSION: &str =
    "update versions set version = ?2 where calendar = ?1 and version < ?2";
const DELETE_CLAIMS: &str = "delete from claims where calendar = ?1";
const INSERT_CLAIM: &str =
    "insert into claims (calendar, is_over, start, id, key) values (?1, ?2, ?3, ?4, ?5)";
const UPDATE_ORIGINAL_START: &str = "update appointments set original_start = ?2 where key = ?1";

/// The calendars of an appointment, each with the revision that created it.
type Set = BTreeSet<(String, u64)>;

/// How many rows are in memory at a time.
const PAGE: i64 = 10_000;

/// Upgrades the rows, where they are older than this binary.
pub(super) fn upgrade_rows(
    connection: &mut Connection,
    segment_bytes_max: usize,
) -> Result<(), StoreError> {
    let meta = |name: &str| -> Result<Option<i64>, StoreError> {
        Ok(connection
            .query_row(SELECT_META, [name], |row| row.get(0))
            .optional()?)
    };
    let (rows, unicode) = (meta(ROWS)?, meta(UNICODE)?);
    if rows == Some(ROWS_WHOLE) && unicode == Some(fold::UNICODE_VERSION) {
        return Ok(());
    }
    let transaction = connection.transaction()?;
    let last: i64 = transaction.query_row(SELECT_LAST, [], |row| row.get(0))?;
    let is_new = last == 0;
    if !is_new {
        tracing::info!(
            revision = last,
            "bringing along the rows of an older version, which may take minutes"
        );
    }
    if rows.is_none_or(|rows| rows < ROWS_WITH_SESSIONS) {
        mend_claims(&transaction)?;
        mend_versions(&transaction)?;
        find_sessions(&transaction)?;
        find_original_starts(&transaction)?;
        transaction.execute(PUT_META, params![SESSIONS_FROM, last + 1])?;
    }
    if unicode != Some(fold::UNICODE_VERSION) {
        fold_addresses(&transaction)?;
    }
    if rows != Some(ROWS_WHOLE) {
        cut_changes(&transaction, segment_bytes_max)?;
    }
    transaction.execute(PUT_META, params![ROWS, ROWS_WHOLE])?;
    transaction.execute(PUT_META, params![UNICODE, fold::UNICODE_VERSION])?;
    transaction.commit()?;
    if !is_new {
        tracing::info!(
            revision = last,
            "brought along the rows of an older version"
        );
    }
    Ok(())
}

/// Folds the key of every address again.
fn fold_addresses(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let mut select = transaction.prepare(SELECT_ADDRESSES)?;
    let mut update = transaction.prepare(UPDATE_EMAIL_KEY)?;
    let mut last = 0;
    loop {
        let row = |row: &Row<'_>| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, String>(1)?,
                row.get::<_, Option<String>>(2)?,
            ))
        };
        let page: Vec<_> = select
            .query_map([last, PAGE], row)?
            .collect::<rusqlite::Result<_>>()?;
        let Some((key, ..)) = page.last() else {
            return Ok(());
        };
        last = *key;
        for (key, address, known) in page {
            let folded = email_key(&address);
            if known.as_deref() != Some(folded.as_str()) {
                update.execute(params![key, folded.as_str()])?;
            }
        }
    }
}

/// Reads a column with the places of an appointment.
pub(super) fn places(
    row: &Row<'_>,
    column: usize,
    start: i64,
    minutes: u32,
) -> Result<Vec<Place>, StoreError> {
    let places: PlacesRecord = decode(
        &row.get::<_, Vec<u8>>(column)?,
        "the calendars of an appointment",
    )?;
    places.read(record::instant(start)?, record::duration(minutes)?)
}

/// Moves claims to the calendar of their appointment. Before schema 4 an appointment that was moved
/// or cancelled after another calendar took the id of its calendar was written as a claim on that
/// other calendar, and its claim on its own calendar stayed unchanged.
fn mend_claims(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let mut select = transaction.prepare(SELECT_BEARERS)?;
    let row = |row: &Row<'_>| {
        Ok((
            (row.get::<_, String>(0)?, row.get::<_, i64>(1)?),
            row.get::<_, i64>(2)?,
        ))
    };
    let bearers: HashMap<(String, i64), i64> = select
        .query_map([], row)?
        .collect::<rusqlite::Result<_>>()?;
    let (mut select, mut delete) = (
        transaction.prepare(SELECT_CLAIMS)?,
        transaction.prepare(DELETE_CLAIMS)?,
    );
    let mut claims = BTreeSet::new();
    for bearer in bearers.values() {
        let mut rows = select.query([bearer])?;
        while let Some(row) = rows.next()? {
            let (key, id, start): (i64, Vec<u8>, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let (is_over, minutes): (bool, u32) = (row.get(3)?, row.get(4)?);
            for Place {
                calendar, since, ..
            } in places(row, 5, start, minutes)?
            {
                let calendar = bearers.get(&(calendar.as_str().to_owned(), signed(since.0)));
                claims
                    .extend(calendar.map(|calendar| (*calendar, is_over, start, id.clone(), key)));
            }
        }
    }
    for bearer in bearers.values() {
        delete.execute([bearer])?;
    }
    let mut insert = transaction.prepare(INSERT_CLAIM)?;
    for (calendar, is_over, start, id, key) in claims {
        insert.execute(params![calendar, is_over, start, id, key])?;
    }
    Ok(())
}

/// Sets the versions of calendars that bear or bore an id of a deleted calendar to the last change
/// that touched them. Before schema 4 a deletion left the version unchanged, and so was missing in
/// the history of the id.
fn mend_versions(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let mut bearers: HashMap<String, BTreeMap<i64, (i64, i64)>> = HashMap::new();
    let mut select = transaction.prepare(SELECT_OF_DELETED)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let (id, since, key): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        bearers.entry(id).or_default().insert(since, (key, 0));
    }
    if bearers.is_empty() {
        return Ok(());
    }
    let mut select = transaction.prepare(SELECT_CHANGES)?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let revision: i64 = row.get(0)?;
        let record: ChangeRecord = decode(&row.get::<_, Vec<u8>>(1)?, "a change")?;
        for event in &record.events {
            for touched in read_head(event)?.calendars {
                let of_id = bearers.get_mut(&touched.calendar);
                let newest = of_id.and_then(|of_id| of_id.range_mut(..=revision).next_back());
                newest
                    .into_iter()
                    .for_each(|(_, (_, last))| *last = revision);
            }
        }
    }
    let mut update = transaction.prepare(UPDATE_VERSION)?;
    for (key, last) in bearers.values().flat_map(BTreeMap::values) {
        update.execute([key, last])?;
    }
    Ok(())
}

/// Gives appointments their sessions: those of one start, type and length that take the same set of
/// calendars are one session, named by the first of them. Before schema 4 appointments with only
/// some calendars in common could be one session: they become separate sessions.
fn find_sessions(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let mut select = transaction.prepare(SELECT_ACTIVE)?;
    let mut update = transaction.prepare(UPDATE_SESSION)?;
    let mut rows = select.query([])?;
    let mut at = i64::MIN;
    let mut sessions: HashMap<(String, u32, Set), i64> = HashMap::new();
    while let Some(row) = rows.next()? {
        let (start, type_id, minutes): (i64, String, u32) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let places = places(row, 3, start, minutes)?;
        let set = places
            .into_iter()
            .map(|it| (it.calendar.as_str().to_owned(), it.since.0))
            .collect();
        let key: i64 = row.get(4)?;
        if start != at {
            sessions.clear();
            at = start;
        }
        let session = *sessions.entry((type_id, minutes, set)).or_insert(key);
        if session != key {
            update.execute([key, session])?;
        }
    }
    Ok(())
}

/// Gives the occurrences of series their original starts: the present start of an occurrence that
/// was never moved, else the start by the log.
fn find_original_starts(transaction: &Transaction<'_>) -> Result<(), StoreError> {
    let mut select = transaction.prepare(SELECT_OCCURRENCES)?;
    let mut update = transaction.prepare(UPDATE_ORIGINAL_START)?;
    let mut last = 0;
    loop {
        let row = |row: &Row<'_>| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, u32>(2)?,
                row.get::<_, i64>(3)?,
            ))
        };
        let page: Vec<_> = select
            .query_map([last, PAGE], row)?
            .collect::<rusqlite::Result<_>>()?;
        let Some((key, ..)) = page.last() else {
            return Ok(());
        };
        last = *key;
        for (key, start, sequence, revision) in page {
            let first = match sequence {
                0 => None,
                _ => first_start(transaction, record::key(key)?, record::revision(revision)?)?,
            };
            update.execute([key, first.map_or(start, Instant::seconds)])?;
        }
    }
}
