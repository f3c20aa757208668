//! Reads of calendars with their claims, of appointments, and of remembered requests.
//!
//! Every statement uses an index.

use std::sync::Arc;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::rows::{self, SELECTED, read, signed};
use super::unsettled::Deletions;
use super::{KnownCalendar, Sqlite};
use crate::store::codec::calendar::{PeriodsRecord, ProfileRecord, TypeRecord};
use crate::store::codec::place::PlacesRecord;
use crate::store::codec::record::{self, damaged, decode, in_row};
use crate::store::codec::row::SubjectRecord;
use crate::store::{RequestRecord, StoreError, ZoneLookup};
use bookd_core::appointment::recurrence::OCCURRENCES_MAX;
use bookd_core::appointment::{Appointment, EmailKey, Place};
use bookd_core::calendar::appointment_type::Stamps;
use bookd_core::calendar::claims::Claims;
use bookd_core::calendar::{Busy, Calendar, DeletedType, LoadedClaims, Types, keep_from};
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, SeriesId, TypeNumber};
use bookd_core::reach::Reach;
use bookd_core::state::claim_on;
use bookd_core::time::{Instant, MINUTE};
use bookd_core::token::TokenId;

const SELECT_CALENDAR: &str = "select c.key, c.since, v.version, v.reach, c.create_time, c.update_time, c.revision, c.profile \
     from calendars c left join versions v on v.calendar = c.key where c.id = ?1 and c.delete_time is null";
/// Every calendar that ever had an id, the newest first.
const SELECT_BEARERS: &str = "select key, since, version, reach from ( \
     select c.key, c.since, v.version, v.reach from calendars c left join versions v on v.calendar = c.key \
     where c.id = ?1 and c.delete_time is null union all \
     select c.key, c.since, v.version, v.reach from calendars c left join versions v on v.calendar = c.key \
     where c.id = ?1 and c.delete_time is not null) order by key desc limit ?2";
/// The calendar that has or had an id and was created by a revision.
const SELECT_BEARER: &str = "select c.key, c.since, v.version, v.reach from calendars c left join versions v on v.calendar = c.key \
     where c.id = ?1 and c.delete_time is null and c.since = ?2 union all \
     select c.key, c.since, v.version, v.reach from calendars c left join versions v on v.calendar = c.key \
     where c.id = ?1 and c.delete_time is not null and c.since = ?2";
pub(super) const SELECT_CALENDARS: &str = "select id, create_time, update_time, revision, profile from calendars \
     where id >= ?1 and id > ?2 and delete_time is null order by id limit ?3";
const SELECT_TYPES: &str = "select number, id, body, delete_time from types where calendar = ?1";
const SELECT_BUSY: &str = "select source, periods from busy where calendar = ?1";
const SELECT_KEYS_OF_EMAIL: &str =
    "select key, places from appointments where email_key = ?1 order by start, key";
const SELECT_REQUEST: &str =
    "select fingerprint, revision, time, subject from requests where hash = ?1";

/// How many of the calendars that bore one id are read at most: the newest ones.
pub(super) const BEARERS_MAX: i64 = 100;

/// The statement for the appointment with an `id` or a `key`.
pub(super) fn select_by(column: &str) -> String {
    format!(
        "select {} from appointments a where a.{column} = ?1",
        &*SELECTED
    )
}

/// The statement for the appointments that may claim time of a calendar and start within a range.
fn select_claims() -> String {
    format!(
        "select {} from claims c join appointments a on a.key = c.key \
         where c.calendar = ?1 and c.is_over = 0 and c.start >= ?2 and c.start < ?3",
        &*SELECTED
    )
}

/// The appointments with these ids; an unknown id is left out.
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

/// The appointments with these keys; an unknown key is left out.
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

/// The appointments with these keys as their rows have them, without the cancellations of unsettled
/// deletions.
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

/// The keys of at most so many appointments with this address and all calendars within reach, the
/// earliest first.
pub(super) fn keys_of_email(
    connection: &Connection,
    email: &EmailKey,
    reach: &Reach,
    limit: usize,
) -> Result<Vec<AppointmentKey>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_KEYS_OF_EMAIL)?;
    let mut rows = statement.query([email.as_str()])?;
    let mut keys = Vec::new();
    while keys.len() < limit
        && let Some(row) = rows.next()?
    {
        let is_theirs = reach.is_all() || {
            let places: PlacesRecord = row
                .get_ref(1)?
                .as_blob()
                .map_err(|_| damaged("the calendars"))
                .and_then(|bytes| decode(bytes, "the calendars of an appointment"))?;
            reach.has(places.calendars(), email)
        };
        if is_theirs {
            keys.push(rows::key(row, 0)?);
        }
    }
    Ok(keys)
}

/// The statement for the appointments of a series, by start and id.
fn select_series() -> String {
    format!(
        "select {} from appointments a where a.series = ?1 order by a.start, a.id limit ?2",
        &*SELECTED
    )
}

/// The appointments of a series, by start and id.
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

/// The remembered requests with these hashes.
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
            token: subject
                .token
                .as_deref()
                .map(|id| TokenId::parse(id).map_err(|_| damaged("a request")))
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

/// Reads create time, update time and revision from three columns.
pub(super) fn stamps(row: &Row<'_>, first: usize) -> Result<Stamps, StoreError> {
    Ok(Stamps {
        create_time: rows::instant(row, first)?,
        update_time: rows::instant(row, first + 1)?,
        revision: rows::revision(row, first + 2)?,
    })
}

impl Sqlite {
    /// Loads a calendar with every claim that must be in memory at `now`, and notes that the writer
    /// has it in memory.
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

    /// `Store::load_past`.
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
        load_claims(
            &self.connection,
            *known,
            calendar,
            (from, calendar.kept_from),
        )
    }
}

/// The row of the calendar with this id, if there is one.
pub(super) fn known_calendar(
    connection: &Connection,
    id: &CalendarId,
) -> Result<Option<KnownCalendar>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_CALENDAR)?;
    statement
        .query_row([id.as_str()], |row| Ok(known(row)))
        .optional()?
        .transpose()
}

/// The calendar with this id, with every claim that must be in memory at `now`, and its row.
pub(super) fn calendar(
    connection: &Connection,
    zones: &ZoneLookup,
    id: &CalendarId,
    now: Instant,
) -> Result<Option<(KnownCalendar, Calendar)>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_CALENDAR)?;
    let row = |row: &Row<'_>| Ok((known(row), stamps(row, 4), row.get::<_, Vec<u8>>(7)?));
    let found = statement.query_row([id.as_str()], row).optional()?;
    let Some((known, stamps, profile)) = found else {
        return Ok(None);
    };
    let of_row = |error| in_row("calendars", id, error);
    let (known, stamps) = (known?, stamps.map_err(of_row)?);
    let KnownCalendar {
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
    let loaded = load_claims(connection, known, &calendar, (kept_from, Instant::MAX))?;
    calendar.claims = Claims::from_unordered(loaded.claims);
    calendar.requests = Arc::new(loaded.requests);
    Ok(Some((known, calendar)))
}

pub(super) fn load_types(connection: &Connection, calendar: i64) -> Result<Types, StoreError> {
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
            // Before schema 4 a deletion removed the body of the type.
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

pub(super) fn load_busy(connection: &Connection, calendar: i64) -> Result<Busy, StoreError> {
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

/// The name in errors of a row that is identified by its calendar and its first column.
pub(super) fn of_calendar(row: &Row<'_>, calendar: i64) -> String {
    let second = match row.get_ref(0) {
        Ok(ValueRef::Integer(number)) => number.to_string(),
        Ok(ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => "neither number nor text".to_owned(),
    };
    format!("({calendar}, {second})")
}

/// The claims of a calendar that end after the instant `from` and not after `to`, and those of the
/// requests that wait for approval.
fn load_claims(
    connection: &Connection,
    known: KnownCalendar,
    calendar: &Calendar,
    (from, to): (Instant, Instant),
) -> Result<LoadedClaims, StoreError> {
    let mut statement = connection.prepare_cached(&select_claims())?;
    let first = from.plus(-i64::from(known.reach_minutes) * MINUTE);
    let mut rows = statement.query(params![known.key, first.seconds(), to.seconds()])?;
    let mut loaded = LoadedClaims::default();
    while let Some(row) = rows.next()? {
        // Unsettled deletions do not matter here: they cancel appointments whose only calendar is
        // deleted.
        let appointment = read(row)?;
        let Some(claim) = claim_on(calendar, &appointment) else {
            continue;
        };
        if !appointment.blocks {
            loaded.requests.insert(appointment.key, claim);
        } else if claim.padded().end > from && claim.padded().end <= to {
            loaded.claims.push(claim);
        }
    }
    Ok(loaded)
}

/// Reads key, creation, version and reach of a calendar from the first four columns.
pub(super) fn known(row: &Row<'_>) -> Result<KnownCalendar, StoreError> {
    let known = || {
        let (since, version) = (rows::revision(row, 1)?, rows::revision(row, 2)?);
        Ok(KnownCalendar {
            key: row.get(0)?,
            since,
            version,
            reach_minutes: row.get(3)?,
        })
    };
    known().map_err(|error| rows::by_key("calendars, or its row of table versions", row, error))
}

/// The calendars that bear an id or bore it until they were deleted, at most so many, the newest
/// first.
pub(super) fn bearers(
    connection: &Connection,
    id: &CalendarId,
    limit: i64,
) -> Result<Vec<KnownCalendar>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_BEARERS)?;
    let bearers = statement.query_map(params![id.as_str(), limit], |row| Ok(known(row)))?;
    bearers.map(|bearer| bearer?).collect()
}

/// The calendar of a place of an appointment, deleted or not.
pub(super) fn bearer_of(
    connection: &Connection,
    place: &Place,
) -> Result<Option<KnownCalendar>, StoreError> {
    let mut statement = connection.prepare_cached(SELECT_BEARER)?;
    let by = params![place.calendar.as_str(), signed(place.since.0)];
    statement
        .query_row(by, |row| Ok(known(row)))
        .optional()?
        .transpose()
}

/// Every statement of this file, for the test of their plans.
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
