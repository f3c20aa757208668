//! Loading what a decision looks at before it is made: calendars, appointments, series, all of an
//! address.
//!
//! The writer and the decisions on a snapshot load from different sources, by the same rules.

use std::collections::HashSet;

use crate::store::StoreError;
use bookd_core::appointment::{Appointment, EmailKey};
use bookd_core::command::Needs;
use bookd_core::decide::REDACTED_MAX;
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, SeriesId};
use bookd_core::reach::Reach;
use bookd_core::state::State;
use bookd_core::time::Instant;

/// The source of the loaded data, and the state that it goes into.
pub(super) trait PrefetchSource {
    /// The state with everything that is loaded so far.
    fn state(&mut self) -> &mut State;
    /// Loads those of these calendars into the state that are not in it and exist.
    fn load_missing(
        &mut self,
        calendars: &mut dyn Iterator<Item = CalendarId>,
    ) -> Result<(), StoreError>;
    /// Those of these appointments that exist.
    fn appointments(&mut self, ids: &[AppointmentId]) -> Result<Vec<Appointment>, StoreError>;
    /// Those of these appointments that exist.
    fn appointments_by_key(
        &mut self,
        keys: &[AppointmentKey],
    ) -> Result<Vec<Appointment>, StoreError>;
    /// The keys of at most `limit` appointments with this address and all calendars within reach,
    /// the earliest first.
    fn keys_of_email(
        &mut self,
        email: &EmailKey,
        reach: &Reach,
        limit: usize,
    ) -> Result<Vec<AppointmentKey>, StoreError>;
    /// The appointments of a series, by start and id.
    fn series(&mut self, series: SeriesId) -> Result<Vec<Appointment>, StoreError>;
}

/// Loads everything that commands with these needs look at, and the appointments `further`.
pub(super) fn prefetch(
    source: &mut impl PrefetchSource,
    needs: &[Needs],
    further: impl IntoIterator<Item = AppointmentId>,
    now: Instant,
) -> Result<(), StoreError> {
    source.load_missing(&mut needs.iter().flat_map(|it| &it.calendars).cloned())?;
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
    for it in needs {
        if let Some(email) = &it.email {
            keys.extend(source.keys_of_email(email, &it.reach, REDACTED_MAX)?);
        }
    }
    let ids: Vec<AppointmentId> = ids.into_iter().collect();
    if !ids.is_empty() {
        let found = source.appointments(&ids)?;
        add_appointments(source, found)?;
    }
    if !keys.is_empty() {
        let found = source.appointments_by_key(&keys)?;
        add_appointments(source, found)?;
    }
    let series: HashSet<SeriesId> = needs
        .iter()
        .filter_map(|it| it.series_in(source.state()))
        .collect();
    for series in series {
        let found = source.series(series)?;
        add_appointments(source, found)?;
    }
    Ok(())
}

/// Adds appointments to the state, with the calendars that they claim.
pub(super) fn add_appointments(
    source: &mut impl PrefetchSource,
    found: Vec<Appointment>,
) -> Result<(), StoreError> {
    source.load_missing(&mut found.iter().flat_map(|it| it.calendars().cloned()))?;
    source
        .state()
        .appointments
        .extend(found.into_iter().map(|it| (it.id, it.into())));
    Ok(())
}
