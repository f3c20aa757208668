//! The one predicate: whether a slot can be booked, and every rule that it breaks.
//!
//! Listing, explaining, holding, booking, moving and series all use it: a slot is offered ⇔
//! `violations` is empty.

use std::collections::VecDeque;

use crate::appointment::{AppointmentState, IgnoredRules};
use crate::calendar::Calendar;
use crate::calendar::appointment_type::AppointmentType;
use crate::calendar::availability::Rule;
use crate::calendar::claims::{Claim, Session};
use crate::calendar::limits::{Exceeded, Period, limits_on};
use crate::calendar::open_time::{OpenTime, Stretch};
use crate::ids::AppointmentKey;
use crate::slots::rule_text;
use crate::slots::violation::{CONFLICTS_MAX, Violation, ViolationCode};
use crate::time::interval::{Interval, first_overlap};
use crate::time::{Instant, LocalDate, Minutes, Wall};

/// The question whether a start and duration can be booked on a calendar now.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The calendar whose time is claimed.
    pub calendar: &'a Calendar,
    /// The appointment type to book, one of the calendar's.
    pub appointment_type: &'a AppointmentType,
    /// A whole minute.
    pub start: Instant,
    /// The duration of the slot.
    pub duration: Minutes,
    /// The writer's clock.
    pub now: Instant,
    /// The appointment that is being moved: its own time counts as free.
    pub ignore: Option<AppointmentKey>,
    /// The duration of the moved appointment, which stays allowed.
    pub present_duration: Option<Minutes>,
    /// The rules that staff override.
    pub ignored_rules: IgnoredRules,
    /// Whether the start must be on the grid. Of several calendars under ALL only the first one's
    /// grid counts.
    pub is_grid_judged: bool,
    /// The session in which the claim would take a seat, see `joined`.
    pub session: Option<Session>,
}

/// The session that a claim of `places` calendars at once would join, as far as this calendar alone
/// can know: one of the same type, start and end whose seats take as many calendars.
pub(crate) fn session_here(ask: &Ask<'_>, places: usize) -> Option<Session> {
    seats_among(ask, places).next().map(Claim::session)
}

/// The seats on this calendar at the time of the claim whose appointments take `places` calendars.
fn seats_among<'a>(ask: &'a Ask<'a>, places: usize) -> impl Iterator<Item = &'a Claim> {
    // Types of one seat have no sessions, so that their claims need not be read.
    let claims =
        (ask.appointment_type.capacity > 1).then(|| ask.calendar.claims.overlapping(ask.slot()));
    claims.into_iter().flatten().filter(move |claim| {
        claim.is_alike(ask.appointment_type.number, ask.start, ask.duration)
            && usize::from(claim.session().places) == places
            && ask.counts(claim)
    })
}

/// Makes these the questions of one claim: sets the session that it joins in each of them.
#[inline]
pub(crate) fn join(asks: &mut [Ask<'_>]) -> Option<Session> {
    let session = joined(asks);
    asks.iter_mut().for_each(|ask| ask.session = session);
    session
}

/// The session that a claim of all these calendars would join: one with a seat that takes as many
/// calendars and is on every one of them. None where one of them has a type of one seat.
///
/// The key of a session does not identify it: when the first seat moves away it begins another
/// session under its own key, and the seats that stay keep that key as well. But the seats of one
/// session on one calendar at one time have one set of calendars.
fn joined(asks: &[Ask<'_>]) -> Option<Session> {
    let (first, others) = asks.split_first()?;
    let mut last_session = None;
    let is_everywhere = |seat: &&Claim| {
        // One seat of each session is enough, because the others are on the same calendars.
        last_session.replace(seat.session()) != Some(seat.session())
            && others
                .iter()
                .all(|ask| seats_among(ask, asks.len()).any(|claim| claim.key() == seat.key()))
    };
    seats_among(first, asks.len())
        .find(is_everywhere)
        .map(Claim::session)
}

/// Every rule that the slot breaks, one violation a code, in the order of [`ViolationCode`]; empty =
/// the slot is offered.
pub fn violations(ask: &Ask<'_>) -> Vec<Violation> {
    let mut found: Vec<Violation> = rule_violations(ask).collect();
    add_race_violations(ask, &mut found);
    found
}

/// The violations that another booking can cause: BUSY, CAPACITY and LIMIT. The approval of a
/// request that does not block asks only for these.
pub fn race_violations(ask: &Ask<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    add_race_violations(ask, &mut found);
    found
}

fn add_race_violations(ask: &Ask<'_>, found: &mut Vec<Violation>) {
    let is_hold = |claim: &&Claim| claim.state() == AppointmentState::Held;
    let conflicts = conflicts(ask);
    let bookings = conflicts.clone().filter(|claim| !is_hold(claim));
    found.extend(claim_violation(ask, ViolationCode::BusyBooking, bookings));
    found.extend(claim_violation(
        ask,
        ViolationCode::BusyHold,
        conflicts.filter(is_hold),
    ));
    if let Some(busy) = busy(ask) {
        let rule = rule_text::busy_external(busy, ask.calendar.zone());
        found.push(violation(
            ask,
            ViolationCode::BusyExternal,
            rule,
            Some(busy),
        ));
    }
    if is_full(ask) {
        let rule = rule_text::capacity(ask.appointment_type.capacity);
        let keys = seats(ask).map(Claim::key).take(CONFLICTS_MAX).collect();
        found.push(Violation {
            conflicts: keys,
            ..violation(ask, ViolationCode::Capacity, rule, Some(ask.slot()))
        });
    }
    let limits: Vec<_> = exceeded(ask).collect();
    if let Some(first) = limits.first() {
        let rule = rule_text::limits(&limits);
        found.push(violation(
            ask,
            ViolationCode::Limit,
            rule,
            first.period.interval(ask.calendar.zone()),
        ));
    }
}

/// Whether `race_violations` would find anything, at less cost.
pub fn is_race_lost(ask: &Ask<'_>) -> bool {
    is_full(ask)
        || conflicts(ask).next().is_some()
        || busy(ask).is_some()
        || exceeded(ask).next().is_some()
}

/// The buffers before and after the slot: those of the type or, for a seat, those of the session
/// that it joins.
pub fn buffers(ask: &Ask<'_>) -> (Minutes, Minutes) {
    match seats(ask).next() {
        Some(seat) => (seat.before(), seat.after()),
        None => (
            ask.appointment_type.buffer_before,
            ask.appointment_type.buffer_after,
        ),
    }
}

/// How many seats are left at this start and duration; 0 for a session that is above its capacity.
pub fn seats_remaining(ask: &Ask<'_>) -> u32 {
    let taken = u32::try_from(seats(ask).count()).unwrap_or(u32::MAX);
    ask.appointment_type.capacity.saturating_sub(taken)
}

/// The instants at which notice and horizon let a slot start: `[earliest, ∞)` on local dates up to
/// `last_date`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bookable {
    /// The end of the notice.
    pub earliest: Instant,
    /// The last date of the horizon.
    pub last_date: LocalDate,
}

/// The starts that notice and horizon allow at `now`.
pub fn bookable(
    calendar: &Calendar,
    appointment_type: &AppointmentType,
    now: Instant,
    ignored_rules: IgnoredRules,
) -> Bookable {
    let notice = if ignored_rules.notice {
        0
    } else {
        appointment_type.min_notice.seconds()
    };
    let horizon_days = if ignored_rules.horizon {
        u32::MAX
    } else {
        appointment_type.horizon_days
    };
    let today = calendar.zone().wall(now).date();
    let last_date = today.plus(i32::try_from(horizon_days).unwrap_or(i32::MAX));
    Bookable {
        earliest: now.plus(notice),
        last_date,
    }
}

/// Whether the type allows the duration, or the appointment that is being moved has it.
pub fn is_duration_allowed(
    type_: &AppointmentType,
    duration: Minutes,
    present_duration: Option<Minutes>,
) -> bool {
    type_.allows(duration) || present_duration == Some(duration)
}

impl Ask<'_> {
    /// `[start, start + duration)`.
    pub fn slot(&self) -> Interval {
        Interval::new(self.start, self.start.plus(self.duration.seconds()))
    }

    /// The slot with the buffers before and after it.
    pub fn padded(&self) -> Interval {
        let (before, after) = buffers(self);
        self.slot().padded(before.seconds(), after.seconds())
    }

    /// Whether a claim takes time: it has not expired, and is not of the moved appointment.
    pub(crate) fn counts(&self, claim: &Claim) -> bool {
        claim.is_alive(self.now) && self.ignore != Some(claim.key())
    }

    fn is_seat(&self, claim: &Claim) -> bool {
        self.session == Some(claim.session())
            && claim.is_alike(self.appointment_type.number, self.start, self.duration)
    }
}

/// The taken seats of the session that the claim would join; none where it would join none.
pub(crate) fn seats<'a>(ask: &'a Ask<'a>) -> impl Iterator<Item = &'a Claim> {
    let claims = ask
        .session
        .map(|_| ask.calendar.claims.overlapping(ask.slot()));
    claims
        .into_iter()
        .flatten()
        .filter(|claim| ask.is_seat(claim) && ask.counts(claim))
}

/// The claims that overlap the padded slot and are no seats of the session that the claim would
/// join.
fn conflicts<'a>(ask: &'a Ask<'a>) -> impl Iterator<Item = &'a Claim> + Clone {
    let claims = ask.calendar.claims.overlapping(ask.padded());
    claims.filter(|claim| ask.counts(claim) && !ask.is_seat(claim))
}

fn busy(ask: &Ask<'_>) -> Option<Interval> {
    first_overlap(ask.calendar.busy.merged(), ask.padded())
}

fn is_full(ask: &Ask<'_>) -> bool {
    seats_remaining(ask) == 0
}

/// The limits that the booking would exceed.
fn exceeded<'a>(ask: &Ask<'a>) -> impl Iterator<Item = Exceeded> {
    let ask = *ask;
    let limits = limits_on(
        ask.calendar,
        ask.appointment_type.number,
        &ask.appointment_type.limits,
    );
    limits
        .filter(move |_| !ask.ignored_rules.limit)
        .filter_map(move |limit| {
            let period = Period::around(limit.kind, ask.calendar.zone().wall(ask.start).date());
            let sessions = limit.sessions(ask.calendar, period, ask.now, ask.ignore);
            let added = u32::from(seats(&ask).next().is_none());
            (sessions + added > limit.sessions_max).then_some(Exceeded {
                limit,
                period,
                sessions,
            })
        })
}

fn rule_violations<'a>(ask: &'a Ask<'a>) -> impl Iterator<Item = Violation> {
    let appointment_type = ask.appointment_type;
    let zone = ask.calendar.zone();
    let bookable = bookable(ask.calendar, appointment_type, ask.now, ask.ignored_rules);
    let paused = ask
        .calendar
        .profile
        .paused
        .then(|| (ViolationCode::CalendarPaused, rule_text::paused(), None));
    let duration = (!is_duration_allowed(appointment_type, ask.duration, ask.present_duration))
        .then(|| {
            (
                ViolationCode::Duration,
                rule_text::duration(ask.duration, appointment_type),
                None,
            )
        });
    let past = (ask.start < ask.now).then(|| {
        (
            ViolationCode::InThePast,
            rule_text::past(ask.now, zone),
            None,
        )
    });
    let notice = (past.is_none() && ask.start < bookable.earliest).then(|| {
        (
            ViolationCode::Notice,
            rule_text::notice(appointment_type.min_notice, bookable.earliest, zone),
            None,
        )
    });
    let horizon = (zone.wall(ask.start).date() > bookable.last_date).then(|| {
        let rule = rule_text::horizon(
            appointment_type.horizon_days,
            bookable.last_date,
            zone.wall(ask.start).date(),
        );
        (ViolationCode::Horizon, rule, None)
    });
    let (outside, misaligned) = availability_violations(ask);
    [paused, duration, past, notice, horizon, outside, misaligned]
        .into_iter()
        .flatten()
        .map(|(code, rule, interval)| violation(ask, code, rule, interval))
}

type BrokenRule = Option<(ViolationCode, String, Option<Interval>)>;

/// OUTSIDE_AVAILABILITY and MISALIGNED.
fn availability_violations(ask: &Ask<'_>) -> (BrokenRule, BrokenRule) {
    let availability = &ask.calendar.profile.availability;
    let zone = ask.calendar.zone();
    let mut open = OpenTime::new(zone, availability, &ask.appointment_type.rules, ask.slot());
    let mut stretches = VecDeque::new();
    while open.fill(&mut stretches) {}

    let outside = first_closed(&stretches, ask.slot())
        .filter(|_| !ask.ignored_rules.outside_availability)
        .map(|gap| {
            (
                ViolationCode::OutsideAvailability,
                rule_text::outside(gap, zone),
                Some(gap),
            )
        });
    let step = ask.appointment_type.step();
    let is_judged = ask.is_grid_judged && !ask.ignored_rules.misaligned;
    let at_start = stretches
        .front()
        .filter(|stretch| is_judged && stretch.interval.contains(ask.start));
    let misaligned = at_start
        .filter(|stretch| !stretch.is_candidate(ask.start, step))
        .map(|stretch| {
            let anchors: Vec<Wall> = stretch
                .anchors()
                .map(|anchor| wall_like(zone.wall(ask.start), ask.start, anchor))
                .collect();
            (
                ViolationCode::Misaligned,
                rule_text::misaligned(step, &anchors, zone.wall(ask.start)),
                None,
            )
        });
    (outside, misaligned)
}

/// The wall time of `anchor`, had the clock always had the offset that it has at `start`.
fn wall_like(wall: Wall, start: Instant, anchor: Instant) -> Wall {
    wall.plus(anchor.since(start))
}

/// Tells whether intervals that come in order of their starts are open, in one pass over the open
/// hours.
pub struct OpenWalk<'a> {
    open: OpenTime<'a>,
    stretches: VecDeque<Stretch>,
}

impl<'a> OpenWalk<'a> {
    /// A walk over the open time of a type within `range`: the calendar's overrides, and the rules
    /// of the type or, where it has none, the calendar's own.
    pub fn new(calendar: &'a Calendar, type_rules: &'a [Rule], range: Interval) -> Self {
        let availability = &calendar.profile.availability;
        let open = OpenTime::new(calendar.zone(), availability, type_rules, range);
        Self {
            open,
            stretches: VecDeque::new(),
        }
    }

    /// Whether every instant of the interval is open. Its start must not lie before that of the
    /// last interval.
    pub fn is_open(&mut self, interval: Interval) -> bool {
        while self.open.reached() < interval.end && self.open.fill(&mut self.stretches) {}
        while self
            .stretches
            .front()
            .is_some_and(|it| it.interval.end <= interval.start)
        {
            self.stretches.pop_front();
        }
        first_closed(&self.stretches, interval).is_none()
    }

    /// The instant up to which open time was read.
    pub fn reached(&self) -> Instant {
        self.open.reached()
    }
}

/// The first interval of the slot that is not open.
fn first_closed(stretches: &VecDeque<Stretch>, slot: Interval) -> Option<Interval> {
    let mut open_until = slot.start;
    for stretch in stretches {
        if open_until >= slot.end {
            return None;
        }
        if stretch.interval.start > open_until {
            return Some(Interval::new(open_until, stretch.interval.start));
        }
        open_until = open_until.max(stretch.interval.end);
    }
    (open_until < slot.end).then(|| Interval::new(open_until, slot.end))
}

fn claim_violation<'a>(
    ask: &Ask<'_>,
    code: ViolationCode,
    claims: impl Iterator<Item = &'a Claim>,
) -> Option<Violation> {
    let mut claims = claims.peekable();
    let first = claims.peek()?.padded();
    let rule = rule_text::busy_claim(code, first, ask.calendar.zone());
    let conflicts = claims.map(Claim::key).take(CONFLICTS_MAX).collect();
    Some(Violation {
        conflicts,
        ..violation(ask, code, rule, Some(first))
    })
}

fn violation(
    ask: &Ask<'_>,
    code: ViolationCode,
    rule: String,
    interval: Option<Interval>,
) -> Violation {
    Violation {
        code,
        calendar: ask.calendar.id.clone(),
        rule,
        interval,
        conflicts: Vec::new(),
    }
}
