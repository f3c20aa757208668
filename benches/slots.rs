//! Slot search in the core: New York hours, a 30-minute grid, an appointment in every second slot
//! until there are enough.
//!
//! `cargo bench --no-default-features --bench slots`; the goals are in docs/PERFORMANCE.md.
#![allow(clippy::unwrap_used, missing_docs)]

mod world;

use std::sync::Arc;

use bookd_core::appointment::Assignment;
use bookd_core::calendar::appointment_type::Limits;
use bookd_core::command::Command;
use bookd_core::decide::decide;
use bookd_core::slots::nearest;
use bookd_core::slots::rules::violations;
use bookd_core::state::State;
use bookd_core::time::DAY;
use divan::{Bencher, black_box};

use world::{NOW, calendar, count, count_several, hundred_calendars, search};

fn main() {
    divan::main();
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
    let limits = Limits {
        per_day: Some(10),
        per_week: Some(100),
        per_month: Some(200),
        per_year: Some(5_000),
    };
    let calendar = calendar(200, limits);
    bencher.bench_local(|| count(black_box(&search(&calendar, 31))));
}

#[divan::bench(args = [(Assignment::All, 20), (Assignment::All, 200), (Assignment::Any, 20), (Assignment::Any, 200)])]
fn days_31_of_100_calendars(
    bencher: Bencher<'_, '_>,
    (assignment, appointments): (Assignment, usize),
) {
    let calendars = hundred_calendars(appointments);
    let searches: Vec<_> = calendars
        .iter()
        .map(|calendar| search(calendar, 31))
        .collect();
    bencher.bench_local(|| count_several(black_box(&searches), assignment));
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

/// The cost of SetAvailability for the writer: every upcoming appointment is compared with 100
/// rules.
#[divan::bench(args = [1_000, 20_000])]
fn hours_beside_appointments(bencher: Bencher<'_, '_>, appointments: usize) {
    let calendar = calendar(appointments, Limits::default());
    let mut rules = calendar.profile.availability.rules.clone();
    rules.resize(100, rules[0].clone());
    let (id, utc) = (calendar.id.clone(), Arc::clone(&calendar.profile.zone));
    let state = State {
        calendars: [(id.clone(), Arc::new(calendar))].into(),
        ..State::default()
    };
    let command = Command::SetAvailability {
        calendar: id,
        zone: None,
        utc,
        rules,
        etag: None,
    };
    bencher.bench_local(|| decide(black_box(&state), &command, NOW).unwrap());
}
