//! Instants and wall time as integers: `Instant` (seconds UTC), `Wall` (seconds of a local clock),
//! `LocalDate` (days).
//!
//! Nothing here knows a time zone; `zone` alone converts between `Instant` and `Wall`.

pub mod interval;
pub mod zone;

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, Timelike};

/// The seconds of a minute.
pub const MINUTE: i64 = 60;
/// The seconds of an hour.
pub const HOUR: i64 = 60 * MINUTE;
/// The seconds of a day of 24 hours.
pub const DAY: i64 = 24 * HOUR;

/// A whole number of seconds since 1970-01-01T00:00:00Z, leap seconds not counted (POSIX time).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Instant(i64);

impl Instant {
    /// 0001-01-01T00:00:00Z, the first instant of `google.protobuf.Timestamp`.
    pub const MIN: Self = Self(-62_135_596_800);
    /// 9999-12-31T23:59:59Z, the last whole second of `google.protobuf.Timestamp`.
    pub const MAX: Self = Self(253_402_300_799);

    /// The instant this many seconds after 1970-01-01T00:00:00Z.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// The instant this many seconds later, saturating.
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }

    /// Seconds from `earlier` to `self`; negative when `earlier` is later.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Whether the seconds of this instant are `:00`, as starts must be.
    pub const fn is_whole_minute(self) -> bool {
        self.0.rem_euclid(MINUTE) == 0
    }
}

/// RFC 3339 in UTC, as people and logs read it: `2027-03-14T07:00:00Z`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (Self::MIN..=Self::MAX).contains(self)
            && let Some(digits) = Digits::of(Wall(self.0))
        {
            return digits.write(f, 20);
        }
        let Some(utc) = DateTime::from_timestamp(self.0, 0) else {
            return write!(f, "{}s", self.0);
        };
        let (year, month, day) = (utc.year(), utc.month(), utc.day());
        let (hour, minute, second) = (utc.hour(), utc.minute(), utc.second());
        // As chrono shows years of other than four digits.
        match year {
            0..=9_999 => write!(f, "{year:04}")?,
            _ => write!(f, "{year:+05}")?,
        }
        write!(f, "-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl fmt::Debug for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A length of time in whole minutes: durations, steps, buffers and stays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Minutes(u32);

impl Minutes {
    /// A length of zero.
    pub const ZERO: Self = Self(0);
    /// Seven days, the longest duration, step or buffer that can be asked for.
    pub const ASKED_MAX: Self = Self(7 * 24 * 60);
    /// 402 days, longer than any appointment: 400 nights, from the first hour of the first date to
    /// the last hour of the last one, with a change of the clock between.
    pub const MAX: Self = Self(402 * 24 * 60);

    /// The length of this many minutes; none when longer than `MAX`.
    pub const fn new(minutes: u32) -> Option<Self> {
        if minutes <= Self::MAX.0 {
            Some(Self(minutes))
        } else {
            None
        }
    }

    /// The length in minutes.
    pub const fn minutes(self) -> u32 {
        self.0
    }

    /// The length in seconds.
    pub const fn seconds(self) -> i64 {
        self.0 as i64 * MINUTE
    }
}

/// A length of time in whole seconds, from nothing to 100,000 days: notices, cut-offs and hold
/// lengths.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Seconds(i64);

impl Seconds {
    /// A length of zero.
    pub const ZERO: Self = Self(0);
    /// 100,000 days, as far as a horizon reaches.
    pub const MAX: Self = Self(100_000 * DAY);

    /// The length of this many seconds; none when negative or longer than `MAX`.
    pub const fn new(seconds: i64) -> Option<Self> {
        if 0 <= seconds && seconds <= Self::MAX.0 {
            Some(Self(seconds))
        } else {
            None
        }
    }

    /// The length in seconds.
    pub const fn seconds(self) -> i64 {
        self.0
    }
}

/// A local date as days since 1970-01-01 in the proleptic Gregorian calendar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalDate(i32);

impl LocalDate {
    /// 0001-01-01, the first date that `YYYY-MM-DD` can express.
    pub const MIN: Self = Self(-719_162);
    /// 9999-12-31, the last date that `YYYY-MM-DD` can express.
    pub const MAX: Self = Self(2_932_896);

    /// The date this many days after 1970-01-01.
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Days since 1970-01-01.
    pub const fn days(self) -> i32 {
        self.0
    }

    /// The date this many days later, saturating.
    pub const fn plus(self, days: i32) -> Self {
        Self(self.0.saturating_add(days))
    }

    /// 0 = Monday … 6 = Sunday.
    pub const fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday. So many weeks more make the sum positive, which the compiler
        // divides faster.
        ((self.0 as i64 + 3 + 7 * (1 << 31)) as u64 % 7) as u8
    }

    /// Midnight at the beginning of this date, as wall time.
    pub const fn midnight(self) -> Wall {
        Wall(self.0 as i64 * DAY)
    }

    /// The Monday of the week of this date (ISO 8601: weeks begin on Monday).
    pub const fn first_of_week(self) -> Self {
        self.plus(-(self.weekday() as i32))
    }

    /// The first day of the month.
    pub fn first_of_month(self) -> Self {
        self.civil()
            .and_then(|date| date.with_day(1))
            .map_or(self, Self::from)
    }

    /// The first of January.
    pub fn first_of_year(self) -> Self {
        self.civil()
            .and_then(|date| NaiveDate::from_ymd_opt(date.year(), 1, 1))
            .map_or(self, Self::from)
    }

    /// The date as a type of chrono; none outside chrono's range.
    pub fn civil(self) -> Option<NaiveDate> {
        NaiveDate::from_epoch_days(self.0)
    }
}

impl From<NaiveDate> for LocalDate {
    fn from(date: NaiveDate) -> Self {
        Self(date.to_epoch_days())
    }
}

/// Reads `YYYY-MM-DD` and nothing else, so that one day has one text: not also `2027-1-5`.
impl FromStr for LocalDate {
    type Err = InvalidDate;

    fn from_str(text: &str) -> Result<Self, InvalidDate> {
        let bytes = text.as_bytes();
        let is_shaped = bytes.len() == 10
            && bytes.iter().enumerate().all(|(i, b)| {
                if i == 4 || i == 7 {
                    *b == b'-'
                } else {
                    b.is_ascii_digit()
                }
            });
        if !is_shaped {
            return Err(InvalidDate);
        }
        let digits = |range: std::ops::Range<usize>| {
            bytes[range]
                .iter()
                .fold(0u32, |value, digit| value * 10 + u32::from(digit - b'0'))
        };
        let year = i32::try_from(digits(0..4)).map_err(|_| InvalidDate)?;
        if year == 0 {
            return Err(InvalidDate);
        }
        NaiveDate::from_ymd_opt(year, digits(5..7), digits(8..10))
            .map(Self::from)
            .ok_or(InvalidDate)
    }
}

impl fmt::Display for LocalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(digits) = Digits::of(self.midnight()) {
            return digits.write(f, 10);
        }
        match self.civil() {
            Some(date) => write!(
                f,
                "{:04}-{:02}-{:02}",
                date.year(),
                date.month(),
                date.day()
            ),
            None => write!(f, "day {}", self.0),
        }
    }
}

impl fmt::Debug for LocalDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a date written `YYYY-MM-DD` between 0001-01-01 and 9999-12-31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a date; write YYYY-MM-DD, such as 2027-03-14")]
pub struct InvalidDate;

/// A local time: seconds since 1970-01-01T00:00:00 of the same clock, in any zone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wall(i64);

impl Wall {
    /// The local time this many seconds after 1970-01-01T00:00:00 on the same clock.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since 1970-01-01T00:00:00 on this clock.
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// The local date.
    pub const fn date(self) -> LocalDate {
        LocalDate(self.0.div_euclid(DAY) as i32)
    }

    /// Seconds since midnight, `0..86_400`.
    pub const fn clock(self) -> i64 {
        self.0.rem_euclid(DAY)
    }

    /// The local time this many seconds later on the same clock, saturating.
    pub const fn plus(self, seconds: i64) -> Self {
        Self(self.0.saturating_add(seconds))
    }
}

/// `2027-03-14T09:00`, with seconds only where there are any.
impl fmt::Display for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clock = self.clock();
        if let Some(digits) = Digits::of(*self) {
            return digits.write(f, if clock % MINUTE == 0 { 16 } else { 19 });
        }
        write!(
            f,
            "{}T{:02}:{:02}",
            self.date(),
            clock / HOUR,
            clock % HOUR / MINUTE
        )?;
        if clock % MINUTE != 0 {
            write!(f, ":{:02}", clock % MINUTE)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Wall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text `2027-03-14T07:00:00Z`, with which the texts of instants, dates and local times begin.
/// It is written digit by digit, because every refusal shows some of them and the formatter takes
/// five times as long.
struct Digits([u8; 20]);

impl Digits {
    /// The digits; none for a year that does not have four.
    fn of(wall: Wall) -> Option<Self> {
        let date = wall.date().civil()?;
        let year = u32::try_from(date.year())
            .ok()
            .filter(|year| *year <= 9_999)?;
        let clock = wall.clock() as u32;
        let mut text = *b"0000-00-00T00:00:00Z";
        let mut put = |at: usize, number: u32| {
            text[at] = b'0' | (number / 10) as u8;
            text[at + 1] = b'0' | (number % 10) as u8;
        };
        put(0, year / 100);
        put(2, year % 100);
        put(5, date.month());
        put(8, date.day());
        put(11, clock / 3_600);
        put(14, clock / 60 % 60);
        put(17, clock % 60);
        Some(Self(text))
    }

    /// Writes the first `characters` of it in one call.
    fn write(&self, f: &mut fmt::Formatter<'_>, characters: usize) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0[..characters]).map_err(|_| fmt::Error)?)
    }
}
