//! The commit of a batch: its changes, rows, claims, remembered requests and calendar versions in
//! one transaction.
//!
//! Each event becomes rows here and nowhere else.

use prost::Message;
use rusqlite::{Connection, params};

use super::claims::{self, CLAIMS_MAX, ClaimRow};
use super::log::revision;
use super::rows::{INSERT_APPOINTMENT, UPDATE_APPOINTMENT, UPDATE_IN_PLACE, signed, write};
use super::segments::Segments;
use super::tokens;
use super::touched_calendars::{TouchedCalendar, TouchedCalendars};
use super::unsettled::{mark_made, number_of};
use super::{KnownCalendar, Sqlite};
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

impl Sqlite {
    /// Makes a batch durable. Errors: `Refused` when nothing of it happened, `Unknown` when it may
    /// have.
    pub(super) fn write(&mut self, batch: &CommitBatch<'_>) -> Result<(), CommitError> {
        self.retry_when_full(|store| store.write_once(batch))
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
            let mut writing = WriteTransaction {
                connection,
                segment_bytes_max,
                calendars: TouchedCalendars::new(connection, known),
                claims: Vec::new(),
            };
            writing.batch(batch)?;
            Ok(writing.calendars.into_newest().collect::<Vec<_>>())
        })?;
        for (id, TouchedCalendar { known, is_loaded }) in touched {
            if is_loaded {
                self.known.insert(id, known);
            } else {
                self.known.remove(&id);
            }
        }
        Ok(())
    }
}

/// The write of a batch within the open transaction.
struct WriteTransaction<'a> {
    connection: &'a Connection,
    segment_bytes_max: usize,
    calendars: TouchedCalendars<'a>,
    /// Claims to be written by `claims::write`, in the order of the events.
    claims: Vec<ClaimRow>,
}

impl WriteTransaction<'_> {
    /// Writes everything of the batch.
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
        for known in self.calendars.all() {
            touch.execute(params![
                known.key,
                signed(known.version.0),
                known.reach_minutes
            ])?;
        }
        Ok(())
    }

    /// Writes a change: the rows of its events, and its entry in the log.
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
                mark_made(self.connection, staged, change)?;
                previous = self.calendars.version(calendar)?;
                Segments::continue_staged(
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
            let logged = LogEvent::new(event, |id| {
                let touched = self.calendars.touch(id, change.revision);
                touched.unwrap_or_else(|error| {
                    fault = Some(error);
                    Revision(0)
                })
            });
            fault.map_or(Ok(()), Err)?;
            if let Some(event) = logged {
                segments.push(write_event(&event, change.time))?;
            }
        }
        let (events, count) = segments.finish()?;
        let mut record = ChangeRecord::new(change.cause, events);
        record.previous = previous.0;
        let tokens = change.events.iter().filter_map(Event::token);
        record.tokens = tokens.map(|id| id.as_str().to_owned()).collect();
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
                self.calendars.unload(calendar)?;
            }
        }
        if change.cause == Cause::ClockReset {
            // Requests remembered under the wrong clock are forgotten in time this way; `log::ages`
            // treats the changes.
            self.connection
                .execute(RESET_REQUESTS, [change.time.seconds()])?;
            self.connection
                .execute(PUT_CLOCK_RESET, [signed(change.revision.0)])?;
        }
        Ok(())
    }

    /// The number of the caller of a change, who gets one if new; none for an anonymous caller.
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

    /// Writes the rows of an event.
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
                update.execute(params![
                    self.calendars.key(calendar)?,
                    time,
                    revision,
                    profile
                ])?;
                Ok(())
            }
            Event::CalendarDeleted { calendar, .. } => {
                let mut delete = self.connection.prepare_cached(DELETE_CALENDAR)?;
                delete.execute(params![
                    self.calendars.key(calendar)?,
                    change.time.seconds()
                ])?;
                Ok(())
            }
            Event::TypePut {
                calendar,
                appointment_type,
                ..
            } => {
                let key = self.calendars.key(calendar)?;
                self.put_type(key, appointment_type)
            }
            Event::TypeDeleted {
                calendar,
                type_id,
                last,
            } => {
                let mut delete = self.connection.prepare_cached(DELETE_TYPE)?;
                let (key, time) = (self.calendars.key(calendar)?, change.time.seconds());
                delete.execute(params![key, type_id.as_str(), time, last.is_some()])?;
                Ok(())
            }
            Event::BusyPut {
                calendar,
                source,
                busy,
            } => {
                let key = self.calendars.key(calendar)?;
                self.put_busy(key, source, busy)
            }
            Event::Appointment { before, after, .. } => self.appointment(before.as_deref(), after),
            Event::TokenCreated { token } => {
                tokens::insert(self.connection, token, self.principal(&token.creator)?)
            }
            Event::TokenRevoked { id } => tokens::delete(self.connection, id),
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
        let known = KnownCalendar {
            key,
            since: revision,
            version: Revision(0),
            reach_minutes: 0,
        };
        self.calendars.add_new(id, known);
        types.iter().try_for_each(|it| self.put_type(key, it))
    }

    fn put_type(&self, calendar: i64, defined: &AppointmentType) -> Result<(), StoreError> {
        let mut put = self.connection.prepare_cached(PUT_TYPE)?;
        put.execute(params![
            calendar,
            defined.number.0,
            defined.id.as_str(),
            TypeRecord::new(defined).encode_to_vec()
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

    /// Writes the row of an appointment, and collects its claims where they change.
    fn appointment(
        &mut self,
        before: Option<&Appointment>,
        after: &Appointment,
    ) -> Result<(), StoreError> {
        let keeps_indexes = |before: &Appointment| {
            before.start == after.start
                && before.person.invitee.email.key == after.person.invitee.email.key
        };
        let sql = match before {
            None => &*INSERT_APPOINTMENT,
            Some(before) if keeps_indexes(before) => &*UPDATE_IN_PLACE,
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
            // The claims stay as rows; their ends may have moved.
            return after
                .places
                .iter()
                .try_for_each(|place| self.calendars.claim(place, after.start).map(drop));
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
            let calendar = self.calendars.key_of_place(place)?;
            self.claims.push(claim(calendar, before, None));
        }
        for place in &after.places {
            let calendar = self.calendars.claim(place, after.start)?;
            self.claims
                .push(claim(calendar, after, Some(signed(after.key.0))));
        }
        Ok(())
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
            token: request.token.as_ref().map(|id| id.as_str().to_owned()),
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
