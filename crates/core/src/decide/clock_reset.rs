//! The decision that resets a store to the right clock after it had believed one that was ahead.
//!
//! Times that the wrong clock stamped stay, because people and programs have seen them. Only holds
//! are corrected: they would keep their time until the right clock reaches their expiry.

use std::sync::Arc;

use super::At;
use super::lifecycle::HOLD_SECONDS_MAX;
use crate::appointment::{Appointment, AppointmentState, Image};
use crate::change::{AppointmentEvent, Cause, Change, Event};
use crate::ids::Caller;
use crate::state::State;
use crate::time::Instant;

/// The change of a reset to `now`: a mark, with an event for each of the waiting appointments that
/// expires earlier by it. A hold expires at the latest when the longest hold that is made now
/// would. Requests (PENDING) expire at their start, which no clock changes.
pub fn reset_clock(state: &State, waiting: &[Arc<Appointment>], now: Instant) -> Change {
    let at = At::unbounded(state, now);
    let latest = now.plus(HOLD_SECONDS_MAX);
    let is_too_long = |hold: &&Arc<Appointment>| {
        hold.state == AppointmentState::Held
            && hold
                .expire_time
                .is_some_and(|expire_time| expire_time > latest)
    };
    let shortened = |before: &Arc<Appointment>| -> Event {
        let after = before.with_image(Image {
            expire_time: Some(latest),
            ..before.image.clone()
        });
        at.event(AppointmentEvent::Shortened, before, after).0
    };
    let events = waiting.iter().filter(is_too_long).map(shortened).collect();
    let (revision, cause, caller) = (at.revision(), Cause::ClockReset, Caller::default());
    Change {
        revision,
        time: now,
        cause,
        caller,
        events,
    }
}
