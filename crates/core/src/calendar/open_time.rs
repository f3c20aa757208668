//! Open time as instants: the stretches that the windows of each local date give, with their grids
//! of starts.
//!
//! Stretches are disjoint and in order. Each lies on one local date and in one segment of the zone,
//! in which the clock does not change.

use std::collections::VecDeque;

use crate::calendar::availability::{Availability, Days, Rule};
use crate::time::interval::Interval;
use crate::time::zone::{Segment, Zone};
use crate::time::{DAY, Instant, LocalDate, MINUTE, Minutes, Wall};

/// An interval of a local date whose instants lie in the same windows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch {
    /// The interval, as instants.
    pub interval: Interval,
    /// The local date of the whole interval.
    pub date: LocalDate,
    /// The starts of the windows that contain the interval, by the offset that the clock has in it:
    /// of the window of the date before, which reaches past midnight, and of the window of the date
    /// itself.
    anchors: [Option<Instant>; 2],
}

impl Stretch {
    /// The first start of each grid at or after `at`, as if the stretch had no end.
    #[inline]
    pub fn candidates(&self, at: Instant, step: Minutes) -> [Option<Instant>; 2] {
        let candidate = |anchor: Option<Instant>| {
            let anchor = anchor.filter(|anchor| anchor.is_whole_minute())?;
            // Most searches ask for the whole window.
            if at == anchor {
                return Some(anchor);
            }
            // The two lie within three days of each other, so that the faster division of 32 bits
            // is enough.
            let seconds = u32::try_from(at.since(anchor)).ok()?;
            let step = step.minutes().max(1) * MINUTE as u32;
            Some(anchor.plus(i64::from(seconds.div_ceil(step) * step)))
        };
        let [night, day] = self.anchors;
        [candidate(night), candidate(day)]
    }

    /// Whether `start`, within the stretch, is on one of its grids.
    pub fn is_candidate(&self, start: Instant, step: Minutes) -> bool {
        self.candidates(start, step).contains(&Some(start))
    }

    /// The starts of the windows that contain the interval.
    pub fn anchors(&self) -> impl Iterator<Item = Instant> {
        self.anchors.into_iter().flatten()
    }
}

/// The stretches within a range of instants, one local date at a time.
pub struct OpenTime<'a> {
    zone: &'a Zone,
    days: Days<'a>,
    /// The range that is not read yet.
    range: Interval,
    segment: Segment,
    /// The next date to read, in the segment.
    date: LocalDate,
    last_date: LocalDate,
    /// The window of the date before that reaches past midnight: start and end in minutes after
    /// that date's midnight.
    spill: Option<(u16, u16)>,
}

impl<'a> OpenTime<'a> {
    /// The open time within `range`, by the weekly rules of the type or, if it has none, those of
    /// the calendar.
    pub fn new(
        zone: &'a Zone,
        availability: &'a Availability,
        type_rules: &'a [Rule],
        range: Interval,
    ) -> Self {
        let segment = zone.segment_at(range.start);
        let mut days = availability.days(type_rules);
        let (date, last_date, spill) = dates_of(&mut days, segment, range);
        Self {
            zone,
            days,
            range,
            segment,
            date,
            last_date,
            spill,
        }
    }

    /// Appends the stretches of the next date, which may have none; false when no dates are left.
    pub fn fill(&mut self, stretches: &mut VecDeque<Stretch>) -> bool {
        if self.range.is_empty() {
            return false;
        }
        if self.date > self.last_date {
            self.range.start = Instant::from_seconds(self.segment.end);
            if self.range.is_empty() {
                self.range.end = self.range.start;
                return false;
            }
            self.segment = self.zone.segment_at(self.range.start);
            (self.date, self.last_date, self.spill) =
                dates_of(&mut self.days, self.segment, self.range);
        }
        self.fill_date(stretches);
        self.date = self.date.plus(1);
        true
    }

    /// The instant before which every stretch that begins is appended.
    pub fn reached(&self) -> Instant {
        let next = if self.date > self.last_date {
            Instant::from_seconds(self.segment.end)
        } else {
            instant_of(self.date.midnight(), self.segment)
        };
        if self.range.is_empty() {
            Instant::MAX
        } else {
            next
        }
    }

    fn fill_date(&mut self, stretches: &mut VecDeque<Stretch>) {
        let date = self.date;
        let midnight = instant_of(date.midnight(), self.segment);
        let clip = Interval::new(
            self.range.start,
            self.range.end.min(Instant::from_seconds(self.segment.end)),
        )
        .intersection(Interval::new(midnight, midnight.plus(DAY)));
        let spill = self
            .spill
            .filter(|_| !self.days.is_overridden(date))
            .map(|(start, end)| {
                let before = midnight.plus(-DAY);
                (
                    before.plus(i64::from(start) * MINUTE),
                    before.plus(i64::from(end) * MINUTE),
                )
            });
        let windows = self.days.windows(date);
        let mut push = |start: Instant, end: Instant, anchors: [Option<Instant>; 2]| {
            let interval = Interval::new(start, end).intersection(clip);
            if !interval.is_empty() {
                stretches.push_back(Stretch {
                    interval,
                    date,
                    anchors,
                });
            }
        };
        // Time that only the window of the night before opens lies between `at` and the next
        // window.
        let (night, night_end) =
            spill.map_or((None, midnight), |(anchor, end)| (Some(anchor), end));
        let mut at = midnight;
        for window in windows {
            let start = midnight.plus(i64::from(window.start_minutes()) * MINUTE);
            let end = midnight.plus(i64::from(window.end_minutes()) * MINUTE);
            if at < night_end {
                push(at, start.min(night_end), [night, None]);
                push(start, end.min(night_end), [night, Some(start)]);
            }
            push(start.max(night_end), end, [None, Some(start)]);
            at = end;
        }
        if at < night_end {
            push(at, night_end, [night, None]);
        }
        self.spill = spill_of(windows);
    }
}

/// The first and last date of the segment within the range, and the window of the date before that
/// reaches into the first.
fn dates_of(
    days: &mut Days<'_>,
    segment: Segment,
    range: Interval,
) -> (LocalDate, LocalDate, Option<(u16, u16)>) {
    let wall = |instant: Instant| {
        Wall::from_seconds(instant.seconds().saturating_add(i64::from(segment.offset)))
    };
    let first = wall(range.start.max(Instant::from_seconds(segment.start))).date();
    let last = wall(range.end.min(Instant::from_seconds(segment.end)).plus(-1)).date();
    let spill = spill_of(days.windows(first.plus(-1)));
    (first, last, spill)
}

/// The last window, if it reaches into the next date. An earlier window cannot, because it would
/// overlap the last one.
fn spill_of(windows: &[crate::calendar::availability::Window]) -> Option<(u16, u16)> {
    let last = windows
        .last()
        .map(|window| (window.start_minutes(), window.end_minutes()));
    last.filter(|(_, end)| *end > crate::calendar::availability::DAY_MINUTES)
}

/// The instant at which the segment's clock shows `wall`.
fn instant_of(wall: Wall, segment: Segment) -> Instant {
    Instant::from_seconds(wall.seconds().saturating_sub(i64::from(segment.offset)))
}
