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
//! runs        [----)              [----)              [-----------------)
//! ```
//!
//! A span is free (`+`) or refused (`.`): a start is refused less than a duration before a claim
//! and until the claim ends, and where its slot would leave open time.
//!
//! - `span_at` answers the span of a start, and `next_before` one slot after the other.
//! - `visit_runs` shows all slots as runs, with the verdicts of `span_at` that hold for a whole
//!   stretch asked once a stretch; what is left to do is to walk claims and grid side by side.
//! - `judge` asks for the starts of another calendar, in the same way.

use std::ops::ControlFlow;

use crate::calendar::claims::Claim;
use crate::calendar::limits::{LimitCache, limits_on};
use crate::calendar::open_time::{OpenTime, Stretch};
use crate::ids::AppointmentKey;
use crate::slots::blocked_starts::{
    BlockedStarts, ClaimFilter, Margins, Sessions, first_minute, next_from,
};
use crate::slots::candidates::Candidates;
use crate::slots::open_stretches::OpenStretches;
use crate::slots::rules::{is_race_lost, seats as taken_seats, seats_remaining};
use crate::slots::search::{Search, Slot};
use crate::slots::span::{FreeRun, Span};
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
    open: OpenStretches<'a>,
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
            open: OpenStretches::new(
                OpenTime::new(
                    calendar.zone(),
                    availability,
                    &appointment_type.rules,
                    range,
                ),
                duration.seconds(),
            ),
            blocked: BlockedStarts::new(
                calendar,
                claim_filter,
                starts.start,
                Margins {
                    before: before.minutes(),
                    after: duration.minutes() + after.minutes(),
                },
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
        let duration_seconds = self.search.duration.seconds();
        self.visit_runs(end, &mut |run, seats_remaining| {
            let mut next = run.first;
            while next < run.end {
                let start = Instant::from_seconds(next * MINUTE);
                visitor(Slot {
                    start,
                    end: start.plus(duration_seconds),
                    seats_remaining,
                })?;
                next += run.step;
            }
            ControlFlow::Continue(next)
        })
    }

    /// As `visit_before`, run by run, with the seats that each start of the run has left. The
    /// visitor answers the first start of the grid after the run.
    #[inline]
    pub(crate) fn visit_runs(
        &mut self,
        end: Instant,
        visitor: &mut impl FnMut(FreeRun, u32) -> ControlFlow<(), i64>,
    ) -> ControlFlow<()> {
        let step = i64::from(self.step.minutes());
        if self.sessions.is_some() {
            while let Some(slot) = self.next_before(end) {
                let first = slot.start.seconds().div_euclid(MINUTE);
                let run = FreeRun {
                    first,
                    end: first + 1,
                    step,
                };
                visitor(run, slot.seats_remaining)?;
            }
            return ControlFlow::Continue(());
        }
        // Without sessions only claims and busy periods differ within a stretch. All other verdicts
        // of `span_at` are made once for the stretch.
        let end = end.min(self.starts.end);
        let mut at = self.next[0].min(self.next[1]).min(self.span.end);
        let Search {
            calendar,
            now,
            ignore,
            ..
        } = self.search;
        while at < end {
            let Some((stretch, last_start)) = self.open.at(at) else {
                at = Instant::MAX;
                break;
            };
            let Stretch { interval, date, .. } = *stretch;
            if interval.start >= end {
                at = interval.start;
                break;
            }
            let from = at.max(interval.start);
            at = interval.end.min(end);
            if date > self.last_date {
                continue;
            }
            let candidates = stretch.candidates(from, self.step);
            if self.limits.allows(date, calendar, now, ignore) {
                let limit = at.min(last_start.plus(1));
                self.visit_grids(candidates, first_minute(limit), visitor)?;
            }
        }
        self.span = Span::refused(at);
        self.next = [Instant::MAX; 2];
        ControlFlow::Continue(())
    }

    /// Shows the free starts before the minute `end` of two grids, from these on. They lie in one
    /// stretch.
    #[inline]
    fn visit_grids(
        &mut self,
        grids: [Option<Instant>; 2],
        end: i64,
        visitor: &mut impl FnMut(FreeRun, u32) -> ControlFlow<(), i64>,
    ) -> ControlFlow<()> {
        // Most stretches have one grid; `next` is the next start of the nearer one.
        let [mut next, mut other] = grids
            .map(|start| start.map_or(i64::MAX / 2, |start| start.seconds().div_euclid(MINUTE)));
        loop {
            if other < next {
                (next, other) = (other, next);
            }
            if next >= end {
                return ControlFlow::Continue(());
            }
            if other == next {
                other += i64::from(self.step.minutes());
            }
            match self.visit_grid(next, end.min(other), visitor) {
                ControlFlow::Continue(following) => next = following,
                ControlFlow::Break(()) => return ControlFlow::Break(()),
            }
        }
    }

    /// Shows the free starts of one grid from `next` on, before `end`; answers the first start of
    /// the grid after them.
    #[inline]
    fn visit_grid(
        &mut self,
        mut next: i64,
        end: i64,
        visitor: &mut impl FnMut(FreeRun, u32) -> ControlFlow<(), i64>,
    ) -> ControlFlow<(), i64> {
        let step = i64::from(self.step.minutes());
        let seats = self.search.appointment_type.capacity;
        let mut visitor = |run| visitor(run, seats);
        while next < end {
            let busy = self.blocked.busy_for(next);
            if busy.from <= next {
                next = next_from(next, busy.until, step);
                continue;
            }
            let end = end.min(busy.from);
            match self
                .blocked
                .visit_between_claims(next, end, step, &mut visitor)
            {
                ControlFlow::Continue(following) => next = following,
                ControlFlow::Break(()) => return ControlFlow::Break(()),
            }
        }
        ControlFlow::Continue(next)
    }

    /// Continues at `at`, which lies after the last slot; none when no slot can follow.
    pub(crate) fn skip_to(&mut self, at: Instant) -> Option<()> {
        if at < self.span.end {
            // The span may begin after `at`: it was entered by a look beyond the last slot.
            if self.span.seats > 0 && self.next[0].min(self.next[1]) < at {
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
        if let Some(stretch) = self.open.front() {
            let aligned = stretch.candidates(at, self.step);
            self.next = aligned.map(|candidate| candidate.unwrap_or(Instant::MAX));
        }
    }

    /// The verdict on the start `at`, and how many of the starts after it share it. `at` never goes
    /// back in time.
    #[inline]
    pub(crate) fn span_at(&mut self, at: Instant) -> Span {
        self.unsettled_span(at)
            .unwrap_or_else(|| self.settled_span(at))
    }

    /// As `span_at`; none when `at` is settled.
    fn unsettled_span(&mut self, at: Instant) -> Option<Span> {
        let refused = |end: Instant| Some(Span::refused(end));
        if at < self.starts.start {
            return refused(self.starts.start);
        }
        if at >= self.starts.end {
            return refused(Instant::MAX);
        }
        if self.settled.contains(at) {
            return None;
        }
        let session = self
            .sessions
            .as_mut()
            .and_then(|sessions| sessions.next_from(at));
        let until_session = session.unwrap_or(Instant::MAX);
        let is_at_session = session == Some(at);
        let mut free_until = at.plus(MINUTE);
        if self.sessions.is_some() && !is_at_session {
            let (is_free, until) = self.blocked.verdict_at(at);
            if !is_free {
                return refused(until.min(until_session));
            }
            free_until = until;
        }
        let Some((stretch, last_start)) = self.open.at(at) else {
            return refused(Instant::MAX);
        };
        let Stretch { interval, date, .. } = *stretch;
        if at < interval.start {
            return refused(interval.start);
        }
        if date > self.last_date {
            return refused(interval.end);
        }
        if at > last_start {
            return refused(last_start.plus(self.search.duration.seconds()));
        }
        if is_at_session {
            return Some(self.span_of_session(at));
        }
        let end = interval.end.min(until_session);
        let Search {
            calendar,
            now,
            ignore,
            ..
        } = self.search;
        if !self.limits.allows(date, calendar, now, ignore) {
            return refused(end);
        }
        let end = end.min(last_start.plus(1)).min(self.starts.end);
        if self.sessions.is_none() {
            self.settled = Interval::new(at, end);
            return None;
        }
        let seats = self.search.appointment_type.capacity;
        Some(Span::free(end.min(free_until), seats))
    }

    /// The span at `at`, which is settled.
    #[inline]
    fn settled_span(&mut self, at: Instant) -> Span {
        let (is_free, until) = self.blocked.verdict_at(at);
        if is_free {
            let seats = self.search.appointment_type.capacity;
            Span::free(self.settled.end.min(until), seats)
        } else {
            Span::refused(until)
        }
    }

    /// Withdraws the candidates that this calendar refuses, and limits the seats of the others.
    /// Answers until when it refuses what follows the last asked candidate; an instant before that
    /// candidate where it refuses nothing there.
    pub(crate) fn judge(&mut self, candidates: &mut Candidates) -> Instant {
        let mut asked = candidates.left();
        let mut refused_until = Instant::MIN;
        while let Some(start) = candidates.first_of(asked) {
            let Some(span) = self.unsettled_span(start) else {
                let end = first_minute(self.settled.end);
                let judged = self.blocked.judge(candidates.starts(), asked, end);
                candidates.withdraw(judged.refused);
                asked = judged.later;
                refused_until = Instant::from_seconds(judged.until.saturating_mul(MINUTE));
                continue;
            };
            let within = candidates.before(asked, span.end);
            asked &= !within;
            if span.seats == 0 {
                candidates.withdraw(within);
                refused_until = span.end;
            } else {
                candidates.limit_to_span(within, span);
            }
        }
        if self.sessions.is_none() {
            candidates.limit_to_new(self.search.appointment_type.capacity);
        }
        refused_until
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
