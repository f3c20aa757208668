//! The texts of broken rules, for a developer at 3 a.m.: the rule, its numbers, and a value that
//! would be accepted.
//!
//! Instants are in UTC with the calendar's local time in brackets; no text names a person or an
//! appointment.

use std::fmt::{self, Write};

use crate::calendar::appointment_type::AppointmentType;
use crate::calendar::limits::{Exceeded, PeriodKind};
use crate::slots::violation::ViolationCode;
use crate::time::interval::Interval;
use crate::time::zone::Zone;
use crate::time::{DAY, HOUR, Instant, LocalDate, MINUTE, Minutes, Seconds, Wall};

pub(crate) fn paused() -> String {
    "the calendar is paused and accepts no bookings".to_owned()
}

pub(crate) fn duration(asked: Minutes, appointment_type: &AppointmentType) -> String {
    let allowed =
        std::iter::once(&appointment_type.duration).chain(&appointment_type.duration_options);
    let allowed: Vec<String> = allowed.map(|duration| length(duration.seconds())).collect();
    format!(
        "a duration of {} is not offered; the type allows {}",
        length(asked.seconds()),
        allowed.join(", ")
    )
}

pub(crate) fn past(now: Instant, zone: &Zone) -> String {
    format!("the start is before now, {}", at(now, zone))
}

pub(crate) fn notice(min_notice: Seconds, earliest: Instant, zone: &Zone) -> String {
    format!(
        "min_notice is {}: the earliest start is {}",
        length(min_notice.seconds()),
        at(earliest, zone)
    )
}

pub(crate) fn horizon(horizon_days: u32, last_date: LocalDate, asked: LocalDate) -> String {
    format!(
        "horizon_days is {horizon_days}: the last local date is {last_date}, and the start is on {asked}"
    )
}

pub(crate) fn outside(closed: Interval, zone: &Zone) -> String {
    let (from, to) = (zone.wall(closed.start), zone.wall(closed.end));
    format!("not open from {from} to {to} local time, which the slot needs")
}

pub(crate) fn misaligned(step: Minutes, anchors: &[Wall], asked: Wall) -> String {
    let step = length(step.seconds());
    let anchors: Vec<String> = anchors.iter().map(Wall::to_string).collect();
    let anchors = anchors.join(" or ");
    format!("starts are every {step} from {anchors} local time, and {asked} is none of them")
}

pub(crate) fn busy_claim(code: ViolationCode, taken: Interval, zone: &Zone) -> String {
    let what = if code == ViolationCode::BusyHold {
        "a hold"
    } else {
        "an appointment"
    };
    let mut text = String::with_capacity(160);
    let (from, to) = (at(taken.start, zone), at(taken.end, zone));
    write!(text, "{what} takes {from} to {to}, buffers included").expect("a string takes any text");
    text
}

pub(crate) fn busy_external(taken: Interval, zone: &Zone) -> String {
    format!(
        "an external calendar is busy from {} to {}",
        at(taken.start, zone),
        at(taken.end, zone)
    )
}

pub(crate) fn capacity(capacity: u32) -> String {
    format!("the session is full: its capacity is {capacity}")
}

pub(crate) fn limits(exceeded: &[Exceeded]) -> String {
    let mut text = String::new();
    for Exceeded {
        limit,
        period,
        sessions,
    } in exceeded
    {
        let whose = if limit.of_type.is_some() {
            "the type"
        } else {
            "the calendar"
        };
        let (name, date) = match period.kind {
            PeriodKind::Day => ("per_day", "on"),
            PeriodKind::Week => ("per_week", "in the week from"),
            PeriodKind::Month => ("per_month", "in the month from"),
            PeriodKind::Year => ("per_year", "in the year from"),
        };
        let separator = if text.is_empty() { "" } else { "; " };
        let (most, first_date) = (limit.sessions_max, period.first_date);
        write!(
            text,
            "{separator}{name} of {whose} is {most}, and {sessions} start {date} {first_date}"
        )
        .expect("a string takes any text");
    }
    text
}

/// `2027-03-26T08:00:00Z (2027-03-26T09:00 local time)`.
struct InstantAndWall(Instant, Wall);

impl fmt::Display for InstantAndWall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} local time)", self.0, self.1)
    }
}

fn at(instant: Instant, zone: &Zone) -> InstantAndWall {
    InstantAndWall(instant, zone.wall(instant))
}

/// `90 min`, `1 h`, `2 d`, `45 s`: in the largest unit that divides it.
fn length(seconds: i64) -> String {
    let units = [(DAY, "d"), (HOUR, "h"), (MINUTE, "min")];
    let whole = units
        .into_iter()
        .find(|(unit, _)| seconds != 0 && seconds % unit == 0);
    whole.map_or_else(
        || format!("{seconds} s"),
        |(unit, name)| format!("{} {name}", seconds / unit),
    )
}
