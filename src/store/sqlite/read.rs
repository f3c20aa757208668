//! Reads: calendars with their claims, appointments, lists at one revision.
//!
//! Every statement goes by an index; a list scans a bounded number of rows and says where to go on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, Rows, Transaction, params};

use super::checkpoint::SyncFailed;
use super::log::{chain, oldest, revision, told_after, undone};
use super::rows::{self, COLUMNS, read, signed};
use super::{Known, Sqlite, walk};
use crate::domain::appointment::Appointment;
use crate::domain::appointment_type::Stamps;
use crate::domain::calendar::{Busy, Calendar, Profile, Types, keep_from};
use crate::domain::claims::{Claim, Claims};
use crate::domain::ids::{AppointmentId, AppointmentKey, CalendarId, Revision, SeriesId, TypeNumber};
use crate::domain::series::OCCURRENCES_MAX;
use crate::domain::state::claim_on;
use crate::domain::time::{DAY, Instant};
use crate::store::change_record::ChangeRecord;
use crate::store::record::{self, PeriodsRecord, ProfileRecord, SubjectRecord, TypeRecord, damaged, decode};
use crate::store::{
    CalendarFilter, CalendarRow, ListPage, ListQuery, Oldest, Reader, RequestRecord, StoreError, ToldPage, ZoneLookup,
};

const SELECT_CALENDAR: &str = "select c.key, c.since, v.version, c.create_time, c.update_time, c.revision, c.profile \
     from calendars c left join versions v on v.calendar = c.key where c.id = ?1 and c.delete_time is null";
const SELECT_CALENDARS: &str = "select id, create_time, update_time, revision, profile from calendars \
     where id >= ?1 and id > ?2 and delete_time is null order by id limit ?3";
const SELECT_TYPES: &str = "select number, id, body from types where calendar = ?1";
const SELECT_BUSY: &str = "select source, periods from busy where calendar = ?1";
const SELECT_KEYS_OF_EMAIL: &str = "select key from appointments where invitee_email = ?1 order by start, key limit ?2";
const SELECT_REQUEST: &str = "select fingerprint, revision, time, subject from requests where hash = ?1";

/// Nothing starts longer before its end, nor is padded further: seven days each.
const REACH: i64 = 7 * DAY;
/// How many rows one page looks at; then it ends, however few it found, and says where to go on.
const SCANNED_ROWS_MAX: usize = 50_000;

/// The appointment whose `id` or `key` it is.
fn select_by(column: &str) -> String {
    format!("select {COLUMNS} from appointments a where a.{column} = ?1")
}

/// What may claim time of a calendar from an instant on.
fn select_claims() -> String {
    format!(
        "select {COLUMNS} from claims c join appointments a on a.key = c.key \
         where c.calendar = ?1 and c.is_over = 0 and c.start >= ?2"
    )
}

pub(super) fn appointments(connection: &Connection, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError> {
    let mut statement = connection.prepare_cached(&select_by("id"))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        found.extend(statement.query_row([id.0.as_bytes()], |row| Ok(read(row))).optional()?.transpose()?);
    }
    Ok(found)
}

pub(super) fn appointments_by_key(
    connection: &Connection,
    keys: &[AppointmentKey],
) -> Result<Vec<Appointment>, StoreError> {
    let mut statement = connection.prepare_cached(&select_by("key"))?;
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        found.extend(statement.query_row([signed(key.0)], |row| Ok(read(row))).optional()?.transpose()?);
    }
    Ok(found)
}

pub(super) fn keys_of_email(
    connection: &Connection,
    email: &str,
    limit: usize,
) -> Result<Vec<AppointmentKey>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_KEYS_OF_EMAIL)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let keys = statement.query_map(params![email, limit], |row| Ok(rows::key(row, 0)))?;
    keys.map(|key| key?).collect()
}

/// The appointments of a series, in order.
fn select_series() -> String {
    format!("select {COLUMNS} from appointments a where {BY_SERIES} = ?1 order by a.start, a.id limit ?2")
}

pub(super) fn appointments_of_series(
    connection: &Connection,
    series: SeriesId,
) -> Result<Vec<Appointment>, StoreError> {
    let mut statement = connection.prepare_cached(&select_series())?;
    let limit = i64::try_from(OCCURRENCES_MAX).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![series.0.as_bytes(), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

pub(super) fn requests(connection: &Connection, hashes: &[[u8; 16]]) -> Result<Vec<RequestRecord>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_REQUEST)?;
    let mut found = Vec::new();
    for hash in hashes {
        let row = |row: &Row<'_>| {
            Ok((row.get::<_, [u8; 16]>(0)?, rows::revision(row, 1), row.get(2)?, row.get::<_, Vec<u8>>(3)?))
        };
        let Some((fingerprint, revision, time, subject)) = statement.query_row([hash], row).optional()? else {
            continue;
        };
        let subject: SubjectRecord = decode(&subject, "a request")?;
        let id = |bytes: &Vec<u8>| uuid::Uuid::from_slice(bytes).map(AppointmentId).map_err(|_| damaged("a request"));
        found.push(RequestRecord {
            hash: *hash,
            fingerprint,
            revision: revision?,
            time: Instant::from_seconds(time),
            appointments: subject.appointments.iter().map(id).collect::<Result<_, _>>()?,
            calendar: subject.calendar.as_deref().map(record::calendar_id).transpose()?,
            type_id: subject.type_id.as_deref().map(record::type_id).transpose()?,
        });
    }
    Ok(found)
}

fn stamps(row: &Row<'_>, first: usize) -> Result<Stamps, StoreError> {
    Ok(Stamps {
        create_time: Instant::from_seconds(row.get(first)?),
        update_time: Instant::from_seconds(row.get(first + 1)?),
        revision: rows::revision(row, first + 2)?,
    })
}

impl Sqlite {
    pub(super) fn load_calendar(&mut self, id: &CalendarId, now: Instant) -> Result<Option<Calendar>, StoreError> {
        let mut statement = self.connection.prepare_cached(SELECT_CALENDAR)?;
        let row = |row: &Row<'_>| {
            let (since, version) = (rows::revision(row, 1), rows::revision(row, 2));
            Ok((row.get::<_, i64>(0)?, since, version, stamps(row, 3), row.get::<_, Vec<u8>>(6)?))
        };
        let found = statement.query_row([id.as_str()], row).optional()?;
        let Some((key, since, version, stamps, profile)) = found else { return Ok(None) };
        let (since, version) = (since?, version?);
        let profile = decode::<ProfileRecord>(&profile, "a calendar")?.read(&self.zones)?;
        let types = load_types(&self.connection, key)?;
        let limits = types.iter().map(|it| &it.limits).chain([&profile.limits]);
        let kept_from = keep_from(&profile.zone, limits, now);
        let mut calendar = Calendar {
            id: id.clone(),
            since,
            profile: Arc::new(profile),
            stamps: stamps?,
            types: Arc::new(types),
            busy: Arc::new(load_busy(&self.connection, key)?),
            claims: Claims::default(),
            requests: Arc::default(),
            kept_from,
            version,
        };
        let (claims, requests) = load_claims(&self.connection, key, &calendar)?;
        calendar.claims = Claims::from_unordered(claims);
        calendar.requests = Arc::new(requests);
        drop(statement);
        self.known.insert(id.clone(), Known { key, version });
        Ok(Some(calendar))
    }
}

fn load_types(connection: &Connection, calendar: i64) -> Result<Types, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_TYPES)?;
    let mut rows = statement.query([calendar])?;
    let (mut types, mut deleted) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let number = TypeNumber(row.get(0)?);
        let id: String = row.get(1)?;
        match row.get::<_, Option<Vec<u8>>>(2)? {
            Some(body) => types.push(decode::<TypeRecord>(&body, "an appointment type")?.read(&id, number)?),
            None => {
                deleted.push((record::type_id(&id)?, number));
            }
        }
    }
    Ok(Types::new(types, deleted))
}

fn load_busy(connection: &Connection, calendar: i64) -> Result<Busy, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_BUSY)?;
    let mut rows = statement.query([calendar])?;
    let mut sources = Vec::new();
    while let Some(row) = rows.next()? {
        let periods: PeriodsRecord = decode(&row.get::<_, Vec<u8>>(1)?, "a busy period")?;
        sources.push((row.get::<_, String>(0)?, periods.read()?));
    }
    Ok(Busy::new(sources))
}

/// What takes time and what waits to, from `kept_from` on.
fn load_claims(
    connection: &Connection,
    key: i64,
    calendar: &Calendar,
) -> Result<(Vec<Claim>, BTreeMap<AppointmentKey, Claim>), StoreError> {
    let mut statement = connection.prepare_cached(&select_claims())?;
    // A claim ends at most a duration and a buffer after its start.
    let mut rows = statement.query(params![key, calendar.kept_from.seconds() - 2 * REACH])?;
    let (mut claims, mut requests) = (Vec::new(), BTreeMap::new());
    while let Some(row) = rows.next()? {
        let appointment = read(row)?;
        let Some(claim) = claim_on(calendar, &appointment) else { continue };
        if !appointment.blocks {
            requests.insert(appointment.key, claim);
        } else if claim.padded().end > calendar.kept_from {
            claims.push(claim);
        }
    }
    Ok((claims, requests))
}

/// A connection that only reads.
pub(super) struct SqliteReader {
    connection: Connection,
    zones: ZoneLookup,
    sync_failed: SyncFailed,
}

impl SqliteReader {
    pub(super) fn new(connection: Connection, zones: ZoneLookup, sync_failed: SyncFailed) -> Self {
        Self { connection, zones, sync_failed }
    }
}

impl Drop for SqliteReader {
    fn drop(&mut self) {
        self.sync_failed.before_close(&self.connection);
    }
}

impl Reader for SqliteReader {
    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let transaction = self.connection.transaction()?;
        Ok((appointments(&transaction, ids)?, revision(&transaction)?))
    }

    fn appointments_by_key(&mut self, keys: &[AppointmentKey]) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let transaction = self.connection.transaction()?;
        Ok((appointments_by_key(&transaction, keys)?, revision(&transaction)?))
    }

    fn appointments_after(
        &mut self,
        after: AppointmentKey,
        limit: usize,
    ) -> Result<(Vec<Appointment>, Revision), StoreError> {
        let transaction = self.connection.transaction()?;
        Ok((walk::appointments(&transaction, after, limit)?, revision(&transaction)?))
    }

    fn list_appointments(&mut self, query: &ListQuery) -> Result<ListPage, StoreError> {
        let transaction = self.connection.transaction()?;
        let current = revision(&transaction)?;
        let at = query.at.unwrap_or(current);
        let undone = undone(&transaction, at, current)?;
        let mut page = scan(&transaction, query, &undone.keys().copied().collect())?;
        for (key, image) in undone {
            let Some(image) = image else { continue };
            let found = appointments_by_key(&transaction, &[key])?;
            for appointment in found {
                page.appointments.extend(Some(image.put_back(appointment)?).filter(|it| query.matches(it)));
            }
        }
        Ok(page.finish(query, at))
    }

    fn list_calendars(
        &mut self,
        prefix: &str,
        after: Option<&CalendarId>,
        limit: usize,
    ) -> Result<(Vec<CalendarRow>, Revision), StoreError> {
        let transaction = self.connection.transaction()?;
        let mut statement = transaction.prepare_cached(SELECT_CALENDARS)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![prefix, after.map_or("", |it| it.as_str()), limit])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            if !id.starts_with(prefix) {
                break;
            }
            let id = record::calendar_id(&id)?;
            let profile: Profile =
                decode::<ProfileRecord>(&row.get::<_, Vec<u8>>(4)?, "a calendar")?.read(&self.zones)?;
            found.push(CalendarRow { id, profile, stamps: stamps(row, 1)? });
        }
        drop(rows);
        drop(statement);
        Ok((found, revision(&transaction)?))
    }

    fn changes_of_appointment(
        &mut self,
        id: AppointmentId,
        from: Option<Revision>,
        limit: usize,
    ) -> Result<Option<Vec<ChangeRecord>>, StoreError> {
        let transaction = self.connection.transaction()?;
        let Some(appointment) = appointments(&transaction, &[id])?.pop() else { return Ok(None) };
        let of = |record: &ChangeRecord| {
            let event = record.events.iter().find(|it| it.appointment_id() == Some(id))?;
            Some(event.previous)
        };
        chain(&transaction, appointment.stamps.revision.0, from, limit, of).map(Some)
    }

    fn changes_of_calendar(
        &mut self,
        id: &CalendarId,
        from: Option<Revision>,
        limit: usize,
    ) -> Result<Option<Vec<ChangeRecord>>, StoreError> {
        let transaction = self.connection.transaction()?;
        let version = |row: &Row<'_>| Ok(rows::revision(row, 2));
        let version = transaction.prepare_cached(SELECT_CALENDAR)?.query_row([id.as_str()], version).optional()?;
        let Some(version) = version else { return Ok(None) };
        let of = |record: &ChangeRecord| {
            let touched = record.events.iter().flat_map(|it| &it.calendars).filter(|it| it.calendar == id.as_str());
            touched.map(|it| it.previous).min()
        };
        chain(&transaction, version?.0, from, limit, of).map(Some)
    }

    fn oldest_change(&mut self) -> Result<Option<Oldest>, StoreError> {
        oldest(&self.connection)
    }

    fn changes_after(&mut self, after: Revision, filter: &CalendarFilter) -> Result<ToldPage, StoreError> {
        told_after(&self.connection.transaction()?, after, filter)
    }
}

/// What a scan found, before what changed meanwhile is put back.
struct Scan {
    appointments: Vec<Appointment>,
    /// Where the scan ended for the number of rows it looked at.
    stopped_at: Option<(Instant, AppointmentId)>,
}

impl Scan {
    fn finish(mut self, query: &ListQuery, revision: Revision) -> ListPage {
        let order = |it: &Appointment| (it.start, it.id);
        self.appointments.sort_unstable_by_key(order);
        if query.is_descending {
            self.appointments.reverse();
        }
        if let Some(stop) = self.stopped_at {
            let is_reached = |it: &Appointment| if query.is_descending { order(it) >= stop } else { order(it) <= stop };
            self.appointments.retain(is_reached);
        }
        let is_cut = self.appointments.len() > query.limit;
        self.appointments.truncate(query.limit);
        let next = if is_cut { self.appointments.last().map(order) } else { self.stopped_at };
        ListPage { appointments: self.appointments, next, revision }
    }
}

/// What a list goes by, each the beginning of an index that has the start next.
const BY_CALENDAR: &str = "c.is_over = 0 and c.calendar";
const BY_CALENDAR_OVER: &str = "c.is_over = 1 and c.calendar";
const BY_EMAIL: &str = "a.invitee_email";
const BY_SERIES: &str = "a.series";

/// The rows of a list in its order.
fn list_sql(column: &str, is_descending: bool) -> String {
    let (from, table) = match column {
        BY_CALENDAR | BY_CALENDAR_OVER => ("claims c join appointments a on a.key = c.key", "c"),
        _ => ("appointments a", "a"),
    };
    let (compare, direction) = if is_descending { ("<", "desc") } else { (">", "asc") };
    format!(
        "select {COLUMNS} from {from} where {column} = ?1 and {table}.start >= ?2 and {table}.start < ?3 \
         and ({table}.start, {table}.id) {compare} (?4, ?5) order by {table}.start {direction}, {table}.id {direction}"
    )
}

/// Every read of tables that grow, for the test of their plans.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let consts = [SELECT_CALENDAR, SELECT_CALENDARS, SELECT_TYPES, SELECT_BUSY, SELECT_KEYS_OF_EMAIL, SELECT_REQUEST];
    let columns = [BY_CALENDAR, BY_CALENDAR_OVER, BY_EMAIL, BY_SERIES];
    let lists = columns.iter().flat_map(|column| [list_sql(column, false), list_sql(column, true)]);
    let loads = [select_by("id"), select_by("key"), select_claims(), walk::select_appointments(), select_series()];
    consts.into_iter().chain(super::log::STATEMENTS).map(str::to_owned).chain(loads).chain(lists).collect()
}

fn next_of(rows: &mut Rows<'_>) -> Result<Option<Appointment>, StoreError> {
    rows.next()?.map(read).transpose()
}

/// The rows of the page and one more, leaving out those that changed after its revision.
fn scan(
    transaction: &Transaction<'_>,
    query: &ListQuery,
    changed: &HashSet<AppointmentKey>,
) -> Result<Scan, StoreError> {
    if let Some(key) = query.key {
        let found = appointments_by_key(transaction, &[key])?;
        let found = found.into_iter().filter(|it| !changed.contains(&it.key) && query.matches(it));
        return Ok(Scan { appointments: found.collect(), stopped_at: None });
    }
    let (by, columns): (_, &[&str]) = match query {
        ListQuery { invitee_email: Some(email), .. } => (rusqlite::types::Value::from(email.clone()), &[BY_EMAIL]),
        ListQuery { series: Some(series), .. } => {
            (rusqlite::types::Value::from(series.0.as_bytes().to_vec()), &[BY_SERIES])
        }
        ListQuery { calendar: Some(id), .. } => {
            let key = |row: &Row<'_>| row.get::<_, i64>(0);
            let key = transaction.prepare_cached(SELECT_CALENDAR)?.query_row([id.as_str()], key).optional()?;
            let Some(key) = key else { return Ok(Scan { appointments: Vec::new(), stopped_at: None }) };
            // What is over only by the clock still lies where it was.
            let is_over_asked = query.states.iter().any(|it| it.is_over());
            let columns: &[&str] = if is_over_asked { &[BY_CALENDAR, BY_CALENDAR_OVER] } else { &[BY_CALENDAR] };
            (rusqlite::types::Value::from(key), columns)
        }
        _ => return Err(StoreError::Other("a list goes by calendar, invitee, series or code".to_owned())),
    };
    let first = query.from.seconds().saturating_sub(REACH);
    let end = query.to.map_or(i64::MAX, Instant::seconds);
    let (start, id) = match (query.after, query.is_descending) {
        (Some((start, id)), _) => (start.seconds(), id.0.as_bytes().to_vec()),
        (None, false) => (i64::MIN, Vec::new()),
        (None, true) => (i64::MAX, Vec::new()),
    };
    let statement = |column: &&str| transaction.prepare_cached(&list_sql(column, query.is_descending));
    let mut statements = columns.iter().map(statement).collect::<rusqlite::Result<Vec<_>>>()?;
    let limits = params![by, first, end, start, id];
    let mut rows = statements.iter_mut().map(|it| it.query(limits)).collect::<rusqlite::Result<Vec<_>>>()?;
    let mut heads = rows.iter_mut().map(next_of).collect::<Result<Vec<_>, _>>()?;
    let mut found = Scan { appointments: Vec::new(), stopped_at: None };
    for scanned in 1.. {
        let order = |at: &usize| heads[*at].as_ref().map(|it| (it.start, it.id));
        let waiting = (0..heads.len()).filter(|at| heads[*at].is_some());
        let first = if query.is_descending { waiting.max_by_key(order) } else { waiting.min_by_key(order) };
        let Some(at) = first else { break };
        let Some(appointment) = std::mem::replace(&mut heads[at], next_of(&mut rows[at])?) else { break };
        let order = (appointment.start, appointment.id);
        if !changed.contains(&appointment.key) && query.matches(&appointment) {
            found.appointments.push(appointment);
        }
        if found.appointments.len() > query.limit {
            break;
        }
        if scanned == SCANNED_ROWS_MAX {
            found.stopped_at = Some(order);
            break;
        }
    }
    Ok(found)
}
