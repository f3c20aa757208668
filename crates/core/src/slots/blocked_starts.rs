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
//! That is `from = start − d − a + 1` and `until = end + b`, in minutes: starts, claims, durations
//! and buffers are whole minutes. Of a busy period the minute in which it starts and the one in
//! which it ends are taken whole.

use std::ops::ControlFlow;

use crate::calendar::Calendar;
use crate::calendar::claims::{Claim, Following};
use crate::ids::{AppointmentKey, TypeNumber};
use crate::slots::candidates::CANDIDATES_MAX;
use crate::slots::search::Search;
use crate::slots::span::FreeRun;
use crate::time::interval::Interval;
use crate::time::{Instant, MINUTE, Minutes};

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

/// The starts `[from, until)` that one claim or busy period refuses, in minutes since 1970: plain
/// integers, because a search adds and compares them more than anything else.
#[derive(Clone, Copy)]
pub(crate) struct Blocked {
    pub(crate) from: i64,
    pub(crate) until: i64,
}

impl Blocked {
    /// No start: so far ahead that no question reaches it, and yet far enough from `i64::MAX` for
    /// additions.
    const NONE: Self = Self {
        from: Instant::MAX.seconds() / MINUTE,
        until: Instant::MAX.seconds() / MINUTE,
    };

    /// Until when it refuses every start from `start` on; `i64::MIN` when it does not refuse that
    /// one.
    fn until_from(self, start: i64) -> i64 {
        if self.from <= start {
            self.until
        } else {
            i64::MIN
        }
    }
}

/// What claims and busy periods refuse of some starts.
pub(crate) struct Judged {
    /// The refused ones.
    pub(crate) refused: u64,
    /// Those that were not judged.
    pub(crate) later: u64,
    /// Until which minute all that follow the last judged one are refused; not after that one when
    /// it is not refused.
    pub(crate) until: i64,
}

/// The claims and busy periods of a calendar, each as the starts that it refuses.
pub(crate) struct BlockedStarts<'a> {
    claims: Following<'a>,
    filter: ClaimFilter,
    by_claim: Blocked,
    busy: std::slice::Iter<'a, Interval>,
    by_busy: Blocked,
    margins: Margins,
}

impl<'a> BlockedStarts<'a> {
    pub(crate) fn new(
        calendar: &'a Calendar,
        filter: ClaimFilter,
        from: Instant,
        margins: Margins,
    ) -> Self {
        let from = from.plus(-i64::from(margins.before) * MINUTE);
        let busy = calendar.busy.merged();
        let busy = busy[busy.partition_point(|period| period.end <= from)..].iter();
        let (claims, none) = (calendar.claims.ending_after(from), Blocked::NONE);
        let mut blocked = Self {
            claims,
            filter,
            by_claim: none,
            busy,
            by_busy: none,
            margins,
        };
        blocked.by_claim = blocked.next_claim();
        blocked.by_busy = blocked.next_busy();
        blocked
    }

    /// Whether no claim or busy period refuses the starts from `at` on, and until when.
    #[inline]
    pub(crate) fn verdict_at(&mut self, at: Instant) -> (bool, Instant) {
        let start = first_minute(at);
        while self.by_claim.until <= start {
            self.by_claim = self.next_claim();
        }
        let (by_claim, by_busy) = (self.by_claim, self.busy_for(start));
        let first = if by_claim.from <= by_busy.from {
            by_claim
        } else {
            by_busy
        };
        let is_free = start < first.from;
        let until = if is_free { first.from } else { first.until };
        (is_free, Instant::from_seconds(until * MINUTE))
    }

    /// The refused starts of the first busy period that refuses `start` or a later start.
    #[inline]
    pub(crate) fn busy_for(&mut self, start: i64) -> Blocked {
        while self.by_busy.until <= start {
            self.by_busy = self.next_busy();
        }
        self.by_busy
    }

    /// Shows the runs of the starts `next`, `next + step`, … before `end` that no claim refuses.
    /// Answers the first start of the grid that is not before `end`, as the visitor does of a run.
    #[inline]
    pub(crate) fn visit_between_claims(
        &mut self,
        mut next: i64,
        end: i64,
        step: i64,
        visitor: &mut impl FnMut(FreeRun) -> ControlFlow<(), i64>,
    ) -> ControlFlow<(), i64> {
        // Copies, which the compiler keeps in registers: the visitor writes to memory.
        let (mut claims, mut blocked) = (self.claims.clone(), self.by_claim);
        let (filter, margins) = (self.filter, self.margins);
        while next < end {
            while blocked.until <= next {
                blocked = next_claim(&mut claims, filter, margins);
            }
            if next < blocked.from {
                let run = FreeRun {
                    first: next,
                    end: end.min(blocked.from),
                    step,
                };
                next = match visitor(run) {
                    ControlFlow::Continue(following) => following,
                    ControlFlow::Break(()) => return ControlFlow::Break(()),
                };
                if end <= next {
                    break;
                }
            }
            next = next_from(next, blocked.until, step);
        }
        (self.claims, self.by_claim) = (claims, blocked);
        ControlFlow::Continue(next)
    }

    /// Judges the asked ones of `starts`, which are minutes in order and have a bit of `asked` each,
    /// up to the first that is not before `end`.
    #[inline]
    pub(crate) fn judge(&mut self, starts: &[i64; CANDIDATES_MAX], asked: u64, end: i64) -> Judged {
        let (mut claims, mut blocked) = (self.claims.clone(), self.by_claim);
        let (filter, margins) = (self.filter, self.margins);
        let (mut refused, mut later, mut last) = (0, asked, i64::MIN);
        while later != 0 {
            let start = starts[later.trailing_zeros() as usize];
            if end <= start {
                break;
            }
            while blocked.until <= start {
                blocked = next_claim(&mut claims, filter, margins);
            }
            let others = later & (later - 1);
            if blocked.from <= start {
                refused |= later ^ others;
            }
            (last, later) = (start, others);
        }
        (self.claims, self.by_claim) = (claims, blocked);
        let mut judged = Judged {
            refused,
            later,
            until: blocked.until_from(last),
        };
        if self.by_busy.from <= last {
            judged.refused |= self.refused_by_busy(starts, asked & !later);
            judged.until = judged.until.max(self.by_busy.until_from(last));
        }
        judged
    }

    /// Which of the asked starts a busy period refuses. Not inlined, because few calendars have
    /// busy periods.
    #[inline(never)]
    fn refused_by_busy(&mut self, starts: &[i64; CANDIDATES_MAX], mut asked: u64) -> u64 {
        let mut refused = 0;
        while asked != 0 {
            let start = starts[asked.trailing_zeros() as usize];
            let others = asked & (asked - 1);
            if self.busy_for(start).from <= start {
                refused |= asked ^ others;
            }
            asked = others;
        }
        refused
    }

    #[inline]
    fn next_claim(&mut self) -> Blocked {
        next_claim(&mut self.claims, self.filter, self.margins)
    }

    fn next_busy(&mut self) -> Blocked {
        self.busy.next().map_or(Blocked::NONE, |period| {
            let start = period.start.seconds().div_euclid(MINUTE);
            self.margins.blocked_by(start, first_minute(period.end))
        })
    }
}

/// The starts that the next counted claim refuses.
#[inline(always)]
fn next_claim(claims: &mut Following<'_>, filter: ClaimFilter, margins: Margins) -> Blocked {
    claims
        .find(|claim| filter.counts(claim))
        .map_or(Blocked::NONE, |claim| {
            let (start, end) = claim.padded_minutes();
            margins.blocked_by(start, end)
        })
}

/// How far a slot reaches from its start, in minutes.
#[derive(Clone, Copy)]
pub(crate) struct Margins {
    /// The buffer before it.
    pub(crate) before: u32,
    /// The duration and the buffer after it.
    pub(crate) after: u32,
}

impl Margins {
    /// `[t − before, t + after)` overlaps `[start, end)` ⇔ start − after < t < end + before, in whole
    /// minutes.
    #[inline]
    fn blocked_by(self, start: i64, end: i64) -> Blocked {
        Blocked {
            from: start - i64::from(self.after) + 1,
            until: end + i64::from(self.before),
        }
    }
}

/// The first whole minute that is not before `at`, since 1970.
#[inline]
pub(crate) fn first_minute(at: Instant) -> i64 {
    -(-at.seconds()).div_euclid(MINUTE)
}

/// The first of `start`, `start + step`, … that is not before `at`.
#[inline]
pub(crate) fn next_from(start: i64, at: i64, step: i64) -> i64 {
    // Taken time is seldom longer than a few steps, and a few additions are faster than a division.
    if at - start > 8 * step {
        return start + (at - start + step - 1) / step * step;
    }
    let mut start = start;
    while start < at {
        start += step;
    }
    start
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
