//! Damaged data in the store: commands that meet it are refused, and the others go on.
//!
//! The calendars of such commands are not written to until a restart.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tokio::time::Instant as Deadline;

use crate::store::StoreError;
use bookd_core::calendar::Calendar;
use bookd_core::calendar::claims::Claim;
use bookd_core::ids::{AppointmentId, CalendarId};
use bookd_core::time::Instant;

use super::Failure;
use super::batch::Envelope;
use super::log_throttle::{Line, Throttle};

/// The number of calendars that are remembered. Beyond it each command that meets damage is still
/// refused.
const NOTED_MAX: usize = 100_000;

/// The calendars and expiries that met damage since the start.
#[derive(Default)]
pub(super) struct Damaged {
    calendars: HashSet<CalendarId>,
    /// The expiry times of the holds and requests whose expiry could not be recorded because of
    /// damage.
    pub(super) unrecorded_expiries: HashSet<Instant>,
}

impl Damaged {
    pub(super) fn is_empty(&self) -> bool {
        self.calendars.is_empty() && self.unrecorded_expiries.is_empty()
    }

    /// The number of calendars that are remembered.
    pub(super) fn calendar_count(&self) -> usize {
        self.calendars.len()
    }

    /// Remembers a calendar, and logs it the first time.
    pub(super) fn note(&mut self, id: &CalendarId, error: &StoreError) {
        let is_first = self.calendars.len() < NOTED_MAX && self.calendars.insert(id.clone());
        log_damage(is_first.then_some(id), error);
    }

    /// Why nothing is written to a calendar, if so. `calendar` is the calendar if it is in memory.
    pub(super) fn refusal(&self, id: &CalendarId, calendar: Option<&Calendar>) -> Option<Failure> {
        let is_damaged =
            self.calendars.contains(id) || calendar.is_some_and(|it| self.is_left_with_claims(it));
        is_damaged.then_some(Failure::Damaged)
    }

    /// Whether a calendar has a claim that has expired by the clock and whose expiry cannot be
    /// recorded: a booking of the same time must not become state next to it.
    fn is_left_with_claims(&self, calendar: &Calendar) -> bool {
        let is_left = |claim: &Claim| {
            claim
                .expire_time()
                .is_some_and(|time| self.unrecorded_expiries.contains(&time))
        };
        !self.unrecorded_expiries.is_empty()
            && calendar
                .claims
                .iter()
                .chain(calendar.requests.values())
                .any(is_left)
    }
}

/// Logs damage: at once for a calendar that meets it for the first time, otherwise at most once a
/// second.
pub(super) fn log_damage(calendar: Option<&CalendarId>, error: &StoreError) {
    static MET: Mutex<Throttle> = Mutex::new(Throttle::new());
    if let Some(calendar) = calendar {
        tracing::error!(%calendar, %error, "damage: this calendar is not written to until it is restored");
        return;
    }
    let line = MET
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .failed(1, error, Deadline::now());
    if let Some(Line::Fails { count, why }) = line {
        tracing::error!(error = %why, times = count, "damage was met, and what met it was refused");
    }
}

/// A batch that met damage. Nothing of it happened.
pub(super) struct DamagedBatch {
    pub(super) envelopes: Vec<Envelope>,
    pub(super) due: Vec<(Instant, AppointmentId)>,
    /// The calendars that the batch was about to change.
    pub(super) touched: Vec<CalendarId>,
    pub(super) error: StoreError,
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;
    use bookd_core::appointment::AppointmentState;
    use bookd_core::calendar::Profile;
    use bookd_core::change::new_calendar;
    use bookd_core::ids::{AppointmentKey, TypeNumber};
    use bookd_core::time::zone::Zone;
    use bookd_core::time::{HOUR, Minutes};

    /// A calendar with a hold that expires at this time.
    fn held_until(name: &str, expire_time: Instant) -> Calendar {
        let profile = Profile::open(std::sync::Arc::new(Zone::utc()), Default::default());
        let id = CalendarId::parse(name).unwrap();
        let mut calendar =
            new_calendar(&id, &std::sync::Arc::new(profile), Default::default(), &[]);
        let (hour, none) = (Minutes::new(60).unwrap(), Minutes::ZERO);
        let start = Instant::from_seconds(100 * HOUR);
        let state = AppointmentState::Held;
        let claim = Claim::new(
            AppointmentKey(7),
            TypeNumber(0),
            start,
            hour,
            none,
            none,
            state,
            Some(expire_time),
        );
        calendar.claims.insert(claim);
        calendar
    }

    #[test]
    fn nothing_is_written_to_a_calendar_whose_hold_ran_out_and_cannot_be_ended() {
        let (then, later) = (Instant::from_seconds(10), Instant::from_seconds(11));
        let (mut damaged, left, other) = (
            Damaged::default(),
            held_until("ada", then),
            held_until("lee", later),
        );
        assert!(damaged.is_empty() && damaged.refusal(&left.id, Some(&left)).is_none());
        damaged.unrecorded_expiries.insert(then);
        assert!(!damaged.is_empty());
        assert_eq!(
            damaged.refusal(&left.id, Some(&left)),
            Some(Failure::Damaged)
        );
        assert_eq!(damaged.refusal(&other.id, Some(&other)), None);
        damaged.note(&other.id, &StoreError::Damaged("a page".to_owned()));
        assert_eq!(damaged.refusal(&other.id, None), Some(Failure::Damaged));
    }
}
