//! When a series repeats: the instants that a rule names in wall time.
//!
//! The clock time stays, whatever the clock does: a date that lacks it is skipped and not counted (RFC 5545 §3.3.10),
//! and one that has it twice means the first (§3.3.5). Only the first occurrence is the instant that was asked for.

use chrono::{Datelike, NaiveDate};

use crate::calendar::claims::Claim;
use crate::field_violation::FieldViolation;
use crate::time::zone::{LocalInstants, Zone};
use crate::time::{Instant, LocalDate, Wall};

/// The most occurrences of one series.
pub const OCCURRENCES_MAX: usize = 366;
/// The most days, weeks or months from one occurrence to the next.
pub const INTERVAL_MAX: u16 = 366;
/// The most dates that are looked at: of those that a rule steps to at least one in eight exists, which is so of the 29th
/// of February over a year such as 2100. More pass only where a clock once counted seconds.
const STEPS_MAX: i32 = 16 * OCCURRENCES_MAX as i32;

/// How often a series repeats.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Frequency {
    /// Every day, or every so many.
    Daily,
    /// On the same weekday.
    Weekly,
    /// On the same day of the month.
    Monthly,
}

/// When a series ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Ending {
    /// After so many occurrences, 1 to `OCCURRENCES_MAX`.
    Count(u16),
    /// With the last one on or before this local date.
    Until(LocalDate),
}

/// The rule of a series.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Recurrence {
    /// How often.
    pub frequency: Frequency,
    /// Every so many days, weeks or months, 1 to `INTERVAL_MAX`.
    pub interval: u16,
    /// Until when.
    pub ending: Ending,
}

impl Recurrence {
    /// The date of a step, counted from the first; none when the month lacks that day.
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

/// When one occurrence is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OccurrenceTime {
    /// What a clock in the series' zone shows.
    pub local_start: Wall,
    /// When it does.
    pub start: Instant,
}

/// When the occurrences of a series that begins at `start` are, in order. Refused is an end before the beginning, and a
/// rule that names more than `OCCURRENCES_MAX` or goes on beyond what can be booked.
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
        // Where a zone once counted seconds, no whole minute of UTC may show that time.
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
