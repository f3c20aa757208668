//! A span: the starts of one calendar from an asked one to an end, all with the same verdict.
//!
//! A span may end before the verdict changes, but never after.

use crate::ids::AppointmentKey;
use crate::time::Instant;

/// The starts from the asked one up to `end`: all of them have this verdict, the grid left out of
/// account.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    /// The first start that may be different.
    pub(crate) end: Instant,
    /// How many seats each start has left; 0 = none of them is offered.
    pub(crate) seats: u32,
    /// The key of the first taken seat; 0 where none is taken, because keys begin at 1.
    pub(crate) seat: AppointmentKey,
}

/// Free starts of one grid, at least one: `first`, `first + step`, … before `end`, in minutes since
/// 1970.
#[derive(Clone, Copy)]
pub(crate) struct FreeRun {
    pub(crate) first: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
}

impl Span {
    /// No start before `end` is offered.
    pub(crate) const fn refused(end: Instant) -> Self {
        Self {
            end,
            seats: 0,
            seat: AppointmentKey(0),
        }
    }

    /// Each start before `end` can be booked, and begins a session if the type has sessions.
    pub(crate) const fn free(end: Instant, seats: u32) -> Self {
        Self {
            end,
            seats,
            seat: AppointmentKey(0),
        }
    }
}
