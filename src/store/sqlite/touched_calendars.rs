//! The calendars that a transaction touches, with the state of each once the transaction is
//! committed.
//!
//! An id may be borne by one calendar after the other. The newest bearer stands for the id, deleted
//! or not: changes of an appointment on an older bearer are in the history of the id. The older
//! ones still have claims.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::Connection;

use super::KnownCalendar;
use super::claims::reach_minutes;
use super::read::{bearer_of, bearers};
use crate::store::StoreError;
use bookd_core::appointment::Place;
use bookd_core::ids::{CalendarId, Revision};
use bookd_core::time::Instant;

/// A calendar that the transaction touches.
#[derive(Clone, Copy)]
pub(super) struct TouchedCalendar {
    /// The calendar once the transaction is committed.
    pub(super) known: KnownCalendar,
    /// Whether the writer has the calendar in memory then.
    pub(super) is_loaded: bool,
}

impl TouchedCalendar {
    /// A calendar that the writer does not have in memory.
    fn unloaded(found: Option<KnownCalendar>, id: &CalendarId) -> Result<Self, StoreError> {
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

/// The calendars that a transaction touches.
pub(super) struct TouchedCalendars<'a> {
    connection: &'a Connection,
    /// The calendars that the writer has in memory.
    known: &'a HashMap<CalendarId, KnownCalendar>,
    /// The touched bearers of each id, the newest of all bearers first.
    by_id: HashMap<CalendarId, Vec<TouchedCalendar>>,
}

impl<'a> TouchedCalendars<'a> {
    /// No calendar yet.
    pub(super) fn new(
        connection: &'a Connection,
        known: &'a HashMap<CalendarId, KnownCalendar>,
    ) -> Self {
        Self {
            connection,
            known,
            by_id: HashMap::new(),
        }
    }

    /// Every touched calendar.
    pub(super) fn all(&self) -> impl Iterator<Item = &KnownCalendar> {
        self.by_id.values().flatten().map(|it| &it.known)
    }

    /// The newest bearer of each touched id.
    pub(super) fn into_newest(self) -> impl Iterator<Item = (CalendarId, TouchedCalendar)> {
        self.by_id.into_iter().map(|(id, bearers)| (id, bearers[0]))
    }

    /// Adds a calendar that the transaction created.
    pub(super) fn add_new(&mut self, id: &CalendarId, known: KnownCalendar) {
        self.by_id.entry(id.clone()).or_default().insert(
            0,
            TouchedCalendar {
                known,
                is_loaded: true,
            },
        );
    }

    /// Notes that a change touched a calendar. Returns the revision that touched it before.
    pub(super) fn touch(
        &mut self,
        id: &CalendarId,
        revision: Revision,
    ) -> Result<Revision, StoreError> {
        let known = &mut self.newest(id)?.known;
        Ok(std::mem::replace(&mut known.version, revision))
    }

    /// Notes that the writer drops a calendar from memory.
    pub(super) fn unload(&mut self, id: &CalendarId) -> Result<(), StoreError> {
        self.newest(id)?.is_loaded = false;
        Ok(())
    }

    /// The key of the newest calendar that bears an id.
    pub(super) fn key(&mut self, id: &CalendarId) -> Result<i64, StoreError> {
        Ok(self.newest(id)?.known.key)
    }

    /// The last change that touched the newest calendar that bears an id.
    pub(super) fn version(&mut self, id: &CalendarId) -> Result<Revision, StoreError> {
        Ok(self.newest(id)?.known.version)
    }

    /// The key of the calendar that a place of an appointment is of: the one that bore the id then.
    pub(super) fn key_of_place(&mut self, place: &Place) -> Result<i64, StoreError> {
        Ok(self.of_place(place)?.known.key)
    }

    /// Notes how far a claim reaches beyond the start by which it is found. Returns the key of its
    /// calendar.
    pub(super) fn claim(&mut self, place: &Place, start: Instant) -> Result<i64, StoreError> {
        let known = &mut self.of_place(place)?.known;
        known.reach_minutes = known.reach_minutes.max(reach_minutes(place, start));
        Ok(known.key)
    }

    fn of_place(&mut self, place: &Place) -> Result<&mut TouchedCalendar, StoreError> {
        let connection = self.connection;
        let bearers = self.bearers(&place.calendar)?;
        let at = match bearers.iter().position(|it| it.known.since == place.since) {
            Some(at) => at,
            None => {
                bearers.push(TouchedCalendar::unloaded(
                    bearer_of(connection, place)?,
                    &place.calendar,
                )?);
                bearers.len() - 1
            }
        };
        Ok(&mut bearers[at])
    }

    fn newest(&mut self, id: &CalendarId) -> Result<&mut TouchedCalendar, StoreError> {
        Ok(&mut self.bearers(id)?[0])
    }

    /// The touched bearers of an id, the newest of all bearers among them.
    fn bearers(&mut self, id: &CalendarId) -> Result<&mut Vec<TouchedCalendar>, StoreError> {
        Ok(match self.by_id.entry(id.clone()) {
            Entry::Occupied(touched) => touched.into_mut(),
            Entry::Vacant(touched) => {
                let newest = match self.known.get(id) {
                    Some(known) => TouchedCalendar {
                        known: *known,
                        is_loaded: true,
                    },
                    None => TouchedCalendar::unloaded(bearers(self.connection, id, 1)?.pop(), id)?,
                };
                touched.insert(vec![newest])
            }
        })
    }
}
