//! Appointments, compared with their claims, the reach of their calendars, the keys of their
//! addresses, and their sessions.
//!
//! Each claim is of a place of an appointment, and each place has its claim.

use rusqlite::{OptionalExtension, params};

use super::Comparison;
use crate::fold::email_key;
use crate::store::StoreError;
use crate::store::codec::record::in_row;
use crate::store::sqlite::claims::reach_minutes;
use crate::store::sqlite::copy::count;
use crate::store::sqlite::read::{appointments_by_key, bearer_of};
use crate::store::sqlite::unsettled::Deletions;
use crate::store::sqlite::{rows, walk};
use bookd_core::appointment::Appointment;
use bookd_core::ids::AppointmentKey;

/// How many appointments are in memory at a time.
const PAGE: usize = 1_000;

pub(super) const SELECT_CLAIM: &str =
    "select key from claims where calendar = ?1 and is_over = ?2 and start = ?3 and id = ?4";
const SELECT_CLAIMS: &str = "select calendar, is_over, start, id, key from claims";
const COUNT_CLAIMS: &str = "select count(*) from claims";

impl Comparison<'_> {
    /// Checks all appointments and claims.
    pub(super) fn appointments(&mut self) -> Result<(), StoreError> {
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

    /// Checks the claims of an appointment: one for each place, at its start, with those that are
    /// over if it is over. Returns how many claims there are.
    fn claims_of(&mut self, appointment: &Appointment) -> Result<u64, StoreError> {
        let deletions = Deletions::unsettled(self.connection)?;
        let mut select = self.connection.prepare_cached(SELECT_CLAIM)?;
        let mut claims = 0;
        for place in &appointment.places {
            self.examined += 1;
            let (id, calendar) = (appointment.id, &place.calendar);
            let Some(known) = bearer_of(self.connection, place)? else {
                (self.found)(format!(
                    "appointment {id} is of a calendar {calendar} that is not there"
                ));
                continue;
            };
            let mut claim = |is_over: bool| {
                let by = params![
                    known.key,
                    is_over,
                    appointment.start.seconds(),
                    id.0.as_bytes()
                ];
                select
                    .query_row(by, |row| Ok(rows::key(row, 0)))
                    .optional()?
                    .transpose()
            };
            let is_over = appointment.state.is_over();
            let key = match claim(is_over)? {
                None if is_over && deletions.covers(place) => claim(false)?,
                key => key,
            };
            claims += u64::from(key.is_some());
            if key != Some(appointment.key) {
                (self.found)(format!(
                    "appointment {id} has no claim on calendar {calendar} where it must be"
                ));
            }
            if reach_minutes(place, appointment.start) > known.reach_minutes {
                (self.found)(format!(
                    "appointment {id} ends after what calendar {calendar} says that claims reach"
                ));
            }
        }
        Ok(claims)
    }

    /// Reports the claims that belong to no place of an appointment. Only called when their number
    /// differs from the places.
    fn claims_of_nothing(&mut self) -> Result<(), StoreError> {
        let connection = self.connection;
        let deletions = Deletions::unsettled(connection)?;
        let mut statement = connection.prepare(SELECT_CLAIMS)?;
        let mut claims = statement.query([])?;
        while let Some(row) = claims.next()? {
            let (calendar, claim_is_over, start): (i64, i64, i64) =
                (row.get(0)?, row.get(1)?, row.get(2)?);
            let named = || Ok((rows::appointment_id(row, 3)?, rows::key(row, 4)?));
            let (id, key) = named().map_err(|error| {
                in_row(
                    "claims",
                    format!("({calendar}, {claim_is_over}, {start})"),
                    error,
                )
            })?;
            let appointment = appointments_by_key(connection, &[key])?.pop();
            let appointment = appointment.filter(|it| (it.id, it.start.seconds()) == (id, start));
            let is_over = appointment.as_ref().is_some_and(|it| it.state.is_over());
            let mut has_place = false;
            for place in appointment.iter().flat_map(|it| &it.places) {
                let is_there =
                    i64::from(is_over) == claim_is_over || (is_over && deletions.covers(place));
                has_place |= is_there
                    && bearer_of(connection, place)?.is_some_and(|known| known.key == calendar);
            }
            if !has_place {
                (self.found)(format!(
                    "the claim of appointment {id} at {start} on calendar row {calendar} is of no place"
                ));
            }
        }
        Ok(())
    }
}
