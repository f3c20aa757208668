//! Open and taken time of a calendar as plain intervals.
//!
//! No interval says which appointment takes it.

use std::collections::VecDeque;

use crate::calendar::Calendar;
use crate::calendar::open_time::OpenTime;
use crate::time::Instant;
use crate::time::interval::{Interval, union};

/// The open time by the calendar's own hours within the range, sorted and disjoint.
pub fn open(calendar: &Calendar, range: Interval) -> Vec<Interval> {
    let availability = &calendar.profile.availability;
    let mut open = OpenTime::new(calendar.zone(), availability, &[], range);
    let mut stretches = VecDeque::new();
    while open.fill(&mut stretches) {}
    union(
        stretches
            .iter()
            .map(|stretch| stretch.interval.intersection(range))
            .collect(),
    )
}

/// The taken time within the range, buffers and external calendars included, sorted and disjoint.
/// `past` is the time that was taken before `kept_from`, which the calendar in memory no longer
/// holds.
pub fn busy(
    calendar: &Calendar,
    range: Interval,
    now: Instant,
    past: &[Interval],
) -> Vec<Interval> {
    let past = past.iter().copied().filter(|period| period.overlaps(range));
    let claims = calendar
        .claims
        .overlapping(range)
        .filter(|claim| claim.is_alive(now))
        .map(|claim| claim.padded());
    let external = calendar
        .busy
        .merged()
        .iter()
        .copied()
        .filter(|period| period.overlaps(range));
    union(
        past.chain(claims)
            .chain(external)
            .map(|taken| taken.intersection(range))
            .collect(),
    )
}
