//! The check of derived data: all that follows from other rows or from the log is computed again
//! and compared.
//!
//! That is claims and their reach, versions and deletions, keys of addresses, sessions, original
//! starts, what changes replaced, and which tokens there are.
//!
//! ```text
//! changes ──▶ history of each calendar ──▶ calendars, versions, types
//!    └──────▶ original starts, what was replaced, where schema 4 begins, tokens
//! appointments ──▶ claims, reaches, keys of addresses, sessions
//! claims ──▶ appointments, where there are more claims than places
//! ```
//!
//! Each table is read once, in the order of its keys. Only the histories of calendars are all in
//! memory at once.

mod appointments;
mod calendars;
mod sessions;
mod tokens;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use rusqlite::{Connection, OptionalExtension, Row};

use super::SELECT_META;
use super::history::Histories;
use super::log::{replaced, revision};
use super::rows::{self, signed};
use super::segments::{CHANGE_COLUMNS, ChangeRow, WantedEvents};
use super::upgrade::SESSIONS_FROM;
use crate::store::StoreError;
use crate::store::codec::change::is_whole;
use crate::store::codec::record;
use bookd_core::change::{AppointmentEvent, Cause};
use bookd_core::ids::{AppointmentKey, CalendarId, Revision, TypeId};
use bookd_core::log::{CalendarEvent, Earlier, LogEvent, LoggedAppointment, Replaced, What};
use bookd_core::time::Instant;

use tokens::TokenLog;

static SELECT_CHANGES: LazyLock<String> =
    LazyLock::new(|| format!("select {CHANGE_COLUMNS} order by c.revision"));
const SELECT_OCCURRENCE: &str = "select original_start from appointments where key = ?1";
const SELECT_REVISION_OF: &str = "select revision from appointments where key = ?1";

/// Compares all derived data. Calls `found` with each difference in words, and returns how many
/// facts were compared.
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
    let (histories, token_log) = comparison.log()?;
    comparison.tokens(token_log);
    comparison.calendars(histories)?;
    comparison.appointments()?;
    comparison.sessions()?;
    Ok(comparison.examined)
}

/// The state of the comparison.
struct Comparison<'a> {
    connection: &'a Connection,
    /// The first revision at which a session was one set of places: `Boot::sessions_from`.
    sessions_from: Revision,
    /// How many facts were compared.
    examined: u64,
    /// Receives each difference.
    found: &'a mut dyn FnMut(String),
}

fn instant_or_null(row: &Row<'_>, column: usize) -> Result<Option<Instant>, StoreError> {
    row.get::<_, Option<i64>>(column)?
        .map(record::instant)
        .transpose()
}

impl Comparison<'_> {
    fn differs(&mut self, what: String) {
        (self.found)(what);
    }

    /// Checks the log, and returns the histories of calendars that it has, and what it says of
    /// tokens.
    fn log(&mut self) -> Result<(Histories, TokenLog), StoreError> {
        let connection = self.connection;
        let (mut histories, mut token_log) = (Histories::default(), TokenLog::new(connection)?);
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
            token_log.add(&change);
            change.walk(connection, 0, &WantedEvents::ALL, |_, bytes| {
                let event = change.event(connection, bytes)?;
                if let What::Appointment(logged) = &event.what {
                    images_whole = Some(images_whole.unwrap_or(true) && is_whole(bytes)?);
                    self.original_start(logged)?;
                }
                replacing.add(&event);
                histories.add(&change.entry, &event);
                Ok(ControlFlow::Continue(()))
            })?;
            if is_sound && images_whole == Some(is_early) {
                let from = self.sessions_from;
                self.differs(format!(
                    "schema 4 does not begin at revision {from}: revision {revision} says otherwise"
                ));
                is_sound = false;
            }
            if !replaced(connection, revision).is_ok_and(|it| replacing.matches(&it, is_early)) {
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
        // The note stays when its change is removed from the log.
        if noted != reset && (reset.is_some() || noted >= histories.oldest) {
            self.differs("the note of the last clock reset is not that of the log".to_owned());
        }
        Ok((histories, token_log))
    }

    /// Checks the original start of an occurrence, which is the start that it was booked for. An
    /// imported occurrence has the original start of its file.
    fn original_start(&mut self, logged: &LoggedAppointment) -> Result<(), StoreError> {
        if !matches!(
            logged.kind,
            AppointmentEvent::Booked | AppointmentEvent::Held
        ) {
            return Ok(());
        }
        let mut select = self.connection.prepare_cached(SELECT_OCCURRENCE)?;
        let row = |row: &Row<'_>| Ok(instant_or_null(row, 0));
        let original_start = select
            .query_row([signed(logged.key.0)], row)
            .optional()?
            .transpose()?
            .flatten();
        if let Some(other) = original_start.filter(|start| *start != logged.after.start) {
            let (id, start) = (logged.id, logged.after.start);
            (self.found)(format!(
                "the original start of appointment {id} is {other}; it was booked for {start}"
            ));
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
}

/// The profiles and types that the events of a change replace.
#[derive(Default)]
struct Replacing {
    profiles: Vec<CalendarId>,
    types: HashSet<(CalendarId, TypeId)>,
}

impl Replacing {
    fn add(&mut self, event: &LogEvent) {
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

    /// Whether the change keeps what its events replace. Changes from before schema 4 may keep
    /// nothing.
    fn matches(&self, replaced: &[Replaced], is_early: bool) -> bool {
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

/// Every read of these files that does not go over a whole table, for the test of their plans.
#[cfg(test)]
pub(super) const STATEMENTS: [&str; 4] = [
    SELECT_OCCURRENCE,
    calendars::SELECT_TYPES,
    appointments::SELECT_CLAIM,
    SELECT_REVISION_OF,
];
