//! Availability: weekly rules and date overrides, and the windows they give each date.
//!
//! Windows of one date are sorted and neither overlap nor touch; windows of different dates are
//! never merged.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use crate::time::LocalDate;

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

/// A half-open stretch of clock time `[start, end)` that begins on a local date, in minutes after
/// its midnight.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Window {
    start: u16,
    end: u16,
}

/// Why two clock times are not a window.
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
    /// `start` and `end` in minutes after midnight of the window's date; an end after 24:00 reaches
    /// into the next date.
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
    /// The days of the week; never empty.
    pub weekdays: Weekdays,
    /// The hours on each of these days.
    pub window: Window,
    /// The first date; none = no first date.
    pub first_date: Option<LocalDate>,
    /// The last date, inclusive; none = no last date.
    pub last_date: Option<LocalDate>,
}

/// Hours that replace the rules of one date.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Override {
    /// The windows of the date; empty = closed.
    pub windows: Vec<Window>,
    /// For people; at most 200 characters.
    pub note: String,
}

/// The open hours of a calendar: its weekly rules and its overrides.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Availability {
    /// The weekly rules, at most `CALENDAR_RULES_MAX`.
    pub rules: Vec<Rule>,
    /// The overrides by date, at most `OVERRIDES_MAX`.
    pub overrides: BTreeMap<LocalDate, Override>,
}

impl Availability {
    /// The windows of `date` by the weekly rules of the type or, if it has none, those of the
    /// calendar.
    pub fn windows(&self, type_rules: &[Rule], date: LocalDate) -> Vec<Window> {
        self.days(type_rules).windows(date).to_vec()
    }

    /// The windows of many dates, as `windows` gives those of one.
    pub fn days<'a>(&'a self, type_rules: &'a [Rule]) -> Days<'a> {
        let rules = if type_rules.is_empty() {
            &self.rules
        } else {
            type_rules
        };
        let mut rules = Cow::Borrowed(rules);
        if !rules.is_sorted_by_key(|rule| rule.window) {
            rules.to_mut().sort_by_key(|rule| rule.window);
        }
        Days {
            rules,
            week: Week::default(),
            overrides: &self.overrides,
            upcoming: None,
            scratch: Vec::new(),
        }
    }
}

/// The windows of each date. Fast when the dates are asked for in order.
pub struct Days<'a> {
    /// The rules sorted by window, so that windows are merged without being sorted again.
    rules: Cow<'a, [Rule]>,
    week: Week,
    overrides: &'a BTreeMap<LocalDate, Override>,
    upcoming: Option<Upcoming<'a>>,
    scratch: Vec<Window>,
}

/// The next override at or after the last asked date.
struct Upcoming<'a> {
    asked: LocalDate,
    next: Option<(LocalDate, &'a Override)>,
    rest: std::collections::btree_map::Range<'a, LocalDate, Override>,
}

/// The windows of each weekday, for the dates on which the same rules apply.
struct Week {
    first_date: LocalDate,
    last_date: LocalDate,
    windows: Vec<Window>,
    /// The range of `windows` of each weekday; none until the weekday is asked for.
    of_weekday: [Option<(u32, u32)>; 7],
}

impl Default for Week {
    fn default() -> Self {
        let (first_date, last_date) = (LocalDate::from_days(1), LocalDate::from_days(0));
        Self {
            first_date,
            last_date,
            windows: Vec::with_capacity(7),
            of_weekday: [None; 7],
        }
    }
}

impl<'a> Days<'a> {
    /// The windows of `date`, sorted; windows that overlap or touch are merged.
    pub fn windows(&mut self, date: LocalDate) -> &[Window] {
        if let Some(of_date) = self.override_of(date) {
            self.scratch.clear();
            self.scratch.extend_from_slice(&of_date.windows);
            self.scratch.sort_unstable();
            merge(&mut self.scratch, 0);
            return &self.scratch;
        }
        if date < self.week.first_date || self.week.last_date < date {
            self.week.restart(&self.rules, date);
        }
        self.week.windows(&self.rules, date)
    }

    /// Whether `date` has an override, which also ends a window of the date before that reaches
    /// past midnight.
    pub fn is_overridden(&mut self, date: LocalDate) -> bool {
        self.override_of(date).is_some()
    }

    #[inline]
    fn override_of(&mut self, date: LocalDate) -> Option<&'a Override> {
        if self.overrides.is_empty() {
            return None;
        }
        let overrides = self.overrides;
        if self
            .upcoming
            .as_ref()
            .is_none_or(|upcoming| date < upcoming.asked)
        {
            let mut rest = overrides.range(date..);
            let next = rest.next().map(|(date, of_date)| (*date, of_date));
            self.upcoming = Some(Upcoming {
                asked: date,
                next,
                rest,
            });
        }
        let upcoming = self.upcoming.as_mut()?;
        upcoming.asked = date;
        while upcoming.next.is_some_and(|(next, _)| next < date) {
            upcoming.next = upcoming.rest.next().map(|(date, of_date)| (*date, of_date));
        }
        upcoming
            .next
            .filter(|(next, _)| *next == date)
            .map(|(_, of_date)| of_date)
    }
}

impl Week {
    /// Prepares for the dates around `date` on which the same rules apply.
    fn restart(&mut self, rules: &[Rule], date: LocalDate) {
        (self.first_date, self.last_date) = (
            LocalDate::from_days(i32::MIN),
            LocalDate::from_days(i32::MAX),
        );
        for rule in rules {
            // The set of rules changes on the first date of a rule, and on the day after its last
            // date.
            let ends_before = rule.last_date.map(|last| last.plus(1));
            for change in [rule.first_date, ends_before].into_iter().flatten() {
                if change <= date {
                    self.first_date = self.first_date.max(change);
                } else {
                    self.last_date = self.last_date.min(change.plus(-1));
                }
            }
        }
        self.windows.clear();
        self.of_weekday = [None; 7];
    }

    fn windows(&mut self, rules: &[Rule], date: LocalDate) -> &[Window] {
        let weekday = usize::from(date.weekday());
        let (start, end) = match self.of_weekday[weekday] {
            Some(known) => known,
            None => {
                let gathered = self.gather(rules, date);
                *self.of_weekday[weekday].insert(gathered)
            }
        };
        &self.windows[start as usize..end as usize]
    }

    /// Appends the windows of a weekday, and returns their range. Not inlined, because most dates
    /// do not need it.
    #[inline(never)]
    fn gather(&mut self, rules: &[Rule], date: LocalDate) -> (u32, u32) {
        let start = self.windows.len();
        let applying = rules.iter().filter(|rule| rule.applies_on(date));
        self.windows.extend(applying.map(|rule| rule.window));
        merge(&mut self.windows, start);
        (start as u32, self.windows.len() as u32)
    }
}

impl Rule {
    /// Whether the rule applies on `date`.
    pub fn applies_on(&self, date: LocalDate) -> bool {
        self.weekdays.contains(date.weekday())
            && self.first_date.is_none_or(|first| first <= date)
            && self.last_date.is_none_or(|last| date <= last)
    }
}

/// Merges those of the sorted `windows[from..]` that overlap or touch. A merged window may be
/// longer than a day.
fn merge(windows: &mut Vec<Window>, from: usize) {
    let mut kept = from;
    for index in from..windows.len() {
        let window = windows[index];
        if kept > from && window.start <= windows[kept - 1].end {
            windows[kept - 1].end = windows[kept - 1].end.max(window.end);
        } else {
            windows[kept] = window;
            kept += 1;
        }
    }
    windows.truncate(kept);
}
