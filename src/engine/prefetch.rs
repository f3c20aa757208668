//! What a decision looks at is brought together before it is made: calendars, appointments, series, all of an address.
//!
//! The writer and those who decide beside it bring it from different places, and by the same rules.

use std::collections::HashSet;

use crate::store::StoreError;
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::command::Needs;
use bookd_core::decide::REDACTED_MAX;
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, SeriesId};
use bookd_core::state::State;
use bookd_core::time::Instant;

/// Where it comes from, and where it goes to.
pub(super) trait PrefetchSource {
    /// What is there so far.
    fn state(&mut self) -> &mut State;
    /// Brings those of these calendars into the state that are not there, and exist.
    fn bring(&mut self, calendars: &mut dyn Iterator<Item = CalendarId>) -> Result<(), StoreError>;
    /// Those of these appointments that there are.
    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these appointments that there are.
    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<Vec<Appointment>, StoreError>;
    /// See `Store`.
    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError>;
    /// See `Store`.
    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError>;
}

/// Brings all that commands with these needs look at, and these appointments.
pub(super) fn gather(
    source: &mut impl PrefetchSource,
    needs: &[Needs],
    further: impl IntoIterator<Item = AppointmentId>,
    now: Instant,
) -> Result<(), StoreError> {
    source.bring(&mut needs.iter().flat_map(|it| &it.calendars).cloned())?;
    let mut keys: Vec<AppointmentKey> = Vec::new();
    for calendar in needs
        .iter()
        .filter_map(|it| source.state().calendars.get(it.all_of.as_ref()?).cloned())
    {
        keys.extend(calendar.upcoming(now));
    }
    let ids: HashSet<AppointmentId> = needs
        .iter()
        .flat_map(|it| it.appointments.iter().copied())
        .chain(further)
        .collect();
    for email in needs.iter().filter_map(|it| it.email.as_ref()) {
        keys.extend(source.keys_of_email(email, REDACTED_MAX)?);
    }
    let ids: Vec<AppointmentId> = ids.into_iter().collect();
    if !ids.is_empty() {
        let found = source.appointments(&ids)?;
        keep(source, found)?;
    }
    if !keys.is_empty() {
        let found = source.appointments_by_key(&keys)?;
        keep(source, found)?;
    }
    let series: HashSet<SeriesId> = needs
        .iter()
        .filter_map(|it| it.series_in(source.state()))
        .collect();
    for series in series {
        let found = source.series(series)?;
        keep(source, found)?;
    }
    Ok(())
}

/// Keeps appointments for the decision, with the calendars that they claim.
pub(super) fn keep(
    source: &mut impl PrefetchSource,
    found: Vec<Appointment>,
) -> Result<(), StoreError> {
    source.bring(&mut found.iter().flat_map(|it| it.calendars().cloned()))?;
    source
        .state()
        .appointments
        .extend(found.into_iter().map(|it| (it.id, it.into())));
    Ok(())
}
