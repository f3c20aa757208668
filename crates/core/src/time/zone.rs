//! A time zone: wall time ⇄ instants, from a table of transitions and the rule after it. It reads
//! no files.
//!
//! Every instant has exactly one wall time; a wall time has none (gap), one, or two instants
//! (fold).

use std::fmt;
use std::sync::Arc;

use crate::time::interval::Interval;
use crate::time::{DAY, Instant, LocalDate, Wall};

/// The seconds of 400 Gregorian years, a whole number of weeks, after which every rule of a POSIX
/// TZ string repeats.
pub const CYCLE_SECONDS: i64 = 146_097 * DAY;
/// The largest distance from UTC that a zone may have, in seconds. No zone was ever further from it
/// (tz database: Asia/Manila −15:56:08, Alaska +15:02:24).
pub const OFFSET_MAX: i32 = 26 * 3_600;
/// The most transitions of a table: more than any zone has in 400 years and the time before.
pub const TRANSITIONS_MAX: usize = 10_000;

/// A time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: Arc<str>,
    /// The first second UTC of each segment; the first segment begins at `i64::MIN`.
    starts: Vec<i64>,
    /// The seconds to add to UTC in each segment.
    offsets: Vec<i32>,
    /// The first second after the table, if time after it repeats the last 400 years of the table.
    cycle_end: i64,
}

/// A range of time in which a zone's clock has one offset.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    /// The first instant, `i64::MIN` for the first segment.
    pub start: i64,
    /// The first instant after it, `i64::MAX` for the last.
    pub end: i64,
    /// Seconds to add to UTC.
    pub offset: i32,
}

/// The instants at which a clock shows a wall time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LocalInstants {
    /// No instant: the clock skips it.
    None {
        /// The instant by the offset before the gap.
        before: Instant,
        /// The instant by the offset after the gap.
        after: Instant,
    },
    /// One instant.
    One(Instant),
    /// Two instants in order, because the clock is set back over it.
    Two(Instant, Instant),
}

/// The table cannot be a time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the table of time zone {0} is damaged")]
pub struct InvalidZone(pub String);

impl Zone {
    /// The zone of this name, from its first offset and its transitions in order with the offset
    /// after each. If the rule after the table has no end, `cycle_end` is the end of the table,
    /// whose last 400 years then repeat.
    pub fn new(
        name: &str,
        first_offset: i32,
        transitions: &[(Instant, i32)],
        cycle_end: Option<Instant>,
    ) -> Result<Self, InvalidZone> {
        let invalid = || InvalidZone(name.to_owned());
        let mut starts = vec![i64::MIN];
        let mut offsets = vec![first_offset];
        for (start, offset) in transitions {
            if starts.last().is_some_and(|last| *last >= start.seconds()) {
                return Err(invalid());
            }
            if offsets.last() != Some(offset) {
                starts.push(start.seconds());
                offsets.push(*offset);
            }
        }
        let cycle_end = cycle_end.map_or(i64::MAX, Instant::seconds);
        let is_sane = offsets.iter().all(|offset| offset.abs() <= OFFSET_MAX)
            && starts.len() <= TRANSITIONS_MAX
            && starts.last().is_some_and(|last| *last < cycle_end);
        if is_sane {
            Ok(Self {
                name: name.into(),
                starts,
                offsets,
                cycle_end,
            })
        } else {
            Err(invalid())
        }
    }

    /// Coordinated universal time.
    pub fn utc() -> Self {
        Self {
            name: "UTC".into(),
            starts: vec![i64::MIN],
            offsets: vec![0],
            cycle_end: i64::MAX,
        }
    }

    /// The IANA name by which it was asked for.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, shared instead of copied.
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The segment that contains an instant. Segments after the table are those of 400 years
    /// before, moved.
    pub fn segment_at(&self, instant: Instant) -> Segment {
        let seconds = instant.seconds();
        let cycles = if seconds < self.cycle_end {
            0
        } else {
            (seconds - self.cycle_end) / CYCLE_SECONDS + 1
        };
        let shift = cycles * CYCLE_SECONDS;
        let index = self
            .starts
            .partition_point(|start| *start <= seconds - shift)
            - 1;
        let end = self
            .starts
            .get(index + 1)
            .copied()
            .unwrap_or(self.cycle_end);
        let first_of_cycle = self.cycle_end.saturating_sub(CYCLE_SECONDS);
        let start = if cycles > 0 {
            self.starts[index].max(first_of_cycle)
        } else {
            self.starts[index]
        };
        let offset = self.offsets[index];
        Segment {
            start: start.saturating_add(shift),
            end: end.saturating_add(shift),
            offset,
        }
    }

    /// The seconds to add to UTC at an instant.
    pub fn offset_at(&self, instant: Instant) -> i32 {
        self.segment_at(instant).offset
    }

    /// The local time in this zone at an instant.
    pub fn wall(&self, instant: Instant) -> Wall {
        Wall::from_seconds(instant.seconds() + i64::from(self.offset_at(instant)))
    }

    /// Whether a clock in any zone can show the local time at the instant.
    pub const fn is_shown_somewhere(wall: Wall, instant: Instant) -> bool {
        wall.seconds().abs_diff(instant.seconds()) <= OFFSET_MAX as u64
    }

    /// The instants at which the wall time lies in `[from, to)`, in order: one interval, or more
    /// over clock changes. A gap has no instants, a fold has them twice.
    pub fn instants_of(&self, from: Wall, to: Wall) -> InstantsOf<'_> {
        // No offset is larger, so nothing before this instant can show `from`.
        let first = Instant::from_seconds(from.seconds() - i64::from(OFFSET_MAX));
        InstantsOf {
            zone: self,
            from: from.seconds(),
            to: to.seconds(),
            segment: Some(self.segment_at(first)),
        }
    }

    /// The instants at which a clock in this zone shows a local time.
    pub fn instants(&self, wall: Wall) -> LocalInstants {
        let mut found = self
            .instants_of(wall, wall.plus(1))
            .map(|interval| interval.start);
        match (found.next(), found.next()) {
            (Some(first), Some(second)) => LocalInstants::Two(first, second),
            (Some(only), None) => LocalInstants::One(only),
            (None, _) => self.around_gap(wall),
        }
    }

    fn around_gap(&self, wall: Wall) -> LocalInstants {
        let shown_by = |offset: i32| Instant::from_seconds(wall.seconds() - i64::from(offset));
        let mut segment = self.segment_at(Instant::from_seconds(
            wall.seconds() - i64::from(OFFSET_MAX),
        ));
        loop {
            let next = self.segment_at(Instant::from_seconds(segment.end));
            let is_skipped_between = segment.end.saturating_add(i64::from(segment.offset))
                <= wall.seconds()
                && wall.seconds() < segment.end.saturating_add(i64::from(next.offset));
            // Beyond the second bound no transition can skip the local time. If none was found
            // there, two transitions in a row skipped it, and these are the last offsets.
            if is_skipped_between || segment.end >= wall.seconds() + i64::from(OFFSET_MAX) {
                return LocalInstants::None {
                    before: shown_by(segment.offset),
                    after: shown_by(next.offset),
                };
            }
            segment = next;
        }
    }

    /// The instants of a local date: none when the zone skips it.
    pub fn day(&self, date: LocalDate) -> InstantsOf<'_> {
        self.instants_of(date.midnight(), date.plus(1).midnight())
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The iterator of `Zone::instants_of`.
#[derive(Clone, Debug)]
pub struct InstantsOf<'a> {
    zone: &'a Zone,
    from: i64,
    to: i64,
    segment: Option<Segment>,
}

impl Iterator for InstantsOf<'_> {
    type Item = Interval;

    fn next(&mut self) -> Option<Interval> {
        while let Some(segment) = self.segment {
            let offset = i64::from(segment.offset);
            let start = (self.from - offset).max(segment.start);
            let end = (self.to - offset).min(segment.end);
            let is_last = segment.end >= self.to + i64::from(OFFSET_MAX);
            self.segment =
                (!is_last).then(|| self.zone.segment_at(Instant::from_seconds(segment.end)));
            if start < end {
                return Some(Interval::new(
                    Instant::from_seconds(start),
                    Instant::from_seconds(end),
                ));
            }
        }
        None
    }
}
