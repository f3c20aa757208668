//! Appointments whose instant no longer has their wall time, because a law changed the rules of
//! their zone.
//!
//! No appointment is moved by it: instant and wall time stay as they were at the booking, and
//! people decide.

use crate::appointment::Appointment;
use crate::time::zone::{LocalInstants, Zone};
use crate::time::{Instant, Wall};

/// Start and local start of an appointment under the zone rules in use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drift {
    /// The local time at its start by the rules in use; none when the release in use does not have
    /// its zone.
    pub local_start: Option<Wall>,
    /// The instant of its stored wall time by the rules in use; none when there is no such instant
    /// or two of them.
    pub start: Option<Instant>,
}

/// The drift of an appointment under the rules of its zone; none when there is none. `zone` is none
/// when the release in use does not have it.
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
