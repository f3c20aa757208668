//! Reads of calendars with their claims, of appointments, and of requests that were answered.
//!
//! Every statement goes by an index.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{self, SELECTED, read, signed};
use super::unsettled::Deletions;
use super::{Known, Sqlite};
use crate::store::codec::calendar::{PeriodsRecord, ProfileRecord, TypeRecord};
use crate::store::codec::record::{self, damaged, decode, in_row};
use crate::store::codec::row::SubjectRecord;
use crate::store::{RequestRecord, StoreError, ZoneLookup};
use bookd_core::appointment::recurrence::OCCURRENCES_MAX;
use bookd_core::appointment::{Appointment, EmailKey, Place};
use bookd_core::calendar::appointment_type::Stamps;
use bookd_core::calendar::claims::Claims;
use bookd_core::calendar::{Busy, Calendar, DeletedType, LoadedClaims, Types, keep_from};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, SeriesId, TypeNumber};
use bookd_core::state::claim_on;
use bookd_core::time::{Instant, MINUTE};

const SELECT_CALENDAR: &str = "select c.key, c.since, v.version, v.reach, c.create_time, c.update_time, c.revision, c.profile \
     from calendars c left join versions v on v.calendar = c.key where c.id = ?1 and c.delete_time is null";
/// Every calendar that ever had an id, the newest first.
const SELECT_BEARERS: &str = "select key, since, version, reach from ( \
     select c.key, c.since, v.version, v.reach from calendars c left join versions v on v.calendar = c.key \
     where c.id = ?1 and c.delete_time is null union all \
     select c.key, c.since, v.version, v.reach from calendars c left join versions v on v.calendar = c.key \
     where c.id = ?1 and c.delete_time is not null) order by key desc limit ?2";
/// The calendar that has or had an id and came to be at a revision.
const SELECT_BEARER: &str = "select c.key, c.since, v.version, v.reach from calendars c left join versions v on v.calendar = c.key \
     where c.id = ?1 and c.delete_time is null and c.since = ?2 union all \
     select c.key, c.since, v.version, v.reach from calendars c left join versions v on v.calendar = c.key \
     where c.id = ?1 and c.delete_time is not null and c.since = ?2";
pub(super) const SELECT_CALENDARS: &str = "select id, create_time, update_time, revision, profile from calendars \
     where id >= ?1 and id > ?2 and delete_time is null order by id limit ?3";
const SELECT_TYPES: &str = "select number, id, body, delete_time from types where calendar = ?1";
const SELECT_BUSY: &str = "select source, periods from busy where calendar = ?1";
const SELECT_KEYS_OF_EMAIL: &str =
    "select key from appointments where email_key = ?1 order by start, key limit ?2";
const SELECT_REQUEST: &str =
    "select fingerprint, revision, time, subject from requests where hash = ?1";

/// How many calendars that had one id after the other are listed under it: the newest, should there ever be more.
pub(super) const BEARERS_MAX: i64 = 100;
/// The appointment whose `id` or `key` it is.
pub(super) fn select_by(column: &str) -> String {
    format!(
        "select {} from appointments a where a.{column} = ?1",
        &*SELECTED
    )
}

/// What may claim time of a calendar from an instant on.
fn select_claims() -> String {
    format!(
        "select {} from claims c join appointments a on a.key = c.key \
         where c.calendar = ?1 and c.is_over = 0 and c.start >= ?2 and c.start < ?3",
        &*SELECTED
    )
}

pub(super) fn appointments(
    connection: &Connection,
    ids: &[AppointmentId],
) -> Result<Vec<Appointment>, StoreError> {
    let deletions = Deletions::unsettled(connection)?;
    let mut statement = connection.prepare_cached(&select_by("id"))?;
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        let row = statement
            .query_row([id.0.as_bytes()], |row| Ok(read(row)))
            .optional()?
            .transpose()?;
        found.extend(row.map(|it| deletions.show(it)));
    }
    Ok(found)
}

pub(super) fn appointments_by_key(
    connection: &Connection,
    keys: &[AppointmentKey],
) -> Result<Vec<Appointment>, StoreError> {
    let deletions = Deletions::unsettled(connection)?;
    Ok(raw_appointments_by_key(connection, keys)?
        .into_iter()
        .map(|it| deletions.show(it))
        .collect())
}

/// As their rows say, which is not what is shown while a deletion is not settled.
pub(super) fn raw_appointments_by_key(
    connection: &Connection,
    keys: &[AppointmentKey],
) -> Result<Vec<Appointment>, StoreError> {
    let mut statement = connection.prepare_cached(&select_by("key"))?;
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        found.extend(
            statement
                .query_row([signed(key.0)], |row| Ok(read(row)))
                .optional()?
                .transpose()?,
        );
    }
    Ok(found)
}

pub(super) fn keys_of_email(
    connection: &Connection,
    email: &EmailKey,
    limit: usize,
) -> Result<Vec<AppointmentKey>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_KEYS_OF_EMAIL)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let keys = statement.query_map(params![email.as_str(), limit], |row| Ok(rows::key(row, 0)))?;
    keys.map(|key| key?).collect()
}

/// The appointments of a series, in order.
fn select_series() -> String {
    format!(
        "select {} from appointments a where a.series = ?1 order by a.start, a.id limit ?2",
        &*SELECTED
    )
}

pub(super) fn appointments_of_series(
    connection: &Connection,
    series: SeriesId,
) -> Result<Vec<Appointment>, StoreError> {
    let mut statement = connection.prepare_cached(&select_series())?;
    let limit = i64::try_from(OCCURRENCES_MAX).unwrap_or(i64::MAX);
    let deletions = Deletions::unsettled(connection)?;
    let mut rows = statement.query(params![series.0.as_bytes(), limit])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(deletions.show(read(row)?));
    }
    Ok(found)
}

pub(super) fn requests(
    connection: &Connection,
    hashes: &[[u8; 16]],
) -> Result<Vec<RequestRecord>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_REQUEST)?;
    let mut found = Vec::new();
    for hash in hashes {
        let row = |row: &Row<'_>| {
            Ok((
                row.get::<_, [u8; 16]>(0)?,
                rows::revision(row, 1),
                rows::instant(row, 2),
                row.get::<_, Vec<u8>>(3)?,
            ))
        };
        let Some((fingerprint, revision, time, subject)) =
            statement.query_row([hash], row).optional()?
        else {
            continue;
        };
        let subject: SubjectRecord = decode(&subject, "a request")?;
        let id = |bytes: &Vec<u8>| {
            uuid::Uuid::from_slice(bytes)
                .map(AppointmentId)
                .map_err(|_| damaged("a request"))
        };
        found.push(RequestRecord {
            hash: *hash,
            fingerprint,
            revision: revision?,
            time: time?,
            appointments: subject
                .appointments
                .iter()
                .map(id)
                .collect::<Result<_, _>>()?,
            calendar: subject
                .calendar
                .as_deref()
                .map(record::calendar_id)
                .transpose()?,
            type_id: subject
                .type_id
                .as_deref()
                .map(record::type_id)
                .transpose()?,
        });
    }
    Ok(found)
}

pub(super) fn stamps(row: &Row<'_>, first: usize) -> Result<Stamps, StoreError> {
    Ok(Stamps {
        create_time: rows::instant(row, first)?,
        update_time: rows::instant(row, first + 1)?,
        revision: rows::revision(row, first + 2)?,
    })
}

impl Sqlite {
    pub(super) fn load_calendar(
        &mut self,
        id: &CalendarId,
        now: Instant,
    ) -> Result<Option<Calendar>, StoreError> {
        let Some((known, calendar)) = calendar(&self.connection, &self.zones, id, now)? else {
            return Ok(None);
        };
        self.known.insert(id.clone(), known);
        Ok(Some(calendar))
    }

    /// See `Store`.
    pub(super) fn past(
        &self,
        calendar: &Calendar,
        from: Instant,
    ) -> Result<LoadedClaims, StoreError> {
        let known = self
            .known
            .get(&calendar.id)
            .filter(|it| it.version == calendar.version);
        let known = known.ok_or_else(|| StoreError::Stale(calendar.id.clone()))?;
        taken(
            &self.connection,
            *known,
            calendar,
            (from, calendar.kept_from),
        )
    }
}

/// Where the calendar lies that has this id; none when there is none.
pub(super) fn known_calendar(
    connection: &Connection,
    id: &CalendarId,
) -> Result<Option<Known>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_CALENDAR)?;
    statement
        .query_row([id.as_str()], |row| Ok(known(row)))
        .optional()?
        .transpose()
}

/// The calendar that has this id, with every claim that must be in memory at `now`, and where it lies.
pub(super) fn calendar(
    connection: &Connection,
    zones: &ZoneLookup,
    id: &CalendarId,
    now: Instant,
) -> Result<Option<(Known, Calendar)>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_CALENDAR)?;
    let row = |row: &Row<'_>| Ok((known(row), stamps(row, 4), row.get::<_, Vec<u8>>(7)?));
    let found = statement.query_row([id.as_str()], row).optional()?;
    let Some((known, stamps, profile)) = found else {
        return Ok(None);
    };
    let of_row = |error| in_row("calendars", id, error);
    let (known, stamps) = (known?, stamps.map_err(of_row)?);
    let Known {
        key,
        since,
        version,
        ..
    } = known;
    let profile = decode::<ProfileRecord>(&profile, "a calendar")
        .and_then(|it| it.read(zones))
        .map_err(of_row)?;
    let types = load_types(connection, key)?;
    let kept_from = keep_from(&profile.zone, types.limits().chain([&profile.limits]), now);
    let mut calendar = Calendar {
        id: id.clone(),
        since,
        profile: Arc::new(profile),
        stamps,
        types: Arc::new(types),
        busy: Arc::new(load_busy(connection, key)?),
        claims: Claims::default(),
        requests: Arc::default(),
        kept_from,
        version,
    };
    let taken = taken(connection, known, &calendar, (kept_from, Instant::MAX))?;
    calendar.claims = Claims::from_unordered(taken.claims);
    calendar.requests = Arc::new(taken.requests);
    Ok(Some((known, calendar)))
}

fn load_types(connection: &Connection, calendar: i64) -> Result<Types, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_TYPES)?;
    let mut rows = statement.query([calendar])?;
    let (mut types, mut deleted) = (Vec::new(), Vec::new());
    let mut take = |row: &Row<'_>| {
        let number = TypeNumber(row.get(0)?);
        let id: String = row.get(1)?;
        let body = row.get::<_, Option<Vec<u8>>>(2)?;
        let known =
            body.map(|body| decode::<TypeRecord>(&body, "an appointment type")?.read(&id, number));
        match (known.transpose()?, row.get::<_, Option<i64>>(3)?) {
            (Some(known), None) => types.push(known),
            // Before schema 4 the body went with the type.
            (last, _) => {
                deleted.push((
                    record::type_id(&id)?,
                    DeletedType {
                        number,
                        last: last.map(Arc::new),
                    },
                ));
            }
        }
        Ok(())
    };
    while let Some(row) = rows.next()? {
        take(row).map_err(|error| in_row("types", of_calendar(row, calendar), error))?;
    }
    Ok(Types::new(types, deleted))
}

fn load_busy(connection: &Connection, calendar: i64) -> Result<Busy, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_BUSY)?;
    let mut rows = statement.query([calendar])?;
    let mut sources = Vec::new();
    let mut take = |row: &Row<'_>| {
        let periods: PeriodsRecord = decode(&row.get::<_, Vec<u8>>(1)?, "a busy period")?;
        sources.push((row.get::<_, String>(0)?, periods.read()?));
        Ok(())
    };
    while let Some(row) = rows.next()? {
        take(row).map_err(|error| in_row("busy", of_calendar(row, calendar), error))?;
    }
    Ok(Busy::new(sources))
}

/// A row of a table by calendar, and by what its first column says.
pub(super) fn of_calendar(row: &Row<'_>, calendar: i64) -> String {
    let second = match row.get_ref(0) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => "neither number nor text".to_owned(),
    };
    format!("({calendar}, {second})")
}

/// What takes time, ending after the first instant and not after the second; and what waits to.
fn taken(
    connection: &Connection,
    known: Known,
    calendar: &Calendar,
    (from, to): (Instant, Instant),
) -> Result<LoadedClaims, StoreError> {
    let mut statement = connection.prepare_cached(&select_claims())?;
    let first = from.plus(-i64::from(known.reach_minutes) * MINUTE);
    let mut rows = statement.query(params![known.key, first.seconds(), to.seconds()])?;
    let mut taken = LoadedClaims::default();
    while let Some(row) = rows.next()? {
        // What a deletion still has to settle is of no calendar but the deleted one.
        let appointment = read(row)?;
        let Some(claim) = claim_on(calendar, &appointment) else {
            continue;
        };
        if !appointment.blocks {
            taken.requests.insert(appointment.key, claim);
        } else if claim.padded().end > from && claim.padded().end <= to {
            taken.claims.push(claim);
        }
    }
    Ok(taken)
}

fn known(row: &Row<'_>) -> Result<Known, StoreError> {
    let known = || {
        let (since, version) = (rows::revision(row, 1)?, rows::revision(row, 2)?);
        Ok(Known {
            key: row.get(0)?,
            since,
            version,
            reach_minutes: row.get(3)?,
        })
    };
    known().map_err(|error| rows::by_key("calendars, or its row of table versions", row, error))
}

/// The calendars that have an id, or had it until they were deleted, the newest first; none when there never was one.
pub(super) fn bearers(
    connection: &Connection,
    id: &CalendarId,
    limit: i64,
) -> Result<Vec<Known>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_BEARERS)?;
    let bearers = statement.query_map(params![id.as_str(), limit], |row| Ok(known(row)))?;
    bearers.map(|bearer| bearer?).collect()
}

/// That of them which a place of an appointment is of, deleted or not.
pub(super) fn bearer_of(
    connection: &Connection,
    place: &Place,
) -> Result<Option<Known>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_BEARER)?;
    let by = params![place.calendar.as_str(), signed(place.since.0)];
    statement
        .query_row(by, |row| Ok(known(row)))
        .optional()?
        .transpose()
}

/// Every read of this file, for the test of their plans.
#[cfg(test)]
pub(super) fn statements() -> Vec<String> {
    let consts = [
        SELECT_CALENDAR,
        SELECT_BEARERS,
        SELECT_BEARER,
        SELECT_CALENDARS,
        SELECT_TYPES,
        SELECT_BUSY,
        SELECT_KEYS_OF_EMAIL,
        SELECT_REQUEST,
    ];
    let loads = [
        select_by("id"),
        select_by("key"),
        select_claims(),
        select_series(),
    ];
    consts.into_iter().map(str::to_owned).chain(loads).collect()
}
