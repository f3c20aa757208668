//! Why a time cannot be had: the rules that a slot breaks, and the nearest slots that break none.
//!
//! A violation names nobody: the appointments in the way are for Explain alone.

use std::fmt;

use crate::ids::{AppointmentKey, CalendarId};
use crate::time::interval::Interval;

/// Why a time cannot be had, and which times near it can.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SlotRefusal {
    /// What was asked for.
    pub slot: Interval,
    /// All that fail, in the order of scheduling.md; never empty.
    pub violations: Vec<Violation>,
    /// The last slot offered before.
    pub nearest_before: Option<Interval>,
    /// The first slot offered after.
    pub nearest_after: Option<Interval>,
    /// Within how many days either way these two were looked for; 0 where nobody looked.
    pub nearest_days: i64,
}

impl SlotRefusal {
    /// Whether a rule was broken; else a race was lost.
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
    /// Not every instant is open.
    OutsideAvailability,
    /// The start is off the grid.
    Misaligned,
    /// An appointment has that time.
    BusyBooking,
    /// A hold has that time.
    BusyHold,
    /// An external calendar has that time.
    BusyExternal,
    /// The session is full.
    Capacity,
    /// A limit is reached.
    Limit,
}

impl ViolationCode {
    /// Whether it is a broken rule, whoever comes first; else a lost race.
    pub const fn is_rule(self) -> bool {
        !matches!(
            self,
            Self::BusyBooking | Self::BusyHold | Self::BusyExternal | Self::Capacity | Self::Limit
        )
    }

    /// As scheduling.md writes it.
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
    /// Which rule.
    pub code: ViolationCode,
    /// Of which calendar.
    pub calendar: CalendarId,
    /// The rule with its numbers, for people: `min_notice is 1 h: the earliest start is 2027-03-26T08:00:00Z`.
    pub rule: String,
    /// The time that is in the way, where there is one.
    pub interval: Option<Interval>,
    /// The appointments in the way, at most `CONFLICTS_MAX`; for Explain alone.
    pub conflicts: Vec<AppointmentKey>,
}

/// How many conflicting appointments Explain names.
pub const CONFLICTS_MAX: usize = 20;
