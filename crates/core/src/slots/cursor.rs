//! One calendar's bookable starts in order: spans of starts that are all alike, and the slots of the grid in them.
//!
//! Questions go forward in time, and everything is walked once beside them: open time, claims, busy periods, sessions.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use crate::calendar::claims::Claim;
use crate::calendar::limits::{LimitCache, limits_on};
use crate::calendar::open_time::{OpenTime, Stretch};
use crate::ids::AppointmentKey;
use crate::slots::blocked_starts::{Blocked, BlockedStarts, ClaimFilter, Sessions};
use crate::slots::rules::{is_race_lost, seats as taken_seats, seats_remaining};
use crate::slots::search::{Search, Slot};
use crate::time::interval::Interval;
use crate::time::{Instant, LocalDate, MINUTE, Minutes};

/// The starts from the one that was asked about up to `end`, all alike, but that the grid is not considered.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    /// The first start that may be different.
    pub(crate) end: Instant,
    /// How many can still book each; 0 = none of them is offered.
    pub(crate) seats: u32,
    /// The first of the seats that are taken; the default where there is none, for keys begin at 1.
    pub(crate) seat: AppointmentKey,
}

impl Span {
    /// Of no start.
    pub(crate) const UNKNOWN: Self = Self {
        end: Instant::MIN,
        seats: 0,
        seat: AppointmentKey(0),
    };

    /// None is offered before `end`.
    const fn refused(end: Instant) -> Self {
        Self {
            end,
            seats: 0,
            seat: AppointmentKey(0),
        }
    }

    /// Each can be booked, and begins a session where the type has them.
    const fn free(end: Instant, seats: u32) -> Self {
        Self {
            end,
            seats,
            seat: AppointmentKey(0),
        }
    }
}

/// Where a search stands.
pub(crate) struct Cursor<'a> {
    search: Search<'a>,
    /// Where starts may lie: range, notice and, roughly, horizon.
    starts: Interval,
    last_date: LocalDate,
    open: Open<'a>,
    blocked: BlockedStarts<'a>,
    sessions: Option<Sessions<'a>>,
    limits: LimitCache,
    /// Where nothing but what is taken still matters: one stretch, open for the whole slot, with room under the limits.
    settled: Interval,
    /// The span whose slots are being shown.
    span: Span,
    /// The next candidates in it, by each grid; `Instant::MAX` = none.
    next: [Instant; 2],
    step: Minutes,
    /// How many calendars are claimed at once, this one among them.
    places: usize,
}

impl<'a> Cursor<'a> {
    /// Of a claim of this calendar alone.
    pub(crate) fn new(search: &Search<'a>) -> Self {
        Self::among(search, 1)
    }

    /// Of a claim of so many calendars at once.
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

    /// What is true of the slot that was shown last.
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

    /// Shows every slot that starts before `end` and was not shown yet, until the visitor has seen enough; after that
    /// the cursor is not to be asked again.
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
        // Without sessions nothing changes within a stretch but what is taken: the same verdicts as `span_at` has, with
        // all but that settled once for the stretch.
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

    /// Shows the free candidates among the starts in `within`, a part of the stretch.
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
        // Two grids, or one and nothing; `next` is where the nearer one stands.
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

    /// Goes on at `at`, which lies after the last slot; none when nothing can follow.
    pub(crate) fn skip_to(&mut self, at: Instant) -> Option<()> {
        if at < self.span.end {
            if self.span.seats > 0 {
                self.align(at);
            }
            return Some(());
        }
        self.enter(at)
    }

    /// No slot that was not shown yet starts before this.
    pub(crate) fn not_before(&self) -> Instant {
        let next = self.next[0].min(self.next[1]).min(self.span.end);
        if next < self.starts.end {
            next
        } else {
            Instant::MAX
        }
    }

    /// Makes the span at `at` the present one; none when there is none.
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

    fn align(&mut self, at: Instant) {
        if let Some(stretch) = self.open.stretches.front() {
            let aligned = stretch.candidates(at, self.step);
            self.next = aligned.map(|candidate| candidate.unwrap_or(Instant::MAX));
        }
    }

    /// What is true of the start `at` and of those after it. Questions never go back in time.
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

    /// The slow path: a session that has begun to fill keeps its own buffers, and adds none to the limits. One of another
    /// set of calendars has its time.
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
    // What is taken is seldom longer than a few steps, and additions are faster than a division.
    if at.saturating_sub(start) > 8 * step {
        return start + (at - start + step - 1) / step * step;
    }
    let mut start = start;
    while start < at {
        start += step;
    }
    start
}

/// Open time beside the questions.
struct Open<'a> {
    time: OpenTime<'a>,
    /// From the one that was asked about on.
    stretches: VecDeque<Stretch>,
    /// How many after the first are open without a break from it on.
    joined: usize,
    /// Until when it is open without a break, as far as was looked.
    run_end: Instant,
    duration_seconds: i64,
}

impl Open<'_> {
    /// The stretch that `at` lies in or else the next one, and the last start from which a slot ends in open time.
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
