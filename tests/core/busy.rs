//! Busy periods, which may begin and end at any second, and what they leave of a morning.

use std::sync::Arc;

use bookd_core::appointment::IgnoredRules;
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::{AppointmentType, Stamps};
use bookd_core::calendar::availability::{Availability, Weekdays};
use bookd_core::command::Command;
use bookd_core::ids::{TypeId, TypeNumber};
use bookd_core::slots::first;
use bookd_core::slots::rules::violations;
use bookd_core::slots::search::Search;
use bookd_core::state::State;
use bookd_core::time::interval::Interval;
use bookd_core::time::{HOUR, Instant, MINUTE};

use crate::decide::submit;
use crate::world::{calendar, instant, minutes, rule, zone};

const MIDNIGHT: &str = "2027-03-01T00:00:00Z";

/// An hour that can begin at every minute.
pub(crate) fn any_minute() -> AppointmentType {
    AppointmentType {
        id: TypeId::parse("hour").unwrap(),
        number: TypeNumber(1),
        slot_step: Some(minutes(1)),
        ..AppointmentType::default_type(Stamps::default())
    }
}

/// Open from 09:00 to 12:00 UTC, with this busy time.
pub(crate) fn morning(of_type: AppointmentType, busy: Vec<Interval>) -> Calendar {
    let availability = Availability {
        rules: vec![rule(Weekdays::ALL, "09:00", "12:00")],
        ..Availability::default()
    };
    calendar(zone("UTC"), availability, [of_type], busy, Vec::new())
}

pub(crate) fn search(calendar: &Calendar, range: Interval) -> Search<'_> {
    let appointment_type = calendar.types.iter().next().unwrap();
    Search {
        calendar,
        appointment_type,
        duration: appointment_type.duration,
        range,
        now: instant(MIDNIGHT),
        ignore: None,
        present_duration: None,
        ignored_rules: IgnoredRules::default(),
    }
}

pub(crate) fn clock(text: &str) -> Instant {
    instant(&format!("2027-03-01T{text}Z"))
}

#[test]
fn a_busy_period_takes_the_slot_that_ends_a_second_after_it_begins() {
    let busy = Interval::new(clock("10:00:59"), clock("10:30:01"));
    let calendar = morning(any_minute(), vec![busy]);
    let search = search(
        &calendar,
        Interval::new(clock("09:00:00"), clock("12:00:00")),
    );
    let listed: Vec<Instant> = first(&search, usize::MAX)
        .into_iter()
        .map(|slot| slot.start)
        .collect();
    let after = (31..=60).map(|minute| clock("10:00:00").plus(minute * MINUTE));
    let expected: Vec<Instant> = [clock("09:00:00")].into_iter().chain(after).collect();
    assert_eq!(listed, expected);
    let offered = (0..180)
        .map(|minute| clock("09:00:00").plus(minute * MINUTE))
        .filter(|start| violations(&search.ask(*start)).is_empty());
    assert_eq!(offered.collect::<Vec<_>>(), expected);
}

#[test]
fn a_report_of_one_source_leaves_the_periods_of_others_and_those_outside_its_range() {
    let hour = |from: i64, to: i64| {
        let nine = clock("09:00:00");
        Interval::new(nine.plus(from * HOUR), nine.plus(to * HOUR))
    };
    let mut state = State::default();
    let ada = morning(any_minute(), Vec::new());
    let id = ada.id.clone();
    state.calendars.insert(id.clone(), Arc::new(ada));
    let mut report = |source: &str, range, periods: &[Interval]| {
        let put = Command::PutBusy {
            calendar: id.clone(),
            source: source.to_owned(),
            range,
            periods: periods.to_vec(),
        };
        submit(&mut state, &put, instant(MIDNIGHT)).unwrap();
        let busy = &state.calendars[&id].busy;
        (busy.merged().to_vec(), busy.of_source(source).to_vec())
    };
    report("google", hour(0, 9), &[hour(0, 1), hour(4, 6)]);
    let (all, own) = report("outlook", hour(0, 9), &[hour(2, 3)]);
    assert_eq!(all, [hour(0, 1), hour(2, 3), hour(4, 6)]);
    assert_eq!(own, [hour(2, 3)]);
    let (all, own) = report("google", hour(0, 5), &[]);
    assert_eq!(all, [hour(2, 3), hour(5, 6)]);
    assert_eq!(own, [hour(5, 6)]);
}
