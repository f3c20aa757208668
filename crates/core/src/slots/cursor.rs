//! One calendar's bookable starts in order: spans of starts with one verdict, and the slots of the
//! grid in them.
//!
//! Questions go forward in time, so that one pass over open time, claims, busy periods and sessions
//! answers all of them. With a step of 4, a duration of 6 and no buffers:
//!
//! ```text
//! open time   [========== stretch ===========)        [====== stretch =======)
//! claim                  [#####)
//! spans       [+++++[.refused..[++++++++[...refused...[+++++++++++++++++)
//! grid        |   |   |   |   |   |   |   |           |   |   |   |   |   |
//! slots       ^   ^               ^   ^               ^   ^   ^   ^   ^
//! ```
//!
//! A span is free (`+`) or refused (`.`): a start is refused less than a duration before a claim
//! and until the claim ends, and where its slot would leave open time. `span_at` answers the span
//! of a start, `next_before` one slot after the other, and `visit_before` all slots, with the
//! verdicts of `span_at` that hold for a whole stretch asked once a stretch.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use crate::calendar::claims::Claim;
use crate::calendar::limits::{LimitCache, limits_on};
use crate::calendar::open_time::{OpenTime, Stretch};
use crate::ids::AppointmentKey;
use crate::slots::blocked_starts::{Blocked, BlockedStarts, ClaimFilter, Sessions};
use crate::slots::rules::{is_race_lost, seats as taken_seats, seats_remaining};
use crate::slots::search::{Search, Slot};
use crate::slots::span::Span;
use crate::time::interval::Interval;
use crate::time::{Instant, LocalDate, MINUTE, Minutes};

/// The state of a search of one calendar.
pub(crate) struct Cursor<'a> {
    search: Search<'a>,
    /// The range in which starts may lie: the search's own, cut by the notice and, to the day, by
    /// the horizon.
    starts: Interval,
    /// The last local date of a start, by the horizon.
    last_date: LocalDate,
    open: Open<'a>,
    blocked: BlockedStarts<'a>,
    sessions: Option<Sessions<'a>>,
    limits: LimitCache,
    /// Starts that only a claim or a busy period can still refuse: they lie in one stretch, their
    /// slots are open throughout, and no limit is reached.
    settled: Interval,
    /// The span of the slots that are shown now.
    span: Span,
    /// The next start of each of the two grids in the span; `Instant::MAX` = none.
    next: [Instant; 2],
    step: Minutes,
    /// How many calendars the claim takes at once, this one included.
    places: usize,
}

impl<'a> Cursor<'a> {
    /// A cursor for claims of this calendar alone.
    pub(crate) fn new(search: &Search<'a>) -> Self {
        Self::among(search, 1)
    }

    /// A cursor for claims that take `places` calendars at once, this one included.
    pub(crate) fn among(search: &Search<'a>, places: usize) -> Self {
        let Search {
            calendar,
            appointment_type,
            duration,
            ..
        } = *search;
        let (starts, last_date) = search.starts();
        let claim_filter = ClaimFilter {
            now: search.now,
            ignore: search.ignore,
        };
        let (before, after) = (
            appointment_type.buffer_before,
            appointment_type.buffer_after,
        );
        let range = Interval::new(
            starts.start,
            if starts.is_empty() {
                starts.end
            } else {
                starts.end.plus(duration.seconds())
            },
        );
        let availability = &calendar.profile.availability;
        let limits = limits_on(calendar, appointment_type.number, &appointment_type.limits);
        Self {
            search: *search,
            starts,
            last_date,
            open: Open {
                time: OpenTime::new(
                    calendar.zone(),
                    availability,
                    &appointment_type.rules,
                    range,
                ),
                stretches: VecDeque::new(),
                joined: 0,
                run_end: Instant::MIN,
                duration_seconds: duration.seconds(),
            },
            blocked: BlockedStarts::new(
                calendar,
                claim_filter,
                starts.start,
                before.seconds(),
                duration.seconds() + after.seconds(),
            ),
            sessions: (appointment_type.capacity > 1)
                .then(|| Sessions::new(search, claim_filter, starts.start)),
            limits: LimitCache::new(limits.filter(|_| !search.ignored_rules.limit)),
            settled: Interval::new(starts.start, starts.start),
            span: Span::refused(starts.start),
            next: [Instant::MAX; 2],
            step: appointment_type.step(),
            places,
        }
    }

    /// The span of the slot that was shown last.
    pub(crate) fn span(&self) -> Span {
        self.span
    }

    /// The next slot that starts before `end`.
    #[inline]
    pub(crate) fn next_before(&mut self, end: Instant) -> Option<Slot> {
        loop {
            let start = self.next[0].min(self.next[1]);
            if start >= end.min(self.span.end) {
                if self.span.end >= end {
                    return None;
                }
                self.enter(self.span.end)?;
                continue;
            }
            let step = self.step.seconds();
            self.next = self
                .next
                .map(|next| if next == start { next.plus(step) } else { next });
            let end = start.plus(self.search.duration.seconds());
            return Some(Slot {
                start,
                end,
                seats_remaining: self.span.seats,
            });
        }
    }

    /// Shows every slot that starts before `end` and was not shown yet, until the visitor breaks. A
    /// cursor whose visitor broke must not be asked again.
    pub(crate) fn visit_before(
        &mut self,
        end: Instant,
        visitor: &mut impl FnMut(Slot) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        if self.sessions.is_some() {
            while let Some(slot) = self.next_before(end) {
                visitor(slot)?;
            }
            return ControlFlow::Continue(());
        }
        // Without sessions only claims and busy periods differ within a stretch. All other verdicts
        // of `span_at` are made once for the stretch.
        let end = end.min(self.starts.end);
        let mut at = self.next[0].min(self.next[1]).min(self.span.end);
        while at < end {
            let Some((stretch, last_start)) = self.open.at(at) else {
                at = Instant::MAX;
                break;
            };
            if stretch.interval.start >= end {
                at = stretch.interval.start;
                break;
            }
            let Search {
                calendar,
                now,
                ignore,
                ..
            } = self.search;
            if stretch.date <= self.last_date
                && self.limits.allows(stretch.date, calendar, now, ignore)
            {
                let limit = end.min(stretch.interval.end).min(last_start.plus(1));
                self.visit_stretch(
                    &stretch,
                    Interval::new(at.max(stretch.interval.start), limit),
                    visitor,
                )?;
            }
            at = stretch.interval.end.min(end);
        }
        self.span = Span::refused(at);
        self.next = [Instant::MAX; 2];
        ControlFlow::Continue(())
    }

    /// Shows the free starts of the grids in `within`, which lies in the stretch.
    #[inline]
    fn visit_stretch(
        &mut self,
        stretch: &Stretch,
        within: Interval,
        visitor: &mut impl FnMut(Slot) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let step = self.step.seconds();
        let duration_seconds = self.search.duration.seconds();
        let seats_remaining = self.search.appointment_type.capacity;
        let candidates = stretch.candidates(within.start, self.step);
        // A stretch has one grid or two; `next` is the next start of the nearer one.
        let [mut next, mut other] = candidates.map(|start| start.unwrap_or(Instant::MAX).seconds());
        let end = within.end.seconds();
        let mut blocked = Blocked {
            from: i64::MIN,
            until: i64::MIN,
        };
        loop {
            if other < next {
                (next, other) = (other, next);
            }
            if next >= end {
                return ControlFlow::Continue(());
            }
            if blocked.until <= next {
                blocked = self.blocked.first_for(next);
            }
            if blocked.from <= next {
                next = next_from(next, blocked.until, step);
                other = next_from(other, blocked.until, step);
                continue;
            }
            if other == next {
                other += step;
            }
            let until = blocked.from.min(end).min(other);
            while next < until {
                let start = Instant::from_seconds(next);
                visitor(Slot {
                    start,
                    end: start.plus(duration_seconds),
                    seats_remaining,
                })?;
                next += step;
            }
        }
    }

    /// Continues at `at`, which lies after the last slot; none when no slot can follow.
    pub(crate) fn skip_to(&mut self, at: Instant) -> Option<()> {
        if at < self.span.end {
            if self.span.seats > 0 {
                self.align(at);
            }
            return Some(());
        }
        self.enter(at)
    }

    /// The earliest instant at which a slot that was not shown yet can start; `Instant::MAX` =
    /// there is none.
    pub(crate) fn not_before(&self) -> Instant {
        let next = self.next[0].min(self.next[1]).min(self.span.end);
        if next < self.starts.end {
            next
        } else {
            Instant::MAX
        }
    }

    /// Makes the span at `at` the current one; none when no start can follow.
    fn enter(&mut self, at: Instant) -> Option<()> {
        if at >= self.starts.end {
            self.span = Span::refused(Instant::MAX);
            self.next = [Instant::MAX; 2];
            return None;
        }
        self.span = self.span_at(at);
        self.next = [Instant::MAX; 2];
        if self.span.seats > 0 {
            self.align(at.max(self.starts.start));
        }
        Some(())
    }

    /// Sets both grids to their first start at or after `at`.
    fn align(&mut self, at: Instant) {
        if let Some(stretch) = self.open.stretches.front() {
            let aligned = stretch.candidates(at, self.step);
            self.next = aligned.map(|candidate| candidate.unwrap_or(Instant::MAX));
        }
    }

    /// The verdict on the start `at`, and how many of the starts after it share it. `at` never goes
    /// back in time.
    #[inline]
    pub(crate) fn span_at(&mut self, at: Instant) -> Span {
        let refused = Span::refused;
        if at < self.starts.start {
            return refused(self.starts.start);
        }
        if at >= self.starts.end {
            return refused(Instant::MAX);
        }
        if self.settled.contains(at) {
            let next = self.blocked.first_for(at.seconds());
            let until = |seconds: i64| Instant::from_seconds(seconds);
            return if next.from <= at.seconds() {
                refused(until(next.until))
            } else {
                Span::free(
                    self.settled.end.min(until(next.from)),
                    self.search.appointment_type.capacity,
                )
            };
        }
        let session = self
            .sessions
            .as_mut()
            .and_then(|sessions| sessions.next_from(at));
        let until_session = session.unwrap_or(Instant::MAX);
        let is_at_session = session == Some(at);
        let mut free_until = at.plus(MINUTE);
        if !is_at_session {
            let next = self.blocked.first_for(at.seconds());
            if next.from <= at.seconds() {
                return refused(Instant::from_seconds(next.until).min(until_session));
            }
            free_until = Instant::from_seconds(next.from);
        }
        let Some((stretch, last_start)) = self.open.at(at) else {
            return refused(Instant::MAX);
        };
        if at < stretch.interval.start {
            return refused(stretch.interval.start);
        }
        if stretch.date > self.last_date {
            return refused(stretch.interval.end);
        }
        if at > last_start {
            return refused(last_start.plus(self.search.duration.seconds()));
        }
        if is_at_session {
            return self.span_of_session(at);
        }
        let end = stretch.interval.end.min(until_session);
        let Search {
            calendar,
            now,
            ignore,
            ..
        } = self.search;
        if !self.limits.allows(stretch.date, calendar, now, ignore) {
            return refused(end);
        }
        let end = end.min(last_start.plus(1)).min(self.starts.end);
        if self.sessions.is_none() {
            self.settled = Interval::new(at, end);
        }
        Span::free(end.min(free_until), self.search.appointment_type.capacity)
    }

    /// The span of a start at which a session has begun to fill, by the predicate itself. A seat of
    /// that session keeps the session's buffers and counts against no limit; a session on another
    /// set of calendars takes the time.
    fn span_of_session(&self, start: Instant) -> Span {
        let ask = self.search.ask_among(start, self.places);
        let seats = if is_race_lost(&ask) {
            0
        } else {
            seats_remaining(&ask)
        };
        let seat = taken_seats(&ask)
            .next()
            .map_or(AppointmentKey(0), Claim::key);
        Span {
            end: start.plus(MINUTE),
            seats,
            seat,
        }
    }
}

/// The first of `start`, `start + step`, … that is not before `at`.
#[inline]
fn next_from(start: i64, at: i64, step: i64) -> i64 {
    // Taken time is seldom longer than a few steps, and a few additions are faster than a division.
    if at.saturating_sub(start) > 8 * step {
        return start + (at - start + step - 1) / step * step;
    }
    let mut start = start;
    while start < at {
        start += step;
    }
    start
}

/// The stretches of open time around the last question, and the last start in them whose slot stays
/// open.
struct Open<'a> {
    time: OpenTime<'a>,
    /// The stretch of the last question and those read after it.
    stretches: VecDeque<Stretch>,
    /// How many of the stretches after the first follow each other without a gap.
    joined: usize,
    /// The end of the open time without a gap, as far as stretches were read.
    run_end: Instant,
    duration_seconds: i64,
}

impl Open<'_> {
    /// The stretch that contains `at`, or else the next one, and the last start whose slot is open
    /// to its end.
    fn at(&mut self, at: Instant) -> Option<(Stretch, Instant)> {
        while self
            .stretches
            .front()
            .is_some_and(|stretch| stretch.interval.end <= at)
        {
            self.stretches.pop_front();
            self.joined = self.joined.saturating_sub(1);
        }
        while self.stretches.is_empty() {
            if !self.time.fill(&mut self.stretches) {
                return None;
            }
            while self
                .stretches
                .front()
                .is_some_and(|stretch| stretch.interval.end <= at)
            {
                self.stretches.pop_front();
            }
            self.joined = 0;
        }
        let stretch = *self.stretches.front()?;
        if stretch.interval.start > self.run_end {
            self.joined = 0;
            self.run_end = stretch.interval.end;
        }
        self.run_end = self.run_end.max(stretch.interval.end);
        let wanted = stretch.interval.end.plus(self.duration_seconds);
        while self.run_end < wanted {
            let Some(next) = self.stretches.get(self.joined + 1) else {
                if self.time.fill(&mut self.stretches) {
                    continue;
                }
                break;
            };
            if next.interval.start > self.run_end {
                break;
            }
            self.run_end = next.interval.end;
            self.joined += 1;
        }
        Some((stretch, self.run_end.plus(-self.duration_seconds)))
    }
}
