//! The input of the property tests: random calendars in every zone, most of them about a change of
//! the clock.

use std::collections::BTreeMap;
use std::sync::Arc;

use bookd_core::appointment::{AppointmentState, IgnoredRules};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::{AppointmentType, Limits, Stamps};
use bookd_core::calendar::availability::{Availability, Override, Rule, Weekdays, Window};
use bookd_core::calendar::claims::Claim;
use bookd_core::ids::{AppointmentKey, TypeId, TypeNumber};
use bookd_core::slots::first;
use bookd_core::slots::search::Search;
use bookd_core::time::interval::Interval;
use bookd_core::time::{DAY, HOUR, Instant, Minutes, Seconds};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::world::{calendar, instant, minutes, zone, zone_names};

/// A question to the search, the predicate and the checker.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) calendar: Calendar,
    pub(crate) asked_type: TypeId,
    pub(crate) duration: Minutes,
    pub(crate) range: Interval,
    pub(crate) now: Instant,
    pub(crate) ignore: Option<AppointmentKey>,
    pub(crate) present_duration: Option<Minutes>,
    pub(crate) ignored_rules: IgnoredRules,
}

impl Question {
    pub(crate) fn appointment_type(&self) -> &AppointmentType {
        self.calendar.types.find(&self.asked_type).unwrap()
    }

    pub(crate) fn search(&self) -> Search<'_> {
        Search {
            calendar: &self.calendar,
            appointment_type: self.appointment_type(),
            duration: self.duration,
            range: self.range,
            now: self.now,
            ignore: self.ignore,
            present_duration: self.present_duration,
            ignored_rules: self.ignored_rules,
        }
    }
}

/// Changes of the clock that are chosen more often than others: gaps and folds of a day, of an odd
/// length, at midnight.
const CHANGES: [(&str, &str); 10] = [
    ("Pacific/Apia", "2011-12-30T10:00:00Z"),
    ("Pacific/Kwajalein", "1993-08-21T12:00:00Z"),
    ("Australia/Lord_Howe", "2027-04-03T15:00:00Z"),
    ("America/St_Johns", "2006-10-29T02:31:00Z"),
    ("Africa/Monrovia", "1972-01-07T00:44:30Z"),
    ("Europe/Amsterdam", "1937-06-30T23:40:28Z"),
    ("Africa/Cairo", "2026-10-29T21:00:00Z"),
    ("Antarctica/Troll", "2027-03-28T01:00:00Z"),
    ("America/Juneau", "1867-10-18T15:30:00Z"),
    ("Asia/Manila", "1844-12-31T00:00:00Z"),
];

/// A zone, and an instant of interest in it, mostly a change of its clock.
pub(crate) fn place() -> impl Strategy<Value = (String, Instant)> {
    let listed = select(CHANGES.to_vec()).prop_map(|(name, at)| (name.to_owned(), instant(at)));
    let years = -60i64..90;
    let any = (select(zone_names()), years, 0i64..365, any::<bool>()).prop_map(
        |(name, years, days, is_change)| {
            let at = Instant::from_seconds((years * 365 + days) * DAY);
            let change = Instant::from_seconds(zone(&name).segment_at(at).end);
            let is_near = is_change && change < Instant::from_seconds(150 * 365 * DAY);
            (name, if is_near { change } else { at })
        },
    );
    prop_oneof![1 => listed, 4 => any]
}

fn hours() -> impl Strategy<Value = Window> {
    let round = (0u16..96, 1u16..96).prop_map(|(start, length)| (start * 15, length * 15));
    let odd = (0u16..1440, 1u16..=1440);
    let whole_days = Just((0, 1440));
    prop_oneof![5 => round, 2 => odd, 1 => whole_days].prop_map(|(start, length)| {
        Window::new(start, start + length).expect("a day at most, begun before 24:00")
    })
}

pub(crate) fn rules(around: Instant) -> impl Strategy<Value = Vec<Rule>> {
    let today = bookd_core::time::Wall::from_seconds(around.seconds()).date();
    let date =
        move || proptest::option::weighted(0.2, (-3i32..4).prop_map(move |days| today.plus(days)));
    let weekdays = prop_oneof![Just(127u8), 1u8..=127].prop_map(Weekdays::from_bits);
    let rule = (weekdays, hours(), date(), date());
    let rule = rule.prop_map(|(weekdays, window, first_date, last_date)| Rule {
        weekdays,
        window,
        first_date,
        last_date,
    });
    proptest::collection::vec(rule, 0..5)
}

pub(crate) fn overrides(
    around: Instant,
) -> impl Strategy<Value = BTreeMap<bookd_core::time::LocalDate, Override>> {
    let today = bookd_core::time::Wall::from_seconds(around.seconds()).date();
    let of_date = proptest::collection::vec(hours(), 0..3).prop_map(|windows| Override {
        windows,
        note: String::new(),
    });
    proptest::collection::btree_map(
        (-3i32..4).prop_map(move |days| today.plus(days)),
        of_date,
        0..3,
    )
}

pub(crate) fn limits() -> impl Strategy<Value = Limits> {
    let limit = || proptest::option::weighted(0.25, 0u32..5);
    let some = (limit(), limit(), limit(), limit());
    let some = some.prop_map(|(per_day, per_week, per_month, per_year)| Limits {
        per_day,
        per_week,
        per_month,
        per_year,
    });
    prop_oneof![2 => Just(Limits::default()), 1 => some]
}

fn length() -> impl Strategy<Value = u16> {
    prop_oneof![
        6 => select(vec![15u16, 30, 45, 60, 90, 120]),
        2 => select(vec![1u16, 7, 25, 50, 100, 1440]),
        1 => 1u16..3000,
    ]
}

fn buffer() -> impl Strategy<Value = u16> {
    prop_oneof![4 => Just(0u16), 2 => select(vec![5u16, 10, 15, 60]), 1 => 0u16..2000]
}

prop_compose! {
    fn appointment_type(around: Instant)(
        duration in length(),
        options in proptest::collection::vec(length(), 0..2),
        step in proptest::option::of(length()),
        buffers in (buffer(), buffer()),
        notice in prop_oneof![3 => Just(0), 1 => 0..2 * DAY],
        horizon_days in prop_oneof![4 => Just(100_000), 1 => 0u32..4],
        capacity in prop_oneof![2 => Just(1u32), 1 => 2u32..4],
        limits in limits(),
        rules in prop_oneof![3 => Just(Vec::new()), 1 => rules(around)],
    ) -> AppointmentType {
        AppointmentType {
            id: TypeId::default_type(),
            number: TypeNumber(0),
            display_name: String::new(),
            duration: minutes(duration),
            duration_options: options.into_iter().map(minutes).collect(),
            slot_step: step.map(minutes),
            buffer_before: minutes(buffers.0),
            buffer_after: minutes(buffers.1),
            min_notice: Seconds::new(notice).unwrap(),
            horizon_days,
            capacity,
            limits,
            requires_approval: false,
            pending_blocks: true,
            cancel_notice: None,
            reschedule_notice: None,
            rules,
            stamps: Stamps::default(),
        }
    }
}

pub(crate) fn two_types(around: Instant) -> impl Strategy<Value = Vec<AppointmentType>> {
    proptest::collection::vec(appointment_type(around), 2).prop_map(|types| {
        let names = ["a", "b"].into_iter().zip(0..);
        let named = types
            .into_iter()
            .zip(names)
            .map(|(of_type, (name, number))| AppointmentType {
                id: TypeId::parse(name).unwrap(),
                number: TypeNumber(number),
                ..of_type
            });
        named.collect()
    })
}

/// A booking that may succeed: its type, the index of a free start or else the minutes from the
/// instant of interest, the index of its duration, its expiry, its buffers, and whether the type's
/// buffers apply instead.
type Attempt = (
    Index,
    Option<Index>,
    i64,
    Index,
    Option<i64>,
    (u16, u16),
    bool,
);

fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
    let start =
        prop_oneof![3 => (-96i64..96).prop_map(|quarter| quarter * 15), 1 => -3000i64..3000];
    let expiry = proptest::option::weighted(0.3, -2 * HOUR..2 * HOUR);
    let attempt = (
        any::<Index>(),
        proptest::option::weighted(0.7, any::<Index>()),
        start,
        any::<Index>(),
        expiry,
        (buffer(), buffer()),
        any::<bool>(),
    );
    proptest::collection::vec(attempt, 0..20)
}

/// The claims of the attempts that succeed: padded intervals are disjoint, except the seats of one
/// session.
fn claims(
    attempts: &[Attempt],
    types: &[AppointmentType],
    free: &[Vec<Instant>],
    around: Instant,
    now: Instant,
) -> Vec<Claim> {
    let mut claims: Vec<Claim> = Vec::new();
    for (index, (of_type, at, start, duration, expiry, buffers, is_as_the_type_says)) in
        attempts.iter().enumerate()
    {
        let free = &free[of_type.index(types.len())];
        let of_type = &types[of_type.index(types.len())];
        let durations: Vec<Minutes> = [of_type.duration]
            .into_iter()
            .chain(of_type.duration_options.clone())
            .collect();
        let duration = durations[duration.index(durations.len())];
        let start = match at.filter(|_| !free.is_empty()) {
            Some(at) => free[at.index(free.len())],
            None => Instant::from_seconds((around.seconds() / 900) * 900 + start * 60),
        };
        let session = claims
            .iter()
            .find(|claim| claim.is_alike(of_type.number, start, duration))
            .copied();
        let (before, after) = match session {
            Some(seat) if of_type.capacity > 1 => (seat.before(), seat.after()),
            _ if *is_as_the_type_says => (of_type.buffer_before, of_type.buffer_after),
            _ => (minutes(buffers.0), minutes(buffers.1)),
        };
        let (state, expire_time) = match expiry {
            Some(seconds) => (AppointmentState::Held, Some(now.plus(*seconds))),
            None => (AppointmentState::Confirmed, None),
        };
        let key = AppointmentKey(index as u64 + 1);
        let claim = Claim::new(
            key,
            of_type.number,
            start,
            duration,
            before,
            after,
            state,
            expire_time,
        );
        let joined = session
            .filter(|_| of_type.capacity > 1)
            .map(|seat| seat.session());
        let claim = joined.map_or(claim, |joined| claim.in_session(joined));
        let is_seat = |other: &Claim| other.shares_session(&claim);
        if claims
            .iter()
            .all(|other| is_seat(other) || !other.padded().overlaps(claim.padded()))
        {
            claims.push(claim);
        }
    }
    claims
}

/// The first starts of the type without appointments: few, so that several attempts ask for the
/// same.
fn some_starts(
    calendar: &Calendar,
    appointment_type: &AppointmentType,
    range: Interval,
) -> Vec<Instant> {
    let search = Search {
        calendar,
        appointment_type,
        duration: appointment_type.duration,
        range,
        now: Instant::MIN,
        ignore: None,
        present_duration: None,
        ignored_rules: IgnoredRules {
            horizon: true,
            limit: true,
            ..IgnoredRules::default()
        },
    };
    first(&search, 8)
        .into_iter()
        .map(|slot| slot.start)
        .collect()
}

prop_compose! {
    fn busy(around: Instant)(
        periods in proptest::collection::vec((-2 * DAY..2 * DAY, 1i64..4 * HOUR), 0..4),
    ) -> Vec<Interval> {
        let period = |(start, length): (i64, i64)| Interval::new(around.plus(start), around.plus(start + length));
        periods.into_iter().map(period).collect()
    }
}

fn ignored_rules() -> impl Strategy<Value = IgnoredRules> {
    let some = (any::<bool>(), any::<bool>(), any::<bool>());
    let some = some.prop_map(|(notice, horizon, limit)| IgnoredRules {
        notice,
        horizon,
        limit,
        ..IgnoredRules::default()
    });
    prop_oneof![3 => Just(IgnoredRules::default()), 1 => some]
}

/// A calendar and a question about some days of it.
pub(crate) fn question() -> impl Strategy<Value = Question> {
    place().prop_flat_map(|(name, around)| question_about(name, around))
}

/// Several calendars in zones of their own, and one question about some days of them. Most are open
/// around the clock, because otherwise they would hardly ever be open together.
pub(crate) fn questions() -> impl Strategy<Value = Vec<Question>> {
    let others = proptest::collection::vec(select(zone_names()), 0..4);
    let is_wide = proptest::collection::vec(proptest::bool::weighted(0.8), 4);
    (place(), others, is_wide).prop_flat_map(|((name, around), others, is_wide)| {
        let names = std::iter::once(name).chain(others);
        let questions: Vec<_> = names
            .map(|name| question_about(name, around).boxed())
            .collect();
        questions.prop_map(move |mut questions| {
            let Question {
                range,
                now,
                ignored_rules,
                ..
            } = questions[0];
            for (question, is_wide) in questions.iter_mut().zip(&is_wide) {
                (question.range, question.now, question.ignored_rules) =
                    (range, now, ignored_rules);
                if *is_wide {
                    open_round_the_clock(question);
                }
            }
            questions
        })
    })
}

fn open_round_the_clock(question: &mut Question) {
    let weekdays = Weekdays::ALL;
    let always = Rule {
        weekdays,
        window: Window::new(0, 1_440).unwrap(),
        first_date: None,
        last_date: None,
    };
    let of_type = AppointmentType {
        rules: Vec::new(),
        ..question.appointment_type().clone()
    };
    Arc::make_mut(&mut question.calendar.types).put(Arc::new(of_type));
    let availability = Availability {
        rules: vec![always],
        overrides: BTreeMap::new(),
    };
    Arc::make_mut(&mut question.calendar.profile).availability = availability;
}

fn question_about(name: String, around: Instant) -> impl Strategy<Value = Question> {
    let parts = (
        rules(around),
        overrides(around),
        two_types(around),
        busy(around),
        limits(),
        attempts(),
    );
    let asked = (
        -2 * DAY..2 * DAY,
        0..3 * DAY,
        prop_oneof![4 => -3 * DAY..-DAY, 1 => -DAY..DAY],
        any::<Index>(),
        any::<Index>(),
        proptest::option::weighted(0.3, 1u64..10),
        proptest::option::weighted(0.2, length()),
        ignored_rules(),
    );
    (parts, asked).prop_map(move |(parts, asked)| {
        let (rules, overrides, types, busy, limits, attempts) = parts;
        let (from, length, now, of_type, duration, ignore, present_duration, ignored_rules) = asked;
        let now = around.plus(now);
        let range = Interval::new(around.plus(from), around.plus(from + length));
        let availability = Availability { rules, overrides };
        let empty = calendar(
            zone(&name),
            availability.clone(),
            types.clone(),
            busy.clone(),
            Vec::new(),
        );
        let free: Vec<_> = types
            .iter()
            .map(|of_type| some_starts(&empty, of_type, range))
            .collect();
        let claims = claims(&attempts, &types, &free, around, now);
        let of_type = types[of_type.index(types.len())].clone();
        let mut durations = vec![of_type.duration, of_type.duration];
        durations.extend(
            of_type
                .duration_options
                .iter()
                .copied()
                .chain(present_duration.map(minutes)),
        );
        let mut calendar = calendar(zone(&name), availability, types, busy, claims);
        Arc::make_mut(&mut calendar.profile).limits = limits;
        Question {
            calendar,
            asked_type: of_type.id,
            duration: durations[duration.index(durations.len())],
            range,
            now,
            ignore: ignore.map(AppointmentKey),
            present_duration: present_duration.map(minutes),
            ignored_rules,
        }
    })
}
