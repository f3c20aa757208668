//! Why a slot is refused: the rules that it breaks, and the nearest slots that break none.
//!
//! The appointments in the way are for Explain alone; a refusal does not name them.

use std::fmt;

use crate::ids::{AppointmentKey, CalendarId};
use crate::time::interval::Interval;

/// A refused slot: the rules that it breaks, and the nearest slots that can be booked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotRefusal {
    /// The slot that was asked for.
    pub slot: Interval,
    /// All broken rules, in the order of [`ViolationCode`]; never empty.
    pub violations: Vec<Violation>,
    /// The last offered slot that starts before it.
    pub nearest_before: Option<Interval>,
    /// The first offered slot that starts after it.
    pub nearest_after: Option<Interval>,
    /// Within how many days each way these two were searched; 0 = they were not searched.
    pub nearest_days: i64,
}

impl SlotRefusal {
    /// Whether a rule was broken; otherwise another booking came first.
    pub fn is_rule_broken(&self) -> bool {
        self.violations
            .iter()
            .any(|violation| violation.code.is_rule())
    }
}

/// The rules of a slot, in the order in which they are reported.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ViolationCode {
    /// The calendar accepts no bookings.
    CalendarPaused,
    /// The type does not have that duration.
    Duration,
    /// The start is before now.
    InThePast,
    /// The start is sooner than the notice.
    Notice,
    /// The start is beyond the horizon.
    Horizon,
    /// Not every instant of the slot is open.
    OutsideAvailability,
    /// The start is off the grid.
    Misaligned,
    /// An appointment takes some of the time.
    BusyBooking,
    /// A hold takes some of the time.
    BusyHold,
    /// An external calendar is busy for some of the time.
    BusyExternal,
    /// The session is full.
    Capacity,
    /// A limit is reached.
    Limit,
}

impl ViolationCode {
    /// Whether the slot breaks a rule even without other bookings; otherwise another booking came
    /// first.
    pub const fn is_rule(self) -> bool {
        match self {
            Self::CalendarPaused
            | Self::Duration
            | Self::InThePast
            | Self::Notice
            | Self::Horizon
            | Self::OutsideAvailability
            | Self::Misaligned => true,
            Self::BusyBooking
            | Self::BusyHold
            | Self::BusyExternal
            | Self::Capacity
            | Self::Limit => false,
        }
    }

    /// The name of the code in the contract.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CalendarPaused => "CALENDAR_PAUSED",
            Self::Duration => "DURATION",
            Self::InThePast => "IN_THE_PAST",
            Self::Notice => "NOTICE",
            Self::Horizon => "HORIZON",
            Self::OutsideAvailability => "OUTSIDE_AVAILABILITY",
            Self::Misaligned => "MISALIGNED",
            Self::BusyBooking => "BUSY_BOOKING",
            Self::BusyHold => "BUSY_HOLD",
            Self::BusyExternal => "BUSY_EXTERNAL",
            Self::Capacity => "CAPACITY",
            Self::Limit => "LIMIT",
        }
    }
}

impl fmt::Display for ViolationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One rule that a slot breaks on one calendar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The code of the rule.
    pub code: ViolationCode,
    /// The calendar that refuses the slot.
    pub calendar: CalendarId,
    /// The rule with its numbers, as text for people: `min_notice is 1 h: the earliest start is
    /// 2027-03-26T08:00:00Z`.
    pub rule: String,
    /// The time that is in the way, where there is one.
    pub interval: Option<Interval>,
    /// The appointments in the way, at most `CONFLICTS_MAX`; for Explain alone.
    pub conflicts: Vec<AppointmentKey>,
}

/// The most conflicting appointments that Explain names for one violation.
pub const CONFLICTS_MAX: usize = 20;
