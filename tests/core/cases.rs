//! The shared cases of the slot search: search, checker and predicate must all agree with what each
//! case expects.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bookd_core::appointment::{AppointmentState, IgnoredRules};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::{AppointmentType, Limits, Stamps};
use bookd_core::calendar::availability::{Availability, Override, Rule, Weekdays};
use bookd_core::calendar::claims::Claim;
use bookd_core::ids::{AppointmentKey, TypeId, TypeNumber};
use bookd_core::slots::first;
use bookd_core::slots::rules::violations;
use bookd_core::slots::search::Search;
use bookd_core::time::interval::Interval;
use bookd_core::time::{Instant, Minutes, Seconds};
use serde::Deserialize;

use crate::checker::Checker;
use crate::world::{calendar, instant, minutes, rule, window, zone};

const DAYS: [&str; 7] = [
    "MONDAY",
    "TUESDAY",
    "WEDNESDAY",
    "THURSDAY",
    "FRIDAY",
    "SATURDAY",
    "SUNDAY",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    now: String,
    calendar: CaseCalendar,
    types: Vec<CaseType>,
    appointments: Vec<CaseAppointment>,
    query: CaseQuery,
    expect: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseCalendar {
    time_zone: String,
    rules: Vec<CaseRule>,
    overrides: Vec<CaseOverride>,
    busy: Vec<CasePeriod>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseRule {
    days: Vec<String>,
    start: String,
    end: String,
    from_date: Option<String>,
    to_date: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseOverride {
    date: String,
    windows: Vec<CasePeriod>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CasePeriod {
    start: String,
    end: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
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
    horizon_days: Option<u32>,
    capacity: Option<u32>,
    max_per_day: Option<u32>,
    max_per_week: Option<u32>,
    max_per_month: Option<u32>,
    #[serde(default)]
    rules: Vec<CaseRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseAppointment {
    r#type: String,
    start: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseQuery {
    r#type: String,
    from: String,
    to: String,
}

impl CaseRule {
    fn rule(&self) -> Rule {
        let number = |day: &String| {
            DAYS.iter()
                .position(|name| name == day)
                .expect("a day of the week") as u8
        };
        let weekdays = match self.days.as_slice() {
            [] => Weekdays::ALL,
            days => days.iter().map(number).fold(Weekdays::NONE, Weekdays::with),
        };
        let first_date = self.from_date.as_ref().map(|date| date.parse().unwrap());
        let last_date = self.to_date.as_ref().map(|date| date.parse().unwrap());
        Rule {
            first_date,
            last_date,
            ..rule(weekdays, &self.start, &self.end)
        }
    }
}

impl CaseType {
    fn appointment_type(&self, number: u16) -> AppointmentType {
        let defaults = AppointmentType::default_type(Stamps::default());
        AppointmentType {
            id: TypeId::parse(&self.id).unwrap(),
            number: TypeNumber(number),
            duration: minutes(self.duration),
            slot_step: self.step.map(minutes),
            buffer_before: minutes(self.before),
            buffer_after: minutes(self.after),
            min_notice: Seconds::new(self.notice * 60).unwrap(),
            horizon_days: self.horizon_days.unwrap_or(defaults.horizon_days),
            capacity: self.capacity.unwrap_or(1),
            limits: Limits {
                per_day: self.max_per_day,
                per_week: self.max_per_week,
                per_month: self.max_per_month,
                per_year: None,
            },
            rules: self.rules.iter().map(CaseRule::rule).collect(),
            ..defaults
        }
    }
}

impl Case {
    fn calendar(&self) -> Calendar {
        let overrides: BTreeMap<_, _> = self
            .calendar
            .overrides
            .iter()
            .map(|of_date| {
                let windows = of_date
                    .windows
                    .iter()
                    .map(|hours| window(&hours.start, &hours.end))
                    .collect();
                (
                    of_date.date.parse().unwrap(),
                    Override {
                        windows,
                        note: String::new(),
                    },
                )
            })
            .collect();
        let rules = self.calendar.rules.iter().map(CaseRule::rule).collect();
        let types: Vec<AppointmentType> = self
            .types
            .iter()
            .zip(0..)
            .map(|(of_case, number)| of_case.appointment_type(number))
            .collect();
        let busy = self.calendar.busy.iter();
        let busy = busy
            .map(|period| Interval::new(instant(&period.start), instant(&period.end)))
            .collect();
        let claim = |(appointment, key): (&CaseAppointment, u64)| {
            let id = TypeId::parse(&appointment.r#type).unwrap();
            let of_type = types
                .iter()
                .find(|candidate| candidate.id == id)
                .expect("the type is of the case");
            Claim::new(
                AppointmentKey(key),
                of_type.number,
                instant(&appointment.start),
                of_type.duration,
                of_type.buffer_before,
                of_type.buffer_after,
                AppointmentState::Confirmed,
                None,
            )
        };
        let mut claims: Vec<Claim> = Vec::new();
        for claim in self.appointments.iter().zip(1..).map(claim) {
            let is_alike =
                |it: &&Claim| it.is_alike(claim.type_number(), claim.start(), claim.duration());
            let session = claims
                .iter()
                .find(is_alike)
                .map_or(claim.session(), Claim::session);
            claims.push(claim.in_session(session));
        }
        calendar(
            zone(&self.calendar.time_zone),
            Availability { rules, overrides },
            types.clone(),
            busy,
            claims,
        )
    }
}

/// The folder `../shared/cases`, also from a work tree that lies deeper.
fn folder() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let above = package
        .ancestors()
        .skip(1)
        .map(|folder| folder.join("shared/cases"));
    above
        .into_iter()
        .find(|cases| cases.is_dir())
        .unwrap_or_else(|| package.join("../../../shared/cases"))
}

/// The cases of a file; none, with a notice, where the folder does not exist.
fn load(name: &str) -> Vec<Case> {
    let path = folder().join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => text
            .lines()
            .map(|line| serde_json::from_str(line).expect("a case a line"))
            .collect(),
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "in CI the cases must be there: {}: {error}",
                path.display()
            );
            let notice = format!("SKIPPED: {}: {error}\n", path.display());
            std::io::Write::write_all(&mut std::io::stderr(), notice.as_bytes()).unwrap();
            Vec::new()
        }
    }
}

fn check(case: &Case) {
    let calendar = case.calendar();
    let type_id = TypeId::parse(&case.query.r#type).unwrap();
    let appointment_type = calendar.types.find(&type_id).unwrap();
    let range = Interval::new(instant(&case.query.from), instant(&case.query.to));
    let (now, duration): (Instant, Minutes) = (instant(&case.now), appointment_type.duration);
    let expected: Vec<Instant> = case.expect.iter().map(|start| instant(start)).collect();
    let ignored_rules = IgnoredRules::default();
    let search = Search {
        calendar: &calendar,
        appointment_type,
        duration,
        range,
        now,
        ignore: None,
        present_duration: None,
        ignored_rules,
    };
    let listed: Vec<Instant> = first(&search, usize::MAX)
        .iter()
        .map(|slot| slot.start)
        .collect();
    assert_eq!(listed, expected, "{}: the search", case.id);

    let offered = Checker::new(&calendar, appointment_type, duration, now).offered(range);
    let offered: Vec<Instant> = offered.into_iter().map(|(start, _)| start).collect();
    assert_eq!(offered, expected, "{}: the checker", case.id);

    for start in expected {
        let ask = search.ask(start);
        assert_eq!(
            violations(&ask),
            [],
            "{}: the predicate at {start}",
            case.id
        );
    }
}

#[test]
fn the_named_cases_are_listed_as_they_expect() {
    load("slots_named.jsonl").iter().for_each(check);
}

#[test]
fn the_random_cases_are_listed_as_they_expect() {
    load("slots_random.jsonl").iter().for_each(check);
}
