//! The slot-search cases of the shared folder, whose answers come from an independent oracle.

use std::path::Path;

use bookd::domain::appointment_type::{AppointmentType, Limits};
use bookd::domain::availability::{Availability, Override, Rule, Weekdays};
use bookd::domain::feasible::violations;
use bookd::domain::interval::Interval;
use bookd::domain::slots::{Slot, first};
use bookd::domain::time::{Instant, Seconds};
use serde::Deserialize;

use crate::world::{appointment_type, calendar, claim, instant, minutes, profile, search, window};

#[derive(Deserialize)]
struct Case {
    id: String,
    now: String,
    calendar: CaseCalendar,
    types: Vec<CaseType>,
    appointments: Vec<CaseAppointment>,
    query: Query,
    expect: Vec<String>,
}

#[derive(Deserialize)]
struct CaseCalendar {
    time_zone: String,
    rules: Vec<CaseRule>,
    overrides: Vec<CaseOverride>,
    busy: Vec<CaseWindow>,
}

#[derive(Deserialize)]
struct CaseRule {
    days: Vec<String>,
    start: String,
    end: String,
    from_date: Option<String>,
    to_date: Option<String>,
}

#[derive(Deserialize)]
struct CaseOverride {
    date: String,
    windows: Vec<CaseWindow>,
}

#[derive(Deserialize)]
struct CaseWindow {
    start: String,
    end: String,
}

#[derive(Deserialize)]
struct CaseType {
    id: String,
    duration: u16,
    step: Option<u16>,
    #[serde(default)]
    before: u16,
    #[serde(default)]
    after: u16,
    #[serde(default)]
    notice: i64,
    horizon_days: u32,
    capacity: Option<u32>,
    max_per_day: Option<u32>,
    max_per_week: Option<u32>,
    max_per_month: Option<u32>,
    #[serde(default)]
    rules: Vec<CaseRule>,
}

#[derive(Deserialize)]
struct CaseAppointment {
    #[serde(rename = "type")]
    of: String,
    start: String,
}

#[derive(Deserialize)]
struct Query {
    #[serde(rename = "type")]
    of: String,
    from: String,
    to: String,
}

const WEEKDAYS: [&str; 7] = ["MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY"];

fn rule(rule: &CaseRule) -> Rule {
    let number = |day: &String| u8::try_from(WEEKDAYS.iter().position(|it| it == day).unwrap()).unwrap();
    let weekdays = match rule.days.len() {
        0 => Weekdays::ALL,
        _ => rule.days.iter().fold(Weekdays::NONE, |days, day| days.with(number(day))),
    };
    let date = |text: &Option<String>| text.as_ref().map(|text| text.parse().unwrap());
    let window = window(&rule.start, &rule.end);
    Rule { weekdays, window, first_date: date(&rule.from_date), last_date: date(&rule.to_date) }
}

fn of_case(number: usize, case: &CaseType) -> AppointmentType {
    AppointmentType {
        slot_step: case.step.map(minutes),
        buffer_before: minutes(case.before),
        buffer_after: minutes(case.after),
        min_notice: Seconds::new(case.notice * 60).unwrap(),
        horizon_days: case.horizon_days,
        capacity: case.capacity.unwrap_or(1),
        limits: Limits {
            per_day: case.max_per_day,
            per_week: case.max_per_week,
            per_month: case.max_per_month,
            per_year: None,
        },
        rules: case.rules.iter().map(rule).collect(),
        ..appointment_type(&case.id, u16::try_from(number).unwrap(), case.duration)
    }
}

fn answer(case: &Case) -> (Vec<Slot>, Vec<Slot>) {
    let types: Vec<AppointmentType> = case.types.iter().enumerate().map(|(n, it)| of_case(n, it)).collect();
    let find = |id: &str| types.iter().find(|it| it.id.as_str() == id).unwrap();
    let overrides = case.calendar.overrides.iter().map(|it| {
        let windows = it.windows.iter().map(|it| window(&it.start, &it.end)).collect();
        (it.date.parse().unwrap(), Override { windows, note: String::new() })
    });
    let availability =
        Availability { rules: case.calendar.rules.iter().map(rule).collect(), overrides: overrides.collect() };
    let busy = case.calendar.busy.iter().map(|it| Interval::new(instant(&it.start), instant(&it.end)));
    let claims = case.appointments.iter().zip(1..).map(|(it, key)| claim(key, find(&it.of), instant(&it.start)));
    let calendar =
        calendar(profile(&case.calendar.time_zone, availability), types.clone(), busy.collect(), claims.collect());
    let range = Interval::new(instant(&case.query.from), instant(&case.query.to));
    let search = search(&calendar, find(&case.query.of), range, instant(&case.now));
    let asked = (range.start.seconds()..range.end.seconds()).filter(|second| second % 60 == 0).filter_map(|second| {
        let start = Instant::from_seconds(second);
        let ask = search.ask(start);
        let seats_remaining = bookd::domain::feasible::seats_remaining(&ask);
        let end = start.plus(search.duration.seconds());
        violations(&ask).is_empty().then_some(Slot { start, end, seats_remaining })
    });
    (first(&search, usize::MAX), asked.collect())
}

fn check(file: &str, least: usize) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/cases").join(file);
    let Ok(text) = std::fs::read_to_string(&path) else {
        // The cases lie beside the project, not in it; continuous integration has them and says so.
        assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
        eprintln!("SKIPPED: {} is not there", path.display());
        return;
    };
    let cases: Vec<Case> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() >= least);
    let mut wrong = Vec::new();
    for case in &cases {
        let expected: Vec<Instant> = case.expect.iter().map(|it| instant(it)).collect();
        let (listed, asked) = answer(case);
        let starts: Vec<Instant> = listed.iter().map(|slot| slot.start).collect();
        if starts != expected {
            wrong.push(format!("{}: listed {starts:?}, not {expected:?}", case.id));
        }
        if asked != listed {
            wrong.push(format!("{}: the predicate allows {asked:?}, the list {listed:?}", case.id));
        }
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn every_named_case_is_answered_as_the_oracle_does() {
    check("slots_named.jsonl", 35);
}

#[test]
fn every_random_case_is_answered_as_the_oracle_does() {
    check("slots_random.jsonl", 400);
}
