//! What is taken of a calendar, beside the questions of a search: claims and busy periods as the starts that they refuse,
//! and the sessions that have begun to fill.
//!
//! Questions go forward in time, and each claim is looked at once.

use crate::calendar::Calendar;
use crate::calendar::claims::{Claim, Following};
use crate::ids::{AppointmentKey, TypeNumber};
use crate::slots::search::Search;
use crate::time::interval::Interval;
use crate::time::{Instant, Minutes};

/// Which claims take time in this search.
#[derive(Clone, Copy)]
pub(crate) struct ClaimFilter {
    pub(crate) now: Instant,
    pub(crate) ignore: Option<AppointmentKey>,
}

impl ClaimFilter {
    fn counts(self, claim: &Claim) -> bool {
        claim.is_alive(self.now) && self.ignore != Some(claim.key())
    }
}

/// The starts that one claim or busy period refuses, in seconds, which are added and compared more than all else here.
#[derive(Clone, Copy)]
pub(crate) struct Blocked {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Blocked {
    /// None; yet far enough from the ends of the integers to be added to.
    const NONE: Self = Self {
        from: Instant::MAX.seconds(),
        until: Instant::MAX.seconds(),
    };
}

/// Claims and busy periods beside the questions, as the starts that they refuse.
pub(crate) struct BlockedStarts<'a> {
    claims: Following<'a>,
    filter: ClaimFilter,
    by_claim: Blocked,
    busy: std::slice::Iter<'a, Interval>,
    by_busy: Blocked,
    before_seconds: i64,
    /// Duration and buffer after it.
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

    /// The starts that the first claim or busy period to matter at `start` or later refuses.
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

    /// `[t − before, t + after)` meets `[start, end)` ⇔ start − after < t < end + before, in whole seconds.
    #[inline]
    fn blocked_by(&self, taken: Interval) -> Blocked {
        let from = taken.start.seconds() - self.after_seconds + 1;
        Blocked {
            from,
            until: taken.end.seconds() + self.before_seconds,
        }
    }
}

/// The sessions of the type and duration that have begun to fill, beside the questions.
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

    /// The first that starts at `at` or later.
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
