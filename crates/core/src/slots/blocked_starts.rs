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
pub(crate) struct Counted {
    pub(crate) now: Instant,
    pub(crate) ignore: Option<AppointmentKey>,
}

impl Counted {
    fn is(self, claim: &Claim) -> bool {
        claim.is_alive(self.now) && self.ignore != Some(claim.key())
    }
}

/// The starts that one claim or busy period refuses, in seconds, which are added and compared more than all else here.
#[derive(Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Refused {
    /// None; yet far enough from the ends of the integers to be added to.
    const NONE: Self = Self { from: Instant::MAX.seconds(), until: Instant::MAX.seconds() };
}

/// Claims and busy periods beside the questions, as the starts that they refuse.
pub(crate) struct Taken<'a> {
    claims: Following<'a>,
    counted: Counted,
    by_claim: Refused,
    busy: std::slice::Iter<'a, Interval>,
    by_busy: Refused,
    before_seconds: i64,
    /// Duration and buffer after it.
    after_seconds: i64,
}

impl<'a> Taken<'a> {
    pub(crate) fn new(
        calendar: &'a Calendar,
        counted: Counted,
        from: Instant,
        before_seconds: i64,
        after_seconds: i64,
    ) -> Self {
        let from = from.plus(-before_seconds);
        let busy = calendar.busy.merged();
        let busy = busy[busy.partition_point(|period| period.end <= from)..].iter();
        let (claims, none) = (calendar.claims.ending_after(from), Refused::NONE);
        let mut taken = Self { claims, counted, by_claim: none, busy, by_busy: none, before_seconds, after_seconds };
        taken.by_claim = taken.next_claim();
        taken.by_busy = taken.next_busy();
        taken
    }

    /// The starts that the first claim or busy period to matter at `start` or later refuses.
    #[inline(always)]
    pub(crate) fn first_for(&mut self, start: i64) -> Refused {
        while self.by_claim.until <= start {
            self.by_claim = self.next_claim();
        }
        while self.by_busy.until <= start {
            self.by_busy = self.next_busy();
        }
        if self.by_claim.from <= self.by_busy.from { self.by_claim } else { self.by_busy }
    }

    #[inline]
    fn next_claim(&mut self) -> Refused {
        let counted = self.counted;
        self.claims.find(|claim| counted.is(claim)).map_or(Refused::NONE, |claim| self.refused_by(claim.padded()))
    }

    fn next_busy(&mut self) -> Refused {
        self.busy.next().map_or(Refused::NONE, |period| self.refused_by(*period))
    }

    /// `[t − before, t + after)` meets `[start, end)` ⇔ start − after < t < end + before, in whole seconds.
    #[inline]
    fn refused_by(&self, taken: Interval) -> Refused {
        let from = taken.start.seconds() - self.after_seconds + 1;
        Refused { from, until: taken.end.seconds() + self.before_seconds }
    }
}

/// The sessions of the type and duration that have begun to fill, beside the questions.
pub(crate) struct Sessions<'a> {
    claims: Following<'a>,
    counted: Counted,
    of_type: TypeNumber,
    duration: Minutes,
    next: Option<Instant>,
}

impl<'a> Sessions<'a> {
    pub(crate) fn new(search: &Search<'a>, counted: Counted, from: Instant) -> Self {
        let claims = search.calendar.claims.ending_after(from);
        let (of_type, duration) = (search.appointment_type.number, search.duration);
        let mut sessions = Self { claims, counted, of_type, duration, next: Some(Instant::MIN) };
        sessions.next_from(from);
        sessions
    }

    /// The first that starts at `at` or later.
    pub(crate) fn next_from(&mut self, at: Instant) -> Option<Instant> {
        let Self { counted, of_type, duration, .. } = *self;
        while self.next.is_some_and(|start| start < at) {
            let is_one =
                |claim: &&Claim| claim.type_number() == of_type && claim.duration() == duration && counted.is(claim);
            self.next = self.claims.find(is_one).map(Claim::start);
        }
        self.next
    }
}
