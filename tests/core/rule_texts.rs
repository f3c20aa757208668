//! The texts of broken rules: each names the rule, its numbers, and a value that would be accepted.

use std::sync::Arc;

use bookd_core::appointment::{AppointmentState, IgnoredRules};
use bookd_core::calendar::appointment_type::{AppointmentType, Limits, Stamps};
use bookd_core::calendar::availability::{Availability, Weekdays};
use bookd_core::calendar::claims::{Claim, Session};
use bookd_core::calendar::{Busy, Calendar};
use bookd_core::ids::{AppointmentKey, TypeId};
use bookd_core::slots::rules::{Ask, violations};
use bookd_core::slots::violation::ViolationCode;
use bookd_core::time::interval::Interval;
use bookd_core::time::{HOUR, Minutes, Seconds};

use crate::world::{calendar, claim_in_state, instant, minutes, rule, zone};

/// A Monday, 08:00 in Paris.
const NOW: &str = "2027-03-01T07:00:00Z";

fn visit() -> AppointmentType {
    AppointmentType {
        id: TypeId::parse("visit").unwrap(),
        ..AppointmentType::default_type(Stamps::default())
    }
}

/// Open from 09:00 to 17:00 in Paris, where it is an hour later than in UTC.
fn of(of_type: AppointmentType, claims: Vec<Claim>) -> Calendar {
    let availability = Availability {
        rules: vec![rule(Weekdays::ALL, "09:00", "17:00")],
        ..Availability::default()
    };
    calendar(
        zone("Europe/Paris"),
        availability,
        [of_type],
        Vec::new(),
        claims,
    )
}

fn ask<'a>(calendar: &'a Calendar, start: &str, duration: Minutes) -> Ask<'a> {
    Ask {
        calendar,
        appointment_type: calendar.types.iter().next().unwrap(),
        start: instant(start),
        duration,
        now: instant(NOW),
        ignore: None,
        present_duration: None,
        ignored_rules: IgnoredRules::default(),
        is_grid_judged: true,
        session: None,
    }
}

/// The code and the text of each rule that the start breaks.
fn broken(ask: &Ask<'_>) -> Vec<(ViolationCode, String)> {
    let found = violations(ask).into_iter();
    found.map(|it| (it.code, it.rule)).collect()
}

/// The text of the only rule that an hour from `start` breaks.
fn text(calendar: &Calendar, start: &str) -> String {
    let found = broken(&ask(calendar, start, minutes(60)));
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].1.clone()
}

#[test]
fn a_duration_that_is_not_offered_is_told_those_that_are() {
    let calendar = of(
        AppointmentType {
            duration_options: [90, 120, 2_880].map(minutes).to_vec(),
            ..visit()
        },
        Vec::new(),
    );
    let text = |duration| {
        let mut ask = ask(&calendar, "2027-03-02T08:00:00Z", minutes(duration));
        ask.ignored_rules.outside_availability = true;
        broken(&ask).remove(0)
    };
    let offered = "is not offered; the type allows 1 h, 90 min, 2 h, 2 d";
    for (duration, shown) in [(30, "30 min"), (180, "3 h"), (1_440, "1 d"), (0, "0 s")] {
        let expected = format!("a duration of {shown} {offered}");
        assert_eq!(text(duration), (ViolationCode::Duration, expected));
    }
}

#[test]
fn a_start_that_is_too_early_or_too_late_is_told_the_first_or_last_that_is_not() {
    let calendar = of(
        AppointmentType {
            min_notice: Seconds::new(90).unwrap(),
            horizon_days: 2,
            ..visit()
        },
        Vec::new(),
    );
    let at = |now: &str, start: &str| {
        let mut ask = ask(&calendar, start, minutes(60));
        ask.now = instant(now);
        broken(&ask)
    };
    let now = "2027-03-01T07:59:00Z";
    assert_eq!(
        at(now, "2027-03-01T08:00:00Z"),
        [(
            ViolationCode::Notice,
            "min_notice is 90 s: the earliest start is 2027-03-01T08:00:30Z (2027-03-01T09:00:30 \
             local time)"
                .to_owned()
        )]
    );
    assert_eq!(at("2027-03-01T07:58:30Z", "2027-03-01T08:00:00Z"), []);
    assert_eq!(at(now, "2027-03-03T08:00:00Z"), []);
    assert_eq!(
        at(now, "2027-03-04T08:00:00Z"),
        [(
            ViolationCode::Horizon,
            "horizon_days is 2: the last local date is 2027-03-03, and the start is on 2027-03-04"
                .to_owned()
        )]
    );
    let start = "2027-03-01T08:00:00Z";
    assert_eq!(
        at("2027-03-01T08:00:01Z", start),
        [(
            ViolationCode::InThePast,
            "the start is before now, 2027-03-01T08:00:01Z (2027-03-01T09:00:01 local time)"
                .to_owned()
        )]
    );
    assert_eq!(
        at(start, start).len(),
        1,
        "at its start it is short of notice alone"
    );
}

#[test]
fn a_closed_calendar_and_a_closed_hour_are_told() {
    let mut calendar = of(visit(), Vec::new());
    assert_eq!(
        text(&calendar, "2027-03-02T16:00:00Z"),
        "not open from 2027-03-02T17:00 to 2027-03-02T18:00 local time, which the slot needs"
    );
    Arc::make_mut(&mut calendar.profile).paused = true;
    assert_eq!(
        text(&calendar, "2027-03-02T08:00:00Z"),
        "the calendar is paused and accepts no bookings"
    );
}

#[test]
fn a_start_off_the_grid_is_told_the_step_and_where_it_begins() {
    let quarter = AppointmentType {
        slot_step: Some(minutes(45)),
        ..visit()
    };
    assert_eq!(
        text(&of(quarter, Vec::new()), "2027-03-02T08:30:00Z"),
        "starts are every 45 min from 2027-03-02T09:00 local time, and 2027-03-02T09:30 is none of \
         them"
    );
}

#[test]
fn what_takes_the_time_is_told_without_a_name() {
    let held = Some(instant(NOW).plus(HOUR));
    let mut calendar = of(
        visit(),
        vec![
            claim_in_state(1, "2027-03-02T08:00:00Z", AppointmentState::Confirmed, None),
            claim_in_state(2, "2027-03-02T10:00:00Z", AppointmentState::Held, held),
        ],
    );
    assert_eq!(
        text(&calendar, "2027-03-02T08:00:00Z"),
        "an appointment takes 2027-03-02T08:00:00Z (2027-03-02T09:00 local time) to \
         2027-03-02T09:15:00Z (2027-03-02T10:15 local time), buffers included"
    );
    assert_eq!(
        text(&calendar, "2027-03-02T10:00:00Z"),
        "a hold takes 2027-03-02T10:00:00Z (2027-03-02T11:00 local time) to 2027-03-02T11:15:00Z \
         (2027-03-02T12:15 local time), buffers included"
    );
    let (from, to) = (
        instant("2027-03-02T12:00:00Z"),
        instant("2027-03-02T12:30:00Z"),
    );
    let source = ("google".to_owned(), vec![Interval::new(from, to)]);
    calendar.busy = Arc::new(Busy::new([source]));
    assert_eq!(
        text(&calendar, "2027-03-02T12:00:00Z"),
        "an external calendar is busy from 2027-03-02T12:00:00Z (2027-03-02T13:00 local time) to \
         2027-03-02T12:30:00Z (2027-03-02T13:30 local time)"
    );
}

#[test]
fn a_full_session_and_every_exceeded_limit_are_told_at_once() {
    let start = "2027-03-02T08:00:00Z";
    let once = Limits {
        per_day: Some(1),
        per_week: Some(1),
        per_month: Some(1),
        per_year: Some(2),
    };
    let class = AppointmentType {
        capacity: 1,
        limits: once,
        ..visit()
    };
    let taken = claim_in_state(1, start, AppointmentState::Confirmed, None);
    let mut calendar = of(class, vec![taken]);
    Arc::make_mut(&mut calendar.profile).limits.per_day = Some(1);
    let mut seat = ask(&calendar, start, minutes(60));
    seat.session = Some(Session::own(AppointmentKey(1), 1));
    let expected = "the session is full: its capacity is 1".to_owned();
    assert_eq!(broken(&seat), [(ViolationCode::Capacity, expected)]);
    assert_eq!(
        text(&calendar, "2027-03-02T10:00:00Z"),
        "per_day of the type is 1, and 1 start on 2027-03-02; \
         per_week of the type is 1, and 1 start in the week from 2027-03-01; \
         per_month of the type is 1, and 1 start in the month from 2027-03-01; \
         per_day of the calendar is 1, and 1 start on 2027-03-02"
    );
}

#[test]
fn an_exceeded_limit_shows_its_period_where_the_calendar_is() {
    let once = AppointmentType {
        limits: Limits {
            per_week: Some(1),
            ..Limits::default()
        },
        ..visit()
    };
    let taken = claim_in_state(1, "2027-03-02T08:00:00Z", AppointmentState::Confirmed, None);
    let calendar = of(once, vec![taken]);
    let found = violations(&ask(&calendar, "2027-03-02T10:00:00Z", minutes(60)));
    let (monday, next) = (
        instant("2027-02-28T23:00:00Z"),
        instant("2027-03-07T23:00:00Z"),
    );
    assert_eq!(found[0].interval, Some(Interval::new(monday, next)));
}
