//! Appointments whose wall time is no longer their instant, because the law changed the rules of their zone.
//!
//! Nothing moves by itself: both are kept since the day of booking, and what to do is for people to say.

use crate::appointment::Appointment;
use crate::time::zone::{LocalInstants, Zone};
use crate::time::{Instant, Wall};

/// How an appointment lies under the rules in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drift {
    /// What a clock shows at its start now; none when the release in use does not have its zone.
    pub local_start: Option<Wall>,
    /// The instant that its stored wall time is now; none when there is none, or two.
    pub start: Option<Instant>,
}

/// How the appointment drifted under the rules of its zone; none when it did not. No zone = it is not in the release.
pub fn drift(appointment: &Appointment, zone: Option<&Zone>) -> Option<Drift> {
    let Some(zone) = zone else {
        return Some(Drift {
            local_start: None,
            start: None,
        });
    };
    let local_start = zone.wall(appointment.start);
    if local_start == appointment.local_start {
        return None;
    }
    let start = match zone.instants(appointment.local_start) {
        LocalInstants::One(start) => Some(start),
        LocalInstants::None { .. } | LocalInstants::Two(..) => None,
    };
    Some(Drift {
        local_start: Some(local_start),
        start,
    })
}
