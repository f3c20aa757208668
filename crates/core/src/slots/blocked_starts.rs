//! Taken time of a calendar as the starts that it refuses, and the sessions that have begun to
//! fill.
//!
//! Questions go forward in time, and each claim is read once. A slot lasts `d` and keeps `b` before
//! and `a` after it free, so a taken interval `[start, end)` refuses every start `t` whose padded
//! slot `[t − b, t + d + a)` overlaps it:
//!
//! ```text
//! taken                                  [## start, end #)
//! first refused t        [bbbbtddddddaaaa)
//! last refused t                                        [bbbbtddddddaaaa)
//! refused starts              [......... from, until .........)
//! ```
//!
//! That is `from = start − d − a + 1` and `until = end + b`, in seconds.

use crate::calendar::Calendar;
use crate::calendar::claims::{Claim, Following};
use crate::ids::{AppointmentKey, TypeNumber};
use crate::slots::search::Search;
use crate::time::interval::Interval;
use crate::time::{Instant, Minutes};

/// Which claims take time in a search: those that have not expired at `now`, but for the one of the
/// moved appointment.
#[derive(Clone, Copy)]
pub(crate) struct ClaimFilter {
    /// The writer's clock.
    pub(crate) now: Instant,
    /// The key of the appointment that is being moved.
    pub(crate) ignore: Option<AppointmentKey>,
}

impl ClaimFilter {
    fn counts(self, claim: &Claim) -> bool {
        claim.is_alive(self.now) && self.ignore != Some(claim.key())
    }
}

/// The starts `[from, until)` that one claim or busy period refuses, in seconds: plain integers,
/// because a search adds and compares them more than anything else.
#[derive(Clone, Copy)]
pub(crate) struct Blocked {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Blocked {
    /// No start: so far ahead that no question reaches it, and yet far enough from `i64::MAX` for
    /// additions.
    const NONE: Self = Self {
        from: Instant::MAX.seconds(),
        until: Instant::MAX.seconds(),
    };
}

/// The claims and busy periods of a calendar, each as the starts that it refuses.
pub(crate) struct BlockedStarts<'a> {
    claims: Following<'a>,
    filter: ClaimFilter,
    by_claim: Blocked,
    busy: std::slice::Iter<'a, Interval>,
    by_busy: Blocked,
    before_seconds: i64,
    /// The duration and the buffer after it.
    after_seconds: i64,
}

impl<'a> BlockedStarts<'a> {
    pub(crate) fn new(
        calendar: &'a Calendar,
        filter: ClaimFilter,
        from: Instant,
        before_seconds: i64,
        after_seconds: i64,
    ) -> Self {
        let from = from.plus(-before_seconds);
        let busy = calendar.busy.merged();
        let busy = busy[busy.partition_point(|period| period.end <= from)..].iter();
        let (claims, none) = (calendar.claims.ending_after(from), Blocked::NONE);
        let mut blocked = Self {
            claims,
            filter,
            by_claim: none,
            busy,
            by_busy: none,
            before_seconds,
            after_seconds,
        };
        blocked.by_claim = blocked.next_claim();
        blocked.by_busy = blocked.next_busy();
        blocked
    }

    /// The refused starts of the first claim or busy period that refuses `start` or a later start.
    #[inline(always)]
    pub(crate) fn first_for(&mut self, start: i64) -> Blocked {
        while self.by_claim.until <= start {
            self.by_claim = self.next_claim();
        }
        while self.by_busy.until <= start {
            self.by_busy = self.next_busy();
        }
        if self.by_claim.from <= self.by_busy.from {
            self.by_claim
        } else {
            self.by_busy
        }
    }

    #[inline]
    fn next_claim(&mut self) -> Blocked {
        let filter = self.filter;
        self.claims
            .find(|claim| filter.counts(claim))
            .map_or(Blocked::NONE, |claim| self.blocked_by(claim.padded()))
    }

    fn next_busy(&mut self) -> Blocked {
        self.busy
            .next()
            .map_or(Blocked::NONE, |period| self.blocked_by(*period))
    }

    /// `[t − before, t + after)` overlaps `[start, end)` ⇔ start − after < t < end + before, in
    /// whole seconds.
    #[inline]
    fn blocked_by(&self, taken: Interval) -> Blocked {
        let from = taken.start.seconds() - self.after_seconds + 1;
        Blocked {
            from,
            until: taken.end.seconds() + self.before_seconds,
        }
    }
}

/// The sessions of the searched type and duration that have begun to fill, by their starts.
pub(crate) struct Sessions<'a> {
    claims: Following<'a>,
    filter: ClaimFilter,
    of_type: TypeNumber,
    duration: Minutes,
    next: Option<Instant>,
}

impl<'a> Sessions<'a> {
    pub(crate) fn new(search: &Search<'a>, filter: ClaimFilter, from: Instant) -> Self {
        let claims = search.calendar.claims.ending_after(from);
        let (of_type, duration) = (search.appointment_type.number, search.duration);
        let mut sessions = Self {
            claims,
            filter,
            of_type,
            duration,
            next: Some(Instant::MIN),
        };
        sessions.next_from(from);
        sessions
    }

    /// The start of the first session at or after `at`.
    pub(crate) fn next_from(&mut self, at: Instant) -> Option<Instant> {
        let Self {
            filter,
            of_type,
            duration,
            ..
        } = *self;
        while self.next.is_some_and(|start| start < at) {
            let is_one = |claim: &&Claim| {
                claim.type_number() == of_type
                    && claim.duration() == duration
                    && filter.counts(claim)
            };
            self.next = self.claims.find(is_one).map(Claim::start);
        }
        self.next
    }
}
