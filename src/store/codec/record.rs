//! Single values of stored messages and columns: each is read within the range that it can have.
//!
//! A value outside of its range, or a message that cannot be read back, is damage, and never a panic.

use std::fmt::Display;

use prost::Message;

use bookd_core::appointment::IgnoredRules;
use bookd_core::ids::{AppointmentKey, CalendarId, Revision, TypeId};
use bookd_core::time::zone::OFFSET_MAX;
use bookd_core::time::{Instant, LocalDate, Minutes, Seconds, Wall};

use crate::store::StoreError;

pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} cannot be read"))
}

/// The same, where it is damage, with the row that has it.
pub(crate) fn in_row(table: &str, row: impl Display, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(what) => {
            StoreError::Damaged(format!("{what}, in row {row} of table {table}"))
        }
        other => other,
    }
}

/// A message from bytes; what cannot be one is damage.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8], what: &str) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|_| damaged(what))
}

/// The largest revision and the largest key that are read: a column holds the one after it, too.
const COUNTED_MAX: u64 = i64::MAX as u64 - 1;

/// A revision as it is stored, in a column or in a blob: 0 to `COUNTED_MAX`; 0 is that of no change.
pub(crate) fn revision(value: impl TryInto<u64>) -> Result<Revision, StoreError> {
    counted(value, 0)
        .map(Revision)
        .ok_or_else(|| damaged("a revision"))
}

/// The revision of a change that was made: 1 to `COUNTED_MAX`.
pub(crate) fn revision_of_change(value: impl TryInto<u64>) -> Result<Revision, StoreError> {
    counted(value, 1)
        .map(Revision)
        .ok_or_else(|| damaged("the revision of a change"))
}

/// The key of an appointment as it is stored: 1 to `COUNTED_MAX`.
pub(crate) fn key(value: impl TryInto<u64>) -> Result<AppointmentKey, StoreError> {
    counted(value, 1)
        .map(AppointmentKey)
        .ok_or_else(|| damaged("the key of an appointment"))
}

fn counted(value: impl TryInto<u64>, first: u64) -> Option<u64> {
    value
        .try_into()
        .ok()
        .filter(|it| (first..=COUNTED_MAX).contains(it))
}

/// An instant as it is stored, in seconds UTC: one that a timestamp can say.
pub(crate) fn instant(seconds: i64) -> Result<Instant, StoreError> {
    let instant = Instant::from_seconds(seconds);
    if (Instant::MIN..=Instant::MAX).contains(&instant) {
        Ok(instant)
    } else {
        Err(damaged("a time"))
    }
}

/// What a clock showed, as it is stored, in seconds of that clock: what one of some zone may show at an instant.
pub(crate) fn wall(seconds: i64) -> Result<Wall, StoreError> {
    let furthest = i64::from(OFFSET_MAX);
    let shown = Instant::MIN.plus(-furthest).seconds()..=Instant::MAX.plus(furthest).seconds();
    if shown.contains(&seconds) {
        Ok(Wall::from_seconds(seconds))
    } else {
        Err(damaged("a wall time"))
    }
}

/// A local date as it is stored, in days: one that `YYYY-MM-DD` can say.
pub(crate) fn date(days: i32) -> Result<LocalDate, StoreError> {
    let date = LocalDate::from_days(days);
    if (LocalDate::MIN..=LocalDate::MAX).contains(&date) {
        Ok(date)
    } else {
        Err(damaged("a date"))
    }
}

/// A number as it is stored, within the limits of what it counts.
pub(crate) fn within(
    range: std::ops::RangeInclusive<u32>,
    value: u32,
    what: &str,
) -> Result<u32, StoreError> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(damaged(what))
    }
}

/// How long something lasts: at least a minute.
pub(crate) fn duration(value: u32) -> Result<Minutes, StoreError> {
    minutes(value).and_then(|it| {
        if it == Minutes::ZERO {
            Err(damaged("a duration"))
        } else {
            Ok(it)
        }
    })
}

/// What is kept free before or after.
pub(crate) fn buffer(value: u32) -> Result<Minutes, StoreError> {
    minutes(value).and_then(|it| {
        if it <= Minutes::ASKED_MAX {
            Ok(it)
        } else {
            Err(damaged("a buffer"))
        }
    })
}

pub(crate) fn minutes(value: u32) -> Result<Minutes, StoreError> {
    Minutes::new(value).ok_or_else(|| damaged("a length of time"))
}

pub(crate) fn seconds(value: i64) -> Result<Seconds, StoreError> {
    Seconds::new(value).ok_or_else(|| damaged("a length of time"))
}

pub(crate) fn calendar_id(text: &str) -> Result<CalendarId, StoreError> {
    CalendarId::parse(text).map_err(|_| damaged("a calendar's id"))
}

pub(crate) fn type_id(text: &str) -> Result<TypeId, StoreError> {
    TypeId::parse(text).map_err(|_| damaged("a type's id"))
}

/// The ignored rules as bits.
pub(crate) fn ignored_bits(rules: IgnoredRules) -> u32 {
    let IgnoredRules {
        outside_availability,
        misaligned,
        notice,
        horizon,
        limit,
    } = rules;
    let bits = [outside_availability, misaligned, notice, horizon, limit];
    bits.iter()
        .zip(0..)
        .map(|(bit, position)| u32::from(*bit) << position)
        .sum()
}

/// The bits as ignored rules; a bit of no rule is damage.
pub(crate) fn ignored_rules(bits: u32) -> Result<IgnoredRules, StoreError> {
    let bit = |position: u32| bits >> position & 1 == 1;
    let rules = IgnoredRules {
        outside_availability: bit(0),
        misaligned: bit(1),
        notice: bit(2),
        horizon: bit(3),
        limit: bit(4),
    };
    if ignored_bits(rules) == bits {
        Ok(rules)
    } else {
        Err(damaged("the ignored rules"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_is_what_a_clock_of_some_zone_may_show() {
        let furthest = i64::from(OFFSET_MAX);
        let (first, last) = (
            Instant::MIN.seconds() - furthest,
            Instant::MAX.seconds() + furthest,
        );
        for (seconds, is_sound) in [
            (first, true),
            (first - 1, false),
            (last, true),
            (last + 1, false),
        ] {
            assert_eq!(wall(seconds).is_ok(), is_sound, "{seconds}");
        }
    }
}
