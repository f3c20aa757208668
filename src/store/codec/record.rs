//! Single values of stored messages and columns: each is read within the range that it can have.
//!
//! A value outside of its range, or a message that cannot be read back, is damage, and never a
//! panic.

use std::fmt::Display;

use prost::Message;

use bookd_core::appointment::IgnoredRules;
use bookd_core::ids::{AppointmentKey, CalendarId, Revision, TypeId};
use bookd_core::time::zone::OFFSET_MAX;
use bookd_core::time::{Instant, LocalDate, Minutes, Seconds, Wall};

use crate::store::StoreError;

/// The error of a stored value that cannot be read; `what` names the value.
pub(crate) fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("{what} cannot be read"))
}

/// Adds table and row to an error that is damage.
pub(crate) fn in_row(table: &str, row: impl Display, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(what) => {
            StoreError::Damaged(format!("{what}, in row {row} of table {table}"))
        }
        other => other,
    }
}

/// Decodes a message; bytes that are not one are damage.
pub(crate) fn decode<M: Message + Default>(bytes: &[u8], what: &str) -> Result<M, StoreError> {
    M::decode(bytes).map_err(|_| damaged(what))
}

/// The largest revision or key that is read: a column must also hold the next one.
const COUNTED_MAX: u64 = i64::MAX as u64 - 1;

/// A stored revision: 0 to `COUNTED_MAX`, where 0 is before all changes.
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

/// A stored key of an appointment: 1 to `COUNTED_MAX`.
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

/// A stored instant, in seconds UTC, within the range of timestamps.
pub(crate) fn instant(seconds: i64) -> Result<Instant, StoreError> {
    let instant = Instant::from_seconds(seconds);
    if (Instant::MIN..=Instant::MAX).contains(&instant) {
        Ok(instant)
    } else {
        Err(damaged("a time"))
    }
}

/// A stored wall time, in seconds of the local clock: one that the clock of some zone may show at
/// an instant.
pub(crate) fn wall(seconds: i64) -> Result<Wall, StoreError> {
    let furthest = i64::from(OFFSET_MAX);
    let shown = Instant::MIN.plus(-furthest).seconds()..=Instant::MAX.plus(furthest).seconds();
    if shown.contains(&seconds) {
        Ok(Wall::from_seconds(seconds))
    } else {
        Err(damaged("a wall time"))
    }
}

/// A stored local date, in days, within the range of `YYYY-MM-DD`.
pub(crate) fn date(days: i32) -> Result<LocalDate, StoreError> {
    let date = LocalDate::from_days(days);
    if (LocalDate::MIN..=LocalDate::MAX).contains(&date) {
        Ok(date)
    } else {
        Err(damaged("a date"))
    }
}

/// A stored number within a range; `what` names the value.
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

/// A stored duration in minutes: at least one.
pub(crate) fn duration(value: u32) -> Result<Minutes, StoreError> {
    let length = minutes(value)?;
    if length == Minutes::ZERO {
        return Err(damaged("a duration"));
    }
    Ok(length)
}

/// A stored buffer in minutes: at most `Minutes::ASKED_MAX`.
pub(crate) fn buffer(value: u32) -> Result<Minutes, StoreError> {
    let length = minutes(value)?;
    if length > Minutes::ASKED_MAX {
        return Err(damaged("a buffer"));
    }
    Ok(length)
}

/// A stored length of time in minutes.
pub(crate) fn minutes(value: u32) -> Result<Minutes, StoreError> {
    Minutes::new(value).ok_or_else(|| damaged("a length of time"))
}

/// A stored length of time in seconds.
pub(crate) fn seconds(value: i64) -> Result<Seconds, StoreError> {
    Seconds::new(value).ok_or_else(|| damaged("a length of time"))
}

pub(crate) fn calendar_id(text: &str) -> Result<CalendarId, StoreError> {
    CalendarId::parse(text).map_err(|_| damaged("a calendar's id"))
}

pub(crate) fn type_id(text: &str) -> Result<TypeId, StoreError> {
    TypeId::parse(text).map_err(|_| damaged("a type's id"))
}

/// Ignored rules as bits.
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

/// Ignored rules from bits; a bit of no rule is damage.
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
