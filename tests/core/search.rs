//! Random calendars in every zone: the search, the predicate and the minute-by-minute checker say the same.

use bookd::domain::appointment::AppointmentState;
use bookd::domain::appointment_type::{AppointmentType, Limits};
use bookd::domain::availability::{Availability, Override, Rule, Weekdays, Window};
use bookd::domain::calendar::Calendar;
use bookd::domain::claims::Claim;
use bookd::domain::feasible::{Ask, buffers, race_violations, seats_remaining, violations};
use bookd::domain::ids::AppointmentKey;
use bookd::domain::interval::Interval;
use bookd::domain::slots::{Search, Slot, first, nearest};
use bookd::domain::time::{DAY, Instant, LocalDate, Seconds};
use bookd::domain::zone::Zone;
use bookd::zones::{Zones, bundled_names};
use proptest::prelude::*;
use proptest::sample::select;

use crate::checker;
use crate::world::{appointment_type, calendar, minutes, profile, search};

fn arbitrary_window() -> impl Strategy<Value = Window> {
    (0..288_u16, 1..288_u16).prop_map(|(start, length)| Window::new(start * 5, start * 5 + length * 5).unwrap())
}

fn arbitrary_rule(today: LocalDate) -> impl Strategy<Value = Rule> {
    let date = move || prop::option::weighted(0.2, (-3..6_i32).prop_map(move |days| today.plus(days)));
    (1..128_u8, arbitrary_window(), date(), date()).prop_map(|(days, window, first_date, last_date)| Rule {
        weekdays: Weekdays::from_bits(days),
        window,
        first_date,
        last_date,
    })
}

fn arbitrary_limits() -> impl Strategy<Value = Limits> {
    let limit = || prop::option::weighted(0.15, 0..4_u32);
    (limit(), limit(), limit(), limit()).prop_map(|(per_day, per_week, per_month, per_year)| Limits {
        per_day,
        per_week,
        per_month,
        per_year,
    })
}

fn arbitrary_type(number: u16, today: LocalDate) -> impl Strategy<Value = AppointmentType> {
    let lengths = (
        select(&[5, 7, 15, 30, 45, 60, 90, 1_440, 2_000][..]),
        prop::option::of(select(&[1, 7, 10, 25, 30, 60, 97][..])),
    );
    let buffers = (select(&[0, 0, 5, 30][..]), select(&[0, 0, 10, 60][..]));
    let rules = prop::collection::vec(arbitrary_rule(today), 0..3);
    let ahead = (select(&[0, 0, 60, 7_200][..]), select(&[0, 1, 2, 365][..]), select(&[1, 1, 2, 3][..]));
    (lengths, buffers, ahead, arbitrary_limits(), rules).prop_map(
        move |((duration, step), (before, after), (notice, horizon_days, capacity), limits, rules)| AppointmentType {
            slot_step: step.map(minutes),
            duration_options: vec![minutes(20)],
            buffer_before: minutes(before),
            buffer_after: minutes(after),
            min_notice: Seconds::new(notice).unwrap(),
            horizon_days,
            capacity,
            limits,
            rules: if number == 0 { Vec::new() } else { rules },
            ..appointment_type(&format!("type{number}"), number, duration)
        },
    )
}

#[derive(Debug)]
struct World {
    calendar: Calendar,
    types: Vec<AppointmentType>,
    now: Instant,
    range: Interval,
    is_option_asked: bool,
}

/// A moment within two days of one of the zone's clock changes, or any moment where it has none.
fn moment(zone: &Zone, pick: i64) -> Instant {
    let base = Instant::from_seconds(1_767_225_600 + pick.rem_euclid(400) * DAY + pick.rem_euclid(1_440) * 60);
    let next = zone.segment_at(base).end;
    let is_soon = next < base.seconds() + 400 * DAY;
    if is_soon { Instant::from_seconds(next - pick.rem_euclid(2_880) * 60) } else { base }
}

fn arbitrary_world() -> impl Strategy<Value = World> {
    (select(bundled_names()), any::<u32>()).prop_flat_map(|(name, pick)| {
        let zone = Zones::bundled().zone(name).unwrap();
        let now = moment(&zone, i64::from(pick));
        let today = zone.wall(now).date();
        let windows = prop::collection::vec(arbitrary_window(), 0..3);
        let an_override = (-2..4_i32, windows)
            .prop_map(move |(days, windows)| (today.plus(days), Override { windows, note: String::new() }));
        let parts = (
            prop::collection::vec(arbitrary_rule(today), 0..4),
            prop::collection::btree_map(-2..4_i32, an_override, 0..3),
            (arbitrary_type(0, today), arbitrary_type(1, today)),
            arbitrary_limits(),
            prop::collection::vec((-2_000..4_000_i64, 1..200_i64), 0..3),
            prop::collection::vec((0..2_usize, -2_000..4_000_i64, 0..8_u8), 0..14),
            (-1_440..1_440_i64, 1..2_880_i64, any::<bool>(), prop::bool::weighted(0.03)),
        );
        parts.prop_map(
            move |(rules, overrides, (first, second), limits, busy, claims, (from, length, option, paused))| {
                let overrides = overrides.into_values().collect();
                let mut profile = profile(name, Availability { rules, overrides });
                (profile.limits, profile.paused) = (limits, paused);
                let base = Instant::from_seconds(now.seconds().div_euclid(60) * 60);
                let busy = busy
                    .iter()
                    .map(|(at, length)| Interval::new(base.plus(at * 60 + 7), base.plus((at + length) * 60)));
                let types = vec![first, second];
                let mut calendar = calendar(profile, types.clone(), busy.collect(), Vec::new());
                for ((of, at, kind), key) in claims.into_iter().zip(1..) {
                    add_claim(&mut calendar, &types[of], base.plus(at * 300), kind, key, now);
                }
                let range = Interval::new(now.plus(from * 60), now.plus((from + length) * 60));
                World { calendar, types, now, range, is_option_asked: option }
            },
        )
    })
}

/// Adds a claim where no other is, or a seat where a session is; holds and expired holds among them.
fn add_claim(calendar: &mut Calendar, of: &AppointmentType, start: Instant, kind: u8, key: u64, now: Instant) {
    let ask = Ask { start, now: Instant::MIN, ..search(calendar, of, Interval::new(start, start), now).ask(start) };
    let is_race_lost = race_violations(&ask).iter().any(|it| it.code != bookd::domain::refusal::ViolationCode::Limit);
    if is_race_lost {
        return;
    }
    let (before, after) = buffers(&ask);
    let (state, expire_time) = match kind {
        0 => (AppointmentState::Held, Some(now)),
        1 => (AppointmentState::Held, Some(now.plus(1))),
        _ => (AppointmentState::Confirmed, None),
    };
    calendar.claims.insert(Claim::new(
        AppointmentKey(key),
        of.number,
        start,
        of.duration,
        before,
        after,
        state,
        expire_time,
    ));
}

fn asked(search: &Search<'_>) -> Vec<Slot> {
    let (from, to) = (search.range.start.seconds(), search.range.end.seconds());
    let slot = |second| {
        let ask = search.ask(Instant::from_seconds(second));
        let end = ask.start.plus(search.duration.seconds());
        violations(&ask).is_empty().then(|| Slot { start: ask.start, end, seats_remaining: seats_remaining(&ask) })
    };
    (from..to).filter(|second| second % 60 == 0).filter_map(slot).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, max_shrink_iters: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_listed_is_what_is_bookable_is_what_the_definition_says(world in arbitrary_world()) {
        for of in &world.types {
            let duration = if world.is_option_asked { minutes(20) } else { of.duration };
            let search = Search { duration, ..search(&world.calendar, of, world.range, world.now) };
            let listed = first(&search, usize::MAX);
            prop_assert_eq!(&listed, &checker::slots(&search), "the definition");
            prop_assert_eq!(&listed, &asked(&search), "the predicate");
        }
    }

    #[test]
    fn the_nearest_slots_are_the_last_before_and_the_first_after(world in arbitrary_world()) {
        let of = &world.types[0];
        let start = Instant::from_seconds(world.range.start.seconds().div_euclid(60) * 60);
        let reach = bookd::domain::slots::NEAREST_DAYS * DAY;
        let at = |from, to| search(&world.calendar, of, Interval::new(from, to), world.now);
        let (before, after) = nearest(&at(start, start));
        let earlier = first(&at(start.plus(-reach), start), usize::MAX);
        let later = first(&at(start.plus(1), start.plus(reach)), 1);
        prop_assert_eq!(before.map(|it| it.start), earlier.last().map(|it| it.start));
        prop_assert_eq!(after.map(|it| it.start), later.first().map(|it| it.start));
    }
}
