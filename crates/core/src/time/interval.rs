//! Half-open intervals of instants, and the algebra that listing and booking share.
//!
//! An `Interval` is `[start, end)` with `start <= end`; intervals that only touch do not overlap.

use crate::time::Instant;

/// The instants `t` with `start <= t < end`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Interval {
    /// The first instant inside.
    pub start: Instant,
    /// The first instant outside.
    pub end: Instant,
}

impl Interval {
    /// `[start, end)`; an end before the start makes it empty.
    pub fn new(start: Instant, end: Instant) -> Self {
        Self {
            start,
            end: end.max(start),
        }
    }

    /// Whether no instant lies inside.
    pub const fn is_empty(self) -> bool {
        self.start.seconds() >= self.end.seconds()
    }

    /// Whether the two share an instant. Empty intervals share none.
    pub fn overlaps(self, other: Self) -> bool {
        self.start.max(other.start) < self.end.min(other.end)
    }

    /// Whether `instant` lies inside.
    pub fn contains(self, instant: Instant) -> bool {
        self.start <= instant && instant < self.end
    }

    /// The instants that both have; empty when there are none.
    pub fn intersection(self, other: Self) -> Self {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// The interval with this many seconds more before and after it.
    pub const fn padded(self, before: i64, after: i64) -> Self {
        Self {
            start: self.start.plus(-before),
            end: self.end.plus(after),
        }
    }

    /// Length in seconds.
    pub const fn length(self) -> i64 {
        self.end.since(self.start)
    }
}

/// The union of the intervals in canonical form: sorted, disjoint, not touching and not empty.
pub fn union(mut intervals: Vec<Interval>) -> Vec<Interval> {
    intervals.retain(|interval| !interval.is_empty());
    intervals.sort_unstable();
    let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
    for interval in intervals {
        match merged.last_mut() {
            Some(last) if interval.start <= last.end => last.end = last.end.max(interval.end),
            _ => merged.push(interval),
        }
    }
    merged
}

/// The intervals of `interval` outside `hole`: none, one or two.
pub fn subtract(interval: Interval, hole: Interval) -> impl Iterator<Item = Interval> {
    let left = Interval::new(interval.start, interval.end.min(hole.start));
    let right = Interval::new(interval.start.max(hole.end), interval.end);
    let pieces = if hole.is_empty() || !interval.overlaps(hole) {
        [Some(interval), None]
    } else {
        [Some(left), Some(right)]
    };
    pieces
        .into_iter()
        .flatten()
        .filter(|piece| !piece.is_empty())
}

/// The first of the sorted disjoint `intervals` that overlaps `probe`.
pub fn first_overlap(intervals: &[Interval], probe: Interval) -> Option<Interval> {
    let from = intervals.partition_point(|interval| interval.end <= probe.start);
    intervals[from..]
        .first()
        .copied()
        .filter(|interval| interval.overlaps(probe))
}
