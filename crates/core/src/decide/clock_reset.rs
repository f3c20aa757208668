//! The decision that brings a store back to a clock that is right, after it had believed one that was ahead.
//!
//! What the wrong clock stamped stays as it is, for it was told to people and programs; only what it would still keep
//! from others is put right: holds that would take their time until it comes true.

use std::sync::Arc;

use super::At;
use super::lifecycle::HOLD_SECONDS_MAX;
use crate::appointment::{Appointment, AppointmentState, Image};
use crate::change::{AppointmentEvent, Cause, Change, Event};
use crate::ids::Caller;
use crate::state::State;
use crate::time::Instant;

/// The change of a reset to `now`: a mark, with an event for each of the waiting appointments that ends earlier. A hold ends at the latest when one made now could: whoever has it keeps it as long as the
/// longest hold, and then its time is free. Requests (PENDING) end with their start, which no clock changes.
pub fn reset_clock(state: &State, waiting: &[Arc<Appointment>], now: Instant) -> Change {
    let at = At { state, now };
    let latest = now.plus(HOLD_SECONDS_MAX);
    let is_too_long = |it: &&Arc<Appointment>| {
        it.state == AppointmentState::Held
            && it
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
