//! Slot search: the slots that the predicate of `rules` offers, found by arithmetic instead of
//! minute by minute.
//!
//! Slots come in order of start, each once. A slot is listed ⇔ `rules::violations` of its start is
//! empty.

mod blocked_starts;
mod board;
mod candidates;
mod cursor;
pub mod free_busy;
pub mod multi_calendar;
mod open_stretches;
mod rule_text;
pub mod rules;
pub mod search;
mod span;
pub mod violation;

use std::ops::ControlFlow;

use crate::slots::cursor::Cursor;
use crate::slots::search::{Search, Slot};
use crate::time::interval::Interval;
use crate::time::{DAY, Instant};

/// The most days from a refused start in which the nearest offered slots are searched, each way.
pub const NEAREST_DAYS_MAX: i64 = 60;
/// The most days × calendars of such a search, each way: with more than 33 calendars it reaches
/// less far.
const NEAREST_CALENDAR_DAYS_MAX: i64 = 2_000;

/// How many days from a refused start the nearest offered slots of so many calendars are searched,
/// each way: 60, and 20 with a hundred calendars. A refusal must not take longer than that.
pub fn nearest_days(calendars: usize) -> i64 {
    let calendars = i64::try_from(calendars).unwrap_or(i64::MAX).max(1);
    (NEAREST_CALENDAR_DAYS_MAX / calendars).clamp(1, NEAREST_DAYS_MAX)
}

/// Shows the visitor every slot in order, until it breaks. Memory does not grow with the range.
pub fn visit(search: &Search<'_>, visitor: &mut impl FnMut(Slot) -> ControlFlow<()>) {
    // Whether the visitor broke or the range ended makes no difference.
    let _ = Cursor::new(search).visit_before(search.range.end, visitor);
}

/// The first slots, at most `limit`.
pub fn first(search: &Search<'_>, limit: usize) -> Vec<Slot> {
    let mut slots = Vec::new();
    if limit > 0 {
        visit(search, &mut |slot| {
            slots.push(slot);
            if slots.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        });
    }
    slots
}

/// The last slot that starts before `around` and the first that starts after it, within
/// `nearest_days`; the range of the search is ignored.
pub fn nearest(search: &Search<'_>, around: Instant) -> (Option<Interval>, Option<Interval>) {
    nearest_of(std::slice::from_ref(search), around)
}

/// As `nearest`, of the slots of all searches together; of slots with one start that of the first
/// search.
pub(crate) fn nearest_of(
    searches: &[Search<'_>],
    around: Instant,
) -> (Option<Interval>, Option<Interval>) {
    let Some(now) = searches.first().map(|search| search.now) else {
        return (None, None);
    };
    nearest_by(
        around,
        now,
        nearest_days(searches.len()),
        |range, nearest| {
            for search in searches {
                let range = nearest.nearer(range);
                if !range.is_empty() {
                    visit(&Search { range, ..*search }, &mut |slot| {
                        nearest.see(slot.interval())
                    });
                }
            }
        },
    )
}

/// As `nearest`, with `look` to show the slots of a range in order, within `days_max` days.
pub(crate) fn nearest_by(
    around: Instant,
    now: Instant,
    days_max: i64,
    mut look: impl FnMut(Interval, &mut Nearest),
) -> (Option<Interval>, Option<Interval>) {
    let mut nearest = Nearest {
        around,
        before: None,
        after: None,
    };
    let mut look = |nearest: &mut Nearest, from_day: i64, to_day: i64| {
        let day = |days: i64| around.plus(days.clamp(-days_max, days_max) * DAY).max(now);
        let range = Interval::new(day(from_day), day(to_day));
        if !range.is_empty() {
            look(range, nearest);
        }
    };
    // The first range finds both most of the time. A search shows every slot before `around`, but
    // stops at the first one after it: so the range begins only one day before, and may end four
    // days after, behind a weekend.
    let (mut back, mut ahead) = (1, 4);
    look(&mut nearest, -back, ahead);
    while nearest.before.is_none() && back < days_max {
        look(&mut nearest, -4 * back, -back);
        back *= 4;
    }
    while nearest.after.is_none() && ahead < days_max {
        look(&mut nearest, ahead, 4 * ahead);
        ahead *= 4;
    }
    (nearest.before, nearest.after)
}

/// The slots next to an instant that were found so far.
pub(crate) struct Nearest {
    around: Instant,
    before: Option<Interval>,
    after: Option<Interval>,
}

impl Nearest {
    /// The range without the starts that are farther from `around` than the slots found so far.
    fn nearer(&self, range: Interval) -> Interval {
        let start = self
            .before
            .map_or(range.start, |before| range.start.max(before.start.plus(1)));
        Interval::new(
            start,
            self.after
                .map_or(range.end, |after| range.end.min(after.start)),
        )
    }

    /// Notes a slot. Slots of one range come in order, and none lies outside of `nearer`.
    pub(crate) fn see(&mut self, slot: Interval) -> ControlFlow<()> {
        if slot.start > self.around {
            self.after = Some(slot);
            return ControlFlow::Break(());
        }
        if slot.start < self.around {
            self.before = Some(slot);
        }
        ControlFlow::Continue(())
    }
}
