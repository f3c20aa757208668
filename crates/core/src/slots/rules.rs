//! The one predicate: whether a slot can be booked, and every rule of scheduling.md that says no.
//!
//! Listing, explaining, holding, booking, moving and series all ask here: a slot is offered ⇔ `violations` is empty.

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

/// May this start and duration be booked of this calendar now?
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whose time.
    pub calendar: &'a Calendar,
    /// What is booked: a type of the calendar.
    pub appointment_type: &'a AppointmentType,
    /// A whole minute.
    pub start: Instant,
    /// How long.
    pub duration: Minutes,
    /// The writer's clock.
    pub now: Instant,
    /// The appointment that is being moved: it takes nothing.
    pub ignore: Option<AppointmentKey>,
    /// The duration it has, which stays allowed.
    pub present_duration: Option<Minutes>,
    /// The rules that staff override.
    pub ignored_rules: IgnoredRules,
    /// Whether the start must be on the grid; of several calendars that all take part only the first one's counts.
    pub is_grid_judged: bool,
    /// The session that the claim would take a seat of, see `joined`.
    pub session: Option<Session>,
}

/// The session that a claim of so many calendars at once would join, as far as this calendar tells: one of its type that
/// begins and ends like the claim, and whose seats take as many calendars.
pub(crate) fn session_here(ask: &Ask<'_>, places: usize) -> Option<Session> {
    seats_among(ask, places).next().map(Claim::session)
}

/// The seats that are taken here at the time of the claim, by appointments of so many calendars.
fn seats_among<'a>(ask: &'a Ask<'a>, places: usize) -> impl Iterator<Item = &'a Claim> {
    // Types of one seat have no sessions: their claims are not looked for.
    let claims =
        (ask.appointment_type.capacity > 1).then(|| ask.calendar.claims.overlapping(ask.slot()));
    claims.into_iter().flatten().filter(move |claim| {
        claim.is_alike(ask.appointment_type.number, ask.start, ask.duration)
            && usize::from(claim.session().places) == places
            && ask.counts(claim)
    })
}

/// Makes these the questions of one claim: of each is asked what the session that it joins leaves it.
#[inline]
pub(crate) fn join(asks: &mut [Ask<'_>]) -> Option<Session> {
    let session = joined(asks);
    asks.iter_mut().for_each(|ask| ask.session = session);
    session
}

/// The session that a claim which asks all of these would join: one of the same set of places, that is, with a seat that
/// takes as many calendars and is on every one of these. Where one of them seats one at a time there is none.
///
/// The key of a session does not tell: a first seat that moves away founds another under its own key, which those that
/// stay keep as well. On one calendar, at one time, seats of one session have one set.
fn joined(asks: &[Ask<'_>]) -> Option<Session> {
    let (first, others) = asks.split_first()?;
    let mut tried = None;
    let is_everywhere = |seat: &&Claim| {
        // One of each session is enough: the others are where it is.
        tried.replace(seat.session()) != Some(seat.session())
            && others
                .iter()
                .all(|ask| seats_among(ask, asks.len()).any(|claim| claim.key() == seat.key()))
    };
    seats_among(first, asks.len())
        .find(is_everywhere)
        .map(Claim::session)
}

/// Everything that forbids the slot, one violation a code, in the order of scheduling.md; empty = it is offered.
pub fn violations(ask: &Ask<'_>) -> Vec<Violation> {
    let mut found: Vec<Violation> = rule_violations(ask).collect();
    add_race_violations(ask, &mut found);
    found
}

/// Only what somebody else's booking can cause: BUSY, CAPACITY and LIMIT. Approving a request that does not block asks
/// these.
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

/// What is kept free before and after: as the type says or, for a seat, as the session says that it joins.
pub fn buffers(ask: &Ask<'_>) -> (Minutes, Minutes) {
    match seats(ask).next() {
        Some(seat) => (seat.before(), seat.after()),
        None => (
            ask.appointment_type.buffer_before,
            ask.appointment_type.buffer_after,
        ),
    }
}

/// How many seats there are for this start and duration; those of a session above its capacity are none.
pub fn seats_remaining(ask: &Ask<'_>) -> u32 {
    let taken = u32::try_from(seats(ask).count()).unwrap_or(u32::MAX);
    ask.appointment_type.capacity.saturating_sub(taken)
}

/// The instants at which a slot may start, but for what is open, on the grid and free: `[earliest, ∞)` on local dates
/// up to `last_date`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bookable {
    /// From the notice on.
    pub earliest: Instant,
    /// Up to the horizon.
    pub last_date: LocalDate,
}

/// What notice and horizon leave at `now`.
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

/// Whether the type, or the appointment that is being moved, has that duration.
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

    /// The slot with its buffers.
    pub fn padded(&self) -> Interval {
        let (before, after) = buffers(self);
        self.slot().padded(before.seconds(), after.seconds())
    }

    /// Whether a claim takes time from this question's view.
    pub(crate) fn counts(&self, claim: &Claim) -> bool {
        claim.is_alive(self.now) && self.ignore != Some(claim.key())
    }

    fn is_seat(&self, claim: &Claim) -> bool {
        self.session == Some(claim.session())
            && claim.is_alike(self.appointment_type.number, self.start, self.duration)
    }
}

/// The seats that are taken in the session that would be joined; none where none would be.
pub(crate) fn seats<'a>(ask: &'a Ask<'a>) -> impl Iterator<Item = &'a Claim> {
    let claims = ask
        .session
        .map(|_| ask.calendar.claims.overlapping(ask.slot()));
    claims
        .into_iter()
        .flatten()
        .filter(|claim| ask.is_seat(claim) && ask.counts(claim))
}

/// The claims that meet the padded slot and are no seats of the session that would be joined.
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

/// Whether intervals that come in order of their starts are open, by walking the hours once beside them.
pub struct OpenWalk<'a> {
    open: OpenTime<'a>,
    stretches: VecDeque<Stretch>,
}

impl<'a> OpenWalk<'a> {
    /// By the calendar's overrides and these rules of a type, else the calendar's own; within `range` alone.
    pub fn new(calendar: &'a Calendar, type_rules: &'a [Rule], range: Interval) -> Self {
        let availability = &calendar.profile.availability;
        let open = OpenTime::new(calendar.zone(), availability, type_rules, range);
        Self {
            open,
            stretches: VecDeque::new(),
        }
    }

    /// Whether every instant of the interval is open. It starts no earlier than the one before.
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

    /// How far it has walked.
    pub fn reached(&self) -> Instant {
        self.open.reached()
    }
}

/// The first stretch of the slot that is not open.
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
