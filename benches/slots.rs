//! Slot search in the core: New York hours, a 30-minute grid, an appointment in every second slot until there are enough.
//!
//! `cargo bench --no-default-features --bench slots`; the goals are in docs/PERFORMANCE.md.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bookd::domain::appointment::{AppointmentState, Assignment, IgnoredRules};
use bookd::domain::appointment_type::{AppointmentType, Limits, Stamps};
use bookd::domain::availability::{Availability, Rule, Weekdays, Window};
use bookd::domain::calendar::{Busy, Calendar, Owner, Profile, Types};
use bookd::domain::claims::{Claim, Claims};
use bookd::domain::command::Command;
use bookd::domain::decide::decide;
use bookd::domain::feasible::violations;
use bookd::domain::ids::{AppointmentKey, CalendarId, Revision, TypeNumber};
use bookd::domain::interval::Interval;
use bookd::domain::several;
use bookd::domain::slots::{Search, nearest, visit};
use bookd::domain::state::State;
use bookd::domain::time::{DAY, Instant, Minutes};
use bookd::zones::Zones;
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

/// 2027-01-04T00:00:00Z, a Monday.
const NOW: Instant = Instant::from_seconds(1_799_020_800);

fn half_hour() -> Minutes {
    Minutes::new(30).unwrap()
}

fn calendar(appointments: usize, limits: Limits) -> Calendar {
    let weekdays = Weekdays::from_bits(0b1_1111);
    let window = Window::new(9 * 60, 17 * 60).unwrap();
    let rules = vec![Rule { weekdays, window, first_date: None, last_date: None }];
    let profile = Profile {
        display_name: String::new(),
        owner: Owner::default(),
        zone: Zones::bundled().zone("America/New_York").unwrap(),
        paused: false,
        limits: Limits::default(),
        metadata: BTreeMap::new(),
        availability: Availability { rules, overrides: BTreeMap::new() },
    };
    let of_type = AppointmentType {
        duration: half_hour(),
        horizon_days: 10_000,
        limits,
        ..AppointmentType::default_type(Stamps::default())
    };
    let mut calendar = Calendar {
        since: Revision(0),
        id: CalendarId::parse("ada").unwrap(),
        profile: Arc::new(profile),
        stamps: Stamps::default(),
        types: Arc::new(Types::new([of_type], [])),
        busy: Arc::new(Busy::default()),
        claims: Claims::default(),
        requests: Arc::default(),
        kept_from: Instant::MIN,
        version: Revision(0),
    };
    let mut starts = Vec::new();
    visit(&search(&calendar, 10 * 365), &mut |slot| {
        starts.push(slot.start);
        ControlFlow::Continue(())
    });
    let starts = starts.into_iter().zip(0..).filter(|(_, index)| index % 2 == 0).take(appointments);
    let claim = |(start, index)| {
        let (key, state) = (AppointmentKey(index), AppointmentState::Confirmed);
        Claim::new(key, TypeNumber(0), start, half_hour(), Minutes::ZERO, Minutes::ZERO, state, None)
    };
    calendar.claims = Claims::from_unordered(starts.map(claim).collect());
    calendar
}

fn search(calendar: &Calendar, days: i64) -> Search<'_> {
    Search {
        calendar,
        appointment_type: calendar.types.iter().next().unwrap(),
        duration: half_hour(),
        range: Interval::new(NOW, NOW.plus(days * DAY)),
        now: NOW,
        ignore: None,
        present_duration: None,
        ignored_rules: IgnoredRules::default(),
    }
}

fn count(search: &Search<'_>) -> u32 {
    let mut slots = 0;
    visit(search, &mut |slot| {
        black_box(slot);
        slots += 1;
        ControlFlow::Continue(())
    });
    slots
}

#[divan::bench(args = [0, 200, 2_000])]
fn days_31(bencher: Bencher<'_, '_>, appointments: usize) {
    let calendar = calendar(appointments, Limits::default());
    bencher.bench_local(|| count(black_box(&search(&calendar, 31))));
}

#[divan::bench(args = [0, 200, 2_000])]
fn days_365(bencher: Bencher<'_, '_>, appointments: usize) {
    let calendar = calendar(appointments, Limits::default());
    bencher.bench_local(|| count(black_box(&search(&calendar, 365))));
}

#[divan::bench]
fn days_31_with_every_limit(bencher: Bencher<'_, '_>) {
    let limits = Limits { per_day: Some(10), per_week: Some(100), per_month: Some(200), per_year: Some(5_000) };
    let calendar = calendar(200, limits);
    bencher.bench_local(|| count(black_box(&search(&calendar, 31))));
}

/// All have the same booked: nobody refuses early, which is the most work that ALL can have.
fn hundred_calendars(appointments: usize) -> Vec<Calendar> {
    (0..100).map(|_| calendar(appointments, Limits::default())).collect()
}

#[divan::bench(args = [(Assignment::All, 20), (Assignment::All, 200), (Assignment::Any, 20), (Assignment::Any, 200)])]
fn days_31_of_100_calendars(bencher: Bencher<'_, '_>, (assignment, appointments): (Assignment, usize)) {
    let calendars = hundred_calendars(appointments);
    let searches: Vec<_> = calendars.iter().map(|calendar| search(calendar, 31)).collect();
    bencher.bench_local(|| {
        let mut slots = 0;
        several::visit(black_box(&searches), assignment, &mut |slot| {
            black_box(slot);
            slots += 1;
            ControlFlow::Continue(())
        });
        slots
    });
}

#[divan::bench]
fn is_one_start_bookable(bencher: Bencher<'_, '_>) {
    let calendar = calendar(2_000, Limits::default());
    let ask = search(&calendar, 1).ask(NOW.plus(10 * DAY + 15 * 3_600 + 1_800));
    bencher.bench_local(|| violations(black_box(&ask)).len());
}

#[divan::bench]
fn nearest_slots(bencher: Bencher<'_, '_>) {
    let calendar = calendar(2_000, Limits::default());
    let search = search(&calendar, 1);
    bencher.bench_local(|| nearest(black_box(&search), NOW.plus(10 * DAY + 15 * 3_600)));
}

/// What SetAvailability costs the writer: every upcoming appointment is held against 100 rules.
#[divan::bench(args = [1_000, 20_000])]
fn hours_beside_appointments(bencher: Bencher<'_, '_>, appointments: usize) {
    let calendar = calendar(appointments, Limits::default());
    let mut rules = calendar.profile.availability.rules.clone();
    rules.resize(100, rules[0].clone());
    let (id, utc) = (calendar.id.clone(), Arc::clone(&calendar.profile.zone));
    let state = State { calendars: [(id.clone(), Arc::new(calendar))].into(), ..State::default() };
    let command = Command::SetAvailability { calendar: id, zone: None, utc, rules, etag: None };
    bencher.bench_local(|| decide(black_box(&state), &command, NOW).unwrap());
}
