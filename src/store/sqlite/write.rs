//! The commit: one transaction for a batch, and what its errors mean.
//!
//! Until COMMIT every error is undone and certain. COMMIT itself may fail after its frame is in the WAL: then nobody
//! knows, unless SQLite says that it refused and rolls back.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use prost::Message;
use rusqlite::{Connection, ErrorCode, params};

use super::checkpoint::Copied;
use super::claims::{self, CLAIMS_MAX, ClaimRow};
use super::log::revision;
use super::read::{bearer_of, bearers as bearers_of_id};
use super::rows::{INSERT_APPOINTMENT, UPDATE_APPOINTMENT, UPDATE_IN_PLACE, signed, write};
use super::segments::Segments;
use super::unsettled::{make_so, number_of};
use super::{Known, Sqlite, store_error};
use crate::store::codec::calendar::{PeriodsRecord, ProfileRecord, TypeRecord};
use crate::store::codec::change::{ChangeRecord, write_event};
use crate::store::codec::replaced::ReplacedRecord;
use crate::store::codec::row::SubjectRecord;
use crate::store::{CommitBatch, CommitError, RequestRecord, StoreError};
use bookd_core::appointment::{Appointment, Place};
use bookd_core::calendar::appointment_type::{AppointmentType, Stamps};
use bookd_core::calendar::{Busy, Profile};
use bookd_core::change::{Cause, Change, Event};
use bookd_core::ids::{CalendarId, Caller, Revision};
use bookd_core::log::LogEvent;
use bookd_core::time::{Instant, MINUTE};

const INSERT_CHANGE: &str = "insert into changes (revision, time, record, caller, replaced, events, segments) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const RESET_REQUESTS: &str = "update requests set time = ?1 where time > ?1";
const PUT_CLOCK_RESET: &str = "insert into meta (name, value) values ('clock_reset', ?1) \
     on conflict (name) do update set value = excluded.value";
const INSERT_PRINCIPAL: &str =
    "insert into principals (name) values (?1) on conflict (name) do nothing";
const SELECT_PRINCIPAL: &str = "select number from principals where name = ?1";
const INSERT_REQUEST: &str =
    "insert into requests (hash, fingerprint, revision, time, subject) values (?1, ?2, ?3, ?4, ?5)";
const INSERT_CALENDAR: &str = "insert into calendars (id, since, create_time, update_time, revision, profile) \
     values (?1, ?2, ?3, ?4, ?5, ?6)";
const UPDATE_CALENDAR: &str =
    "update calendars set update_time = ?2, revision = ?3, profile = ?4 where key = ?1";
const DELETE_CALENDAR: &str = "update calendars set delete_time = ?2 where key = ?1";
const TOUCH_CALENDAR: &str = "insert into versions (calendar, version, reach) values (?1, ?2, ?3) \
     on conflict (calendar) do update set version = excluded.version, reach = excluded.reach";
const PUT_TYPE: &str = "insert into types (calendar, number, id, body) values (?1, ?2, ?3, ?4) \
     on conflict (calendar, number) do update set body = excluded.body, delete_time = null";
const DELETE_TYPE: &str =
    "update types set delete_time = ?3, body = iif(?4, body, null) where calendar = ?1 and id = ?2";
const PUT_BUSY: &str = "insert into busy (calendar, source, periods) values (?1, ?2, ?3) \
     on conflict (calendar, source) do update set periods = excluded.periods";
const DELETE_BUSY: &str = "delete from busy where calendar = ?1 and source = ?2";

/// Runs a statement without parameters, which is parsed once and not at each commit.
fn run(connection: &Connection, statement: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(statement)?.execute([]).map(drop)
}

/// A WAL that cannot be copied because it is damaged has what is nowhere else: whatever a batch has to do with that, the
/// writer must not go on.
fn must_stop(error: CommitError) -> CommitError {
    CommitError::Unknown(error.into_store_error())
}

impl Sqlite {
    /// Makes a batch durable.
    pub(super) fn write(&mut self, batch: &CommitBatch<'_>) -> Result<(), CommitError> {
        self.with_room(|it| it.write_once(batch))
    }

    /// Writes. On a full disk room is made once: by the WAL, which is copied and begins anew, and then by the reserve, where
    /// that is not enough.
    pub(super) fn with_room<T: PartialEq>(
        &mut self,
        mut write: impl FnMut(&mut Self) -> Result<T, CommitError>,
    ) -> Result<T, CommitError> {
        const FULL: CommitError = CommitError::Refused(StoreError::Full);
        let mut written = write(self);
        if written == Err(FULL) && self.reserve.note_full() {
            let copied = self
                .checkpoints
                .give_back_room(&self.connection)
                .map_err(must_stop)?;
            if copied == Copied::Whole {
                written = write(self);
            }
            if written == Err(FULL) && self.reserve.give_up() {
                self.checkpoints
                    .give_back_room(&self.connection)
                    .map_err(must_stop)?;
                written = write(self);
            }
            // Who reads now does not read for ever.
            self.reserve
                .note_hopeless(written == Err(FULL) && copied != Copied::InUse);
        } else if written.is_ok() {
            self.reserve.note_hopeless(false);
        }
        written
    }

    fn write_once(&mut self, batch: &CommitBatch<'_>) -> Result<(), CommitError> {
        for (id, version) in batch.expected {
            if self
                .known
                .get(id)
                .is_none_or(|known| known.version != *version)
            {
                return Err(CommitError::Refused(StoreError::Stale(id.clone())));
            }
        }
        let segment_bytes_max = self.segment_bytes_max;
        let touched = self.transaction(|connection, known| {
            let (touched, claims) = (HashMap::new(), Vec::new());
            let mut writing = WriteTransaction {
                connection,
                known,
                segment_bytes_max,
                touched,
                claims,
            };
            writing.batch(batch)?;
            Ok(writing.touched)
        })?;
        for (id, bearers) in touched {
            match bearers[0] {
                Touching {
                    known,
                    is_loaded: true,
                } => drop(self.known.insert(id, known)),
                Touching {
                    is_loaded: false, ..
                } => drop(self.known.remove(&id)),
            }
        }
        Ok(())
    }

    /// Does some work that happens whole or not at all.
    pub(super) fn transaction<T>(
        &mut self,
        work: impl FnOnce(&Connection, &HashMap<CalendarId, Known>) -> Result<T, StoreError>,
    ) -> Result<T, CommitError> {
        run(&self.connection, "begin immediate").map_err(|error| store_error(&error))?;
        let done = work(&self.connection, &self.known).map_err(|error| self.roll_back(error))?;
        run(&self.connection, "commit").map_err(|error| self.commit_failed(&error))?;
        Ok(done)
    }

    /// What happened before COMMIT is undone for certain.
    fn roll_back(&self, error: StoreError) -> CommitError {
        match run(&self.connection, "rollback") {
            Ok(()) => CommitError::Refused(error),
            // SQLite has rolled back by itself, as it does when the disk is full.
            Err(_) if self.connection.is_autocommit() => CommitError::Refused(error),
            Err(_) => CommitError::Unknown(error),
        }
    }

    fn commit_failed(&self, error: &rusqlite::Error) -> CommitError {
        let said = store_error(error);
        let is_refusal = matches!(
            error.sqlite_error_code(),
            Some(
                ErrorCode::DiskFull
                    | ErrorCode::ReadOnly
                    | ErrorCode::DatabaseBusy
                    | ErrorCode::DatabaseLocked
            )
        );
        if is_refusal {
            self.roll_back(said)
        } else {
            CommitError::Unknown(said)
        }
    }
}

/// A transaction under way.
struct WriteTransaction<'a> {
    connection: &'a Connection,
    known: &'a HashMap<CalendarId, Known>,
    segment_bytes_max: usize,
    /// By id, the newest that bears it first: that one is the id's own, whatever is deleted; the others still have claims.
    touched: HashMap<CalendarId, Vec<Touching>>,
    /// Claims that are to be written, in the order of the events: see `claims::write`.
    claims: Vec<ClaimRow>,
}

/// A calendar that the transaction touches.
#[derive(Clone, Copy)]
struct Touching {
    /// What is known of it once it is committed.
    known: Known,
    /// Whether the writer has it in memory then.
    is_loaded: bool,
}

impl WriteTransaction<'_> {
    fn batch(&mut self, batch: &CommitBatch<'_>) -> Result<(), StoreError> {
        if let Some(first) = batch.changes.first() {
            let last = revision(self.connection)?;
            if last.next() != first.revision {
                return Err(StoreError::Overtaken {
                    last,
                    next: first.revision,
                });
            }
        }
        for change in batch.changes {
            self.change(change)?;
        }
        claims::write(self.connection, &mut self.claims)?;
        for request in batch.requests {
            self.request(request)?;
        }
        let mut touch = self.connection.prepare_cached(TOUCH_CALENDAR)?;
        for Touching { known, .. } in self.touched.values().flatten() {
            touch.execute(params![
                known.key,
                signed(known.version.0),
                known.reach_minutes
            ])?;
        }
        Ok(())
    }

    fn change(&mut self, change: &Change) -> Result<(), StoreError> {
        for event in &change.events {
            self.event(event, change)?;
            if self.claims.len() >= CLAIMS_MAX {
                claims::write(self.connection, &mut self.claims)?;
            }
        }
        let (staged, mut previous) = (change.staged(), Revision(0));
        let mut segments = match staged {
            Some((calendar, staged)) => {
                make_so(self.connection, staged, change)?;
                previous = self.newest(calendar)?.known.version;
                Segments::behind(
                    self.connection,
                    number_of(staged),
                    staged.events,
                    self.segment_bytes_max,
                )
            }
            None => Segments::new(self.connection, change.revision, self.segment_bytes_max),
        };
        for event in &change.events {
            let mut fault = None;
            let event = LogEvent::new(event, |id| {
                let touched = self.touch(id, change.revision);
                touched.unwrap_or_else(|error| {
                    fault = Some(error);
                    Revision(0)
                })
            });
            fault.map_or(Ok(()), Err)?;
            segments.push(write_event(&event, change.time))?;
        }
        let (events, count) = segments.finish()?;
        let mut record = ChangeRecord::new(change.cause, events);
        record.previous = previous.0;
        let (record, segments) = (record.encode_to_vec(), staged.map(|(_, it)| number_of(it)));
        let caller = self.principal(&change.caller)?;
        let replaced = ReplacedRecord::of(change).map(|it| it.encode_to_vec());
        let mut insert = self.connection.prepare_cached(INSERT_CHANGE)?;
        let (revision, time) = (signed(change.revision.0), change.time.seconds());
        insert.execute(params![
            revision, time, record, caller, replaced, count, segments
        ])?;
        for event in &change.events {
            if let Event::CalendarDeleted { calendar, .. } = event {
                self.newest(calendar)?.is_loaded = false;
            }
        }
        if change.cause == Cause::ClockReset {
            // What was remembered by the wrong clock is forgotten in time; how old changes count says the log.
            self.connection
                .execute(RESET_REQUESTS, [change.time.seconds()])?;
            self.connection
                .execute(PUT_CLOCK_RESET, [signed(change.revision.0)])?;
        }
        Ok(())
    }

    /// The number of who sends a change; none of nobody.
    fn principal(&self, caller: &Caller) -> Result<Option<i64>, StoreError> {
        if *caller == Caller::default() {
            return Ok(None);
        }
        self.connection
            .prepare_cached(INSERT_PRINCIPAL)?
            .execute([&*caller.0])?;
        Ok(Some(
            self.connection
                .prepare_cached(SELECT_PRINCIPAL)?
                .query_row([&*caller.0], |row| row.get(0))?,
        ))
    }

    /// Notes that a change touched a calendar; answers the revision that did so before. What happens to an appointment of
    /// one that was deleted is in the history of its id, which is that of the newest that bears it.
    fn touch(&mut self, id: &CalendarId, revision: Revision) -> Result<Revision, StoreError> {
        let known = &mut self.newest(id)?.known;
        Ok(std::mem::replace(&mut known.version, revision))
    }

    /// The calendars that bear or bore an id and are touched, the newest first; that one is among them.
    fn bearers(&mut self, id: &CalendarId) -> Result<&mut Vec<Touching>, StoreError> {
        Ok(match self.touched.entry(id.clone()) {
            Entry::Occupied(bearers) => bearers.into_mut(),
            Entry::Vacant(bearers) => {
                let newest = match self.known.get(id) {
                    Some(known) => Touching {
                        known: *known,
                        is_loaded: true,
                    },
                    None => Touching::unloaded(bearers_of_id(self.connection, id, 1)?.pop(), id)?,
                };
                bearers.insert(vec![newest])
            }
        })
    }

    /// The newest calendar that bears an id, or bore it until it was deleted.
    fn newest(&mut self, id: &CalendarId) -> Result<&mut Touching, StoreError> {
        Ok(&mut self.bearers(id)?[0])
    }

    /// The calendar that a place of an appointment is of: the one that bore the id then.
    fn calendar_of(&mut self, place: &Place) -> Result<&mut Touching, StoreError> {
        let connection = self.connection;
        let bearers = self.bearers(&place.calendar)?;
        let at = match bearers.iter().position(|it| it.known.since == place.since) {
            Some(at) => at,
            None => {
                bearers.push(Touching::unloaded(
                    bearer_of(connection, place)?,
                    &place.calendar,
                )?);
                bearers.len() - 1
            }
        };
        Ok(&mut bearers[at])
    }

    fn key(&mut self, id: &CalendarId) -> Result<i64, StoreError> {
        Ok(self.newest(id)?.known.key)
    }

    fn event(&mut self, event: &Event, change: &Change) -> Result<(), StoreError> {
        match event {
            Event::CalendarCreated {
                calendar,
                profile,
                stamps,
                types,
            } => self.create_calendar(calendar, profile, *stamps, types, change.revision),
            Event::ProfileChanged {
                calendar,
                profile,
                stamps,
                ..
            } => {
                let mut update = self.connection.prepare_cached(UPDATE_CALENDAR)?;
                let profile = ProfileRecord::new(profile).encode_to_vec();
                let (time, revision) = (stamps.update_time.seconds(), signed(stamps.revision.0));
                update.execute(params![self.key(calendar)?, time, revision, profile])?;
                Ok(())
            }
            Event::CalendarDeleted { calendar, .. } => {
                let mut delete = self.connection.prepare_cached(DELETE_CALENDAR)?;
                delete.execute(params![self.key(calendar)?, change.time.seconds()])?;
                Ok(())
            }
            Event::TypePut {
                calendar,
                appointment_type,
                ..
            } => {
                let key = self.key(calendar)?;
                self.put_type(key, appointment_type)
            }
            Event::TypeDeleted {
                calendar,
                type_id,
                last,
            } => {
                let mut delete = self.connection.prepare_cached(DELETE_TYPE)?;
                let (key, time) = (self.key(calendar)?, change.time.seconds());
                delete.execute(params![key, type_id.as_str(), time, last.is_some()])?;
                Ok(())
            }
            Event::BusyPut {
                calendar,
                source,
                busy,
            } => {
                let key = self.key(calendar)?;
                self.put_busy(key, source, busy)
            }
            Event::Appointment { before, after, .. } => self.appointment(before.as_deref(), after),
        }
    }

    fn create_calendar(
        &mut self,
        id: &CalendarId,
        profile: &Profile,
        stamps: Stamps,
        types: &[std::sync::Arc<AppointmentType>],
        revision: Revision,
    ) -> Result<(), StoreError> {
        let mut insert = self.connection.prepare_cached(INSERT_CALENDAR)?;
        let key = insert.insert(params![
            id.as_str(),
            signed(revision.0),
            stamps.create_time.seconds(),
            stamps.update_time.seconds(),
            signed(stamps.revision.0),
            ProfileRecord::new(profile).encode_to_vec(),
        ])?;
        let known = Known {
            key,
            since: revision,
            version: Revision(0),
            reach_minutes: 0,
        };
        self.touched.entry(id.clone()).or_default().insert(
            0,
            Touching {
                known,
                is_loaded: true,
            },
        );
        types.iter().try_for_each(|it| self.put_type(key, it))
    }

    fn put_type(&self, calendar: i64, it: &AppointmentType) -> Result<(), StoreError> {
        let mut put = self.connection.prepare_cached(PUT_TYPE)?;
        put.execute(params![
            calendar,
            it.number.0,
            it.id.as_str(),
            TypeRecord::new(it).encode_to_vec()
        ])?;
        Ok(())
    }

    fn put_busy(&self, calendar: i64, source: &str, busy: &Busy) -> Result<(), StoreError> {
        match busy.of_source(source) {
            [] => self
                .connection
                .prepare_cached(DELETE_BUSY)?
                .execute(params![calendar, source])?,
            periods => {
                let periods = PeriodsRecord::new(periods).encode_to_vec();
                self.connection
                    .prepare_cached(PUT_BUSY)?
                    .execute(params![calendar, source, periods])?
            }
        };
        Ok(())
    }

    fn appointment(
        &mut self,
        before: Option<&Appointment>,
        after: &Appointment,
    ) -> Result<(), StoreError> {
        let is_indexed_alike = |before: &Appointment| {
            before.start == after.start
                && before.person.invitee.email.key == after.person.invitee.email.key
        };
        let sql = match before {
            None => &*INSERT_APPOINTMENT,
            Some(before) if is_indexed_alike(before) => &*UPDATE_IN_PLACE,
            Some(_) => &*UPDATE_APPOINTMENT,
        };
        write(&mut *self.connection.prepare_cached(sql)?, after)?;
        let place = |it: &Place| (it.calendar.clone(), it.since);
        let claims = |it: &Appointment| {
            (
                it.state.is_over(),
                it.start,
                it.places.iter().map(place).collect::<Vec<_>>(),
            )
        };
        let is_in_place = before.is_some_and(|it| claims(it) == claims(after));
        if is_in_place {
            // Not even then is it as long as it was.
            return after
                .places
                .iter()
                .try_for_each(|place| self.claimed(place, after.start).map(drop));
        }
        let claim = |calendar, it: &Appointment, key| {
            let (is_over, start, id) =
                (it.state.is_over(), it.start.seconds(), *it.id.0.as_bytes());
            ClaimRow {
                calendar,
                is_over,
                start,
                id,
                key,
            }
        };
        for (before, place) in before
            .iter()
            .flat_map(|before| before.places.iter().map(move |place| (before, place)))
        {
            let calendar = self.calendar_of(place)?.known.key;
            self.claims.push(claim(calendar, before, None));
        }
        for place in &after.places {
            let calendar = self.claimed(place, after.start)?;
            self.claims
                .push(claim(calendar, after, Some(signed(after.key.0))));
        }
        Ok(())
    }

    /// Notes how far a claim reaches beyond the start by which it is found; answers the key of its calendar.
    fn claimed(&mut self, place: &Place, start: Instant) -> Result<i64, StoreError> {
        let known = &mut self.calendar_of(place)?.known;
        known.reach_minutes = known.reach_minutes.max(reach_minutes(place, start));
        Ok(known.key)
    }

    fn request(&self, request: &RequestRecord) -> Result<(), StoreError> {
        let subject = SubjectRecord {
            appointments: request
                .appointments
                .iter()
                .map(|id| id.0.as_bytes().to_vec())
                .collect(),
            calendar: request.calendar.as_ref().map(|id| id.as_str().to_owned()),
            type_id: request.type_id.as_ref().map(|id| id.as_str().to_owned()),
        };
        let mut insert = self.connection.prepare_cached(INSERT_REQUEST)?;
        insert.execute(params![
            request.hash,
            request.fingerprint,
            signed(request.revision.0),
            request.time.seconds(),
            subject.encode_to_vec(),
        ])?;
        Ok(())
    }
}

impl Touching {
    /// One that the writer does not have in memory.
    fn unloaded(found: Option<Known>, id: &CalendarId) -> Result<Self, StoreError> {
        let missing = || {
            StoreError::Damaged(format!(
                "calendar {id}, which an appointment is of, is not there"
            ))
        };
        Ok(Self {
            known: found.ok_or_else(missing)?,
            is_loaded: false,
        })
    }
}

/// How far a claim reaches beyond the start by which it is found; 0 for one that ends before.
pub(super) fn reach_minutes(place: &Place, start: Instant) -> u32 {
    let seconds = place.padded().end.since(start).max(0);
    u32::try_from(seconds / MINUTE).expect("a claim is shorter than 32 bits of minutes")
}
