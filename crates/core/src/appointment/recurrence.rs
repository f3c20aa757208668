//! The occurrences of a series: the instants that its rule gives in wall time.
//!
//! Every occurrence has the clock time of the first. A date on which the clock skips that time has
//! no occurrence and does not count (RFC 5545 §3.3.10); on a date that has it twice the first
//! instant is meant (§3.3.5). The first occurrence is always the instant that the request names.

use chrono::{Datelike, NaiveDate};

use crate::calendar::claims::Claim;
use crate::field_violation::FieldViolation;
use crate::time::zone::{LocalInstants, Zone};
use crate::time::{Instant, LocalDate, Wall};

/// The most occurrences of one series.
pub const OCCURRENCES_MAX: usize = 366;
/// The most days, weeks or months from one occurrence to the next.
pub const INTERVAL_MAX: u16 = 366;
/// The most steps of one expansion. At least one in eight steps of a rule leads to a date that
/// exists: the worst case is the 29th of February around a year such as 2100. More steps fail only
/// in zones whose clock once counted seconds.
const STEPS_MAX: i32 = 16 * OCCURRENCES_MAX as i32;

/// How often a series repeats.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Frequency {
    /// Every `interval` days.
    Daily,
    /// Every `interval` weeks, on the weekday of the first occurrence.
    Weekly,
    /// Every `interval` months, on the day of the month of the first occurrence.
    Monthly,
}

/// When a series ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ending {
    /// After this many occurrences, 1 to `OCCURRENCES_MAX`.
    Count(u16),
    /// With the last one on or before this local date.
    Until(LocalDate),
}

/// The rule of a series.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Recurrence {
    /// The unit of `interval`.
    pub frequency: Frequency,
    /// The number of days, weeks or months from one occurrence to the next, 1 to `INTERVAL_MAX`.
    pub interval: u16,
    /// When the series ends.
    pub ending: Ending,
}

impl Recurrence {
    /// The date of a step, counted from the first occurrence; none when the month does not have
    /// that day.
    fn date(&self, first: NaiveDate, step: i32) -> Option<LocalDate> {
        let units = step * i32::from(self.interval);
        match self.frequency {
            Frequency::Daily => Some(LocalDate::from(first).plus(units)),
            Frequency::Weekly => Some(LocalDate::from(first).plus(7 * units)),
            Frequency::Monthly => {
                let months = first.year() * 12 + first.month0().cast_signed() + units;
                let month = months.rem_euclid(12).unsigned_abs() + 1;
                NaiveDate::from_ymd_opt(months.div_euclid(12), month, first.day())
                    .map(LocalDate::from)
            }
        }
    }
}

/// The start of one occurrence.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OccurrenceTime {
    /// The local time in the zone of the series.
    pub local_start: Wall,
    /// The instant.
    pub start: Instant,
}

/// The starts of the occurrences of a series that begins at `start`, in order. Refuses an end
/// before the start, and a rule with more than `OCCURRENCES_MAX` occurrences or with some beyond
/// the years that can be booked.
pub fn expand(
    start: Instant,
    rule: &Recurrence,
    zone: &Zone,
) -> Result<Vec<OccurrenceTime>, FieldViolation> {
    let anchor = zone.wall(start);
    let first = anchor.date();
    let beyond = |field| FieldViolation::new(field, "lies outside the years 1 to 5999");
    let (count, until, field) = match rule.ending {
        Ending::Count(count) => (usize::from(count), None, "count"),
        Ending::Until(until) if until < first => {
            let description = format!(
                "is before the first occurrence, which is on {first} in {}",
                zone.name()
            );
            return Err(FieldViolation::new("until", description));
        }
        Ending::Until(until) => (usize::MAX, Some(until), "until"),
    };
    let Some(civil) = first.civil() else {
        return Err(beyond("start_time"));
    };
    let mut moments = vec![OccurrenceTime {
        local_start: anchor,
        start,
    }];
    for step in 1..STEPS_MAX {
        if moments.len() == count {
            return Ok(moments);
        }
        let Some(date) = rule.date(civil, step) else {
            continue;
        };
        if until.is_some_and(|until| date > until) {
            return Ok(moments);
        }
        let local_start = date.midnight().plus(anchor.clock());
        let start = match zone.instants(local_start) {
            LocalInstants::None { .. } => continue,
            LocalInstants::One(instant) | LocalInstants::Two(instant, _) => instant,
        };
        if start >= Claim::START_END {
            return Err(beyond(field));
        }
        // In a zone whose clock once counted seconds, that time may be no whole minute of UTC.
        if start.is_whole_minute() {
            moments.push(OccurrenceTime { local_start, start });
        }
        if moments.len() > OCCURRENCES_MAX {
            return Err(FieldViolation::new(
                field,
                format!("names more than {OCCURRENCES_MAX} occurrences"),
            ));
        }
    }
    Err(FieldViolation::new(
        field,
        "names too few dates with a whole minute of UTC at that clock time",
    ))
}
