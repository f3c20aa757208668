//! What the file keeps beside the rows and the log that it follows from, worked out anew and compared: claims and how
//! far they reach, versions and deletions, keys of addresses, sessions, original starts, and what changes replaced.
//!
//! ```text
//! changes ──▶ history of each calendar ──▶ calendars, versions, types
//!    └──────▶ original starts, what was replaced, where schema 4 begins
//! appointments ──▶ claims, reaches, keys of addresses, sessions
//! claims ──▶ appointments, where there are more claims than places
//! ```
//!
//! Each table is read once, in the order of its keys: only the histories of calendars are in memory together.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row, params};

use super::copy::count;
use super::history::{Histories, History, TypeChange};
use super::log::{replaced, revision};
use super::read::{appointments_by_key, bearer_of, of_calendar};
use super::rows::{self, signed};
use super::segments::{CHANGE_COLUMNS, ChangeRow, WantedEvents};
use super::unsettled::Deletions;
use super::upgrade::{SESSIONS_FROM, places};
use super::write::reach_minutes;
use super::{SELECT_META, walk};
use crate::fold::email_key;
use crate::store::StoreError;
use crate::store::codec::calendar::TypeRecord;
use crate::store::codec::change::is_whole;
use crate::store::codec::record::{self, decode, in_row};
use bookd_core::appointment::Appointment;
use bookd_core::change::{AppointmentEvent, Cause};
use bookd_core::ids::{AppointmentKey, CalendarId, Revision, TypeId, TypeNumber};
use bookd_core::log::{CalendarEvent, Earlier, LogEvent, LoggedAppointment, Replaced, What};
use bookd_core::time::Instant;

/// How many appointments are in memory at a time.
const PAGE: usize = 1_000;

static SELECT_CHANGES: LazyLock<String> =
    LazyLock::new(|| format!("select {CHANGE_COLUMNS} order by c.revision"));
const SELECT_OCCURRENCE: &str = "select original_start from appointments where key = ?1";
const SELECT_CALENDARS: &str = "select c.key, c.id, c.since, c.revision, c.delete_time, v.version from calendars c \
     left join versions v on v.calendar = c.key order by c.key";
const SELECT_TYPES: &str =
    "select number, id, body, delete_time from types where calendar = ?1 order by number";
const SELECT_CLAIM: &str =
    "select key from claims where calendar = ?1 and is_over = ?2 and start = ?3 and id = ?4";
const SELECT_CLAIMS: &str = "select calendar, is_over, start, id, key from claims";
const COUNT_CLAIMS: &str = "select count(*) from claims";
const SELECT_REVISION_OF: &str = "select revision from appointments where key = ?1";
const SELECT_LAST_TIME: &str =
    "select time from changes where revision < ?1 order by revision desc limit 1";
/// What is in a session since the file was brought to schema 4, as `upgrade` found it: unless it changed later.
const SELECT_SESSIONS: &str = "select start, type_id, duration, places, key, coalesce(session, key) from appointments \
     where revision < ?1 and state in (1, 2, 3, 7, 8) and blocks and (expire_time is null or expire_time > ?2) \
     order by start, key";

/// Compares everything; tells each difference in words, and answers how many facts there were.
pub(super) fn compare(
    connection: &Connection,
    found: &mut dyn FnMut(String),
) -> Result<u64, StoreError> {
    let sessions_from = connection.query_row(SELECT_META, [SESSIONS_FROM], |row| {
        Ok(rows::revision(row, 0))
    })??;
    let last = revision(connection)?;
    if sessions_from == Revision(0) || sessions_from > last.next() {
        found(format!(
            "the note that schema 4 begins at revision {sessions_from} cannot be: the last is {last}"
        ));
    }
    let mut comparison = Comparison {
        connection,
        sessions_from,
        examined: 1,
        found,
    };
    let histories = comparison.log()?;
    comparison.calendars(histories)?;
    comparison.appointments()?;
    comparison.sessions()?;
    Ok(comparison.examined)
}

struct Comparison<'a> {
    connection: &'a Connection,
    /// See `Boot::sessions_from`.
    sessions_from: Revision,
    examined: u64,
    found: &'a mut dyn FnMut(String),
}

/// A row of a calendar beside its history.
struct CalendarOfRow {
    key: i64,
    id: CalendarId,
    since: Revision,
    revision: Revision,
    delete_time: Option<Instant>,
    version: Option<Revision>,
}

fn instant_or_null(row: &Row<'_>, column: usize) -> Result<Option<Instant>, StoreError> {
    row.get::<_, Option<i64>>(column)?
        .map(record::instant)
        .transpose()
}

impl CalendarOfRow {
    fn read(row: &Row<'_>) -> Result<Self, StoreError> {
        Self::of(row)
            .map_err(|error| rows::by_key("calendars, or its row of table versions", row, error))
    }

    fn of(row: &Row<'_>) -> Result<Self, StoreError> {
        Ok(Self {
            key: row.get(0)?,
            id: record::calendar_id(row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?)?,
            since: rows::revision(row, 2)?,
            revision: rows::revision(row, 3)?,
            delete_time: instant_or_null(row, 4)?,
            version: row
                .get::<_, Option<i64>>(5)?
                .map(record::revision)
                .transpose()?,
        })
    }
}

impl Comparison<'_> {
    fn differs(&mut self, what: String) {
        (self.found)(what);
    }

    /// Goes through the log, and answers what it says of calendars.
    fn log(&mut self) -> Result<Histories, StoreError> {
        let connection = self.connection;
        let mut histories = Histories::default();
        let mut statement = connection.prepare(&SELECT_CHANGES)?;
        let mut changes = statement.query([])?;
        let (mut is_sound, mut reset) = (true, None);
        while let Some(row) = changes.next()? {
            self.examined += 1;
            let change = ChangeRow::read(row)?;
            let revision = change.entry.revision;
            let is_early = revision < self.sessions_from;
            let (mut images_whole, mut replacing) = (None, Replacing::default());
            histories.begin(revision);
            change.walk(connection, 0, &WantedEvents::ALL, |_, bytes| {
                let event = change.event(connection, bytes)?;
                if let What::Appointment(it) = &event.what {
                    images_whole = Some(images_whole.unwrap_or(true) && is_whole(bytes)?);
                    self.original_start(it)?;
                }
                replacing.take(&event);
                histories.take(&change.entry, &event);
                Ok(ControlFlow::Continue(()))
            })?;
            if is_sound && images_whole == Some(is_early) {
                let from = self.sessions_from;
                self.differs(format!(
                    "schema 4 does not begin at revision {from}: revision {revision} says otherwise"
                ));
                is_sound = false;
            }
            if !replaced(connection, revision).is_ok_and(|it| replacing.is_of(&it, is_early)) {
                self.differs(format!(
                    "what revision {revision} replaced is not kept as it must be"
                ));
            }
            reset = Some(revision)
                .filter(|_| change.entry.cause == Cause::ClockReset)
                .or(reset);
        }
        let noted = connection.query_row(SELECT_META, ["clock_reset"], |row| {
            Ok(rows::revision_of_change(row, 0))
        });
        let noted = noted.optional()?.transpose()?;
        // One that is no longer in the log may be noted still.
        if noted != reset && (reset.is_some() || noted >= histories.oldest) {
            self.differs("the note of the last clock reset is not that of the log".to_owned());
        }
        Ok(histories)
    }

    /// An occurrence was to begin when it was booked for; one that was imported when its file said.
    fn original_start(&mut self, it: &LoggedAppointment) -> Result<(), StoreError> {
        if !matches!(it.kind, AppointmentEvent::Booked | AppointmentEvent::Held) {
            return Ok(());
        }
        let mut select = self.connection.prepare_cached(SELECT_OCCURRENCE)?;
        let row = |row: &Row<'_>| Ok(instant_or_null(row, 0));
        let original_start = select
            .query_row([signed(it.key.0)], row)
            .optional()?
            .transpose()?
            .flatten();
        if let Some(other) = original_start.filter(|start| *start != it.after.start) {
            let (id, start) = (it.id, it.after.start);
            (self.found)(format!(
                "the original start of appointment {id} is {other}; it was booked for {start}"
            ));
        }
        Ok(())
    }

    fn calendars(&mut self, mut histories: Histories) -> Result<(), StoreError> {
        let connection = self.connection;
        let is_whole = histories.oldest.is_none_or(|it| it == Revision(1));
        let mut statement = connection.prepare(SELECT_CALENDARS)?;
        let mut calendars = statement.query([])?;
        while let Some(row) = calendars.next()? {
            self.examined += 1;
            let row = CalendarOfRow::read(row)?;
            let history = histories.remove(connection, &row.id, row.since)?;
            let id = &row.id;
            match &history {
                Some(history) => self.calendar(&row, history),
                None if is_whole => self.differs(format!("calendar {id} is in no change")),
                None if row.version.is_none_or(|it| Some(it) >= histories.oldest) => {
                    self.differs(format!(
                        "the version of calendar {id} is not the last change that touched it"
                    ));
                }
                None => {}
            }
            self.types(&row, history.unwrap_or_default())?;
        }
        for (id, missing) in histories
            .of
            .iter()
            .filter(|(_, histories)| !histories.is_empty())
        {
            let version = missing[0].version;
            (self.found)(format!(
                "calendar {id}, which revision {version} touched, is not there"
            ));
        }
        Ok(())
    }

    fn calendar(&mut self, row: &CalendarOfRow, history: &History) {
        let id = &row.id;
        if row.version != Some(history.version) {
            let last = history.version;
            self.differs(format!(
                "the version of calendar {id} is not {last}, the last change that touched it"
            ));
        }
        if let Some(changed) = history.changed.filter(|it| *it != row.revision) {
            self.differs(format!(
                "calendar {id} was not last changed by revision {}, but {changed}",
                row.revision
            ));
        }
        let is_deleted = row.delete_time.is_some();
        let is_told = match history.deleted {
            Some(time) => row.delete_time == Some(time),
            None => !is_deleted || history.since.is_none(),
        };
        if !is_told {
            self.differs(format!(
                "calendar {id} is deleted in its row or in the log, and not alike in both"
            ));
        }
    }

    /// A type has a body, and a time of deletion where the log deleted it. Before schema 4 a deleted one had neither.
    fn types(&mut self, calendar: &CalendarOfRow, mut history: History) -> Result<(), StoreError> {
        let of = &calendar.id;
        let mut select = self.connection.prepare_cached(SELECT_TYPES)?;
        let mut types = select.query([calendar.key])?;
        let read = |row: &Row<'_>| {
            let (number, id): (u16, String) = (row.get(0)?, row.get(1)?);
            let (body, deleted) = (row.get::<_, Option<Vec<u8>>>(2)?, instant_or_null(row, 3)?);
            if let Some(body) = &body {
                decode::<TypeRecord>(body, "an appointment type")?.read(&id, TypeNumber(number))?;
            }
            Ok::<_, StoreError>((id, body, deleted))
        };
        while let Some(row) = types.next()? {
            self.examined += 1;
            let (id, body, deleted) = read(row)
                .map_err(|error| in_row("types", of_calendar(row, calendar.key), error))?;
            let is_of_before = body.is_none() && deleted.is_none();
            let is_told = match history.types.remove(&record::type_id(&id)?) {
                Some(last) if last.deleted.is_some() && last.revision < self.sessions_from => {
                    is_of_before
                }
                Some(last) => {
                    let is_defined = body.is_some() || (last.is_imported && last.deleted.is_some());
                    is_defined && deleted == last.deleted
                }
                None if history.since.is_some() => body.is_some() && deleted.is_none(),
                None => !is_of_before || self.sessions_from > Revision(1),
            };
            if !is_told {
                (self.found)(format!(
                    "type {id} of calendar {of} is not as the log left it, deleted or not"
                ));
            }
        }
        for (id, TypeChange { revision, .. }) in history.types {
            (self.found)(format!(
                "type {id} of calendar {of}, which revision {revision} changed, is not there"
            ));
        }
        Ok(())
    }

    fn appointments(&mut self) -> Result<(), StoreError> {
        let (mut key, mut claims) = (AppointmentKey::default(), 0);
        loop {
            let page = walk::appointments(self.connection, key, PAGE)?;
            let Some(last) = page.last() else { break };
            key = last.key;
            for it in &page {
                claims += self.claims_of(it)?;
                let email = &it.person.invitee.email;
                if email_key(&email.written) != email.key {
                    self.differs(format!(
                        "the key of the address of appointment {} is not that of its address",
                        it.id
                    ));
                }
                if it.session != it.key && self.revision_of(it.session)?.is_none() {
                    self.differs(format!(
                        "appointment {} is in the session of an appointment that is not there",
                        it.id
                    ));
                }
            }
        }
        if count(self.connection, COUNT_CLAIMS)? != claims {
            self.claims_of_nothing()?;
        }
        Ok(())
    }

    fn revision_of(&self, key: AppointmentKey) -> Result<Option<Revision>, StoreError> {
        let mut select = self.connection.prepare_cached(SELECT_REVISION_OF)?;
        select
            .query_row([signed(key.0)], |row| Ok(rows::revision(row, 0)))
            .optional()?
            .transpose()
    }

    /// One for each of its places, at its start, beside what is over if it is; answers how many of them there are.
    fn claims_of(&mut self, it: &Appointment) -> Result<u64, StoreError> {
        let deletions = Deletions::unsettled(self.connection)?;
        let mut select = self.connection.prepare_cached(SELECT_CLAIM)?;
        let mut claims = 0;
        for place in &it.places {
            self.examined += 1;
            let (id, calendar) = (it.id, &place.calendar);
            let Some(known) = bearer_of(self.connection, place)? else {
                (self.found)(format!(
                    "appointment {id} is of a calendar {calendar} that is not there"
                ));
                continue;
            };
            let mut claim = |is_over: bool| {
                let by = params![known.key, is_over, it.start.seconds(), id.0.as_bytes()];
                select
                    .query_row(by, |row| Ok(rows::key(row, 0)))
                    .optional()?
                    .transpose()
            };
            let is_over = it.state.is_over();
            let key = match claim(is_over)? {
                None if is_over && deletions.is_of(place) => claim(false)?,
                key => key,
            };
            claims += u64::from(key.is_some());
            if key != Some(it.key) {
                (self.found)(format!(
                    "appointment {id} has no claim on calendar {calendar} where it must be"
                ));
            }
            if reach_minutes(place, it.start) > known.reach_minutes {
                (self.found)(format!(
                    "appointment {id} ends after what calendar {calendar} says that claims reach"
                ));
            }
        }
        Ok(claims)
    }

    /// Claims that are none of an appointment's: there are more claims than places.
    fn claims_of_nothing(&mut self) -> Result<(), StoreError> {
        let connection = self.connection;
        let deletions = Deletions::unsettled(connection)?;
        let mut statement = connection.prepare(SELECT_CLAIMS)?;
        let mut claims = statement.query([])?;
        while let Some(row) = claims.next()? {
            let (calendar, is_over, start): (i64, i64, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let named = || Ok((rows::appointment_id(row, 3)?, rows::key(row, 4)?));
            let (id, key) = named().map_err(|error| {
                in_row("claims", format!("({calendar}, {is_over}, {start})"), error)
            })?;
            let of = appointments_by_key(connection, &[key])?.pop();
            let of = of.filter(|it| (it.id, it.start.seconds()) == (id, start));
            let mut is_of_place = false;
            for place in of.iter().flat_map(|it| &it.places) {
                let is_apart = of.as_ref().is_some_and(|it| it.state.is_over());
                let is_there =
                    i64::from(is_apart) == is_over || (is_apart && deletions.is_of(place));
                is_of_place |= is_there
                    && bearer_of(connection, place)?.is_some_and(|known| known.key == calendar);
            }
            if !is_of_place {
                (self.found)(format!(
                    "the claim of appointment {id} at {start} on calendar row {calendar} is of no place"
                ));
            }
        }
        Ok(())
    }

    /// The sessions of rows that have not changed since they were brought along: the first seat names them all, unless it
    /// has changed.
    fn sessions(&mut self) -> Result<(), StoreError> {
        let connection = self.connection;
        let (from, mut at) = (signed(self.sessions_from.0), i64::MIN);
        let last: Option<i64> = connection
            .query_row(SELECT_LAST_TIME, [from], |row| row.get(0))
            .optional()?;
        let mut sessions = HashMap::new();
        let mut statement = connection.prepare(SELECT_SESSIONS)?;
        // When it was is not known once the log of then is forgotten: what expires is not judged then.
        let mut rows = statement.query([from, last.unwrap_or(i64::MAX)])?;
        let read = |row: &Row<'_>| {
            let (start, type_id, minutes): (i64, String, u32) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let mut set: Vec<_> = places(row, 3, start, minutes)?
                .into_iter()
                .map(|it| (it.calendar, it.since))
                .collect();
            set.sort_unstable();
            Ok((
                start,
                type_id,
                minutes,
                set,
                rows::key(row, 4)?,
                rows::key(row, 5)?,
            ))
        };
        while let Some(row) = rows.next()? {
            self.examined += 1;
            let of_row = |error| {
                in_row(
                    "appointments",
                    row.get::<_, i64>(4).unwrap_or_default(),
                    error,
                )
            };
            let (start, type_id, minutes, set, key, session) = read(row).map_err(of_row)?;
            if start != at {
                sessions.clear();
                at = start;
            }
            let named = match sessions.get(&(type_id.clone(), minutes, set.clone())) {
                Some(named) => *named,
                None if session < key && self.revision_of(session)? >= Some(self.sessions_from) => {
                    session
                }
                None => key,
            };
            sessions.insert((type_id, minutes, set), named);
            if session != named {
                let (key, named) = (key.0, named.0);
                self.differs(format!(
                    "the appointment with key {key} is not in the session of the one with key {named}"
                ));
            }
        }
        Ok(())
    }
}

/// What the events of a change replace.
#[derive(Default)]
struct Replacing {
    profiles: Vec<CalendarId>,
    types: HashSet<(CalendarId, TypeId)>,
}

impl Replacing {
    fn take(&mut self, event: &LogEvent) {
        for touched in &event.calendars {
            match &event.what {
                What::Calendar(CalendarEvent::ProfileChanged) => {
                    self.profiles.push(touched.calendar.clone())
                }
                What::Calendar(CalendarEvent::TypePut(id)) => {
                    self.types.insert((touched.calendar.clone(), id.clone()));
                }
                _ => {}
            }
        }
    }

    /// Whether this is what they replace. Before schema 4 it was not kept.
    fn is_of(&self, replaced: &[Replaced], is_early: bool) -> bool {
        let mut earlier_profiles = Vec::new();
        for Replaced { calendar, earlier } in replaced {
            match earlier {
                Earlier::Profile(_) => earlier_profiles.push(calendar),
                Earlier::Type(of_type)
                    if self.types.contains(&(calendar.clone(), of_type.id.clone())) => {}
                Earlier::Type(_) => return false,
            }
        }
        is_early || self.profiles.iter().eq(earlier_profiles)
    }
}

/// Every read of this room goes over a whole table, or by an index.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 4] = [
    SELECT_OCCURRENCE,
    SELECT_TYPES,
    SELECT_CLAIM,
    SELECT_REVISION_OF,
];
