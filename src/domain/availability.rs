//! Availability: weekly rules and date overrides, and the windows they give each date.
//!
//! Windows of one date are sorted and neither overlap nor touch; windows of different dates are never merged.

use std::collections::BTreeMap;
use std::fmt;

use super::appointment_type::AppointmentType;
use super::time::{LocalDate, MINUTE, Wall};

/// Minutes of a day.
pub const DAY_MINUTES: u16 = 24 * 60;
/// The most weekly rules of a calendar.
pub const CALENDAR_RULES_MAX: usize = 100;
/// The most weekly rules of an appointment type.
pub const TYPE_RULES_MAX: usize = 1_000;
/// The most dates of a calendar that may have an override.
pub const OVERRIDES_MAX: usize = 1_000;
/// The most windows of one override.
pub const OVERRIDE_WINDOWS_MAX: usize = 100;

/// A half-open stretch of clock time `[start, end)` that begins on a local date, in minutes after its midnight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Window {
    start: u16,
    end: u16,
}

/// Why two clock times are no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// The start is 24:00 or later.
    #[error("start_time must be before 24:00")]
    StartTooLate,
    /// The end is not after the start.
    #[error("end_time must be after start_time")]
    Empty,
    /// The end lies after 48:00, or the window is longer than a day.
    #[error("a window is at most 24 hours long and ends at 48:00 at the latest")]
    TooLong,
}

impl Window {
    /// `start` and `end` in minutes after midnight of the window's date; an end after 24:00 reaches into the next date.
    pub const fn new(start: u16, end: u16) -> Result<Self, InvalidWindow> {
        if start >= DAY_MINUTES {
            return Err(InvalidWindow::StartTooLate);
        }
        if end <= start {
            return Err(InvalidWindow::Empty);
        }
        if end - start > DAY_MINUTES {
            return Err(InvalidWindow::TooLong);
        }
        Ok(Self { start, end })
    }

    /// Minutes after midnight, `0..1440`.
    pub const fn start_minutes(self) -> u16 {
        self.start
    }

    /// Minutes after midnight, `1..=2880`.
    pub const fn end_minutes(self) -> u16 {
        self.end
    }
}

/// Days of the week as a set; bit 0 is Monday.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Weekdays(u8);

impl Weekdays {
    /// Monday to Sunday.
    pub const ALL: Self = Self(0b111_1111);
    /// No day.
    pub const NONE: Self = Self(0);

    /// The set with one more day, 0 = Monday … 6 = Sunday.
    pub const fn with(self, weekday: u8) -> Self {
        Self(self.0 | 1 << (weekday % 7))
    }

    /// Whether the day, 0 = Monday … 6 = Sunday, is in the set.
    pub const fn contains(self, weekday: u8) -> bool {
        self.0 >> weekday & 1 == 1
    }

    /// The days in the set, Monday first.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..7).filter(move |weekday| self.contains(*weekday))
    }

    /// Bit 0 is Monday.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// The set whose bits these are; bits above Sunday are dropped.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits & Self::ALL.0)
    }
}

impl fmt::Debug for Weekdays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Hours that repeat every week, perhaps only between two dates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rule {
    /// On which days; never empty.
    pub weekdays: Weekdays,
    /// Which hours of them.
    pub window: Window,
    /// The first date, none = since ever.
    pub first_date: Option<LocalDate>,
    /// The last date, inclusive; none = for ever.
    pub last_date: Option<LocalDate>,
}

/// Hours that replace the rules of one date.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Override {
    /// None = closed.
    pub windows: Vec<Window>,
    /// For people; at most 200 characters.
    pub note: String,
}

/// When a calendar is open: its weekly rules and its overrides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Availability {
    /// At most `CALENDAR_RULES_MAX`.
    pub rules: Vec<Rule>,
    /// At most `OVERRIDES_MAX`.
    pub overrides: BTreeMap<LocalDate, Override>,
}

impl Rule {
    fn applies_on(&self, date: LocalDate) -> bool {
        self.weekdays.contains(date.weekday())
            && self.first_date.is_none_or(|first| first <= date)
            && self.last_date.is_none_or(|last| date <= last)
    }
}

/// The hours that one appointment type of a calendar goes by: its own rules or the calendar's, under the overrides.
#[derive(Clone, Copy, Debug)]
pub struct Hours<'a> {
    rules: &'a [Rule],
    overrides: &'a BTreeMap<LocalDate, Override>,
}

impl<'a> Hours<'a> {
    /// Of a type, or of the calendar itself where there is none.
    pub fn new(availability: &'a Availability, appointment_type: Option<&'a AppointmentType>) -> Self {
        let own = appointment_type.map_or(&[][..], |it| &it.rules);
        let rules = if own.is_empty() { &availability.rules } else { own };
        Self { rules, overrides: &availability.overrides }
    }

    /// The windows of a date, sorted, those that overlap or touch as one, into `windows`.
    pub fn windows(self, date: LocalDate, windows: &mut Vec<Window>) {
        windows.clear();
        match self.overrides.get(&date) {
            Some(hours) => windows.extend_from_slice(&hours.windows),
            None => windows.extend(self.rules.iter().filter(|rule| rule.applies_on(date)).map(|rule| rule.window)),
        }
        merge(windows);
    }

    /// Whether what the windows of the date before leave for `date` is cut off.
    pub fn is_overridden(self, date: LocalDate) -> bool {
        !self.overrides.is_empty() && self.overrides.contains_key(&date)
    }

    /// The wall time through which a window of `date` is open: beyond midnight only if no override cuts it off.
    pub fn stretch(self, date: LocalDate, window: Window) -> (Wall, Wall) {
        let midnight = date.midnight();
        let is_cut = window.end > DAY_MINUTES && self.is_overridden(date.plus(1));
        let end = if is_cut { DAY_MINUTES } else { window.end };
        (midnight.plus(i64::from(window.start) * MINUTE), midnight.plus(i64::from(end) * MINUTE))
    }
}

fn merge(windows: &mut Vec<Window>) {
    if windows.len() < 2 {
        return;
    }
    windows.sort_unstable();
    let mut kept = 0;
    for index in 1..windows.len() {
        let window = windows[index];
        if window.start <= windows[kept].end {
            windows[kept].end = windows[kept].end.max(window.end);
        } else {
            kept += 1;
            windows[kept] = window;
        }
    }
    windows.truncate(kept + 1);
}
